"""Bins of confidence, weighted and mergeable, and calibration errors computed from them."""

import math
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf
from jax.typing import ArrayLike

from likelax.calibration.class_weights import check_classes, check_weights, weights_by_outcome
from likelax.model import pytree
from likelax.numerics import as_array, as_float, divide, named_floats
from likelax.numerics.checks import (
    check_number,
    check_simplex,
    check_size,
    check_type,
    check_values,
    checked,
    known,
)

_BLOCK = 256  # rows in one running sum: then float32 totals are right to about 1e-6


@pytree
class Bins:
    """Sums of N (confidence, outcome) pairs in B bins of confidence.

    Bin b holds the confidences in (edges[b], edges[b + 1]]; the first bin includes its lower edge. The
    statistics of two data sets over the same edges add (`merge`).

    Attributes:
      edges: (B + 1,) increasing; equal neighbours make an empty bin.
      weight: (B,) sum of the weights.
      squared_weight: (B,) sum of the squared weights.
      confidence_total: (B,) sum of weight times confidence.
      outcome_total: (B,) sum of weight times outcome.
      brier_total: (B,) sum of weight times (confidence - outcome)^2.

    Source: DeGroot & Fienberg (1983), The Statistician 32, 12-22.

    Examples:
      >>> bins = bin_statistics(jnp.array([0.25, 0.75, 0.75]), jnp.array([0, 1, 0]), num_bins=2)
      >>> print(bins.confidence, bins.accuracy, bins.gap)
      [0.25 0.75] [0.  0.5] [0.25 0.25]
    """

    edges: Array
    weight: Array
    squared_weight: Array
    confidence_total: Array
    outcome_total: Array
    brier_total: Array

    @property
    def occupied(self) -> Array:
        """(B,) True where a bin holds any weight."""
        return self.weight > 0

    @property
    def confidence(self) -> Array:
        """(B,) mean confidence; NaN in an empty bin."""
        return divide(self.confidence_total, self.weight, jnp.nan)

    @property
    def accuracy(self) -> Array:
        """(B,) mean outcome; NaN in an empty bin."""
        return divide(self.outcome_total, self.weight, jnp.nan)

    @property
    def gap(self) -> Array:
        """(B,) mean confidence minus mean outcome: positive is over-confident, 0 if empty."""
        return divide(self.confidence_total - self.outcome_total, self.weight, 0.0)

    @property
    def fraction(self) -> Array:
        """(B,) share of the weight; NaN where there are no data at all."""
        return self.weight / jnp.sum(self.weight)

    @property
    def count(self) -> Array:
        """(B,) effective number of rows, (sum w)^2 / sum w^2; 0 in an empty bin."""
        return divide(self.weight**2, self.squared_weight, 0.0)

    def merge(self, other: Self) -> Self:
        """The bins of both data sets together.

        Args:
          other: bins over the same edges (B + 1,).
        Raises:
          TypeError: if other is no `Bins`.
          ValueError: if the edges differ.

        Examples:
          >>> one = bin_statistics(jnp.array([0.5]), jnp.array([1]), num_bins=1)
          >>> print(one.merge(one).weight)
          [2.]
        """
        check_type("other", other, Bins)
        same = self.edges.shape == other.edges.shape
        if same and not any(isinstance(e, jax.core.Tracer) for e in (self.edges, other.edges)):
            same = bool(np.array_equal(np.asarray(self.edges), np.asarray(other.edges)))
        if not same:
            raise ValueError(
                f"merge: bins must share their edges, got {self.edges.shape} and "
                f"{other.edges.shape} edges that differ; bin both data sets with the same `edges`"
            )
        return type(self)(
            self.edges,
            self.weight + other.weight,
            self.squared_weight + other.squared_weight,
            self.confidence_total + other.confidence_total,
            self.outcome_total + other.outcome_total,
            self.brier_total + other.brier_total,
        )


