"""Scores in closed form: CRPS of families, of intervals and of two moments."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betaln, erf, gammainc, gammaln, ndtr
from jax.typing import ArrayLike

from likelax.numerics import as_float, xlogy


def crps_normal(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a normal forecast: scale (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt pi).

    Args:
      loc, scale: broadcastable to x; scale 0 is a point forecast and scores |x - loc|.
      x: (...) what was seen.
    Returns:
      (...) in the unit of x.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.2.

    Examples:
      >>> round(float(crps_normal(0.0, 1.0, 0.0)), 4)
      0.2337
    """
    loc, scale, x = _together(loc, scale, x)
    point = scale == 0
    z = (x - loc) / jnp.where(point, 1, scale)
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    spread = z * erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
    return jnp.where(point, jnp.abs(x - loc), scale * spread)


def crps_normal_mixture(
    weights: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a mixture of K normals.

    sum_k w[k] A(x - loc[k], scale[k]^2)
      - sum_jk w[j] w[k] A(loc[j] - loc[k], scale[j]^2 + scale[k]^2) / 2,
    A(d, v) = E |d + N(0, v)| = d (2 Phi(d / sqrt v) - 1) + 2 sqrt(v) phi(d / sqrt v)

    Args:
      weights, loc, scale: (..., K), the weights summing to one, the scales positive.
      x: (...) what was seen.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if the shapes differ.
    Source: Grimit et al. (2006), Quarterly Journal of the Royal Meteorological Society 132.

    Examples:
      >>> one, two = jnp.ones(2) / 2, jnp.ones(2)
      >>> round(float(crps_normal_mixture(one, jnp.zeros(2), two, 0.0)), 4)
      0.2337
    """
    weights, loc, scale, x = as_float(weights, loc, scale, x)
    if not (*x.shape, weights.shape[-1]) == weights.shape == loc.shape == scale.shape:
        raise ValueError(
            "weights, loc and scale must have shape (*x.shape, K), got "
            f"{weights.shape}, {loc.shape} and {scale.shape} for x of {x.shape}"
        )
    near = jnp.sum(weights * _mean_distance(x[..., None] - loc, scale), axis=-1)
    apart = loc[..., :, None] - loc[..., None, :]
    both = jnp.sqrt(scale[..., :, None] ** 2 + scale[..., None, :] ** 2)
    shares = weights[..., :, None] * weights[..., None, :]
    return near - jnp.sum(shares * _mean_distance(apart, both), axis=(-2, -1)) / 2


def _mean_distance(shift: Array, scale: Array) -> Array:
    """E |shift + N(0, scale^2)|."""
    z = shift / scale
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return shift * erf(z / math.sqrt(2)) + 2 * scale * density


def crps_log_normal(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a log-normal forecast, whose logarithm has mean `loc` and deviation `scale`.

    x (2 Phi(w) - 1) - 2 exp(loc + scale^2 / 2) (Phi(w - scale) + Phi(scale / sqrt 2) - 1),
    w = (log x - loc) / scale

    Args:
      loc, scale: broadcastable to x, scale positive.
      x: (...); at or below 0 the forecast called it impossible, and the score is the distance.
    Returns:
      (...) in the unit of x.
    Source: Baran, Lerch (2015), Quarterly Journal of the Royal Meteorological Society 141.

    Examples:
      >>> round(float(crps_log_normal(0.0, 0.5, 1.0)), 4)
      0.1208
    """
    loc, scale, x = _together(loc, scale, x)
    positive = x > 0
    w = (jnp.log(jnp.where(positive, x, 1)) - loc) / scale
    below = jnp.where(positive, ndtr(w), 0)
    tilted = jnp.where(positive, ndtr(w - scale), 0)
    mean = jnp.exp(loc + scale**2 / 2)
    return x * (2 * below - 1) - 2 * mean * (tilted + ndtr(scale / math.sqrt(2)) - 1)


def crps_laplace(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Laplace forecast: scale (|z| + exp(-|z|) - 3 / 4).

    Args:
      loc, scale: broadcastable to x, scale positive.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> float(crps_laplace(0.0, 1.0, 0.0))
      0.25
    """
    loc, scale, x = _together(loc, scale, x)
    z = jnp.abs((x - loc) / scale)
    return scale * (z + jnp.exp(-z) - 0.75)


def crps_logistic(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a logistic forecast: scale (z - 2 log F(z) - 1).

    Args:
      loc, scale: broadcastable to x, scale positive.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_logistic(0.0, 1.0, 0.0)), 4)
      0.3863
    """
    loc, scale, x = _together(loc, scale, x)
    z = (x - loc) / scale
    return scale * (z + 2 * jax.nn.softplus(-z) - 1)


def crps_uniform(low: ArrayLike, high: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a forecast uniform on [low, high].

    (high - low) (|z - c| + c^2 - c + 1 / 3), z = (x - low) / (high - low), c = z within [0, 1]

    Args:
      low, high: broadcastable to x, low < high.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_uniform(0.0, 1.0, 2.0)), 4)
      1.3333
    """
    low, high, x = _together(low, high, x)
    z = (x - low) / (high - low)
    inside = jnp.clip(z, 0, 1)
    return (high - low) * (jnp.abs(z - inside) + inside**2 - inside + 1 / 3)


def crps_exponential(rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of an exponential forecast: |x| - 2 F(x) / rate + 1 / (2 rate).

    Args:
      rate: broadcastable to x, positive.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> float(crps_exponential(1.0, 0.0))
      0.5
    """
    rate, x = _together(rate, x)
    return jnp.abs(x) + (2 * jnp.expm1(-rate * jnp.maximum(x, 0)) + 0.5) / rate


def crps_gamma(concentration: ArrayLike, rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a gamma forecast with mean concentration / rate.

    x (2 F(x; a) - 1) - a / b (2 F(x; a + 1) - 1) - 1 / (b Beta(1 / 2, a)),
    a = concentration, b = rate

    Args:
      concentration, rate: broadcastable to x, positive.
    Source: Moeller, Scheuerer (2015), Quarterly Journal of the Royal Meteorological Society 141.

    Examples:
      >>> round(float(crps_gamma(1.0, 1.0, 0.0)), 4)
      0.5
    """
    a, b, x = _together(concentration, rate, x)
    positive = x > 0
    scaled = jnp.where(positive, b * x, 1)
    near, far = (jnp.where(positive, gammainc(shape, scaled), 0) for shape in (a, a + 1))
    spread = jnp.exp(-betaln(jnp.full_like(a, 0.5), a)) / b
    return x * (2 * near - 1) - a / b * (2 * far - 1) - spread


def crps_poisson(rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Poisson forecast, in closed form.

    (x - r)(2 F(x) - 1) + 2 r f(x) - r exp(-2 r) (I0(2 r) + I1(2 r))

    Args:
      rate: broadcastable to x, non-negative; rate 0 scores x.
      x: (...) counts.
    Returns:
      (...) in counts.
    Source: Wei, Held (2014), Test 23; Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_poisson(0.0, 3)), 4)
      3.0
    """
    rate, x = _together(rate, x)
    zero = rate == 0
    r = jnp.where(zero, 1, rate)
    whole = jnp.floor(x)
    below = jnp.where(whole < 0, 0, jax.scipy.special.gammaincc(jnp.maximum(whole, 0) + 1, r))
    mass = jnp.where(
        whole < 0,
        0,
        jnp.exp(xlogy(jnp.maximum(whole, 0), r) - r - gammaln(jnp.maximum(whole, 0) + 1)),
    )
    spread = r * (jax.scipy.special.i0e(2 * r) + jax.scipy.special.i1e(2 * r))
    return jnp.where(zero, jnp.abs(x), (x - r) * (2 * below - 1) + 2 * r * mass - spread)


def interval_score(lower: ArrayLike, upper: ArrayLike, x: ArrayLike, *, mass: float) -> Array:
    """Interval score: the width, and 2 / (1 - mass) times the distance by which it missed.

    Args:
      lower, upper: (...) bounds of the central interval of probability `mass`.
      x: (...) what was seen.
      mass: in (0, 1), the probability the interval claims.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if mass is not in (0, 1).
    Source: Gneiting, Raftery (2007), JASA 102, section 6.2.

    Examples:
      >>> round(float(interval_score(0.0, 1.0, 1.5, mass=0.9)), 4)
      11.0
    """
    if not 0 < mass < 1:
        raise ValueError(f"mass must lie in (0, 1), got {mass}")
    lower, upper, x = as_float(lower, upper, x)
    missed = jnp.maximum(lower - x, 0) + jnp.maximum(x - upper, 0)
    return upper - lower + 2 / (1 - mass) * missed


def dawid_sebastiani_score(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Dawid-Sebastiani score of a mean and a standard deviation: z^2 + 2 log scale.

    It needs two moments only, and is proper for them.

    Args:
      loc, scale: (...), scale positive.
      x: (...).
    Returns:
      (...).
    Source: Dawid, Sebastiani (1999), Annals of Statistics 27.

    Examples:
      >>> float(dawid_sebastiani_score(0.0, 1.0, 2.0))
      4.0
    """
    loc, scale, x = as_float(loc, scale, x)
    return ((x - loc) / scale) ** 2 + 2 * jnp.log(scale)


def _together(*values: ArrayLike) -> list[Array]:
    """All as floats of one shape."""
    arrays = as_float(*values)
    shape = jnp.broadcast_shapes(*(a.shape for a in arrays))
    return [jnp.broadcast_to(a, shape) for a in arrays]
