"""Classical probabilistic models in JAX: exact, compiled, differentiable."""

from likelax import data, families, fit, hmm, mixture, numerics
from likelax.data import Labelled, Masked, Sequences
from likelax.families import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    GammaPoisson,
    MvNormal,
    MvStudentT,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    Poisson,
    StudentT,
)
from likelax.families.statistics import add, scale
from likelax.hmm.model import HMM, HMMPrior
from likelax.mixture import Mixture, MixturePrior
from likelax.product import Independent, Product
