"""Tables to standard output, and a bar of progress to standard error."""

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from likelax import files, kept
from likelax.cli import common
from likelax.fit import Batch, Done, batch

MOST_NAMED = 8  # categories of a column in the table of columns


def bar(console: Console) -> Progress:
    """A bar of progress that is gone at the end; nothing where no one looks, or with `--quiet`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=common.quiet.get() or not console.is_terminal,
    )


def show(columns: Mapping[str, Sequence[Any] | np.ndarray], form: common.Form) -> None:
    """A table to standard output.

    Args:
      columns: of one length, by name.
      form: JSON is a list of rows, each an object.
    """
    lists = [_plain(values) for values in columns.values()]
    rows = list(zip(*lists, strict=True))
    if form is common.Form.JSON:
        objects = [dict(zip(columns, map(_finite, row), strict=True)) for row in rows]
        typer.echo(json.dumps(objects, indent=1))
    elif form is common.Form.CSV:
        csv.writer(sys.stdout, lineterminator="\n").writerows([list(columns), *rows])
    elif form is common.Form.MARKDOWN:
        texts = [list(columns), ["---"] * len(columns), *([_text(v) for v in row] for row in rows)]
        typer.echo("\n".join("| " + " | ".join(row) + " |" for row in texts))
    else:
        Console().print(_table(columns))


def show_columns(plan: kept.Kept, rows: files.Rows) -> None:
    """The columns and their families, to standard error; nothing with `--quiet`."""
    if common.quiet.get():
        return
    columns = [*plan.fields, *([] if plan.label is None else [plan.label])]
    wide = rows.values[:, None] if rows.values.ndim == 1 else rows.values
    numbers = [*wide.T, *([] if rows.labels is None else [rows.labels])]
    found: dict[str, list[Any]] = {"column": [], "family": [], "values": [], "missing": []}
    for column, values in zip(columns, numbers, strict=True):
        seen = values[~np.isnan(values)]
        between = f"{seen.min():g} to {seen.max():g}" if len(seen) else "none"
        named = ", ".join(column.values[:MOST_NAMED]) + ", ..." * (len(column.values) > MOST_NAMED)
        found["column"].append(column.name)
        found["family"].append("label" if column is plan.label else column.family)
        found["values"].append(named or between)
        found["missing"].append(len(values) - len(seen))
    Console(stderr=True).print(_table(found))


def _table(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Table:
    lists = [_plain(values) for values in columns.values()]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name, values in zip(columns, lists, strict=True):
        numbers = bool(values) and all(isinstance(v, int | float) for v in values)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in zip(*lists, strict=True):
        table.add_row(*(escape(_text(value)) for value in row))
    return table


def _plain(values: Sequence[Any] | np.ndarray) -> list[Any]:
    """Numbers of Python, with the digits that a float32 has."""
    array = np.asarray(values)
    return [float(str(v)) for v in array] if array.dtype == np.float32 else array.tolist()


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fit_all(*arguments: Any, **options: Any) -> Batch[Any]:
    """`fit.batch` with a bar of its progress on standard error."""
    shown = bar(Console(stderr=True))
    with shown:
        task = shown.add_task("Fitting", total=None)

        def show_done(now: Done) -> None:
            rate = f", {now.per_second:.3g} a second" if now.per_second > 0 else ""
            left = f", {now.left:.0f} s left" if now.left >= 0 else ""
            each = ", ".join(f"{count} {name}" for name, count in now.statuses.items())
            said = f"Fitting{rate}{left}; {each or 'none done'}; best {now.objective:.6g} nats"
            shown.update(task, completed=now.fits, total=now.total, description=said)

        try:
            return batch(*arguments, **options, progress=show_done)
        except (ValueError, TypeError) as error:
            common.refuse(error, common.BAD_DATA)
