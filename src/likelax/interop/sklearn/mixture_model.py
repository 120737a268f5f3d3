"""A mixture of rows with columns of different types, as an estimator."""

import warnings
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from likelax.families import Categorical, Normal
from likelax.fit import EM, Status, best
from likelax.fit import lanes as batches
from likelax.fit.algorithm import Data, run_steps
from likelax.interop.arguments import check_number
from likelax.interop.clusters import are_few, clusters
from likelax.interop.sklearn.columns import ColumnsMixin, column_moments
from likelax.interop.sklearn.precision import computing, to_numpy
from likelax.mixture import Mixture, MixturePrior
from likelax.product import Independent, Product


class MixtureModel(ColumnsMixin, DensityMixin, BaseEstimator):
    """A mixture of rows whose columns are numbers, counts, binary or categories, fitted by EM.

    Within a component the columns are independent, so this is latent class or latent profile analysis.
    NaN, and None among categories, is missing, and left out of the likelihood.

    Args:
      n_components: K.
      columns: the type of each column: "normal", "bernoulli" (0 and 1), "poisson" (counts) or
        "categorical"; one of them for all, a sequence of D, or a dict from names or positions of
        columns. "auto", also for columns that the dict leaves out: in a DataFrame booleans are
        "bernoulli", categories and text are "categorical"; all numbers are "normal".
      smoothing: counts added to each category of each component, and rows with the mean of the column
        added to its counts; 0 is maximum likelihood.
      scale_floor: smallest standard deviation of a normal column, in those of the whole column.
      handle_unknown: a category that the fit did not see is an "error", or "missing".
      tol: relative rise of the log posterior at which to stop, as for `likelax.fit.em`.
      max_iter: most steps.
      n_init: number of starts, which run as one batch.
      random_state: as in scikit-learn.
    Attributes:
      weights_: (K,).
      components_: the likelax model of the components, with NumPy arrays: a `Product` with one entry
        for each type.
      columns_: (D,) the type of each column.
      categories_: for each column its categories, in the order of their probabilities, or None.
      converged_, n_iter_: of the best start.
      model_: the likelax model.
    Raises:
      ValueError: by `fit`; see there.
    Source: Hunt & Jorgensen (2011), Clustering mixed data, WIREs Data Mining and Knowledge Discovery 1.

    Examples:
      >>> X = [[0.1, 0], [0.0, 0], [0.2, 1], [9.0, 2], [9.1, 2], [9.2, 2]]
      >>> model = MixtureModel(2, columns=["normal", "categorical"], random_state=0).fit(X)
      >>> print(np.bincount(model.predict(X)), model.columns_)
      [3 3] ['normal' 'categorical']
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        columns: Any = "auto",
        smoothing: float = 1.0,
        scale_floor: float = 1e-3,
        handle_unknown: str = "error",
        tol: float = 1e-6,
        max_iter: int = 200,
        n_init: int = 1,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.columns = columns
        self.smoothing = smoothing
        self.scale_floor = scale_floor
        self.handle_unknown = handle_unknown
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM, from `n_init` starts, and keep the best. See the example of the class.

        Args:
          X: (N, D), an array of numbers or a DataFrame of pandas or polars.
          y: not used.
          sample_weight: (N,) non-negative, or None for ones.
        Raises:
          ValueError: for arguments out of range, or values that a column cannot hold.
        """
        for name in ("n_components", "n_init", "max_iter"):
            check_number(self, name, least=1, integer=True)
        for name in ("smoothing", "tol"):
            check_number(self, name)
        check_number(self, "scale_floor", above=True)
        x = self.read_columns(X, reset=True)
        if len(x) < self.n_components:
            raise ValueError(f"n_samples={len(x)} should be >= n_components={self.n_components}.")
        weights = _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)
        mean, spread = column_moments(x, weights)
        normal = self.columns_ == "normal"
        unit = np.where(normal & (spread > 0), spread, 1).astype(x.dtype)
        shift = np.where(normal, mean, 0).astype(x.dtype)
        x = (x - shift) / unit
        mean = np.where(normal, 0, mean).astype(x.dtype)
        prior = self.prior_of(np.broadcast_to(mean, (self.n_components, len(mean))), self.smoothing)
        data = Data(
            self.fields_of(x),
            None if sample_weight is None else weights,
            None if prior is None else MixturePrior(None, prior),
        )
        algorithm = EM(self.tol, self.max_iter, scale_floor=self.scale_floor)
        with computing(x.dtype):
            starts = self._starts(x, weights, mean)
            if self.n_init == 1:
                found = run_steps(algorithm, starts[0], data, quick=are_few(x, self.n_components))
            else:
                stacked = jax.tree.map(lambda *parts: np.stack(parts), *starts)
                found = best(batches.run(algorithm, stacked, data, batches.COMMON))
            found = to_numpy(found)
        if found.status not in (Status.CONVERGED, Status.MAX_STEPS):
            raise ValueError(
                f"the fit ended with status {Status(int(found.status)).name}: use fewer components, or a "
                "larger scale_floor or smoothing"
            )
        self.weights_ = found.model.weights
        self.components_ = self._in_units(found.model.components, shift[normal], unit[normal])
        self.converged_ = bool(found.status == Status.CONVERGED)
        self.n_iter_ = int(found.num_steps)
        if not self.converged_:
            warnings.warn(
                "The fit did not converge. Increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of each row, integers (N,). See the example of the class.

        Args:
          X: (N, D).
        Raises:
          NotFittedError: before `fit`.
        """
        return np.argmax(self.predict_proba(X), axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probabilities of the components, (N, K). See the example of the class.

        Args:
          X: (N, D).
        Raises:
          NotFittedError: before `fit`.
        """
        rows = self._rows(X)
        with computing(self.weights_.dtype):
            return np.exp(np.asarray(self._model(self.weights_.dtype).log_responsibilities(rows)))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log likelihood of each row, (N,) nats. See the example of the class.

        Args:
          X: (N, D).
        Raises:
          NotFittedError: before `fit`.
        """
        rows = self._rows(X)
        with computing(self.weights_.dtype):
            return np.array(self._model(self.weights_.dtype).log_prob(rows))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log likelihood of a row, nats. See the example of the class.

        Args:
          X: (N, D).
          y: not used.
        Raises:
          NotFittedError: before `fit`.
        """
        return float(np.mean(self.score_samples(X)))

    @property
    def model_(self) -> Mixture:
        """The likelax model, in JAX's current floating type.

        Raises:
          NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return self._model(np.dtype(jnp.result_type(float)))

    def _rows(self, X: Any) -> Any:
        check_is_fitted(self)
        return self.fields_of(self.read_columns(X, reset=False).astype(self.weights_.dtype))

    def _model(self, dtype: Any) -> Mixture:
        parts = Mixture(self.weights_, self.components_)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parts)

    def _starts(self, x: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> list[Mixture]:
        """Starts at clusters of k-means of all columns, with one column for each category."""
        rng, size = check_random_state(self.random_state), self.n_components
        filled = np.where(np.isnan(x), mean, x)
        wide = []
        for at, kind in enumerate(self.columns_):
            if kind == "categorical":
                codes = x[:, at, None] == np.arange(len(self.categories_[at]))
                wide.append(codes.astype(x.dtype))
            else:
                column = np.sqrt(filled[:, at]) if kind == "poisson" else filled[:, at]
                wide.append(column[:, None])
        starts = []
        for _ in range(self.n_init):
            labels = clusters(np.concatenate(wide, axis=1), size, rng, weights=weights).labels_
            one = np.eye(size, dtype=x.dtype)[labels] * weights[:, None]
            seen = np.where(np.isnan(x), 0, 1).astype(x.dtype)
            # one row with the mean of the column is added to each cluster
            count = one.T @ seen + 1
            means = (one.T @ (seen * filled) + mean) / count
            product = self.product_of(means, np.ones_like(means))
            if "categorical" in product.fields:
                product.fields["categorical"] = self._tables(x, one)
            share: Any = (one.sum(axis=0) + 1) / (one.sum() + size)
            starts.append(Mixture(share.astype(x.dtype), product))
        return starts

    def _tables(self, x: np.ndarray, one: np.ndarray) -> Product:
        """Probabilities of the categories in clusters (N, K), with one count added."""
        tables = []
        for at in np.flatnonzero(self.columns_ == "categorical"):
            codes = x[:, at, None] == np.arange(len(self.categories_[at]))
            counts = one.T @ codes.astype(x.dtype) + 1
            probs: Any = counts / counts.sum(axis=1, keepdims=True)
            tables.append(Categorical(probs))
        return Product(tuple(tables))

    @staticmethod
    def _in_units(components: Product, shift: np.ndarray, unit: np.ndarray) -> Product:
        """The components in the units of X."""
        fields = dict(components.fields)
        if "normal" in fields:
            inner = fields["normal"].component
            loc: Any = inner.loc * unit + shift
            scale: Any = inner.scale * unit
            fields["normal"] = Independent(Normal(loc, scale))
        return Product(fields)

    def __sklearn_tags__(self) -> Tags:
        """NaN is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
