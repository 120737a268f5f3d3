"""`likelax fit`, and what can be done with the model that it writes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from likelax import checklist, files, kept, named, predictive
from likelax import fit as fits
from likelax.cli import _figures, common
from likelax.hmm import HMM
from likelax.mixture import Mixture

Data = Annotated[
    Path, typer.Argument(help="A .csv, .parquet or .npy file, or - for a CSV from standard input.")
]
Model = Annotated[Path, typer.Argument(help="A model that `likelax fit` wrote.")]
Columns = Annotated[
    str, typer.Option(help="Columns to use, separated by commas; all others by default.")
]
Seed = Annotated[int, typer.Option(help="Seed of all that is random.", min=0, max=2**32 - 1)]
Form = Annotated[common.Form, typer.Option("--format", help="How the table is written.")]
Output = Annotated[Path | None, typer.Option(help="Write the table to this .csv or .parquet file.")]


def fit(
    data: Data,
    model: Annotated[
        str, typer.Option(help="KIND:FAMILY, such as hmm:poisson, mixture:normal, mle:gamma.")
    ],
    output: Annotated[Path, typer.Option(help="File of the model.")] = Path("model.npz"),
    states: Annotated[
        str,
        typer.Option(
            help="Numbers of components or states to try: 2, 2,4 or 2:5; lowest BIC wins."
        ),
    ] = "2",
    columns: Columns = "",
    group: Annotated[
        str | None, typer.Option(help="Column that says which series a row belongs to.")
    ] = None,
    holdout: Annotated[
        float, typer.Option(help="Share of the data to leave out, for `likelax check`.")
    ] = 0.0,
    restarts: Annotated[int, typer.Option(help="Starts for each size.", min=1)] = 20,
    seed: Seed = 0,
    tol: Annotated[
        float | None, typer.Option(help="Relative rise of the objective at which to stop.", min=0)
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Most EM steps of a fit.", min=0)] = 1000,
    form: Form = common.Form.TABLE,
) -> None:
    """Fit a model to a table of numbers, by EM from many starts, and write it to a file.

    Prints a row for each size, and the parameters of the best. The rows of a table are independent
    for a mixture, and the steps of a series for a hidden Markov model. Missing numbers are missing.

    For example: likelax fit counts.csv --model hmm:poisson --states 2:5 --holdout 0.2

    Exits with 2 for bad usage, 3 for bad data, and 4 if no fit is usable.
    """
    with _sentences(common.BAD_USAGE):
        found, sizes = named.parse(model), named.parse_sizes(states)
        if output.suffix != ".npz" or not output.resolve().parent.is_dir():
            raise ValueError(f"{output}: wanted a .npz file in a folder that exists")
        if not 0 <= holdout < 1:
            raise ValueError(f"--holdout must lie in [0, 1); got {holdout}")
        if group is not None and not found.takes_series:
            raise ValueError(f"--group tells series apart; {model} takes rows in no order")
    with _sentences(common.BAD_DATA):
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        rows = files.read_rows(data, wanted, group)
        seen, _ = kept.divided(rows, holdout, series=found.takes_series, seed=seed)
        scalar = rows.values.ndim == 1
        x = kept.as_data(seen, series=found.takes_series)
    done = common.fit_all(
        fits.EM(tol, max_steps),
        found.starter(None if scalar else len(rows.columns), max(sizes)),
        jax.tree.map(lambda a: a[None], x),
        key=jax.random.key(seed),
        num_restarts=restarts,
        sizes=sizes if found.has_sizes else None,
    )
    best = jax.tree.map(lambda a: a[0], done.best)
    if not found.has_sizes:
        best = jax.tree.map(lambda a: a[None], best)
    models = [jax.tree.map(lambda a, i=i: a[i], best.model) for i in range(len(best.status))]
    scores = [float(fits.bic(one, x)) for one in models]
    usable = np.asarray(best.usable)
    chosen = int(np.argmin(np.where(usable, scores, np.inf)))
    size = sizes[chosen] if found.has_sizes else None
    result = models[chosen] if size is None else kept.trimmed(models[chosen], size)
    table: dict[str, Any] = {"size": sizes} if found.has_sizes else {}
    table |= {
        "status": [fits.Status(int(s)).name for s in best.status],
        "log_likelihood": np.asarray(best.objective, float),
        "parameters": [int(fits.num_parameters(one)) for one in models],
        "bic": scores,
        "steps": np.asarray(best.num_steps),
        "chosen": usable & (np.arange(len(models)) == chosen),
    }
    if not usable.any():
        common.show(table, form)
        common.refuse(f"no usable fit to {data}", common.NO_FIT)
    kept.Kept(model, rows.columns, scalar, size, group, holdout, seed, result).save(output)
    common.show(table, form)
    common.show(kept.parameters(result), form)
    common.say(f"columns {', '.join(rows.columns)}; {len(seen.values)} rows; wrote {output}")


def check(
    model: Model,
    data: Data,
    train: Annotated[
        Path | None,
        typer.Option(help="What the model was fitted to; DATA is then all held out."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with the checklist and figures: .html.")
    ] = None,
    seed: Seed = 0,
    form: Form = common.Form.TABLE,
) -> None:
    """Test six claims about a fitted model: the checklist.

    DATA is the file that the model was fitted to with --holdout, and is divided as it was then; or it
    is data that the fit did not see, with --train.

    For example: likelax check model.npz counts.csv --report report.html

    Exits with 1 if a line fails, 2 for bad usage, 3 for bad data.
    """
    found = _load(model)
    with _sentences(common.BAD_USAGE):
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
    with _sentences(common.BAD_DATA):
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
    common.show(table, form)
    if report is not None:
        with _sentences(common.BAD_DATA):
            report.write_text(_figures.page(found, seen, result), encoding="utf-8")
        common.say(f"wrote {report}")
    if not result.ok:
        raise typer.Exit(common.NOT_RIGHT)


def compare(
    data: Annotated[Path, typer.Argument(help="Data that no fit has seen.")],
    models: Annotated[list[Path], typer.Argument(help="Two or more models from `likelax fit`.")],
    form: Form = common.Form.TABLE,
) -> None:
    """Compare models by the log probability of held-out data, best first, with standard errors.

    For example: likelax compare later.csv two.npz three.npz
    """
    if len(models) < 2 or len(set(models)) < len(models):
        common.refuse("compare wants two different models or more")
    scores = {}
    series = False
    for file in models:
        found = _load(file)
        series = series or found.named.takes_series
        with _sentences(common.BAD_DATA):
            scores[str(file)] = predictive.elpd_of(jnp.asarray(_increments(found, data)))
    with _sentences(common.BAD_DATA):
        block = max(1, round(len(next(iter(scores.values())).pointwise) ** 0.5)) if series else 1
        gaps = predictive.compare_all(scores, block_size=block)
    common.show(
        {
            "model": list(gaps),
            "log_probability": [float(scores[name].value) for name in gaps],
            "below_best": [-float(gap.value) for gap in gaps.values()],
            "standard_error": [float(gap.standard_error) for gap in gaps.values()],
        },
        form,
    )


def decode(model: Model, data: Data, output: Output = None, form: Form = common.Form.CSV) -> None:
    """The most probable path of states of each series, and the probability of each state at each step.

    For example: likelax decode model.npz counts.csv --output states.csv
    """
    found = _load(model)
    if not isinstance(found.model, HMM):
        common.refuse(f"{model} is {found.name}, which has no path of states; use predict")
    with _sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=True)
        path, _ = found.model.viterbi(x)
        probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))
    _write({**_keys(found, rows), "state": np.asarray(path), **_shares(probs)}, output, form)


def predict(model: Model, data: Data, output: Output = None, form: Form = common.Form.CSV) -> None:
    """The most probable component of each row, or state of each step, and the probability of each.

    For example: likelax predict model.npz rows.csv --output classes.csv
    """
    found = _load(model)
    if found.size is None:
        common.refuse(f"{model} is {found.name}, which has no components")
    with _sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=found.named.takes_series)
        if isinstance(found.model, Mixture):
            probs = np.asarray(found.model.responsibilities(x))
        else:
            probs = np.exp(np.asarray(found.model.smoother(x).log_marginals))
    best = np.where(np.isnan(probs).any(axis=1), -1, probs.argmax(axis=1))
    name = "state" if found.named.takes_series else "component"
    _write({**_keys(found, rows), name: best, **_shares(probs)}, output, form)


def score(model: Model, data: Data, form: Form = common.Form.TABLE) -> None:
    """The log probability of data, in total and a row, and the BIC as if the model had been fitted to it.

    For example: likelax score model.npz later.csv
    """
    found = _load(model)
    with _sentences(common.BAD_DATA):
        rows = _rows(found, data)
        x = kept.as_data(rows, series=found.named.takes_series)
        total, number = float(jnp.sum(found.model.log_prob(x))), len(rows.values)
        bic = float(fits.bic(found.model, x))
    table: dict[str, Any] = {
        "rows": [number],
        "log_probability": [total],
        "a_row": [total / max(number, 1)],
    }
    common.show({**table, "bic": [bic]}, form)


def sample(
    model: Model,
    count: Annotated[int, typer.Option(help="Rows, or steps of a series.", min=1)] = 100,
    seed: Seed = 0,
    output: Output = None,
    form: Form = common.Form.CSV,
) -> None:
    """Draw rows, or one series, from a model.

    For example: likelax sample model.npz --count 1000 --seed 1
    """
    found = _load(model)
    draws = np.asarray(found.model.sample(jax.random.key(seed), (count,)))
    columns = draws[:, None] if found.scalar else draws
    _write({name: columns[:, i] for i, name in enumerate(found.columns)}, output, form)


def _load(file: Path) -> kept.Kept:
    with _sentences(common.BAD_DATA):
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
        return common.show(table, form)
    with _sentences(common.BAD_USAGE):
        files.write_table(output, table)
    common.say(f"wrote {output}")


@contextlib.contextmanager
def _sentences(code: int) -> Iterator[None]:
    """What goes wrong within is said in one sentence, and ends the program with a code."""
    try:
        yield
    except (ValueError, TypeError, OSError, files.DataError) as error:
        common.refuse(" ".join(str(error).split()), code)
