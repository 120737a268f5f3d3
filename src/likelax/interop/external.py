"""A distribution of another library as a model of this one."""

from collections.abc import Callable, Sequence
from typing import Any, Never, Self

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import Constraint
from likelax.data import DataLike
from likelax.families.base import Distribution, match_weights
from likelax.model import Model, pytree, static
from likelax.numerics.checks import check_function, check_size, check_tree


def _log_prob(distribution: Any, x: Array) -> Array:
    return distribution.log_prob(x)


def _sample(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    return distribution.sample(key, shape)


@pytree
class External(Distribution, Model[tuple[()], Never]):
    """A distribution of another library: a component, an emission or a field of a product.

    The distribution is built from its parameters at each call. So K of them, with a leading axis K on
    every parameter, are K distributions of batch shape (). It has no M step: fit it by `fit.gradient`,
    or wrap it in `Fixed` beside parts that EM fits.

    Attributes:
      parameters: a dict from names to arrays.
      build: from the parameters, as keywords, to the distribution; a class, or a function that
        lives as long as the model, since it is a part of compiled programs.
      constraints: (name, `Constraint`) pairs of the parameters that are not real.
      log_density: from (distribution, x) to its log density, nats.
      draw: from (distribution, key, shape) to draws of shape (*shape, *event).
      num_event_axes: number of axes of one observation.

    Examples:
      >>> import types
      >>> from likelax.constraints import positive
      >>> def build(rate):  # stands for a class of another library
      ...     return types.SimpleNamespace(log_prob=lambda x: jnp.log(rate) - rate * x)
      >>> model = External({"rate": jnp.array(2.0)}, build, (("rate", positive),))
      >>> print(f"{model.log_prob(jnp.array(1.0)):.4f}")
      -1.3069
    """

    parameters: dict[str, Any]
    build: Callable[..., Any] = static()
    constraints: tuple[tuple[str, Constraint], ...] = static(default=())
    log_density: Callable[[Any, Array], Array] = static(default=_log_prob)
    draw: Callable[[Any, Array, tuple[int, ...]], Array] = static(default=_sample)
    num_event_axes: int = static(default=0)

    def __post_init__(self) -> None:
        check_tree("External: parameters", self.parameters)
        for name in ("build", "log_density", "draw"):
            check_function(f"External: {name}", getattr(self, name))
        check_size("External: num_event_axes", self.num_event_axes, least=0)
        for name, constraint in self.constraints:
            if not isinstance(name, str) or not isinstance(constraint, Constraint):
                raise TypeError(
                    "External: constraints must be pairs of a name and a Constraint, "
                    f"got {(name, constraint)!r}"
                )

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self.num_event_axes

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, *event)."""
        return self.draw(self.build(**self.parameters), key, tuple(shape))

    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[tuple[()], Array]:
        """No statistics, and the log probability, summed with the weights.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        log_prob = self.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        return (), numerics.weighted_sum(weights, log_prob)

    def m_step(self, stats: tuple[()], prior: None = None) -> Self:
        """Not possible.

        Raises:
          TypeError: always, with what to do instead.
        """
        raise TypeError(
            f"External: {self._name()} has no M step; fit it by fit.gradient, or wrap it in Fixed"
        )

    def expected_log_prob(self, stats: tuple[()]) -> Array:
        """Not possible.

        Raises:
          TypeError: always.
        """
        raise TypeError(f"External: {self._name()} has no sufficient statistics")

    def constraint(self, field: str, index: Any = None) -> Constraint | None:
        """The constraint of the parameter `index`; None for a real one."""
        return dict(self.constraints).get(index) if field == "parameters" else None

    def _name(self) -> str:
        return getattr(self.build, "__name__", str(self.build))

    def _log_density(self, x: Array) -> Array:
        return jnp.asarray(self.log_density(self.build(**self.parameters), x))
