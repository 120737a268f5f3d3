"""The base classes of all models: their methods, and a default for each one that has one.

A `Density` has `log_prob` and `sample`. A `Model` can also be fitted by EM. Nodes such as `Mixture`
and `HMM` call only these methods, so a class that derives from `Model` works in every node, in
every wrapper and in every fit.
"""

import abc
import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax._pytree import check_registration, pytree, static
from likelax.constraints import Constraint, FieldChain
from likelax.data import DataLike, take_labels, take_mask
from likelax.numerics.checks import (
    check_axes,
    check_key,
    check_shape,
    checked,
    explained,
    first_index,
    is_concrete,
    match_inputs,
)
from likelax.one_program import one_program
from likelax.statistics import scale

__all__ = [
    "Density", "JointPrior", "Model", "PriorLike", "SupportsLogProb", "SupportsSample",
    "check_registration", "pytree", "static",
]  # fmt: skip

S = TypeVar("S")
"""The statistics of a model, such as `statistics.Moments`."""

P = TypeVar("P")
"""The conjugate prior of a model."""

Dims: TypeAlias = ArrayLike | Sequence[int]
"""Positions of entries on the event axis: integers (M,)."""


class SupportsLogProb(Protocol):
    """Anything with a log density: a model, or an object of your own."""

    def log_prob(self, x: DataLike, /) -> Array:
        """Log density in nats: x of shape (..., *event) gives (...)."""


class SupportsSample(Protocol):
    """Anything that can be sampled: a model, or an object of your own."""

    def sample(self, key: Array, shape: Sequence[int], /) -> DataLike:
        """Independent draws of shape (*shape, *event)."""


