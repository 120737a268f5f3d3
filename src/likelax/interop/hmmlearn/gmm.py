"""`GMMHMM` with hmmlearn's arguments and attributes."""

from typing import Any

import numpy as np

from likelax.families import MvNormal, Normal
from likelax.hmm.prior import HMMStats
from likelax.interop.clusters import clusters
from likelax.interop.hmmlearn.base import BaseHMM, check_simplex
from likelax.interop.hmmlearn.gaussian import check_covariance_type, cholesky_roots
from likelax.mixture import Mixture
from likelax.product import Independent


class GMMHMM(BaseHMM):
    """A hidden Markov model with Gaussian mixtures as emissions: `hmmlearn.hmm.GMMHMM`.

    Args:
      n_components: K, the number of states.
      n_mix: M, the number of Gaussians of each state.
      min_covar: added to the diagonal of the first covariances.
      startprob_prior, transmat_prior: as for `BaseHMM`.
      weights_prior: concentration of Dirichlet priors over the weights.
      means_prior, means_weight: mean and weight of normal priors over the means.
      covars_prior, covars_weight: of priors over the covariances, as in hmmlearn; None: flat.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t, m, c and w.
      covariance_type: "spherical", "diag", "full", or "tied" within each state.
    Attributes:
      weights_: (K, M).
      means_: (K, M, D).
      covars_: (K, M), (K, M, D), (K, M, D, D) or, if tied, (K, D, D).
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> X = np.array([0.0, 1.0, 0.2, 9.0, 8.0, 9.2, 0.1, 1.1])[:, None]
      >>> found = GMMHMM(2, n_mix=1, random_state=0).fit(X)
      >>> print(np.sort(found.means_[:, 0, 0]).round(2))
      [0.48 8.73]
    """

    def __init__(
        self,
        n_components: int = 1,
        n_mix: int = 1,
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        weights_prior: Any = 1.0,
        means_prior: Any = 0.0,
        means_weight: Any = 0.0,
        covars_prior: Any = None,
        covars_weight: Any = None,
        algorithm: str = "viterbi",
        covariance_type: str = "diag",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmcw",
        init_params: str = "stmcw",
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
        self.n_mix = n_mix
        self.min_covar = min_covar
        self.weights_prior = weights_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.covariance_type = covariance_type

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        super()._start(X, rng)
        check_covariance_type(self.covariance_type)
        size, num_mix, num_dims = self.n_components, self.n_mix, X.shape[1]
        whole = np.atleast_2d(np.cov(X.T)) + self.min_covar * np.eye(num_dims)
        if self._starts_with("w", "weights_"):
            self.weights_ = np.full((size, num_mix), 1 / num_mix)
        if self._starts_with("m", "means_"):
            found = clusters(X, size, self.random_state, num_starts=10)
            middle = found.cluster_centers_.mean(axis=0)
            means = []
            for state in range(size):
                rows = X[found.labels_ == state]
                if len(rows) >= num_mix:
                    inner = clusters(rows, num_mix, self.random_state, num_starts=10)
                    means.append(inner.cluster_centers_)
                else:
                    means.append(rng.multivariate_normal(middle, whole, size=num_mix))
            self.means_ = np.stack(means)
        if self._starts_with("c", "covars_"):
            self.covars_ = {
                "spherical": np.full((size, num_mix), whole.mean()),
                "tied": np.tile(whole, (size, 1, 1)),
                "diag": np.tile(np.diag(whole), (size, num_mix, 1)),
                "full": np.tile(whole, (size, num_mix, 1, 1)),
            }[self.covariance_type]

    def _check(self) -> None:
        super()._check()
        check_covariance_type(self.covariance_type)
        shape = (self.n_components, self.n_mix)
        self.weights_ = check_simplex("weights_", self.weights_, shape, "(n_components, n_mix)")
        self.means_ = np.asarray(self.means_, np.float64)
        if self.means_.shape[:-1] != shape:
            raise ValueError(
                f"means_ must have shape (n_components, n_mix, n_features), got {self.means_.shape}"
            )
        self.n_features = num_dims = self.means_.shape[-1]
        self.covars_ = np.asarray(self.covars_, np.float64)
        wanted = {
            "spherical": shape,
            "tied": (shape[0], num_dims, num_dims),
            "diag": (*shape, num_dims),
            "full": (*shape, num_dims, num_dims),
        }[self.covariance_type]
        if self.covars_.shape != wanted:
            raise ValueError(
                f"{self.covariance_type!r} mixture covars must have shape {wanted}, "
                f"got {self.covars_.shape}"
            )

    def _emissions(self) -> Any:
        means: Any = self.means_
        weights: Any = self.weights_
        kind, covars = self.covariance_type, self.covars_
        if kind in ("full", "tied"):
            tril = cholesky_roots(covars[:, None] if kind == "tied" else covars)
            scales: Any = np.broadcast_to(tril, (*means.shape, means.shape[-1]))
            return Mixture(weights, MvNormal(means, scales))
        if kind == "spherical":
            covars = covars[..., None]
        scales = np.sqrt(np.broadcast_to(covars, means.shape))
        return Mixture(weights, Independent(Normal(means, scales)))

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        part = rng.choice(self.n_mix, p=self.weights_[state])
        covars = (
            self.covars_[state] if self.covariance_type == "tied" else self.covars_[state, part]
        )
        num_dims = self.means_.shape[-1]
        matrix = covars if np.ndim(covars) == 2 else covars * np.eye(num_dims)
        return rng.multivariate_normal(self.means_[state, part], matrix)

    def _m_step(self, stats: HMMStats) -> None:
        super()._m_step(stats)
        counts, moments = stats.emissions.weights.counts, stats.emissions.components
        pull = np.broadcast_to(self.means_weight, counts.shape)[..., None]
        each = counts[..., None]
        if "w" in self.params:
            shares = counts + self.weights_prior - 1
            total = shares.sum(axis=1, keepdims=True)
            new = shares / np.where(total > 0, total, 1)
            self.weights_ = np.where(total > 0, new, self.weights_)
        if "m" in self.params:
            total = pull + each
            new = (pull * self.means_prior + each * moments.mean) / np.where(total > 0, total, 1)
            self.means_ = np.where(total > 0, new, self.means_)
        if "c" in self.params:
            away, apart = self.means_ - self.means_prior, moments.mean - self.means_
            self.covars_ = self._covariances(counts, moments.scatter, away, apart, pull)

    def _covariances(
        self, counts: np.ndarray, scatter: Any, away: Any, apart: Any, pull: Any
    ) -> np.ndarray:
        """The covariances of the M step, about the new means.

        Args:
          counts: (K, M).
          scatter: of the rows of each Gaussian about their mean.
          away, apart: (K, M, D) the new means less those of the prior, and the means of rows less the new.
          pull: (K, M, 1) weights of the priors of the means.
        """
        num_dims, kind = away.shape[-1], self.covariance_type
        each = counts[..., None]
        prior, weight = self.covars_prior, self.covars_weight
        if kind in ("diag", "spherical"):
            square = pull * away**2 + scatter + each * apart**2
            shape, rate = _either(prior, -1.5), _either(weight, 0.0)
            if kind == "diag":
                return (square + 2 * rate) / (each + 1 + 2 * (shape + 1))
            shape = _either(prior, -(num_dims + 2) / 2)
            return (square.sum(axis=-1) + 2 * rate) / (num_dims * (counts + 1) + 2 * (shape + 1))
        heavy = each[..., None]
        matrix = pull[..., None] * _outer(away) + scatter + heavy * _outer(apart)
        if kind == "full":
            added = _either(weight, -(num_dims + 2.0)) + num_dims + 2
            added = np.reshape(added, (*np.shape(added), 1, 1))
            return (matrix + _either(prior, 0.0)) / (heavy + added)
        added = _either(weight, -(self.n_mix + num_dims + 1.0)) + self.n_mix + num_dims + 1
        total = counts.sum(axis=1) + added
        return (matrix.sum(axis=1) + _either(prior, 0.0)) / total[:, None, None]

    def _num_emission_parameters(self) -> int:
        return int(self.means_.size + self.weights_.size - len(self.weights_) + self._num_spreads())

    def _num_spreads(self) -> int:
        if self.covariance_type not in ("full", "tied"):
            return self.covars_.size
        num_dims = self.covars_.shape[-1]
        return self.covars_[..., 0, 0].size * num_dims * (num_dims + 1) // 2


def _either(value: Any, default: float) -> Any:
    return default if value is None else value


def _outer(rows: np.ndarray) -> np.ndarray:
    return rows[..., :, None] * rows[..., None, :]
