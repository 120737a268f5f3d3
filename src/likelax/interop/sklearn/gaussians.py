"""What the two Gaussian mixtures share: starts, fits, predictions."""

import warnings
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from likelax.fit import Status, best
from likelax.fit import lanes as batches
from likelax.fit.algorithm import Data, run_steps
from likelax.interop.arguments import check_choice, check_flag, check_number
from likelax.interop.clusters import are_few, clusters
from likelax.interop.sklearn.precision import FLOATS, computing, to_numpy
from likelax.interop.sklearn.rows import RowEM, Start, statistics_of
from likelax.model import Model

COVARIANCES = ("full", "tied", "diag", "spherical")
STARTS = ("kmeans", "k-means++", "random", "random_from_data")


class GaussianEstimator(DensityMixin, BaseEstimator):
    """The fit and the predictions of a mixture of Gaussians.

    A subclass gives the model before any data, the prior, the given parameters of a start, and the
    translation between a model and scikit-learn's attributes.
    """

    n_components: int
    covariance_type: str
    tol: float
    reg_covar: float
    max_iter: int
    n_init: int
    init_params: str
    random_state: Any
    warm_start: bool
    verbose: int
    verbose_interval: int

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM, from `n_init` starts in one program, and keep the best.

        Args:
          X: (N, D) finite.
          y: not used.
          sample_weight: (N,) non-negative, or None for ones.
        Raises:
          ValueError: for arguments out of range, fewer rows than components, or a component that
            collapsed.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and return the most probable component of each row.

        Args:
          X, y, sample_weight: as for `fit`.
        """
        return self._predict(self._fit(X, sample_weight))

    def _fit(self, X: Any, sample_weight: Any) -> np.ndarray:
        """Fit, and return the rows as they were read."""
        self._check_arguments()
        X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        if X.shape[0] < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {X.shape[0]}"
            )
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        again = self.warm_start and hasattr(self, "converged_")
        with computing(X.dtype):
            prior = self._prepare(X, weights)
            fits = self._fits(X, weights, prior, again)
            found = to_numpy(fits if fits.status.ndim == 0 else best(fits))
            self._say(fits)
            if found.status == Status.COLLAPSED:
                raise ValueError(
                    "Fitting the mixture model failed because some components have ill-defined "
                    "empirical covariance (for instance caused by singleton or collapsed samples). "
                    "Try to decrease the number of components, increase reg_covar, or scale the "
                    "input data."
                )
            self.n_iter_ = int(found.num_steps)
            trace = found.objectives[1 : self.n_iter_ + 1]
            self._read(found.model)
        self.converged_ = bool(found.status == Status.CONVERGED)
        self.lower_bounds_ = trace.tolist()
        self.lower_bound_ = float(found.objective) if self.n_iter_ else -np.inf
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return X

    def _fits(self, X: np.ndarray, weights: Any, prior: Any, again: bool) -> Any:
        """A `Fit`, or `Fit`s with a leading axis of starts."""
        previous = self.lower_bound_ if again else -np.inf
        algorithm = RowEM(
            X.dtype.type(self.tol),
            np.int32(self.max_iter),
            X.dtype.type(self.reg_covar),
            X.dtype.type(previous),
            prior is not None and self.covariance_type == "tied",
            again or self._starts_given(),
        )
        data = Data(X, weights, prior)
        quick = self._compiles_long(X)
        if again:
            shares = np.zeros((1, self.n_components), X.dtype)
            stats = statistics_of(X[:1], shares, self.covariance_type)
            return run_steps(algorithm, Start(self._model(X.dtype), stats), data, quick=quick)
        starts = self._starts(algorithm, data, X, weights)
        if self.n_init == 1:
            return run_steps(algorithm, starts[0], data, quick=quick)
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *starts)
        return batches.run(algorithm, stacked, data, batches.COMMON)

    def _compiles_long(self, X: np.ndarray) -> bool:
        """Whether the compilation of a fit to X is likely to take longer than the fit."""
        return are_few(X, self.n_components)

    def _starts(self, algorithm: RowEM, data: Data, X: np.ndarray, weights: Any) -> list[Start]:
        """`n_init` starts."""
        rng = check_random_state(self.random_state)
        template = self._template(X.shape[1], X.dtype)
        starts = []
        for _ in range(self.n_init):
            shares = self._shares(X, weights, rng)
            if weights is not None:
                shares = shares * weights[:, None]
            stats = statistics_of(X, shares, self.covariance_type)
            starts.append(Start(template, stats))
        return starts

    def _shares(self, X: np.ndarray, weights: Any, rng: np.random.RandomState) -> np.ndarray:
        """Responsibilities (N, K) of a start, from the same random numbers as scikit-learn's."""
        num_rows, size = X.shape[0], self.n_components
        if self.init_params == "random":
            drawn = rng.uniform(size=(num_rows, size)).astype(X.dtype)
            return drawn / drawn.sum(axis=1, keepdims=True)
        shares = np.zeros((num_rows, size), X.dtype)
        if self.init_params == "kmeans":
            means = clusters(X, size, rng, weights=weights)
            shares[np.arange(num_rows), means.labels_] = 1
        elif self.init_params == "k-means++":
            _, rows = kmeans_plusplus(X, size, sample_weight=weights, random_state=rng)
            shares[rows, np.arange(size)] = 1
        else:
            rows = rng.choice(num_rows, size=size, replace=False)
            shares[rows, np.arange(size)] = 1
        return shares

    def score_samples(self, X: Any) -> np.ndarray:
        """Log likelihood of each row, (N,) nats.

        Args:
          X: (N, D).
        """
        X = self._rows(X)
        with computing(self.means_.dtype):
            return np.array(self._model(self.means_.dtype).log_prob(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log likelihood of a row, nats.

        Args:
          X: (N, D).
          y: not used.
        """
        return float(np.mean(self.score_samples(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of each row, integers (N,).

        Args:
          X: (N, D).
        """
        return self._predict(self._rows(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probabilities of the components, (N, K).

        Args:
          X: (N, D).
        """
        X = self._rows(X)
        with computing(self.means_.dtype):
            return np.exp(np.asarray(self._model(self.means_.dtype).log_responsibilities(X)))

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draws (n_samples, D), in the order of their components, and the components (n_samples,).

        Args:
          n_samples: at least 1.
        Raises:
          ValueError: for fewer.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample."
            )
        rng = check_random_state(self.random_state)
        proportions = np.asarray(self.weights_, np.float64)
        counts = rng.multinomial(n_samples, proportions / proportions.sum())
        labels = np.repeat(np.arange(len(counts)), counts)
        white = rng.standard_normal((n_samples, self.means_.shape[1])).astype(self.means_.dtype)
        roots = lower_triangles(self.precisions_cholesky_, self.covariance_type, self.means_.shape)
        return self.means_[labels] + np.einsum("nij,nj->ni", roots[labels], white), labels

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are parameters."""
        return hasattr(self, "means_")

    @property
    def model_(self) -> Model:
        """The likelax model, in JAX's current floating type."""
        check_is_fitted(self)
        return self._model(np.dtype(jnp.result_type(float)))

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return X.astype(self.means_.dtype, copy=False)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        with computing(self.means_.dtype):
            log_resp = self._model(self.means_.dtype).log_responsibilities(X)
        return np.argmax(np.asarray(log_resp), axis=-1)

    def _check_arguments(self) -> None:
        for name in ("n_components", "n_init", "verbose_interval"):
            check_number(self, name, least=1, integer=True)
        for name in ("tol", "reg_covar"):
            check_number(self, name)
        check_number(self, "max_iter", integer=True)
        check_choice(self, "covariance_type", COVARIANCES)
        check_choice(self, "init_params", STARTS)
        check_flag(self, "warm_start")

    def _say(self, fits: Any) -> None:
        """Report the steps of each start, after the fact: all of them ran in one program."""
        if not self.verbose:
            return
        bounds = np.atleast_2d(fits.objectives)[:, 1:]
        steps, status = np.atleast_1d(fits.num_steps), np.atleast_1d(fits.status)
        for run in range(len(steps)):
            lines = [f"Initialization {run}"]
            changes = np.diff(bounds[run, : steps[run]], prepend=-np.inf)
            for step in range(self.verbose_interval, steps[run] + 1, self.verbose_interval):
                more = f"\t ll change {changes[step - 1]:.5f}" if self.verbose >= 2 else ""
                lines.append(f"  Iteration {step}{more}")
            met = "converged" if status[run] == Status.CONVERGED else "did not converge"
            more = f" lower bound {bounds[run, -1]:.5f}." if self.verbose >= 2 else ""
            print("\n".join([*lines, f"Initialization {met}.{more}"]))  # noqa: T201

    def _prepare(self, X: np.ndarray, weights: Any) -> Any:
        """Check the arguments against the data, and return the prior."""
        raise NotImplementedError

    def _starts_given(self) -> bool:
        """Whether the starts are models, rather than statistics."""
        return False

    def _template(self, num_dims: int, dtype: Any) -> Any:
        """A model of the right type; its values hold for components without rows."""
        raise NotImplementedError

    def _model(self, dtype: Any) -> Any:
        """The model of the attributes."""
        raise NotImplementedError

    def _read(self, model: Any) -> None:
        """Set the attributes to the model's parameters."""
        raise NotImplementedError


def lower_triangles(roots: np.ndarray, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Cholesky factors (K, D, D) of the covariances.

    Args:
      roots: `precisions_cholesky_`.
      kind: `covariance_type`.
      shape: (K, D).
    """
    num_components, num_dims = shape
    if kind in ("full", "tied"):
        tril = np.swapaxes(np.linalg.inv(roots), -1, -2)
        return np.broadcast_to(tril, (num_components, num_dims, num_dims))
    scales = np.broadcast_to((1 / roots).reshape(num_components, -1), shape)
    return scales[..., None] * np.eye(num_dims, dtype=roots.dtype)


def precision_roots(covariances: np.ndarray, kind: str) -> np.ndarray:
    """`precisions_cholesky_`, the upper triangular U of precision = U U^T.

    Args:
      covariances: `covariances_`.
      kind: `covariance_type`.
    """
    if kind in ("full", "tied"):
        tril = np.linalg.cholesky(covariances)
        return np.triu(np.swapaxes(np.linalg.inv(tril), -1, -2))
    return 1 / np.sqrt(covariances)


def precisions(roots: np.ndarray, kind: str) -> np.ndarray:
    """`precisions_` from `precisions_cholesky_`.

    Args:
      roots: `precisions_cholesky_`.
      kind: `covariance_type`.
    """
    return roots @ np.swapaxes(roots, -1, -2) if kind in ("full", "tied") else roots**2
