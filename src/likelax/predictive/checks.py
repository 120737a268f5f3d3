"""Comparison of data with simulated data: p-values and probability integral transforms."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_float, log_normalize, named_floats
from likelax.numerics.checks import check_key, check_numbers, check_size, check_values
from likelax.predictive._statistics import statistics


class Check(NamedTuple):
    """Statistics of the data beside those of simulated data, in the order of `STATISTICS`.

    Attributes:
      observed: (8,) of the data.
      simulated: (S, 8) of each simulated data set.
      p_value: (8,) two-sided, at least 2 / (S + 1). Since there are eight, compare the smallest with
        level / 8; then S must be at least 16 / level.
    """

    observed: Array
    simulated: Array
    p_value: Array


def check(x: ArrayLike, simulated: ArrayLike, *, chunk_size: int | None = None) -> Check:
    """Predictive check of one variable: compare the data with data that the model simulates.

    Args:
      x: (T,) one series, or rows in the order in which they came; or (B, T) series.
      simulated: (S, *x.shape) data sets drawn from the fitted model, by `replicate` say.
      chunk_size: simulated data sets at a time; None is all at once.
    Returns:
      `Check`.
    Raises:
      ValueError: if the shapes do not fit, or an array holds NaN.
    Source: Gelman, Meng, Stern (1996), Statistica Sinica 6.

    Examples:
      >>> from likelax.predictive import STATISTICS
      >>> draws = jax.random.normal(jax.random.key(0), (500, 50))
      >>> result = check(jnp.linspace(-2.0, 2.0, 50), draws)
      >>> [name for name, p in zip(STATISTICS, result.p_value) if p < 0.01]
      ['lag-1 correlation', 'longest run']
    """
    x, simulated = named_floats(x=x, simulated=simulated)
    if simulated.shape[1:] != x.shape or simulated.ndim != x.ndim + 1:
        raise ValueError(
            f"simulated must have shape (S, *x.shape), got {simulated.shape} for x of {x.shape}"
        )
    if simulated.shape[0] < 1:
        raise ValueError(f"simulated must hold a data set, got shape {simulated.shape}")
    if chunk_size is not None:
        check_size("chunk_size", chunk_size)
    check_numbers(x=x, simulated=simulated)
    real = statistics(x)
    drawn = _of_all(simulated, chunk_size or simulated.shape[0])
    return Check(real, drawn, p_value(real, drawn))


@partial(jax.jit, static_argnums=1)
def _of_all(simulated: Array, chunk_size: int) -> Array:
    return jax.lax.map(statistics, simulated, batch_size=chunk_size)


def p_value(observed: ArrayLike, simulated: ArrayLike) -> Array:
    """Two-sided predictive p-value of a statistic: twice the smaller tail, at most 1.

    Each tail includes the observation itself, so the p-value is never 0. For an exchangeable
    observation it is at most alpha with probability at most alpha.

    Args:
      observed: (...) the statistic of the data.
      simulated: (S, ...) the same statistic of simulated data sets.
    Returns:
      (...) in [2 / (S + 1), 1].
    Raises:
      ValueError: if the shapes do not fit, or an array holds NaN.
    Source: Gelman, Meng, Stern (1996), Statistica Sinica 6.

    Examples:
      >>> print(p_value(9.0, jnp.arange(9.0)))
      0.2
    """
    observed, simulated = named_floats(observed=observed, simulated=simulated)
    if simulated.shape[1:] != observed.shape or simulated.ndim != observed.ndim + 1:
        raise ValueError(
            f"simulated must have shape (S, *observed.shape), got {simulated.shape} for observed "
            f"of {observed.shape}"
        )
    check_numbers(observed=observed, simulated=simulated)
    size = simulated.shape[0] + 1
    below = jnp.sum(simulated <= observed[None], axis=0) + 1
    above = jnp.sum(simulated >= observed[None], axis=0) + 1
    (tail,) = as_float(jnp.minimum(below, above).astype(observed.dtype))
    return jnp.minimum(2 * tail / size, 1)


def pit(
    key: Array, x: ArrayLike, draws: ArrayLike, *, log_weights: ArrayLike | None = None
) -> Array:
    """Randomised probability integral transform: uniform on [0, 1] if the model is right.

    Without weights: the rank of x among the S draws, where a uniform number decides ties and the
    place within the rank. So it is exactly uniform for discrete data and any S. With weights: the sum
    of the weights below x, plus a uniform fraction of those at x.

    Args:
      key: a typed key.
      x: (...) the observed values.
      draws: (S, ...) of the predictive distribution of each entry.
      log_weights: (S, ...) nats; those of `monte_carlo.psis` for leave-one-out PIT.
    Returns:
      (...) in [0, 1].
    Raises:
      ValueError: if the shapes do not fit, or an array holds NaN.
    Source: Czado, Gneiting, Held (2009), Biometrics 65.

    Examples:
      >>> print(pit(jax.random.key(0), jnp.array([5.0]), jnp.zeros((99, 1))) > 0.98)
      [ True]
    """
    check_key(key)
    x, draws = named_floats(x=x, draws=draws)
    if draws.shape[1:] != x.shape or draws.ndim != x.ndim + 1:
        raise ValueError(
            f"draws must have shape (S, *x.shape), got {draws.shape} for x of {x.shape}"
        )
    check_numbers(x=x, draws=draws)
    below, equal = (draws < x[None]).astype(x.dtype), (draws == x[None]).astype(x.dtype)
    uniform = jax.random.uniform(key, x.shape, x.dtype)
    if log_weights is None:
        ties = jnp.sum(equal, axis=0)
        return (jnp.sum(below, axis=0) + uniform * (ties + 1)) / (draws.shape[0] + 1)
    _, log_weights = named_floats(x=x, log_weights=log_weights)
    if log_weights.shape != draws.shape:
        raise ValueError(
            f"log_weights must have the shape of draws, {draws.shape}, got {log_weights.shape}"
        )
    check_values("log_weights", log_weights, lambda v: v < np.inf, "below infinity, and not NaN")
    weights = jnp.exp(log_normalize(log_weights, axis=0)[0])
    return jnp.sum(weights * (below + uniform[None] * equal), axis=0)
