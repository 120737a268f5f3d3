"""The categorical distribution: one draw from C unordered values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, simplex
from likelax.families.base import Family, probs_of_counts
from likelax.families.simplex import check_simplex
from likelax.model import pytree
from likelax.numerics.special import deviance
from likelax.statistics import CategoryCounts, category_counts

if TYPE_CHECKING:
    from likelax.families.dirichlet import Dirichlet


@pytree
class Categorical(Family[CategoryCounts, "Dirichlet"]):
    """x is the integer c with probability probs[c].

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      probs: (C,) non-negative, sums to one; zeros are exact. A value outside 0..C-1 is
        impossible: its log probability is -inf, and fits refuse it. Where the sum is off by more
        than 1e-3 the log probability is NaN.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.5.

    Examples:
      >>> print(jnp.exp(Categorical(jnp.array([0.2, 0.8])).log_prob(jnp.array([0, 1, 7]))))
      [0.2 0.8 0. ]
    """

    _finite_statistics = True
    probs: Array = constrained(simplex)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`."""
        return jax.random.categorical(key, numerics.safe_log(self.probs), shape=tuple(shape))

    def mean(self) -> Array:
        """NaN: the values have no order."""
        (probs,) = numerics.as_float(self.probs)
        return jnp.full((), jnp.nan, probs.dtype)

    def variance(self) -> Array:
        """NaN: the values have no order."""
        (probs,) = numerics.as_float(self.probs)
        return jnp.full((), jnp.nan, probs.dtype)

    def entropy(self) -> Array:
        """-sum_c probs[c] log probs[c], nats."""
        (probs,) = numerics.as_float(self.probs)
        return -jnp.sum(numerics.xlogy(probs, probs))

    def kl_divergence(self, other: Self) -> Array:
        """sum_c probs[c] log(probs[c] / probs'[c]), nats."""
        self._same_type(other)
        return jnp.sum(deviance(self.probs, other.probs))

    def expected_log_prob(self, stats: CategoryCounts) -> Array:
        """sum_c counts[c] log probs[c], nats."""
        return stats.log_likelihood(self.probs)

    def parameter(self) -> Array:
        """probs, as a Dirichlet prior describes it."""
        return jnp.asarray(self.probs)

    def predictive(self, prior: "Dirichlet") -> "Categorical":
        """Categorical with the prior mean of probs."""
        return Categorical(prior.mean())

    def _support(self, x: Any) -> Any:
        return (x >= 0) & (x < self.probs.shape[-1])

    def _log_density(self, x: Array) -> Array:
        num_values = jnp.shape(self.probs)[-1]
        probs = check_simplex(*numerics.as_float(self.probs))
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(
                f"Categorical: x must be integer codes 0..{num_values - 1}; got dtype {x.dtype}. "
                "Convert with x.astype(int), and wrap codes that were not seen in Masked."
            )
        if (
            isinstance(x.size, int) and x.size > _MANY * num_values
        ):  # else symbolic, for `jax.export`
            # a table made in a loop of its own: else XLA takes the logarithm anew at every look
            log_probs = jax.lax.map(numerics.safe_log, probs)
        else:
            log_probs = numerics.safe_log(probs)
        return look_up(log_probs, x)

    def _statistics(self, x: Array, weights: Array) -> CategoryCounts:
        one_hot = jax.nn.one_hot(x.reshape(-1), jnp.shape(self.probs)[-1], dtype=weights.dtype)
        counts = numerics.row_products(weights.reshape(-1, 1), one_hot)[0]
        return category_counts(counts)

    def _maximum_likelihood(self, stats: CategoryCounts) -> Self:
        return type(self)(probs_of_counts(stats, self.probs))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)


_MANY = 64


def look_up(log_probs: Array, x: Array) -> Array:
    """log_probs[x], and -inf where x is no code from 0 to C-1."""
    known = (x >= 0) & (x < log_probs.shape[-1])
    return jnp.where(known, log_probs[jnp.where(known, x, 0)], -jnp.inf)
