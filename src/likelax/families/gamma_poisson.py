"""The gamma-Poisson (negative binomial) distribution: a count whose rate is gamma distributed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Distribution, inside, whole
from likelax.model import pytree


@pytree
class GammaPoisson(Distribution):
    """p(x) = integral of Poisson(x | r) Gamma(r | concentration, rate) dr, x = 0, 1, 2, ...

    Attributes:
      concentration: positive scalar a.
      rate: positive scalar b. The mean is a / b, the variance a (b + 1) / b^2.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6.

    Examples:
      >>> print(jnp.exp(GammaPoisson(1.0, 1.0).log_prob(jnp.array([0, 1]))).round(4))
      [0.5  0.25]
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`."""
        key_rate, key_count = jax.random.split(key)
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        rates = jax.random.gamma(key_rate, concentration, tuple(shape)) / rate
        return jax.random.poisson(key_count, rates)

    def _log_density(self, x: Array) -> Array:
        support = (x >= 0) & whole(x)
        value, a, b = numerics.as_float(
            jnp.where(support, x, jnp.zeros((), x.dtype)), self.concentration, self.rate
        )
        binomial = gammaln(a + value) - gammaln(a) - gammaln(value + 1)
        return inside(support, x, binomial - a * jnp.log1p(1 / b) - value * jnp.log1p(b))
