"""Plots that evaluate a model: calibration, predictive checks, verdicts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from likelax.numerics.checks import check_fraction
from likelax.numerics.tails import beta_tails
from likelax.plots.parts import label_line, legend_above
from likelax.plots.style import colors, ink, soft


def reliability(
    ax: Axes,
    confidence: ArrayLike,
    accuracy: ArrayLike,
    count: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    mass: float = 0.95,
) -> Axes:
    """Reliability diagram: the observed frequency for each confidence.

    A histogram along the lower edge shows the number of forecasts in each bin.

    Args:
      ax: axes to draw on.
      confidence, accuracy, count: (B,) of each bin; empty bins are left out.
      low, high: (B,) bounds of an interval for the accuracy, or None.
      band: (lower, upper), each (B,): bounds for the bins of a calibrated model, as of
        `calibration.consistency_band`. By default, central binomial quantiles at the confidence of each bin.
      mass: of the default band, in (0, 1).
    Returns:
      ax, the axes.
    Raises:
      ValueError: if mass is not in (0, 1).

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = reliability(ax, [0.2, 0.9], [0.3, 0.8], [5, 9])
      >>> [text.get_text() for text in ax.texts]  # the number of forecasts in each bin
      ['5', '9']
    """
    confidence, accuracy, count = (np.asarray(a, float) for a in (confidence, accuracy, count))
    held = count > 0
    x, y, n = confidence[held], accuracy[held], count[held]
    bars = ax.bar(x, 0.14 * n / n.max(), width=0.035, bottom=-0.05, color=soft(), alpha=0.45)
    bars.set_label("forecasts")
    check_fraction("mass", mass)
    if band is None:
        lower, upper = (_binomial_quantile(n, x, p) for p in ((1 - mass) / 2, (1 + mass) / 2))
    else:
        lower, upper = (np.asarray(bound, float)[held] for bound in band)
    ax.fill_between(x, lower, upper, color=soft(), alpha=0.2, linewidth=0)
    ax.plot([0, 1], [0, 1], color=soft(), linestyle=(0, (4, 2)), linewidth=1.2)
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


def _binomial_quantile(count: np.ndarray, probs: np.ndarray, level: float) -> np.ndarray:
    """The smallest share k / count of successes with P(K <= k) >= level, by bisection over k.

    Examples:
      >>> _binomial_quantile(np.array([10.0, 1.0]), np.array([0.5, 0.9]), 0.025).tolist()
      [0.2, 0.0]
    """
    low, high = np.full_like(count, -1), np.ceil(count)
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        k = np.clip(middle, 0, np.maximum(count - 1, 0))
        below = np.asarray(beta_tails(count - k, k + 1, 1 - probs, probs)[0])
        reached = (middle >= count) | ((middle >= 0) & (below >= level))
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.minimum(high / count, 1)


def corp(ax: Axes, knots: ArrayLike, values: ArrayLike, parts: Sequence[float]) -> Axes:
    """CORP diagram: the isotonic fit of outcomes to confidences, and the decomposition of the score.

    Args:
      ax: axes to draw on.
      knots, values: (N,) of `calibration.fit_isotonic`, in order of confidence.
      parts: miscalibration, discrimination, uncertainty of `calibration.corp`.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> print(corp(ax, [0.2, 0.8], [0.3, 0.6], [0.01, 0.1, 0.2]).texts[0].get_text())
      miscalibration 0.0100
      discrimination 0.1000
      uncertainty 0.2000
    """
    x, y = np.asarray(knots, float), np.asarray(values, float)
    ax.plot([0, 1], [0, 1], color=soft(), linestyle=(0, (4, 2)), linewidth=1.2)
    heights, edges = np.histogram(x, np.linspace(0, 1, 21))
    ax.bar(edges[:-1] + 0.025, 0.14 * heights / heights.max(), width=0.045, bottom=-0.05,
           color=soft(), alpha=0.45)  # fmt: skip
    ax.plot(x, y, color=colors()[0], linewidth=2)
    names = ("miscalibration", "discrimination", "uncertainty")
    text = "\n".join(f"{name} {part:.4f}" for name, part in zip(names, parts, strict=True))
    ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", ha="left", fontsize=9)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05), xlabel="confidence",
           ylabel="recalibrated")  # fmt: skip
    ax.set_aspect("equal", adjustable="box")
    return ax


def comparison(
    ax: Axes, names: Sequence[str], difference: ArrayLike, error: ArrayLike, *, unit: str = "nats"
) -> Axes:
    """Differences of models to the best of them, with two standard errors.

    Args:
      ax: axes to draw on.
      names: K models, best first.
      difference: (K,) score minus that of the best, 0 for the best.
      error: (K,) standard error of the difference.
      unit: of the scores, for the label.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = comparison(ax, ["a", "b"], [0.0, -9.0], [0.0, 3.0])
      >>> [label.get_text() for label in ax.get_yticklabels()]
      ['a', 'b']
    """
    at = np.arange(len(names), dtype=float)
    gap, spread = np.asarray(difference, float), 2 * np.asarray(error, float)
    ax.axvline(0, color=soft(), linestyle=(0, (4, 2)), linewidth=1.2)
    for y, value, half in zip(at, gap, spread, strict=True):
        hue = colors()[1] if value + half < 0 else colors()[0]
        ax.errorbar(value, y, xerr=half, fmt="o", markersize=6, elinewidth=2, color=hue)
    ax.set_yticks(at, names)
    ax.invert_yaxis()
    ax.margins(y=0.25)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"{unit} below the best, with two standard errors of the difference")
    return ax


def predictive_check(ax: Axes, observed: float, simulated: Sequence[tuple[str, ArrayLike]]) -> Axes:
    """A statistic of the data, and the same statistic of simulated data.

    Args:
      ax: axes to draw on.
      observed: its value on the data.
      simulated: (label, (S,) values) for each model.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> predictive_check(ax, 3.0, [("counts", [2, 3, 3, 4])]).texts[0].get_text()
      'data 3'
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

    Each cell also has the word, so the colours are not needed.

    Args:
      ax: axes to draw on.
      titles: N claims, top to bottom.
      groups: (label, N verdicts) for each model.
    Returns:
      ax, the axes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> [text.get_text() for text in verdicts(ax, ["claim"], [("model", ["NOT_RUN"])]).texts]
      ['NOT RUN']
    """
    hues = dict(zip(("WARN", "FAIL", "PASS"), (colors()[i] for i in (4, 1, 2)), strict=True))
    for column, (_, words) in enumerate(groups):
        for row, word in enumerate(words):
            hue = hues.get(str(word), soft())
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
