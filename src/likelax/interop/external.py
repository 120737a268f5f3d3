"""A distribution of another library as a model of this one."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import Constraint
from likelax.data import DataLike
from likelax.families.base import Distribution, match_weights
from likelax.model import Model, pytree, static
from likelax.numerics.checks import as_array, check_function, check_size, check_tree, is_real


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
        with lenient():
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
        with lenient():
            return jnp.asarray(self.log_density(self.build(**self.parameters), x))


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Other libraries rely on implicit promotion and use keys twice, which the caller may forbid."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield


@dataclasses.dataclass(frozen=True)
class Build:
    """A class of another library with its options; equal ones compile once."""

    kind: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]

    @property
    def __name__(self) -> str:
        return getattr(self.kind, "__name__", str(self.kind))

    def __call__(self, **parameters: Any) -> Any:
        return self.kind(**parameters, **dict(self.options))


def split_options(
    kind: Callable[..., Any], given: Mapping[str, Any], is_option: Callable[[str], bool]
) -> tuple[dict[str, Array], Callable[..., Any]]:
    """(parameters of a distribution, what builds it from them: the class with its options, if any).

    Args:
      kind: the class, or a function.
      given: the keywords of its constructor.
      is_option: whether a Python integer of this name is an option, such as `total_count`. What
        holds no numbers, and a boolean, always is.
    """
    parameters, options = {}, {}
    for name, value in given.items():
        number = is_real(value) or isinstance(value, list | jax.Array)
        whole = isinstance(value, int)
        if number and not isinstance(value, bool) and not (whole and is_option(name)):
            array = as_array(name, value)
            parameters[name] = array.astype(jnp.result_type(float)) if whole else array
        else:
            options[name] = value
    return parameters, Build(kind, tuple(sorted(options.items()))) if options else kind


def example(kind: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """A distribution built from the keywords, or from the first of K where it can't be built from K.

    Raises:
      Exception: that of the constructor.
    """
    with lenient():
        try:
            return kind(**given)
        except Exception as error:
            arrays = {n: jnp.asarray(v) for n, v in given.items() if hasattr(v, "shape")}
            if not arrays or any(a.ndim == 0 for a in arrays.values()):
                raise
            try:
                return kind(**{**given, **{n: a[0] for n, a in arrays.items()}})
            except Exception:
                raise error from None


def double_where(
    inside: Array, x: Array, point: Array, log_density: Callable[[Array], Array]
) -> Array:
    """The log density, -inf outside of the support, with finite gradients there.

    Args:
      inside: (...) whether each observation is in the support.
      x: (..., *event).
      point: broadcasts to x, a point of the support.
      log_density: (..., *event) -> (...), nats.
    """
    axes = tuple(range(inside.ndim, x.ndim))
    kept = jnp.where(jnp.expand_dims(inside, axes), x, jnp.asarray(point, x.dtype))
    return jnp.where(inside, log_density(kept), -jnp.inf)
