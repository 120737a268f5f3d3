"""Transitions of a given form: banded, sticky, driven by inputs."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import hmm
from reference import enumeration


def test_banded_chains_reach_their_neighbours_and_stay_banded_under_em():
    moves = hmm.banded(4, 0.7, up=2, down=1)
    np.testing.assert_allclose(moves.sum(1), 1, rtol=1e-6)
    reach = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(moves > 0, reach)
    model = lx.HMM(jnp.full(4, 0.25), moves, lx.Poisson(jnp.array([1.0, 3.0, 6.0, 9.0])))
    fit = lx.fit.em(model, jnp.array([0, 2, 3, 7, 10, 4, 2, 1]), max_steps=5)
    assert np.all(np.asarray(fit.model.transition)[~reach] == 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hmm.banded(3, 1.2), r"stay must be in \[0, 1\], got 1.2"),
        (lambda: hmm.banded(3, 0.5, up=-1), "up must be at least 0, got -1"),
    ],
)
def test_impossible_bands_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sticky_prior_adds_stays(x64):
    """By hand: mode of Dirichlet(counts + concentration + extra on the diagonal)."""
    prior = hmm.sticky(2, jnp.array([3.0, 1.0]), 2.0)
    model = lx.HMM(jnp.array([0.5, 0.5]), jnp.full((2, 2), 0.5), lx.Poisson(jnp.array([1.0, 4.0])))
    x = lx.Labelled(jnp.array([0, 1, 5, 6, 0]), jnp.array([0, 0, 1, 1, 0]))
    fitted = lx.fit.mle(model, x, prior=lx.HMMPrior(transition=prior))
    # counts [[1, 1], [1, 1]], plus concentration - 1 = [[4, 1], [1, 2]]
    np.testing.assert_allclose(fitted.transition, [[5 / 7, 2 / 7], [2 / 5, 3 / 5]], rtol=1e-12)


def driven(seed, num_states=2, num_inputs=1):
    rng = np.random.default_rng(seed)
    bias = rng.normal(size=(num_states, num_states))
    weights = rng.normal(size=(num_states, num_states, num_inputs))
    return lx.HMM(
        jnp.full(num_states, 1 / num_states),
        hmm.SoftmaxTransition(jnp.asarray(bias), jnp.asarray(weights)),
        lx.Normal(jnp.asarray(3.0 * np.arange(num_states)), jnp.ones(num_states)),
    )


def test_driven_transitions_are_those_of_each_step(x64):
    """By enumeration, with a move that can never be made; the input of the first step is unread."""
    rng = np.random.default_rng(0)
    model, x, inputs = driven(0), rng.normal(size=5), rng.normal(size=(5, 1))
    bias = model.transition.bias.at[1, 0].set(-jnp.inf)
    model = lx.HMM(
        model.initial, hmm.SoftmaxTransition(bias, model.transition.weights), model.emissions
    )
    scores = (
        np.asarray(bias)[None] + inputs[1:, None, :] * np.asarray(model.transition.weights)[..., 0]
    )
    probs = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    with np.errstate(divide="ignore"):
        log_moves = np.log(probs)
    every = enumeration.enumerate_paths(
        np.log([0.5, 0.5]), log_moves, np.asarray(model.emission_log_prob(x))
    )
    run = jax.jit(lambda m, x: (m.log_prob(x), m.smoother(x).log_marginals))
    log_prob, marginals = run(model, lx.Driven(x, inputs))
    np.testing.assert_allclose(log_prob, enumeration.log_prob(every), rtol=1e-12)
    np.testing.assert_allclose(marginals, enumeration.log_marginals(every), rtol=1e-10, atol=1e-12)
    inputs[0] = np.nan
    np.testing.assert_allclose(run(model, lx.Driven(x, inputs))[0], log_prob, rtol=1e-12)


def test_one_step_of_driven_data_has_no_moves():
    model = driven(0)
    x = lx.Driven(np.array([0.3]), np.array([[2.0]]))
    stats, log_prob = model.e_step(x)
    np.testing.assert_allclose(log_prob, model.log_prob(x))
    assert not np.any(stats.transition.slope) and not np.any(stats.transition.gram)
    chex.assert_trees_all_equal(model.m_step(stats).transition, model.transition)


@pytest.mark.slow
def test_em_of_driven_transitions_rises_to_where_the_gradient_vanishes(x64):
    """Fisher's identity: a fixed point of EM has gradient zero. Ragged batch, float64."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(4, 80, 1))
    truth = driven(2)
    states = jax.vmap(lambda k, u: truth.sample(k, (80,), u))
    x = states(jax.random.split(jax.random.key(0), 4), inputs)
    data = lx.Driven(lx.Sequences(x, lengths=jnp.array([80, 50, 60, 80])), inputs)
    fit = lx.fit.em(driven(3), data, max_steps=400, tol=1e-13)
    assert np.all(np.diff(fit.objectives) >= 0)
    assert fit.objective > fit.objectives[0] + 1
    slope = jax.jit(jax.grad(lambda m: m.log_prob(data).sum()))(fit.model)
    # in units of nats over a change of one in a log odds
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(slope.transition)) < 1e-2


