"""Products and blocks against step by step: zeros, far gaps, masks, starts, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax._chains import blocks, chain, products
from likelax.hmm import decoding, inference
from reference import enumeration
from reference.chains import assert_close, chains, run


def kernels(parallel):
    def answer(*potentials, **known):
        known = {**known, "parallel": parallel}
        path, score = decoding.viterbi(*potentials, **known)
        return (
            inference.filter(*potentials, **known),
            inference.smoother(*potentials, **known),
            inference.pairwise(*potentials, **known),
            jax.value_and_grad(inference.log_partition, (0, 1, 2))(*potentials, **known),
            score,
        ), path

    return answer


def in_blocks(c):
    """Three blocks whatever the length, the last of which is padded."""
    return blocks.cut_into(c, 3) if chain.fixed(c) else c


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize(
    ("form", "varying"),
    [
        ("products", False),
        pytest.param("products", True, marks=pytest.mark.slow),
        pytest.param("products in one block", False, marks=pytest.mark.slow),
        pytest.param("products of many states", False, marks=pytest.mark.slow),
        pytest.param("products of many states", True, marks=pytest.mark.slow),
        ("blocks", False),
        pytest.param("blocks that never agree", False, marks=pytest.mark.slow),
    ],
)
def test_every_form_is_the_chain_step_by_step(x64, large_program, monkeypatch, form, varying):
    each, stacked = chains(5, 3, varying=varying)
    want, _ = run(kernels(False), stacked)
    jax.clear_caches()  # what was compiled for chains that are not cut
    if form in ("products", "products of many states"):
        monkeypatch.setattr(products, "_STEPS", 2)
        monkeypatch.setattr(products, "_STEPS_MANY_STATES", 2)
        monkeypatch.setattr(products, "_LEAST_BLOCKS", 2)
    if form == "products of many states":
        monkeypatch.setattr(products, "FEW_LANES", 2)
        monkeypatch.setattr(products, "FEW", 2)
    if form.startswith("blocks"):
        monkeypatch.setattr(blocks, "cut", in_blocks)
    if form == "blocks that never agree":
        monkeypatch.setattr(blocks, "_ROUNDS", 1)
    got, paths = run(kernels(form.startswith("products")), stacked)
    paths = np.asarray(paths)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        # gaps of 1e4 nats: what is left after they cancel has eleven digits
        assert_close(g, w, rtol=1e-9, atol=1e-9)
    for n, (potentials, known) in enumerate(each):
        score, winners = enumeration.best(enumeration.enumerate_paths(*potentials, **known))
        length = int(known["length"])
        assert np.all(paths[n, length:] == -1)
        if np.isfinite(score):
            assert np.any(np.all(winners == paths[n, :length], axis=1))


@pytest.mark.parametrize("stay", [pytest.param(0.0, marks=pytest.mark.slow), 0.999, 1.0])
def test_a_long_chain_in_blocks_has_the_digits_of_float64(stay):
    """Blocks that forget at once, late, and never; in float64 the same chain step by step."""
    rng = np.random.default_rng(0)
    num_steps = blocks.LONG + 1
    moves = stay * np.eye(3) + (1 - stay) * rng.dirichlet(np.ones(3), 3)
    with np.errstate(divide="ignore"):
        logs = np.log([0.5, 0.3, 0.2]), np.log(moves), rng.normal(size=(num_steps, 3))
    narrow = tuple(a.astype(np.float32) for a in logs)
    c = chain.hide_padding(chain.chain(*narrow, None, None))
    assert blocks.cut(c).num_blocks > 1

    def kernel(*potentials):
        path, score = decoding.viterbi(*potentials)
        return inference.smoother(*potentials), score, path

    post, score, path = jax.jit(kernel)(*narrow)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "cut", lambda c: c)
        jax.clear_caches()
        wide = tuple(a.astype(np.float64) for a in narrow)
        want, best, _ = jax.device_get(jax.jit(lambda *a: kernel(*a))(*wide))
        reached = jax.device_get(decoding.path_log_prob(jnp.asarray(path), *wide)[0])
    np.testing.assert_allclose(post.log_prob, want.log_prob, rtol=3e-7, atol=1e-3)
    np.testing.assert_allclose(post.log_marginals, want.log_marginals, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(post.transition_counts, want.transition_counts, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose([score, reached], best, rtol=1e-6)


def test_a_batch_of_paths_is_a_loop_over_them(large_program, monkeypatch):
    """As lanes where states are few, mapped where they are many; blocks or not, one transition or many."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(blocks, "LONG", 100)
    for num_steps, num_states in ((50, 3), (200, 3), (50, 20)):
        initial = np.log(np.full(num_states, 1 / num_states, np.float32))
        moves = np.log(rng.dirichlet(np.ones(num_states), (4, num_states))).astype(np.float32)
        log_lik = rng.normal(size=(4, num_steps, num_states)).astype(np.float32)
        single = jax.jit(lambda *a: decoding.viterbi(*a))
        for move, axis in ((moves, 0), (moves[0], None)):
            paths, scores = jax.jit(jax.vmap(decoding.viterbi, (None, axis, 0)))(
                initial, move, log_lik
            )
            for n in range(4):
                path, score = single(initial, moves[n] if axis == 0 else moves[0], log_lik[n])
                np.testing.assert_array_equal(paths[n], path)
                np.testing.assert_allclose(scores[n], score, rtol=1e-5)


