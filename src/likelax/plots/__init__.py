"""Pictures of fits and forecasts, drawn on axes of your own. Arrays in, marks out.

Every chart takes a matplotlib `Axes` first and returns it. `figure` makes one that reads well
in print, on a light page or a dark one; nothing here opens a window or touches pyplot.
"""

from likelax.plots.judgement import predictive_check, reliability, verdicts
from likelax.plots.models import ellipse, membership, state_levels, state_shares, steps
from likelax.plots.parts import bars, curves, intervals, label_line, legend_above
from likelax.plots.style import colors, figure, halo, ink, png, soft

__all__ = [
    "bars",
    "colors",
    "curves",
    "ellipse",
    "figure",
    "halo",
    "ink",
    "intervals",
    "label_line",
    "legend_above",
    "membership",
    "png",
    "predictive_check",
    "reliability",
    "soft",
    "state_levels",
    "state_shares",
    "steps",
    "verdicts",
]