def bin_statistics(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    edges: ArrayLike | None = None,
    num_bins: int = 15,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Bins:
    """Sort predictions into bins of confidence.

    A bin is (lo, hi], found by search on the edges, so equal confidences are in one bin. The first
    bin includes its lower edge, so 0 and 1 are both inside.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,) probabilities. A value outside the edges (a logit, say) or a NaN makes
        the last bin NaN, so that it is not lost unnoticed.
      outcome: (N,) 0 or 1, booleans, or frequencies in between.
      edges: (B + 1,) not decreasing; by default `num_bins` equal widths of [0, 1].
      num_bins: B, where `edges` is not given.
      weights: (N,) non-negative; 0 removes the row, NaN included. None is all ones.
      class_weights: (2,) weights of the outcomes 0 and 1, times which the row weights are taken, or None.
        The outcomes must then be 0 or 1.
    Returns:
      `Bins`. Differentiable in confidence, outcome and weights.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, num_bins < 1, edges decrease, or
        an outcome or weight is out of range.
    Source: DeGroot & Fienberg (1983), The Statistician 32, 12-22.

    Examples:
      >>> bins = bin_statistics(
      ...     jnp.array([0.35, 0.6, 0.8, 0.9]), jnp.array([0, 1, 1, 0]), edges=[0, 0.5, 0.75, 1]
      ... )
      >>> for accuracy, confidence in zip(bins.accuracy, bins.confidence):
      ...     print(f"{accuracy:.2f} {confidence:.2f}")
      0.00 0.35
      1.00 0.60
      0.50 0.85
      >>> round(float(ece(bins)), 4)
      0.3625
    """
    equal = weights is None and class_weights is None
    confidence, outcome, weights = check_rows(
        confidence, outcome, weights, class_weights=class_weights
    )
    edges = check_edges(edges, num_bins, confidence.dtype)
    number = edges.shape[0] - 1
    kept = weights != 0
    confidence = jnp.where(kept, confidence, edges[0])
    outcome = jnp.where(kept, outcome, 0)
    index, confidence = bin_index(confidence, edges)
    size = confidence.shape[0]
    blocks = max(1, math.ceil(size / _BLOCK))
    place = jnp.arange(size, dtype=index.dtype) // _BLOCK * number + index

    def totals(rows: Array) -> Array:
        parts = jax.ops.segment_sum(rows, place, blocks * number)
        return jnp.sum(parts.reshape(blocks, number, *rows.shape[1:]), axis=0)

    # four columns fill a vector register: a fifth would double the time
    moments = (jnp.ones_like(weights), confidence, outcome, (confidence - outcome) ** 2)
    weight, *sums = totals(weights[:, None] * jnp.stack(moments, axis=1)).T
    return Bins(edges, weight, weight if equal else totals(weights**2), *sums)


def check_edges(edges: ArrayLike | None, num_bins: int, dtype: Any) -> Array:
    """The edges (B + 1,); equal widths of [0, 1] where none are given."""
    if edges is None:
        check_size("num_bins", num_bins)
        edges = np.linspace(0.0, 1.0, num_bins + 1)
    edges = as_array("edges", edges).astype(dtype)
    if edges.ndim != 1 or edges.shape[0] < 2:
        raise ValueError(f"edges must have shape (B + 1,) with B >= 1, got {edges.shape}")
    values = known(edges)
    if values is not None and not np.all(np.diff(values) >= 0):
        raise ValueError(f"edges must not decrease and hold no NaN, got {values}")
    return edges


def bin_index(confidence: Array, edges: Array) -> tuple[Array, Array]:
    """(bin of each confidence, confidence); outside the edges the last bin and NaN."""
    inside = (confidence >= edges[0]) & (confidence <= edges[-1])
    index = jnp.where(inside, _search(edges[1:-1], confidence), edges.shape[0] - 2)
    return index, jnp.where(inside, confidence, jnp.nan)


def check_rows(
    confidence: ArrayLike,
    outcome: ArrayLike,
    weights: ArrayLike | None,
    *,
    name: str = "confidence",
    frequencies: bool = True,
    class_weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """The three columns as floats of one shape (N,).

    Args:
      confidence: (N,).
      outcome: (N,).
      weights: (N,), or one number for all rows; None is all ones.
      name: of the first column, for messages.
      frequencies: whether outcomes must lie in [0, 1].
      class_weights: (2,) factors of the weights for the outcomes 0 and 1, or None.
    Raises:
      ValueError: for other shapes, a negative, infinite or NaN weight, or an outcome out of range.
    """
    (confidence,), outcome, weights = (
        named_floats(**{name: confidence}),
        as_array("outcome", outcome),
        as_array("weights", 1.0 if weights is None else weights),
    )
    confidence, outcome, weights = as_float(confidence, outcome, weights)
    if confidence.ndim != 1:
        raise ValueError(
            f"{name} must have shape (N,), got {confidence.shape}; for a probability per "
            "class use `top_label` or `classwise` first"
        )
    check_weights("weights", weights)
    if weights.ndim == 0:
        weights = jnp.broadcast_to(weights, confidence.shape)
    for column, value in (("outcome", outcome), ("weights", weights)):
        if value.shape != confidence.shape:
            raise ValueError(
                f"{column} must have the shape of {name}, {confidence.shape}, got {value.shape}"
            )
    if frequencies:
        check_kept("outcome", outcome, weights, lambda y: ~((y < 0) | (y > 1)), "0, 1 or between")
    return confidence, outcome, weights_by_outcome(weights, class_weights, outcome)


def check_kept(
    name: str, values: Array, weights: Array, fine: Callable[[np.ndarray], Any], wanted: str
) -> None:
    """`check_values` of the rows (N, ...) whose weight (N,) is not zero."""
    kept = known(weights)
    if kept is not None:
        left_out = (kept == 0).reshape(-1, *(1,) * (values.ndim - 1))
        check_values(name, values, lambda v: fine(v) | left_out, wanted)


def check_fit(name: str, values: Array, weights: Array, *, finite: bool = True) -> None:
    """Raise where there is nothing to fit to, or a value is NaN, or infinite where `finite`.

    Args:
      name: of the values, for the message.
      values: (N, ...); a row of weight zero may hold anything.
      weights: (N,).
      finite: whether infinite values are refused too.
    """
    kept = known(weights)
    if values.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {values.shape}")
    if kept is not None and not kept.any():
        raise ValueError("weights must not all be zero: there is no row to fit to")
    if finite:
        check_kept(name, values, weights, np.isfinite, "finite")
    else:
        check_kept(name, values, weights, lambda v: ~np.isnan(v), "a number")


def check_probabilities(name: str, values: Array, weights: Array) -> None:
    """Raise for a value outside [0, 1], or NaN, in a row that has weight."""
    check_kept(name, values, weights, lambda v: (v >= 0) & (v <= 1), "between 0 and 1")


def _search(inner: Array, x: Array) -> Array:
    """Number of inner edges strictly below x: the bin (lo, hi] that holds x."""
    method = "compare_all" if inner.shape[0] <= 64 else "scan_unrolled"
    return jnp.searchsorted(inner, x, side="left", method=method)


def quantile_edges(
    confidence: ArrayLike, num_bins: int, *, weights: ArrayLike | None = None
) -> Array:
    """Edges of [0, 1] for bins of nearly equal weight that never split equal confidences.

    Inner edge b is the smallest confidence at which the cumulative weight reaches b / B.
    If one value has more than 1 / B of the weight, edges coincide and bins stay empty.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,) in [0, 1].
      num_bins: B.
      weights: (N,) non-negative; 0 removes the row.
    Returns:
      (B + 1,) edges, the outer two 0 and 1.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, num_bins < 1, there is no row with
        weight, or a confidence is outside [0, 1].
    Source: Nguyen & O'Connor (2015), Posterior calibration and exploratory analysis for natural
      language processing models, EMNLP.

    Examples:
      >>> print(quantile_edges(jnp.array([0.2, 0.2, 0.2, 0.7]), 2))
      [0.  0.2 1. ]
    """
    check_size("num_bins", num_bins)
    confidence, _, weights = check_rows(confidence, confidence, weights, frequencies=False)
    check_fit("confidence", confidence, weights)
    check_probabilities("confidence", confidence, weights)
    confidence = jnp.where(weights == 0, jnp.inf, confidence)
    order = jnp.argsort(confidence)
    cumulative = jnp.cumsum(weights[order])
    levels = jnp.arange(1, num_bins, dtype=confidence.dtype) / num_bins
    at = first_reaching(cumulative, levels * cumulative[-1])
    inner = jnp.clip(confidence[order][at], 0, 1)
    ends = jnp.array([0.0, 1.0], confidence.dtype)
    return jnp.concatenate([ends[:1], inner, ends[1:]])


def top_label(probs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """The probability of the most probable class, and whether that class was right.

    Args:
      probs: (N, C) probabilities. Of several equal ones the first is used.
      labels: (N,) integers in [0, C).
    Returns:
      (confidence, correct), each (N,), for `bin_statistics`.
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Guo et al. (2017), On calibration of modern neural networks.

    Examples:
      >>> print(top_label(jnp.array([[0.2, 0.8]]), jnp.array([0]))[1])
      [0.]
    """
    (probs,) = named_floats(probs=probs)
    labels = check_labels("probs", probs, labels)
    check_simplex("probs", probs)
    correct = jnp.argmax(probs, axis=-1).astype(labels.dtype) == labels
    return jnp.max(probs, axis=-1), correct.astype(probs.dtype)


def classwise(probs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """Each class against the rest.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (N, C) probabilities.
      labels: (N,) integers in [0, C).
    Returns:
      (confidence, outcome), each (C, N). The mean over classes of the ECE of `bin_statistics` is the
      classwise ECE.
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Kull et al. (2019), Beyond temperature scaling: Dirichlet calibration.

    Examples:
      >>> c, y = classwise(jnp.array([[0.2, 0.8]]), jnp.array([1]))
      >>> print(jax.vmap(lambda c, y: ece(bin_statistics(c, y)))(c, y).round(3))
      [0.2 0.2]
    """
    (probs,) = named_floats(probs=probs)
    labels = check_labels("probs", probs, labels)
    check_simplex("probs", probs)
    outcome = jnp.arange(probs.shape[-1], dtype=labels.dtype)[:, None] == labels[None, :]
    return probs.T, outcome.astype(probs.dtype)


def check_labels(name: str, values: Array, labels: ArrayLike) -> Array:
    """The labels (N,) of `values` (N, C), integers in 0..C-1."""
    labels = as_array("labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them first")
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(
            f"{name} must have shape (N, C) and labels (N,), got {values.shape} and {labels.shape}"
        )
    check_classes(labels, values.shape[1])
    return labels


def first_reaching(cumulative: Array, levels: ArrayLike) -> Array:
    """Index of the first row at which cumulative weights (N,) reach each level; N for none."""
    # a rounding error must not move a level that is met exactly to the next row
    slack = 1 - 4 * jnp.finfo(cumulative.dtype).eps
    return jnp.searchsorted(cumulative, levels * slack, side="left")


@checked()
def ece(bins: Bins) -> Array:
    """Expected calibration error (L1): sum_b fraction[b] |confidence[b] - accuracy[b]|, a scalar.

    It is biased upwards in small samples: see `debiased_ece`. Empty bins add nothing; without data it
    is NaN.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
    Source: Guo et al. (2017), On calibration of modern neural networks.

    Examples:
      >>> float(ece(bin_statistics(jnp.array([0.75, 0.75]), jnp.array([1, 0]))))
      0.25
    """
    return jnp.sum(bins.fraction * jnp.abs(bins.gap))


@checked()
def rms_error(bins: Bins) -> Array:
    """Root mean square calibration error (L2): sqrt sum_b fraction[b] gap[b]^2, a scalar.

    The gradient at gaps that are all zero is zero.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
    Source: Kumar, Liang, Ma (2019), Verified uncertainty calibration.

    Examples:
      >>> float(rms_error(bin_statistics(jnp.array([0.75, 0.75]), jnp.array([1, 0]))))
      0.25
    """
    square = jnp.sum(bins.fraction * bins.gap**2)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


@checked()
def lp_error(bins: Bins, power: float) -> Array:
    """Lp calibration error: (sum_b fraction[b] |gap[b]|^power)^(1 / power), a scalar.

    `ece` is that of power 1, `rms_error` of 2, and `max_error` its limit for large powers.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
      power: at least 1 and finite.
    Returns:
      A scalar; its gradient where all gaps are zero is zero.
    Raises:
      ValueError: if power is below 1 or not finite.
    Source: Kumar, Liang, Ma (2019), Verified uncertainty calibration.

    Examples:
      >>> bins = bin_statistics(jnp.array([0.25, 0.25, 0.75, 0.75]), jnp.array([0, 0, 1, 0]), num_bins=2)
      >>> print(f"{lp_error(bins, 3.0):.4f}")
      0.2500
    """
    check_number("power", power, lambda v: 1 <= v < np.inf, "at least 1 and finite")
    gap = jnp.abs(bins.gap)
    largest = jax.lax.stop_gradient(jnp.max(gap, initial=0))
    unit = jnp.where(largest > 0, largest, 1)
    total = jnp.sum(bins.fraction * (gap / unit) ** power)
    return unit * jnp.where(total > 0, jnp.where(total > 0, total, 1) ** (1 / power), 0)


@checked()
def max_error(bins: Bins) -> Array:
    """Largest gap of any occupied bin: max_b |confidence[b] - accuracy[b]|; NaN without data.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
    Source: Naeini, Cooper, Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian
      binning, AAAI.

    Examples:
      >>> float(max_error(bin_statistics(jnp.array([0.75, 0.75]), jnp.array([1, 0]))))
      0.25
    """
    gap = jnp.max(jnp.abs(bins.gap))
    return jnp.where(jnp.sum(bins.weight) == 0, jnp.nan, gap)


@checked()
def bias(bins: Bins) -> Array:
    """Signed error: mean confidence minus mean outcome, a scalar. Positive is over-confident.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.

    Examples:
      >>> float(bias(bin_statistics(jnp.array([0.75, 0.75]), jnp.array([1, 0]))))
      0.25
    """
    return jnp.sum(bins.confidence_total - bins.outcome_total) / jnp.sum(bins.weight)


def _gap_variance(bins: Bins) -> Array:
    """Unbiased variance of each bin's gap, from its residuals; 0 in a bin of one row."""
    spread = divide(bins.brier_total, bins.weight, 0.0) - bins.gap**2
    return divide(jnp.maximum(spread, 0), jnp.maximum(bins.count - 1, 0), 0.0)


@checked()
def debiased_squared_error(bins: Bins) -> Array:
    """Squared L2 error minus its bias from sampling noise, a scalar; it may be negative.

    sum_b fraction[b] (gap[b]^2 - var[b] / (count[b] - 1)), with var the variance of
    confidence - outcome in the bin. It is unbiased also if confidences differ inside a bin.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
    Source: Kumar, Liang, Ma (2019), Verified uncertainty calibration, definition 4, which is
    the case of one confidence a bin.

    Examples:
      >>> float(debiased_squared_error(bin_statistics(jnp.array([0.5, 0.5]), jnp.array([1, 0]))))
      -0.25
    """
    return jnp.sum(bins.fraction * (bins.gap**2 - _gap_variance(bins)))


@checked()
def debiased_ece(bins: Bins) -> Array:
    """ECE minus the upward bias of absolute values under noise, a scalar; it may be negative.

    With a normal error of standard deviation s in the gap g of a bin, the expectation of |g| is
    s sqrt(2/pi) exp(-g^2 / 2s^2) + g erf(g / s sqrt 2). The excess of it over |g| is subtracted.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: of `bin_statistics`.
    Source: Kumar, Liang, Ma (2019), section 4, with the expectation in closed form.

    Examples:
      >>> bins = bin_statistics(jnp.array([0.5, 0.5, 0.5]), jnp.array([1, 0, 1]))
      >>> bool(debiased_ece(bins) < ece(bins))
      True
    """
    size = jnp.abs(bins.gap)
    variance = _gap_variance(bins)
    sd = jnp.sqrt(jnp.where(variance > 0, variance, 1))
    ratio = size / sd
    folded = sd * math.sqrt(2 / math.pi) * jnp.exp(-(ratio**2) / 2) + size * erf(
        ratio / math.sqrt(2)
    )
    excess = jnp.where(variance > 0, folded - size, 0)
    return jnp.sum(bins.fraction * (size - excess))
