"""Guides as trees: over the reals, and with leaves that are no arrays, such as those of an equinox module."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.model import pytree, static


@pytree
class Held:
    """A node without leaves in place of a leaf that is no array.

    Attributes:
      value: the leaf.
    """

    value: Any = static()


def jittable(guide: Any) -> Any:
    """The guide with every leaf that is no array or float in a `Held`, so that jit accepts it.

    Python's integers are held too: a module may use them as shapes.
    """
    numbers = jax.Array | np.ndarray | np.generic | float | complex
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, numbers) else Held(leaf), guide)


def whole(guide: Any) -> Any:
    """The inverse of `jittable`."""
    return jax.tree.map(
        lambda node: node.value if isinstance(node, Held) else node,
        guide,
        is_leaf=lambda node: isinstance(node, Held),
    )


def base_of(guide: Any) -> Any:
    """The guide over the reals."""
    return getattr(guide, "base", guide)


def with_base(guide: Any, base: Any) -> Any:
    """The guide with another one over the reals."""
    return base if guide is base_of(guide) else type(guide)(base, guide.space)


def select(flag: Array, yes: Any, no: Any) -> Any:
    """The leaves of `yes` where the flag is set, else those of `no`."""
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)
