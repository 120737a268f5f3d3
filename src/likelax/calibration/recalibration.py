"""Recalibrators: maps of predictions, fitted to held-out ones."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.calibration.binning import (
    Bins,
    bin_index,
    bin_statistics,
    check_fit,
    check_labels,
    check_probabilities,
    check_rows,
)
from likelax.calibration.class_weights import check_weights, weights_by_label
from likelax.model import pytree
from likelax.numerics import as_array, as_float, named_floats, solve
from likelax.numerics.checks import check_same_shape, known

_STEPS = 60  # halvings of a bracket end below float precision; Newton mostly needs 6
_LARGEST = 1e4  # inverse temperature in units of 1 / spread of the logits


@pytree
class Temperature:
    """softmax(inverse_temperature * logits). It never changes the order of the classes.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      inverse_temperature: scalar, at least 0.
      at_boundary: boolean scalar, True if no finite positive temperature is best. The inverse
        temperature is then 0 if the logits do not predict the labels, and the largest value if they
        separate the classes without error.

    Source: Guo et al. (2017), On calibration of modern neural networks, 4.2.

    Examples:
      >>> half = Temperature(jnp.array(0.5), jnp.array(False))
      >>> print(half.apply(jnp.array([0.0, 2.0 * jnp.log(3.0)])).round(4))
      [0.25 0.75]
    """

    inverse_temperature: Array
    at_boundary: Array

    def apply(self, logits: ArrayLike) -> Array:
        """Probabilities (..., C) from logits (..., C); a logit of -inf keeps probability 0.

        See the example of the class.

        Raises:
          ValueError: for a scalar.
        """
        (logits,) = named_floats(logits=logits)
        if logits.ndim < 1:
            raise ValueError(f"logits must have shape (..., C), got {logits.shape}")
        possible = logits != -jnp.inf  # NaN stays NaN
        scaled = self.inverse_temperature * jnp.where(possible, logits, 0)
        return jax.nn.softmax(jnp.where(possible, scaled, -jnp.inf), axis=-1)


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Temperature:
    """The inverse temperature with the least log score, which is convex in it.

    Newton's step if it stays in the bracket, else the middle of the bracket. So the search cannot
    diverge, and the result cannot be negative.

    Args:
      logits: (N, C) with C >= 2, of any unit; for a binary logit s pass the columns 0 and s. A
        class whose logit is -inf is impossible at every temperature. A row whose own label is
        such a class, or one with a logit of inf, is left out.
      labels: (N,) integers in [0, C).
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (C,) weights of the classes, times which the row weights are taken, or None.
    Returns:
      `Temperature`; in float32 it is right to about 1e-3 of itself.
    Raises:
      ValueError: if the shapes differ, a label is out of range, there is no row with weight, or one
        holds NaN.
      TypeError: if labels are not integers.
    Source: Guo et al. (2017), On calibration of modern neural networks, 4.2.

    Examples:
      >>> logits = jnp.array([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]])
      >>> fit = fit_temperature(logits, jnp.array([1, 1, 1, 0]))
      >>> print(fit.apply(logits)[0].round(3))
      [0.25 0.75]
    """
    (logits,) = named_floats(logits=logits)
    rows = check_labelled("logits", logits, labels, weights, class_weights)
    return _temperature(*rows)


@jax.jit
def _temperature(logits: Array, labels: Array, weights: Array, possible: Array) -> Temperature:
    share = weights / jnp.sum(weights)
    # an entry of -inf has probability 0, and is not used in the centre and the spread
    counts = jnp.sum(possible, axis=-1, keepdims=True).astype(logits.dtype)
    logits = jnp.where((weights == 0)[:, None], 0, logits)
    anchor = jnp.max(jnp.where(possible, logits, -jnp.inf), axis=-1, keepdims=True)
    shifted = jnp.where(possible, logits - anchor, 0)
    centred = jnp.where(possible, shifted - jnp.sum(shifted, axis=-1, keepdims=True) / counts, 0)
    largest = jnp.max(jnp.abs(centred))
    unit = jnp.where(largest > 0, largest, 1)
    spread = unit * jnp.sqrt(jnp.sum((centred / unit) ** 2) / jnp.sum(counts))
    scaled = centred / jnp.where(spread > 0, spread, 1)
    chosen = jnp.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]

    def slopes(inverse: Array) -> tuple[Array, Array]:
        """First and second derivative of the mean log score."""
        probs = jax.nn.softmax(jnp.where(possible, inverse * scaled, -jnp.inf), axis=-1)
        mean = jnp.sum(probs * scaled, axis=-1)
        variance = jnp.sum(probs * (scaled - mean[:, None]) ** 2, axis=-1)
        return jnp.sum(share * (mean - chosen)), jnp.sum(share * variance)

    zero = jnp.zeros((), scaled.dtype)
    top = jnp.full((), _LARGEST, scaled.dtype)
    flat = slopes(zero)[0] >= 0
    # if every label has its row's largest logit, the score falls without bound: a slope is rounding
    top_logit = jnp.max(jnp.where(possible, scaled, -jnp.inf), axis=-1)
    separated = jnp.all((chosen >= top_logit) | (weights == 0))
    inverse = _safeguarded_root(slopes, top)
    inverse = jnp.where(flat, zero, jnp.where(separated, top, inverse))
    return Temperature(inverse / jnp.where(spread > 0, spread, 1), flat | separated)


def _safeguarded_root(slopes: Callable[[Array], tuple[Array, Array]], top: Array) -> Array:
    """The zero in (0, top) of an increasing function that also gives its derivative."""

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, at = state
        value, slope = slopes(at)
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        newton = at - value / slope
        # the geometric mean halves the number of decades in a wide bracket
        middle = jnp.where(low > 0, jnp.sqrt(low * high), high / 4)
        return low, high, jnp.where((newton > low) & (newton < high), newton, middle)

    return jax.lax.fori_loop(0, _STEPS, step, (jnp.zeros_like(top), top, jnp.ones_like(top)))[2]


@pytree
class Platt:
    """sigmoid(slope * (score - center) + intercept).

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      slope: scalar, per unit of the score.
      intercept: scalar, the logit of a score at `center`.
      center: scalar, the mean of the fitted scores, so that scores far from zero lose no digits.

    Source: Platt (1999), Probabilistic outputs for support vector machines.

    Examples:
      >>> print(Platt(jnp.array(2.0), jnp.array(0.0), jnp.array(3.0)).apply(3.0))
      0.5
    """

    slope: Array
    intercept: Array
    center: Array

    def apply(self, scores: ArrayLike) -> Array:
        """Probabilities of the shape of `scores` (...). See the example of the class."""
        (scores,) = named_floats(scores=scores)
        return jax.nn.sigmoid(self.slope * (scores - self.center) + self.intercept)


def fit_platt(
    scores: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Platt:
    """Logistic regression on one score, with Platt's targets, which keep it finite.

    Args:
      scores: (N,) any finite score, a logit or a margin, in any unit and from any origin.
      outcome: (N,) 0 or 1.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (2,) weights of the outcomes 0 and 1, times which the row weights are taken, or None.
        The outcomes must then be 0 or 1.
    Returns:
      `Platt`. In float32 the slope is right to about 1e-3 of itself while the scores lie within 1e3
      of their own widths from zero; beyond that the rounding of the scores themselves is larger.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, there is no row with weight, or
        one holds NaN or infinity.
    Source: Platt (1999), Probabilistic outputs for support vector machines.

    Examples:
      >>> fit = fit_platt(jnp.array([-2.0, -1.0, 1.0, 2.0]), jnp.array([0, 0, 1, 1]))
      >>> bool(fit.slope > 0), round(abs(float(fit.intercept)), 3)
      (True, 0.0)
    """
    scores, outcome, weights = check_rows(
        scores, outcome, weights, name="scores", class_weights=class_weights
    )
    check_fit("scores", scores, weights)
    check_fit("outcome", outcome, weights)
    standard, center, width = standardized(scores[:, None], weights)
    features = jnp.concatenate([standard, jnp.ones_like(standard)], axis=1)
    coefficients = _logistic(features, _targets(outcome, weights), weights)
    return Platt(coefficients[0] / width[0], coefficients[1], center[0])


@pytree
class BetaMap:
    """sigmoid(a log c - b log(1 - c) + intercept). It maps 0 to 0 and 1 to 1.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      a, b: scalars, at least 0.
      intercept: scalar.

    Source: Kull, Silva Filho, Flach (2017), Beta calibration.

    Examples:
      >>> print(BetaMap(jnp.array(1.0), jnp.array(1.0), jnp.array(0.0)).apply(0.25).round(4))
      0.25
    """

    a: Array
    b: Array
    intercept: Array

    def apply(self, confidence: ArrayLike) -> Array:
        """Recalibrated confidences of the same shape (...); 0 and 1 stay as they are.

        See the example of the class.
        """
        (c,) = named_floats(confidence=confidence)
        inside = (c > 0) & (c < 1)
        safe = jnp.where(inside, c, 0.5)
        score = self.a * jnp.log(safe) - self.b * jnp.log1p(-safe) + self.intercept
        return jnp.where(inside, jax.nn.sigmoid(score), c)


def fit_beta(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> BetaMap:
    """Beta calibration: more flexible than Platt scaling, with the identity as a special case.

    If the best a or b is negative, it is set to zero and the others are fitted again.
    Confidences of exactly 0 and 1 are left out, since no member of the family changes them.

    Float32: parameters within 1e-2 of 1 + their size, and of one rounding of the arguments.

    Args:
      confidence: (N,) in [0, 1].
      outcome: (N,) 0 or 1.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (2,) weights of the outcomes 0 and 1, times which the row weights are taken, or None.
        The outcomes must then be 0 or 1.
    Returns:
      `BetaMap`.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, one row with weight holds NaN or a
        confidence outside [0, 1], or none has a confidence inside (0, 1).
    Source: Kull, Silva Filho, Flach (2017), Beta calibration.

    Examples:
      >>> c = jnp.array([0.2, 0.4, 0.6, 0.8])
      >>> fit = fit_beta(c, jnp.array([0, 1, 0, 1]))
      >>> bool((jnp.diff(fit.apply(c)) >= 0).all())
      True
    """
    c, outcome, weights = check_rows(confidence, outcome, weights, class_weights=class_weights)
    check_fit("confidence", c, weights)
    check_fit("outcome", outcome, weights)
    check_probabilities("confidence", c, weights)
    inside = (c > 0) & (c < 1)
    weights = jnp.where(inside, weights, 0)
    usable = known(weights)
    if usable is not None and not usable.any():
        raise ValueError("confidence must lie strictly between 0 and 1 in a row with weight")
    c = jnp.where(inside, c, 0.5)
    logs = jnp.stack([jnp.log(c), -jnp.log1p(-c)], axis=1)
    standard, center, width = standardized(logs, weights)
    features = jnp.concatenate([standard, jnp.ones_like(standard[:, :1])], axis=1)
    targets = _targets(outcome, weights)

    def fit(keep: Array) -> Array:
        found = _logistic(features * keep[None], targets, weights) * keep
        slopes = found[:2] / width
        return jnp.append(slopes, found[2] - jnp.sum(slopes * center))

    masks = jnp.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 1]], c.dtype)
    free, no_a, no_b, none = jax.vmap(fit)(masks)
    one = jnp.where(free[0] < 0, no_a, no_b)
    chosen = jnp.where((free[:2] >= 0).all(), free, jnp.where((one[:2] >= 0).all(), one, none))
    return BetaMap(chosen[0], chosen[1], chosen[2])


def _targets(outcome: Array, weights: Array) -> Array:
    """Platt's targets: outcomes drawn in by one pseudo-count, so that no fit is infinite."""
    outcome = jnp.where(weights == 0, 0, outcome)
    hits = jnp.sum(weights * outcome)
    misses = jnp.sum(weights) - hits
    return outcome * (hits + 1) / (hits + 2) + (1 - outcome) / (misses + 2)


