"""`likelax fit`: a model to a table."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from likelax import files, kept, named
from likelax import fit as fits
from likelax.cli import common, tables


def fit(
    data: Path,
    model: str,
    output: Path,
    states: str,
    columns: str,
    group: str | None,
    holdout: float,
    restarts: int,
    seed: int,
    tol: float | None,
    max_steps: int,
    form: common.Form,
) -> None:
    """Fit the model, print a table of sizes and the parameters of the best, and write it."""
    with common.sentences(common.BAD_USAGE):
        found, sizes = named.parse(model), named.parse_sizes(states)
        if output.suffix != ".npz" or not output.resolve().parent.is_dir():
            raise ValueError(f"{output}: wanted a .npz file in a folder that exists")
        if not 0 <= holdout < 1:
            raise ValueError(f"--holdout must lie in [0, 1); got {holdout}")
        if group is not None and not found.takes_series:
            raise ValueError(f"--group tells series apart; {model} takes rows in no order")
    with common.sentences(common.BAD_DATA):
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        rows = files.read_rows(data, wanted, group)
        seen, _ = kept.divided(rows, holdout, series=found.takes_series, seed=seed)
        scalar = rows.values.ndim == 1
        x = kept.as_data(seen, series=found.takes_series)
    done = tables.fit_all(
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
        tables.show(table, form)
        common.refuse(f"no usable fit to {data}", common.NO_FIT)
    kept.Kept(model, rows.columns, scalar, size, group, holdout, seed, result).save(output)
    tables.show(table, form)
    tables.show(kept.parameters(result), form)
    common.say(f"columns {', '.join(rows.columns)}; {len(seen.values)} rows; wrote {output}")
