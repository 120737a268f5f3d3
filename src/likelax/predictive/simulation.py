"""Simulate data from a model, and summarise draws by intervals."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.model import SupportsSample
from likelax.numerics import as_array, named_floats
from likelax.numerics.checks import (
    as_tree,
    check_fraction,
    check_function,
    check_key,
    check_numbers,
    check_shape,
    check_size,
)
from likelax.predictive.score import check_draws

Draw = TypeVar("Draw")
Out = TypeVar("Out")


class Interval(NamedTuple):
    """Bounds of a predictive interval, both included.

    Attributes:
      lower, upper: (...).
    """

    lower: Array
    upper: Array


class Summary(NamedTuple):
    """Mean, standard deviation and interval of draws, entry by entry.

    Attributes:
      mean, sd: (...).
      interval: `Interval` of arrays (...).
    """

    mean: Array
    sd: Array
    interval: Interval


def simulate(
    key: Array,
    draws: Draw,
    sample: Callable[[Array, Draw], Out],
    *,
    chunk_size: int | None = None,
) -> Out:
    """One simulated data set for each draw of the parameters: x[s] ~ p(x | draws[s]).

    Args:
      key: a typed key.
      draws: a pytree with a leading axis S on every leaf: draws from a posterior, or S stacked
        models.
      sample: (key, one draw) -> simulated data, an array or a pytree.
      chunk_size: number of simulations at a time, which bounds the memory that `sample` needs;
        None is all at once. The result does not depend on it.
    Returns:
      The results of `sample`, with a leading axis S.
    Raises:
      ValueError: if draws have no common leading axis, or chunk_size < 1.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 6.3.

    Examples:
      >>> theta_key, toss_key = jax.random.split(jax.random.key(0))
      >>> theta = jax.random.beta(theta_key, 9.0, 5.0, (4000,))
      >>> heads = simulate(toss_key, theta, lambda k, p: jax.random.binomial(k, 10, p))
      >>> lower, upper = equal_tailed(heads, 0.9)
      >>> print(abs(float(heads.mean()) - 10 * 9 / 14) < 0.15, int(lower), int(upper))
      True 3 9
    """
    check_key(key)
    check_function("sample", sample)
    size = check_draws(draws)
    draws = as_tree("draws", draws)
    if chunk_size is not None:
        check_size("chunk_size", chunk_size)
    keys = jax.random.split(key, size)
    if chunk_size is None or chunk_size >= size:
        return jax.vmap(sample)(keys, draws)
    return jax.lax.map(lambda pair: sample(*pair), (keys, draws), batch_size=chunk_size)


def replicate(
    key: Array,
    model: SupportsSample,
    shape: tuple[int, ...],
    num_draws: int,
    *,
    chunk_size: int | None = None,
) -> DataLike:
    """Simulated data sets: `num_draws` samples of the given shape from a fitted model.

    Args:
      key: a typed key.
      model: anything with `sample(key, shape)`.
      shape: shape of one data set, as `sample` takes it: (N,) for N observations.
      num_draws: S.
      chunk_size: data sets at a time; None is all at once. The draws depend on it.
    Returns:
      (S, *shape, *event), an array or the model's pytree of arrays.
    Raises:
      ValueError: if num_draws or chunk_size is below 1.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 6.3.

    Examples:
      >>> from likelax.families import Poisson
      >>> replicate(jax.random.key(0), Poisson(3.0), (20,), 7).shape
      (7, 20)
    """
    check_key(key)
    check_shape(shape)
    check_size("num_draws", num_draws)
    if chunk_size is not None:
        check_size("chunk_size", chunk_size)
    check_function("model.sample", getattr(model, "sample", None))
    if chunk_size is None or chunk_size >= num_draws:
        return model.sample(key, (num_draws, *shape))
    keys = jax.random.split(key, math.ceil(num_draws / chunk_size))
    draws = jax.lax.map(lambda k: model.sample(k, (chunk_size, *shape)), keys)
    return jax.tree.map(lambda d: d.reshape(-1, *d.shape[2:])[:num_draws], draws)


def equal_tailed(draws: ArrayLike, mass: float = 0.9) -> Interval:
    """Central interval: at most (1 - mass) / 2 of the draws lie below it, and at most as many above.

    The bounds are draws (the inverse of the empirical distribution function). So bounds of whole
    numbers are whole, and the interval contains at least `mass` of the draws.

    Args:
      draws: (S, ...).
      mass: in (0, 1).
    Returns:
      `Interval` of arrays (...), dtype of draws.
    Raises:
      ValueError: if mass is not in (0, 1), there are no draws, or one is NaN.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.3.

    Examples:
      >>> lower, upper = equal_tailed(jnp.arange(1, 101), 0.9)
      >>> int(lower), int(upper)
      (5, 95)
    """
    return central_interval(_numbers(draws, mass), mass)


def central_interval(draws: Array, mass: float) -> Interval:
    """`equal_tailed` of draws that may hold NaN, whose bounds are then NaN or too low."""
    draws = jnp.sort(draws, axis=0)
    size = draws.shape[0]
    tail = (1 - mass) / 2
    return Interval(draws[_rank(tail * size)], draws[_rank((1 - tail) * size)])


def highest_density(draws: ArrayLike, mass: float = 0.9) -> Interval:
    """Shortest interval that contains at least `mass` of the draws; the lowest of equal ones.

    For densities with one mode. With two modes the region of highest density may not be an interval.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (S, ...).
      mass: in (0, 1).
    Returns:
      `Interval` of arrays (...).
    Raises:
      ValueError: if mass is not in (0, 1), there are no draws, or one is NaN.
    Source: Chen, Shao (1999), Journal of Computational and Graphical Statistics 8.

    Examples:
      >>> lower, upper = highest_density(jnp.array([0.0, 1.0, 1.0, 1.0, 9.0]), 0.6)
      >>> float(lower), float(upper)
      (1.0, 1.0)
    """
    draws = jnp.sort(_numbers(draws, mass), axis=0)
    held = _rank(mass * draws.shape[0]) + 1
    lower, upper = draws[: draws.shape[0] - held + 1], draws[held - 1 :]
    at = jnp.argmin(upper - lower, axis=0)[None]
    return Interval(
        jnp.take_along_axis(lower, at, axis=0)[0], jnp.take_along_axis(upper, at, axis=0)[0]
    )


def summarise(draws: ArrayLike, mass: float = 0.9) -> Summary:
    """Mean, standard deviation and central interval of draws over their first axis.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (S, ...); with one draw the standard deviation is NaN.
      mass: of the interval, in (0, 1).
    Returns:
      `Summary` of arrays (...).
    Raises:
      ValueError: if mass is not in (0, 1), there are no draws, or one is NaN.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.3.

    Examples:
      >>> float(summarise(jnp.array([1.0, 3.0])).mean)
      2.0
    """
    (values,) = named_floats(draws=_numbers(draws, mass))
    size = values.shape[0]
    mean = jnp.mean(values, axis=0)
    square = jnp.sum((values - mean[None]) ** 2, axis=0)
    sd = jnp.sqrt(square / (size - 1)) if size > 1 else jnp.full_like(square, jnp.nan)
    return Summary(mean, sd, equal_tailed(draws, mass))


def _numbers(draws: ArrayLike, mass: float) -> Array:
    draws = as_array("draws", draws)
    check_fraction("mass", mass)
    if draws.ndim < 1 or draws.shape[0] < 1:
        raise ValueError(f"draws must have shape (S, ...) with S >= 1, got {draws.shape}")
    check_numbers(draws=draws)
    return draws


def _rank(level: float) -> int:
    """Index of the smallest order statistic at which the count reaches `level`."""
    return max(math.ceil(level - 1e-9) - 1, 0)  # 0.05 * 100 must not pass 5 by a rounding error
