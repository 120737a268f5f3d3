"""The kernels against a list of all paths, and against the laws they obey."""

import numpy as np
import pytest

from likelax._chains import chain, log_domain, scaled
from likelax.hmm import inference
from reference import enumeration
from reference.chains import assert_close, chains, run

INF = np.inf


def exact_and_scaled(*potentials, length, starts):
    """The posterior in the log domain, in linear space, and whether the latter is certified."""
    c = chain.hide_padding(chain.chain(*potentials, length, starts))
    draft = scaled.posterior(c, in_logs=True)
    fast, pairs = draft.finish(), scaled.pairwise(c).finish()
    exact = log_domain.posterior(c, in_logs=True)
    blank = chain.blank(c, exact.marginals, fast.marginals)
    return (
        (exact._replace(marginals=blank[0]), log_domain.pairwise(c)),
        (fast._replace(marginals=blank[1]), pairs),
        scaled.careful(draft.evidence, c, draft.both_ways),
    )


@pytest.mark.parametrize("varying", [False, True])
def test_both_recursions_agree_with_enumeration_in_float64(x64, varying):
    each, stacked = chains(5, 3, varying=varying)
    exact, fast, certified = run(exact_and_scaled, stacked)
    impossible = 0
    for n, (potentials, known) in enumerate(each):
        every = enumeration.enumerate_paths(*potentials, **known)
        log_prob = enumeration.log_prob(every)
        marginals, pairs = enumeration.log_marginals(every), enumeration.log_pairwise(every)
        for (post, log_pairs), trusted in ((exact, True), (fast, certified[n])):
            if not trusted:
                continue
            assert_close(post.log_prob[n], log_prob)
            if np.isneginf(log_prob):
                impossible += 1
                continue
            assert_close(post.marginals[n], marginals)
            assert_close(log_pairs[n], pairs)
            assert_close(post.counts[n], np.exp(pairs).sum(0))
    assert 0 < impossible < len(each)
    assert 10 < np.sum(certified) < len(each)


@pytest.mark.parametrize("varying", [False, True])
def test_public_kernels_agree_with_enumeration_in_float64(x64, every_program, varying):
    each, stacked = chains(5, 3, varying=varying, seeds=range(24))

    def kernels(*potentials, **known):
        return (
            inference.log_partition(*potentials, **known),
            inference.filter(*potentials, **known),
            inference.smoother(*potentials, **known),
            inference.fixed_lag_smoother(*potentials, lag=1, **known),
        )

    log_prob, filtered, post, lagged = run(kernels, stacked)
    for n, (potentials, known) in enumerate(each):
        every = enumeration.enumerate_paths(*potentials, **known)
        want = enumeration.log_prob(every)
        for got in (log_prob[n], filtered.log_prob[n], post.log_prob[n]):
            assert_close(got, want)
        if np.isneginf(want):
            continue
        marginals = enumeration.log_marginals(every)
        assert_close(post.log_marginals[n], marginals)
        assert_close(post.initial_counts[n], np.exp(marginals)[every.starts].sum(0))
        pairs = np.exp(enumeration.log_pairwise(every)).sum(0)
        assert_close(post.transition_counts[n], pairs)
        # the posterior given x_0..x_t is the last marginal of the chain cut short after t
        length = int(known["length"])
        for t in range(length):
            cut = {**known, "length": t + 1}
            prefix = enumeration.log_marginals(enumeration.enumerate_paths(*potentials, **cut))
            assert_close(filtered.log_filtered[n, t], prefix[t])
            unseen = [*potentials[:2], potentials[2].copy()]
            unseen[2][t] = 0
            before = enumeration.log_marginals(enumeration.enumerate_paths(*unseen, **cut))
            assert_close(filtered.log_predicted[n, t], before[t] + potential_mass(unseen, cut, t))
            cut["length"] = min(t + 2, length)
            ahead = enumeration.log_marginals(enumeration.enumerate_paths(*potentials, **cut))
            assert_close(lagged[n, t], ahead[t])
        assert np.all(np.isneginf(filtered.log_filtered[n, length:]))


def potential_mass(potentials, known, t):
    """log of the sum of log_predicted[t]: 0 unless rows of the potentials do not sum to one."""
    whole = enumeration.log_prob(enumeration.enumerate_paths(*potentials, **known))
    part = {**known, "length": t}
    return whole - enumeration.log_prob(enumeration.enumerate_paths(*potentials, **part))
