"""Every public name: the functions and classes that packages list, and the methods of those classes."""

import functools
import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import likelax

PACKAGES = ["likelax"] + [
    module.name for module in pkgutil.walk_packages(likelax.__path__, "likelax.") if module.ispkg
]

# Modules of public names that are not packages.
MODULES = [
    "likelax.constraints",
    "likelax.data",
    "likelax.interop.frames",
    "likelax.mixture",
    "likelax.model",
    "likelax.naive_bayes",
    "likelax.parameters",
    "likelax.report",
    "likelax.statistics",
]


class Public(NamedTuple):
    """A public function or class, or a method of a public class."""

    name: str
    value: Any
    owner: type | None = None

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.value) or ""

    @property
    def function(self) -> Callable[..., Any] | None:
        """The plain function, or None for a class."""
        if inspect.isclass(self.value):
            return None
        found = self.value
        while not inspect.isfunction(found):
            found = getattr(found, "__func__", getattr(found, "fun", None))
        return inspect.unwrap(found)

    @property
    def is_own(self) -> bool:
        """Whether the class defines the method itself."""
        return self.owner is not None and self.value.__qualname__.startswith(
            f"{self.owner.__name__}."
        )


def _is_type_expression(value: Any) -> bool:
    """Whether a name stands for a type such as `Callable[[Array], Array]`."""
    return isinstance(value, types.GenericAlias | types.UnionType | TypeVar) or type(
        value
    ).__module__ in ("typing", "collections.abc")


@functools.cache
def public_names() -> tuple[Public, ...]:
    """Every public function and class once, under the name of the module that defines it."""
    found: dict[int, Public] = {}
    for module in map(importlib.import_module, [*PACKAGES, *MODULES]):
        for name in module.__all__:
            value = getattr(module, name)
            origin = getattr(value, "__module__", "")
            if callable(value) and not _is_type_expression(value) and origin.startswith("likelax"):
                short = origin.removeprefix("likelax.")
                found.setdefault(id(value), Public(f"{short}.{name}", value))
    return tuple(found.values())


def _methods_of(entry: Public) -> Iterator[Public]:
    """Every public method and property of a class that is defined in this library."""
    for name in dir(entry.value):
        home = next((c for c in entry.value.__mro__ if name in vars(c)), object)
        member = vars(home).get(name)
        kinds = types.FunctionType | classmethod | staticmethod | property
        is_field = name in getattr(entry.value, "__dataclass_fields__", {})
        if name.startswith("_") or is_field or not isinstance(member, kinds):
            continue
        if home.__module__.startswith("likelax") or home is entry.value:
            value = member.fget if isinstance(member, property) else getattr(entry.value, name)
            yield Public(f"{entry.name}.{name}", value, entry.value)


@functools.cache
def public_methods() -> tuple[Public, ...]:
    """Every public method and property of the public classes, inherited ones too."""
    classes = [entry for entry in public_names() if inspect.isclass(entry.value)]
    return tuple(method for entry in classes for method in _methods_of(entry))
