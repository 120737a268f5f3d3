"""Every conjugate pair against numerical integration over its parameter, and its own laws."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    GammaKnownShape,
    Geometric,
    InverseGamma,
    LinearRegression,
    MatrixNormalInverseWishart,
    Multinomial,
    MvNormal,
    NegativeBinomial,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    NormalKnownLoc,
    NormalKnownScale,
    NormalMean,
    Pareto,
    ParetoKnownScale,
    Poisson,
    UniformFromZero,
)
from likelax.statistics import add

RNG = np.random.default_rng(0)


class Grid(NamedTuple):
    """Points of the parameter space and log weights of a quadrature there."""

    points: Any
    log_weights: np.ndarray


def trapezoid(low: float, high: float, count: int) -> tuple[np.ndarray, float]:
    # the integrands fall off smoothly at both ends, where the trapezoid rule is exact to rounding
    t = np.linspace(low, high, count)
    return t, np.log(t[1] - t[0])


def log_sigmoid(t: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -t)


def unit_grid() -> Grid:
    t, width = trapezoid(-36, 36, 2000)
    return Grid(np.exp(log_sigmoid(t)), width + log_sigmoid(t) + log_sigmoid(-t))


def positive_grid(start: float = 0.0) -> Grid:
    t, width = trapezoid(-30, 12, 4000)
    return Grid(start + np.exp(t), width + t)


def real_grid() -> Grid:
    t, width = trapezoid(-40, 40, 4001)
    return Grid(t, np.full(t.shape, width))


def simplex_grid() -> Grid:
    t, width = trapezoid(-30, 30, 300)
    a, b = (v.ravel() for v in np.meshgrid(t, t))
    first, rest = np.exp(log_sigmoid(a)), np.exp(log_sigmoid(-a))
    points = np.stack([first, rest * np.exp(log_sigmoid(b)), rest * np.exp(log_sigmoid(-b))], -1)
    jacobian = log_sigmoid(a) + 2 * log_sigmoid(-a) + log_sigmoid(b) + log_sigmoid(-b)
    return Grid(points, 2 * width + jacobian)


def normal_grid() -> Grid:
    m, width_m = trapezoid(-40, 40, 801)
    t, width_t = trapezoid(-6, 9, 400)
    m, t = (v.ravel() for v in np.meshgrid(m, t))
    return Grid((m, np.exp(t)), width_m + width_t + t)


class Pair(NamedTuple):
    """A prior, the likelihood at a parameter value, data, new points, and a grid."""

    prior: Any
    likelihood: Callable[[Any], Any]
    data: np.ndarray
    new: np.ndarray
    grid: Callable[[], Grid]


COUNTS = np.array([0, 3, 1, 4])
WAITS = np.array([3.0, 2.0, 0.4])
REALS = np.array([0.3, -1.2, 2.5])
VECTORS = RNG.normal(size=(4, 2))
PAIRS = {
    "Beta-Bernoulli": Pair(
        Beta(1.5, 2.5), Bernoulli, np.array([0, 1, 1, 1]), np.array([0, 1]), unit_grid
    ),
    "Beta-Binomial": Pair(
        Beta(1.5, 2.5), lambda p: Binomial(5, p), COUNTS, np.arange(6), unit_grid
    ),
    "Beta-Geometric": Pair(Beta(1.5, 2.5), Geometric, COUNTS, np.arange(5), unit_grid),
    "Beta-NegativeBinomial": Pair(
        Beta(1.5, 2.5), lambda p: NegativeBinomial(2.5, p), COUNTS, np.arange(5), unit_grid
    ),
    "Dirichlet-Categorical": Pair(
        Dirichlet(np.array([1.5, 2.0, 3.5])),
        Categorical,
        np.array([0, 2, 2, 1]),
        np.arange(3),
        simplex_grid,
    ),
    "Dirichlet-Multinomial": Pair(
        Dirichlet(np.array([1.5, 2.0, 3.5])),
        Multinomial,
        np.array([[1, 0, 2], [0, 2, 2]]),
        np.array([[1, 1, 0], [3, 0, 0]]),
        simplex_grid,
    ),
    "Gamma-Poisson": Pair(Gamma(1.5, 0.7), Poisson, COUNTS, np.arange(5), positive_grid),
    "Gamma-Exponential": Pair(
        Gamma(1.5, 0.7), Exponential, WAITS, np.array([0.0, 1.0, 9.0]), positive_grid
    ),
    "Gamma-Gamma": Pair(
        Gamma(1.5, 0.7),
        lambda r: GammaKnownShape(2.5, r),
        WAITS,
        np.array([0.5, 1.0, 9.0]),
        positive_grid,
    ),
    "Normal-Normal (scale known)": Pair(
        NormalMean(0.5, 2.0),
        lambda m: NormalKnownScale(m, 1.3),
        REALS,
        np.array([-3.0, 0.0, 8.0]),
        real_grid,
    ),
    "InverseGamma-Normal (mean known)": Pair(
        InverseGamma(2.5, 1.5),
        lambda v: NormalKnownLoc(0.4, jnp.sqrt(v)),
        REALS,
        np.array([-3.0, 0.4, 8.0]),
        positive_grid,
    ),
    "NormalInverseGamma-Normal": Pair(
        NormalInverseGamma(0.5, 1.5, 4.0, 3.0),
        lambda v: Normal(v[0], jnp.sqrt(v[1])),
        REALS,
        np.array([-3.0, 0.4, 5.0]),
        normal_grid,
    ),
    "Gamma-Pareto": Pair(
        Gamma(3.0, 2.0),
        lambda v: ParetoKnownScale(0.5, v),
        0.5 + WAITS,
        np.array([0.6, 2.0, 50.0]),
        positive_grid,
    ),
    "Pareto-Uniform": Pair(
        # data below the scale, so that the integrand has no step: the other side is tested below
        Pareto(scale=4.0, shape=2.5),
        UniformFromZero,
        WAITS,
        np.array([0.5, 3.9]),
        lambda: positive_grid(4.0),
    ),
}


def any_likelihood(pair: Pair) -> Any:
    """A likelihood whose parameter counts for nothing."""
    return pair.likelihood(jax.tree.map(jnp.asarray, pair.prior.mean()))


def as_x64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_is_numerical_integration(name, x64):
    pair = PAIRS[name]
    pair = pair._replace(prior=as_x64(pair.prior))
    grid = pair.grid()

    @jax.jit
    def on_grid(points):
        each = jax.vmap(lambda v: pair.likelihood(v).log_prob(pair.data).sum())(points)
        new = jax.vmap(lambda v: pair.likelihood(v).log_prob(pair.new))(points)
        before = jax.vmap(pair.prior.log_prob)(points)
        stats, _ = any_likelihood(pair).e_step(pair.data)
        posterior = pair.prior.posterior(stats)
        after = jax.vmap(posterior.log_prob)(points)
        predictive = posterior.predictive(any_likelihood(pair)).log_prob(pair.new)
        return before, each, new, after, predictive, pair.prior.log_evidence(stats)

    points = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), grid.points)
    before, each, new, after, predictive, evidence = map(np.asarray, on_grid(points))
    joint = before + each + grid.log_weights
    total = np.logaddexp.reduce(joint)
    # 1e-7: the tails cut off by the grids
    np.testing.assert_allclose(np.logaddexp.reduce(before + grid.log_weights), 0, atol=1e-7)
    np.testing.assert_allclose(evidence, total, atol=1e-7)
    probable = joint > total - 30
    np.testing.assert_allclose(
        (after + grid.log_weights)[probable], (joint - total)[probable], atol=1e-7
    )
    want = np.logaddexp.reduce((joint - total)[:, None] + new, axis=0)
    np.testing.assert_allclose(predictive, want, atol=1e-7)


def with_vectors() -> dict[str, Pair]:
    prior = NormalInverseWishart(
        np.array([0.2, -0.1]), 1.5, 5.0, np.array([[2.0, 0.3], [0.3, 1.0]])
    )
    vectors = Pair(prior, lambda v: MvNormal.from_covariance(*v), VECTORS, VECTORS, real_grid)
    return {**PAIRS, "NormalInverseWishart-MvNormal": vectors}


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", with_vectors())
def test_evidence_is_the_chain_of_predictives_and_updates_come_one_by_one(name, x64):
    pair = with_vectors()[name]
    prior, data = as_x64(pair.prior), jnp.asarray(pair.data)
    likelihood = any_likelihood(pair._replace(prior=prior))

    @jax.jit
    def chain(prior, data):
        def step(posterior, x):
            log_prob = posterior.predictive(likelihood).log_prob(x)
            return posterior.posterior(likelihood.e_step(x)[0]), log_prob

        return jax.lax.scan(step, as_x64(prior), data)

    last, log_probs = chain(prior, data)
    stats, _ = likelihood.e_step(data)
    np.testing.assert_allclose(prior.log_evidence(stats), log_probs.sum(), rtol=1e-10)
    chex.assert_trees_all_close(last, prior.posterior(stats), rtol=1e-9)
    halves = add(likelihood.e_step(data[:2])[0], likelihood.e_step(data[2:])[0])
    chex.assert_trees_all_close(prior.posterior(halves), prior.posterior(stats), rtol=1e-9)


def test_evidence_has_gradients_and_maps_over_groups(x64):
    data = jnp.asarray(RNG.poisson(3.0, (5, 4)))

    def total(prior):
        each = jax.vmap(lambda x: prior.log_evidence(Poisson(1.0).e_step(x)[0]))
        return each(data).sum()

    prior = as_x64(Gamma(2.0, 0.5))
    slope = jax.jit(jax.grad(total))(prior)
    step = 1e-6
    rise = (total(Gamma(2.0 + step, 0.5)) - total(Gamma(2.0 - step, 0.5))) / (2 * step)
    np.testing.assert_allclose(slope.concentration, rise, rtol=1e-6)


def test_published_evidences(x64):
    # EVIDENCE.md, section 4
    heads = Bernoulli(0.5).e_step(jnp.array([0, 1, 1, 1]))[0]
    np.testing.assert_allclose(Beta(1.0, 1.0).log_evidence(heads), np.log(0.05), rtol=1e-12)
    waits = Exponential(1.0).e_step(jnp.array([3.0, 2.0]))[0]
    np.testing.assert_allclose(Gamma(1.0, 1.0).log_evidence(waits), -4.682131, atol=5e-7)
    coin = Bernoulli(0.5).e_step(jnp.array([1, 1, 1, 1, 1, 0, 0]))[0]
    fitted = Bernoulli(0.5).m_step(coin)
    np.testing.assert_allclose(fitted.probs, 0.7143, atol=5e-5)
    np.testing.assert_allclose(fitted.expected_log_prob(coin), -4.18789, atol=5e-6)
    np.testing.assert_allclose(Beta(4.0, 3.0).posterior(coin).mean(), 9 / 14, rtol=1e-12)


def test_pareto_uniform_beyond_the_scale(x64):
    prior, data = Pareto(scale=1.0, shape=2.5), jnp.array([0.4, 3.0])
    stats, _ = UniformFromZero(9.0).e_step(data)
    # the integrand is a power of h from 3 on: a h^(-a - 1) h^-2
    np.testing.assert_allclose(prior.log_evidence(stats), np.log(2.5 / 4.5 * 3.0**-4.5), rtol=1e-12)
    assert prior.log_evidence(UniformFromZero(9.0).e_step(jnp.array([-1.0]))[0]) == -np.inf


def test_wishart_of_one_dimension_is_the_inverse_gamma(x64):
    stats, _ = Normal(0.0, 1.0).e_step(jnp.asarray(REALS))
    wide, _ = MvNormal(jnp.zeros(1), jnp.eye(1)).e_step(jnp.asarray(REALS)[:, None])
    one = NormalInverseGamma(0.5, 1.5, 4.0, 3.0)
    many = NormalInverseWishart(jnp.array([0.5]), 1.5, 8.0, jnp.array([[6.0]]))
    np.testing.assert_allclose(many.log_evidence(wide), one.log_evidence(stats), rtol=1e-12)
    x = jnp.array([-2.0, 1.0])
    got = many.posterior(wide).predictive().log_prob(x[:, None])
    np.testing.assert_allclose(got, one.posterior(stats).predictive().log_prob(x), rtol=1e-12)


def with_regression() -> dict[str, Pair]:
    inputs = np.array([[1.0, 0.5], [1.0, -1.0], [1.0, 2.0]])
    prior = MatrixNormalInverseWishart(
        np.array([[0.3], [-0.5]]), np.diag([1.0, 2.0]), 5.0, np.array([[1.5]])
    )

    def likelihood(value):
        return LinearRegression(value[0], jnp.linalg.cholesky(value[1]))

    pair = Pair(prior, likelihood, inputs, inputs, real_grid)
    return {**with_vectors(), "MatrixNormalInverseWishart-LinearRegression": pair}


@pytest.mark.slow
@pytest.mark.parametrize("name", with_regression())
def test_posterior_ranks_are_uniform(name):
    """Simulation-based calibration: each number of the truth ranks uniformly among the draws."""
    pair = with_regression()[name]
    prior = jax.tree.map(jnp.float32, pair.prior)
    num_worlds, num_draws, num_data = 4000, 15, 3

    def numbers(value):
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(value)])

    def draw_data(likelihood, key):
        if isinstance(likelihood, LinearRegression):
            inputs = jnp.asarray(pair.data, jnp.float32)
            return likelihood.sample(key, inputs.shape[:1], inputs)
        if isinstance(likelihood, Multinomial):
            likelihood = Multinomial(likelihood.probs, total_count=6)
        return likelihood.sample(key, (num_data,))

    @jax.jit
    @jax.vmap
    def rank(key):
        keys = jax.random.split(key, 3)
        truth = prior.sample(keys[0])
        likelihood = pair.likelihood(truth)
        posterior = prior.posterior(likelihood.e_step(draw_data(likelihood, keys[1]))[0])
        draws = jax.vmap(numbers)(posterior.sample(keys[2], (num_draws,)))
        return jnp.sum(draws < numbers(truth)[None, :], axis=0)

    ranks = np.asarray(rank(jax.random.split(jax.random.key(7), num_worlds)))
    for of_one in ranks.T:
        counts = np.bincount(of_one, minlength=num_draws + 1)
        chi2 = ((counts - num_worlds / (num_draws + 1)) ** 2).sum() * (num_draws + 1) / num_worlds
        # 15 degrees of freedom: above 45 with probability 8e-5, on a fixed key
        assert chi2 < 45, counts
