"""scikit-learn's estimators, computed by likelax's models.

Needs the extra `sklearn`: scikit-learn 1.6 or later.
"""

from likelax.interop.sklearn.bayesian_mixture import BayesianGaussianMixture
from likelax.interop.sklearn.categorical_naive_bayes import CategoricalNB
from likelax.interop.sklearn.counts import BernoulliNB, ComplementNB, MultinomialNB
from likelax.interop.sklearn.gaussian_mixture import GaussianMixture
from likelax.interop.sklearn.gaussian_naive_bayes import GaussianNB

__all__ = [
    "BayesianGaussianMixture",
    "BernoulliNB",
    "CategoricalNB",
    "ComplementNB",
    "GaussianMixture",
    "GaussianNB",
    "MultinomialNB",
]
