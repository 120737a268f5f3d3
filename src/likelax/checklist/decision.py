"""Line 6: an equivalence test of calibration, which a small sample cannot pass."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import calibration
from likelax.checklist import view
from likelax.checklist.verdict import Line, Numbers, Verdict, line
from likelax.data import DataLike, convert, take_labels
from likelax.mixture import Mixture
from likelax.model import SupportsLogProb
from likelax.numerics.checks import check_type

Decision = Callable[[Any, Any], tuple[ArrayLike, ArrayLike]]


def top_label(model: Mixture, heldout: DataLike) -> tuple[ArrayLike, ArrayLike]:
    """The decision of a classifier: the class with the highest posterior probability.

    Args:
      model: a mixture whose components are classes.
      heldout: `Labelled` data (N, ...); rows labelled -1 are left out.
    Returns:
      (confidence, correct), each (N,).
    Raises:
      TypeError: for another model, or data that are not numbers.
      ValueError: for data without labels, or with another number of them.

    Examples:
      >>> from likelax import Labelled, Mixture, Poisson
      >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 9.0])))
      >>> print(top_label(model, Labelled(jnp.array([0, 9]), jnp.array([0, 0])))[1])
      [1. 0.]
    """
    check_type("model", model, Mixture)
    model.check_shapes("top_label: model")
    heldout = convert("heldout", heldout)
    model.check_labels("top_label: heldout", heldout)
    values, labels = take_labels(heldout)
    if labels is None:
        raise ValueError("top_label: heldout must be Labelled data, to tell right from wrong")
    rows = jax.eval_shape(model.log_prob, values).shape
    if labels.shape != rows:
        raise ValueError(f"heldout must have one label for each row, {rows}; got {labels.shape}")
    known = np.asarray(labels).reshape(-1) >= 0
    confidence, correct = map(np.asarray, view.call(_decide, model, values, labels))
    return confidence[known], correct[known]


def _decide(model: Mixture, values: Any, labels: Any) -> tuple[Array, Array]:
    log_probs = jnp.asarray(model.log_responsibilities(values))
    probs = jnp.exp(log_probs.reshape(-1, log_probs.shape[-1]))
    return calibration.top_label(probs, jnp.reshape(labels, -1))


def check(
    model: SupportsLogProb, heldout: DataLike, decision: Any, *, tolerance: float, level: float
) -> Line:
    """Line 6. See `checklist.run`."""
    if decision is None:
        return line(
            6, Verdict.NOT_RUN, "No decision was named.",
            "If probabilities drive decisions pass decision=checklist.top_label, or your own "
            "(model, heldout) -> (confidence, outcome).",
        )  # fmt: skip
    confidence, outcome = decision(model, heldout) if callable(decision) else decision
    confidence, outcome = np.asarray(confidence), np.asarray(outcome)
    n = confidence.shape[0]
    num_bins = int(np.clip(round(math.sqrt(n) / 2), 1, 15))
    means, squared, bias = view.call(_judge, confidence, outcome, static=num_bins)
    means = Means(*(np.asarray(value, float) for value in means))
    squared, bias = float(squared), float(bias)
    if not math.isfinite(squared):
        return line(
            6, Verdict.FAIL, "Confidences must be probabilities; some are NaN or outside [0, 1].",
            "Turn logits into probabilities before they are judged.", Numbers(n=n),
        )  # fmt: skip
    error = math.sqrt(max(squared, 0.0))
    spread = _spread(means, tolerance)
    # the null hypothesis of both tests is an error of exactly the tolerance
    z = (squared - tolerance**2) / spread
    too_large, small = 0.5 * math.erfc(z / math.sqrt(2)), 0.5 * math.erfc(-z / math.sqrt(2))
    way = "over-confident" if bias > 0 else "under-confident"
    said = (
        f"Debiased calibration error {error:.3f} ({way} by {abs(bias):.3f} on average) "
        f"in {n} decisions"
    )
    large, little = Numbers(error, tolerance, too_large, n), Numbers(error, tolerance, small, n)
    remedy = _recalibrator(means, n)
    if too_large < level:
        return line(6, Verdict.FAIL, f"{said}.", remedy, large)
    if small < 0.05:
        return line(6, Verdict.PASS, f"{said}: significantly below the tolerance.", "", little)
    if error > tolerance:
        said += ": above the tolerance, not significantly."
        return line(6, Verdict.WARN, said, remedy, large)
    said += ": too few to show that it is below the tolerance."
    remedy = "Judge more decisions, or allow a larger tolerance."
    return line(6, Verdict.INCONCLUSIVE, said, remedy, little)


class Means(NamedTuple):
    """Statistics of the bins, (B,) each: see `calibration.Bins`."""

    fraction: Any
    count: Any
    confidence: Any
    accuracy: Any
    gap: Any


def _judge(confidence: Array, outcome: Array, num_bins: int) -> tuple[Means, Array, Array]:
    """Bins of equal weight, the debiased squared error and the bias."""
    edges = calibration.quantile_edges(confidence, num_bins)
    bins = calibration.bin_statistics(confidence, outcome, edges=edges)
    means = Means(bins.fraction, bins.count, bins.confidence, bins.accuracy, bins.gap)
    return means, calibration.debiased_squared_error(bins), calibration.bias(bins)


def _spread(means: Means, tolerance: float) -> float:
    """Standard error of the debiased squared error where every gap is the tolerance.

    Var(g^2) = 2 v^2 + 4 tolerance^2 v for a gap with sampling variance v. A bin without a
    spread of its own is given that of its mean confidence, so unanimity is not certainty.
    """
    held = means.count > 0
    share, count, confidence, rate, _ = (value[held] for value in means)
    variance = np.maximum(rate * (1 - rate), confidence * (1 - confidence)) / count
    # for bins without variance: the variance with one more decision of the other outcome
    variance = np.maximum(variance, 1 / (count + 1) ** 2)
    return math.sqrt(np.sum(share**2 * (2 * variance**2 + 4 * tolerance**2 * variance)))


def _recalibrator(means: Means, n: int) -> str:
    gap = means.gap[means.count > 0]
    if np.all(gap >= -0.02) or np.all(gap <= 0.02):
        return "Recalibrate with temperature scaling on data of its own, then judge again."
    if n < 1000:
        return "Recalibrate with Platt or beta scaling on data of its own, then judge again."
    return "Recalibrate with isotonic regression on data of its own, then judge again."
