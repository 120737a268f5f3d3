"""Fits: on the device from first step to last, returning a `Fit` in which failure is data."""

from likelax.fit.em import em, mle, squarem
from likelax.fit.gradient import gradient, maximize, maximize_noisy, minibatch_log_prob
from likelax.fit.lbfgs import maximize_lbfgs
from likelax.fit.restarts import from_labels, kmeans, restarts
from likelax.fit.result import Fit, FitError, Status, best

__all__ = [
    "Fit",
    "FitError",
    "Status",
    "best",
    "em",
    "from_labels",
    "gradient",
    "kmeans",
    "maximize",
    "maximize_lbfgs",
    "maximize_noisy",
    "minibatch_log_prob",
    "mle",
    "restarts",
    "squarem",
]
