"""Emissions of many kinds in one chain, against statsmodels and against their own parts."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import hmm
from likelax.families import LinearRegression

MOVES = np.array([[0.9, 0.1], [0.25, 0.75]])


def switching_series(num_steps, seed=0):
    rng = np.random.default_rng(seed)
    y, state = np.zeros(num_steps), 0
    for t in range(1, num_steps):
        state = rng.choice(2, p=MOVES[state])
        y[t] = (0.5, -1.0)[state] + (0.7, -0.3)[state] * y[t - 1] + (0.4, 1.2)[state] * rng.normal()
    return y


def test_switching_autoregression_is_that_of_statsmodels(x64):
    """Log likelihood and smoothed states; statsmodels starts in the stationary distribution."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    y = switching_series(120)
    peer = MarkovRegression(y[1:], k_regimes=2, exog=y[:-1], switching_variance=True)
    params = np.array([MOVES[0, 0], MOVES[1, 0], 0.5, -1.0, 0.7, -0.3, 0.4**2, 1.2**2])
    want = peer.smooth(params)
    model = lx.HMM(
        None,
        jnp.asarray(MOVES),
        LinearRegression(
            jnp.array([[[0.5], [0.7]], [[-1.0], [-0.3]]]), jnp.array([[[0.4]], [[1.2]]])
        ),
    )
    x = hmm.lagged(y[:, None], 1)
    log_prob, post = jax.jit(lambda m, x: (m.log_prob(x), m.smoother(x)))(model, x)
    np.testing.assert_allclose(log_prob, want.llf, rtol=1e-9)
    np.testing.assert_allclose(
        np.exp(post.log_marginals), want.smoothed_marginal_probabilities, atol=1e-8
    )


@pytest.mark.slow
def test_em_of_a_switching_autoregression_finds_its_regimes(x64):
    y = switching_series(600, seed=1)
    start = lx.HMM(
        jnp.array([0.5, 0.5]),
        jnp.array([[0.8, 0.2], [0.2, 0.8]]),
        LinearRegression(jnp.array([[[1.0], [0.0]], [[-1.0], [0.0]]]), jnp.ones((2, 1, 1))),
    )
    fit = lx.fit.em(start, hmm.lagged(y[:, None], 1), max_steps=200)
    assert fit.usable and np.all(np.diff(fit.objectives) >= 0)
    # five standard errors of a regression on some 400 and 200 steps
    np.testing.assert_allclose(fit.model.emissions.coefficients[0, :, 0], [0.5, 0.7], atol=0.15)
    np.testing.assert_allclose(fit.model.emissions.coefficients[1, :, 0], [-1.0, -0.3], atol=0.5)


def test_lags_out_of_range_are_refused():
    with pytest.raises(ValueError, match="T above order >= 1"):
        hmm.lagged(jnp.zeros((3, 1)), 3)
    with pytest.raises(ValueError, match="must have shape"):
        hmm.lagged(jnp.zeros(3), 1)


def emissions(kind):
    """Two states of one kind, with data that they can take."""
    loc, eye = jnp.array([[0.0, 0.0], [2.0, -1.0]]), jnp.stack([jnp.eye(2)] * 2)
    pair, ones, rows = jnp.array([1.0, 3.0]), jnp.ones(2), np.random.default_rng(0)
    reals, vectors = rows.normal(size=(3, 8)), rows.normal(size=(3, 8, 2))
    counts = rows.poisson(2.0, (3, 8))
    mixture = lx.Mixture(jnp.full((2, 2), 0.5), lx.Normal(loc, jnp.ones((2, 2))))
    return {
        "full": (lx.MvNormal(loc, eye), vectors),
        "diagonal": (lx.Independent(lx.Normal(loc, jnp.ones((2, 2)))), vectors),
        "spherical": (lx.SphericalNormal(loc, ones), vectors),
        "tied": (lx.Tied(lx.MvNormal(loc, eye)), vectors),
        "poisson": (lx.Poisson(pair), counts),
        "bernoulli vector": (
            lx.Independent(lx.Bernoulli(jnp.array([[0.3, 0.6], [0.7, 0.5]]))),
            (vectors > 0).astype(int),
        ),
        "gamma": (lx.Gamma(pair, ones), np.exp(reals)),
        "student": (lx.StudentT(pair, loc[:, 0], ones), reals),
        "mixture": (mixture, reals),
        "product": (
            lx.Product({"a": lx.Poisson(pair), "b": lx.Normal(loc[:, 0], ones)}),
            {"a": counts, "b": reals},
        ),
    }[kind]


KINDS = [
    "full",
    "diagonal",
    "spherical",
    "tied",
    "poisson",
    "bernoulli vector",
    "gamma",
    "student",
    "mixture",
    "product",
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_em_rises_with_emissions_of_every_kind(kind, x64):
    each, x = emissions(kind)
    model = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), each)
    fit = lx.fit.em(model, x, max_steps=8, tol=0.0)
    assert np.all(np.isfinite(fit.objectives)) and np.all(np.diff(fit.objectives) >= 0)
    assert fit.objective > fit.objectives[0] + 1e-3
    if kind == "tied":
        first, second = fit.model.emissions.model.scale_tril
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "mixture", "product"])
def test_emissions_draw_and_score_under_vmap(kind):
    each, _ = emissions(kind)
    model = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES, jnp.float32), each)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.jit(jax.vmap(lambda key: model.sample(key, (2, 5))))(keys)
    assert model.log_prob(x).shape == (3, 2)
