"""Additive sufficient statistics.

All likelihoods with the same conjugate prior share one type of statistics, since the statistics are
the increments of the prior. `add`, `scale` and `merge` work on any tree of them.
"""

import abc
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax._pytree import pytree
from likelax.numerics import as_booleans, special
from likelax.numerics.checks import (
    check_axes,
    check_not_negative,
    check_same_shape,
    check_same_tree,
    check_tree,
    checked,
)

__all__ = [
    "BinaryCounts", "CategoryCounts", "EventCounts", "Extremes", "Merging", "Moments",
    "PositiveMoments", "add", "category_counts", "coin_counts", "diagonal_moments", "heaviest", "inside_only", "merge",
    "pool_scatter", "positive_moments", "positive_rows", "scalar_moments", "scale", "vector_moments",
]  # fmt: skip

S = TypeVar("S")

Axes = str | Sequence[str]
"""Names of mapped axes, such as those of a mesh of devices."""


class Merging(abc.ABC):
    """Base class of statistics that do not add leaf by leaf.

    `add`, `scale` and `merge` call these methods; all other statistics are plain sums.

    Examples:
      >>> @pytree
      ... class Largest(Merging):
      ...     value: Array
      ...     def __add__(self, other):
      ...         return Largest(jnp.maximum(self.value, other.value))
      ...     def scaled(self, factor):
      ...         return self
      >>> parts = Largest(jnp.array([2.0, 5.0]))
      >>> print(jax.vmap(lambda part: merge(part, "parts").value, axis_name="parts")(parts))
      [5. 5.]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "scaled" in vars(cls):
            made: Any = cls
            made.scaled = checked()(cls.scaled)

    @abc.abstractmethod
    def __add__(self, other: Self) -> Self:
        """The statistics of two data sets together."""

    @abc.abstractmethod
    def scaled(self, factor: ArrayLike) -> Self:
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """

    def merged(self, axes: Axes) -> Self:
        """The statistics of all data, where each entry of mapped axes has those of a part.

        Here every device gathers the statistics of all, and adds them in order. Override it where
        a few sums over the axes give the same. See the example of the class.

        Args:
          axes: names of mapped axes, of `jax.shard_map` or `jax.vmap`.
        """
        parts = jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, axes), self)
        count = jax.tree.leaves(parts)[0].shape[0]
        total = jax.tree.map(lambda leaf: leaf[0], parts)
        for i in range(1, count):
            total = total + jax.tree.map(lambda leaf, i=i: leaf[i], parts)
        return total


