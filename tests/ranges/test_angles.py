"""The von Mises distribution from a flat circle to a point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import likelax as lx
from likelax import fit
from likelax.families.continuous import Direction, _solve_concentration
from ranges.points import assert_within, few_and_many, generator, log_uniform


@pytest.mark.parametrize("kappa", [0.0, 1e-38, 1e-8, 1e-4, 1.0, 30.0, 1e4, 1e8, 1e16, 1e30, 1e38])
def test_draws_follow_the_distribution_at_any_concentration(kappa):
    draws = jax.jit(lambda k, key: lx.VonMises(0.0, k).sample(key, (20_000,)))
    x = np.asarray(draws(kappa, jax.random.key(1)), float)
    assert np.unique(x).size > 19_000
    if kappa < 1e-3:
        law = stats.uniform(-np.pi, 2 * np.pi)
    elif kappa < 1e3:
        law = stats.vonmises(kappa)
    else:
        law = stats.norm(0, 1 / np.sqrt(kappa))
    assert stats.kstest(x, law.cdf).pvalue > 1e-3


def test_draws_in_float64_at_both_ends(x64):
    for kappa in (0.0, 1e-16, 1e17, 1e300, np.inf):
        x = lx.VonMises(0.5, kappa).sample(jax.random.key(0), (100,))
        assert np.all(np.isfinite(x))
    assert np.all(x == 0.5)


@few_and_many
def test_the_concentration_solves_its_equation(count):
    """Against float64 Bessel functions: the lack 1 - I1/I0 of the fit is that of the data."""
    rng = generator("concentration")
    kappa = log_uniform(rng, 1e-3, 1e12, count).astype(float)
    ratio = special.i1e(kappa) / special.i0e(kappa)
    z = 1 / kappa
    series = z / 2 * (1 + z / 4 * (1 + z * (1 + 25 / 16 * z)))
    lack = np.where(kappa > 1e3, series, 1 - ratio)
    length = np.where(kappa > 1e3, 1 - series, ratio)
    found = jax.jit(jax.vmap(_solve_concentration))(
        length.astype(np.float32), lack.astype(np.float32)
    )
    assert_within(found / kappa, 1.0, 2e-5)


@few_and_many
def test_direction_statistics_are_exact_and_merge(count):
    rng = generator("direction")
    width = log_uniform(rng, 1e-4, 3, (count, 1))
    x = (rng.uniform(-3, 3, (count, 1)) + width * rng.standard_normal((count, 64))).astype(
        np.float32
    )
    model = lx.VonMises(0.0, 1.0)

    def both(row):
        parts = [model.e_step(half)[0] for half in (row[:20], row[20:])]
        return model.e_step(row)[0], lx.statistics.add(*parts)

    whole, merged = jax.jit(jax.vmap(both))(x)
    v = x.astype(float)
    sine, cosine = np.sin(v).sum(1), np.cos(v).sum(1)
    angle, length = np.arctan2(sine, cosine), np.hypot(sine, cosine)
    spread = 2 * (np.sin((v - angle[:, None]) / 2) ** 2).sum(1)
    for stats_ in (whole, merged):
        assert_within(stats_.length, length, 1e-4)
        assert_within(stats_.spread, spread, 1e-5 * spread + 64 * (3e-7 * width[:, 0] + 1e-13))
        turn = np.asarray(stats_.angle) - angle
        assert_within(np.sin(turn / 2) * length, np.zeros(count), 1e-4)


def test_sharp_and_constant_angles():
    """Row 3 of issue 15: 1.39e6, inf, and a number by chance."""
    x = 0.3 + generator("sharp").standard_normal(10_000)[:, None] * np.array([1e-3, 1e-4])
    for column in x.T.astype(np.float32):
        found = fit.mle(lx.VonMises(0.0, 1.0), column).concentration
        np.testing.assert_allclose(found, 1 / column.astype(float).var(), rtol=1e-3)
    alike = fit.em(lx.VonMises(0.0, 1.0), np.full(10, 0.3, np.float32))
    assert alike.status == fit.Status.COLLAPSED
    empty = Direction(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    assert lx.VonMises(0.5, 2.0).m_step(empty).concentration == 2


@few_and_many
def test_log_density_from_zero_to_infinity(count):
    rng = generator("von mises density")
    kappa = log_uniform(rng, 1e-30, 1e30, count)
    x = (rng.standard_normal(count) / np.sqrt(np.maximum(kappa, 1))).astype(np.float32)
    got = jax.jit(lambda k, x: lx.VonMises(0.0, k).log_prob(x))(kappa, x)
    k = kappa.astype(float)
    log_bessel = np.where(
        k > 1e9, -np.log(2 * np.pi * k) / 2, np.log(special.i0e(np.minimum(k, 1e9)))
    )
    want = -2 * k * np.sin(x.astype(float) / 2) ** 2 - log_bessel - np.log(2 * np.pi)
    assert_within(got, want, 1e-5 * (1 + np.abs(want)))
    ends = lx.VonMises(0.0, jnp.inf).log_prob(jnp.array([0.0, 0.1]))
    assert ends.tolist() == [np.inf, -np.inf]
