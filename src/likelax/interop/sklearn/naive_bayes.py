"""What the naive Bayes classifiers share: predictions, classes, batches, given priors."""

import numbers
import warnings
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    check_non_negative,
    validate_data,
)

from likelax.interop.arguments import check_flag, check_number
from likelax.interop.sklearn.precision import computing
from likelax.mixture import Mixture
from likelax.numerics import matmul, safe_log

SMALLEST_ALPHA = 1e-10
UNLABELLED = "no_validation"
"""In place of y: `validate_data` then looks at X alone."""


class NaiveBayesEstimator(ClassifierMixin, BaseEstimator):
    """The predictions of a naive Bayes classifier.

    A subclass reads X (`_read`), adds the statistics of a batch (`_add`), and says the log joint of
    rows and classes (`_log_joint`).
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to labelled rows.

        Args:
          X: (N, D).
          y: (N,) classes.
          sample_weight: (N,) non-negative, or None for ones.
        Raises:
          ValueError: for arguments out of range.
        """
        return self._fit(X, y, None, sample_weight, first=True)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Add a batch of labelled rows to those before.

        Args:
          X: (N, D).
          y: (N,) classes.
          classes: all classes; required in the first call.
          sample_weight: (N,) non-negative, or None for ones.
        Raises:
          ValueError: for a class that is not among `classes`, or `classes` that are missing or change.
        """
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            classes = unique_labels(classes)
            if not first and not np.array_equal(self.classes_, classes):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, "
                    f"was: {self.classes_!r}"
                )
        return self._fit(X, y, classes if first else self.classes_, sample_weight, first=first)

    def predict_joint_log_proba(self, X: Any) -> np.ndarray:
        """log p(x, class) of each row and class, (N, K) nats.

        Args:
          X: (N, D).
        """
        check_is_fitted(self)
        X = self._read(X)
        with computing(self._dtype(X)):
            return np.array(self._log_joint(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(class | x), (N, K) nats.

        Args:
          X: (N, D).
        """
        joint = self.predict_joint_log_proba(X)
        with computing(joint.dtype):
            return np.array(_normalized(joint))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | x), (N, K).

        Args:
          X: (N, D).
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (N,).

        Args:
          X: (N, D).
        """
        joint = self.predict_joint_log_proba(X)
        return self.classes_[np.argmax(joint, axis=1)]

    def _fit(self, X: Any, y: Any, classes: Any, sample_weight: Any, *, first: bool) -> Self:
        self._check_arguments()
        X, y = self._read(X, y, reset=first)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=self._dtype(X))
        if classes is None:
            classes = np.unique(y)
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"The target label(s) {unknown} in y do not exist in the initial classes {classes}"
            )
        if first:
            self.classes_ = classes
        labels = np.searchsorted(classes, y)
        self._add(X, labels, sample_weight, first=first)
        return self

    def _dtype(self, X: Any) -> Any:
        """The floating type to compute in."""
        return np.float32 if X.dtype == np.float32 else np.float64

    def _check_arguments(self) -> None:
        raise NotImplementedError

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        """X, or (X, y), validated."""
        raise NotImplementedError

    def _add(self, X: Any, labels: np.ndarray, weights: Any, *, first: bool) -> None:
        raise NotImplementedError

    def _log_joint(self, X: Any) -> Any:
        raise NotImplementedError


@jax.jit
def _normalized(joint: Array) -> Array:
    return jax.nn.log_softmax(joint, axis=-1)


def given_priors(priors: Any, size: int, dtype: Any) -> np.ndarray:
    """Given probabilities of the classes, or zeros before they are fitted.

    Args:
      priors: (K,), or None.
      size: K.
      dtype: of the result.
    Raises:
      ValueError: for another number of them, or another sum than 1, or a negative one.
    """
    if priors is None:
        return np.zeros(size, dtype)
    priors = np.asarray(priors, dtype)
    if len(priors) != size:
        raise ValueError("Number of priors must match number of classes.")
    if not np.isclose(priors.sum(), 1.0):
        raise ValueError("The sum of the priors should be 1.")
    if np.any(priors < 0):
        raise ValueError("Priors must be non-negative.")
    return priors


@jax.jit
def log_joint(model: Mixture, x: Any) -> Array:
    """log p(x, class) of each row and class, (N, K) nats.

    Args:
      model: the classes.
      x: data with a leading axis N.

    Examples:
      >>> from likelax import Poisson
      >>> print(log_joint(Mixture(jnp.array([1.0, 0.0]), Poisson(jnp.ones(2))), jnp.array([0])))
      [[ -1. -inf]]
    """
    log_prob = model.component_log_prob(x)
    return log_prob + jnp.broadcast_to(safe_log(model.weights), log_prob.shape)


def indicators(labels: np.ndarray, weights: Any, num_classes: int, dtype: Any) -> np.ndarray:
    """(N, K): the weight of each row in its class.

    Args:
      labels: (N,) integers.
      weights: (N,), or None for ones.
      num_classes: K.
      dtype: of the result.
    """
    shares = np.zeros((len(labels), num_classes), dtype)
    shares[np.arange(len(labels)), labels] = 1 if weights is None else weights
    return shares


class CountEstimator(NaiveBayesEstimator):
    """A classifier whose statistics are counts: smoothing, priors over classes, sparse rows."""

    _sparse: ClassVar[bool] = True
    _counts: ClassVar[bool] = True

    alpha: Any
    force_alpha: bool
    fit_prior: bool
    class_prior: Any

    def _check_arguments(self) -> None:
        if isinstance(self.alpha, numbers.Real):
            check_number(self, "alpha")
        check_flag(self, "force_alpha")
        check_flag(self, "fit_prior")

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        sparse = "csr" if self._sparse else False
        read = validate_data(self, X, y, accept_sparse=sparse, reset=reset)
        if self._counts:
            rows = read[0] if isinstance(read, tuple) else read
            check_non_negative(rows, f"{type(self).__name__} (input X)")
        return read

    def _dtype(self, X: Any) -> Any:
        """Counts are kept in float64, as in scikit-learn."""
        return np.float64

    def _add(self, X: Any, labels: np.ndarray, weights: Any, *, first: bool) -> None:
        size = len(self.classes_)
        if first:
            self.class_count_ = np.zeros(size)
            self._forget(size)
        shares = indicators(labels, weights, size, np.float64)
        self.class_count_ = self.class_count_ + shares.sum(axis=0)
        with computing(np.float64):
            self._count(X, shares)
        self._smooth(self._check_alpha())
        self._set_classes()

    def _check_alpha(self) -> Any:
        """alpha: a number or (D,)."""
        alpha: Any = self.alpha
        if not isinstance(alpha, numbers.Real):
            alpha = np.asarray(alpha)
        if isinstance(alpha, np.ndarray):
            if alpha.shape != (self.n_features_in_,):
                raise ValueError(
                    "When alpha is an array, it should contains `n_features`. "
                    f"Got {alpha.shape[0]} elements instead of {self.n_features_in_}."
                )
            if np.min(alpha) < 0:
                raise ValueError("All values in alpha must be greater than 0.")
        if np.min(alpha) < SMALLEST_ALPHA and not self.force_alpha:
            warnings.warn(
                f"alpha too small will result in numeric errors, setting alpha = {SMALLEST_ALPHA:.1e}. "
                "Use `force_alpha=True` to keep alpha unchanged.",
                stacklevel=5,
            )
            return np.maximum(alpha, SMALLEST_ALPHA)
        return alpha

    def _set_classes(self) -> None:
        size = len(self.classes_)
        with np.errstate(divide="ignore"):
            if self.class_prior is not None:
                if len(self.class_prior) != size:
                    raise ValueError("Number of priors must match number of classes.")
                self.class_log_prior_ = np.log(np.asarray(self.class_prior, np.float64))
            elif self.fit_prior:
                counts = self.class_count_
                self.class_log_prior_ = np.log(counts) - np.log(counts.sum())
            else:
                self.class_log_prior_ = np.full(size, -np.log(size))

    def _forget(self, size: int) -> None:
        self.feature_count_ = np.zeros((size, self.n_features_in_))

    def _count(self, X: Any, shares: np.ndarray) -> None:
        for rows, part in dense_parts(X, shares):
            self.feature_count_ = self.feature_count_ + np.asarray(_counts_of(rows, part))

    def _smooth(self, alpha: Any) -> None:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        """Sparse rows, non-negative values, and a poor score on real data."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._sparse
        tags.input_tags.positive_only = self._counts
        tags.classifier_tags.poor_score = True
        return tags


