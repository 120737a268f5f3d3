"""The page of `likelax check --report`: the checklist, and pictures of the model beside its data."""

from collections.abc import Callable
from typing import Any

import numpy as np

from likelax import files, kept, plots, report
from likelax.checklist import Checklist
from likelax.hmm import HMM
from likelax.mixture import Mixture

MOST_SHOWN = 2000  # steps of a series that a picture can show
MOST_COLOURS = 5


def page(found: kept.Kept, rows: files.Rows, result: Checklist) -> str:
    """HTML with the verdicts, figures and parameters.

    Args:
      found: the model.
      rows: what it was fitted to.
      result: of the checklist.
    """
    names, values = found.table().values()
    parameters = report.Table(
        "Parameters of the model",
        ("Parameter", "Value"),
        [(name, f"{value:.6g}") for name, value in zip(names, values, strict=True)],
        numeric=(1,),
    )
    passed = sum(line.verdict == "PASS" for line in result.lines)
    lead = (
        f"{found.name} of {', '.join(found.columns)}"
        + (
            f", {found.size} {'states' if found.named.takes_series else 'components'}"
            if found.size
            else ""
        )
        + f": {passed} of {len(result.lines)} lines of the checklist pass."
    )
    pictures = _pictures(found, rows)
    return report.html("A fitted model", result, lead=lead, pictures=pictures, tables=[parameters])


def _pictures(found: kept.Kept, rows: files.Rows) -> list[report.Picture]:
    if isinstance(found.model, HMM):
        return _of_series(found, rows)
    if isinstance(found.model, Mixture) and found.model.num_components <= MOST_COLOURS:
        numbers = _numeric(found)
        if found.scalar and numbers:
            return [_density(found, rows)]
        return [_membership(found, rows, numbers[:2])] if len(numbers) > 1 else []
    return []


def _numeric(found: kept.Kept) -> list[int]:
    """The places of the columns that hold numbers, not codes of texts."""
    return [i for i, column in enumerate(found.fields) if not column.values]


def _picture(draw: Callable[[Any], object], alt: str, caption: str) -> report.Picture:
    light, dark = (plots.png(plots.figure(draw, dark=dark)) for dark in (False, True))
    return report.Picture(light, dark, alt, caption)


def _of_series(found: kept.Kept, rows: files.Rows) -> list[report.Picture]:
    """The first series, with the levels and the probabilities of its states."""
    values = next(iter(rows.parts().values()))[:MOST_SHOWN]
    x = found.data(files.Rows(values, rows.columns, None))
    path = np.asarray(found.model.viterbi(x)[0])
    probs = np.exp(np.asarray(found.model.smoother(x).log_marginals, float))
    time, found_pictures = np.arange(len(path)), []
    if numbers := _numeric(found):
        column = values if values.ndim == 1 else values[:, numbers[0]]
        found_pictures = [_levels(rows.columns[numbers[0]], time, column, path, probs)]

    def states(figure: Any) -> None:
        ax = figure.subplots()
        plots.state_shares(ax, time, probs, [f"state {k}" for k in range(probs.shape[1])])
        ax.set(xlabel="step", ylabel="probability")

    if probs.shape[1] <= MOST_COLOURS:
        alt = f"Posterior probability of {probs.shape[1]} states over {len(time)} steps."
        found_pictures.append(_picture(states, alt, "Probability of each state at each step."))
    return found_pictures


def _levels(
    name: str, time: np.ndarray, column: np.ndarray, path: np.ndarray, probs: np.ndarray
) -> report.Picture:
    known = np.isfinite(column)
    total = probs[known].sum(axis=0)
    # a state without a share of any known value is on the path at missing ones alone
    level = np.divide(
        probs[known].T @ column[known], total, np.full_like(total, np.nan), where=total > 0
    )[path]

    def levels(figure: Any) -> None:
        ax = figure.subplots()
        plots.state_levels(ax, time, column, level)
        ax.set(xlabel="step", ylabel=name)

    return _picture(
        levels,
        f"{name} over {len(time)} steps, and the mean of {name} in the decoded state.",
        "The series, and the level of the most probable path of states.",
    )


def _density(found: kept.Kept, rows: files.Rows) -> report.Picture:
    values = rows.values[np.isfinite(rows.values)]
    whole = bool(np.all(values == np.round(values)))
    low, high = values.min(), values.max()
    grid = np.arange(low, high + 1) if whole and high - low < 500 else np.linspace(low, high, 400)
    grid = grid.astype(np.float32)
    parts = np.exp(np.asarray(found.model.component_log_prob(grid), float))
    parts = parts * np.asarray(found.model.weights, float)

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        plots.density(ax, grid, parts, values)
        ax.set(xlabel=rows.columns[0])

    name = rows.columns[0]
    return _picture(
        draw,
        f"Histogram of {name} and the density of {parts.shape[1]} components and their sum.",
        "The mixture and its components over a histogram of the data.",
    )


def _membership(found: kept.Kept, rows: files.Rows, pair: list[int]) -> report.Picture:
    seen = np.isfinite(rows.values[:, pair]).all(axis=1)
    known = rows._replace(values=rows.values[seen], labels=None)
    shares = np.asarray(found.model.responsibilities(found.data(known)), float)
    x, (first, second) = known.values[:, pair], (rows.columns[i] for i in pair)

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        plots.membership(ax, x[:, 0], x[:, 1], shares)
        ax.set(xlabel=first, ylabel=second)

    what = "component" if found.label is None else f"{found.label.name}"
    return _picture(
        draw,
        f"{first} and {second} of each row, coloured by its {what}.",
        f"Each row in two columns, coloured by the probabilities of its {what}.",
    )
