"""CRPS of forecasts of counts. Precision is as in `closed`."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.scipy.special import i0e, i1e
from jax.typing import ArrayLike

from likelax.numerics.checks import check_not_negative, check_positive, check_values
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_binomial_term,
    polynomial,
)
from likelax.numerics.tails import beta_tails, gamma_tails
from likelax.scoring.arguments import together


def crps_poisson(rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Poisson forecast, in closed form.

    (x - r)(2 F(x) - 1) + 2 r f(x) - r exp(-2 r) (I0(2 r) + I1(2 r))

    Args:
      rate: broadcastable to x, non-negative; rate 0 scores x.
      x: (...) counts.
    Returns:
      (...) in counts.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a rate is negative.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Wei, Held (2014), Test 23; Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_poisson(0.0, 3)), 4)
      3.0
    """
    rate, x = together(rate=rate, x=x)
    check_not_negative(rate=rate)
    zero = rate == 0
    r = jnp.where(zero, 1, rate)
    whole = jnp.floor(x)
    inside = whole >= 0
    count = jnp.where(inside, whole, 0)
    above, below = gamma_tails(count + 1, r)
    lift = jnp.where(inside, below - above, -1)
    mass = jnp.where(inside, jnp.exp(-factorial_excess(count) - deviance(count, r)), 0)
    # rate >= 1: every term is of the order of the standard deviation
    large = r >= 1
    big, small = jnp.where(large, r, 1), jnp.where(large, 0.5, r)
    usual = (x - r) * lift + 2 * r * mass - r * (i0e(2 * big) + i1e(2 * big))
    # rate < 1: at x = 0 all terms are of the order of the rate but their sum is not
    before = jnp.where(count > 0, gamma_tails(jnp.maximum(count, 1), small)[1], 0)
    rare = small * _lack_of_bessel(small) + x * lift - 2 * small * jnp.where(inside, before, 0)
    return jnp.where(zero, jnp.abs(x), jnp.where(large, usual, rare))


def _lack_of_bessel(r: Array) -> Array:
    """1 - exp(-2 r) (I0(2 r) + I1(2 r)) for 0 <= r < 1, also where r is small."""
    near = r < 0.3
    y = jnp.where(near, r, 0)
    # the terms are Catalan numbers over factorials
    terms = [
        (-1) ** k * math.comb(2 * k + 2, k + 1) / (k + 2) / math.factorial(k + 1) for k in range(14)
    ]
    z = 2 * jnp.where(near, 0.5, r)
    return jnp.where(near, polynomial(tuple(terms), y) * y, 1 - (i0e(z) + i1e(z)))


