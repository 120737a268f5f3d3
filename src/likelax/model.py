"""The base classes of all models: their methods, and a default for each one that has one.

A `Density` has `log_prob` and `sample`. A `Model` can also be fitted by EM. Nodes such as `Mixture`
and `HMM` call only these methods, so a class that derives from `Model` works in every node, in
every wrapper and in every fit.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax._pytree import check_registration, pytree, static
from likelax.constraints import Constraint
from likelax.data import DataLike, take_labels

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


class Density(abc.ABC):
    """A distribution with a log density: what a component must answer at least.

    An instance describes ONE distribution. K of them are the same pytree with a leading axis K on
    every leaf; the `stacked_*` methods are called on such a stack, the others through `jax.vmap`.

    Attributes:
      held: names of the fields that no fit changes, such as a total count.
      spread: names of the fields that components share when they are wrapped in `Tied`.
      stacks: names of the fields that hold K models, one for each value of a latent variable.
      repeats: names of the fields that hold one model for each entry of an event axis.
      ties: whether components share their `spread`, as in `Tied`.
    """

    _event_ndim: ClassVar[int] = 0
    held: ClassVar[tuple[str, ...]] = ()
    spread: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[tuple[str, ...]] = ()
    repeats: ClassVar[tuple[str, ...]] = ()
    ties: ClassVar[bool] = False

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self._event_ndim

    @abc.abstractmethod
    def log_prob(self, x: DataLike) -> Array:
        """Log density in nats: x of shape (..., *event) gives (...)."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Independent draws of shape (*shape, *event)."""

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """Independent draws of a model of targets given inputs, such as a regression.

        Args:
          key: random key.
          inputs: (*shape, ...), what the model is given; a dict or tuple of it for a product.
          shape: of the draws.
        Returns:
          Draws of shape (*shape, *event) as `log_prob` takes them, the inputs included.
        Raises:
          TypeError: for a model that takes no inputs.
        """
        raise TypeError(f"{type(self).__name__}.sample: it takes no inputs; leave inputs out")

    def log_kernel(self, x: DataLike) -> Array:
        """log p(x) up to a term without parameters, (...), nats: enough for a posterior over models.

        Override it where the rest is expensive, such as the coefficient of a multinomial.
        """
        return self.log_prob(x)

    def mean(self) -> DataLike:
        """Expected value of one observation, (*event).

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

    def num_observations(self, x: DataLike) -> Array:
        """How many observations each entry of `log_prob(x)` stands for, (...): one, or T steps."""
        return jnp.ones_like(self.log_prob(x))

    def marginal(self, dims: Dims) -> "Density":
        """The distribution of the event entries `dims` alone.

        Raises:
          TypeError: for a model whose marginals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.marginal: no closed form")

    def condition(self, dims: Dims, values: ArrayLike) -> "Density":
        """The distribution of the other event entries, given that the entries `dims` are `values`.

        Raises:
          TypeError: for a model whose conditionals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.condition: no closed form")

    def stacked_log_prob(self, x: DataLike) -> Array:
        """log p_k(x) of K models, stacked in self: (..., K), nats."""
        return jax.vmap(lambda model: model.log_prob(x), out_axes=-1)(self)

    def stacked_log_kernel(self, x: DataLike) -> Array:
        """`log_kernel` of K models, stacked in self: (..., K), nats."""
        if type(self).log_kernel is Density.log_kernel:
            return self.stacked_log_prob(x)
        return jax.vmap(lambda model: model.log_kernel(x), out_axes=-1)(self)

    def constraint(self, field: str, index: DataLike = None) -> Constraint | None:
        """The constraint of an entry of a field, where the field itself declares none.

        Args:
          field: name of a field.
          index: the entry of a dict, tuple or list in that field, or None.
        """
        return None

    def used(self, field: str, index: DataLike = None) -> Array | None:
        """Which of the models in a field have a probability above zero; None: all of them.

        Args:
          field: name of a field; for one of `stacks` the result has the axis K.
          index: the entry of a dict, tuple or list in that field, or None.
        Returns:
          Booleans with the leading axes of self, and those that the field adds.
        """
        return None

    def check_shapes(self, name: str) -> None:
        """Raise if parts of this model do not fit each other.

        Args:
          name: the function that was called, for the message.
        """
        return

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels in x do not fit the latent variables of this model.

        Traced labels are not looked at.

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


class Model(Density, Generic[S, P]):
    """A density with additive sufficient statistics: one that EM can fit."""

    @abc.abstractmethod
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """(statistics, log_prob), both summed over the leading axes of x with the weights.

        Statistics of two data sets under one model add with `statistics.add` to those of
        both together. log_prob is a scalar: sum_n weights[n] log p(x[n]).
        """

    @abc.abstractmethod
    def m_step(self, stats: S, prior: P | None = None) -> Self:
        """The model that maximises the expected log joint of the statistics.

        That is `expected_log_prob(stats)`, plus `log_prior(prior)` where there is a prior.
        Without statistics and prior the parameters stay as they are.
        """

    @abc.abstractmethod
    def expected_log_prob(self, stats: S) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats."""

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

    def predictive(self, prior: P) -> Density:
        """The distribution of one new observation with the parameters integrated out.

        Raises:
          TypeError: for a model without a closed form.
        """
        raise TypeError(f"{type(self).__name__}.predictive: no closed form")

    def stacked_e_step(self, x: DataLike, shares: Array) -> S:
        """Statistics of K models, stacked in self, with a leading axis K.

        Args:
          x: data with leading axes (...).
          shares: (..., K) non-negative: the weight of each observation in each model.
        """
        each = jax.vmap(lambda model, share: model.e_step(x, share)[0], in_axes=(0, -1))
        return each(self, shares)

    def stacked_m_step(self, stats: S, prior: P | None = None) -> Self:
        """M step of K models, stacked in self; `Tied` ones share statistics here.

        Args:
          stats: statistics with a leading axis K.
          prior: the model's prior with a leading axis K on every leaf, or None.
        """
        return jax.vmap(lambda model, s, p: model.m_step(s, p))(self, stats, prior)

    def mixture_e_step(
        self, log_weights: Array, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[Array, S, Array] | None:
        """A fused E step of the mixture of K models, stacked in self, or None for none.

        Override it only if the joint form is faster than `stacked_log_prob` and `stacked_e_step`.

        Args:
          log_weights: (K,) nats.
          x: data with leading axes (...), without labels.
          weights: (...), or None for ones.
        Returns:
          (counts (K,), statistics with leading axis K, weighted log probability in nats), or None.
        """
        return None

    def pool(self, stats: S) -> S:
        """Statistics of K models from which an M step gives all the same spread: what `Tied` calls.

        Args:
          stats: statistics with a leading axis K.
        Returns:
          Statistics of the same form: each model keeps what determines its location, and has the
          scatter and weight of all K together. Empty statistics stay empty.
        Raises:
          TypeError: for a model without a spread that components can share.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")


class JointPrior(abc.ABC, Generic[S]):
    """The priors of the parts of a node, such as `MixturePrior`; it has no density of its own."""

    @abc.abstractmethod
    def posterior(self, stats: S) -> Self:
        """Each part updated by its statistics: exact where the latent variables were seen."""


PriorLike: TypeAlias = Density | JointPrior[Any] | tuple["PriorLike | None", ...]
"""A prior over the parameters of a model.

A density over the parameter of a family, a `Product` or `Independent` of such densities, the
`JointPrior` of a node, or for `OneOf` a tuple with one entry for each option.
"""


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
