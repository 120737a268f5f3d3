"""Several paths, against a list of all paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax.hmm import decoding, paths
from reference import enumeration
from reference.chains import assert_close, call, chains, random_chain, run


@pytest.mark.parametrize("varying", [False, True])
def test_path_entropy_is_that_of_all_paths(x64, varying):
    each, stacked = chains(5, 3, varying=varying, seeds=range(24))
    got = run(paths.path_entropy, stacked)
    for n, (potentials, known) in enumerate(each):
        every = enumeration.enumerate_paths(*potentials, **known)
        if np.isfinite(enumeration.log_prob(every)):
            assert_close(got[n], enumeration.posterior_entropy(every))


@pytest.mark.parametrize("varying", [False, True])
def test_top_k_paths_are_the_best_in_order(x64, varying):
    each, stacked = chains(5, 3, varying=varying, seeds=range(24))

    def kernel(*potentials, **known):
        return (
            *paths.top_k_paths(*potentials, 7, **known),
            decoding.viterbi(*potentials, **known)[1],
        )

    got, scores, best = run(kernel, stacked)
    for n, (potentials, known) in enumerate(each):
        every = enumeration.enumerate_paths(*potentials, **known)
        want = np.sort(every.log_joint)[::-1][:7]
        want = np.pad(want, (0, 7 - len(want)), constant_values=-np.inf)
        assert_close(scores[n], want)
        assert_close(scores[n, 0], best[n])
        length = int(known["length"])
        assert np.all(got[n, :, length:] == -1)
        for path, score in zip(np.asarray(got[n, :, :length]), want, strict=True):
            if np.isfinite(score):
                row = np.all(every.paths == path, axis=1)
                assert_close(every.log_joint[row][0], score)
            else:
                assert np.all(path == -1)
        possible = np.asarray(got[n])[np.isfinite(want)]
        assert len({tuple(p) for p in possible}) == len(possible)


@pytest.mark.parametrize("seed", [3, 7])
def test_sampled_paths_have_the_posterior_frequencies(seed):
    potentials, known = random_chain(seed, 3, 2, varying=True)
    known = {"length": np.int32(3), "starts": np.array([False, seed == 7, False])}
    every = enumeration.enumerate_paths(*potentials, **known)
    probs = np.exp(every.log_joint - enumeration.log_prob(every))

    def kernel(*potentials, **known):
        return paths.sample_paths(jax.random.key(seed), *potentials, 4000, **known)

    drawn = np.asarray(call(kernel, potentials, known))
    counts = np.array([np.sum(np.all(drawn == path, axis=1)) for path in every.paths])
    assert np.sum(counts) == 4000
    assert np.all(counts[probs == 0] == 0)
    often = probs * 4000 > 5
    statistic = np.sum((counts - 4000 * probs)[often] ** 2 / (4000 * probs[often]))
    assert statistic < stats.chi2.isf(1e-4, max(np.sum(often) - 1, 1))


def test_sampled_paths_are_blank_at_padding_and_where_impossible():
    half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
    log_lik = jnp.log(jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.3, 0.3]]))
    starts = jnp.array([True, False, True, False])
    drawn = paths.sample_paths(jax.random.key(0), half, keep, log_lik, 2, length=3, starts=starts)
    np.testing.assert_array_equal(drawn, [[-1, -1, 1, -1]] * 2)
