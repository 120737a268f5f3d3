"""Regressions against statsmodels and scikit-learn, and the laws of their bounds."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression as SklearnLogistic

import likelax as lx
from likelax.families import (
    LogisticRegression,
    NegativeBinomialRegression,
    PoissonRegression,
    RidgePrior,
    SoftmaxRegression,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import statsmodels.api as sm

RNG = np.random.default_rng(0)
N = 80
INPUTS = np.concatenate([np.ones((N, 1)), RNG.normal(size=(N, 2))], axis=1)
COEFFICIENTS = np.array([0.3, 1.0, -0.8])
SCORES = INPUTS @ COEFFICIENTS
WEIGHTS = RNG.uniform(0.5, 2.0, size=N)
MODELS = {
    "logistic": (
        LogisticRegression(np.zeros(3)),
        RNG.binomial(1, 1 / (1 + np.exp(-SCORES))),
        sm.families.Binomial(),
    ),
    "poisson": (PoissonRegression(np.zeros(3)), RNG.poisson(np.exp(SCORES)), sm.families.Poisson()),
    "negative binomial": (
        NegativeBinomialRegression(2.5, np.zeros(3)),
        RNG.poisson(np.exp(SCORES) * RNG.gamma(2.5, 1 / 2.5, N)),
        sm.families.NegativeBinomial(alpha=1 / 2.5),
    ),
}
CLASSES = np.argmax(INPUTS @ RNG.normal(size=(3, 3)) + RNG.gumbel(size=(N, 3)), axis=1)
ALL = {
    **{name: (model, targets) for name, (model, targets, _) in MODELS.items()},
    "softmax": (SoftmaxRegression(np.zeros((3, 3))), CLASSES),
}


@jax.jit
def EVERYTHING(model, x):
    """Log densities, the gradient of their sum, and an E step."""
    return (
        model.log_prob(x),
        jax.grad(lambda m: m.log_prob(x).sum())(model),
        model.e_step(x),
    )


def at(model, coefficients):
    if isinstance(model, NegativeBinomialRegression):
        return NegativeBinomialRegression(model.total_count, coefficients)
    return type(model)(coefficients)


def drawn(model, seed):
    shape = model.coefficients.shape
    return at(model, jnp.asarray(np.random.default_rng(seed).normal(size=shape)))


@pytest.mark.parametrize("name", MODELS)
def test_log_prob_and_optimum_are_those_of_statsmodels(name, x64):
    model, targets, family = MODELS[name]
    peer = sm.GLM(targets, INPUTS, family=family, freq_weights=WEIGHTS).fit(tol=1e-12)
    fit = lx.fit.em(model, (INPUTS, targets), weights=WEIGHTS)
    assert fit.usable and np.all(np.diff(fit.objectives) >= 0)
    # Newton's method ends where rounding does, statsmodels by its own rule
    np.testing.assert_allclose(fit.model.coefficients, peer.params, rtol=1e-6)
    np.testing.assert_allclose(fit.objectives[-1], peer.llf, rtol=1e-9)


def test_softmax_with_a_ridge_is_that_of_scikit_learn(x64):
    # scikit-learn's ridge spares the constant, as a precision of zero does
    peer = SklearnLogistic(C=1 / 0.7, tol=1e-12, max_iter=10_000).fit(INPUTS[:, 1:], CLASSES)
    fit = lx.fit.em(
        SoftmaxRegression(np.zeros((3, 3))),
        (INPUTS, CLASSES),
        prior=RidgePrior(np.array([0.0, 0.7, 0.7])),
    )
    want = np.concatenate([peer.intercept_[None], peer.coef_.T])
    # scikit-learn's solver stops at a gradient of 1e-6 or so
    np.testing.assert_allclose(
        fit.model.coefficients, want - want.mean(1, keepdims=True), atol=1e-5
    )


@pytest.mark.parametrize("name", MODELS)
def test_mode_under_a_ridge_is_that_of_a_general_optimiser(name, x64):
    model, targets = ALL[name]
    prior = RidgePrior(2.0)
    fit = lx.fit.em(model, (INPUTS, targets), prior=prior)

    def loss(coefficients):  # SciPy's densities, and its own derivatives by differences
        score = INPUTS @ coefficients
        if name == "logistic":
            log_lik = stats.bernoulli.logpmf(targets, 1 / (1 + np.exp(-score)))
        elif name == "poisson":
            log_lik = stats.poisson.logpmf(targets, np.exp(score))
        else:
            log_lik = stats.nbinom.logpmf(targets, 2.5, 2.5 / (2.5 + np.exp(score)))
        return -log_lik.sum() - stats.norm.logpdf(coefficients, scale=1 / np.sqrt(2.0)).sum()

    best = optimize.minimize(
        loss,
        np.zeros(3),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000},
    )
    np.testing.assert_allclose(fit.model.coefficients, best.x, atol=1e-6)
    np.testing.assert_allclose(fit.objectives[-1], -best.fun, rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_em_and_gradient_end_at_the_same_optimum(name, x64):
    model, targets = ALL[name]
    model = at(model, jnp.asarray(model.coefficients))
    by_em = lx.fit.em(model, (INPUTS, targets))
    by_gradient = lx.fit.gradient(model, (INPUTS, targets), tol=1e-12)
    np.testing.assert_allclose(by_gradient.objectives[-1], by_em.objectives[-1], rtol=1e-8)
    # adam hovers about the optimum, where the objective is flat
    np.testing.assert_allclose(by_gradient.model.coefficients, by_em.model.coefficients, atol=1e-3)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", ALL)
def test_expected_log_prob_bounds_the_log_likelihood_and_touches_it(name, x64):
    model, targets = ALL[name]
    start = drawn(model, 1)
    statistics, total = start.e_step((INPUTS, targets), WEIGHTS)

    def log_lik(coefficients):
        return jnp.sum(WEIGHTS * at(model, coefficients).log_prob((INPUTS, targets)))

    def bound(coefficients):
        return at(model, coefficients).expected_log_prob(statistics)

    here = jnp.asarray(start.coefficients)
    np.testing.assert_allclose(bound(here), total, rtol=1e-12)

    @jax.jit
    def derivatives(here):
        return [[order(f)(here) for order in (jax.grad, jax.hessian)] for f in (bound, log_lik)]

    chex.assert_trees_all_close(*derivatives(here), rtol=1e-8, atol=1e-8)
    steps = np.random.default_rng(2).normal(size=(400, *here.shape))
    steps *= np.geomspace(1e-3, 10, 400).reshape(-1, *[1] * here.ndim)
    gap = jax.jit(jax.vmap(lambda s: log_lik(here + s) - bound(here + s)))(jnp.asarray(steps))
    assert np.all(np.asarray(gap) >= -1e-8 * abs(total))


@pytest.mark.parametrize("name", ALL)
def test_one_m_step_maximises_the_bound(name, x64):
    model, targets = ALL[name]
    start = drawn(model, 3)
    statistics, _ = start.e_step((INPUTS, targets))
    best = start.m_step(statistics)
    top = best.expected_log_prob(statistics)
    steps = 0.05 * np.random.default_rng(4).normal(size=(200, *best.coefficients.shape))
    near = jax.vmap(lambda s: at(model, best.coefficients + s).expected_log_prob(statistics))
    assert np.all(np.asarray(near(jnp.asarray(steps))) <= top)
    slope = jax.grad(lambda c: at(model, c).expected_log_prob(statistics))(best.coefficients)
    np.testing.assert_allclose(slope, 0, atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_statistics_about_different_models_add(name, x64):
    """The sum is the sum of the two second-order expansions."""
    model, targets = ALL[name]
    (first, second), half = (drawn(model, 5), drawn(model, 6)), N // 2
    a, _ = first.e_step((INPUTS[:half], targets[:half]))
    b, _ = second.e_step((INPUTS[half:], targets[half:]))
    both = lx.statistics.add(a, b)
    point = drawn(model, 7).coefficients.reshape(both.at.shape)

    def expansion(s):
        step = jnp.linalg.solve(s.basis, point - s.at)
        return (
            s.value
            + jnp.sum(s.slope * step)
            - jnp.einsum("ia,iajb,jb", step, s.curvature, step) / 2
        )

    np.testing.assert_allclose(expansion(both), expansion(a) + expansion(b), rtol=1e-10)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", ALL)
def test_missing_targets_and_zero_weights_add_nothing(name, x64):
    model, targets = ALL[name]
    model, seen = drawn(model, 8), np.arange(N) % 3 > 0
    inputs = np.where(seen[:, None], INPUTS, np.nan)
    masked = lx.Masked(np.where(seen, targets, 77), seen)
    want, total = model.e_step((INPUTS[seen], targets[seen]))
    rows = model.log_prob((INPUTS[seen], targets[seen]))
    both = lx.Masked((inputs, np.where(seen, targets, 77)), (np.repeat(seen[:, None], 3, 1), seen))
    for x in ((INPUTS, masked), (inputs, masked), both):
        log_prob, gradient, got = EVERYTHING(model, x)
        np.testing.assert_allclose(log_prob[~seen], 0)
        np.testing.assert_allclose(log_prob[seen], rows)
        chex.assert_trees_all_close(got, (want, total), rtol=1e-10)
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    chex.assert_trees_all_close(
        model.e_step((inputs, targets), seen.astype(float)), (want, total), rtol=1e-10
    )


@pytest.mark.parametrize("name", ALL)
def test_draws_have_the_mean_and_variance(name, x64):
    model = drawn(ALL[name][0], 9)
    model = at(model, 0.3 * model.coefficients)
    num_draws, rows = 20_000, INPUTS[:4]
    inputs = jnp.broadcast_to(jnp.asarray(rows), (num_draws, *rows.shape))
    given, targets = model.sample(jax.random.key(0), (num_draws, 4), inputs)
    chex.assert_trees_all_equal(given, inputs)
    if name == "softmax":
        targets = jax.nn.one_hot(targets, 3)
    mean, variance = model.mean(rows), model.variance(rows)
    error = 5 * np.sqrt(variance / num_draws)
    np.testing.assert_array_less(abs(np.mean(targets, 0) - mean), error)
    # the fourth moment of a count is a few times the variance squared: 10% is five sigma
    np.testing.assert_allclose(np.var(targets, 0), variance, rtol=0.1)


@pytest.mark.parametrize("name", ["logistic", "poisson", "negative binomial"])
def test_log_prob_at_extreme_scores_is_exact(name):
    """Where a rate or a probability underflows in float32, y log p still counts."""
    model, _, _ = MODELS[name]
    model = at(model, jnp.ones(1))
    y = jnp.array([0, 1, 3]) if name != "logistic" else jnp.array([0, 1, 1])
    got = model.log_prob((jnp.full((3, 1), -120.0), y))
    if name == "logistic":
        want = np.array([0.0, -120.0, -120.0])
    elif name == "poisson":
        want = np.array([0.0, -120.0, -360.0 - np.log(6.0)])
    else:
        odds = -120.0 - np.log(2.5)
        want = np.array([0.0, odds + np.log(2.5), 3 * odds + np.log(2.5 * 3.5 * 4.5 / 6)])
    # the first is a probability of one less rounding
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_inputs_that_depend_on_each_other_share_the_step(name, x64):
    model, targets = ALL[name]
    twice = np.concatenate([INPUTS, INPUTS[:, 1:2]], axis=1)
    wide = at(model, jnp.zeros((4, *model.coefficients.shape[1:])))
    a = lx.fit.em(model, (INPUTS, targets))
    b = lx.fit.em(wide, (twice, targets))
    np.testing.assert_allclose(b.objectives[-1], a.objectives[-1], rtol=1e-9)
    np.testing.assert_allclose(b.model.coefficients[1], b.model.coefficients[3], atol=1e-6)


def test_separable_data_need_a_prior(x64):
    x = (jnp.array([[-1.0], [-2.0], [1.0], [2.0]]), jnp.array([0, 0, 1, 1]))
    free = lx.fit.em(LogisticRegression(jnp.zeros(1)), x, max_steps=50)
    assert np.all(np.diff(free.objectives) >= 0) and free.model.coefficients[0] > 10
    held = lx.fit.em(LogisticRegression(jnp.zeros(1)), x, prior=RidgePrior(1.0)).model
    slope = jax.grad(lambda m: m.log_prob(x).sum() + m.log_prior(RidgePrior(1.0)))(held)
    np.testing.assert_allclose(slope.coefficients, 0, atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_chunks_add_up(name, x64):
    model, targets = ALL[name]
    model = at(model, jnp.asarray(model.coefficients))
    whole = lx.fit.em(model, (INPUTS, targets))
    parts = lx.fit.em(model, (INPUTS, targets), chunk_size=17)
    chex.assert_trees_all_close(parts.model, whole.model, rtol=1e-8, atol=1e-10)


def test_softmax_counts_free_parameters_once(x64):
    model = SoftmaxRegression(jnp.zeros((3, 4)))
    assert lx.fit.num_parameters(model) == 9


def test_ridge_prior_is_a_normal_density(x64):
    coefficients = np.random.default_rng(0).normal(size=(3, 2))
    prior = RidgePrior(np.array([0.0, 1.0, 4.0]))
    want = stats.norm.logpdf(coefficients[1:], scale=np.array([[1.0], [0.5]])).sum()
    np.testing.assert_allclose(prior.log_prob(coefficients), want, rtol=1e-12)
    np.testing.assert_allclose(
        RidgePrior(2.0).log_prob(coefficients),
        stats.norm.logpdf(coefficients, scale=np.sqrt(0.5)).sum(),
        rtol=1e-12,
    )


def test_wrong_data_are_refused_by_name():
    model = PoissonRegression(jnp.zeros(2))
    with pytest.raises(ValueError, match="x must be a pair"):
        model.log_prob(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"inputs of x must have shape \(\.\.\., 2\)"):
        model.log_prob((jnp.zeros((5, 3)), jnp.zeros(5)))
    with pytest.raises(ValueError, match="equal leading axes"):
        model.log_prob((jnp.zeros((5, 2)), jnp.zeros(4)))
    with pytest.raises(TypeError, match="integer codes"):
        SoftmaxRegression(jnp.zeros((2, 3))).log_prob((jnp.zeros((5, 2)), jnp.zeros(5)))
    with pytest.raises(ValueError, match="pass inputs"):
        model.sample(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match="inputs must have shape"):
        model.sample(jax.random.key(0), (3,), jnp.zeros((4, 2)))
    with pytest.raises(TypeError, match="takes no inputs"):
        lx.Mixture(jnp.ones(1), lx.Poisson(jnp.ones(1))).sample(
            jax.random.key(0), (3,), jnp.zeros((3, 2))
        )
    with pytest.raises(ValueError, match="precision must be"):
        RidgePrior(jnp.ones(3)).log_prob(jnp.zeros(2))


def test_scaled_statistics_are_those_of_scaled_weights():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))
    y = jnp.array([0, 1, 0, 1, 1, 0, 1, 1])
    model = lx.LogisticRegression(jnp.array([0.5, -0.3]))
    stats = model.e_step((x, y), jnp.ones(8))[0]
    half = model.e_step((x, y), jnp.full(8, 0.5))[0]
    chex.assert_trees_all_close(lx.statistics.scale(stats, 0.5), half, rtol=1e-5)
