"""Every family against SciPy over a grid, in float64 and float32, with finite gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from likelax.families import (
    Bernoulli,
    Beta,
    BetaBinomial,
    BetaNegativeBinomial,
    Binomial,
    Exponential,
    Gamma,
    GammaGamma,
    GammaKnownShape,
    GammaPoisson,
    Geometric,
    InverseGamma,
    Laplace,
    LogNormal,
    Lomax,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
    UniformFromZero,
    VonMises,
    Weibull,
)

COUNTS = np.array([0, 1, 2, 3, 7, 20, 150, 1000])
REALS = np.array([-300.0, -20.0, -1.5, -0.1, 0.0, 0.3, 1.0, 4.0, 55.0])
POSITIVE = np.array([1e-8, 0.01, 0.3, 0.99, 1.0, 2.5, 30.0, 400.0])
UNIT = np.array([1e-9, 0.01, 0.3, 0.5, 0.77, 0.999])


class Case(NamedTuple):
    """A family, parameters (one tuple a row), points, and SciPy's log density."""

    family: Callable[..., Any]
    parameters: list[tuple]
    x: np.ndarray
    oracle: Callable[..., np.ndarray]
    # of the absolute error in float32, beside a relative one of 3e-6: what rounding the
    # parameters themselves to float32 may move a log density of this size
    atol32: float = 2e-5


def rows(*axes: list[float]) -> list[tuple]:
    return [
        tuple(r) for r in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    ]


CASES = {
    "Bernoulli": Case(
        Bernoulli,
        rows([0.0, 0.2, 0.5, 1.0]),
        np.array([0, 1]),
        lambda x, p: stats.bernoulli.logpmf(x, p),
    ),
    "Poisson": Case(Poisson, rows([1e-6, 0.3, 1.0, 12.5, 900.0]), COUNTS, stats.poisson.logpmf),
    "Normal": Case(Normal, rows([-3.0, 0.0, 100.0], [0.01, 1.0, 30.0]), REALS, stats.norm.logpdf),
    "StudentT": Case(
        StudentT,
        rows([0.5, 1.0, 3.0, 40.0], [-2.0, 0.5], [0.1, 3.0]),
        REALS,
        lambda x, dof, loc, scale: stats.t.logpdf(x, dof, loc, scale),
    ),
    "Gamma": Case(
        Gamma,
        rows([0.1, 1.0, 2.0, 50.0], [0.2, 1.0, 9.0]),
        POSITIVE,
        lambda x, a, b: stats.gamma.logpdf(x, a, scale=1 / b),
    ),
    "Beta": Case(Beta, rows([0.1, 1.0, 2.5, 80.0], [0.3, 1.0, 40.0]), UNIT, stats.beta.logpdf),
    "GammaPoisson": Case(
        GammaPoisson,
        rows([0.2, 1.0, 30.0], [0.1, 1.0, 20.0]),
        COUNTS,
        lambda x, a, b: stats.nbinom.logpmf(x, a, b / (b + 1)),
    ),
    "Binomial": Case(
        Binomial,
        rows([1000.0], [0.01, 0.5, 0.9]),
        COUNTS,
        lambda x, n, p: stats.binom.logpmf(x, n, p),
        2e-4,
    ),
    "Geometric": Case(
        Geometric,
        rows([0.01, 0.5, 0.9]),
        COUNTS,
        lambda x, p: stats.geom.logpmf(x, p, loc=-1),
        2e-4,
    ),
    "NegativeBinomial": Case(
        NegativeBinomial,
        rows([0.3, 1.0, 40.0], [0.05, 0.5, 0.9]),
        COUNTS,
        lambda x, r, p: stats.nbinom.logpmf(x, r, p),
        2e-4,
    ),
    "BetaBinomial": Case(
        lambda a, b, n: BetaBinomial(a, b, total_count=n),
        rows([0.2, 1.0, 30.0], [0.5, 8.0], [1000.0]),
        COUNTS,
        lambda x, a, b, n: stats.betabinom.logpmf(x, n, a, b),
    ),
    "BetaNegativeBinomial": Case(
        lambda a, b, r: BetaNegativeBinomial(a, b, total_count=r),
        rows([0.2, 1.0, 30.0], [0.5, 8.0], [1.0, 7.5]),
        COUNTS,
        # stats.betanbinom gives NaN for some of these
        lambda x, a, b, r: (
            special.betaln(a + r, b + x)
            - special.betaln(a, b)
            - special.betaln(x + 1, r)
            - np.log(x + r)
        ),
    ),
    "Exponential": Case(
        Exponential,
        rows([0.01, 1.0, 7.0]),
        POSITIVE,
        lambda x, r: stats.expon.logpdf(x, scale=1 / r),
    ),
    "Lomax": Case(
        Lomax,
        rows([0.5, 3.0, 50.0], [0.1, 1.0, 20.0]),
        POSITIVE,
        lambda x, a, b: stats.lomax.logpdf(x, a, scale=b),
    ),
    "GammaGamma": Case(
        GammaGamma,
        rows([0.5, 3.0], [0.1, 20.0], [0.4, 1.0, 6.0]),
        POSITIVE,
        lambda x, a, b, c: stats.betaprime.logpdf(x, c, a, scale=b),
    ),
    "GammaKnownShape": Case(
        GammaKnownShape,
        rows([0.5, 3.0], [0.2, 9.0]),
        POSITIVE,
        lambda x, a, b: stats.gamma.logpdf(x, a, scale=1 / b),
    ),
    "InverseGamma": Case(
        InverseGamma,
        rows([0.3, 1.0, 20.0], [0.2, 5.0]),
        POSITIVE[1:],
        lambda x, a, b: stats.invgamma.logpdf(x, a, scale=b),
    ),
    "LogNormal": Case(
        LogNormal,
        rows([-1.0, 2.0], [0.2, 3.0]),
        POSITIVE,
        lambda x, loc, scale: stats.lognorm.logpdf(x, scale, scale=np.exp(loc)),
        1e-3,
    ),
    "Laplace": Case(Laplace, rows([-3.05, 0.07], [0.5, 30.0]), REALS, stats.laplace.logpdf),
    "Weibull": Case(
        lambda k, scale: Weibull(shape=k, scale=scale),
        rows([0.5, 1.0, 2.5], [0.7, 40.0]),
        POSITIVE,
        lambda x, k, scale: stats.weibull_min.logpdf(x, k, scale=scale),
    ),
    "VonMises": Case(
        VonMises,
        rows([-2.0, 0.4], [0.01, 1.0, 60.0]),
        np.array([-3.1, -0.4, 0.0, 1.3, 3.0]),
        lambda x, loc, kappa: stats.vonmises.logpdf(x, kappa, loc),
    ),
    "Uniform": Case(
        Uniform,
        rows([-310.0], [60.0, 900.0]),
        REALS,
        lambda x, low, high: stats.uniform.logpdf(x, low, high - low),
    ),
    "UniformFromZero": Case(
        UniformFromZero,
        rows([500.0, 900.0]),
        POSITIVE,
        lambda x, high: stats.uniform.logpdf(x, 0, high),
    ),
    "Pareto": Case(
        lambda scale, a: Pareto(scale=scale, shape=a),
        rows([1e-9, 0.005], [0.5, 3.0]),
        POSITIVE[1:],
        lambda x, scale, a: stats.pareto.logpdf(x, a, scale=scale),
    ),
}
# held whole numbers, whose derivative is not that of a neighbour
HELD = {"Binomial": 0, "BetaBinomial": 2}


