"""Fits of shapes and concentrations from scattered to constant data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import likelax as lx
from likelax import fit
from likelax.families.simplex import fit_simplex
from likelax.numerics import newton
from likelax.numerics.newton import solve_shape
from likelax.statistics import PositiveMoments
from ranges.points import assert_within, few_and_many, generator, log_uniform


def lack(a):
    """log a - digamma(a) in float64."""
    z = 1 / a
    return np.where(a > 1e3, z / 2 + z**2 / 12 - z**4 / 120, np.log(a) - special.digamma(a))


@few_and_many
def test_gamma_shapes_from_1e_minus_3_to_1e12(count):
    a = log_uniform(generator("shape"), 1e-3, 1e12, count).astype(float)
    found = jax.jit(jax.vmap(lambda gap: solve_shape(gap).point))(lack(a).astype(np.float32))
    assert_within(found / a, 1.0, 2e-5)


@few_and_many
@pytest.mark.parametrize("size", [2, 5])
def test_dirichlet_concentrations_from_1e_minus_2_to_1e9(size, count):
    """From the exact expected statistics, so that the answer is known."""
    rng = generator("dirichlet")
    total = log_uniform(rng, 1e-2, 1e9, (count, 1)).astype(float)
    share = np.maximum(rng.dirichlet(np.ones(size), count), 1e-2)
    a = total * share / share.sum(1, keepdims=True)
    s = a.sum(1, keepdims=True)
    stats = PositiveMoments(
        jnp.ones(count),
        jnp.asarray(a / s, jnp.float32),
        jnp.asarray(lack(a) - lack(s), jnp.float32),
    )
    found = jax.jit(jax.vmap(lambda stats: fit_simplex(stats, jnp.ones(size))))(stats)
    assert_within(found / a, 1.0, 2e-4)


ALIKE = {
    "Gamma": (lx.Gamma(1.0, 1.0), 0.3),
    "InverseGamma": (lx.InverseGamma(1.0, 1.0), 0.3),
    "LogNormal": (lx.LogNormal(0.0, 1.0), 0.3),
    "Weibull": (lx.Weibull(shape=1.0, scale=1.0), 0.3),
    "Laplace": (lx.Laplace(0.0, 1.0), 0.3),
    "StudentT": (lx.StudentT(3.0, 0.0, 1.0), 0.3),
    "Normal": (lx.Normal(0.0, 1.0), 0.3),
    "Beta": (lx.Beta(1.0, 1.0), 0.3),
    "VonMises": (lx.VonMises(0.0, 1.0), 0.3),
    "Dirichlet": (lx.Dirichlet(jnp.ones(3)), [0.2, 0.3, 0.5]),
    "MvNormal": (lx.MvNormal(jnp.zeros(2), jnp.eye(2)), [0.3, 0.1]),
    "SphericalNormal": (lx.SphericalNormal(jnp.zeros(2), jnp.array(1.0)), [0.3, 0.1]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_data_that_are_all_alike_collapse(name):
    """Rows 3 and 14 of issue 15: some converged at 3.5e7, 4e8 or a number by chance."""
    model, value = ALIKE[name]
    x = np.tile(np.asarray(value, np.float32), (10,) + (1,) * np.ndim(value))
    assert fit.em(model, x).status == fit.Status.COLLAPSED


ZEROS = {
    "Weibull": lx.Weibull(shape=1.0, scale=1.0),
    "Gamma": lx.Gamma(1.0, 1.0),
    "Beta": lx.Beta(1.0, 1.0),
    "Dirichlet": lx.Dirichlet(jnp.ones(2)),
}
NEVER_ZERO = {
    "InverseGamma": lx.InverseGamma(1.0, 1.0),
    "LogNormal": lx.LogNormal(0.0, 1.0),
    "Pareto": lx.Pareto(scale=0.1, shape=1.0),
}


@pytest.mark.parametrize("name", ZEROS)
def test_exact_zeros_in_positive_data_have_a_status(name):
    """Row 13 of issue 15: a Weibull fit of data with zeros "converged" at its start."""
    x = np.array([0, 0, 0.1, 0.5, 0.9], np.float32)
    if name == "Dirichlet":
        x = np.stack([x, 1 - x], axis=1)
    assert fit.em(ZEROS[name], x).status in (fit.Status.COLLAPSED, fit.Status.NON_FINITE)


@pytest.mark.parametrize("name", NEVER_ZERO)
def test_exact_zeros_are_refused_by_families_that_have_none(name):
    x = np.array([0, 0, 0.1, 0.5, 0.9], np.float32)
    with pytest.raises(ValueError, match="probability zero"):
        fit.em(NEVER_ZERO[name], x)
    assert not jax.jit(lambda x: fit.em(NEVER_ZERO[name], x).usable)(x)


def test_dirichlet_rows_must_sum_to_one():
    rows = jnp.array([[0.3, 0.3, 0.3], [0.5, 0.5, 0.4], [0.2, 0.3, 0.5]])
    assert lx.Dirichlet(jnp.ones(3)).log_prob(rows).tolist()[:2] == [-np.inf, -np.inf]
    rng = generator("rows")
    many = rng.dirichlet(np.full(200, 0.1), 500).astype(np.float32)
    assert (lx.Dirichlet(jnp.full(200, 0.1)).log_prob(many) > -np.inf).all()


ENDS = [
    (lx.Beta(1.0, 8.0), 0.0, -7.0),
    (lx.Beta(8.0, 1.0), 1.0, 7.0),
    (lx.Beta(1.0, 0.5), 0.0, 0.5),
    (lx.Gamma(1.0, 3.0), 0.0, -3.0),
    (lx.Weibull(shape=1.0, scale=2.0), 0.0, -0.5),
    (lx.GammaGamma(2.0, 4.0, 1.0), 0.0, -0.75),
    (lx.Exponential(2.0), 0.0, -2.0),
    (lx.Lomax(2.0, 4.0), 0.0, -0.75),
    (lx.Beta(2.0, 1.0), 0.0, 0.0),  # the density is zero there, and the derivative infinite
    (lx.Beta(0.5, 1.0), 0.0, 0.0),  # a pole
]


@pytest.mark.parametrize(("model", "x", "want"), ENDS, ids=lambda v: type(v).__name__)
def test_derivative_at_an_end_is_that_from_inside(model, x, want):
    """Row 18 of issue 15."""
    assert jax.grad(model.log_prob)(x) == pytest.approx(want)


def test_dirichlet_derivative_along_the_simplex_at_an_edge():
    model, edge = lx.Dirichlet(jnp.array([1.0, 3.0, 2.0])), jnp.array([0.0, 0.25, 0.75])
    inward = jnp.array([1.0, -0.25, -0.75])
    got = jax.jvp(model.log_prob, (edge,), (inward,))[1]
    assert got == pytest.approx(-3.0, rel=1e-5)  # (1 - v)^(1 + 2) in the other two


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_newton_takes_no_more_points_than_it_may(steps):
    """A target that is far: every step is cut to three."""
    found = newton.maximize(lambda x: -jnp.sum((x - 100.0) ** 2), jnp.zeros(1), max_steps=steps)
    np.testing.assert_allclose(found.point, 3.0 * steps, rtol=1e-5)
    assert int(found.status) == newton.MAX_STEPS
