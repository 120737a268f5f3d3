"""Posterior prediction: simulate, score on new data, and compare with what was seen."""

from likelax.predictive.checks import p_value, pit
from likelax.predictive.loo import Loo, loo, loo_of, loo_pit, waic, waic_of
from likelax.predictive.score import (
    Elpd,
    compare,
    compare_all,
    elpd_of,
    log_predictive_density,
    log_predictive_density_of,
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
    "compare_all",
    "elpd_of",
    "equal_tailed",
    "highest_density",
    "log_predictive_density",
    "log_predictive_density_of",
    "loo",
    "loo_of",
    "loo_pit",
    "p_value",
    "pit",
    "replicate",
    "simulate",
    "summarise",
    "waic",
    "waic_of",
]
