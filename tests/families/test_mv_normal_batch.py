"""K normals at once against the plain verbs, one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax.families import MvNormal, mv_normal_batch
from likelax.mixture import Mixture
from reference import gaussian_mixture as reference

batched = jax.jit(lambda model, x, weights=None: model.e_step(x, weights))


def gaussian(weights, means, covariances):
    dtype = jnp.zeros(()).dtype
    tril = jnp.asarray(np.linalg.cholesky(covariances), dtype)
    return Mixture(jnp.asarray(weights, dtype), MvNormal(jnp.asarray(means, dtype), tril))


def wanted(x, weights, means, covariances, row_weights):
    """(counts, means, scatter about them, log probability), float64."""
    shares, log_density = reference.e_step(x, weights, means, covariances)
    shares = shares * row_weights[:, None]
    counts = shares.sum(axis=0)
    _, loc, covariance = reference.m_step(x, shares)
    return counts, loc, counts[:, None, None] * covariance, row_weights @ log_density


def close(model, x, start, rtol):
    row_weights = np.random.default_rng(1).uniform(0, 2, size=len(x))
    stats, log_prob = batched(model, x, row_weights)
    moments = stats.components
    got = stats.weights.counts, moments.mean, moments.scatter, log_prob
    for g, w in zip(got, wanted(x.astype(np.float64), *start, row_weights), strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * np.abs(w).max())


# more rows than one chunk, a last chunk that is not full, and a triangle in several blocks
@pytest.mark.parametrize(("num_dims", "num_components"), [(2, 3), (5, 2), (1, 2), (50, 2)])
def test_both_products_agree_with_numpy(x64, num_dims, num_components):
    x, *start = reference.problem(0, 9001, num_dims, num_components)
    close(gaussian(*start), x, start, 1e-9)


def test_float32_is_certified_or_exact():
    x, *start = reference.problem(0, 3000, 3, 4)
    close(gaussian(*start), x.astype(np.float32), start, 1e-4)


@pytest.mark.parametrize("shift", [1e4, 1e6])
def test_far_from_zero_in_float32(shift):
    x, weights, means, covariances = reference.problem(0, 1100, 2, 2)
    x = (x + shift).astype(np.float32)
    start = weights, (means + shift).astype(np.float32).astype(np.float64), covariances
    close(gaussian(*start), x, start, 1e-4)


def test_a_component_much_narrower_than_the_whole_takes_the_exact_form():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(600, 2)), 3.0 + 1e-4 * rng.normal(size=(600, 2))
    x = np.concatenate([wide, narrow]).astype(np.float32)
    start = [0.5, 0.5], np.array([[0.0, 0.0], [3.0, 3.0]]), np.stack([np.eye(2), 1e-8 * np.eye(2)])
    # float32 data of width 1e-4 at 3 are rounded by 2e-3 of their width
    close(gaussian(*start), x, start, 1e-3)


def test_one_outlier_only_costs_its_own_chunk():
    x, *start = reference.problem(0, 9000, 2, 2)
    x[17] = 1e5
    close(gaussian(*start), x.astype(np.float32), start, 1e-4)


def test_weights_of_zero_and_rows_of_nan():
    x, _, means, covariances = reference.problem(0, 700, 2, 3)
    start = np.array([0.4, 0.6, 0.0]), means, covariances
    model = gaussian(*start)
    stats, log_prob = batched(model, x.astype(np.float32))
    np.testing.assert_allclose(
        log_prob, reference.e_step(x, *(a[:2] for a in start))[1].sum(), 1e-5
    )
    np.testing.assert_allclose(stats.weights.counts[2], 0.0)
    assert jnp.isnan(batched(model, jnp.full((1030, 2), jnp.nan))[1])


def test_vmap_and_grad_are_those_of_the_plain_verbs():
    x, *start = reference.problem(0, 1030, 2, 2)
    x = x.astype(np.float32)
    model = gaussian(*start)

    def total(model):
        return model.e_step(x)[1]

    two = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), model)
    values, grads = jax.jit(jax.vmap(jax.value_and_grad(total)))(two)
    want, grad = jax.jit(jax.value_and_grad(lambda m: jnp.sum(m.log_prob(x))))(model)
    np.testing.assert_allclose(values, [want, want], rtol=1e-5)
    np.testing.assert_allclose(grads.components.loc[0], grad.components.loc, rtol=1e-3, atol=1e-2)
    scale = jnp.tril(grads.components.scale_tril[1, ::-1])
    np.testing.assert_allclose(scale, jnp.tril(grad.components.scale_tril), rtol=1e-3, atol=1e-2)


def test_chunks_fit_a_cache():
    assert mv_normal_batch.chunk_rows(5, 2) == 4096
    assert mv_normal_batch.chunk_rows(100, 100) == 512
