"""`likelax fit`: a model to a table."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from likelax import files, kept, named
from likelax import fit as fits
from likelax.cli import _regression, common, tables
from likelax.columns import Column
from likelax.data import take_labels


def fit(
    data: Path,
    model: str,
    output: Path,
    states: str | None,
    columns: str,
    column: list[str] | None,
    infer: bool,
    label: str | None,
    group: str | None,
    weight: str | None,
    holdout: float,
    restarts: int,
    seed: int,
    tol: float | None,
    max_steps: int,
    form: common.Form,
) -> None:
    """Fit the model, print a table of sizes and the parameters of the best, and write it."""
    with common.sentences(common.BAD_USAGE):
        found = named.parse(model)
        sizes = found.sizes(states)
        families = _families(column or [])
        files.check_output(output, [".npz"])
        if not 0 <= holdout < 1:
            raise ValueError(f"--holdout must lie in [0, 1); got {holdout}")
        _check_roles(found, model, families, label, group, weight)
    with common.sentences(common.BAD_DATA):
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        table = files.read_raw(data, wanted)
        plan = kept.plan(
            *(data, table, model),
            columns=wanted, families=families, infer=infer, label=label, group=group, weight=weight,
        )  # fmt: skip
        plan = replace(plan, holdout=holdout, seed=seed)
        rows = plan.rows(data, table)
        if not len(rows.values):
            raise files.DataError(f"{data} has no rows")
        known = plan.complete(rows)
        seen, _ = kept.divided(known, holdout, series=found.takes_series, seed=seed)
        x, weights = plan.data(seen), plan.weights(seen)
    if found.column_family is None or found.takes_label:
        tables.show_columns(plan, rows)
    if found.kind == "naive-bayes":
        best = _classify(plan, x, weights)
    elif found.family == "negative-binomial":
        with common.sentences(common.BAD_DATA):
            one = _regression.dispersed(x, weights, tol, max_steps)
        best = jax.tree.map(lambda a: jnp.asarray(a)[None], one)
    else:
        done = tables.fit_all(
            fits.EM(tol, max_steps),
            _starter(plan, max(sizes)),
            jax.tree.map(lambda a: a[None], x),
            weights=None if weights is None else weights[None],
            key=jax.random.key(seed),
            num_restarts=1 if found.takes_label else restarts,
            sizes=sizes if found.has_sizes else None,
        )
        best = jax.tree.map(lambda a: a[0], done.best)
        if not found.has_sizes:
            best = jax.tree.map(lambda a: a[None], best)
    models = [jax.tree.map(lambda a, i=i: a[i], best.model) for i in range(len(best.status))]
    usable = np.asarray(best.usable)
    with common.sentences(common.BAD_DATA):
        free, scores = zip(*(plan.criteria(one, x, weights) for one in models), strict=True)
    chosen = int(np.argmin(np.where(usable, scores, np.inf)))
    size = sizes[chosen] if found.has_sizes else None
    result = models[chosen] if size is None else kept.trimmed(models[chosen], size)
    report: dict[str, Any] = {"size": sizes} if found.has_sizes else {}
    report |= {
        "status": [fits.Status(int(s)).name for s in best.status],
        "log_likelihood": np.asarray(best.objective, float),
        "parameters": free,
        "bic": scores,
        "steps": np.asarray(best.num_steps),
        "chosen": usable & (np.arange(len(models)) == chosen),
    }
    if not usable.any():
        tables.show(report, form)
        reason = _reason(plan, rows, seen)
        common.refuse(f"no usable fit to {data}{reason and ': '}{reason}", common.NO_FIT)
    plan = replace(plan, size=size, model=result)
    with common.writing(output):
        plan.save(output)
    tables.show(report, form)
    tables.show(plan.table(), form)
    number = len(seen.values)
    rows_of = f"{number} row{'s' * (number != 1)} of {files.listed(rows.columns)}"
    common.say(f"fitted to {rows_of}; wrote {output}")
    if found.family == "negative-binomial" and _regression.like_poisson(result, x):
        common.say(
            f"{label!r} varies no more than Poisson counts do: total_count rises without bound, and the "
            "fit is that of regression:poisson"
        )
    if not bool(best.converged[chosen]):
        common.refuse(
            f"the fit did not converge in {max_steps} steps; raise --max-steps", common.NO_FIT
        )


def _families(options: list[str]) -> dict[str, str]:
    """The families of `--column NAME:FAMILY`, by the names of the columns.

    Raises:
      ValueError: for another form, an unknown family, or a column that is named twice.
    """
    found: dict[str, str] = {}
    for option in options:
        name, _, family = option.rpartition(":")
        if not name or family not in named.OF_COLUMN:
            raise ValueError(
                f"--column {option!r}: wanted NAME:FAMILY with FAMILY one of "
                f"{', '.join(named.OF_COLUMN)}"
            )
        if name in found:
            raise ValueError(f"--column names {name!r} twice")
        found[name] = family
    return found


def _check_roles(
    found: named.Named,
    model: str,
    families: dict[str, str],
    label: str | None,
    group: str | None,
    weight: str | None,
) -> None:
    """Raise for columns that the model has no use for, and without one that it needs.

    Raises:
      ValueError: naming the option.
    """
    if group is not None and not found.takes_series:
        raise ValueError(f"--group tells series apart; {model} takes rows in no order")
    if weight is not None and found.takes_series:
        raise ValueError(f"--weight is of a row; {model} takes series, whose steps have none")
    if label is not None and not found.takes_label:
        raise ValueError(f"--label names classes or targets; {model} has none")
    if label is None and found.takes_label:
        what = "target" if found.kind == "regression" else "classes"
        raise ValueError(f"{model} needs --label, the column of the {what}")
    for name, family in families.items():
        if found.kind == "regression" and family != "categorical":
            raise ValueError(
                f"--column {name}:{family}: the inputs of a regression have no family; they are "
                "numbers, or categorical"
            )
        if found.kind == "naive-bayes" and found.column_family not in (None, family):
            raise ValueError(
                f"--column {name}:{family}: {model} has one family for all columns; use "
                "naive-bayes:mixed"
            )


def _starter(plan: kept.Kept, most: int) -> Any:
    if plan.label is None:
        return plan.named.starter(plan.fields, most)
    start = plan.named.blank(plan.fields, None, plan.label)
    return lambda key, x: start


def _classify(plan: kept.Kept, x: Any, weights: jax.Array | None) -> fits.Fit[Any]:
    """The classifier in closed form, as a fit of one step."""
    if plan.label is None:
        raise ValueError("naive Bayes needs a label")
    classifier = plan.named.classifier(plan.fields, plan.label)
    rows, labels = take_labels(x)
    with common.sentences(common.BAD_DATA):
        model = classifier.fit(classifier.statistics(rows, jnp.asarray(labels), weights))
        each = model.log_prob(x)
    total = jnp.sum(each if weights is None else kept.weighted(each, weights))
    status = jnp.where(jnp.isfinite(total), fits.Status.CONVERGED, fits.Status.NON_FINITE)
    done = fits.Fit(model, total[None], jnp.ones((), int), status)
    return jax.tree.map(lambda a: jnp.asarray(a)[None], done)


def _reason(plan: kept.Kept, rows: files.Rows, seen: files.Rows) -> str:
    """Why no fit is usable, as far as the columns show it; else empty.

    Args:
      plan: what was fitted.
      rows: of the file.
      seen: those of them that were fitted.
    """
    columns = dict(zip(plan.fields, _wide(rows).T, strict=True))
    if plan.named.kind == "regression" and plan.label is not None and rows.labels is not None:
        columns = {plan.label: rows.labels}
    columns = {c: v for c, v in columns.items() if not c.values}  # all codes of texts are possible
    for family in {column.family: None for column in columns}:
        own = {c.name: v for c, v in columns.items() if c.family == family}
        for bad, why in _unfit(Column("", family), np.concatenate(list(own.values()))):
            for name, values in own.items():
                for row in np.flatnonzero(np.isin(values, bad))[:1]:
                    held = f"column {name!r} holds {values[row]:g} in row {row + 1}"
                    return f"{held}, which {why} the family {family}"
    if plan.named.kind == "regression":
        return ""
    labels, names = seen.labels, ("",) if plan.label is None else plan.label.values
    for column, values in zip(plan.fields, _wide(seen).T, strict=True):
        for code, name in enumerate(names):
            own = values[~np.isnan(values) & (True if labels is None else labels == code)]
            if column.family == "normal" and len(own) and own.min() == own.max():
                where = f" where {plan.label.name!r} is {name!r}" if plan.label else ""
                return f"column {column.name!r} never varies{where}"
    number, width = _wide(seen).shape
    if plan.named.family in ("normal", "student-t") and width > 1 and number <= width:
        return f"{number} rows are too few for a covariance of {width} columns; try diagonal"
    return ""


def _unfit(column: Column, values: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Values that the family of a column has no finite fit to, and why."""
    one, known = named.parse("mle:mixed").leaf([column]), np.unique(values[~np.isnan(values)])
    if not known.size:
        return
    possible = jax.tree.map(np.asarray, one).possible(known)
    yield known[~np.broadcast_to(possible, known.shape)], "has probability zero under"
    stats = jax.vmap(lambda x: one.e_step(x[None])[0])(jnp.asarray(known))
    finite = [np.isfinite(leaf).reshape(len(known), -1) for leaf in jax.tree.leaves(stats)]
    yield known[~np.concatenate(finite, axis=1).all(axis=1)], "leaves no finite fit of"


def _wide(rows: files.Rows) -> np.ndarray:
    """(N, D) the values, also of one column."""
    return rows.values if rows.values.ndim == 2 else rows.values[:, None]
