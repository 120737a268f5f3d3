"""`GaussianHMM` with hmmlearn's arguments and attributes."""

from typing import Any

import numpy as np

from likelax.families import MvNormal, Normal
from likelax.hmm.prior import HMMStats
from likelax.interop.clusters import clusters
from likelax.interop.hmmlearn.base import BaseHMM
from likelax.product import Independent

COVARIANCES = ("spherical", "diag", "full", "tied")


def check_covariance_type(kind: object) -> None:
    """Raise ValueError for a kind of covariances that does not exist."""
    if kind not in COVARIANCES:
        raise ValueError(f"covariance_type must be one of {COVARIANCES}, got {kind!r}")


class GaussianHMM(BaseHMM):
    """A hidden Markov model with Gaussian emissions: `hmmlearn.hmm.GaussianHMM`.

    Args:
      n_components: K.
      covariance_type: "spherical", "diag", "full" or "tied".
      min_covar: added to the diagonal of the first covariances.
      startprob_prior, transmat_prior: as for `BaseHMM`.
      means_prior, means_weight: mean and weight of normal priors over the means.
      covars_prior, covars_weight: scale and weight of priors over the covariances.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t, m and c.
    Attributes:
      means_: (K, D).
      covars_: (K, D, D); it is set in the shape of `covariance_type`.
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> X = np.array([0.0, 0.1, 0.2, 9.0, 9.1, 9.2, 0.1, 0.0])[:, None]
      >>> found = GaussianHMM(2, random_state=0).fit(X)
      >>> print(np.sort(found.means_[:, 0]).round(2))
      [0.08 9.1 ]
    """

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        means_prior: Any = 0,
        means_weight: Any = 0,
        covars_prior: Any = 1e-2,
        covars_weight: Any = 1,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmc",
        init_params: str = "stmc",
        implementation: str = "log",
    ) -> None:
        super().__init__(
            n_components=n_components,
            startprob_prior=startprob_prior,
            transmat_prior=transmat_prior,
            algorithm=algorithm,
            random_state=random_state,
            n_iter=n_iter,
            tol=tol,
            verbose=verbose,
            params=params,
            init_params=init_params,
            implementation=implementation,
        )
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight

    @property
    def covars_(self) -> np.ndarray:
        """Covariances as matrices, (K, D, D)."""
        size, num_dims = self.means_.shape
        covars = self._covars_
        if self.covariance_type == "full":
            return covars
        if self.covariance_type == "tied":
            return np.broadcast_to(covars, (size, num_dims, num_dims)).copy()
        if covars.ndim == 1:
            covars = covars[:, None]
        return np.broadcast_to(covars, (size, num_dims))[..., None] * np.eye(num_dims)

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        covars = np.array(covars, np.float64)
        kind, size = self.covariance_type, self.n_components
        check_covariance_type(kind)
        if kind == "spherical" and covars.size == size:
            covars = covars.reshape(size)
        axes = {"spherical": (1, 2), "tied": (2,), "diag": (2,), "full": (3,)}[kind]
        if covars.ndim not in axes or (kind != "tied" and len(covars) != size):
            raise ValueError(f"{kind!r} covars must have another shape than {covars.shape}")
        if kind in ("full", "tied"):
            symmetric = np.allclose(covars, np.swapaxes(covars, -1, -2))
            if not symmetric or np.any(np.linalg.eigvalsh(covars) <= 0):
                raise ValueError(f"{kind!r} covars must be symmetric, positive-definite")
        elif np.any(covars <= 0):
            raise ValueError(f"{kind!r} covars must be positive")
        self._covars_ = covars

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        super()._start(X, rng)
        check_covariance_type(self.covariance_type)
        size, num_dims = self.n_components, X.shape[1]
        if self._starts_with("m", "means_"):
            found = clusters(X, size, self.random_state, num_starts=10)
            self.means_ = found.cluster_centers_
        if self._starts_with("c", "_covars_"):
            whole = np.atleast_2d(np.cov(X.T)) + self.min_covar * np.eye(num_dims)
            self._covars_ = {
                "spherical": np.full((size, num_dims), whole.mean()),
                "tied": whole,
                "diag": np.tile(np.diag(whole), (size, 1)),
                "full": np.tile(whole, (size, 1, 1)),
            }[self.covariance_type]

    def _check(self) -> None:
        super()._check()
        check_covariance_type(self.covariance_type)
        self.means_ = np.asarray(self.means_, np.float64)
        self.n_features = self.means_.shape[1]

    def _emissions(self) -> Any:
        means: Any = self.means_
        if self.covariance_type in ("full", "tied"):
            tril: Any = cholesky_roots(self.covars_)
            return MvNormal(means, tril)
        scales: Any = np.sqrt(np.diagonal(self.covars_, axis1=-2, axis2=-1))
        return Independent(Normal(means, scales))

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multivariate_normal(self.means_[state], self.covars_[state])

    def _m_step(self, stats: HMMStats) -> None:
        super()._m_step(stats)
        moments, kind = stats.emissions, self.covariance_type
        weight = moments.weight if moments.weight.ndim == 1 else moments.weight[:, 0]
        each = weight[:, None]
        pull = self.means_weight
        if "m" in self.params:
            total = pull + each
            new = (pull * self.means_prior + each * moments.mean) / np.where(total > 0, total, 1)
            self.means_ = np.where(total > 0, new, self.means_)
        if "c" not in self.params:
            return
        away, apart = self.means_ - self.means_prior, moments.mean - self.means_
        if kind in ("spherical", "diag"):
            scatter = pull * away**2 + moments.scatter + each * apart**2
            added = max(self.covars_weight - 1, 0)
            covars = (self.covars_prior + scatter) / np.maximum(added + each, 1e-5)
            if kind == "spherical":
                covars = np.broadcast_to(covars.mean(axis=1, keepdims=True), covars.shape).copy()
        else:
            heavy = weight[:, None, None]
            scatter = pull * _outer(away) + moments.scatter + heavy * _outer(apart)
            added = max(self.covars_weight - self.means_.shape[1], 0)
            if kind == "tied":
                covars = (self.covars_prior + scatter.sum(axis=0)) / (added + weight.sum())
            else:
                covars = (self.covars_prior + scatter) / (added + heavy)
        self._covars_ = covars

    def _num_emission_parameters(self) -> int:
        size, num_dims = self.means_.shape
        square = num_dims * (num_dims + 1) // 2
        spread = {
            "spherical": size,
            "diag": size * num_dims,
            "full": size * square,
            "tied": square,
        }[self.covariance_type]
        return size * num_dims + spread


def cholesky_roots(covars: np.ndarray) -> np.ndarray:
    """Cholesky factors of covariances; hmmlearn adds 1e-7 to the variances of a matrix without one.

    Args:
      covars: (..., D, D).
    Raises:
      ValueError: for a matrix that has none then either.

    Examples:
      >>> print(f"{cholesky_roots(np.zeros((1, 1)))[0, 0]:.6f}")
      0.000316
    """
    try:
        return np.linalg.cholesky(covars)
    except np.linalg.LinAlgError:
        flat = covars.reshape(-1, *covars.shape[-2:])
    return np.stack([_root(matrix) for matrix in flat]).reshape(covars.shape)


def _root(matrix: np.ndarray) -> np.ndarray:
    for added in (0.0, 1e-7):
        try:
            return np.linalg.cholesky(matrix + added * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            continue
    raise ValueError("covars must be symmetric, positive-definite: a state collapsed")


def _outer(rows: np.ndarray) -> np.ndarray:
    return rows[:, :, None] * rows[:, None, :]
