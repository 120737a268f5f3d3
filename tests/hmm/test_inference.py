"""The kernels against a list of all paths, and against the laws they obey."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import enumeration

from likelax.hmm import inference

INF = np.inf


def random_chain(seed, num_steps, num_states, *, zeros, varying, segmented, padded, gap=3.0):
    """Potentials with structural zeros, far-apart likelihoods, missing steps, starts and padding."""
    rng = np.random.default_rng(seed)

    def log_probs(*shape):
        probs = rng.dirichlet(np.full(shape[-1], 0.5), shape[:-1]) + 1e-6
        probs = np.where(rng.random(shape) < zeros, 0, probs)
        total = probs.sum(-1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(probs / np.where(total == 0, 1, total))

    square = (num_states, num_states)
    log_lik = gap * rng.normal(size=(num_steps, num_states))
    log_lik[rng.random(log_lik.shape) < zeros / 2] = -INF
    log_lik[rng.random(num_steps) < 0.2] = 0
    return (
        log_probs(num_states),
        log_probs(*((num_steps - 1, *square) if varying else square)),
        log_lik,
    ), {
        "length": int(rng.integers(0, num_steps + 1)) if padded else None,
        "starts": rng.random(num_steps) < 0.3 if segmented else None,
    }


def call(kernel, potentials, known):
    """Run a kernel with what is known passed as arrays, so that one compilation serves."""
    known = {k: None if v is None else jnp.asarray(v) for k, v in known.items()}
    return jax.jit(kernel)(*(jnp.asarray(p) for p in potentials), **known)


def assert_close(got, want, rtol=1e-10, atol=1e-10):
    got = np.asarray(got, np.float64)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


CASES = list(itertools.product([0.0, 0.4], [False, True], [False, True], [False, True]))
IDS = ["-".join(map(str, case)) for case in CASES]


@pytest.mark.parametrize(("zeros", "varying", "segmented", "padded"), CASES, ids=IDS)
def test_float64_agrees_with_enumeration(x64, zeros, varying, segmented, padded):
    for seed in range(8):
        potentials, known = random_chain(
            seed, 5, 3, zeros=zeros, varying=varying, segmented=segmented, padded=padded
        )
        every = enumeration.enumerate_paths(*potentials, **known)
        want = enumeration.log_prob(every)
        assert_close(call(inference.log_partition, potentials, known), want)
        post = call(inference.smoother, potentials, known)
        assert_close(post.log_prob, want)
        assert_close(call(inference.filter, potentials, known).log_prob, want)
        if np.isneginf(want):
            continue
        marginals, pairs = enumeration.log_marginals(every), enumeration.log_pairwise(every)
        assert_close(post.log_marginals, marginals)
        assert_close(post.transition_counts, np.exp(pairs).sum(0))
        assert_close(post.initial_counts, np.exp(marginals)[every.starts].sum(0))
        assert_close(call(inference.pairwise, potentials, known), pairs)


@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_filter_is_the_last_marginal_of_each_prefix(x64, zeros):
    potentials, known = random_chain(
        3, 5, 3, zeros=zeros, varying=True, segmented=True, padded=False
    )
    out = call(inference.filter, potentials, known)
    log_initial, log_transition, log_lik = potentials
    for t in range(5):
        for blank, got in ((False, out.log_filtered), (True, out.log_predicted)):
            lik = log_lik[: t + 1].copy()
            lik[t] = 0 if blank else lik[t]
            every = enumeration.enumerate_paths(
                log_initial, log_transition[:t], lik, starts=known["starts"][: t + 1]
            )
            if np.isfinite(enumeration.log_prob(every)):
                assert_close(got[t], enumeration.log_marginals(every)[t])
