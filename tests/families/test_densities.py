"""Every family against SciPy over a grid, in float64 and float32, with finite gradients."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

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
    MvStudentT,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
    UniformFromZero,
    VonMises,
    Weibull,
)


def log_fraction(value: Fraction) -> float:
    """Log of an exact rational whose parts may be too large for a float."""
    parts = (value.numerator, value.denominator)
    shifts = [max(n.bit_length() - 1000, 0) for n in parts]
    top, bottom = (math.log(n >> k) + k * math.log(2) for n, k in zip(parts, shifts, strict=True))
    return top - bottom


COUNTS = np.array([0, 1, 2, 3, 7, 20, 150, 1000])
REALS = np.array([-300.0, -20.0, -1.5, -0.1, 0.0, 0.3, 1.0, 4.0, 55.0])
POSITIVE = np.array([1e-8, 0.01, 0.3, 0.99, 1.0, 2.5, 30.0, 400.0])
UNIT = np.array([1e-9, 0.01, 0.3, 0.5, 0.77, 0.999])


class Case(NamedTuple):
    """A family, parameters (one tuple a row), points, and SciPy's log density."""

    family: Callable[..., Any]
    parameters: list[tuple]
    x: np.ndarray
    oracle: Callable[..., np.ndarray]
    # of the absolute error in float32, beside a relative one of 3e-6: what rounding the
    # parameters themselves to float32 may move a log density of this size
    atol32: float = 2e-5


def rows(*axes: list[float]) -> list[tuple]:
    return [
        tuple(r) for r in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    ]


