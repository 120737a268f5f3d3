"""The Poisson distribution: a count of independent events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Family, inside, whole
from likelax.families.gamma_poisson import GammaPoisson
from likelax.model import pytree
from likelax.numerics.special import deviance, factorial_excess
from likelax.statistics import EventCounts, inside_only

if TYPE_CHECKING:
    from likelax.families.gamma import Gamma


@pytree
class Poisson(Family[EventCounts, "Gamma"]):
    """log p(x) = x log rate - rate - log x!  for x = 0, 1, 2, ...

    Attributes:
      rate: non-negative scalar, events per observation. Rate 0 puts all mass on x = 0.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.8.

    Examples:
      >>> print(jnp.exp(Poisson(0.0).log_prob(jnp.array([0, 1]))))
      [1. 0.]
    """

    _finite_statistics = True
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`."""
        return jax.random.poisson(key, self.rate, tuple(shape))

    def mean(self) -> Array:
        """rate."""
        return jnp.asarray(self.rate)

    def variance(self) -> Array:
        """rate."""
        return jnp.asarray(self.rate)

    def expected_log_prob(self, stats: EventCounts) -> Array:
        """events log rate - exposure rate + log h, nats."""
        (rate,) = numerics.as_float(self.rate)
        return stats.log_likelihood(rate)

    def parameter(self) -> Array:
        """rate, as a gamma prior describes it."""
        return jnp.asarray(self.rate)

    def predictive(self, prior: "Gamma") -> GammaPoisson:
        """Gamma-Poisson (negative binomial) with the prior's concentration and rate."""
        return GammaPoisson(prior.concentration, prior.rate)

    def _log_density(self, x: Array) -> Array:
        support = (x >= 0) & whole(x)
        value, rate = numerics.as_float(jnp.where(support, x, jnp.zeros((), x.dtype)), self.rate)
        return inside(support, x, -deviance(value, rate) - factorial_excess(value))

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights = numerics.as_float(x, weights)
        events, exposure = numerics.weighted_sum(weights, x), jnp.sum(weights)
        rate = numerics.divide(events, exposure, 1.0)
        gaps = factorial_excess(x) + deviance(x, jnp.broadcast_to(rate, x.shape))
        stats = EventCounts(events, exposure, -numerics.weighted_sum(weights, gaps))
        return inside_only(stats, (x >= 0) & whole(x), weights)

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        return type(self)(numerics.divide(stats.events, stats.exposure, self.rate))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)