@jax.jit
def _counts_of(x: Array, shares: Array) -> Array:
    return matmul(shares.T, jnp.asarray(x, shares.dtype))


@jax.jit
def linear_scores(x: Array, coefficients: Array) -> Array:
    """sum_d x[d] coefficients[k, d], (N, K); a coefficient of -inf counts only where x[d] is not 0.

    Args:
      x: (N, D).
      coefficients: (K, D) below infinity.

    Examples:
      >>> print(linear_scores(jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, -jnp.inf]])))
      [[  2.]
       [-inf]]
    """
    x = jnp.asarray(x, coefficients.dtype)
    lost = coefficients == -jnp.inf
    finite = jnp.where(lost, 0, coefficients)
    scores = matmul(x, finite.T)
    hits = matmul((x != 0).astype(x.dtype), lost.T.astype(x.dtype))
    return jnp.where(hits > 0, -jnp.inf, scores)


def dense_parts(X: Any, shares: np.ndarray | None = None) -> Any:
    """Pairs (rows, shares): sparse rows are made dense in parts of at most 32 MB.

    Args:
      X: (N, D), an array or a sparse matrix.
      shares: (N, K), or None.
    """
    if isinstance(X, np.ndarray):
        yield X, shares
        return
    size = max(1, min(X.shape[0], 2**22 // max(X.shape[1], 1)))
    for begin in range(0, X.shape[0], size):
        rows = X[begin : begin + size].toarray()
        part = None if shares is None else shares[begin : begin + size]
        yield rows, part


def scores_of(X: Any, coefficients: np.ndarray) -> np.ndarray:
    """`linear_scores` of an array or a sparse matrix.

    Args:
      X: (N, D).
      coefficients: (K, D).
    """
    parts = [np.asarray(linear_scores(rows, coefficients)) for rows, _ in dense_parts(X)]
    return np.concatenate(parts)
