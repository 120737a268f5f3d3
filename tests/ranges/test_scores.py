"""Closed CRPS over the whole range of their parameters, against float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from likelax import scoring
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform


def normal(rng, n):
    scale = log_uniform(rng, 1e-30, 1e30, n)
    loc = (scale * log_uniform(rng, 1e-3, 1e6, n) * rng.choice([-1, 1], n)).astype(np.float32)
    x = (loc + scale * 3 * rng.standard_normal(n)).astype(np.float32)
    s, d = scale.astype(float), x.astype(float) - loc
    want = d * special.erf(d / s / np.sqrt(2)) + s * (
        2 * stats.norm.pdf(d / s) - 1 / np.sqrt(np.pi)
    )
    return scoring.crps_normal, (loc, scale, x), want, s


def laplace(rng, n):
    _, (loc, scale, x), _, s = normal(rng, n)
    z = np.abs(x.astype(float) - loc) / s
    return scoring.crps_laplace, (loc, scale, x), s * (z + np.exp(-z) - 0.75), s


def logistic(rng, n):
    _, (loc, scale, x), _, s = normal(rng, n)
    z = (x.astype(float) - loc) / s
    return scoring.crps_logistic, (loc, scale, x), s * (z + 2 * np.logaddexp(0, -z) - 1), s


def uniform(rng, n):
    _, (low, width, x), _, _ = normal(rng, n)
    high = (low + width).astype(np.float32)
    w = high.astype(float) - low
    z = (x - low.astype(float)) / w
    inside = np.clip(z, 0, 1)
    want = w * (np.abs(z - inside) + inside**2 - inside + 1 / 3)
    return scoring.crps_uniform, (low, high, x), want, w


def exponential(rng, n):
    rate = log_uniform(rng, 1e-30, 1e30, n)
    x = (log_uniform(rng, 1e-6, 1e2, n) / rate).astype(np.float32)
    r, v = rate.astype(float), x.astype(float)
    return scoring.crps_exponential, (rate, x), v + (2 * np.expm1(-r * v) + 0.5) / r, 1 / r


def log_normal(rng, n):
    scale = log_uniform(rng, 1e-4, 8, n)
    loc = rng.uniform(-20, 20, n).astype(np.float32)
    x = np.exp(loc + scale * 2 * rng.standard_normal(n)).astype(np.float32)
    s, m, v = scale.astype(float), loc.astype(float), x.astype(float)
    w = (np.log(v) - m) / s
    mean = np.exp(m + s**2 / 2)
    spread = special.ndtr(w - s) - special.ndtr(-s / np.sqrt(2))
    want = v * (2 * special.ndtr(w) - 1) - 2 * mean * spread
    # log x and loc are rounded, which moves x by so much
    return (
        scoring.crps_log_normal,
        (loc, scale, x),
        want,
        (1 + np.abs(m) + np.abs(np.log(v))) * (v + np.exp(m)) * EPS / 2e-5,
    )


def gamma(rng, n):
    a = log_uniform(rng, 1e-6, 1e9, n)
    rate = log_uniform(rng, 1e-15, 1e15, n)
    z = 2 * rng.standard_normal(n)
    centre = np.where(a > 1, np.maximum(1 + z / np.sqrt(a), 1e-3), np.exp(3 * z))
    x = (a / rate * centre).astype(np.float32)
    a8, b8, v = a.astype(float), rate.astype(float), x.astype(float)
    mean, y = a8 / b8, b8 * v
    below = special.gammainc(a8, y)
    mass = np.exp(a8 * np.log(y / a8) + a8 - y - stirling(a8))
    half = np.exp(half_ratio(a8)) / np.sqrt(np.pi)
    large = (v - mean) * (2 * below - 1) + 2 * mean * mass - half / b8
    # next to zero: 1 - Gamma(a + 1/2) / (sqrt(pi) Gamma(a + 1)) is the integral's first term
    lack = -np.expm1(special.gammaln(a8 + 0.5) - special.gammaln(0.5) - special.gammaln(a8 + 1))
    small = mean * lack + v * (2 * below - 1) - 2 * mean * special.gammainc(a8 + 1, y)
    return scoring.crps_gamma, (a, rate, x), np.where(a8 < 1, small, large), (v + mean) * EPS / 2e-6


def stirling(a):
    """log Gamma(a + 1) - a log a + a."""
    series = np.log(2 * np.pi * a) / 2 + 1 / (12 * a) - 1 / (360 * a**3)
    return np.where(a > 1e3, series, special.gammaln(a + 1) - special.xlogy(a, a) + a)


def half_ratio(a):
    """log Gamma(a + 1/2) - log Gamma(a)."""
    series = np.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3)
    return np.where(a > 1e3, series, special.gammaln(a + 0.5) - special.gammaln(a))


def poisson(rng, n):
    rate = log_uniform(rng, 1e-6, 1e9, n)
    near = np.floor(rate + 2 * np.sqrt(rate) * rng.standard_normal(n))
    x = np.maximum(np.where(rng.random(n) < 0.2, rng.integers(0, 5, n), near), 0).astype(np.float32)
    r, v = rate.astype(float), x.astype(float)
    above, mass = (
        special.gammainc(v + 1, r),
        np.exp(special.xlogy(v, r / np.maximum(v, 1)) + v - r - stirling(v)),
    )
    mass = np.where(v == 0, np.exp(-r), mass)
    bessel = special.i0e(2 * r) + special.i1e(2 * r)
    large = (v - r) * (1 - 2 * above) + 2 * r * mass - r * bessel
    before = np.where(v > 0, special.gammaincc(np.maximum(v, 1), r), 0)
    small = r * -np.expm1(np.log(bessel)) + v * (1 - 2 * above) - 2 * r * before
    return scoring.crps_poisson, (rate, x), np.where(r < 1, small, large), (v + r) * EPS / 2e-6


CASES = [normal, laplace, logistic, uniform, exponential, log_normal, gamma, poisson]


STATED = re.compile(r"Float32: right to (\S+) of (score and spread|itself)")


def stated(score):
    """The tolerance in the docstring of a score."""
    return float(STATED.search(" ".join(score.__doc__.split())).group(1))


@few_and_many
@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_closed_crps_is_that_of_float64_and_never_negative(case, count):
    """Within 2e-5 of score and spread, and of what one rounding of the inputs would change."""
    with np.errstate(all="ignore"):
        score, arguments, want, spread = case(generator(case.__name__), count)
    got = np.asarray(jax.jit(score)(*arguments), float)
    assert (got >= 0).all(), (got.min(), [a[got.argmin()] for a in arguments])
    assert_within(got, want, stated(score) * (want + spread))


@few_and_many
@pytest.mark.parametrize("fair", [True, False])
def test_energy_scores_of_any_unit_and_offset(fair, count):
    """With outliers, of forecasts near the outcome and far from it; never negative."""
    rng, size = generator(f"energy {fair}"), 8
    unit = log_uniform(rng, 1e-25, 1e25, (count, 1)).astype(float)
    offset = unit * log_uniform(rng, 1e-2, 1e4, (count, 1))
    draws = offset + unit * rng.standard_normal((size, count, 3))
    draws[0, ::7] *= 1e3
    x = offset + unit * rng.standard_normal((count, 3)) * log_uniform(rng, 1e-2, 1e2, (count, 1))
    draws, x = draws.astype(np.float32), x.astype(np.float32)
    got = np.asarray(jax.jit(lambda d, x: scoring.energy_score(d, x, fair=fair))(draws, x), float)
    d, v = draws.astype(float), x.astype(float)
    pairs = sum(np.linalg.norm(d - one, axis=-1).sum(0) for one in d)
    pairs /= size * (size - 1) if fair else size**2
    want = np.linalg.norm(d - v, axis=-1).mean(0) - pairs / 2
    assert (got >= 0).all()
    assert_within(got, want, stated(scoring.energy_score) * want)


def test_energy_score_is_zero_where_all_draws_are_right_and_has_a_gradient():
    draws = jnp.ones((3, 2))
    assert scoring.energy_score(draws, jnp.ones(2)) == 0
    slope = jax.grad(lambda d: scoring.energy_score(d, jnp.zeros(2)))(draws)
    assert np.isfinite(slope).all()
    at = jax.grad(lambda x: scoring.energy_score(draws, x, fair=False))(jnp.ones(2))
    assert at.tolist() == [0, 0]


def test_scores_of_classes_are_not_negative():
    """A probability of one plus a rounding scored below zero."""
    over = np.nextafter(np.float32(1), np.float32(2))
    probs, labels = np.array([[over, 0.0]], np.float32), np.array([0])
    scores = (
        scoring.log_score(probs, labels),
        scoring.binary_log_score(probs[:, 0], np.ones(1)),
        scoring.log_score_from_logits(np.array([[1e4, -1e4]], np.float32), labels),
    )
    assert [float(s[0]) for s in scores] == [0, 0, 0]
    rng = generator("classes")
    logits = (10 * rng.standard_normal((2000, 5))).astype(np.float32)
    labels = rng.integers(0, 5, 2000)
    probs = np.asarray(jax.nn.softmax(logits))
    for score in (scoring.log_score, scoring.brier_score, scoring.ranked_probability_score):
        assert (score(probs, labels) >= 0).all()
    assert (scoring.log_score_from_logits(logits, labels) >= 0).all()
