"""Steps with a carried state against the kernels of whole series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import hmm
from reference.chains import assert_close, chains

T, K, LAG = 7, 3, 2


def scan(step, begin, initial, moves, log_lik):
    """The steps of a series, stacked; moves (T-1, K, K) or (K, K)."""
    if moves.ndim == 3:  # that out of the last step is not read
        moves = jnp.concatenate([moves, moves[-1:]])
    else:
        moves = jnp.broadcast_to(moves, (T, K, K))

    def one(state, here):
        found = step(state, *here)
        return found.state, found

    return jax.lax.scan(one, begin, (moves, log_lik))[1]


@pytest.mark.parametrize("varying", [False, True])
def test_steps_are_the_kernels_of_the_whole_series(x64, varying):
    each, (potentials, _) = chains(T, K, varying=varying)

    def both(initial, moves, log_lik):
        smooth = scan(hmm.smoother_step, hmm.smoother_start(initial, LAG), initial, moves, log_lik)
        best = scan(hmm.viterbi_step, hmm.viterbi_start(initial, LAG), initial, moves, log_lik)
        all_of_it = scan(
            hmm.viterbi_step, hmm.viterbi_start(initial, T - 1), initial, moves, log_lik
        )
        return (smooth, best, all_of_it), (
            hmm.fixed_lag_smoother(initial, moves, log_lik, lag=LAG),
            hmm.filter(initial, moves, log_lik),
            hmm.viterbi(initial, moves, log_lik),
        )

    found, whole = jax.jit(jax.vmap(both))(*map(jnp.asarray, potentials))
    num_impossible = num_decided = 0
    for n in range(len(each)):
        smooth, best, all_of_it = jax.tree.map(lambda a, n=n: np.asarray(a[n]), found)
        lagged, filtered, (path, score) = jax.tree.map(lambda a, n=n: np.asarray(a[n]), whole)
        assert_close(smooth.log_marginals[LAG:, 0], lagged[: T - LAG])
        assert_close(smooth.log_marginals[-1], lagged[T - LAG - 1 :])
        assert_close(smooth.log_marginals[:, -1], filtered.log_filtered)
        assert_close(smooth.log_increment, filtered.log_increments)
        assert np.all(smooth.log_marginals[0, :LAG] == -np.inf)
        assert_close(best.log_increment.sum(), score)
        np.testing.assert_array_equal(all_of_it.path[-1], path)
        np.testing.assert_array_equal(best.path[-1], path[T - LAG - 1 :])
        num_impossible += score == -np.inf
        if score > -np.inf:
            for t in range(LAG, T):
                here = best.decided[t]
                num_decided += here.sum()
                window = path[t - LAG : t + 1]
                np.testing.assert_array_equal(best.path[t][here], window[here])
    assert num_impossible > 0
    assert num_decided > 100


def test_gradients_pass_through_the_steps(x64):
    rng = np.random.default_rng(0)
    initial, moves = np.log(rng.dirichlet(np.ones(K))), np.log(rng.dirichlet(np.ones(K), K))
    log_lik = rng.normal(size=(T, K))
    log_lik[2, 1] = -np.inf

    def by_steps(log_lik):
        begin = hmm.smoother_start(initial, LAG)
        found = scan(hmm.smoother_step, begin, initial, jnp.asarray(moves), log_lik)
        return jnp.sum(jnp.exp(found.log_marginals[LAG:, 0, 0]))

    def at_once(log_lik):
        found = hmm.fixed_lag_smoother(initial, moves, log_lik, lag=LAG)
        return jnp.sum(jnp.exp(found[: T - LAG, 0]))

    got, want = jax.jit(jax.grad(by_steps))(log_lik), jax.jit(jax.grad(at_once))(log_lik)
    assert np.all(np.isfinite(got))
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-12)


def test_states_of_another_lag_or_size_are_refused():
    half, moves = jnp.log(jnp.full(2, 0.5)), jnp.log(jnp.full((2, 2), 0.5))
    state = hmm.smoother_start(half, 1)
    with pytest.raises(ValueError, match=r"state.log_filtered must have shape \(L, 2\)"):
        hmm.smoother_step(state._replace(log_filtered=jnp.zeros((1, 3))), moves, half)
    with pytest.raises(ValueError, match=r"state.log_transition must have shape \(1, 2, 2\)"):
        hmm.smoother_step(state._replace(log_transition=jnp.zeros((2, 2, 2))), moves, half)
    with pytest.raises(ValueError, match=r"log_initial must have shape \(K,\)"):
        hmm.viterbi_start(moves, 1)
    best = hmm.viterbi_start(half, 0)
    assert hmm.viterbi_step(best, moves, half).path.shape == (1,)
    with pytest.raises(ValueError, match=r"state\.before must be integers"):
        hmm.viterbi_step(best._replace(before=jnp.zeros((1, 2))), moves, half)
    with pytest.raises(TypeError, match="state must be"):
        hmm.viterbi_step(half, moves, half)
