"""How many components: information criteria, lower is better."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import constraints, numerics
from likelax.families.one_of import OneOf
from likelax.families.tied import Fixed, Tied
from likelax.mixture import Mixture


def num_parameters(model: Any) -> Array:
    """Free parameters of a model: simplex K - 1, triangle D (D + 1) / 2, and so on.

    Components of weight zero don't count, nor what `Fixed` holds or the family holds itself, such
    as a total count; what is `Tied` counts once, and of `OneOf` the option that counts.

    Examples:
      >>> from likelax.families import MvNormal
      >>> two = MvNormal(jnp.zeros((2, 3)), jnp.stack([jnp.eye(3)] * 2))
      >>> print(num_parameters(Mixture(jnp.array([0.5, 0.5]), two)))
      19
    """
    if not isinstance(model, Mixture):
        return jnp.asarray(_num_free(model))
    used = jnp.sum(jnp.asarray(model.weights) > 0)
    if isinstance(model.components, OneOf):
        sizes = [_num_free(option) // model.num_components for option in model.components.options]
        of_each = jnp.asarray(sizes)[model.components.which]
        return used - 1 + jnp.sum(jnp.where(jnp.asarray(model.weights) > 0, of_each, 0))
    each = _num_free(model.components) // model.num_components
    shared = 0
    if isinstance(model.components, Tied):
        own = _num_locs(model.components) // model.num_components
        each, shared = own, each - own
    return used - 1 + used * each + shared


def _num_free(model: Any) -> int:
    return _num_reals(model) - _num_held(model)


def _num_locs(node: Any) -> int:
    """How many numbers stand in fields called loc: what components that are tied don't share."""
    if isinstance(node, Fixed) or not dataclasses.is_dataclass(node):
        return 0
    parts = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return sum(jnp.size(part) if n == "loc" else _num_locs(part) for n, part in parts.items())


def _num_reals(model: Any) -> int:
    reals = jax.tree.leaves(jax.eval_shape(constraints.unconstrain, model))
    return sum(leaf.size for leaf in reals if constraints.is_floating(leaf))


def _num_held(node: Any) -> int:
    """How many of the reals no fit moves."""
    if isinstance(node, Fixed):
        return _num_reals(node.model)
    if isinstance(node, dict | tuple | list):
        return sum(_num_held(part) for part in (node.values() if isinstance(node, dict) else node))
    if not dataclasses.is_dataclass(node):
        return 0
    parts = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    held = getattr(node, "held", ())
    return sum(_num_reals(part) if n in held else _num_held(part) for n, part in parts.items())


def aic(log_prob: ArrayLike, free: ArrayLike) -> Array:
    """Akaike's criterion 2 p - 2 log p(x).

    Args:
      log_prob: total log likelihood at its maximum, nats.
      free: p, as `num_parameters` counts.
    Source: Akaike (1974), IEEE Transactions on Automatic Control 19, 716-723.

    Examples:
      >>> print(aic(-10.0, 2))
      24.0
    """
    log_prob, free = numerics.as_float(log_prob, free)
    return 2 * free - 2 * log_prob


def bic(log_prob: ArrayLike, free: ArrayLike, num_rows: ArrayLike) -> Array:
    """Schwarz's criterion p log N - 2 log p(x).

    Args:
      log_prob, free: as for `aic`.
      num_rows: N, or the sum of the weights.
    Source: Schwarz (1978), Annals of Statistics 6, 461-464.

    Examples:
      >>> print(f"{bic(-10.0, 2, 100):.4f}")
      29.2103
    """
    log_prob, free, num_rows = numerics.as_float(log_prob, free, num_rows)
    return free * jnp.log(num_rows) - 2 * log_prob


def icl(model: Mixture, x: Any) -> Array:
    """Integrated completed likelihood: `bic` plus twice the entropy of the responsibilities.

    It asks for components that are apart, where `bic` asks for a density that fits.

    Source: Biernacki, Celeux & Govaert (2000), IEEE PAMI 22, 719-725.

    Examples:
      >>> from likelax.families import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-9.0, 9.0]), jnp.ones(2)))
      >>> x = jnp.array([-9.0, 9.0])
      >>> total = jnp.sum(model.log_prob(x))
      >>> print(icl(model, x) - bic(total, num_parameters(model), 2))
      0.0
    """
    log_prob = model.log_prob(x)
    total = bic(jnp.sum(log_prob), num_parameters(model), log_prob.size)
    return total + 2 * jnp.sum(model.entropy(x))
