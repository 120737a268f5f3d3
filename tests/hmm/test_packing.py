"""Ragged sequences laid end to end: the same answers for little more than their total length."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import hmm

MODEL = lx.HMM(
    jnp.array([0.5, 0.5]),
    jnp.array([[0.9, 0.1], [0.2, 0.8]]),
    lx.Poisson(jnp.array([1.0, 6.0])),
)


def ragged(num_sequences, shortest, longest, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, num_sequences)
    return [rng.poisson(3.0, n) for n in lengths]


@pytest.mark.parametrize("num_rows", [None, 1, 64, 1000])
def test_a_thousand_ragged_sequences_cost_at_most_a_third_more_than_their_length(num_rows):
    sequences = ragged(1000, 10, 1000)
    packed = hmm.pack(sequences, num_rows)
    work, total = packed.data.starts.size, sum(map(len, sequences))
    if num_rows != 1000:  # a row for each is padding
        assert work <= 1.05 * total
    assert packed.lengths.sum() == packed.data.lengths.sum() == total
    chex.assert_trees_all_equal(packed.split(packed.data.values), sequences)


def test_packed_sequences_have_the_statistics_of_separate_ones():
    sequences = ragged(9, 1, 12)
    packed = hmm.pack(sequences, 2)
    verbs = jax.jit(lambda x: (MODEL.e_step(x), MODEL.smoother(x).log_marginals))
    (stats, log_prob), marginals = verbs(packed.data)
    longest = packed.lengths.max()
    padded = np.stack([np.pad(s, (0, longest - len(s))) for s in sequences])
    alone = lx.Sequences(jnp.asarray(padded), lengths=jnp.asarray(packed.lengths))
    (want, want_log_prob), each = verbs(alone)
    np.testing.assert_allclose(log_prob, want_log_prob, rtol=1e-6)
    chex.assert_trees_all_close(stats, want, rtol=1e-4)
    for part, row, length in zip(packed.split(marginals), each, packed.lengths, strict=True):
        np.testing.assert_allclose(part, row[:length], rtol=1e-4, atol=1e-5)


def test_labels_are_laid_beside_their_sequences_and_trees_are_packed():
    sequences = [{"x": np.array([1.0, 2.0]), "y": np.array([3, 4])}, {"x": [5.0], "y": [6]}]
    sequences[1] = {name: np.array(value) for name, value in sequences[1].items()}
    packed = hmm.pack(sequences, 1)
    np.testing.assert_array_equal(packed.data.values["y"], [[3, 4, 6]])
    np.testing.assert_array_equal(packed.arrange([np.array([0, 1]), np.array([1])]), [[0, 1, 1]])
    with pytest.raises(ValueError, match="wanted 2 arrays"):
        packed.arrange([np.array([0])])


@pytest.mark.parametrize(
    "sequences",
    [[], [np.array([])], [{"x": np.zeros(2), "y": np.zeros(3)}]],
    ids=["none", "empty", "unequal fields"],
)
def test_what_cannot_be_packed_is_refused(sequences):
    with pytest.raises(ValueError, match="pack: wanted at least one sequence"):
        hmm.pack(sequences)


@pytest.mark.slow
def test_stepwise_em_over_batches_of_sequences_nears_the_fit_on_all():
    """Stochastic EM: a few passes over packed batches, against batch EM on everything."""
    whole = jax.jit(lambda key: MODEL.sample(key, (48, 50)))(jax.random.key(0))
    batches = list(np.asarray(whole).reshape(12, 4, 50))
    start = lx.HMM(MODEL.initial, jnp.full((2, 2), 0.5), lx.Poisson(jnp.array([2.0, 4.0])))
    want = lx.fit.em(start, whole, max_steps=30)
    for model, _ in lx.fit.stepwise(start, batches * 4, power=0.6):  # noqa: B007
        pass
    assert abs(jax.jit(lambda m: m.log_prob(whole).sum())(model) - want.objective) < 5.0
    assert want.objective - want.objectives[0] > 100


def test_split_leaves_arrays_of_the_host_as_they_are():
    packed = hmm.pack(ragged(5, 1, 6), 2)
    array = np.asarray(packed.data.starts) + np.float64(1e-12)
    assert {part.dtype for part in packed.split(array)} == {np.dtype(np.float64)}


def test_padding_repeats_the_first_value():
    packed = hmm.pack([np.array([3.0, 4.0, 5.0]), np.array([6.0])], num_rows=2)
    values, lengths = np.asarray(packed.data.values), np.asarray(packed.data.lengths)
    padded = np.arange(values.shape[1])[None, :] >= lengths[:, None]
    assert padded.any() and np.all(values[padded] == 3.0)
