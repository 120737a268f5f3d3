"""Every package lists its public names, and each of them is documented and typed."""

import ast
import enum
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable
from typing import Any

import jax
import pytest
from jax import Array
from jax.typing import ArrayLike

from likelax.families.base import Family, Prior
from likelax.fit.algorithm import Algorithm, State
from likelax.fit.ascent import Objective
from likelax.model import Density, Model, pytree
from public import MODULES, PACKAGES, Public, public_methods, public_names

# Packages of published methods, whose names need a source.
PUBLISHED = (
    "calibration", "families", "fit", "hmm", "mixture", "monte_carlo", "naive_bayes", "predictive",
    "scoring", "variational",
)  # fmt: skip

# Names of these packages without a source, and the reason.
WITHOUT_SOURCE = {
    "a definition, or arithmetic": {
        "Delta", "add_variance", "best", "bias", "centre", "check_num_samples", "correlation",
        "distribution", "gradient", "maximize", "minibatch_log_prob", "num_parameters", "statistics",
    },
    "input and output, or plumbing": {
        "ComplementScore", "Minibatch", "Space", "build", "columns", "forget_unseen", "load", "load_notes",
        "mixed",
        "run", "save", "space_of",
    },
    "a start of a fit, or a choice between fits": {
        "Ascent", "Batch", "Done", "at_points", "batch", "from_labels", "from_responsibilities",
        "restarts", "scattered", "sweep",
    },
    "described where its fit is": {
        "BlockRank", "Encoded", "Fit", "FullRankT", "PerRow", "RowGuide", "Transported", "block_rank",
        "fit_guide", "full_rank", "low_rank", "mean_field", "per_row", "with_tails",
    },
}  # fmt: skip

# Classes whose example shows their methods too.
SHOWN_BY_CLASS = {
    "BlockRank", "Encoded", "FullRank", "FullRankT", "LowRank", "MeanField", "PerRow", "RowGuide",
    "Transported",
}  # fmt: skip

# Parameters that are models, statistics of them, priors or guides.
TYPED = {
    "component", "components", "guide", "likelihood", "model", "prior", "statistics", "stats",
}  # fmt: skip

# Methods that return a model or its statistics.
RETURNS_TYPED = {
    "condition", "e_step", "m_step", "marginal", "pool", "posterior", "predictive",
    "stacked_e_step", "stacked_m_step",
}  # fmt: skip

# A shape such as (N, D) or (...), or the word for one.
SHAPE = re.compile(r"\((\.\.\.|[A-Z*]|\d)[^()]*\)|\bscalar|\bshape")


def _is_record(value: Any) -> bool:
    """A result, protocol, status or error: the function that returns it has the example."""
    return inspect.isclass(value) and (
        (issubclass(value, tuple) and hasattr(value, "_fields"))
        or getattr(value, "_is_protocol", False)
        or issubclass(value, enum.Enum | Exception)
    )


def _is_inherited_name(method: Public) -> bool:
    """Whether a base class of this library documents a method of this name."""
    bases = (*method.owner.__mro__[1:], Algorithm, State, Objective, Density, Model, Prior, Family)
    return any(
        method.value.__name__ in vars(base) and base.__module__.startswith("likelax")
        for base in bases
    )


# The rules. Each returns what is wrong with one name, or "".


def without_docstring(entry: Public) -> str:
    return "" if entry.doc else "no docstring"


def without_example(entry: Public) -> str:
    """A function or class has one; a method has one, or names where it is."""
    if ">>>" in entry.doc or _is_record(entry.value):
        return ""
    if entry.owner is None:
        return "no example"
    is_shown = _is_record(entry.owner) or entry.owner.__name__ in SHOWN_BY_CLASS
    is_plain = entry.is_own and not _is_inherited_name(entry) and not is_shown
    is_property = isinstance(inspect.getattr_static(entry.owner, entry.value.__name__), property)
    if not is_plain or is_property or "example of" in entry.doc or "as for" in entry.doc.lower():
        return ""
    return "no example"


def without_shapes(entry: Public) -> str:
    """Every parameter that takes an array or data is named, and some shape is."""
    if entry.function is None or not entry.doc:
        return ""
    parameters = inspect.signature(entry.function).parameters.values()
    takes = re.compile(r"\bArray\b|ndarray|typing\.Any$")
    arrays = [p.name for p in parameters if takes.search(str(p.annotation)) and p.name != "key"]
    silent = [name for name in arrays if not re.search(rf"\b{name}\b", entry.doc)]
    if silent:
        return f"does not name {silent}"
    return "" if not arrays or SHAPE.search(entry.doc) else "no shape"


@functools.cache
def _body(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _has_raise(function: Callable[..., Any]) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(_body(function)))


