"""Tails of the gamma and the beta distribution, and quantiles of the beta, for parameters of any size.

`jax.scipy.special.gammainc` and `betainc` lose digits where parameters are large, or stop before they
have converged. Here no large terms cancel.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import sigmoid
from jax.typing import ArrayLike

from likelax.numerics import as_float
from likelax.numerics.special import (
    ODD,
    deviance,
    factorial_excess,
    log_binomial_term,
    polynomial,
)

# Of two convergents, the denominator of the newer being 1: numerator, denominator, numerator.
_Convergents = tuple[Array, Array, Array]


_BEYOND = tuple(1 / math.factorial(k + 2) for k in range(14))


def log_gamma_tails(a: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
    """(log P(V <= x), log P(V > x)) for V gamma distributed with shape a and rate 1, nats.

    Left of the mean, by the power series where a is below 40; elsewhere by Gauss's rule for the
    density of log V, over the stretch where it falls by all that the precision can hold. The tail
    away from the mean is computed, and the other is one minus it. Both can be differentiated with
    respect to a and x.

    Float32: within 5e-6 of 1 + its size, and of one rounding of the arguments, from a = 0.01 on; the
      upper tail of a smaller a within 1e-4 of it.

    Args:
      a: positive.
      x: non-negative, broadcastable with a.
    Returns:
      Two arrays of the common shape: (-inf, 0) at x = 0, (0, -inf) at x = inf.
    Source: Abramowitz, Stegun (1964), 6.5.29 for the series.

    Examples:
      >>> print(f"{log_gamma_tails(1.0, 200.0)[1]:.1f}")
      -200.0
    """
    a, x = jnp.broadcast_arrays(*as_float(a, x))
    is_single = jnp.finfo(a.dtype).bits <= 32
    num_terms, num_nodes, drop = (50, 16, 26.0) if is_single else (90, 40, 60.0)
    inner = (x > 0) & (x < jnp.inf)
    v = jnp.where(inner, x, a)
    left = v < jnp.maximum(a, 1)
    by_series = left & (a < 40)
    shape, place = jnp.where(by_series, a, 1), jnp.where(by_series, v, 0.5)
    series = _gamma_series(num_terms, shape, place)
    shape, place = jnp.where(by_series, 1, a), jnp.where(by_series, 1, v)
    rule = shape * _gamma_rule(num_nodes, drop, shape, place, left & ~by_series)
    log_term = -factorial_excess(a) - deviance(a, v)
    near = jnp.minimum(log_term + jnp.log(jnp.where(by_series, series, rule)), 0)
    far = log_complement(near)
    lost = jnp.where(jnp.isnan(a + x), jnp.nan, 0).astype(a.dtype)
    is_zero = x <= 0
    lower = jnp.where(inner, jnp.where(left, near, far), jnp.where(is_zero, -jnp.inf, 0) + lost)
    upper = jnp.where(inner, jnp.where(left, far, near), jnp.where(is_zero, 0, -jnp.inf) + lost)
    return lower, upper


@partial(jax.jit, static_argnums=0)
def _gamma_series(num_terms: int, a: Array, x: Array) -> Array:
    """1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ..."""
    counts = jnp.arange(num_terms, 0, -1, dtype=a.dtype)
    series, _ = jax.lax.scan(
        lambda total, k: (1 + x / (a + k) * total, None), jnp.ones_like(a), counts
    )
    return series


def _gamma_rule(num_nodes: int, drop: float, a: Array, x: Array, left: Array) -> Array:
    """The integral of the density of log V over that at log x, to the left or the right of log x."""
    gap = jnp.abs(x - a)
    # to the right the logarithm falls by at least gap u + x u^2 / 2, to the left by little less
    length = 2 * drop / (gap + jnp.sqrt(gap**2 + 2 * drop * x))
    length = jnp.where(left, length, jnp.minimum(length, jnp.log1p((drop + a * length) / x)))
    length = jax.lax.stop_gradient(length)
    nodes, shares = np.polynomial.legendre.leggauss(num_nodes)
    u = jnp.multiply.outer(length, jnp.asarray((1 + nodes) / 2, a.dtype))
    u = jnp.where(left[..., None], -u, u)
    near = jnp.abs(u) < 0.7
    short, long = jnp.where(near, u, 0), jnp.where(near, 1, u)
    # exp(u) - 1 - u
    bend = jnp.where(near, short**2 * polynomial(_BEYOND, short), jnp.expm1(long) - long)
    fall = gap[..., None] * jnp.abs(u) + x[..., None] * bend
    return length / 2 * (jnp.exp(-fall) @ jnp.asarray(shares, a.dtype))


def log_complement(log_p: ArrayLike) -> Array:
    """log(1 - p) from log p, at full precision for p near 0 and near 1.

    Float32: within 1e-6 of itself, and of one rounding of the arguments.

    Args:
      log_p: (...) nats, at most 0.
    Returns:
      (...) nats; -inf at 0, with derivative 0 there.

    Examples:
      >>> print(f"{log_complement(-1e-3):.4f} {log_complement(-20.0):.2e}")
      -6.9083 -2.06e-09
    """
    (log_p,) = as_float(log_p)
    large = log_p > -math.log(2)
    some = jnp.where(large & (log_p < 0), log_p, -1)
    near = jnp.where(log_p < 0, jnp.log(-jnp.expm1(some)), -jnp.inf)
    return jnp.where(large, near, jnp.log1p(-jnp.exp(jnp.where(large, -1, log_p))))


def gamma_tails(a: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
    """(P(V <= x), P(V > x)) for V gamma distributed with shape a and rate 1.

    `jax.scipy.special.gammainc` does not converge for large a. This is the exponential of
    `log_gamma_tails`.
    Float32: within 2e-6 of 1 + its size, and of one rounding of the arguments.

    Args:
      a: positive.
      x: non-negative, broadcastable with a.
    Source: Abramowitz, Stegun (1964), 6.5.29 for the series.

    Examples:
      >>> print(*(f"{tail:.4f}" for tail in gamma_tails(1e8, 1e8)))
      0.5000 0.5000
    """
    lower, upper = log_gamma_tails(a, x)
    return jnp.exp(lower), jnp.exp(upper)


def beta_tails(a: ArrayLike, b: ArrayLike, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """(P(V <= x), P(V > x)) for V beta distributed with parameters a and b.

    The exponential of `log_beta_tails`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a, b: positive.
      x, y: in [0, 1], adding to one. Both are arguments, since 1 - x loses digits. Numbers whose
        product with a + b underflows count as zero.
    Returns:
      Two arrays of the common shape.
    Source: Didonato, Morris (1992), Algorithm 708, equation 9; Press et al. (2007), Numerical
      Recipes, section 6.4.

    Examples:
      >>> print(*(f"{tail:.4f}" for tail in beta_tails(2.0, 1.0, 0.25, 0.75)))
      0.0625 0.9375
      >>> print(*(f"{tail:.4f}" for tail in beta_tails(1e8, 1e8, 0.5, 0.5)))
      0.5000 0.5000
    """
    lower, upper = log_beta_tails(a, b, x, y)
    return jnp.exp(lower), jnp.exp(upper)


def log_beta_tails(a: ArrayLike, b: ArrayLike, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """(log P(V <= x), log P(V > x)) for V beta distributed with parameters a and b, nats.

    Where the smaller parameter is below 40 (100 in float64), by a continued fraction; otherwise by
    Gauss's rule. The tail away from the mean is computed, and the other is one minus it. Both can be
    differentiated with respect to all arguments.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a, b: positive.
      x, y: as for `beta_tails`.
    Returns:
      Two arrays of the common shape: (-inf, 0) at x = 0, (0, -inf) at y = 0.
    Source: as for `beta_tails`.

    Examples:
      >>> print(f"{log_beta_tails(1e3, 1.0, 0.5, 0.5)[0]:.3f}")
      -693.147
    """
    a, b, x, y = jnp.broadcast_arrays(*as_float(a, b, x, y))
    inside = (x > 0) & (y > 0)
    p, q = jnp.where(inside, x, 0.5), jnp.where(inside, y, 0.5)
    n = a + b
    # both are how far n x lies below its mean; the smaller of x and y has fewer roundings
    below = jnp.where(p < q, a - n * p, n * q - b)
    # of parameters below one, the continued fraction converges up to here
    low = jnp.where(jnp.minimum(a, b) < 1, below + 1 > 2 * p, below >= 0)
    big_a, big_b, near, far = (jnp.where(low, v, w) for v, w in ((a, b), (b, a), (p, q), (q, p)))
    tail = _far_tail(big_a, big_b, near, far, jnp.where(low, below, -below))
    log_third = log_binomial_term(big_a, big_b, near, far)
    some = tail > 0
    log_tail = jnp.where(some, log_third + jnp.log(jnp.where(some, tail, 1)), -jnp.inf)
    log_tail = jnp.minimum(log_tail, 0)
    other = log_complement(log_tail)
    lost = jnp.where(jnp.isnan(a + b + x + y), jnp.nan, 0).astype(a.dtype)
    is_zero = x <= 0
    lower, upper = jnp.where(low, log_tail, other), jnp.where(low, other, log_tail)
    return (
        jnp.where(inside, lower, jnp.where(is_zero, -jnp.inf, 0) + lost),
        jnp.where(inside, upper, jnp.where(is_zero, 0, -jnp.inf) + lost),
    )


@jax.jit
def _far_tail(a: Array, b: Array, x: Array, y: Array, below: Array) -> Array:
    """P(V <= x) over the binomial term of a, b, x and y, x below the mean.

    Args:
      a, b, x, y: as for `beta_tails`, inside (0, 1).
      below: how far (a + b) x lies below a.
    """
    is_single = jnp.finfo(a.dtype).bits <= 32
    num_terms, num_nodes, drop, start = (20, 18, 22.0, 40.0) if is_single else (50, 48, 40.0, 100.0)
    large = jnp.minimum(a, b) >= start

    def only(condition: Array) -> tuple[Array, ...]:
        values = ((a, start), (b, start), (x, 0.5), (y, 0.5), (below, 0.0))
        return tuple(jnp.where(condition, value, other) for value, other in values)

    by_fraction = _fraction(num_terms, *only(~large))
    by_rule = _by_rule(num_nodes, drop, *only(large))
    return a / (a + b) * b * jnp.where(large, by_rule, by_fraction)


def _fraction(num_terms: int, a: Array, b: Array, x: Array, y: Array, below: Array) -> Array:
    """P(V <= x) B(a, b) / (x^a y^b) by Didonato's and Morris's continued fraction."""
    n = a + b

    def step(last: _Convergents, k: Array) -> tuple[_Convergents, None]:
        above, under, next_above = last
        c = a + 2 * k
        before = a + (2 * k - 1)
        alpha = (a + (k - 1)) / before * ((n + (k - 1)) / before) * k * (b - k) * x**2
        beta = k + k * (b - k) * x / before + (a + k) * (below + 1 + k * (1 + y)) / (c + 1)
        size = alpha * under + beta
        return (next_above / size, 1 / size, (alpha * above + beta * next_above) / size), None

    first = a * (below + 1) / (a + 1)
    start = (jnp.zeros_like(a), 1 / first, 1 / first)
    ks = jnp.arange(1, num_terms + 1, dtype=a.dtype)
    return jax.lax.scan(step, start, ks)[0][2]


def _by_rule(
    num_nodes: int, drop: float, a: Array, b: Array, x: Array, y: Array, below: Array
) -> Array:
    """As `_fraction`, by Gauss's rule over the stretch below x that holds nearly all of the tail."""
    # over this length the logarithm of the density falls by at least `drop`: its slope rises to the
    # left, and so does a / x^2, while b / y^2 loses less than three quarters
    slope, bend = below / y, a + b * (x / y) ** 2 / 4  # times x, and x^2
    length = x * jnp.minimum(1, 2 * drop / (slope + jnp.sqrt(slope**2 + 2 * drop * bend)))
    length = jax.lax.stop_gradient(length)
    nodes, shares = np.polynomial.legendre.leggauss(num_nodes)
    steps = jnp.multiply.outer(length, jnp.asarray((1 + nodes) / 2, a.dtype))
    near, far = steps / x[..., None], -steps / y[..., None]
    shapes = jnp.stack([jnp.broadcast_to(v[..., None], steps.shape) for v in (a, b)])
    bends = jnp.sum(_bend(shapes, shapes * jnp.stack([near, far])), axis=0)
    fall = (below / y)[..., None] * near + bends
    density = jnp.exp(-fall) / ((x[..., None] - steps) * (y[..., None] + steps))
    return length / 2 * (density @ jnp.asarray(shares, a.dtype))


