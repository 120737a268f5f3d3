"""Where other libraries go wrong, in float32: zeros, far-apart likelihoods, length, padding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax._chains import chain
from likelax.hmm import decoding, inference, paths
from reference import enumeration
from reference.chains import chains

INF = np.inf
HALF = np.log([0.5, 0.5])
KEEP = np.array([[0.0, -INF], [-INF, 0.0]])
MIX = np.log([[0.9, 0.1], [0.2, 0.8]])


jit_log_partition = jax.jit(inference.log_partition)
jit_value_and_grad = jax.jit(jax.value_and_grad(inference.log_partition, (0, 1, 2)))
jit_smoother = jax.jit(inference.smoother)


def unit_normals(locs, x):
    return -0.5 * np.log(2 * np.pi) - 0.5 * (np.asarray(x)[:, None] - np.asarray(locs)) ** 2


CASES = {
    "a sequence that no path can produce": (HALF, KEEP, [[0, -INF], [-INF, 0], [0, 0]], -INF),
    "a reachable state 200 nats behind an unreachable one": (
        [0, -INF],
        [[0, -INF], [0, -INF]],
        [[0, -INF], [-200, 0]],
        -200,
    ),
    "one step, 200 nats behind a state that nothing reaches": (
        [0, -INF],
        [[0, -INF], [0, -INF]],
        [[-200, 0]],
        -200,
    ),
    "a left-right chain": (
        [0, -INF, -INF],
        [[-INF, 0, -INF], [-INF, -INF, 0], [-INF, -INF, 0]],
        [[-100, 0, 0], [0, -100, 0], [0, 0, -100]],
        -300,
    ),
    "Normal(20, 1) against Normal(0, 1), identity transition": (
        HALF,
        KEEP,
        unit_normals([0, 20], [0, 0, 20]) - [[0, 0], [0, 0], [400, 0]],
        None,
    ),
    "unit normals at 0 and 1": (HALF, MIX, unit_normals([0, 1], [0.5, 20, 0.3]), None),
    "one state": ([0.0], [[0.0]], [[-1.0], [-2.0]], -3.0),
    "one step": (HALF, MIX, [[-1.0, -2.0]], np.log(0.5 * np.exp(-1) + 0.5 * np.exp(-2))),
    "all steps missing": (HALF, MIX, np.zeros((4, 2)), 0.0),
}


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", CASES)
def test_right_where_others_are_wrong_with_finite_derivatives(every_program, name):
    *potentials, want = CASES[name]
    potentials = tuple(np.asarray(p, np.float32) for p in potentials)
    every = enumeration.enumerate_paths(*potentials)
    truth = enumeration.log_prob(every)
    if want is not None:
        np.testing.assert_allclose(truth, want, rtol=1e-6, atol=1e-6)
    value, grads = jit_value_and_grad(*potentials)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, truth, rtol=1e-6, atol=1e-6)
    marginals = np.exp(enumeration.log_marginals(every))
    pairs = np.exp(enumeration.log_pairwise(every)).sum(0)
    for got, expected in zip(grads, (marginals[0], pairs, marginals), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_far_apart_normals_have_the_published_value():
    x, locs = np.float32([0.0, 0.0, 20.0]), jnp.array([0.0, 20.0])

    def log_prob(locs, x):
        log_lik = -0.5 * jnp.log(2 * jnp.pi) - 0.5 * (x[:, None] - locs[None]) ** 2
        return inference.log_partition(HALF, KEEP, log_lik)

    value, grad = jax.jit(jax.value_and_grad(log_prob))(locs, x)
    truth = np.logaddexp(*(np.log(0.5) - 0.5 * np.sum((x - m) ** 2) for m in (0.0, 20.0)))
    np.testing.assert_allclose(value, truth - 1.5 * np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(grad, [20.0, 0.0], atol=1e-4)


@pytest.mark.parametrize("parallel", [None, True])
def test_million_steps_in_float32_are_within_a_tenth_of_a_nat(parallel):
    rng = np.random.default_rng(0)
    potentials = (
        np.log(rng.dirichlet(np.ones(4))),
        np.log(rng.dirichlet(np.ones(4), 4)),
        rng.normal(size=(1_000_000, 4)) - 1,
    )
    narrow = tuple(np.float32(p) for p in potentials)
    got = float(inference.log_partition(*narrow, parallel=parallel))
    with jax.enable_x64(True):
        want = float(jax.jit(inference.log_partition)(*(np.float64(p) for p in narrow)))
    # the spacing of float32 numbers is 0.06 at 1e6: half of it cannot be had back
    assert abs(got - want) < 0.1


def total(potentials, known):
    """The part of log_partition that derivatives are asked for: -inf rows add nothing."""
    return inference.log_partition(*potentials, **known)


@pytest.mark.parametrize("varying", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradient_is_the_posterior_and_hessian_its_covariance(x64, every_program, varying):
    each, stacked = chains(3, 2, varying=varying, seeds=range(16))
    potentials, known = jax.tree.map(jnp.asarray, stacked)
    grads = jax.jit(jax.vmap(jax.grad(total)))(potentials, known)
    hessians = jax.jit(jax.vmap(jax.hessian(lambda lik, p, k: total((*p[:2], lik), k))))(
        potentials[2], potentials, known
    )
    for n, (one, what) in enumerate(each):
        every = enumeration.enumerate_paths(*one, **what)
        marginals, pairs = enumeration.log_marginals(every), enumeration.log_pairwise(every)
        moves = np.exp(pairs) if varying else np.exp(pairs).sum(0)
        length = int(what["length"])
        if np.isfinite(enumeration.log_prob(every)):
            assert_near(grads[0][n], np.exp(marginals)[every.starts].sum(0))
            assert_near(grads[1][n], moves)
            assert_near(grads[2][n], np.exp(marginals))
            # covariance of the indicators [z_t = k]
            shares = np.exp(every.log_joint - enumeration.log_prob(every))
            uses = np.zeros((len(shares), 3, 2))
            for t in range(length):
                uses[np.arange(len(shares)), t, every.paths[:, t]] = 1
            flat = uses.reshape(len(shares), 6)
            second = (flat * shares[:, None]).T @ flat
            mean = shares @ flat
            assert_near(hessians[n].reshape(6, 6), second - np.outer(mean, mean))
    assert all(np.all(np.isfinite(g)) for g in (*grads, hessians))


def assert_near(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_forward_mode_is_the_transpose_of_reverse_mode(x64):
    (potentials, known), *_ = chains(5, 3, varying=False, seeds=[5])[0]
    potentials = jax.tree.map(jnp.asarray, potentials)
    rng = np.random.default_rng(0)
    tangents = tuple(jnp.asarray(rng.normal(size=p.shape)) for p in potentials)
    forward = jax.jit(lambda p, t: jax.jvp(lambda q: total(q, known), (p,), (t,)))
    _, dot = forward(potentials, tangents)
    grads = jax.jit(jax.grad(total))(potentials, known)
    assert_near(dot, sum(jnp.vdot(g, t) for g, t in zip(grads, tangents, strict=True)))


def test_padding_is_never_read_and_starts_split_the_sum(every_program):
    rng = np.random.default_rng(0)
    log_lik = rng.normal(size=(7, 2)).astype(np.float32)
    padded = np.concatenate([log_lik, np.full((3, 2), np.nan, np.float32)])
    alone = jit_smoother(HALF, MIX, log_lik)
    got = jit_smoother(HALF, MIX, padded, length=7)
    np.testing.assert_allclose(got.log_prob, alone.log_prob, rtol=1e-6)
    np.testing.assert_allclose(got.log_marginals[:7], alone.log_marginals, rtol=1e-5)
    np.testing.assert_allclose(got.transition_counts, alone.transition_counts, rtol=1e-5)
    assert np.all(np.isneginf(got.log_marginals[7:]))
    starts = np.arange(7) == 4
    parts = [jit_log_partition(HALF, MIX, part) for part in (log_lik[:4], log_lik[4:])]
    whole = jit_log_partition(HALF, MIX, log_lik, starts=starts)
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-6)
    beyond = jit_log_partition(HALF, MIX, log_lik, length=99)
    np.testing.assert_allclose(beyond, alone.log_prob, rtol=1e-6)


def test_a_length_that_is_traced_is_clamped():
    potentials = HALF, MIX, np.float32([[1.0, 2.0], [3.0, 4.0]])
    whole = jit_log_partition(*potentials)
    np.testing.assert_array_equal(jit_log_partition(*potentials, length=9), whole)
    assert jit_log_partition(*potentials, length=-1) == 0


@pytest.mark.parametrize("moves", [(3, 3), (0, 3, 3)])
def test_one_step_needs_no_transition(every_program, moves):
    """A chain of one step is a mixture, whatever the transition's shape."""
    initial, log_lik = np.log(np.float32([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]))
    args = initial, np.zeros(moves, np.float32), log_lik[None]
    joint = np.float64([0.2, 0.3, 0.5]) * [0.6, 0.1, 0.3]
    log_prob, post = np.log(joint.sum()), np.log(joint / joint.sum())
    np.testing.assert_allclose(inference.log_partition(*args), log_prob, rtol=1e-6)
    smoothed, filtered = inference.smoother(*args), inference.filter(*args)
    np.testing.assert_allclose(smoothed.log_marginals[0], post, rtol=1e-5)
    np.testing.assert_allclose(smoothed.initial_counts, np.exp(post), rtol=1e-5)
    np.testing.assert_array_equal(smoothed.transition_counts, np.zeros((3, 3)))
    np.testing.assert_allclose(filtered.log_filtered[0], post, rtol=1e-5)
    np.testing.assert_allclose([smoothed.log_prob, filtered.log_prob], log_prob, rtol=1e-6)
    lagged = inference.fixed_lag_smoother(*args, lag=1)
    np.testing.assert_allclose(lagged[0], post, rtol=1e-5)
    assert inference.pairwise(*args).shape == (0, 3, 3)
    path, score = decoding.viterbi(*args)
    np.testing.assert_array_equal(path, [2])
    np.testing.assert_allclose(score, np.log(joint.max()), rtol=1e-6)
    entropy = -np.sum(np.exp(post) * post)
    np.testing.assert_allclose(paths.path_entropy(*args), entropy, rtol=1e-5)
    best, scores = paths.top_k_paths(*args, 2)
    np.testing.assert_array_equal(best, [[2], [0]])
    np.testing.assert_allclose(scores, np.log([0.15, 0.12]), rtol=1e-5)
    assert paths.sample_paths(jax.random.key(0), *args, 5).shape == (5, 1)
    slopes = jax.grad(inference.log_partition, (0, 1, 2))(*args)
    np.testing.assert_allclose(slopes[0], np.exp(post), rtol=1e-5)
    np.testing.assert_array_equal(slopes[1], np.zeros(moves))


