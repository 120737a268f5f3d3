"""`GaussianNB` with scikit-learn's arguments and attributes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.utils.validation import validate_data

from likelax.families import Normal
from likelax.interop.arguments import check_number
from likelax.interop.sklearn.naive_bayes import (
    UNLABELLED,
    NaiveBayesEstimator,
    given_priors,
    indicators,
    log_joint,
)
from likelax.interop.sklearn.precision import FLOATS, computing, to_numpy
from likelax.mixture import Mixture
from likelax.product import Independent
from likelax.statistics import Moments


class GaussianNB(NaiveBayesEstimator):
    """Naive Bayes of real features: `sklearn.naive_bayes.GaussianNB`.

    float32 data are fitted in float32, all others in float64.

    Args:
      priors: (K,) given probabilities of the classes, or None to fit them.
      var_smoothing: this fraction of the largest variance of a feature is added to every variance.
    Attributes:
      classes_, class_count_, class_prior_: (K,).
      theta_, var_: (K, D) means and variances.
      epsilon_: what was added to the variances.
    Raises:
      ValueError: by `fit`; see there.
    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> found = GaussianNB().fit([[0.0], [2.0], [7.0], [9.0]], [0, 0, 1, 1])
      >>> print(found.theta_[:, 0], found.predict([[1.0], [8.0]]))
      [1. 8.] [0 1]
    """

    def __init__(self, *, priors: Any = None, var_smoothing: float = 1e-9) -> None:
        self.priors = priors
        self.var_smoothing = var_smoothing

    def _check_arguments(self) -> None:
        check_number(self, "var_smoothing")

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        return validate_data(self, X, y, dtype=FLOATS, reset=reset)

    def _add(self, X: np.ndarray, labels: np.ndarray, weights: Any, *, first: bool) -> None:
        dtype, size = X.dtype, len(self.classes_)
        if first:
            self.class_count_ = np.zeros(size, dtype)
            self.theta_: Any = np.zeros((size, X.shape[1]), dtype)
            self.var_ = np.zeros((size, X.shape[1]), dtype)
            self.epsilon_ = dtype.type(0)
            self.class_prior_ = given_priors(self.priors, size, dtype)
        weight: Any = np.broadcast_to(self.class_count_[:, None], self.theta_.shape)
        before = Moments(
            weight,
            self.theta_,
            (self.var_ - self.epsilon_) * self.class_count_[:, None],
        )
        self.epsilon_ = dtype.type(self.var_smoothing * np.max(np.var(X, axis=0)))
        with computing(dtype):
            after = to_numpy(_merged(before, X, indicators(labels, weights, size, dtype)))
        self.class_count_ = after.weight[:, 0]
        self.theta_ = after.mean
        filled = np.where(after.weight > 0, after.weight, 1)
        self.var_ = after.scatter / filled + self.epsilon_
        if self.priors is None:
            self.class_prior_ = self.class_count_ / self.class_count_.sum()

    def _log_joint(self, X: np.ndarray) -> Array:
        dtype = self.theta_.dtype
        with computing(dtype):
            normals = Independent(
                Normal(jnp.asarray(self.theta_), jnp.sqrt(jnp.asarray(self.var_)))
            )
            model = Mixture(jnp.asarray(self.class_prior_), normals)
            return log_joint(model, X.astype(dtype, copy=False))


@jax.jit
def _merged(before: Moments, x: Array, shares: Array) -> Moments:
    """The moments of a batch merged into those before."""
    ones = jnp.ones_like(before.mean)
    normals = Independent(Normal(jnp.zeros_like(ones), ones))
    return before + normals.stacked_e_step(x, shares)
