"""Names of states: matched against a search over all permutations, and changed without effect."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import hmm


def test_matching_is_the_best_of_all_permutations():
    rng = np.random.default_rng(0)
    match = jax.jit(jax.vmap(hmm.match_states))
    scores = rng.normal(size=(20, 4, 4)).astype(np.float32)
    for score, order in zip(scores, np.asarray(match(scores)), strict=True):
        assert sorted(order) == [0, 1, 2, 3]
        best = max(score[range(4), p].sum() for p in itertools.permutations(range(4)))
        np.testing.assert_allclose(score[range(4), order].sum(), best, rtol=1e-6)


def transitions(kind):
    rng = np.random.default_rng(1)
    moves = rng.dirichlet(np.ones(3), (4, 3)).astype(np.float32)
    logits = rng.normal(size=(3, 3, 2)).astype(np.float32)
    return {
        "fixed": moves[0],
        "stationary": moves[1],
        "varying": moves,
        "driven": hmm.SoftmaxTransition(logits[..., 0], logits),
        "held": lx.Fixed(jnp.asarray(moves[2])),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "stationary",
        "driven",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("fixed", "varying", "held")),
    ],
)
def test_renaming_changes_no_probability(kind):
    start = None if kind == "stationary" else jnp.array([0.2, 0.3, 0.5])
    model = lx.HMM(start, transitions(kind), lx.Poisson(jnp.array([1.0, 4.0, 9.0])))
    x = jnp.array([0, 3, 8, 2, 5])
    if kind == "driven":
        x = lx.Driven(x, np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32))
    order = jnp.array([2, 0, 1])
    again = hmm.relabel(model, order)
    run = jax.jit(lambda m, x: (m.log_prob(x), jnp.exp(m.smoother(x).log_marginals)))
    (want, marginals), (got, renamed) = run(model, x), run(again, x)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(renamed, marginals[:, order], rtol=1e-3, atol=1e-6)
    chex.assert_trees_all_equal(hmm.relabel(again, jnp.argsort(order)), model)


def test_what_renames_nothing_is_refused():
    model = lx.HMM(jnp.array([0.5, 0.5]), jnp.eye(2), lx.Poisson(jnp.array([1.0, 4.0])))
    with pytest.raises(ValueError, match=r"shape \(K,\) = \(2,\)"):
        hmm.relabel(model, jnp.array([0, 1, 2]))
    with pytest.raises(ValueError, match="must have shape"):
        hmm.match_states(jnp.zeros((2, 3)))
