"""States with a history, and data that arrive one at a time."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import datasets, hmm

GNP = json.loads((Path(__file__).parents[1] / "reference" / "gnp.json").read_text())


def chain_of(seed, num_states=3, num_steps=6):
    rng = np.random.default_rng(seed)
    initial, moves = (
        rng.dirichlet(np.ones(num_states)),
        rng.dirichlet(np.ones(num_states), num_states),
    )
    return np.log(initial), np.log(moves), rng.normal(size=(num_steps, num_states)) * 2


def hamilton(estimates):
    """Hamilton's AR(4) of the growth of GNP, quarters from 1952 on: his data and model of 1989."""
    e = {name: jnp.asarray(value) for name, value in estimates.items()}
    moves = jnp.array([[e["p00"], 1 - e["p00"]], [e["p10"], 1 - e["p10"]]])
    lags = jnp.array([e["ar1"], e["ar2"], e["ar3"], e["ar4"]])
    log_lik = hmm.switching_mean(
        jnp.array(datasets.gnp().growth),
        jnp.array([e["low"], e["high"]]),
        lags,
        jnp.sqrt(e["variance"]),
    )
    return hmm.state_history(jnp.log(hmm.stationary(moves)), jnp.log(moves), log_lik)


def test_hamiltons_model_of_the_business_cycle():
    """statsmodels, and Hamilton's paper: log likelihood -181.26339."""
    chain = hamilton(GNP["estimates"])
    assert chain.log_lik.shape == (131, 32)
    assert float(hmm.log_partition(*chain[:3])) == pytest.approx(-181.26339, abs=2e-4)
    smoothed = hmm.smoother(*chain[:3]).log_marginals
    np.testing.assert_allclose(np.exp(chain.marginal(smoothed)[:, 0]), GNP["recession"], atol=1e-4)
    # the state of the quarter before is that quarter's state
    before = np.exp(chain.marginal(smoothed, 1)[1:, 0])
    np.testing.assert_allclose(before, np.exp(chain.marginal(smoothed)[:-1, 0]), atol=1e-5)


@pytest.mark.slow
def test_hamiltons_estimates_are_a_maximum():
    with jax.enable_x64(True):
        slope = jax.grad(lambda e: hmm.log_partition(*hamilton(e)[:3]))(GNP["estimates"])
    assert max(abs(float(s)) for s in slope.values()) < 2e-2


@pytest.mark.parametrize("history", [0, 1, 2])
def test_a_history_is_summed_over_all_paths(history):
    rng = np.random.default_rng(history)
    initial, moves, _ = chain_of(history, num_states=2)
    log_lik = rng.normal(size=(4, *(2,) * (1 + history)))
    chain = hmm.state_history(initial, moves, log_lik.astype(np.float32))
    total = -np.inf
    for path in itertools.product(range(2), repeat=4 + history):
        score = initial[path[0]] + sum(moves[i, j] for i, j in itertools.pairwise(path))
        for t in range(4):
            now = path[t : t + history + 1][::-1]  # this state first, then those before it
            score += log_lik[(t, *now)]
        total = np.logaddexp(total, score)
    assert float(hmm.log_partition(*chain[:3])) == pytest.approx(total, rel=1e-5)
    assert chain.sizes == (2,) * (1 + history)


def test_switching_means_are_normal_densities():
    rng = np.random.default_rng(0)
    values, loc, share, scale = rng.normal(size=6), [0.5, -1.0], [0.4, -0.3], [0.7, 1.5]
    got = hmm.switching_mean(*(jnp.array(v) for v in (values, loc, share, scale)))
    assert got.shape == (4, 2, 2, 2)
    for t, (i, j, k) in itertools.product(range(4), itertools.product(range(2), repeat=3)):
        mean = loc[i] + share[0] * (values[t + 1] - loc[j]) + share[1] * (values[t] - loc[k])
        want = stats.norm.logpdf(values[t + 2], mean, scale[i])
        assert float(got[t, i, j, k]) == pytest.approx(want, abs=2e-5)
    plain = hmm.switching_mean(jnp.array(values), jnp.array(loc), jnp.zeros(0), 2.0)
    want = stats.norm.logpdf(values[:, None], np.array(loc), 2.0)
    np.testing.assert_allclose(plain, want, rtol=1e-5)


