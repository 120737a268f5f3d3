"""Leave-one-out density and its relatives, from draws of one fit: PSIS-LOO, WAIC, LOO-PIT."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.monte_carlo._psis import Tail, centre, smooth_tail, tail_length
from likelax.monte_carlo.draws import chain_mean
from likelax.numerics import chunks, named_floats
from likelax.numerics.checks import check_key, check_numbers, check_size, check_values, known
from likelax.predictive.score import check_draws, draws_by_rows, elpd_of, log_mean, map_observations

_ROWS = 64  # rows at a time: S times that many numbers fit in a processor's cache


def _rows_at_once() -> int:
    return _ROWS * chunks.scale()


class Loo(NamedTuple):
    """Leave-one-out log predictive density from draws of one fit.

    Attributes:
      value: scalar, the sum of the pointwise values, nats.
      standard_error: scalar, of the value.
      pointwise: (N,) log p(x_n | the others), estimated.
      num_parameters: scalar, the effective number: in-sample minus leave-one-out density.
      num_parameters_error: scalar, standard error of that number over the rows.
      k_hat: (N,) diagnostic: above 0.7 the value is unreliable, so leave that row out and fit again.
        NaN for WAIC, which has no such diagnostic.
    """

    value: Array
    standard_error: Array
    pointwise: Array
    num_parameters: Array
    num_parameters_error: Array
    k_hat: Array


def loo(log_lik: ArrayLike, *, relative_efficiency: ArrayLike = 1.0) -> Loo:
    """PSIS-LOO: leave-one-out density by Pareto smoothed importance sampling.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats.
      relative_efficiency: ess / S of the draws, a number or (N,) for each row; 1 for independent ones.
        `relative_efficiency` computes it for the draws of a Markov chain.
    Returns:
      `Loo`. A row that is impossible under some draw has density -inf and k-hat inf.
    Raises:
      ValueError: if log_lik is not (S, N) or holds NaN or inf, or relative_efficiency is not
        positive.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> draws = jax.random.normal(jax.random.key(0), (400, 1)) / 3
      >>> x = jnp.linspace(-1.0, 1.0, 9)[None]
      >>> result = loo(-((x - draws) ** 2) / 2)
      >>> bool((result.k_hat < 0.7).all()), bool(0 < result.num_parameters < 1)
      (True, True)
    """
    log_lik = draws_by_rows(log_lik)
    size, lengths = _tails(relative_efficiency, *log_lik.shape)
    return _gather(*_by_columns(partial(_loo_point, size), log_lik, *lengths))


def loo_of(
    log_prob: Callable[[Any, Any], Array],
    draws: Any,
    x: DataLike,
    *,
    relative_efficiency: ArrayLike = 1.0,
    chunk_size: int = 256,
) -> Loo:
    """PSIS-LOO from a function, without the whole (S, N) array of log likelihoods in memory.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_prob: (one draw, one row) -> log p(row | draw), nats.
      draws: a pytree with leaves (S, ...).
      x: a pytree with leaves (N, ...).
      relative_efficiency: as for `loo`.
      chunk_size: rows at a time; memory grows as S times that.
    Returns:
      `Loo`.
    Raises:
      ValueError: if draws or x have no common leading axis, relative_efficiency is not positive, or
        chunk_size < 1.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> draws = jax.random.normal(jax.random.key(0), (400,)) / 3
      >>> x = jnp.linspace(-1.0, 1.0, 9)
      >>> result = loo_of(lambda loc, row: -((row - loc) ** 2) / 2, draws, x, chunk_size=4)
      >>> result.pointwise.shape
      (9,)
    """
    size, lengths = _tails(relative_efficiency, check_draws(draws), check_draws(x, name="x"))
    point = partial(_loo_point, size)
    return _gather(*map_observations(point, log_prob, draws, x, chunk_size, *lengths))


def relative_efficiency(log_lik: ArrayLike, *, num_chains: int) -> Array:
    """Effective over total number of draws of a Markov chain, for each row: for `loo`.

    It is that of the mean of p(x_n | draw), whose inverse the weights of `loo` are.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats, the draws of the first chain first.
      num_chains: C, which divides S into chains of at least 4 draws.
    Returns:
      (N,) positive; 1 for a row with the same likelihood under all draws.
    Raises:
      ValueError: if log_lik is not (S, N), or holds NaN or inf, or num_chains does not fit.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27; Vehtari et al. (2021),
      Bayesian Analysis 16.

    Examples:
      >>> log_lik = -jax.random.normal(jax.random.key(0), (4000, 1)) ** 2 / 20
      >>> bool(jnp.abs(relative_efficiency(log_lik, num_chains=4)[0] - 1) < 0.2)
      True
      >>> repeated = jnp.repeat(log_lik, 5, axis=0)  # every draw five times
      >>> bool(relative_efficiency(repeated, num_chains=4)[0] < 0.25)
      True
    """
    check_size("num_chains", num_chains)
    log_lik = draws_by_rows(log_lik)
    num_draws = log_lik.shape[0]
    if num_draws % num_chains or num_draws // num_chains < 4:
        raise ValueError(
            f"num_chains must divide the {num_draws} draws into chains of 4 or more, got {num_chains}"
        )

    def of_row(column: Array) -> Array:
        likelihood = jnp.exp(centre(column))
        return chain_mean(likelihood.reshape(num_chains, -1)).ess / num_draws

    return chunks.map_rows(jax.vmap(of_row), log_lik.T, _rows_at_once())


def waic(log_lik: ArrayLike) -> Loo:
    """WAIC: in-sample density minus the variance of each row's log likelihood over the draws.

    It is cheaper than `loo`, but has no diagnostic; prefer `loo`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats, S >= 2.
    Returns:
      `Loo` with k_hat NaN. A row that is impossible under some draw has density -inf.
    Raises:
      ValueError: if log_lik is not (S, N) with S >= 2, or holds NaN or inf.
    Source: Watanabe (2010), Journal of Machine Learning Research 11.

    Examples:
      >>> result = waic(jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]])))
      >>> print(jnp.exp(result.pointwise).round(4), float(result.num_parameters))
      [0.5 0.5] 0.0
    """
    return _gather(*_by_columns(_waic_point, draws_by_rows(log_lik, least=2)))


def waic_of(
    log_prob: Callable[[Any, Any], Array], draws: Any, x: DataLike, *, chunk_size: int = 256
) -> Loo:
    """WAIC from a function, without the whole (S, N) array of log likelihoods in memory.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_prob, draws, x, chunk_size: as for `loo_of`.
    Returns:
      `Loo` with k_hat NaN.
    Raises:
      ValueError: if draws or x have no common leading axis, S < 2, or chunk_size < 1.
    Source: Watanabe (2010), Journal of Machine Learning Research 11.

    Examples:
      >>> draws = jax.random.normal(jax.random.key(0), (400,)) / 3
      >>> x = jnp.linspace(-1.0, 1.0, 9)
      >>> result = waic_of(lambda loc, row: -((row - loc) ** 2) / 2, draws, x)
      >>> bool(0 < result.num_parameters < 1)
      True
    """
    check_draws(draws, least=2)
    return _gather(*map_observations(_waic_point, log_prob, draws, x, chunk_size))


def loo_pit(
    key: Array,
    x: ArrayLike,
    draws: ArrayLike,
    log_lik: ArrayLike,
    *,
    relative_efficiency: ArrayLike = 1.0,
) -> Array:
    """Leave-one-out PIT: P(prediction < x_n | the other rows), in [0, 1].

    It is uniform if the model is right. Leaving x_n out matters, since a model predicts the rows that
    it was fitted to too well. Ties are broken at random, so x may be counts.

    Args:
      key: a typed key.
      x: (N,) the observed values.
      draws: (S, N) draws of the predictive distribution of each entry, one for each posterior draw.
      log_lik: (S, N) log p(x_n | draw s), nats.
      relative_efficiency: as for `loo`.
    Returns:
      (N,) in [0, 1].
    Raises:
      ValueError: if the shapes do not fit, an array holds NaN, or relative_efficiency is not positive.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 7.4; Vehtari, Gelman, Gabry (2017).

    Examples:
      >>> draws = jnp.linspace(-3.0, 3.0, 99)[:, None]
      >>> print(loo_pit(jax.random.key(0), jnp.array([0.0]), draws, jnp.zeros((99, 1))).round(2))
      [0.5]
    """
    check_key(key)
    log_lik = draws_by_rows(log_lik)
    x, draws, log_lik = named_floats(x=x, draws=draws, log_lik=log_lik)
    if draws.shape != log_lik.shape or x.shape != draws.shape[1:]:
        raise ValueError(
            "x must have shape (N,), draws and log_lik (S, N), got "
            f"{x.shape}, {draws.shape} and {log_lik.shape}"
        )
    check_numbers(x=x, draws=draws)
    share = jax.random.uniform(key, x.shape, x.dtype)
    size, lengths = _tails(relative_efficiency, *log_lik.shape)

    def point(ll: Array, x: Array, draws: Array, share: Array, *length: Array) -> Array:
        ratio = centre(-ll)
        tail = smooth_tail(ratio, size, *length)
        below = (draws < x).astype(ll.dtype) + share * (draws == x).astype(ll.dtype)
        rest, above = _weights(ratio, tail)
        held = jnp.sum(rest * below) + jnp.sum(above * below[tail.where])
        return held / (jnp.sum(rest) + jnp.sum(above))

    return jax.vmap(point)(log_lik.T, x, draws.T, share, *lengths)


def _tails(
    relative_efficiency: ArrayLike, num_draws: int, num_rows: int
) -> tuple[int, tuple[Array, ...]]:
    """The longest tail, and (N,) the length of each row's if they differ; see `tail_length`."""
    shape = np.shape(relative_efficiency)
    if shape not in ((), (num_rows,)):
        raise ValueError(
            f"relative_efficiency must be a number or have shape ({num_rows},), one for each row, "
            f"got {shape}"
        )
    values = known(relative_efficiency)
    if values is None:
        raise TypeError(
            "relative_efficiency must be known when the program is compiled, since it decides how many "
            "draws are in the tail; pass it from outside jax.jit"
        )
    positive = "positive and finite"
    check_values("relative_efficiency", values, lambda v: (v > 0) & (v < np.inf), positive)
    lengths = [tail_length(num_draws, float(value)) for value in np.ravel(values)]
    return max(lengths), (jnp.asarray(lengths),) if shape else ()


