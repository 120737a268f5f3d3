"""Every distribution of NumPyro as components of a mixture and emissions of a chain."""

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("numpyro")
import numpyro.distributions as dist

from likelax.interop import numpyro as adapter
from peers import Case, check

LOC_SCALE = Case({"loc": 0.3, "scale": 1.2}, ("loc", "scale"))
TWO = Case({"concentration1": 2.0, "concentration0": 3.0}, ("concentration1",), off=(-0.5, 1.5))
SHAPE_RATE = Case({"concentration": 2.0, "rate": 1.5}, ("rate",), off=(-1.0,))
SIMPLEX = [0.2, 0.3, 0.5]
TRIL = [[1.0, 0.0], [0.4, 0.8]]
MATRIX = [[1.0, 0.3], [0.3, 0.8]]


def folded(loc, scale):
    return dist.FoldedDistribution(dist.Normal(loc, scale))


def hurdle(rate, gate):
    return dist.HurdleProbs(dist.Poisson(rate), gate)


def hurdle_logits(rate, gate_logits):
    return dist.HurdleLogits(dist.Poisson(rate), gate_logits)


def inflated(rate, gate):
    return dist.ZeroInflatedProbs(dist.Poisson(rate), gate)


def inflated_logits(rate, gate_logits):
    return dist.ZeroInflatedLogits(dist.Poisson(rate), gate_logits)


def independent(loc, scale):
    return dist.Independent(dist.Normal(loc, scale), 1)


def left_truncated(loc, scale, low):
    return dist.LeftTruncatedDistribution(dist.Normal(loc, scale), low)


def right_truncated(loc, scale, high):
    return dist.RightTruncatedDistribution(dist.Normal(loc, scale), high)


def truncated(loc, scale, low, high):
    return dist.TwoSidedTruncatedDistribution(dist.Normal(loc, scale), low, high)


def left_truncated_gamma(concentration, rate, low):
    return dist.LeftTruncatedGamma(dist.Gamma(concentration, rate), low)


def right_truncated_gamma(concentration, rate, high):
    return dist.RightTruncatedGamma(dist.Gamma(concentration, rate), high)


def truncated_gamma(concentration, rate, low, high):
    return dist.TwoSidedTruncatedGamma(dist.Gamma(concentration, rate), low, high)


def mixture(probs, loc, scale):
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Normal(loc, scale))


def general(probs, loc, scale):
    parts = [dist.Normal(loc, scale), dist.Laplace(loc, scale)]
    return dist.MixtureGeneral(dist.Categorical(probs), parts, support=dist.constraints.real)


def transformed(loc, scale):
    return dist.TransformedDistribution(dist.Normal(loc, scale), dist.transforms.ExpTransform())


def copula(loc, scale, correlation_matrix):
    base = dist.Normal(loc, scale)
    return dist.GaussianCopula(base, correlation_matrix=correlation_matrix)


def skewed(loc, concentration, skewness):
    base = dist.VonMises(loc[..., None], concentration[..., None]).to_event(1)
    return dist.SineSkewed(base, skewness)


