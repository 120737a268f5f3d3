"""Scores in closed form: CRPS of families, of intervals and of two moments.

A CRPS is never negative. The textbooks' closed forms are differences of numbers of the size of the
mean; here each is arranged so that its terms have the size of the score, and in float32 the result
is right to 2e-5 of the spread of the forecast, or of the score where that is larger.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, log_ndtr, ndtr
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import (
    check_not_negative,
    check_positive,
    check_simplex,
)
from likelax.numerics.special import (
    log_beta,
    log_gamma_ratio,
    polynomial,
)
from likelax.numerics.tails import beta_tails
from likelax.scoring.arguments import growth, together
from likelax.scoring.supported import HALF_SERIES

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