@functools.cache
def _axes_of_fields(cls: type) -> tuple[tuple[str, int], ...]:
    """(name, number of axes) of the fields whose constraint is one of vectors or matrices."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    constraints = ((field.name, field.metadata.get("constraint")) for field in fields)
    return tuple((name, c.ndim) for name, c in constraints if c is not None and c.ndim)


# methods whose statistics are validated by their annotations
_TYPED = (
    "m_step", "expected_log_prob", "log_prior", "predictive", "posterior", "log_evidence",
    "expected_log_likelihood", "kl_divergence", "pool", "_maximum_likelihood",
)  # fmt: skip

# methods whose errors of shapes are explained, besides those
_MOMENTS = (
    "mean", "variance", "cdf", "log_cdf", "log_survival", "quantile", "entropy",
)  # fmt: skip


def with_checked_key(sample: Callable[..., Any], place: int) -> Callable[..., Any]:
    """A method that draws, with a check of its key and of the shape, `place` arguments later."""

    @functools.wraps(sample)
    def checked(self: Any, key: Array, *args: Any, **kwargs: Any) -> Any:
        check_key(key)
        check_shape(kwargs.get("shape", args[place] if len(args) > place else ()))
        return sample(self, key, *args, **kwargs)

    return checked


class Density(abc.ABC):
    """Base class of all distributions: `log_prob` and `sample`.

    An instance describes one distribution. K distributions are the same pytree with a leading axis K
    on every leaf. The `stacked_*` methods are called on such a stack; all other methods describe one
    distribution, and `jax.vmap` maps them over a stack.

    Attributes:
      held: names of the fields that no fit changes, such as a total count.
      spread: names of the fields that components share when they are wrapped in `Tied`.
      of_spread: names of the fields that describe the distribution of a spread, in a prior; `Tied` shares
        them too.
      stacks: names of the fields that hold K models, one for each value of a latent variable.
      repeats: names of the fields that hold one model for each entry of an event axis.
      ties: whether components share their `spread`, as in `Tied`.

    Examples:
      >>> from likelax.constraints import constrained, positive
      >>> @pytree
      ... class Triangular(Density):
      ...     width: Array = constrained(positive)
      ...     def log_prob(self, x):
      ...         return jnp.log(jnp.maximum(1 - abs(x) / self.width, 0) / self.width)
      ...     def sample(self, key, shape=()):
      ...         return self.width * jnp.diff(jax.random.uniform(key, (2, *shape)), axis=0)[0]
      >>> print(Triangular(2.0).log_prob(jnp.array([0.0, 3.0])).round(4))
      [-0.6931    -inf]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, place in (("sample", 0), ("sample_given", 1), ("sample_labelled", 0)):
            if name in vars(cls):
                setattr(cls, name, with_checked_key(vars(cls)[name], place))
        for name in _TYPED:
            if name in vars(cls):
                # a prior may be an `Independent` or a `Product` of priors
                setattr(cls, name, checked(prior=None)(vars(cls)[name]))
        for name in (*_TYPED, "sample", "sample_given", "sample_labelled", *_MOMENTS):
            if inspect.isfunction(vars(cls).get(name)):
                setattr(cls, name, explained(vars(cls)[name]))

    _event_ndim: ClassVar[int] = 0
    held: ClassVar[tuple[str, ...]] = ()
    spread: ClassVar[tuple[str, ...]] = ()
    of_spread: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[tuple[str, ...]] = ()
    repeats: ClassVar[tuple[str, ...]] = ()
    ties: ClassVar[bool] = False

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self._event_ndim

    @property
    def free_ndim(self) -> int:
        """Leading axes of one observation whose length no parameter says, such as time.

        `sample(key, shape)` takes their lengths as the last entries of `shape`.
        """
        return 0

    @property
    def time_varying(self) -> bool:
        """Whether the parameters of any part have an axis of time, as those of `TimeVarying`."""
        parts = jax.tree.leaves(self, is_leaf=lambda n: n is not self and isinstance(n, Density))
        return any(isinstance(part, Density) and part.time_varying for part in parts)

    @abc.abstractmethod
    def log_prob(self, x: DataLike) -> Array:
        """Log density in nats: x of shape (..., *event) gives (...)."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Independent draws of shape (*shape, *event)."""

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """Independent draws of targets given inputs, for a model such as a regression.

        Args:
          key: random key.
          inputs: (*shape, ...); a dict or tuple of inputs for a product.
          shape: of the draws.
        Returns:
          Draws of shape (*shape, *event) as `log_prob` takes them, the inputs included.
        Raises:
          TypeError: for a model that takes no inputs.
        """
        raise TypeError(f"{type(self).__name__}.sample: it takes no inputs; leave inputs out")

    def log_kernel(self, x: DataLike) -> Array:
        """log p(x) without terms that do not depend on the parameters, (...), nats.

        It suffices for a posterior over models. Override it where such a term is expensive, as the
        coefficient of a multinomial is.
        """
        return self.log_prob(x)

    def mean(self) -> DataLike:
        """Expected value of one observation, (*event); a dict or tuple of them for a product.

        Raises:
          TypeError: for a model whose mean has no closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}.mean: no closed form; average over .sample(key, (S,))"
        )

    def variance(self) -> DataLike:
        """Variance of each entry of one observation, (*event).

        Raises:
          TypeError: for a model whose variance has no closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}.variance: no closed form; take it from .sample(key, (S,))"
        )

    def cdf(self, x: ArrayLike) -> Array:
        """P(X <= x), (...), of a model of one number.

        Args:
          x: (...), also outside the support, and for counts also between whole numbers.
        Raises:
          TypeError: for a model without a closed form here.
        """
        return jnp.exp(self.log_cdf(x))

    def log_cdf(self, x: ArrayLike) -> Array:
        """log P(X <= x), (...), nats, right in both tails.

        Args:
          x: (...) as for `cdf`.
        Raises:
          TypeError: for a model without a closed form here.
        """
        raise TypeError(f"{type(self).__name__}.cdf: no closed form")

    def log_survival(self, x: ArrayLike) -> Array:
        """log P(X > x), (...), nats, right in both tails.

        Args:
          x: (...) as for `cdf`.
        Raises:
          TypeError: for a model without a closed form here.
        """
        raise TypeError(f"{type(self).__name__}.log_survival: no closed form")

    def quantile(self, prob: ArrayLike, *, upper: bool = False) -> Array:
        """The smallest x with P(X <= x) >= prob, (...).

        Args:
          prob: (...) in [0, 1]; NaN outside. 0 and 1 give the ends of the support.
          upper: whether prob is P(X > x) instead: a float just below 1 has few digits left, and
            quantiles of the upper tail are exact only so.
        Raises:
          TypeError: for a model without a closed form here.
        """
        raise TypeError(f"{type(self).__name__}.quantile: no closed form")

    def entropy(self) -> Array:
        """-E[log p(X)], a scalar in nats; of a density, with respect to the unit of x.

        Raises:
          TypeError: for a model without a closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}.entropy: no closed form; average -log_prob over draws"
        )

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other) = E[log p(X) - log q(X)] of two models of one type, a scalar in nats.

        inf where other gives 0 to something that self does not.

        Args:
          other: q.
        Raises:
          TypeError: for another type, or a model without a closed form here.
        """
        raise TypeError(f"{type(self).__name__}: the divergence has no closed form here")

    def _same_type(self, other: Any) -> None:
        if type(other) is not type(self):
            raise TypeError(
                f"kl_divergence: wanted two {type(self).__name__}; got {type(other).__name__}"
            )

    def num_observations(self, x: DataLike) -> Array:
        """Number of observations in each entry of `log_prob(x)`, (...): one, or T for a series."""
        return jnp.ones_like(self.log_prob(x))

    def marginal(self, dims: Dims) -> "Density":
        """The distribution of the event entries `dims`, the others integrated out.

        Args:
          dims: (M,) positions on the event axis.

        Raises:
          TypeError: for a model whose marginals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.marginal: no closed form")

    def condition(self, dims: Dims, values: ArrayLike) -> "Density":
        """The distribution of the other event entries, given that the entries `dims` are `values`.

        Args:
          dims: (M,) positions on the event axis.
          values: (M,).

        Raises:
          TypeError: for a model whose conditionals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.condition: no closed form")

    def atom(self) -> tuple[Array, Array] | None:
        """(whether the whole mass lies on one point, that point): a limit such as a scale of 0.

        None for a model that has no such limit. Works on stacked models too.
        """
        return None

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where some value of the parameters gives x a positive density: booleans (...).

        Fits refuse other observations. It runs on the host: all arrays, those of self too, are
        NumPy arrays. Override it for a density with a support; here every x is possible.
        """
        return np.True_

    def stacked_possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where `possible` holds for one of K models, stacked in self, at least: booleans (...)."""
        leaves, structure = jax.tree.flatten(self)
        found: Any = np.False_
        for k in range(leaves[0].shape[0]):
            found = found | jax.tree.unflatten(structure, [a[k] for a in leaves]).possible(x)
            if np.all(found):
                break
        return found

    @one_program
    def stacked_log_prob(self, x: DataLike) -> Array:
        """log p_k(x) of K stacked models: (..., K), nats."""
        return jax.vmap(lambda model: model.log_prob(x), out_axes=-1)(self)

    @one_program
    def stacked_log_kernel(self, x: DataLike) -> Array:
        """`log_kernel` of K stacked models: (..., K), nats."""
        if type(self).log_kernel is Density.log_kernel:
            return self.stacked_log_prob(x)
        return jax.vmap(lambda model: model.log_kernel(x), out_axes=-1)(self)

    def stacked_sample(
        self,
        key: Array,
        index: Array,
        lengths: Sequence[int] = (),
        inputs: DataLike | None = None,
    ) -> DataLike:
        """One draw of the model index[n] of K stacked ones, for every n.

        Args:
          key: random key.
          index: (...) integers.
          lengths: what `sample` of one model takes as shape.
          inputs: (..., *lengths, ...), or None for models that take none.
        Returns:
          Draws of shape (..., *lengths, *event).
        Raises:
          ValueError: for inputs of other leading axes.
        """
        flat = index.reshape(-1)
        keys = jax.random.split(key, flat.shape[0])

        def take(at: Array) -> Any:
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[at], self)

        if inputs is None:
            values = jax.vmap(lambda k, i: take(i).sample(k, lengths))(keys, flat)
        else:
            match_inputs("sample", inputs, (*index.shape, *lengths))
            rows = jax.tree.map(
                lambda a: jnp.reshape(a, (*flat.shape, *jnp.shape(a)[index.ndim :])), inputs
            )
            draw = jax.vmap(lambda k, i, row: take(i).sample_given(k, row, lengths))
            values = draw(keys, flat, rows)
        return jax.tree.map(lambda v: v.reshape(*index.shape, *v.shape[1:]), values)

    def constraint(self, field: str, index: DataLike = None) -> Constraint | None:
        """The constraint of a parameter whose field does not declare one by `constrained`.

        Args:
          field: name of a field.
          index: the entry of a dict, tuple or list in that field, or None.
        Returns:
          The constraint, or None to use what the field declares.
        """
        return None

    def used(self, field: str, index: DataLike = None) -> Array | None:
        """Which of the models in a field have a probability above zero.

        Args:
          field: name of a field; for one of `stacks` the result has the axis K.
          index: the entry of a dict, tuple or list in that field, or None.
        Returns:
          Booleans with the leading axes of self and those that the field adds; None if all are.
        """
        return None

    def check_shapes(self, name: str) -> None:
        """Raise if the shapes of this model's fields do not match.

        It looks at the last axes of fields, so that it holds for stacked models too. The default
        asks a field for the axes of its constraint.

        Args:
          name: the function that was called, for the message.
        Raises:
          ValueError: starting with `name`.
        """
        for field, ndim in _axes_of_fields(type(self)):
            check_axes(f"{name}: {field}", getattr(self, field), ndim)

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels in x do not match the latent variables of this model.

        Values of traced labels are not checked.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: a label out of range, or labels for a model without latent variables.
        """
        if take_labels(x)[1] is not None:
            raise ValueError(
                f"{name}: {type(self).__name__} has no latent variable to label; leave Labelled out"
            )

    def check_split(self, name: str, x: DataLike) -> None:
        """Raise unless one observation can be split over devices, by its first axis.

        Args:
          name: the function that was called, for the message.
          x: one observation, plain or wrapped.
        Raises:
          ValueError: starting with `name`; always by default.
        """
        raise ValueError(
            f"{name}: mesh splits the first axis of the data, over rows; got a single observation of "
            f"{type(self).__name__}, which can't be split"
        )

    def split_log_prob(self, x: DataLike, axes: tuple[str, ...]) -> Array:
        """The share of one device in the log probability of one observation that is split over devices.

        It is called within `jax.shard_map`, after `check_split`. The shares of all devices add to
        log p(x), and their derivatives to its derivative.

        Args:
          x: the part of this device of every array; numbers, such as a length, are those of the whole.
          axes: names of the axes of the mesh.
        Raises:
          NotImplementedError: by default, as `check_split` raises.
        """
        raise NotImplementedError

    def split_e_step(
        self, x: DataLike, weights: ArrayLike | None, axes: tuple[str, ...]
    ) -> tuple[Any, Array]:
        """The share of one device in the E step of one observation that is split over devices.

        Args:
          x, axes: as for `split_log_prob`.
          weights: a number, or None for one.
        Returns:
          (statistics, nats); those of all devices merge and add to those of the whole.
        Raises:
          NotImplementedError: by default, as `check_split` raises.
        """
        raise NotImplementedError


class Model(Density, Generic[S, P]):
    """A density with additive sufficient statistics, so that EM can fit it.

    The type parameters are the statistics and the conjugate prior, as in
    `class Poisson(Family[EventCounts, Gamma])`.

    Examples:
      >>> from likelax.families import Poisson
      >>> model = Poisson(1.0)
      >>> stats, log_prob = model.e_step(jnp.array([2, 4]))
      >>> print(stats.events, model.m_step(stats).rate)
      6.0 3.0
    """

    @abc.abstractmethod
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """Sufficient statistics of x, and its log probability.

        Statistics of two data sets under one model add by `statistics.add` to those of both sets
        together.

        Args:
          x: data with leading axes (...).
          weights: (...) non-negative, or None for ones.
        Returns:
          (statistics, sum_n weights[n] log p(x[n]), a scalar in nats).
        """

    @abc.abstractmethod
    def m_step(self, stats: S, prior: P | None = None) -> Self:
        """The model that maximises `expected_log_prob(stats)`, plus `log_prior(prior)` with a prior.

        Empty statistics leave the parameters as they are when there is no prior.
        """

    @abc.abstractmethod
    def expected_log_prob(self, stats: S) -> Array:
        """Expected complete-data log probability of data with these statistics, a scalar in nats."""

    def log_prior(self, prior: P | None) -> Array:
        """Log density of the parameters under a prior, nats; 0 without one.

        Raises:
          ValueError: for a prior, if this model has no conjugate one.
        """
        if prior is None:
            return jnp.zeros(())
        raise ValueError(
            f"{type(self).__name__}.log_prior: it has no conjugate prior; got {prior!r}"
        )

    def stacked_log_prior(self, prior: P | None, used: Array | None = None) -> Array:
        """Sum of the log priors of K stacked models, a scalar in nats.

        Args:
          prior: the model's prior with a leading axis K on every leaf, or None.
          used: (K,) booleans, which of the K count, or None for all. `OneOf` asks so for the
            components that choose an option.
        """
        each = jax.vmap(lambda model, p: model.log_prior(p))(self, prior)
        return jnp.sum(each if used is None else jnp.where(used, each, 0))

    def tied_log_prior(self, prior: P | None, used: Array | None = None) -> Array:
        """`stacked_log_prior` of K models that share one spread; `Tied` calls it."""
        return self.stacked_log_prior(prior, used)

    def predictive(self, prior: P) -> Density:
        """The distribution of one new observation, with the parameters integrated out.

        Args:
          prior: the distribution of the parameters, such as their posterior.
        Raises:
          TypeError: for a model without a closed form.
        """
        raise TypeError(f"{type(self).__name__}.predictive: no closed form")

    @one_program
    def stacked_e_step(self, x: DataLike, shares: Array) -> S:
        """Statistics of K stacked models, with a leading axis K.

        Args:
          x: data with leading axes (...).
          shares: (..., K) non-negative: the weight of each observation in each model.
        """
        each = jax.vmap(lambda model, share: model.e_step(x, share)[0], in_axes=(0, -1))
        return each(self, shares)

    def stacked_m_step(self, stats: S, prior: P | None = None, used: Array | None = None) -> Self:
        """M step of K stacked models. `Tied` shares their statistics here.

        Args:
          stats: statistics with a leading axis K.
          prior: the model's prior with a leading axis K on every leaf, or None.
          used: (K,) booleans, or None for all: those whose result counts. The others have empty
            statistics, and their priors have no part in a spread that the K share.
        """
        return jax.vmap(lambda model, s, p: model.m_step(s, p))(self, stats, prior)

    def mixture_e_step(
        self, log_weights: Array, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[Array, S, Array] | None:
        """A fused E step of the mixture of K stacked models; None if there is none.

        Override it only if the fused form is faster than `stacked_log_prob` and `stacked_e_step`.

        Args:
          log_weights: (K,) nats.
          x: data with leading axes (...), without labels.
          weights: (...), or None for ones.
        Returns:
          (counts (K,), statistics with leading axis K, weighted log probability in nats), or None.
        """
        return None

    def pool_with_prior(
        self, stats: S, prior: P | None, used: Array | None = None
    ) -> tuple[S, P | None]:
        """`pool` with a prior: statistics and a prior whose M step shares the spread.

        Args:
          stats: statistics with a leading axis K.
          prior: the model's prior with a leading axis K on every leaf, or None. The K spreads are
            one number, so their priors multiply.
          used: (K,) booleans, or None for all: those whose priors count.
        Raises:
          TypeError: for a model without a spread that components can share.
        """
        if prior is None:
            return self.pool(stats), None
        # an M step of no data under the posterior is that of the data under the prior
        posterior = jax.vmap(lambda prior, s: prior.posterior(s))(prior, stats)
        return scale(stats, 0.0), posterior.pooled(used)

    def pool(self, stats: S) -> S:
        """Statistics of K models changed so that an M step gives all of them the same spread.

        `Tied` calls it.

        Args:
          stats: statistics with a leading axis K.
        Returns:
          Statistics of the same form. Each model keeps what determines its location, and gets the
          scatter and weight of all K together. Empty statistics stay empty.
        Raises:
          TypeError: for a model without a spread that components can share.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")


