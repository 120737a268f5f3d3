"""The Poisson distribution: a count of independent events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Family,
    inside,
    is_count,
)
from likelax.families.gamma_poisson import GammaPoisson
from likelax.families.on_line import Counts, LogTails
from likelax.model import pytree
from likelax.numerics import draws
from likelax.numerics.special import deviance, factorial_excess
from likelax.numerics.tails import log_gamma_tails
from likelax.statistics import EventCounts

if TYPE_CHECKING:
    from likelax.families.gamma import Gamma


@pytree
class Poisson(Counts, Family[EventCounts, "Gamma"]):
    """log p(x) = x log rate - rate - log x!  for x = 0, 1, 2, ...

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

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
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.poisson` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        return draws.poisson(key, self.rate, shape)

    def mean(self) -> Array:
        """rate."""
        return jnp.asarray(self.rate)

    def variance(self) -> Array:
        """rate."""
        return jnp.asarray(self.rate)

    def kl_divergence(self, other: Self) -> Array:
        """rate log(rate / rate') - rate + rate', nats."""
        self._same_type(other)
        return deviance(self.rate, other.rate)

    def _log_tails(self, x: Array) -> LogTails:
        x, rate = numerics.as_float(x, self.rate)
        above, below = log_gamma_tails(x + 1, rate)
        return below, above

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

    def _support(self, x: Any) -> Any:
        return is_count(x)

    def _log_density(self, x: Array) -> Array:
        support = is_count(x)
        value = jnp.where(support, x, jnp.zeros((), x.dtype))
        return inside(support, x, self._log_mass(value))

    def _log_mass(self, x: Array) -> Array:
        x, rate = numerics.as_float(x, self.rate)
        return -deviance(x, rate) - factorial_excess(x)

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights = numerics.as_float(x, weights)
        events, exposure = numerics.weighted_sum(weights, x), jnp.sum(weights)
        rate = numerics.divide(events, exposure, 1.0)
        gaps = factorial_excess(x) + deviance(x, jnp.broadcast_to(rate, x.shape))
        return EventCounts(events, exposure, -numerics.weighted_sum(weights, gaps))

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        return type(self)(numerics.divide(stats.events, stats.exposure, self.rate))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)
