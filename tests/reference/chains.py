"""Random hidden Markov chains for the tests, and how to run a kernel on many of them at once."""

import jax
import jax.numpy as jnp
import numpy as np

INF = np.inf


def random_chain(seed, num_steps, num_states, *, varying):
    """Potentials and what is known of them, drawn so that every edge is met within a few seeds.

    Structural zeros, likelihoods up to 1e4 nats apart, missing steps, starts, padding. Always the
    same structure, so that one compilation serves all seeds.
    """
    rng = np.random.default_rng(seed)
    zeros, gap = rng.choice([0.0, 0.0, 0.2, 0.5]), rng.choice([1.0, 3.0, 40.0, 1e4])

    def log_probs(*shape):
        probs = rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1]) + 1e-6
        probs = np.where(rng.random(shape) < zeros, 0, probs)
        sums = probs.sum(-1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(probs / np.where(sums == 0, 1, sums))

    square = (num_states, num_states)
    log_lik = gap * rng.normal(size=(num_steps, num_states))
    log_lik[rng.random(log_lik.shape) < zeros / 2] = -INF
    log_lik[rng.random(num_steps) < 0.2] = 0
    potentials = (
        log_probs(num_states),
        log_probs(*((num_steps - 1, *square) if varying else square)),
        log_lik,
    )
    starts = rng.random(num_steps) < rng.choice([0.0, 0.3])
    length = num_steps if rng.random() < 0.5 else rng.integers(0, num_steps + 1)
    return potentials, {"length": np.int32(length), "starts": starts}


def chains(num_steps, num_states, *, varying, seeds=range(48)):
    """A list of random chains, and the same stacked along a leading axis."""
    each = [random_chain(s, num_steps, num_states, varying=varying) for s in seeds]
    return each, jax.tree.map(lambda *a: np.stack(a), *each)


def run(kernel, stacked):
    """jit(vmap(kernel)) over stacked chains."""
    potentials, known = jax.tree.map(jnp.asarray, stacked)
    return jax.jit(jax.vmap(lambda p, k: kernel(*p, **k)))(potentials, known)


def call(kernel, potentials, known):
    """jit(kernel) on one chain."""
    potentials, known = jax.tree.map(jnp.asarray, (potentials, known))
    return jax.jit(kernel)(*potentials, **known)


def assert_close(got, want, rtol=1e-10, atol=1e-10):
    """Equal up to rounding, and -inf in the same places."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