GAUSS2 = {"loc": [0.2, 0.5]}
CASES = {
    "AsymmetricLaplace": Case({"loc": 0.2, "scale": 1.0, "asymmetry": 1.5}, ("scale",)),
    "AsymmetricLaplaceQuantile": Case({"loc": 0.2, "scale": 1.0, "quantile": 0.3}, ("scale",)),
    "BernoulliLogits": Case({"logits": 0.5}, ("logits",), off=(2,)),
    "BernoulliProbs": Case({"probs": 0.4}, ("probs",), off=(2, -1)),
    "Bernoulli": Case({"probs": 0.4}, ("probs",), off=(2, -1)),
    "Beta": TWO,
    "BetaBinomial": TWO._replace(options={"total_count": 5}, off=(-1, 6)),
    "BetaNegativeBinomial": TWO._replace(parameters={**TWO.parameters, "n": 5.0}, off=(-1,)),
    "BetaProportion": Case({"mean": 0.4, "concentration": 3.0}, ("mean",), off=(1.5,)),
    "BinomialLogits": Case({"logits": 0.5}, ("logits",), {"total_count": 5}, off=(6,)),
    "BinomialProbs": Case({"probs": 0.4, "total_count": 5}, ("probs",), off=(-1, 6)),
    "Binomial": Case({"probs": 0.4}, ("probs",), {"total_count": 5}, off=(-1, 6)),
    "CAR": Case(
        {"loc": [0.1, 0.2], "correlation": 0.3, "conditional_precision": 1.5, "adj_matrix": [[0.0, 1], [1, 0]]},
        ("conditional_precision",),
    ),
    "CategoricalLogits": Case({"logits": [0.1, 0.5, 0.2]}, ("logits",), off=(3, -1)),
    "CategoricalProbs": Case({"probs": SIMPLEX}, off=(3, -1)),
    "Categorical": Case({"probs": SIMPLEX}, off=(3, -1)),
    "Cauchy": LOC_SCALE,
    "Chi2": Case({"df": 3.0}, ("df",), off=(-1.0,)),
    "CirculantNormal": Case({"loc": [0.1, 0.2, 0.3], "covariance_row": [1.0, 0.2, 0.2]}, ("loc",)),
    "Dagum": Case({"concentration": 2.0, "sharpness": 1.5, "scale": 1.0}, ("scale",), off=(-1.0,)),
    "Delta": Case({"v": 1.5, "log_density": 0.0}, off=(0.0,)),
    "Dirichlet": Case({"concentration": [1.5, 2.0, 3.0]}, ("concentration",), off=([0.5, 0.5, 0.5],)),
    "DirichletMultinomial": Case(
        {"concentration": [1.5, 2.0, 3.0]}, ("concentration",), {"total_count": 4}, off=([1, 1, 1],)
    ),
    "DiscreteUniform": Case({"low": 1, "high": 4}, off=(0, 5)),
    "DoublyTruncatedPowerLaw": Case({"alpha": -1.5, "low": 1.0, "high": 4.0}, ("alpha",), off=(0.5, 5.0)),
    "Exponential": Case({"rate": 1.5}, ("rate",), off=(-1.0,)),
    "FoldedDistribution": (folded, LOC_SCALE._replace(off=(-1.0,))),
    "Gamma": SHAPE_RATE,
    "GammaPoisson": SHAPE_RATE._replace(off=(-1,)),
    "GaussianCopula": (copula, Case({"loc": [0.1, 0.2], "scale": [1.0, 1.5], "correlation_matrix": [[1.0, 0.3], [0.3, 1.0]]}, ("loc",))),
    "GaussianCopulaBeta": Case(
        {"concentration1": [2.0, 2.5], "concentration0": [3.0, 2.0], "correlation_matrix": [[1.0, 0.3], [0.3, 1.0]]},
        ("concentration1",),
    ),
    "GaussianRandomWalk": Case({"scale": 1.2}, ("scale",), {"num_steps": 3}),
    "GaussianStateSpace": Case({"transition_matrix": [[0.5, 0.1], [0.0, 0.4]], "scale_tril": TRIL}, options={"num_steps": 3}),
    "GeometricLogits": Case({"logits": 0.5}, ("logits",), off=(-1,)),
    "GeometricProbs": Case({"probs": 0.4}, ("probs",), off=(-1,)),
    "Geometric": Case({"probs": 0.4}, ("probs",), off=(-1,)),
    "Gompertz": SHAPE_RATE,
    "Gumbel": LOC_SCALE,
    "HalfCauchy": Case({"scale": 1.2}, ("scale",), off=(-1.0,)),
    "HalfNormal": Case({"scale": 1.2}, ("scale",), off=(-1.0,)),
    "HurdleGamma": SHAPE_RATE._replace(parameters={"gate": 0.3, **SHAPE_RATE.parameters}),
    "HurdleLogits": (hurdle_logits, Case({"rate": 2.0, "gate_logits": 0.3}, ("rate",), off=(-1,))),
    "HurdleLogNormal": Case({"gate": 0.3, "loc": 0.2, "scale": 1.0}, ("scale",), off=(-1.0,)),
    "HurdlePoisson": Case({"gate": 0.3, "rate": 2.0}, ("rate",), off=(-1,)),
    "HurdleNegativeBinomial2": Case({"gate": 0.3, "mean": 2.0, "concentration": 3.0}, ("mean",), off=(-1,)),
    "HurdleProbs": (hurdle, Case({"rate": 2.0, "gate": 0.3}, ("rate",), off=(-1,))),
    "Independent": (independent, Case({"loc": [0.1, 0.2], "scale": [1.0, 1.5]}, ("scale",))),
    "InverseGamma": SHAPE_RATE,
    "InverseWishart": Case({"concentration": 4.0, "scale_matrix": MATRIX}, ("scale_matrix",)),
    "InverseWishartCholesky": Case({"concentration": 4.0, "scale_matrix": MATRIX}, ("scale_matrix",)),
    "Kumaraswamy": TWO,
    "Laplace": LOC_SCALE,
    "LeftTruncatedDistribution": (left_truncated, Case({"loc": 0.3, "scale": 1.2, "low": 0.1}, ("scale",), off=(0.0,))),
    "LeftTruncatedGamma": (left_truncated_gamma, SHAPE_RATE._replace(parameters={**SHAPE_RATE.parameters, "low": 0.2})),
    "Levy": LOC_SCALE._replace(off=(-3.0,)),
    "LKJ": Case({"concentration": 1.5}, ("concentration",), {"dimension": 3}),
    "LKJCholesky": Case({"concentration": 1.5}, ("concentration",), {"dimension": 3}),
    "Logistic": LOC_SCALE,
    "LogNormal": LOC_SCALE._replace(off=(-1.0,)),
    "LogUniform": Case({"low": 1.0, "high": 4.0}, ("high",), off=(0.5, 9.0)),
    "LowerTruncatedPowerLaw": Case({"alpha": -1.5, "low": 1.0}, ("alpha",), off=(0.5,)),
    "LowRankMultivariateNormal": Case({**GAUSS2, "cov_factor": [[0.5], [0.2]], "cov_diag": [1.0, 0.8]}, ("loc",)),
    "MatrixNormal": Case(
        {"loc": [[0.1, 0.2]] * 3, "scale_tril_row": np.eye(3).tolist(), "scale_tril_column": TRIL}, ("loc",)
    ),
    "MixtureGeneral": (general, Case({"probs": [0.3, 0.7], "loc": 0.3, "scale": 1.2}, ("scale",))),
    "MixtureSameFamily": (mixture, Case({"probs": [0.3, 0.7], "loc": [0.3, 2.0], "scale": [1.2, 1.0]}, ("scale",))),
    "MultinomialLogits": Case({"logits": [0.1, 0.5, 0.2]}, ("logits",), {"total_count": 4}, off=([1, 1, 1],)),
    "MultinomialProbs": Case({"probs": SIMPLEX}, (), {"total_count": 4}, off=([1, 1, 1],)),
    "Multinomial": Case({"probs": SIMPLEX}, (), {"total_count": 4}, off=([1, 1, 1],)),
    "MultivariateNormal": Case({**GAUSS2, "covariance_matrix": MATRIX}, ("loc",)),
    "MultivariateStudentT": Case({"df": 4.0, **GAUSS2, "scale_tril": TRIL}, ("df",)),
    "NegativeBinomial2": Case({"mean": 2.0, "concentration": 3.0}, ("mean",), off=(-1,)),
    "NegativeBinomialLogits": Case({"total_count": 3.0, "logits": 0.3}, ("logits",), off=(-1,)),
    "NegativeBinomialProbs": Case({"total_count": 3.0, "probs": 0.3}, ("probs",), off=(-1,)),
    "NegativeBinomial": Case({"total_count": 3.0, "probs": 0.3}, ("probs",), off=(-1,)),
    "Normal": LOC_SCALE,
    "OrderedLogistic": Case({"predictor": 0.3, "cutpoints": [-0.5, 0.5]}, ("predictor",), off=(3,)),
    "Pareto": Case({"scale": 1.0, "alpha": 2.0}, ("alpha",), off=(0.5,)),
    "Poisson": Case({"rate": 2.0}, ("rate",), off=(-1,)),
    "ProjectedNormal": Case({"concentration": [1.0, 0.5]}, ("concentration",)),
    "RelaxedBernoulliLogits": Case({"temperature": 0.7, "logits": 0.3}, ("logits",), off=(1.5,)),
    "RelaxedBernoulli": Case({"temperature": 0.7, "probs": 0.3}, ("probs",), off=(1.5,)),
    "RightTruncatedDistribution": (right_truncated, Case({"loc": 0.3, "scale": 1.2, "high": 0.5}, ("scale",), off=(1.0,))),
    "RightTruncatedGamma": (
        right_truncated_gamma,
        SHAPE_RATE._replace(parameters={**SHAPE_RATE.parameters, "high": 2.0}, off=(-1.0, 3.0)),
    ),
    "SineBivariateVonMises": Case(
        {"phi_loc": 0.1, "psi_loc": 0.2, "phi_concentration": 2.0, "psi_concentration": 1.5, "correlation": 0.2},
        ("phi_concentration",),
    ),
    "SineSkewed": (skewed, Case({"loc": 0.2, "concentration": 1.5, "skewness": [0.3]}, ("concentration",))),
    "SoftLaplace": LOC_SCALE,
    "StudentT": Case({"df": 4.0, "loc": 0.3, "scale": 1.2}, ("scale",)),
    "TransformedDistribution": (transformed, LOC_SCALE._replace(off=(-1.0,))),
    "TruncatedNormal": Case({"loc": 0.3, "scale": 1.2, "low": -0.5, "high": 0.8}, ("scale",), off=(-1.0, 1.0)),
    "TruncatedCauchy": Case({"loc": 0.3, "scale": 1.2, "low": -0.5, "high": 0.8}, ("scale",), off=(-1.0, 1.0)),
    "TwoSidedTruncatedDistribution": (
        truncated,
        Case({"loc": 0.3, "scale": 1.2, "low": -0.5, "high": 0.8}, ("scale",), off=(-1.0, 1.0)),
    ),
    "TwoSidedTruncatedGamma": (
        truncated_gamma,
        SHAPE_RATE._replace(parameters={**SHAPE_RATE.parameters, "low": 0.2, "high": 2.0}, off=(0.1, 3.0)),
    ),
    "Uniform": Case({"low": -1.0, "high": 2.0}, ("high",), off=(-2.0, 3.0)),
    "VonMises": Case({"loc": 0.2, "concentration": 1.5}, ("concentration",)),
    "Weibull": Case({"scale": 1.2, "concentration": 1.5}, ("scale",), off=(-1.0,)),
    "Wishart": Case({"concentration": 4.0, "scale_matrix": MATRIX}, ("scale_matrix",)),
    "WishartCholesky": Case({"concentration": 4.0, "scale_matrix": MATRIX}, ("scale_matrix",)),
    "ZeroInflatedLogits": (inflated_logits, Case({"rate": 2.0, "gate_logits": 0.3}, ("rate",), off=(-1,))),
    "ZeroInflatedPoisson": Case({"gate": 0.3, "rate": 2.0}, ("rate",), off=(-1,)),
    "ZeroInflatedNegativeBinomial2": Case({"gate": 0.3, "mean": 2.0, "concentration": 3.0}, ("mean",), off=(-1,)),
    "ZeroInflatedProbs": (inflated, Case({"rate": 2.0, "gate": 0.3}, ("rate",), off=(-1,))),
    "ZeroSumNormal": Case({"scale": 1.2}, ("scale",), {"event_shape": (3,)}),
}  # fmt: skip