CASES = {
    "Bernoulli": Case(
        Bernoulli,
        rows([0.0, 0.2, 0.5, 1.0]),
        np.array([0, 1]),
        lambda x, p: stats.bernoulli.logpmf(x, p),
    ),
    "Poisson": Case(Poisson, rows([1e-6, 0.3, 1.0, 12.5, 900.0]), COUNTS, stats.poisson.logpmf),
    "Normal": Case(Normal, rows([-3.0, 0.0, 100.0], [0.01, 1.0, 30.0]), REALS, stats.norm.logpdf),
    "StudentT": Case(
        StudentT,
        rows([0.5, 1.0, 3.0, 40.0], [-2.0, 0.5], [0.1, 3.0]),
        REALS,
        lambda x, dof, loc, scale: stats.t.logpdf(x, dof, loc, scale),
    ),
    "Gamma": Case(
        Gamma,
        rows([0.1, 1.0, 2.0, 50.0], [0.2, 1.0, 9.0]),
        POSITIVE,
        lambda x, a, b: stats.gamma.logpdf(x, a, scale=1 / b),
    ),
    "Beta": Case(Beta, rows([0.1, 1.0, 2.5, 80.0], [0.3, 1.0, 40.0]), UNIT, stats.beta.logpdf),
    "GammaPoisson": Case(
        GammaPoisson,
        rows([0.2, 1.0, 30.0], [0.1, 1.0, 20.0]),
        COUNTS,
        lambda x, a, b: stats.nbinom.logpmf(x, a, b / (b + 1)),
    ),
    "Binomial": Case(
        Binomial,
        rows([0.01, 0.5, 0.9], [1000.0]),
        COUNTS,
        lambda x, p, n: stats.binom.logpmf(x, n, p),
        2e-4,
    ),
    "Geometric": Case(
        Geometric,
        rows([0.01, 0.5, 0.9]),
        COUNTS,
        lambda x, p: stats.geom.logpmf(x, p, loc=-1),
        2e-4,
    ),
    "NegativeBinomial": Case(
        NegativeBinomial,
        rows([0.05, 0.5, 0.9], [0.3, 1.0, 40.0]),
        COUNTS,
        lambda x, p, r: stats.nbinom.logpmf(x, r, p),
        2e-4,
    ),
    "BetaBinomial": Case(
        BetaBinomial,
        rows([0.2, 1.0, 30.0], [0.5, 8.0], [1000.0]),
        COUNTS,
        lambda x, a, b, n: stats.betabinom.logpmf(x, n, a, b),
    ),
    "BetaNegativeBinomial": Case(
        BetaNegativeBinomial,
        rows([0.2, 1.0, 30.0], [0.5, 8.0], [1.0, 7.5]),
        COUNTS,
        # stats.betanbinom gives NaN for some of these
        lambda x, a, b, r: (
            special.betaln(a + r, b + x)
            - special.betaln(a, b)
            - special.betaln(x + 1, r)
            - np.log(x + r)
        ),
    ),
    "Exponential": Case(
        Exponential,
        rows([0.01, 1.0, 7.0]),
        POSITIVE,
        lambda x, r: stats.expon.logpdf(x, scale=1 / r),
    ),
    "Lomax": Case(
        Lomax,
        rows([0.5, 3.0, 50.0], [0.1, 1.0, 20.0]),
        POSITIVE,
        lambda x, a, b: stats.lomax.logpdf(x, a, scale=b),
    ),
    "GammaGamma": Case(
        GammaGamma,
        rows([0.5, 3.0], [0.1, 20.0], [0.4, 1.0, 6.0]),
        POSITIVE,
        lambda x, a, b, c: stats.betaprime.logpdf(x, c, a, scale=b),
    ),
    "GammaKnownShape": Case(
        GammaKnownShape,
        rows([0.2, 9.0], [0.5, 3.0]),
        POSITIVE,
        lambda x, b, a: stats.gamma.logpdf(x, a, scale=1 / b),
    ),
    "InverseGamma": Case(
        InverseGamma,
        rows([0.3, 1.0, 20.0], [0.2, 5.0]),
        POSITIVE[1:],
        lambda x, a, b: stats.invgamma.logpdf(x, a, scale=b),
    ),
    "LogNormal": Case(
        LogNormal,
        rows([-1.0, 2.0], [0.2, 3.0]),
        POSITIVE,
        lambda x, loc, scale: stats.lognorm.logpdf(x, scale, scale=np.exp(loc)),
        1e-3,
    ),
    "Laplace": Case(Laplace, rows([-3.05, 0.07], [0.5, 30.0]), REALS, stats.laplace.logpdf),
    "Weibull": Case(
        Weibull,
        rows([0.5, 1.0, 2.5], [0.7, 40.0]),
        POSITIVE,
        lambda x, k, scale: stats.weibull_min.logpdf(x, k, scale=scale),
    ),
    "VonMises": Case(
        VonMises,
        rows([-2.0, 0.4], [0.01, 1.0, 60.0]),
        np.array([-3.1, -0.4, 0.0, 1.3, 3.0]),
        lambda x, loc, kappa: stats.vonmises.logpdf(x, kappa, loc),
    ),
    "Uniform": Case(
        Uniform,
        rows([-310.0], [60.0, 900.0]),
        REALS,
        lambda x, low, high: stats.uniform.logpdf(x, low, high - low),
    ),
    "UniformFromZero": Case(
        UniformFromZero,
        rows([500.0, 900.0]),
        POSITIVE,
        lambda x, high: stats.uniform.logpdf(x, 0, high),
    ),
    "Pareto": Case(
        Pareto,
        rows([1e-9, 0.005], [0.5, 3.0]),
        POSITIVE[1:],
        lambda x, scale, a: stats.pareto.logpdf(x, a, scale=scale),
    ),
}
# held whole numbers, whose derivative is not that of a neighbour
HELD = {"Binomial": 1, "BetaBinomial": 2}


def grid(case: Case, dtype: Any) -> tuple[list[jax.Array], jax.Array, np.ndarray]:
    """Parameters, points, and the truth at exactly those rounded values."""
    parameters = [np.asarray(p, dtype) for p in zip(*case.parameters, strict=True)]
    x = case.x if case.x.dtype.kind == "i" else case.x.astype(dtype)
    wide = [p.astype(float)[:, None] for p in parameters]
    with np.errstate(all="ignore"):
        want = case.oracle(x.astype(float)[None, :], *wide)
    return [jnp.asarray(p) for p in parameters], jnp.asarray(x), want


def all_log_probs(
    family: Callable[..., Any], parameters: list[jax.Array], x: jax.Array
) -> jax.Array:
    return jax.jit(jax.vmap(lambda *p: family(*p).log_prob(x)))(*parameters)


