"""Semi-Markov and factorial chains against lists of all segmentations and of all pairs of paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import hmm


def segmentations(num_steps, num_states, longest):
    """All ways to fill the steps with visits (state, duration); the last may run over."""
    if num_steps <= 0:
        yield []
        return
    for state, duration in itertools.product(range(num_states), range(1, longest + 1)):
        for rest in segmentations(num_steps - duration, num_states, longest):
            yield [(state, duration), *rest]


def test_durations_are_those_of_all_segmentations(x64):
    rng = np.random.default_rng(0)
    initial, moves = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), 3)
    moves[np.diag_indices(3)] = 0
    duration = rng.dirichlet(np.ones(3), 3)
    duration[1, 0] = 0
    log_lik = rng.normal(size=(5, 3))
    total, counts, marginals = 0.0, np.zeros((3, 3)), np.zeros((5, 3))
    for visits in segmentations(5, 3, 3):
        states = np.repeat(*np.array(visits).T)[:5]
        prob = initial[visits[0][0]] * np.exp(log_lik[range(5), states].sum())
        prob *= np.prod([moves[a[0], b[0]] for a, b in itertools.pairwise(visits)])
        prob *= np.prod([duration[k, d - 1] for k, d in visits])
        total += prob
        marginals[range(5), states] += prob
        for k, d in visits:
            counts[k, d - 1] += prob

    def answer(log_initial, log_moves, log_duration, log_lik):
        chain = hmm.explicit_duration(log_initial, log_moves, log_duration, log_lik)
        post = hmm.smoother(*chain[:3])
        return chain.marginal(post.log_marginals), hmm.log_partition(*chain[:3])

    with np.errstate(divide="ignore"):
        args = [jnp.log(jnp.asarray(a)) for a in (initial, moves, duration)]
    got, log_prob = jax.jit(answer)(*args, log_lik)
    np.testing.assert_allclose(log_prob, np.log(total), rtol=1e-12)
    np.testing.assert_allclose(np.exp(got), marginals / total, rtol=1e-10, atol=1e-12)
    by_duration = jax.jit(jax.grad(lambda d: answer(*args[:2], d, log_lik)[1]))
    np.testing.assert_allclose(by_duration(args[2]), counts / total, rtol=1e-10, atol=1e-12)


def semi_markov(seed):
    """Initial, transition and duration probabilities of two states, and log likelihoods of six steps."""
    rng = np.random.default_rng(seed)
    initial, moves = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(2), 2)
    return (initial, moves, rng.dirichlet(np.ones(3), 2)), rng.normal(size=(6, 2))


def cuts(num_steps):
    """All ways to cut the steps into visits, as lists of their lengths."""
    for inside in itertools.product([False, True], repeat=num_steps - 1):
        edges = np.flatnonzero([True, *inside, True])
        yield np.diff(edges)


def score(parts, log_lik, *, ends):
    """The sum over all visits that fill the data, the last one complete or of any further length."""
    (initial, moves, duration), total = parts, 0.0
    beyond = np.cumsum(duration[:, ::-1], axis=1)[:, ::-1]  # of lasting h steps or more
    for lengths in cuts(len(log_lik)):
        if max(lengths) > duration.shape[1]:
            continue
        for states in itertools.product(range(2), repeat=len(lengths)):
            prob = initial[states[0]] * np.prod(
                [moves[a, b] for a, b in itertools.pairwise(states)]
            )
            last = (duration if ends else beyond)[states[-1], lengths[-1] - 1]
            before = zip(states[:-1], lengths[:-1], strict=True)
            prob *= last * np.prod([duration[k, d - 1] for k, d in before])
            path = np.repeat(states, lengths)
            total += prob * np.exp(log_lik[range(len(path)), path].sum())
    return np.log(total)


@pytest.mark.parametrize("ends", [False, True])
def test_the_last_visit_is_censored_or_ends_with_the_data(x64, ends):
    parts, log_lik = semi_markov(4)
    final = np.arange(6) == 5
    chain = hmm.explicit_duration(*map(np.log, parts), log_lik, ends=final if ends else None)
    got = hmm.log_partition(*chain[:3])
    np.testing.assert_allclose(got, score(parts, log_lik, ends=ends), rtol=1e-12)


def test_every_sequence_ends_a_visit(x64):
    parts, log_lik = semi_markov(5)
    potentials = [np.log(a) for a in parts]
    ends = np.array([False, True, False, False, True, False])  # step 5 is padding
    chain = hmm.explicit_duration(*potentials, log_lik, ends=ends)
    starts = np.array([True, False, True, False, False, False])
    got = hmm.log_partition(*chain[:3], length=5, starts=starts)
    want = score(parts, log_lik[:2], ends=True) + score(parts, log_lik[2:5], ends=True)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    with pytest.raises(ValueError, match=r"ends must have shape \(T,\) = \(6,\)"):
        hmm.explicit_duration(*potentials, log_lik, ends=ends[:3])


@pytest.mark.slow
def test_geometric_durations_are_an_ordinary_chain(x64):
    """Visits of geometric length, cut off where 1e-12 of them is left."""
    rng = np.random.default_rng(1)
    stay, log_lik = np.array([0.3, 0.5]), rng.normal(size=(6, 2))
    swap = np.log(np.array([[1e-300, 1.0], [1.0, 1e-300]]))
    lengths = np.arange(1, 41)
    duration = np.log(1 - stay)[:, None] + (lengths - 1) * np.log(stay)[:, None]
    chain = hmm.explicit_duration(np.log([0.4, 0.6]), swap, duration, log_lik)
    moves = np.log(np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]]))
    run = jax.jit(hmm.log_partition)
    want = run(np.log([0.4, 0.6]), moves, log_lik)
    np.testing.assert_allclose(run(*chain[:3]), want, rtol=1e-10)


def test_factorial_chains_are_those_of_all_pairs_of_paths(x64):
    rng = np.random.default_rng(2)
    sizes = (2, 3)
    initials = [rng.dirichlet(np.ones(k)) for k in sizes]
    moves = [rng.dirichlet(np.ones(k), k) for k in sizes]
    log_lik = rng.normal(size=(3, *sizes))
    total, marginals = 0.0, [np.zeros((3, k)) for k in sizes]
    for a in itertools.product(range(2), repeat=3):
        for b in itertools.product(range(3), repeat=3):
            prob = np.exp(log_lik[range(3), a, b].sum())
            for path, start, move in zip((a, b), initials, moves, strict=True):
                prob *= start[path[0]] * move[path[0], path[1]] * move[path[1], path[2]]
            total += prob
            marginals[0][range(3), a] += prob
            marginals[1][range(3), b] += prob

    def answer(initials, moves, log_lik):
        chain = hmm.factorial(initials, moves, log_lik)
        post = hmm.smoother(*chain[:3])
        return post.log_prob, [chain.marginal(post.log_marginals, m) for m in (0, 1)]

    logs = jax.tree.map(np.log, (initials, moves))
    log_prob, got = jax.jit(answer)(*logs, log_lik)
    np.testing.assert_allclose(log_prob, np.log(total), rtol=1e-12)
    for g, w in zip(got, marginals, strict=True):
        np.testing.assert_allclose(np.exp(g), w / total, rtol=1e-10)


def test_shapes_that_do_not_match_are_refused():
    two, square = jnp.zeros(2), jnp.zeros((2, 2))
    with pytest.raises(ValueError, match="explicit_duration: wanted"):
        hmm.explicit_duration(two, square, jnp.zeros((3, 4)), jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match="factorial: wanted"):
        hmm.factorial([two, two], [square, square], jnp.zeros((5, 2, 3)))