def _bend(x: Array, gap: Array) -> Array:
    """`deviance(x, x - gap)`, exact where the gap is far below x."""
    v = gap / (2 * x - gap)
    near = gap * v + 2 * x * v**3 * polynomial(ODD, v * v)
    close = jnp.abs(v) < 0.1
    return jnp.where(close, near, -x * jnp.log1p(jnp.where(close, 0, -gap / x)) - gap)


def beta_quantile(a: ArrayLike, b: ArrayLike, prob: ArrayLike) -> Array:
    """The x with P(V <= x) = prob for V beta distributed with parameters a and b, by bisection of its logit.

    It can't be differentiated.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a, b: positive.
      prob: in [0, 1].
    Returns:
      An array of the common shape.
    Source: Abramowitz, Stegun (1964), 26.5.

    Examples:
      >>> print(f"{beta_quantile(2.0, 1.0, 0.0625):.4f}")
      0.2500
    """
    return _beta_quantile(*jnp.broadcast_arrays(*as_float(a, b, prob)))


@jax.jit
def _beta_quantile(a: Array, b: Array, prob: Array) -> Array:
    few = jnp.finfo(a.dtype).bits <= 32
    reach, num_steps = (87.0, 32) if few else (708.0, 62)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        short = beta_tails(a, b, sigmoid(middle), sigmoid(-middle))[0] < prob
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    ends = jnp.full_like(a, -reach), jnp.full_like(a, reach)
    low, high = jax.lax.fori_loop(0, num_steps, halve, ends)
    found = sigmoid((low + high) / 2)
    return jnp.where(prob <= 0, 0, jnp.where(prob >= 1, 1, found)) + 0 * (a + b + prob)
