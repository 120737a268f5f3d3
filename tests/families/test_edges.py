"""Edges, points outside, many values at once, and large parameters in float32."""

import math
from fractions import Fraction
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax import fit
from likelax.data import Masked
from likelax.families import (
    Bernoulli,
    Beta,
    BetaBinomial,
    Binomial,
    Categorical,
    Delta,
    Dirichlet,
    DirichletMultinomial,
    Exponential,
    Gamma,
    GammaGamma,
    GammaPoisson,
    Geometric,
    InverseGamma,
    LogNormal,
    Lomax,
    Multinomial,
    MvBernoulli,
    MvNormal,
    MvStudentT,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
    VonMises,
    Weibull,
)
from likelax.families.registry import FAMILIES


def log_fraction(value: Fraction) -> float:
    """Log of an exact rational whose parts may be too large for a float."""
    parts = (value.numerator, value.denominator)
    shifts = [max(n.bit_length() - 1000, 0) for n in parts]
    top, bottom = (math.log(n >> k) + k * math.log(2) for n, k in zip(parts, shifts, strict=True))
    return top - bottom


OUTSIDE = [
    (Bernoulli(0.3), [0.5, -1.0, 2.0]),
    (Poisson(2.0), [-1.0, 0.5]),
    (GammaPoisson(2.0, 1.0), [-1.0, 2.5]),
    (Gamma(2.0, 1.0), [-1.0, -jnp.inf]),
    (Beta(2.0, 3.0), [-0.1, 1.1]),
    (Binomial(5.0, 0.3), [-1.0, 0.5, 6.0]),
    (NegativeBinomial(5.0, 0.3), [-1.0, 0.5]),
    (BetaBinomial(2.0, 1.0, total_count=5.0), [-1.0, 0.5, 6.0]),
    (Exponential(1.0), [-1.0, jnp.inf]),
    (Lomax(1.0, 1.0), [-1.0, jnp.inf]),
    (GammaGamma(1.5, 1.0, 2.0), [-1.0, jnp.inf]),
    (InverseGamma(1.0, 1.0), [-1.0, 0.0, jnp.inf]),
    (LogNormal(0.0, 1.0), [-1.0, 0.0, jnp.inf]),
    (Weibull(shape=1.5, scale=1.0), [-1.0, jnp.inf]),
    (Uniform(0.0, 1.0), [-1.0, 2.0]),
    (Pareto(scale=1.0, shape=1.0), [0.5, jnp.inf]),
    (lx.ParetoUniform(scale=1.0, shape=2.0), [-1.0, jnp.inf]),
    (lx.ParetoKnownScale(scale=1.0, shape=2.0), [0.5, jnp.inf]),
    (lx.GammaPareto(2.0, 1.0, scale=1.0), [0.5, jnp.inf]),
    (lx.UniformFromZero(2.0), [-1.0, 2.5]),
    (lx.GammaKnownShape(2.0, 1.0), [-1.0, jnp.inf]),
    (lx.BetaNegativeBinomial(2.0, 1.0, total_count=3.0), [-1.0, 0.5]),
    (Geometric(0.3), [-1.0, 0.5]),
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


def test_every_family_of_part_of_the_line_has_points_outside():
    """A family of numbers that is nowhere -inf needs none."""
    around = jnp.array([-1e3, -1.0, -0.1, 0.5, 1.1, 1e3])
    bounded = set()
    special = {"Categorical", "Delta", "NoisyNormal"}  # codes, one point, pairs
    for entry in FAMILIES:
        if entry.inputs is not None or entry.name in special:
            continue
        model = entry.example()
        x = jax.eval_shape(partial(entry.draw, model), jax.random.key(0))
        if isinstance(x, jax.ShapeDtypeStruct) and not x.shape:
            bounded |= {entry.name} if np.any(model.log_prob(around) == -np.inf) else set()
    assert bounded - {type(model).__name__ for model, _ in OUTSIDE} == set()


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
    (Binomial(3.0, 0.0), 0.0, 0.0),
    (Binomial(3.0, 0.0), 1.0, -np.inf),
    (Binomial(3.0, 1.0), 3.0, 0.0),
    (Binomial(0.0, 0.4), 0.0, 0.0),
    (Geometric(1.0), 0.0, 0.0),
    (Geometric(1.0), 1.0, -np.inf),
    (NegativeBinomial(2.0, 1.0), 0.0, 0.0),
    (NegativeBinomial(2.0, 1.0), 1.0, -np.inf),
    (Exponential(2.0), 0.0, np.log(2.0)),
    (Weibull(shape=1.0, scale=1.0), 0.0, 0.0),
    (Weibull(shape=2.0, scale=1.0), 0.0, -np.inf),
    (Weibull(shape=0.5, scale=1.0), 0.0, np.inf),
    (GammaGamma(1.0, 1.0, 1.0), 0.0, 0.0),
    (Uniform(0.0, 1.0), 1.0, 0.0),
    (Pareto(scale=2.0, shape=2.0), 2.0, 0.0),
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
    chex.assert_trees_all_close(Multinomial(p, total_count=30).log_prob(x), want, rtol=1e-10)
    assert np.all(np.asarray(Multinomial(p, total_count=31).log_prob(x)) == -np.inf)
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
    model = BetaBinomial(jnp.float32(a), jnp.float32(b), total_count=jnp.float32(n))
    want = log_fraction(exact)
    assert abs(float(model.log_prob(jnp.float32(x))) - want) < 1e-4


@pytest.mark.parametrize(
    ("model", "x", "want"),
    [
        (Poisson(1e6), 1e6 + 500, lambda: stats.poisson.logpmf(1e6 + 500, 1e6)),
        (Binomial(1e6, 0.5), 500_300.0, lambda: stats.binom.logpmf(500_300, 10**6, 0.5)),
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


def test_a_row_of_no_weight_may_be_infinite():
    x, w = jnp.array([1.0, 2.0, jnp.inf]), jnp.array([1.0, 1.0, 0.0])
    assert fit.mle(Normal(0.0, 1.0), x, weights=w).loc == 1.5
    assert fit.mle(Poisson(1.0), x, weights=w).rate == 1.5
    assert fit.mle(MvNormal(jnp.zeros(1), jnp.eye(1)), x[:, None], weights=w).loc == 1.5


def test_the_tail_of_a_t_does_not_overflow():
    # 2 log(1e20) + log pi
    np.testing.assert_allclose(StudentT(1.0, 0.0, 1.0).log_prob(1e20), -93.24813, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [Bernoulli(0.3), Categorical(jnp.array([0.4, 0.6])), Poisson(0.5)],
    ids=lambda model: type(model).__name__,
)
def test_booleans_are_the_integers_zero_and_one(model):
    x = jnp.array([True, False, True])
    np.testing.assert_array_equal(model.log_prob(x), model.log_prob(x.astype(int)))
    sums = model.e_step(Masked(x, jnp.array([True, True, False])))[0]
    chex.assert_trees_all_close(sums, model.e_step(x.astype(int)[:2])[0])


def test_a_uniform_calls_what_lies_outside_impossible_unless_it_has_no_weight():
    model = lx.UniformFromZero(2.0)
    x, weights = jnp.array([1.0, 3.0]), jnp.array([2.0, 1.0])
    assert model.expected_log_prob(model.e_step(x, weights)[0]) == -np.inf
    inside = model.expected_log_prob(model.e_step(x[:1], weights[:1])[0])
    assert float(inside) == pytest.approx(-2 * np.log(2), rel=1e-6)
    assert model.expected_log_prob(model.e_step(x, jnp.zeros(2))[0]) == 0


def test_moments_of_student_t_at_their_last_degrees_of_freedom():
    eye = jnp.eye(2)
    for dof, mean, variance in ((1.0, False, False), (1.5, True, False), (2.5, True, True)):
        for model in (lx.StudentT(dof, 1.0, 2.0), lx.MvStudentT(dof, jnp.ones(2), eye)):
            assert np.isfinite(model.mean()).all() == mean, (dof, model)
            assert np.isfinite(model.variance()).all() == variance, (dof, model)


def test_regressions_on_counts_call_other_numbers_impossible():
    x = jnp.ones((5, 1))
    y = jnp.array([-1.0, np.inf, 0.5, np.nan, 2.0])
    for model in (
        lx.PoissonRegression(jnp.zeros(1)),
        lx.NegativeBinomialRegression(2.0, jnp.zeros(1)),
    ):
        got = np.asarray(model.log_prob((x, y)))
        assert (got[:3] == -np.inf).all()
        assert np.isfinite(got[4])
    with pytest.raises(ValueError, match="has probability zero"):
        lx.fit.em(lx.SoftmaxRegression(jnp.zeros((1, 3))), (x[:4], jnp.array([0, 1, 2, 3])))


def test_the_missing_entries_of_rows_add_up():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(5, 3)), np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    seen = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]], bool)
    model = lx.SphericalNormal(jnp.array([0.5, -1.0, 2.0]), 1.5)
    got = model.e_step(lx.Masked(values, seen), jnp.array(weights))[0]
    filled = np.where(seen, values, np.array([0.5, -1.0, 2.0]))
    mean = np.average(filled, axis=0, weights=weights)
    want = weights @ (filled - mean) ** 2 + 1.5**2 * (weights @ ~seen)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(got.scatter, want, rtol=1e-5)
    coins = lx.MvBernoulli(jnp.array([0.2, 0.5, 0.7]))
    heads = (values > 0).astype(np.float32)
    found = coins.e_step(lx.Masked(heads, seen), jnp.array(weights))[0]
    np.testing.assert_allclose(found.successes, weights @ (heads * seen), rtol=1e-6)
    np.testing.assert_allclose(found.failures, weights @ ((1 - heads) * seen), rtol=1e-6)


