"""Pictures of fits and forecasts, drawn on axes of your own. Arrays in, marks out.

Every function takes a matplotlib `Axes` first and returns it. `figure` makes one that reads
well in print, on a light page or a dark one; nothing here opens a window or touches pyplot.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

__all__ = [
    "bars",
    "colors",
    "curves",
    "ellipse",
    "figure",
    "ink",
    "intervals",
    "label_line",
    "legend_above",
    "membership",
    "png",
    "predictive_check",
    "reliability",
    "state_levels",
    "state_shares",
    "steps",
    "verdicts",
]

# Hues that stay apart for colour-blind readers; the dark set is the same hues, lighter.
_LIGHT = ("#2461c2", "#d2601a", "#1f8a66", "#8b4fc0", "#a87c00")
_DARK = ("#82b1ff", "#ff9f68", "#62d0a4", "#cba4ff", "#e6c34f")


def _style(dark: bool) -> Any:
    ink, soft, line, page = (
        ("#e6eaf1", "#a5b0c0", "#313b49", "#12161d")
        if dark
        else ("#1b2330", "#556070", "#e1e6ee", "#ffffff")
    )
    return {
        "figure.facecolor": page,
        "savefig.facecolor": page,
        "axes.facecolor": page,
        "axes.edgecolor": soft,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.labelsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=_DARK if dark else _LIGHT),
        "grid.color": line,
        "grid.linewidth": 0.8,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "text.color": ink,
        "font.size": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
    }


def figure(
    draw: Callable[[Figure], object],
    *,
    size: tuple[float, float] = (7.2, 3.6),
    dark: bool = False,
) -> Figure:
    """Make a figure in the house's style and let `draw` fill it.

    Args:
      draw: takes the empty figure; makes its axes with `figure.subplots`.
      size: width and height, inches.
      dark: for a dark page.
    Returns:
      The figure, laid out so that no label is cut.

    Examples:
      >>> fig = figure(lambda f: bars(f.subplots(), ["heads", "tails"], [5, 2]))
      >>> png(fig)[:4]
      b'\\x89PNG'
    """
    with matplotlib.rc_context(_style(dark)):
        made = Figure(figsize=size, layout="constrained")
        draw(made)
        made.draw_without_rendering()
    return made


def png(made: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def colors() -> list[str]:
    """The colours of the style in use, in the order in which series take them."""
    return matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]


def ink() -> str:
    """The colour of text in the style in use."""
    return matplotlib.rcParams["text.color"]


def _soft() -> str:
    return matplotlib.rcParams["axes.edgecolor"]


def _halo() -> withStroke:
    """Keeps a label readable where a line passes behind it."""
    return withStroke(linewidth=3, foreground=matplotlib.rcParams["axes.facecolor"])


def legend_above(ax: Axes, *, columns: int) -> None:
    """A legend in one row above the axes, where it hides no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2)


def bars(ax: Axes, names: Sequence[str], values: ArrayLike, *, digits: int = 2) -> Axes:
    """Horizontal bars from top to bottom, each with its value.

    Args:
      names: K labels.
      values: (K,) non-negative.
      digits: decimals of the printed values.
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
    """Curves over one x, each named at its highest point rather than in a legend.

    Args:
      x: (N,).
      ys: a sequence of (N,).
      names: one label a curve.
      fill: shade the area beneath.
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
            path_effects=[_halo()],
        )  # fmt: skip
    ax.margins(y=0.14)
    if fill:
        ax.set_ylim(bottom=0)
    return ax


def label_line(ax: Axes, x: float, text: str, *, height: float = 0.95) -> Axes:
    """A vertical line at x with a label beside it, `height` of the way up."""
    ax.axvline(x, color=ink(), linewidth=1.3, linestyle=(0, (4, 2)))
    ax.annotate(
        text, (x, height), xycoords=("data", "axes fraction"), xytext=(5, 0),
        textcoords="offset points", ha="left", va="top", fontsize=9,
    )  # fmt: skip
    return ax


def steps(ax: Axes, log_probs: ArrayLike) -> Axes:
    """The rise of a fit: what each step was still short of the last, nats, on a log axis.

    Args:
      log_probs: (steps,) log probability at each step; NaN after the last.
    """
    values = np.asarray(log_probs, float)
    values = values[np.isfinite(values)]
    short = values[-1] - values
    shown = short > 0
    ax.semilogy(np.arange(len(values))[shown], short[shown], marker="o", markersize=3.5)
    ax.set_xlabel("step")
    ax.set_ylabel("nats below the last step")
    return ax


def membership(ax: Axes, x: ArrayLike, y: ArrayLike, responsibilities: ArrayLike) -> Axes:
    """Points coloured by the component they belong to; a point between two is a blend.

    Args:
      x: (N,), and y: (N,).
      responsibilities: (N, K) probabilities, K at most 5.
    """
    hues = np.array([to_rgb(c) for c in colors()])
    shares = np.asarray(responsibilities, float)
    ax.scatter(
        x, y, c=shares @ hues[: shares.shape[1]], s=22, linewidths=0.5,
        edgecolors=matplotlib.rcParams["axes.facecolor"],
    )  # fmt: skip
    return ax


def ellipse(
    ax: Axes,
    loc: ArrayLike,
    scale_tril: ArrayLike,
    *,
    radii: Sequence[float] = (1.0, 2.0),
    index: int = 0,
) -> Axes:
    """Contours of a two-dimensional Gaussian, `radii` standard deviations out.

    Args:
      loc: (2,).
      scale_tril: (2, 2) Cholesky factor of the covariance.
      index: which colour of the style.
    """
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for radius in radii:
        x, y = np.asarray(loc)[:, None] + radius * np.asarray(scale_tril) @ circle
        ax.plot(x, y, color=colors()[index], linewidth=1.4)
    return ax


