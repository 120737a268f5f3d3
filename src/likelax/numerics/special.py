"""Log gamma functions without cancellation, for the families of counts and rates.

Differences such as log Gamma(x + d) - log Gamma(x) lose every digit in float32 once x is large,
because each term is of order x log x. Here the large parts are removed analytically, and only the
rest is computed.

Source: Loader (2000), Fast and accurate computation of binomial probabilities.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from likelax import numerics

_HALF_LOG_2PI = float(np.log(2 * np.pi)) / 2
# Stirling's series from here on: its first omitted term is below 1e-16
_LARGE = 10.0
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_TRIGAMMA = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
# atanh series of the deviance near equality: |v| < 0.1, so v^18 is below 1e-18
ODD = tuple(1 / k for k in range(3, 19, 2))


def _together(*arrays: ArrayLike) -> list[Array]:
    return list(jnp.broadcast_arrays(*numerics.as_float(*arrays)))


def polynomial(coefficients: tuple[float, ...], y: Array) -> Array:
    """sum_i coefficients[i] y^i, by Horner's rule."""
    total = jnp.zeros_like(y)
    for c in reversed(coefficients):
        total = total * y + c
    return total


def factorial_excess(x: ArrayLike) -> Array:
    """log Gamma(x + 1) - x log x + x: log x! without its leading part.

    Float32: within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: any shape, non-negative, not only whole numbers.
    Returns:
      Same shape, nats: 0 at x = 0, about log(2 pi x) / 2 for large x.

    Examples:
      >>> print(factorial_excess(jnp.array([0.0, 1.0])))
      [0. 1.]
    """
    (x,) = numerics.as_float(x)
    large = x >= _LARGE
    big, small = jnp.where(large, x, _LARGE), jnp.where(large, 1, x)
    tail = polynomial(_STIRLING, 1 / (big * big)) / big
    near = gammaln(small + 1) - numerics.xlogy(small, small) + small
    return jnp.where(large, _HALF_LOG_2PI + jnp.log(big) / 2 + tail, near)


@jax.custom_jvp
def _deviance(x: Array, m: Array) -> Array:
    gap = x - m
    v = gap / jnp.where(x + m == 0, 1, x + m)
    near = gap * v + 2 * x * v * v * v * polynomial(ODD, v * v)
    # far from equality the plain formula keeps its digits
    safe = (x > 0) & (m > 0) & jnp.isfinite(m) & jnp.isfinite(x)
    far = x * _far_log_ratio(jnp.where(safe, x, 1), jnp.where(safe, m, 1)) - gap
    value = jnp.where(jnp.abs(v) < 0.1, near, far)
    edge = jnp.where(x == 0, m, jnp.where(jnp.isnan(x + m), jnp.nan, jnp.inf))
    return jnp.where(safe, value, edge.astype(value.dtype))


def log_ratio(x: ArrayLike, m: ArrayLike) -> Array:
    """log(x / m), at full precision where x is close to m, and where x / m leaves the range.

    Float32: within 1e-6 of itself, and of one rounding of the arguments.

    Args:
      x: non-negative; -inf where it is 0, with derivative 0 there.
      m: positive, broadcastable with x.

    Examples:
      >>> print(log_ratio(jnp.array([0.0, 1.0, 2.0]), 1.0).round(4))
      [  -inf 0.     0.6931]
    """
    x, m = _together(x, m)
    return _log_ratio(x, m)


def _log_ratio(x: Array, m: Array) -> Array:
    middle = x / 2 + m / 2
    v = (x - m) / 2 / jnp.where(middle == 0, 1, middle)
    near = 2 * v * (1 + v * v * polynomial(ODD, v * v))
    return jnp.where(jnp.abs(v) < 0.1, near, _far_log_ratio(x, m))


def _far_log_ratio(x: Array, m: Array) -> Array:
    ratio = x / m
    lost = (ratio == 0) | jnp.isinf(ratio)
    plain = jnp.log(jnp.where(lost, 1, ratio))
    return jnp.where(lost, numerics.safe_log(x) - jnp.log(m), plain)


@_deviance.defjvp
def _deviance_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    x, m = primals
    safe = (x > 0) & (m > 0)
    x1, m1 = jnp.where(safe, x, 1), jnp.where(safe, m, 1)
    by_x = jnp.where(safe, _log_ratio(x1, m1), 0)
    by_m = jnp.where(safe, (m1 - x1) / m1, jnp.where(x == 0, 1, 0).astype(x.dtype))
    return _deviance(x, m), by_x * tangents[0] + by_m * tangents[1]


