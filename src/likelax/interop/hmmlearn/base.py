"""What hmmlearn's classes share: fits, scores, paths, draws."""

import string
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from likelax.fit.algorithm import QUICK
from likelax.hmm import HMM, stationary
from likelax.hmm.prior import HMMStats
from likelax.interop.arguments import check_number
from likelax.interop.chains import as_sequences, check_lengths
from likelax.interop.clusters import are_few
from likelax.interop.hmmlearn.monitor import ConvergenceMonitor

DECODERS = ("viterbi", "map")


class BaseHMM(BaseEstimator):
    """A hidden Markov model with hmmlearn's methods; subclasses add the emissions.

    The E step runs on the device in float64, whatever `jax_enable_x64` is; the M step applies hmmlearn's
    priors to the statistics. From the same `random_state` a fit starts where hmmlearn's does.

    Args:
      n_components: K, the number of states.
      startprob_prior, transmat_prior: concentrations of Dirichlet priors.
      algorithm: "viterbi" or "map", of `decode`.
      random_state: as in scikit-learn.
      n_iter: most steps.
      tol: smallest rise of the log likelihood of all data, nats.
      verbose: print each step.
      params: letters of the parameters that fits change.
      init_params: letters of the parameters that fits initialise; others are used as they are set.
      implementation: not used: likelax chooses the recursion.
    Attributes:
      startprob_: (K,).
      transmat_: (K, K).
      monitor_: the history of the last fit.
      model_: the likelax model.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> from likelax.interop.hmmlearn import CategoricalHMM
      >>> found = CategoricalHMM(2, random_state=0, n_iter=5, tol=0.0).fit([[0], [0], [1], [1]])
      >>> isinstance(found, BaseHMM), found.monitor_.iter
      (True, 5)
    """

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = string.ascii_letters,
        init_params: str = string.ascii_letters,
        implementation: str = "log",
    ) -> None:
        self.n_components = n_components
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.verbose = verbose
        self.params = params
        self.init_params = init_params
        self.implementation = implementation
        self.monitor_ = ConvergenceMonitor(tol, n_iter, verbose)

    def fit(self, X: Any, lengths: Any = None) -> Self:
        """Fit by EM. See the example of the class.

        Args:
          X: (N, D) rows of all sequences, one after the other.
          lengths: (B,) rows of each sequence, or None for one sequence.
        Raises:
          ValueError: for rows that the emissions cannot produce, or lengths that do not add to N.
        """
        X, lengths = self._rows(X, lengths)
        self._start(X, check_random_state(self.random_state))
        self._check()
        self.monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        with jax.enable_x64(True):
            data = jax.tree.map(jnp.asarray, as_sequences(self._observations(X), lengths))
            e_step = _quick_e_step if are_few(X, self.n_components) else _e_step
            for _ in range(self.n_iter):
                stats, log_prob = e_step(self._model(np.asarray), data)
                if not np.isfinite(log_prob):
                    raise ValueError(
                        f"the log likelihood is {log_prob}: the model cannot produce X, or a state collapsed"
                    )
                self._m_step(jax.tree.map(np.asarray, stats))
                self.monitor_.report(float(log_prob))
                if self.monitor_.converged:
                    break
        return self

    def score(self, X: Any, lengths: Any = None) -> float:
        """Log likelihood of all sequences, nats.

        Args:
          X, lengths: as for `fit`.
        """
        with jax.enable_x64(True):
            return float(self._fitted().log_prob(self._data(X, lengths)))

    def score_samples(self, X: Any, lengths: Any = None) -> tuple[float, np.ndarray]:
        """The log likelihood in nats, and the probabilities of the states (N, K).

        Args:
          X, lengths: as for `fit`.
        """
        with jax.enable_x64(True):
            found = self._fitted().smoother(self._data(X, lengths))
            log_prob = float(np.asarray(found.log_prob))
            return log_prob, np.exp(np.asarray(found.log_marginals))

    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """Probabilities of the states of each row, (N, K).

        Args:
          X, lengths: as for `fit`.
        """
        return self.score_samples(X, lengths)[1]

    def decode(
        self, X: Any, lengths: Any = None, algorithm: str | None = None
    ) -> tuple[float, np.ndarray]:
        """States of each row, with their score.

        Args:
          X, lengths: as for `fit`.
          algorithm: "viterbi": the most probable path and its log joint probability in nats; "map":
            the most probable state of each row, and the sum of their probabilities. None: that of the
            constructor.
        Raises:
          ValueError: for another algorithm.
        """
        algorithm = self.algorithm if algorithm is None else algorithm
        if algorithm not in DECODERS:
            raise ValueError(f"algorithm must be one of {DECODERS}, got {algorithm!r}")
        if algorithm == "map":
            probs = self.predict_proba(X, lengths)
            return float(probs.max(axis=1).sum()), probs.argmax(axis=1)
        with jax.enable_x64(True):
            path, log_joint = self._fitted().viterbi(self._data(X, lengths))
            return float(log_joint), np.array(path)

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """States of each row, (N,), by `decode`.

        Args:
          X, lengths: as for `fit`.
        """
        return self.decode(X, lengths)[1]

    def sample(
        self, n_samples: int = 1, random_state: Any = None, currstate: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One sequence: rows (n_samples, D) and states (n_samples,). See the example of the class.

        Args:
          n_samples: the number of rows.
          random_state: as in scikit-learn; None: that of the constructor.
          currstate: the first state, or None to draw it.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        self._check()
        rng = check_random_state(self.random_state if random_state is None else random_state)
        moves = np.cumsum(self.transmat_, axis=1)
        states: list[int] = []
        rows: list[Any] = []
        state = currstate
        for _ in range(n_samples):
            if state is None:
                state = int(np.argmax(np.cumsum(self.startprob_) > rng.rand()))
            elif states:
                state = int(np.argmax(moves[state] > rng.rand()))
            states.append(state)
            rows.append(self._draw(state, rng))
        return np.array(rows).reshape(n_samples, -1), np.array(states, dtype=int)

    def get_stationary_distribution(self) -> np.ndarray:
        """The stationary distribution of the chain, (K,). See the example of the class.

        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self, "transmat_")
        with jax.enable_x64(True):
            return np.array(stationary(self.transmat_))

    def aic(self, X: Any, lengths: Any = None) -> float:
        """Akaike information criterion, nats: the lower, the better.

        Args:
          X, lengths: as for `fit`.
        """
        return -2 * self.score(X, lengths) + 2 * self._num_parameters()

    def bic(self, X: Any, lengths: Any = None) -> float:
        """Bayesian information criterion, nats: the lower, the better.

        Args:
          X, lengths: as for `fit`.
        """
        return -2 * self.score(X, lengths) + self._num_parameters() * float(np.log(len(X)))

    @property
    def model_(self) -> HMM:
        """The likelax model, in JAX's current floating type."""
        return self._fitted()

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are parameters."""
        return hasattr(self, "startprob_")

    def _fitted(self) -> HMM:
        check_is_fitted(self)
        self._check()
        return self._model()

    def _draw(self, state: int, rng: np.random.RandomState) -> Any:
        """One row of a state, by the same random numbers as hmmlearn's."""
        raise NotImplementedError

    def _model(self, array: Any = jnp.asarray) -> HMM:
        """The model of the parameters; `array` makes its arrays."""
        parts = HMM(self.startprob_, self.transmat_, self._emissions())
        return jax.tree.map(lambda leaf: array(leaf, jnp.result_type(float)), parts)

    def _rows(self, X: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
        check_number(self, "n_components", least=1, integer=True)
        check_number(self, "n_iter", integer=True)
        X = check_array(X)
        return X, check_lengths(lengths, len(X))

    def _data(self, X: Any, lengths: Any) -> Any:
        X, lengths = self._rows(X, lengths)
        return as_sequences(self._observations(X), lengths)

    def _starts_with(self, letter: str, name: str) -> bool:
        """Whether a fit initialises a parameter."""
        return letter in self.init_params or not hasattr(self, name)

    def _start(self, X: np.ndarray, rng: np.random.RandomState) -> None:
        flat = np.full(self.n_components, 1 / self.n_components)
        if self._starts_with("s", "startprob_"):
            self.startprob_ = rng.dirichlet(flat)
        if self._starts_with("t", "transmat_"):
            self.transmat_ = rng.dirichlet(flat, size=self.n_components)

    def _check(self) -> None:
        size = self.n_components
        self.startprob_ = check_simplex("startprob_", self.startprob_, (size,), "n_components")
        self.transmat_ = check_simplex(
            "transmat_", self.transmat_, (size, size), "(n_components, n_components)"
        )

    def _m_step(self, stats: HMMStats) -> None:
        if "s" in self.params:
            counts = stats.initial.counts + self.startprob_prior - 1
            self.startprob_ = _normalized(counts, self.startprob_)
        if "t" in self.params:
            moves: Any = stats.transition
            counts = moves.counts + self.transmat_prior - 1
            self.transmat_ = _normalized(counts, self.transmat_)

    def _num_parameters(self) -> int:
        size = self.n_components
        return size * size - 1 + self._num_emission_parameters()

    def _observations(self, X: np.ndarray) -> np.ndarray:
        """Rows as the emissions take them."""
        return X

    def _emissions(self) -> Any:
        """The emissions of the parameters."""
        raise NotImplementedError

    def _num_emission_parameters(self) -> int:
        raise NotImplementedError


def _one_e_step(model: HMM, data: Any) -> tuple[HMMStats, Any]:
    return model.e_step(data)


_e_step = jax.jit(_one_e_step)
_quick_e_step = jax.jit(_one_e_step, compiler_options=QUICK)


def check_simplex(name: str, value: Any, shape: tuple[int, ...], wanted: str) -> np.ndarray:
    """A parameter whose last axis sums to one.

    Args:
      name: for messages.
      value: the parameter.
      shape: wanted.
      wanted: the shape in words.
    Raises:
      ValueError: for another shape or sum.
    """
    value = np.asarray(value, np.float64)
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {wanted}, got {value.shape}")
    if not np.allclose(value.sum(axis=-1), 1):
        raise ValueError(f"{name} must sum to 1, got {value.sum(axis=-1)}")
    return value


def _normalized(counts: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Rows of counts as probabilities; zeros stay zero, and a row without counts is kept."""
    counts = np.where(before == 0, 0, np.maximum(counts, 0))
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), before)
