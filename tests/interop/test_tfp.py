"""Distributions of TensorFlow Probability on JAX as components of a mixture and emissions of a chain."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tensorflow_probability")
from tensorflow_probability.substrates import jax as tfp

import likelax as lx
from likelax.interop.external import lenient
from likelax.interop.tfp import density
from peers import Case, check

tfd = tfp.distributions
LOC_SCALE = Case({"loc": 0.3, "scale": 1.2}, ("loc", "scale"))
TWO = Case({"concentration1": 2.0, "concentration0": 3.0}, ("concentration1",), off=(-0.5, 1.5))
SHAPE_RATE = Case({"concentration": 2.0, "rate": 1.5}, ("rate",), off=(-1.0,))
SHAPE_SCALE = Case({"concentration": 2.0, "scale": 1.5}, ("scale",), off=(-1.0,))
SIMPLEX = [0.2, 0.3, 0.5]
GAUSS2 = {"loc": [0.2, 0.5]}
TRIL = [[1.0, 0.0], [0.4, 0.8]]
LINEAR = tfp.tf2jax.linalg


def blockwise(loc, scale):
    return tfd.Blockwise([tfd.Normal(loc, scale), tfd.Laplace(loc, scale)])


def independent(loc, scale):
    return tfd.Independent(tfd.Normal(loc, scale), 1)


def inflated(rate, probs):
    return tfd.Inflated(tfd.Poisson(rate), inflated_loc_probs=probs)


def mixture(probs, loc, scale):
    return tfd.MixtureSameFamily(tfd.Categorical(probs=probs), tfd.Normal(loc, scale))


def several(probs, loc, scale):
    parts = [tfd.Normal(loc, scale), tfd.Laplace(loc, scale)]
    return tfd.Mixture(tfd.Categorical(probs=probs), parts)


def quantized(loc, scale):
    return tfd.QuantizedDistribution(tfd.Normal(loc, scale))


def sampled(loc, scale):
    return tfd.Sample(tfd.Normal(loc, scale), 3)


def transformed(loc, scale):
    return tfd.TransformedDistribution(tfd.Normal(loc, scale), tfp.bijectors.Tanh())


def mv_normal(loc, scale):
    return tfd.MultivariateNormalLinearOperator(loc, LINEAR.LinearOperatorLowerTriangular(scale))


def mv_student(df, loc, scale):
    scale = LINEAR.LinearOperatorLowerTriangular(scale)
    return tfd.MultivariateStudentTLinearOperator(df, loc, scale)


def wishart(df, scale):
    return tfd.WishartLinearOperator(df, LINEAR.LinearOperatorLowerTriangular(scale))


def chain(initial, moves, loc, scale):
    return tfd.HiddenMarkovModel(
        tfd.Categorical(probs=initial), tfd.Categorical(probs=moves), tfd.Normal(loc, scale), 3
    )


CASES = {
    "Bernoulli": Case({"probs": 0.4}, ("probs",), off=(2,)),
    "Beta": TWO,
    "BetaBinomial": TWO._replace(options={"total_count": 5}, off=(-1.0, 6.0)),
    "Binomial": Case({"probs": 0.4}, ("probs",), {"total_count": 5}, off=(-1.0, 6.0)),
    "Blockwise": (blockwise, LOC_SCALE),
    "Categorical": Case({"probs": SIMPLEX}, off=(3, -1)),
    "Cauchy": LOC_SCALE,
    "Chi": Case({"df": 3.0}, ("df",), off=(-1.0,)),
    "Chi2": Case({"df": 3.0}, ("df",), off=(-1.0,)),
    "CholeskyLKJ": Case({"concentration": 1.5}, ("concentration",), {"dimension": 3}),
    "ContinuousBernoulli": Case({"probs": 0.3}, ("probs",), off=(-0.5, 1.5)),
    "Deterministic": Case({"loc": 1.5}, off=(0.0,)),
    "Dirichlet": Case({"concentration": [1.5, 2.0, 3.0]}, ("concentration",), off=([0.5, 0.5, 0.5],)),
    "DirichletMultinomial": Case(
        {"concentration": [1.5, 2.0, 3.0]}, ("concentration",), {"total_count": 4}, off=([1.0, 1.0, 1.0],)
    ),
    "DoublesidedMaxwell": LOC_SCALE,
    "Empirical": Case({"samples": [0.5, 1.0, 1.0]}, off=(0.7,), has_gradient=False),
    "ExpGamma": SHAPE_RATE._replace(off=()),
    "ExpInverseGamma": SHAPE_SCALE._replace(off=()),
    "ExpRelaxedOneHotCategorical": Case(
        {"temperature": 0.7, "logits": [0.1, 0.5, 0.2]}, ("logits",), has_gradient=False
    ),
    "Exponential": Case({"rate": 1.5}, ("rate",), off=(-1.0,)),
    "ExponentiallyModifiedGaussian": Case({"loc": 0.3, "scale": 1.2, "rate": 1.5}, ("rate",)),
    "FiniteDiscrete": Case({"outcomes": [0.5, 1.0, 2.0], "probs": SIMPLEX}, off=(0.7,)),
    "Gamma": SHAPE_RATE,
    "GammaGamma": Case(
        {"concentration": 2.0, "mixing_concentration": 3.0, "mixing_rate": 1.5}, ("mixing_rate",), off=(-1.0,)
    ),
    "GeneralizedExtremeValue": Case({"loc": 0.3, "scale": 1.2, "concentration": 0.2}, ("scale",)),
    "GeneralizedNormal": Case({"loc": 0.3, "scale": 1.2, "power": 1.5}, ("scale",)),
    "GeneralizedPareto": Case({"loc": 0.3, "scale": 1.2, "concentration": 0.2}, ("scale",), off=(0.0,)),
    "Geometric": Case({"probs": 0.4}, ("probs",), off=(-1.0,)),
    "Gumbel": LOC_SCALE,
    "HalfCauchy": LOC_SCALE._replace(off=(-1.0,)),
    "HalfNormal": Case({"scale": 1.2}, ("scale",), off=(-1.0,)),
    "HalfStudentT": Case({"df": 3.0, "loc": 0.3, "scale": 1.2}, ("scale",), off=(-1.0,)),
    "HiddenMarkovModel": (
        chain, Case({"initial": [0.4, 0.6], "moves": [[0.7, 0.3], [0.2, 0.8]], "loc": [0.0, 2.0], "scale": [1.0, 1.2]},
                    ("scale",))
    ),
    "Horseshoe": Case({"scale": 1.2}, ("scale",)),
    "Independent": (independent, Case({"loc": [0.1, 0.2], "scale": [1.0, 1.5]}, ("scale",))),
    "Inflated": (inflated, Case({"rate": 2.0, "probs": 0.3}, ("rate",))),
    "InverseGamma": SHAPE_SCALE,
    "InverseGaussian": Case({"loc": 1.3, "concentration": 1.5}, ("concentration",), off=(-1.0,)),
    "JohnsonSU": Case({"skewness": 0.5, "tailweight": 1.2, "loc": 0.3, "scale": 1.2}, ("scale",)),
    "Kumaraswamy": TWO,
    "LKJ": Case({"concentration": 1.5}, ("concentration",), {"dimension": 3}),
    "LambertWNormal": Case({"loc": 0.3, "scale": 1.2, "tailweight": 0.2}, ("scale",)),
    "Laplace": LOC_SCALE,
    "LogLogistic": LOC_SCALE._replace(off=(-1.0,)),
    "LogNormal": LOC_SCALE._replace(off=(-1.0,)),
    "Logistic": LOC_SCALE,
    "LogitNormal": LOC_SCALE._replace(off=(-1.0, 1.5)),
    "Mixture": (several, Case({"probs": [0.3, 0.7], "loc": 0.3, "scale": 1.2}, ("scale",))),
    "MixtureSameFamily": (mixture, Case({"probs": [0.3, 0.7], "loc": [0.3, 2.0], "scale": [1.2, 1.0]}, ("scale",))),
    "Moyal": LOC_SCALE,
    "Multinomial": Case({"probs": SIMPLEX}, (), {"total_count": 4}, off=([1.0, 1.0, 1.0],)),
    "MultivariateNormalDiag": Case({**GAUSS2, "scale_diag": [1.0, 0.8]}, ("loc",)),
    "MultivariateNormalDiagPlusLowRank": Case(
        {**GAUSS2, "scale_diag": [1.0, 0.8], "scale_perturb_factor": [[0.5], [0.2]]}, ("loc",)
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": Case(
        {**GAUSS2, "cov_diag_factor": [1.0, 0.8], "cov_perturb_factor": [[0.5], [0.2]]}, ("loc",)
    ),
    "MultivariateNormalFullCovariance": Case({**GAUSS2, "covariance_matrix": [[1.0, 0.3], [0.3, 0.8]]}, ("loc",)),
    "MultivariateNormalLinearOperator": (mv_normal, Case({**GAUSS2, "scale": TRIL}, ("loc",))),
    "MultivariateNormalTriL": Case({**GAUSS2, "scale_tril": TRIL}, ("loc",)),
    "MultivariateStudentTLinearOperator": (mv_student, Case({"df": 4.0, **GAUSS2, "scale": TRIL}, ("df",))),
    "NegativeBinomial": Case({"total_count": 3.0, "probs": 0.3}, ("probs",), off=(-1.0,)),
    "NoncentralChi2": Case({"df": 3.0, "noncentrality": 1.0}, ("noncentrality",), off=(-1.0,), has_gradient=False),
    "Normal": LOC_SCALE,
    "NormalInverseGaussian": Case({"loc": 0.3, "scale": 1.2, "tailweight": 1.5, "skewness": 0.3}, ("scale",)),
    "OneHotCategorical": Case({"probs": SIMPLEX}, off=([1, 1, 0],)),
    "OrderedLogistic": Case({"cutpoints": [-0.5, 0.5], "loc": 0.3}, ("loc",)),
    "PERT": Case({"low": 0.0, "peak": 1.0, "high": 3.0}, ("high",), off=(-1.0,)),
    "Pareto": SHAPE_SCALE._replace(off=(0.5,)),
    "PlackettLuce": Case({"scores": [1.0, 2.0, 0.5]}, ("scores",)),
    "Poisson": Case({"rate": 2.0}, ("rate",), off=(-1.0, 0.5)),
    "PowerSpherical": Case({"mean_direction": [0.6, 0.8], "concentration": 1.5}, ("concentration",)),
    "ProbitBernoulli": Case({"probs": 0.4}, ("probs",), off=(2,)),
    "QuantizedDistribution": (quantized, LOC_SCALE),
    "RelaxedBernoulli": Case({"temperature": 0.7, "probs": 0.3}, ("probs",), off=(1.5,)),
    "RelaxedOneHotCategorical": Case(
        {"temperature": 0.7, "logits": [0.1, 0.5, 0.2]}, ("logits",), has_gradient=False
    ),
    "Sample": (sampled, LOC_SCALE),
    "SigmoidBeta": TWO._replace(off=()),
    "SinhArcsinh": Case({"loc": 0.3, "scale": 1.2, "skewness": 0.3, "tailweight": 1.1}, ("scale",)),
    "Skellam": Case({"rate1": 2.0, "rate2": 1.5}, ("rate1",), has_gradient=False),
    "StoppingRatioLogistic": Case({"cutpoints": [-0.5, 0.5], "loc": 0.3}, ("loc",)),
    "StudentT": Case({"df": 4.0, "loc": 0.3, "scale": 1.2}, ("scale",)),
    "TransformedDistribution": (transformed, LOC_SCALE),
    "Triangular": Case({"low": 0.0, "high": 3.0, "peak": 1.0}, off=(-1.0, 4.0)),
    "TruncatedCauchy": LOC_SCALE._replace(parameters={**LOC_SCALE.parameters, "low": -0.5, "high": 0.8}, off=(1.0,)),
    "TruncatedNormal": LOC_SCALE._replace(parameters={**LOC_SCALE.parameters, "low": -0.5, "high": 0.8}, off=(1.0,)),
    "TwoPieceNormal": Case({"loc": 0.3, "scale": 1.2, "skewness": 1.5}, ("scale",)),
    "TwoPieceStudentT": Case({"df": 4.0, "loc": 0.3, "scale": 1.2, "skewness": 1.5}, ("scale",)),
    "Uniform": Case({"low": -1.0, "high": 2.0}, ("high",), off=(-2.0, 3.0)),
    "VectorDeterministic": Case({"loc": [1.5, 2.0]}, off=([0.0, 0.0],)),
    "VonMises": Case({"loc": 0.2, "concentration": 1.5}, ("concentration",)),
    "VonMisesFisher": Case({"mean_direction": [0.6, 0.8], "concentration": 1.5}, ("concentration",)),
    "Weibull": SHAPE_SCALE,
    "WishartLinearOperator": (wishart, Case({"df": 4.0, "scale": TRIL}, ("df",))),
    "WishartTriL": Case({"df": 4.0, "scale_tril": TRIL}, ("df",)),
    "ZeroInflatedNegativeBinomial": Case(
        {"total_count": 3.0, "probs": 0.3, "inflated_loc_probs": 0.2}, ("probs",)
    ),
    "Zipf": Case({"power": 2.5}, ("power",)),
}  # fmt: skip

CACHED = {"ExpRelaxedOneHotCategorical", "RelaxedOneHotCategorical"}

NOT_COVERED = {
    "a base class, or plumbing": {
        "AutoCompositeTensorDistribution", "BatchBroadcast", "BatchConcat", "BatchReshape", "Distribution",
        "LambertWDistribution", "Masked",
    },
    "observations are a pytree, for which likelax has `Product`": {
        "JointDistribution", "JointDistributionCoroutine", "JointDistributionCoroutineAutoBatched",
        "JointDistributionNamed", "JointDistributionNamedAutoBatched", "JointDistributionSequential",
        "JointDistributionSequentialAutoBatched",
    },
    "made of functions or kernels of the user": {
        "Autoregressive", "GaussianProcess", "GaussianProcessRegressionModel", "MarkovChain",
        "StudentTProcess", "StudentTProcessRegressionModel", "VariationalGaussianProcess",
    },
    "its sampler looks at the values of its parameters": {
        "Bates", "MatrixNormalLinearOperator", "MatrixTLinearOperator",
    },
    "its log density, a hypergeometric function, takes minutes to compile": {"BetaQuotient"},
    "a Kalman filter": {"LinearGaussianStateSpaceModel"},
    "has no sampler on JAX": {"PoissonLogNormalQuadratureCompound", "DeterminantalPointProcess"},
    "its only parameters are shapes": {"FlatDirichlet", "SphericalUniform"},
}  # fmt: skip


def test_every_public_distribution_is_covered_or_named():
    public = {
        name
        for name, value in vars(tfd).items()
        if inspect.isclass(value) and issubclass(value, tfd.Distribution)
    }
    assert public - set(CASES) == set().union(*NOT_COVERED.values())


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
@pytest.mark.sampled(0.02, rest="interop")
@pytest.mark.parametrize("name", CASES)
def test_a_family_is_a_component_and_an_emission(name):
    found = CASES[name]
    kind, case = found if callable(found[0]) else (getattr(tfd, name), found)
    # the library keeps tracers in a cache of its bijectors
    cached = name in CACHED or (isinstance(found, tuple) and callable(found[0]))
    cached = cached or issubclass(kind, tfd.TransformedDistribution)
    check(
        density, kind, case._replace(leaks=cached),
        lambda d, x: d.log_prob(x),
        lambda d, key, n: d.sample((n,), seed=key),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ExpRelaxedOneHotCategorical", "RelaxedOneHotCategorical"])
def test_gradients_of_relaxed_categories_need_an_optimized_program(name):
    # Their log_softmax differentiates its maximum. Without optimizations, as other tests compile, XLA
    # computes the logits twice, with and without a fused product, so that none equals the maximum:
    # 0 / 0. A function of plain JAX, l - 0.7 x minus its maximum, does the same.
    logits = jnp.array([[0.1, 0.5, 0.2], [0.2, 0.1, 0.4], [0.3, 0.3, 0.1]])
    parts = density(getattr(tfd, name), temperature=jnp.array([0.5, 0.7, 0.9]), logits=logits)
    model = lx.Mixture(jnp.array([0.2, 0.3, 0.5]), parts)
    with lenient():
        x = model.sample(jax.random.key(0), (6,))

        def total(parts):
            return lx.Mixture(model.weights, parts).log_prob(x).sum()

        optimized = {"xla_backend_optimization_level": 3}
        slopes = jax.jit(jax.grad(total), compiler_options=optimized)(parts).parameters
        for field, slope in slopes.items():
            for at in np.ndindex(slope.shape):
                moved = [
                    total(
                        density(
                            parts.build,
                            **{**parts.parameters, field: parts.parameters[field].at[at].add(step)},
                        )
                    )
                    for step in (0.01, -0.01)
                ]
                gap = (moved[0] - moved[1]) / 0.02
                np.testing.assert_allclose(slope[at], gap, rtol=0.01, atol=0.01)