def deviance(x: ArrayLike, m: ArrayLike) -> Array:
    """x log(x / m) + m - x, at full precision where x is close to m.

    Float32: within 1e-6 of itself, and of one rounding of the arguments.

    Args:
      x: non-negative.
      m: non-negative, broadcastable with x.
    Returns:
      Non-negative, nats; 0 where x = m, m where x = 0, inf where m = 0 < x. The derivative with
      respect to m is 0 where m = 0 < x: a structural zero.

    Examples:
      >>> print(deviance(jnp.array([0.0, 2.0, 2.0]), jnp.array([3.0, 2.0, 0.0])))
      [ 3.  0. inf]
    """
    return _deviance(*_together(x, m))


def log_gamma_ratio(x: ArrayLike, d: ArrayLike) -> Array:
    """log Gamma(x + d) - log Gamma(x), nats.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: positive.
      d: x + d positive; broadcastable with x.
    Returns:
      Accurate to rounding of the result's own parts, however large x is.

    Examples:
      >>> print(f"{log_gamma_ratio(1e6, 1.0):.4f}")
      13.8155
    """
    x, d = _together(x, d)
    large = x + d
    # x log(1 + d / x) - d, without cancelling
    bend = -deviance(x, large)
    return (
        factorial_excess(large) - factorial_excess(x) + d * jnp.log(large) + bend - jnp.log1p(d / x)
    )


def log_beta(a: ArrayLike, b: ArrayLike) -> Array:
    """log Gamma(a) + log Gamma(b) - log Gamma(a + b), nats, for positive a and b.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Examples:
      >>> print(f"{log_beta(4.0, 3.0):.4f}")
      -4.0943
    """
    a, b = _together(a, b)
    n = a + b
    small, large = jnp.minimum(a, b), jnp.maximum(a, b)
    shares = small * jnp.log(small / n) + large * jnp.log1p(-small / n)
    excess = factorial_excess(n) - factorial_excess(a) - factorial_excess(b)
    # 1 / a + 1 / b, whose parts do not overflow
    return shares - excess - jnp.log(small) + jnp.log1p(small / large)


def log_binomial_term(x: ArrayLike, y: ArrayLike, p: ArrayLike, q: ArrayLike) -> Array:
    """log of Gamma(x + y + 1) / (Gamma(x + 1) Gamma(y + 1)) p^x q^y with p + q = 1, nats.

    The binomial probability of x successes and y failures; x and y need not be whole.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x, y: non-negative.
      p, q: in [0, 1], adding to one. Both are arguments, since 1 - p loses digits.
    Returns:
      nats; -inf where p = 0 < x or q = 0 < y. Its error is that of a result of its own size:
      nothing of order (x + y) cancels.

    Examples:
      >>> print(f"{log_binomial_term(1.0, 1.0, 0.5, 0.5):.4f}")
      -0.6931
    """
    x, y, p, q = _together(x, y, p, q)
    n = x + y
    excess = factorial_excess(n) - factorial_excess(x) - factorial_excess(y)
    return excess - deviance(x, n * p) - deviance(y, n * q)


