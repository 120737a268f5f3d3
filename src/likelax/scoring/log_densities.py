"""Log scores of forecasts that are no family of likelax; for one that is, -family.log_prob(x).

An outcome that the forecast called impossible scores inf, with gradient zero.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.nn import softplus
from jax.typing import ArrayLike

from likelax.numerics.checks import check_positive
from likelax.scoring.arguments import together
from likelax.scoring.counts import hypergeometric_arguments, log_chance
from likelax.scoring.extremes import log_power
from likelax.scoring.limited import (
    bounded,
    check_bounds,
    logistic,
    normal,
    student_t,
)
from likelax.scoring.panels import Peaked, integrate
from likelax.scoring.pieces import sides

_HALF_LOG_2PI = math.log(2 * math.pi) / 2


def log_score_logistic(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Log score of a logistic forecast: z + 2 log(1 + exp(-z)) + log scale.

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_logistic(0.0, 1.0, 0.0):.4f}")  # log 4
      1.3863
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    return _logistic_score(jnp.abs(x - loc) / scale) + jnp.log(scale)


def _logistic_score(z: Array) -> Array:
    return z + 2 * softplus(-z)


def log_score_log_logistic(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Log score of a log-logistic forecast, whose logarithm is logistic with `loc` and `scale`.

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values; at or below 0 the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_log_logistic(0.0, 1.0, 1.0):.4f}")
      1.3863
    """
    return _of_logarithm(_logistic_score, loc, scale, x)


def log_score_log_laplace(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Log score of a log-Laplace forecast, whose logarithm is Laplace with `loc` and `scale`.

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values; at or below 0 the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_log_laplace(0.0, 0.5, 1.0):.4f}")
      0.0000
    """
    return _of_logarithm(lambda z: z + math.log(2), loc, scale, x)


def _of_logarithm(
    score: Callable[[Array], Array], loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    impossible = x <= 0
    log_x = jnp.log(jnp.where(impossible, 1, x))
    inside = score(jnp.abs(log_x - loc) / scale) + jnp.log(scale) + log_x
    return jnp.where(impossible, jnp.inf, inside)


def log_score_two_piece_normal(
    loc: ArrayLike, low_scale: ArrayLike, high_scale: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a two-piece normal forecast: z^2 / 2 + log((low_scale + high_scale) / 2) + log(2 pi) / 2.

    Args:
      loc, low_scale, high_scale: as for `crps_two_piece_normal`.
      x: (...) the observed values.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Gneiting, Thorarinsdottir (2010), arXiv:1010.2318.

    Examples:
      >>> print(f"{log_score_two_piece_normal(0.0, 1.0, 3.0, 0.0):.4f}")
      1.6121
    """
    away, near, far, _ = sides(loc, low_scale, high_scale, x)
    return (away / near) ** 2 / 2 + jnp.log((near + far) / 2) + _HALF_LOG_2PI


