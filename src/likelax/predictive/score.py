"""Expected log predictive density: on held-out data, and its difference between models."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, convert
from likelax.numerics import as_array, logsumexp, named_floats
from likelax.numerics.checks import check_function, check_size, check_values


class Pointwise(Protocol):
    """Any result with one log score for each observation: `Elpd` or `Loo`."""

    @property
    def pointwise(self) -> Array:
        """(N,) nats."""
        ...


class Elpd(NamedTuple):
    """Expected log predictive density of new data, in nats, higher is better.

    Attributes:
      value: scalar, the sum of the pointwise values.
      standard_error: scalar, of the value.
      pointwise: (N,) one value for each observation.
    """

    value: Array
    standard_error: Array
    pointwise: Array


def log_predictive_density(log_lik: ArrayLike, *, block_size: int = 1) -> Elpd:
    """Held-out log predictive density of draws: sum_n log mean_s p(x_n | draws[s]).

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_lik: (S, N) log p(x_n | draw s), nats; (1, N) for a point estimate.
      block_size: for a series, whose neighbours are not independent: the standard error is computed
        from the totals of blocks of so many steps.
    Returns:
      `Elpd`. An observation that is impossible under every draw makes it -inf.
    Raises:
      ValueError: if log_lik is not (S, N) or holds NaN or inf, or block_size < 1.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 7.1.

    Examples:
      >>> result = log_predictive_density(jnp.log(jnp.array([[0.2, 0.5], [0.4, 0.5]])))
      >>> [round(float(jnp.exp(value)), 4) for value in result.pointwise]
      [0.3, 0.5]
    """
    log_lik = draws_by_rows(log_lik)
    return elpd_of(log_mean(log_lik), block_size=block_size)


def log_predictive_density_of(
    log_prob: Callable[[Any, Any], Array],
    draws: Any,
    x: DataLike,
    *,
    block_size: int = 1,
    chunk_size: int = 256,
) -> Elpd:
    """Held-out log predictive density from a function, chunk by chunk.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_prob: (one draw, one row) -> log p(row | draw), nats.
      draws: a pytree with leaves (S, ...): draws from a posterior, or stacked models.
      x: a pytree with leaves (N, ...).
      block_size: as for `log_predictive_density`.
      chunk_size: rows at a time; memory grows as S times that.
    Returns:
      `Elpd`.
    Raises:
      ValueError: if draws or x have no common leading axis, or block_size or chunk_size < 1.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 7.1.

    Examples:
      >>> log_prob = lambda p, row: jnp.log(jnp.where(row, p, 1 - p))
      >>> result = log_predictive_density_of(
      ...     log_prob, jnp.array([0.2, 0.4]), jnp.array([True, False])
      ... )
      >>> [round(float(jnp.exp(value)), 4) for value in result.pointwise]
      [0.3, 0.7]
    """
    pointwise = map_observations(log_mean, log_prob, draws, x, chunk_size)
    return elpd_of(pointwise, block_size=block_size)


def log_mean(log_lik: Array) -> Array:
    """Log of the mean over the draws: (S, ...) gives (...), nats."""
    return logsumexp(log_lik, axis=0) - math.log(log_lik.shape[0])


def map_observations(
    point: Callable[..., Any],
    log_prob: Callable[[Any, Any], Array],
    draws: Any,
    x: DataLike,
    chunk_size: int,
    *extra: Array,
) -> Any:
    """`point` of the (S,) log likelihoods of every row of x, `chunk_size` rows at a time.

    `extra` are arrays (N, ...) whose rows are passed to `point` too.
    """
    check_function("log_prob", log_prob)
    check_size("chunk_size", chunk_size)
    check_draws(draws)
    check_draws(x, name="x")
    draws, x = jax.tree.map(lambda a: as_array("draws", a), draws), convert("x", x)

    def of_row(row_and_extra: tuple[Any, ...]) -> Any:
        row, *rest = row_and_extra
        log_lik = jax.vmap(lambda draw: log_prob(draw, row))(draws)
        if log_lik.ndim != 1:
            raise ValueError(
                "log_prob must return a scalar for one of the draws and one row of x, got shape "
                f"{log_lik.shape[1:]}"
            )
        return point(log_lik, *rest)

    return jax.lax.map(of_row, (x, *extra), batch_size=chunk_size)


def elpd_of(pointwise: ArrayLike, *, block_size: int = 1) -> Elpd:
    """Sum and standard error of pointwise log scores.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      pointwise: (N,) nats.
      block_size: see `log_predictive_density`.
    Returns:
      `Elpd`. For blocks of one the standard error is sqrt(N) times the standard deviation. It is NaN
      with fewer than two blocks, or if a value is infinite. A value of NaN makes both NaN.
    Raises:
      ValueError: if pointwise is not (N,) with N >= 1, or block_size < 1.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> float(elpd_of(jnp.array([-1.0, -3.0])).standard_error)
      2.0
    """
    (pointwise,) = named_floats(pointwise=pointwise)
    if pointwise.ndim != 1 or pointwise.shape[0] < 1:
        raise ValueError(f"pointwise must have shape (N,) with N >= 1, got {pointwise.shape}")
    size = pointwise.shape[0]
    check_size("block_size", block_size)
    blocks = math.ceil(size / block_size)
    value = jnp.sum(pointwise)
    if blocks < 2:
        return Elpd(value, jnp.full_like(value, jnp.nan), pointwise)
    mean = value / size
    centred = jnp.pad(pointwise - mean, (0, blocks * block_size - size))
    totals = jnp.sum(centred.reshape(blocks, block_size), axis=1)
    return Elpd(value, jnp.sqrt(blocks / (blocks - 1) * jnp.sum(totals**2)), pointwise)


def compare(a: Pointwise, b: Pointwise, *, block_size: int = 1) -> Elpd:
    """Difference of two models on the same rows, with the standard error of the difference.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a, b: results for the same observations in the same order.
      block_size: as for `log_predictive_density`.
    Returns:
      `Elpd` of a - b: positive if a predicts better.
    Raises:
      TypeError: if a or b is no such result.
      ValueError: if the numbers of observations differ.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> a, b = elpd_of(jnp.array([-1.0, -2.0])), elpd_of(jnp.array([-2.0, -3.0]))
      >>> difference = compare(a, b)
      >>> float(difference.value), float(difference.standard_error)
      (2.0, 0.0)
    """
    for name, result in (("a", a), ("b", b)):
        _check_result(name, result)
    if a.pointwise.shape != b.pointwise.shape:
        raise ValueError(
            f"a and b must score the same rows, got {a.pointwise.shape} and "
            f"{b.pointwise.shape} values"
        )
    return elpd_of(a.pointwise - b.pointwise, block_size=block_size)


def compare_all(results: Mapping[str, Pointwise], *, block_size: int = 1) -> dict[str, Elpd]:
    """The difference of every model to the best one, best first.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      results: by name, for the same observations in the same order.
      block_size: as for `log_predictive_density`.
    Returns:
      `Elpd` of model - best by name: 0 for the best, negative below it.
    Raises:
      TypeError: if results is not a dict of results.
      ValueError: if there are no results, or the numbers of observations differ.
    Source: Vehtari, Gelman, Gabry (2017), Statistics and Computing 27.

    Examples:
      >>> a, b = elpd_of(jnp.array([-1.0, -2.0])), elpd_of(jnp.array([-2.0, -4.0]))
      >>> {name: float(difference.value) for name, difference in compare_all({"b": b, "a": a}).items()}
      {'a': 0.0, 'b': -3.0}
    """
    check_results(results)
    order = sorted(results, key=lambda name: -float(jnp.sum(results[name].pointwise)))
    best = results[order[0]]
    return {name: compare(results[name], best, block_size=block_size) for name in order}


def check_results(results: object) -> None:
    """Raise unless it is a dict, not empty, of results by name."""
    if not isinstance(results, Mapping):
        raise TypeError(f"results must be a dict of results by name, got {results!r}")
    if not results:
        raise ValueError("results must not be empty: there are no results to compare")
    for name, result in results.items():
        _check_result(f"results[{name!r}]", result)


def _check_result(name: str, result: object) -> None:
    if not isinstance(getattr(result, "pointwise", None), Array | np.ndarray):
        raise TypeError(
            f"{name} must have `pointwise` scores, as Elpd and Loo have, got {result!r}"
        )


def check_draws(draws: Any, *, name: str = "draws", least: int = 1) -> int:
    """The length of the leading axis that all leaves of a pytree have in common.

    Raises:
      TypeError: for a leaf that is no array.
      ValueError: for leaves without a common leading axis, or one shorter than `least`.
    """
    leaves = [as_array(name, leaf) for leaf in jax.tree.leaves(draws, is_leaf=lambda n: n is None)]
    sizes = {leaf.shape[:1] for leaf in leaves}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            f"{name}: every leaf must have the same leading axis, got leaves of shape "
            f"{[leaf.shape for leaf in leaves]}; stack them first"
        )
    ((size,),) = sizes
    if size < least:
        raise ValueError(f"{name}: the leading axis must have length {least} or more, got {size}")
    return size


def draws_by_rows(log_lik: ArrayLike, *, least: int = 1) -> Array:
    """The log likelihoods as a float array (S, N), S at least `least`."""
    (log_lik,) = named_floats(log_lik=log_lik)
    if log_lik.ndim != 2 or log_lik.shape[0] < least or log_lik.shape[1] < 1:
        raise ValueError(
            f"log_lik must have shape (S, N) with S >= {least} and N >= 1, got {log_lik.shape}"
        )
    check_values("log_lik", log_lik, lambda v: v < np.inf, "below infinity, and not NaN")
    return log_lik
