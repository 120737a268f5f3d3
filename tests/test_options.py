"""Every option of a public function is set by a test to something else than its default.

A test file sets an option of a function if it calls it so, by name or by position; or, for tests that run
over a table of functions, if it names the function somewhere and the option in another call or a dict.
"""

import ast
import enum
import inspect
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from public import Public, public_methods, public_names

TESTS = Path(__file__).parent
# What the contract of models passes on for every model; the laws and the nestings run it.
CONTRACT = ("index", "key", "name", "used")
# Options that the functions of the package set for their users, who have no value to give.
OWN = (
    "fit._em.EM.judge(guess)",
    "fit.lbfgs.LBFGS(objective)",
    "fit.ascent.Ascent(objective)",
    "fit._batch.Batch(sizes)",
    "fit._batch.Batch(hyperparameters)",
    "data.Series(starts)",
    "data.Series(inputs)",
    "monte_carlo.estimate.check_num_samples(least)",
    "variational.given_data.GuideAscent(mesh)",
)


class Source(NamedTuple):
    """What one test file says.

    Attributes:
      names: of all that it mentions.
      calls: (what is called, keyword or position) -> values.
      keywords: keyword of any call, or key of a dict -> values.
    """

    names: set[str]
    calls: dict[tuple[str, str | int], set[str]]
    keywords: dict[str, set[str]]


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def read(path: Path) -> Source:
    source = Source(set(), defaultdict(set), defaultdict(set))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name | ast.Attribute):
            source.names.add(_name(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            source.names.update(node.value.split())
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    source.keywords[key.value].add(ast.unparse(value))
        elif isinstance(node, ast.Call):
            called, args = _name(node.func), node.args
            if called == "partial" and args:
                called, args = _name(args[0]), args[1:]
            for i, value in enumerate(args):
                source.calls[called, i].add(ast.unparse(value))
            for keyword in node.keywords:
                if keyword.arg:
                    source.calls[called, keyword.arg].add(ast.unparse(keyword.value))
                    source.keywords[keyword.arg].add(ast.unparse(keyword.value))
    return source


def parameters_of(entry: Public) -> list[inspect.Parameter]:
    if inspect.isclass(entry.value) and issubclass(entry.value, enum.Enum | Exception):
        return []
    found = inspect.signature(entry.value).parameters.values()
    return [parameter for parameter in found if parameter.name != "self"]


def unset(entries: list[Public], sources: list[Source]) -> list[str]:
    """`function(option)` for each option that no test sets to another value than its default."""
    missing = []
    for entry in entries:
        name = entry.name.rpartition(".")[2]
        for i, parameter in enumerate(parameters_of(entry)):
            default = parameter.default
            if default is inspect.Parameter.empty or parameter.name in CONTRACT:
                continue
            values: set[Any] = set()
            for source in sources:
                values |= source.calls.get((name, parameter.name), set())
                values |= source.calls.get((name, i), set())
                if name in source.names:
                    values |= source.keywords.get(parameter.name, set())
            if not values - {repr(default)}:
                missing.append(f"{entry.name}({parameter.name})")
    return [option for option in missing if option not in OWN]


def test_every_option_is_set_by_a_test():
    entries = [
        entry
        for entry in (*public_names(), *public_methods())
        if not entry.name.startswith(("plots.", "tour.", "report."))
        and (entry.owner is None or entry.is_own)
    ]
    assert unset(entries, [read(path) for path in TESTS.rglob("*.py")]) == []
