"""What can be done with a model that `likelax fit` wrote."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from likelax import checklist, files, kept, predictive
from likelax.cli import _figures, _regression, common, tables
from likelax.columns import decode as names_of
from likelax.data import unlabelled
from likelax.hmm import HMM
from likelax.mixture import Mixture

NO_DECISION = "The model has no column of classes, so no decision depends on its probabilities."


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
        if report is not None:
            files.check_output(report, [".html"])
    series = found.named.takes_series
    with common.sentences(common.BAD_DATA):
        rows = _complete(found, data)
        share = found.holdout if train is None else 0.0
        seen, unseen = kept.divided(
            rows if train is None else _complete(found, train),
            share,
            series=series,
            seed=found.seed,
        )
        if train is not None:
            unseen = rows
        x, heldout = found.data(seen), found.data(unseen)
        key = jax.random.key(seed)
        if found.named.kind == "regression":
            result = _regression.check(key, found, x, heldout)
        else:
            decision = checklist.top_label if found.named.decides else None
            result = checklist.run(key, found.model, x, heldout, decision)
    result = checklist.Checklist(tuple(_without_python(found, line) for line in result.lines))
    table = {
        "line": [f"{line.number}. {line.title}" for line in result.lines],
        "verdict": [str(line.verdict) for line in result.lines],
        "reason": [f"{line.reason} {line.remedy}".strip() for line in result.lines],
    }
    tables.show(table, form)
    if report is not None:
        with common.sentences(common.BAD_DATA):
            page = _figures.page(found, seen, result)
        with common.writing(report):
            report.write_text(page, encoding="utf-8")
        common.say(f"wrote {report}")
    if not result.ok:
        raise typer.Exit(common.NOT_RIGHT)


def _without_python(found: kept.Kept, line: checklist.Line) -> checklist.Line:
    """A line of the checklist, without a remedy that only Python has."""
    if line.number == 6 and not found.named.decides:
        line = line._replace(reason=NO_DECISION)
    unknown = line.number == 1 and line.verdict is checklist.Verdict.INCONCLUSIVE
    return (
        line._replace(remedy="") if unknown or line.verdict is checklist.Verdict.NOT_RUN else line
    )


def compare(models: list[Path], data: Path, form: common.Form) -> None:
    """Print the log probability of the data under each model, best first."""
    if len(models) < 2 or len(set(models)) < len(models):
        common.refuse("compare wants two different models or more")
    loaded = {str(file): _load(file) for file in models}
    first, *others = loaded
    for name in others:
        if _described(loaded[name]) != _described(loaded[first]):
            common.refuse(
                f"{name} describes {_described(loaded[name])} and {first} describes "
                f"{_described(loaded[first])}; compare models of the same columns"
            )
    with common.sentences(common.BAD_DATA):
        table = files.read_raw(data, loaded[first].columns)
        each = {name: _increments(found, data, table) for name, found in loaded.items()}
        known = np.logical_and.reduce([~np.isnan(scores) for scores in each.values()])
        if not known.any():
            raise files.DataError(f"{data} has no row that all models can score")
        scores = {name: predictive.elpd_of(jnp.asarray(s[known])) for name, s in each.items()}
        series = any(found.named.takes_series for found in loaded.values())
        block = max(1, round(known.sum() ** 0.5)) if series else 1
        gaps = predictive.compare_all(scores, block_size=block)
    tables.show(
        {
            "model": list(gaps),
            "log_probability": [float(scores[name].value) for name in gaps],
            "below_best": [0.0 - float(gap.value) for gap in gaps.values()],
            "standard_error": [float(gap.standard_error) for gap in gaps.values()],
        },
        form,
    )


def decode(model: Path, data: Path, output: Path | None, form: common.Form) -> None:
    """Write the most probable states and the probabilities of all states."""
    found = _load(model, output)
    if not isinstance(found.model, HMM):
        common.refuse(f"{model} is {found.name}, which has no path of states; use predict")
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = found.data(rows)
        path, at = np.asarray(found.model.viterbi(x)[0]), _places(rows)
        probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))
    _write({**_keys(found, rows), "state": path[at], **_shares(probs[at])}, output, form)


def predict(model: Path, data: Path, output: Path | None, form: common.Form) -> None:
    """Write the most probable component, class or target of each row, and probabilities."""
    found = _load(model, output)
    if found.size is None and found.label is None:
        common.refuse(f"{model} is {found.name}, which has no components")
    with common.sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = found.data(rows)
        if found.named.kind == "regression" and found.label is not None:
            predicted = _regression.predictions(found, found.label, x)
        elif isinstance(found.model, Mixture):
            probs = np.asarray(found.model.responsibilities(x))
        else:
            probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))[_places(rows)]
    if found.named.kind == "regression":
        return _write(predicted, output, form)
    if found.label is not None:
        return _write(_regression.of_classes(found.label, probs), output, form)
    best = np.where(np.isnan(probs).any(axis=1), -1, probs.argmax(axis=1))
    name = "state" if found.named.takes_series else "component"
    _write({**_keys(found, rows), name: best, **_shares(probs)}, output, form)


def score(model: Path, data: Path, form: common.Form) -> None:
    """Print the log probability of the data."""
    found = _load(model)
    with common.sentences(common.BAD_DATA):
        table = files.read_raw(data, found.columns)
        names = {"label": found.label and found.label.name, "weight": found.weight}
        given = {role: name in table for role, name in names.items()}
        given["label"] |= found.named.kind == "regression"
        rows = found.complete(_some(data, found.rows(data, table, **given)))
        x, weights = found.data(rows), found.weights(rows)
        each = found.model.log_prob(x)
        total = float(jnp.sum(each if weights is None else kept.weighted(each, weights)))
        number = len(rows.values) if weights is None else float(jnp.sum(weights))
        _, bic = found.criteria(found.model, x, weights)
    report: dict[str, Any] = {
        "rows": [number],
        "log_probability": [total],
        "a_row": [total / number],
    }
    if rows.labels is not None and isinstance(found.model, Mixture):
        right = np.asarray(found.model.predict(unlabelled(x))) == rows.labels
        report["right"] = [float(np.average(right, weights=rows.weights))]
    tables.show({**report, "bic": [bic]}, form)


def sample(model: Path, count: int, seed: int, output: Path | None, form: common.Form) -> None:
    """Write draws from the model."""
    found = _load(model, output)
    if found.named.kind == "regression":
        common.refuse(f"{model} is {found.name}, which draws nothing without inputs; use predict")
    key, columns = jax.random.key(seed), list(found.fields)
    if found.label is not None and isinstance(found.model, Mixture):
        drawn = found.model.sample_labelled(key, (count,))
        values = [*_columns_of(found, drawn.values), np.asarray(drawn.labels)]
        columns.append(found.label)
    else:
        values = _columns_of(found, found.model.sample(key, (count,)))
    drawn_columns = zip(columns, values, strict=True)
    _write({c.name: names_of(c, value) for c, value in drawn_columns}, output, form)


def _columns_of(found: kept.Kept, draws: Any) -> list[np.ndarray]:
    """The columns of draws, in the order of the table."""
    if isinstance(draws, dict):
        return [np.asarray(draws[name]) for name in found.columns]
    wide = np.asarray(draws)
    return [wide] if wide.ndim == 1 else list(wide.T)


def _load(file: Path, output: Path | None = None) -> kept.Kept:
    """The model of a file, after a look whether the results can be written."""
    if output is not None:
        with common.sentences(common.BAD_USAGE):
            files.check_output(output)
    with common.sentences(common.BAD_DATA):
        return kept.load(file)


def _some(data: Path, rows: files.Rows) -> files.Rows:
    if not len(rows.values):
        raise files.DataError(f"{data} has no rows")
    return rows


def _rows(found: kept.Kept, data: Path) -> files.Rows:
    """The rows of a file, in the columns of the model, without labels and weights."""
    table = files.read_raw(data, found.columns)
    return _some(data, found.rows(data, table, label=False, weight=False))


def _complete(found: kept.Kept, data: Path) -> files.Rows:
    """The rows of a file that have a label, if the model has one."""
    table = files.read_raw(data, found.columns)
    return found.complete(_some(data, found.rows(data, table, weight=False)))


def _described(found: kept.Kept) -> str:
    """What the log probability of a model is of."""
    if found.named.kind == "regression" and found.label is not None:
        return f"{found.label.name} given other columns"
    return ", ".join(sorted([*found.columns, *([found.label.name] if found.label else [])]))


def _increments(found: kept.Kept, data: Path, table: dict[str, np.ndarray]) -> np.ndarray:
    """(N,) log probability of each row, given those before it in its series; NaN where incomplete."""
    rows = _some(data, found.rows(data, table, weight=False))
    x = found.data(rows)
    if isinstance(found.model, HMM):
        return np.asarray(found.model.filter(x).log_increments)[_places(rows)]
    scores = np.array(found.model.log_prob(x))
    if found.named.kind == "regression" and rows.labels is not None:
        wide = np.column_stack([rows.values, rows.labels])
        scores[np.isnan(wide).any(axis=1)] = np.nan
    return scores


def _keys(found: kept.Kept, rows: files.Rows) -> dict[str, Any]:
    """The column that tells the series apart."""
    if rows.groups is None or found.group is None:
        return {}
    return {found.group: rows.groups}


def _places(rows: files.Rows) -> np.ndarray:
    """(N,) where each row of the file is, when its series are laid end to end."""
    return np.argsort(np.concatenate(list(rows.places().values())))


def _shares(probs: np.ndarray) -> dict[str, np.ndarray]:
    return {f"probability[{k}]": probs[:, k] for k in range(probs.shape[1])}


def _write(table: dict[str, Any], output: Path | None, form: common.Form) -> None:
    if output is None:
        return tables.show(table, form)
    with common.writing(output):
        files.write_table(output, table)
    common.say(f"wrote {output}")