def crps_binomial(total_count: ArrayLike, probs: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a binomial forecast of n = total_count trials: E |X - x| - E |X - X'| / 2.

    E |X - x| = (x - n p)(2 F(x) - 1) + 2 n p q P(Y = x), Y binomial of n - 1 trials, and E |X - X'|
    is an integral over the frequencies of X - X'. The cost does not grow with n.

    Args:
      total_count: broadcastable to x, non-negative whole numbers.
      probs: broadcastable to x, in [0, 1].
      x: (...) counts.
    Returns:
      (...) in counts.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A, where it is a sum over all counts.

    Examples:
      >>> round(float(crps_binomial(1, 0.3, 1)), 4)  # (1 - 0.3)^2
      0.49
    """
    n, p, x = together(total_count=total_count, probs=probs, x=x)
    whole = "whole numbers that are not negative"
    check_values("total_count", n, lambda v: (v >= 0) & (v % 1 == 0), whole)
    check_values("probs", p, lambda v: (v >= 0) & (v <= 1), "in [0, 1]")
    none = n == 0
    distance = jnp.abs(x)
    n = jnp.where(none, 1, n)
    # mirrored, the mean is at most n / 2
    mirrored = p > 0.5
    p, q, x = (jnp.where(mirrored, v, w) for v, w in ((1 - p, p), (p, 1 - p), (n - x, x)))
    k = jnp.floor(x)
    inside = (k >= 0) & (k < n)
    count = jnp.where(inside, k, 0)
    some = inside & (count > 0)
    (above, _), (below, before) = beta_tails(
        jnp.stack([count + 1, jnp.where(some, count, 1)]),
        *(jnp.stack([v, v]) for v in (n - count, p, q)),
    )
    lift = jnp.where(inside, below - above, jnp.where(k >= n, 1, -1))
    mean, variance = n * p, n * p * q
    square, shares = _frequencies(4 * p * q * (n - 1))
    log_power = (n - 1)[..., None] * jnp.log1p(-(4 * p * q)[..., None] * square)
    kept, lost = _kept_and_lost(shares, log_power)
    # variance >= 1: every term is of the order of the standard deviation
    mass = jnp.where(inside, jnp.exp(log_binomial_term(count, n - 1 - count, p, q)), 0)
    usual = (x - mean) * lift + variance * (2 * mass - kept)
    # variance < 1: at x = 0 all terms are of the order of the mean but their sum is not
    before = jnp.where(some, before, jnp.where(k >= n, 1, 0))
    rare = x * lift + mean * (p + q * lost - 2 * before)
    return jnp.where(none, distance, jnp.where(variance >= 1, usual, rare))


def crps_negative_binomial(total_count: ArrayLike, probs: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a negative binomial forecast of the failures before success number r = total_count.

    E |X - x| - E |X - X'| / 2 as in `crps_binomial`; the cost does not grow with the counts.

    Args:
      total_count: broadcastable to x, positive; not only whole numbers.
      probs: broadcastable to x, in (0, 1], the probability of success.
      x: (...) counts.
    Returns:
      (...) in counts.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Wei, Held (2014), Test 23; Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_negative_binomial(1, 0.5, 0)), 4)  # geometric: sum_k 4^-(k + 1)
      0.3333
    """
    r, p, x = together(total_count=total_count, probs=probs, x=x)
    check_positive(total_count=r)
    check_values("probs", p, lambda v: (v > 0) & (v <= 1), "in (0, 1]")
    return _negative_binomial(r, p, 1 - p, x)


def crps_gamma_poisson(concentration: ArrayLike, rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a `GammaPoisson` forecast: the negative binomial of mean concentration / rate.

    Args:
      concentration, rate: broadcastable to x, positive.
      x: (...) counts.
    Returns:
      (...) in counts.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: as for `crps_negative_binomial`, with probs = rate / (1 + rate): Wei, Held (2014).

    Examples:
      >>> round(float(crps_gamma_poisson(1.0, 1.0, 0)), 4)
      0.3333
    """
    r, rate, x = together(concentration=concentration, rate=rate, x=x)
    check_positive(concentration=r, rate=rate)
    return _negative_binomial(r, rate / (1 + rate), 1 / (1 + rate), x)


def _negative_binomial(r: Array, p: Array, q: Array, x: Array) -> Array:
    mean = r * q / p
    variance = mean / p
    k = jnp.floor(x)
    inside = k >= 0
    count = jnp.where(inside, k, 0)
    some = count > 0
    (below, before), (above, _) = beta_tails(
        jnp.stack([r, r + 1]),
        jnp.stack([count + 1, jnp.where(some, count, 1)]),
        *(jnp.stack([v, v]) for v in (p, q)),
    )
    lift = jnp.where(inside, below - above, -1)
    curvature = 4 * q / p / p
    square, shares = _frequencies(curvature * (r + 1))
    log_base = -jnp.log1p(curvature[..., None] * square)
    log_power = r[..., None] * log_base
    kept, lost = _kept_and_lost(shares * jnp.exp(log_base), log_power)
    # away from zero, every term is of the order of the standard deviation
    mass = jnp.where(inside, jnp.exp(log_binomial_term(r, count, p, q)), 0)
    usual = (x - mean) * lift + 2 * mean * mass - variance * kept
    # near zero, all terms are of the order of the mean but their sum is not
    near = x * lift + mean * (lost / p - 2 * jnp.where(some, before, 0))
    return jnp.where((variance >= 1) & (r >= 1), usual, near)


def _kept_and_lost(shares: Array, log_power: Array) -> tuple[Array, Array]:
    """The sums of shares times a power, and times one minus the power, over the last axis."""
    kept = jnp.sum(shares * jnp.exp(log_power), axis=-1)
    return kept, -jnp.sum(shares * jnp.expm1(log_power), axis=-1)


def _frequencies(curvature: Array) -> tuple[Array, Array]:
    """sin(t)^2 at points of (0, pi / 2), and shares that sum up 4 cos(t)^2 / pi over t.

    The points lie evenly in log tan(t), from where a function 1 - curvature sin(t)^2 + ... is flat.

    Args:
      curvature: (...) not negative.
    Returns:
      Two arrays (..., K), K = 128 in float32.
    """
    is_single = jnp.finfo(curvature.dtype).bits <= 32
    num_points, below, high = (128, 17.0, 6.0) if is_single else (512, 37.0, 13.0)
    low = -jnp.log1p(curvature) / 2 - below
    places = jnp.linspace(0, 1, num_points, dtype=curvature.dtype)
    at = low[..., None] + jnp.multiply.outer(high - low, places)
    sine, cosine = jnp.sqrt(sigmoid(2 * at)), jnp.sqrt(sigmoid(-2 * at))
    width = ((high - low) / (num_points - 1))[..., None]
    return sine**2, 4 / math.pi * width * cosine**3 * sine


def crps_hypergeometric(
    successes: ArrayLike, failures: ArrayLike, num_draws: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a hypergeometric forecast: the successes in draws without replacement.

    sum_k (F(k) - 1[x <= k])^2, over the counts k within some twenty deviations of the mean (ten in
    float32), 64 at a time. It can be differentiated with respect to x.

    Args:
      successes, failures: broadcastable to x, non-negative whole numbers: of the population.
      num_draws: broadcastable to x, a whole number of at most successes + failures.
      x: (...) counts.
    Returns:
      (...) in counts.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{crps_hypergeometric(3, 7, 1, 1):.4f}")  # (1 - 0.3)^2
      0.4900
    """
    m, n, size, x = hypergeometric_arguments(
        successes=successes, failures=failures, num_draws=num_draws, x=x
    )
    total = m + n
    # a sum of independent trials, so Bernstein's inequality bounds its tails
    p = m / jnp.maximum(total, 1)
    mean = size * p
    variance = mean * (1 - p) * (total - size) / jnp.maximum(total - 1, 1)
    enough = 20.0 if jnp.finfo(x.dtype).bits <= 32 else 40.0
    width = enough / 3 + jnp.sqrt(enough**2 / 9 + 2 * enough * variance)
    least, most = jnp.maximum(size - n, 0), jnp.minimum(m, size)
    low = jnp.maximum(least, jnp.floor(mean - width))
    high = jnp.minimum(most, jnp.ceil(mean + width))
    at = jnp.floor(jax.lax.stop_gradient(x))
    squares, below = _hypergeometric_sums(low, high, at, m, n, size)
    lift = jnp.where(at < low, -1, jnp.where(at >= high, 1, 2 * below - 1))
    return squares + jnp.abs(jnp.clip(at, low, high) - at) + lift * (x - at)


def hypergeometric_arguments(
    *, successes: ArrayLike, failures: ArrayLike, num_draws: ArrayLike, x: ArrayLike
) -> list[Array]:
    """The parameters, without derivatives, and x as floats of one shape.

    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    """
    *parameters, x = together(successes=successes, failures=failures, num_draws=num_draws, x=x)
    whole = "whole numbers that are not negative"
    for name, v in zip(("successes", "failures", "num_draws"), parameters, strict=True):
        check_values(name, v, lambda v: (v >= 0) & (v % 1 == 0), whole)
    m, n, size = (jax.lax.stop_gradient(v) for v in parameters)
    check_values("num_draws - population", size - m - n, lambda v: ~(v > 0), "at most 0")
    return [m, n, size, x]


class _Sums(NamedTuple):
    start: Array
    below: Array  # F of the count before the start
    squares: Array
    at_x: Array  # F(x)


@functools.partial(jax.jit, inline=True)
def _hypergeometric_sums(
    low: Array, high: Array, at: Array, m: Array, n: Array, size: Array
) -> tuple[Array, Array]:
    """The sum of (F(k) - 1[at <= k])^2 over low <= k < high, and F(at)."""
    steps = jnp.arange(64).astype(at.dtype)
    last, until, m, n, size = (v[..., None] for v in (high, at, m, n, size))

    def add(sums: _Sums) -> _Sums:
        k = sums.start[..., None] + jnp.broadcast_to(steps, (*at.shape, 64))
        inside = k <= last
        count = jnp.where(inside, k, last)
        mass = jnp.where(inside, jnp.exp(log_chance(count, m, n, size)), 0)
        below = sums.below[..., None] + jnp.cumsum(mass, axis=-1)
        error = jnp.where(k < until, below, 1 - below)
        return _Sums(
            sums.start + 64,
            below[..., -1],
            sums.squares + jnp.sum(jnp.where(k < last, error**2, 0), axis=-1),
            sums.at_x + jnp.sum(jnp.where(k <= until, mass, 0), axis=-1),
        )

    zero = jnp.zeros_like(at)
    start = _Sums(low, zero, zero, zero)
    sums = jax.lax.while_loop(lambda s: jnp.any(s.start <= high), add, start)
    return sums.squares, sums.at_x


def log_chance(k: Array, m: Array, n: Array, size: Array) -> Array:
    """Log probability of k successes: of binomials of the same chance, given their sum."""
    total = m + n
    p = size / jnp.maximum(total, 1)
    q = (total - size) / jnp.maximum(total, 1)
    return (
        log_binomial_term(k, m - k, p, q)
        + log_binomial_term(size - k, n - size + k, p, q)
        - log_binomial_term(size, total - size, p, q)
    )
