"""Expectations from independent draws and from weighted ones, with their standard errors.

Every function returns an `Estimate`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.monte_carlo._psis import centre
from likelax.numerics import Compensated, as_float, log_normalize, named_floats
from likelax.numerics.checks import checked

Sampler = Callable[[Array, Sequence[int]], Any]


class Estimate(NamedTuple):
    """A Monte Carlo estimate with its standard error.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      value: the estimate of E[f]; the shape of f, or a pytree of arrays.
      standard_error: standard deviation of `value` over repetitions, same shapes. NaN for one draw,
        which gives no estimate of it.
      ess: scalar, effective sample size: the number of independent draws of equal precision. For
        independent draws it is num_samples.
      num_samples: integer scalar, the number of draws.
    """

    value: Any
    standard_error: Any
    ess: Array
    num_samples: Array

    @checked()
    def interval(self, coverage: float = 0.95) -> tuple[Any, Any]:
        """(low, high): value -+ z standard errors, z the normal quantile.

        Args:
          coverage: the probability that such an interval contains the truth, in (0, 1).
        Raises:
          ValueError: for a coverage outside (0, 1).

        Examples:
          >>> low, high = mean(jnp.array([1.0, 3.0])).interval(0.95)
          >>> print(f"{low:.2f} {high:.2f}")
          0.04 3.96
        """
        if not 0 < coverage < 1:
            raise ValueError(f"interval wants coverage in (0, 1), got {coverage}.")
        z = jax.scipy.special.ndtri(0.5 + coverage / 2)
        low = jax.tree.map(lambda v, e: v - z.astype(v.dtype) * e, self.value, self.standard_error)
        high = jax.tree.map(lambda v, e: v + z.astype(v.dtype) * e, self.value, self.standard_error)
        return low, high


def check_num_samples(num_samples: int, least: int = 1) -> None:
    """Raise for a number of draws that is not an integer of at least `least`.

    Args:
      num_samples: the number to check.
      least: the smallest valid number.
    Raises:
      ValueError: naming the number.

    Examples:
      >>> check_num_samples(0)
      Traceback (most recent call last):
        ...
      ValueError: num_samples must be an integer of at least 1, got 0.
    """
    if not isinstance(num_samples, int) or num_samples < least:
        raise ValueError(
            f"num_samples must be an integer of at least {least}, got {num_samples!r}."
        )


@checked()
def expectation(
    key: Array,
    sample: Sampler,
    f: Callable[[Any], Any],
    num_samples: int,
    *,
    chunk_size: int | None = None,
) -> Estimate:
    """E[f(X)] by averaging f over independent draws.

    value = (1/S) sum_s f(x_s), standard error = sd(f(x_s)) / sqrt(S)

    Args:
      key: a typed key.
      sample: `sample(key, shape)` gives draws with leading axes `shape`; a model's bound
        `sample` method is one.
      f: maps ONE draw to an array or a pytree of arrays; it is vmapped over the draws.
      num_samples: S, at least 1.
      chunk_size: draws held in memory at a time; None holds all of them. Must divide
        num_samples.
    Returns:
      An `Estimate`; ess = num_samples. With one draw the standard error is NaN. A draw where
      f is infinite makes the value infinite.
    Raises:
      ValueError: num_samples below 1, or a chunk_size that does not divide it.
    Source: Owen (2013), Monte Carlo theory, methods and examples, chapter 2.

    Examples:
      >>> normal = lambda key, shape: 2 + 3 * jax.random.normal(key, shape)
      >>> second = expectation(jax.random.key(0), normal, lambda x: x**2, 100_000)
      >>> low, high = second.interval(0.99)
      >>> bool(low < 13) and bool(13 < high)
      True
    """
    check_num_samples(num_samples)
    if chunk_size is None or chunk_size == num_samples:
        values = jax.vmap(f)(sample(key, (num_samples,)))
        return mean(values)
    if chunk_size < 1 or num_samples % chunk_size:
        raise ValueError(
            f"chunk_size must divide num_samples={num_samples}, got {chunk_size}; "
            "choose a divisor or change num_samples."
        )

    def of_chunk(step: Array) -> Any:
        values = jax.vmap(f)(sample(jax.random.fold_in(key, step), (chunk_size,)))
        return jax.tree.map(_moments, values)

    moments = jax.lax.map(of_chunk, jnp.arange(num_samples // chunk_size))
    merged = jax.tree.map(lambda m: _merge(m, chunk_size), moments, is_leaf=_is_moments)
    return _from_moments(merged, num_samples)


@checked()
def expectation_until(
    key: Array,
    sample: Sampler,
    f: Callable[[Any], Any],
    standard_error: float,
    *,
    chunk_size: int = 1000,
    max_samples: int = 10_000_000,
) -> Estimate:
    """E[f(X)] from as many draws as the wanted standard error needs, in bounded memory.

    Draws come in chunks until every entry of the standard error is at most the wanted one.

    Args:
      key, sample, f: as for `expectation`.
      standard_error: the wanted one, in the units of f; positive.
      chunk_size: draws between two tests of the error. A small chunk estimates the variance badly
        and may stop too early: use some hundreds or more.
      max_samples: stop after the last whole chunk below this, whatever the error.
    Returns:
      An `Estimate`. Its standard error is above the target if max_samples was reached. A NaN in f
      runs to max_samples.
    Raises:
      ValueError: standard_error not positive, chunk_size below 2 or above max_samples.
    Source: Chow and Robbins (1965), On the asymptotic theory of fixed-width sequential
      confidence intervals.

    Examples:
      >>> normal = lambda key, shape: jax.random.normal(key, shape)
      >>> found = expectation_until(jax.random.key(0), normal, lambda x: x, 0.01)
      >>> bool(found.standard_error <= 0.01) and 9000 <= int(found.num_samples) <= 12000
      True
    """
    if not standard_error > 0:
        raise ValueError(f"standard_error must be positive, got {standard_error}.")
    if not 2 <= chunk_size <= max_samples:
        raise ValueError(
            f"chunk_size must be from 2 to max_samples={max_samples}, got {chunk_size}."
        )

    def draw(step: Array) -> Any:
        values = jax.vmap(f)(sample(jax.random.fold_in(key, step), (chunk_size,)))
        return jax.tree.map(_moments, values)

    def errors(moments: Any, step: Array) -> Any:
        return jax.tree.map(lambda m: _error(m, step * chunk_size), moments, is_leaf=_is_moments)

    def unmet(state: tuple[Array, Any]) -> Array:
        step, moments = state
        reached = jax.tree.leaves(errors(moments, step))
        large = [jnp.any(~(error <= standard_error)) for error in reached]
        return jnp.any(jnp.stack(large)) & ((step + 1) * chunk_size <= max_samples)

    def add(state: tuple[Array, Any]) -> tuple[Array, Any]:
        step, moments = state
        merge = partial(_add_moments, seen=step, unit=chunk_size)
        return step + 1, jax.tree.map(merge, moments, draw(step), is_leaf=_is_moments)

    step, moments = jax.lax.while_loop(unmet, add, (jnp.asarray(1), draw(jnp.asarray(0))))
    value = jax.tree.map(lambda m: m.mean, moments, is_leaf=_is_moments)
    count = step * chunk_size
    return Estimate(value, errors(moments, step), as_float(count)[0], count)


def mean(values: Any) -> Estimate:
    """The mean over the leading axis of independent values, with its standard error.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (S, ...) or a pytree of such arrays, all with the same S of at least 1.
    Raises:
      ValueError: for a scalar, or without draws.
    Source: Owen (2013), Monte Carlo theory, methods and examples, chapter 2.

    Examples:
      >>> print(mean(jnp.array([1.0, 3.0])).standard_error)
      1.0
    """
    leaves = jax.tree.leaves(values)
    if not leaves or any(jnp.ndim(v) == 0 or jnp.shape(v)[0] == 0 for v in leaves):
        raise ValueError(
            "values must hold arrays with a leading axis of at least one draw, got "
            f"{[jnp.shape(v) for v in leaves]}"
        )
    num_samples = leaves[0].shape[0]
    return _from_moments(jax.tree.map(_moments, values), num_samples)


class _Moments(NamedTuple):
    mean: Array
    squares: Array  # sum of squared deviations from the mean


def _is_moments(node: Any) -> bool:
    return isinstance(node, _Moments)


def _moments(values: ArrayLike) -> _Moments:
    (values,) = named_floats(values=values)
    # about the first value, so that constants have no spread and large values lose no digits
    first = jnp.where(jnp.isfinite(values[0]), values[0], 0)
    gaps = values - first[None]
    shift = jnp.mean(gaps, axis=0)
    return _Moments(first + shift, jnp.sum((gaps - shift[None]) ** 2, axis=0))


def _merge(chunks: _Moments, chunk_size: int) -> _Moments:
    """Moments of the union of equal chunks, stacked on the leading axis."""
    total = _moments(chunks.mean)
    return _Moments(total.mean, jnp.sum(chunks.squares, axis=0) + chunk_size * total.squares)


def _add_moments(before: _Moments, chunk: _Moments, *, seen: Array, unit: int) -> _Moments:
    """Moments of `seen` chunks of `unit` draws and one more."""
    weight = seen.astype(chunk.mean.dtype)
    shift = chunk.mean - before.mean
    between = unit * weight / (weight + 1) * shift**2
    return _Moments(before.mean + shift / (weight + 1), before.squares + chunk.squares + between)


def _error(m: _Moments, count: ArrayLike) -> Array:
    """Standard error of a mean of `count` values; NaN for a single one."""
    n = jnp.asarray(count).astype(m.mean.dtype)
    return jnp.sqrt(jnp.where(n > 1, m.squares / jnp.where(n > 1, n - 1, 1) / n, jnp.nan))


def _from_moments(moments: Any, num_samples: int) -> Estimate:
    count = jnp.asarray(num_samples)
    return Estimate(
        jax.tree.map(lambda m: m.mean, moments, is_leaf=_is_moments),
        jax.tree.map(lambda m: _error(m, num_samples), moments, is_leaf=_is_moments),
        as_float(count)[0],
        count,
    )


def weighted(log_weights: ArrayLike | Compensated, values: Any) -> Estimate:
    """Self-normalised importance sampling: E_p[f] from draws of another distribution q.

    value = sum_s w_s f_s with w_s proportional to p(x_s) / q(x_s), sum_s w_s = 1;
    standard error = sqrt(sum_s w_s^2 (f_s - value)^2) (delta method); ess = 1 / sum_s w_s^2

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_weights: (S,) log p(x_s) - log q(x_s), nats, up to a constant; -inf drops a draw.
        Pass `psis(log_weights).log_weights` for weights with heavy tails.
      values: (S, ...) f at the draws, or a pytree of such arrays. Values of dropped draws are not
        used.
    Returns:
      An `Estimate`. If every weight is -inf all is NaN and ess is 0.
    Raises:
      ValueError: if log_weights is not (S,) or a leading axis of values differs.
    Source: Owen (2013), section 9.2.

    Examples:
      >>> print(weighted(jnp.log(jnp.array([0.25, 0.75])), jnp.array([0.0, 1.0])).value)
      0.75
    """
    log_weights = centre(log_weights)
    shapes = [jnp.shape(v) for v in jax.tree.leaves(values)]
    if log_weights.ndim != 1 or any(shape[:1] != log_weights.shape for shape in shapes):
        raise ValueError(
            f"weighted wants log_weights (S,) and values (S, ...), got {log_weights.shape} and "
            f"{shapes}."
        )
    log_w, total = log_normalize(log_weights)
    w = jnp.exp(log_w)
    w = jnp.where(total == -jnp.inf, jnp.nan, w)

    def kept(v: ArrayLike) -> tuple[Array, Array]:
        weight, v = named_floats(w=w, values=v)
        weight = weight.reshape(-1, *(1,) * (v.ndim - 1))
        weight = jnp.broadcast_to(weight, v.shape)
        return weight, jnp.where(weight == 0, 0, v)

    def average(v: ArrayLike) -> Array:
        weight, v = kept(v)
        return jnp.sum(weight * v, axis=0)

    def standard_error(v: ArrayLike) -> Array:
        weight, v = kept(v)
        return jnp.sqrt(jnp.sum((weight * (v - jnp.sum(weight * v, axis=0)[None])) ** 2, axis=0))

    return Estimate(
        jax.tree.map(average, values),
        jax.tree.map(standard_error, values),
        jnp.where(total == -jnp.inf, 0, 1 / jnp.sum(w**2)),
        jnp.asarray(log_weights.shape[0]),
    )
