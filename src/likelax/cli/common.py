"""What the commands share before they work: exit codes, one sentence for what is wrong, forms of a table.

Nothing here imports JAX or NumPy, so that `--help` and the completion of a shell answer at once.
"""

import contextlib
import contextvars
import enum
import importlib
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

NOT_RIGHT, BAD_USAGE, BAD_DATA, NO_FIT = 1, 2, 3, 4


class Form(enum.StrEnum):
    """How a table is written to standard output."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


def refuse(error: Exception | str, code: int = BAD_USAGE) -> NoReturn:
    """Say what is wrong in one sentence, and end with an exit code."""
    typer.echo(f"likelax: {' '.join(str(error).split())}", err=True)
    raise typer.Exit(code)


quiet: contextvars.ContextVar[bool] = contextvars.ContextVar("quiet", default=False)
"""Whether only what is wrong is said on standard error."""


def say(text: str) -> None:
    """A message to standard error."""
    if not quiet.get():
        typer.echo(f"likelax: {text}", err=True)


@contextlib.contextmanager
def settled(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of one command, without those that are the same for all: these hold within."""
    own = dict(options)
    forms = [form for form in (Form.JSON, Form.CSV) if own.pop(f"as_{form.value}", False)]
    if len(forms) > 1:
        refuse("--json and --csv are two forms of a table; give one of them")
    if forms:
        own["form"] = forms[0]
    token, device = quiet.set(own.pop("is_quiet", False)), own.pop("device", None)
    try:
        with contextlib.ExitStack() as stack:
            if device is not None:
                with sentences(BAD_USAGE):
                    stack.enter_context(importlib.import_module("likelax.cli._device").on(device))
            yield own
    finally:
        quiet.reset(token)


@contextlib.contextmanager
def sentences(code: int) -> Iterator[None]:
    """What goes wrong within is said in one sentence, and ends the program with a code."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        refuse(error, code)
