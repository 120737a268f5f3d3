"""Scores in closed form: CRPS of families, of intervals and of two moments.

A CRPS is never negative. The textbooks' closed forms are differences of numbers of the size of the
mean; here each is arranged so that its terms have the size of the score, and in float32 the result
is right to 2e-5 of the spread of the forecast, or of the score where that is larger.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, gammainc, gammaln, log_ndtr, ndtr
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import (
    check_not_negative,
    check_order,
    check_positive,
    check_simplex,
    check_values,
)
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_beta,
    log_binomial_term,
    log_gamma_ratio,
    polynomial,
)
from likelax.numerics.tails import beta_tails, gamma_tails

_LEGENDRE = np.polynomial.legendre.leggauss(12)


def crps_normal(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a normal forecast: scale (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt pi).

    Args:
      loc, scale: broadcastable to x; scale 0 is a point forecast and scores |x - loc|.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is negative.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.2.

    Examples:
      >>> round(float(crps_normal(0.0, 1.0, 0.0)), 4)
      0.2337
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_not_negative(scale=scale)
    point = scale == 0
    away = jnp.abs(x - loc)
    z = away / jnp.where(point, 1, scale)
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    spread = away * erf(z / math.sqrt(2)) + scale * (2 * density - 1 / math.sqrt(math.pi))
    return jnp.where(point, away, spread)


def crps_normal_mixture(
    weights: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a mixture of K normals.

    sum_k w[k] A(x - loc[k], scale[k]^2)
      - sum_jk w[j] w[k] A(loc[j] - loc[k], scale[j]^2 + scale[k]^2) / 2,
    A(d, v) = E |d + N(0, v)| = d (2 Phi(d / sqrt v) - 1) + 2 sqrt(v) phi(d / sqrt v)

    The parts |d| of A are put together exactly, so that only the scales of the components, each
    times its weight, limit the precision, and not their distances.

    Args:
      weights, loc, scale: (..., K), the weights summing to one, the scales positive.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if the shapes differ, weights do not sum to one, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Grimit et al. (2006), Quarterly Journal of the Royal Meteorological Society 132.

    Examples:
      >>> one, two = jnp.ones(2) / 2, jnp.ones(2)
      >>> round(float(crps_normal_mixture(one, jnp.zeros(2), two, 0.0)), 4)
      0.2337
    """
    weights, loc, scale, x = named_floats(weights=weights, loc=loc, scale=scale, x=x)
    if not (*x.shape, *weights.shape[-1:]) == weights.shape == loc.shape == scale.shape:
        raise ValueError(
            "weights, loc and scale must have shape (*x.shape, K), got "
            f"{weights.shape}, {loc.shape} and {scale.shape} for x of {x.shape}"
        )
    check_simplex("weights", weights)
    check_positive(scale=scale)
    gap = x[..., None] - loc
    one, other = gap[..., :, None], gap[..., None, :]
    # (|d_j| + |d_k| - |d_j - d_k|) / 2 is the smaller distance on one side of x, and 0 across it
    same = jnp.sign(one) == jnp.sign(other)
    shared = jnp.where(same, jnp.minimum(jnp.abs(one), jnp.abs(other)), 0)
    both = jnp.hypot(*jnp.broadcast_arrays(scale[..., :, None], scale[..., None, :]))
    shares = weights[..., :, None] * weights[..., None, :]
    apart = shared - _beyond_distance(one - other, both) / 2
    near = jnp.sum(weights * _beyond_distance(gap, scale), axis=-1)
    return near + jnp.sum(shares * apart, axis=(-2, -1))


def _beyond_distance(shift: Array, scale: Array) -> Array:
    """E |shift + N(0, scale^2)| - |shift|."""
    z = jnp.abs(shift) / scale
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    tail = ndtr(-z)
    return 2 * (scale * density - jnp.abs(shift) * tail)


