"""The Dirichlet distribution: a density on the simplex, and the conjugate prior of a categorical."""

from collections.abc import Sequence
from typing import ClassVar, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.data import DataLike, split_mask
from likelax.families.base import Estimable, Prior, check_event
from likelax.families.categorical import Categorical, look_up
from likelax.families.simplex import (
    expected_log_density,
    fit_simplex,
    log_density,
    simplex_moments,
)
from likelax.model import Density, Model, pytree
from likelax.numerics.special import log_beta_many
from likelax.statistics import CategoryCounts, PositiveMoments


@pytree
class Dirichlet(Estimable[PositiveMoments, Never], Prior[CategoryCounts]):
    """p(v) = prod_c v[c]^(concentration[c] - 1) / B(concentration) on the simplex.

    As a prior of probabilities it is updated by `CategoryCounts`; as a model of data its
    `m_step` finds the concentration, in float32 to 1e-4 of itself. On an edge of the simplex the
    log density is -inf, finite or, at a pole, inf. A row whose sum differs from one by more than
    rounding, C times 8 units in the last place, has density zero. Data on an edge have no maximum, and
    give NaN; data that are all alike give inf. `fit.em` reports both as COLLAPSED.

    Attributes:
      concentration: (C,) positive; concentration[c] - 1 draws of value c were already seen.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 3.4.

    Examples:
      >>> prior = Dirichlet(jnp.ones(3))
      >>> print(prior.posterior(CategoryCounts(jnp.array([2.0, 0.0, 0.0]), 0.0)).mean())
      [0.6 0.2 0.2]
    """

    _event_ndim: ClassVar[int] = 1

    concentration: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of probabilities, of shape (*shape, C)."""
        (concentration,) = numerics.as_float(self.concentration)
        return jax.random.dirichlet(key, concentration, tuple(shape), concentration.dtype)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """weight (sum_c (concentration[c] - 1) mean log x[c] - log B(concentration)), nats."""
        (concentration,) = numerics.as_float(self.concentration)
        return expected_log_density(stats, concentration)

    def posterior(self, stats: CategoryCounts) -> Self:
        """Dirichlet(concentration + counts)."""
        return type(self)(self.concentration + stats.counts)

    def expected_log(self) -> Array:
        """E[log v[c]], (C,), nats.

        Examples:
          >>> print(Dirichlet(jnp.ones(2)).expected_log())
          [-1. -1.]
        """
        (concentration,) = numerics.as_float(self.concentration)
        return digamma(concentration) - digamma(jnp.sum(concentration))

    def expected_log_likelihood(self, stats: CategoryCounts) -> Array:
        """sum_c counts[c] E[log v[c]] + log_base, nats."""
        return jnp.sum(stats.counts * self.expected_log()) + stats.log_base

    def expected_log_density(self, likelihood: Model, x: DataLike) -> Array:
        """E[log v[x]], (...), nats; -inf where x is no category, 0 where x was not seen."""
        if not isinstance(likelihood, Categorical):
            return super().expected_log_density(likelihood, x)
        values, observed = split_mask(x)
        terms = look_up(self.expected_log(), values)
        return terms if observed is None else jnp.where(observed, terms, 0)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        a, a0 = numerics.as_float(self.concentration, other.concentration)
        norm = gammaln(jnp.sum(a)) - gammaln(jnp.sum(a0)) - jnp.sum(gammaln(a) - gammaln(a0))
        return norm + jnp.sum((a - a0) * self.expected_log())

    def mean(self) -> Array:
        """concentration / sum(concentration)."""
        return numerics.normalize(self.concentration)

    def variance(self) -> Array:
        """mean (1 - mean) / (sum(concentration) + 1), (C,)."""
        mean, a = numerics.as_float(self.mean(), self.concentration)
        return mean * (1 - mean) / (jnp.sum(a) + 1)

    def mode(self) -> Array:
        """(concentration - 1) / sum(concentration - 1) where all are at least one.

        An entry below one has its mode at zero: it counts as zero here. Where no entry exceeds
        one no single point stands out, and the mean is returned.
        """
        (concentration,) = numerics.as_float(self.concentration)
        excess = jnp.maximum(concentration - 1, 0)
        return numerics.divide(excess, jnp.sum(excess, axis=-1, keepdims=True), self.mean())

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Categorical unless given."""
        return (Categorical(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: CategoryCounts) -> Array:
        """log B(concentration + counts) - log B(concentration) + log h, nats."""
        before, after = numerics.as_float(self.concentration, self.posterior(stats).concentration)
        return log_beta_many(after) - log_beta_many(before) + stats.log_base

    def _log_density(self, x: Array) -> Array:
        v, a = numerics.as_float(x, self.concentration)
        check_event("Dirichlet", v, a.shape[-1])
        log_prob = log_density(v, a)
        slack = 8 * v.shape[-1] * jnp.finfo(v.dtype).eps
        off = jnp.any(v < 0, axis=-1) | (jnp.abs(jnp.sum(v, axis=-1) - 1) > slack)
        bad = jnp.any(jnp.isnan(v), axis=-1)
        return jnp.where(bad, jnp.nan, jnp.where(off, -jnp.inf, log_prob))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights = numerics.as_float(x, weights)
        return simplex_moments(x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(fit_simplex(stats, self.concentration))