@pytree
class BinaryCounts(Merging):
    """Statistics of likelihoods p^successes (1 - p)^failures h, whose conjugate prior is the beta.

    The statistics hold the log likelihood at its maximum instead of log h. Such a log h, a sum of log
    binomial coefficients say, is much larger than the log likelihood, and would cancel. Two statistics
    merge exactly.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      successes: (...) the increment of alpha.
      failures: (...) the increment of beta.
      log_peak: (...) log likelihood at p = successes / (successes + failures), nats.

    Examples:
      >>> both = coin_counts(2.0, 1.0) + coin_counts(1.0, 0.0)
      >>> print(both.successes, both.failures, f"{jnp.exp(both.log_peak):.4f}")  # 0.75^3 0.25
      3.0 1.0 0.1055
    """

    successes: Array
    failures: Array
    log_peak: Array

    @checked()
    def log_likelihood(self, p: ArrayLike, q: ArrayLike) -> Array:
        """The log likelihood at p with q = 1 - p, nats.

        Examples:
          >>> print(f"{jnp.exp(coin_counts(1.0, 1.0).log_likelihood(0.25, 0.75)):.4f}")
          0.1875
        """
        successes, failures, p, q = numerics.named_floats(
            successes=self.successes, failures=self.failures, p=p, q=q
        )
        total = successes + failures
        gap = special.deviance(successes, total * p)
        return self.log_peak - gap - special.deviance(failures, total * q)

    def __add__(self, other: "BinaryCounts") -> "BinaryCounts":
        wins, losses = self.successes + other.successes, self.failures + other.failures
        p, q = (numerics.divide(part, wins + losses, 0.5) for part in (wins, losses))
        peak = self.log_likelihood(p, q) + other.log_likelihood(p, q)
        return BinaryCounts(wins, losses, peak)

    def scaled(self, factor: ArrayLike) -> "BinaryCounts":
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        return BinaryCounts(self.successes * factor, self.failures * factor, self.log_peak * factor)

    def merged(self, axes: Axes) -> "BinaryCounts":
        """The statistics of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        wins, losses = jax.lax.psum((self.successes, self.failures), axes)
        p, q = (numerics.divide(part, wins + losses, 0.5) for part in (wins, losses))
        return BinaryCounts(wins, losses, jax.lax.psum(self.log_likelihood(p, q), axes))


@checked()
def coin_counts(successes: ArrayLike, failures: ArrayLike) -> BinaryCounts:
    """The statistics of tosses whose order is known: h = 1.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      successes, failures: (...) weighted counts.
    Raises:
      ValueError: for a negative count.

    Examples:
      >>> print(f"{jnp.exp(coin_counts(1.0, 1.0).log_peak):.2f}")
      0.25
    """
    successes, failures = numerics.named_floats(successes=successes, failures=failures)
    check_not_negative(successes=successes, failures=failures)
    total = successes + failures
    p, q = (numerics.divide(part, total, 0.5) for part in (successes, failures))
    peak = numerics.xlogy(successes, p) + numerics.xlogy(failures, q)
    return BinaryCounts(successes, failures, peak)


@pytree
class CategoryCounts(Merging):
    """Statistics of likelihoods prod_c v[c]^counts[c] h, whose conjugate prior is the Dirichlet.

    As in `BinaryCounts`, they hold the log likelihood at its maximum, so that terms of the size of
    log counts! do not cancel. Two statistics merge exactly.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      counts: (..., C) the increment of the concentration.
      log_peak: (...) log likelihood at v = counts / sum(counts), nats.

    Examples:
      >>> from likelax import Dirichlet
      >>> prior = Dirichlet(jnp.ones(3))
      >>> print(prior.posterior(CategoryCounts(jnp.array([2.0, 0.0, 1.0]), 0.0)).concentration)
      [3. 1. 2.]
    """

    counts: Array
    log_peak: Array

    @checked()
    def log_likelihood(self, v: ArrayLike) -> Array:
        """The log likelihood at probabilities v (..., C), which are taken to sum to one, (...), nats.

        Examples:
          >>> print(f"{jnp.exp(category_counts(jnp.ones(2)).log_likelihood([0.25, 0.75])):.4f}")
          0.1875
        """
        counts, v = numerics.named_floats(counts=self.counts, v=v)
        total = jnp.sum(counts, axis=-1, keepdims=True)
        return self.log_peak - jnp.sum(special.deviance(counts, total * v), axis=-1)

    def __add__(self, other: "CategoryCounts") -> "CategoryCounts":
        counts = self.counts + other.counts
        v = _shares(counts)
        return CategoryCounts(counts, self.log_likelihood(v) + other.log_likelihood(v))

    def scaled(self, factor: ArrayLike) -> "CategoryCounts":
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        times = _expand(jnp.asarray(factor), self.counts)
        return CategoryCounts(self.counts * times, self.log_peak * factor)

    def merged(self, axes: Axes) -> "CategoryCounts":
        """The statistics of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        counts = jax.lax.psum(self.counts, axes)
        return CategoryCounts(counts, jax.lax.psum(self.log_likelihood(_shares(counts)), axes))

    @checked()
    def widen(self, num_categories: int) -> "CategoryCounts":
        """The same statistics for a model with more categories, none of the new ones seen.

        Args:
          num_categories: how many the new model has; the first C are the old ones.
        Raises:
          ValueError: for fewer categories than there are.

        Examples:
          >>> print(CategoryCounts(jnp.array([2.0, 1.0]), jnp.zeros(())).widen(3).counts)
          [2. 1. 0.]
        """
        more = num_categories - self.counts.shape[-1]
        if more < 0:
            raise ValueError(
                f"widen: num_categories must be {self.counts.shape[-1]} or more; got {num_categories}"
            )
        space = [(0, 0)] * (self.counts.ndim - 1) + [(0, more)]
        return CategoryCounts(jnp.pad(self.counts, space), self.log_peak)


