"""CRPS of uniform, exponential, gamma and beta forecasts. Precision is as in `closed`."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammainc, gammaln
from jax.typing import ArrayLike

from likelax.numerics.checks import (
    check_order,
    check_positive,
)
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_binomial_term,
    log_gamma_ratio,
    polynomial,
)
from likelax.numerics.tails import beta_tails, gamma_tails
from likelax.scoring.arguments import check_masses, together


def crps_uniform(
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
    *,
    low_mass: ArrayLike = 0.0,
    high_mass: ArrayLike = 0.0,
) -> Array:
    """CRPS of a forecast uniform on [low, high], with masses at its ends if any.

    |x - x'| + (high - low) (integral of (low_mass + rest t)^2 from 0 to c
      + integral of (high_mass + rest t)^2 from 0 to 1 - c), x' = x within the bounds,
    c = (x' - low) / (high - low), rest = 1 - low_mass - high_mass

    Args:
      low, high: broadcastable to x, low < high.
      x: (...) the observed values.
      low_mass, high_mass: broadcastable to x, in [0, 1] and at most 1 together: probability of exactly
        `low` and of exactly `high`.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, high is not above low, or a mass is out of
        range.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_uniform(0.0, 1.0, 2.0)), 4)
      1.3333
      >>> float(crps_uniform(0.0, 1.0, 0.0, low_mass=0.75, high_mass=0.25))
      0.0625
    """
    low, high, x, low_mass, high_mass = together(
        low=low, high=high, x=x, low_mass=low_mass, high_mass=high_mass
    )
    check_order(low=low, high=high, strict=True)
    check_masses(low_mass=low_mass, high_mass=high_mass)
    length = high - low
    inside = jnp.clip((x - low) / length, 0, 1)
    away = jnp.maximum(low - x, 0) + jnp.maximum(x - high, 0)
    rest = 1 - low_mass - high_mass
    parts = sum(
        c * (mass * (mass + rest * c) + (rest * c) ** 2 / 3)
        for mass, c in ((low_mass, inside), (high_mass, 1 - inside))
    )
    return away + length * parts


def crps_exponential(
    rate: ArrayLike, x: ArrayLike, *, low: ArrayLike = 0.0, low_mass: ArrayLike = 0.0
) -> Array:
    """CRPS of an exponential forecast of what lies above `low`, with a mass at `low` if any.

    |y| - 2 p F(y) / rate + p^2 / (2 rate), y = x - low, p = 1 - low_mass

    Args:
      rate: broadcastable to x, positive.
      x: (...) the observed values.
      low: broadcastable to x, the least value.
      low_mass: broadcastable to x, in [0, 1]: probability of exactly `low`.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a rate is not positive, or a mass is not in
        [0, 1].
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> float(crps_exponential(1.0, 0.0))
      0.5
      >>> float(crps_exponential(1.0, 2.0, low=2.0, low_mass=0.5))
      0.125
    """
    rate, x, low, low_mass = together(rate=rate, x=x, low=low, low_mass=low_mass)
    check_positive(rate=rate)
    check_masses(low_mass=low_mass)
    y, rest = x - low, 1 - low_mass
    return jnp.abs(y) + rest * (2 * jnp.expm1(-rate * jnp.maximum(y, 0)) + rest / 2) / rate


def crps_gamma(concentration: ArrayLike, rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a gamma forecast with mean concentration / rate.

    (x - a / b) (2 F(x; a) - 1) + 2 x f(x; a) / b - 1 / (b Beta(1 / 2, a)),
    a = concentration, b = rate

    Args:
      concentration, rate: broadcastable to x, positive.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Moeller, Scheuerer (2015), Quarterly Journal of the Royal Meteorological Society 141.

    Examples:
      >>> round(float(crps_gamma(1.0, 1.0, 0.0)), 4)
      0.5
    """
    a, b, x = together(concentration=concentration, rate=rate, x=x)
    check_positive(concentration=a, rate=b)
    positive = x > 0
    mean = a / b
    y = jnp.where(positive, b * x, 1)
    below, above = gamma_tails(a, y)
    lift = jnp.where(positive, below - above, -1)
    # a >= 1: every term is of the order of the standard deviation
    large = a >= 1
    big = jnp.where(large, a, 1)
    step = jnp.where(positive, y * jnp.exp(-factorial_excess(big) - deviance(big, y)), 0)
    # log of Gamma(a + 1/2) / (sqrt(pi) Gamma(a)), the factor of 1 / b in half the mean difference
    log_spread = log_gamma_ratio(big, jnp.full_like(big, 0.5)) - math.log(math.pi) / 2
    # y^a e^-y / Gamma(a) = a / y times the next Poisson probability
    usual = (x - mean) * lift + (2 * step * big / y - jnp.exp(log_spread)) / b
    # a < 1: next to zero all terms are of the order of the mean but their sum is not
    small = jnp.where(large, 0.5, a)
    next_below = jnp.where(positive, gammainc(small + 1, y), 0)
    skew = mean * _lack_of_half(small) + x * lift - 2 * mean * next_below
    return jnp.where(large, usual, skew)


