"""Posterior prediction: simulate, score on new data, and compare with what was seen."""

from likelax.predictive.checks import p_value, pit
from likelax.predictive.score import (
    Elpd,
    Loo,
    compare,
    elpd_of,
    log_predictive_density,
    loo,
    loo_of,
    waic,
)
from likelax.predictive.simulation import (
    Interval,
    Summary,
    equal_tailed,
    highest_density,
    replicate,
    simulate,
    summarise,
)

__all__ = [
    "Elpd",
    "Interval",
    "Loo",
    "Summary",
    "compare",
    "elpd_of",
    "equal_tailed",
    "highest_density",
    "log_predictive_density",
    "loo",
    "loo_of",
    "p_value",
    "pit",
    "replicate",
    "simulate",
    "summarise",
    "waic",
]
