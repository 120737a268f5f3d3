"""Distributions of distrax as models: components, emissions and fields of a product.

As a guide a distrax distribution needs the adapter too, since its `sample` takes other arguments.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jax import Array

from likelax.constraints import Constraint
from likelax.interop.external import External, example, split_options
from likelax.interop.supports import constraint_of, log_density, merged

try:
    import distrax  # noqa: F401
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError(
        "likelax.interop.distrax wants distrax: pip install distrax"
    ) from missing


def density(
    kind: Callable[..., Any],
    *,
    constraints: Mapping[str, Constraint] | None = None,
    **parameters: Any,
) -> External:
    """A distrax distribution as a model: K of them with a leading axis K on every parameter.

    Args:
      kind: a class of distrax, or a function of your own that builds a distribution from arrays.
      constraints: of parameters, by name. Without them parameters called scale, rate, concentration,
        alpha, beta, scale_diag or temperature are positive, probs are probabilities, and matrices are what
        their class wants; the bounds of a uniform and all others are real.
      parameters: what it is called with, as keywords: a number or an array is a parameter of the
        model. Anything else is an option that all K distributions share, and so is `total_count` as a
        Python integer.
    Returns:
      `External`. Its log density is -inf off the support of the families of distrax; that of a mixture or
      a transformed distribution is what distrax says.
    Raises:
      TypeError, ValueError: for constraints of another kind, or of a name that is no parameter.

    Examples:
      >>> from likelax import Mixture
      >>> gumbels = density(distrax.Gumbel, loc=jnp.array([0.0, 4.0]), scale=jnp.ones(2))
      >>> model = Mixture(jnp.array([0.5, 0.5]), gumbels)
      >>> model.sample(jax.random.key(0), (5,)).shape
      (5,)
    """
    arrays, build = split_options(kind, parameters, lambda name: name == "total_count")
    built = example(build, arrays)
    found = {name: constraint_of(name, type(built).__name__) for name in arrays}
    return External(
        arrays, build, merged(found, constraints), log_density, _draw, len(built.event_shape)
    )


def _draw(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    return distribution.sample(seed=key, sample_shape=shape)
