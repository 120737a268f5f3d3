"""Tails of the beta distribution over whole ranges of its parameters, against SciPy in float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from likelax.numerics.tails import beta_quantile, beta_tails, gamma_tails
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform


def points(rng, n, high=1e8):
    """Parameters, x and 1 - x, the smaller of which is rounded to float32, and both in float64."""
    a, b = log_uniform(rng, 1e-3, high, n), log_uniform(rng, 1e-3, high, n)
    share = special.ndtr(2 * rng.standard_normal(n))
    x, y = special.betaincinv(a, b, share), special.betaincinv(b, a, 1 - share)
    low = np.clip(np.minimum(x, y), 1e-33, 0.5).astype(np.float32).astype(float)
    x, y = np.where(x < y, low, 1 - low), np.where(x < y, 1 - low, low)
    return a, b, x, y


def exact(a, b, x, y):
    """The lower tail, from the side of the smaller of x and y."""
    return np.where(x < y, special.betainc(a, b, x), special.betaincc(b, a, y))


@few_and_many
def test_beta_tails_are_those_of_float64(count):
    a, b, x, y = points(generator("beta tails"), count)
    lower, upper = jax.jit(beta_tails)(a, b, x.astype(np.float32), y.astype(np.float32))
    wide = a.astype(float), b.astype(float)
    want = exact(*wide, x, y)
    rounding = np.abs(exact(*wide, x * (1 + EPS), 1 - x * (1 + EPS)) - want)
    rounding = np.where(
        x < y, rounding, np.abs(exact(*wide, 1 - y * (1 + EPS), y * (1 + EPS)) - want)
    )
    rounding += np.abs(exact(wide[0] * (1 + EPS), wide[1], x, y) - want)
    assert_within(lower, want, 1e-5 + 4 * rounding)
    assert_within(upper, 1 - want, 1e-5 + 4 * rounding)


def test_beta_tails_in_float64():
    a, b, x, y = points(generator("beta tails wide"), 300, high=1e5)
    with jax.enable_x64(True):
        got = beta_tails(*(jnp.asarray(v, float) for v in (a, b, x, y)))[0]
    chex.assert_trees_all_close(got, exact(a.astype(float), b.astype(float), x, y), atol=1e-12)


SLOPES = jax.jit(jax.grad(lambda a, b, x: beta_tails(a, b, x, 1 - x)[0], (0, 1, 2)))


@pytest.mark.parametrize("at", [(2.0, 3.0, 0.3), (0.4, 0.7, 0.9), (200.0, 300.0, 0.39)])
def test_derivatives_of_beta_tails(at):
    with jax.enable_x64(True):
        got = SLOPES(*at)
    for i, slope in enumerate(got):
        h = 1e-5
        up, down = (
            special.betainc(*(v + s * h * (i == j) for j, v in enumerate(at))) for s in (1, -1)
        )
        assert float(slope) == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_ends_of_the_beta_distribution():
    x, y = jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])
    both = jax.jit(
        lambda a, b: (
            beta_tails(a, b, x, y),
            jax.grad(lambda *p: beta_tails(*p)[0].sum(), (0, 1, 2, 3))(a, b, x, y),
        )
    )
    for a, b in ((0.5, 2.0), (3.0, 0.1), (200.0, 300.0)):
        tails, slopes = both(a, b)
        assert [t.tolist() for t in tails] == [[0, 1], [1, 0]]
        assert all(np.isfinite(slope).all() for slope in slopes)


@few_and_many
def test_beta_quantiles_have_their_probability(count):
    a, b, _, _ = points(generator("beta quantile"), count, high=1e6)
    a, b = np.maximum(a, 0.5), np.maximum(b, 0.5)
    share = generator("beta share").uniform(0.001, 0.999, count).astype(np.float32)
    got = np.asarray(jax.jit(beta_quantile)(a, b, share), float)
    # the quantile is rounded, and the tails are right to 5e-6
    wide = a.astype(float), b.astype(float)
    near = [special.betainc(*wide, np.clip(got + step, 0, 1)) for step in (-EPS, EPS)]
    moved = near[1] - near[0]
    assert_within(special.betainc(*wide, got), share, 1e-5 + 4 * moved)


@few_and_many
def test_gamma_tails_are_those_of_float64(count):
    rng = generator("gamma tails")
    a = log_uniform(rng, 1e-3, 1e9, count)
    spread = np.maximum(1 + rng.standard_normal(count) * 2 / np.sqrt(a), 1e-3)
    x = (a * spread).astype(np.float32)
    lower, upper = jax.jit(gamma_tails)(a, x)
    want = special.gammainc(a.astype(float), x.astype(float))
    rounding = np.abs(special.gammainc(a * (1 + EPS), x.astype(float)) - want)
    assert_within(lower, want, 2e-6 + 4 * rounding)
    assert_within(upper, 1 - want, 2e-6 + 4 * rounding)
