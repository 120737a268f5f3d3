"""`BayesianGaussianMixture` with scikit-learn's arguments and attributes."""

from typing import Any

import numpy as np

from likelax.families import (
    Dirichlet,
    MvNormal,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    SphericalNormal,
)
from likelax.interop.arguments import check_choice, check_number
from likelax.interop.sklearn.gaussians import GaussianEstimator, precision_roots, precisions
from likelax.mixture import MixturePrior
from likelax.product import Independent
from likelax.variational_node import StickBreaking, Variational, VariationalMixture

PROCESSES = ("dirichlet_process", "dirichlet_distribution")


class BayesianGaussianMixture(GaussianEstimator):
    """A mixture of Gaussians by variational Bayes: `sklearn.mixture.BayesianGaussianMixture`.

    Arguments, defaults and attributes are scikit-learn's. For "full" and "tied" the fitted numbers are
    its own too. For "diag" and "spherical" they are those of the exact coordinate ascent, whose bound
    never falls, where scikit-learn takes the terms of a Wishart distribution over full matrices.
    `lower_bound_` is the evidence lower bound in nats, where scikit-learn leaves constants out.

    Args:
      n_components: K, at most.
      covariance_type: "full", "tied", "diag" or "spherical".
      tol: smallest change of the evidence lower bound, nats.
      reg_covar: added to every variance.
      max_iter: most steps.
      n_init: number of starts, which run as one batch.
      init_params: "kmeans", "k-means++", "random" or "random_from_data".
      weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
      weight_concentration_prior: positive; None: 1 / K.
      mean_precision_prior: positive; None: 1.
      mean_prior: (D,); None: the mean of the data.
      degrees_of_freedom_prior: above D - 1; None: D.
      covariance_prior: in the shape of one covariance; None: that of the data.
      random_state: as in scikit-learn.
      warm_start: start from the last fit.
      verbose, verbose_interval: what to print, after the fit.
    Attributes:
      weights_, means_, covariances_, precisions_, precisions_cholesky_: posterior expectations, as
        in scikit-learn.
      weight_concentration_, mean_precision_, degrees_of_freedom_: of the posterior.
      converged_, n_iter_, lower_bound_, lower_bounds_: of the best start.
      model_: the likelax model.
    Raises:
      ValueError: by `fit`; see there.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2; Blei & Jordan (2006),
      Bayesian Analysis 1, 121-143.

    Examples:
      >>> X = [[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]]
      >>> found = BayesianGaussianMixture(n_components=2, random_state=42).fit(X)
      >>> print(found.predict([[0, 0], [12, 3]]) == found.predict([[1, 2], [10, 7]]))
      [ True  True]
    """

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
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
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_choice(self, "weight_concentration_prior_type", PROCESSES)
        for name in (
            "weight_concentration_prior",
            "mean_precision_prior",
            "degrees_of_freedom_prior",
        ):
            check_number(self, name, above=True, optional=True)

    def _prepare(self, X: np.ndarray, weights: Any) -> MixturePrior:
        num_dims, kind, dtype = X.shape[1], self.covariance_type, X.dtype
        self.weight_concentration_prior_ = _either(
            self.weight_concentration_prior, 1.0 / self.n_components
        )
        self.mean_precision_prior_ = _either(self.mean_precision_prior, 1.0)
        self.degrees_of_freedom_prior_ = _either(self.degrees_of_freedom_prior, num_dims)
        if self.degrees_of_freedom_prior_ <= num_dims - 1:
            raise ValueError(
                "The parameter 'degrees_of_freedom_prior' should be greater than "
                f"{num_dims - 1}, but got {self.degrees_of_freedom_prior_:.3f}."
            )
        if self.mean_prior is None:
            self.mean_prior_ = np.average(X, axis=0, weights=weights).astype(dtype)
        else:
            self.mean_prior_ = _shaped("means", self.mean_prior, (num_dims,), dtype)
        shape = {"full": (num_dims,) * 2, "tied": (num_dims,) * 2, "diag": (num_dims,)}.get(
            kind, ()
        )
        if self.covariance_prior is None:
            self.covariance_prior_ = _spread(X, weights, kind, self.reg_covar)
        else:
            name = f"{kind} covariance_prior"
            self.covariance_prior_ = _shaped(name, self.covariance_prior, shape, dtype)
            if len(shape) == 2:
                matrix = self.covariance_prior_
                if not np.allclose(matrix, matrix.T) or np.any(np.linalg.eigvalsh(matrix) <= 0):
                    raise ValueError(f"'{kind} precision' should be symmetric, positive-definite")
            elif np.any(self.covariance_prior_ <= 0):
                raise ValueError(f"'{kind} precision' should be positive")
        return self._prior(num_dims, dtype)

    def _prior(self, num_dims: int, dtype: Any) -> MixturePrior:
        size = self.n_components
        ones: Any = np.ones(size, dtype)
        concentration: Any = np.full(size, self.weight_concentration_prior_, dtype)
        over_weights: Any = Dirichlet(concentration)
        if self.weight_concentration_prior_type == "dirichlet_process":
            over_weights = StickBreaking(ones, concentration)
        components = _components(
            np.broadcast_to(self.mean_prior_, (size, num_dims)),
            np.full(size, self.mean_precision_prior_),
            np.full(size, self.degrees_of_freedom_prior_),
            np.broadcast_to(self.covariance_prior_, (size, *np.shape(self.covariance_prior_))),
            self.covariance_type,
            dtype,
        )
        return MixturePrior(over_weights, _posterior(components))

    def _template(self, num_dims: int, dtype: Any) -> VariationalMixture:
        prior: Any = self._prior(num_dims, dtype)
        likelihood = _likelihood(self.n_components, num_dims, self.covariance_type, dtype)
        return VariationalMixture(prior.weights, _wrapped(prior.components, likelihood))

    def _model(self, dtype: Any) -> VariationalMixture:
        size, num_dims = self.means_.shape
        concentration: Any = np.asarray(self.weight_concentration_, dtype)
        if self.weight_concentration_prior_type == "dirichlet_process":
            over_weights: Any = StickBreaking(*concentration)
        else:
            over_weights = Dirichlet(concentration)
        kind = self.covariance_type
        dof = np.broadcast_to(self.degrees_of_freedom_, (size,))
        covariances: Any = self.covariances_
        if kind == "tied":
            covariances = np.broadcast_to(covariances, (size, num_dims, num_dims))
        scale = covariances * dof.reshape(-1, *(1,) * (covariances.ndim - 1))
        components = _components(self.means_, self.mean_precision_, dof, scale, kind, dtype)
        return VariationalMixture(over_weights, components)

    def _read(self, model: Any) -> None:
        posterior, kind = _posterior(model.components), self.covariance_type
        if isinstance(model.weights, StickBreaking):
            self.weight_concentration_: Any = (model.weights.alpha, model.weights.beta)
            v = model.weights.alpha / (model.weights.alpha + model.weights.beta)
            weights = v * np.concatenate([np.ones_like(v[:1]), np.cumprod(1 - v)[:-1]])
        else:
            self.weight_concentration_ = weights = model.weights.concentration
        self.weights_ = weights / np.sum(weights)
        if isinstance(posterior, NormalInverseWishart):
            self.means_, self.mean_precision_ = posterior.loc, posterior.kappa
            self.degrees_of_freedom_ = posterior.dof
            self.covariances_ = posterior.scale / posterior.dof[:, None, None]
            if kind == "tied":
                self.degrees_of_freedom_ = posterior.dof[0]
                self.covariances_ = self.covariances_[0]
        else:
            inner = posterior.component if kind == "diag" else posterior
            self.means_ = inner.loc
            self.mean_precision_ = inner.kappa[:, 0] if kind == "diag" else inner.kappa
            shape = inner.alpha[:, 0] if kind == "diag" else inner.alpha
            self.degrees_of_freedom_ = 2 * shape
            self.covariances_ = inner.beta / inner.alpha
        self.precisions_cholesky_ = precision_roots(np.asarray(self.covariances_), kind)
        self.precisions_ = precisions(self.precisions_cholesky_, kind)


