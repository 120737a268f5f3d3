"""The best path and the probability of a given one, against a list of all paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax.hmm import decoding
from reference import enumeration
from reference.chains import assert_close, chains, run


@pytest.mark.parametrize("varying", [False, True])
def test_viterbi_is_the_best_of_all_paths(x64, varying):
    each, stacked = chains(5, 3, varying=varying)
    paths, scores = run(decoding.viterbi, stacked)
    for n, (potentials, known) in enumerate(each):
        score, winners = enumeration.best(enumeration.enumerate_paths(*potentials, **known))
        length = int(known["length"])
        path = np.asarray(paths[n])
        assert_close(scores[n], score)
        assert np.all(path[length:] == -1)
        if np.isfinite(score):
            assert np.any(np.all(winners == path[:length], axis=1))


def test_viterbi_is_exact_in_float32_over_long_chains():
    # a chain that stays where it is: the scores of both paths are sums that need all their bits
    log_lik = np.float32([[-1.0, -1.0001]]).repeat(200_000, axis=0)
    half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
    path, score = decoding.viterbi(half, keep, log_lik)
    assert np.all(path == 0)
    np.testing.assert_allclose(score, np.log(0.5) - 200_000, rtol=1e-7)


def test_impossible_sequence_has_no_path_but_its_neighbours_do():
    log_lik = jnp.log(jnp.array([[0.9, 0.1], [0.0, 0.0], [0.1, 0.9]]))
    half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
    starts = jnp.array([False, True, True])
    path, score = decoding.viterbi(half, keep, log_lik, starts=starts)
    np.testing.assert_array_equal(path, [0, -1, 1])
    assert score == -np.inf


def test_clinic_of_wikipedia():
    start = np.log([0.6, 0.4])
    move = np.log([[0.7, 0.3], [0.4, 0.6]])
    walk_shop_clean = np.log([[0.1, 0.6], [0.4, 0.3], [0.5, 0.1]])
    path, score = decoding.viterbi(start, move, walk_shop_clean)
    np.testing.assert_array_equal(path, [1, 0, 0])
    np.testing.assert_allclose(np.exp(score), 0.01344, rtol=1e-5)


@pytest.mark.parametrize("varying", [False, True])
def test_path_log_prob_is_its_share(x64, varying):
    each, stacked = chains(5, 3, varying=varying, seeds=range(24))
    rng = np.random.default_rng(0)
    paths = rng.integers(-1, 3, (24, 5))
    paths[:20] = np.maximum(paths[:20], 0)
    potentials, known = stacked

    def kernel(path, *potentials, **known):
        return decoding.path_log_prob(path, *potentials, **known)

    joints, posteriors = run(kernel, ((paths, *potentials), known))
    for n, (potentials, known) in enumerate(each):
        every = enumeration.enumerate_paths(*potentials, **known)
        row = np.all(every.paths == paths[n, : int(known["length"])], axis=1)
        joint = every.log_joint[row][0] if np.any(row) else -np.inf
        assert_close(joints[n], joint)
        want = joint - enumeration.log_prob(every) if np.isfinite(joint) else -np.inf
        assert_close(posteriors[n], want)


def test_path_of_wrong_shape_is_refused():
    half = jnp.log(jnp.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"path must be integers of shape \(T,\) = \(3,\)"):
        decoding.path_log_prob(jnp.zeros(2, int), half, jnp.zeros((2, 2)), jnp.zeros((3, 2)))


@pytest.mark.parametrize("gap", [0.03, 1e-4])
def test_a_small_lead_at_the_first_step_decides_a_chain_that_never_forgets(gap):
    """Blocks that begin from a guess must not agree before the lead has reached them."""
    log_lik = jnp.zeros((10_000, 2)).at[0, 1].set(gap)
    path, score = decoding.viterbi(jnp.log(jnp.full(2, 0.5)), jnp.log(jnp.eye(2)), log_lik)
    assert (path == 1).all()
    assert float(score) == pytest.approx(np.log(0.5) + gap, rel=1e-6)


@pytest.mark.parametrize("parallel", [None, True])
@pytest.mark.parametrize("num_states,num_steps", [(3, 10_000), (3, 50), (20, 300)])
def test_of_equal_paths_the_lowest_wins_in_every_form(num_states, num_steps, parallel):
    initial, moves = jnp.zeros(num_states), jnp.zeros((num_states, num_states))
    log_lik = jnp.zeros((num_steps, num_states))
    path, _ = decoding.viterbi(initial, moves, log_lik, parallel=parallel)
    assert (path == 0).all()
    many = jax.vmap(lambda lik: decoding.viterbi(initial, moves, lik, parallel=parallel)[0])
    assert (many(jnp.zeros((40, min(num_steps, 300), num_states))) == 0).all()
