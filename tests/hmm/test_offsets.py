"""What all states of a step have in common is no part of their posteriors, however large it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import hmm


@pytest.mark.parametrize(
    ("num_steps", "num_states", "batch", "parallel"),
    [
        (20, 3, None, None),  # log domain
        (200, 4, None, None),  # short
        (300, 12, None, None),  # scaled
        (100, 2, 64, None),  # lanes
        (60, 3, None, True),  # products
        (70, 17, None, True),  # products of many states
    ],
)
def test_a_common_offset_leaves_every_digit_of_posteriors(num_steps, num_states, batch, parallel):
    rng = np.random.default_rng(0)
    initial, transition = (
        jnp.log(jnp.asarray(rng.dirichlet(np.ones(num_states), size=size), jnp.float32))
        for size in ((), num_states)
    )
    # these and their offsets have no rounding
    log_lik = np.round(rng.normal(size=(batch or 1, num_steps, num_states)) * 16) / 8

    def posteriors(log_lik):
        args = initial, transition, log_lik
        found = hmm.filter(*args, parallel=parallel), hmm.smoother(*args, parallel=parallel)
        pairs = hmm.pairwise(*args, parallel=parallel)
        return found[0].log_filtered, found[1].log_marginals, found[1].transition_counts, pairs

    every = jax.jit(jax.vmap(posteriors) if batch else posteriors)
    log_lik = log_lik if batch else log_lik[0]
    plain, low, high = (
        every(jnp.asarray(log_lik + offset, jnp.float32)) for offset in (0, -(2.0**13), 2.0**13)
    )
    for offset in (low, high):
        for got, want in zip(offset, plain, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