def grid(case: Case, dtype: Any) -> tuple[list[jax.Array], jax.Array, np.ndarray]:
    """Parameters, points, and the truth at exactly those rounded values."""
    parameters = [np.asarray(p, dtype) for p in zip(*case.parameters, strict=True)]
    x = case.x if case.x.dtype.kind == "i" else case.x.astype(dtype)
    wide = [p.astype(float)[:, None] for p in parameters]
    with np.errstate(all="ignore"):
        want = case.oracle(x.astype(float)[None, :], *wide)
    return [jnp.asarray(p) for p in parameters], jnp.asarray(x), want


def all_log_probs(
    family: Callable[..., Any], parameters: list[jax.Array], x: jax.Array
) -> jax.Array:
    return jax.jit(jax.vmap(lambda *p: family(*p).log_prob(x)))(*parameters)


@pytest.mark.parametrize("name", CASES)
def test_log_density_is_scipys_in_float64(name, x64):
    parameters, x, want = grid(CASES[name], np.float64)
    got = all_log_probs(CASES[name].family, parameters, x)
    assert got.dtype == jnp.float64
    # 1e-12: SciPy's own absolute rounding where a log density crosses zero
    chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_log_density_is_scipys_in_float32(name):
    case = CASES[name]
    parameters, x, want = grid(case, np.float32)
    got = all_log_probs(case.family, parameters, x)
    assert got.dtype == jnp.float32
    chex.assert_trees_all_close(got.astype(float), want, rtol=3e-6, atol=case.atol32)


@pytest.mark.parametrize("name", CASES)
def test_gradients_match_finite_differences(name, x64):
    case = CASES[name]
    parameters, x, want = grid(case, np.float64)
    usable = np.isfinite(want)

    def total(*p):
        return jnp.where(usable, jax.vmap(lambda *q: case.family(*q).log_prob(x))(*p), 0).sum(1)

    value = jax.jit(total)
    slopes = jax.jit(jax.grad(lambda *p: total(*p).sum(), argnums=tuple(range(len(parameters)))))
    for i, slope in enumerate(slopes(*parameters)):
        step = 1e-6 * np.maximum(np.abs(parameters[i]), 1e-6)
        edge = np.zeros(step.shape, bool)
        if HELD.get(name) == i:
            continue
        if name == "Bernoulli":
            edge = np.asarray((parameters[i] == 0) | (parameters[i] == 1))
        up, down = (
            value(*parameters[:i], parameters[i] + s, *parameters[i + 1 :]) for s in (step, -step)
        )
        rise = (up - down) / (2 * step)
        assert np.all(np.isfinite(slope))
        # central differences: rounding of the value over the step
        noise = 1e-15 * np.abs(np.where(usable, want, 0)).sum(1) / step
        ok = np.abs(slope - rise) <= 1e-5 * np.abs(rise) + 1e-6 + 50 * noise
        assert np.all(ok | edge), (name, i)