def _weights(ratio: Array, tail: Tail) -> tuple[Array, Array]:
    """(S,) weights outside the tail and (M,) smoothed ones in it, up to a factor."""
    rest = jnp.where(ratio > tail.cutoff, 0, jnp.exp(jnp.minimum(ratio, tail.cutoff)))
    in_tail = tail.values > tail.cutoff
    return rest, jnp.where(in_tail, jnp.exp(jnp.where(in_tail, tail.smoothed, 0)), 0)


def _loo_point(
    size: int, log_lik: Array, length: Array | None = None
) -> tuple[Array, Array, Array]:
    """(leave-one-out density, in-sample density, k_hat) of one observation from (S,).

    Outside the tail a weight times its likelihood is one and the same number, so the tail is
    never put back among the draws.
    """
    least = jnp.min(log_lik)
    impossible = least == -jnp.inf
    ratio = centre(jnp.where(impossible, 0, -log_lik))
    tail = smooth_tail(ratio, size, length)
    rest, above = _weights(ratio, tail)
    in_tail = tail.values > tail.cutoff
    lifted = jnp.where(in_tail, jnp.exp(jnp.where(in_tail, tail.smoothed - tail.values, 0)), 0)
    outside = (ratio.shape[0] - jnp.sum(in_tail)).astype(ratio.dtype)
    over = jnp.log((jnp.sum(lifted) + outside) / (jnp.sum(rest) + jnp.sum(above)))
    return (
        jnp.where(impossible, -jnp.inf, least + over),
        log_mean(log_lik),
        jnp.where(impossible, jnp.inf, tail.k_hat),
    )


