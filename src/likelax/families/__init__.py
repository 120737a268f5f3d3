"""Leaf families and their conjugate priors: one file a family, or a few that share their parts."""

from likelax.families.bernoulli import Bernoulli
from likelax.families.beta import Beta
from likelax.families.binomial import (
    BetaBinomial,
    BetaNegativeBinomial,
    Binomial,
    Geometric,
    NegativeBinomial,
)
from likelax.families.categorical import Categorical
from likelax.families.continuous import Laplace, LogNormal, VonMises, Weibull
from likelax.families.dirichlet import Dirichlet
from likelax.families.exponential import Exponential, Lomax
from likelax.families.gamma import Gamma, GammaGamma, GammaKnownShape, InverseGamma
from likelax.families.gamma_poisson import GammaPoisson
from likelax.families.generalized_linear import (
    LogisticRegression,
    NegativeBinomialRegression,
    PoissonRegression,
    SoftmaxRegression,
)
from likelax.families.known import NormalKnownLoc, NormalKnownScale, NormalMean
from likelax.families.linear_regression import LinearRegression, MatrixNormalInverseWishart
from likelax.families.multinomial import DirichletMultinomial, Multinomial
from likelax.families.mv_bernoulli import MvBernoulli
from likelax.families.mv_normal import MvNormal
from likelax.families.noisy_normal import NoisyNormal
from likelax.families.normal import Normal
from likelax.families.normal_inverse_gamma import NormalInverseGamma
from likelax.families.normal_inverse_wishart import NormalInverseWishart
from likelax.families.poisson import Poisson
from likelax.families.ranges import Delta, Pareto, ParetoUniform, Uniform, UniformFromZero
from likelax.families.ridge import RidgePrior
from likelax.families.spherical_normal import SphericalNormal
from likelax.families.student_t import MvStudentT, StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "BetaNegativeBinomial",
    "Binomial",
    "Categorical",
    "Delta",
    "Dirichlet",
    "DirichletMultinomial",
    "Exponential",
    "Gamma",
    "GammaGamma",
    "GammaKnownShape",
    "GammaPoisson",
    "Geometric",
    "InverseGamma",
    "Laplace",
    "LinearRegression",
    "LogNormal",
    "LogisticRegression",
    "Lomax",
    "MatrixNormalInverseWishart",
    "Multinomial",
    "MvBernoulli",
    "MvNormal",
    "MvStudentT",
    "NegativeBinomial",
    "NegativeBinomialRegression",
    "NoisyNormal",
    "Normal",
    "NormalInverseGamma",
    "NormalInverseWishart",
    "NormalKnownLoc",
    "NormalKnownScale",
    "NormalMean",
    "Pareto",
    "ParetoUniform",
    "Poisson",
    "PoissonRegression",
    "RidgePrior",
    "SoftmaxRegression",
    "SphericalNormal",
    "StudentT",
    "Uniform",
    "UniformFromZero",
    "VonMises",
    "Weibull",
]
