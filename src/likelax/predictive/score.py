"""Expected log predictive density: on held-out data, by leave-one-out, and compared."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.monte_carlo.psis import psis
from likelax.numerics import as_float, logsumexp


class Elpd(NamedTuple):
    """Expected log predictive density of new data, in nats, higher is better.

    Attributes:
      value: sum of the pointwise values.
      standard_error: of the value.
      pointwise: (N,) one contribution an observation.
    """

    value: Array
    standard_error: Array
    pointwise: Array


def log_predictive_density(log_lik: ArrayLike, *, block_size: int = 1) -> Elpd:
    """Held-out log predictive density of draws: sum_n log mean_s p(x_n | draws[s]).

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats; (1, N) for a point estimate.
      block_size: for a series, whose neighbours are not independent: the standard error comes
        from the totals of blocks of so many steps. A last, shorter block is put in proportion.
    Returns:
      `Elpd`. An observation that no draw can produce makes it -inf.
    Raises:
      ValueError: if log_lik is not (S, N), or block_size < 1.

    Examples:
      >>> result = log_predictive_density(jnp.log(jnp.array([[0.2, 0.5], [0.4, 0.5]])))
      >>> [round(float(jnp.exp(value)), 4) for value in result.pointwise]
      [0.3, 0.5]
    """
    log_lik = _draws_by_rows(log_lik)
    pointwise = logsumexp(log_lik, axis=0) - math.log(log_lik.shape[0])
    return elpd_of(pointwise, block_size=block_size)


def elpd_of(pointwise: ArrayLike, *, block_size: int = 1) -> Elpd:
    """Sum and standard error of pointwise log scores.

    Args:
      pointwise: (N,) nats.
      block_size: see `log_predictive_density`.
    Returns:
      `Elpd`; the standard error is sqrt(N) times the standard deviation for blocks of one,
      NaN where fewer than two blocks exist or a value is infinite.

    Examples:
      >>> float(elpd_of(jnp.array([-1.0, -3.0])).standard_error)
      2.0
    """
    (pointwise,) = as_float(pointwise)
    size = pointwise.shape[0]
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    blocks = math.ceil(size / block_size)
    value = jnp.sum(pointwise)
    if blocks < 2:
        return Elpd(value, jnp.full_like(value, jnp.nan), pointwise)
    mean = value / size
    centred = jnp.pad(pointwise - mean, (0, blocks * block_size - size))
    totals = jnp.sum(centred.reshape(blocks, block_size), axis=1)
    return Elpd(value, jnp.sqrt(blocks / (blocks - 1) * jnp.sum(totals**2)), pointwise)


class Loo(NamedTuple):
    """Leave-one-out log predictive density from draws of one fit.

    Attributes:
      value: sum of the pointwise values, nats.
      standard_error: of the value.
      pointwise: (N,) log p(x_n | the others), estimated.
      num_parameters: effective number: in-sample minus leave-one-out density.
      k_hat: (N,) above 0.7 a value can't be trusted: leave that row out and fit again. NaN for
        WAIC, which has no such diagnostic.
    """

    value: Array
    standard_error: Array
    pointwise: Array
    num_parameters: Array
    k_hat: Array


def loo(log_lik: ArrayLike, *, relative_efficiency: float = 1.0) -> Loo:
    """PSIS-LOO: leave-one-out density by Pareto smoothed importance sampling.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats.
      relative_efficiency: ess / S of the draws; 1 for independent ones.
    Returns:
      `Loo`.
    Raises:
      ValueError: if log_lik is not (S, N).
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> draws = jax.random.normal(jax.random.key(0), (400, 1)) / 3
      >>> x = jnp.linspace(-1.0, 1.0, 9)[None]
      >>> result = loo(-((x - draws) ** 2) / 2)
      >>> bool((result.k_hat < 0.7).all()), bool(0 < result.num_parameters < 1)
      (True, True)
    """
    log_lik = _draws_by_rows(log_lik)
    each = jax.vmap(lambda column: _loo_point(column, relative_efficiency), in_axes=1)
    return _gather(*each(log_lik))


def loo_of(
    log_prob: Callable[[Any, Any], Array],
    draws: Any,
    x: Any,
    *,
    relative_efficiency: float = 1.0,
    chunk_size: int = 256,
) -> Loo:
    """PSIS-LOO from a function: the (S, N) array of log likelihoods is never held whole.

    Args:
      log_prob: (one draw, one row) -> log p(row | draw), nats.
      draws: a pytree with a leading axis S.
      x: a pytree with a leading axis N.
      relative_efficiency: as for `loo`.
      chunk_size: rows taken at a time; memory is S times that.
    Returns:
      `Loo`.

    Examples:
      >>> draws = jax.random.normal(jax.random.key(0), (400,)) / 3
      >>> x = jnp.linspace(-1.0, 1.0, 9)
      >>> result = loo_of(lambda loc, row: -((row - loc) ** 2) / 2, draws, x, chunk_size=4)
      >>> result.pointwise.shape
      (9,)
    """

    def point(row: Any) -> tuple[Array, Array, Array]:
        return _loo_point(jax.vmap(lambda draw: log_prob(draw, row))(draws), relative_efficiency)

    return _gather(*jax.lax.map(point, x, batch_size=chunk_size))


def _loo_point(log_lik: Array, relative_efficiency: float) -> tuple[Array, Array, Array]:
    """(leave-one-out density, in-sample density, k_hat) of one observation from (S,)."""
    smoothed = psis(-log_lik, relative_efficiency=relative_efficiency)
    inside = logsumexp(log_lik) - math.log(log_lik.shape[0])
    return logsumexp(smoothed.log_weights + log_lik), inside, smoothed.k_hat


def _gather(pointwise: Array, inside: Array, k_hat: Array) -> Loo:
    total = elpd_of(pointwise)
    return Loo(total.value, total.standard_error, pointwise, jnp.sum(inside - pointwise), k_hat)


def waic(log_lik: ArrayLike) -> Loo:
    """WAIC: in-sample density less the variance of each row's log likelihood over the draws.

    Cheaper than `loo` and without its diagnostic; prefer `loo`.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats, S >= 2.
    Returns:
      `Loo` with k_hat NaN.
    Raises:
      ValueError: if log_lik is not (S, N).
    Source: Watanabe (2010), Journal of Machine Learning Research 11.

    Examples:
      >>> result = waic(jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]])))
      >>> print(jnp.exp(result.pointwise).round(4), float(result.num_parameters))
      [0.5 0.5] 0.0
    """
    log_lik = _draws_by_rows(log_lik)
    size = log_lik.shape[0]
    inside = logsumexp(log_lik, axis=0) - math.log(size)
    away = log_lik - jnp.mean(log_lik, axis=0)[None]
    cost = jnp.sum(away**2, axis=0) / (size - 1)
    return _gather(inside - cost, inside, jnp.full_like(cost, jnp.nan))


def compare(a: Elpd | Loo, b: Elpd | Loo, *, block_size: int = 1) -> Elpd:
    """Difference of two models on the same rows, with the standard error of the difference.

    Args:
      a, b: results for the same observations in the same order.
      block_size: as for `log_predictive_density`.
    Returns:
      `Elpd` of a - b: positive where a predicts better.
    Raises:
      ValueError: if the numbers of observations differ.

    Examples:
      >>> a, b = elpd_of(jnp.array([-1.0, -2.0])), elpd_of(jnp.array([-2.0, -3.0]))
      >>> difference = compare(a, b)
      >>> float(difference.value), float(difference.standard_error)
      (2.0, 0.0)
    """
    if a.pointwise.shape != b.pointwise.shape:
        raise ValueError(
            f"compare: both models must score the same rows, got {a.pointwise.shape} and "
            f"{b.pointwise.shape} values"
        )
    return elpd_of(a.pointwise - b.pointwise, block_size=block_size)


def _draws_by_rows(log_lik: ArrayLike) -> Array:
    (log_lik,) = as_float(log_lik)
    if log_lik.ndim != 2:
        raise ValueError(f"log_lik must have shape (S, N), got {log_lik.shape}")
    return log_lik
