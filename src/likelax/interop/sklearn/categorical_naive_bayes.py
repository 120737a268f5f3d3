"""`CategoricalNB` with scikit-learn's arguments and attributes."""

import numbers
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import check_non_negative, validate_data

from likelax.interop.arguments import check_number
from likelax.interop.sklearn.naive_bayes import UNLABELLED, CountEstimator


class CategoricalNB(CountEstimator):
    """Naive Bayes of categories, integers from 0: `sklearn.naive_bayes.CategoricalNB`.

    Args:
      alpha: counts added to every category.
      force_alpha: keep an alpha below 1e-10.
      fit_prior: fit the probabilities of the classes; False: all alike.
      class_prior: (K,) given probabilities, or None.
      min_categories: least number of categories: one for all features, (D,), or None.
    Attributes:
      classes_, class_count_, class_log_prior_: (K,).
      category_count_, feature_log_prob_: a list of D arrays (K, categories).
      n_categories_: (D,).
    Raises:
      ValueError: by `fit`; see there.
      IndexError: by predictions, for a category that is beyond `n_categories_`.
    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> found = CategoricalNB().fit([[0, 2], [1, 0]], ["a", "b"])
      >>> print(found.predict([[0, 2], [1, 0]]))
      ['a' 'b']
    """

    _sparse: ClassVar[bool] = False

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
        min_categories: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.min_categories = min_categories

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_number(self, "alpha")
        if isinstance(self.min_categories, numbers.Integral):
            check_number(self, "min_categories", least=1, integer=True)

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        read = validate_data(self, X, y, dtype="int", reset=reset)
        rows = read[0] if isinstance(read, tuple) else read
        check_non_negative(rows, "CategoricalNB (input X)")
        return read

    def _forget(self, size: int) -> None:
        self.category_count_ = [np.zeros((size, 0)) for _ in range(self.n_features_in_)]

    def _count(self, X: np.ndarray, shares: np.ndarray) -> None:
        self.n_categories_ = np.maximum(
            self._categories(X), [count.shape[1] for count in self.category_count_]
        )
        for feature, count in enumerate(self.category_count_):
            wider = np.pad(count, [(0, 0), (0, self.n_categories_[feature] - count.shape[1])])
            np.add.at(wider.T, X[:, feature], shares)
            self.category_count_[feature] = wider

    def _categories(self, X: np.ndarray) -> np.ndarray:
        """The number of categories of each feature in this batch."""
        found = X.max(axis=0) + 1
        if self.min_categories is None:
            return found
        least = np.array(self.min_categories)
        if not np.issubdtype(least.dtype, np.signedinteger):
            raise ValueError(
                f"'min_categories' should have integral type. Got {least.dtype} instead."
            )
        if least.shape not in ((), found.shape):
            raise ValueError(
                f"'min_categories' should have shape ({X.shape[1]},) when an array-like is provided. "
                f"Got {least.shape} instead."
            )
        return np.maximum(found, least)

    def _smooth(self, alpha: Any) -> None:
        with np.errstate(divide="ignore"):
            smoothed = [count + alpha for count in self.category_count_]
            self.feature_log_prob_ = [
                np.log(counts) - np.log(counts.sum(axis=1, keepdims=True)) for counts in smoothed
            ]

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        beyond = X.max(axis=0) >= self.n_categories_
        if beyond.any():
            feature = int(np.argmax(beyond))
            raise IndexError(
                f"CategoricalNB: category {X[:, feature].max()} of feature {feature} is out of bounds: "
                f"it has {self.n_categories_[feature]} categories; see min_categories"
            )
        tables = zip(self.feature_log_prob_, X.T, strict=True)
        return sum(table[:, codes].T for table, codes in tables) + self.class_log_prior_

    def __sklearn_tags__(self) -> Tags:
        """Categories."""
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags
