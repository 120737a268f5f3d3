"""Distributions of distreqx as models: components, emissions, fields of a product and guides."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax.constraints import Constraint
from likelax.interop import supports
from likelax.interop.external import External, split_options
from likelax.numerics.checks import check_size

try:
    import distreqx  # noqa: F401
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError(
        "likelax.interop.distreqx wants distreqx: pip install distreqx"
    ) from missing


def density(
    kind: Callable[..., Any],
    *,
    constraints: Mapping[str, Constraint] | None = None,
    num_event_axes: int | None = None,
    **parameters: Any,
) -> External:
    """A distreqx distribution as a model: K of them with a leading axis K on every parameter.

    distreqx describes one distribution at a time, as likelax does: it is built from the parameters of
    one of the K.

    Args:
      kind: a class of distreqx, or a function of your own that builds a distribution from arrays.
      constraints: of parameters, by name; without them as for `likelax.interop.distrax.density`.
      num_event_axes: number of axes of one observation. None: 1 for the multivariate normals and
        `OneHotCategorical`, 0 for all others.
      parameters: what it is called with, as keywords: a number or an array is a parameter of the
        model, anything else an option that all K distributions share.
    Returns:
      `External`. Its log density is -inf off the support of the families of distreqx.
    Raises:
      TypeError, ValueError: for constraints of another kind, or of a name that is no parameter.

    Examples:
      >>> import distreqx.distributions as dist
      >>> from likelax import Mixture
      >>> parts = density(dist.Logistic, loc=jnp.array([0.0, 4.0]), scale=jnp.ones(2))
      >>> model = Mixture(jnp.array([0.5, 0.5]), parts)
      >>> model.sample(jax.random.key(0), (5,)).shape
      (5,)
    """
    arrays, build = split_options(kind, parameters, lambda name: False)
    name = getattr(kind, "__name__", "")
    if num_event_axes is None:
        num_event_axes = int(name.startswith("MultivariateNormal") or name == "OneHotCategorical")
    check_size("num_event_axes", num_event_axes, least=0)
    found = {key: supports.constraint_of(key, name) for key in arrays}
    declared = supports.merged(found, constraints)
    return External(arrays, build, declared, _LogDensity(num_event_axes), _draw, num_event_axes)


@dataclasses.dataclass(frozen=True)
class _LogDensity:
    """The log density of one distribution, mapped over the leading axes of x."""

    num_event_axes: int

    def __call__(self, distribution: Any, x: Array) -> Array:
        if type(distribution).__name__ in ("Bernoulli", "OneHotCategorical"):
            x = x.astype(jnp.result_type(float))  # distreqx does not differentiate at integers
        log_density = functools.partial(supports.log_density, distribution)
        for _ in range(x.ndim - self.num_event_axes):
            log_density = jax.vmap(log_density)
        return log_density(x)


def _draw(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    draw = distribution.sample
    for _ in shape:
        draw = jax.vmap(draw)
    return draw(jax.random.split(key, shape) if shape else key)