def log_score_two_piece_exponential(
    loc: ArrayLike, low_scale: ArrayLike, high_scale: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a two-piece exponential forecast: |z| + log(low_scale + high_scale).

    Args:
      loc, low_scale, high_scale: as for `crps_two_piece_exponential`.
      x: (...) the observed values.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_two_piece_exponential(0.0, 1.0, 3.0, 3.0):.4f}")
      2.3863
    """
    away, near, far, _ = sides(loc, low_scale, high_scale, x)
    return away / near + jnp.log(near + far)


def log_score_generalized_pareto(
    shape: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a generalised Pareto forecast: (1 + shape) g + log scale.

    g = log(1 + shape z) / shape, z = (x - loc) / scale

    Args:
      shape, loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values; outside the support the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_generalized_pareto(0.0, 0.0, 1.0, 2.0):.4f}")
      2.0000
    """
    shape, loc, scale, x = together(shape=shape, loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    z = (x - loc) / scale
    impossible = (z < 0) | (shape * z <= -1)
    g = log_power(shape, jnp.where(impossible, 0, z))
    return jnp.where(impossible, jnp.inf, (1 + shape) * g + jnp.log(scale))


def log_score_generalized_extreme_value(
    shape: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a generalised extreme value forecast: (1 + shape) g + exp(-g) + log scale.

    g = log(1 + shape z) / shape, z = (x - loc) / scale

    Args:
      shape, loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values; outside the support the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_generalized_extreme_value(0.0, 0.0, 1.0, 0.0):.4f}")
      1.0000
    """
    shape, loc, scale, x = together(shape=shape, loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    z = (x - loc) / scale
    impossible = shape * z <= -1
    g = log_power(shape, jnp.where(impossible, 0, z))
    return jnp.where(impossible, jnp.inf, (1 + shape) * g + jnp.exp(-g) + jnp.log(scale))


def log_score_hypergeometric(
    successes: ArrayLike, failures: ArrayLike, num_draws: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a hypergeometric forecast: the successes in draws without replacement.

    Args:
      successes, failures, num_draws: as for `crps_hypergeometric`.
      x: (...) counts; where there is no such count the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    Float32: within 2e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Loader (2000), Fast and accurate computation of binomial probabilities.

    Examples:
      >>> print(f"{log_score_hypergeometric(3, 7, 1, 0):.4f}")  # -log 0.7
      0.3567
    """
    m, n, size, x = hypergeometric_arguments(
        successes=successes, failures=failures, num_draws=num_draws, x=x
    )
    least = jnp.maximum(size - n, 0)
    impossible = (x < least) | (x > jnp.minimum(m, size)) | (jnp.floor(x) < x)
    count = jnp.where(impossible, least, x)
    return jnp.where(impossible, jnp.inf, -log_chance(count, m, n, size))


def log_score_truncated_normal(
    loc: ArrayLike, scale: ArrayLike, low: ArrayLike, high: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a normal forecast that is known to lie in [low, high].

    Args:
      loc, scale, low, high: as for `crps_truncated_normal`.
      x: (...) the observed values; outside the bounds the score is inf.
    Returns:
      (...) nats, also where the bounds lie so far in a tail that no probability is left there.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a scale is not positive, or high is not above
        low.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_truncated_normal(0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")  # log(pi / 2) / 2
      0.2258
    """
    return _truncated(normal, *together(loc=loc, scale=scale, low=low, high=high, x=x))


def log_score_truncated_logistic(
    loc: ArrayLike, scale: ArrayLike, low: ArrayLike, high: ArrayLike, x: ArrayLike
) -> Array:
    """Log score of a logistic forecast that is known to lie in [low, high].

    Args:
      loc, scale, low, high: as for `crps_truncated_logistic`.
      x: (...) the observed values; outside the bounds the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: as `log_score_truncated_normal`.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_truncated_logistic(0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")  # log 2
      0.6931
    """
    return _truncated(logistic, *together(loc=loc, scale=scale, low=low, high=high, x=x))


def log_score_truncated_student_t(
    dof: ArrayLike,
    loc: ArrayLike,
    scale: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
) -> Array:
    """Log score of a Student t forecast that is known to lie in [low, high].

    Args:
      dof, loc, scale, low, high: as for `crps_truncated_student_t`.
      x: (...) the observed values; outside the bounds the score is inf.
    Returns:
      (...) nats.
    Raises:
      ValueError: as `log_score_truncated_normal`, or if dof is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{log_score_truncated_student_t(1.0, 0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")  # log(pi / 2)
      0.4516
    """
    dof, *given = together(dof=dof, loc=loc, scale=scale, low=low, high=high, x=x)
    return _truncated(student_t(dof), *given)


def _truncated(
    kind: Callable[[Array], Peaked], loc: Array, scale: Array, low: Array, high: Array, x: Array
) -> Array:
    check_bounds(scale, low, high)
    impossible = (x < low) | (x > high)
    at = bounded(loc, scale, low, high, x)
    density = kind(at.start)
    total = integrate(density, at.left, at.right, jnp.zeros_like(x)).total
    fall = density.log_fall(jnp.abs(at.z)[None, ..., None])[0, ..., 0]
    return jnp.where(impossible, jnp.inf, jnp.log(total) + jnp.log(scale) - fall)
