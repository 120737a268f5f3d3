"""Pictures of fits and forecasts, drawn on axes of your own. Arrays in, marks out.

Every chart takes a matplotlib `Axes` first and returns it. `figure` makes one that reads well
in print, on a light page or a dark one; nothing here opens a window or touches pyplot.
"""

from likelax.plots.chains import chain_ranks
from likelax.plots.forecasts import (
    coverage,
    ecdf_difference,
    predictive_band,
    predictive_overlay,
    rank_histogram,
)
from likelax.plots.judgement import comparison, corp, predictive_check, reliability, verdicts
from likelax.plots.models import (
    density,
    ellipse,
    held_out,
    membership,
    state_levels,
    state_shares,
    steps,
)
from likelax.plots.parts import bars, curves, intervals, label_line, legend_above
from likelax.plots.style import colors, figure, halo, ink, png, soft

__all__ = [
    "bars",
    "chain_ranks",
    "colors",
    "comparison",
    "corp",
    "coverage",
    "curves",
    "density",
    "ecdf_difference",
    "ellipse",
    "figure",
    "halo",
    "held_out",
    "ink",
    "intervals",
    "label_line",
    "legend_above",
    "membership",
    "png",
    "predictive_band",
    "predictive_check",
    "predictive_overlay",
    "rank_histogram",
    "reliability",
    "soft",
    "state_levels",
    "state_shares",
    "steps",
    "verdicts",
]
