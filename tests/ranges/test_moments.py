"""Means and scatters of data of any offset, unit and length, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit
from likelax.statistics import positive_moments
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform

NUM = 3 * 10**6
ROWS = 600  # more than two blocks of `row_products`
CHUNK = 100


def data(rng, num_dims):
    """(CHUNK, ROWS, D) with offsets to 1e6 widths, widths from 1e-15 to 1e15, and weights."""
    width = log_uniform(rng, 1e-15, 1e15, (CHUNK, 1, num_dims))
    offset = width * log_uniform(rng, 1e-2, 1e6, (CHUNK, 1, 1)) * rng.choice([-1, 1], (CHUNK, 1, 1))
    noise = rng.standard_normal((CHUNK, ROWS, num_dims)) * width
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], (CHUNK, ROWS)).astype(np.float32)
    return (offset + noise).astype(np.float32), weights, width[:, 0].astype(float)


def reference(x, weights):
    x, w = x.astype(float), weights.astype(float)[..., None]
    mean = (w * x).sum(1) / w.sum(1)
    gap = x - mean[:, None]
    return mean, np.matmul((w * gap).swapaxes(1, 2), gap) / w.sum(1)[..., None]


MODELS = {
    "Normal": lx.Normal(0.0, 1.0),
    "SphericalNormal": lx.SphericalNormal(jnp.zeros(1), 1.0),
    "MvNormal1": lx.MvNormal(jnp.zeros(1), jnp.eye(1)),
    "MvNormal3": lx.MvNormal(jnp.zeros(3), jnp.eye(3)),
}


@few_and_many
@pytest.mark.parametrize("name", MODELS)
def test_mean_and_covariance_of_any_offset_and_unit(name, count):
    """1e-5 of the widths, and for the mean one rounding of itself."""
    model, rng = MODELS[name], generator(name)
    num_dims = jnp.size(model.loc)
    step = jax.jit(jax.vmap(lambda x, w: model.m_step(model.e_step(x, w)[0])))
    for _ in range(count // CHUNK):
        x, weights, width = data(rng, num_dims)
        fitted = step(x[..., 0] if jnp.ndim(model.loc) == 0 else x, weights)
        mean, covariance = reference(x, weights)
        loc = np.asarray(fitted.loc, float).reshape(CHUNK, num_dims)
        assert_within(loc, mean, 2e-6 * width + EPS * np.abs(mean))
        if isinstance(model, lx.MvNormal):
            tril = np.asarray(fitted.scale_tril, float)
            got = np.matmul(tril, tril.swapaxes(1, 2))
        else:
            got = np.asarray(fitted.scale, float).reshape(CHUNK, 1, 1) ** 2
        scale = width[:, :, None] * width[:, None, :]
        assert_within(got / scale, covariance / scale, 1e-5)


@few_and_many
def test_positive_moments_of_any_spread_and_unit(count):
    rng = generator("positive moments")
    step = jax.jit(jax.vmap(positive_moments))
    for _ in range(count // CHUNK):
        spread = log_uniform(rng, 1e-5, 3, (CHUNK, 1))
        mean = log_uniform(rng, 1e-20, 1e20, (CHUNK, 1))
        x = (mean * np.exp(spread * rng.standard_normal((CHUNK, ROWS)))).astype(np.float32)
        stats = step(x, np.ones_like(x))
        v = x.astype(float)
        centre = v.mean(1)
        gap = v / centre[:, None] - 1
        assert_within(stats.mean / centre, 1.0, 10 * EPS)
        lack = np.where(np.abs(gap) < 1e-4, gap**2 / 2 - gap**3 / 3, gap - np.log1p(gap)).sum(1)
        assert_within(stats.deviance, lack, 2e-5 * lack)


@few_and_many
def test_moments_merge_as_if_summed_at_once(count):
    rng = generator("merge")
    model = lx.MvNormal(jnp.zeros(2), jnp.eye(2))

    def parts(x, w):
        half = ROWS // 2
        stats = [model.e_step(x[s], w[s])[0] for s in (slice(half), slice(half, None))]
        return lx.statistics.add(*stats), model.e_step(x, w)[0]

    step = jax.jit(jax.vmap(parts))
    for _ in range(count // CHUNK):
        x, weights, width = data(rng, 2)
        merged, whole = step(x, weights)
        scale = width[:, :, None] * width[:, None, :] * weights.sum(1)[:, None, None]
        # each half has a rounded mean, off by half a unit in the last place of the offset
        slack = EPS * np.abs(np.asarray(whole.mean)) / width
        tolerance = (
            1e-5 + 2 * slack[:, :, None] * slack[:, None, :] + slack.max(1)[:, None, None] * 0.5
        )
        assert_within(merged.scatter / scale, np.asarray(whole.scatter, float) / scale, tolerance)


@pytest.mark.parametrize("num_rows", [10**6, pytest.param(10**7, marks=pytest.mark.slow)])
def test_long_sums_far_from_zero(num_rows):
    """Row 1 of issue 15: loc was 2017.8, the standard deviation 18.5 and the correlation .93."""
    x = (2000 + 5 * generator("long").standard_normal((num_rows, 2), np.float32)).astype(np.float32)
    wide = x.astype(float)
    fitted = fit.mle(lx.MvNormal(jnp.zeros(2), jnp.eye(2)), x)
    np.testing.assert_allclose(fitted.loc, wide.mean(0), rtol=2e-7)
    np.testing.assert_allclose(fitted.covariance, np.cov(wide.T, bias=True), atol=25 * 2e-6)


@pytest.mark.slow
def test_counts_of_millions_of_rows():
    rng = generator("counts")
    weights = rng.random(NUM, np.float32)
    want = weights.sum(dtype=float)
    codes, ones = np.zeros(NUM, np.int32), np.ones((NUM, 1), np.float32)
    got = [
        lx.Categorical(jnp.array([0.5, 0.5])).e_step(codes, weights)[0].counts[0],
        lx.MvBernoulli(jnp.array([0.5])).e_step(ones, weights)[0].successes[0],
        lx.Multinomial(jnp.array([1.0])).e_step(ones, weights)[0].counts[0],
        lx.Bernoulli(0.5).e_step(ones[:, 0], weights)[0].successes,
        lx.Poisson(0.5).e_step(ones[:, 0], weights)[0].events,
        lx.Dirichlet(jnp.ones(1)).e_step(ones, weights)[0].weight,
    ]
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-30, 1e-22, 1e20, 1e30])
def test_a_scatter_out_of_range_is_nan_and_not_zero(unit):
    x = (unit * generator("units").standard_normal((50, 2))).astype(np.float32)
    for model, rows in (
        (lx.Normal(0.0, 1.0), x[:, 0]),
        (lx.MvNormal(jnp.zeros(2), jnp.eye(2)), x),
        (lx.SphericalNormal(jnp.zeros(2), jnp.array(1.0)), x),
    ):
        fitted = fit.mle(model, rows)
        scale = fitted.scale_tril if isinstance(model, lx.MvNormal) else fitted.scale
        assert np.isnan(scale).any(), model
        assert not bool(fit.em(model, rows).usable)


@pytest.mark.parametrize("unit", [1e-17, 1e17])
def test_units_within_the_range_of_squares_are_equivariant(unit):
    x = generator("units").standard_normal(50)
    scaled = (unit * x).astype(np.float32)
    fitted = fit.em(lx.Normal(0.0, unit), scaled)
    assert bool(fitted.usable)
    np.testing.assert_allclose(fitted.model.scale / unit, x.std(), rtol=1e-5)
