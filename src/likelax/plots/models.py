"""Plots of a model and of its fit: components, states, the rise of the likelihood."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike

from likelax.plots.parts import legend_above
from likelax.plots.style import colors, soft


def steps(ax: Axes, log_probs: ArrayLike) -> Axes:
    """The rise of a fit: the difference of each step to the last, in nats, on a log axis.

    Args:
      ax: axes to draw on.
      log_probs: (T,) log probability at each step; NaN after the last.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> steps(ax, [-9.0, -3.0, -2.5]).lines[0].get_ydata().tolist()
      [6.5, 0.5]
    """
    values = np.asarray(log_probs, float)
    values = values[np.isfinite(values)]
    short = values[-1] - values
    shown = short > 0
    ax.semilogy(np.arange(len(values))[shown], short[shown], marker="o", markersize=3.5)
    ax.set_xlabel("step")
    ax.set_ylabel("nats below the last step")
    return ax


def held_out(ax: Axes, training: ArrayLike, held: ArrayLike) -> Axes:
    """Mean log score during a fit, of the training data and of held-out data.

    Args:
      ax: axes to draw on.
      training, held: (T,) nats for each row, after each step; NaN after the last.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = held_out(ax, [-3.0, -2.0, -1.0], [-3.0, -2.5, -2.6])
      >>> ax.get_legend().get_texts()[2].get_text()
      'best, step 1'
    """
    seen, unseen = (np.asarray(a, float) for a in (training, held))
    ax.plot(np.arange(len(seen)), seen, color=soft(), label="training")
    ax.plot(np.arange(len(unseen)), unseen, color=colors()[0], label="held out")
    best = int(np.nanargmax(unseen))
    ax.plot(best, unseen[best], color=colors()[1], marker="o", markersize=7, linestyle="none",
            label=f"best, step {best}")  # fmt: skip
    ax.set(xlabel="step", ylabel="nats a row")
    legend_above(ax, columns=2)
    return ax


def density(
    ax: Axes, grid: ArrayLike, parts: ArrayLike, data: ArrayLike | None = None, *, bins: int = 30
) -> Axes:
    """Density of a mixture in one dimension and of its components, over a histogram.

    Args:
      ax: axes to draw on.
      grid: (G,).
      parts: (G, K) weight times density of each component.
      data: (N,) or None.
      bins: of the histogram.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> parts = np.array([[0.0, 0.1], [0.2, 0.0]])
      >>> density(ax, [0.0, 1.0], parts).lines[0].get_ydata().tolist()
      [0.1, 0.2]
    """
    at, each = np.asarray(grid, float), np.asarray(parts, float)
    if data is not None:
        ax.hist(np.asarray(data, float), bins=bins, density=True, color=soft(), alpha=0.3,
                label="data")  # fmt: skip
    for k in range(each.shape[1]):
        ax.fill_between(at, each[:, k], color=colors()[k % 5], alpha=0.3, linewidth=0)
    ax.plot(at, each.sum(axis=1), color=colors()[0], label="mixture")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("density")
    legend_above(ax, columns=2)
    return ax


def membership(ax: Axes, x: ArrayLike, y: ArrayLike, responsibilities: ArrayLike) -> Axes:
    """Points coloured by their component; colours are mixed by the responsibilities.

    Args:
      ax: axes to draw on.
      x, y: (N,).
      responsibilities: (N, K) probabilities, K at most 5.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = membership(ax, [0.0, 1.0], [0.0, 1.0], [[1.0, 0.0], [0.5, 0.5]])
      >>> len(ax.collections[0].get_offsets())
      2
    """
    hues = np.array([to_rgb(c) for c in colors()])
    shares = np.asarray(responsibilities, float)
    ax.scatter(
        x, y, c=np.clip(shares @ hues[: shares.shape[1]], 0, 1), s=22, linewidths=0.5,
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
      ax: axes to draw on.
      loc: (2,).
      scale_tril: (2, 2) Cholesky factor of the covariance.
      radii: of the contours, in standard deviations.
      index: of the colour.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = ellipse(ax, np.zeros(2), np.eye(2), radii=[2.0])
      >>> round(float(ax.lines[0].get_xdata().max()), 4)
      2.0
    """
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for radius in radii:
        x, y = np.asarray(loc)[:, None] + radius * np.asarray(scale_tril) @ circle
        ax.plot(x, y, color=colors()[index], linewidth=1.4)
    return ax


def state_levels(ax: Axes, time: ArrayLike, x: ArrayLike, level: ArrayLike) -> Axes:
    """A series, and the level of the decoded state at each step.

    Args:
      ax: axes to draw on.
      time: (T,).
      x: (T,) the data.
      level: (T,) mean of the state at each step.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = state_levels(ax, [0, 1, 2], [0.1, 0.2, 5.0], [0.0, 0.0, 5.0])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['seen', 'level of the state']
    """
    time, level = np.asarray(time), np.asarray(level, float)
    ax.plot(time, x, color=soft(), linewidth=1, marker="o", markersize=2.8, label="seen")
    ax.step(time, level, where="mid", color=colors()[1], linewidth=2.4, label="level of the state")
    legend_above(ax, columns=2)
    ax.margins(x=0.01)
    return ax


def state_shares(ax: Axes, time: ArrayLike, probs: ArrayLike, names: Sequence[str]) -> Axes:
    """Posterior probability of each state over time, stacked to one.

    Args:
      ax: axes to draw on.
      time: (T,).
      probs: (T, K).
      names: K labels.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = state_shares(ax, [0, 1], [[1.0, 0.0], [0.5, 0.5]], ["low", "high"])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['low', 'high']
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
