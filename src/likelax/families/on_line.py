"""Families of one number: tail probabilities and quantiles."""

import abc
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.model import Density
from likelax.numerics import lattice
from likelax.one_program import one_program

LogTails = tuple[Array, Array]
"""(log P(X <= x), log P(X > x)), nats."""


class OnLine(Density):
    """A continuous family of one number whose tails have a closed form.

    A family gives `_log_tails` between the ends of its support, and `_quantile` where there is a
    better way than bisection.
    """

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        """The smallest and the largest x."""
        return -jnp.inf, jnp.inf

    @abc.abstractmethod
    def _log_tails(self, x: Array) -> LogTails:
        """Both tails at x, which lies between the ends of the support, or is any number."""

    @one_program
    def log_cdf(self, x: ArrayLike) -> Array:
        """log P(X <= x), (...), nats; NaN at NaN."""
        return self._both(x)[0]

    @one_program
    def log_survival(self, x: ArrayLike) -> Array:
        """log P(X > x), (...), nats; NaN at NaN."""
        return self._both(x)[1]

    def quantile(self, prob: ArrayLike, *, upper: bool = False) -> Array:
        """The smallest x with P(X <= x) >= prob, or with P(X > x) <= prob, (...).

        That of a continuous family has first derivatives with respect to prob and the parameters.

        Args:
          prob: (...) in [0, 1]; NaN outside. 0 and 1 give the ends of the support.
          upper: whether prob is P(X > x).
        """
        (prob,) = numerics.named_floats(prob=prob)
        return self._upper_quantile(prob) if upper else self._lower_quantile(prob)

    @one_program
    def _lower_quantile(self, prob: Array) -> Array:
        prob, *_ = numerics.as_float(prob, *jax.tree.leaves(self))
        return self._between(prob, 1 - prob, False)

    @one_program
    def _upper_quantile(self, prob: Array) -> Array:
        prob, *_ = numerics.as_float(prob, *jax.tree.leaves(self))
        return self._between(1 - prob, prob, True)

    def _both(self, x: ArrayLike) -> LogTails:
        (x,) = numerics.named_floats(x=x)
        x, low, high = numerics.as_float(x, *self._ends())
        lower, upper = self._log_tails(self._within(x, low, high))
        lost = jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf).astype(lower.dtype)
        lower, upper = jnp.where(x > low, lower, lost), jnp.where(x < high, upper, lost)
        return jnp.where(x >= high, 0, lower), jnp.where((x <= low) & (x < high), 0, upper)

    def _within(self, x: Array, low: Array, high: Array) -> Array:
        """x, or some number between the ends where x is none."""
        inner = jnp.where(jnp.isinf(low), 0, 2 * jnp.abs(low) + 1)
        inner = jnp.where(jnp.isinf(high), inner, low / 2 + high / 2)
        return jnp.where((x > low) & (x < high), x, inner)

    def _between(self, below: Array, above: Array, upper: bool) -> Array:
        """The quantile from P(X <= x) and P(X > x), which add to one; `upper` says which is given."""
        below, above, low, high = numerics.as_float(below, above, *self._ends())
        inner = (below > 0) & (above > 0)
        lower, other = jnp.where(inner, below, 0.5), jnp.where(inner, above, 0.5)
        valid = (below >= 0) & (above >= 0)
        end = jnp.where(valid, jnp.where(below == 0, low, high), jnp.nan)
        return jnp.where(inner, self._quantile(lower, other, upper), end)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        """The quantile of two probabilities inside (0, 1)."""
        lower_is_less = below < above
        log_below, log_above = jnp.log(below), jnp.log(above)

        def is_short(x: Array) -> Array:
            lower, upper = self._log_tails(x)
            return jnp.where(lower_is_less, lower < log_below, upper > log_above)

        start = jax.lax.stop_gradient(bisect_log(is_short, below))
        return self._polished(start, below, above)

    def _polished(self, x: Array, below: Array, above: Array) -> Array:
        """A step of Newton's method from x: the last digits, and the derivative."""
        lower, upper = self._log_tails(x)
        log_density = jax.lax.stop_gradient(self.log_prob(x))
        from_below = (jnp.log(below) - lower) * jnp.exp(jax.lax.stop_gradient(lower) - log_density)
        from_above = (upper - jnp.log(above)) * jnp.exp(jax.lax.stop_gradient(upper) - log_density)
        step = jnp.where(below < above, from_below, from_above)
        return x + jnp.where(jnp.isfinite(step), step, 0)


class Counts(OnLine):
    """A family of whole numbers from 0 on whose tails have a closed form.

    Its quantiles are whole numbers, as floats, and have derivative 0.
    """

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def _log_mass(self, x: Array) -> Array:
        """Log probability of floats in the support, continued smoothly between whole numbers."""
        raise TypeError(f"{type(self).__name__}.entropy: no sum over its counts here")

    @one_program
    def entropy(self) -> Array:
        """-sum p(x) log p(x), a scalar in nats, by `numerics.lattice`: some thousand terms at any mean.

        NaN where the counts that matter are too large for whole numbers in the precision: 1.6e7 in
        float32.
        """
        mean, variance, end = numerics.as_float(self.mean(), self.variance(), self._ends()[1])
        return lattice.count_entropy(self._log_mass, mean, variance, end)

    def _both(self, x: ArrayLike) -> LogTails:
        (x,) = numerics.named_floats(x=x)
        x, low, high = numerics.as_float(x, *self._ends())
        count = jnp.floor(x)
        inside = (count >= low) & (count < high)
        lower, upper = self._log_tails(jnp.where(inside, count, low))
        lost = jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf).astype(lower.dtype)
        lower, upper = jnp.where(inside, lower, lost), jnp.where(inside, upper, lost)
        return jnp.where(x >= high, 0, lower), jnp.where(x < low, 0, upper)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        """The smallest count that reaches the probability to a few roundings, found bit by bit."""
        info = jnp.finfo(below.dtype)
        slack = 1 + 4 * float(info.eps)
        bits = jnp.asarray(2.0 ** np.arange(info.nmant, -1, -1), below.dtype)

        def add_bit(i: Array, count: Array) -> Array:
            further = count + bits[i]
            log_lower, log_upper = self._both(further)
            short = jnp.exp(log_lower) * slack < below
            if upper:
                short = jnp.exp(log_upper) > above * slack
            return jnp.where(short, further, count)

        found = jax.lax.fori_loop(0, bits.size, add_bit, jnp.full_like(below, -1.0)) + 1
        return jax.lax.stop_gradient(found)


def bisect_log(is_short: Callable[[Array], Array], like: Array) -> Array:
    """The positive x from where on `is_short(x)` is false, by bisection of log x, nearly to rounding.

    Args:
      is_short: x of the shape of `like` -> booleans.
      like: any array of the shape and dtype of the result.
    """
    info = jnp.finfo(like.dtype)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        short = is_short(jnp.exp(middle))
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    ends = [jnp.full_like(like, math.log(float(end))) for end in (info.tiny, info.max)]
    low, high = jax.lax.fori_loop(0, 32 if info.bits <= 32 else 50, halve, tuple(ends))
    return jnp.exp((low + high) / 2)


def exponential_quantile(below: Array, above: Array) -> Array:
    """The quantile of the exponential distribution of rate 1, from P(X <= x) and P(X > x)."""
    small = below < above
    low = -jnp.log1p(-jnp.where(small, below, 0.25))
    return jnp.where(small, low, -jnp.log(jnp.where(small, 0.5, above)))