class JointPrior(abc.ABC, Generic[S]):
    """The priors of the parts of a node, such as `MixturePrior`. It has no density itself.

    Examples:
      >>> from likelax.families import Dirichlet
      >>> from likelax.mixture import MixturePrior, MixtureStats
      >>> from likelax.statistics import CategoryCounts
      >>> prior = MixturePrior(weights=Dirichlet(jnp.ones(2)))
      >>> stats = MixtureStats(CategoryCounts(jnp.array([3.0, 1.0]), 0.0), None)
      >>> print(prior.posterior(stats).weights.concentration)
      [4. 2.]
    """

    @abc.abstractmethod
    def posterior(self, stats: S) -> Self:
        """The prior with each part updated by its statistics.

        It is the exact posterior if the latent variables were observed.
        """

    def nearest_to(self, others: Self) -> Self:
        """The prior nearest to several others, part by part; `Hierarchical` calls it.

        Args:
          others: priors of this type, with a leading axis G on every leaf.
        Raises:
          TypeError: for a prior that does not define it.
        """
        raise TypeError(f"Hierarchical: {type(self).__name__} cannot be fitted to groups")


PriorLike: TypeAlias = Density | JointPrior[Any] | tuple["PriorLike | None", ...]
"""A prior over the parameters of a model.

A density over the parameter of a family, a `Product` or `Independent` of such densities, the
`JointPrior` of a node, or for `OneOf` a tuple with one entry for each option.
"""


