"""Maximum likelihood of every family: a stationary point of SciPy-checked densities, and its laws."""

import functools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax import fit
from likelax.constraints import constrain, unconstrain
from likelax.data import Masked
from likelax.families import (
    Bernoulli,
    Beta,
    BetaBinomial,
    BetaNegativeBinomial,
    Binomial,
    Categorical,
    Delta,
    Dirichlet,
    DirichletMultinomial,
    Exponential,
    Gamma,
    GammaGamma,
    GammaKnownShape,
    GammaPoisson,
    Geometric,
    InverseGamma,
    Laplace,
    LogNormal,
    Lomax,
    Multinomial,
    MvBernoulli,
    MvNormal,
    MvStudentT,
    NegativeBinomial,
    Normal,
    NormalKnownLoc,
    NormalKnownScale,
    Pareto,
    ParetoKnownScale,
    Poisson,
    StudentT,
    Uniform,
    UniformFromZero,
    VonMises,
    Weibull,
)
from likelax.families.local_quadratic import _psi
from likelax.mixture import Mixture
from likelax.numerics import newton
from likelax.one_of import OneOf
from likelax.statistics import add, scale

RNG = np.random.default_rng(0)
N = 60


class Case(NamedTuple):
    """Where to start, data, and which fields are held."""

    start: Any
    x: np.ndarray
    held: tuple[str, ...] = ()


COUNTS = RNG.negative_binomial(2, 0.3, N)
UNIT, POSITIVE, REALS = RNG.beta(2, 5, N), RNG.gamma(3.0, 2.0, N), RNG.standard_t(3, N) + 1
# one M step is the maximum
CLOSED = {
    "Bernoulli": Case(Bernoulli(0.5), RNG.integers(0, 2, N)),
    "Binomial": Case(Binomial(20.0, 0.5), RNG.binomial(20, 0.3, N), ("total_count",)),
    "Categorical": Case(Categorical(np.full(3, 1 / 3)), RNG.integers(0, 3, N), ("probs",)),
    "Multinomial": Case(
        Multinomial(np.full(3, 1 / 3)), RNG.multinomial(9, [0.2, 0.3, 0.5], N), ("probs",)
    ),
    "MvBernoulli": Case(MvBernoulli(np.full(3, 0.5)), RNG.integers(0, 2, (N, 3))),
    "Geometric": Case(Geometric(0.5), COUNTS),
    "NegativeBinomial": Case(NegativeBinomial(2.5, 0.5), COUNTS, ("total_count",)),
    "Poisson": Case(Poisson(1.0), COUNTS),
    "Exponential": Case(Exponential(1.0), POSITIVE),
    "Gamma": Case(Gamma(1.0, 1.0), POSITIVE),
    "GammaKnownShape": Case(GammaKnownShape(2.5, 1.0), POSITIVE, ("concentration",)),
    "InverseGamma": Case(InverseGamma(1.0, 1.0), 1 / POSITIVE),
    "Beta": Case(Beta(1.0, 1.0), UNIT),
    "Dirichlet": Case(Dirichlet(np.ones(3)), RNG.dirichlet([2.0, 1.0, 5.0], N)),
    "Normal": Case(Normal(0.0, 1.0), REALS),
    "NormalKnownLoc": Case(NormalKnownLoc(0.3, 1.0), REALS, ("loc",)),
    "NormalKnownScale": Case(NormalKnownScale(0.0, 2.0), REALS, ("scale",)),
    "LogNormal": Case(LogNormal(0.0, 1.0), POSITIVE),
    "VonMises": Case(VonMises(0.0, 1.0), RNG.vonmises(1.0, 3.0, N)),
    "MvNormal": Case(
        MvNormal(np.zeros(2), np.eye(2)), RNG.normal(size=(N, 2)) @ np.array([[2.0, 1], [0, 1]])
    ),
    # the bound is no stationary point
    "Uniform": Case(Uniform(-1.0, 1.0), REALS, ("low", "high")),
    "UniformFromZero": Case(UniformFromZero(1.0), POSITIVE, ("high",)),
    "ParetoKnownScale": Case(ParetoKnownScale(1.0, 1.0), 1 + POSITIVE, ("scale",)),
    "Pareto": Case(Pareto(scale=1.0, shape=1.0), 1 + POSITIVE, ("scale",)),
}
# fit.em finds it
LATENT = {
    "GammaPoisson": Case(GammaPoisson(1.0, 1.0), COUNTS),
    "BetaBinomial": Case(
        BetaBinomial(1.0, 1.0, total_count=20.0), RNG.binomial(20, UNIT), ("total_count",)
    ),
    "BetaNegativeBinomial": Case(
        BetaNegativeBinomial(2.0, 2.0, total_count=3.0),
        RNG.negative_binomial(3, RNG.beta(4, 3, N)),
        ("total_count",),
    ),
    "DirichletMultinomial": Case(
        DirichletMultinomial(np.ones(3)),
        np.stack([RNG.multinomial(15, p) for p in RNG.dirichlet([2.0, 1.0, 4.0], N)]),
    ),
    "Lomax": Case(Lomax(2.0, 2.0), RNG.pareto(2.0, 4 * N)),
    "GammaGamma": Case(
        GammaGamma(2.0, 2.0, 1.5), RNG.gamma(1.5, 1 / RNG.gamma(3.0, 0.5, 4 * N)), ("shape",)
    ),
    "StudentT": Case(StudentT(4.0, 0.0, 1.0, fixed_dof=False), REALS),
    "MvStudentT": Case(
        MvStudentT(4.0, np.zeros(2), np.eye(2)), RNG.standard_t(4, (N, 2)), ("dof",)
    ),
    "Weibull": Case(Weibull(shape=1.0, scale=1.0), POSITIVE),
}
ALL = {
    **CLOSED,
    **LATENT,
    "Laplace": Case(Laplace(0.0, 1.0), REALS),
    "Delta": Case(Delta(1.0), np.ones(N)),
}


