"""Distributions of TensorFlow Probability on JAX as models: components, emissions, fields and guides."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from likelax import constraints as ours
from likelax.constraints import Constraint
from likelax.interop import supports
from likelax.interop.external import External, double_where, example, split_options

try:
    import tensorflow_probability.substrates.jax  # noqa: F401
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError(
        "likelax.interop.tfp wants TensorFlow Probability on JAX: pip install tfp-nightly"
    ) from missing


def density(
    kind: Callable[..., Any],
    *,
    constraints: Mapping[str, Constraint] | None = None,
    **parameters: Any,
) -> External:
    """A distribution of TensorFlow Probability as a model: K of them with a leading axis K.

    Args:
      kind: a class of `tensorflow_probability.substrates.jax.distributions`, or a function of your own
        that builds a distribution from arrays.
      constraints: of parameters, by name; without them those that the class declares by
        `parameter_properties`, where they do not depend on other parameters.
      parameters: what it is called with, as keywords: a number or an array is a parameter of the
        model, with a leading axis K for K distributions. Anything else is an option that all K share, and
        so is a Python integer of the name `total_count`, `dimension` or `num_steps`.
    Returns:
      `External`. Its log density is -inf off the support of families of one number, of counts and of
      shares; that of a mixture or a transformed distribution is what the library says.
    Raises:
      TypeError, ValueError: for constraints of another kind, or of a name that is no parameter.

    Examples:
      >>> from tensorflow_probability.substrates.jax import distributions as tfd
      >>> from likelax import Mixture
      >>> parts = density(tfd.Moyal, loc=jnp.array([0.0, 4.0]), scale=jnp.ones(2))
      >>> model = Mixture(jnp.array([0.5, 0.5]), parts)
      >>> model.sample(jax.random.key(0), (5,)).shape
      (5,)
    """
    arrays, build = split_options(kind, parameters, _OPTIONS.__contains__)
    num_event_axes = len(example(build, arrays).event_shape)
    found = {name: _constraint(kind, name) for name in arrays}
    declared = supports.merged(found, constraints)
    return External(arrays, build, declared, _log_density, _draw, num_event_axes)


_OPTIONS = frozenset({"total_count", "dimension", "num_steps"})

_OURS = {
    "Softplus": ours.positive,
    "Exp": ours.positive,
    "Sigmoid": ours.unit_interval,
    "SoftmaxCentered": ours.simplex,
    "FillScaleTriL": ours.scale_tril,
    "Ascending": ours.ordered,
    "chain_of_cholesky_outer_product_of_fill_scale_tril": ours.positive_definite,
}
"""Our constraints, by the bijections that the library declares."""


def _constraint(kind: Any, name: str) -> Constraint | None:
    """The constraint of a parameter; None for a real one and for one that depends on others."""
    try:
        properties = kind.parameter_properties()[name]
        bijector = properties.default_constraining_bijector_fn()
    except (AttributeError, KeyError, NotImplementedError, TypeError):
        return None
    if type(bijector).__name__ == "SoftmaxCentered" and properties.event_ndims == 0:
        return ours.unit_interval  # as declared for Geometric by mistake
    return _OURS.get(type(bijector).__name__) or _OURS.get(bijector.name)


def _log_density(distribution: Any, x: Array) -> Array:
    if type(distribution).__name__ in supports.SUPPORTS or len(distribution.event_shape):
        return supports.log_density(distribution, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return distribution.log_prob(x)
    try:
        bijector = distribution.experimental_default_event_space_bijector()
        inside = ~jnp.isnan(bijector.inverse(x))
        point = bijector.forward(jnp.zeros_like(x))
    except (AttributeError, NotImplementedError, ValueError):  # discrete, or an atom
        return distribution.log_prob(x)
    return double_where(inside, x, point, distribution.log_prob)


def _draw(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    return distribution.sample(shape, seed=key)
