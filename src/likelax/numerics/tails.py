"""Tails of the gamma and the beta distribution, and quantiles of the beta, for parameters of any size.

`jax.scipy.special.gammainc` and `betainc` lose digits where parameters are large, or stop before they
have converged. Here no large terms cancel.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfc, gammainc, gammaincc
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


def _temme_series(num_terms: int, orders: int) -> tuple[tuple[float, ...], ...]:
    """Taylor coefficients in eta of C_0, C_1, ... in Temme's expansion.

    Examples:
      >>> [round(c, 6) for c in _temme_series(3, 1)[0]]
      [-0.333333, 0.083333, -0.014815]
    """
    size = num_terms + 2 * orders + 2
    # mu = lambda - 1 as a series in eta, from mu mu' = eta (1 + mu)
    mu = [0.0, 1.0]
    for n in range(2, size + 2):
        product = sum((n + 1 - i) * mu[i] * mu[n + 1 - i] for i in range(2, n))
        mu.append((mu[n - 1] - product) / (n + 1))
    inverse = [1.0]  # of eta / mu
    for n in range(1, size + 1):
        inverse.append(-sum(mu[i + 1] * inverse[n - i] for i in range(1, n + 1)))
    series = [inverse[1:]]
    for _ in range(1, orders):
        last = series[-1]
        gamma = -last[1]
        # C_k = C_(k-1)' / eta + gamma_k / mu, whose poles cancel
        series.append(
            [(n + 2) * last[n + 2] + gamma * inverse[n + 1] for n in range(len(last) - 2)]
        )
    return tuple(tuple(c[:num_terms]) for c in series)


_TEMME = _temme_series(14, 4)


def gamma_tails(a: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
    """(P(V <= x), P(V > x)) for V gamma distributed with shape a and rate 1.

    `jax.scipy.special.gammainc` does not converge for large a. From a = 12 on (1000 in float64)
    Temme's uniform expansion is used.
    Float32: within 2e-6 of 1 + its size, and of one rounding of the arguments.

    Args:
      a: positive.
      x: non-negative, broadcastable with a.
    Source: Temme (1979), The asymptotic expansion of the incomplete gamma functions.

    Examples:
      >>> print(*(f"{tail:.4f}" for tail in gamma_tails(1e8, 1e8)))
      0.5000 0.5000
    """
    a, x = jnp.broadcast_arrays(*as_float(a, x))
    start = 12.0 if jnp.finfo(a.dtype).bits <= 32 else 1000.0
    large = a >= start
    few = jnp.where(large, 1, a)
    y = jnp.where(large, 1, x)
    big = jnp.where(large, a, start)
    half = deviance(big, x)  # a eta^2 / 2
    eta = jnp.sign(x - big) * jnp.sqrt(2 * half / big)
    near = jnp.clip(eta, -1, 1)  # beyond, the factor below is zero
    rest = jnp.zeros_like(a)
    for series in reversed(_TEMME):
        rest = rest / big + polynomial(series, near)
    rest = rest * jnp.exp(-half) / jnp.sqrt(2 * jnp.pi * big)
    side = jnp.sign(eta) * jnp.sqrt(half)
    low, high = erfc(-side) / 2 - rest, erfc(side) / 2 + rest
    return jnp.where(large, low, gammainc(few, y)), jnp.where(large, high, gammaincc(few, y))


def beta_tails(a: ArrayLike, b: ArrayLike, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """(P(V <= x), P(V > x)) for V beta distributed with parameters a and b.

    Where the smaller parameter is below 40 (100 in float64), by a continued fraction; otherwise by
    Gauss's rule. The tail away from the mean is computed, and the other is one minus it. Both can be
    differentiated with respect to all arguments.

    Float32: within 5e-6 of 1 + its size, and of one rounding of the arguments.

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
    a, b, x, y = jnp.broadcast_arrays(*as_float(a, b, x, y))
    inside = (x > 0) & (y > 0)
    p, q = jnp.where(inside, x, 0.5), jnp.where(inside, y, 0.5)
    # both parameters at least one, and x below the mean
    grown_a, grown_b = jnp.where(a < 1, a + 1, a), jnp.where(b < 1, b + 1, b)
    n = grown_a + grown_b
    # both are how far n x lies below its mean; the smaller of x and y has fewer roundings
    below = jnp.where(p < q, grown_a - n * p, n * q - grown_b)
    low = below >= 0
    four = ((grown_a, grown_b), (grown_b, grown_a), (p, q), (q, p))
    big_a, big_b, near, far = (jnp.where(low, v, w) for v, w in four)
    # one call for all three terms, which keeps the program small
    terms = jnp.stack([a, grown_a, big_a]), jnp.stack([b, b, big_b])
    places = jnp.stack([p, p, near]), jnp.stack([q, q, far])
    first, second, third = jnp.exp(log_binomial_term(*terms, *places))
    # P(V <= x) falls by the first term where a grows by one, and grows by the second for b
    step = jnp.where(a < 1, first * b / (a + b), 0)
    step = step - jnp.where(b < 1, second * grown_a / (grown_a + b), 0)
    tail = _far_tail(big_a, big_b, near, far, jnp.abs(below), third)
    at_end = jnp.where(x > 0, 1, 0).astype(x.dtype) + 0 * (x + y)  # NaN stays NaN
    lower = jnp.where(inside, jnp.where(low, tail, 1 - tail) + step, at_end)
    upper = jnp.where(inside, jnp.where(low, 1 - tail, tail) - step, 1 - at_end)
    return lower, upper


