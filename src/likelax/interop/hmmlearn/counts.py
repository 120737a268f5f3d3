"""`CategoricalHMM`, `MultinomialHMM` and `PoissonHMM` with hmmlearn's arguments and attributes."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from likelax.families import Categorical, Multinomial, Poisson
from likelax.hmm.prior import HMMStats
from likelax.interop.hmmlearn.base import BaseHMM, check_simplex
from likelax.product import Independent


class _SymbolHMM(BaseHMM):
    """Emissions with a table of probabilities."""

    n_features: Any

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        super()._start(X, rng)
        if self._starts_with("e", "emissionprob_"):
            # hmmlearn seeds these numbers anew
            drawn = check_random_state(self.random_state).rand(self.n_components, self.n_features)
            self.emissionprob_ = drawn / drawn.sum(axis=1, keepdims=True)

    def _check(self) -> None:
        super()._check()
        table = np.atleast_2d(self.emissionprob_)
        if getattr(self, "n_features", None) is None:
            self.n_features = table.shape[1]
        self.emissionprob_ = check_simplex(
            "emissionprob_",
            table,
            (self.n_components, self.n_features),
            "(n_components, n_features)",
        )

    def _prior(self) -> Any:
        return 1.0

    def _m_step(self, stats: HMMStats) -> None:
        super()._m_step(stats)
        if "e" in self.params:
            counts = np.maximum(stats.emissions.counts + self._prior() - 1, 0)
            total = counts.sum(axis=1, keepdims=True)
            new = counts / np.where(total > 0, total, 1)
            self.emissionprob_ = np.where(total > 0, new, self.emissionprob_)

    def _num_emission_parameters(self) -> int:
        return self.n_components * (self.n_features - 1)


class CategoricalHMM(_SymbolHMM):
    """A hidden Markov model of symbols 0..C-1: `hmmlearn.hmm.CategoricalHMM`.

    Args:
      n_components: K.
      startprob_prior, transmat_prior: as for `BaseHMM`.
      emissionprob_prior: concentration of Dirichlet priors.
      n_features: C, or None for the largest symbol and one.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t and e.
    Attributes:
      emissionprob_: (K, C).
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> model = CategoricalHMM(2, init_params="", params="")
      >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
      >>> model.emissionprob_ = [[0.8, 0.2], [0.2, 0.8]]
      >>> print(model.predict([[0], [0], [1], [1]]))
      [0 0 1 1]
    """

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        *,
        emissionprob_prior: Any = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
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
        self.emissionprob_prior = emissionprob_prior
        self.n_features = n_features

    def _prior(self) -> Any:
        return self.emissionprob_prior

    def _observations(self, X: np.ndarray) -> np.ndarray:
        if not np.issubdtype(X.dtype, np.integer) or X.min() < 0 or X.shape[1] != 1:
            raise ValueError(
                "X must be symbols: nonnegative integers of shape (n_samples, 1), "
                f"got {X.dtype} of shape {X.shape}"
            )
        if self.n_features is not None and X.max() >= self.n_features:
            raise ValueError(
                f"Largest symbol is {X.max()} but the model only emits symbols up to "
                f"{self.n_features - 1}"
            )
        return X[:, 0]

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        codes = self._observations(X)
        if self.n_features is None:
            self.n_features = int(codes.max()) + 1
        super()._start(X, rng)

    def _draw(self, state: int, rng: np.random.RandomState) -> int:
        return int(np.argmax(np.cumsum(self.emissionprob_[state]) > rng.rand()))

    def _emissions(self) -> Any:
        return Categorical(self.emissionprob_)


class MultinomialHMM(_SymbolHMM):
    """A hidden Markov model of counts that add to a number: `hmmlearn.hmm.MultinomialHMM`.

    Args:
      n_components: K.
      n_trials: what the counts of a row add to: a number, (N,), or None for the sums of X.
      startprob_prior, transmat_prior: as for `BaseHMM`.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t and e.
    Attributes:
      emissionprob_: (K, D).
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> found = MultinomialHMM(1, random_state=0).fit([[1, 3], [2, 2]])
      >>> print(found.emissionprob_)
      [[0.375 0.625]]
    """

    def __init__(
        self,
        n_components: int = 1,
        n_trials: Any = None,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
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
        self.n_trials = n_trials

    def _observations(self, X: np.ndarray) -> np.ndarray:
        if not np.issubdtype(X.dtype, np.integer) or X.min() < 0:
            raise ValueError("Symbol counts should be nonnegative integers")
        return X

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        totals = self._observations(X).sum(axis=1)
        if self.n_trials is None:
            self.n_trials = totals
        elif not np.all(totals == self.n_trials):
            raise ValueError("Total count for each sample should add up to the number of trials")
        self.n_features = X.shape[1]
        super()._start(X, rng)

    def _emissions(self) -> Any:
        return Multinomial(self.emissionprob_)

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        trials = np.unique([] if self.n_trials is None else self.n_trials)
        if len(trials) != 1:
            raise ValueError("For sampling, a single n_trials must be given")
        return rng.multinomial(int(trials[0]), self.emissionprob_[state])


class PoissonHMM(BaseHMM):
    """A hidden Markov model of independent counts: `hmmlearn.hmm.PoissonHMM`.

    Args:
      n_components: K.
      startprob_prior, transmat_prior: as for `BaseHMM`.
      lambdas_prior, lambdas_weight: shape and rate of gamma priors.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t and l.
    Attributes:
      lambdas_: (K, D).
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> print(PoissonHMM(1, random_state=0).fit([[1], [3]]).lambdas_)
      [[2.]]
    """

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        lambdas_prior: Any = 0.0,
        lambdas_weight: Any = 0.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stl",
        init_params: str = "stl",
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
        self.lambdas_prior = lambdas_prior
        self.lambdas_weight = lambdas_weight

    def _observations(self, X: np.ndarray) -> np.ndarray:
        if np.any(X < 0) or np.any(np.round(X) != X):
            raise ValueError("X must be nonnegative integers")
        return X

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        super()._start(X, rng)
        self.n_features = X.shape[1]
        if self._starts_with("l", "lambdas_"):
            mean, variance = X.mean(), X.var()
            # the gamma distribution with the moments of X; hmmlearn seeds these numbers anew
            self.lambdas_ = check_random_state(self.random_state).gamma(
                shape=mean**2 / variance,
                scale=variance / mean,
                size=(self.n_components, self.n_features),
            )

    def _check(self) -> None:
        super()._check()
        self.lambdas_ = np.atleast_2d(np.asarray(self.lambdas_, np.float64))
        self.n_features = getattr(self, "n_features", self.lambdas_.shape[1])
        if self.lambdas_.shape != (self.n_components, self.n_features):
            raise ValueError(
                f"lambdas_ must have shape (n_components, n_features), got {self.lambdas_.shape}"
            )

    def _emissions(self) -> Any:
        rates: Any = self.lambdas_
        return Independent(Poisson(rates))

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.poisson(self.lambdas_[state])

    def _m_step(self, stats: HMMStats) -> None:
        super()._m_step(stats)
        if "l" in self.params:
            counts = stats.emissions
            rate = self.lambdas_weight + counts.exposure
            new = (self.lambdas_prior + counts.events) / np.where(rate > 0, rate, 1)
            self.lambdas_ = np.where(rate > 0, new, self.lambdas_)

    def _num_emission_parameters(self) -> int:
        return int(self.lambdas_.size)
