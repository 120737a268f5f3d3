"""Plots of the draws of Markov chains."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from likelax.plots.style import colors, soft


def chain_ranks(ax: Axes, draws: ArrayLike, *, num_bins: int = 20) -> Axes:
    """Rank plot of chains: how often the draws of each chain have each rank among all draws.

    One row of bars a chain. Chains that mix have level rows; a slope is another location, an arch or a
    dip another scale. The shade is where 95 of 100 bars of independent draws lie; autocorrelation makes
    them rougher. Bars outside are coloured.

    Args:
      ax: axes to draw on.
      draws: (C, S) of C chains, as for `monte_carlo.rhat`. Ties share their mean rank.
      num_bins: of ranks, from 2 to C S.
    Returns:
      ax, the axes.
    Raises:
      ValueError: if draws is not (C, S) or holds NaN, or num_bins is out of range.
    Source: Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021), Bayesian Analysis 16.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = chain_ranks(ax, np.arange(8.0).reshape(2, 4), num_bins=2)
      >>> [len(bars) for bars in ax.containers]
      [2, 2]
    """
    values = np.asarray(draws, float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"draws must have shape (C, S), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError("draws must be numbers, got NaN")
    if not 2 <= num_bins <= values.size:
        raise ValueError(f"num_bins must be from 2 to {values.size}, got {num_bins}")
    chains, size = values.shape
    ordered = np.sort(values, axis=None)
    first, last = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    bins = ((first + last) / 2 * num_bins / values.size).astype(int).clip(max=num_bins - 1)
    counts = np.stack([np.bincount(row, minlength=num_bins) for row in bins])
    expected = size / num_bins
    # of a sample without replacement: the bins and the chains share the draws
    variance = expected * (1 - 1 / num_bins) * (values.size - size) / max(values.size - 1, 1)
    half = 1.96 * np.sqrt(variance)
    unit = 0.8 / max(counts.max(), expected + half)
    for chain, row in enumerate(counts):
        bottom = chains - 1 - chain
        ax.axhspan(bottom + unit * max(expected - half, 0), bottom + unit * (expected + half),
                   color=soft(), alpha=0.25, linewidth=0, zorder=0)  # fmt: skip
        hues = [colors()[1] if wrong else colors()[0] for wrong in np.abs(row - expected) > half]
        ax.bar(np.arange(num_bins) + 0.5, unit * row, width=0.9, bottom=bottom, color=hues)
        ax.axhline(bottom + unit * expected, color=soft(), linewidth=1)
    ax.set(xlim=(0, num_bins), ylim=(0, chains), xlabel="rank among the draws of all chains")
    ax.set_xticks([0, num_bins / 2, num_bins], ["0", f"{values.size / 2:g}", f"{values.size}"])
    ax.set_yticks(np.arange(chains) + 0.4, [f"chain {chains - k}" for k in range(chains)])
    ax.grid(visible=False)
    return ax
