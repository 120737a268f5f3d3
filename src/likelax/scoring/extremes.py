"""CRPS of generalised extreme value and generalised Pareto forecasts. Precision is as in `closed`."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics.checks import check_positive
from likelax.numerics.special import polynomial
from likelax.scoring.arguments import check_masses, growth, together
from likelax.scoring.panels import gauss

_LOW = 0.5  # series below this value of -log F, Gauss's rule above
# Maclaurin coefficients of (1 - e^-y)^2 from y^2 on, and of e^-2y from y on
_SQUARE = tuple((-1) ** k * (2**k - 2) / math.factorial(k) for k in range(2, 22))
_DECAY = tuple((-2) ** k / math.factorial(k) for k in range(1, 22))


def crps_generalized_pareto(
    shape: ArrayLike,
    loc: ArrayLike,
    scale: ArrayLike,
    x: ArrayLike,
    *,
    low_mass: ArrayLike = 0.0,
) -> Array:
    """CRPS of a generalised Pareto forecast: exceedances of `loc`, exponential at shape 0.

    scale (|z| - 2 p (1 - S(z)^(1 - shape)) / (1 - shape) + p^2 / (2 - shape)),
    S(z) = (1 + shape z)^(-1 / shape), z = (x - loc) / scale, p = 1 - low_mass

    Args:
      shape: broadcastable to x; the score is infinite from 2 on.
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values.
      low_mass: broadcastable to x, in [0, 1]: probability of exactly `loc`.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a scale is not positive, or a mass is not in
        [0, 1].
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments, to shape 1.9.
    Source: Friederichs, Thorarinsdottir (2012), Environmetrics 23, for shapes below 1; it
      holds below 2.

    Examples:
      >>> float(crps_generalized_pareto(0.0, 0.0, 1.0, 0.0))
      0.5
    """
    shape, loc, scale, x, low_mass = together(
        shape=shape, loc=loc, scale=scale, x=x, low_mass=low_mass
    )
    check_positive(scale=scale)
    check_masses(low_mass=low_mass)
    z = (x - loc) / scale
    infinite = shape >= 2
    xi = jnp.where(infinite, 0, shape)
    log_survival = -log_power(xi, jnp.maximum(z, 0))
    # -log S is infinite beyond the upper end of a negative shape, where S^(1 - shape) is zero
    ended = log_survival == -jnp.inf
    u = jnp.where(ended, 0, log_survival)
    part = jnp.where(ended, 1 / (1 - jnp.where(ended, xi, 0)), -u * growth((1 - xi) * u))
    rest = 1 - low_mass
    score = jnp.abs(z) - 2 * rest * part + rest**2 / (2 - xi)
    return jnp.where(infinite, jnp.inf, scale * score)


def crps_generalized_extreme_value(
    shape: ArrayLike, loc: ArrayLike, scale: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a generalised extreme value forecast: Gumbel at shape 0, Frechet above, Weibull below.

    scale (integral of F^2 up to z + integral of (1 - F)^2 from z on),
    F(z) = exp(-(1 + shape z)^(-1 / shape)), z = (x - loc) / scale

    Both integrals run over log(-log F), in which they are smooth in z and in the shape, at 0 too.

    Args:
      shape: broadcastable to x; positive is a heavy upper tail. The score is infinite from 2 on.
      loc, scale: broadcastable to x, scale positive.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments, to shape 1.9.
    Source: Friederichs, Thorarinsdottir (2012), Environmetrics 23, for shapes below 1; it
      holds below 2.

    Examples:
      >>> print(f"{crps_generalized_extreme_value(0.0, 0.0, 1.0, 0.0):.4f}")  # Gumbel
      0.3228
    """
    shape, loc, scale, x = together(shape=shape, loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    infinite = shape >= 2
    xi = jnp.where(infinite, 0, shape)
    z = (x - loc) / scale
    single = jnp.finfo(x.dtype).bits <= 32
    top = math.log(18.0 if single else 40.0)  # log(-log F) where F^2 vanishes
    middle = math.log(_LOW)
    # below this z, F is 0 and the score grows by the distance
    first = _quantile(xi, top)
    at = jnp.maximum(z, first)
    v = jnp.clip(-log_power(xi, at), -80.0 if single else -700.0, top)
    low = jnp.minimum(v, middle)
    # (1 - F)^2 beyond z
    k, c = _series(_SQUARE, 2, x)
    power = k - xi[..., None]
    beyond = jnp.sum(c * jnp.exp(power * low[..., None]) / power, axis=-1)
    nodes, weights = (jnp.asarray(a, x.dtype) for a in gauss(16 if single else 32)[:2])
    split = jnp.maximum(v, middle)
    y, factor, share = _panel(xi, jnp.full_like(v, middle), split, nodes)
    beyond = beyond + share * ((jnp.expm1(-y) ** 2 * factor) @ weights)
    # F^2 before z
    y, factor, share = _panel(xi, split, jnp.full_like(v, top), nodes)
    before = share * ((jnp.exp(-2 * y) * factor) @ weights)
    k, c = _series(_DECAY, 1, x)
    power, gap = k - xi[..., None], (middle - low)[..., None]
    late = jnp.sum(c * jnp.exp(power * middle) * gap * growth(-power * gap), axis=-1)
    before = before + jnp.where(v < middle, at - _quantile(xi, middle) + late, 0)
    return jnp.where(infinite, jnp.inf, scale * (at - z + beyond + before))


def _panel(xi: Array, start: Array, end: Array, nodes: Array) -> tuple[Array, Array, Array]:
    """-log F and dz / dv at the nodes between two values v of log(-log F), and the length."""
    nodes = jnp.expand_dims(nodes, tuple(range(start.ndim)))
    v = start[..., None] + (end - start)[..., None] * nodes
    return jnp.exp(v), jnp.exp(-xi[..., None] * v), end - start


def _series(coefficients: tuple[float, ...], first: int, like: Array) -> tuple[Array, Array]:
    """Exponents and coefficients of a power series, as rows of the rank of `like` and one more."""
    shape = (1,) * like.ndim + (-1,)
    powers = jnp.arange(first, first + len(coefficients)).astype(like.dtype)
    return powers.reshape(shape), jnp.asarray(coefficients, like.dtype).reshape(shape)


def _quantile(xi: Array, v: float) -> Array:
    """The z whose log(-log F) is v: (e^(-xi v) - 1) / xi."""
    return -v * growth(-xi * v)


def log_power(xi: Array, z: Array) -> Array:
    """log(1 + xi z) / xi, which is z at xi = 0, and infinite beyond an end of the support."""
    u = xi * z
    outside = u <= -1
    near = jnp.abs(u) < 0.1
    series = polynomial(_LOG_SERIES, jnp.where(near, u, 0))
    plain = jnp.log1p(jnp.where(near | outside, 1, u)) / jnp.where(near, 1, u)
    inside = z * jnp.where(near, series, plain)
    return jnp.where(outside, jnp.where(xi > 0, -jnp.inf, jnp.inf), inside)


_LOG_SERIES = tuple((-1) ** k / (k + 1) for k in range(16))
