"""Normal draws that compile quickly; draws by rejection, exact also where counts are large, in loops that end.

A round ends a loop with at least the probability that is given here, whatever the parameters, so it
takes more than r rounds with probability (1 - that)^r. Invalid and infinite parameters never enter
a loop, and counts can't wrap.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics import special


def standard_normal(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """Standard normal draws: the values of `jax.random.normal`.

    They are drawn in one row. Where the last axis has few entries, 10 say, XLA writes out all rounds of the
    generator for each of them, and compiles four times as long.

    Examples:
      >>> print(standard_normal(jax.random.key(0), (2, 3), jnp.float32).shape)
      (2, 3)
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(tuple(shape))


def gamma(key: Array, concentration: ArrayLike, shape: Sequence[int]) -> Array:
    """Gamma draws of rate 1: NaN where the concentration is negative or NaN.

    Ends: a round accepts with probability 0.951 at concentration 1, and with more above it; smaller
    concentrations are drawn at concentration + 1. More than 20 rounds have probability 1e-26.

    Source: Marsaglia & Tsang (2000), ACM Transactions on Mathematical Software 26, 363-372.

    Examples:
      >>> print(gamma(jax.random.key(0), jnp.inf, (2,)))
      [inf inf]
    """
    a, inner = _inner(concentration)
    draws = jax.random.gamma(key, jnp.where(inner, a, 1), tuple(shape), a.dtype)
    # all mass at 0, and none anywhere
    ends = jnp.where((a == 0) | (a == jnp.inf), a, jnp.nan)
    return jnp.where(jnp.broadcast_to(inner, draws.shape), draws, ends)


def _inner(concentration: ArrayLike) -> tuple[Array, Array]:
    (a,) = numerics.as_float(concentration)
    return a, (a > 0) & (a < jnp.inf)


def log_gamma(key: Array, concentration: ArrayLike, shape: Sequence[int]) -> Array:
    """Logarithms of gamma draws, which do not underflow where the concentration is small.

    Ends as `gamma` does.
    """
    a, inner = _inner(concentration)
    draws = jax.random.loggamma(key, jnp.where(inner, a, 1), tuple(shape), a.dtype)
    ends = numerics.safe_log(jnp.where((a == 0) | (a == jnp.inf), a, jnp.nan))
    return jnp.where(jnp.broadcast_to(inner, draws.shape), draws, ends)


_ROUNDS = 64
_FEW = 10.0  # below this mean jax's own loops, which add up waiting times, are right


def _largest() -> int:
    return int(jnp.iinfo(jax.dtypes.canonicalize_dtype(int)).max)


def _reject(
    key: Array, start: Array, propose: Callable[[Array, Array], tuple[Array, Array]]
) -> Array:
    """The first accepted proposals, in the shape of start; after 64 rounds the last ones.

    Args:
      propose: two arrays of numbers, uniform in (-1/2, 1/2) and in (0, 1) -> (proposals, whether
        each is accepted).
    """

    def again(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        step, key, value, done = state
        key, draw = jax.random.split(key)
        u = jax.random.uniform(draw, (2, *start.shape), start.dtype)
        new, accept = propose(u[0] - 0.5, u[1])
        return step + 1, key, jnp.where(done, value, new), done | accept

    state = (jnp.zeros((), int), key, start, jnp.zeros(start.shape, bool))
    return jax.lax.while_loop(lambda s: (s[0] < _ROUNDS) & ~jnp.all(s[3]), again, state)[2]


def poisson(key: Array, rate: ArrayLike, shape: Sequence[int]) -> Array:
    """Poisson counts: the largest integer where they exceed it, -1 where the rate is invalid.

    Ends: below a rate of 10 a product of uniform numbers is taken until it falls below exp(-rate),
    one round for each count and one more. From 10 on a round accepts with probability above 0.7, and
    there are 64 rounds at most: all fail with probability below 1e-33. The densities are compared
    without cancelling, so draws follow their law also at 1e9, where those of `jax.random.poisson`
    are too wide. Counts beyond 2^24 are rounded to float32.

    Source: Hörmann (1993), Insurance: Mathematics and Economics 12, 39-45.

    Examples:
      >>> print(poisson(jax.random.key(0), jnp.array([0.0, jnp.inf, jnp.nan]), (3,)))
      [         0 2147483647         -1]
    """
    (rate,) = numerics.as_float(rate)
    return _poisson(key, jnp.broadcast_to(rate, tuple(shape)))


@jax.jit
def _poisson(key: Array, rate: Array) -> Array:
    few, many = jax.random.split(key)
    large = rate >= _FEW
    small = jax.random.poisson(few, jnp.where((rate >= 0) & ~large, rate, 0), rate.shape)
    mean = jnp.where(large & (rate < jnp.inf), rate, _FEW)
    b = 0.931 + 2.53 * jnp.sqrt(mean)
    a = -0.059 + 0.02483 * b

    def propose(u: Array, v: Array) -> tuple[Array, Array]:
        edge = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / edge + b) * u + mean + 0.43)
        near = (edge >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        count = jnp.maximum(k, 0)
        density = -special.deviance(count, mean) - special.factorial_excess(count)
        hat = jnp.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / edge**2 + b))
        far = (k >= 0) & ~((edge < 0.013) & (v > edge)) & (hat <= density)
        return k, near | far

    draws = jnp.where(large, whole_counts(_reject(many, mean, propose)), small)
    beyond = jnp.where(rate >= float(_largest()), _largest(), -1)
    return jnp.where((rate >= 0) & (rate < float(_largest())), draws, beyond)