def state_levels(ax: Axes, time: ArrayLike, x: ArrayLike, level: ArrayLike) -> Axes:
    """A series, and above it the level of the state that the model decodes at each step.

    Args:
      time: (T,), x: (T,) what was seen, level: (T,) mean of the state at each step.
    """
    time, level = np.asarray(time), np.asarray(level, float)
    ax.plot(time, x, color=_soft(), linewidth=1, marker="o", markersize=2.8, label="seen")
    ax.step(time, level, where="mid", color=colors()[1], linewidth=2.4, label="level of the state")
    legend_above(ax, columns=2)
    ax.margins(x=0.01)
    return ax


def state_shares(ax: Axes, time: ArrayLike, probs: ArrayLike, names: Sequence[str]) -> Axes:
    """Posterior probability of each state over time, stacked to one.

    Args:
      time: (T,).
      probs: (T, K).
      names: K labels.
    """
    shares = np.asarray(probs, float)
    ax.stackplot(
        np.asarray(time), shares.T, labels=list(names), colors=colors()[: shares.shape[1]],
        alpha=0.85, linewidth=0,
    )  # fmt: skip
    ax.set_ylim(0, 1)
    ax.margins(x=0)
    ax.grid(visible=False)
    legend_above(ax, columns=len(names))
    return ax


def intervals(
    ax: Axes,
    names: Sequence[str],
    groups: Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike]],
) -> Axes:
    """Points with intervals, one row a name, groups side by side in the row.

    Args:
      names: N labels, top to bottom.
      groups: (label, centre (N,), low (N,), high (N,)) for each group.
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


def reliability(
    ax: Axes,
    confidence: ArrayLike,
    accuracy: ArrayLike,
    count: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
) -> Axes:
    """Reliability diagram: how often forecasts of each confidence came true.

    Args:
      confidence, accuracy, count: (B,) of each bin; empty bins are left out.
      low, high: (B,) bounds of an interval for the accuracy, or None.
    """
    confidence, accuracy, count = (np.asarray(a, float) for a in (confidence, accuracy, count))
    held = count > 0
    x, y, n = confidence[held], accuracy[held], count[held]
    ax.plot([0, 1], [0, 1], color=_soft(), linestyle=(0, (4, 2)), linewidth=1.2)
    if low is not None and high is not None:
        error = np.stack([y - np.asarray(low)[held], np.asarray(high)[held] - y])
        ax.errorbar(
            x, y, yerr=np.maximum(error, 0), fmt="none", elinewidth=2, color=colors()[0], alpha=0.5
        )
    ax.scatter(x, y, s=30 + 220 * n / n.sum(), color=colors()[0], zorder=3)
    for a, b, c in zip(x, y, n, strict=True):
        ax.annotate(
            f"{c:g}", (a, b), xytext=(9, -9), textcoords="offset points", fontsize=8.5,
            ha="left", va="top",
        )  # fmt: skip
    ax.set(
        xlim=(-0.03, 1.06), ylim=(-0.05, 1.05), xlabel="confidence", ylabel="share that was right"
    )
    ax.set_aspect("equal", adjustable="box")
    return ax


def predictive_check(ax: Axes, observed: float, simulated: Sequence[tuple[str, ArrayLike]]) -> Axes:
    """A statistic of the data against the same statistic of data that models simulate.

    Args:
      observed: its value on the data.
      simulated: (label, (S,) values) for each model.
    """
    everything = np.concatenate([np.asarray(s, float) for _, s in simulated])
    whole = np.all(everything == np.round(everything))
    low, high = min(everything.min(), observed), max(everything.max(), observed)
    if whole and high - low < 60:
        edges = np.arange(low - 0.5, high + 1.5)
    else:
        edges = np.linspace(low, high, 40)
    for (name, values), color in zip(simulated, colors(), strict=False):
        ax.hist(
            np.asarray(values), edges.tolist(), color=color, alpha=0.6, density=True, label=name
        )
    label_line(ax, observed, f"data {observed:.3g}")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    legend_above(ax, columns=len(simulated))
    return ax


def verdicts(ax: Axes, titles: Sequence[str], groups: Sequence[tuple[str, Sequence[str]]]) -> Axes:
    """A table of verdicts: a row for each claim, a column for each model.

    The word is printed in each cell, so colour only repeats it.

    Args:
      titles: N claims, top to bottom.
      groups: (label, N verdicts) for each model.
    """
    hues = dict(zip(("WARN", "FAIL", "PASS"), (colors()[i] for i in (4, 1, 2)), strict=True))
    for column, (_, words) in enumerate(groups):
        for row, word in enumerate(words):
            hue = hues.get(str(word), _soft())
            ax.barh(row, 0.94, left=column + 0.03, height=0.82, color=hue, alpha=0.22)
            ax.text(
                column + 0.5, row, str(word).replace("_", " "), ha="center", va="center",
                fontsize=9, fontweight="bold", color=ink(),
            )  # fmt: skip
    ax.set_yticks(range(len(titles)), titles)
    ax.set_xticks([i + 0.5 for i in range(len(groups))], [label for label, _ in groups])
    ax.xaxis.tick_top()
    ax.set(xlim=(0, len(groups)), ylim=(len(titles) - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelsize=10)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