def crps_log_normal(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a log-normal forecast, whose logarithm has mean `loc` and deviation `scale`.

    x (2 Phi(w) - 1) - 2 exp(loc + scale^2 / 2) (Phi(w - scale) + Phi(scale / sqrt 2) - 1),
    w = (log x - loc) / scale

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...); at or below 0 the forecast called it impossible, and the score is the distance.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Baran, Lerch (2015), Quarterly Journal of the Royal Meteorological Society 141.

    Examples:
      >>> round(float(crps_log_normal(0.0, 0.5, 1.0)), 4)
      0.1208
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    positive = x > 0
    log_ratio = jnp.log(jnp.where(positive, x, 1)) - loc
    w = log_ratio / scale
    below = jnp.where(positive, ndtr(w), 0)
    wide = scale >= 1
    # narrow: every term is of the order of mean times scale
    s = jnp.where(wide, 1, scale)
    mean = jnp.exp(loc + s**2 / 2)
    gap = log_ratio - s**2 / 2
    close = jnp.abs(gap) < 1
    above = jnp.where(close & positive, mean * jnp.expm1(jnp.where(close, gap, 0)), x - mean)
    nodes, shares = _LEGENDRE
    # Phi(w) - Phi(w - s), an integral of the density over a short stretch
    strip = sum(
        share / 2 * jnp.exp(-((w - s * (1 + node) / 2) ** 2) / 2)
        for node, share in zip(nodes.tolist(), shares.tolist(), strict=True)
    )
    strip = jnp.where(positive, s / math.sqrt(2 * math.pi) * strip, 0)
    narrow = above * (2 * below - 1) + mean * (2 * strip - erf(s / 2))
    # wide: the mean may be far from where the mass is, or infinite
    t = jnp.where(wide, scale, 1)
    log_mean = loc + t**2 / 2
    tilted = jnp.where(positive, jnp.exp(log_mean + log_ndtr(w - t)), 0)
    spread = jnp.exp(log_mean + log_ndtr(-t / math.sqrt(2)))
    return jnp.where(wide, x * (2 * below - 1) - 2 * tilted + 2 * spread, narrow)


def crps_laplace(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Laplace forecast: scale (|z| + exp(-|z|) - 3 / 4).

    Args:
      loc, scale: broadcastable to x, scale positive.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> float(crps_laplace(0.0, 1.0, 0.0))
      0.25
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    away = jnp.abs(x - loc)
    return away + scale * (jnp.exp(-away / scale) - 0.75)


def crps_logistic(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a logistic forecast: scale (z - 2 log F(z) - 1).

    Args:
      loc, scale: broadcastable to x, scale positive.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_logistic(0.0, 1.0, 0.0)), 4)
      0.3863
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    away = jnp.abs(x - loc)
    return away + scale * (2 * jnp.log1p(jnp.exp(-away / scale)) - 1)


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


def check_masses(**masses: Array) -> None:
    """Raise unless masses at one or two points are in [0, 1] and at most 1 together.

    Raises:
      ValueError: naming the masses.
    """
    for name, mass in masses.items():
        check_values(name, mass, lambda v: ~((v < 0) | (v > 1)), "in [0, 1]")
    whole = sum(masses.values())
    check_values(" + ".join(masses), whole, lambda v: ~(v > 1 + 1e-6), "at most 1")


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