@pytest.mark.parametrize("name", CASES)
def test_log_density_is_scipys_in_float64(name, x64):
    parameters, x, want = grid(CASES[name], np.float64)
    got = all_log_probs(CASES[name].family, parameters, x)
    assert got.dtype == jnp.float64
    # 1e-12: SciPy's own absolute rounding where a log density crosses zero
    chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_log_density_is_scipys_in_float32(name):
    case = CASES[name]
    parameters, x, want = grid(case, np.float32)
    got = all_log_probs(case.family, parameters, x)
    assert got.dtype == jnp.float32
    chex.assert_trees_all_close(got.astype(float), want, rtol=3e-6, atol=case.atol32)


@pytest.mark.parametrize("name", CASES)
def test_gradients_match_finite_differences(name, x64):
    case = CASES[name]
    parameters, x, want = grid(case, np.float64)
    usable = np.isfinite(want)

    def total(*p):
        return jnp.where(usable, jax.vmap(lambda *q: case.family(*q).log_prob(x))(*p), 0).sum(1)

    value = jax.jit(total)
    slopes = jax.jit(jax.grad(lambda *p: total(*p).sum(), argnums=tuple(range(len(parameters)))))
    for i, slope in enumerate(slopes(*parameters)):
        step = 1e-6 * np.maximum(np.abs(parameters[i]), 1e-6)
        edge = np.zeros(step.shape, bool)
        if HELD.get(name) == i:
            continue
        if name == "Bernoulli":
            edge = np.asarray((parameters[i] == 0) | (parameters[i] == 1))
        up, down = (
            value(*parameters[:i], parameters[i] + s, *parameters[i + 1 :]) for s in (step, -step)
        )
        rise = (up - down) / (2 * step)
        assert np.all(np.isfinite(slope))
        # central differences: rounding of the value over the step
        noise = 1e-15 * np.abs(np.where(usable, want, 0)).sum(1) / step
        ok = np.abs(slope - rise) <= 1e-5 * np.abs(rise) + 1e-6 + 50 * noise
        assert np.all(ok | edge), (name, i)


OUTSIDE = [
    (Bernoulli(0.3), [0.5, -1.0, 2.0]),
    (Poisson(2.0), [-1.0, 0.5]),
    (GammaPoisson(2.0, 1.0), [-1.0, 2.5]),
    (Gamma(2.0, 1.0), [-1.0, -jnp.inf]),
    (Beta(2.0, 3.0), [-0.1, 1.1]),
    (Binomial(0.3, 5.0), [-1.0, 0.5, 6.0]),
    (NegativeBinomial(0.3, 5.0), [-1.0, 0.5]),
    (BetaBinomial(2.0, 1.0, 5.0), [-1.0, 0.5, 6.0]),
    (Exponential(1.0), [-1.0, jnp.inf]),
    (Lomax(1.0, 1.0), [-1.0, jnp.inf]),
    (GammaGamma(1.5, 1.0, 2.0), [-1.0, jnp.inf]),
    (InverseGamma(1.0, 1.0), [-1.0, 0.0, jnp.inf]),
    (LogNormal(0.0, 1.0), [-1.0, 0.0, jnp.inf]),
    (Weibull(1.5, 1.0), [-1.0, jnp.inf]),
    (Uniform(0.0, 1.0), [-1.0, 2.0]),
    (Pareto(1.0, 1.0), [0.5, jnp.inf]),
]


@pytest.mark.parametrize(("model", "x"), OUTSIDE, ids=lambda v: type(v).__name__)
def test_outside_the_support_is_minus_inf_with_finite_gradient(model, x):
    x = jnp.array(x)
    assert np.all(np.asarray(model.log_prob(x)) == -np.inf)
    assert np.isnan(model.log_prob(jnp.nan))
    slopes = jax.grad(lambda m, v: jnp.where(v < -jnp.inf, 0, m.log_prob(v)).sum(), argnums=(0, 1))(
        model, x[:1]
    )
    chex.assert_tree_all_finite(slopes)