def _shares(counts: Array) -> Array:
    """counts / sum(counts) along the last axis, and 0 where there are none."""
    return numerics.divide(counts, jnp.sum(counts, axis=-1, keepdims=True), 0.0)


@checked()
def category_counts(counts: ArrayLike) -> CategoryCounts:
    """The statistics of draws of one category each, whose order is known: h = 1.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      counts: (..., C) weighted counts.
    Raises:
      ValueError: for a negative count, or a number.

    Examples:
      >>> print(f"{jnp.exp(category_counts(jnp.ones(2)).log_peak):.2f}")
      0.25
    """
    (counts,) = numerics.named_floats(counts=counts)
    check_axes("counts", counts, 1)
    check_not_negative(counts=counts)
    return CategoryCounts(counts, jnp.sum(numerics.xlogy(counts, _shares(counts)), axis=-1))


@pytree
class EventCounts(Merging):
    """Statistics of likelihoods v^events exp(-v exposure) h, whose conjugate prior is the gamma.

    As in `BinaryCounts`, they hold the log likelihood at its maximum, so that terms of the size of
    log events! do not cancel. Two statistics merge exactly.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      events: (...) the increment of the concentration (for a Poisson: the sum of the counts).
      exposure: (...) the increment of the rate (for a Poisson: the number of observations).
      log_peak: (...) log likelihood at v = events / exposure, nats; at v = 1 without exposure.

    Examples:
      >>> from likelax import Gamma
      >>> posterior = Gamma(1.0, 1.0).posterior(EventCounts(6.0, 2.0, 0.0))
      >>> print(posterior.concentration, posterior.rate)
      7.0 3.0
    """

    events: Array
    exposure: Array
    log_peak: Array

    @checked()
    def log_likelihood(self, v: ArrayLike) -> Array:
        """The log likelihood at v, nats.

        Examples:
          >>> stats = EventCounts(*map(jnp.float32, (2, 1, -1)))  # -1 nat at v = 2
          >>> print(f"{stats.log_likelihood(jnp.float32(1.0)):.4f}")  # 2 log v - v, shifted
          -1.3863
        """
        events, exposure, v = numerics.named_floats(events=self.events, exposure=self.exposure, v=v)
        bare = exposure == 0
        at_one = numerics.xlogy(jnp.where(bare, events, 0), v)
        gap = special.deviance(events, jnp.where(bare, 1, exposure) * v)
        return self.log_peak + jnp.where(bare, at_one, -jnp.where(bare, 0, gap))

    def __add__(self, other: "EventCounts") -> "EventCounts":
        events, exposure = self.events + other.events, self.exposure + other.exposure
        v = numerics.divide(events, exposure, 1.0)
        peak = self.log_likelihood(v) + other.log_likelihood(v)
        return EventCounts(events, exposure, peak)

    def scaled(self, factor: ArrayLike) -> "EventCounts":
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        return EventCounts(self.events * factor, self.exposure * factor, self.log_peak * factor)

    def merged(self, axes: Axes) -> "EventCounts":
        """The statistics of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        events, exposure = jax.lax.psum((self.events, self.exposure), axes)
        v = numerics.divide(events, exposure, 1.0)
        return EventCounts(events, exposure, jax.lax.psum(self.log_likelihood(v), axes))


@pytree
class Moments(Merging):
    """Weight, mean and scatter about that mean: the statistics of a Gaussian.

    The scatter is about the mean, so nothing cancels in float32 however far the data lie from zero.
    Two of them merge exactly. With zero weight the mean is arbitrary and is not used.

    Attributes:
      weight: (...) sum of the weights.
      mean: (..., *event) weighted mean.
      scatter: weighted sum of squared deviations from `mean`: (..., *event), or for a full
        covariance (..., D, D).

    Source: Chan, Golub & LeVeque (1983), The American Statistician 37, 242-247.

    Examples:
      >>> one, other = (Moments(*map(jnp.float32, m)) for m in ((1, 2, 0), (1, 4, 0)))
      >>> both = one + other
      >>> print(both.weight, both.mean, both.scatter)
      2.0 3.0 2.0
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

    def scaled(self, factor: ArrayLike) -> "Moments":
        """The moments of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        weight = self.weight * factor
        return Moments(weight, self.mean, self.scatter * _expand(jnp.asarray(factor), self.scatter))

    def merged(self, axes: Axes) -> "Moments":
        """The moments of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        weight = jax.lax.psum(self.weight, axes)
        mean, lost = _common_mean(self.weight, self.mean, weight, axes)
        gap = jnp.where(_expand(self.weight != 0, mean), self.mean - mean, 0)
        lever = _expand(self.weight, self.scatter)
        scatter = jax.lax.psum(self.scatter + lever * _square(gap, self.scatter), axes)
        less = _expand(weight, scatter) * _square(lost, scatter)
        return Moments(weight, mean, scatter - less)

    @checked()
    def about(self, center: ArrayLike) -> Array:
        """Weighted sum of squared deviations from `center` (*event), shaped like `scatter`.

        Examples:
          >>> moments = Moments(*map(jnp.float32, (2, 1, 0)))
          >>> print(moments.about(jnp.float32(4)))
          18.0
        """
        mean, center = numerics.named_floats(mean=self.mean, center=center)
        gap = mean - center
        return self.scatter + _expand(self.weight, self.scatter) * _square(gap, self.scatter)


