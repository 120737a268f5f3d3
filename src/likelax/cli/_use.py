"""What can be done with a model that `likelax fit` wrote."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from likelax import checklist, files, kept, predictive
from likelax import fit as fits
from likelax.cli import _figures, common, tables
from likelax.hmm import HMM
from likelax.mixture import Mixture


def check(
    model: Path, data: Path, train: Path | None, report: Path | None, seed: int, form: common.Form
) -> None:
    """Run the checklist, print its lines, and write the page."""
    found = _load(model)
    with common.sentences(common.BAD_USAGE):
        if train is None and found.holdout == 0:
            raise ValueError(
                f"{model} was fitted to all of its data; fit with --holdout 0.2, or give new DATA, and "
                "by --train what it was fitted to"
            )
        if report is not None and (
            report.suffix != ".html" or not report.resolve().parent.is_dir()
        ):
            raise ValueError(f"{report}: wanted an .html file in a folder that exists")
    series = found.named.takes_series
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        share = found.holdout if train is None else 0.0
        seen, unseen = kept.divided(
            rows if train is None else _rows(found, train), share, series=series, seed=found.seed
        )
        if train is not None:
            unseen = rows
        x, heldout = (kept.as_data(part, series=series) for part in (seen, unseen))
        result = checklist.run(jax.random.key(seed), found.model, x, heldout)
    table = {
        "line": [f"{line.number}. {line.title}" for line in result.lines],
        "verdict": [str(line.verdict) for line in result.lines],
        "reason": [f"{line.reason} {line.remedy}".strip() for line in result.lines],
    }
    tables.show(table, form)
    if report is not None:
        with common.sentences(common.BAD_DATA):
            report.write_text(_figures.page(found, seen, result), encoding="utf-8")
        common.say(f"wrote {report}")
    if not result.ok:
        raise typer.Exit(common.NOT_RIGHT)


def compare(data: Path, models: list[Path], form: common.Form) -> None:
    """Print the log probability of the data under each model, best first."""
    if len(models) < 2 or len(set(models)) < len(models):
        common.refuse("compare wants two different models or more")
    scores = {}
    series = False
    for file in models:
        found = _load(file)
        series = series or found.named.takes_series
        with common.sentences(common.BAD_DATA):
            scores[str(file)] = predictive.elpd_of(jnp.asarray(_increments(found, data)))
    with common.sentences(common.BAD_DATA):
        block = max(1, round(len(next(iter(scores.values())).pointwise) ** 0.5)) if series else 1
        gaps = predictive.compare_all(scores, block_size=block)
    tables.show(
        {
            "model": list(gaps),
            "log_probability": [float(scores[name].value) for name in gaps],
            "below_best": [-float(gap.value) for gap in gaps.values()],
            "standard_error": [float(gap.standard_error) for gap in gaps.values()],
        },
        form,
    )


def decode(model: Path, data: Path, output: Path | None, form: common.Form) -> None:
    """Write the most probable states and the probabilities of all states."""
    found = _load(model)
    if not isinstance(found.model, HMM):
        common.refuse(f"{model} is {found.name}, which has no path of states; use predict")
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=True)
        path, _ = found.model.viterbi(x)
        probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))
    _write({**_keys(found, rows), "state": np.asarray(path), **_shares(probs)}, output, form)


def predict(model: Path, data: Path, output: Path | None, form: common.Form) -> None:
    """Write the most probable component of each row and the probabilities of all."""
    found = _load(model)
    if found.size is None:
        common.refuse(f"{model} is {found.name}, which has no components")
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=found.named.takes_series)
        if isinstance(found.model, Mixture):
            probs = np.asarray(found.model.responsibilities(x))
        else:
            probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))
    best = np.where(np.isnan(probs).any(axis=1), -1, probs.argmax(axis=1))
    name = "state" if found.named.takes_series else "component"
    _write({**_keys(found, rows), name: best, **_shares(probs)}, output, form)


def score(model: Path, data: Path, form: common.Form) -> None:
    """Print the log probability of the data."""
    found = _load(model)
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=found.named.takes_series)
        total, number = float(jnp.sum(found.model.log_prob(x))), len(rows.values)
        bic = float(fits.bic(found.model, x))
    table: dict[str, Any] = {
        "rows": [number],
        "log_probability": [total],
        "a_row": [total / max(number, 1)],
    }
    tables.show({**table, "bic": [bic]}, form)


def sample(model: Path, count: int, seed: int, output: Path | None, form: common.Form) -> None:
    """Write draws from the model."""
    found = _load(model)
    draws = np.asarray(found.model.sample(jax.random.key(seed), (count,)))
    columns = draws[:, None] if found.scalar else draws
    _write({name: columns[:, i] for i, name in enumerate(found.columns)}, output, form)


def _load(file: Path) -> kept.Kept:
    with common.sentences(common.BAD_DATA):
        return kept.load(file)


def _rows(found: kept.Kept, data: Path) -> files.Rows:
    """The rows of a file, in the columns of the model."""
    rows = files.read_rows(data, found.columns, found.group)
    if not len(rows.values):
        raise files.DataError(f"{data} has no rows")
    return rows


def _increments(found: kept.Kept, data: Path) -> np.ndarray:
    """(N,) log probability of each row, given those before it in its series."""
    x = kept.as_data(_rows(found, data), series=found.named.takes_series)
    if isinstance(found.model, HMM):
        return np.asarray(found.model.filter(x).log_increments)
    return np.asarray(found.model.log_prob(x))


def _keys(found: kept.Kept, rows: files.Rows) -> dict[str, Any]:
    """The column that tells the series apart, in the order of the results."""
    if rows.groups is None or found.group is None:
        return {}
    parts = rows.parts()
    return {found.group: np.repeat(list(parts), [len(part) for part in parts.values()])}


def _shares(probs: np.ndarray) -> dict[str, np.ndarray]:
    return {f"probability[{k}]": probs[:, k] for k in range(probs.shape[1])}


def _write(table: dict[str, Any], output: Path | None, form: common.Form) -> None:
    if output is None:
        return tables.show(table, form)
    with common.sentences(common.BAD_USAGE):
        files.write_table(output, table)
    common.say(f"wrote {output}")
