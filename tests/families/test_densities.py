"""Every family against SciPy over a grid, in float64 and float32, with finite gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax.families import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    GammaPoisson,
    Normal,
    Poisson,
    StudentT,
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
    return [tuple(r) for r in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))]


CASES = {
    "Bernoulli": Case(Bernoulli, rows([0.0, 0.2, 0.5, 1.0]), np.array([0, 1]), lambda x, p: stats.bernoulli.logpmf(x, p)),
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
}


def grid(case: Case, dtype: Any) -> tuple[list[jax.Array], jax.Array, np.ndarray]:
    """Parameters, points, and the truth at exactly those rounded values."""
    parameters = [np.asarray(p, dtype) for p in zip(*case.parameters, strict=True)]
    x = case.x if case.x.dtype.kind == "i" else case.x.astype(dtype)
    wide = [p.astype(float)[:, None] for p in parameters]
    with np.errstate(all="ignore"):
        want = case.oracle(x.astype(float)[None, :], *wide)
    return [jnp.asarray(p) for p in parameters], jnp.asarray(x), want


def all_log_probs(family: Callable[..., Any], parameters: list[jax.Array], x: jax.Array) -> jax.Array:
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
        if name == "Bernoulli":
            edge = np.asarray((parameters[i] == 0) | (parameters[i] == 1))
        up, down = (value(*parameters[:i], parameters[i] + s, *parameters[i + 1 :]) for s in (step, -step))
        rise = (up - down) / (2 * step)
        assert np.all(np.isfinite(slope))
        # central differences: rounding of the value over the step
        noise = 1e-15 * np.abs(np.where(usable, want, 0)).sum(1) / step
        ok = np.abs(slope - rise) <= 1e-5 * np.abs(rise) + 1e-6 + 50 * noise
        assert np.all(ok | edge), (name, i)


OUTSIDE = [
    (Bernoulli(0.3), [0.5, -1.0, 2.0]),
    (Poisson(2.0), [-1.0, 0.5]),
    (GammaPoisson(2.0, 1.0), [-1.0, 2.5]),
    (Gamma(2.0, 1.0), [-1.0, -jnp.inf]),
    (Beta(2.0, 3.0), [-0.1, 1.1]),
]


@pytest.mark.parametrize(("model", "x"), OUTSIDE, ids=lambda v: type(v).__name__)
def test_outside_the_support_is_minus_inf_with_finite_gradient(model, x):
    x = jnp.array(x)
    assert np.all(np.asarray(model.log_prob(x)) == -np.inf)
    assert np.isnan(model.log_prob(jnp.nan))
    slopes = jax.grad(lambda m, v: jnp.where(v < -jnp.inf, 0, m.log_prob(v)).sum(), argnums=(0, 1))(model, x[:1])
    chex.assert_tree_all_finite(slopes)


EDGES = [
    # model, x, exact log probability
    (Poisson(0.0), 0.0, 0.0),
    (Poisson(0.0), 1.0, -np.inf),
    (Bernoulli(0.0), 0.0, 0.0),
    (Bernoulli(0.0), 1.0, -np.inf),
    (Bernoulli(1.0), 1.0, 0.0),
    (Bernoulli(1.0), 0.0, -np.inf),
    (Gamma(1.0, 0.5), 0.0, -np.log(2.0)),  # chi2.logpdf(0, 2)
    (Gamma(2.0, 0.5), 0.0, -np.inf),
    (Gamma(0.5, 0.5), 0.0, np.inf),
    (Gamma(2.0, 0.5), np.inf, -np.inf),
    (Beta(1.0, 1.0), 0.0, 0.0),
    (Beta(1.0, 1.0), 1.0, 0.0),
    (Beta(1.0, 2.0), 0.0, np.log(2.0)),
    (Beta(2.0, 1.0), 0.0, -np.inf),
    (Beta(0.5, 1.0), 0.0, np.inf),
    (Dirichlet(np.ones(2)), np.array([0.0, 1.0]), 0.0),  # dirichlet.logpdf([0, 1], [1, 1])
    (Dirichlet(np.array([2.0, 1.0])), np.array([0.0, 1.0]), -np.inf),
    (Dirichlet(np.array([2.0, 1.0])), np.array([1.0, 0.0]), np.log(2.0)),
    (Categorical(np.array([0.0, 1.0])), np.array(0), -np.inf),
    (Categorical(np.array([0.0, 1.0])), np.array(1), 0.0),
    (Categorical(np.array([0.0, 1.0])), np.array(5), -np.inf),
]


@pytest.mark.parametrize(("model", "x", "want"), EDGES, ids=lambda v: type(v).__name__)
def test_edges_are_exact_with_finite_gradients(model, x, want):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
    x = jnp.asarray(x, jnp.int32 if isinstance(model, Categorical) else jnp.float32)
    chex.assert_trees_all_close(model.log_prob(x), jnp.float32(want), atol=1e-6)
    chex.assert_tree_all_finite(jax.grad(lambda m: m.log_prob(x))(model))
    if not isinstance(model, Bernoulli | Categorical | Poisson) and np.all(np.isfinite(x)):
        chex.assert_tree_all_finite(jax.grad(model.log_prob)(x))


def test_dirichlet_is_scipys(x64):
    rng = np.random.default_rng(0)
    for a in ([0.4, 1.0, 2.0], [30.0, 5.0, 0.1], [1e3, 2e3, 3e3]):
        x = rng.dirichlet(a, 6)
        want = [stats.dirichlet.logpdf(row, a) for row in x / x.sum(1, keepdims=True)]
        chex.assert_trees_all_close(Dirichlet(jnp.array(a)).log_prob(x), np.array(want), rtol=1e-9)
