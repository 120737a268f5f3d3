"""The stationary distribution, and chains that start in it or in a fixed one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import hmm
from likelax.hmm.stationarity import m_step


def by_eigenvector(transition):
    values, vectors = np.linalg.eig(np.asarray(transition).T)
    probs = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return probs / probs.sum()


def test_stationary_distribution_and_its_derivative(x64):
    """Against an eigenvector; the derivative of pi(P / row sums) by differences."""
    rng = np.random.default_rng(0)
    moves = rng.dirichlet(np.full(4, 0.5), 4)
    pull = jax.jit(jax.grad(lambda p, w: jnp.vdot(w, hmm.stationary(p / p.sum(1, keepdims=True)))))
    np.testing.assert_allclose(hmm.stationary(moves), by_eigenvector(moves), rtol=1e-10)
    weights = rng.normal(size=4)
    got = pull(moves, weights)
    for i, j in np.ndindex(4, 4):
        ends = []
        for sign in (1, -1):
            near = moves.copy()
            near[i, j] += sign * 1e-5
            ends.append(weights @ by_eigenvector(near / near.sum(1, keepdims=True)))
        np.testing.assert_allclose(got[i, j], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-7)


def test_rare_states_keep_their_digits_in_float32():
    """A birth and death chain has pi[k+1] / pi[k] = up[k] / down[k+1]: here 1e-6 a step."""
    moves = np.diag([5e-7] * 4, 1) + np.diag([0.5] * 4, -1)
    moves = (moves + np.diag(1 - moves.sum(1))).astype(np.float32)
    probs = np.asarray(hmm.stationary(moves), np.float64)
    np.testing.assert_allclose(probs[1:] / probs[:-1], 1e-6, rtol=1e-5)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [2, 1, 0]])
def test_states_that_are_left_for_good_have_zero(order):
    one_way = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])[order][:, order]
    np.testing.assert_array_equal(hmm.stationary(one_way), (np.array(order) == 2) * 1.0)


def test_several_closed_sets_have_no_one_answer():
    assert np.all(np.isnan(hmm.stationary(np.eye(2))))
    model = lx.HMM(None, jnp.eye(2), lx.Poisson(jnp.array([1.0, 2.0])))
    assert lx.fit.em(model, jnp.array([1, 2])).status == lx.fit.Status.NON_FINITE


def test_m_step_of_a_stationary_chain_finds_the_maximum(x64):
    """Against a search from SciPy over softmax logits; many short sequences, so starts matter."""
    from scipy import optimize

    rng = np.random.default_rng(1)
    counts, starts = rng.gamma(2.0, 3.0, (3, 3)), np.array([30.0, 5.0, 1.0])

    def objective(moves):
        return np.sum(counts * np.log(moves)) + starts @ np.log(by_eigenvector(moves))

    def loss(logits):
        moves = np.exp(logits.reshape(3, 3))
        return -objective(moves / moves.sum(1, keepdims=True))

    best = optimize.minimize(loss, np.zeros(9), method="BFGS")
    step = jax.jit(m_step)
    moves = rng.dirichlet(np.ones(3), 3)
    values = [objective(moves)]
    for _ in range(20):
        moves = np.asarray(step(counts, starts, moves))
        values.append(objective(moves))
    assert np.all(np.diff(values) >= -1e-9)
    np.testing.assert_allclose(values[-1], -best.fun, atol=1e-6)


def test_gradient_flows_through_the_stationary_start(x64):
    """The same as giving the eigenvector by hand and differentiating that too, by differences."""
    x = jnp.array([0, 2, 1, 5, 4])
    emissions = lx.Poisson(jnp.array([1.0, 4.0]))
    moves = np.array([[0.8, 0.2], [0.3, 0.7]])
    tilt = np.array([[1.0, -1.0], [0.0, 0.0]])
    run = jax.jit(jax.value_and_grad(lambda p: lx.HMM(None, p, emissions).log_prob(x)))
    given = jax.jit(lambda start, p: lx.HMM(start, p, emissions).log_prob(x))

    def by_hand(p):
        return float(given(by_eigenvector(p), p))

    value, gradient = run(moves)
    np.testing.assert_allclose(value, by_hand(moves), rtol=1e-12)
    got = np.vdot(gradient, tilt)
    want = (by_hand(moves + 1e-6 * tilt) - by_hand(moves - 1e-6 * tilt)) / 2e-6
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("num_states", "published"),
    [pytest.param(2, -342.3183, marks=pytest.mark.slow), (3, -329.4603)],
)
def test_stationary_earthquakes_reach_the_published_likelihood(x64, num_states, published):
    """Zucchini & MacDonald (2009), table 3.1: direct maximisation of the stationary likelihood."""
    counts = lx.datasets.earthquakes().counts
    rates = jnp.linspace(13.0, 30.0, num_states)
    stay = 0.8 * jnp.eye(num_states) + 0.2 / num_states
    fit = lx.fit.em(lx.HMM(None, stay, lx.Poisson(rates)), counts, tol=1e-9)
    assert fit.usable and np.all(np.diff(fit.objectives) >= 0)
    np.testing.assert_allclose(fit.objective, published, atol=1e-3)
    assert lx.fit.num_parameters(fit.model) == num_states**2


def test_a_fixed_start_and_fixed_transitions_stay():
    x = jnp.array([[0, 2, 1, 5, 4], [3, 3, 0, 1, 0]])
    moves, start = jnp.array([[0.8, 0.2], [0.3, 0.7]]), jnp.array([0.9, 0.1])
    model = lx.HMM(lx.Fixed(start), moves, lx.Poisson(jnp.array([1.0, 4.0])))
    run = jax.jit(lambda m: (jax.grad(lambda m: m.log_prob(x).sum())(m), m.m_step(m.e_step(x)[0])))
    slope, stepped = run(model)
    np.testing.assert_array_equal(slope.initial.model, [0, 0])
    np.testing.assert_array_equal(stepped.initial.model, start)
    assert np.all(slope.transition != 0) and not np.allclose(stepped.transition, moves)
    slope, stepped = run(lx.HMM(start, lx.Fixed(moves), model.emissions))
    np.testing.assert_array_equal(slope.transition.model, np.zeros((2, 2)))
    np.testing.assert_array_equal(stepped.transition.model, moves)
    assert np.all(slope.initial != 0) and not np.allclose(stepped.initial, start)


def test_a_prior_of_a_stationary_start_is_refused():
    model = lx.HMM(None, jnp.full((2, 2), 0.5), lx.Poisson(jnp.array([1.0, 4.0])))
    with pytest.raises(ValueError, match="stationary start is no parameter"):
        model.m_step(model.e_step(jnp.array([1, 4]))[0], lx.HMMPrior(lx.Dirichlet(jnp.ones(2))))


@pytest.mark.parametrize(
    "transition, want",
    [
        ([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.4, 0.6]], [0, 1 / 3, 2 / 3]),
        ([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [np.nan] * 3),
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], [0.5, 0.5, 0]),
        ([[0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]], [np.nan] * 3),
    ],
    ids=["one closed set", "two absorbing", "a cycle", "two parts"],
)
def test_states_that_are_left_for_good_have_no_share(transition, want):
    got = lx.hmm.stationary(jnp.array(transition))
    np.testing.assert_allclose(got, want, atol=1e-6)
