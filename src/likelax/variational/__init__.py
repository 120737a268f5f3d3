"""Evidence lower bounds with their standard errors, guides and fits. Higher is better."""

from likelax.variational.elbo import ExactElbo, elbo, exact_elbo
from likelax.variational.estimators import (
    Estimator,
    analytic_entropy,
    dreg,
    iwae,
    pathwise,
    renyi,
    rloo,
    score,
    sticking_the_landing,
    vimco,
)

__all__ = [
    "Estimator",
    "ExactElbo",
    "analytic_entropy",
    "dreg",
    "elbo",
    "exact_elbo",
    "iwae",
    "pathwise",
    "renyi",
    "rloo",
    "score",
    "sticking_the_landing",
    "vimco",
]
