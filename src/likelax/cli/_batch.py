"""`likelax batch`: one model to each of many data sets."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from likelax import files, fit, named
from likelax.cli import common, tables
from likelax.columns import Column
from likelax.data import Masked
from likelax.kept import leaf_name, single


def batch(
    data: Path,
    model: str,
    output: Path,
    group: str | None,
    columns: str,
    states: str | None,
    restarts: int,
    seed: int,
    tol: float | None,
    max_steps: int,
    resume: bool,
    all_devices: bool,
) -> None:
    """Fit the data sets, write the table of results, and print a summary."""
    with common.sentences(common.BAD_USAGE):
        found = named.parse(model)
        sizes = found.sizes(states)
    family = found.column_family
    if found.takes_label or family in (None, "categorical"):
        common.refuse(
            f"batch fits one family of numbers to all columns; {model} is for `likelax fit`"
        )
    with common.sentences(common.BAD_USAGE):
        files.check_output(output)
    sets = _read_sets(data, group, columns)
    began = time.perf_counter()
    done = tables.fit_all(
        fit.EM(tol, max_steps),
        found.starter([Column(str(i), family) for i in range(_columns(sets))], max(sizes)),
        _masked(list(sets.values())),
        key=jax.random.key(seed),
        num_restarts=restarts,
        sizes=sizes if found.has_sizes else None,
        mesh=jax.make_mesh((jax.device_count(),), ("fits",)) if all_devices else None,
        checkpoint=output.with_name(f"{output.name}.state") if resume else None,
    )
    with common.writing(output):
        files.write_table(output, _results(list(sets), done, _numbers_of_rows(sets)))
    for left in output.parent.glob(f"{output.name}.state.*") if resume else ():
        left.unlink()
    Console().print(_summary(done, len(sets), time.perf_counter() - began, output))
    failed = [
        name for name, wrong in zip(sets, np.asarray(done.failed), strict=True) if wrong.all()
    ]
    if failed:
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        common.refuse(
            f"no usable fit of {', '.join(failed[:5])}{more}; see {output}", common.NO_FIT
        )


def _read_sets(data: Path, group: str | None, columns: str) -> dict[str, np.ndarray]:
    """The data sets by name; ends the program where they can't be read."""
    if not data.exists():
        common.refuse(f"{data} does not exist")
    wanted = [name.strip() for name in columns.split(",") if name.strip()]
    if data.is_dir():
        if group is not None or wanted:
            common.refuse(
                "--group and --columns are for a table; a folder has a file for each data set"
            )
    elif files.ending(data) not in (".csv", ".tsv", ".parquet"):
        common.refuse(f"{data}: wanted a folder, a .csv or a .parquet file")
    elif group is None:
        common.refuse(f"{data}: name the column that tells the data sets apart by --group")
    try:
        if group is None:
            return files.read_folder(data)
        return files.read_rows(data, wanted, group).parts()
    except files.DataError as error:
        common.refuse(error, common.BAD_DATA)


def _columns(sets: dict[str, np.ndarray]) -> int:
    """The number of columns of the data sets."""
    first = next(iter(sets.values()))
    return 1 if first.ndim == 1 else first.shape[1]


def _masked(sets: list[np.ndarray]) -> list[Any]:
    """The data sets, as `Masked` with NaN for missing where some number is missing."""
    try:
        sets = [single(a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a) for a in sets]
    except files.DataError as error:
        common.refuse(error, common.BAD_DATA)
    return [Masked.from_nan(a) for a in sets] if any(np.isnan(a).any() for a in sets) else sets


def _numbers_of_rows(sets: dict[str, np.ndarray]) -> np.ndarray:
    """(B,) rows that are not missing altogether."""
    seen = [~np.isnan(np.asarray(a, float)) for a in sets.values()]
    return np.array([np.sum(s if s.ndim == 1 else s.any(axis=1)) for s in seen])


def _results(names: list[str], done: fit.Batch[Any], rows: np.ndarray) -> dict[str, Any]:
    """The table of results: a row for each data set and size."""
    best, count = done.best, 1 if done.sizes is None else len(done.sizes)
    free = jax.vmap(fit.num_parameters)
    free = free if done.sizes is None else jax.vmap(free)
    objective = np.asarray(best.objective, float).reshape(-1)
    size_of_model = np.asarray(free(best.model), float).reshape(-1)
    total = np.repeat(rows, count)
    bic = size_of_model * np.log(np.maximum(total, 1)) - 2 * objective
    usable = np.asarray(best.usable).reshape(-1)
    score = np.where(usable, bic, np.inf).reshape(len(names), count)
    chosen = (np.arange(count)[None, :] == score.argmin(axis=1)[:, None]) & np.isfinite(score)
    table: dict[str, Any] = {"dataset": np.repeat(names, count)}
    if done.sizes is not None:
        table["size"] = np.tile(np.asarray(done.sizes), len(names))
        table["chosen"] = chosen.reshape(-1)
    table["rows"] = total
    table["status"] = [fit.Status(int(s)).name for s in np.ravel(best.status)]
    table["log_likelihood"] = objective
    table["bic"] = bic
    table["num_steps"] = np.ravel(best.num_steps)
    lead = best.status.ndim
    for path, leaf in jax.tree_util.tree_leaves_with_path(best.model):
        array = np.asarray(leaf)
        flat = array.reshape(len(total), -1)
        for i, at in enumerate(np.ndindex(array.shape[lead:])):
            table[leaf_name(path, at)] = flat[:, i]
    return table


def _summary(done: fit.Batch[Any], count: int, seconds: float, output: Path) -> Table:
    """Statuses of all fits, the cost, and where the results are."""
    table = Table(title=f"{count} data sets", title_justify="left", box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    codes, numbers = np.unique(np.asarray(done.fits.status), return_counts=True)
    for code, number in zip(codes, numbers, strict=True):
        table.add_row(f"Fits {fit.Status(int(code)).name}", str(number))
    if done.sizes is not None and len(done.sizes) > 1:
        table.add_row("Sizes tried", ", ".join(map(str, np.asarray(done.sizes))))
    steps = int(done.executed)
    table.add_row("Steps", f"{steps}, {steps / max(int(done.needed), 1):.2f} times those needed")
    table.add_row("Time", f"{seconds:.1f} s, {done.fits.status.size / seconds:.0f} fits a second")
    table.add_row("Results", str(output))
    return table
