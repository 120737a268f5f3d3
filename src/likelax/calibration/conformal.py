"""Methods with guarantees for any model: Venn-Abers probabilities and conformal prediction."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.calibration.binning import (
    check_fit,
    check_kept,
    check_labels,
    check_rows,
    first_reaching,
)
from likelax.model import pytree
from likelax.numerics import as_array, named_floats
from likelax.numerics.checks import (
    check_fraction,
    check_not_negative,
    check_numbers,
    check_order,
    check_same_shape,
    check_simplex,
    check_values,
)

_HALVINGS = 26  # of [0, 1]; the last step is exact on the points it ends at


@pytree
class VennAbers:
    """Two isotonic fits for each new row: with the row counted as a 0, and as a 1.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      scores: (N,) sorted calibration scores.
      weight: (N + 1,) weight of the scores before each one; the last entry is the sum.
      total: (N + 1,) the same of weight times outcome.

    Source: Vovk, Petej, Fedorova (2015), Large-scale probabilistic predictors with and without
      guarantees of validity.

    Examples:
      >>> both = VennAbers(jnp.array([0.5]), jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0]))
      >>> print(both.apply(0.9).round(4))  # one row, an outcome of 1 at a score of 0.5
      0.6667
    """

    scores: Array
    weight: Array
    total: Array

    def interval(self, scores: ArrayLike) -> tuple[Array, Array]:
        """(p0, p1) of the shape of `scores`; one of the two is a calibrated probability.

        Args:
          scores: (...) of new rows.
        Raises:
          ValueError: for NaN.

        Examples:
          >>> fit = fit_venn_abers(jnp.array([0.1, 0.9]), jnp.array([0, 1]))
          >>> print(*fit.interval(0.95))
          0.5 1.0
        """
        s = as_array("scores", scores).astype(self.scores.dtype)
        check_numbers(scores=s)
        p0, p1 = _intervals(self, s.reshape(-1))
        return p0.reshape(s.shape), p1.reshape(s.shape)

    def apply(self, scores: ArrayLike) -> Array:
        """One probability p1 / (1 - p0 + p1), the minimax choice between p0 and p1 for the log score.

        Args:
          scores: (...) of new rows.

        Examples:
          >>> fit = fit_venn_abers(jnp.array([0.1, 0.9]), jnp.array([0, 1]))
          >>> print(fit.apply(0.95).round(4))
          0.6667
        """
        p0, p1 = self.interval(scores)
        return p1 / (1 - p0 + p1)

    def _both(self, score: Array) -> tuple[Array, Array]:
        """The value of the isotonic fit at a new row of weight one, by its outcome.

        It is the slope of the bridge between the lower hulls of the cumulative sums on both
        sides of the row. At a slope t the bridge rises above the hulls or falls below them;
        that sign changes once, so t is found by bisection.
        """
        size = self.scores.shape[0]
        low = jnp.searchsorted(self.scores, score, side="left")
        high = jnp.searchsorted(self.scores, score, side="right")
        at = jnp.arange(size + 1, dtype=low.dtype)
        starts = jnp.concatenate([jnp.ones(1, bool), self.scores[1:] != self.scores[:-1]])
        corner = jnp.concatenate([starts, jnp.ones(1, bool)])  # ties are never split
        # about the row itself, so that sums of near rows lose no digits
        x, y = self.weight - self.weight[low], self.total - self.total[low]
        left, right = corner & (at <= low), corner & (at >= high)

        def ends(t: Array) -> tuple[Array, Array]:
            height = y - t * x
            before = jnp.argmin(jnp.where(left, height, jnp.inf))
            return before, jnp.argmin(jnp.where(right, height, jnp.inf))

        def slope(outcome: Array) -> Array:
            def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
                lower, upper = bounds
                t = (lower + upper) / 2
                i, j = ends(t)
                steeper = y[j] - y[i] + outcome > t * (x[j] - x[i] + 1)
                return jnp.where(steeper, t, lower), jnp.where(steeper, upper, t)

            bounds = (jnp.zeros_like(score), jnp.ones_like(score))
            lower, upper = jax.lax.fori_loop(0, _HALVINGS, halve, bounds)
            i, j = ends((lower + upper) / 2)
            return (y[j] - y[i] + outcome) / (x[j] - x[i] + 1)

        return slope(jnp.zeros_like(score)), slope(jnp.ones_like(score))


@jax.jit
def _intervals(fitted: VennAbers, scores: Array) -> tuple[Array, Array]:
    """(p0, p1) of each of (N,) scores."""
    return jax.lax.map(fitted._both, scores, batch_size=64)


def fit_venn_abers(
    scores: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None
) -> VennAbers:
    """Inductive Venn-Abers predictor: isotonic calibration with an interval.

    For each new row the isotonic fit is made twice, with the row as a 0 and as a 1. If rows are
    exchangeable, one of the two probabilities is calibrated whatever the model. Their distance
    shows the uncertainty that the data leave.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      scores: (N,) any real score, higher where the event is likelier.
      outcome: (N,) 0 or 1.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
    Returns:
      `VennAbers`.
    Raises:
      ValueError: if the shapes differ, there is no row with weight, or one holds NaN.
    Source: Vovk, Petej, Fedorova (2015), Large-scale probabilistic predictors with and without
      guarantees of validity.

    Examples:
      >>> fit = fit_venn_abers(jnp.array([0.1, 0.4, 0.6, 0.9]), jnp.array([0, 0, 1, 1]))
      >>> p0, p1 = fit.interval(0.5)
      >>> float(p0), float(p1), float(fit.apply(0.5))
      (0.0, 1.0, 0.5)
    """
    scores, outcome, weights = check_rows(scores, outcome, weights, name="scores")
    check_fit("scores", scores, weights, finite=False)
    kept = weights != 0
    # rows without weight go to the end, with the largest score of the others
    scores = jnp.where(kept, scores, jnp.max(jnp.where(kept, scores, -jnp.inf)))
    order = jnp.argsort(scores)
    zero = jnp.zeros(1, weights.dtype)
    weight = jnp.concatenate([zero, jnp.cumsum(weights[order])])
    total = jnp.concatenate([zero, jnp.cumsum((weights * jnp.where(kept, outcome, 0))[order])])
    return VennAbers(scores[order], weight, total)


class Interval(NamedTuple):
    """Bounds of a conformal interval, both included.

    Attributes:
      lower, upper: (...).
    """

    lower: Array
    upper: Array


@pytree
class Conformal:
    """A threshold for nonconformity that new rows exceed with probability at most 1 - mass.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      threshold: scalar, or (...) where each new row has a weight; inf if there are too few rows for
        any finite bound.

    Source: Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World; with weights of new
      rows Tibshirani, Barber, Candes, Ramdas (2019), Conformal prediction under covariate shift.

    Examples:
      >>> print(Conformal(jnp.array(0.6)).sets(jnp.array([0.5, 0.3, 0.2])))
      [ True False False]
    """

    threshold: Array

    @classmethod
    def of_scores(
        cls,
        scores: ArrayLike,
        *,
        mass: float,
        weights: ArrayLike | None = None,
        new_weights: ArrayLike = 1.0,
    ) -> Self:
        """The smallest score s with weight(scores <= s) >= mass * (total weight + new weight).

        Under a shift of covariates the guarantee holds where all weights are the ratio of the density
        of the covariates among new rows to that among these, up to one common factor.

        Args:
          scores: (N,) nonconformity of rows that the model has not seen.
          mass: in (0, 1).
          weights: (N,) non-negative; 0 removes the row. None is all ones.
          new_weights: (...) non-negative, of the new rows, one threshold each.
        Raises:
          ValueError: if mass is not in (0, 1), the shapes differ, there is no row with weight, one
            holds NaN, or a new weight is negative.

        Examples:
          >>> print(Conformal.of_scores(jnp.arange(9.0), mass=0.5).threshold)
          4.0
        """
        check_fraction("mass", mass)
        scores, _, weights = check_rows(scores, scores, weights, name="scores", frequencies=False)
        check_fit("scores", scores, weights, finite=False)
        scores = jnp.where(weights == 0, jnp.inf, scores)
        order = jnp.argsort(scores)
        cumulative = jnp.cumsum(weights[order])
        (new_weights,) = named_floats(new_weights=new_weights)
        check_not_negative(new_weights=new_weights)
        new_weights = new_weights.astype(cumulative.dtype)
        at = first_reaching(cumulative, mass * (cumulative[-1] + new_weights))
        top = jnp.full(1, jnp.inf, scores.dtype)
        return cls(jnp.concatenate([scores[order], top])[at])

    def sets(self, probs: ArrayLike) -> Array:
        """The classes in the prediction set: (..., C) booleans. See the example of the class.

        Args:
          probs: (..., C) of new rows; where these have weights, in the same order.
        Raises:
          ValueError: for rows that do not sum to one, or another number of rows than weights.
        """
        (probs,) = named_floats(probs=probs)
        if probs.ndim < 1:
            raise ValueError(f"probs must have shape (..., C), got {probs.shape}")
        check_simplex("probs", probs)
        check_values("probs", probs, np.isfinite, "finite")
        self._check_rows("probs", probs.shape[:-1])
        threshold = jnp.broadcast_to(self.threshold, probs.shape[:-1])
        return 1 - probs <= threshold[..., None]

    def _check_rows(self, name: str, shape: tuple[int, ...]) -> None:
        if self.threshold.shape not in ((), shape):
            raise ValueError(
                f"{name} must have as many rows as there were new_weights, {self.threshold.shape}, "
                f"got {shape}"
            )

    def interval(self, lower: ArrayLike, upper: ArrayLike) -> Interval:
        """The model's intervals, widened by the threshold, or narrowed if it is negative.

        Args:
          lower, upper: (...) the model's intervals for new rows; where these have weights, in the same
            order.
        Raises:
          ValueError: if the shapes differ, or an upper bound is below the lower one.

        Examples:
          >>> print(Conformal(jnp.array(2.0)).interval(0.0, 1.0))
          Interval(lower=Array(-2., dtype=float32), upper=Array(3., dtype=float32))
        """
        lower, upper = named_floats(lower=lower, upper=upper)
        check_same_shape(lower=lower, upper=upper)
        check_order(lower=lower, upper=upper)
        self._check_rows("lower", lower.shape)
        return Interval(lower - self.threshold, upper + self.threshold)


def fit_conformal_sets(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    mass: float = 0.9,
    weights: ArrayLike | None = None,
    new_weights: ArrayLike = 1.0,
) -> Conformal:
    """Sets of classes that contain the true one with probability at least `mass`.

    The nonconformity is 1 - probs[label]. The guarantee needs exchangeable rows and holds for any
    model. It holds on average over rows, not for each row.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (N, C) of rows that the model has not seen.
      labels: (N,) integers in [0, C).
      mass: in (0, 1).
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      new_weights: (...) non-negative, of the new rows to be passed to `sets`. With weights that are
        ratios of densities, of new rows over these, the guarantee holds under a shift of covariates.
    Returns:
      `Conformal`; use `sets`.
    Raises:
      ValueError: if the shapes differ, mass is not in (0, 1), a label is out of range, a row does
        not sum to one, or a new weight is negative.
      TypeError: if labels are not integers.
    Source: Sadinle, Lei, Wasserman (2019), JASA 114.

    Examples:
      >>> probs = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
      >>> fit = fit_conformal_sets(probs, jnp.array([0, 0, 1, 0]), mass=0.75)
      >>> fit.sets(jnp.array([[0.5, 0.5], [0.95, 0.05]])).tolist()
      [[True, True], [True, False]]
    """
    (probs,) = named_floats(probs=probs)
    labels = check_labels("probs", probs, labels)
    check_simplex("probs", probs)
    chosen = jnp.take_along_axis(probs, labels[:, None], axis=1)[:, 0]
    return Conformal.of_scores(1 - chosen, mass=mass, weights=weights, new_weights=new_weights)


def fit_conformal_interval(
    lower: ArrayLike,
    upper: ArrayLike,
    x: ArrayLike,
    *,
    mass: float = 0.9,
    weights: ArrayLike | None = None,
    new_weights: ArrayLike = 1.0,
) -> Conformal:
    """Intervals that contain the truth with probability at least `mass`, from those of a model.

    The nonconformity is the distance by which x lies outside [lower, upper], negative inside.
    With lower = upper = a point forecast it is the absolute residual.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      lower, upper: (N,) the model's interval for rows that it has not seen.
      x: (N,) the observed values.
      mass, weights, new_weights: as for `fit_conformal_sets`.
    Returns:
      `Conformal`; use `interval`.
    Raises:
      ValueError: if the shapes differ, mass is not in (0, 1), or a row with weight holds NaN.
    Source: Romano, Patterson, Candes (2019), Conformalized quantile regression.

    Examples:
      >>> forecast = jnp.zeros(9)
      >>> fit = fit_conformal_interval(forecast, forecast, jnp.arange(9.0), mass=0.5)
      >>> [float(bound) for bound in fit.interval(10.0, 10.0)]
      [6.0, 14.0]
    """
    lower, upper, x = named_floats(lower=lower, upper=upper, x=x)
    if not lower.shape == upper.shape == x.shape or x.ndim != 1:
        raise ValueError(
            f"lower, upper and x must have one shape (N,), got {lower.shape}, {upper.shape} and "
            f"{x.shape}"
        )
    _, _, rows = check_rows(x, x, weights, name="x", frequencies=False)
    for name, bound in (("lower", lower), ("upper", upper), ("x", x)):
        check_kept(name, bound, rows, lambda v: ~np.isnan(v), "a number")
    away = jnp.maximum(lower - x, x - upper)
    return Conformal.of_scores(away, mass=mass, weights=weights, new_weights=new_weights)
