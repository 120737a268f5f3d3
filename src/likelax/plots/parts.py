"""Plain charts and the labels on them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from numpy.typing import ArrayLike

from likelax.plots.style import colors, halo, ink


def legend_above(ax: Axes, *, columns: int) -> Legend:
    """A legend in one row above the axes, so that it hides no data.

    Args:
      ax: axes to draw on.
      columns: number of columns.
    Returns:
      The legend.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> _ = ax.plot([1, 2], label="rise")
      >>> [text.get_text() for text in legend_above(ax, columns=1).get_texts()]
      ['rise']
    """
    return ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2)


def label_line(ax: Axes, x: float, text: str, *, height: float = 0.95) -> Axes:
    """A vertical line with a label beside it.

    Args:
      ax: axes to draw on.
      x: position of the line.
      text: the label.
      height: of the label, as a fraction of the height of the axes.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> label_line(ax, 0.5, "middle").texts[0].get_text()
      'middle'
    """
    ax.axvline(x, color=ink(), linewidth=1.3, linestyle=(0, (4, 2)))
    ax.annotate(
        text, (x, height), xycoords=("data", "axes fraction"), xytext=(5, 0),
        textcoords="offset points", ha="left", va="top", fontsize=9,
    )  # fmt: skip
    return ax


def bars(ax: Axes, names: Sequence[str], values: ArrayLike, *, digits: int = 2) -> Axes:
    """Horizontal bars from top to bottom, each with its value.

    Args:
      ax: axes to draw on.
      names: K labels.
      values: (K,) non-negative.
      digits: decimals of the printed values.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> [text.get_text() for text in bars(ax, ["a", "b"], [0.2, 0.8]).texts]
      [' 0.20', ' 0.80']
    """
    values = np.asarray(values, float)
    at = np.arange(len(values), dtype=float)
    ax.barh(at, values, color=colors()[0], height=0.6)
    for y, value in zip(at, values, strict=True):
        ax.text(value, y, f" {value:.{digits}f}", va="center", ha="left", fontsize=9)
    ax.set_yticks(at, names)
    ax.invert_yaxis()
    ax.set_xlim(0, float(values.max()) * 1.15 if values.max() > 0 else 1)
    ax.grid(axis="y", visible=False)
    return ax


def curves(
    ax: Axes, x: ArrayLike, ys: Sequence[ArrayLike], names: Sequence[str], *, fill: bool = False
) -> Axes:
    """Curves over one x, each labelled at its highest point.

    Args:
      ax: axes to draw on.
      x: (N,).
      ys: a sequence of (N,).
      names: one label for each curve.
      fill: shade the area beneath.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> len(curves(ax, [0, 1, 2], [[0, 1, 2], [0, 1, 4]], ["x", "x^2"]).lines)
      2
    """
    x = np.asarray(x, float)
    for y, name, color in zip(ys, names, colors() * 9, strict=False):
        y = np.asarray(y, float)
        ax.plot(x, y, color=color)
        if fill:
            ax.fill_between(x, y, color=color, alpha=0.15, linewidth=0)
        top = int(np.nanargmax(y))
        ax.annotate(
            name, (x[top], y[top]), xytext=(0, 4), textcoords="offset points",
            ha="center", va="bottom", color=color, fontsize=9, fontweight="bold",
            path_effects=[halo()],
        )  # fmt: skip
    ax.margins(y=0.14)
    if fill:
        ax.set_ylim(bottom=0)
    return ax


def intervals(
    ax: Axes,
    names: Sequence[str],
    groups: Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike]],
) -> Axes:
    """Points with intervals: one row for each name, with the groups next to each other in the row.

    Args:
      ax: axes to draw on.
      names: N labels, top to bottom.
      groups: (label, centre (N,), low (N,), high (N,)) for each group.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> len(intervals(ax, ["a", "b"], [("one", [1, 2], [0, 1], [2, 3])]).containers)
      1
    """
    at = np.arange(len(names), dtype=float)
    spread = 0.26
    for i, (label, centre, low, high) in enumerate(groups):
        y = at + spread * (i - (len(groups) - 1) / 2)
        middle = np.asarray(centre, float)
        error = np.stack([middle - np.asarray(low, float), np.asarray(high, float) - middle])
        ax.errorbar(
            middle, y, xerr=error, fmt="o", markersize=5, elinewidth=2, color=colors()[i],
            label=label,
        )  # fmt: skip
    ax.set_yticks(at, names)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    legend_above(ax, columns=len(groups))
    return ax