EDGES = [
    # model, x, exact log probability
    (Poisson(0.0), 0.0, 0.0),
    (Poisson(0.0), 1.0, -np.inf),
    (Bernoulli(0.0), 0.0, 0.0),
    (Bernoulli(0.0), 1.0, -np.inf),
    (Bernoulli(1.0), 1.0, 0.0),
    (Bernoulli(1.0), 0.0, -np.inf),
    (Gamma(1.0, 0.5), 0.0, -np.log(2.0)),  # chi2.logpdf(0, 2)
    (Gamma(2.0, 0.5), 0.0, -np.inf),
    (Gamma(0.5, 0.5), 0.0, np.inf),
    (Gamma(2.0, 0.5), np.inf, -np.inf),
    (Beta(1.0, 1.0), 0.0, 0.0),
    (Beta(1.0, 1.0), 1.0, 0.0),
    (Beta(1.0, 2.0), 0.0, np.log(2.0)),
    (Beta(2.0, 1.0), 0.0, -np.inf),
    (Beta(0.5, 1.0), 0.0, np.inf),
    (Dirichlet(np.ones(2)), np.array([0.0, 1.0]), 0.0),  # dirichlet.logpdf([0, 1], [1, 1])
    (Dirichlet(np.array([2.0, 1.0])), np.array([0.0, 1.0]), -np.inf),
    (Dirichlet(np.array([2.0, 1.0])), np.array([1.0, 0.0]), np.log(2.0)),
    (Binomial(0.0, 3.0), 0.0, 0.0),
    (Binomial(0.0, 3.0), 1.0, -np.inf),
    (Binomial(1.0, 3.0), 3.0, 0.0),
    (Binomial(0.4, 0.0), 0.0, 0.0),
    (Geometric(1.0), 0.0, 0.0),
    (Geometric(1.0), 1.0, -np.inf),
    (NegativeBinomial(1.0, 2.0), 0.0, 0.0),
    (NegativeBinomial(1.0, 2.0), 1.0, -np.inf),
    (Exponential(2.0), 0.0, np.log(2.0)),
    (Weibull(1.0, 1.0), 0.0, 0.0),
    (Weibull(2.0, 1.0), 0.0, -np.inf),
    (Weibull(0.5, 1.0), 0.0, np.inf),
    (GammaGamma(1.0, 1.0, 1.0), 0.0, 0.0),
    (Uniform(0.0, 1.0), 1.0, 0.0),
    (Pareto(2.0, 2.0), 2.0, 0.0),
    (VonMises(0.0, 0.0), 1.0, -np.log(2 * np.pi)),
    (Delta(3.0), 3.0, 0.0),
    (Delta(3.0), 2.0, -np.inf),
    (Multinomial(np.array([0.0, 1.0])), np.array([0.0, 2.0]), 0.0),
    (Multinomial(np.array([0.0, 1.0])), np.array([1.0, 1.0]), -np.inf),
    (MvBernoulli(np.array([0.0, 1.0])), np.array([0.0, 1.0]), 0.0),
    (MvBernoulli(np.array([0.0, 1.0])), np.array([1.0, 1.0]), -np.inf),
    (Categorical(np.array([0.0, 1.0])), np.array(0), -np.inf),
    (Categorical(np.array([0.0, 1.0])), np.array(1), 0.0),
    (Categorical(np.array([0.0, 1.0])), np.array(5), -np.inf),
]


@pytest.mark.parametrize(("model", "x", "want"), EDGES, ids=lambda v: type(v).__name__)
def test_edges_are_exact_with_finite_gradients(model, x, want):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
    x = jnp.asarray(x, jnp.int32 if isinstance(model, Categorical) else jnp.float32)
    chex.assert_trees_all_close(model.log_prob(x), jnp.float32(want), atol=1e-6)
    chex.assert_tree_all_finite(jax.grad(lambda m: m.log_prob(x))(model))
    if isinstance(
        model, Gamma | Beta | Dirichlet | Exponential | Weibull | GammaGamma | VonMises
    ) and np.all(np.isfinite(x)):
        chex.assert_tree_all_finite(jax.grad(model.log_prob)(x))


