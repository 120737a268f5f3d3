"""The certificate of the scaled recursion: a hunt for chains that it should not let through."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from likelax._chains import blocks, chain, dispatch, log_domain, products, rows, scaled
from likelax.hmm import decoding, inference
from reference.chains import chains

INF = np.inf
STEPS, STATES = 6, 3

# around the thresholds of float32: exp underflows at -87, the root is at -44, the floor at -33
EDGES = [
    -INF,
    0.0,
    -0.5,
    -3.0,
    -20.0,
    -31.0,
    -33.0,
    -40.0,
    -44.0,
    -60.0,
    -86.0,
    -88.0,
    -103.0,
    -1e4,
]
FAR = [*EDGES, 5.0, 60.0, 90.0, 1e4]


def log_potentials(shape, values):
    plain = st.floats(-3, 0, width=32)
    entries = st.one_of(plain, plain, st.sampled_from(values), st.floats(-100, 5, width=32))
    return hnp.arrays(np.float32, shape, elements=entries)


@functools.partial(jax.jit, static_argnums=2)
def scaled_and_certified(potentials, known, num_blocks=1):
    c = chain.hide_padding(chain.chain(*potentials, known["length"], known["starts"]))
    with mock.patch.object(blocks, "cut", lambda c: blocks.cut_into(c, num_blocks)):
        return _scaled_and_certified(c)


def _scaled_and_certified(c):
    ahead, both = scaled.filtered(c), scaled.posterior(c, in_logs=True)
    out, post = ahead.finish(), both.finish()
    ok = scaled.careful(ahead.evidence, c)
    both_ok = scaled.careful(both.evidence, c, both.both_ways)
    (filtered, predicted, marginals) = chain.blank(c, out.filtered, out.predicted, post.marginals)
    forward = (filtered, predicted, chain.total(c, out.increment))
    return forward, (marginals, post.counts), ok | ahead.plain, ok, both_ok


@jax.jit
def in_logs(potentials, known):
    c = chain.hide_padding(chain.chain(*potentials, known["length"], known["starts"]))
    out, post = log_domain.filtered(c), log_domain.posterior(c, in_logs=True)
    (filtered, predicted, marginals) = chain.blank(c, out.filtered, out.predicted, post.marginals)
    return (filtered, predicted, chain.total(c, out.increment)), (marginals, post.counts)


@jax.jit
def by_products(potentials, known):
    c = chain.hide_padding(chain.chain(*potentials, known["length"], known["starts"]))
    out, post = products.filtered(c), products.posterior(c, in_logs=True)
    (filtered, predicted, marginals) = chain.blank(c, out.filtered, out.predicted, post.marginals)
    return (filtered, predicted, chain.total(c, out.increment)), (marginals, post.counts)


def assert_same(got, want, size):
    """Equal up to float32 rounding of sums of numbers as large as `size`, the same zeros."""
    for g, w in zip(got, want, strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w)
        np.testing.assert_array_equal(np.isneginf(g), np.isneginf(w))
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=2e-6 * (1 + size))


@pytest.mark.parametrize("num_blocks", [1, 3])
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    initial=log_potentials(STATES, EDGES),
    transition=st.one_of(
        log_potentials((STATES, STATES), EDGES),
        log_potentials((STEPS - 1, STATES, STATES), EDGES),
    ),
    log_lik=log_potentials((STEPS, STATES), FAR),
    length=st.integers(0, STEPS),
    starts=hnp.arrays(bool, STEPS, elements=st.booleans()),
)
def test_certified_answers_are_exact(num_blocks, initial, transition, log_lik, length, starts):
    potentials = (initial, transition, log_lik)
    known = {"length": np.int32(length), "starts": starts & (starts.sum() < STEPS // 2)}
    num_blocks = num_blocks if transition.ndim == 2 else 1
    forward, post, plain_or_ok, ok, both_ok = scaled_and_certified(potentials, known, num_blocks)
    assert bool(plain_or_ok) == bool(ok), "the quick certificate must imply the careful one"
    if not ok:
        return
    with jax.enable_x64(True):
        wide = tuple(np.asarray(p, np.float64) for p in potentials)
        want, want_post = jax.device_get(in_logs(wide, known))
    finite = [np.abs(p[np.isfinite(p)]).max(initial=0) for p in potentials]
    assert_same(forward, want, STEPS * sum(finite))
    if both_ok:
        assert_same(post, want_post, STEPS * sum(finite))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    initial=log_potentials(STATES, EDGES),
    transition=log_potentials((STATES, STATES), EDGES),
    log_lik=log_potentials((STEPS, STATES), FAR),
    length=st.integers(0, STEPS),
    starts=hnp.arrays(bool, STEPS, elements=st.booleans()),
)
def test_products_need_no_certificate(small_blocks, initial, transition, log_lik, length, starts):
    potentials = (initial, transition, log_lik)
    known = {"length": np.int32(length), "starts": starts & (starts.sum() < STEPS // 2)}
    forward, post = by_products(potentials, known)
    with jax.enable_x64(True):
        wide = tuple(np.asarray(p, np.float64) for p in potentials)
        want, want_post = jax.device_get(in_logs(wide, known))
    finite = [np.abs(p[np.isfinite(p)]).max(initial=0) for p in potentials]
    assert_same(forward, want, STEPS * sum(finite))
    assert_same(post, want_post, STEPS * sum(finite))


@pytest.mark.parametrize("impossible", [0, 1])
def test_products_of_a_sequence_beside_an_impossible_one(small_blocks, impossible):
    log_lik = np.log(np.arange(1, 19).reshape(6, 3) / 20, dtype=np.float32)
    log_lik[3 * impossible : 3 * impossible + 3] = -INF
    flat = np.log(np.full((3, 3), 1 / 3, np.float32))
    starts = np.arange(6) == 3
    for kernel in (inference.smoother, inference.filter, inference.pairwise, decoding.viterbi):
        got, want = (
            kernel(flat[0], flat, log_lik, starts=starts, parallel=parallel)
            for parallel in (True, False)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)


@pytest.mark.parametrize(
    ("initial", "transition", "log_lik"),
    [
        # a state 200 nats behind can overtake later, or be asked for: it is not a zero
        ([-0.7, -0.7], [[0.0, -INF], [-INF, 0.0]], [[0.0, -200.0], [0.0, 0.0], [0.0, 0.0]]),
        ([-0.7, -0.7], [[0.0, -INF], [-INF, 0.0]], [[0.0, -200.0], [-300.0, 0.0], [0.0, 0.0]]),
        # the largest likelihood belongs to a state that cannot be reached
        ([0.0, -INF], [[0.0, -INF], [0.0, -INF]], [[-200.0, 0.0], [-200.0, 0.0], [-200.0, 0.0]]),
        # a transition that exp cannot hold is the only way on
        ([0.0, -INF], [[-INF, -120.0], [-INF, 0.0]], [[0.0, -INF], [0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_lost_mass_that_matters_is_noticed(initial, transition, log_lik):
    potentials = (np.float32(initial), np.float32(transition), np.float32(log_lik))
    known = {"length": np.int32(3), "starts": np.zeros(3, bool)}
    *_, plain_or_ok, ok, both_ok = scaled_and_certified(potentials, known)
    assert not (plain_or_ok or ok or both_ok)


@pytest.mark.parametrize("zeros", [False, True])
def test_ordinary_chains_are_certified(zeros):
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(STATES), STATES)
    if zeros:
        transition = np.tril(transition) / np.tril(transition).sum(1, keepdims=True)
    with np.errstate(divide="ignore"):
        transition = np.log(transition)
    potentials = (np.log(np.full(STATES, 1 / 3)), transition, 3 * rng.normal(size=(STEPS, STATES)))
    known = {"length": np.int32(STEPS), "starts": np.zeros(STEPS, bool)}
    *_, both_ok = scaled_and_certified(tuple(map(np.float32, potentials)), known)
    assert both_ok


def test_far_apart_likelihoods_of_a_mixing_chain_stay_on_the_fast_path():
    rng = np.random.default_rng(0)
    log_lik = -500 * rng.random((STEPS, STATES))
    potentials = (np.log(np.full(3, 1 / 3)), np.log(rng.dirichlet(np.ones(3), 3)), log_lik)
    known = {"length": np.int32(STEPS), "starts": np.zeros(STEPS, bool)}
    *_, both_ok = scaled_and_certified(tuple(map(np.float32, potentials)), known)
    assert both_ok


def counted(ran):
    """The log probability of one chain by the certified program; `ran` gets a 1 for each row redone."""

    def exact(c):
        jax.debug.callback(lambda _: ran.append(1), c.log_lik[0, 0])
        return log_domain.log_prob(c)

    one = rows.kernel(functools.partial(dispatch._certified, scaled.log_prob, exact))

    def log_prob(log_transition, log_lik):
        c = chain.chain(np.zeros(2, np.float32), log_transition, log_lik, None, None)
        return one(c)

    return log_prob


# a state 200 nats behind that must be kept, in a chain whose states never change
FLAGGED = np.float32([[0, -200], [-300, 0], [0, 0], [0, 0]])


def test_a_clean_batch_never_runs_the_log_domain(large_program):
    ran = []
    run = jax.jit(jax.vmap(jax.vmap(counted(ran), (None, 0)), (0, None)))
    rng = np.random.default_rng(0)
    moves = np.log(rng.dirichlet(np.ones(2), (3, 2))).astype(np.float32)
    log_lik = rng.normal(size=(2, 4, 2)).astype(np.float32)
    expected = jax.vmap(jax.vmap(inference.log_partition, (None, None, 0)), (None, 0, None))
    want = expected(np.zeros(2, np.float32), moves, log_lik)
    np.testing.assert_allclose(run(moves, log_lik), want, rtol=1e-5)
    jax.effects_barrier()
    assert not ran
    log_lik[1] = FLAGGED
    moves[1] = np.where(np.eye(2) > 0, 0, -INF)
    got = run(moves, log_lik)
    want = expected(np.zeros(2, np.float32), moves, log_lik)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(got[1, 1], -200, rtol=1e-6)
    jax.effects_barrier()
    assert ran


@pytest.mark.parametrize(("num_flagged", "rounds"), [(1, 1), (10, 1), (100, 2)])
def test_only_a_few_rows_are_redone_where_a_few_are_not_certified(
    large_program, num_flagged, rounds
):
    """Not the whole batch: one round of 64 rows of 10 000 for up to 64 that are flagged."""
    ran, num_rows = [], 10_000
    run = jax.jit(jax.vmap(counted(ran), (None, 0)))
    log_lik = np.zeros((num_rows, 4, 2), np.float32)
    flagged = np.random.default_rng(0).choice(num_rows, num_flagged, replace=False)
    log_lik[flagged] = FLAGGED
    got = np.asarray(run(np.where(np.eye(2) > 0, 0, -INF).astype(np.float32), log_lik))
    jax.effects_barrier()
    assert len(ran) == 64 * rounds
    np.testing.assert_allclose(got[flagged], -200, rtol=1e-6)
    np.testing.assert_allclose(np.delete(got, flagged), np.log(2), rtol=1e-6)


def test_vmap_is_a_loop_over_clean_and_flagged_chains(every_program):
    each, stacked = chains(5, 3, varying=False, seeds=range(12))
    batched = jax.jit(jax.vmap(lambda p, k: inference.log_partition(*p, **k)))
    single = jax.jit(lambda p, k: inference.log_partition(*p, **k))
    stacked = jax.tree.map(jnp.asarray, stacked)
    loop = [single(*jax.tree.map(jnp.asarray, one)) for one in each]
    np.testing.assert_allclose(batched(*stacked), loop, rtol=1e-5, atol=1e-5)


def test_passes_that_are_exact_apart_can_miss_each_other_where_they_meet(large_program):
    """Only the condition n >= floor tells: both passes are certified, yet n[0] is 1e-50.

    All that is possible starts in state 0. It comes back to a share of 1 in the forward pass by
    steps that each keep 1e-10, while the backward pass follows state 1, where no sequence begins.
    """
    far = -np.log(1e18)
    moves = np.tile(np.where(np.eye(3) > 0, 0, -INF), (4, 1, 1))
    moves[0, 0] = [far, -INF, 0.0]
    steps = [[-32.2, 0, 0], [0, 0, -23.0], [0, 0, -INF], [-20.7, 0, 0], [-20.7, 0, 0]]
    potentials = tuple(map(np.float32, ([0.0, -INF, -INF], moves, steps)))
    known = {"length": np.int32(5), "starts": np.zeros(5, bool)}
    *_, ok, both_ok = scaled_and_certified(potentials, known)
    assert ok and not both_ok
    post = jax.jit(inference.smoother)(*potentials)
    np.testing.assert_array_equal(post.log_marginals[:, 0], np.zeros(5))
    np.testing.assert_allclose(post.initial_counts, [1, 0, 0])


@pytest.mark.parametrize("num_states", [2, 5, 64])
def test_the_floor_is_the_smallest_that_the_proof_allows(num_states):
    """What a product may lose, 2 K tiny / floor, is at most a quarter of a rounding of the floor."""
    zeros = jnp.zeros(num_states)
    one = chain.Chain(
        zeros, jnp.zeros((num_states, num_states)), jnp.zeros((3, num_states)), None, None
    )
    info = np.finfo(np.float32)
    least, lost = scaled.floor(one), 2 * num_states * float(info.tiny) / scaled.floor(one)
    assert lost / (least * float(info.eps) / 4) == pytest.approx(1, rel=1e-6)
