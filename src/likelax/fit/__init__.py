"""Fits: on the device from first step to last, returning a `Fit` in which failure is data."""

from likelax.fit.checkpoint import load, save
from likelax.fit.criteria import aic, bic, icl, num_parameters
from likelax.fit.em import em, mle, squarem
from likelax.fit.gradient import gradient, maximize, maximize_noisy, minibatch_log_prob
from likelax.fit.implicit import implicit
from likelax.fit.lbfgs import maximize_lbfgs
from likelax.fit.restarts import (
    at_points,
    from_labels,
    from_responsibilities,
    kmeans,
    restarts,
    sweep,
)
from likelax.fit.result import Fit, FitError, Status, best
from likelax.fit.stream import stepwise, stream

__all__ = [
    "Fit",
    "FitError",
    "Status",
    "aic",
    "at_points",
    "best",
    "bic",
    "em",
    "from_labels",
    "from_responsibilities",
    "gradient",
    "icl",
    "implicit",
    "kmeans",
    "load",
    "maximize",
    "maximize_lbfgs",
    "maximize_noisy",
    "minibatch_log_prob",
    "mle",
    "num_parameters",
    "restarts",
    "save",
    "squarem",
    "stepwise",
    "stream",
    "sweep",
]
