"""Additive sufficient statistics: what a data set contributes to learning.

One type serves every likelihood that shares a conjugate prior, because the statistics are
the prior's own increments. `add` and `scale` work on any tree of them.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax._pytree import pytree
from likelax.numerics import special

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


def scalar_moments(x: Array, weights: Array, center: Array) -> Moments:
    """Moments of scalars x with weights of the same shape, summed over all axes.

    About `center` first: the mean then keeps its low bits however far the data are from zero.
    """
    weight = jnp.sum(weights)
    mean = center + numerics.divide(jnp.sum(weights * (x - center)), weight, 0.0)
    return Moments(weight, mean, jnp.sum(weights * (x - mean) ** 2))


def vector_moments(x: Array, weights: Array, center: Array) -> Moments:
    """Moments of rows x (N, D) with weights (N,), the scatter a (D, D) matrix."""
    weight = jnp.sum(weights)
    shift = jnp.matmul(weights, x - center[None, :], precision="highest")
    mean = center + numerics.divide(shift, weight[None], 0.0)
    gap = x - mean[None, :]
    return Moments(weight, mean, jnp.matmul((weights[:, None] * gap).T, gap, precision="highest"))


def _expand(a: Array, like: Array) -> Array:
    return jnp.reshape(a, a.shape + (1,) * (like.ndim - a.ndim))


def _square(gap: Array, like: Array) -> Array:
    return gap[..., :, None] * gap[..., None, :] if like.ndim > gap.ndim else gap * gap


@pytree
class PositiveMoments:
    """Weight, mean and deviance about that mean: the statistics of positive data.

    The deviance is what the mean of the logs falls short of the log of the mean, times the
    weight. It is kept itself, so nothing cancels in float32 however narrow the data are; two
    of them merge exactly. With zero weight the mean is arbitrary and counts for nothing.

    Attributes:
      weight: (...) sum of the weights.
      mean: (...) weighted mean, positive.
      deviance: (...) weighted sum of x / mean - 1 - log(x / mean).
    """

    weight: Array
    mean: Array
    deviance: Array

    def __add__(self, other: "PositiveMoments") -> "PositiveMoments":
        weight = self.weight + other.weight
        share = numerics.divide(other.weight, weight, 0.0)
        mean = self.mean + share * (other.mean - self.mean)
        shift = numerics.weighted_sum(
            jnp.stack([self.weight, other.weight]),
            special.deviance(1.0, jnp.stack([self.mean, other.mean]) / mean[None]),
            axis=0,
        )
        return PositiveMoments(weight, mean, self.deviance + other.deviance + shift)

    def scaled(self, factor: Array | float) -> "PositiveMoments":
        """The statistics of the same data with every weight multiplied by `factor`."""
        return PositiveMoments(self.weight * factor, self.mean, self.deviance * factor)

    @property
    def log_sum(self) -> Array:
        """Weighted sum of log x, nats."""
        return self.weight * numerics.safe_log(self.mean) - self.deviance


def positive_moments(values: Array, weights: Array) -> PositiveMoments:
    """The statistics of positive values (...) with weights (...), summed over all axes.

    Examples:
      >>> stats = positive_moments(jnp.array([1.0, 3.0]), jnp.ones(2))
      >>> print(stats.mean, f"{stats.log_sum:.4f}")
      2.0 1.0986
    """
    values, weights = numerics.as_float(values, weights)
    weight = jnp.sum(weights)
    mean = numerics.divide(numerics.weighted_sum(weights, values), weight, 1.0)
    gaps = special.deviance(1.0, values / mean)
    return PositiveMoments(weight, mean, numerics.weighted_sum(weights, gaps))


@pytree
class MeanLogs:
    """Weight and mean log: the statistics of points of a simplex.

    Attributes:
      weight: (...) sum of the weights.
      mean_logs: (..., C) weighted mean of log x[c], nats; -inf where some x[c] was 0.
    """

    weight: Array
    mean_logs: Array

    def __add__(self, other: "MeanLogs") -> "MeanLogs":
        weight = self.weight + other.weight
        share = numerics.divide(other.weight, weight, 0.0)
        parts = numerics.weighted_sum(
            jnp.stack([1 - share, share])[..., None],
            jnp.stack([self.mean_logs, other.mean_logs]),
            axis=0,
        )
        return MeanLogs(weight, parts)

    def scaled(self, factor: Array | float) -> "MeanLogs":
        """The statistics of the same data with every weight multiplied by `factor`."""
        return MeanLogs(self.weight * factor, self.mean_logs)


@pytree
class Extremes:
    """Weight, smallest and largest value: the statistics of a range.

    Attributes:
      weight: (...) sum of the weights.
      low: (...) smallest value of positive weight; counts for nothing with zero weight.
      high: (...) largest value of positive weight.
    """

    weight: Array
    low: Array
    high: Array

    def __add__(self, other: "Extremes") -> "Extremes":
        mine, theirs = self.weight > 0, other.weight > 0
        low = jnp.where(
            mine & theirs, jnp.minimum(self.low, other.low), jnp.where(mine, self.low, other.low)
        )
        high = jnp.where(
            mine & theirs,
            jnp.maximum(self.high, other.high),
            jnp.where(mine, self.high, other.high),
        )
        return Extremes(self.weight + other.weight, low, high)

    def scaled(self, factor: Array | float) -> "Extremes":
        """The statistics of the same data with every weight multiplied by `factor`."""
        return Extremes(self.weight * factor, self.low, self.high)


def pool_scatter(stats: Moments) -> Moments:
    """Give each of K components the scatter and the weight of all of them together.

    So an M step gives all components the same covariance, bit for bit, and each its own mean.

    Args:
      stats: `Moments` with a leading axis K.
    Returns:
      The same with scatter[k] = sum_j scatter[j] and weight[k] = sum_j weight[j]; the weight of a
      component without data stays 0.

    Examples:
      >>> two = Moments(jnp.array([1.0, 3.0]), jnp.zeros(2), jnp.array([0.0, 8.0]))
      >>> print(pool_scatter(two).weight, pool_scatter(two).scatter)
      [4. 4.] [8. 8.]
    """
    weight = jnp.broadcast_to(jnp.sum(stats.weight, axis=0, keepdims=True), stats.weight.shape)
    scatter = jnp.broadcast_to(jnp.sum(stats.scatter, axis=0, keepdims=True), stats.scatter.shape)
    return Moments(jnp.where(stats.weight > 0, weight, 0), stats.mean, scatter)


def _merges(node: Any) -> bool:
    """True for statistics that do not simply add leaf by leaf, and say so by `__add__`."""
    return hasattr(node, "scaled")


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
    return jax.tree.map(lambda x, y: x + y, a, b, is_leaf=_merges)


def scale(stats: S, factor: Array | float) -> S:
    """Statistics of the same data with every weight multiplied by `factor`.

    Examples:
      >>> float(scale(EventCounts(jnp.float32(3), jnp.float32(2), jnp.float32(0)), 0.5).events)
      1.5
    """
    return jax.tree.map(
        lambda s: s.scaled(factor) if _merges(s) else s * factor, stats, is_leaf=_merges
    )
