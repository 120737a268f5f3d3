"""Control variates: variables with known means that reduce the variance of an estimate."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.monte_carlo.estimate import Estimate
from likelax.numerics import matmul, named_floats
from likelax.numerics.lapack import svd


def control_variates(values: ArrayLike, controls: ArrayLike, means: ArrayLike) -> Estimate:
    """E[f] from draws of f and of C controls with known means, by regression.

    value = mean(f) - beta' (mean(c) - E[c]), beta fitted by least squares on the same draws

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (S,) f at S independent draws, S > C + 1.
      controls: (S, C) the controls at the same draws; they may be collinear.
      means: (C,) E[c], exact.
    Returns:
      An `Estimate`. The standard error is that of the residuals; ess is the number of draws of equal
      precision without controls, inf if the controls explain f exactly. The fitted coefficients
      cause a bias of order 1/S.
    Raises:
      ValueError: shapes that do not fit, or too few draws.
    Source: Owen (2013), Monte Carlo theory, methods and examples, section 8.9.

    Examples:
      >>> x = jax.random.normal(jax.random.key(0), (1000,))
      >>> square = control_variates(1 + x + 0.1 * x**2, x[:, None], jnp.zeros(1))
      >>> bool(square.standard_error < 0.01)  # sd(f) / sqrt(S) is 0.03
      True
    """
    values, controls, means = named_floats(values=values, controls=controls, means=means)
    num_draws = values.shape[0] if values.ndim == 1 else 0
    num_controls = means.shape[0] if means.ndim == 1 else -1
    if controls.shape != (num_draws, num_controls):
        raise ValueError(
            "control_variates wants values (S,), controls (S, C) and means (C,), got "
            f"{values.shape}, {controls.shape} and {means.shape}."
        )
    if num_draws <= num_controls + 1:
        raise ValueError(
            f"control_variates wants more than C + 1 = {num_controls + 1} draws, got {num_draws}."
        )
    # about the first draw, so that constants have no spread and large values lose no digits
    shifts = controls - controls[:1]
    centre = controls[0] + jnp.mean(shifts, axis=0)
    centred = shifts - jnp.mean(shifts, axis=0)[None]
    gaps = values - values[0]
    deviations = gaps - jnp.mean(gaps)
    coefficients = _least_squares(centred, deviations)
    residuals = deviations - matmul(centred, coefficients)
    value = values[0] + jnp.mean(gaps) - jnp.sum(coefficients * (centre - means))
    variance = jnp.sum(residuals**2) / (num_draws - num_controls - 1)
    raw = jnp.sum(deviations**2) / (num_draws - 1)
    exact = jnp.where(raw > 0, jnp.inf, num_draws)
    worth = raw / jnp.where(variance > 0, variance, 1) * num_draws
    return Estimate(
        value,
        jnp.sqrt(variance / num_draws),
        jnp.where(variance > 0, worth, exact),
        jnp.asarray(num_draws),
    )


def _least_squares(matrix: Array, target: Array) -> Array:
    """The shortest solution, by the singular value decomposition."""
    if matrix.shape[1] == 0:
        return jnp.zeros((0,), matrix.dtype)
    left, singular, right = svd(matrix)
    floor = jnp.max(singular) * max(matrix.shape) * jnp.finfo(matrix.dtype).eps
    kept = singular > floor
    weights = jnp.where(kept, left.T @ target / jnp.where(kept, singular, 1), 0)
    return right.T @ weights
