"""Random hidden Markov chains for the tests, and how to run a kernel on one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

INF = np.inf


def random_chain(seed, num_steps, num_states, *, zeros, varying, segmented, padded, gap=3.0):
    """Potentials with structural zeros, far-apart likelihoods, missing steps, starts, padding."""
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
