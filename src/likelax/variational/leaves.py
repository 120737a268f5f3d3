"""Guides with leaves that are no arrays, such as the activation or the sizes of an equinox module."""

from typing import Any

import jax
import numpy as np

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
