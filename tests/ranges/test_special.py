"""Special functions over whole ranges, to the tolerance that their docstrings state."""

import re

import jax
import numpy as np
import pytest
from scipy import special as reference

from likelax.numerics import special
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform
from ranges.test_densities import bend, beta_term, stirling, term

STATED = re.compile(r"Float32: within (\S+) of (1 \+ its size|itself), and of one rounding")


def pairs(rng, n, low=1e-6, high=1e9):
    """Two positive numbers, often close to each other."""
    x = log_uniform(rng, low, high, n)
    apart = np.exp(rng.standard_normal(n) * log_uniform(rng, 1e-6, 3, n))
    return x, (x * apart).astype(np.float32)


def shares(rng, n):
    x, y, p = (
        log_uniform(rng, 1e-2, 1e8, n),
        log_uniform(rng, 1e-2, 1e8, n),
        rng.uniform(0.02, 0.98, n),
    )
    p = (0.5 * p + 0.5 * x / (x + y)).astype(np.float32)
    return x, y, p, 1 - p


def log_ratio(x, m):
    near = np.abs(x - m) < m / 2
    return np.where(near, np.log1p(np.where(near, (x - m) / m, 0)), np.log(x) - np.log(m))


def gamma_ratio(x, d):
    return stirling(x + d) - stirling(x) + d * np.log(x + d) - bend(x, x + d) - np.log1p(d / x)


def lack(a):
    z = 1 / a
    return np.where(a > 1e3, z / 2 + z**2 / 12 - z**4 / 120, np.log(a) - reference.digamma(a))


CASES = {
    "factorial_excess": (lambda r, n: (log_uniform(r, 1e-6, 1e12, n),), stirling),
    "deviance": (pairs, bend),
    "log_ratio": (pairs, log_ratio),
    "log_gamma_ratio": (
        lambda r, n: (log_uniform(r, 1e-3, 1e9, n), log_uniform(r, 1e-3, 1e4, n)),
        gamma_ratio,
    ),
    "log_beta": (
        lambda r, n: (log_uniform(r, 1e-3, 1e9, n), log_uniform(r, 1e-3, 1e9, n)),
        reference.betaln,
    ),
    "log_binomial_term": (shares, term),
    "log_beta_binomial": (
        lambda r, n: (
            *(np.round(log_uniform(r, 1, 1e6, n)) for _ in "xy"),
            *(log_uniform(r, 1e-2, 1e6, n) for _ in "ab"),
        ),
        lambda x, y, a, b: beta_term(x, y, a, b),
    ),
    "log_minus_digamma": (lambda r, n: (log_uniform(r, 1e-6, 1e12, n),), lack),
    "trigamma": (
        lambda r, n: (log_uniform(r, 1e-6, 1e12, n),),
        lambda x: reference.polygamma(1, x),
    ),
}


@few_and_many
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_float64_to_the_tolerance_stated(name, count):
    draw, reference = CASES[name]
    function = getattr(special, name)
    found = STATED.search(" ".join(function.__doc__.split()))
    assert found, f"{name} states no tolerance"
    arguments = draw(generator(f"special {name}"), count)
    wide = [np.asarray(a, float) for a in arguments]
    want = reference(*wide)
    rounding = sum(
        np.abs(reference(*wide[:i], a * (1 + EPS), *wide[i + 1 :]) - want)
        for i, a in enumerate(wide)
    )
    got = np.asarray(jax.jit(function)(*arguments), float)
    size = np.abs(want) + (found.group(2) != "itself")
    assert_within(got, want, float(found.group(1)) * size + 4 * rounding)
