"""Every package lists its public names, and each of them is documented and typed."""

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import likelax
from likelax.families.base import Distribution, Estimable, Family, Prior
from likelax.families.regression import Regression
from likelax.fit import Algorithm

PACKAGES = ["likelax"] + [
    module.name for module in pkgutil.walk_packages(likelax.__path__, "likelax.") if module.ispkg
]

# Modules of the namespace `likelax` that users import from, besides the packages.
MODULES = [
    "constraints",
    "data",
    "mixture",
    "model",
    "naive_bayes",
    "parameters",
    "report",
    "statistics",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_its_public_names(name):
    package = importlib.import_module(name)
    assert len(set(package.__all__)) == len(package.__all__)
    assert [public for public in package.__all__ if not hasattr(package, public)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_no_module_has_the_name_of_a_public_function(name):
    package = importlib.import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    clashes = [
        public
        for public in package.__all__
        if public in modules and not inspect.ismodule(getattr(package, public))
    ]
    assert clashes == []


class Public(NamedTuple):
    """A public function, class, or method of a public class."""

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
        found = getattr(self.value, "fun", self.value)  # jax.custom_jvp
        found = getattr(found, "fun", found)
        return inspect.unwrap(getattr(found, "__func__", found))


def _modules() -> Iterator[types.ModuleType]:
    for name in PACKAGES:
        yield importlib.import_module(name)
    for name in MODULES:
        yield importlib.import_module(f"likelax.{name}")


@functools.cache
def _public() -> tuple[Public, ...]:
    """Every public function and class once, under the name of the module that defines it."""
    found = {}
    for module in _modules():
        for name in module.__all__:
            value = getattr(module, name)
            origin = getattr(value, "__module__", "")
            if callable(value) and not _is_alias(value) and origin.startswith("likelax"):
                found.setdefault(
                    id(value), Public(f"{origin.removeprefix('likelax.')}.{name}", value)
                )
    return tuple(found.values())


def _is_alias(value: Any) -> bool:
    """Whether a name stands for a type expression, such as `Callable[[Array], Array]`."""
    return type(value).__module__ in ("typing", "collections.abc") or isinstance(
        value, types.GenericAlias | types.UnionType
    )


@functools.cache
def _methods() -> tuple[Public, ...]:
    """Every public method of every public class, inherited ones once for each class."""
    found = []
    for entry in _public():
        if inspect.isclass(entry.value):
            for name in dir(entry.value):
                member = inspect.getattr_static(entry.value, name)
                if name.startswith("_") or not isinstance(
                    member, types.FunctionType | classmethod | staticmethod | property
                ):
                    continue
                value = member.fget if isinstance(member, property) else getattr(entry.value, name)
                home = next(c for c in entry.value.__mro__ if name in vars(c))
                if home.__module__.startswith("likelax"):
                    found.append(Public(f"{entry.name}.{name}", value, entry.value))
    return tuple(found)


def _own_methods() -> list[Public]:
    """Methods where they are defined, once each."""
    return [
        method
        for method in _methods()
        if method.value.__qualname__.split(".")[0] == method.owner.__name__
    ]


def _is_record(value: Any) -> bool:
    """A result, protocol, status or error: shown in the example of the function that makes it."""
    return inspect.isclass(value) and (
        (issubclass(value, tuple) and hasattr(value, "_fields"))
        or getattr(value, "_is_protocol", False)
        or issubclass(value, enum.Enum | Exception)
    )


@functools.cache
def _tree(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def _raises(function: Callable[..., Any]) -> bool:
    """Whether the body has a `raise`, or calls a function whose name says that it checks."""
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Raise) and not _is_inside_function(function, node):
            return True
        if isinstance(node, ast.Call):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if called.lstrip("_").startswith(
                ("check_", "refuse_", "match_", "need_")
            ) or called in ("check",):
                return True
    return False


def _is_inside_function(function, node):
    return False
