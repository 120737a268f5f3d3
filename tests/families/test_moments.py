"""Mean and variance of every family against quadrature, SciPy and the book."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax.families.registry import FAMILIES
from likelax.model import Density

BY_NAME = {entry.name: entry for entry in FAMILIES}
STEP = np.linspace(-40, 40, 40_001)
# points of an axis and what they weigh; the trapezoid rule is exact to rounding for densities that
# fall off at both ends, and a sum over the support for counts
COUNTS = (np.arange(20_000.0), np.ones(20_000))
REALS = (np.sinh(STEP), np.cosh(STEP) * (STEP[1] - STEP[0]))
POSITIVE = (np.exp(STEP), np.exp(STEP) * (STEP[1] - STEP[0]))


def between(low, high):
    share = 1 / (1 + np.exp(-STEP))
    inner = share * (1 / (1 + np.exp(STEP)))
    return low + (high - low) * share, (high - low) * inner * (STEP[1] - STEP[0])


def above(low):
    return low + POSITIVE[0], POSITIVE[1]


SCALARS = {
    **dict.fromkeys(
        [
            *("Bernoulli", "BetaBinomial", "BetaNegativeBinomial", "Binomial", "Geometric"),
            *("GammaPoisson", "NegativeBinomial", "Poisson"),
        ],
        COUNTS,
    ),
    **dict.fromkeys(["Laplace", "Normal", "NormalKnownLoc", "NormalKnownScale"], REALS),
    **dict.fromkeys(["NormalMean", "StudentT"], REALS),
    **dict.fromkeys(
        ["Exponential", "Gamma", "GammaGamma", "GammaKnownShape", "InverseGamma", "LogNormal"],
        POSITIVE,
    ),
    **dict.fromkeys(["Lomax", "Weibull"], POSITIVE),
    "Beta": between(0.0, 1.0),
    "Pareto": above(1.5),
    "ParetoKnownScale": above(0.5),
    "Uniform": between(-0.5, 2.0),
    "UniformFromZero": between(0.0, 2.0),
}


@jax.jit
def _by_quadrature(model, x, weights):
    mass = jnp.exp(model.log_prob(x)) * weights
    mean = jnp.sum(mass * x)
    return jnp.sum(mass), mean, jnp.sum(mass * (x - mean) ** 2)


@pytest.mark.parametrize("name", SCALARS)
def test_moments_of_a_scalar_are_integrals(name, x64):
    model, (x, weights) = BY_NAME[name].example(), SCALARS[name]
    total, mean, variance = _by_quadrature(model, jnp.asarray(x), jnp.asarray(weights))
    np.testing.assert_allclose(total, 1, rtol=1e-6)  # the kink of a Laplace density costs most
    np.testing.assert_allclose(model.mean(), mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.variance(), variance, rtol=1e-5)


def test_moments_of_a_flat_top_with_a_power_tail_are_integrals(x64):
    """ParetoUniform has a corner at its scale: both sides on their own."""
    model = BY_NAME["ParetoUniform"].example()
    sides = [_by_quadrature(model, *map(jnp.asarray, s)) for s in (between(0.0, 1.5), above(1.5))]
    total, mean = (sum(side[i] for side in sides) for i in (0, 1))
    np.testing.assert_allclose(total, 1, rtol=1e-9)
    np.testing.assert_allclose(model.mean(), mean, rtol=1e-9)
    square = sum(
        jnp.sum(jnp.exp(model.log_prob(x)) * w * x**2) for x, w in (between(0.0, 1.5), above(1.5))
    )
    np.testing.assert_allclose(model.variance(), square - mean**2, rtol=1e-8)


def test_moments_of_angles_are_circular(x64):
    model = BY_NAME["VonMises"].example()
    x = np.linspace(-np.pi, np.pi, 2001)[:-1]
    resultant = np.mean(np.exp(np.asarray(model.log_prob(x)) + 1j * x)) * 2 * np.pi
    np.testing.assert_allclose(model.mean(), np.angle(resultant), rtol=1e-9)
    np.testing.assert_allclose(model.variance(), 1 - abs(resultant), rtol=1e-9)


def vectors():
    example = {name: BY_NAME[name].example for name in BY_NAME}
    concentration, probs = np.array([2.0, 1.5, 3.0]), np.array([0.2, 0.3, 0.5])
    tril = np.array([[1.2, 0.0], [0.4, 0.8]])
    covariance = tril @ tril.T
    count = stats.dirichlet_multinomial(concentration, 5)
    coin = np.array([0.2, 0.7])
    loc = np.array([0.3, -0.2])
    normal = stats.t(11.0, 0.1, np.sqrt(1.5 / 5.5 / 2))  # 2 alpha degrees of freedom
    wishart = stats.invwishart(8, 2 * np.eye(2))
    rows = stats.invwishart(8, np.eye(2))
    return [
        (example["Delta"](), 2.0, 0.0),
        (example["Categorical"](), np.nan, np.nan),
        (
            example["Dirichlet"](),
            stats.dirichlet.mean(concentration),
            stats.dirichlet.var(concentration),
        ),
        (example["DirichletMultinomial"](), count.mean(), count.var()),
        (example["Multinomial"](), 5 * probs, np.diagonal(stats.multinomial.cov(5, probs))),
        (example["MvBernoulli"](), coin, stats.bernoulli.var(coin)),
        (example["MvNormal"](), loc, np.diagonal(covariance)),
        (example["MvStudentT"](), loc, 6 / 4 * np.diagonal(covariance)),
        (example["SphericalNormal"](), loc, np.full(2, 1.44)),
        (example["RidgePrior"](), np.zeros(2), np.array([2.0, 0.5])),
        (
            example["NormalInverseGamma"](),
            (normal.mean(), stats.invgamma.mean(5.5, scale=1.5)),
            (normal.var(), stats.invgamma.var(5.5, scale=1.5)),
        ),
        (
            example["NormalInverseWishart"](),
            (np.zeros(2), wishart.mean()),
            (np.diagonal(wishart.mean()) / 2, wishart.var()),
        ),
        (
            example["MatrixNormalInverseWishart"](),
            (np.array([[0.5, -1.0], [0.8, 0.3]]), rows.mean()),
            (np.tile(np.diagonal(rows.mean()), (2, 1)), rows.var()),
        ),
    ]


VECTORS = [type(model).__name__ for model, _, _ in vectors()]


@pytest.mark.parametrize("index", range(len(VECTORS)), ids=VECTORS)
def test_moments_of_vectors_and_pairs_are_scipys(index, x64):
    model, mean, variance = vectors()[index]
    chex.assert_trees_all_close(model.mean(), jax.tree.map(np.asarray, mean), rtol=1e-9, atol=1e-12)
    chex.assert_trees_all_close(
        model.variance(), jax.tree.map(np.asarray, variance), rtol=1e-9, atol=1e-12
    )


def test_every_family_is_tested_here():
    given_inputs = {entry.name for entry in FAMILIES if entry.inputs is not None}
    here = {*SCALARS, *VECTORS, "GammaPareto", "ParetoUniform", "VonMises", *given_inputs}
    assert here == set(BY_NAME)
    for entry in FAMILIES:
        assert entry.family.mean is not Density.mean
        assert entry.family.variance is not Density.variance


@pytest.mark.parametrize("name", [e.name for e in FAMILIES if e.inputs == (2,)])
def test_moments_given_inputs_need_them(name):
    model = BY_NAME[name].example()
    for verb in (model.mean, model.variance):
        with pytest.raises(TypeError, match="needs inputs"):
            verb()


INF, NAN = np.inf, np.nan
MISSING = [
    (lx.StudentT(3.0, 0.0, 2.0), 0.0, 12.0),
    (lx.StudentT(1.5, 0.0, 1.0), 0.0, INF),
    (lx.StudentT(1.0, 0.0, 1.0), NAN, NAN),
    (lx.Pareto(scale=1.0, shape=1.5), 3.0, INF),
    (lx.Pareto(scale=1.0, shape=1.0), INF, INF),
    (lx.ParetoUniform(scale=1.0, shape=2.0), 1.0, INF),
    (lx.ParetoUniform(scale=1.0, shape=0.5), INF, INF),
    (lx.GammaPareto(9.0, 5.0, 1.0), INF, INF),
    (lx.Lomax(2.0, 1.0), 1.0, INF),
    (lx.Lomax(1.0, 1.0), INF, INF),
    (lx.GammaGamma(1.5, 1.0, 2.0), 4.0, INF),
    (lx.GammaGamma(0.5, 1.0, 2.0), INF, INF),
    (lx.InverseGamma(1.5, 1.0), 2.0, INF),
    (lx.InverseGamma(1.0, 1.0), INF, INF),
    (lx.BetaNegativeBinomial(1.5, 1.0, total_count=2.0), 4.0, INF),
    (lx.BetaNegativeBinomial(1.0, 1.0, total_count=2.0), INF, INF),
    (lx.Geometric(0.0), INF, INF),
    (lx.NegativeBinomial(2.0, 0.0), INF, INF),
    (lx.Geometric(1.0), 0.0, 0.0),
]


@pytest.mark.parametrize("case", MISSING, ids=lambda c: f"{type(c[0]).__name__}-{c[1]}-{c[2]}")
def test_moments_that_do_not_exist_are_inf_or_nan_by_the_book(case):
    model, mean, variance = case
    np.testing.assert_allclose(model.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(model.variance(), variance, rtol=1e-6)


def test_nodes_compose_moments(x64):
    """A mixture by total variance, against sums over a grid of its own density."""
    each = [
        lx.Poisson(jnp.array([1.0, 6.0])),
        lx.LogNormal(jnp.array([0.0, 1.0]), 0.5 * jnp.ones(2)),
    ]
    for parts, (x, w) in zip(each, (COUNTS, POSITIVE), strict=True):
        mixture = lx.Mixture(jnp.array([0.3, 0.7]), parts)
        _, mean, variance = _by_quadrature(mixture, jnp.asarray(x), jnp.asarray(w))
        np.testing.assert_allclose(mixture.mean(), mean, rtol=1e-8)
        np.testing.assert_allclose(mixture.variance(), variance, rtol=1e-8)
    product = lx.Product(
        {"a": lx.Poisson(2.0), "b": lx.Independent(lx.Gamma(jnp.ones(2), jnp.array([1.0, 2.0])))}
    )
    chex.assert_trees_all_close(product.mean(), {"a": jnp.array(2.0), "b": jnp.array([1.0, 0.5])})
    chex.assert_trees_all_close(
        product.variance(), {"a": jnp.array(2.0), "b": jnp.array([1.0, 0.25])}
    )
    tied = lx.Mixture(
        jnp.array([0.5, 0.5]), lx.Tied(lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    )
    np.testing.assert_allclose([tied.mean(), tied.variance()], [0.0, 2.0])
    fixed = lx.Fixed(lx.Poisson(3.0))
    np.testing.assert_allclose([fixed.mean(), fixed.variance()], [3.0, 3.0])
    zeros = lx.Mixture(jnp.array([0.4, 0.6]), lx.OneOf.stack(lx.Delta(0.0), lx.Poisson(2.0)))
    np.testing.assert_allclose([zeros.mean(), zeros.variance()], [1.2, 0.6 * 6 - 1.44])
    node = lx.Variational(lx.Gamma(3.0, 2.0), lx.Poisson(1.0))  # gamma-Poisson
    np.testing.assert_allclose([node.mean(), node.variance()], [1.5, 1.5 * 1.5])


def test_a_chain_has_no_mean_of_its_own():
    chain = lx.HMM(jnp.ones(1), jnp.ones((1, 1)), lx.Poisson(jnp.ones(1)))
    for verb in (chain.mean, chain.variance):
        with pytest.raises(TypeError, match="no closed form"):
            verb()


def test_order_of_arguments_is_that_of_other_libraries():
    np.testing.assert_allclose(
        lx.Binomial(10.0, 0.3).log_prob(4), stats.binom(10, 0.3).logpmf(4), rtol=1e-5
    )
    np.testing.assert_allclose(
        lx.NegativeBinomial(2.5, 0.3).log_prob(4), stats.nbinom(2.5, 0.3).logpmf(4), rtol=1e-5
    )
    with pytest.raises(
        ValueError, match="Binomial: total_count must be a non-negative whole number"
    ):
        lx.Binomial(0.3, 10.0)
    with pytest.raises(
        ValueError, match=r"NegativeBinomial: probs must be between 0 and 1; got 2\.5"
    ):
        lx.NegativeBinomial(0.3, 2.5)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        lx.Binomial(jnp.array([3.0, 3.0]), jnp.array([0.5, 1.5]))
    for family, names in itertools.product((lx.Weibull, lx.Pareto), ((1.0, 2.0),)):
        with pytest.raises(TypeError, match="positional"):
            family(*names)
    with pytest.raises(TypeError, match="positional"):
        lx.BetaBinomial(1.0, 2.0, 10.0)
    # what JAX rebuilds is not looked at, and a failed fit is data
    jax.vmap(lambda n, p: lx.Binomial(n, p).log_prob(1))(jnp.ones(2), jnp.array([0.5, 2.0]))
    assert jnp.isnan(lx.Binomial(1.0, jnp.nan).probs)


@pytest.mark.parametrize(
    "model, mean, variance",
    [
        (lx.GammaGamma(2.5, 2.0, 1.5), 2.0, 1.5 * 3 * (2 / 1.5) ** 2 / 0.5),
        (lx.GammaGamma(1.5, 2.0, 1.5), 6.0, np.inf),
        (lx.GammaGamma(0.5, 2.0, 1.5), np.inf, np.inf),
        (lx.Lomax(2.5, 3.0), 2.0, 2.5 * 9 / (1.5**2 * 0.5)),
        (lx.Lomax(1.5, 3.0), 6.0, np.inf),
        (lx.InverseGamma(2.5, 3.0), 2.0, 9 / (1.5**2 * 0.5)),
        (lx.InverseGamma(1.5, 3.0), 6.0, np.inf),
        (lx.Pareto(scale=3.0, shape=2.5), 5.0, 9 * 2.5 / (1.5**2 * 0.5)),
        (lx.Pareto(scale=3.0, shape=1.5), 9.0, np.inf),
        (lx.StudentT(2.5, 1.0, 2.0), 1.0, 4 * 5),
        (lx.StudentT(1.5, 1.0, 2.0), 1.0, np.inf),
    ],
    ids=str,
)
def test_moments_exist_as_far_as_the_tail_allows(model, mean, variance):
    np.testing.assert_allclose([model.mean(), model.variance()], [mean, variance], rtol=1e-5)
