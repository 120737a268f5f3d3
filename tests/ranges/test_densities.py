"""Log densities of every family over whole ranges, to the tolerance that its docstring states.

The line "Float32: log density within T of 1 + its size" in a docstring is what the test reads, so
neither can drift. Beside T one rounding of every argument is allowed for: what the density changes
by is found from the float64 reference itself.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import likelax as lx
from likelax.families.registry import FAMILIES
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform

STATED = re.compile(r"Float32: log density within (\S+) of 1 \+ its size")


def stated(family):
    """The tolerance in the docstring of a family."""
    found = STATED.search(" ".join(family.__doc__.split()))
    assert found, f"{family.__name__} states no tolerance"
    return float(found.group(1))


def near(rng, n, centre, width):
    return (centre + width * 3 * rng.standard_normal(n)).astype(np.float32)


def shifted(rng, n):
    """(loc, scale, x) of scales 1e-30 to 1e30, as far as 1e6 scales from zero."""
    scale = log_uniform(rng, 1e-30, 1e30, n)
    loc = (scale * log_uniform(rng, 1e-3, 1e6, n) * rng.choice([-1, 1], n)).astype(np.float32)
    return loc, scale, near(rng, n, loc, scale)


def positive(rng, n, low=1e-20, high=1e20):
    return log_uniform(rng, low, high, n)


def probability(rng, n):
    """Also close to either end."""
    p = log_uniform(rng, 1e-6, 0.5, n)
    return np.where(rng.random(n) < 0.5, p, 1 - p).astype(np.float32)


def binomial_counts(rng, n, high):
    size = np.round(log_uniform(rng, 1, high, n))
    p = probability(rng, n)
    x = np.clip(np.round(near(rng, n, size * p, np.sqrt(size * p * (1 - p)))), 0, size)
    return size, p, x


def up_to(rng, n, high):
    rate = log_uniform(rng, 1e-6, high, n)
    return rate, np.maximum(np.round(near(rng, n, rate, np.sqrt(rate))), 0)


def gamma_case(rng, n):
    a, unit = log_uniform(rng, 1e-3, 1e9, n), positive(rng, n, 1e-15, 1e15)
    z = 3 * rng.standard_normal(n)
    x = a * np.where(a > 1, np.maximum(1 + z / np.sqrt(a), 1e-3), np.exp(2 * z))
    return a, unit, x


def gammas(rng, n):
    a, unit, x = gamma_case(rng, n)
    return a, unit, (x / unit).astype(np.float32)


def inverse_gammas(rng, n):
    a, unit, x = gamma_case(rng, n)
    return a, unit, (unit / x).astype(np.float32)


def betas(rng, n):
    total, p = log_uniform(rng, 1e-2, 1e9, n), rng.uniform(0.01, 0.99, n)
    a, b = (total * p).astype(np.float32), (total * (1 - p)).astype(np.float32)
    x = np.clip(near(rng, n, p, np.sqrt(p * (1 - p) / (1 + total))), 1e-6, 1 - 1e-6)
    return a, b, x.astype(np.float32)


def beta_counts(rng, n):
    a, b, p = betas(rng, n)
    size = np.round(log_uniform(rng, 1, 1e6, n))
    x = np.clip(np.round(near(rng, n, size * p, np.sqrt(size * p * (1 - p)))), 0, size)
    return a, b, size, x


def stirling(x):
    """log Gamma(x + 1) - x log x + x in float64, without cancelling."""
    big = np.maximum(x, 1)
    series = np.log(2 * np.pi * big) / 2 + 1 / (12 * big) - 1 / (360 * big**3)
    return np.where(x > 1e4, series, special.gammaln(x + 1) - special.xlogy(x, x) + x)


def bend(x, m):
    """x log(x / m) + m - x in float64."""
    v = (x - m) / m
    series = m * v**2 * (1 / 2 - v / 6 + v**2 / 12 - v**3 / 20 + v**4 / 30 - v**5 / 42)
    direct = special.xlogy(x, np.maximum(x, 1e-300) / m) + m - x
    return np.where(np.abs(v) < 1e-2, series, direct)


def term(x, y, p, q):
    """log Gamma(x + y + 1) / Gamma(x + 1) / Gamma(y + 1) p^x q^y for p + q = 1."""
    n = x + y
    return stirling(n) - stirling(x) - stirling(y) - bend(x, n * p) - bend(y, n * q)


def beta_term(x, y, a, b):
    """log of the binomial coefficient times B(a + x, b + y) / B(a, b)."""
    n, s = x + y, a + b
    p, q = (a + x) / (s + n), (b + y) / (s + n)
    value = term(x, y, p, q) + term(a, b, p, q) - term(a + x, b + y, p, q)
    return value + np.log1p(n / s) - np.log1p(x / a) - np.log1p(y / b)


def log_normal_points(rng, n):
    scale = log_uniform(rng, 1e-3, 10, n)
    loc = rng.uniform(-30, 30, n).astype(np.float32)
    return loc, scale, np.exp(near(rng, n, loc, scale).clip(-80, 80)).astype(np.float32)


def gamma_logpdf(x, a, b):
    return np.log(a) - np.log(x) - stirling(a) - bend(a, b * x)


def negative_binomials(rng, n):
    r = log_uniform(rng, 1e-2, 1e6, n)
    p = probability(rng, n)
    mean = r * (1 - p) / p
    x = np.round(mean * np.exp(rng.standard_normal(n) / np.sqrt(1 + np.minimum(r, mean)))).clip(
        0, 1e9
    )
    return r, p, x.astype(np.float32)


CASES = {
    "Bernoulli": (
        lx.Bernoulli,
        lambda r, n: (probability(r, n), r.integers(0, 2, n).astype(np.float32)),
        lambda x, p: special.xlogy(x, p) + special.xlog1py(1 - x, -p),
    ),
    "Beta": (
        lx.Beta,
        betas,
        lambda x, a, b: term(a, b, x, 1 - x) + np.log(a * b / (a + b)) - np.log(x) - np.log1p(-x),
    ),
    "BetaBinomial": (
        lambda a, b, n: lx.BetaBinomial(a, b, total_count=n),
        beta_counts,
        lambda x, a, b, n: beta_term(x, n - x, a, b),
    ),
    "BetaNegativeBinomial": (
        lambda a, b, r: lx.BetaNegativeBinomial(a, b, total_count=r),
        lambda r, n: (
            *betas(r, n)[:2],
            log_uniform(r, 1e-1, 1e6, n),
            np.round(log_uniform(r, 1, 1e6, n)),
        ),
        lambda x, a, b, r: beta_term(r, x, a, b) - np.log1p(x / r),
    ),
    "Binomial": (
        lx.Binomial,
        lambda r, n: binomial_counts(r, n, 1e9),
        lambda x, n, p: term(x, n - x, p, 1 - p),
    ),
    "Exponential": (
        lx.Exponential,
        lambda r, n: (u := positive(r, n), (log_uniform(r, 1e-6, 1e2, n) / u).astype(np.float32)),
        lambda x, b: np.log(b) - b * x,
    ),
    "Gamma": (lx.Gamma, gammas, gamma_logpdf),
    "GammaGamma": (
        lambda a, b, c: lx.GammaGamma(a, b, c),
        lambda r, n: (
            a := log_uniform(r, 1e-2, 1e6, n),
            b := positive(r, n, 1e-15, 1e15),
            c := log_uniform(r, 1e-2, 1e6, n),
            (
                b * c / a * np.exp(2 * r.standard_normal(n) * np.sqrt(1 / a + 1 / c).clip(0, 3))
            ).astype(np.float32),
        ),
        lambda x, a, b, c: (
            term(c, a, x / (x + b), b / (x + b)) + np.log(c * a / (c + a)) - np.log(x)
        ),
    ),
    "GammaKnownShape": (lx.GammaKnownShape, gammas, gamma_logpdf),
    "GammaPoisson": (
        lx.GammaPoisson,
        lambda r, n: (
            a := log_uniform(r, 1e-2, 1e6, n),
            b := log_uniform(r, 1e-3, 1e3, n),
            np.round(a / b * np.exp(r.standard_normal(n) / np.sqrt(1 + a)))
            .astype(np.float32)
            .clip(0, 1e9),
        ),
        lambda x, a, b: term(x, a, 1 / (1 + b), b / (1 + b)) - np.log1p(x / a),
    ),
    "Geometric": (
        lx.Geometric,
        lambda r, n: (
            p := probability(r, n),
            np.round(log_uniform(r, 1e-2, 10, n) / p).clip(0, 1e9).astype(np.float32),
        ),
        lambda x, p: np.log(p) + x * np.log1p(-p),
    ),
    "InverseGamma": (
        lx.InverseGamma,
        inverse_gammas,
        lambda x, a, b: gamma_logpdf(1 / x, a, b) - 2 * np.log(x),
    ),
    "Laplace": (lx.Laplace, shifted, lambda x, m, s: -np.abs(x - m) / s - np.log(2 * s)),
    "LogNormal": (
        lx.LogNormal,
        log_normal_points,
        lambda x, m, s: stats.norm.logpdf((np.log(x) - m) / s) - np.log(s * x),
    ),
    "Lomax": (
        lx.Lomax,
        lambda r, n: (
            log_uniform(r, 1e-2, 1e6, n),
            b := positive(r, n),
            (b * log_uniform(r, 1e-6, 1e3, n)).astype(np.float32),
        ),
        lambda x, a, b: np.log(a) - np.log(b) - (a + 1) * np.log1p(x / b),
    ),
    "NegativeBinomial": (
        lx.NegativeBinomial,
        negative_binomials,
        lambda x, r, p: term(x, r, 1 - p, p) - np.log1p(x / r),
    ),
    "NoisyNormal": (
        None,
        lambda r, n: (
            s := log_uniform(r, 1e-15, 1e15, n),
            v := (s * s * log_uniform(r, 1e-3, 1e3, n)).astype(np.float32),
            near(r, n, 0, np.sqrt(s.astype(float) ** 2 + v)),
        ),
        lambda x, s, v: stats.norm.logpdf(x / np.sqrt(s**2 + v)) - np.log(s**2 + v) / 2,
    ),
    "Normal": (lx.Normal, shifted, lambda x, m, s: stats.norm.logpdf((x - m) / s) - np.log(s)),
    "NormalKnownLoc": (
        lx.NormalKnownLoc,
        shifted,
        lambda x, m, s: stats.norm.logpdf((x - m) / s) - np.log(s),
    ),
    "NormalKnownScale": (
        lx.NormalKnownScale,
        shifted,
        lambda x, m, s: stats.norm.logpdf((x - m) / s) - np.log(s),
    ),
    "NormalMean": (
        lx.NormalMean,
        shifted,
        lambda x, m, s: stats.norm.logpdf((x - m) / s) - np.log(s),
    ),
    "Pareto": (
        lambda s, a: lx.Pareto(scale=s, shape=a),
        lambda r, n: (
            s := positive(r, n),
            a := log_uniform(r, 1e-2, 1e6, n),
            (s * (1 + log_uniform(r, 1e-3, 1e3, n) / np.maximum(a, 1))).astype(np.float32),
        ),
        lambda x, s, a: np.log(a) - np.log(s) - (a + 1) * np.log(x / s),
    ),
    "ParetoKnownScale": (
        lx.ParetoKnownScale,
        lambda r, n: (
            s := positive(r, n),
            a := log_uniform(r, 1e-2, 1e6, n),
            (s * (1 + log_uniform(r, 1e-3, 1e3, n) / np.maximum(a, 1))).astype(np.float32),
        ),
        lambda x, s, a: np.log(a) - np.log(s) - (a + 1) * np.log(x / s),
    ),
    "GammaPareto": (
        lx.GammaPareto,
        lambda r, n: (
            log_uniform(r, 1e-2, 1e4, n),
            log_uniform(r, 1e-2, 1e4, n),
            s := positive(r, n),
            (s * (1 + log_uniform(r, 1e-3, 1e3, n))).astype(np.float32),
        ),
        lambda x, a, b, s: (
            np.log(a) - np.log(b) - (a + 1) * np.log1p(np.log(x / s) / b) - np.log(x)
        ),
    ),
    "ParetoUniform": (
        lambda s, a: lx.ParetoUniform(scale=s, shape=a),
        lambda r, n: (
            s := positive(r, n),
            a := log_uniform(r, 1e-2, 1e6, n),
            (
                s
                * (
                    log_uniform(r, 1e-3, 1, n)
                    if n % 2
                    else 1 + log_uniform(r, 1e-3, 1e3, n) / np.maximum(a, 1)
                )
            ).astype(np.float32),
        ),
        lambda x, s, a: np.log(a / (1 + a)) - np.log(s) - (a + 1) * np.log(np.maximum(x / s, 1)),
    ),
    "Poisson": (lx.Poisson, lambda r, n: up_to(r, n, 1e9), lambda x, m: -bend(x, m) - stirling(x)),
    "StudentT": (
        lx.StudentT,
        lambda r, n: (log_uniform(r, 1e-2, 1e9, n), *shifted(r, n)),
        lambda x, d, m, s: student(x, d, m, s),
    ),
    "Uniform": (
        lx.Uniform,
        lambda r, n: (
            m := shifted(r, n)[0],
            (m + np.abs(m) * log_uniform(r, 1e-3, 1e3, n)).astype(np.float32),
            m,
        ),
        lambda x, low, high: -np.log(high - low),
    ),
    "UniformFromZero": (
        lx.UniformFromZero,
        lambda r, n: (u := positive(r, n), u / 2),
        lambda x, high: -np.log(high),
    ),
    "VonMises": (
        lx.VonMises,
        lambda r, n: (
            m := r.uniform(-3, 3, n).astype(np.float32),
            k := log_uniform(r, 1e-20, 1e8, n),
            near(r, n, m, 1 / np.sqrt(np.maximum(k, 1))),
        ),
        lambda x, m, k: (
            -2 * k * np.sin((x - m) / 2) ** 2 - np.log(special.i0e(k)) - np.log(2 * np.pi)
        ),
    ),
    "Weibull": (
        lambda k, s: lx.Weibull(shape=k, scale=s),
        lambda r, n: (
            k := log_uniform(r, 1e-2, 1e3, n),
            s := positive(r, n, 1e-15, 1e15),
            (s * log_uniform(r, 1e-3, 10, n) ** (1 / k.astype(float)).clip(0, 5)).astype(
                np.float32
            ),
        ),
        lambda x, k, s: np.log(k / s) + (k - 1) * np.log(x / s) - (x / s) ** k,
    ),
}


def simplexes(rng, n, size=4):
    """Rows around a mean, for totals from 1e-2 to 1e8."""
    share = rng.dirichlet(np.ones(size), n).clip(1e-3)
    total = log_uniform(rng, 1e-2, 1e8, (n, 1)).astype(float)
    a = (total * share / share.sum(1, keepdims=True)).astype(np.float32)
    x = np.maximum(rng.gamma(a.astype(float)), 1e-30)
    return a, (x / x.sum(1, keepdims=True)).astype(np.float32)


def probabilities(rng, n, size=4):
    p = (rng.dirichlet(np.ones(size), n) + 1e-4).astype(np.float32)
    return p / p.sum(1, keepdims=True, dtype=np.float32)


def rows(rng, n, size=3):
    """(loc, scale_tril, x) in units from 1e-12 to 1e12, as far as 1e4 widths from zero."""
    unit = log_uniform(rng, 1e-12, 1e12, (n, size)).astype(float)
    tril = np.tril(rng.standard_normal((n, size, size)), -1) / 2 + np.eye(size)
    tril = (tril * unit[:, :, None]).astype(np.float32)
    loc = (unit * log_uniform(rng, 1e-2, 1e4, (n, 1))).astype(np.float32)
    x = loc + np.matmul(tril.astype(float), 2 * rng.standard_normal((n, size, 1)))[..., 0]
    return loc, tril, x.astype(np.float32)


def white(x, loc, tril):
    z = np.linalg.solve(tril, (x - loc)[..., None])[..., 0]
    return (z**2).sum(1), np.log(np.diagonal(tril, axis1=1, axis2=2)).sum(1)


def mv_student(x, dof, loc, tril):
    square, log_det = white(x, loc, tril)
    top = (dof + 3) / 2
    constant = special.gammaln(top) - special.gammaln(dof / 2) - 1.5 * np.log(np.pi * dof)
    return constant - log_det - top * np.log1p(square / dof)


def scores(rng, n, high=50):
    return (log_uniform(rng, 1e-3, high, n) * rng.choice([-1, 1], n)).astype(np.float32)


def count_scores(rng, n):
    rate, x = up_to(rng, n, 1e9)
    return np.log(rate).astype(np.float32), x


def wide_counts(rng, n):
    r = log_uniform(rng, 1e-2, 1e6, n)
    s = rng.uniform(-10, 15, n).astype(np.float32)
    noise = rng.standard_normal(n) / np.sqrt(1 + r)
    return r, s, np.round(np.exp(s.astype(float) + noise)).astype(np.float32)


def mixed_counts(rng, n):
    a, v = simplexes(rng, n)
    size = np.round(log_uniform(rng, 1, 1e5, (n, 1)).astype(float))
    return a, np.round(size * v).astype(np.float32)


def dirichlet(x, a):
    """At the rows divided by their sum, which float32 does not hold exactly."""
    logs = np.log(x / x.sum(1, keepdims=True))
    return special.gammaln(a.sum(1)) - special.gammaln(a).sum(1) + ((a - 1) * logs).sum(1)


def matrices(rng, n):
    """(kappa, dof, scale, mean, covariance) in two dimensions, dof from 2 to 100."""
    dof, kappa = log_uniform(rng, 2, 100, n).astype(float), log_uniform(rng, 1e-2, 1e2, n)
    unit = log_uniform(rng, 1e-6, 1e6, (n, 1, 1)).astype(float)
    half = unit * (np.eye(2) + np.tril(rng.standard_normal((n, 2, 2)) / 2, -1))
    root = np.eye(2) * 0.7 + np.tril(np.abs(rng.standard_normal((n, 2, 2)))) / 3
    scale = np.matmul(half, half.swapaxes(1, 2))
    covariance = np.matmul(np.matmul(half, root), np.matmul(half, root).swapaxes(1, 2))
    mean = np.matmul(half, rng.standard_normal((n, 2, 1)))[..., 0]
    dof = dof.astype(np.float32)
    scale = (scale * dof[:, None, None]).astype(np.float32)
    return kappa, dof, scale, mean.astype(np.float32), covariance.astype(np.float32)


def niw(v, kappa, n, scale, mean):
    v, scale = ((m + m.swapaxes(1, 2)) / 2 for m in (v, scale))
    inverse = np.linalg.inv(v)
    log_v, log_s = (np.linalg.slogdet(m)[1] for m in (v, scale))
    gammas = special.gammaln(n / 2) + special.gammaln((n - 1) / 2) + np.log(np.pi) / 2
    wishart = n / 2 * log_s - n * np.log(2) - gammas - (n + 3) / 2 * log_v
    wishart -= np.einsum("nij,nji->n", scale, inverse) / 2
    square = kappa * np.einsum("ni,nij,nj->n", mean, inverse, mean)
    return wishart - square / 2 - log_v / 2 + np.log(kappa) - np.log(2 * np.pi)


def compound(x, a):
    n, total = x.sum(1), a.sum(1)
    each = special.gammaln(x + a) - special.gammaln(a) - special.gammaln(x + 1)
    return (
        each.sum(1) + special.gammaln(total) - special.gammaln(total + n) + special.gammaln(n + 1)
    )


def variances(rng, n):
    a, unit, v = inverse_gammas(rng, n)
    kappa = log_uniform(rng, 1e-3, 1e6, n)
    mean = np.sqrt(v.astype(float) / kappa) * 2 * rng.standard_normal(n)
    return kappa, np.maximum(a, 1e-2), unit, mean.astype(np.float32), v


def nig(v, kappa, a, b, mean):
    of_mean = stats.norm.logpdf(mean * np.sqrt(kappa / v)) + np.log(kappa / v) / 2
    return gamma_logpdf(1 / v, a, b) - 2 * np.log(v) + of_mean


def line(model):
    """A regression of one input, which is 1."""
    return lambda *a: model(*a[:-1]).log_prob((jnp.ones(1), a[-1]))


def row(model):
    return lambda *a: model(*a[:-1]).log_prob(a[-1])


ROWS = {
    "Categorical": (
        row(lx.Categorical),
        lambda r, n: (probabilities(r, n), r.integers(0, 4, n).astype(np.int32)),
        lambda x, p: np.log(np.take_along_axis(p, x[:, None].astype(int), 1)[:, 0]),
    ),
    "Dirichlet": (row(lx.Dirichlet), simplexes, dirichlet),
    "DirichletMultinomial": (row(lx.DirichletMultinomial), mixed_counts, compound),
    "MvBernoulli": (
        row(lx.MvBernoulli),
        lambda r, n: (probability(r, (n, 5)), r.integers(0, 2, (n, 5)).astype(np.float32)),
        lambda x, p: (special.xlogy(x, p) + special.xlog1py(1 - x, -p)).sum(1),
    ),
    "MvNormal": (
        row(lx.MvNormal),
        rows,
        lambda x, m, t: -white(x, m, t)[0] / 2 - white(x, m, t)[1] - 1.5 * np.log(2 * np.pi),
    ),
    "MvStudentT": (
        row(lx.MvStudentT),
        lambda r, n: (log_uniform(r, 1e-2, 1e4, n), *rows(r, n)),
        mv_student,
    ),
    "SphericalNormal": (
        row(lx.SphericalNormal),
        lambda r, n: spheres(r, n),
        lambda x, m, s: stats.norm.logpdf((x - m) / s[:, None]).sum(1) - 3 * np.log(s),
    ),
    "LinearRegression": (
        line(lambda b, s: lx.LinearRegression(b[None, None], s[None, None])),
        lambda r, n: shifted(r, n),
        lambda x, m, s: stats.norm.logpdf((x - m) / s) - np.log(s),
    ),
    "LogisticRegression": (
        line(lambda s: lx.LogisticRegression(s[None])),
        lambda r, n: (scores(r, n), r.integers(0, 2, n).astype(np.float32)),
        lambda x, s: -np.logaddexp(0, np.where(x == 1, -s, s)),
    ),
    "SoftmaxRegression": (
        line(lambda s: lx.SoftmaxRegression(s[None])),
        lambda r, n: (scores(r, (n, 4)), r.integers(0, 4, n).astype(np.int32)),
        lambda x, s: (
            np.take_along_axis(s, x[:, None].astype(int), 1)[:, 0] - special.logsumexp(s, axis=1)
        ),
    ),
    "PoissonRegression": (
        line(lambda s: lx.PoissonRegression(s[None])),
        count_scores,
        lambda x, s: -bend(x, np.exp(s)) - stirling(x),
    ),
    "NegativeBinomialRegression": (
        line(lambda r, s: lx.NegativeBinomialRegression(r, s[None])),
        wide_counts,
        lambda x, r, s: (
            term(x, r, 1 / (1 + r * np.exp(-s)), 1 / (1 + np.exp(s) / r)) - np.log1p(x / r)
        ),
    ),
    "RidgePrior": (
        row(lambda p: lx.RidgePrior(p[None])),
        lambda r, n: (
            p := positive(r, n),
            (3 * r.standard_normal((n, 1)) / np.sqrt(p[:, None])).astype(np.float32),
        ),
        lambda x, p: (np.log(p) - np.log(2 * np.pi) - p * x[:, 0] ** 2) / 2,
    ),
    "NormalInverseGamma": (
        lambda k, a, b, m, v: lx.NormalInverseGamma(jnp.zeros(()), k, a, b).log_prob((m, v)),
        variances,
        nig,
    ),
    "NormalInverseWishart": (
        lambda k, d, s, m, v: lx.NormalInverseWishart(jnp.zeros(2), k, d, s).log_prob((m, v)),
        matrices,
        niw,
    ),
    "MatrixNormalInverseWishart": (
        lambda p, d, s, m, v: lx.MatrixNormalInverseWishart(
            jnp.zeros((1, 1)), p[None, None], d, s[None, None]
        ).log_prob((m[None, None], v[None, None])),
        lambda r, n: (lambda k, a, b, m, v: (k, 2 * a.clip(0.1, 50), 2 * b, m, v))(
            *variances(r, n)
        ),
        lambda v, k, d, s, m: nig(v, k, d / 2, s / 2, m),
    ),
}


def spheres(rng, n):
    scale = log_uniform(rng, 1e-15, 1e15, n)
    loc = (scale[:, None] * log_uniform(rng, 1e-2, 1e4, (n, 3))).astype(np.float32)
    return loc, scale, near(rng, (n, 3), loc, scale[:, None])


def student(x, dof, loc, scale):
    half, top = dof / 2, (dof + 1) / 2
    constant = stirling(top - 0) - stirling(half) - np.log(top / half) + 0.0
    constant += top * np.log(top) - top - half * np.log(half) + half - np.log(dof * np.pi) / 2
    big = -0.5 * np.log(2 * np.pi) - 1 / (4 * dof)
    constant = np.where(dof > 1e5, big, constant)
    return constant - np.log(scale) - top * np.log1p(((x - loc) / scale) ** 2 / dof)


def noisy(s, v, x):
    return lx.NoisyNormal(jnp.zeros_like(s), s).log_prob((x, v))


def measure(name, count):
    """(ours, float64's, what one rounding of every argument changes) at many points."""
    by_row = name in ROWS
    density, draw, reference = (ROWS if by_row else CASES)[name]
    rng = generator(f"density {name}")
    with np.errstate(all="ignore"):
        *parameters, x = draw(rng, count)
        wide = [np.asarray(a, float) for a in (x, *parameters)]
        want = reference(*wide)
        rounding = np.zeros(count)
        for i, a in enumerate(wide):
            if np.asarray((x, *parameters)[i]).dtype.kind != "f":
                continue
            # the signs of the roundings of a vector's entries matter
            most = np.zeros(count)
            for _ in range(6 if by_row else 1):
                signs = 1 + EPS * rng.choice([-1, 1], a.shape)
                moved = reference(*wide[:i], a * signs, *wide[i + 1 :])
                most = np.fmax(most, np.where(np.isfinite(moved), np.abs(moved - want), 0))
            rounding += most
    if name == "NoisyNormal":
        run = noisy
    else:
        run = jax.vmap(density) if by_row else row(density)
    arguments = [
        a if a.dtype.kind == "i" else a.astype(np.float32)
        for a in map(np.asarray, (*parameters, x))
    ]
    return np.asarray(jax.jit(run)(*arguments), float), want, rounding


@few_and_many
@pytest.mark.parametrize("name", [*CASES, *ROWS])
def test_log_density_is_that_of_float64_to_the_tolerance_stated(name, count):
    got, want, rounding = measure(name, count)
    fine = np.isfinite(want) & (np.abs(want) < 1e30)
    assert fine.mean() > 0.95
    entry = next(e for e in FAMILIES if e.name == name)
    tolerance = stated(entry.family) * (1 + np.abs(want)) + 4 * rounding
    assert_within(got[fine], want[fine], tolerance[fine])


# in test_counts.py, and exact
OTHERS = {"Multinomial", "Delta"}


def test_every_family_is_in_the_table():
    assert {e.name for e in FAMILIES} == {*CASES, *ROWS, *OTHERS}
