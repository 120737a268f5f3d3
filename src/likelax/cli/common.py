"""What the commands share before they work: exit codes, one sentence for what is wrong, forms of a table.

Nothing here imports JAX or NumPy, so that `--help` and the completion of a shell answer at once.
"""

import contextlib
import enum
from collections.abc import Iterator
from typing import NoReturn

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


def say(text: str) -> None:
    """A message to standard error."""
    typer.echo(f"likelax: {text}", err=True)


@contextlib.contextmanager
def sentences(code: int) -> Iterator[None]:
    """What goes wrong within is said in one sentence, and ends the program with a code."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        refuse(error, code)