def check_labelled(
    name: str,
    values: Array,
    labels: ArrayLike,
    weights: ArrayLike | None,
    class_weights: ArrayLike | None,
) -> tuple[Array, Array, Array, Array]:
    """(values (N, C), labels (N,), weights (N,) with those of the classes, possible), as `_usable_rows`.

    Raises:
      ValueError: for other shapes, C < 2, a label out of range, invalid weights, or values of NaN.
    """
    labels = check_labels(name, values, labels)
    by_class = weights_by_label(weights, class_weights, labels, values.shape[1])
    values, weights = as_float(values, as_array("weights", 1.0 if by_class is None else by_class))
    if values.shape[1] < 2:
        raise ValueError(f"{name} must have shape (N, C) with C >= 2, got {values.shape}")
    check_weights("weights", weights)
    weights = jnp.broadcast_to(weights, labels.shape) if weights.ndim == 0 else weights
    check_same_shape(labels=labels, weights=weights)
    check_fit(name, jnp.where(jnp.isinf(values), 0, values), weights)
    possible, weights = _usable_rows(values, labels, weights)
    return values, labels, weights, possible


def _usable_rows(logits: Array, labels: Array, weights: Array) -> tuple[Array, Array]:
    """(which logits are possible classes (N, C), weights without the rows that no fit can use)."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    lost = (own == -jnp.inf) | jnp.any(logits == jnp.inf, axis=-1)
    weights = jnp.where(lost, 0, weights)
    # a row without weight may hold anything, so no entry is used, but one class must remain
    none = (weights == 0)[:, None]
    first = (jnp.arange(logits.shape[1]) == 0)[None]
    return jnp.where(none, first, logits > -jnp.inf), weights


def standardized(x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """(columns of x (N, P) with mean 0 and width 1, their means (P,), their widths (P,)).

    In any unit and far from zero: nothing is squared before it is centred and scaled. A column
    without spread has width 1. Rows without weight become 0.
    """
    kept = (weights > 0)[:, None]
    share = (weights / jnp.sum(weights))[:, None]
    # about an observation, so that a large offset costs no digits
    anchor = x[jnp.argmax(weights)]
    gap = jnp.where(kept, x - anchor[None], 0)
    mean = jnp.sum(share * gap, axis=0)
    center = anchor + mean
    gap = jnp.where(kept, gap - mean[None], 0)
    largest = jnp.max(jnp.abs(gap), axis=0)
    unit = jnp.where(largest > 0, largest, 1)
    width = unit * jnp.sqrt(jnp.sum(share * (gap / unit[None]) ** 2, axis=0))
    width = jnp.where(width > 0, width, 1)
    return gap / width[None], center, width


@jax.jit
def _logistic(features: Array, targets: Array, weights: Array) -> Array:
    """Weighted logistic regression (P,) by Newton's steps, halved while they do not improve."""
    size = jnp.sqrt(jnp.mean(features**2, axis=0))
    size = jnp.where(size > 0, size, 1)
    x = features / size[None]
    share = weights / jnp.sum(weights)

    def loss(b: Array) -> Array:
        score = x @ b
        return jnp.sum(share * (jax.nn.softplus(score) - targets * score))

    def step(_: int, b: Array) -> Array:
        p = jax.nn.sigmoid(x @ b)
        gradient = x.T @ (share * (p - targets))
        curvature = (x * (share * p * (1 - p))[:, None]).T @ x
        # columns of zeros have no curvature: a one there keeps their coefficients at zero
        ridge = 1e-7 + (jnp.diag(curvature) == 0).astype(x.dtype)
        move = solve(curvature + jnp.diag(ridge), gradient)
        tries = b[None] - 0.5 ** jnp.arange(8).astype(x.dtype)[:, None] * move[None]
        losses = jax.vmap(loss)(tries)
        best = jnp.argmin(losses)
        return jnp.where(losses[best] < loss(b), tries[best], b)

    return jax.lax.fori_loop(0, 25, step, jnp.zeros(x.shape[1], x.dtype)) / size