def _far_tail(a: Array, b: Array, x: Array, y: Array, below: Array, term: Array) -> Array:
    """P(V <= x) for a and b of at least one, x inside (0, 1) and below the mean.

    Args:
      a, b, x, y: as for `beta_tails`.
      below: how far (a + b) x lies below a.
      term: the binomial term of a, b, x and y.
    """
    is_single = jnp.finfo(a.dtype).bits <= 32
    num_terms, num_nodes, num_deviations, start = (
        (20, 12, 7.0, 40.0) if is_single else (50, 40, 9.0, 100.0)
    )
    large = jnp.minimum(a, b) >= start

    def only(condition: Array) -> tuple[Array, ...]:
        values = ((a, start), (b, start), (x, 0.5), (y, 0.5), (below, 0.0))
        return tuple(jnp.where(condition, value, other) for value, other in values)

    by_fraction = term * a / (a + b) * b * _fraction(num_terms, *only(~large))
    return jnp.where(large, _by_rule(num_nodes, num_deviations, *only(large)), by_fraction)


def _fraction(num_terms: int, a: Array, b: Array, x: Array, y: Array, below: Array) -> Array:
    """P(V <= x) B(a, b) / (x^a y^b) by Didonato's and Morris's continued fraction."""
    n = a + b

    def step(last: _Convergents, k: Array) -> tuple[_Convergents, None]:
        above, under, next_above = last
        c = a + 2 * k
        alpha = (a + k - 1) / (c - 1) * ((n + k - 1) / (c - 1)) * k * (b - k) * x**2
        beta = k + k * (b - k) * x / (c - 1) + (a + k) * (below + 1 + k * (1 + y)) / (c + 1)
        size = alpha * under + beta
        return (next_above / size, 1 / size, (alpha * above + beta * next_above) / size), None

    first = a * (below + 1) / (a + 1)
    start = (jnp.zeros_like(a), 1 / first, 1 / first)
    ks = jnp.arange(1, num_terms + 1, dtype=a.dtype)
    return jax.lax.scan(step, start, ks)[0][2]


def _by_rule(
    num_nodes: int, num_deviations: float, a: Array, b: Array, x: Array, y: Array, below: Array
) -> Array:
    """P(V <= x) by Gauss's rule from x down to so many deviations below the mean, or to zero."""
    n = a + b
    deviation = jnp.sqrt(a / n * (b / n) / n)
    length = jnp.minimum(x, jnp.maximum(num_deviations * deviation - below / n, deviation))
    nodes, shares = np.polynomial.legendre.leggauss(num_nodes)
    steps = jnp.multiply.outer(length, jnp.asarray((1 + nodes) / 2, a.dtype))
    gap = below[..., None] + n[..., None] * steps  # from a to n times a node
    both = jnp.stack([a, b])[..., None]
    bend = jnp.sum(_bend(jnp.broadcast_to(both, (2, *gap.shape)), jnp.stack([gap, -gap])), axis=0)
    density = jnp.exp(-bend) / ((x[..., None] - steps) * (y[..., None] + steps))
    of_n, of_a, of_b = factorial_excess(jnp.stack([n, a, b]))
    peak = jnp.exp(of_n - of_a - of_b)
    return a / n * b * length / 2 * peak * (density @ jnp.asarray(shares, a.dtype))


def _bend(x: Array, gap: Array) -> Array:
    """`deviance(x, x - gap)`, exact where the gap is far below x."""
    v = gap / (2 * x - gap)
    near = gap * v + 2 * x * v**3 * polynomial(ODD, v * v)
    close = jnp.abs(v) < 0.1
    return jnp.where(close, near, -x * jnp.log1p(jnp.where(close, 0, -gap / x)) - gap)


def beta_quantile(a: ArrayLike, b: ArrayLike, prob: ArrayLike) -> Array:
    """The x with P(V <= x) = prob for V beta distributed with parameters a and b, by bisection.

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
    a, b, prob = jnp.broadcast_arrays(*as_float(a, b, prob))

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        short = beta_tails(a, b, middle, 1 - middle)[0] < prob
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    low, high = jax.lax.fori_loop(0, 50, halve, (jnp.zeros_like(a), jnp.ones_like(a)))
    return (low + high) / 2
