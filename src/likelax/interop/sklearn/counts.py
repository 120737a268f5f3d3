"""Naive Bayes of counts: multinomial, complement and Bernoulli."""

from typing import Any, ClassVar

import numpy as np
from sklearn.preprocessing import binarize

from likelax.interop.arguments import check_flag, check_number
from likelax.interop.sklearn.naive_bayes import UNLABELLED, CountEstimator, scores_of
from likelax.interop.sklearn.precision import computing
from likelax.mixture import MixtureStats
from likelax.naive_bayes import bernoulli, complement, multinomial
from likelax.statistics import category_counts, coin_counts


class MultinomialNB(CountEstimator):
    """Naive Bayes of counts, such as of words: `sklearn.naive_bayes.MultinomialNB`.

    Fractional counts are allowed, as in scikit-learn. With `alpha=0` a value that a class never had
    makes it impossible only for rows that have it, where scikit-learn returns NaN.

    Args:
      alpha: counts added to every feature: a number or (D,).
      force_alpha: keep an alpha below 1e-10.
      fit_prior: fit the probabilities of the classes; False: all alike.
      class_prior: (K,) given probabilities, or None.
    Attributes:
      classes_, class_count_, class_log_prior_: (K,).
      feature_count_, feature_log_prob_: (K, D).
    Raises:
      ValueError: by `fit`; see there.
    Source: Manning, Raghavan & Schütze (2008), Introduction to Information Retrieval, 13.

    Examples:
      >>> found = MultinomialNB().fit([[3, 0], [1, 2]], ["a", "b"])
      >>> print(found.predict([[4, 0], [0, 4]]))
      ['a' 'b']
    """

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior

    def _smooth(self, alpha: Any) -> None:
        size, num_features = self.feature_count_.shape
        with computing(np.float64), np.errstate(divide="ignore"):
            nb = multinomial(size, num_features, smoothing=alpha)
            counts = category_counts(np.asarray(self.feature_count_))
            probs = np.asarray(nb.fit(_statistics(self.class_count_, counts)).components.probs)
            self.feature_log_prob_ = np.log(probs)

    def _log_joint(self, X: Any) -> np.ndarray:
        return scores_of(X, self.feature_log_prob_) + self.class_log_prior_


class ComplementNB(CountEstimator):
    """Naive Bayes from the counts of all other classes: `sklearn.naive_bayes.ComplementNB`.

    Args:
      alpha: counts added to every feature: a number or (D,).
      force_alpha: keep an alpha below 1e-10.
      fit_prior, class_prior: used only where there is one class.
      norm: divide the weights of a class by their sum.
    Attributes:
      classes_, class_count_, class_log_prior_: (K,).
      feature_count_, feature_log_prob_: (K, D); feature_all_: (D,).
    Raises:
      ValueError: by `fit`; see there.
    Source: Rennie et al. (2003), Tackling the poor assumptions of naive Bayes text classifiers.

    Examples:
      >>> found = ComplementNB().fit([[3, 0], [1, 2]], ["a", "b"])
      >>> print(found.predict([[4, 0], [0, 4]]))
      ['a' 'b']
    """

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
        norm: bool = False,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.norm = norm

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_flag(self, "norm")

    def _smooth(self, alpha: Any) -> None:
        self.feature_all_ = self.feature_count_.sum(axis=0)
        with computing(np.float64):
            stats = _statistics(self.class_count_, category_counts(np.asarray(self.feature_count_)))
            model = complement(stats, smoothing=alpha, norm=bool(self.norm))
            self.feature_log_prob_ = np.asarray(model.components.weights)

    def _log_joint(self, X: Any) -> np.ndarray:
        scores = scores_of(X, self.feature_log_prob_)
        return scores + self.class_log_prior_ if len(self.classes_) == 1 else scores


class BernoulliNB(CountEstimator):
    """Naive Bayes of binary features: `sklearn.naive_bayes.BernoulliNB`.

    Args:
      alpha: counts added to ones and zeros of every feature: a number or (D,).
      force_alpha: keep an alpha below 1e-10.
      binarize: values above it are ones; None: X is binary.
      fit_prior: fit the probabilities of the classes; False: all alike.
      class_prior: (K,) given probabilities, or None.
    Attributes:
      classes_, class_count_, class_log_prior_: (K,).
      feature_count_, feature_log_prob_: (K, D).
    Raises:
      ValueError: by `fit`; see there.
    Source: McCallum & Nigam (1998), A comparison of event models for naive Bayes text
      classification, AAAI workshop.

    Examples:
      >>> found = BernoulliNB().fit([[1, 0], [0, 1]], ["a", "b"])
      >>> print(found.predict([[1, 0], [0, 1]]))
      ['a' 'b']
    """

    _counts: ClassVar[bool] = False

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        binarize: float | None = 0.0,
        fit_prior: bool = True,
        class_prior: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.binarize = binarize
        self.fit_prior = fit_prior
        self.class_prior = class_prior

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_number(self, "binarize", optional=True)

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        read = super()._read(X, y, reset)
        if self.binarize is None:
            return read
        if isinstance(read, tuple):
            return binarize(read[0], threshold=self.binarize), read[1]
        return binarize(read, threshold=self.binarize)

    def _smooth(self, alpha: Any) -> None:
        size, num_features = self.feature_count_.shape
        ones = np.asarray(self.feature_count_)
        zeros = self.class_count_[:, None] - ones
        with computing(np.float64), np.errstate(divide="ignore"):
            nb = bernoulli(size, num_features, smoothing=alpha)
            counts = coin_counts(ones, zeros)
            probs = np.asarray(nb.fit(_statistics(self.class_count_, counts)).components.probs)
            self.feature_log_prob_ = np.log(probs)

    def _log_joint(self, X: Any) -> np.ndarray:
        log_ones = self.feature_log_prob_
        with np.errstate(divide="ignore"):
            log_zeros = np.log1p(-np.exp(log_ones))
        possible = np.where(np.isfinite(log_zeros), log_zeros, 0)
        ahead = np.where(np.isfinite(log_ones), log_ones - possible, -np.inf)
        joint = scores_of(X, ahead) + possible.sum(axis=1) + self.class_log_prior_
        certain = np.isneginf(log_zeros)
        if certain.any():  # a class in which a feature was always one rules out its zeros
            seen = scores_of(X, certain.astype(np.float64))
            joint = np.where(seen < certain.sum(axis=1), -np.inf, joint)
        return joint


def _statistics(counts: np.ndarray, components: Any) -> MixtureStats:
    return MixtureStats(category_counts(np.asarray(counts)), components)
