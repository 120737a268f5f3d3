"""`GaussianMixture` with scikit-learn's arguments and attributes."""

from typing import Any

import jax
import numpy as np

from likelax.families import MvNormal, Normal, SphericalNormal
from likelax.fit import num_parameters
from likelax.fit.algorithm import Data
from likelax.interop.sklearn.gaussians import (
    GaussianEstimator,
    lower_triangles,
    precision_roots,
    precisions,
)
from likelax.interop.sklearn.precision import computing
from likelax.interop.sklearn.rows import RowEM, Start, first_model, statistics_of
from likelax.mixture import Mixture
from likelax.product import Independent
from likelax.wrappers import Tied


class GaussianMixture(GaussianEstimator):
    """A mixture of Gaussians, fitted by EM: `sklearn.mixture.GaussianMixture` on the device.

    Arguments, attributes, defaults and warnings are scikit-learn's, and a fit from the same
    `random_state` starts from the same responsibilities. `fit` also takes `sample_weight`. float32
    data are fitted in float32, all others in float64, whatever JAX's setting. The `n_init` starts run
    as one batch. If some of them collapse, the best of the others is kept.

    Args:
      n_components: K.
      covariance_type: "full", "tied", "diag" or "spherical".
      tol: smallest change of the mean log likelihood of a row, nats.
      reg_covar: added to every variance.
      max_iter: most steps.
      n_init: number of starts.
      init_params: "kmeans", "k-means++", "random" or "random_from_data".
      weights_init, means_init, precisions_init: given parameters of the start, or None.
      random_state: as in scikit-learn.
      warm_start: start from the last fit.
      verbose, verbose_interval: what to print, after the fit.
    Attributes:
      weights_: (K,).
      means_: (K, D).
      covariances_, precisions_, precisions_cholesky_: (K, D, D), (D, D), (K, D) or (K,).
      converged_, n_iter_, lower_bound_, lower_bounds_: of the best start.
      model_: the likelax model.
    Raises:
      ValueError: by `fit`; see there.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 9.2.2.

    Examples:
      >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
      >>> found = GaussianMixture(n_components=2, random_state=0).fit(X)
      >>> print(np.sort(found.means_[:, 0]))
      [ 1. 10.]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def bic(self, X: Any) -> float:
        """Bayesian information criterion of the data, nats: the lower, the better.

        See the example of the class.

        Args:
          X: (N, D).
        Raises:
          NotFittedError: before `fit`.
        """
        log_prob = self.score_samples(X)
        return float(-2 * log_prob.sum() + self._n_parameters() * np.log(len(log_prob)))

    def aic(self, X: Any) -> float:
        """Akaike information criterion of the data, nats: the lower, the better.

        See the example of the class.

        Args:
          X: (N, D).
        Raises:
          NotFittedError: before `fit`.
        """
        return float(-2 * self.score_samples(X).sum() + 2 * self._n_parameters())

    def _n_parameters(self) -> int:
        with computing(self.means_.dtype):
            return int(num_parameters(self._model(self.means_.dtype)))

    def _prepare(self, X: np.ndarray, weights: Any) -> None:
        num_dims = X.shape[1]
        size, kind = self.n_components, self.covariance_type
        proportions = means = roots = None
        if self.weights_init is not None:
            proportions = _given("weights", self.weights_init, (size,), X.dtype)
            if np.any(proportions < 0) or np.any(proportions > 1):
                raise ValueError(
                    "The parameter 'weights' should be in the range [0, 1], but got max value "
                    f"{np.min(proportions):.5f}, min value {np.max(proportions):.5f}"
                )
            total = np.sum(proportions)
            if not np.allclose(np.abs(1 - total), 0, atol=1e-6 if X.dtype == np.float32 else 1e-8):
                raise ValueError(
                    "The parameter 'weights' should be normalized, but got sum(weights) = "
                    f"{total:.5f}"
                )
        if self.means_init is not None:
            means = _given("means", self.means_init, (size, num_dims), X.dtype)
        if self.precisions_init is not None:
            shape = {
                "full": (size, num_dims, num_dims),
                "tied": (num_dims, num_dims),
                "diag": (size, num_dims),
                "spherical": (size,),
            }[kind]
            roots = _precision_roots(
                _given(f"{kind} precision", self.precisions_init, shape, X.dtype), kind
            )
        self._given = proportions, means, roots

    def _compiles_long(self, X: np.ndarray) -> bool:
        # with whole covariances most of an E step are matrix products, which a processor does by a
        # library, however the rest is compiled: what is done for each row and component
        dense = self.covariance_type in ("full", "tied") and jax.default_backend() == "cpu"
        return super()._compiles_long(X) or (dense and len(X) * self.n_components <= _MANY)

    def _starts_given(self) -> bool:
        given = self.weights_init, self.means_init, self.precisions_init
        return any(part is not None for part in given)

    def _starts(self, algorithm: RowEM, data: Data, X: np.ndarray, weights: Any) -> list[Start]:
        proportions, means, roots = given = self.__dict__.pop("_given")
        if all(part is not None for part in given):
            model = _build(proportions, means, roots, self.covariance_type)
            none = np.zeros((1, self.n_components), X.dtype)
            stats = statistics_of(X[:1], none, self.covariance_type)
            return [Start(model, stats)] * self.n_init
        starts = super()._starts(algorithm, data, X, weights)
        if not algorithm.given:
            return starts
        shape = (self.n_components, X.shape[1])
        found = []
        for start in starts:
            model = first_model(algorithm, start, data.prior)
            parts = [np.asarray(leaf) for leaf in _leaves(model)]
            if proportions is not None:
                parts[0] = proportions
            if means is not None:
                parts[1] = means
            if roots is not None:
                parts[2] = _scales(roots, self.covariance_type, shape)
            model = jax.tree.unflatten(jax.tree.structure(model), parts)
            found.append(Start(model, start.stats))
        return found

    def _template(self, num_dims: int, dtype: Any) -> Mixture:
        size, kind = self.n_components, self.covariance_type
        roots = {
            "full": np.broadcast_to(np.eye(num_dims, dtype=dtype), (size, num_dims, num_dims)),
            "tied": np.eye(num_dims, dtype=dtype),
            "diag": np.ones((size, num_dims), dtype),
            "spherical": np.ones(size, dtype),
        }[kind]
        return _build(
            np.full(size, 1 / size, dtype), np.zeros((size, num_dims), dtype), roots, kind
        )

    def _model(self, dtype: Any) -> Mixture:
        parts = (self.weights_, self.means_, self.precisions_cholesky_)
        weights, means, roots = (np.asarray(part, dtype) for part in parts)
        return _build(weights, means, roots, self.covariance_type)

    def _read(self, model: Mixture) -> None:
        self.weights_, self.means_, scales = _leaves(model)
        kind = self.covariance_type
        if kind in ("full", "tied"):
            tril = scales[0] if kind == "tied" else scales
            self.covariances_ = tril @ np.swapaxes(tril, -1, -2)
            self.precisions_cholesky_ = np.triu(np.swapaxes(np.linalg.inv(tril), -1, -2))
        else:
            self.covariances_ = scales**2
            self.precisions_cholesky_ = 1 / scales
        self.precisions_ = precisions(self.precisions_cholesky_, kind)


_MANY = 2**20
"""N K up to which a step is slower without optimizations by at most 1% of the time that they take."""


def _leaves(model: Mixture) -> list[Any]:
    """[weights, means, scales] of any covariance type."""
    return jax.tree.leaves(model)


def _build(proportions: Any, means: Any, roots: Any, kind: str) -> Mixture:
    """The mixture of scikit-learn's parameters, with NumPy arrays."""
    scales: Any = _scales(roots, kind, means.shape)
    components: Any = {
        "full": lambda: MvNormal(means, scales),
        "tied": lambda: Tied(MvNormal(means, scales)),
        "diag": lambda: Independent(Normal(means, scales)),
        "spherical": lambda: SphericalNormal(means, scales),
    }[kind]()
    weights: Any = np.asarray(proportions, means.dtype)
    return Mixture(weights, components)


def _scales(roots: np.ndarray, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """The scales of the components from `precisions_cholesky_`."""
    return lower_triangles(roots, kind, shape) if kind in ("full", "tied") else 1 / roots


def _given(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    value = np.array(value, dtype)
    if value.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {value.shape}"
        )
    if not np.all(np.isfinite(value)):
        raise ValueError(f"The parameter '{name}' contains NaN or infinity.")
    return value


def _precision_roots(given: np.ndarray, kind: str) -> np.ndarray:
    """`precisions_cholesky_` of given precisions."""
    if kind in ("full", "tied"):
        symmetric = np.allclose(given, np.swapaxes(given, -1, -2))
        if not symmetric or np.any(np.linalg.eigvalsh(given) <= 0):
            raise ValueError(f"'{kind} precision' should be symmetric, positive-definite")
        return precision_roots(np.linalg.inv(given), kind)
    if np.any(given <= 0):
        raise ValueError(f"'{kind} precision' should be positive")
    return np.sqrt(given)
