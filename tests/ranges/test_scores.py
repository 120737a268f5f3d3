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


def beta(rng, n):
    a, b = log_uniform(rng, 1e-2, 1e6, n), log_uniform(rng, 1e-2, 1e6, n)
    small = np.where(a < b, a, b).astype(float)
    a8, b8 = a.astype(float), b.astype(float)
    share = stats.beta(a8, b8).ppf(special.ndtr(2 * rng.standard_normal(n)))
    share = np.clip(share, 1e-30, 1)
    x = np.where(rng.random(n) < 0.1, rng.uniform(-1, 2, n), share).astype(np.float32)
    v, m = x.astype(float), a8 / (a8 + b8)
    half = special.betaln(2 * a8, 2 * b8) - 2 * special.betaln(a8, b8)
    inside = np.clip(v, 0, 1)
    want = (v - m) * (2 * special.betainc(a8, b8, inside) - 1) + 2 * m * (
        np.exp(
            special.xlogy(a8, inside)
            + special.xlog1py(b8, -inside)
            - np.log(a8)
            - special.betaln(a8, b8)
        )
        - np.exp(half - np.log(a8))
    )
    spread = np.sqrt(m * (1 - m) / (a8 + b8 + 1))
    # float64 itself, and roundings of parameters and of x
    lost = (1e-12 * (a8 + b8) + 6 * EPS) * np.minimum(m, 1 - m) + 2 * EPS * np.abs(v)
    return scoring.crps_beta, (a, b, x), want, np.where(small < 1, 0.1, 1) * spread + lost / 2e-5


def student_t(rng, n):
    _, (loc, scale, x), _, s = normal(rng, n)
    dof = log_uniform(rng, 1.1, 1e8, n)
    v, z = dof.astype(float), np.abs(x.astype(float) - loc) / s
    upper = special.stdtr(v, -z)
    half = half_ratio(v / 2) - special.gammaln(0.5)  # log 1 / B(1/2, v / 2)
    mass = np.exp(half - (v + 1) / 2 * np.log1p(z**2 / v)) / np.sqrt(v)
    spread = np.sqrt(v) * np.exp(-half_ratio(v - 0.5) + special.gammaln(0.5) + 2 * half)
    want = z * (1 - 2 * upper) + 2 * (mass * (v + z**2) - spread) / (v - 1)
    return scoring.crps_student_t, (dof, loc, scale, x), s * want, s


def half_difference(variance, log_power):
    """E |X - X'| / 2 of counts, by an integral over the frequencies with far more points."""
    at = np.linspace(-40, 12, 2000)[:, None]
    square, cosine = special.expit(2 * at), np.sqrt(special.expit(-2 * at))
    shares = 4 / np.pi * (52 / 1999) * cosine**3 * np.sqrt(square)
    return variance * np.sum(shares * np.exp(log_power(square)), axis=0)


def in_blocks(function, *arrays):
    return np.concatenate(
        [function(*part) for part in zip(*(np.array_split(a, 100) for a in arrays), strict=True)]
    )


def binomial(rng, n):
    size = np.round(log_uniform(rng, 1, 1e6, n)).astype(np.float32)
    p = np.minimum(log_uniform(rng, 1e-6, 2, n), 1).astype(np.float32)
    p8 = p.astype(float)
    sd = np.sqrt(size * p8 * (1 - p8))
    x = np.clip(np.round(size * p8 + 2 * sd * rng.standard_normal(n)), 0, size).astype(np.float32)

    def exact(k, n, p):
        law = stats.binom(n, p)
        mass = np.where(k < n, stats.binom.pmf(k, n - 1, p), 0)
        with np.errstate(all="ignore"):
            half = half_difference(
                n * p * (1 - p), lambda s: special.xlog1py(n - 1, -4 * p * (1 - p) * s)
            )
        away = (k - n * p) * (law.cdf(k) - law.sf(k)) + 2 * n * p * (1 - p) * mass
        return away - half

    want = in_blocks(exact, x.astype(float), size.astype(float), p8)
    # what one rounding of p changes: its share of the mean
    return scoring.crps_binomial, (size, p, x), want, (x + size * p8) * EPS / 4e-6


def gamma_poisson(rng, n):
    r, rate = log_uniform(rng, 1e-2, 1e5, n), log_uniform(rng, 1e-4, 1e3, n)
    r8, rate8 = r.astype(float), rate.astype(float)
    law = stats.nbinom(r8, rate8 / (1 + rate8))
    share = np.minimum(special.ndtr(2 * rng.standard_normal(n)), 1 - 1e-9)
    x = law.ppf(share).astype(np.float32)

    def exact(k, r, rate):
        p = rate / (1 + rate)
        law, mean = stats.nbinom(r, p), r / rate
        half = half_difference(mean / p, lambda s: -(r + 1) * np.log1p(4 / rate / p * s))
        next_mass = (r + k) / rate / r * law.pmf(k) * r  # the mean times C(r + k, k) p^r q^k
        return (k - mean) * (law.cdf(k) - law.sf(k)) + 2 * next_mass - half

    want = in_blocks(exact, x.astype(float), r8, rate8)
    return scoring.crps_gamma_poisson, (r, rate, x), want, (x + r8 / rate8) * EPS / 4e-6


CASES = [
    normal,
    laplace,
    logistic,
    uniform,
    exponential,
    log_normal,
    gamma,
    poisson,
    beta,
    student_t,
    binomial,
    gamma_poisson,
]


STATED = re.compile(r"Float32: right to (\S+) of (score and spread|itself)")


def stated(score):
    """The tolerance in the docstring of a score."""
    return float(STATED.search(" ".join(score.__doc__.split())).group(1))


@pytest.mark.sampled(0.5)
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
