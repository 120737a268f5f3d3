"""Calibration errors to train with: smooth in the confidences, so a gradient can lower them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.calibration.binning import check_probabilities, check_rows
from likelax.numerics import divide
from likelax.numerics.checks import check_number, check_size


def soft_binned_ece(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    num_bins: int = 15,
    temperature: float = 0.01,
    weights: ArrayLike | None = None,
) -> Array:
    """Root mean square gap of bins that share each row between them.

    Bin b with centre m[b] takes the share softmax_b(-(c - m[b])^2 / temperature) of a row with
    confidence c, so the error is smooth in c. As the temperature falls to zero the bins become
    the equal-width ones and the error becomes `rms_error`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,) in [0, 1].
      outcome: (N,) 0 or 1, or frequencies.
      num_bins: B.
      temperature: positive, in squared units of confidence.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
    Returns:
      Scalar; NaN without data. The gradient where every gap is zero is zero.
    Raises:
      ValueError: if the shapes differ, num_bins < 1, temperature is not positive, or a confidence is
        outside [0, 1].
    Source: Karandikar et al. (2021), Soft calibration objectives for neural networks.

    Examples:
      >>> error = soft_binned_ece(jnp.array([0.75, 0.75]), jnp.array([1, 0]), temperature=1e-5)
      >>> round(float(error), 4)
      0.25
    """
    check_size("num_bins", num_bins)
    check_number("temperature", temperature, lambda v: v > 0, "positive")
    confidence, outcome, weights = check_rows(confidence, outcome, weights)
    check_probabilities("confidence", confidence, weights)
    kept = weights != 0
    confidence, outcome = jnp.where(kept, confidence, 0.5), jnp.where(kept, outcome, 0.5)
    centre = jnp.asarray((np.arange(num_bins) + 0.5) / num_bins, confidence.dtype)
    away = (confidence[:, None] - centre[None]) ** 2 / temperature
    share = jax.nn.softmax(-away, axis=1) * weights[:, None]
    held = jnp.sum(share, axis=0)
    gap = divide(jnp.sum(share * (confidence - outcome)[:, None], axis=0), held, 0.0)
    return _root(jnp.sum(held * gap**2) / jnp.sum(weights))


def mmce(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    width: float = 0.4,
    weights: ArrayLike | None = None,
) -> Array:
    """Maximum mean calibration error: the residuals seen through a Laplacian kernel.

    sqrt sum_ij w[i] w[j] r[i] r[j] exp(-|c[i] - c[j]| / width) / sum w,   r = c - y

    It is zero in expectation if and only if the confidences are calibrated. Sorted, the double
    sum is one recursion, so the cost is O(N log N) and no N x N matrix is made.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,) in [0, 1].
      outcome: (N,) 0 or 1, or frequencies.
      width: of the kernel, positive.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
    Returns:
      Scalar; NaN without data. The gradient at zero is zero.
    Raises:
      ValueError: if the shapes differ, width is not positive, or a confidence is outside [0, 1].
    Source: Kumar, Sarawagi, Jain (2018), Trainable calibration measures for neural networks from
      kernel mean embeddings.

    Examples:
      >>> round(float(mmce(jnp.array([0.75, 0.75]), jnp.array([1, 0]))), 4)
      0.25
    """
    check_number("width", width, lambda v: v > 0, "positive")
    confidence, outcome, weights = check_rows(confidence, outcome, weights)
    check_probabilities("confidence", confidence, weights)
    kept = weights != 0
    confidence = jnp.where(kept, confidence, 0.5)
    residual = weights * jnp.where(kept, confidence - outcome, 0)
    order = jnp.argsort(confidence)
    c, r = confidence[order], residual[order]
    decay = jnp.exp(-jnp.diff(c, prepend=c[:1]) / width)

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] * right[0], left[1] * right[0] + right[1]

    # reach[i] = sum_{j <= i} r[j] exp(-(c[i] - c[j]) / width)
    _, reach = jax.lax.associative_scan(join, (decay, r))
    square = jnp.sum(r * (2 * reach - r))
    return _root(square) / jnp.sum(weights)


def _root(square: Array) -> Array:
    """Square root with gradient zero at zero, and of what rounding left below it."""
    positive = square > 0
    root = jnp.sqrt(jnp.where(positive, square, 1))
    return jnp.where(positive, root, jnp.where(jnp.isnan(square), math.nan, 0))
