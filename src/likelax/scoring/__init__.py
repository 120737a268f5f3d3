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
    ranked_log_score,
    ranked_probability_score,
)
from likelax.scoring.closed import (
    crps_laplace,
    crps_log_normal,
    crps_logistic,
    crps_normal,
    crps_normal_mixture,
    crps_student_t,
    dawid_sebastiani_score,
)
from likelax.scoring.counts import (
    crps_binomial,
    crps_gamma_poisson,
    crps_hypergeometric,
    crps_negative_binomial,
    crps_poisson,
)
from likelax.scoring.ensemble import (
    crps_ensemble,
    error_spread_score,
    log_score_ensemble,
    threshold_crps_ensemble,
    threshold_log_score_ensemble,
)
from likelax.scoring.extremes import (
    crps_generalized_extreme_value,
    crps_generalized_pareto,
)
from likelax.scoring.limited import (
    crps_censored_logistic,
    crps_censored_normal,
    crps_censored_student_t,
    crps_truncated_logistic,
    crps_truncated_normal,
    crps_truncated_student_t,
)
from likelax.scoring.log_densities import (
    log_score_generalized_extreme_value,
    log_score_generalized_pareto,
    log_score_hypergeometric,
    log_score_log_laplace,
    log_score_log_logistic,
    log_score_logistic,
    log_score_truncated_logistic,
    log_score_truncated_normal,
    log_score_truncated_student_t,
    log_score_two_piece_exponential,
    log_score_two_piece_normal,
)
from likelax.scoring.pieces import crps_two_piece_exponential, crps_two_piece_normal
from likelax.scoring.positive import (
    crps_censored_shifted_gamma,
    crps_log_laplace,
    crps_log_logistic,
)
from likelax.scoring.quantiles import (
    interval_score,
    quantile_score,
    weighted_interval_score,
)
from likelax.scoring.rescaled import (
    rescaled_crps_ensemble,
    rescaled_energy_score,
    rescaled_kernel_score,
    rescaled_variogram_score,
)
from likelax.scoring.supported import crps_beta, crps_exponential, crps_gamma, crps_uniform
from likelax.scoring.vectors import (
    dawid_sebastiani_ensemble,
    energy_score,
    gaussian_kernel_score,
    variogram_score,
)

__all__ = [
    "binary_brier_score",
    "binary_log_score",
    "brier_score",
    "log_score",
    "log_score_from_logits",
    "ranked_log_score",
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
    "crps_hypergeometric",
    "crps_negative_binomial",
    "crps_poisson",
    "crps_generalized_extreme_value",
    "crps_generalized_pareto",
    "crps_censored_logistic",
    "crps_censored_normal",
    "crps_censored_student_t",
    "crps_truncated_logistic",
    "crps_truncated_normal",
    "crps_truncated_student_t",
    "crps_two_piece_exponential",
    "crps_two_piece_normal",
    "crps_censored_shifted_gamma",
    "crps_log_laplace",
    "crps_log_logistic",
    "log_score_logistic",
    "log_score_log_logistic",
    "log_score_log_laplace",
    "log_score_two_piece_normal",
    "log_score_two_piece_exponential",
    "log_score_generalized_pareto",
    "log_score_generalized_extreme_value",
    "log_score_hypergeometric",
    "log_score_truncated_normal",
    "log_score_truncated_logistic",
    "log_score_truncated_student_t",
    "crps_ensemble",
    "energy_score",
    "log_score_ensemble",
    "threshold_crps_ensemble",
    "threshold_log_score_ensemble",
    "error_spread_score",
    "variogram_score",
    "gaussian_kernel_score",
    "dawid_sebastiani_ensemble",
    "rescaled_crps_ensemble",
    "rescaled_energy_score",
    "rescaled_kernel_score",
    "rescaled_variogram_score",
    "interval_score",
    "quantile_score",
    "weighted_interval_score",
]
