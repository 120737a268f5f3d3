"""The gamma distribution: a density on the positive reals, and the conjugate prior of a rate."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Prior, inside
from likelax.families.poisson import Poisson
from likelax.families.statistics import EventCounts
from likelax.model import pytree


@pytree
class Gamma(Prior):
    """p(v) = rate^concentration v^(concentration - 1) exp(-rate v) / Gamma(concentration), v >= 0.

    Attributes:
      concentration: positive scalar, the shape: events already seen.
      rate: positive scalar: the exposure in which they were seen.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6.

    Examples:
      >>> posterior = Gamma(1.0, 1.0).posterior(EventCounts(2.0, 5.0, 0.0))
      >>> print(posterior.concentration, posterior.rate, posterior.mean())
      3.0 6.0 0.5
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def log_prob(self, value: ArrayLike) -> Array:
        """Log density at a rate, nats; -inf below zero."""
        v, a, b = numerics.as_float(value, self.concentration, self.rate)
        log_prob = a * jnp.log(b) + numerics.xlogy(a - 1, v) - b * v - gammaln(a)
        return inside(v >= 0, v, log_prob)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of a rate, of shape `shape`."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return jax.random.gamma(key, concentration, tuple(shape)) / rate

    def posterior(self, stats: EventCounts) -> Self:
        """Gamma(concentration + events, rate + exposure)."""
        return type(self)(self.concentration + stats.events, self.rate + stats.exposure)

    def mean(self) -> Array:
        """concentration / rate."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return concentration / rate

    def mode(self) -> Array:
        """(concentration - 1) / rate, or 0 where concentration is below one."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return jnp.maximum(concentration - 1, 0) / rate

    def predictive(self, likelihood: Any = None) -> Any:
        """The distribution of one new observation; the likelihood is Poisson unless given."""
        return (Poisson(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: EventCounts) -> Array:
        """log Z(posterior) - log Z(prior) + log h with Z = Gamma(concentration) / rate^concentration."""
        after = self.posterior(stats)
        a, b = numerics.as_float(self.concentration, self.rate)
        a_n, b_n = numerics.as_float(after.concentration, after.rate)
        return (
            gammaln(a_n) - gammaln(a) + a * jnp.log(b) - a_n * jnp.log(b_n) + stats.log_base
        )
