"""`IsotonicRegression` with scikit-learn's arguments and attributes."""

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from likelax.calibration import fit_isotonic
from likelax.interop.arguments import check_choice
from likelax.interop.sklearn.precision import FLOATS, computing


class IsotonicRegression(RegressorMixin, TransformerMixin, BaseEstimator):
    """The monotone function with the least squares: `sklearn.isotonic.IsotonicRegression`.

    Args:
      y_min, y_max: bounds of the predictions, or None.
      increasing: True, False, or "auto": the sign of the rank correlation.
      out_of_bounds: "nan", "clip" or "raise", for X beyond the fitted range.
    Attributes:
      X_min_, X_max_: the fitted range.
      X_thresholds_, y_thresholds_: the ends of the pieces, between which predictions are linear.
      increasing_: the direction.
      f_: the function between the thresholds; NaN beyond them.
    Raises:
      ValueError: by `fit` and the predictions; see there.
    Source: Ayer et al. (1955), Annals of Mathematical Statistics 26.

    Examples:
      >>> found = IsotonicRegression().fit([1, 2, 3, 4], [0.0, 2.0, 1.0, 4.0])
      >>> print(found.predict([2.0, 3.5]))
      [1.5  2.75]
    """

    def __init__(
        self,
        *,
        y_min: float | None = None,
        y_max: float | None = None,
        increasing: bool | str = True,
        out_of_bounds: str = "nan",
    ) -> None:
        self.y_min = y_min
        self.y_max = y_max
        self.increasing = increasing
        self.out_of_bounds = out_of_bounds

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Pool adjacent violators. See the example of the class.

        Args:
          X: (N,) or (N, 1).
          y: (N,) targets.
          sample_weight: (N,) non-negative, or None for ones; rows of weight 0 are left out.
        Raises:
          ValueError: for arguments out of range, or X of another shape.
        """
        check_choice(self, "out_of_bounds", ("nan", "clip", "raise"))
        if not isinstance(self.increasing, bool | np.bool_):
            check_choice(self, "increasing", ("auto",))
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        options = {"ensure_2d": False, "dtype": FLOATS}
        x = self._column(check_array(X, input_name="X", **options))
        y = check_array(y, input_name="y", ensure_2d=False, dtype=x.dtype)
        check_consistent_length(x, y, sample_weight)
        weights = _check_sample_weight(sample_weight, x, dtype=x.dtype)
        kept = weights > 0
        x, y, weights = x[kept], y[kept], weights[kept]
        self.increasing_ = _is_rising(x, y) if self.increasing == "auto" else bool(self.increasing)
        sign = 1 if self.increasing_ else -1
        low = np.min(sign * y)
        width = np.max(sign * y) - low
        # the fit of a linear function of y is that function of the fit; outcomes lie in 0..1
        outcome = (sign * y - low) / (width if width > 0 else 1)
        with computing(x.dtype):
            found = fit_isotonic(x, np.clip(outcome, 0, 1), weights=weights)
            knots, values = np.array(found.knots), np.array(found.values)
        values = sign * (values * width + low)
        values = np.clip(
            values,
            -np.inf if self.y_min is None else self.y_min,
            np.inf if self.y_max is None else self.y_max,
        ).astype(x.dtype)
        self.X_min_, self.X_max_ = knots[0], knots[-1]
        fresh = np.diff(knots, prepend=-np.inf) > 0
        knots, values = knots[fresh], values[fresh]
        inner = np.ones(len(knots), bool)
        # within a level piece only its ends are needed
        inner[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
        self.X_thresholds_, self.y_thresholds_ = knots[inner], values[inner]
        self.n_features_in_ = 1
        return self

    def predict(self, T: Any) -> np.ndarray:
        """The function at T, (N,). See the example of the class.

        Args:
          T: (N,) or (N, 1).
        Raises:
          ValueError: for T of another shape, or beyond the range where `out_of_bounds` is "raise".
        """
        check_is_fitted(self)
        dtype = self.X_thresholds_.dtype
        x = self._column(check_array(T, ensure_2d=False, dtype=FLOATS)).astype(dtype, copy=False)
        outside = (x < self.X_min_) | (x > self.X_max_)
        if self.out_of_bounds == "raise" and outside.any():
            raise ValueError(
                f"X must lie in the fitted range {self.X_min_} .. {self.X_max_}; see out_of_bounds"
            )
        if self.out_of_bounds == "clip":
            x = np.clip(x, self.X_min_, self.X_max_)
        return self.f_(x).astype(dtype, copy=False)

    @property
    def f_(self) -> Callable[[Any], np.ndarray]:
        """The function between the thresholds, NaN beyond them. See the example of the class.

        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        knots, values = self.X_thresholds_, self.y_thresholds_
        return lambda x: np.interp(x, knots, values, left=np.nan, right=np.nan)

    def transform(self, T: Any) -> np.ndarray:
        """As `predict`. See the example of the class.

        Args:
          T: (N,) or (N, 1).
        Raises:
          NotFittedError: before `fit`.
        """
        return self.predict(T)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The name of the one column of `transform`. See the example of the class.

        Args:
          input_features: not used.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return np.asarray(["isotonicregression0"], dtype=object)

    def _column(self, x: np.ndarray) -> np.ndarray:
        if x.ndim == 1 or (x.ndim == 2 and x.shape[1] == 1):
            return x.reshape(-1)
        raise ValueError(
            "Isotonic regression input X should be a 1d array or 2d array with 1 feature; "
            f"got shape {x.shape}"
        )

    def __sklearn_tags__(self) -> Tags:
        """One column."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _is_rising(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the rank correlation is not negative."""
    ranks = [_ranks(values) for values in (x, y)]
    centred = [r - r.mean() for r in ranks]
    correlation = float(np.dot(*centred))
    if len(x) > 3 and abs(correlation) < 1.96 / np.sqrt(len(x) - 3) * np.prod(
        [np.linalg.norm(c) for c in centred]
    ):
        warnings.warn(
            "The rank correlation is so small that the direction `increasing='auto'` may be wrong.",
            stacklevel=3,
        )
    return correlation >= 0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values with their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]