@pytest.mark.parametrize(
    ("num_steps", "num_states", "num_blocks", "padded"),
    [
        (16_000, 2, 200, False),
        (16_000, 16, 128, False),
        (16_001, 2, 128, True),
        (4096, 2, 128, False),
    ],
)
def test_blocks_are_as_many_as_need_no_padding(num_steps, num_states, num_blocks, padded):
    flat = jnp.zeros(num_states)
    whole = chain.Chain(
        flat, jnp.zeros((num_states,) * 2), jnp.zeros((num_steps, num_states)), None, None
    )
    c = blocks.cut(whole)
    assert c.num_blocks == num_blocks and (c.length is not None) == padded


def test_the_slope_of_the_best_score_is_the_best_path():
    rng = np.random.default_rng(0)
    args = np.log([0.5, 0.5]), np.log([[0.9, 0.1], [0.2, 0.8]]), rng.normal(size=(7, 2))
    args = [a.astype(np.float32) for a in args]
    (_, path), slopes = jax.jit(
        jax.value_and_grad(lambda *a: decoding.viterbi(*a)[::-1], (0, 1, 2), has_aux=True)
    )(*args)
    np.testing.assert_array_equal(slopes[2], np.eye(2)[path])
    np.testing.assert_array_equal(slopes[0], np.eye(2)[path[0]])
    used = np.zeros((2, 2))
    np.add.at(used, (path[:-1], path[1:]), 1)
    np.testing.assert_array_equal(slopes[1], used)


def test_the_platform_that_a_program_is_lowered_for_decides_its_form():
    """A program for CUDA has the products' form, wherever it is lowered; one for a CPU is stepwise."""
    rng = np.random.default_rng(0)
    args = np.log([0.5, 0.5]), np.log([[0.9, 0.1], [0.2, 0.8]]), rng.normal(size=(20_000, 2))
    args = [a.astype(np.float32) for a in args]
    traced = jax.jit(inference.log_partition).trace(*args)
    texts = [traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")]
    several = f"{products._STEPS}x2x1x{20_000 // products._STEPS}x"
    assert [several in text for text in texts] == [False, True]
    compiled = traced.lower().compile()
    want = jax.jit(lambda *a: inference.log_partition(*a, parallel=False))(*args)
    np.testing.assert_array_equal(compiled(*args), want)


def test_a_batch_of_one_is_one_chain():
    log_lik = jax.random.normal(jax.random.key(0), (1, 1500, 5))
    start, moves = jnp.log(jnp.full(5, 0.2)), jnp.log(0.75 * jnp.eye(5) + 0.05)

    @jax.jit
    def both(log_lik):
        def answer(lik):
            def nats(lik):
                return inference.log_partition(start, moves, lik, length=1400)

            return inference.smoother(start, moves, lik, length=1400), jax.grad(nats)(lik)

        return jax.vmap(answer)(log_lik), answer(log_lik[0])

    many, one = both(log_lik)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, 1e-5, 1e-5), many, one)