def test_entries_of_a_vector_count_from_its_end_too():
    model = lx.MvNormal(jnp.array([1.0, 2.0, 3.0]), jnp.eye(3))
    assert model.marginal([-3]).loc.tolist() == [1.0]
    for dims in ([-4], [3], [0, -3]):
        with pytest.raises(ValueError, match="dims must"):
            model.marginal(dims)


def test_supports_of_priors_end_where_they_say():
    x = jnp.array([-1.0, np.inf, np.nan, 3.0])
    for law in (lx.ParetoUniform(scale=1.0, shape=2.0), lx.Pareto(scale=2.0, shape=0.5)):
        got = np.asarray(law.log_prob(x))
        assert (got[:2] == -np.inf).all(), law
        assert np.isfinite(got[3])


def test_pairs_of_other_length_are_refused():
    model = lx.LinearRegression(jnp.zeros((1, 1)), jnp.eye(1))
    x, y = jnp.ones((2, 1)), jnp.ones((2, 1))
    for wrong in ((x, y, y), [x], x):
        with pytest.raises(ValueError, match="pair"):
            model.log_prob(wrong)


def test_rows_of_counts_in_batches_with_missing_entries_are_possible_or_not():
    model = lx.Multinomial(jnp.array([0.5, 0.3, 0.2]), total_count=4)
    values = np.ones((2, 2, 3))
    values[0, 1, 0] = 9.0
    seen = np.array([[[1, 1, 0], [1, 0, 1]], [[0, 0, 0], [1, 1, 0]]], bool)
    assert model.possible(lx.Masked(values, seen)).tolist() == [[True, False], [True, True]]


def test_a_pareto_calls_data_below_its_scale_impossible():
    model = lx.Pareto(scale=2.0, shape=1.5)
    x = jnp.array([1.0, 3.0])
    assert model.expected_log_prob(model.e_step(x, jnp.ones(2))[0]) == -np.inf
    assert model.expected_log_prob(model.e_step(x, jnp.zeros(2))[0]) == 0


def test_a_scale_without_data_stays():
    model = lx.NormalKnownLoc(1.0, 3.0)
    stats = model.e_step(jnp.array([2.0]), jnp.zeros(1))[0]
    assert float(model.m_step(stats).scale) == 3.0