def check_last_axis(name: str, values: ArrayLike, size: int) -> Array:
    """The values (..., C) as floats; raise for another C."""
    (array,) = named_floats(**{name: values})
    if array.shape[-1:] != (size,):
        raise ValueError(f"{name} must have shape (..., {size}), got {array.shape}")
    return array


class Histogram(NamedTuple):
    """The map of each confidence to the frequency of its bin.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      bins: the bins (B,) that it was fitted to. An empty bin leaves confidences as they are.
    """

    bins: Bins

    def apply(self, confidence: ArrayLike) -> Array:
        """Recalibrated confidences of the same shape (...); NaN outside the edges.

        See the example of `fit_histogram`.
        """
        c = as_array("confidence", confidence).astype(self.bins.edges.dtype)
        index, inside = bin_index(c.reshape(-1), self.bins.edges)
        value = jnp.where(self.bins.occupied[index], self.bins.accuracy[index], inside)
        return jnp.where(jnp.isnan(inside), jnp.nan, value).reshape(c.shape)


def fit_histogram(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    edges: ArrayLike | None = None,
    num_bins: int = 15,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Histogram:
    """Histogram binning: each confidence is replaced by the frequency of its bin.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence, outcome, edges, num_bins, weights: (N,) and options as for `bin_statistics`; see
        `quantile_edges` for bins of equal weight.
      class_weights: (2,) likewise, or None.
    Returns:
      `Histogram`.
    Raises:
      ValueError: as `bin_statistics`; also if there is no row with weight, or one holds NaN or a
        confidence outside the edges.
    Source: Zadrozny, Elkan (2001), ICML.

    Examples:
      >>> fit = fit_histogram(jnp.array([0.8, 0.9]), jnp.array([1, 0]), num_bins=2)
      >>> print(fit.apply(jnp.array([0.7, 0.1])))
      [0.5 0.1]
    """
    bins = bin_statistics(
        confidence,
        outcome,
        edges=edges,
        num_bins=num_bins,
        weights=weights,
        class_weights=class_weights,
    )
    total = known(bins.weight.sum() + bins.brier_total.sum())
    if total is not None and not total > 0:
        raise ValueError(
            "confidence, outcome and weights must hold a row with weight, and in such rows "
            "confidences within the edges and outcomes that are numbers"
        )
    return Histogram(bins)