def _waic_point(log_lik: Array) -> tuple[Array, Array, Array]:
    """(WAIC density, in-sample density, NaN) of one observation from (S,)."""
    impossible = jnp.any(log_lik == -jnp.inf)
    inside = log_mean(log_lik)
    away = jnp.where(impossible, 0, log_lik)
    away = away - jnp.mean(away)
    cost = jnp.sum(away**2) / (log_lik.shape[0] - 1)
    value = jnp.where(impossible, -jnp.inf, inside - cost)
    return value, inside, jnp.full_like(value, jnp.nan)


def _by_columns(
    point: Callable[..., tuple[Array, Array, Array]], log_lik: Array, *rest: Array
) -> tuple[Array, Array, Array]:
    """`point` of every column of (S, N), some columns at a time."""
    # the barrier makes the draws of a row contiguous in memory: three times faster on a CPU
    rows = jax.lax.optimization_barrier(log_lik.T)
    return chunks.map_rows(lambda some: jax.vmap(point)(*some), (rows, *rest), _rows_at_once())


def _gather(pointwise: Array, inside: Array, k_hat: Array) -> Loo:
    total, gap = elpd_of(pointwise), elpd_of(inside - pointwise)
    return Loo(total.value, total.standard_error, pointwise, gap.value, gap.standard_error, k_hat)