def test_dirichlet_is_scipys(x64):
    rng = np.random.default_rng(0)
    for a in ([0.4, 1.0, 2.0], [30.0, 5.0, 0.1], [1e3, 2e3, 3e3]):
        x = rng.dirichlet(a, 6)
        want = [stats.dirichlet.logpdf(row, a) for row in x / x.sum(1, keepdims=True)]
        chex.assert_trees_all_close(Dirichlet(jnp.array(a)).log_prob(x), np.array(want), rtol=1e-9)


def test_counts_of_many_values_are_scipys(x64):
    rng = np.random.default_rng(1)
    p, a = np.array([0.1, 0.2, 0.0, 0.7]), np.array([0.3, 2.0, 9.0, 1.0])
    x = rng.multinomial(30, p, 8)
    want = stats.multinomial.logpmf(x, 30, p)
    chex.assert_trees_all_close(Multinomial(p).log_prob(x), want, rtol=1e-10)
    chex.assert_trees_all_close(Multinomial(p, 30).log_prob(x), want, rtol=1e-10)
    assert np.all(np.asarray(Multinomial(p, 31).log_prob(x)) == -np.inf)
    x = rng.multinomial(30, a / a.sum(), 8)
    want = [stats.dirichlet_multinomial.logpmf(row, a, 30) for row in x]
    chex.assert_trees_all_close(DirichletMultinomial(a).log_prob(x), np.array(want), rtol=1e-10)


def test_multivariate_t_is_scipys(x64):
    rng = np.random.default_rng(2)
    tril = np.tril(rng.normal(size=(3, 3))) + 2 * np.eye(3)
    loc, x = rng.normal(size=3), 5 * rng.normal(size=(6, 3))
    for dof in (0.7, 4.0, 1e4):
        want = stats.multivariate_t.logpdf(x, loc, tril @ tril.T, dof)
        chex.assert_trees_all_close(MvStudentT(dof, loc, tril).log_prob(x), want, rtol=1e-10)


def test_coins_are_a_product_of_bernoullis_also_with_gaps(x64):
    rng = np.random.default_rng(3)
    p, x, seen = rng.uniform(size=4), rng.integers(0, 2, (7, 4)), rng.uniform(size=(7, 4)) < 0.7
    each = stats.bernoulli.logpmf(x, p)
    chex.assert_trees_all_close(MvBernoulli(p).log_prob(x), each.sum(1), rtol=1e-10)
    got = MvBernoulli(p).log_prob(Masked(jnp.asarray(x), jnp.asarray(seen)))
    chex.assert_trees_all_close(got, (each * seen).sum(1), rtol=1e-10)


def test_beta_binomial_of_a_million_is_exact_in_float32():
    # EVIDENCE.md: -8.245, where numpyro gives -9.53 and jax.scipy -8.31
    n, x, a, b = 10**6, 123_456, 2, 3
    exact = Fraction(
        math.comb(n, x) * math.comb(a + b - 1, a) * a, (a + x) * math.comb(n + a + b - 1, a + x)
    )
    model = BetaBinomial(jnp.float32(a), jnp.float32(b), jnp.float32(n))
    want = log_fraction(exact)
    assert abs(float(model.log_prob(jnp.float32(x))) - want) < 1e-4


@pytest.mark.parametrize(
    ("model", "x", "want"),
    [
        (Poisson(1e6), 1e6 + 500, lambda: stats.poisson.logpmf(1e6 + 500, 1e6)),
        (Binomial(0.5, 1e6), 500_300.0, lambda: stats.binom.logpmf(500_300, 10**6, 0.5)),
        (GammaPoisson(1e5, 1.0), 1e5 + 300, lambda: stats.nbinom.logpmf(1e5 + 300, 1e5, 0.5)),
        (Gamma(1e6, 1e3), 1001.0, lambda: stats.gamma.logpdf(1001.0, 1e6, scale=1e-3)),
        (
            Beta(5e5, 5e5),
            0.5005,
            lambda: stats.beta.logpdf(np.float64(np.float32(0.5005)), 5e5, 5e5),
        ),
        (StudentT(1e7, 0.0, 1.0), 1.5, lambda: stats.t.logpdf(1.5, 1e7)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_large_parameters_do_not_cancel_in_float32(model, x, want):
    model = jax.tree.map(jnp.float32, model)
    assert abs(float(model.log_prob(jnp.float32(x))) - want()) < 2e-3