@pytest.mark.parametrize(
    ("offset", "unit"), [(100.0, 1.0), (1000.0, 1.0), (-3.0, 1e-4), (0.0, 1e6)]
)
def test_driven_transitions_do_not_depend_on_origin_or_unit_of_the_inputs(offset, unit):
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(200, 1)).astype(np.float32)
    truth = driven(5)
    x = truth.sample(jax.random.key(0), (200,), inputs)
    moves = hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.zeros((2, 2, 1)))
    start = lx.HMM(truth.initial, moves, truth.emissions)
    # a transition alone, so that every start ends at one optimum
    plain = lx.fit.em(start, lx.Driven(x, inputs), max_steps=100)
    moved = lx.fit.em(start, lx.Driven(x, np.float32(unit * (inputs + offset))), max_steps=100)
    assert plain.objective > plain.objectives[0] + 5
    np.testing.assert_allclose(moved.objective, plain.objective, rtol=0, atol=2e-3)
    # only differences between moves from one state tell
    slopes = [
        unit * np.diff(moved.model.transition.weights, axis=1),
        np.diff(plain.model.transition.weights, axis=1),
    ]
    np.testing.assert_allclose(*slopes, rtol=2e-3, atol=2e-3)


def test_statistics_of_driven_moves_add_about_a_common_center(x64):
    rng = np.random.default_rng(0)
    moves = hmm.SoftmaxTransition(jnp.asarray(rng.normal(size=(2, 2))), jnp.ones((2, 2, 3)))
    pairs = jnp.log(rng.dirichlet(np.ones(4), size=9).reshape(9, 2, 2))
    inputs, weights = 50 + rng.normal(size=(9, 3)), rng.uniform(size=9)
    weights[2:4] = 0
    whole = moves.statistics(pairs, inputs, weights)
    parts = [
        moves.statistics(pairs[s], inputs[s], weights[s]) for s in map(slice, (0, 2, 4), (2, 4, 9))
    ]
    added = functools.reduce(lx.statistics.add, parts)
    chex.assert_trees_all_close(added, whole, rtol=1e-9, atol=1e-9)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    merged = jax.vmap(lambda part: lx.statistics.merge(part, "parts"), axis_name="parts")(stacked)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], merged), whole, rtol=1e-9, atol=1e-9)
    twice = lx.statistics.add(whole, whole)
    chex.assert_trees_all_close(twice, lx.statistics.scale(whole, 2.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.log_prob(jnp.zeros(4)), "give the data as Driven"),
        (
            lambda m: m.log_prob(lx.Driven(jnp.zeros(4), jnp.zeros((3, 1)))),
            "inputs must have shape",
        ),
        (lambda m: m.log_prob(lx.Driven(jnp.zeros(4), jnp.zeros((4, 2)))), r"\(\.\.\., 1\)"),
        (lambda m: m.forecast(lx.Driven(jnp.zeros(4), jnp.zeros((4, 1))), 2), "not known"),
    ],
    ids=["no inputs", "other length", "other D", "forecast"],
)
def test_wrong_inputs_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(driven(0))


def test_inputs_without_a_driven_transition_are_refused():
    model = lx.HMM(jnp.array([0.5, 0.5]), jnp.eye(2), lx.Poisson(jnp.array([1.0, 4.0])))
    with pytest.raises(ValueError, match="need a SoftmaxTransition"):
        model.log_prob(lx.Driven(jnp.zeros(4, int), jnp.zeros((4, 1))))


@pytest.mark.parametrize("up, down", [(1, 1), (2, 0), (0, 2), (3, 2)])
def test_a_band_reaches_as_far_as_it_says_on_both_sides(up, down):
    got = np.asarray(lx.hmm.banded(6, 0.6, up=up, down=down))
    for i in range(6):
        others = [j for j in range(6) if j != i and i - down <= j <= i + up]
        want = np.zeros(6)
        want[others] = 0.4 / len(others) if others else 0.0
        want[i] = 0.6 if others else 1.0
        np.testing.assert_allclose(got[i], want, rtol=1e-6)


def test_steps_with_inputs_that_are_no_numbers_are_not_possible():
    transition = hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.zeros((2, 2, 2)))
    model = hmm.HMM(jnp.array([0.5, 0.5]), transition, lx.Poisson(jnp.array([1.0, 4.0])))
    inputs = np.zeros((2, 3, 2), np.float32)
    inputs[1, 1, 0] = np.nan
    assert model.possible(lx.Driven(np.ones((2, 3)), inputs)).tolist() == [True, False]


def test_each_sequence_may_be_drawn_with_inputs_of_its_own():
    inputs = np.sign(np.random.default_rng(0).normal(size=(3, 20, 1))).astype(np.float32)
    weights = jnp.tile(jnp.array([-50.0, 50.0])[None, :, None], (2, 1, 1))
    moves = hmm.SoftmaxTransition(jnp.zeros((2, 2)), weights)
    model = lx.HMM(jnp.array([0.5, 0.5]), moves, lx.Bernoulli(jnp.array([0.1, 0.9])))
    own = model.sample_labelled(jax.random.key(0), (3, 20), inputs)
    np.testing.assert_array_equal(own.labels[:, 1:], inputs[:, 1:, 0] > 0)
    shared = model.sample_labelled(jax.random.key(1), (3, 20), inputs[0])
    copies = np.broadcast_to(inputs[0], (3, 20, 1))
    copies = model.sample_labelled(jax.random.key(1), (3, 20), copies)
    np.testing.assert_array_equal(shared.labels, copies.labels)
    with pytest.raises(ValueError, match=r"inputs must have shape \(T, D\) or"):
        model.sample(jax.random.key(2), (3, 20), inputs[:2])