def is_spread(chain: FieldChain) -> bool:
    """Whether a leaf is a covariance or scale that components can share, or that has a floor.

    Args:
      chain: the dataclasses on the way to the leaf, from `constraints.field_chains`.
    """
    if not chain:
        return False
    node, field, _ = chain[-1]
    return isinstance(node, Density) and field.name in node.spread


def is_tied(chain: FieldChain) -> bool:
    """Whether a `Tied` around its model makes the components share a leaf.

    Args:
      chain: as for `is_spread`.
    """
    nodes = [(node, field.name) for node, field, _ in chain if isinstance(node, Density)]
    shared = [
        i for i, (node, field) in enumerate(nodes) if field in (*node.spread, *node.of_spread)
    ]
    return any(node.ties for i in shared for node, _ in nodes[:i])


def check_part(name: str, field: str, value: object) -> None:
    """Raise unless a field holds a model of this library.

    Raises:
      TypeError: naming the field and how to adapt a distribution from elsewhere.
    """
    if not isinstance(value, Density):
        kind = f"{type(value).__module__}.{type(value).__name__}"
        raise TypeError(
            f"{name}: {field} must be a likelax model; got {kind}. Wrap a distribution of another "
            "library by its adapter in likelax.interop, or derive a class from likelax.Model"
        )


