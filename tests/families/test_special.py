"""Kernels without cancellation, against exact integers and the standard library's lgamma."""

import math
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax.numerics import special

POINTS = np.array([1e-3, 0.3, 1.0, 2.5, 9.9, 10.1, 55.0, 1e3])


def log_fraction(value: Fraction) -> float:
    """Log of an exact rational whose parts may be too large for a float."""
    parts = (value.numerator, value.denominator)
    shifts = [max(n.bit_length() - 1000, 0) for n in parts]
    top, bottom = (math.log(n >> k) + k * math.log(2) for n, k in zip(parts, shifts, strict=True))
    return top - bottom


def test_factorial_excess_is_what_lgamma_has_beyond_its_leading_part(x64):
    want = [math.lgamma(x + 1) - x * math.log(x) + x for x in POINTS]
    chex.assert_trees_all_close(special.factorial_excess(POINTS), np.array(want), rtol=1e-11)
    assert special.factorial_excess(0.0) == 0


def test_log_gamma_ratio_of_whole_numbers_is_a_product(x64):
    for x, d in [(1, 3), (9, 4), (10**6, 2), (10**9, 3)]:
        want = sum(math.log(x + i) for i in range(d))
        assert math.isclose(float(special.log_gamma_ratio(float(x), float(d))), want, rel_tol=1e-13)


def test_log_gamma_ratio_keeps_float32_accuracy_far_out():
    # a difference of two gammalns of order 1e9 would be off by tens of nats
    got = float(special.log_gamma_ratio(jnp.float32(1e8), jnp.float32(2.0)))
    assert math.isclose(got, math.log(1e8) + math.log(1e8 + 1), rel_tol=1e-6)


def test_log_beta_of_whole_numbers_is_exact(x64):
    for a, b in [(1, 1), (4, 3), (9, 5), (1, 500), (700, 800)]:
        exact = Fraction(1, a * math.comb(a + b - 1, a))  # B(a, b) = 1 / (a C(a+b-1, a))
        want = log_fraction(exact)
        assert math.isclose(
            float(special.log_beta(float(a), float(b))), want, rel_tol=1e-13, abs_tol=1e-13
        )


@pytest.mark.parametrize(("n", "k"), [(3, 0), (10, 4), (1000, 480), (5000, 0), (5000, 5000)])
def test_log_binomial_term_is_exact_in_both_precisions(n, k, x64):
    want = log_fraction(Fraction(math.comb(n, k), 4**n) * 3 ** (n - k))
    for dtype, rtol in [(np.float64, 1e-13), (np.float32, 2e-6)]:
        x, y, p, q = (jnp.asarray(v, dtype) for v in (k, n - k, 0.25, 0.75))
        assert math.isclose(float(special.log_binomial_term(x, y, p, q)), want, rel_tol=rtol)


def test_deviance_is_smooth_where_its_branches_meet(x64):
    m = 7.0
    x = m * np.linspace(0.5, 2.0, 301)
    want = [u * math.log(u / m) + m - u for u in x]
    chex.assert_trees_all_close(special.deviance(x, m), np.array(want), atol=2e-15, rtol=1e-12)
    slope = jax.vmap(jax.grad(lambda u: special.deviance(u, m)))(x)
    chex.assert_trees_all_close(slope, np.log(x / m), atol=1e-14)
    bend = jax.vmap(jax.hessian(lambda u: special.deviance(m, u)))(x)
    chex.assert_trees_all_close(bend, m / x**2, rtol=1e-12)


def test_deviance_is_exact_at_its_edges():
    x, m = jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.0, 3.0, 0.0, jnp.inf])
    chex.assert_trees_all_equal(special.deviance(x, m), jnp.array([0.0, 3.0, jnp.inf, jnp.inf]))
    for argnum in (0, 1):
        grad = jax.vmap(jax.grad(special.deviance, argnums=argnum))(x, m)
        assert np.all(np.isfinite(grad[:3]))
        assert grad[:3].tolist() == ([0, 0, 0] if argnum == 0 else [1, 1, 0])


def test_log_minus_digamma_matches_a_difference_of_lgammas(x64):
    step = 1e-5
    for x in POINTS[1:]:
        slope = (math.lgamma(x + step) - math.lgamma(x - step)) / (2 * step)
        assert math.isclose(
            float(special.log_minus_digamma(x)), math.log(x) - slope, rel_tol=1e-5, abs_tol=1e-6
        )
    assert math.isclose(float(special.log_minus_digamma(1e12)), 5e-13, rel_tol=1e-12)
