"""Additive sufficient statistics: what a data set contributes to learning.

One type serves every likelihood that shares a conjugate prior, because the statistics are
the prior's own increments. `add` and `scale` work on any tree of them.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.model import pytree

S = TypeVar("S")


@pytree
class BinaryCounts:
    """Statistics of likelihoods whose conjugate prior is the beta distribution.

    Attributes:
      successes: what the data add to alpha.
      failures: what they add to beta.
      log_base: weighted sum of log h(x), nats: the part of the likelihood without parameters.
    """

    successes: Array
    failures: Array
    log_base: Array


@pytree
class CategoryCounts:
    """Statistics of likelihoods whose conjugate prior is the Dirichlet distribution.

    Attributes:
      counts: (..., C) what the data add to the concentration.
      log_base: (...) weighted sum of log h(x), nats.
    """

    counts: Array
    log_base: Array


@pytree
class EventCounts:
    """Statistics of likelihoods whose conjugate prior is the gamma distribution.

    Attributes:
      events: what the data add to the concentration (for a Poisson: the sum of the counts).
      exposure: what they add to the rate (for a Poisson: the number of observations).
      log_base: weighted sum of log h(x), nats.
    """

    events: Array
    exposure: Array
    log_base: Array


@pytree
class Moments:
    """Weight, mean and scatter about that mean: the statistics of a Gaussian.

    Kept centred, so nothing cancels in float32 however far the data lie from zero; two of
    them merge exactly. With zero weight the mean is arbitrary and counts for nothing.

    Attributes:
      weight: (...) sum of the weights.
      mean: (..., *event) weighted mean.
      scatter: weighted sum of squared deviations from `mean`: (..., *event), or for a full
        covariance (..., D, D).

    Source: Chan, Golub & LeVeque (1983), The American Statistician 37, 242-247.
    """

    weight: Array
    mean: Array
    scatter: Array

    def __add__(self, other: "Moments") -> "Moments":
        weight = self.weight + other.weight
        share = numerics.divide(other.weight, weight, 0.0)
        gap = other.mean - self.mean
        lever = _expand(self.weight * share, self.scatter)
        return Moments(
            weight,
            self.mean + _expand(share, gap) * gap,
            self.scatter + other.scatter + lever * _square(gap, self.scatter),
        )

    def scaled(self, factor: Array | float) -> "Moments":
        """The moments of the same data with every weight multiplied by `factor`."""
        weight = self.weight * factor
        return Moments(weight, self.mean, self.scatter * _expand(jnp.asarray(factor), self.scatter))

    def about(self, center: Array) -> Array:
        """Weighted sum of squared deviations from `center`, shaped like `scatter`."""
        gap = self.mean - center
        return self.scatter + _expand(self.weight, self.scatter) * _square(gap, self.scatter)


def _expand(a: Array, like: Array) -> Array:
    return jnp.reshape(a, a.shape + (1,) * (like.ndim - a.ndim))


def _square(gap: Array, like: Array) -> Array:
    return gap[..., :, None] * gap[..., None, :] if like.ndim > gap.ndim else gap * gap


def _is_moments(node: Any) -> bool:
    return isinstance(node, Moments)


def add(a: S, b: S) -> S:
    """Statistics of two data sets together, from those of each.

    Args:
      a, b: statistics of the same model, any tree of them.
    Returns:
      The statistics of the concatenated data.

    Examples:
      >>> one = Moments(jnp.float32(1), jnp.float32(2), jnp.float32(0))
      >>> both = add(one, Moments(jnp.float32(1), jnp.float32(4), jnp.float32(0)))
      >>> float(both.mean), float(both.scatter)
      (3.0, 2.0)
    """
    return jax.tree.map(lambda x, y: x + y, a, b, is_leaf=_is_moments)


def scale(stats: S, factor: Array | float) -> S:
    """Statistics of the same data with every weight multiplied by `factor`.

    Examples:
      >>> float(scale(EventCounts(jnp.float32(3), jnp.float32(2), jnp.float32(0)), 0.5).events)
      1.5
    """
    return jax.tree.map(
        lambda s: s.scaled(factor) if _is_moments(s) else s * factor, stats, is_leaf=_is_moments
    )
