"""`VariationalGaussianHMM` with hmmlearn's arguments and attributes."""

import numbers
from typing import Any

import numpy as np

from likelax.families import (
    MvNormal,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    SphericalNormal,
)
from likelax.hmm.prior import HMMStats
from likelax.interop.clusters import clusters
from likelax.interop.hmmlearn.base import BaseHMM
from likelax.interop.hmmlearn.gaussian import GaussianHMM, check_covariance_type
from likelax.interop.hmmlearn.variational import VariationalFit
from likelax.product import Independent
from likelax.wrappers import Tied


class VariationalGaussianHMM(VariationalFit, GaussianHMM):
    """A hidden Markov model with Gaussian emissions by variational Bayes: `hmmlearn.vhmm.VariationalGaussianHMM`.

    `score`, `predict` and the like are those of the chain at the expected means and the inverses of the
    expected precisions, as in hmmlearn.

    Args:
      n_components: K.
      covariance_type: "full", "tied", "diag" or "spherical".
      startprob_prior, transmat_prior: concentrations of Dirichlet priors; None: 1 / K.
      means_prior, beta_prior: (K, D) means of the means, and (K,) how many rows they count as; None:
        the mean of X, and 1.
      dof_prior, scale_prior: of Wishart or gamma priors over the precisions, in the shapes of
        `dof_prior_` and `scale_prior_`; None: D, and 0.001 on the diagonal.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t, m and c.
    Attributes:
      startprob_prior_, startprob_posterior_: (K,).
      transmat_prior_, transmat_posterior_: (K, K).
      means_prior_, means_posterior_: (K, D).
      beta_prior_, beta_posterior_: (K,).
      dof_prior_, dof_posterior_: (K,), or numbers if tied.
      scale_prior_, scale_posterior_: (K, D, D), (D, D) if tied, (K, D) or (K,).
      startprob_, transmat_, means_, covars_: at the expected parameters.
      monitor_: evidence lower bounds of the last fit, nats.
    Raises:
      ValueError: by `fit`; see there.
    Source: McGrory & Titterington (2009), Variational Bayesian analysis for hidden Markov models,
      Australian & New Zealand Journal of Statistics 51.

    Examples:
      >>> X = np.array([0.0, 0.1, 0.2, 9.0, 9.1, 9.2, 0.1, 0.0])[:, None]
      >>> found = VariationalGaussianHMM(2, random_state=0).fit(X)
      >>> print(np.sort(found.means_posterior_[:, 0]).round(1))
      [0.6 7.7]
    """

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "full",
        startprob_prior: Any = None,
        transmat_prior: Any = None,
        means_prior: Any = None,
        beta_prior: Any = None,
        dof_prior: Any = None,
        scale_prior: Any = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 100,
        tol: float = 1e-6,
        verbose: bool = False,
        params: str = "stmc",
        init_params: str = "stmc",
        implementation: str = "log",
    ) -> None:
        BaseHMM.__init__(
            self,
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
        self.means_prior = means_prior
        self.beta_prior = beta_prior
        self.dof_prior = dof_prior
        self.scale_prior = scale_prior

    def _start_posteriors(self, X: np.ndarray, lengths: np.ndarray) -> None:
        size, kind, num_dims = self.n_components, self.covariance_type, X.shape[1]
        check_covariance_type(kind)
        self.n_features = num_dims
        super()._start_posteriors(X, lengths)
        means = self._starts_any(
            "m", "means_prior_", "means_posterior_", "beta_prior_", "beta_posterior_"
        )
        spreads = self._starts_any(
            "c", "dof_prior_", "dof_posterior_", "scale_prior_", "scale_posterior_"
        )
        if not means and not spreads:
            return
        found = clusters(X, size, self.random_state, num_starts=10)
        rows = np.bincount(found.labels_, minlength=size).astype(float)
        if means:
            middle = np.tile(X.mean(axis=0), (size, 1))
            self.means_prior_ = _either(self.means_prior, middle)
            self.means_posterior_ = found.cluster_centers_
            self.beta_prior_ = _either(self.beta_prior, np.ones(size))
            self.beta_posterior_ = rows
        if spreads:
            tied = kind == "tied"
            dof: Any = float(num_dims) if tied else np.full(size, float(num_dims))
            self.dof_prior_ = dof if self.dof_prior is None else self.dof_prior
            # a Wishart distribution needs more than D - 1
            enough = np.where(rows > num_dims - 1, rows, num_dims)
            self.dof_posterior_: Any = float(rows.sum()) if tied else enough
            shape = self._shape_of_scales()
            small: Any = 1e-3 * np.eye(num_dims) if kind in ("full", "tied") else 1e-3
            self.scale_prior_ = _either(self.scale_prior, np.broadcast_to(small, shape).copy())
            whole = np.atleast_2d(np.cov(X.T)) + 1e-3 * np.eye(num_dims)
            each: Any = whole if kind in ("full", "tied") else np.diag(whole)
            if kind == "spherical":
                each = whole.mean()
            count = enough.reshape(-1, *(1,) * (len(shape) - 1))
            self.scale_posterior_ = each * (self.dof_posterior_ if tied else count)

    def _shape_of_scales(self) -> tuple[int, ...]:
        size, num_dims = self.n_components, int(self.n_features)
        return {
            "full": (size, num_dims, num_dims),
            "tied": (num_dims, num_dims),
            "diag": (size, num_dims),
            "spherical": (size,),
        }[self.covariance_type]

    def _check_posteriors(self) -> None:
        super()._check_posteriors()
        size = self.n_components
        self._check_pair("means", (size, int(self.n_features)))
        self._check_pair("beta", (size,))
        if self.covariance_type == "tied":
            for name in ("dof_prior_", "dof_posterior_"):
                if not isinstance(getattr(self, name), numbers.Number):
                    raise ValueError(f"{name} must be a number, got {getattr(self, name)!r}")
        else:
            self._check_pair("dof", (size,))
        self._check_pair("scale", self._shape_of_scales())
        self._expect()

    def _check(self) -> None:
        check_covariance_type(self.covariance_type)
        super()._check()

    def _update(self, stats: HMMStats) -> None:
        super()._update(stats)
        moments, kind = stats.emissions, self.covariance_type
        weight = moments.weight if moments.weight.ndim == 1 else moments.weight[:, 0]
        before, pull = self.means_prior_, self.beta_prior_[:, None]
        if "m" in self.params:
            self.beta_posterior_ = self.beta_prior_ + weight
            sums = pull * before + weight[:, None] * moments.mean
            self.means_posterior_ = sums / self.beta_posterior_[:, None]
        if "c" in self.params:
            away, apart = self.means_posterior_ - before, moments.mean - self.means_posterior_
            if kind in ("full", "tied"):
                wide = weight[:, None, None]
                scatter = moments.scatter + wide * _outer(apart) + pull[..., None] * _outer(away)
            else:
                scatter = moments.scatter + weight[:, None] * apart**2 + pull * away**2
            if kind == "tied":
                scatter, weight = scatter.sum(axis=0), float(weight.sum())
            elif kind == "spherical":
                scatter = scatter.mean(axis=1)
            self.dof_posterior_ = self.dof_prior_ + weight
            self.scale_posterior_ = self.scale_prior_ + scatter
        self._expect()

    def _expect(self) -> None:
        """Means and covariances at the posterior."""
        scale = self.scale_posterior_
        dof = np.reshape(self.dof_posterior_, (-1, *(1,) * (scale.ndim - 1)))
        self._covars_ = scale / (self.dof_posterior_ if self.covariance_type == "tied" else dof)
        self.means_ = self.means_posterior_

    def _tied(self, emissions: Any) -> Any:
        return Tied(emissions) if self.covariance_type == "tied" else emissions

    def _emission_part(self, which: str) -> Any:
        parts: Any = [
            np.asarray(getattr(self, f"{name}_{which}_"))
            for name in ("means", "beta", "dof", "scale")
        ]
        loc, kappa, dof, scale = parts
        size, num_dims = loc.shape
        kind = self.covariance_type
        if kind in ("full", "tied"):
            rows: Any = np.broadcast_to(dof, (size,))
            matrices: Any = np.broadcast_to(scale, (size, num_dims, num_dims))
            return NormalInverseWishart(loc, kappa, rows, matrices)
        if kind == "diag":
            wide: Any = [np.broadcast_to(part[:, None], loc.shape) for part in (kappa, dof / 2)]
            each: Any = NormalInverseGamma(loc, wide[0], wide[1], scale / 2)
            return Independent(each)
        # one variance for D columns: D times as many numbers tell of it
        return NormalInverseGamma(loc, kappa, num_dims * dof / 2, num_dims * scale / 2)

    def _likelihood(self) -> Any:
        loc: Any = self.means_prior_
        size, num_dims = loc.shape
        if self.covariance_type in ("full", "tied"):
            eye: Any = np.broadcast_to(np.eye(num_dims), (size, num_dims, num_dims))
            return MvNormal(loc, eye)
        ones: Any = np.ones_like(loc)
        if self.covariance_type == "diag":
            return Independent(Normal(loc, ones))
        return SphericalNormal(loc, ones[:, 0])


def _either(value: Any, default: np.ndarray) -> np.ndarray:
    return default if value is None else np.asarray(value, np.float64)


def _outer(rows: np.ndarray) -> np.ndarray:
    return rows[:, :, None] * rows[:, None, :]
