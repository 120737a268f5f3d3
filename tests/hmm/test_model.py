"""The hidden Markov node: published fits, wrapped data, forecasts, and what it refuses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import datasets

CLINIC = lx.HMM(
    jnp.array([0.6, 0.4]),
    jnp.array([[0.7, 0.3], [0.4, 0.6]]),
    lx.Categorical(jnp.array([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])),
)


@pytest.fixture(scope="module")
def counts():
    return datasets.earthquakes().counts


def earthquake_start(key, counts, num_states):
    """Rates drawn from the data, states that tend to stay."""
    rates = jax.random.choice(key, jnp.asarray(counts, float), (num_states,), replace=False)
    stay = 0.8 * jnp.eye(num_states) + 0.2 / num_states
    return lx.HMM(jnp.full(num_states, 1 / num_states), stay, lx.Poisson(rates))


def test_clinic_of_wikipedia():
    """Published: log likelihood -3.3725, best path healthy healthy fever, probability .01512."""
    x = jnp.array([0, 1, 2])  # normal, cold, dizzy
    path, log_joint = CLINIC.viterbi(x)
    assert list(path) == [0, 0, 1]
    np.testing.assert_allclose(jnp.exp(log_joint), 0.01512, rtol=1e-4)
    by_hand = sum(
        float(jnp.exp(CLINIC.log_prob(lx.Labelled(x, jnp.array(z))))) for z in np.ndindex(2, 2, 2)
    )
    np.testing.assert_allclose(CLINIC.log_prob(x), np.log(by_hand), rtol=1e-5)


@pytest.mark.parametrize(("num_states", "published"), [(2, -341.8787), (3, -328.5275)])
def test_earthquakes_reach_the_published_likelihood(x64, counts, num_states, published):
    """Zucchini & MacDonald (2009), table 3.1; from restarts, in one compiled program."""
    fit = lx.fit.restarts(
        jax.random.key(0),
        lambda key: earthquake_start(key, counts, num_states),
        counts,
        num_restarts=8,
    )
    assert abs(fit.log_prob - published) < 1e-3
    assert fit.status == lx.fit.Status.CONVERGED
    one_rate = lx.fit.mle(lx.Poisson(1.0), counts)
    np.testing.assert_allclose(jnp.sum(one_rate.log_prob(counts)), -391.9189, atol=1e-4)


def test_padding_never_counts():
    """EVIDENCE: a padded sequence with a length is the same as the unpadded one."""
    model = lx.HMM(
        jnp.array([0.5, 0.5]), CLINIC.transition, lx.Normal(jnp.array([0.0, 2.0]), jnp.ones(2))
    )
    x = jnp.array([[0.1, 1.9, 2.2, -0.3], [1.0, 0.0, jnp.nan, jnp.nan]])
    padded = lx.Sequences(x, lengths=jnp.array([4, 2]))
    alone = [model.log_prob(x[0]), model.log_prob(x[1, :2])]
    chex.assert_trees_all_close(model.log_prob(padded), jnp.stack(alone), rtol=1e-6)
    stats, total = model.e_step(padded)
    parts = [model.e_step(x[0])[0], model.e_step(x[1, :2])[0]]
    chex.assert_trees_all_close(stats, lx.add(*parts), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total, sum(alone), rtol=1e-6)
    assert lx.fit.em(model, padded, max_steps=3).ok
    post = model.posterior(padded)
    assert jnp.all(post.log_marginals[1, 2:] == -jnp.inf)
    np.testing.assert_allclose(jnp.exp(post.log_marginals[1, :2]).sum(-1), 1, rtol=1e-5)


def test_starts_cut_the_chain():
    x = jnp.array([0, 1, 2, 0, 0])
    joined = lx.Sequences(x, starts=jnp.array([True, False, False, True, False]))
    np.testing.assert_allclose(
        CLINIC.log_prob(joined), CLINIC.log_prob(x[:3]) + CLINIC.log_prob(x[3:]), rtol=1e-6
    )
    stats = CLINIC.e_step(joined)[0]
    parts = lx.add(CLINIC.e_step(x[:3])[0], CLINIC.e_step(x[3:])[0])
    chex.assert_trees_all_close(stats, parts, rtol=1e-5, atol=1e-6)


def test_missing_steps_are_marginalised():
    """A missing step equals the sum over all values that it could have had."""
    hole = lx.Masked(jnp.array([0, 99, 2]), jnp.array([True, False, True]))
    filled = jnp.stack([CLINIC.log_prob(jnp.array([0, v, 2])) for v in range(3)])
    np.testing.assert_allclose(
        CLINIC.log_prob(hole), jax.scipy.special.logsumexp(filled), rtol=1e-6
    )


def test_impossible_sequence_has_log_prob_minus_infinity_and_no_nan():
    stuck = lx.HMM(jnp.array([1.0, 0.0]), jnp.eye(2), lx.Categorical(jnp.eye(2)))
    x = jnp.array([0, 1, 0])
    assert stuck.log_prob(x) == -jnp.inf
    gradient = jax.grad(lambda m: m.log_prob(x))(stuck)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert lx.fit.em(stuck, x).status == lx.fit.Status.NON_FINITE


def test_supervised_fit_counts_transitions():
    x, z = jnp.array([0, 0, 2, 2, 1]), jnp.array([0, 0, 1, 1, 0])
    model = lx.fit.mle(CLINIC, lx.Labelled(x, z))
    np.testing.assert_allclose(model.transition, [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(model.emissions.probs, [[2 / 3, 1 / 3, 0], [0, 0, 1]], rtol=1e-6)


def test_empty_state_keeps_its_parameters():
    """hmmlearn 169 and 186: a state that nothing visits gave NaN."""
    lonely = lx.HMM(jnp.array([1.0, 0.0]), jnp.array([[1.0, 0.0], [0.3, 0.7]]), CLINIC.emissions)
    fit = lx.fit.em(lonely, jnp.array([0, 1, 2, 1]), max_steps=5)
    np.testing.assert_allclose(fit.model.transition[1], [0.3, 0.7], rtol=1e-6)
    np.testing.assert_allclose(fit.model.emissions.probs[1], CLINIC.emissions.probs[1], rtol=1e-6)


def test_structural_zeros_stay_under_em_in_float32():
    """EVIDENCE: without a prior, dynamax gives NaN from the second step."""
    sparse = lx.HMM(
        jnp.array([1.0, 0.0, 0.0]),
        jnp.array([[0.6, 0.4, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]),
        lx.Categorical(jnp.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])),
    )
    x = jnp.array([[0, 0, 1, 1, 2], [0, 1, 1, 2, 2], [0, 0, 0, 1, 2]])
    fit = lx.fit.em(sparse, x, max_steps=50)
    assert fit.ok and fit.log_prob.dtype == jnp.float32
    assert np.all(np.diff(fit.log_probs) >= 0) and fit.log_probs[-1] > fit.log_probs[0]
    for before, after in zip(jax.tree.leaves(sparse), jax.tree.leaves(fit.model), strict=True):
        assert np.all(np.asarray(after)[np.asarray(before) == 0] == 0)


def test_forecast_follows_the_chain():
    x = jnp.array([[0, 1, 2], [2, 2, 1]])
    ahead = jnp.exp(CLINIC.forecast(x, 3))
    now = jnp.exp(CLINIC.filter(x).log_filtered[:, -1])
    for h in range(3):
        now = now @ CLINIC.transition
        np.testing.assert_allclose(ahead[:, h], now, rtol=1e-5)
    short = CLINIC.forecast(lx.Sequences(x, lengths=jnp.array([2, 3])), 1)
    np.testing.assert_allclose(short[0], CLINIC.forecast(x[0, :2], 1), rtol=1e-5)


def test_time_varying_transition():
    moves = jnp.stack([CLINIC.transition, CLINIC.transition.T])
    varying = lx.HMM(CLINIC.initial, moves / moves.sum(-1, keepdims=True), CLINIC.emissions)
    x = jnp.array([0, 1, 2])
    by_hand = sum(
        float(jnp.exp(varying.log_prob(lx.Labelled(x, jnp.array(z))))) for z in np.ndindex(2, 2, 2)
    )
    np.testing.assert_allclose(jnp.exp(varying.log_prob(x)), by_hand, rtol=1e-5)
    with pytest.raises(ValueError, match=r"needs a transition of shape \(K, K\)"):
        lx.fit.em(varying, x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.array(1), "must be a sequence"),
        (lx.Sequences(jnp.zeros((2, 3), int), lengths=jnp.array([3])), "lengths must have shape"),
        (lx.Sequences(jnp.zeros(3, int), starts=jnp.zeros(2, bool)), "starts must have shape"),
        (lx.Labelled(jnp.zeros(3, int), jnp.zeros(2, int)), "labels must be integers of shape"),
        (lx.Labelled(jnp.zeros(3, int), jnp.full(3, 2)), "labels must lie in 0..1"),
        (jnp.zeros(3), "must be integer codes"),
    ],
    ids=["scalar", "lengths", "starts", "labels", "label range", "dtype"],
)
def test_bad_input_is_one_clear_sentence(x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        lx.fit.em(CLINIC, x)


def test_sample_needs_a_length():
    with pytest.raises(ValueError, match="must end in the number of steps"):
        CLINIC.sample(jax.random.key(0), ())
