"""Fitted models of hmmlearn and scikit-learn as likelax models, and back."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.families import Categorical, MvNormal, Poisson
from likelax.hmm import HMM
from likelax.interop.hmmlearn.counts import CategoricalHMM, PoissonHMM
from likelax.interop.hmmlearn.gaussian import GaussianHMM
from likelax.mixture import Mixture
from likelax.product import Independent


def to_likelax(fitted: Any) -> HMM | Mixture:
    """A fitted model of hmmlearn, scikit-learn or this package as a likelax fitted.

    It is in JAX's current floating type.

    Args:
      fitted: a `GaussianHMM`, `GMMHMM`, `CategoricalHMM` or `PoissonHMM` of hmmlearn or of
        this package, or a `GaussianMixture`; D features become an event of shape (D,).
    Raises:
      TypeError: for another class.

    Examples:
      >>> found = CategoricalHMM(2, random_state=0).fit([[0], [0], [1], [1]])
      >>> print(f"{to_likelax(found).log_prob(jnp.array([0, 1])) - found.score([[0], [1]]):.3f}")
      0.000
    """
    name = type(fitted).__name__
    if name == "GaussianMixture":
        size, num_dims = fitted.means_.shape
        covariances = _matrices(fitted.covariances_, fitted.covariance_type, size, num_dims)
        return Mixture(_array(fitted.weights_), _normals(fitted.means_, covariances))
    emissions: Any
    if name == "GaussianHMM":
        size, num_dims = fitted.means_.shape
        kind = "diag" if fitted.covariance_type == "spherical" else fitted.covariance_type
        covariances = np.asarray(fitted._covars_)
        if kind == "diag":
            covariances = np.broadcast_to(covariances.reshape(size, -1), (size, num_dims))
        emissions = _normals(fitted.means_, _matrices(covariances, kind, size, num_dims))
    elif name == "GMMHMM":
        size, num_mix, num_dims = fitted.means_.shape
        covariances, kind = np.asarray(fitted.covars_), fitted.covariance_type
        if kind == "tied":
            covariances, kind = np.repeat(covariances[:, None], num_mix, axis=1), "full"
        flat = covariances.reshape(size * num_mix, *covariances.shape[2:])
        matrices = _matrices(flat, kind, size * num_mix, num_dims)
        shape = (size, num_mix, num_dims, num_dims)
        emissions = Mixture(
            _array(fitted.weights_), _normals(fitted.means_, matrices.reshape(shape))
        )
    elif name == "CategoricalHMM":
        emissions = Categorical(_array(fitted.emissionprob_))
    elif name == "PoissonHMM":
        emissions = Independent(Poisson(_array(fitted.lambdas_)))
    else:
        raise TypeError(f"to_likelax: no likelax model for a {name}")
    return HMM(_array(fitted.startprob_), _array(fitted.transmat_), emissions)


def from_likelax(model: HMM) -> GaussianHMM | CategoricalHMM | PoissonHMM:
    """A likelax hidden Markov model with hmmlearn's methods.

    Args:
      model: with emissions `MvNormal`, `Categorical`, or `Independent` of `Poisson`.
    Raises:
      TypeError: for other emissions.

    Examples:
      >>> model = HMM([1.0, 0.0], np.eye(2), Categorical(np.eye(2)))
      >>> print(from_likelax(model).predict([[0], [0]]))
      [0 0]
    """
    emissions: Any = model.emissions
    found: Any
    if isinstance(emissions, MvNormal):
        found = GaussianHMM(model.num_states, covariance_type="full")
        found.means_ = np.asarray(emissions.loc, np.float64)
        tril = np.asarray(emissions.scale_tril, np.float64)
        found.covars_ = tril @ np.swapaxes(tril, -1, -2)
    elif isinstance(emissions, Categorical):
        found = CategoricalHMM(model.num_states)
        found.emissionprob_ = _rows(emissions.probs)
    elif isinstance(emissions, Independent) and isinstance(emissions.component, Poisson):
        found = PoissonHMM(model.num_states)
        found.lambdas_ = np.asarray(emissions.component.rate, np.float64)
    else:
        raise TypeError(f"from_likelax: no class of hmmlearn for {type(emissions).__name__}")
    found.startprob_ = _rows(model.initial_probs())
    found.transmat_ = _rows(model.transition_probs())
    return found


def _array(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _rows(value: Any) -> np.ndarray:
    """Probabilities in float64, whose sum is one to rounding."""
    value = np.asarray(value, np.float64)
    return value / value.sum(axis=-1, keepdims=True)


def _matrices(covariances: Any, kind: str, size: int, num_dims: int) -> np.ndarray:
    """Covariance matrices (K, D, D) of any `covariance_type`."""
    covariances = np.asarray(covariances, np.float64)
    if kind in ("full", "tied"):
        return np.broadcast_to(covariances, (size, num_dims, num_dims))
    variances = np.broadcast_to(covariances.reshape(size, -1), (size, num_dims))
    return variances[..., None] * np.eye(num_dims)


def _normals(means: Any, covariances: np.ndarray) -> MvNormal:
    return MvNormal(_array(means), _array(np.linalg.cholesky(covariances)))