def check_stack(
    name: str, field: str, models: Density, counted: str, axes: tuple[int, ...]
) -> None:
    """Raise unless every array of some stacked models has the leading axes `axes`.

    Args:
      name: the function that was called, for the message.
      field: that holds the models.
      models: the stacked models; their own shapes are checked too.
      counted: the field with one entry for each model.
      axes: its shape.
    Raises:
      ValueError: naming the first array with other axes.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(models):
        got = jnp.shape(leaf)
        if got[: len(axes)] != axes:
            raise ValueError(
                f"{name}: {counted} of shape {axes} want these leading axes on every array of "
                f"{field}; got {field}{jax.tree_util.keystr(path)} of shape {got}"
            )
    models.check_shapes(name)


def check_possible(
    name: str, model: Density, x: DataLike, weights: ArrayLike | None = None
) -> None:
    """Raise for an observation that no parameters of the model give a positive density.

    Traced arguments are let through; the objective of a fit is -inf or NaN then.

    Args:
      name: the function that was called, for the message.
      model: any model; only parameters that no fit changes matter, such as a total count.
      x: data, plain or wrapped.
      weights: one for each observation, or None. An observation of weight zero may be anything.
    Raises:
      ValueError: naming the first such observation.
    """
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves((model, x, weights))):
        return
    model, x = jax.tree.map(np.asarray, (model, x))
    wrong = ~np.asarray(model.possible(x))
    if weights is not None and wrong.shape == np.shape(weights):
        wrong &= np.asarray(weights) > 0
    if not wrong.any():
        return
    at = first_index(wrong)
    values = take_mask(x)[0]
    what = f"the observation of x at index {at}"
    if isinstance(values, np.ndarray):
        what = f"x{list(at) if at else ''} = {values[at]}"
    raise ValueError(
        f"{name}: {what} has probability zero whatever the parameters of {type(model).__name__}; "
        "remove it, or declare it missing with Masked"
    )
