"""scikit-learn's estimators, computed by likelax's models.

Needs the extra `sklearn`: scikit-learn 1.6 or later.
"""

from likelax.interop.sklearn.bayesian_mixture import BayesianGaussianMixture
from likelax.interop.sklearn.calibrated import CalibratedClassifier
from likelax.interop.sklearn.categorical_naive_bayes import CategoricalNB
from likelax.interop.sklearn.conformal import ConformalClassifier, ConformalRegressor
from likelax.interop.sklearn.convert import from_sklearn, to_sklearn
from likelax.interop.sklearn.counts import BernoulliNB, ComplementNB, MultinomialNB
from likelax.interop.sklearn.gaussian_mixture import GaussianMixture
from likelax.interop.sklearn.gaussian_naive_bayes import GaussianNB
from likelax.interop.sklearn.hidden_markov import HiddenMarkovModel
from likelax.interop.sklearn.isotonic import IsotonicRegression
from likelax.interop.sklearn.mixed_naive_bayes import MixedNB
from likelax.interop.sklearn.mixture_model import MixtureModel

__all__ = [
    "BayesianGaussianMixture",
    "BernoulliNB",
    "CalibratedClassifier",
    "CategoricalNB",
    "ComplementNB",
    "ConformalClassifier",
    "ConformalRegressor",
    "GaussianMixture",
    "GaussianNB",
    "HiddenMarkovModel",
    "IsotonicRegression",
    "MixedNB",
    "MixtureModel",
    "MultinomialNB",
    "from_sklearn",
    "to_sklearn",
]