@pytest.mark.parametrize("size", [1, 31, 33, 70_000])
def test_sums_of_increments_keep_their_digits(size):
    rng = np.random.default_rng(size)
    terms = (rng.normal(size=size) * 10.0 ** rng.integers(-3, 4, size)).astype(np.float32)
    terms[0] = 1e5
    c = chain.chain(HALF, MIX, np.zeros((size, 2)), None, None)
    got = jax.jit(chain.total)(c, terms)
    want = math.fsum(terms.astype(float))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * np.abs(terms).sum() ** 0.5)
    terms[-1] = -INF
    assert jax.jit(chain.total)(c, terms) == -INF


def test_relabelling_the_states_changes_nothing_else():
    rng = np.random.default_rng(1)
    initial, move = np.log(rng.dirichlet(np.ones(3))), np.log(rng.dirichlet(np.ones(3), 3))
    log_lik, order = rng.normal(size=(9, 3)), np.array([2, 0, 1])
    post = jit_smoother(initial, move, log_lik)
    again = jit_smoother(initial[order], move[order][:, order], log_lik[:, order])
    np.testing.assert_allclose(again.log_prob, post.log_prob, rtol=1e-5)
    np.testing.assert_allclose(again.log_marginals, post.log_marginals[:, order], rtol=1e-3)


