"""Rows in chunks give what all rows at once give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import naive_bayes
from likelax.numerics import chunks

RNG = np.random.default_rng(0)
LEVELS = RNG.normal(size=(23, 2))
SEEN = RNG.uniform(size=(23, 2)) < 0.8
LABELS = RNG.integers(-1, 2, 23)
WEIGHTS = RNG.uniform(size=23)


def shrink_cache(monkeypatch):
    monkeypatch.setattr(chunks, "FEWEST", 5)
    monkeypatch.setattr(chunks, "CACHE", 1)


def gaussians():
    loc, scale = jnp.array([[-1.0, 0.0], [1.0, 0.5]]), jnp.array([[0.7, 1.0], [1.2, 0.4]])
    return lx.Mixture(jnp.array([0.3, 0.7]), lx.Independent(lx.Normal(loc, scale)))


def data(kind):
    seen = lx.Masked(LEVELS, SEEN)
    return {"plain": LEVELS, "masked": seen, "labelled": lx.Labelled(seen, LABELS)}[kind]


def answers(model, x):
    return (
        model.log_prob(x),
        model.log_responsibilities(x),
        model.e_step(x),
        model.e_step(x, WEIGHTS),
    )


@pytest.mark.parametrize("kind", ["plain", "masked", "labelled"])
def test_chunked_mixture_is_the_whole_one(kind, x64, monkeypatch):
    whole = answers(gaussians(), data(kind))
    shrink_cache(monkeypatch)
    assert gaussians().rows_in_cache(data(kind)) == 5
    for got, want in zip(
        jax.tree.leaves(answers(gaussians(), data(kind))), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_chunked_naive_bayes_counts_what_the_whole_one_counts(monkeypatch):
    shrink_cache(monkeypatch)
    rows, labels = jnp.array(RNG.integers(0, 2, (23, 3))), jnp.array(LABELS)
    stats = naive_bayes.bernoulli(2, 3).statistics(rows, labels)
    for k in range(2):
        np.testing.assert_array_equal(stats.components.successes[k], rows[labels == k].sum(axis=0))


def test_one_observation_is_never_cut(monkeypatch):
    shrink_cache(monkeypatch)
    x = jnp.arange(23.0)
    model = lx.Mixture(
        jnp.array([0.5, 0.5]), lx.Independent(lx.Normal(jnp.zeros((2, 23)), jnp.ones((2, 23))))
    )
    assert model.rows_in_cache(x) == 23
    assert model.log_prob(x).shape == ()


def test_gradient_passes_through_the_chunks(x64, monkeypatch):
    def total(model):
        return jnp.sum(model.log_prob(LEVELS))

    whole = jax.grad(total)(gaussians())
    shrink_cache(monkeypatch)
    parts = jax.grad(total)(gaussians())
    for got, want in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_memory_is_bounded_by_the_data_and_one_chunk(kind):
    size, dims = 8, 4
    loc, wide = jnp.zeros((size, dims)), jnp.ones((size, dims))
    components = {
        "full": lx.MvNormal(loc, jnp.stack([jnp.eye(dims)] * size)),
        "diagonal": lx.Independent(lx.Normal(loc, wide)),
    }[kind]
    model = lx.Mixture(jnp.full(size, 1 / size), components)

    def working_bytes(num_rows):
        rows = jax.ShapeDtypeStruct((num_rows, dims), jnp.float32)
        step = jax.jit(lambda model, x: model.e_step(x)).lower(model, rows).compile()
        return step.memory_analysis().temp_size_in_bytes

    few, many = working_bytes(20_000), working_bytes(2_000_000)
    assert many < 1.01 * few < 8e6


def test_an_accelerator_gets_larger_chunks(monkeypatch):
    here = chunks.rows_in_cache(100)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunks.rows_in_cache(100) == chunks.ACCELERATOR * here


def test_the_sum_of_chunks_keeps_what_each_addition_rounds_off():
    """One large term and 1000 that are each below half a unit in its last place."""
    x = jnp.concatenate([jnp.array([1e8]), jnp.full(1000, 3.0)])
    stats, total = chunks.sum_rows(
        lambda rows, shares: (jnp.sum(shares), jnp.sum(shares * rows)), x, jnp.ones(1001), 1
    )
    assert stats == 1001
    assert total == pytest.approx(1e8 + 3000, abs=8)
