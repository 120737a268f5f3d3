"""Leaf families and their conjugate priors: one file a family."""

from likelax.families.bernoulli import Bernoulli
from likelax.families.beta import Beta
from likelax.families.categorical import Categorical
from likelax.families.dirichlet import Dirichlet
from likelax.families.gamma import Gamma
from likelax.families.gamma_poisson import GammaPoisson
from likelax.families.mv_normal import MvNormal
from likelax.families.normal import Normal
from likelax.families.normal_inverse_gamma import NormalInverseGamma
from likelax.families.normal_inverse_wishart import NormalInverseWishart
from likelax.families.poisson import Poisson
from likelax.families.student_t import MvStudentT, StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Dirichlet",
    "Gamma",
    "GammaPoisson",
    "MvNormal",
    "MvStudentT",
    "Normal",
    "NormalInverseGamma",
    "NormalInverseWishart",
    "Poisson",
    "StudentT",
]
