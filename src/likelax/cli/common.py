"""What the commands share before they work: exit codes, one sentence for what is wrong, forms of a table.

Nothing here imports JAX or NumPy, so that `--help` and the completion of a shell answer at once.
"""

import contextlib
import contextvars
import enum
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
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
            try:
                yield own
                if sys.stdout is not None:
                    sys.stdout.flush()
            except BrokenPipeError:
                raise  # Typer ends quietly where the reader of a pipe is gone
            except OSError as error:
                _drop_output()
                refuse(f"standard output: {error.strerror}")
    finally:
        quiet.reset(token)


@contextlib.contextmanager
def sentences(code: int) -> Iterator[None]:
    """What goes wrong within is said in one sentence, and ends the program with a code."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        refuse(f"{where}{error.strerror or error}", code)
    except (ValueError, TypeError) as error:
        refuse(error, code)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """As `sentences` for bad usage, and of what the system refuses it says that a file can't be written."""
    with sentences(BAD_USAGE):
        try:
            yield
        except OSError as error:
            raise ValueError(f"{file} can't be written: {error.strerror or error}") from None


def _drop_output() -> None:
    """Forget what standard output could not take, which Python would write again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
