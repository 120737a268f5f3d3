"""A classifier whose probabilities are calibrated by a recalibrator of `likelax.calibration`."""

from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils import Tags, _safe_indexing, column_or_1d, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    has_fit_parameter,
    indexable,
)

from likelax import calibration
from likelax.interop.arguments import check_choice
from likelax.interop.sklearn.precision import computing, to_numpy

Fitter = Callable[..., Any]

OF_LOGITS: dict[str, Fitter] = {
    "temperature": calibration.fit_temperature,
    "vector": calibration.fit_vector,
}
OF_PROBS: dict[str, Fitter] = {"dirichlet": calibration.fit_dirichlet}
OF_EVENTS: dict[str, Fitter] = {
    "platt": calibration.fit_platt,
    "beta": calibration.fit_beta,
    "isotonic": calibration.fit_isotonic,
    "histogram": calibration.fit_histogram,
    "venn_abers": calibration.fit_venn_abers,
}
METHODS = (*OF_LOGITS, *OF_PROBS, *OF_EVENTS)


class CalibratedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier with a recalibrator, which is fitted to predictions for rows left out.

    As `sklearn.calibration.CalibratedClassifierCV(ensemble=False)`: the classifier is fitted once for
    each fold, the recalibrator to the predictions for the rows that each fit left out, and then the
    classifier to all rows. The recalibrators of one event ("platt", "beta", "isotonic", "histogram",
    "venn_abers") are fitted to each class against the rest, and the results divided by their sum.

    Args:
      estimator: a classifier with `predict_proba`; None: `LogisticRegression()`.
      method: "temperature", "vector", "dirichlet", "platt", "beta", "isotonic", "histogram" or
        "venn_abers".
      cv: folds, as in scikit-learn: an integer, a splitter, or None for 5.
    Attributes:
      classes_: (K,).
      estimator_: the classifier fitted to all rows.
      recalibrators_: one of `likelax.calibration`, or K of them.
    Raises:
      ValueError: by `fit`; see there.
    Source: Guo et al. (2017), On calibration of modern neural networks; Kull et al. (2019), Beyond
      temperature scaling; Vovk, Petej & Fedorova (2015), Large-scale probabilistic predictors.

    Examples:
      >>> X, y = np.arange(20.0)[:, None], np.array([0] * 6 + [0, 1] * 4 + [1] * 6)
      >>> found = CalibratedClassifier(method="platt", cv=2).fit(X, y)
      >>> print(found.predict([[0.0], [19.0]]))
      [0 1]
    """

    def __init__(
        self, estimator: Any = None, *, method: str = "temperature", cv: Any = None
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Fit the classifier and the recalibrator. See the example of the class.

        Args:
          X: rows, as the classifier takes them.
          y: (N,) classes.
          sample_weight: (N,) non-negative, or None; used by the recalibrator, and by the classifier if
            its `fit` takes it.
          **fit_params: passed on to the classifier's `fit`.
        Raises:
          ValueError: for arguments out of range, or fewer rows of a class than folds.
        """
        check_choice(self, "method", METHODS)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        X, y = indexable(X, y)
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_ = np.unique(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        base = self._base()
        routed = self._routed(sample_weight, fit_params)
        probs, weights = self._left_out(base, X, y, sample_weight, routed)
        self.estimator_ = fit_rows(clone(base), X, y, None, routed)
        if hasattr(self.estimator_, "n_features_in_"):
            self.n_features_in_ = self.estimator_.n_features_in_
        if hasattr(self.estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.estimator_.feature_names_in_
        labels = np.searchsorted(self.classes_, y)
        with computing(np.float64):
            self.recalibrators_ = to_numpy(self._recalibrators(probs, labels, weights))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities of the classes, (N, K). See the example of the class.

        Args:
          X: rows, as the classifier takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        probs = np.asarray(self.estimator_.predict_proba(X), np.float64)
        if len(self.classes_) == 1:
            return np.ones((len(probs), 1))
        with computing(np.float64):
            recalibrators = jax.tree.map(jnp.asarray, self.recalibrators_)
            if self.method in OF_LOGITS:
                return np.array(recalibrators.apply(_logits(probs)))
            if self.method in OF_PROBS:
                return np.array(recalibrators.apply(probs))
            scores = _scores(self.method, probs)
            each = zip(recalibrators, scores.T, strict=True)
            found = np.stack([np.asarray(r.apply(column)) for r, column in each], axis=1)
        if found.shape[1] == 1:
            return np.concatenate([1 - found, found], axis=1)
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1 / found.shape[1])
        return np.where(total > 0, found / np.where(total > 0, total, 1), even)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (N,). See the example of the class.

        Args:
          X: rows, as the classifier takes them.
        Raises:
          NotFittedError: before `fit`.
        """
        probs = self.predict_proba(X)
        return self.classes_[np.argmax(probs, axis=1)]

    def get_metadata_routing(self) -> MetadataRouter:
        """What goes to the classifier and to the splitter. See the example of the class."""
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self._base(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def _base(self) -> Any:
        return LogisticRegression() if self.estimator is None else self.estimator

    def _routed(self, sample_weight: Any, fit_params: dict[str, Any]) -> dict[str, Any]:
        """What `fit` of the classifier gets."""
        if get_config().get("enable_metadata_routing"):
            params = process_routing(self, "fit", sample_weight=sample_weight, **fit_params)
            return dict(params.estimator.fit)
        if sample_weight is not None and has_fit_parameter(self._base(), "sample_weight"):
            return {"sample_weight": sample_weight, **fit_params}
        return fit_params

    def _left_out(
        self, base: Any, X: Any, y: np.ndarray, weights: Any, routed: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, K) for each row by a fit without it, and the weights of the rows."""
        folds = check_cv(self.cv, y, classifier=True)
        size = getattr(folds, "n_splits", None)
        counts = np.unique(y, return_counts=True)[1]
        if isinstance(size, int) and self._stratified(folds) and counts.min() < size:
            raise ValueError(
                f"Requesting {size}-fold cross-validation but provided less than {size} examples "
                "for at least one class."
            )
        probs = np.zeros((len(y), len(self.classes_)))
        seen = np.zeros(len(y))
        for train, test in folds.split(X, y):
            fitted = fit_rows(clone(base), X, y, train, routed)
            columns = np.searchsorted(self.classes_, fitted.classes_)
            probs[np.ix_(test, columns)] = fitted.predict_proba(cut_rows(X, test))
            seen[test] = 1
        return probs, seen if weights is None else seen * weights

    @staticmethod
    def _stratified(folds: Any) -> bool:
        return isinstance(folds, StratifiedKFold)

    def _recalibrators(self, probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Any:
        if len(self.classes_) == 1:
            return ()
        if self.method in OF_LOGITS:
            return OF_LOGITS[self.method](_logits(probs), labels, weights=weights)
        if self.method in OF_PROBS:
            return OF_PROBS[self.method](probs, labels, weights=weights)
        scores = _scores(self.method, probs)
        events = range(scores.shape[1]) if scores.shape[1] > 1 else (1,)
        return tuple(
            OF_EVENTS[self.method](column, (labels == event).astype(int), weights=weights)
            for column, event in zip(scores.T, events, strict=True)
        )

    def __sklearn_tags__(self) -> Tags:
        """As the classifier inside."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self._base()).input_tags.sparse
        return tags


def _logits(probs: np.ndarray) -> np.ndarray:
    """Logs of probabilities; a probability of 0 is that of the smallest number."""
    return np.log(np.maximum(probs, np.finfo(probs.dtype).tiny))


def _scores(method: str, probs: np.ndarray) -> np.ndarray:
    """One column of scores for each event: the second of two classes, or each of more."""
    events = probs[:, 1:] if probs.shape[1] == 2 else probs
    if method != "platt":
        return events
    tiny = np.finfo(probs.dtype).tiny
    return np.log(np.maximum(events, tiny)) - np.log(np.maximum(1 - events, tiny))


def cut_rows(x: Any, index: np.ndarray | None) -> Any:
    """Some rows of an array, a sparse matrix or a DataFrame; None is all.

    Args:
      x: rows.
      index: integers.
    """
    return x if index is None else _safe_indexing(x, index)


def fit_rows(model: Any, X: Any, y: np.ndarray, index: Any, params: dict[str, Any]) -> Any:
    """An estimator fitted to some rows; parameters with one entry a row are cut alike.

    Args:
      model: the estimator.
      X, y: all rows.
      index: integers, or None for all.
      params: of `fit`.
    """
    own = {
        name: cut_rows(value, index)
        if hasattr(value, "__len__") and not isinstance(value, str) and len(value) == len(y)
        else value
        for name, value in params.items()
    }
    return model.fit(cut_rows(X, index), cut_rows(y, index), **own)
