"""A hidden Markov model as an estimator."""

import warnings
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from likelax.families import MvNormal, Normal, Poisson, SphericalNormal
from likelax.families.mv_bernoulli import MvBernoulli
from likelax.fit import EM, Status, best
from likelax.fit import lanes as batches
from likelax.fit.algorithm import Data, run_steps
from likelax.hmm import HMM
from likelax.interop.arguments import check_choice, check_number
from likelax.interop.chains import as_sequences, check_lengths, lengths_of_groups
from likelax.interop.clusters import are_few, clusters
from likelax.interop.sklearn.precision import FLOATS, computing, to_numpy
from likelax.product import Independent
from likelax.wrappers import Tied

EMISSIONS = ("full", "tied", "diag", "spherical", "poisson", "bernoulli")


class HiddenMarkovModel(DensityMixin, BaseEstimator):
    """A hidden Markov model of rows in sequences, fitted by EM.

    `lengths` says how many rows each sequence has, or `groups` which sequence each row belongs to, such
    as the groups of `GroupKFold`; without either all rows are one sequence. NaN entries are missing
    values, which the emissions integrate out. The answer for a row depends on the rows around it.

    Args:
      n_components: K, the number of states.
      emission: Gaussians with a "full", "tied", "diag" or "spherical" covariance, "poisson", or
        "bernoulli" of 0 and 1.
      tol: relative rise of the log likelihood at which to stop, as for `likelax.fit.em`.
      max_iter: most steps.
      n_init: number of starts, which run as one batch.
      scale_floor: smallest standard deviation of a Gaussian, or None.
      random_state: as in scikit-learn.
    Attributes:
      startprob_: (K,).
      transmat_: (K, K).
      emissions_: the likelax model of the emissions, with NumPy arrays.
      converged_, n_iter_, log_likelihood_: of the best start.
      model_: the likelax model.
    Raises:
      ValueError: by `fit`; see there.
    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> X = np.array([0.0, 0.1, 0.2, 9.0, 9.1, 9.2, 0.1, 0.0])[:, None]
      >>> found = HiddenMarkovModel(n_components=2, scale_floor=0.1, random_state=0).fit(X)
      >>> states = found.predict(X)
      >>> print(states == states[0])
      [ True  True  True False False False  True  True]
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        emission: str = "diag",
        tol: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        scale_floor: float | None = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.emission = emission
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.scale_floor = scale_floor
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, lengths: Any = None, groups: Any = None) -> Self:
        """Fit by EM, from `n_init` starts, and keep the best. See the example of the class.

        Args:
          X: (N, D) rows of all sequences; NaN is missing.
          y: not used.
          lengths: (B,) rows of each sequence, or None.
          groups: (N,) the sequence of each row, or None.
        Raises:
          ValueError: for arguments out of range, or rows that the emissions cannot produce.
        """
        for name in ("n_components", "n_init", "max_iter"):
            check_number(self, name, least=1, integer=True)
        check_number(self, "tol")
        check_number(self, "scale_floor", above=True, optional=True)
        check_choice(self, "emission", EMISSIONS)
        X, data = self._data(X, lengths, groups, reset=True)
        if len(X) < self.n_components:
            raise ValueError(f"n_samples={len(X)} should be >= n_components={self.n_components}.")
        with computing(X.dtype):
            starts = self._starts(X)
            if not np.all(
                jax.tree.map(lambda leaf: leaf[0], starts).emissions.stacked_possible(data.values)
            ):
                raise ValueError(f"X holds values that {self.emission!r} emissions cannot produce")
            floor = self.scale_floor if self.emission in EMISSIONS[:4] else None
            algorithm = EM(self.tol, self.max_iter, scale_floor=floor)
            rows = Data(data)
            if self.n_init == 1:
                start = jax.tree.map(lambda leaf: leaf[0], starts)
                found = run_steps(algorithm, start, rows, quick=are_few(X, self.n_components))
            else:
                found = best(batches.run(algorithm, starts, rows, batches.COMMON))
            found = to_numpy(found)
            if not found.usable:
                raise ValueError(
                    f"the fit ended with status {Status(int(found.status)).name}: use fewer states, or a "
                    "larger scale_floor"
                )
        model = found.model
        self.startprob_, self.transmat_ = model.initial, model.transition
        self.emissions_ = model.emissions
        self.converged_ = bool(found.status == Status.CONVERGED)
        self.n_iter_ = int(found.num_steps)
        self.log_likelihood_ = float(found.objective)
        if not self.converged_:
            warnings.warn(
                "The fit did not converge. Increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: Any, *, lengths: Any = None, groups: Any = None) -> np.ndarray:
        """The most probable path, integers (N,). See the example of the class.

        Args:
          X, lengths, groups: as for `fit`.
        Raises:
          NotFittedError: before `fit`.
        """
        X, data = self._data(X, lengths, groups)
        with computing(X.dtype):
            return np.array(self._model(X.dtype).viterbi(data)[0])

    def predict_proba(self, X: Any, *, lengths: Any = None, groups: Any = None) -> np.ndarray:
        """Probabilities of the states of each row given all rows of its sequence, (N, K).

        See the example of the class.

        Args:
          X, lengths, groups: as for `fit`.
        Raises:
          NotFittedError: before `fit`.
        """
        X, data = self._data(X, lengths, groups)
        with computing(X.dtype):
            return np.exp(np.asarray(self._model(X.dtype).smoother(data).log_marginals))

    def score(self, X: Any, y: Any = None, *, lengths: Any = None, groups: Any = None) -> float:
        """Log likelihood of all sequences, divided by the number of rows, nats.

        See the example of the class.

        Args:
          X, y, lengths, groups: as for `fit`.
        Raises:
          NotFittedError: before `fit`.
        """
        X, data = self._data(X, lengths, groups)
        with computing(X.dtype):
            return float(self._model(X.dtype).log_prob(data)) / len(X)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """One sequence: its rows (n_samples, D), and its states (n_samples,).

        See the example of the class.

        Args:
          n_samples: the number of rows.
        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with computing(self.transmat_.dtype):
            drawn = self._model(self.transmat_.dtype).sample_labelled(
                jax.random.key(seed), (n_samples,)
            )
            return np.array(drawn.values), np.asarray(drawn.labels)

    @property
    def model_(self) -> HMM:
        """The likelax model, in JAX's current floating type.

        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return self._model(np.dtype(jnp.result_type(float)))

    def _model(self, dtype: Any) -> HMM:
        parts = HMM(self.startprob_, self.transmat_, self.emissions_)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parts)

    def _data(self, X: Any, lengths: Any, groups: Any, reset: bool = False) -> tuple[Any, Any]:
        if not reset:
            check_is_fitted(self)
        X = validate_data(
            self,
            X,
            dtype=FLOATS,
            ensure_all_finite="allow-nan",
            reset=reset,
            ensure_min_samples=2 if reset else 1,
        )
        if not reset:
            X = X.astype(self.transmat_.dtype, copy=False)
        if lengths is not None and groups is not None:
            raise ValueError("give lengths or groups, not both")
        if groups is not None:
            lengths = lengths_of_groups(groups)
        return X, as_sequences(X, check_lengths(lengths, len(X)))

    def _starts(self, X: np.ndarray) -> HMM:
        """Starts with a leading axis n_init: clusters of k-means, with the spread of all rows."""
        rng = check_random_state(self.random_state)
        observed = ~np.isnan(X)
        counts = np.maximum(observed.sum(axis=0), 1)
        filled = np.where(observed, X, np.where(observed, X, 0).sum(axis=0) / counts)
        size, dtype = self.n_components, X.dtype
        means = np.stack(
            [clusters(filled, size, rng).cluster_centers_ for _ in range(self.n_init)]
        ).astype(dtype)
        gap = filled - filled.mean(axis=0)
        covariance = gap.T @ gap / len(X)
        widths = np.sqrt(np.diag(covariance))
        widths = np.where(widths > 0, widths, 1).astype(dtype)
        emissions = self._emissions(means, widths)
        stay = np.full((size, size), 0.1 / max(size - 1, 1), dtype)
        np.fill_diagonal(stay, 0.9 if size > 1 else 1.0)
        initial = np.full((self.n_init, size), 1 / size, dtype)
        moves: Any = np.broadcast_to(stay, (self.n_init, size, size))
        return HMM(initial, moves, emissions)

    def _emissions(self, means: Any, widths: Any) -> Any:
        kind = self.emission
        scales: Any = np.broadcast_to(widths, means.shape)
        if kind in ("full", "tied"):
            tril: Any = np.broadcast_to(np.diag(widths), (*means.shape, len(widths)))
            normal = MvNormal(means, tril)
            return Tied(normal) if kind == "tied" else normal
        if kind == "diag":
            return Independent(Normal(means, scales))
        if kind == "spherical":
            return SphericalNormal(means, scales.mean(axis=-1))
        if kind == "poisson":
            return Independent(Poisson(np.maximum(means, means.dtype.type(0.1))))
        return MvBernoulli(np.clip(means, 0.1, 0.9).astype(means.dtype))

    def __sklearn_tags__(self) -> Tags:
        """NaN is missing, and an answer for a row depends on the rows around it."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = True
        return tags
