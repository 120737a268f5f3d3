"""The Dirichlet distribution: a density on the simplex, and the conjugate prior of a categorical."""

from collections.abc import Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.data import DataLike, split_mask, take_mask
from likelax.families.base import Estimable, Prior, alike, check_event, match_weights
from likelax.families.categorical import Categorical, look_up
from likelax.families.simplex import (
    add_lack,
    expected_log_density,
    fit_simplex,
    log_density,
    masked_total,
    nearest_concentration,
    simplex_divergence,
    simplex_entropy,
    simplex_moments,
    unseen_lack,
)
from likelax.model import Density, Model, pytree
from likelax.numerics.special import (
    factorial_excess,
    log_dirichlet_multinomial,
    log_minus_digamma,
)
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, PositiveMoments, inside_only


@pytree
class Dirichlet(Estimable[PositiveMoments, Never], Prior[CategoryCounts]):
    """p(v) = prod_c v[c]^(concentration[c] - 1) / B(concentration) on the simplex.

    As a prior of probabilities it is updated by `CategoryCounts`; as a model of data its
    `m_step` finds the concentration, in float32 to 1e-4 of itself. On an edge of the simplex the
    log density is -inf, finite or, at a pole, inf. A row whose sum differs from one by more than
    rounding, C times 8 units in the last place, has density zero. Data on an edge have no maximum
    and give NaN; data that are all equal give inf. `fit.em` reports both as COLLAPSED.

    Float32: log density within 1e-5 of 1 + its size, and of one rounding of the arguments.

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

    def log_prob(self, value: Any) -> Array:
        """Log density at v (..., C), nats, or at the entries seen of `Masked` v."""
        if take_mask(value)[1] is None:
            return super().log_prob(value)
        v, seen, a = self._seen(value)
        rest = 1 - masked_total(v, seen)
        some = ~jnp.all(seen, axis=-1, keepdims=True)
        # what was not seen is one more entry, whose concentration is the sum of theirs
        present = jnp.concatenate([seen, some], axis=-1)
        whole = jnp.concatenate([v, jnp.maximum(rest, 0)], axis=-1)
        total = jnp.concatenate([a, masked_total(a, ~seen)], axis=-1)
        log_prob = log_density(whole, total, present)
        fine = self._support_seen(v, seen)
        log_prob = jnp.where(fine, log_prob, -jnp.inf)
        return jnp.where(jnp.any(seen, axis=-1), log_prob, 0)

    @one_program
    def e_step(
        self, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[PositiveMoments, Array]:
        """Statistics of x (..., C) and its log probability, summed with the weights.

        A row of which nothing was seen has weight zero. Of a row seen in part they are expected ones
        under this model, so that `m_step` is a step of EM.

        Raises:
          ValueError: unless weights have one entry for each observation.
        """
        if take_mask(x)[1] is None:
            return super().e_step(x, weights)
        log_prob, (v, seen, a) = self.log_prob(x), self._seen(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        weights = jnp.where(jnp.any(seen, axis=-1), weights, 0)
        share = numerics.divide(a, masked_total(a, ~seen), 0.0)
        filled = jnp.where(seen, v, (1 - masked_total(v, seen)) * share)
        filled = jnp.where((weights != 0)[..., None], filled, 1)
        stats = add_lack(simplex_moments(filled, weights), unseen_lack(a, seen), weights)
        stats = inside_only(stats, self._support_seen(v, seen), weights)
        return stats, numerics.weighted_sum(weights, log_prob)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where the entries seen are shares of a whole."""
        values, observed = take_mask(x)
        if observed is None:
            return super().possible(x)
        return self._support_seen(np.where(observed, values, 0), np.asarray(observed))

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of probabilities, of shape (*shape, C).

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        (concentration,) = numerics.as_float(self.concentration)
        return jax.random.dirichlet(key, concentration, tuple(shape), concentration.dtype)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """weight (sum_c (concentration[c] - 1) mean log x[c] - log B(concentration)), nats."""
        (concentration,) = numerics.as_float(self.concentration)
        return expected_log_density(stats, concentration)

    def posterior(self, stats: CategoryCounts) -> Self:
        """Dirichlet(concentration + counts)."""
        concentration, counts = numerics.as_float(self.concentration, stats.counts)
        return type(self)(concentration + counts)

    def nearest_to(self, others: Self) -> Self:
        """The Dirichlet with the least sum of KL(other || it) over others with a leading axis."""
        start, concentration = numerics.as_float(self.concentration, others.concentration)
        return type(self)(nearest_concentration(concentration, start))

    def expected_log(self) -> Array:
        """E[log v[c]], (..., C), nats.

        Examples:
          >>> print(Dirichlet(jnp.ones(2)).expected_log())
          [-1. -1.]
        """
        (concentration,) = numerics.as_float(self.concentration)
        return digamma(concentration) - digamma(jnp.sum(concentration, axis=-1, keepdims=True))

    def expected_log_likelihood(self, stats: CategoryCounts) -> Array:
        """The log likelihood at the mean of v, minus a term for the variance of v, nats."""
        (a,) = numerics.as_float(self.concentration)
        total = jnp.sum(a)
        cost = log_minus_digamma(total) - log_minus_digamma(a)
        return stats.log_likelihood(a / total) + jnp.sum(stats.counts * cost)

    def expected_log_density(self, likelihood: Model, x: DataLike) -> Array:
        """E[log v[x]], (...), nats; -inf where x is no category, 0 where x is missing."""
        if not isinstance(likelihood, Categorical):
            return super().expected_log_density(likelihood, x)
        values, observed = split_mask(x)
        terms = look_up(self.expected_log(), values)
        return terms if observed is None else jnp.where(observed, terms, 0)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        return simplex_divergence(self.concentration, other.concentration)

    def mean(self) -> Array:
        """concentration / sum(concentration)."""
        return numerics.normalize(self.concentration)

    def variance(self) -> Array:
        """mean (1 - mean) / (sum(concentration) + 1), (C,)."""
        mean, a = numerics.as_float(self.mean(), self.concentration)
        return mean * (1 - mean) / (jnp.sum(a) + 1)

    def entropy(self) -> Array:
        """log B(concentration) - E[sum_c (concentration[c] - 1) log v[c]], nats."""
        return simplex_entropy(self.concentration)

    def mode(self) -> Array:
        """(concentration - 1) / sum(concentration - 1) where all are at least one.

        An entry below one has its mode at zero: it counts as zero here. Where no entry exceeds
        one there is no unique mode, and the mean is returned.
        """
        (concentration,) = numerics.as_float(self.concentration)
        excess = jnp.maximum(concentration - 1, 0)
        return numerics.divide(excess, jnp.sum(excess, axis=-1, keepdims=True), self.mean())

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Categorical unless given."""
        return (Categorical(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: CategoryCounts) -> Array:
        """log B(concentration + counts) - log B(concentration) + log h, nats.

        In float32 its error is a few units in the last place of the evidence itself and of the log
        likelihood at its maximum, also for counts to 1e9.
        """
        a, counts = numerics.as_float(self.concentration, stats.counts)
        # the largest probability of so many counts, whatever their order
        top = factorial_excess(jnp.sum(counts)) - jnp.sum(factorial_excess(counts))
        return log_dirichlet_multinomial(counts, a) - top + stats.log_peak

    def _seen(self, x: DataLike) -> tuple[Array, Array, Array]:
        """(values, 0 where not seen; observed; concentration), all (..., C)."""
        values, observed = split_mask(x)
        v, a = numerics.as_float(values, self.concentration)
        check_event("Dirichlet", v, a.shape[-1])
        seen = jnp.ones(v.shape, bool) if observed is None else observed
        return jnp.where(seen, v, 0), seen, jnp.broadcast_to(a, v.shape)

    def _support(self, x: Any) -> Any:
        return self._support_seen(x, x == x)

    def _support_seen(self, x: Any, observed: Any) -> Any:
        """Where x (..., C) is not negative and sums to one, or to no more where not all was seen."""
        v, _ = alike(x, self.concentration)
        dtype = v.dtype if jnp.issubdtype(v.dtype, jnp.floating) else jnp.float32
        slack = 8 * v.shape[-1] * jnp.finfo(dtype).eps
        over = v.sum(-1) - 1
        fine = (over <= slack) & ((over >= -slack) | ~observed.all(-1))
        return (v >= 0).all(-1) & fine

    def _log_density(self, x: Array) -> Array:
        v, a = numerics.as_float(x, self.concentration)
        check_event("Dirichlet", v, a.shape[-1])
        log_prob = log_density(v, a)
        bad = jnp.any(jnp.isnan(v), axis=-1)
        return jnp.where(bad, jnp.nan, jnp.where(self._support(v), log_prob, -jnp.inf))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights = numerics.as_float(x, weights)
        return simplex_moments(x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(fit_simplex(stats, self.concentration))
