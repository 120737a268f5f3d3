"""Scoring rules: what a forecast costs once the outcome is known. Lower is better, per observation.

Every rule here is proper (the truth has the lowest expected score) and has finite gradients.
A probability is never clipped: a forecast that calls the outcome impossible scores inf under
the log rule.

Arguments that share a shape in the docstrings must have one shape; forecasts of the closed forms may
also be numbers, or arrays that broadcast to x. NaN or infinity in an argument of
a closed form or among draws gives NaN or infinity in the scores that depend on it. Invalid values (a label that is no class, rows that do not sum to one, a negative scale) raise a
ValueError where they are known, and are not looked at under `jax.jit`.
"""

from likelax.scoring.classes import (
    binary_brier_score,
    binary_log_score,
    brier_score,
    log_score,
    log_score_from_logits,
    ranked_probability_score,
)
from likelax.scoring.closed import (
    crps_beta,
    crps_exponential,
    crps_gamma,
    crps_laplace,
    crps_log_normal,
    crps_logistic,
    crps_normal,
    crps_normal_mixture,
    crps_student_t,
    crps_uniform,
    dawid_sebastiani_score,
)
from likelax.scoring.counts import (
    crps_binomial,
    crps_gamma_poisson,
    crps_negative_binomial,
    crps_poisson,
)
from likelax.scoring.ensemble import (
    crps_ensemble,
    energy_score,
    log_score_ensemble,
    threshold_crps_ensemble,
    variogram_score,
)
from likelax.scoring.quantiles import (
    interval_score,
    quantile_score,
    weighted_interval_score,
)

__all__ = [
    "binary_brier_score",
    "binary_log_score",
    "brier_score",
    "log_score",
    "log_score_from_logits",
    "ranked_probability_score",
    "crps_beta",
    "crps_exponential",
    "crps_gamma",
    "crps_laplace",
    "crps_log_normal",
    "crps_logistic",
    "crps_normal",
    "crps_normal_mixture",
    "crps_student_t",
    "crps_uniform",
    "dawid_sebastiani_score",
    "crps_binomial",
    "crps_gamma_poisson",
    "crps_negative_binomial",
    "crps_poisson",
    "crps_ensemble",
    "energy_score",
    "log_score_ensemble",
    "threshold_crps_ensemble",
    "variogram_score",
    "interval_score",
    "quantile_score",
    "weighted_interval_score",
]
