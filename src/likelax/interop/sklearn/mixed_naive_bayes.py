"""Naive Bayes of rows with columns of different types, as an estimator."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.utils import Tags, assert_all_finite, check_consistent_length, column_or_1d

from likelax import statistics
from likelax.families import Normal
from likelax.interop.arguments import check_number
from likelax.interop.sklearn.columns import ColumnsMixin
from likelax.interop.sklearn.naive_bayes import (
    UNLABELLED,
    NaiveBayesEstimator,
    given_priors,
    indicators,
    log_joint,
)
from likelax.interop.sklearn.precision import computing, to_numpy
from likelax.mixture import Mixture
from likelax.product import Independent, Product


class MixedNB(ColumnsMixin, NaiveBayesEstimator):
    """Naive Bayes of columns that are numbers, counts, binary or categories.

    NaN, and None among categories, is missing: the other columns of the row decide.

    Args:
      columns: the type of each column: "normal", "bernoulli" (0 and 1), "poisson" (counts) or
        "categorical"; one of them for all, a sequence of D, or a dict from names or positions of
        columns. "auto", also for columns that the dict leaves out: in a DataFrame booleans are
        "bernoulli", categories and text are "categorical"; all numbers are "normal".
      smoothing: counts added to each category of each class, and rows with the mean of the column
        added to its counts; 0 is maximum likelihood.
      var_smoothing: this fraction of the largest variance of a normal column is added to every variance.
      priors: (K,) given probabilities of the classes, or None to fit them.
      handle_unknown: a category that the first batch did not hold is an "error", or "missing".
    Attributes:
      classes_, class_count_, class_prior_: (K,).
      columns_: (D,) the type of each column.
      categories_: for each column its categories, in the order of their probabilities, or None.
      components_: the likelax model of the classes, with NumPy arrays: a `Product` with one entry for
        each type.
      epsilon_: what was added to the variances.
    Raises:
      ValueError: by `fit`; see there.
    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> X = [[0.0, 1], [2.0, 1], [7.0, 0], [9.0, 0]]
      >>> found = MixedNB(columns={1: "bernoulli"}).fit(X, ["a", "a", "b", "b"])
      >>> print(found.predict([[1.0, np.nan], [8.0, 0]]))
      ['a' 'b']
    """

    def __init__(
        self,
        *,
        columns: Any = "auto",
        smoothing: float = 1.0,
        var_smoothing: float = 1e-9,
        priors: Any = None,
        handle_unknown: str = "error",
    ) -> None:
        self.columns = columns
        self.smoothing = smoothing
        self.var_smoothing = var_smoothing
        self.priors = priors
        self.handle_unknown = handle_unknown

    def _check_arguments(self) -> None:
        check_number(self, "smoothing")
        check_number(self, "var_smoothing")

    def _read(self, X: Any, y: Any = UNLABELLED, reset: bool = False) -> Any:
        if isinstance(y, str):
            return self.read_columns(X, reset=False)
        x = self.read_columns(X, reset=reset)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(x, y)
        assert_all_finite(y, input_name="y")
        return x, y

    def _add(self, X: np.ndarray, labels: np.ndarray, weights: Any, *, first: bool) -> None:
        dtype, size = X.dtype, len(self.classes_)
        if first:
            self._stats: Any = None
            self.class_prior_ = given_priors(self.priors, size, dtype)
        X = X.astype(self.class_prior_.dtype, copy=False)
        dtype = X.dtype
        shares = indicators(labels, weights, size, dtype)
        ones = np.ones((size, X.shape[1]), dtype)
        even: Any = np.full(size, 1 / size, dtype)
        template = Mixture(even, self.product_of(ones / 2, ones))
        with computing(dtype):
            stats = _statistics(template, self.fields_of(X), shares)
            if self._stats is not None:
                stats = statistics.add(jax.tree.map(jnp.asarray, self._stats), stats)
            self._stats = to_numpy(stats)
            self.class_count_ = self._stats.weights.counts
            means, self.epsilon_ = self._pooled()
            prior = self.prior_of(np.broadcast_to(means, ones.shape), self.smoothing)
            fitted = to_numpy(_fitted(template.components, self._stats.components, prior))
        if "normal" in fitted.fields:
            inner = fitted.fields["normal"].component
            scale: Any = np.sqrt(inner.scale**2 + self.epsilon_)
            fitted.fields["normal"] = Independent(Normal(inner.loc, scale))
        self.components_ = fitted
        if self.priors is None:
            self.class_prior_ = self.class_count_ / self.class_count_.sum()

    def _pooled(self) -> tuple[np.ndarray, Any]:
        """(means of the count columns over all classes, what is added to the variances)."""
        components = self._stats.components
        means = np.ones(len(self.columns_), self.class_count_.dtype)
        if "poisson" in components:
            counts = components["poisson"]
            rows = counts.exposure.sum(axis=0)
            means[self.columns_ == "poisson"] = counts.events.sum(axis=0) / np.maximum(rows, 1)
        if "normal" not in components:
            return means, means.dtype.type(0)
        moments = components["normal"]
        total = np.maximum(moments.weight.sum(axis=0), np.finfo(means.dtype).tiny)
        middle = (moments.weight * moments.mean).sum(axis=0) / total
        scatter = (moments.scatter + moments.weight * (moments.mean - middle) ** 2).sum(axis=0)
        return means, means.dtype.type(self.var_smoothing * np.max(scatter / total))

    def _log_joint(self, X: np.ndarray) -> Array:
        dtype = self.class_prior_.dtype
        with computing(dtype):
            prior: Any = self.class_prior_
            model = Mixture(prior, self.components_)
            return log_joint(model, self.fields_of(X.astype(dtype, copy=False)))

    def __sklearn_tags__(self) -> Tags:
        """NaN is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@jax.jit
def _statistics(template: Mixture, x: Any, shares: Array) -> Any:
    return template.complete_statistics(x, shares)


@jax.jit
def _fitted(template: Product, stats: Any, prior: Product | None) -> Product:
    return template.stacked_m_step(stats, prior)
