"""Paths against a list of all paths."""

import numpy as np
import pytest

from likelax.hmm import decoding
from reference import enumeration
from reference.chains import CASES, IDS, call, random_chain


@pytest.mark.parametrize(("zeros", "varying", "segmented", "padded"), CASES, ids=IDS)
def test_viterbi_is_the_best_of_all_paths(x64, zeros, varying, segmented, padded):
    for seed in range(8):
        potentials, known = random_chain(
            seed, 5, 3, zeros=zeros, varying=varying, segmented=segmented, padded=padded
        )
        every = enumeration.enumerate_paths(*potentials, **known)
        path, score = call(decoding.viterbi, potentials, known)
        want, winners = enumeration.best(every)
        n = winners.shape[1]
        np.testing.assert_allclose(score, want, rtol=1e-10)
        assert np.all(np.asarray(path)[n:] == -1)
        if np.isfinite(want):
            assert np.any(np.all(winners == np.asarray(path)[:n], axis=1))