def as_x64(model: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model)


def slopes(
    model: Any, x: np.ndarray, weights: np.ndarray, held: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Gradient of the mean log density over the reals behind every free field."""

    def mean(reals):
        return (weights * constrain(reals).log_prob(x)).sum() / weights.sum()

    gradient = jax.jit(jax.grad(mean))(unconstrain(model))
    free = {k: v for k, v in vars(gradient).items() if k not in held}
    return {k: v for k, v in free.items() if isinstance(v, jax.Array)}


WEIGHTS = RNG.integers(0, 4, 4 * N)


def each(count: int, stacked: Any) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", CLOSED)
def test_m_step_is_a_stationary_point_of_the_likelihood(name, x64):
    start, x, held = CLOSED[name]
    w = WEIGHTS[: len(x)].astype(float)
    found = jax.jit(lambda m: m.m_step(m.e_step(x, w)[0]))(as_x64(start))
    for field, slope in slopes(found, x, w, held).items():
        assert np.all(np.abs(slope) < 1e-7), (field, slope)
    # weights are repetitions, and a weight of zero is absence
    repeated = np.repeat(x, WEIGHTS[: len(x)], axis=0)
    chex.assert_trees_all_close(found, fit.mle(as_x64(start), repeated), rtol=1e-9, atol=1e-12)


QUICK = ("StudentT", "MvStudentT", "Weibull")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LATENT]
)
def test_em_ends_at_a_stationary_point_of_the_likelihood(name, x64):
    start, x, held = LATENT[name]
    w = 1.0 + WEIGHTS[: len(x)]
    found = fit.em(as_x64(start), x, weights=w, tol=1e-13, max_steps=20_000)
    assert found.usable
    # what is left of a slope once a step of EM gains less than 1e-13 of the objective
    for field, slope in slopes(found.model, x, w, held).items():
        assert np.all(np.abs(slope) < 2e-5), (field, slope)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", ALL)
def test_statistics_add_scale_skip_the_missing_and_may_be_empty(name, x64):
    start, x, _ = ALL[name]
    model = as_x64(start)
    w = 0.5 + WEIGHTS[: len(x)]
    seen = np.arange(len(x)) % 3 != 0

    half = len(x) // 2
    gaps = jnp.asarray(seen.reshape(-1, *(1,) * (x.ndim - 1)) & np.ones(x.shape, bool))

    @jax.jit
    def several(model):
        # one program for each shape of data, and one M step for all: compiling is what costs here
        weights = jnp.stack([w, w * seen, jnp.zeros(len(x))])
        of_weights = jax.vmap(lambda w: model.e_step(jnp.asarray(x), w))
        stats, log_probs = of_weights(weights)
        whole, kept, empty = each(3, stats)
        two = jax.vmap(lambda x, w: model.e_step(x, w)[0])(
            x.reshape(2, half, *x.shape[1:]), w.reshape(2, half)
        )
        masked = model.e_step(Masked(jnp.asarray(x), gaps), w)[0]
        six = (whole, add(*each(2, two)), masked, kept, scale(whole, 3e-3), empty)
        steps = jax.vmap(model.m_step)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *six))
        return each(6, steps), log_probs[0], (w * model.log_prob(x)).sum()

    (whole, halves, masked, kept, part, empty), log_prob, want = several(model)
    # the terms are of order one and may cancel
    np.testing.assert_allclose(log_prob, want, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_close(halves, whole, rtol=1e-7, atol=1e-10)
    chex.assert_trees_all_close(masked, kept, rtol=1e-7, atol=1e-10)
    chex.assert_trees_all_close(part, whole, rtol=1e-7, atol=1e-10)
    chex.assert_trees_all_close(empty, model)


def test_scipy_finds_the_same_maxima(x64):
    shape, _, wide = stats.gamma.fit(POSITIVE, floc=0)
    found = fit.mle(as_x64(Gamma(1.0, 1.0)), POSITIVE)
    np.testing.assert_allclose([found.concentration, 1 / found.rate], [shape, wide], rtol=1e-6)
    a, b, _, _ = stats.beta.fit(UNIT, floc=0, fscale=1)
    found = fit.mle(as_x64(Beta(1.0, 1.0)), UNIT)
    np.testing.assert_allclose([found.alpha, found.beta], [a, b], rtol=1e-5)
    angle = CLOSED["VonMises"].x
    kappa, loc, _ = stats.vonmises.fit(angle, fscale=1)
    found = fit.mle(as_x64(VonMises(0.0, 1.0)), angle)
    np.testing.assert_allclose([found.concentration, found.loc], [kappa, loc], rtol=1e-6)


def test_laplace_is_the_median(x64):
    found = Laplace.from_data(REALS[:-1])
    np.testing.assert_allclose([found.loc, found.scale], stats.laplace.fit(REALS[:-1]), rtol=1e-12)
    climbed = fit.em(as_x64(Laplace(0.0, 1.0)), REALS[:-1], tol=1e-14, max_steps=5000).model
    np.testing.assert_allclose([climbed.loc, climbed.scale], [found.loc, found.scale], rtol=1e-3)


def test_newton_reports_how_it_ended(x64):
    x = jnp.asarray(COUNTS, float)
    start = as_x64(GammaPoisson(1.0, 1.0))

    @functools.partial(jax.jit, static_argnames="max_steps")
    def climb(x, max_steps=100):
        def objective(model):
            return model.log_prob(x).sum()

        return newton.climb(objective, start, ("concentration", "rate"), max_steps=max_steps)

    found, short, broken = climb(x), climb(x, max_steps=1), climb(jnp.nan * x)
    assert found.status == newton.CONVERGED
    by_em = fit.em(start, x, tol=1e-13, max_steps=20_000).model
    chex.assert_trees_all_close(found.point, by_em, rtol=1e-4)
    assert short.status == newton.MAX_STEPS
    assert broken.status == newton.NON_FINITE
    chex.assert_trees_all_close(broken.point, start)


def test_gamma_of_narrow_data_keeps_its_shape_in_float32():
    x = 5.0 + 0.001 * np.linspace(-1, 1, 101)
    found = fit.mle(Gamma(1.0, 1.0), jnp.asarray(x, jnp.float32))
    # for narrow data the shape is mean^2 / variance; log mean - mean log would be all rounding
    x = x.astype(np.float32).astype(float)
    assert np.isclose(found.concentration, x.mean() ** 2 / x.var(), rtol=0.01)


def test_zero_inflation_is_a_mixture_with_a_point_mass(x64):
    x = np.where(RNG.uniform(size=400) < 0.3, 0, RNG.poisson(4.0, 400))
    start = Mixture(jnp.array([0.5, 0.5]), as_x64(OneOf.stack(Delta(0.0), Poisson(1.0))))
    start = Mixture(start.weights, OneOf(jnp.arange(2), start.components.options))
    found = fit.em(start, jnp.asarray(x), tol=1e-13)
    assert found.usable
    rate, zero = found.model.components.options[1].rate[1], found.model.weights[0]
    # the stationary equations of the zero-inflated Poisson
    np.testing.assert_allclose(rate / (1 - np.exp(-rate)), x[x > 0].mean(), rtol=1e-4)
    np.testing.assert_allclose(zero + (1 - zero) * np.exp(-rate), (x == 0).mean(), rtol=1e-4)
    want = np.logaddexp(
        np.log(zero) + np.where(x == 0, 0, -np.inf), np.log1p(-zero) + stats.poisson.logpmf(x, rate)
    )
    np.testing.assert_allclose(found.objective, want.sum(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["beta", "dirichlet"])
def test_a_fit_has_the_derivative_of_its_optimum(kind, x64):
    """By the weights and by the data, against differences."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.dirichlet([2.0, 3.0, 1.5], size=12))
    model = lx.Dirichlet(jnp.ones(3))
    if kind == "beta":
        x, model = x[:, 0], lx.Beta(1.0, 1.0)

    def total(weights, shift):
        moved = jnp.exp(jnp.log(x) + shift)
        moved = moved if kind == "beta" else moved / jnp.sum(moved, axis=-1, keepdims=True)
        fitted = model.m_step(model.e_step(moved, weights)[0])
        return sum(
            jnp.sum(jnp.log(leaf) * 1.7**i) for i, leaf in enumerate(jax.tree.leaves(fitted))
        )

    weights, shift = (
        jnp.asarray(rng.uniform(0.5, 2, 12)),
        jnp.asarray(0.01 * rng.normal(size=x.shape)),
    )
    slopes = jax.jit(jax.grad(total, (0, 1)))(weights, shift)
    for i, at in enumerate((weights, shift)):
        direction = jnp.asarray(rng.normal(size=at.shape))
        ends = []
        for side in (1, -1):
            args = [weights, shift]
            args[i] = at + side * 1e-5 * direction
            ends.append(jax.jit(total)(*args))
        want = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(jnp.sum(slopes[i] * direction), want, rtol=1e-4)


def test_a_series_meets_its_closed_form(x64):
    m = jnp.array([1e-8, 1e-4, 0.05, 0.0999, 0.1001, 0.5, 3.0])
    want = [math.fsum(v**k / math.factorial(k + 2) for k in range(40)) for v in map(float, m)]
    np.testing.assert_allclose(_psi(m), want, rtol=1e-9)


def test_a_weibull_is_fitted_in_a_few_steps(x64):
    """Its M step is a Newton step: twice as many correct digits each time."""
    x = stats.weibull_min(2.7, scale=3.0).rvs(200, random_state=0)
    found = fit.em(lx.Weibull(shape=1.0, scale=1.0), x, max_steps=50)
    shape, _, scale = stats.weibull_min.fit(x, floc=0)
    np.testing.assert_allclose([found.model.shape, found.model.scale], [shape, scale], rtol=1e-4)
    assert found.num_steps <= 8


def test_a_pareto_is_fitted_by_its_formula(x64):
    x, weights = jnp.array([2.0, 3.0, 9.0, 2.5]), jnp.array([1.0, 2.0, 1.0, 0.0])
    found = fit.mle(lx.Pareto(scale=1.0, shape=1.0), x, weights=weights)
    np.testing.assert_allclose(found.scale, 2.0)
    np.testing.assert_allclose(found.shape, 4 / (2 * np.log(1.5) + np.log(4.5)), rtol=1e-9)


def test_a_t_distribution_without_tails_has_the_statistics_of_a_normal(x64):
    x = jnp.array([1.0, 2.0, 6.0])
    stats, _ = lx.StudentT(jnp.inf, 0.5, 2.0).e_step(x)
    normal, _ = lx.Normal(0.5, 2.0).e_step(x)
    np.testing.assert_allclose(stats.moments.weight, 3)
    np.testing.assert_allclose(stats.moments.about(1.0), normal.about(1.0), rtol=1e-9)
