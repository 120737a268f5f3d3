"""Prefix products against the sequential recursions: zeros, far gaps, masks, starts, padding."""

import jax
import numpy as np
import pytest

from likelax.hmm import decoding, dispatch, inference
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


@pytest.mark.parametrize("varying", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_prefix_products_are_the_sequential_recursions(x64, varying):
    each, stacked = chains(5, 3, varying=varying)
    want, _ = run(kernels(False), stacked)
    got, paths = run(kernels(True), stacked)
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


def test_long_chains_choose_by_the_platform_they_are_compiled_for(monkeypatch):
    """With an accelerator about, a program compiled for the CPU is still the sequential one."""
    rng = np.random.default_rng(0)
    num_steps = dispatch._LONG
    args = np.log([0.5, 0.5]), np.log([[0.9, 0.1], [0.2, 0.8]]), rng.normal(size=(num_steps, 2))
    args = [a.astype(np.float32) for a in args]
    want = jax.jit(inference.log_partition)(*args)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    traced = jax.jit(lambda *a: inference.log_partition(*a)).trace(*args)
    assert "platform_index" in str(traced.jaxpr)
    compiled = traced.lower().compile()
    np.testing.assert_array_equal(compiled(*args), want)
    short = jax.make_jaxpr(inference.log_partition)(*args[:2], args[2][:100])
    assert "platform_index" not in str(short)