def log_beta_binomial(x: ArrayLike, y: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    """log C(x + y, x) B(a + x, b + y) / B(a, b), nats: three binomial terms at one probability,
    none of which is large where the result is not.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Examples:
      >>> print(f"{log_beta_binomial(1.0, 1.0, 1.0, 1.0):.4f}")
      -1.0986
    """
    x, y, a, b = _together(x, y, a, b)
    a_n, b_n = a + x, b + y
    p, q = a_n / (a_n + b_n), b_n / (a_n + b_n)
    data = log_binomial_term(x, y, p, q)
    prior = log_binomial_term(a, b, p, q)
    # the third term, at its own mean, has no deviance
    after = factorial_excess(a_n + b_n) - factorial_excess(a_n) - factorial_excess(b_n)
    # B(a, b) = (a + b) / (a b) / C(a + b, a)
    edges = jnp.log1p((x + y) / (a + b)) - jnp.log1p(x / a) - jnp.log1p(y / b)
    return data + prior - after + edges


def log_multinomial_term(x: ArrayLike, probs: ArrayLike) -> Array:
    """log of Gamma(n + 1) / prod_c Gamma(x[c] + 1) prod_c probs[c]^x[c], n = sum_c x[c], nats.

    Args:
      x: (..., C) non-negative, not only whole numbers.
      probs: of the same shape, adding to one along the last axis.
    Returns:
      (...) nats; nothing of order n cancels.

    Examples:
      >>> print(f"{log_multinomial_term(jnp.ones(2), jnp.full(2, 0.5)):.4f}")
      -0.6931
    """
    x, p = numerics.as_float(x, probs)
    n = jnp.sum(x, axis=-1)
    gaps = factorial_excess(x) + deviance(x, n[..., None] * p)
    return factorial_excess(n) - jnp.sum(gaps, axis=-1)


def log_dirichlet_multinomial(x: ArrayLike, concentration: ArrayLike) -> Array:
    """log n! / prod_c x[c]! B(concentration + x) / B(concentration), n = sum_c x[c], nats.

    Three multinomial terms at the mean of the posterior, none of which is large where the result is
    not.

    Args:
      x: (..., C) non-negative, not only whole numbers.
      concentration: of the same shape; an entry of 0 does not exist.
    Returns:
      (...) nats.

    Examples:
      >>> print(f"{log_dirichlet_multinomial(jnp.ones(2), jnp.ones(2)):.4f}")
      -1.0986
    """
    counts, before = numerics.as_float(x, concentration)
    n, total = jnp.sum(counts, axis=-1), jnp.sum(before, axis=-1)
    after = before + counts
    probs = after / (n + total)[..., None]
    terms = log_multinomial_term(counts, probs) + log_multinomial_term(before, probs)
    last = factorial_excess(n + total) - jnp.sum(factorial_excess(after), axis=-1)
    edges = jnp.log1p(n / total) - jnp.sum(jnp.log1p(numerics.divide(counts, before, 0.0)), axis=-1)
    return terms - last + edges


def log_multinomial_coefficient(counts: ArrayLike) -> Array:
    """log n! / prod_c counts[c]! with n the sum over the last axis, nats.

    Examples:
      >>> print(f"{log_multinomial_coefficient(jnp.array([1.0, 1.0])):.4f}")
      0.6931
    """
    (x,) = numerics.as_float(counts)
    n = jnp.sum(x, axis=-1)
    excess = factorial_excess(n) - jnp.sum(factorial_excess(x), axis=-1)
    total = jnp.where(n == 0, 1, n)
    return excess - jnp.sum(numerics.xlogy(x, x / total[..., None]), axis=-1)


def log_minus_digamma(x: ArrayLike) -> Array:
    """log x - digamma(x), positive, at full precision for large x.

    Float32: within 3e-5 of itself, and of one rounding of the arguments.

    Examples:
      >>> print(f"{log_minus_digamma(1.0):.4f} {log_minus_digamma(1e6):.1e}")
      0.5772 5.0e-07
    """
    (x,) = numerics.as_float(x)
    large = x >= _LARGE
    big, small = jnp.where(large, x, _LARGE), jnp.where(large, 1, x)
    tail = 1 / (2 * big) + polynomial(_DIGAMMA, 1 / (big * big)) / (big * big)
    return jnp.where(large, tail, jnp.log(small) - jax.lax.digamma(small))


def trigamma(x: ArrayLike) -> Array:
    """The derivative of digamma, for positive x.

    Float32: within 1e-6 of itself, and of one rounding of the arguments.

    Examples:
      >>> print(f"{trigamma(1.0):.4f}")
      1.6449
    """
    (x,) = numerics.as_float(x)
    large = x >= _LARGE
    # below, by the recurrence from x + 10; all terms are positive
    steps = [jnp.where(large, 0, 1 / (jnp.where(large, 1, x) + k) ** 2) for k in range(10)]
    y = 1 / jnp.where(large, x, x + 10)
    tail = y + y * y / 2 + polynomial(_TRIGAMMA, y * y) * y**3
    return sum(reversed(steps), start=tail)


def log_zero_power(c: ArrayLike) -> Array:
    """log 0^c, with zero gradient: 0 for c = 0, -inf for c > 0, a pole (inf) for c < 0.

    Examples:
      >>> print(log_zero_power(jnp.array([0.0, 1.0, -0.5])))
      [  0. -inf  inf]
    """
    (c,) = numerics.as_float(c)
    return jnp.where(c == 0, 0, jnp.where(c > 0, -jnp.inf, jnp.inf)).astype(c.dtype)
