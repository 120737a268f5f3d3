"""Mixtures of any model, and the array kernel of their E step."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, simplex
from likelax.data import DataLike, Labelled, check_labels, convert, rule_out, take_labels
from likelax.families.base import Prior, match_weights, probs_of_counts
from likelax.model import (
    Dims,
    JointPrior,
    Model,
    PriorLike,
    check_part,
    check_stack,
    pytree,
)
from likelax.numerics import chunks
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, category_counts

__all__ = [
    "Mixture", "MixturePrior", "MixtureStats", "log_prob", "responsibilities",
]  # fmt: skip

C = TypeVar("C", bound=Model)
"""The type of the components: K models, stacked."""


def responsibilities(log_weights: ArrayLike, log_lik: ArrayLike) -> Array:
    """Log posterior probabilities of the components: the E step of a mixture.

    log r[n, k] = log w[k] + log p(x_n | k) - log sum_j w[j] p(x_n | j)

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_weights: (K,) nats; -inf is a component of weight zero.
      log_lik: (..., K) log p(x_n | k), nats.
    Returns:
      (..., K) nats; rows of exp(r) sum to one. A row that is impossible under every component is
      all -inf.
    Raises:
      ValueError: at trace time, if the K axes differ.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 9.2.2.

    Examples:
      >>> log_r = responsibilities(jnp.log(jnp.array([0.5, 0.5])), jnp.array([[0.0, -1e4]]))
      >>> print(jnp.exp(log_r))
      [[1. 0.]]
    """
    return numerics.log_normalize(_joint(log_weights, log_lik))[0]


def log_prob(log_weights: ArrayLike, log_lik: ArrayLike) -> Array:
    """log sum_k w[k] p(x_n | k), nats.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_weights: (K,) nats; -inf is a component of weight zero.
      log_lik: (..., K) log p(x_n | k), nats.
    Returns:
      (...) nats; -inf, with gradient zero, for a row that is impossible under every component.
    Raises:
      ValueError: at trace time, if the K axes differ.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 9.2.

    Examples:
      >>> print(f"{log_prob(jnp.log(jnp.array([0.5, 0.5])), jnp.zeros(2)):.4f}")
      0.0000
    """
    return numerics.logsumexp(_joint(log_weights, log_lik), axis=-1)


def _joint(log_weights: ArrayLike, log_lik: ArrayLike) -> Array:
    log_weights, log_lik = numerics.named_floats(log_weights=log_weights, log_lik=log_lik)
    if log_weights.ndim != 1 or log_lik.ndim == 0 or log_lik.shape[-1] != log_weights.shape[0]:
        raise ValueError(
            "mixture: log_weights must have shape (K,) and log_lik (..., K) with the same K; "
            f"got {log_weights.shape} and {log_lik.shape}"
        )
    return log_lik + jnp.broadcast_to(log_weights, log_lik.shape)


class MixtureStats(NamedTuple):
    """Expected complete-data statistics.

    Attributes:
      weights: counts (K,): summed responsibilities.
      components: the components' statistics, with a leading axis K.
    """

    weights: CategoryCounts
    components: Any


@pytree
class MixturePrior(JointPrior[MixtureStats]):
    """The conjugate prior of a mixture's parameters.

    Attributes:
      weights: a `Dirichlet` over the weights, or None for none.
      components: the component's prior with a leading axis K on every leaf, or None for none.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2.1.

    Examples:
      >>> from likelax import Dirichlet
      >>> prior = MixturePrior(weights=Dirichlet(jnp.array([2.0, 1.0])))
      >>> stats = MixtureStats(CategoryCounts(jnp.array([3.0, 1.0]), 0.0), None)
      >>> print(prior.posterior(stats).weights.concentration)
      [5. 2.]
    """

    weights: Prior[CategoryCounts] | None = None
    components: PriorLike | None = None

    def posterior(self, stats: MixtureStats) -> Self:
        """Both parts updated; the exact posterior if the statistics come from labels."""
        weights = None if self.weights is None else self.weights.posterior(stats.weights)
        update = jax.vmap(lambda prior, s: prior.posterior(s))
        components = None if self.components is None else update(self.components, stats.components)
        return type(self)(weights, components)

    def nearest_to(self, others: Any) -> Self:
        """Both parts nearest to those of others with a leading axis; None stays None."""
        weights = None if self.weights is None else self.weights.nearest_to(others.weights)
        each = jax.vmap(lambda prior, q: prior.nearest_to(q), (0, 1))
        components = None if self.components is None else each(self.components, others.components)
        return type(self)(weights, components)


@pytree
class Mixture(Model[MixtureStats, MixturePrior], Generic[C]):
    """p(x) = sum_k weights[k] p_k(x), with K components of any kind.

    With `Labelled` data the components are classes: one `e_step` and one `m_step` fit a
    naive Bayes classifier, and labels of -1 make it semi-supervised.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      weights: (K,) non-negative, sums to one; zeros are exact.
      components: one model with a leading axis K on every leaf.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 9.2.

    Examples:
      >>> from likelax.families import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-2.0, 2.0]), jnp.ones(2)))
      >>> print(model.responsibilities(jnp.array([-2.0, 0.0])))
      [[0.9997 0.0003]
       [0.5    0.5   ]]
    """

    stacks: ClassVar[tuple[str, ...]] = ("components",)

    weights: Array = constrained(simplex)
    components: C

    def __post_init__(self) -> None:
        check_part("Mixture", "components", self.components)

    def check_shapes(self, name: str) -> None:
        """Raise for weights without an axis, or another number of components than weights.

        Raises:
          ValueError: starting with `name`.
        """
        super().check_shapes(name)
        check_stack(name, "components", self.components, "weights", jnp.shape(self.weights))

    @property
    def num_components(self) -> int:
        """K."""
        return jnp.shape(self.weights)[-1]

    @property
    def event_ndim(self) -> int:
        """Axes of one observation, as of each component."""
        return self.components.event_ndim

    @property
    def free_ndim(self) -> int:
        """Axes of one observation of free length: those of the components."""
        return self.components.free_ndim

    @one_program
    def component_log_prob(self, x: DataLike) -> Array:
        """log p_k(x) for every component: (..., K), nats.

        Args:
          x: (..., *event), without labels of this mixture.

        Examples:
          >>> from likelax import Poisson
          >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 2.0])))
          >>> print(model.component_log_prob(jnp.array([0, 0])))
          [[-1. -2.]
           [-1. -2.]]
        """
        return chunks.map_rows(self.components.stacked_log_prob, x, self.rows_in_cache(x))

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """log p(x), or log p(x, labels) for `Labelled` x: (...), nats.

        Raises:
          ValueError: for a batch of mixtures, whose weights have more than one axis.
        """
        if jnp.ndim(self.weights) != 1:
            raise ValueError(
                "Mixture.log_prob: a model describes one distribution, but weights of shape "
                f"{jnp.shape(self.weights)} are a batch; map over the batch with jax.vmap"
            )

        def total(rows: Any) -> Array:
            return numerics.logsumexp(self._joint(rows, self.components.stacked_log_prob), axis=-1)

        return chunks.map_rows(total, x, self.rows_in_cache(x))

    @one_program
    def log_responsibilities(self, x: DataLike) -> Array:
        """log p(component = k | x): (..., K), nats. An impossible row is all -inf.

        Args:
          x: (..., *event), plain or wrapped.
        Raises:
          ValueError: for a batch of mixtures, whose weights have more than one axis.

        Examples:
          >>> from likelax import Poisson
          >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 1.0])))
          >>> print(model.log_responsibilities(jnp.array([3, 9])).round(4))
          [[-0.6931 -0.6931]
           [-0.6931 -0.6931]]
        """

        def normalized(rows: Any) -> Array:
            return numerics.log_normalize(self._joint(rows, self.components.stacked_log_kernel))[0]

        return chunks.map_rows(normalized, x, self.rows_in_cache(x))

    @one_program
    def responsibilities(self, x: DataLike) -> Array:
        """p(component = k | x): (..., K). An impossible row is all 0. See the example of the class.

        Args:
          x: (..., *event), plain or wrapped.
        """
        return jnp.exp(self.log_responsibilities(x))

    @one_program
    def complete_statistics(self, x: DataLike, shares: ArrayLike) -> MixtureStats:
        """Statistics of data with given responsibilities.

        They are NaN for a component that has a share of a row which is impossible under all parameters.

        Args:
          x: data with leading axes (...).
          shares: (..., K) non-negative: the weight of each row in each component.
        Raises:
          ValueError: for shares of another shape.

        Examples:
          >>> from likelax import Poisson
          >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.ones(2)))
          >>> stats = model.complete_statistics(jnp.array([0, 4]), jnp.eye(2))
          >>> print(stats.weights.counts, stats.components.events)
          [1. 1.] [0. 4.]
        """
        (shares,) = numerics.named_floats(shares=shares)
        if shares.shape[-1:] != (self.num_components,):
            raise ValueError(
                f"shares must have shape (..., {self.num_components}), got {shares.shape}"
            )
        counts = jnp.sum(shares.reshape(-1, self.num_components), axis=0)
        labels = category_counts(counts)
        return MixtureStats(labels, self.components.stacked_e_step(x, shares))

    @one_program
    def predict(self, x: DataLike) -> Array:
        """The most probable component of each row: integers (...).

        -1 for an impossible row or one that holds NaN, as for an unknown label.

        Args:
          x: (..., *event), plain or wrapped.

        Examples:
          >>> from likelax import Poisson
          >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 9.0])))
          >>> print(model.predict(jnp.array([8, -1])))
          [ 1 -1]
        """
        log_resp = self.log_responsibilities(x)
        possible = jnp.max(log_resp, axis=-1) > -jnp.inf
        return jnp.where(possible, jnp.argmax(log_resp, axis=-1), -1)

    @one_program
    def responsibility_entropy(self, x: DataLike) -> Array:
        """Entropy of the posterior over components, (...), nats.

        It is 0 where the component is certain, and for an impossible row.

        Args:
          x: (..., *event), plain or wrapped.

        Examples:
          >>> from likelax import Poisson
          >>> model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 1.0])))
          >>> print(model.responsibility_entropy(jnp.array([3, 9])).round(4))  # log 2
          [0.6931 0.6931]
        """
        log_resp = self.log_responsibilities(x)
        return -numerics.weighted_sum(jnp.exp(log_resp), log_resp, axis=-1)

    def rows_in_cache(self, x: DataLike) -> int:
        """How many rows of x to process at a time: all if they are few, or x is one observation.

        Examples:
          >>> from likelax import Poisson
          >>> Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.ones(2))).rows_in_cache(jnp.zeros(2))
          2
        """
        x = convert("x", x)
        rows = chunks.num_rows(x)
        if not isinstance(rows, int):
            return rows  # symbolic, for `jax.export`: one form for every number
        if rows <= chunks.FEWEST:
            return max(rows, 1)
        spread = sum(math.prod(jnp.shape(leaf)[1:]) for leaf in jax.tree.leaves(x))
        size = chunks.rows_in_cache(spread * self.num_components)
        values, _ = take_labels(x)
        if size >= rows or not jax.eval_shape(self.components.stacked_log_prob, values).shape[:-1]:
            return rows
        return size

    def sample(
        self, key: Array, shape: Sequence[int] = (), inputs: DataLike | None = None
    ) -> DataLike:
        """Draws of shape (*shape, *event). inputs: as for `sample_labelled`."""
        return self.sample_labelled(key, shape, inputs).values

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """`sample`, with inputs (*shape, ...) for components that take them."""
        return self.sample(key, shape, inputs)

    def sample_labelled(
        self, key: Array, shape: Sequence[int] = (), inputs: DataLike | None = None
    ) -> Labelled:
        """Draws with the component that each came from.

        Args:
          key: random key.
          shape: of the draws; for hidden Markov models as components (..., T), and each sequence
            comes from one of them.
          inputs: (*shape, ...), for components that take inputs, such as regressions.
        Raises:
          ValueError: for inputs of other leading axes, or a shape without lengths that the components
            need.

        Examples:
          >>> from likelax import Delta
          >>> model = Mixture(jnp.array([0.5, 0.5]), Delta(jnp.array([0.0, 5.0])))
          >>> draws = model.sample_labelled(jax.random.key(0), (4,))
          >>> bool(jnp.all((draws.values == 5.0) == (draws.labels == 1)))
          True
        """
        self.check_shapes("Mixture.sample")
        if len(shape) < self.free_ndim:
            raise ValueError(
                f"Mixture.sample: shape must end in the {self.free_ndim} lengths that each draw of "
                f"its components needs, such as (..., T); got {tuple(shape)}"
            )
        lead = tuple(shape)[: len(shape) - self.free_ndim]
        key_label, key_value = jax.random.split(key)
        labels = jax.random.categorical(key_label, numerics.safe_log(self.weights), shape=lead)
        values = self.components.stacked_sample(
            key_value, labels, tuple(shape)[len(lead) :], inputs
        )
        return Labelled(values, labels)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[MixtureStats, Array]:
        """Expected complete-data statistics and the log probability, summed with the weights.

        An impossible row adds nothing to any component.

        Args:
          x: data with leading axes (...), plain or wrapped.
          weights: (...) non-negative, or None for ones.
        Raises:
          ValueError: for weights of another shape.
        """
        values, labels = take_labels(x)
        log_weights = self._log_weights()
        fused = None
        if labels is None:
            fused = self.components.mixture_e_step(log_weights, values, weights)
        if fused is not None:
            counts, stats, log_prob = fused
            return MixtureStats(category_counts(counts), stats), log_prob
        size = self.rows_in_cache(x)
        if size >= chunks.num_rows(x):
            return self._e_step(x, weights)
        shape = jax.eval_shape(self.log_prob, x)
        weights = match_weights(weights, shape.shape, shape.dtype)
        return chunks.sum_rows(self._e_step, x, weights, size)

    @one_program
    def m_step(self, stats: MixtureStats, prior: MixturePrior | None = None) -> Self:
        """Weights and components that maximise the expected log joint.

        A component without data keeps its parameters and gets weight zero.
        """
        prior = MixturePrior() if prior is None else prior
        weights = probs_of_counts(stats.weights, self.weights, prior.weights)
        components = self.components.stacked_m_step(stats.components, prior.components)
        return type(self)(weights, components)

    @one_program
    def expected_log_prob(self, stats: MixtureStats) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats."""
        each = jax.vmap(lambda c, s: c.expected_log_prob(s))
        labels = numerics.weighted_sum(stats.weights.counts, self._log_weights())
        return labels + jnp.sum(each(self.components, stats.components))

    @one_program
    def log_prior(self, prior: MixturePrior | None) -> Array:
        """Log density of all parameters under the prior, nats; 0 without one."""
        total: Any = jnp.zeros(())
        prior = MixturePrior() if prior is None else prior
        if prior.weights is not None:
            total = total + prior.weights.log_prob(self.weights)
        if prior.components is not None:
            total = total + self.components.stacked_log_prior(prior.components)
        return total

    def marginal(self, dims: Dims) -> "Mixture":
        """The mixture of the components' marginals over the event entries `dims`.

        For components that have `marginal`, such as `MvNormal`.

        Args:
          dims: (M,) positions on the event axis.
        Raises:
          ValueError: for components of another number than weights.
        """
        self.check_shapes("Mixture.marginal")
        dims = numerics.as_array("dims", dims)
        return type(self)(self.weights, jax.vmap(lambda c: c.marginal(dims))(self.components))

    def condition(self, dims: Dims, values: ArrayLike) -> "Mixture":
        """The distribution of the other entries given that the entries `dims` are `values`.

        Its weights are the posterior of the components given those values, so its mean is a
        mixture regression. For components that have `condition`, such as `MvNormal`.

        Args:
          dims: (M,) integers, the entries that are known.
          values: (M,) their values; `jax.vmap` over it for many.
        Returns:
          A mixture over the remaining entries, in their order.
        Raises:
          ValueError: for values of another shape than dims.
        Source: Bishop (2006), Pattern Recognition and Machine Learning, exercise 9.10.

        Examples:
          >>> from likelax.families import MvNormal
          >>> loc = jnp.array([[-5.0, -1.0], [5.0, 1.0]])
          >>> model = Mixture(jnp.array([0.5, 0.5]), MvNormal(loc, jnp.stack([jnp.eye(2)] * 2)))
          >>> given = model.condition([0], jnp.array([5.0]))
          >>> print(given.weights, given.mean())
          [0. 1.] [1.]
        """
        values = numerics.as_array("values", values)
        if values.shape != np.shape(numerics.as_array("dims", dims)):
            raise ValueError(
                f"values must have the shape of dims, {np.shape(dims)}; got {values.shape}"
            )
        weights = jnp.exp(self.marginal(dims).log_responsibilities(values))
        return type(self)(weights, jax.vmap(lambda c: c.condition(dims, values))(self.components))

    @one_program
    def mean(self) -> DataLike:
        """sum_k weights[k] mean_k: (*event), or a dict or tuple of such for products."""
        return self._average(jax.vmap(lambda c: c.mean())(self.components))

    @one_program
    def variance(self) -> DataLike:
        """Mean of the components' variances plus variance of their means: (*event)."""
        means = jax.vmap(lambda c: c.mean())(self.components)
        spread = jax.tree.map(lambda m, total: (m - total[None]) ** 2, means, self._average(means))
        within = jax.vmap(lambda c: c.variance())(self.components)
        return self._average(jax.tree.map(jnp.add, within, spread))

    @one_program
    def log_cdf(self, x: ArrayLike) -> Array:
        """log sum_k weights[k] P_k(X <= x), (...), nats, of a mixture of models of one number."""
        return self._log_average(jax.vmap(lambda c: c.log_cdf(x), out_axes=-1)(self.components))

    @one_program
    def log_survival(self, x: ArrayLike) -> Array:
        """log sum_k weights[k] P_k(X > x), (...), nats, of a mixture of models of one number."""
        each = jax.vmap(lambda c: c.log_survival(x), out_axes=-1)(self.components)
        return self._log_average(each)

    def _log_average(self, terms: Array) -> Array:
        terms, log_weights = numerics.as_float(terms, self._log_weights())
        return numerics.logsumexp(terms + jnp.broadcast_to(log_weights, terms.shape), axis=-1)

    @one_program
    def predictive(self, prior: MixturePrior) -> "Mixture":
        """A mixture of the components' predictive distributions, under independent priors.

        Exact for one new observation if `prior` is the posterior given labelled data.
        """
        weights = self.weights if prior.weights is None else prior.weights.mean()
        if prior.components is None:
            return Mixture(weights, self.components)
        each = jax.vmap(lambda c, p: c.predictive(p))
        return Mixture(weights, each(self.components, prior.components))

    def _e_step(self, x: DataLike, weights: ArrayLike | None) -> tuple[MixtureStats, Array]:
        log_resp, log_total = numerics.log_normalize(
            self._joint(x, self.components.stacked_log_prob)
        )
        weights = match_weights(weights, log_total.shape, log_total.dtype)
        shares = numerics.weighted(weights[..., None], jnp.exp(log_resp))
        values, _ = take_labels(x)
        return self.complete_statistics(values, shares), numerics.weighted_sum(weights, log_total)

    def pool(self, stats: MixtureStats) -> MixtureStats:
        """Statistics of S mixtures whose k-th components share their spread, for every k."""
        share = jax.vmap(lambda c, s: c.pool(s), in_axes=1, out_axes=1)
        return MixtureStats(stats.weights, share(self.components, stats.components))

    def used(self, field: str, index: Any = None) -> Array | None:
        """(K,) True for components of positive weight."""
        return jnp.asarray(self.weights) > 0 if field == "components" else None

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where x is possible for one of the components."""
        return self.components.stacked_possible(take_labels(x)[0])

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels of this mixture are out of range, or labels of its components.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: starting with `name`.
        """
        values, labels = take_labels(x)
        if labels is not None:
            check_labels(name, labels, self.num_components)
        self.components.check_labels(name, values)

    def _log_weights(self) -> Array:
        return numerics.safe_log(self.weights)

    def _average(self, values: Any) -> Any:
        """sum_k weights[k] values[k] of a tree of arrays (K, *event)."""

        def average(leaf: Array) -> Array:
            weights, leaf = numerics.as_float(self.weights, leaf)
            return jnp.tensordot(weights, leaf, axes=1, precision="highest")

        return jax.tree.map(average, values)

    def _joint(self, x: DataLike, each: Callable[[Any], Array]) -> Array:
        values, labels = take_labels(x)
        return rule_out(_joint(self._log_weights(), each(values)), labels)
