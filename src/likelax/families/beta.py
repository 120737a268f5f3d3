"""The beta distribution: a density on [0, 1], and the conjugate prior of a probability."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Prior, inside
from likelax.families.bernoulli import Bernoulli
from likelax.families.statistics import BinaryCounts
from likelax.model import pytree


@pytree
class Beta(Prior):
    """p(v) = v^(alpha - 1) (1 - v)^(beta - 1) / B(alpha, beta) for v in [0, 1].

    Attributes:
      alpha: positive scalar; alpha - 1 is the number of successes already seen.
      beta: positive scalar; beta - 1 is the number of failures already seen.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.4.

    Examples:
      >>> posterior = Beta(4.0, 3.0).posterior(BinaryCounts(5.0, 2.0, 0.0))
      >>> print(posterior.alpha, posterior.beta, round(float(posterior.mean()), 6))
      9.0 5.0 0.642857
    """

    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)

    def log_prob(self, value: ArrayLike) -> Array:
        """Log density at a probability, nats; -inf off [0, 1], +inf at an end with a pole."""
        v, alpha, beta = numerics.as_float(value, self.alpha, self.beta)
        log_prob = numerics.xlogy(alpha - 1, v) + numerics.xlog1py(beta - 1, -v)
        return inside((v >= 0) & (v <= 1), v, log_prob - betaln(alpha, beta))

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of a probability, of shape `shape`."""
        return jax.random.beta(key, self.alpha, self.beta, shape)

    def posterior(self, stats: BinaryCounts) -> Self:
        """Beta(alpha + successes, beta + failures)."""
        return type(self)(self.alpha + stats.successes, self.beta + stats.failures)

    def mean(self) -> Array:
        """alpha / (alpha + beta)."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return alpha / (alpha + beta)

    def mode(self) -> Array:
        """(alpha - 1) / (alpha + beta - 2) where both exceed one.

        With alpha <= 1 < beta it is 0 and with beta <= 1 < alpha it is 1. Where the density is
        flat (both are one) or has two poles (both below one) no single point stands out, and
        the mean is returned.
        """
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        a, b = jnp.maximum(alpha - 1, 0), jnp.maximum(beta - 1, 0)
        return numerics.divide(a, a + b, self.mean())

    def predictive(self, likelihood: Any = None) -> Any:
        """The distribution of one new observation; the likelihood is Bernoulli unless given."""
        return (Bernoulli(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: BinaryCounts) -> Array:
        """log B(alpha + successes, beta + failures) - log B(alpha, beta) + log h, nats."""
        after = self.posterior(stats)
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return betaln(*numerics.as_float(after.alpha, after.beta)) - betaln(alpha, beta) + stats.log_base
