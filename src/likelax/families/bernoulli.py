"""The Bernoulli distribution: one toss of a coin."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, unit_interval
from likelax.families.base import (
    Family,
    inside,
)
from likelax.families.on_line import Counts, LogTails
from likelax.model import pytree
from likelax.numerics.special import deviance
from likelax.statistics import BinaryCounts, coin_counts

if TYPE_CHECKING:
    from likelax.families.beta import Beta


@pytree
class Bernoulli(Counts, Family[BinaryCounts, "Beta"]):
    """x is 1 with probability `probs` and 0 otherwise.

    log p(x) = x log probs + (1 - x) log(1 - probs)

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      probs: scalar in [0, 1]; both ends are exact.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.4.

    Examples:
      >>> stats, _ = Bernoulli(0.5).e_step(jnp.array([1, 1, 1, 1, 1, 0, 0]))
      >>> print(f"{Bernoulli(0.5).m_step(stats).probs:.4f}")
      0.7143
    """

    _finite_statistics = True
    probs: Array = constrained(unit_interval)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of 0 and 1, integers of shape `shape`."""
        return jax.random.bernoulli(key, self.probs, shape).astype(int)

    def mean(self) -> Array:
        """probs."""
        return jnp.asarray(self.probs)

    def variance(self) -> Array:
        """probs (1 - probs)."""
        (probs,) = numerics.as_float(self.probs)
        return probs * (1 - probs)

    def entropy(self) -> Array:
        """-probs log probs - (1 - probs) log(1 - probs), nats."""
        (probs,) = numerics.as_float(self.probs)
        return -numerics.xlogy(probs, probs) - numerics.xlog1py(1 - probs, -probs)

    def kl_divergence(self, other: Self) -> Array:
        """probs log(probs / probs') + (1 - probs) log((1 - probs) / (1 - probs')), nats."""
        self._same_type(other)
        probs, probs0 = numerics.as_float(self.probs, other.probs)
        return deviance(probs, probs0) + deviance(1 - probs, 1 - probs0)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, 1.0

    def _log_tails(self, x: Array) -> LogTails:
        x, probs = numerics.as_float(x, self.probs)
        zero, one = numerics.xlog1py(1.0, -probs), numerics.safe_log(probs)
        return jnp.broadcast_to(zero, x.shape), jnp.broadcast_to(one, x.shape)

    def expected_log_prob(self, stats: BinaryCounts) -> Array:
        """successes log probs + failures log(1 - probs), nats."""
        (probs,) = numerics.as_float(self.probs)
        return stats.log_likelihood(probs, 1 - probs)

    def parameter(self) -> Array:
        """probs, as a beta prior describes it."""
        return jnp.asarray(self.probs)

    def predictive(self, prior: "Beta") -> "Bernoulli":
        """Bernoulli with the prior mean of probs."""
        return Bernoulli(prior.mean())

    def _support(self, x: Any) -> Any:
        return (x == 0) | (x == 1)

    def _log_density(self, x: Array) -> Array:
        (value, probs) = numerics.as_float(x, self.probs)
        log_prob = numerics.xlogy(value, probs) + numerics.xlog1py(1 - value, -probs)
        return inside(self._support(x), x, log_prob)

    def _statistics(self, x: Array, weights: Array) -> BinaryCounts:
        x, weights = numerics.as_float(x, weights)
        return coin_counts(jnp.sum(weights * x), jnp.sum(weights * (1 - x)))

    def _maximum_likelihood(self, stats: BinaryCounts) -> Self:
        total = stats.successes + stats.failures
        return type(self)(numerics.divide(stats.successes, total, self.probs))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)
