"""Isotonic regression by pooling adjacent violators, and the CORP decomposition built on it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import scoring
from likelax.calibration.binning import check_fit, check_probabilities, check_rows
from likelax.model import pytree
from likelax.numerics import as_array, divide
from likelax.numerics.checks import check_function, check_numbers


@pytree
class Isotonic:
    """A non-decreasing map of confidences, linear between those that it was fitted to.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      knots: (N,) sorted confidences.
      values: (N,) fitted frequencies, non-decreasing.

    Source: Zadrozny & Elkan (2002), Transforming classifier scores into accurate multiclass
      probability estimates, KDD.

    Examples:
      >>> print(Isotonic(jnp.array([0.2, 0.8]), jnp.array([0.0, 1.0])).apply(0.5).round(4))
      0.5
    """

    knots: Array
    values: Array

    def apply(self, confidence: ArrayLike) -> Array:
        """Recalibrated confidences of the same shape (...), constant beyond the ends.

        See the example of the class.

        Raises:
          ValueError: for NaN.
        """
        x = as_array("confidence", confidence).astype(self.knots.dtype)
        check_numbers(confidence=x)
        return jnp.interp(x.reshape(-1), self.knots, self.values).reshape(x.shape)


def fit_isotonic(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Isotonic:
    """The non-decreasing map with the least weighted squared error; equal confidences get one value.

    Each pass over the data pools all adjacent blocks that violate the order, until none does.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence: (N,).
      outcome: (N,) 0 or 1, or frequencies.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (2,) weights of the outcomes 0 and 1, times which the row weights are taken, or None.
        The outcomes must then be 0 or 1.
    Returns:
      `Isotonic`.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, there is no row with weight, or
        one holds NaN or infinity.
    Source: Ayer et al. (1955), Annals of Mathematical Statistics 26.

    Examples:
      >>> fit = fit_isotonic(jnp.array([0.1, 0.4, 0.6, 0.9]), jnp.array([0, 1, 0, 1]))
      >>> print(fit.values)
      [0.  0.5 0.5 1. ]
    """
    confidence, outcome, weights = check_rows(
        confidence, outcome, weights, class_weights=class_weights
    )
    check_fit("confidence", confidence, weights)
    check_fit("outcome", outcome, weights)
    kept = weights != 0
    # rows without weight go to the end, with the largest confidence of the others
    top = jnp.max(jnp.where(kept, confidence, -jnp.inf))
    confidence = jnp.where(kept, confidence, top)
    order = jnp.argsort(confidence)
    x, w = confidence[order], weights[order]
    wy = w * jnp.where(kept, outcome, 0)[order]
    fresh = jnp.concatenate([jnp.ones(1, bool), x[1:] != x[:-1]])
    return Isotonic(x, _pool(fresh, w, wy))


@jax.jit
def _pool(starts: Array, weight: Array, total: Array) -> Array:
    """Block means after pooling; `starts` marks the first entry of each initial block."""
    size = starts.shape[0]

    def means(starts: Array) -> tuple[Array, Array]:
        block = jnp.cumsum(starts) - 1
        sums = jax.ops.segment_sum(jnp.stack([weight, total], axis=1), block, size)
        return block, divide(sums[:, 1], sums[:, 0], 0.0)

    def violated(starts: Array) -> Array:
        """Where a block starts whose mean does not exceed that of the block before."""
        block, mean = means(starts)
        mine, before = mean[block], mean[jnp.maximum(block - 1, 0)]
        return starts & (block > 0) & (mine <= before)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        starts, bad = state
        starts = starts & ~bad
        return starts, violated(starts)

    starts, _ = jax.lax.while_loop(lambda s: jnp.any(s[1]), step, (starts, violated(starts)))
    block, mean = means(starts)
    return mean[block]


class Corp(NamedTuple):
    """The decomposition of a mean score: score = miscalibration - discrimination + uncertainty.

    Attributes:
      score: scalar, mean score of the forecasts.
      miscalibration: scalar, the gain from recalibration by isotonic regression, at least 0.
      discrimination: scalar, the gain of the recalibrated forecasts over the base rate, at least 0.
      uncertainty: scalar, mean score of the base rate.
    """

    score: Array
    miscalibration: Array
    discrimination: Array
    uncertainty: Array


def corp(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    rule: Callable[[Array, Array], Array] = scoring.binary_brier_score,
) -> Corp:
    """CORP decomposition of a mean score. It is exact, needs no bins, and its terms are not negative.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence, outcome, weights: (N,) as for `fit_isotonic`.
      rule: a proper score (probs, outcome) -> (N,); the Brier score, or
        `scoring.binary_log_score`.
    Returns:
      `Corp`.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, there is no row with weight, or
        one holds NaN or infinity.
    Source: Dimitriadis, Gneiting, Jordan (2021), PNAS 118.

    Examples:
      >>> parts = corp(jnp.array([0.0, 1.0]), jnp.array([0, 1]))
      >>> print(parts.miscalibration, parts.discrimination, parts.uncertainty)
      0.0 0.25 0.25
    """
    check_function("rule", rule)
    confidence, outcome, weights = check_rows(confidence, outcome, weights)
    check_probabilities("confidence", confidence, weights)
    fit = fit_isotonic(confidence, outcome, weights=weights)
    # the fitted value at its own knot: a lookup, since interpolation would round
    at = jnp.searchsorted(fit.knots, confidence, side="left")
    better = fit.values[jnp.minimum(at, fit.values.shape[0] - 1)]
    share = weights / jnp.sum(weights)
    kept = weights != 0
    outcome = jnp.where(kept, outcome, 0)

    def mean(probs: Array) -> Array:
        return jnp.sum(jnp.where(kept, share * rule(jnp.where(kept, probs, 0.5), outcome), 0))

    score, recalibrated = mean(confidence), mean(better)
    base = mean(jnp.broadcast_to(jnp.sum(share * outcome), outcome.shape))
    return Corp(score, score - recalibrated, base - recalibrated, base)
