"""The exponential distribution, and the Lomax: an exponential whose rate is gamma distributed."""

from collections.abc import Sequence
from typing import Any, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Estimable,
    Family,
    finite,
    inside,
    where_above,
)
from likelax.families.compound import expected_log_gamma, fit_gamma, latent_gamma
from likelax.families.gamma import Gamma
from likelax.families.on_line import LogTails, OnLine, exponential_quantile
from likelax.model import pytree
from likelax.numerics.special import deviance
from likelax.numerics.tails import log_complement
from likelax.statistics import EventCounts, PositiveMoments


@pytree
class Exponential(OnLine, Family[EventCounts, Gamma]):
    """log p(x) = log rate - rate x  for x >= 0

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      rate: positive scalar.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> stats, _ = Exponential(1.0).e_step(jnp.array([3.0, 2.0]))
      >>> print(Exponential(1.0).m_step(stats).rate)
      0.4
    """

    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        (rate,) = numerics.as_float(self.rate)
        return jax.random.exponential(key, tuple(shape), rate.dtype) / rate

    def mean(self) -> Array:
        """1 / rate."""
        (rate,) = numerics.as_float(self.rate)
        return 1 / rate

    def variance(self) -> Array:
        """1 / rate^2."""
        (rate,) = numerics.as_float(self.rate)
        return 1 / rate**2

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """1 - log rate, nats."""
        (rate,) = numerics.as_float(self.rate)
        return 1 - jnp.log(rate)

    def kl_divergence(self, other: Self) -> Array:
        """r - 1 - log r, r the rate of other over this one, nats."""
        self._same_type(other)
        rate, rate0 = numerics.as_float(self.rate, other.rate)
        return deviance(1.0, rate0 / rate)

    def _log_tails(self, x: Array) -> LogTails:
        x, rate = numerics.as_float(x, self.rate)
        return log_complement(-rate * x), -rate * x

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, rate = numerics.as_float(below, above, self.rate)
        return exponential_quantile(below, above) / rate

    def expected_log_prob(self, stats: EventCounts) -> Array:
        """events log rate - exposure rate + log h, nats."""
        (rate,) = numerics.as_float(self.rate)
        return stats.log_likelihood(rate)

    def parameter(self) -> Array:
        """rate, as a gamma prior describes it."""
        return jnp.asarray(self.rate)

    def predictive(self, prior: Gamma) -> "Lomax":
        """Exponential with a gamma-distributed rate."""
        return Lomax(prior.concentration, prior.rate)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, rate = numerics.as_float(x, self.rate)
        support = self._support(v)
        return inside(support, v, numerics.safe_log(rate) - rate * jnp.where(support, v, 0))

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights = numerics.as_float(x, weights)
        events, exposure = jnp.sum(weights), numerics.weighted_sum(weights, x)
        rate = numerics.divide(events, exposure, 1.0)
        return EventCounts(events, exposure, numerics.xlogy(events, rate) - exposure * rate)

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        return type(self)(numerics.divide(stats.events, stats.exposure, self.rate))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)


@pytree
class Lomax(OnLine, Estimable[PositiveMoments, Never]):
    """p(x) = integral of Exponential(x | r) Gamma(r | concentration, rate) dr, x >= 0

    A Pareto distribution moved to start at zero. `e_step` gives the expected statistics of the
    latent rates, so `m_step` is a step of EM over both parameters: fit with `fit.em`.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, the tail index.
      rate: positive scalar, the scale of x.

    Source: Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, 20.

    Examples:
      >>> print(f"{Lomax(1.0, 1.0).log_prob(1.0):.4f}")
      -1.3863
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return b * jnp.expm1(jax.random.exponential(key, tuple(shape), a.dtype) / a)

    def mean(self) -> Array:
        """rate / (concentration - 1); inf where concentration <= 1."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return where_above(a, 1, lambda a: b / (a - 1))

    def variance(self) -> Array:
        """a rate^2 / ((a - 1)^2 (a - 2)) with a = concentration; inf where a <= 2."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return where_above(a, 2, lambda a: a * (b / (a - 1)) ** 2 / (a - 2))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """log(rate / concentration) + 1 + 1 / concentration, nats."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return jnp.log(b / a) + 1 + 1 / a

    def _log_tails(self, x: Array) -> LogTails:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        log_upper = -a * jnp.log1p(x / b)
        return log_complement(log_upper), log_upper

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, a, b = numerics.as_float(below, above, self.concentration, self.rate)
        return b * jnp.expm1(exponential_quantile(below, above) / a)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent rates, nats: what `m_step` maximises."""
        return expected_log_gamma(stats, self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, a, b = numerics.as_float(x, self.concentration, self.rate)
        support = self._support(v)
        tail = (a + 1) * jnp.log1p(jnp.where(support, v, 0) / b)
        return inside(support, v, jnp.log(a) - jnp.log(b) - tail)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        return latent_gamma(a + 1, b + x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(*fit_gamma(stats, self.concentration, self.rate))
