"""Plots of forecasts and observations: ranks, coverage, simulated data, intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from likelax.plots.parts import legend_above
from likelax.plots.style import colors, ink, soft


def ecdf_difference(
    ax: Axes, points: ArrayLike, curve: ArrayLike, lower: ArrayLike, upper: ArrayLike
) -> Axes:
    """Distribution function of PIT values or ranks, minus that of a uniform variable.

    Args:
      ax: axes to draw on.
      points: (K,) in (0, 1).
      curve: (K,) empirical distribution function at the points: `predictive.distribution`.
      lower, upper: (K,) envelope for all the points at once: `predictive.uniform_envelope`.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = ecdf_difference(ax, [0.5], [0.7], [0.4], [0.6])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['envelope', 'seen', 'outside (1)']
    """
    at, curve, low, high = (np.asarray(a, float) for a in (points, curve, lower, upper))
    ends = np.concatenate([[0.0], at, [1.0]])

    def closed(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], values - at, [0.0]])

    out = (curve < low - 1e-9) | (curve > high + 1e-9)
    ax.fill_between(ends, closed(low), closed(high), color=soft(), alpha=0.22, linewidth=0,
                    label="envelope")  # fmt: skip
    ax.axhline(0, color=soft(), linewidth=1)
    ax.plot(ends, closed(curve), color=colors()[0], label="seen")
    ax.scatter(at[out], (curve - at)[out], color=colors()[1], s=18, zorder=3,
               label=f"outside ({out.sum()})")  # fmt: skip
    ax.set(xlim=(0, 1), xlabel="PIT value or rank", ylabel="difference of distributions")
    legend_above(ax, columns=2)
    return ax


def rank_histogram(ax: Axes, counts: ArrayLike, *, mass: float = 0.95) -> Axes:
    """Counts of each rank, with the interval that each bar alone should lie in.

    Args:
      ax: axes to draw on.
      counts: (K,) of ranks in K bins of equal probability.
      mass: of the interval, by the normal approximation to the binomial: 0.9, 0.95 or 0.99.
    Returns:
      ax, the axes.
    Raises:
      ValueError: for another mass.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> len(rank_histogram(ax, [9, 11, 10]).patches)
      4
    """
    heights = np.asarray(counts, float)
    number, total = len(heights), heights.sum()
    expected = total / number
    quantile = {0.9: 1.645, 0.95: 1.96, 0.99: 2.576}.get(mass)
    if quantile is None:
        raise ValueError(f"mass must be 0.9, 0.95 or 0.99, got {mass}")
    half = quantile * np.sqrt(total * (1 / number) * (1 - 1 / number))
    ax.axhspan(expected - half, expected + half, color=soft(), alpha=0.3, linewidth=0, zorder=2)
    ax.axhline(expected, color=soft(), linewidth=1.2)
    outside = np.abs(heights - expected) > half
    hues = [colors()[1] if wrong else colors()[0] for wrong in outside]
    ax.bar(np.arange(number), heights, width=0.86, color=hues)
    ax.set(
        xlabel="rank of the truth among the draws", ylabel="how often", xlim=(-0.6, number - 0.4)
    )
    ax.grid(axis="x", visible=False)
    return ax


def coverage(
    ax: Axes, claimed: ArrayLike, seen: ArrayLike, *, low: ArrayLike, high: ArrayLike
) -> Axes:
    """Fraction of true values inside intervals, against the nominal mass of the intervals.

    Args:
      ax: axes to draw on.
      claimed: (K,) masses of the intervals.
      seen: (K,) fractions of true values inside.
      low, high: (K,) bounds of an interval for the fraction.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> coverage(ax, [0.5, 0.9], [0.4, 0.8], low=[0.3, 0.7], high=[0.5, 0.9]).get_ylabel()
      'share inside'
    """
    at, share = np.asarray(claimed, float), np.asarray(seen, float)
    error = np.stack([share - np.asarray(low, float), np.asarray(high, float) - share])
    ax.plot([0, 1], [0, 1], color=soft(), linestyle=(0, (4, 2)), linewidth=1.2)
    ax.errorbar(at, share, yerr=np.maximum(error, 0), fmt="o-", markersize=5, color=colors()[0],
                elinewidth=2)  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="mass of the interval", ylabel="share inside")
    ax.set_aspect("equal", adjustable="box")
    return ax


def predictive_overlay(
    ax: Axes, observed: ArrayLike, simulated: ArrayLike, *, most: int = 60, bins: int = 24
) -> Axes:
    """The histogram of the data over those of simulated data sets, as outlines.

    Args:
      ax: axes to draw on.
      observed: (N,) the data.
      simulated: (S, N) data sets; the first `most` are drawn.
      bins: of all histograms, over the range of the data and of all but the most extreme
        simulations; whole numbers in a short range have a bin each.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> draws = np.zeros((3, 4))
      >>> len(predictive_overlay(ax, [0, 1, 1, 2], draws).patches)
      4
    """
    x, draws = np.asarray(observed, float), np.asarray(simulated, float)[:most]
    low, high = min(x.min(), np.quantile(draws, 0.002)), max(x.max(), np.quantile(draws, 0.998))
    whole = np.all(draws == np.round(draws)) and high - low < 2 * bins
    edges = np.arange(low - 0.5, high + 1.5) if whole else np.linspace(low, high, bins + 1)
    for i, draw in enumerate(draws):
        heights, _ = np.histogram(draw, edges, density=True)
        ax.stairs(heights, edges, color=colors()[0], alpha=0.16, linewidth=1,
                  label="simulated" if i == 0 else None)  # fmt: skip
    heights, _ = np.histogram(x, edges, density=True)
    ax.stairs(heights, edges, color=ink(), linewidth=2, label="seen")
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    for handle in legend_above(ax, columns=2).legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    return ax


def predictive_band(
    ax: Axes, time: ArrayLike, x: ArrayLike, bands: Sequence[tuple[float, ArrayLike, ArrayLike]]
) -> Axes:
    """A series, with the predictive intervals of each step.

    Args:
      ax: axes to draw on.
      time: (T,).
      x: (T,) the data; points outside the widest interval are highlighted.
      bands: (mass, lower (T,), upper (T,)), widest first.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = predictive_band(ax, [0, 1], [0.5, 9.0], [(0.9, [0, 0], [1, 1])])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['90% interval', 'seen', 'outside (1)']
    """
    time, x = np.asarray(time, float), np.asarray(x, float)
    for i, (mass, lower, upper) in enumerate(bands):
        ax.fill_between(time, np.asarray(lower, float), np.asarray(upper, float), step="mid",
                        color=colors()[0], alpha=0.18 + 0.14 * i, linewidth=0,
                        label=f"{mass:.0%} interval")  # fmt: skip
    _, lower, upper = bands[0]
    outside = (x < np.asarray(lower, float)) | (x > np.asarray(upper, float))
    ax.plot(time, x, color=ink(), linewidth=0.9, marker="o", markersize=2.8, label="seen")
    ax.plot(time[outside], x[outside], color=colors()[1], linestyle="none", marker="o",
            markersize=5, label=f"outside ({outside.sum()})")  # fmt: skip
    ax.margins(x=0.01)
    legend_above(ax, columns=2)
    return ax
