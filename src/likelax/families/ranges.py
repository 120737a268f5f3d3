"""Families whose parameter bounds the data: uniform, Pareto, and a point mass."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Distribution,
    Estimable,
    Family,
    Prior,
    alike,
    finite,
    inside,
    where_above,
)
from likelax.families.on_line import LogTails, OnLine, exponential_quantile
from likelax.model import Density, Model, pytree
from likelax.numerics.special import deviance, log_ratio
from likelax.numerics.tails import log_complement
from likelax.statistics import Extremes, Merging


def _extremes(x: Array, weights: Array) -> Extremes:
    x, weights = numerics.as_float(x, weights)
    counts = weights > 0
    low = jnp.min(jnp.where(counts, x, jnp.inf), initial=jnp.inf)
    high = jnp.max(jnp.where(counts, x, -jnp.inf), initial=-jnp.inf)
    weight = jnp.sum(weights)
    return Extremes(weight, jnp.where(weight > 0, low, 0), jnp.where(weight > 0, high, 0))


@pytree
class Uniform(OnLine, Estimable[Extremes, Never]):
    """p(x) = 1 / (high - low) for low <= x <= high

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      low: scalar.
      high: scalar above low.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(Uniform(0.0, 2.0).log_prob(jnp.array([1.0, 3.0])).round(4))
      [-0.6931    -inf]
    """

    low: Array
    high: Array

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        low, high = numerics.as_float(self.low, self.high)
        return low + (high - low) * jax.random.uniform(key, tuple(shape), low.dtype)

    def mean(self) -> Array:
        """(low + high) / 2."""
        low, high = numerics.as_float(self.low, self.high)
        return low + (high - low) / 2

    def variance(self) -> Array:
        """(high - low)^2 / 12."""
        low, high = numerics.as_float(self.low, self.high)
        return (high - low) ** 2 / 12

    def entropy(self) -> Array:
        """log(high - low), nats."""
        low, high = numerics.as_float(self.low, self.high)
        return jnp.log(high - low)

    def kl_divergence(self, other: Self) -> Array:
        """Log of the ratio of the lengths, nats; inf where self reaches beyond other."""
        self._same_type(other)
        low, high, low0, high0 = numerics.as_float(self.low, self.high, other.low, other.high)
        within = (low >= low0) & (high <= high0)
        return jnp.where(within, log_ratio(high0 - low0, high - low), jnp.inf)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.low, self.high

    def _log_tails(self, x: Array) -> LogTails:
        x, low, high = numerics.as_float(x, self.low, self.high)
        return log_ratio(x - low, high - low), log_ratio(high - x, high - low)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, low, high = numerics.as_float(below, above, self.low, self.high)
        length = high - low
        return jnp.where(below < above, low + length * below, high - length * above)

    def expected_log_prob(self, stats: Extremes) -> Array:
        """-weight log(high - low), or -inf where an observation lies outside, nats."""
        low, high = numerics.as_float(self.low, self.high)
        holds = (stats.weight == 0) | ((stats.low >= low) & (stats.high <= high))
        return jnp.where(holds, -stats.weight * jnp.log(high - low), -jnp.inf)

    def atom(self) -> tuple[Array, Array]:
        """(low == high, low)."""
        low, high = numerics.as_float(self.low, self.high)
        return low == high, low

    def _log_density(self, x: Array) -> Array:
        v, low, high = numerics.as_float(x, self.low, self.high)
        flat = jnp.broadcast_to(-jnp.log(high - low), v.shape)
        return inside((v >= low) & (v <= high), v, flat)

    def _statistics(self, x: Array, weights: Array) -> Extremes:
        return _extremes(x, weights)

    def _maximum_likelihood(self, stats: Extremes) -> Self:
        low, high = numerics.as_float(self.low, self.high)
        seen = stats.weight > 0
        return type(self)(jnp.where(seen, stats.low, low), jnp.where(seen, stats.high, high))


@pytree
class UniformFromZero(OnLine, Family[Extremes, "Pareto"]):
    """p(x) = 1 / high for 0 <= x <= high; the conjugate prior of `high` is a `Pareto`.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      high: positive scalar.

    Source: Murphy (2012), Machine Learning: A Probabilistic Perspective, exercises 3.8 and 3.9.

    Examples:
      >>> stats, _ = UniformFromZero(9.0).e_step(jnp.array([3.0, 5.0]))
      >>> print(UniformFromZero(9.0).m_step(stats).high, Pareto(scale=1.0, shape=1.0).posterior(stats).scale)
      5.0 5.0
    """

    _statistics_hold_support = True
    high: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        return self._uniform().sample(key, shape)

    def mean(self) -> Array:
        """high / 2."""
        (high,) = numerics.as_float(self.high)
        return high / 2

    def variance(self) -> Array:
        """high^2 / 12."""
        (high,) = numerics.as_float(self.high)
        return high**2 / 12

    def entropy(self) -> Array:
        """log high, nats."""
        (high,) = numerics.as_float(self.high)
        return jnp.log(high)

    def kl_divergence(self, other: Self) -> Array:
        """Log of the ratio of the ends, nats; inf where self reaches beyond other."""
        self._same_type(other)
        return self._uniform().kl_divergence(other._uniform())

    def _uniform(self) -> Uniform:
        return Uniform(jnp.zeros_like(self.high), self.high)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, self.high

    def _log_tails(self, x: Array) -> LogTails:
        return self._uniform()._log_tails(x)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        return self._uniform()._quantile(below, above, upper)

    def expected_log_prob(self, stats: Extremes) -> Array:
        """-weight log high, or -inf where an observation lies outside, nats."""
        (high,) = numerics.as_float(self.high)
        holds = (stats.weight == 0) | ((stats.low >= 0) & (stats.high <= high))
        return jnp.where(holds, -stats.weight * jnp.log(high), -jnp.inf)

    def parameter(self) -> Array:
        """high, as a Pareto prior describes it."""
        return jnp.asarray(self.high)

    def predictive(self, prior: "Pareto") -> "ParetoUniform":
        """Uniform with a Pareto-distributed end."""
        return ParetoUniform(scale=prior.scale, shape=prior.shape)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, high = numerics.as_float(x, self.high)
        return inside((v >= 0) & (v <= high), v, jnp.broadcast_to(-jnp.log(high), v.shape))

    def _statistics(self, x: Array, weights: Array) -> Extremes:
        return _extremes(x, weights)

    def _maximum_likelihood(self, stats: Extremes) -> Self:
        (high,) = numerics.as_float(self.high)
        return type(self)(jnp.where(stats.weight > 0, stats.high, high))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)


@pytree
class ParetoUniform(OnLine, Distribution):
    """p(x) = integral of Uniform(x | 0, h) Pareto(h | scale, shape) dh, x >= 0

    Flat up to scale, and falling as x^(-shape - 1) beyond.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      scale: positive scalar. Both by keyword only: libraries differ in their order.
      shape: positive scalar.

    Source: Murphy (2012), Machine Learning: A Probabilistic Perspective, exercise 3.9.

    Examples:
      >>> print(jnp.exp(ParetoUniform(scale=1.0, shape=1.0).log_prob(jnp.array([0.5, 2.0]))))
      [0.5   0.125]
    """

    _: dataclasses.KW_ONLY
    scale: Array = constrained(positive)
    shape: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        key_high, key_value = jax.random.split(key)
        high = Pareto(scale=self.scale, shape=self.shape).sample(key_high, shape)
        return high * jax.random.uniform(key_value, tuple(shape), high.dtype)

    def mean(self) -> Array:
        """shape scale / (2 (shape - 1)); inf where shape <= 1."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return where_above(a, 1, lambda a: a * scale / (a - 1) / 2)

    def variance(self) -> Array:
        """shape scale^2 / (3 (shape - 2)) - mean^2; inf where shape <= 2."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return where_above(a, 2, lambda a: scale**2 * (a / (a - 2) / 3 - (a / (a - 1) / 2) ** 2))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """log(scale (shape + 1) / shape) + 1 / shape, nats."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return jnp.log(scale) + jnp.log1p(1 / a) + 1 / a

    def _log_tails(self, x: Array) -> LogTails:
        x, scale, a = numerics.as_float(x, self.scale, self.shape)
        log_step = log_ratio(x, scale)
        flat = x <= scale
        log_lower = jnp.where(flat, log_step, 0) - jnp.log1p(1 / a)
        log_upper = -a * jnp.where(flat, 0, log_step) - jnp.log1p(a)
        return (
            jnp.where(flat, log_lower, log_complement(log_upper)),
            jnp.where(flat, log_complement(log_lower), log_upper),
        )

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, scale, a = numerics.as_float(below, above, self.scale, self.shape)
        share = above * (a + 1)
        beyond = jnp.exp(-jnp.log(jnp.minimum(share, 1)) / a)
        return scale * jnp.where(share < 1, beyond, below * (1 + 1 / a))

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, scale, a = numerics.as_float(x, self.scale, self.shape)
        support = self._support(v)
        beyond = support & (v > scale)
        tail = (a + 1) * log_ratio(jnp.where(beyond, v, scale), scale)
        flat = jnp.log(a) - jnp.log1p(a) - jnp.log(scale)
        return inside(support, v, flat - jnp.where(beyond, tail, 0))


