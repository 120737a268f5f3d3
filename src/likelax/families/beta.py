"""The beta distribution: a density on [0, 1], and the conjugate prior of a probability."""

from collections.abc import Sequence
from typing import Any, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Estimable,
    Prior,
    inside,
)
from likelax.families.bernoulli import Bernoulli
from likelax.families.on_line import LogTails, OnLine
from likelax.families.simplex import (
    expected_log_density,
    fit_simplex,
    nearest_concentration,
    simplex_divergence,
    simplex_entropy,
)
from likelax.model import Density, Model, pytree
from likelax.numerics.special import (
    factorial_excess,
    log_beta,
    log_beta_binomial,
    log_binomial_term,
    log_zero_power,
)
from likelax.numerics.tails import beta_quantile, log_beta_tails
from likelax.statistics import BinaryCounts, PositiveMoments, positive_rows


@pytree
class Beta(OnLine, Estimable[PositiveMoments, Never], Prior[BinaryCounts]):
    """p(v) = v^(alpha - 1) (1 - v)^(beta - 1) / B(alpha, beta) for v in [0, 1].

    As a prior of a probability it is updated by `BinaryCounts`; as a model of data its `m_step`
    finds both parameters, in float32 to 1e-4 of themselves. At an end of [0, 1] the log density is
    -inf, finite or, at a pole, inf; its derivative with respect to v there is that from inside,
    and 0 where that is infinite. Data at an end have no maximum and give NaN; data that are all
    equal give inf. `fit.em` reports both as COLLAPSED.

    Float32: log density within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      alpha: positive scalar; alpha - 1 is the number of earlier successes.
      beta: positive scalar; beta - 1 is the number of earlier failures.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.4.

    Examples:
      >>> posterior = Beta(4.0, 3.0).posterior(BinaryCounts(5.0, 2.0, 0.0))
      >>> print(posterior.alpha, posterior.beta, round(float(posterior.mean()), 6))
      9.0 5.0 0.642857
    """

    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of a probability, of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return jax.random.beta(key, alpha, beta, tuple(shape), alpha.dtype)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """weight ((alpha - 1) mean log x + (beta - 1) mean log(1 - x) - log B(alpha, beta)), nats."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return expected_log_density(stats, jnp.stack([alpha, beta]))

    def posterior(self, stats: BinaryCounts) -> Self:
        """Beta(alpha + successes, beta + failures)."""
        alpha, beta, successes, failures = numerics.as_float(
            self.alpha, self.beta, stats.successes, stats.failures
        )
        return type(self)(alpha + successes, beta + failures)

    def expected_log_likelihood(self, stats: BinaryCounts) -> Array:
        """The log likelihood at the mean of v, minus a term for the variance of v, nats."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        total = alpha + beta
        p, q = alpha / total, beta / total
        cost = [digamma(a) - jnp.log(a) - digamma(total) + jnp.log(total) for a in (alpha, beta)]
        return stats.log_likelihood(p, q) + stats.successes * cost[0] + stats.failures * cost[1]

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        mine, theirs = (numerics.as_float(p.alpha, p.beta) for p in (self, other))
        return simplex_divergence(jnp.stack(mine), jnp.stack(theirs))

    def mean(self) -> Array:
        """alpha / (alpha + beta)."""
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        return alpha / (alpha + beta)

    def variance(self) -> Array:
        """alpha beta / ((alpha + beta)^2 (alpha + beta + 1))."""
        a, b = numerics.as_float(self.alpha, self.beta)
        return a / (a + b) * (b / (a + b)) / (a + b + 1)

    def entropy(self) -> Array:
        """log B(alpha, beta) - E[(alpha - 1) log v + (beta - 1) log(1 - v)], nats."""
        return simplex_entropy(jnp.stack(numerics.as_float(self.alpha, self.beta)))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, 1.0

    def _log_tails(self, x: Array) -> LogTails:
        x, alpha, beta = numerics.as_float(x, self.alpha, self.beta)
        return log_beta_tails(alpha, beta, x, 1 - x)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, a, b = numerics.as_float(below, above, self.alpha, self.beta)
        left = below < above
        near, far = jnp.where(left, a, b), jnp.where(left, b, a)
        found = beta_quantile(near, far, jnp.minimum(below, above))
        start = jax.lax.stop_gradient(jnp.where(left, found, 1 - found))
        inner = (start > 0) & (start < 1)
        return jnp.where(inner, self._polished(jnp.where(inner, start, 0.5), below, above), start)

    def mode(self) -> Array:
        """(alpha - 1) / (alpha + beta - 2) where both exceed one.

        With alpha <= 1 < beta it is 0 and with beta <= 1 < alpha it is 1. Where the density is
        flat (both are one) or has two poles (both below one) there is no unique mode, and the mean
        is returned.
        """
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        a, b = jnp.maximum(alpha - 1, 0), jnp.maximum(beta - 1, 0)
        return numerics.divide(a, a + b, self.mean())

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Bernoulli unless given."""
        return (Bernoulli(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: BinaryCounts) -> Array:
        """log B(alpha + successes, beta + failures) - log B(alpha, beta) + log h, nats.

        In float32 its error is a few units in the last place of the evidence itself and of the log
        likelihood at its maximum, also for counts to 1e9.
        """
        alpha, beta = numerics.as_float(self.alpha, self.beta)
        wins, losses = stats.successes, stats.failures
        # the largest probability of so many successes, whatever their order
        top = factorial_excess(wins + losses) - factorial_excess(wins) - factorial_excess(losses)
        return log_beta_binomial(wins, losses, alpha, beta) - top + stats.log_peak

    def _support(self, x: Any) -> Any:
        return (x >= 0) & (x <= 1)

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
        here, there = jnp.where(v == 0, alpha, beta), jnp.where(v == 0, beta, alpha)
        # log1p(-t) where t is the distance from the end: 0, with its derivative
        distance = jnp.where(v == 0, v, jnp.where(v == 1, 1 - v, 0))
        away = jnp.where(here == 1, (there - 1) * jnp.log1p(-distance), 0)
        edge = log_zero_power(here - 1) + away - log_beta(alpha, beta)
        return inside(self._support(v), v, jnp.where(interior, density, edge))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights = numerics.as_float(x, weights)
        sides = jnp.stack([x, 1 - x], axis=-1)
        return positive_rows(sides.reshape(-1, 2), weights.reshape(-1))

    def nearest_to(self, others: Self) -> Self:
        """The beta with the least sum of KL(other || it) over others with a leading axis."""
        start = jnp.stack(numerics.as_float(self.alpha, self.beta))
        shapes = jnp.stack(numerics.as_float(others.alpha, others.beta), axis=-1)
        found = nearest_concentration(shapes, start.astype(shapes.dtype))
        return type(self)(found[0], found[1])

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        fitted = fit_simplex(stats, jnp.stack(numerics.as_float(self.alpha, self.beta)))
        return type(self)(fitted[0], fitted[1])
