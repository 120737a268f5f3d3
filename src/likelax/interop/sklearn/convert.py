"""Fitted mixtures and naive Bayes classifiers of scikit-learn as likelax models, and back."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import sklearn.mixture
import sklearn.naive_bayes
from jax import Array

from likelax.families import (
    Categorical,
    Multinomial,
    MvBernoulli,
    MvNormal,
    Normal,
    SphericalNormal,
)
from likelax.interop.sklearn.bayesian_mixture import BayesianGaussianMixture
from likelax.interop.sklearn.gaussians import precision_roots, precisions
from likelax.mixture import Mixture
from likelax.numerics.checks import check_type
from likelax.product import Independent, Product
from likelax.variational_node import VariationalMixture
from likelax.wrappers import Tied


def from_sklearn(fitted: Any) -> Mixture | VariationalMixture:
    """A fitted mixture or naive Bayes classifier as a likelax model.

    It is in JAX's current floating type.

    Args:
      fitted: a `GaussianMixture`, `BayesianGaussianMixture`, `GaussianNB`, `BernoulliNB`, `MultinomialNB` or
        `CategoricalNB` of scikit-learn or of this package; D features become an event of shape (D,), and
        a tuple of D columns for `CategoricalNB`. A `BernoulliNB` with `binarize` takes rows of 0 and 1.
    Returns:
      A `Mixture` whose `responsibilities(x)` are what `predict_proba` gives; class k is `classes_[k]`.
      A `VariationalMixture` for a `BayesianGaussianMixture`, whose `log_prob` is `score_samples` for full and
      tied covariances. For diag and spherical ones scikit-learn uses the expected log determinant of a
      Wishart distribution of D x D matrices, and likelax that of the gammas that they have.
    Raises:
      TypeError: for another class. A `ComplementNB` is no density.

    Examples:
      >>> fitted = sklearn.naive_bayes.GaussianNB().fit([[0.0], [2.0], [7.0], [9.0]], [0, 0, 1, 1])
      >>> print(from_sklearn(fitted).components.component.loc)
      [[1.]
       [8.]]
    """
    name = type(fitted).__name__
    if name == "BayesianGaussianMixture":
        return BayesianGaussianMixture._model(fitted, jnp.result_type(float))
    if name == "GaussianMixture":
        return Mixture(_array(fitted.weights_), _gaussians(fitted))
    if name not in _CLASSIFIERS:
        raise TypeError(
            "from_sklearn: fitted must be one of "
            f"{sorted([*_CLASSIFIERS, 'GaussianMixture', 'BayesianGaussianMixture'])}, got {name}"
        )
    log_prior = getattr(fitted, "class_log_prior_", None)
    shares = fitted.class_prior_ if log_prior is None else np.exp(log_prior)
    return Mixture(_array(shares), _CLASSIFIERS[name](fitted))


def to_sklearn(model: Mixture) -> Any:
    """A likelax mixture as a fitted estimator of scikit-learn.

    Args:
      model: a `Mixture` of `MvNormal`, `Tied` of it or `SphericalNormal`, which become a `GaussianMixture`;
        of `Independent` normals, `MvBernoulli`, `Multinomial` or a `Product` of a tuple of `Categorical`,
        which become naive Bayes classifiers with the classes 0..K-1.
    Returns:
      An estimator that can predict, but not go on with `partial_fit`, since it holds no counts.
    Raises:
      TypeError: for another model or other components.

    Examples:
      >>> normals = SphericalNormal(jnp.array([[0.0], [5.0]]), jnp.ones(2))
      >>> mixture = Mixture(jnp.array([0.5, 0.5]), normals)
      >>> print(to_sklearn(mixture).predict([[1.0], [4.0]]))
      [0 1]
    """
    check_type("model", model, Mixture)
    parts: Any = model.components
    weights = _host(model.weights)
    weights = weights / weights.sum()
    inner = parts.component if isinstance(parts, Independent) else None
    found: Any
    if isinstance(parts, MvNormal | Tied | SphericalNormal):
        return _gaussian_mixture(weights, parts)
    if isinstance(inner, Normal):
        found = sklearn.naive_bayes.GaussianNB()
        found.theta_, found.var_ = _host(inner.loc), _host(inner.scale) ** 2
        found.class_prior_, found.epsilon_ = weights, 0.0
        return _with_classes(found, weights, found.theta_.shape[1])
    if isinstance(parts, MvBernoulli | Multinomial):
        bernoulli = isinstance(parts, MvBernoulli)
        kind = sklearn.naive_bayes.BernoulliNB if bernoulli else sklearn.naive_bayes.MultinomialNB
        found = kind(binarize=None) if bernoulli else kind()
        probs = _host(parts.probs)
        found.feature_log_prob_ = _log(probs)
        return _with_classes(found, weights, probs.shape[1])
    if isinstance(parts, Product) and isinstance(parts.fields, tuple | list):
        fields: Any = parts.fields
        if all(isinstance(field, Categorical) for field in fields):
            found = sklearn.naive_bayes.CategoricalNB()
            found.feature_log_prob_ = [_log(_host(field.probs)) for field in fields]
            found.n_categories_ = np.array([field.probs.shape[1] for field in fields])
            return _with_classes(found, weights, len(fields))
    raise TypeError(f"to_sklearn: no estimator of scikit-learn for {type(parts).__name__}")


def _array(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _host(value: Any) -> np.ndarray:
    return np.asarray(value, np.float64)


def _log(probs: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probs)


def _gaussians(fitted: Any) -> Any:
    """The components, in the family of the `covariance_type`."""
    means, spread = _array(fitted.means_), np.asarray(fitted.covariances_, np.float64)
    kind = fitted.covariance_type
    if kind == "spherical":
        return SphericalNormal(means, _array(np.sqrt(spread)))
    if kind == "diag":
        return Independent(Normal(means, _array(np.sqrt(spread))))
    roots = np.linalg.cholesky(spread)
    if kind == "full":
        return MvNormal(means, _array(roots))
    return Tied(MvNormal(means, _array(np.broadcast_to(roots, (len(means), *roots.shape)))))


def _gaussian_mixture(weights: np.ndarray, parts: Any) -> Any:
    if isinstance(parts, Tied):
        kind, parts = "tied", parts.model
    else:
        kind = "full" if isinstance(parts, MvNormal) else "spherical"
    if not isinstance(parts, MvNormal | SphericalNormal):
        raise TypeError(f"to_sklearn: no estimator of scikit-learn for Tied {type(parts).__name__}")
    found = sklearn.mixture.GaussianMixture(len(weights), covariance_type=kind)
    found.weights_, found.means_ = weights, _host(parts.loc)
    if isinstance(parts, SphericalNormal):
        found.covariances_ = _host(parts.scale) ** 2
    else:
        tril = _host(parts.scale_tril)
        found.covariances_ = tril @ np.swapaxes(tril, -1, -2)
        if kind == "tied":
            found.covariances_ = found.covariances_[0]
    found.precisions_cholesky_ = precision_roots(found.covariances_, kind)
    found.precisions_ = precisions(found.precisions_cholesky_, kind)
    found.converged_, found.n_iter_, found.lower_bound_ = True, 0, -np.inf
    found.n_features_in_ = found.means_.shape[1]
    return found


def _with_classes(found: Any, weights: np.ndarray, num_features: int) -> Any:
    found.classes_, found.class_count_ = np.arange(len(weights)), np.zeros(len(weights))
    found.n_features_in_ = num_features
    if not hasattr(found, "class_prior_"):
        found.class_log_prior_ = _log(weights)
    return found


_CLASSIFIERS: dict[str, Callable[[Any], Any]] = {
    "GaussianNB": lambda f: Independent(Normal(_array(f.theta_), _array(np.sqrt(f.var_)))),
    "BernoulliNB": lambda f: MvBernoulli(_array(np.exp(f.feature_log_prob_))),
    "MultinomialNB": lambda f: Multinomial(_array(np.exp(f.feature_log_prob_))),
    "CategoricalNB": lambda f: Product(
        tuple(Categorical(_array(np.exp(table))) for table in f.feature_log_prob_)
    ),
}
"""The components of a classifier, by scikit-learn's class."""