@pytree
class ParetoStats(Merging):
    """Weight, smallest value, and weighted sum of log(x / smallest).

    With zero weight the smallest value is not used.
    """

    weight: Array
    low: Array
    log_excess: Array

    def __add__(self, other: "ParetoStats") -> "ParetoStats":
        mine, theirs = self.weight > 0, other.weight > 0
        low = jnp.where(
            mine & theirs, jnp.minimum(self.low, other.low), jnp.where(mine, self.low, other.low)
        )
        shift = sum(
            jnp.where(s.weight > 0, s.weight * log_ratio(s.low, low), 0) for s in (self, other)
        )
        return ParetoStats(
            self.weight + other.weight, low, self.log_excess + other.log_excess + shift
        )

    def scaled(self, factor: ArrayLike) -> "ParetoStats":
        """The statistics of the same data with every weight multiplied by `factor`."""
        return ParetoStats(self.weight * factor, self.low, self.log_excess * factor)


@pytree
class Pareto(OnLine, Estimable[ParetoStats, Never], Prior[Extremes]):
    """p(x) = shape scale^shape / x^(shape + 1) for x >= scale

    As a prior of the end of a `UniformFromZero` it is updated by `Extremes`; as a model of data
    its `m_step` takes the smallest observation as scale.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      scale: positive scalar, the smallest value. Both by keyword only: libraries differ in their
        order.
      shape: positive scalar, the tail index.

    Source: Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, 20.

    Examples:
      >>> print(f"{Pareto(scale=1.0, shape=1.0).log_prob(2.0):.4f}")
      -1.3863
    """

    _: dataclasses.KW_ONLY
    scale: Array = constrained(positive)
    shape: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return scale * jnp.exp(jax.random.exponential(key, tuple(shape), a.dtype) / a)

    def expected_log_prob(self, stats: ParetoStats) -> Array:
        """Log likelihood as a function of the statistics, -inf where one lies below scale, nats."""
        scale, a = numerics.as_float(self.scale, self.shape)
        seen = stats.weight > 0
        beyond = log_ratio(jnp.where(seen, stats.low, scale), scale)
        lift = (a + 1) * (stats.log_excess + stats.weight * beyond)
        value = stats.weight * (jnp.log(a) - jnp.log(scale)) - lift
        return jnp.where(seen & (stats.low < scale), -jnp.inf, jnp.where(seen, value, 0))

    def posterior(self, stats: Extremes) -> Self:
        """Pareto(max(scale, largest observation), shape + weight)."""
        scale, a = numerics.as_float(self.scale, self.shape)
        high = jnp.where(stats.weight > 0, stats.high, scale)
        return type(self)(scale=jnp.maximum(scale, high), shape=a + stats.weight)

    def mean(self) -> Array:
        """shape scale / (shape - 1), inf where shape <= 1."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return jnp.where(a > 1, a * scale / jnp.where(a > 1, a - 1, 1), jnp.inf)

    def variance(self) -> Array:
        """a scale^2 / ((a - 1)^2 (a - 2)) with a = shape; inf where a <= 2."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return where_above(a, 2, lambda a: a * (scale / (a - 1)) ** 2 / (a - 2))

    def entropy(self) -> Array:
        """log(scale / shape) + 1 + 1 / shape, nats."""
        scale, a = numerics.as_float(self.scale, self.shape)
        return jnp.log(scale / a) + 1 + 1 / a

    def kl_divergence(self, other: Self) -> Array:
        """r - 1 - log r + shape' log(scale / scale'), r = shape' / shape; inf where scale < scale'."""
        self._same_type(other)
        scale, a, scale0, a0 = numerics.as_float(self.scale, self.shape, other.scale, other.shape)
        value = deviance(1.0, a0 / a) + a0 * log_ratio(scale, scale0)
        return jnp.where(scale >= scale0, value, jnp.inf)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.scale, jnp.inf

    def _log_tails(self, x: Array) -> LogTails:
        x, scale, a = numerics.as_float(x, self.scale, self.shape)
        log_upper = -a * log_ratio(x, scale)
        return log_complement(log_upper), log_upper

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, scale, a = numerics.as_float(below, above, self.scale, self.shape)
        return scale * jnp.exp(exponential_quantile(below, above) / a)

    def mode(self) -> Array:
        """scale."""
        return jnp.asarray(self.scale)

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is UniformFromZero unless given."""
        return (UniformFromZero(self.scale) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: Extremes) -> Array:
        """log p(data) with the end integrated out, nats; -inf where an observation is negative."""
        scale, a = numerics.as_float(self.scale, self.shape)
        after = self.posterior(stats)
        value = (
            a * (jnp.log(scale) - jnp.log(after.scale))
            - stats.weight * jnp.log(after.scale)
            - jnp.log1p(stats.weight / a)
        )
        return jnp.where((stats.weight > 0) & (stats.low < 0), -jnp.inf, value)

    def _support(self, x: Any) -> Any:
        return (x > 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, scale, a = numerics.as_float(x, self.scale, self.shape)
        support = (v >= scale) & (v < jnp.inf)
        ratio = log_ratio(jnp.where(support, v, scale), scale)
        return inside(support, v, jnp.log(a) - jnp.log(scale) - (a + 1) * ratio)

    def _statistics(self, x: Array, weights: Array) -> ParetoStats:
        x, weights = numerics.as_float(x, weights)
        low = _extremes(x, weights).low
        excess = numerics.weighted_sum(weights, log_ratio(x, low))
        return ParetoStats(jnp.sum(weights), low, excess)

    def _maximum_likelihood(self, stats: ParetoStats) -> Self:
        scale, a = numerics.as_float(self.scale, self.shape)
        seen = stats.weight > 0
        # data that are all alike have no spread, and the index is infinite
        shape = stats.weight / jnp.where(seen, stats.log_excess, 1)
        return type(self)(scale=jnp.where(seen, stats.low, scale), shape=jnp.where(seen, shape, a))


@pytree
class Delta(OnLine, Estimable[Array, Never]):
    """All mass on one value: p(x) = 1 where x = value, and 0 elsewhere.

    For discrete data; `m_step` holds the value. With `OneOf` it makes zero inflation a mixture.

    Attributes:
      value: scalar.

    Examples:
      >>> print(Delta(0.0).log_prob(jnp.array([0.0, 1.0])))
      [  0. -inf]
    """

    held: ClassVar[tuple[str, ...]] = ("value",)

    _statistics_hold_support = True
    value: Array

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """The value, in the shape `shape`."""
        return jnp.broadcast_to(jnp.asarray(self.value), tuple(shape))

    def mean(self) -> Array:
        """value."""
        return jnp.asarray(self.value)

    def variance(self) -> Array:
        """0."""
        return jnp.zeros_like(*numerics.as_float(self.value))

    def entropy(self) -> Array:
        """0, nats."""
        return jnp.zeros_like(*numerics.as_float(self.value))

    def kl_divergence(self, other: Self) -> Array:
        """0, or inf where the values differ, nats."""
        self._same_type(other)
        value, value0 = numerics.as_float(self.value, other.value)
        return jnp.where(value == value0, 0, jnp.inf).astype(value.dtype)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.value, self.value

    def _log_tails(self, x: Array) -> LogTails:
        x, value = numerics.as_float(x, self.value)
        reached = x >= value
        none = jnp.full_like(x, -jnp.inf)
        return jnp.where(reached, 0, none), jnp.where(reached, none, 0)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, value = numerics.as_float(below, self.value)
        return jnp.broadcast_to(value, below.shape)

    def expected_log_prob(self, stats: Array) -> Array:
        """0, or -inf if another value has positive weight, nats."""
        return jnp.where(stats > 0, -jnp.inf, 0)

    def _support(self, x: Any) -> Any:
        v, value = alike(x, self.value)
        return v == value

    def _log_density(self, x: Array) -> Array:
        v, value = numerics.as_float(x, self.value)
        return inside(v == value, v, jnp.zeros_like(v))

    def _statistics(self, x: Array, weights: Array) -> Array:
        x, weights, value = numerics.as_float(x, weights, self.value)
        return jnp.sum(jnp.where(x == value, 0, weights))

    def _maximum_likelihood(self, stats: Array) -> Self:
        return self