def scalar_moments(x: ArrayLike, weights: ArrayLike, center: ArrayLike) -> Moments:
    """Moments of scalars, summed over all axes.

    Relative to the spread of the data, mean and scatter in float32 are right to a few units in the
    last place, for up to 1e7 observations as far as 1e6 standard deviations from zero. A scatter
    outside the floating range (in float32 a standard deviation beyond about 1e-19 to 1e19) is NaN.
    Data that are all equal have a scatter of exactly 0.

    Args:
      x: (...).
      weights: (...) non-negative.
      center: scalar, about which to sum if the first rows have no weight.
    Raises:
      ValueError: for arrays of other shapes.

    Examples:
      >>> moments = scalar_moments(jnp.array([1.0, 3.0]), jnp.ones(2), jnp.array(0.0))
      >>> print(moments.mean, moments.scatter)
      2.0 2.0
    """
    x, weights, center = numerics.named_floats(x=x, weights=weights, center=center)
    check_same_shape(x=x, weights=weights)
    _check_shape("center", center, ())
    weight = jnp.sum(weights)
    anchor, apart = _anchor(x.reshape(-1), weights.reshape(-1), center)
    shift = numerics.divide(numerics.weighted_sum(weights, x - anchor), weight, 0.0)
    mean, lost = _offset(anchor, shift)
    # a row without weight may be so far away that its square is inf
    scatter = numerics.weighted_sum(weights, (x - mean) ** 2) - weight * lost**2
    return Moments(weight, mean, _in_range(scatter, apart))


def vector_moments(x: ArrayLike, weights: ArrayLike, center: ArrayLike) -> Moments:
    """Moments of rows, with a matrix of scatter.

    As accurate as `scalar_moments`, in every column.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: (N, D).
      weights: (N,) non-negative.
      center: (D,), about which to sum if the first rows have no weight.
    Returns:
      `Moments` with scatter (D, D).

    Examples:
      >>> x = jnp.array([[1.0, 0.0], [3.0, 2.0]])
      >>> print(vector_moments(x, jnp.ones(2), jnp.zeros(2)).scatter)
      [[2. 2.]
       [2. 2.]]
    """
    x, weights, center = _as_rows(x, weights, center)
    weight, mean, gap, lost, apart = _centred_rows(x, weights, center)
    scatter = numerics.row_products(weights[:, None] * gap, gap)
    scatter = scatter - weight * lost[:, None] * lost[None, :]
    diagonal = jnp.diagonal(scatter)
    out = jnp.isnan(_in_range(diagonal, apart))
    return Moments(weight, mean, jnp.where(out[:, None] | out[None, :], jnp.nan, scatter))


