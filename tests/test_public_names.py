"""Every package says what is public, and every public name says what it is."""

import importlib
import inspect
import pkgutil
import types

import pytest

import likelax

PACKAGES = ["likelax"] + [
    module.name for module in pkgutil.walk_packages(likelax.__path__, "likelax.") if module.ispkg
]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_its_public_names(name):
    package = importlib.import_module(name)
    assert len(set(package.__all__)) == len(package.__all__)
    assert [public for public in package.__all__ if not hasattr(package, public)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_have_docstrings(name):
    package = importlib.import_module(name)
    silent = [
        public
        for public in package.__all__
        if callable(value := getattr(package, public))
        and not isinstance(value, types.GenericAlias)  # the name of a type
        and not inspect.getdoc(value)
    ]
    assert silent == []


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
