"""The normal-inverse-gamma distribution: the conjugate prior of a normal's mean and variance."""

from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Prior, where_above
from likelax.families.compound import kl_gamma
from likelax.families.normal import LOG_2PI, Normal
from likelax.model import Density, Model, pytree
from likelax.statistics import Moments


@pytree
class NormalInverseGamma(Prior[Moments]):
    """variance ~ InverseGamma(alpha, beta), mean | variance ~ Normal(loc, sqrt(variance / kappa)).

    Its values are pairs (mean, variance).

    Attributes:
      loc: scalar, expected mean.
      kappa: positive scalar: the mean was already seen this many times.
      alpha: positive scalar, shape of the variance.
      beta: positive scalar, scale of the variance.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 6.

    Examples:
      >>> prior = NormalInverseGamma(0.0, 1.0, 2.0, 2.0)
      >>> stats = Moments(jnp.float32(3), jnp.float32(4), jnp.float32(6))
      >>> print(prior.posterior(stats).loc, prior.posterior(stats).beta)
      3.0 11.0
    """

    loc: Array
    kappa: Array = constrained(positive)
    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)

    def _floats(self) -> list[Array]:
        return numerics.as_float(self.loc, self.kappa, self.alpha, self.beta)

    def log_prob(self, value: tuple[Array, Array]) -> Array:
        """Log density at (mean, variance), nats; -inf where the variance is not positive."""
        loc, kappa, alpha, beta = self._floats()
        mean, variance = numerics.as_float(*value)
        positive = variance > 0
        v = jnp.where(positive, variance, 1)
        log_prob = (
            alpha * jnp.log(beta)
            - gammaln(alpha)
            + (jnp.log(kappa) - LOG_2PI) / 2
            - (alpha + 1.5) * jnp.log(v)
            - (beta + kappa * (mean - loc) ** 2 / 2) / v
        )
        return jnp.where(positive, log_prob, -jnp.inf)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (mean, variance), each of shape `shape`."""
        loc, kappa, alpha, beta = self._floats()
        key_variance, key_mean = jax.random.split(key)
        variance = beta / jax.random.gamma(key_variance, alpha, tuple(shape), loc.dtype)
        normal = jax.random.normal(key_mean, tuple(shape), loc.dtype)
        return loc + jnp.sqrt(variance / kappa) * normal, variance

    def posterior(self, stats: Moments) -> Self:
        """The prior with the moments of a data set merged into it."""
        loc, kappa, alpha, beta = self._floats()
        # the prior is itself a data set: kappa observations at loc with scatter 2 beta
        merged = Moments(kappa, loc, 2 * beta) + stats
        return type(self)(merged.mean, merged.weight, alpha + stats.weight / 2, merged.scatter / 2)

    def expected_log_likelihood(self, stats: Moments) -> Array:
        """That of the normal at E[1 / variance], less what the spread of both parameters costs, nats."""
        loc, kappa, alpha, beta = self._floats()
        plugged_in = Normal(loc, jnp.sqrt(beta / alpha)).expected_log_prob(stats)
        return plugged_in + stats.weight * (digamma(alpha) - jnp.log(alpha) - 1 / kappa) / 2

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        loc, kappa, alpha, beta = self._floats()
        loc0, kappa0, alpha0, beta0 = other._floats()
        ratio = kappa0 / kappa
        normal = (ratio - 1 - jnp.log(ratio) + kappa0 * (loc - loc0) ** 2 * alpha / beta) / 2
        return normal + kl_gamma(alpha, beta, alpha0, beta0)

    def mean(self) -> tuple[Array, Array]:
        """(loc, beta / (alpha - 1)); the variance has no mean (inf) where alpha <= 1."""
        loc, _, alpha, beta = self._floats()
        return loc, jnp.where(alpha > 1, beta / jnp.where(alpha > 1, alpha - 1, 1), jnp.inf)

    def variance(self) -> tuple[Array, Array]:
        """(beta / (kappa (alpha - 1)), beta^2 / ((alpha - 1)^2 (alpha - 2))) of mean and variance.

        inf where alpha <= 1, and of the variance where alpha <= 2.
        """
        _, kappa, alpha, beta = self._floats()
        return (
            where_above(alpha, 1, lambda a: beta / (a - 1) / kappa),
            where_above(alpha, 2, lambda a: (beta / (a - 1)) ** 2 / (a - 2)),
        )

    def mode(self) -> tuple[Array, Array]:
        """(loc, beta / (alpha + 3/2)), of mean and variance jointly."""
        loc, _, alpha, beta = self._floats()
        return loc, beta / (alpha + 1.5)

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Normal unless given."""
        return (Normal(self.loc, self.beta) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: Moments) -> Array:
        """log p(data) with mean and variance integrated out, nats."""
        after = self.posterior(stats)
        return self._log_normalizer() - after._log_normalizer() - stats.weight * LOG_2PI / 2

    def _log_normalizer(self) -> Array:
        _, kappa, alpha, beta = self._floats()
        return alpha * jnp.log(beta) - gammaln(alpha) + jnp.log(kappa) / 2
