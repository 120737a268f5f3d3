"""The kernels against a list of all paths, and against the laws they obey."""

import numpy as np
import pytest

from likelax.hmm import inference
from reference import enumeration
from reference.chains import CASES, IDS, assert_close, call, random_chain


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
