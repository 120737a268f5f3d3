"""The beta distribution: a density on [0, 1], and the conjugate prior of a probability."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betaln, digamma
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Estimable, Prior, inside
from likelax.families.bernoulli import Bernoulli
from likelax.families.simplex import fit_simplex, log_powers, mean_logs
from likelax.model import pytree
from likelax.numerics.special import log_beta, log_binomial_term, log_zero_power
from likelax.statistics import BinaryCounts, MeanLogs


@pytree
class Beta(Estimable[MeanLogs], Prior):
    """p(v) = v^(alpha - 1) (1 - v)^(beta - 1) / B(alpha, beta) for v in [0, 1].

    As a prior of a probability it is updated by `BinaryCounts`; as a model of data its `m_step`
    finds both parameters by Newton steps. At an end of [0, 1] the log density is -inf, finite
    or, at a pole, inf. Data at an end have no maximum, and leave the parameters as they are.

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

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of a probability, of shape `shape`."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return jax.random.beta(key, alpha, beta, tuple(shape), alpha.dtype)

    def expected_log_prob(self, stats: MeanLogs) -> Array:
        """weight ((alpha - 1) mean log x + (beta - 1) mean log(1 - x) - log B(alpha, beta)), nats."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        powers = log_powers(jnp.stack([alpha - 1, beta - 1]), stats.mean_logs)
        return stats.weight * (powers - log_beta(alpha, beta))

    def posterior(self, stats: BinaryCounts) -> Self:
        """Beta(alpha + successes, beta + failures)."""
        return type(self)(self.alpha + stats.successes, self.beta + stats.failures)

    def expected_log_likelihood(self, stats: BinaryCounts) -> Array:
        """successes E[log v] + failures E[log(1 - v)] + log_base, nats."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        total = digamma(alpha + beta)
        return (
            stats.successes * (digamma(alpha) - total)
            + stats.failures * (digamma(beta) - total)
            + stats.log_base
        )

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        return kl_beta(self.alpha, self.beta, other.alpha, other.beta)

    def mean(self) -> Array:
        """alpha / (alpha + beta)."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return alpha / (alpha + beta)

    def variance(self) -> Array:
        """alpha beta / ((alpha + beta)^2 (alpha + beta + 1))."""
        a, b = numerics.as_float(self.alpha, self.beta)
        return a / (a + b) * (b / (a + b)) / (a + b + 1)

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
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        after = log_beta(alpha + stats.successes, beta + stats.failures)
        return after - log_beta(alpha, beta) + stats.log_base

    def _log_density(self, x: Array) -> Array:
        v, alpha, beta = numerics.as_float(x, self.alpha, self.beta)
        interior = (v > 0) & (v < 1)
        mid = jnp.where(interior, v, 0.5)
        # alpha beta / (alpha + beta), whose product could overflow
        small, large = jnp.minimum(alpha, beta), jnp.maximum(alpha, beta)
        factor = jnp.log(small) - jnp.log1p(small / large)
        density = (
            log_binomial_term(alpha, beta, mid, 1 - mid) + factor - jnp.log(mid) - jnp.log1p(-mid)
        )
        edge = log_zero_power(jnp.where(v == 0, alpha, beta) - 1) - log_beta(alpha, beta)
        return inside((v >= 0) & (v <= 1), v, jnp.where(interior, density, edge))

    def _statistics(self, x: Array, weights: Array) -> MeanLogs:
        x, weights = numerics.as_float(x, weights)
        sides = jnp.stack([x, 1 - x], axis=-1)
        return mean_logs(numerics.safe_log(sides), weights)

    def _maximum_likelihood(self, stats: MeanLogs) -> Self:
        return fit_simplex(self, stats, ("alpha", "beta"))


def kl_beta(alpha: ArrayLike, beta: ArrayLike, alpha0: ArrayLike, beta0: ArrayLike) -> Array:
    """KL(Beta(alpha, beta) || Beta(alpha0, beta0)), nats; broadcasts.

    Examples:
      >>> print(f"{kl_beta(2.0, 1.0, 1.0, 1.0):.4f}")
      0.1931
    """
    alpha, beta, alpha0, beta0 = numerics.as_float(alpha, beta, alpha0, beta0)
    total = digamma(alpha + beta)
    return (
        betaln(alpha0, beta0)
        - betaln(alpha, beta)
        + (alpha - alpha0) * (digamma(alpha) - total)
        + (beta - beta0) * (digamma(beta) - total)
    )
