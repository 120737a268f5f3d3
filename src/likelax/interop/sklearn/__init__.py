"""scikit-learn's estimators, computed by likelax's models.

Needs the extra `sklearn`: scikit-learn 1.6 or later.
"""

from likelax.interop.sklearn.bayesian_mixture import BayesianGaussianMixture
from likelax.interop.sklearn.gaussian_mixture import GaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
