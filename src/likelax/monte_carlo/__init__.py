"""Expectations from draws, always with their standard error."""

from likelax.monte_carlo._psis import Psis, centre, psis
from likelax.monte_carlo._sobol import sobol
from likelax.monte_carlo.control import control_variates
from likelax.monte_carlo.draws import chain_mean, ess_bulk, ess_tail, quantile, rhat
from likelax.monte_carlo.estimate import (
    Estimate,
    check_num_samples,
    expectation,
    expectation_until,
    mean,
    weighted,
)
from likelax.monte_carlo.gradients import (
    normal_loc_gradient,
    poisson_rate_gradient,
    score_expectation,
)
from likelax.monte_carlo.noise import (
    Noise,
    antithetic,
    expectation_from_noise,
    latin_hypercube,
    stratified,
    uniform,
)
from likelax.monte_carlo.resampling import resample
from likelax.monte_carlo.tempering import Tempered, tempered_draws

__all__ = [
    "Estimate",
    "Noise",
    "Psis",
    "Tempered",
    "antithetic",
    "centre",
    "chain_mean",
    "check_num_samples",
    "control_variates",
    "ess_bulk",
    "ess_tail",
    "expectation",
    "expectation_from_noise",
    "expectation_until",
    "latin_hypercube",
    "mean",
    "normal_loc_gradient",
    "poisson_rate_gradient",
    "psis",
    "quantile",
    "resample",
    "rhat",
    "score_expectation",
    "sobol",
    "stratified",
    "tempered_draws",
    "uniform",
    "weighted",
]
