"""What hmmlearn's two variational classes share, and the one for symbols."""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils import check_random_state

from likelax.families import (
    Categorical,
    Dirichlet,
)
from likelax.fit.algorithm import QUICK
from likelax.hmm import HMMPrior, VariationalHMM
from likelax.hmm.prior import HMMStats
from likelax.interop.chains import as_sequences
from likelax.interop.clusters import are_few
from likelax.interop.hmmlearn.base import BaseHMM
from likelax.interop.hmmlearn.counts import CategoricalHMM
from likelax.interop.hmmlearn.monitor import ConvergenceMonitor
from likelax.product import Independent
from likelax.variational_node import Variational


class VariationalFit(BaseHMM):
    """Fits by coordinate ascent of the evidence lower bound; scores are those at expected parameters."""

    startprob_prior_: Any
    startprob_posterior_: Any
    transmat_prior_: Any
    transmat_posterior_: Any

    def fit(self, X: Any, lengths: Any = None) -> Self:
        """Fit by variational Bayes; the monitor holds the bounds. See the example of the class.

        Args:
          X: (N, D) rows of all sequences, one after the other.
          lengths: (B,) rows of each sequence, or None for one sequence.
        Raises:
          ValueError: for rows that the emissions cannot produce, lengths that do not add to N, or
            parameters of another shape.
        """
        X, lengths = self._rows(X, lengths)
        self._start_posteriors(X, lengths)
        self._check_posteriors()
        self.monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        with jax.enable_x64(True):
            data = jax.tree.map(jnp.asarray, as_sequences(self._observations(X), lengths))
            step = _quick_step if are_few(X, self.n_components) else _step
            prior = self._part("prior")
            for _ in range(self.n_iter):
                stats, bound = step(self._chain(), prior, data)
                if not np.isfinite(bound):
                    raise ValueError(f"the lower bound is {bound}: a posterior is out of range")
                self._update(jax.tree.map(np.asarray, stats))
                self.monitor_.report(float(bound))
                if self.monitor_.converged:
                    break
        return self

    def _start_posteriors(self, X: np.ndarray, lengths: np.ndarray) -> None:
        size, rng = self.n_components, check_random_state(self.random_state)
        even = np.full(size, 1 / size)
        if self._starts_any("s", "startprob_prior_", "startprob_posterior_"):
            given = 1 / size if self.startprob_prior is None else self.startprob_prior
            self.startprob_prior_ = np.broadcast_to(np.asarray(given, float), (size,)).copy()
            self.startprob_posterior_ = rng.dirichlet(even) * len(lengths)
        if self._starts_any("t", "transmat_prior_", "transmat_posterior_"):
            given = 1 / size if self.transmat_prior is None else self.transmat_prior
            self.transmat_prior_ = np.broadcast_to(np.asarray(given, float), (size, size)).copy()
            self.transmat_posterior_ = rng.dirichlet(even, size=size) * sum(lengths) / size

    def _starts_any(self, letter: str, *names: str) -> bool:
        return any(self._starts_with(letter, name) for name in names)

    def _check_posteriors(self) -> None:
        size = self.n_components
        for name, shape in (("startprob", (size,)), ("transmat", (size, size))):
            self._check_pair(name, shape)

    def _check_pair(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise unless prior and posterior of a parameter are positive and of a shape."""
        for part in (f"{name}_prior_", f"{name}_posterior_"):
            value = np.asarray(getattr(self, part), np.float64)
            if value.shape != shape:
                raise ValueError(f"{part} must have shape {shape}, got {value.shape}")
            setattr(self, part, value)

    def _update(self, stats: HMMStats) -> None:
        if "s" in self.params:
            self.startprob_posterior_ = self.startprob_prior_ + stats.initial.counts
        if "t" in self.params:
            moves: Any = stats.transition
            self.transmat_posterior_ = self.transmat_prior_ + moves.counts
        self.startprob_ = self.startprob_posterior_ / self.startprob_posterior_.sum()
        self.transmat_ = self.transmat_posterior_ / self.transmat_posterior_.sum(
            axis=1, keepdims=True
        )

    def _part(self, which: str) -> HMMPrior:
        """The "prior" or the "posterior" of all parameters."""
        initial, moves = (getattr(self, f"{name}_{which}_") for name in ("startprob", "transmat"))
        return HMMPrior(Dirichlet(initial), Dirichlet(moves), self._emission_part(which))

    def _chain(self) -> VariationalHMM:
        """The likelax node of the posterior."""
        posterior, likelihood = self._part("posterior"), self._likelihood()
        over: Any = posterior.emissions
        emissions: Any = (
            Independent(Variational(over.component, likelihood.component))
            if isinstance(over, Independent)
            else Variational(over, likelihood)
        )
        initial: Any = posterior.initial
        transition: Any = posterior.transition
        return VariationalHMM(initial, transition, self._tied(emissions))

    def _tied(self, emissions: Any) -> Any:
        """The emissions, or `Tied` around them."""
        return emissions

    def _emission_part(self, which: str) -> Any:
        raise NotImplementedError

    def _likelihood(self) -> Any:
        """A model of the emissions, of which only the type and the shape count."""
        raise NotImplementedError


class VariationalCategoricalHMM(VariationalFit, CategoricalHMM):
    """A hidden Markov model of symbols by variational Bayes: `hmmlearn.vhmm.VariationalCategoricalHMM`.

    `score`, `predict` and the like are those of the chain at the expected parameters, as in hmmlearn.

    Args:
      n_components: K.
      startprob_prior, transmat_prior, emissionprob_prior: concentrations of Dirichlet priors: numbers,
        or arrays (K,), (K, K) and (K, C). None: 1 / K, 1 / K and 1 / C.
      n_features: C, or None for the largest symbol and one.
      algorithm, random_state, n_iter, tol, verbose, params, init_params, implementation: as for
        `BaseHMM`; the letters are s, t and e.
    Attributes:
      startprob_prior_, startprob_posterior_: (K,).
      transmat_prior_, transmat_posterior_: (K, K).
      emissionprob_prior_, emissionprob_posterior_: (K, C).
      startprob_, transmat_, emissionprob_: expectations under the posterior.
      monitor_: evidence lower bounds of the last fit, nats.
    Raises:
      ValueError: by `fit`; see there.
    Source: Beal (2003), Variational Algorithms for Approximate Bayesian Inference, chapter 3.

    Examples:
      >>> X = [[0], [0], [0], [1], [1], [1], [0], [0]]
      >>> found = VariationalCategoricalHMM(2, random_state=0, n_iter=20).fit(X)
      >>> print(found.emissionprob_posterior_.sum().round(6))  # 8 symbols, and priors of 1 a state
      10.0
    """

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = None,
        transmat_prior: Any = None,
        emissionprob_prior: Any = None,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 100,
        tol: float = 1e-6,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
    ) -> None:
        super().__init__(
            n_components=n_components,
            startprob_prior=startprob_prior,
            transmat_prior=transmat_prior,
            emissionprob_prior=emissionprob_prior,
            n_features=n_features,
            algorithm=algorithm,
            random_state=random_state,
            n_iter=n_iter,
            tol=tol,
            verbose=verbose,
            params=params,
            init_params=init_params,
            implementation=implementation,
        )

    def _start_posteriors(self, X: np.ndarray, lengths: np.ndarray) -> None:
        codes = self._observations(X)
        if self.n_features is None:
            self.n_features = int(codes.max()) + 1
        super()._start_posteriors(X, lengths)
        if self._starts_any("e", "emissionprob_prior_", "emissionprob_posterior_"):
            shape = self.n_components, self.n_features
            given = self.emissionprob_prior
            given = 1 / self.n_features if given is None else given
            self.emissionprob_prior_ = np.broadcast_to(np.asarray(given, float), shape).copy()
            # hmmlearn seeds these numbers anew
            rng = check_random_state(self.random_state)
            drawn = np.stack([rng.dirichlet(row) for row in self.emissionprob_prior_])
            self.emissionprob_posterior_ = drawn * sum(lengths) / self.n_components

    def _check_posteriors(self) -> None:
        super()._check_posteriors()
        self._check_pair("emissionprob", (self.n_components, int(self.n_features or 0)))

    def _update(self, stats: HMMStats) -> None:
        super()._update(stats)
        if "e" in self.params:
            self.emissionprob_posterior_ = self.emissionprob_prior_ + stats.emissions.counts
        total = self.emissionprob_posterior_.sum(axis=1, keepdims=True)
        self.emissionprob_ = self.emissionprob_posterior_ / total

    def _emission_part(self, which: str) -> Dirichlet:
        return Dirichlet(getattr(self, f"emissionprob_{which}_"))

    def _likelihood(self) -> Categorical:
        even: Any = np.full(np.shape(self.emissionprob_prior_), 1 / int(self.n_features or 1))
        return Categorical(even)


def _one_step(node: Any, prior: HMMPrior, data: Any) -> tuple[HMMStats, Any]:
    stats, log_prob = node.e_step(data)
    return stats, log_prob + node.log_prior(prior)


_step = jax.jit(_one_step)
_quick_step = jax.jit(_one_step, compiler_options=QUICK)
