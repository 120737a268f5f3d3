"""Tail probabilities, quantiles, entropies and divergences of every family that has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from families.test_every_family import instance
from families.test_moments import SCALARS, above, between
from likelax.families.on_line import Counts, OnLine
from likelax.families.registry import FAMILIES

BY_NAME = {entry.name: entry for entry in FAMILIES}
PROBS = np.array([1e-6, 0.01, 0.2, 0.5, 0.9, 0.999])
# the same distributions in SciPy
SCIPY = {
    "Bernoulli": lambda m: stats.bernoulli(m.probs),
    "Beta": lambda m: stats.beta(m.alpha, m.beta),
    "BetaBinomial": lambda m: stats.betabinom(int(m.total_count), m.alpha, m.beta),
    "Binomial": lambda m: stats.binom(m.total_count, m.probs),
    "Exponential": lambda m: stats.expon(scale=1 / m.rate),
    "Gamma": lambda m: stats.gamma(m.concentration, scale=1 / m.rate),
    "GammaGamma": lambda m: stats.betaprime(m.shape, m.concentration, scale=m.rate),
    "GammaKnownShape": lambda m: stats.gamma(m.concentration, scale=1 / m.rate),
    "GammaPoisson": lambda m: stats.nbinom(m.concentration, m.rate / (1 + m.rate)),
    "Geometric": lambda m: stats.geom(m.probs, loc=-1),
    "InverseGamma": lambda m: stats.invgamma(m.concentration, scale=m.rate),
    "Laplace": lambda m: stats.laplace(m.loc, m.scale),
    "LogNormal": lambda m: stats.lognorm(m.scale, scale=np.exp(m.loc)),
    "Lomax": lambda m: stats.lomax(m.concentration, scale=m.rate),
    "NegativeBinomial": lambda m: stats.nbinom(m.total_count, m.probs),
    "Normal": lambda m: stats.norm(m.loc, m.scale),
    "NormalKnownLoc": lambda m: stats.norm(m.loc, m.scale),
    "NormalKnownScale": lambda m: stats.norm(m.loc, m.scale),
    "NormalMean": lambda m: stats.norm(m.loc, m.scale),
    "Pareto": lambda m: stats.pareto(m.shape, scale=m.scale),
    "ParetoKnownScale": lambda m: stats.pareto(m.shape, scale=m.scale),
    "Poisson": lambda m: stats.poisson(m.rate),
    "StudentT": lambda m: stats.t(m.dof, m.loc, m.scale),
    "Uniform": lambda m: stats.uniform(m.low, m.high - m.low),
    "UniformFromZero": lambda m: stats.uniform(0, m.high),
    "Weibull": lambda m: stats.weibull_min(m.shape, scale=m.scale),
}
SMOOTH = [e.name for e in FAMILIES if issubclass(e.family, OnLine) and e.name != "Delta"]
COUNTS = [name for name in SMOOTH if issubclass(BY_NAME[name].family, Counts)]
SMOOTH = [name for name in SMOOTH if name not in COUNTS]


def test_every_family_of_one_number_is_tested_here():
    assert {*SMOOTH, *COUNTS} == {*SCIPY, "ParetoUniform", "GammaPareto"}


@jax.jit
def both_ways(model, probs):
    x = jnp.stack([model.quantile(probs), model.quantile(probs, upper=True)])
    return x, model.log_cdf(x), model.log_survival(x)


@pytest.mark.sampled(0.2)
@pytest.mark.parametrize("name", SCIPY)
def test_tails_and_quantiles_are_scipys(name, x64):
    model = instance(BY_NAME[name])
    want = SCIPY[name](model)
    x, log_cdf, log_survival = map(np.asarray, both_ways(model, jnp.asarray(PROBS)))
    # SciPy finds some quantiles only to 1e-8 of them
    np.testing.assert_allclose(x, [want.ppf(PROBS), want.isf(PROBS)], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(np.exp(log_cdf), want.cdf(x), rtol=1e-9)
    np.testing.assert_allclose(np.exp(log_survival), want.sf(x), rtol=1e-9, atol=1e-300)


FAR = [
    (lx.Normal(0.0, 1.0), [-30.0, 30.0], lambda m: stats.norm()),
    (lx.Gamma(3.0, 2.0), [1e-10, 150.0], SCIPY["Gamma"]),
    (lx.Gamma(300.0, 2.0), [40.0, 500.0], SCIPY["Gamma"]),
    (lx.StudentT(30.0, 0.0, 1.0), [-900.0, 2e4], SCIPY["StudentT"]),
    (lx.StudentT(0.5, 0.0, 1.0), [-1e12, 1e30], SCIPY["StudentT"]),
    (lx.Beta(60.0, 200.0), [0.01, 0.8], SCIPY["Beta"]),
    (lx.Poisson(50.0), [1.0, 250.0], SCIPY["Poisson"]),
    (lx.Binomial(900.0, 0.3), [60.0, 600.0], SCIPY["Binomial"]),
]


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("model, x, same", FAR, ids=lambda v: str(v)[:20])
def test_far_tails_in_float32(model, x, same):
    """Probabilities down to 1e-200, which float32 holds only as logarithms."""
    got = jax.jit(lambda m, x: jnp.stack([m.log_cdf(x), m.log_survival(x)]))(model, jnp.array(x))
    want = same(jax.tree.map(lambda leaf: float(leaf), model))
    np.testing.assert_allclose(got[0, 0], want.logcdf(np.float32(x[0])), rtol=2e-5)
    np.testing.assert_allclose(got[1, 1], want.logsf(np.float32(x[1])), rtol=2e-5)
    np.testing.assert_allclose([got[0, 1], got[1, 0]], 0, atol=1e-6)


@pytest.mark.sampled(0.2)
@pytest.mark.parametrize("name", [*SMOOTH, *COUNTS])
def test_float32_gives_the_tails_and_quantiles_of_float64(name):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), instance(BY_NAME[name]))
    probs = np.asarray(PROBS, np.float32)
    got = both_ways(model, jnp.asarray(probs))
    x, *tails = (np.asarray(a, float) for a in got)
    if name in COUNTS:
        np.testing.assert_array_equal(model.quantile(model.cdf(got[0])), got[0])
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float)), model)
        true = np.asarray(both_ways(wide, jnp.asarray(probs.astype(float)))[0])
        moved = x * (1 + 6e-8 * (name not in COUNTS))
        exact, near = (
            [np.asarray(f(jnp.asarray(v))) for f in (wide.log_cdf, wide.log_survival)]
            for v in (x, moved)
        )
    np.testing.assert_allclose(x, true, rtol=1e-5, atol=3e-7)
    for value, want, other in zip(tails, exact, near, strict=True):
        finite = np.isfinite(want) & np.isfinite(other)
        value, want, other = value[finite], want[finite], other[finite]
        slack = 2 * np.abs(other - want) + 1e-5 * (1 + np.abs(want))
        assert np.all(np.abs(value - want) <= slack)


@pytest.mark.sampled(0.1)
@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_tails_and_quantiles(name, x64):
    """dF / dx is the density, dq / dp its inverse, and F(q(p)) is p whatever the parameters."""
    model = instance(BY_NAME[name])

    @jax.jit
    def slopes(model, prob):
        x = model.quantile(prob)
        by_x, by_prob = jax.grad(model.cdf)(x), jax.grad(model.quantile)(prob)
        by_model = jax.grad(lambda m: m.quantile(prob))(model)
        moves = jax.grad(lambda m: m.cdf(jax.lax.stop_gradient(m.quantile(prob))))(model)
        density = jnp.exp(model.log_prob(x))
        total = jax.tree.map(lambda q, f: density * q + f, by_model, moves)
        return by_x / density, by_prob * density, jax.tree.leaves(total)

    for prob in (0.1, 0.5, 0.97):
        one, other, none = slopes(model, prob)
        np.testing.assert_allclose([one, other], 1, rtol=1e-7)
        np.testing.assert_allclose(none, 0, atol=1e-9)


@pytest.mark.slow
def test_derivatives_by_the_shape_are_right(x64):
    for f in (
        lambda a: lx.Gamma(a, 1.3).cdf(2.0),
        lambda a: lx.Gamma(50 * a, 30.0).cdf(2.0),
        lambda a: lx.Beta(a, 0.7).cdf(0.3),
        lambda a: lx.StudentT(a, 0.0, 1.0).cdf(-1.7),
        lambda a: lx.Poisson(a).cdf(2),
    ):
        at, h = 1.4, 1e-5
        assert float(jax.grad(f)(at)) == pytest.approx(
            float(f(at + h) - f(at - h)) / (2 * h), rel=1e-7
        )


@pytest.mark.sampled(0.2)
@pytest.mark.parametrize("name", [*SMOOTH, *COUNTS, "Delta"])
def test_ends_of_the_support(name):
    model = BY_NAME[name].example()
    low, high = (float(end) for end in model._ends())
    got = jax.jit(lambda m, p: (m.quantile(p), m.quantile(p, upper=True)))(
        model, jnp.array([0.0, 1.0, -0.1, 1.1, jnp.nan])
    )
    np.testing.assert_array_equal(got[0], [low, high, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(got[1], [high, low, np.nan, np.nan, np.nan])
    x = jnp.array([-jnp.inf, low - 1, high, high + 1, jnp.inf, jnp.nan])
    cdf, upper = jax.jit(lambda m, x: (m.cdf(x), m.log_survival(x)))(model, x)
    np.testing.assert_array_equal(cdf, [0, 0, 1, 1, 1, np.nan])
    np.testing.assert_array_equal(upper, [0, 0, -np.inf, -np.inf, -np.inf, np.nan])
    slopes = jax.jit(jax.vmap(jax.grad(lambda x: model.cdf(x))))(x)
    assert np.isfinite(slopes[:5]).all()


def test_counts_between_and_beside_whole_numbers():
    model = lx.Poisson(2.0)
    np.testing.assert_allclose(
        model.cdf(jnp.array([2.0, 2.7, 2.999])), stats.poisson(2.0).cdf(2), rtol=1e-6
    )
    assert model.cdf(3) > model.cdf(2.999)
    np.testing.assert_array_equal(lx.Poisson(0.0).quantile(jnp.array([0.5, 0.999])), 0)
    np.testing.assert_array_equal(lx.Binomial(0.0, 0.3).cdf(jnp.array([-1.0, 0.0])), [0, 1])
    # quantiles in the thousands, each the smallest count that reaches its probability
    model = lx.Poisson(5000.0)
    found = model.quantile(jnp.asarray(PROBS))
    np.testing.assert_array_equal(found, stats.poisson(5000).ppf(np.float32(PROBS)))


def test_a_scale_of_zero_is_a_step():
    for model in (lx.Normal(1.0, 0.0), lx.Laplace(1.0, 0.0), lx.Uniform(1.0, 1.0)):
        np.testing.assert_array_equal(model.cdf(jnp.array([0.9, 1.0, 1.1])), [0, 1, 1])
        np.testing.assert_array_equal(model.quantile(jnp.array([0.2, 0.8])), 1)


def grid(name):
    if name == "ParetoUniform":
        sides = between(0.0, 1.5), above(1.5)
        return tuple(np.concatenate(both) for both in zip(*sides, strict=True))
    if name == "GammaPareto":
        log_x, weights = SCALARS["Lomax"]
        log_x, weights = log_x[log_x < 600], weights[log_x < 600]
        return 1.5 * np.exp(log_x), 1.5 * np.exp(log_x) * weights
    if name == "VonMises":
        x = np.linspace(-np.pi, np.pi, 2001)[:-1]
        return x, np.full(2000, np.pi / 1000)
    return SCALARS[name]


@jax.jit
def integrals(model, other, x, weights):
    log_p, log_q = model.log_prob(x), other.log_prob(x)
    mass = jnp.exp(log_p) * weights
    log_p = jnp.where(mass > 0, log_p, 0)
    return -jnp.sum(mass * log_p), jnp.sum(jnp.where(mass > 0, mass * (log_p - log_q), 0))


# another of the family, whose support holds that of the example
OTHERS = {
    "Bernoulli": lx.Bernoulli(0.6),
    "Beta": lx.Beta(0.7, 4.0),
    "Binomial": lx.Binomial(5.0, 0.6),
    "Exponential": lx.Exponential(0.4),
    "Gamma": lx.Gamma(0.8, 0.5),
    "GammaKnownShape": lx.GammaKnownShape(1.5, 3.0),
    "Geometric": lx.Geometric(0.2),
    "InverseGamma": lx.InverseGamma(2.5, 3.0),
    "Laplace": lx.Laplace(-1.0, 2.0),
    "LogNormal": lx.LogNormal(-0.2, 1.5),
    "NegativeBinomial": lx.NegativeBinomial(2.5, 0.7),
    "Normal": lx.Normal(-1.0, 0.7),
    "NormalKnownLoc": lx.NormalKnownLoc(-1.0, 0.7),
    "NormalKnownScale": lx.NormalKnownScale(-1.0, 0.7),
    "NormalMean": lx.NormalMean(-1.0, 0.7),
    "Pareto": lx.Pareto(scale=1.0, shape=3.0),
    "ParetoKnownScale": lx.ParetoKnownScale(0.4, 3.0),
    "Poisson": lx.Poisson(4.0),
    "Uniform": lx.Uniform(-1.0, 3.0),
    "UniformFromZero": lx.UniformFromZero(5.0),
    "VonMises": lx.VonMises(1.7, 0.4),
    "Weibull": lx.Weibull(shape=0.7, scale=1.0),
}
WITHOUT_ENTROPY = {"BetaNegativeBinomial"}


@pytest.mark.parametrize("name", [*SCALARS, "GammaPareto", "ParetoUniform", "VonMises"])
def test_entropies_and_divergences_are_integrals(name, x64):
    model = BY_NAME[name].example()
    other = OTHERS.get(name, model)
    want, divergence = integrals(model, other, *map(jnp.asarray, grid(name)))
    if name in WITHOUT_ENTROPY:
        with pytest.raises(TypeError, match="no closed form"):
            model.entropy()
    else:
        np.testing.assert_allclose(model.entropy(), want, rtol=1e-5, atol=1e-6)
    if name in OTHERS:
        np.testing.assert_allclose(model.kl_divergence(other), divergence, rtol=1e-5)
        np.testing.assert_allclose(model.kl_divergence(model), 0, atol=1e-12)
    else:
        with pytest.raises(TypeError, match="no closed form"):
            model.kl_divergence(model)


def test_entropies_and_divergences_of_vectors(x64):
    tril = jnp.array([[1.2, 0.0], [0.4, 0.8]])
    normal = lx.MvNormal(jnp.array([0.3, -0.2]), tril)
    other = lx.MvNormal(jnp.array([0.0, 1.0]), jnp.array([[0.9, 0.0], [-0.3, 1.5]]))
    a, b = (np.asarray(m.covariance) for m in (normal, other))
    gap = np.asarray(other.loc - normal.loc)
    want = (np.trace(np.linalg.solve(b, a)) - 2 + gap @ np.linalg.solve(b, gap)) / 2
    want += np.log(np.linalg.det(b) / np.linalg.det(a)) / 2
    np.testing.assert_allclose(normal.kl_divergence(other), want, rtol=1e-12)
    np.testing.assert_allclose(
        normal.entropy(), stats.multivariate_normal(normal.loc, a).entropy(), rtol=1e-12
    )
    ball, ball0 = lx.SphericalNormal(normal.loc, 1.2), lx.SphericalNormal(other.loc, 0.7)
    as_full = [lx.MvNormal(m.loc, m.scale * jnp.eye(2)) for m in (ball, ball0)]
    np.testing.assert_allclose(
        ball.kl_divergence(ball0), as_full[0].kl_divergence(as_full[1]), rtol=1e-12
    )
    np.testing.assert_allclose(ball.entropy(), as_full[0].entropy(), rtol=1e-12)
    for dof in (3.0, np.inf):
        want = stats.multivariate_t(normal.loc, a, dof).entropy()
        np.testing.assert_allclose(lx.MvStudentT(dof, normal.loc, tril).entropy(), want, rtol=1e-9)
    shares = lx.Dirichlet(jnp.array([2.0, 1.5, 3.0]))
    np.testing.assert_allclose(
        shares.entropy(), stats.dirichlet([2.0, 1.5, 3.0]).entropy(), rtol=1e-10
    )
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.4, 0.1])
    np.testing.assert_allclose(lx.Categorical(p).entropy(), stats.entropy(p), rtol=1e-12)
    np.testing.assert_allclose(
        lx.Categorical(p).kl_divergence(lx.Categorical(q)), stats.entropy(p, q), rtol=1e-12
    )
    np.testing.assert_allclose(
        lx.Multinomial(p, total_count=5.0).kl_divergence(lx.Multinomial(q, total_count=5.0)),
        5 * stats.entropy(p, q),
        rtol=1e-12,
    )
    coins, coins0 = lx.MvBernoulli(p), lx.MvBernoulli(q)
    alone = lx.Independent(lx.Bernoulli(p)), lx.Independent(lx.Bernoulli(q))
    np.testing.assert_allclose(coins.entropy(), alone[0].entropy(), rtol=1e-12)
    np.testing.assert_allclose(
        coins.kl_divergence(coins0), alone[0].kl_divergence(alone[1]), rtol=1e-12
    )
    assert lx.Categorical(p).kl_divergence(lx.Categorical(jnp.array([0.5, 0.5, 0.0]))) == np.inf
    assert lx.Delta(1.0).kl_divergence(lx.Delta(2.0)) == np.inf
    assert jnp.isnan(lx.Binomial(3.0, 0.5).kl_divergence(lx.Binomial(4.0, 0.5)))
    assert lx.Uniform(0.0, 2.0).kl_divergence(lx.Uniform(0.0, 1.0)) == np.inf


def test_nodes_and_wrappers_pass_them_on(x64):
    parts = lx.Normal(jnp.array([-1.0, 2.0]), jnp.array([0.5, 1.0]))
    mixture = lx.Mixture(jnp.array([0.3, 0.7]), parts)
    x = jnp.array([-5.0, -1.0, 0.4, 3.0])
    each = [stats.norm(-1.0, 0.5), stats.norm(2.0, 1.0)]
    np.testing.assert_allclose(
        mixture.cdf(x), 0.3 * each[0].cdf(x) + 0.7 * each[1].cdf(x), rtol=1e-9
    )
    np.testing.assert_allclose(
        mixture.log_survival(-x), np.log(0.3 * each[0].sf(-x) + 0.7 * each[1].sf(-x)), rtol=1e-9
    )
    product, other = (lx.Product({"a": lx.Poisson(r), "b": lx.Normal(r, 1.0)}) for r in (2.0, 3.0))
    want = lx.Poisson(2.0).kl_divergence(lx.Poisson(3.0)) + 0.5
    np.testing.assert_allclose(product.kl_divergence(other), want, rtol=1e-12)
    pair = lx.Product((lx.Normal(0.0, 1.0), lx.Exponential(2.0)))
    np.testing.assert_allclose(
        pair.entropy(), stats.norm.entropy() + stats.expon.entropy(scale=0.5)
    )
    inside = lx.Gamma(3.0, 2.0)
    for around in (lx.Fixed(inside), lx.Tied(inside)):
        assert around.cdf(1.0) == inside.cdf(1.0)
        assert around.log_cdf(1.0) == inside.log_cdf(1.0)
        assert around.log_survival(1.0) == inside.log_survival(1.0)
        assert around.quantile(0.2, upper=True) == inside.quantile(0.2, upper=True)
        assert around.entropy() == inside.entropy()
        assert around.kl_divergence(around) == 0
    with pytest.raises(TypeError, match="wanted two Gamma; got Normal"):
        inside.kl_divergence(lx.Normal(0.0, 1.0))
    for verb in ("cdf", "log_survival", "quantile"):
        with pytest.raises(TypeError, match="no closed form"):
            getattr(lx.VonMises(0.0, 1.0), verb)(0.5)


def test_float32_keeps_divergences_of_sharp_distributions():
    """Terms of the size of a log a would lose all digits here."""
    a, b = lx.Gamma(1e6, 1e6), lx.Gamma(1.001e6, 1e6)
    c, d = lx.Beta(2e5, 3e5), lx.Beta(2.01e5, 3e5)
    with jax.enable_x64(True):
        want = [
            float(p.kl_divergence(q))
            for p, q in ((lx.Gamma(1e6, 1e6), lx.Gamma(1.001e6, 1e6)), (lx.Beta(2e5, 3e5), lx.Beta(2.01e5, 3e5)))
        ]  # fmt: skip
    np.testing.assert_allclose([a.kl_divergence(b), c.kl_divergence(d)], want, rtol=1e-3)
    np.testing.assert_allclose(a.entropy(), stats.gamma.entropy(1e6, scale=1e-6), rtol=1e-5)