def _components(loc: Any, kappa: Any, dof: Any, scale: Any, kind: str, dtype: Any) -> Any:
    """K posteriors over components, stacked.

    Args:
      loc: (K, D).
      kappa, dof: (K,).
      scale: (K, D, D), (K, D) or (K,): dof times the expected covariance.
      kind: `covariance_type`.
      dtype: of the result.
    """
    loc, kappa, dof, scale = (np.asarray(part, dtype) for part in (loc, kappa, dof, scale))
    size, num_dims = loc.shape
    posterior: Any
    if kind in ("full", "tied"):
        posterior = NormalInverseWishart(loc, kappa, dof, scale)
    elif kind == "diag":
        wide: Any = [np.broadcast_to(p[:, None], loc.shape) for p in (kappa, dof / 2)]
        kappa, shape = wide
        each: Any = NormalInverseGamma(loc, kappa, shape, scale / 2)
        posterior = Independent(each)
    else:
        posterior = NormalInverseGamma(loc, kappa, dof / 2, scale / 2)
    return _wrapped(posterior, _likelihood(size, num_dims, kind, dtype))


def _likelihood(size: int, num_dims: int, kind: str, dtype: Any) -> Any:
    """A model of the family, of which only the type and the shape count."""
    loc: Any = np.zeros((size, num_dims), dtype)
    if kind in ("full", "tied"):
        eye: Any = np.broadcast_to(np.eye(num_dims, dtype=dtype), (*loc.shape, num_dims))
        return MvNormal(loc, eye)
    ones: Any = np.ones_like(loc)
    return Normal(loc, ones) if kind == "diag" else SphericalNormal(loc, ones[:, 0])


def _wrapped(posterior: Any, likelihood: Any) -> Any:
    if isinstance(posterior, Independent):
        return Independent(Variational(posterior.component, likelihood))
    return Variational(posterior, likelihood)


def _posterior(components: Any) -> Any:
    """The posterior of a component, in the form of a prior."""
    if isinstance(components, Independent):
        return Independent(components.component.posterior)
    return components.posterior


def _either(value: Any, default: Any) -> Any:
    return default if value is None else value


def _shaped(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    value = np.asarray(value, dtype)
    if value.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {value.shape}"
        )
    return value


def _spread(X: np.ndarray, weights: Any, kind: str, ridge: float) -> Any:
    """The covariance of the data in the shape of one component's, with N - 1 in place of N.

    Where it is singular the ridge is added: with a singular prior there is no lower bound.
    """
    num_dims = X.shape[1]
    weights = np.ones(len(X), X.dtype) if weights is None else weights
    gap = X - np.average(X, axis=0, weights=weights)
    scatter = (weights[:, None] * gap).T @ gap / (weights.sum() - 1)
    if kind in ("full", "tied"):
        if np.linalg.matrix_rank(scatter, hermitian=True) < num_dims:
            scatter = scatter + ridge * np.eye(num_dims, dtype=X.dtype)
        return scatter
    variances = np.diag(scatter) if kind == "diag" else np.diag(scatter).mean()
    return variances if np.all(variances > 0) else variances + X.dtype.type(ridge)
