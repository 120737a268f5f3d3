"""Smooth calibration error: no bins, a kernel whose width is the error itself."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.fft import dct, idct
from jax.typing import ArrayLike

from likelax.calibration.binning import check_rows
from likelax.numerics.checks import check_size

_HALVINGS = 12  # of [0, 1], to 2.4e-4; the Newton step after it squares that error


def smooth_ece(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    num_nodes: int = 1024,
) -> Array:
    """Smooth ECE: the width s at which the smoothed residuals integrate to s.

    The residuals outcome - confidence, placed at their confidences, are smoothed with a
    Gaussian of standard deviation s that is reflected at 0 and 1, so that no mass leaves
    [0, 1]; the error at s is the integral of the absolute value, and falls as s grows. The
    reflected kernel is diagonal in the cosine basis: one transform, then one inverse a step.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,) in [0, 1]; 0 and 1 themselves keep all of their mass. Anything outside,
        or NaN, makes the result NaN.
      outcome: (N,) 0 or 1, or frequencies in between.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (2,) weights of the outcomes 0 and 1, times which the row weights are taken, or None.
        The outcomes must then be 0 or 1.
      num_nodes: cells of the grid; errors well below 1 / num_nodes are not resolved.
    Returns:
      Scalar in [0, 1]; NaN without data. Differentiable in confidence and outcome, through
      the fixed point: it may stand in a training loss.
    Raises:
      ValueError: if the shapes differ, num_nodes < 1, or an outcome or weight is out of range.
    Source: Blasiok, Nakkiran (2023), Smooth ECE: principled reliability diagrams via kernel
      smoothing.

    Examples:
      >>> round(float(smooth_ece(jnp.array([1.0, 1.0]), jnp.array([1, 0]))), 4)
      0.5
    """
    check_size("num_nodes", num_nodes)
    rows = check_rows(confidence, outcome, weights, class_weights=class_weights)
    return _fixed_point(_residuals(*rows, num_nodes))


@jax.jit
def _fixed_point(density: Array) -> Array:
    """The width at which the smoothed error equals the width."""
    size = density.shape[0]
    wave = (jnp.pi * jnp.arange(size).astype(density.dtype)) ** 2 / 2
    amplitude = dct(density, type=2)
    frozen = jax.lax.stop_gradient(amplitude)

    def error(amplitude: Array, width: Array) -> Array:
        return jnp.sum(jnp.abs(idct(amplitude * jnp.exp(-wave * width**2), type=2)))

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        wider = error(frozen, middle) > middle
        return jnp.where(wider, middle, low), jnp.where(wider, high, middle)

    ends = (jnp.zeros((), density.dtype), jnp.ones((), density.dtype))
    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, ends)
    width = jax.lax.stop_gradient((low + high) / 2)
    # one Newton step: more digits, and the derivative of the fixed point
    value, slope = jax.jvp(lambda s: error(frozen, s), (width,), (jnp.ones_like(width),))
    value = error(amplitude, width)
    return width + (value - width) / (1 - jax.lax.stop_gradient(slope))


def _residuals(confidence: Array, outcome: Array, weights: Array, size: int) -> Array:
    """(size,) residual mass in cells of equal width, shared between the two nearest centres.

    Half a cell from an end the neighbour is the cell itself, by the same reflection as the
    kernel's: nothing is lost there.
    """
    kept = weights != 0
    confidence = jnp.where(kept, confidence, 0.5)
    valid = (confidence >= 0) & (confidence <= 1)
    residual = weights * jnp.where(kept, outcome - confidence, 0) / jnp.sum(weights)
    residual = jnp.where(valid, residual, jnp.nan)
    place = jnp.where(valid, confidence, 0.5) * size - 0.5
    below = jnp.floor(jax.lax.stop_gradient(place))
    share = place - below
    left = jnp.clip(below.astype(int), 0, size - 1)
    right = jnp.clip(below.astype(int) + 1, 0, size - 1)
    grid = jnp.zeros(size, residual.dtype)
    return grid.at[left].add(residual * (1 - share)).at[right].add(residual * share)
