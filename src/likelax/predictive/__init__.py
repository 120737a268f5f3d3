"""Posterior prediction: simulate, score on new data, and compare with what was seen."""

from likelax.predictive._loo import Loo, loo, loo_of, loo_pit, relative_efficiency, waic, waic_of
from likelax.predictive._moment_match import moment_match
from likelax.predictive._statistics import STATISTICS, correlation, statistics
from likelax.predictive.checks import Check, check, p_value, pit
from likelax.predictive.model_weights import pseudo_bma_weights, stacking_weights
from likelax.predictive.ranks import (
    Envelope,
    calibration_ranks,
    distribution,
    rank,
    uniform_envelope,
)
from likelax.predictive.refits import (
    FutureOut,
    KFold,
    k_fold,
    leave_future_out,
    psis_leave_future_out,
)
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
    "STATISTICS",
    "Check",
    "Elpd",
    "Envelope",
    "FutureOut",
    "Interval",
    "KFold",
    "Loo",
    "Summary",
    "calibration_ranks",
    "check",
    "compare",
    "compare_all",
    "correlation",
    "distribution",
    "elpd_of",
    "equal_tailed",
    "highest_density",
    "k_fold",
    "leave_future_out",
    "log_predictive_density",
    "log_predictive_density_of",
    "loo",
    "loo_of",
    "loo_pit",
    "moment_match",
    "p_value",
    "pit",
    "pseudo_bma_weights",
    "psis_leave_future_out",
    "rank",
    "relative_efficiency",
    "replicate",
    "simulate",
    "stacking_weights",
    "statistics",
    "summarise",
    "uniform_envelope",
    "waic",
    "waic_of",
]