def test_wrong_shapes_are_named():
    initial, moves, log_lik = chain_of(0)
    with pytest.raises(ValueError, match="state_history: wanted"):
        hmm.state_history(initial, moves, log_lik[:, :2])
    with pytest.raises(ValueError, match="state_history: wanted"):
        hmm.state_history(initial, moves[:2], log_lik)
    with pytest.raises(ValueError, match="switching_mean: wanted"):
        hmm.switching_mean(np.zeros(3), np.zeros(2), np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        hmm.switching_mean(np.zeros(3), np.zeros(2), np.zeros(1), 0.0)
    with pytest.raises(ValueError, match=r"log_lik must have shape \(K,\)"):
        hmm.filter_step(initial, moves, log_lik)


def test_increments_are_differences_of_log_probabilities():
    initial, moves, log_lik = chain_of(1)
    starts = np.array([True, False, False, True, False, False])
    got = hmm.filter(initial, moves, log_lik, length=5, starts=starts)
    for t in range(6):
        upto = [
            float(hmm.log_partition(initial, moves, log_lik, length=n, starts=starts))
            for n in (min(t, 5), min(t + 1, 5))
        ]
        assert float(got.log_increments[t]) == pytest.approx(upto[1] - upto[0], abs=1e-5)
    assert float(got.log_increments.sum()) == pytest.approx(float(got.log_prob), rel=1e-6)
    log_lik[2] = -np.inf
    impossible = hmm.filter(initial, moves, log_lik)
    assert np.isfinite(impossible.log_increments[:2]).all()
    assert (impossible.log_increments[2:] == -np.inf).all()


def test_steps_are_the_filter():
    initial, moves, log_lik = chain_of(2)
    whole = hmm.filter(initial, moves, log_lik)

    def step(state, row):
        found = hmm.filter_step(state, moves, row)
        return found.log_predicted, found

    _, found = jax.lax.scan(step, jnp.asarray(initial, jnp.float32), jnp.float32(log_lik))
    np.testing.assert_allclose(found.log_filtered, whole.log_filtered, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.log_increment, whole.log_increments, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.log_predicted[:-1], whole.log_predicted[1:], rtol=1e-4, atol=1e-5
    )
    lost = hmm.filter_step(initial, moves, np.full(3, -np.inf))
    assert all((part == -np.inf).all() for part in lost)


@pytest.mark.parametrize("vary", [False, True])
def test_backward_messages_make_marginals_of_filtered_ones(vary):
    initial, moves, log_lik = chain_of(3)
    if vary:
        moves = np.log(np.random.default_rng(4).dirichlet(np.ones(3), (5, 3)))
    for options in (
        {},
        {"length": 4},
        {"starts": np.array([True, False, True, False, False, True])},
    ):
        messages = hmm.backward(initial, moves, log_lik, **options)
        ahead = hmm.filter(initial, moves, log_lik, **options)
        want = hmm.smoother(initial, moves, log_lik, **options).log_marginals
        got = np.asarray(ahead.log_filtered + messages)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    # by hand: the data after the last step but one
    messages = np.asarray(hmm.backward(initial, moves, log_lik))
    last = moves[-1] if vary else moves
    here = np.log(np.exp(last + log_lik[-1]).sum(axis=1))
    np.testing.assert_allclose(messages[-2] - messages[-2, 0], here - here[0], atol=1e-5)
    assert (messages[-1] == 0).all()
    log_lik[1] = -np.inf
    assert (hmm.backward(initial, moves, log_lik) == -np.inf).any()


def test_one_path_and_no_lag_are_the_plain_kernels():
    potentials = chain_of(5)
    path, score = hmm.viterbi(*potentials)
    paths, scores = hmm.top_k_paths(*potentials, 1)
    assert paths.tolist() == [path.tolist()]
    assert float(scores[0]) == pytest.approx(float(score), rel=1e-6)
    got = hmm.fixed_lag_smoother(*potentials, lag=0)
    np.testing.assert_allclose(got, hmm.filter(*potentials).log_filtered, atol=1e-5)
