"""What is imported when: the command line answers `--help` without JAX, the library on first use."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import likelax
from likelax import cli

HEAVY = {"jax", "numpy", "optax", "matplotlib", "likelax.fit"}

HELP = """
import os, sys
from likelax import cli

for command in sys.argv[1:]:
    try:
        cli.app([*command.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0, end.code
os.environ |= {"_LIKELAX_COMPLETE": "complete_bash"}
os.environ |= {"COMP_WORDS": "likelax fit --mo", "COMP_CWORD": "2"}
try:
    cli.app(prog_name="likelax")
except SystemExit as end:
    assert end.code == 0, end.code
print("imported:", *sys.modules)
"""


def test_help_and_completion_import_neither_jax_nor_matplotlib():
    commands = [command.callback.__name__ for command in cli.app.registered_commands]
    made = subprocess.run(
        [sys.executable, "-c", HELP, "", *commands], capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stderr
    assert not HEAVY & set(made.stdout.splitlines()[-1].split())
    for command in commands:
        assert f" {command} [OPTIONS]" in made.stdout
    assert "--model" in made.stdout.splitlines()[-2]  # the completion of --mo


@pytest.mark.parametrize("command", cli.app.registered_commands, ids=lambda c: c.callback.__name__)
def test_a_command_passes_on_what_its_work_takes(command):
    name = command.callback.__name__
    options = dict(inspect.signature(command.callback).parameters)
    modules = ("fit", "batch", "tour", "info")
    work = getattr(
        importlib.import_module(f"likelax.cli._{name if name in modules else 'use'}"), name
    )
    shared = {"as_json", "as_csv", "device", "is_quiet"}
    assert set(options) - shared == set(inspect.signature(work).parameters)
    assert ("form" in options) == ("as_json" in options) == ("as_csv" in options)


def test_type_checkers_read_the_names_that_are_found():
    tree = ast.parse(Path(likelax.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    named = [alias.asname for node in block.body for alias in node.names if alias.name != "*"]
    found = [name for name in likelax.__all__ if name not in likelax.families.__all__]
    assert sorted(named) == sorted(found)
    assert set(likelax.__all__) <= set(dir(likelax))
    assert all(getattr(likelax, name) is not None for name in likelax.__all__)


@pytest.mark.parametrize("name", ["Poison", "poisson", "_hidden"])
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'likelax' has no attribute '{name}'"):
        getattr(likelax, name)
