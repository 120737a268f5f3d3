"""The grammar: what a model answers, and the decorator that makes it a pytree. No logic."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar, dataclass_transform, runtime_checkable

import jax
from jax import Array

from likelax.constraints import constrained

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the type (a size, a name), not a parameter."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static, constrained, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a JAX pytree: fields are leaves, `static` ones are not.

    Nothing is checked or converted on construction, since `jax.vmap` and `jax.grad` rebuild
    models from tracers; kernels check shapes when they are traced.
    """
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))


@runtime_checkable
class Density(Protocol):
    """Anything with a log density: the least that a component must answer."""

    def log_prob(self, x: Any) -> Array:
        """Log density in nats: x of shape (..., *event) gives (...)."""
        ...


@runtime_checkable
class Model(Density, Protocol):
    """The four verbs. A model describes ONE distribution; K of them are the same pytree with
    a leading axis K on every leaf, mapped with `jax.vmap`.

    x is an array of shape (..., *event), or the same wrapped in `Masked`, `Labelled` or
    `Sequences`, or a dict or tuple of such for a product.
    """

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """Independent draws of shape (*shape, *event)."""
        ...

    def e_step(self, x: Any, weights: Array | None = None) -> tuple[Any, Array]:
        """(statistics, log_prob), both summed over the leading axes of x with the weights.

        Statistics of two data sets under one model add with `statistics.add` to those of
        both together. log_prob is a scalar: sum_n weights[n] log p(x[n]).
        """
        ...

    def m_step(self, stats: Any, prior: Any = None) -> Self:
        """The model of the same type that maximises the expected log joint of the statistics
        (plus the log prior). Where the statistics are empty the parameters stay as they are.
        """
        ...


class Latent(Model, Protocol):
    """A model with latent variables also answers for them."""

    def posterior(self, x: Any) -> Any:
        """The posterior over the latent variables given x; its fields are defined by formula."""
        ...
