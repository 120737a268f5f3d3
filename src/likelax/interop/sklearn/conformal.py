"""Classifiers with prediction sets and regressors with intervals, by split conformal prediction."""

from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_random_state, column_or_1d, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, indexable

from likelax.calibration import Conformal, fit_conformal_interval, fit_conformal_sets
from likelax.interop.sklearn.calibrated import cut_rows, fit_rows
from likelax.interop.sklearn.precision import computing


class SplitConformal(MetaEstimatorMixin, BaseEstimator):
    """Fits an estimator to a part of the rows, and a threshold to the others.

    A subclass gives the default estimator, and the nonconformity of rows.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        mass: float = 0.9,
        calibration_size: float = 0.25,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.mass = mass
        self.calibration_size = calibration_size
        self.random_state = random_state

    def predict(self, X: Any) -> np.ndarray:
        """The predictions of the estimator, (N,). See the example of the class.

        Args:
          X: rows, as the estimator takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def get_metadata_routing(self) -> MetadataRouter:
        """What goes to the `fit` of the estimator. See the example of the class."""
        return MetadataRouter(owner=self).add(
            estimator=self._base(),
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def _base(self) -> Any:
        raise NotImplementedError

    def _split(self, y: np.ndarray, stratify: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows for the estimator, and rows for the threshold.

        Raises:
          ValueError: for a `mass` or `calibration_size` out of range.
        """
        for name, most in (("mass", "1)"), ("calibration_size", "1]")):
            value = getattr(self, name)
            fine = isinstance(value, float | int | np.number) and 0 < value <= 1
            if not fine or (name == "mass" and value == 1):
                raise ValueError(
                    f"The {name!r} parameter of {type(self).__name__} must be a float in the range (0, {most}. "
                    f"Got {value!r} instead."
                )
        rows = np.arange(len(y))
        if self.calibration_size == 1:
            if not isinstance(self._base(), FrozenEstimator):
                raise ValueError(
                    "calibration_size=1 leaves no rows to fit the estimator: use it with a "
                    "sklearn.frozen.FrozenEstimator"
                )
            return rows[:0], rows
        if len(y) < 2:
            raise ValueError(
                f"n_samples={len(y)}: {type(self).__name__} needs rows to fit and others to calibrate"
            )
        rng = check_random_state(self.random_state)
        held = max(round(self.calibration_size * len(y)), 1)
        counts = np.unique(y, return_counts=True)[1] if stratify else np.zeros(1)
        # each part needs a row of each class, or else the parts are drawn from all rows alike
        whole = stratify and counts.min() >= 2 and len(counts) <= min(held, len(y) - held)
        return tuple(
            train_test_split(rows, test_size=held, random_state=rng, stratify=y if whole else None)
        )

    def _fit_estimator(
        self, X: Any, y: np.ndarray, train: np.ndarray, fit_params: dict[str, Any]
    ) -> None:
        if get_config().get("enable_metadata_routing"):
            fit_params = dict(process_routing(self, "fit", **fit_params).estimator.fit)
        self.estimator_ = fit_rows(clone(self._base()), X, y, train, fit_params)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))

    def __sklearn_tags__(self) -> Tags:
        """As the estimator inside."""
        tags = super().__sklearn_tags__()
        inside = get_tags(self._base()).input_tags
        tags.input_tags.sparse, tags.input_tags.allow_nan = inside.sparse, inside.allow_nan
        return tags


class ConformalClassifier(ClassifierMixin, SplitConformal):
    """A classifier whose prediction sets hold the true class with probability `mass` or more.

    The classifier is fitted to a part of the rows, and a threshold for 1 - p(class | x) to the others.
    The guarantee holds for any classifier, on average over rows, if the rows are exchangeable.

    Args:
      estimator: a classifier with `predict_proba`; None: `LogisticRegression()`.
      mass: the probability, in (0, 1).
      calibration_size: fraction of the rows for the threshold; 1 for all, with a `FrozenEstimator`.
      random_state: as in scikit-learn, of the split.
    Attributes:
      classes_: (K,).
      estimator_: the fitted classifier.
      threshold_: largest 1 - p(class | x) of a class in a set; inf if there are too few rows.
    Raises:
      ValueError: by `fit`; see there.
    Source: Sadinle, Lei & Wasserman (2019), JASA 114, 223-234.

    Examples:
      >>> X, y = np.arange(80.0)[:, None], np.repeat(["a", "b"], 40)
      >>> found = ConformalClassifier(random_state=0).fit(X, y)
      >>> print(found.predict([[3.0]]), found.predict_set([[3.0], [79.0]]))
      ['a'] [[ True False]
       [False  True]]
    """

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the classifier and the threshold. See the example of the class.

        Args:
          X: rows, as the classifier takes them.
          y: (N,) classes.
          **fit_params: passed on to the classifier's `fit`.
        Raises:
          ValueError: for arguments out of range, or a class that the classifier did not see.
        """
        X, y = _checked(X, y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        train, held = self._split(y, stratify=True)
        self._fit_estimator(X, y, train, fit_params)
        unseen = np.setdiff1d(self.classes_, self.estimator_.classes_)
        if len(unseen):
            raise ValueError(f"the classifier was fitted without rows of the classes {unseen}")
        self.classes_ = self.estimator_.classes_
        probs = np.asarray(self.estimator_.predict_proba(cut_rows(X, held)), np.float64)
        labels = np.searchsorted(self.classes_, y[held])
        with computing(np.float64):
            found = fit_conformal_sets(probs, labels, mass=self.mass)
            self.threshold_ = float(found.threshold)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classifier, (N, K). See the example of the class.

        Args:
          X: rows, as the classifier takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def predict_set(self, X: Any) -> np.ndarray:
        """Which classes are in the set of each row, booleans (N, K). See the example of the class.

        A set may be empty: then no class is probable enough.

        Args:
          X: rows, as the classifier takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        probs = np.asarray(self.predict_proba(X), np.float64)
        with computing(np.float64):
            return np.array(Conformal(jnp.asarray(self.threshold_)).sets(probs))

    def _base(self) -> Any:
        return LogisticRegression() if self.estimator is None else self.estimator


class ConformalRegressor(RegressorMixin, SplitConformal):
    """A regressor whose intervals hold the target with probability `mass` or more.

    The regressor is fitted to a part of the rows, and half the width of the intervals is a quantile of
    its absolute errors on the others. The guarantee holds for any regressor, on average over rows, if
    the rows are exchangeable.

    Args:
      estimator: a regressor; None: `LinearRegression()`.
      mass: the probability, in (0, 1).
      calibration_size: fraction of the rows for the width; 1 for all, with a `FrozenEstimator`.
      random_state: as in scikit-learn, of the split.
    Attributes:
      estimator_: the fitted regressor.
      threshold_: half the width of the intervals; inf if there are too few rows.
    Raises:
      ValueError: by `fit`; see there.
    Source: Lei et al. (2018), Distribution-free predictive inference for regression, JASA 113.

    Examples:
      >>> X = np.arange(40.0)[:, None]
      >>> found = ConformalRegressor(mass=0.5, random_state=0).fit(X, X[:, 0] + np.arange(40) % 2)
      >>> lower, upper = found.predict_interval([[10.0]])[0]
      >>> print(f"{upper - lower:.1f}")
      1.1
    """

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the regressor and the width. See the example of the class.

        Args:
          X: rows, as the regressor takes them.
          y: (N,) numbers.
          **fit_params: passed on to the regressor's `fit`.
        Raises:
          ValueError: for arguments out of range.
        """
        X, y = _checked(X, y)
        train, held = self._split(y, stratify=False)
        self._fit_estimator(X, y, train, fit_params)
        middle = np.asarray(self.estimator_.predict(cut_rows(X, held)), np.float64)
        with computing(np.float64):
            target = y[held].astype(np.float64)
            found = fit_conformal_interval(middle, middle, target, mass=self.mass)
            self.threshold_ = float(found.threshold)
        return self

    def predict_interval(self, X: Any) -> np.ndarray:
        """Lower and upper bounds, (N, 2). See the example of the class.

        Args:
          X: rows, as the regressor takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        middle = np.asarray(self.predict(X), np.float64)
        return np.stack([middle - self.threshold_, middle + self.threshold_], axis=1)

    def _base(self) -> Any:
        return LinearRegression() if self.estimator is None else self.estimator


def _checked(X: Any, y: Any) -> tuple[Any, np.ndarray]:
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    X, y = indexable(X, y)
    return X, column_or_1d(y, warn=True)