def _lack_of_half(a: Array) -> Array:
    """1 - Gamma(a + 1/2) / (sqrt(pi) Gamma(a + 1)) for 0 <= a < 1, also where a is small."""
    near = a < 0.1
    y = jnp.where(near, a, 0)
    series = polynomial(HALF_SERIES, y) * y
    z = jnp.where(near, 0.5, a)
    plain = gammaln(z + 0.5) - gammaln(z + 1) - math.log(math.pi) / 2
    return -jnp.expm1(jnp.where(near, series, plain))


def _half_series(num_terms: int) -> tuple[float, ...]:
    """Coefficients of a^1, a^2, ... in log Gamma(a + 1/2) - log Gamma(1/2) - log Gamma(a + 1).

    Examples:
      >>> round(_half_series(1)[0], 4)  # -2 log 2
      -1.3863
    """
    # polygamma(n - 1) at 1/2 less that at 1, over n!: (-1)^n (2^n - 2) zeta(n) / n
    terms = [-2 * math.log(2)]
    for n in range(2, num_terms + 1):
        zeta = sum(k**-n for k in range(1, 30)) + 29.5 ** (1 - n) / (n - 1)
        if n == 2:
            zeta = math.pi**2 / 6
        terms.append((-1) ** n * (2**n - 2) * zeta / n)
    return tuple(terms)


HALF_SERIES = _half_series(20)


def crps_beta(
    alpha: ArrayLike,
    beta: ArrayLike,
    x: ArrayLike,
    *,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
) -> Array:
    """CRPS of a beta forecast on [low, high], on [0, 1] with mean m = alpha / (alpha + beta).

    (high - low) ((y - m) (2 F(y) - 1) + 2 m y^alpha (1 - y)^beta / (alpha B(alpha, beta))
      - 2 m B(2 alpha, 2 beta) / (alpha B(alpha, beta)^2)), y = (x - low) / (high - low)

    Args:
      alpha, beta: broadcastable to x, positive.
      x: (...) the observed values; outside [low, high] the forecast called them impossible.
      low, high: broadcastable to x, low < high.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a parameter is not positive, or high is not
        above low.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Taillardat et al. (2016), Monthly Weather Review 144.

    Examples:
      >>> round(float(crps_beta(1.0, 1.0, 0.0)), 4)  # uniform on [0, 1]
      0.3333
    """
    a, b, x, low, high = together(alpha=alpha, beta=beta, x=x, low=low, high=high)
    check_positive(alpha=a, beta=b)
    check_order(low=low, high=high, strict=True)
    length = high - low
    return length * _unit_beta(a, b, (x - low) / length, (high - x) / length)


def _unit_beta(a: Array, b: Array, x: Array, y: Array) -> Array:
    """`crps_beta` on [0, 1] of x = 1 - y."""
    # mirrored, the mean is at most 1 / 2
    mirrored = a > b
    a, b = jnp.where(mirrored, b, a), jnp.where(mirrored, a, b)
    shifted, rest = jnp.where(mirrored, y, x), jnp.where(mirrored, x, y)
    inside = (shifted > 0) & (rest > 0)
    p, q = jnp.where(inside, shifted, 0.5), jnp.where(inside, rest, 0.5)
    low = jnp.minimum(a, 1)
    (lower, next_below), (upper, _) = beta_tails(
        jnp.stack([a, low + 1]), jnp.stack([b, b]), jnp.stack([p, p]), jnp.stack([q, q])
    )
    lift = jnp.where(inside, lower - upper, jnp.where(shifted > 0, 1, -1))
    mean = a / (a + b)
    # alpha >= 1: every term is of the order of the standard deviation
    step = jnp.where(inside, jnp.exp(log_binomial_term(a, b, p, q)), 0)
    single = jnp.stack([a + b, a, b])
    one, two = (
        whole - part - rest
        for whole, part, rest in factorial_excess(jnp.stack([single, 2 * single]))
    )
    usual = (shifted - mean) * lift + mean * (1 - mean) * (2 * step - jnp.exp(2 * one - two))
    # alpha < 1: next to zero all terms are of the order of the mean but their sum is not
    next_below = jnp.where(inside, next_below, jnp.where(shifted > 0, 1, 0))
    one, two = (gammaln(1 + v) - log_gamma_ratio(w, v) for v, w in ((low, b), (2 * low, 2 * b)))
    skew = shifted * lift - mean * (2 * next_below + jnp.expm1(two - 2 * one))
    return jnp.where(a >= 1, usual, skew)
