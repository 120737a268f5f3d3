"""Guides given data: a batch is the single fits, and rows of weight zero do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import fit
from likelax.variational import GuideAscent, fit_rows, full_rank, low_rank

RNG = np.random.default_rng(0)


def log_prior(z):
    return -jnp.sum(z**2) / 2


def log_lik(z, x):
    return -((x - z[0]) ** 2) / 2


def start(key, x):
    return full_rank(jax.random.normal(key, (1,)))


def test_a_batch_of_guides_of_uneven_data_finds_every_posterior():
    sets = [RNG.normal(2.0, 1.0, n).astype(np.float32) for n in (3, 4, 5, 4)]
    sets[2] = np.full(5, np.nan, np.float32)
    done = fit.batch(
        GuideAscent(log_prior, log_lik), start, sets, key=jax.random.key(0), num_restarts=3
    )
    np.testing.assert_array_equal(done.failed, [False, False, True, False])
    for b in (0, 1, 3):
        x, base = sets[b], jax.tree.map(lambda leaf, b=b: leaf[b], done.best.model.base)
        assert base.loc[0] == pytest.approx(x.sum() / (len(x) + 1), abs=0.02)
        assert base.scale_tril[0, 0] ** 2 == pytest.approx(1 / (len(x) + 1), rel=0.05)


def test_weights_of_rows_count():
    x, shares = jnp.array([3.0, 3.0, 50.0]), jnp.array([1.0, 1.0, 0.0])
    guide = full_rank(jnp.zeros(1))
    found = fit_rows(jax.random.key(0), log_prior, log_lik, x, guide, weights=shares)
    assert found.model.base.loc[0] == pytest.approx(2.0, abs=0.01)


def test_what_it_cannot_fit_is_one_clear_sentence():
    x, guide = jnp.ones(3), full_rank(jnp.zeros(1))
    run = [jax.random.key(0), log_prior, log_lik, x]
    with pytest.raises(TypeError, match="the guide must be normal, such as full_rank"):
        fit_rows(*run, low_rank(jnp.zeros(2), rank=1))
    with pytest.raises(ValueError, match="one value a row, shape"):
        fit_rows(*run[:2], lambda z, x: jnp.sum(x), x, guide, weights=jnp.ones(3))
    with pytest.raises(ValueError, match="max_steps must be 1 or more"):
        fit_rows(*run, guide, max_steps=0)