def diagonal_moments(x: ArrayLike, weights: ArrayLike, center: ArrayLike) -> Moments:
    """Moments of rows, with the scatter of each column.

    As accurate as `scalar_moments`, in every column.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: (N, D).
      weights: (N,) non-negative.
      center: (D,), about which to sum if the first rows have no weight.
    Returns:
      `Moments` with scatter (D,).

    Examples:
      >>> x = jnp.array([[1.0, 0.0], [3.0, 4.0]])
      >>> print(diagonal_moments(x, jnp.ones(2), jnp.zeros(2)).scatter)
      [2. 8.]
    """
    x, weights, center = _as_rows(x, weights, center)
    weight, mean, gap, lost, apart = _centred_rows(x, weights, center)
    scatter = jnp.sum(weights[:, None] * gap**2, axis=0) - weight * lost**2
    return Moments(weight, mean, _in_range(scatter, apart))


def _as_rows(x: Any, weights: Any, center: Any) -> tuple[Array, Array, Array]:
    x, weights, center = numerics.named_floats(x=x, weights=weights, center=center)
    _check_rows("x", x, weights)
    _check_shape("center", center, x.shape[1:])
    return x, weights, center


def _check_rows(name: str, rows: Array, weights: Array) -> None:
    if rows.ndim != 2 or weights.shape != rows.shape[:1]:
        raise ValueError(
            f"{name} must have shape (N, D) and weights (N,); got {rows.shape} and {weights.shape}"
        )


def _check_shape(name: str, a: Array, wanted: tuple[int, ...]) -> None:
    if a.shape != wanted:
        raise ValueError(f"{name} must have shape {wanted}; got {a.shape}")


