"""The decorator that makes a class a frozen dataclass and a JAX pytree."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from likelax.constraints import constrained
from likelax.numerics import as_array

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the type (a size, a name), not a parameter.

    Args:
      kwargs: as for `dataclasses.field`, such as a default.

    Examples:
      >>> @pytree
      ... class Lags:
      ...     weights: jax.Array
      ...     name: str = static(default="lags")
      >>> jax.tree.leaves(Lags(0.5))
      [0.5]
    """
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static, constrained, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a JAX pytree: fields are leaves, `static` ones are not.

    Use this decorator for a model of your own, not `jax.tree_util.register_dataclass`: on jax 0.10
    to 0.12 the tree definitions of two classes registered by the latter compare equal, and
    `jax.jit` may answer a call with the program compiled for the other class.

    The constructor converts lists of numbers and pandas columns in fields that are declared as arrays,
    and refuses text, complex numbers and arrays of objects there. It does not look at values, which
    may be traced: fits check them. Kernels check shapes when they are traced.

    Raises:
      TypeError: from the constructor, naming the field.

    Examples:
      >>> @pytree
      ... class Point:
      ...     x: jax.Array
      ...     y: jax.Array
      >>> jax.tree.map(lambda leaf: leaf + 1, Point(1, 2))
      Point(x=2, y=3)
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    made: Any = cls
    arrays = tuple(f.name for f in dataclasses.fields(made) if f.init and _holds_array(f))
    if arrays:
        made.__init__ = _converting(made.__init__, arrays)
    flatten, unflatten = _compile_flattening(cls)
    keys = tuple(GetAttrKey(name) for name in _fields(cls)[0])

    def flatten_with_keys(node: T) -> tuple[Any, Any]:
        children, statics = flatten(node)
        return tuple(zip(keys, children, strict=True)), statics

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def _holds_array(field: dataclasses.Field) -> bool:
    return field.type in (jax.Array, jax.Array | None) or "constraint" in field.metadata


def _converting(init: Callable[..., None], arrays: tuple[str, ...]) -> Callable[..., None]:
    """A constructor that converts the fields that are declared as arrays."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        for name in arrays:
            value = self.__dict__[name]
            if not isinstance(value, float):
                self.__dict__[name] = _field(f"{type(self).__name__}: {name}", value)

    return __init__


def _field(name: str, value: Any) -> Any:
    """The value of a field; lists of numbers and pandas columns become arrays.

    Raises:
      TypeError: for text, complex numbers and arrays of objects.
    """
    if isinstance(value, str | bytes | complex):
        raise TypeError(f"{name} must be an array of numbers, got {value!r}")
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return as_array(name, value) if value.dtype.kind not in "biufV" else value
    if isinstance(value, list) or type(value).__module__.partition(".")[0] == "pandas":
        return as_array(name, value)
    return value  # such as None or an integer, in a tree of the axes that `jax.vmap` maps


def _compile_flattening(cls: type[T]) -> tuple[Callable[[T], Any], Callable[[Any, Any], T]]:
    """The functions that take an instance apart into (leaves, statics) and put it together.

    They run at each call of a jitted function, once a node. As source made for the class, like
    `__init__` of a dataclass, they take half the time of loops over the fields; and `unflatten`
    does not call `__init__`, which a frozen dataclass makes slow.
    """
    leaves, statics = _fields(cls)

    def read(names: Sequence[str]) -> str:
        return f"({''.join(f'node.{name}, ' for name in names)})"

    def write(names: Sequence[str], values: str) -> str:
        return f"[{', '.join(f'fields[{name!r}]' for name in names)}] = {values}"

    source = f"""
def flatten(node):
    return {read(leaves)}, {read(statics)}

def unflatten(statics, leaves):
    node = new(cls)
    fields = node.__dict__
    {write(leaves, "leaves")}
    {write(statics, "statics")}
    return node
"""
    namespace: dict[str, Any] = {"cls": cls, "new": object.__new__}
    exec(source, namespace)
    return namespace["flatten"], namespace["unflatten"]


def _fields(cls: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a dataclass's fields that are leaves, and of its static ones."""
    fields = dataclasses.fields(cls)
    statics = tuple(f.name for f in fields if f.metadata.get("static", False))
    return tuple(f.name for f in fields if f.name not in statics), statics


def check_registration(name: str, model: object) -> None:
    """Raise if JAX can confuse the class of any part of the model with another class.

    Args:
      name: the function that was called, for the message.
      model: any pytree.
    Raises:
      TypeError: for a dataclass registered by `jax.tree_util.register_dataclass` on a version of
        jax that does not tell such classes apart (see `pytree`).

    Examples:
      >>> @pytree
      ... class Point:
      ...     x: jax.Array
      >>> check_registration("here", Point(1.0))
    """
    if _is_ambiguous(model):
        kind = type(model).__name__
        raise TypeError(
            f"{name}: {kind} was registered by jax.tree_util.register_dataclass, and jax "
            f"{jax.__version__} may mistake it for another class with the same number of fields; "
            "decorate it with likelax.model.pytree instead"
        )
    for part in jax.tree.leaves(model, is_leaf=lambda node: node is not model):
        if part is not model:
            check_registration(name, part)


def _is_ambiguous(node: object) -> bool:
    """Whether the tree definition of a dataclass equals that of another class with its fields."""
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return False
    leaves, statics = _fields(node)
    values = {name: getattr(node, name) for name in (*leaves, *statics)}
    twin = _twin(leaves, statics)(**values)
    wanted: Any = jax.tree.structure(twin)
    return bool(jax.tree.structure(node) == wanted)


@functools.cache
def _twin(leaves: tuple[str, ...], statics: tuple[str, ...]) -> Any:
    """A class with these fields, registered by JAX's own decorator."""
    fields = [(name, Any) for name in leaves]
    fixed = [(name, Any, static()) for name in statics]
    return jax.tree_util.register_dataclass(dataclasses.make_dataclass("Twin", [*fields, *fixed]))