def test_no_potential_of_size_time_by_states_squared_is_stored():
    num_steps, num_states = 64, 17
    args = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((17,), (17, 17), (64, 17))]
    text = str(jax.make_jaxpr(jax.grad(inference.log_partition, (0, 1, 2)))(*args))
    for rows in (num_steps, num_steps - 1):
        assert f"[{rows},{num_states},{num_states}]" not in text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"log_lik": np.zeros((2, 4, 2))}, "use jax.vmap for a batch of sequences"),
        ({"log_initial": np.zeros(3)}, r"log_initial must have shape \(K,\) = \(2,\)"),
        ({"log_transition": np.zeros((4, 2, 2))}, r"\(T-1, K, K\) = \(3, 2, 2\)"),
        ({"length": np.zeros(2, int)}, "one length per sequence"),
        ({"length": 2.0}, "length must be a scalar integer"),
        ({"length": -1}, r"length must lie in 0..T = 0..4, got -1"),
        ({"length": np.int32(5)}, r"length must lie in 0..T = 0..4, got 5"),
        ({"starts": np.zeros(3, bool)}, r"starts must be booleans of shape \(T,\) = \(4,\)"),
        ({"starts": np.zeros(4, int)}, "starts must be booleans"),
    ],
)
def test_wrong_shapes_are_refused_by_name(kwargs, message):
    good = {"log_initial": HALF, "log_transition": MIX, "log_lik": np.zeros((4, 2))}
    with pytest.raises(ValueError, match=message):
        inference.log_partition(**{**good, **kwargs})