def _centred_rows(
    x: Array, weights: Array, center: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """(weight, mean, x - mean, what rounding took from the mean, spread of the first rows)."""
    weight = jnp.sum(weights)
    anchor, apart = _anchor(x, weights, center)
    # a row without weight may be so far away that its square is inf
    kept = (weights != 0)[:, None]
    gap = jnp.where(kept, x - anchor[None, :], 0)
    shift = numerics.row_products(weights[:, None], gap)[0]
    mean, lost = _offset(anchor, numerics.divide(shift, weight[None], 0.0))
    return weight, mean, jnp.where(kept, x - mean[None, :], 0), lost, apart


_FIRST = 256  # rows among which the anchor is chosen


def heaviest(x: ArrayLike, weights: ArrayLike, otherwise: ArrayLike) -> Array:
    """The observation of largest weight among the first 256, as an origin for the others.

    Args:
      x: (...).
      weights: (...) non-negative.
      otherwise: scalar, returned if none of those weights is above zero.
    Raises:
      ValueError: for arrays of other shapes.

    Examples:
      >>> print(heaviest(jnp.array([5.0, 7.0]), jnp.array([0.0, 1.0]), jnp.array(0.0)))
      7.0
    """
    x, weights, otherwise = numerics.named_floats(x=x, weights=weights, otherwise=otherwise)
    check_same_shape(x=x, weights=weights)
    _check_shape("otherwise", otherwise, ())
    x, weights = x.reshape(-1)[:_FIRST], weights.reshape(-1)[:_FIRST]
    return _anchor(x, weights, otherwise)[0]


def _anchor(x: Array, weights: Array, center: Array) -> tuple[Array, Array]:
    """(a row of x (N, ...) of large weight, the largest distance of the first rows from it).

    Sums about it lose no digits to the offset of the data. Without weight among the first rows
    it is `center`.
    """
    x, weights = x[:_FIRST], weights[:_FIRST]
    if x.shape[0] == 0:
        return center, jnp.zeros_like(center)
    at = jnp.argmax(weights)
    anchor = jnp.where(weights[at] > 0, x[at], center)
    counts = (weights > 0).reshape((-1,) + (1,) * (x.ndim - 1))
    gap = jnp.abs(x - jnp.broadcast_to(anchor, x.shape))
    return anchor, jnp.max(jnp.where(counts, gap, 0), axis=0)


def _offset(anchor: Array, shift: Array) -> tuple[Array, Array]:
    """(anchor + shift rounded, what the rounding took away), by Knuth's two-sum."""
    total = anchor + shift
    part = total - anchor
    return total, (anchor - (total - part)) + (shift - part)


def _common_mean(part: Array, mean: Array, weight: Array, axes: Axes) -> tuple[Array, Array]:
    """(mean of all data, what rounding took from it), from the mean and weight of each part.

    Args:
      part: (...) weight of this part.
      mean: (..., *event) its mean.
      weight: (...) weight of all parts.
      axes: names of mapped axes.
    """
    counts = _expand(part != 0, mean)
    # sums about one of the means lose no digits to the offset of the data
    anchor = jax.lax.pmax(jnp.where(counts, mean, -jnp.inf), axes)
    anchor = jnp.where(jnp.isneginf(anchor), 0, anchor)
    gaps = jax.lax.psum(_expand(part, mean) * jnp.where(counts, mean - anchor, 0), axes)
    return _offset(anchor, numerics.divide(gaps, _expand(weight, mean), 0.0))


def _in_range(scatter: Array, apart: Array) -> Array:
    """The scatter, or NaN where squares of distances of size `apart` left the floating range."""
    tiny = jnp.finfo(scatter.dtype).tiny
    lost = ((apart > 0) & (scatter < tiny)) | jnp.isinf(scatter)
    return jnp.where(lost, jnp.nan, scatter)


def _expand(a: Array, like: Array) -> Array:
    return jnp.reshape(a, a.shape + (1,) * (like.ndim - a.ndim))


def _square(gap: Array, like: Array) -> Array:
    return gap[..., :, None] * gap[..., None, :] if like.ndim > gap.ndim else gap * gap


@pytree
class PositiveMoments(Merging):
    """Weight, mean and deviance about that mean: the statistics of positive data.

    The deviance is the weight times the log of the mean minus the mean of the logs. It is summed as
    such, so nothing cancels in float32 however narrow the data are. Two of them merge exactly. With
    zero weight the mean is arbitrary and is not used.

    Attributes:
      weight: (...) sum of the weights.
      mean: (..., *event) weighted mean, positive.
      deviance: (..., *event) weighted sum of x / mean - 1 - log(x / mean); inf where some x was 0.

    Examples:
      >>> stats = PositiveMoments(jnp.float32(1), jnp.float32(2), jnp.float32(0))
      >>> print(f"{stats.log_sum:.4f}")  # one observation of 2
      0.6931
    """

    weight: Array
    mean: Array
    deviance: Array

    def __add__(self, other: "PositiveMoments") -> "PositiveMoments":
        weight = self.weight + other.weight
        share = _expand(numerics.divide(other.weight, weight, 0.0), self.mean)
        mean = self.mean + share * (other.mean - self.mean)
        means = jnp.stack([self.mean, other.mean])
        shift = numerics.weighted_sum(
            _expand(jnp.stack([self.weight, other.weight]), means), _excess(means, mean), axis=0
        )
        return PositiveMoments(weight, mean, self.deviance + other.deviance + shift)

    def scaled(self, factor: ArrayLike) -> "PositiveMoments":
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        times = _expand(jnp.asarray(factor), self.deviance)
        return PositiveMoments(self.weight * factor, self.mean, self.deviance * times)

    def merged(self, axes: Axes) -> "PositiveMoments":
        """The statistics of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        weight = jax.lax.psum(self.weight, axes)
        mean, _ = _common_mean(self.weight, self.mean, weight, axes)
        counts = _expand(self.weight != 0, mean)
        shift = _expand(self.weight, mean) * _excess(jnp.where(counts, self.mean, mean), mean)
        deviance = jax.lax.psum(self.deviance + jnp.where(counts, shift, 0), axes)
        return PositiveMoments(weight, mean, deviance)

    @property
    def log_sum(self) -> Array:
        """Weighted sum of log x, nats."""
        weight = _expand(self.weight, self.mean)
        return weight * numerics.safe_log(self.mean) - self.deviance


def positive_moments(values: ArrayLike, weights: ArrayLike) -> PositiveMoments:
    """The statistics of positive values, summed over all axes.

    A negative value gives NaN. In float32, mean and deviance are right to a few units in the last place, for up to 1e7
    observations and a spread down to 1e-6 of the mean. Data that are all equal have a deviance of
    exactly 0; one exact zero among them makes it inf.

    Args:
      values: (...) positive.
      weights: (...) non-negative.
    Raises:
      ValueError: for arrays of different shapes.

    Examples:
      >>> stats = positive_moments(jnp.array([1.0, 3.0]), jnp.ones(2))
      >>> print(stats.mean, f"{stats.log_sum:.4f}")
      2.0 1.0986
    """
    values, weights = numerics.named_floats(values=values, weights=weights)
    check_same_shape(values=values, weights=weights)
    stats = positive_rows(values.reshape(-1, 1), weights.reshape(-1))
    return PositiveMoments(stats.weight, stats.mean[0], stats.deviance[0])


def positive_rows(values: ArrayLike, weights: ArrayLike) -> PositiveMoments:
    """The statistics of rows of positive values, column by column; a negative value gives NaN.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (N, C) positive.
      weights: (N,) non-negative.
    Raises:
      ValueError: for arrays of other shapes.

    Examples:
      >>> print(positive_rows(jnp.array([[1.0, 2.0], [3.0, 2.0]]), jnp.ones(2)).mean)
      [2. 2.]
    """
    values, weights = numerics.named_floats(values=values, weights=weights)
    _check_rows("values", values, weights)
    weight = jnp.sum(weights)
    # about the smallest of the first rows, so that the gaps are positive and do not cancel
    first = jnp.where((weights[:_FIRST] > 0)[:, None], values[:_FIRST], jnp.inf)
    anchor = jnp.min(first, axis=0, initial=jnp.inf)
    anchor = jnp.where(jnp.isinf(anchor), 1, anchor)
    gaps = numerics.weighted_sum(weights[:, None], values - anchor[None, :], axis=0)
    mean, lost = _offset(anchor, numerics.divide(gaps, weight[None], 0.0))
    deviance = numerics.weighted_sum(weights[:, None], _excess(values, mean), axis=0)
    # the sum is about the rounded mean, so it is not quite the minimum
    shift = numerics.divide(lost, mean, 0.0) ** 2 / 2
    return PositiveMoments(weight, mean, deviance - weight * shift)


def _excess(x: Array, mean: Array) -> Array:
    """x / mean - 1 - log(x / mean), inf where x is 0, at full precision where they are close."""
    mean = jnp.broadcast_to(mean, x.shape)
    positive = (mean > 0) & (mean < jnp.inf)
    ratio = special.deviance(jnp.where(positive, mean, 1), jnp.where(positive, x, x + 1))
    excess = ratio / jnp.where(positive, mean, 1)
    # an entry that is zero in every row has a mean of zero
    return jnp.where(positive, excess, jnp.where(mean == 0, jnp.inf, jnp.nan))


@pytree
class Extremes(Merging):
    """Weight, smallest and largest value: the statistics of a range.

    Attributes:
      weight: (...) sum of the weights.
      low: (...) smallest value of positive weight; not used with zero weight.
      high: (...) largest value of positive weight.

    Examples:
      >>> one, other = (Extremes(*map(jnp.float32, e)) for e in ((2, 0, 3), (1, 1, 5)))
      >>> print((one + other).low, (one + other).high)
      0.0 5.0
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

    def scaled(self, factor: ArrayLike) -> "Extremes":
        """The statistics of the same data with every weight multiplied by `factor`.

        See the example of `scale`.
        """
        return Extremes(self.weight * factor, self.low, self.high)

    def merged(self, axes: Axes) -> "Extremes":
        """The statistics of all data, where each entry of mapped axes has those of a part.

        See the example of `merge`.
        """
        mine = self.weight > 0
        low = jax.lax.pmin(jnp.where(mine, self.low, jnp.inf), axes)
        high = jax.lax.pmax(jnp.where(mine, self.high, -jnp.inf), axes)
        weight = jax.lax.psum(self.weight, axes)
        some = weight > 0
        low, high = jnp.where(some, low, self.low), jnp.where(some, high, self.high)
        return Extremes(weight, low, high)


@checked()
def pool_scatter(stats: Moments) -> Moments:
    """Give each of K components the scatter and the weight of all of them together.

    Then an M step gives all components the same covariance, bit for bit, and each its own mean.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

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


def inside_only(stats: S, support: ArrayLike, weights: ArrayLike) -> S:
    """The statistics; NaN in every leaf if a row of positive weight lies off the support.

    Such a row has probability zero under every parameter. NaN reports it, where a number would hide it.

    Args:
      stats: the statistics of N rows, any tree of arrays.
      support: (N,) booleans.
      weights: (N,) non-negative.
    Raises:
      TypeError: for a support that is not of booleans.
      ValueError: for arrays of other shapes.

    Examples:
      >>> print(inside_only(jnp.array(3.0), jnp.array([True, False]), jnp.ones(2)))
      nan
    """
    check_tree("stats", stats)
    support, (weights,) = as_booleans("support", support), numerics.named_floats(weights=weights)
    check_same_shape(support=support, weights=weights)
    off = jnp.any(~support & (weights > 0))
    return jax.tree.map(lambda leaf: jnp.where(off, jnp.nan, numerics.as_float(leaf)[0]), stats)


def _merges(node: Any) -> bool:
    return isinstance(node, Merging)


def add(a: S, b: S) -> S:
    """Statistics of two data sets together, from those of each.

    Args:
      a, b: statistics of the same model, any tree of them.
    Returns:
      The statistics of the concatenated data.
    Raises:
      TypeError: for a leaf that is no array of numbers.
      ValueError: for statistics of two models.

    Examples:
      >>> one = Moments(jnp.float32(1), jnp.float32(2), jnp.float32(0))
      >>> both = add(one, Moments(jnp.float32(1), jnp.float32(4), jnp.float32(0)))
      >>> float(both.mean), float(both.scatter)
      (3.0, 2.0)
    """
    check_same_tree(a=a, b=b)
    return jax.tree.map(lambda x, y: x + y, a, b, is_leaf=_merges)


@checked()
def scale(stats: S, factor: ArrayLike) -> S:
    """Statistics of the same data with every weight multiplied by `factor`.

    Args:
      stats: statistics of a model, any tree of them.
      factor: non-negative scalar.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> float(scale(EventCounts(jnp.float32(3), jnp.float32(2), jnp.float32(0)), 0.5).events)
      1.5
    """
    check_tree("stats", stats)
    return jax.tree.map(
        lambda s: s.scaled(factor) if _merges(s) else s * factor, stats, is_leaf=_merges
    )


def merge(stats: S, axes: Axes) -> S:
    """Statistics of all data, where each entry of mapped axes has those of a part of the data.

    Inside `jax.shard_map` it is the sum over devices. Only arrays of the size of the statistics are
    sent, a few for each of them.

    Args:
      stats: statistics of a model, any tree of them.
      axes: names of mapped axes, of `jax.shard_map` or `jax.vmap`.

    Examples:
      >>> parts = Moments(jnp.ones(2), jnp.array([2.0, 4.0]), jnp.zeros(2))
      >>> both = jax.vmap(lambda part: merge(part, "parts"), axis_name="parts")(parts)
      >>> print(both.mean, both.scatter)  # the same for each part
      [3. 3.] [2. 2.]
    """
    return jax.tree.map(
        lambda s: s.merged(axes) if _merges(s) else jax.lax.psum(s, axes), stats, is_leaf=_merges
    )