def binomial(key: Array, total_count: ArrayLike, probs: ArrayLike, shape: Sequence[int]) -> Array:
    """Binomial counts as floats: NaN for an invalid or infinite parameter.

    Ends: where total_count min(p, 1 - p) is below 10, waiting times of at least one trial are added
    until they exceed total_count, 11 rounds on average. Else a round accepts with probability above
    0.7, and there are 64 at most: all fail with probability below 1e-33. The densities are compared
    without cancelling, so draws follow their law also for 1e9 trials, where those of
    `jax.random.binomial` are a quarter too wide. Counts beyond 2^24 are rounded to float32.

    Source: Hörmann (1993), Journal of Statistical Computation and Simulation 46, 101-110.

    Examples:
      >>> print(binomial(jax.random.key(0), jnp.array([4.0, jnp.inf]), jnp.array([1.0, 0.0]), (2,)))
      [ 4. nan]
    """
    n, p = numerics.as_float(total_count, probs)
    return _binomial(key, *(jnp.broadcast_to(a, tuple(shape)) for a in (n, p)))


@jax.jit
def _binomial(key: Array, n: Array, p: Array) -> Array:
    valid = (n >= 0) & (n < jnp.inf) & (p >= 0) & (p <= 1)
    n, p = jnp.where(valid, n, 0), jnp.where(valid, p, 0.5)
    few, many = jax.random.split(key)
    q = jnp.minimum(p, 1 - p)
    large = n * q >= _FEW
    small = jax.random.binomial(few, jnp.where(large, 1, n), q, n.shape, n.dtype)
    drawn = _reject(many, n, _binomial_proposal(jnp.where(large, n, 40), jnp.where(large, q, 0.5)))
    wins = jnp.where(large, drawn, small)
    return jnp.where(valid, jnp.where(p > 0.5, n - wins, wins), jnp.nan)


def _binomial_proposal(n: Array, q: Array) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Proposals of counts of n trials of probability q <= 1/2, n q >= 10."""
    width = jnp.sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * width
    a = -0.0873 + 0.0248 * b + 0.01 * q
    mode = jnp.floor((n + 1) * q)
    top = special.log_binomial_term(mode, n - mode, q, 1 - q)

    def propose(u: Array, v: Array) -> tuple[Array, Array]:
        edge = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / edge + b) * u + n * q + 0.5)
        near = (edge >= 0.07) & (v <= 0.92 - 4.2 / b)
        count = jnp.clip(k, 0, n)
        gap = special.log_binomial_term(count, n - count, q, 1 - q) - top
        hat = jnp.log(v * (2.83 + 5.1 / b) * width / (a / edge**2 + b))
        return k, near | ((k >= 0) & (k <= n) & (hat <= gap))

    return propose


def whole_counts(counts: Array) -> Array:
    """Floats as integers: the largest integer where they exceed it, -1 for NaN.

    Examples:
      >>> print(whole_counts(jnp.array([3.0, 1e20, jnp.nan])))
      [         3 2147483647         -1]
    """
    most = _largest()
    inner = (counts >= 0) & (counts < float(most))
    ends = jnp.where(counts >= float(most), most, -1)
    return jnp.where(inner, jnp.where(inner, counts, 0).astype(int), ends)