def test_forecast_is_a_power_of_the_transition_matrix():
    got = np.exp(inference.forecast(np.float32([0, -INF]), MIX, 3))
    powers = [np.linalg.matrix_power(np.exp(MIX), h)[0] for h in (1, 2, 3)]
    np.testing.assert_allclose(got, powers, rtol=1e-5)


def test_gradients_pass_through_posteriors(x64, every_program):
    """A loss of smoothed, filtered and pairwise posteriors, by differences; a zero keeps zero."""
    rng = np.random.default_rng(4)
    move = np.log(np.where(np.eye(3) + np.eye(3, k=1) > 0, rng.dirichlet(np.ones(3), 3), 1e-300))
    move = np.where(move < -600, -INF, move)
    log_lik, pull = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    start = np.log([0.5, 0.3, 0.2])

    def loss(log_lik, move):
        post = inference.smoother(start, move, log_lik)
        ahead = inference.filter(start, move, log_lik)
        pairs = inference.pairwise(start, move, log_lik)
        parts = jnp.exp(post.log_marginals), jnp.exp(ahead.log_predicted)
        return sum(jnp.vdot(pull, p) for p in parts) + jnp.vdot(pull[:4], jnp.exp(pairs)[:, 0])

    run = jax.jit(jax.value_and_grad(loss, (0, 1)))
    by_lik, by_move = run(log_lik, move)[1]
    assert np.all(np.isfinite(by_move)) and np.all(by_move[np.isneginf(move)] == 0)
    for t, k in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[t, k] = 1e-5
        gap = run(log_lik + step, move)[0] - run(log_lik - step, move)[0]
        np.testing.assert_allclose(by_lik[t, k], gap / 2e-5, rtol=1e-5, atol=1e-8)