def _is_checker(function: Callable[..., Any], called: ast.expr) -> bool:
    """Whether a called function checks its arguments: it is named so, or is a helper that raises."""
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if re.match(r"_?check(_|$)|match_", name):
        return True
    helper = function.__globals__.get(name)
    own = inspect.isfunction(helper) and helper.__module__ == function.__module__
    return own and name.startswith("_") and _has_raise(helper)


def without_errors(entry: Public) -> str:
    """A function whose body raises, or that calls a checker, has a section Raises."""
    if entry.function is None or "Raises:" in entry.doc:
        return ""
    calls = [node.func for node in ast.walk(_body(entry.function)) if isinstance(node, ast.Call)]
    raises = _has_raise(entry.function) or any(_is_checker(entry.function, c) for c in calls)
    return "no section Raises" if raises else ""


def without_source(entry: Public) -> str:
    place, _, name = entry.name.rpartition(".")
    known = set().union(*WITHOUT_SOURCE.values())
    needed = place.split(".")[0] in PUBLISHED and not _is_record(entry.value)
    return "no source" if needed and "Source:" not in entry.doc and name not in known else ""


def untyped(entry: Public) -> str:
    """No model, prior, statistics or guide is `Any`, as a parameter or as a result."""
    if entry.function is None:
        return ""
    signature = inspect.signature(entry.function)
    loose = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.name in TYPED and _is_loose(parameter.annotation)
    ]
    if entry.function.__name__ in RETURNS_TYPED and _is_loose(signature.return_annotation):
        loose.append("the result")
    return f"{loose} is Any" if loose else ""


def _is_loose(annotation: Any) -> bool:
    if annotation is inspect.Parameter.empty:
        return True
    return bool(
        re.search(
            r"^(typing\.)?Any( \| None)?$|^tuple\[(typing\.)?Any, (?!\.\.\.)", str(annotation)
        )
    )


def _faults(rule: Callable[[Public], str], entries: tuple[Public, ...]) -> list[str]:
    return [f"{entry.name}: {fault}" for entry in entries if (fault := rule(entry))]


def _own(entries: tuple[Public, ...]) -> tuple[Public, ...]:
    return tuple(entry for entry in entries if entry.is_own)


@pytest.mark.parametrize("name", [*PACKAGES, *MODULES])
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


RULES = [
    without_docstring,
    without_example,
    without_shapes,
    without_errors,
    without_source,
    untyped,
]


@pytest.mark.parametrize("rule", RULES)
def test_public_names_are_documented_and_typed(rule):
    assert _faults(rule, public_names()) == []


@pytest.mark.parametrize("rule", [without_docstring, untyped])
def test_all_public_methods_are_documented_and_typed(rule):
    assert _faults(rule, public_methods()) == []


@pytest.mark.parametrize("rule", [without_example, without_errors])
def test_methods_that_a_class_defines_have_examples_and_errors(rule):
    assert _faults(rule, _own(public_methods())) == []


def test_exceptions_are_needed():
    """Each name that may be without a source exists, and is without one."""
    bare = {entry.name.rpartition(".")[2] for entry in public_names() if "Source:" not in entry.doc}
    assert set().union(*WITHOUT_SOURCE.values()) - bare == set()


def _poor(x: ArrayLike, weights: ArrayLike, model: Any) -> Array:
    """Something with x."""
    if model is None:
        raise ValueError
    return jax.numpy.asarray(x)


def _silent(x):
    return x


@pytree
class _Bare(Density):
    """A density whose own method has no example."""

    scale: Array

    def log_prob(self, x: Any) -> Array:
        return x

    def sample(self, key: Array, shape: Any = ()) -> Array:
        return key

    def rescaled(self, model):
        """Another one."""
        raise ValueError


@pytest.mark.parametrize(
    ("rule", "entry", "fault"),
    [
        (without_docstring, Public("fit.silent", _silent), "no docstring"),
        (without_example, Public("fit.poor", _poor), "no example"),
        (without_example, Public("fit.Bare", _Bare), "no example"),
        (without_example, Public("fit.Bare.rescaled", _Bare.rescaled, _Bare), "no example"),
        (without_shapes, Public("fit.poor", _poor), "does not name ['weights', 'model']"),
        (without_errors, Public("fit.poor", _poor), "no section Raises"),
        (without_errors, Public("fit.Bare.rescaled", _Bare.rescaled, _Bare), "no section Raises"),
        (without_source, Public("fit.poor", _poor), "no source"),
        (without_source, Public("data.poor", _poor), ""),
        (untyped, Public("fit.poor", _poor), "['model'] is Any"),
        (untyped, Public("fit.Bare.rescaled", _Bare.rescaled, _Bare), "['model'] is Any"),
    ],
)
def test_each_rule_finds_its_fault(rule, entry, fault):
    assert rule(entry) == fault
