"""The Dirichlet distribution: a density on the simplex, and the conjugate prior of a categorical."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Prior
from likelax.families.categorical import Categorical
from likelax.families.statistics import CategoryCounts
from likelax.model import pytree


def _log_beta(concentration: Array) -> Array:
    return jnp.sum(gammaln(concentration), axis=-1) - gammaln(jnp.sum(concentration, axis=-1))


@pytree
class Dirichlet(Prior):
    """p(v) = prod_c v[c]^(concentration[c] - 1) / B(concentration) on the simplex.

    Attributes:
      concentration: (C,) positive; concentration[c] - 1 draws of value c were already seen.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 3.4.

    Examples:
      >>> prior = Dirichlet(jnp.ones(3))
      >>> print(prior.posterior(CategoryCounts(jnp.array([2.0, 0.0, 0.0]), 0.0)).mean())
      [0.6 0.2 0.2]
    """

    concentration: Array = constrained(positive)

    def log_prob(self, value: ArrayLike) -> Array:
        """Log density at probabilities (..., C), nats, on the simplex (not checked to sum to one)."""
        v, concentration = numerics.as_float(value, self.concentration)
        terms = numerics.xlogy(jnp.broadcast_to(concentration - 1, v.shape), v)
        return jnp.sum(terms, axis=-1) - _log_beta(concentration)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of probabilities, of shape (*shape, C)."""
        return jax.random.dirichlet(key, jnp.asarray(self.concentration), tuple(shape))

    def posterior(self, stats: CategoryCounts) -> Self:
        """Dirichlet(concentration + counts)."""
        return type(self)(self.concentration + stats.counts)

    def mean(self) -> Array:
        """concentration / sum(concentration)."""
        return numerics.normalize(self.concentration)

    def mode(self) -> Array:
        """(concentration - 1) / sum(concentration - 1) where all are at least one.

        An entry below one has its mode at zero: it counts as zero here. Where no entry exceeds
        one no single point stands out, and the mean is returned.
        """
        (concentration,) = numerics.as_float(self.concentration)
        excess = jnp.maximum(concentration - 1, 0)
        return numerics.divide(excess, jnp.sum(excess, axis=-1, keepdims=True), self.mean())

    def predictive(self, likelihood: Any = None) -> Any:
        """The distribution of one new observation; the likelihood is Categorical unless given."""
        return (Categorical(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: CategoryCounts) -> Array:
        """log B(concentration + counts) - log B(concentration) + log h, nats."""
        before, after = numerics.as_float(self.concentration, self.posterior(stats).concentration)
        return _log_beta(after) - _log_beta(before) + stats.log_base