def crps_student_t(dof: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Student t forecast.

    scale (z (2 F(z) - 1) + 2 f(z) (dof + z^2) / (dof - 1)
           - 2 sqrt(dof) B(1/2, dof - 1/2) / ((dof - 1) B(1/2, dof / 2)^2)), z = (x - loc) / scale

    Args:
      dof: broadcastable to x, positive; inf is the normal. The score is infinite for dof <= 1/2.
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or dof or scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments, from dof 0.6 on.
    Source: Jordan, Krueger, Lerch (2019), appendix A, whose formula, arranged differently, is finite
      at dof = 1 too.

    Examples:
      >>> round(float(crps_student_t(1.0, 0.0, 1.0, 0.0)), 4)  # Cauchy: 2 log(2) / pi
      0.4413
    """
    dof, loc, scale, x = together(dof=dof, loc=loc, scale=scale, x=x)
    check_positive(dof=dof, scale=scale)
    infinite = dof <= 0.5
    normal = 4 / float(jnp.finfo(dof.dtype).eps)  # from here on, it is the normal to rounding
    n = jnp.where(infinite, 1, jnp.minimum(dof, normal))
    away = jnp.abs(x - loc)
    z = away / scale
    slant = z / jnp.sqrt(n)
    length = jnp.hypot(1, slant)
    half = jnp.full_like(n, 0.5)
    middle = z == 0  # where the derivative of the beta distribution has a pole
    near, far = (jnp.where(middle, 0.5, (v / length) ** 2) for v in (slant, 1))
    lift = jnp.where(middle, 0, beta_tails(half, n / 2, near, far)[0])
    # ((1 + z^2 / n)^-u - B(1/2, n - 1/2) / B(1/2, n / 2)) / (n - 1), u = (n - 1) / 2: a difference of
    # powers of the same small exponent, each of which is 1 at n = 1
    excess = n - 1
    steep = slant > 1
    least = jnp.where(steep, 1 / jnp.where(steep, slant, 1), slant)
    log_decay = -jnp.log1p(least**2) / 2 - jnp.log(jnp.where(steep, slant, 1))
    close = jnp.abs(excess) < 0.1
    y = jnp.where(close, excess, 0)
    series = polynomial(HALF_SERIES, y) - polynomial(HALF_SERIES, y / 2) / 2
    plain = log_gamma_ratio(n / 2, half) - log_gamma_ratio(n - 0.5, half)
    slope = jnp.where(close, series, plain / jnp.where(close, 1, excess))
    per_unit = log_decay * growth(excess * log_decay) - slope * growth(excess * slope)
    factor = 2 * jnp.exp(jnp.log(n) / 2 - log_beta(half, n / 2))
    return jnp.where(infinite, jnp.inf, away * lift + scale * factor * per_unit)


def growth(u: Array) -> Array:
    """(exp(u) - 1) / u, which is 1 at 0."""
    small = jnp.abs(u) < 0.1
    series = polynomial(_INVERSE_FACTORIALS, jnp.where(small, u, 0))
    return jnp.where(small, series, jnp.expm1(u) / jnp.where(small, 1, u))


_INVERSE_FACTORIALS = tuple(1 / math.factorial(k + 1) for k in range(12))


def dawid_sebastiani_score(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Dawid-Sebastiani score of a mean and a standard deviation: z^2 + 2 log scale.

    It needs two moments only, and is proper for them.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...).
    Returns:
      (...).
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Source: Dawid, Sebastiani (1999), Annals of Statistics 27.

    Examples:
      >>> float(dawid_sebastiani_score(0.0, 1.0, 2.0))
      4.0
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    return ((x - loc) / scale) ** 2 + 2 * jnp.log(scale)


def together(**values: ArrayLike) -> list[Array]:
    """All as floats of the shape of x, or of the parameters where x is one number.

    Raises:
      ValueError: for shapes that do not broadcast to that.
    """
    arrays = dict(zip(values, named_floats(**values), strict=True))
    x = arrays["x"]
    shape = x.shape if x.ndim else max((a.shape for a in arrays.values()), key=len)
    return of_shape(shape, **arrays)


def of_shape(shape: tuple[int, ...], /, **arrays: Array) -> list[Array]:
    """All broadcast to the shape of x.

    Raises:
      ValueError: for shapes that do not broadcast to that.
    """
    for name, a in arrays.items():
        lined_up = zip(reversed(a.shape), reversed(shape), strict=False)
        if a.ndim > len(shape) or any(m not in (1, n) for m, n in lined_up):
            raise ValueError(f"{name} must broadcast to the shape of x, {shape}, got {a.shape}")
    return [jnp.broadcast_to(a, shape) for a in arrays.values()]
