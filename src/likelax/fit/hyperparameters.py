"""Values of hyperparameters by name, for a batch of fits."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
from jax import Array

from likelax.numerics import as_array

T = TypeVar("T")

COLUMNS = ("dataset", "size", "restart", "status", "objective", "num_steps", "seconds")
"""The other columns of the table of a batch."""


def named_values(given: Any) -> dict[str, Array]:
    """The values as arrays that share their leading axis H.

    Args:
      given: a dict from names to arrays.
    Raises:
      TypeError: for something else than a dict.
      ValueError: for arrays that share no leading axis, no value, or a name that the table of a batch uses.

    Examples:
      >>> print(named_values({"tol": [1e-2, 1e-4]})["tol"].shape)
      (2,)
    """
    name = "fit.batch: hyperparameters"
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(
            f"{name} must be a dict from names to arrays with a leading axis H; got {given!r:.80}"
        )
    found = {key: as_array(f"{name}[{key!r}]", value) for key, value in given.items()}
    shapes = {key: array.shape for key, array in found.items()}
    lengths = {shape[:1] for shape in shapes.values()}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"{name} must be arrays that share a leading axis of at least one value; got shapes {shapes}"
        )
    taken = sorted(set(found) & set(COLUMNS))
    if taken:
        raise ValueError(f"{name}: {taken[0]!r} is a column of the results; choose another name")
    return found


def length(values: dict[str, Array]) -> int:
    """H.

    Args:
      values: of `named_values`.

    Examples:
      >>> length({"a": jnp.zeros((3, 2))})
      3
    """
    return len(next(iter(values.values())))


def entry(tree: T, h: int) -> T:
    """Entry h of the leading axis of every array.

    Args:
      tree: such as `named_values`, or what a function vmapped over them gave.
      h: from 0 to H - 1.

    Examples:
      >>> print(entry({"a": jnp.array([3, 4])}, 1)["a"])
      4
    """
    return jax.tree.map(lambda leaf: leaf[h], tree)