NOT_COVERED = {
    "a base class, or plumbing": {"Distribution", "ExpandedDistribution", "MaskedDistribution"},
    "not a distribution that can be sampled": {"ImproperUniform", "Unit"},
    "a function of a family above": {
        "HurdleDistribution", "Mixture", "TruncatedDistribution", "TruncatedGamma",
        "ZeroInflatedDistribution",
    },
    "its observations are censored, so that its draws are not what its log density takes": {
        "IntervalCensoredDistribution", "LeftCensoredDistribution", "RightCensoredDistribution",
    },
    "its only parameter is the batch shape": {"TruncatedPolyaGamma"},
    "a path through a function of the user, whose times have the batch axes too": {"EulerMaruyama"},
}  # fmt: skip


def test_every_public_distribution_is_covered_or_named():
    public = {
        name
        for name in dist.__all__
        if name not in ("biject_to", "constraints", "kl_divergence", "transforms")
        and callable(getattr(dist, name))
    }
    assert public - set(CASES) == set().union(*NOT_COVERED.values())


@pytest.mark.filterwarnings("ignore:Out-of-support values:UserWarning")
@pytest.mark.sampled(0.02, rest="interop")
@pytest.mark.parametrize("name", CASES)
def test_a_family_is_a_component_and_an_emission(name):
    found = CASES[name]
    kind, case = (
        found if isinstance(found, tuple) and callable(found[0]) else (getattr(dist, name), found)
    )
    check(
        adapter.density, kind, case,
        lambda d, x: jnp.where(d.support(x), d.log_prob(x), -jnp.inf),
        lambda d, key, n: d.sample(key, (n,)),
    )  # fmt: skip
