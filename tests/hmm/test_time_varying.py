"""Emissions with parameters for every step, against all paths and against loops over the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from reference import enumeration

T, K = 5, 2
RNG = np.random.default_rng(0)
INITIAL, MOVES = np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.4, 0.6]])
LOC, NOISE = np.array([-1.0, 1.0]), RNG.uniform(0.3, 3, T)
X = RNG.normal(size=(3, T))


def model(loc=LOC, noise=NOISE):
    wide = jnp.zeros((K, T))
    normal = lx.Normal(jnp.asarray(loc)[:, None] + wide, jnp.asarray(noise)[None] + wide)
    return lx.HMM(jnp.asarray(INITIAL), jnp.asarray(MOVES), lx.TimeVarying(normal))


def log_lik(x, loc=LOC, noise=NOISE):
    return stats.norm(loc[None], noise[:, None]).logpdf(x[:, None])


def test_answers_are_those_of_all_paths(x64):
    lengths = np.array([5, 3, 1])
    node = model()
    data = lx.Sequences(jnp.asarray(X), jnp.asarray(lengths))
    log_prob, found = node.log_prob(data), node.smoother(data)
    path, score = node.viterbi(data)
    for n, length in enumerate(lengths):
        every = enumeration.enumerate_paths(
            np.log(INITIAL), np.log(MOVES), log_lik(X[n]), length=length
        )
        np.testing.assert_allclose(log_prob[n], enumeration.log_prob(every), rtol=1e-12)
        want = enumeration.log_marginals(every)[:length]
        np.testing.assert_allclose(found.log_marginals[n, :length], want, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(path[n, :length], every.paths[every.log_joint.argmax()])
        np.testing.assert_allclose(score[n], every.log_joint.max(), rtol=1e-12)


def test_a_gradient_fit_of_what_steps_share_sees_the_noise(x64):
    def loss(loc):
        return -jnp.sum(model(loc).log_prob(X))

    got = jax.jit(jax.grad(loss))(jnp.asarray(LOC))
    want = 0
    for x in X:
        every = enumeration.enumerate_paths(np.log(INITIAL), np.log(MOVES), log_lik(x))
        share = np.exp(enumeration.log_marginals(every))
        want = want - np.sum(share * (x[:, None] - LOC) / NOISE[:, None] ** 2, axis=0)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_em_keeps_what_is_fixed_and_estimates_every_step_else(x64):
    node = model()
    posterior = np.exp(node.smoother(X).log_marginals)
    held = lx.HMM(node.initial, node.transition, lx.Fixed(node.emissions))
    found = lx.fit.em(held, X, max_steps=3)
    assert np.all(np.diff(found.objectives) > 0)
    np.testing.assert_array_equal(found.model.emissions.model.component.scale[0], NOISE)
    statistics, _ = node.e_step(X)
    new = node.m_step(statistics).emissions.component
    for k in range(K):
        weights = posterior[..., k]
        mean = np.sum(weights * X, axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(new.loc[k], mean, rtol=1e-9)
        variance = np.sum(weights * (X - mean) ** 2, axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(new.scale[k] ** 2, variance, rtol=1e-8)
    assert int(lx.fit.num_parameters(node)) == 1 + 2 + 2 * K * T
    assert int(lx.fit.num_parameters(held)) == 1 + 2


def test_draws_have_the_parameters_of_their_steps():
    noise = np.array([0.1, 1.0, 10.0, 1.0, 0.1])
    node = model(LOC, noise)
    draws = node.sample_labelled(jax.random.key(0), (4000, T))
    rest = np.asarray(draws.values) - LOC[np.asarray(draws.labels)]
    # a standard deviation of 4000 draws is off by 1.1 percent
    np.testing.assert_allclose(rest.std(axis=0), noise, rtol=0.06)
    alone = lx.TimeVarying(lx.Normal(jnp.zeros(T), jnp.asarray(noise, jnp.float32)))
    draws = alone.sample(jax.random.key(1), (4000, T))
    np.testing.assert_allclose(draws.std(axis=0), noise, rtol=0.06)


def test_draws_of_chains_as_components_have_their_lengths():
    # two chains, each of which stays in one state
    chains = lx.HMM(jnp.eye(2), jnp.stack([jnp.eye(2)] * 2), lx.Delta(jnp.array([[0.0, 1.0]] * 2)))
    index = jnp.array([0, 1, 1])
    draws = lx.Fixed(chains).stacked_sample(jax.random.key(0), index, lengths=(4,))
    np.testing.assert_array_equal(draws, np.repeat([[0], [1], [1]], 4, axis=1))


def test_regressions_with_coefficients_of_each_step():
    slopes = jnp.asarray(RNG.normal(size=(K, T, 1)), jnp.float32)
    node = lx.HMM(
        jnp.array([0.5, 0.5]),
        jnp.asarray(MOVES, jnp.float32),
        lx.TimeVarying(lx.PoissonRegression(slopes)),
    )
    inputs = jnp.ones((3, T, 1))
    inputs, counts = node.sample(jax.random.key(0), (3, T), emission_inputs=inputs)
    assert counts.shape == (3, T)
    got = node.emission_log_prob((inputs, counts))
    want = stats.poisson(np.exp(np.asarray(slopes)[None, :, :, 0])).logpmf(
        np.asarray(counts)[:, None]
    )
    np.testing.assert_allclose(got, np.moveaxis(want, 1, 2), rtol=1e-4, atol=1e-5)
    states = jnp.zeros((3, T), int)
    every = node.emissions.stacked_sample(jax.random.key(2), states, inputs=jnp.ones((3, T, 1)))
    assert every[1].shape == (3, T)
    alone = lx.TimeVarying(lx.PoissonRegression(slopes[0]))
    assert alone.sample_given(jax.random.key(1), jnp.ones((3, T, 1)), (3, T))[1].shape == (3, T)


def test_impossible_and_missing_steps():
    rates = jnp.arange(1.0, 2 * T + 1).reshape(K, T)
    emissions = lx.TimeVarying(lx.Poisson(rates))
    first = jax.tree.map(lambda a: a[0], emissions)
    assert first.possible(np.array([[0, 1, -1, 2, 3]])).tolist() == [
        [True, True, False, True, True]
    ]
    node = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), emissions)
    with pytest.raises(ValueError, match="probability zero"):
        lx.fit.em(node, jnp.array([[0, 1, -1, 2, 3]]))
    seen = lx.Masked(jnp.zeros(T, int), jnp.zeros(T, bool))
    np.testing.assert_allclose(node.log_prob(seen), 0, atol=1e-6)
    np.testing.assert_allclose(first.log_prob(jnp.zeros(T, int)), -rates[0], rtol=1e-6)
    np.testing.assert_allclose(first.log_kernel(jnp.zeros(T, int)), -rates[0], rtol=1e-6)
    np.testing.assert_allclose(first.mean(), rates[0])
    np.testing.assert_allclose(first.variance(), rates[0])


def test_what_has_no_meaning_is_refused():
    node = model()
    packed = lx.hmm.pack([np.zeros(2), np.zeros(3)], num_rows=1)
    for data, sentence in (
        (packed.data, "starts can't be given to TimeVarying"),
        (jnp.zeros(7), r"x must have T = 5 steps, \(..., 5, \*event\), as the parameters; got 7"),
        (jnp.zeros(()), "got a single observation"),
    ):
        with pytest.raises(ValueError, match=sentence):
            node.log_prob(data)
    inside = lx.HMM(node.initial, node.transition, lx.Product({"x": node.emissions}))
    series = lx.Sequences({"x": jnp.zeros((1, T))}, jnp.array([T]), jnp.zeros((1, T), bool))
    with pytest.raises(ValueError, match="starts can't be given"):
        inside.log_prob(series)
    assert np.isfinite(inside.log_prob(series.values))
    with pytest.raises(ValueError, match="emissions of later steps are unknown"):
        node.forecast_observations(jnp.zeros(T), 2)
    with pytest.raises(ValueError, match="must have T = 5 steps"):
        node.sample(jax.random.key(0), (3, 4))
    with pytest.raises(ValueError, match=r"TimeVarying\.component must have a leading axis"):
        lx.TimeVarying(lx.Normal(0.0, 1.0)).check_shapes("fit")
    with pytest.raises(TypeError, match="component must be a likelax model"):
        lx.TimeVarying(3.0)
