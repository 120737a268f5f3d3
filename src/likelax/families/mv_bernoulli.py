"""D independent coins at once: what a Bernoulli naive Bayes is made of, by matrix products."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, unit_interval
from likelax.data import DataLike, split_mask
from likelax.families.base import Family, check_event, match_weights
from likelax.families.bernoulli import Bernoulli
from likelax.families.beta import Beta
from likelax.model import pytree
from likelax.one_program import one_program
from likelax.statistics import BinaryCounts, coin_counts, inside_only


@pytree
class MvBernoulli(Family[BinaryCounts, Beta]):
    """log p(x) = sum_d x[d] log probs[d] + (1 - x[d]) log(1 - probs[d]) for x in {0, 1}^D

    The same distribution as an `Independent` of `Bernoulli`, as a few matrix products also
    under `jax.vmap` over models. Its statistics, and the prior's leaves, have a last axis D: the
    prior is an `Independent` of `Beta`. Missing entries are marginalised one by one.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      probs: (D,) in [0, 1]; both ends are exact.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> model = MvBernoulli(jnp.array([0.5, 1.0]))
      >>> print(jnp.exp(model.log_prob(jnp.array([[1, 1], [1, 0]]))))
      [0.5 0. ]
    """

    _event_ndim: ClassVar[int] = 1

    _finite_statistics = True
    probs: Array = constrained(unit_interval)

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log probability of x (..., D), or of the entries seen of `Masked` x: (...), nats."""
        ones, zeros, bad = self._sides(x)
        probs, _ = numerics.as_float(self.probs, ones)
        log_prob = jnp.zeros(ones.shape[:-1], probs.dtype)
        broken = bad
        for side, p in ((ones, probs), (zeros, 1 - probs)):
            possible = p > 0
            log_p = jnp.where(possible, jnp.log(jnp.where(possible, p, 1)), 0)
            log_prob = log_prob + numerics.matmul(side, log_p)
            hits = numerics.matmul(side, (~possible).astype(side.dtype))
            broken = broken | (hits > 0)
        return jnp.where(broken, jnp.where(jnp.isnan(log_prob), jnp.nan, -jnp.inf), log_prob)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[BinaryCounts, Array]:
        """Counts (D,) of ones and zeros among the observed entries, and the log probability.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        log_prob = self.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        ones, zeros, bad = self._sides(x)
        counts = inside_only(self._count(ones, zeros, weights), ~bad, weights)
        return counts, numerics.weighted_sum(weights, log_prob)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of 0 and 1, integers of shape (*shape, D)."""
        (probs,) = numerics.as_float(self.probs)
        probs = jnp.broadcast_to(probs, (*shape, *probs.shape))
        return jax.random.bernoulli(key, probs).astype(int)

    def mean(self) -> Array:
        """probs, (D,)."""
        return jnp.asarray(self.probs)

    def variance(self) -> Array:
        """probs (1 - probs), (D,)."""
        (probs,) = numerics.as_float(self.probs)
        return probs * (1 - probs)

    def entropy(self) -> Array:
        """Sum of those of the coins, nats."""
        return jnp.sum(Bernoulli(self.probs).entropy())

    def kl_divergence(self, other: Self) -> Array:
        """Sum of those of the coins, nats."""
        self._same_type(other)
        return jnp.sum(Bernoulli(self.probs).kl_divergence(Bernoulli(other.probs)))

    def expected_log_prob(self, stats: BinaryCounts) -> Array:
        """sum_d successes[d] log probs[d] + failures[d] log(1 - probs[d]), nats."""
        (probs,) = numerics.as_float(self.probs)
        return jnp.sum(stats.log_likelihood(probs, 1 - probs))

    def parameter(self) -> Array:
        """probs (D,), as an `Independent` of beta priors describes them."""
        return jnp.asarray(self.probs)

    def log_prior(self, prior: Beta | None) -> Array:
        """Log density of all probs under independent betas, nats; 0 without a prior."""
        return jnp.sum(super().log_prior(prior))

    def predictive(self, prior: Beta) -> "MvBernoulli":
        """Coins with the prior means of probs."""
        return MvBernoulli(prior.mean())

    def _sides(self, x: DataLike) -> tuple[Array, Array, Array]:
        """(ones, zeros, off the support): the first two (..., D), 0 at entries not seen."""
        values, observed = split_mask(x)
        check_event("MvBernoulli", values, jnp.shape(self.probs)[-1])
        values, _ = numerics.as_float(values, self.probs)
        bad = ~self._support(values)
        if observed is None:
            return values, 1 - values, bad
        seen = observed.astype(values.dtype)
        return values * seen, (1 - values) * seen, bad

    def _count(self, ones: Array, zeros: Array, weights: Array) -> BinaryCounts:
        num_dims, flat = ones.shape[-1], weights.reshape(-1, 1)
        wins, losses = (
            numerics.row_products(flat, side.reshape(-1, num_dims))[0] for side in (ones, zeros)
        )
        return coin_counts(wins, losses)

    def _support(self, x: Any) -> Any:
        return ((x == 0) | (x == 1)).all(-1)

    def _log_density(self, x: Array) -> Array:
        return self.log_prob(x)

    def _statistics(self, x: Array, weights: Array) -> BinaryCounts:
        ones, zeros, _ = self._sides(x)
        return self._count(ones, zeros, weights)

    def _maximum_likelihood(self, stats: BinaryCounts) -> Self:
        total = stats.successes + stats.failures
        return type(self)(numerics.divide(stats.successes, total, self.probs))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)
