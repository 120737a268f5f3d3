"""Scores of quantiles and of intervals."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import check_fraction, check_order, check_values
from likelax.scoring.arguments import together


def quantile_score(forecast: ArrayLike, x: ArrayLike, *, level: ArrayLike) -> Array:
    """Pinball loss of a quantile: (forecast - x) (1[x < forecast] - level).

    Twice its mean over evenly spaced levels approaches the CRPS.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      forecast: broadcastable to x; the quantile that was forecast.
      x: (...) the observed values.
      level: broadcastable to x, in (0, 1); the probability below the quantile.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if a level is not in (0, 1), or shapes do not broadcast to that of x.
    Source: Gneiting, Raftery (2007), JASA 102, section 6.1.

    Examples:
      >>> print(quantile_score(1.0, jnp.array([0.0, 3.0]), level=0.75))
      [0.25 1.5 ]
    """
    forecast, level, x = together(forecast=forecast, level=level, x=x)
    check_values("level", level, lambda v: (v > 0) & (v < 1), "in (0, 1)")
    over = forecast - x
    return jnp.where(over > 0, (1 - level) * over, -level * over)


def weighted_interval_score(
    median: ArrayLike, lower: ArrayLike, upper: ArrayLike, x: ArrayLike, *, mass: ArrayLike
) -> Array:
    """Weighted interval score of a median and K central intervals.

    (|x - median| / 2 + sum_k (1 - mass[k]) / 2 interval_score[k]) / (K + 1 / 2)

    It is twice the mean quantile score of the 2 K + 1 quantiles, and approaches the CRPS for many.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      median: broadcastable to x.
      lower, upper: (..., K) bounds of the intervals.
      x: (...) the observed values.
      mass: (K,) in (0, 1), the probability that each interval claims.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if a mass is not in (0, 1), shapes do not fit, or upper is below lower.
    Source: Bracher, Ray, Gneiting, Reich (2021), PLoS Computational Biology 17, equation 2.

    Examples:
      >>> lower, upper = jnp.array([-1.0, -2.0]), jnp.array([1.0, 2.0])
      >>> score = weighted_interval_score(0.0, lower, upper, 1.5, mass=jnp.array([0.5, 0.9]))
      >>> print(f"{score:.2f}")
      0.78
    """
    lower, upper, mass = named_floats(lower=lower, upper=upper, mass=mass)
    median, x = together(median=median, x=x)
    if mass.ndim != 1 or not lower.shape == upper.shape == (*x.shape, len(mass)):
        raise ValueError(
            "lower and upper must have shape (*x.shape, K) and mass (K,), got "
            f"{lower.shape}, {upper.shape} and {mass.shape} for x of {x.shape}"
        )
    check_values("mass", mass, lambda v: (v > 0) & (v < 1), "in (0, 1)")
    check_order(lower=lower, upper=upper)
    at = x[..., None]
    missed = jnp.maximum(lower - at, 0) + jnp.maximum(at - upper, 0)
    scores = jnp.broadcast_to(1 - mass, lower.shape) / 2 * (upper - lower) + missed
    return (jnp.abs(x - median) / 2 + jnp.sum(scores, axis=-1)) / (len(mass) + 0.5)


def interval_score(lower: ArrayLike, upper: ArrayLike, x: ArrayLike, *, mass: float) -> Array:
    """Interval score: the width, and 2 / (1 - mass) times the distance by which it missed.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      lower, upper: broadcastable to x; bounds of the central interval of probability `mass`.
      x: (...) the observed values.
      mass: in (0, 1), the probability the interval claims.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if mass is not in (0, 1), shapes do not fit, or upper is below lower.
    Source: Gneiting, Raftery (2007), JASA 102, section 6.2.

    Examples:
      >>> round(float(interval_score(0.0, 1.0, 1.5, mass=0.9)), 4)
      11.0
    """
    check_fraction("mass", mass)
    lower, upper, x = together(lower=lower, upper=upper, x=x)
    check_order(lower=lower, upper=upper)
    missed = jnp.maximum(lower - x, 0) + jnp.maximum(x - upper, 0)
    return upper - lower + 2 / (1 - mass) * missed
