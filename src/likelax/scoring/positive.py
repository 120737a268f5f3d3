"""CRPS of forecasts of positive numbers: log-Laplace, log-logistic, censored and shifted gamma."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics.checks import check_not_negative, check_positive
from likelax.numerics.special import deviance, factorial_excess, log_gamma_ratio
from likelax.numerics.tails import gamma_tails
from likelax.scoring.arguments import growth, together
from likelax.scoring.panels import Peaked, bent, gauss_rule, integrate
from likelax.scoring.supported import crps_gamma


def crps_log_laplace(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a log-Laplace forecast, whose logarithm is Laplace with `loc` and `scale`.

    exp(loc) (scale / (4 - scale^2) + |r - 1| - |r^q - 1| / |q|), r = x / exp(loc),
    q = 1 + 1 / scale below the median r = 1 and 1 - 1 / scale above

    Args:
      loc, scale: broadcastable to x, scale positive. The score is infinite for scales from 2 on.
      x: (...); at or below 0 the forecast called it impossible.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments, to scale 1.9.
    Source: Jordan, Krueger, Lerch (2019), appendix A, for scales below 1; it holds below 2.

    Examples:
      >>> print(f"{crps_log_laplace(0.0, 1.0, 1.0):.4f}")
      0.3333
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    infinite = scale >= 2
    s = jnp.where(infinite, 1, scale)
    positive = x > 0
    log_ratio = jnp.log(jnp.where(positive, x, 1)) - loc
    under = jnp.minimum(log_ratio, 0)
    steep = 1 + 1 / s
    low = jnp.where(positive, jnp.expm1(steep * under) / steep - jnp.expm1(under), 1 - 1 / steep)
    over = jnp.maximum(log_ratio, 0)
    high = jnp.where(positive, over * (growth(over) - growth((1 - 1 / s) * over)), 0)
    median = jnp.exp(loc)
    score = median * (s / (4 - s**2) + low + high) + jnp.maximum(-x, 0)
    return jnp.where(infinite, jnp.inf, score)


def crps_log_logistic(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a log-logistic forecast, whose logarithm is logistic with `loc` and `scale`.

    scale exp(loc) (integral of F^2 exp(scale v) up to log x + integral of (1 - F)^2 exp(scale v) from there on),
    F = 1 / (1 + exp(-v)), v the logarithm less loc, in units of the scale

    Args:
      loc, scale: broadcastable to x, scale positive. The score is infinite for scales from 2 on.
      x: (...); at or below 0 the forecast called it impossible.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments, to scale 1.9.
    Source: Jordan, Krueger, Lerch (2019), appendix A, a formula for scales below 1; the integrals are
      finite below 2.

    Examples:
      >>> print(f"{crps_log_logistic(0.0, 0.5, 1.0):.4f}")
      0.2146
    """
    loc, scale, x = together(loc=loc, scale=scale, x=x)
    check_positive(scale=scale)
    infinite = scale >= 2
    s = jnp.where(infinite, 1, scale)
    positive = x > 0
    nodes, weights, *_ = gauss_rule(x.dtype)
    reach = 3 - math.log(jnp.finfo(x.dtype).eps)
    v = jnp.where(positive, (jnp.log(jnp.where(positive, x, 1)) - loc) / s, -jnp.inf)
    at = jnp.clip(v, -reach, reach)
    middle = jnp.zeros_like(at)
    near = jnp.stack([jnp.maximum(-at, 0), middle, jnp.maximum(at, 0)])
    far = jnp.stack([middle + reach, jnp.abs(at), middle + reach])
    # the logistic has its poles at distance pi from the real line
    place, step = bent(near, far, 0.0, math.pi, nodes)
    up = jnp.where(at >= 0, 1, -1)
    side = jnp.stack([-jnp.ones_like(at), up, jnp.ones_like(at)])[..., None]
    # F left of the outcome and 1 - F right of it: the middle panel is on the side of the median
    inward = jnp.stack([jnp.ones_like(at), -jnp.ones_like(at), jnp.ones_like(at)])[..., None]
    log_part = -2 * jax.nn.softplus(inward * place) + s[None, ..., None] * side * place
    panels = (jnp.exp(log_part) * step) @ weights
    tail = jnp.exp(-(2 - s) * reach) / (2 - s)
    median = jnp.exp(loc)
    ends = median * jnp.exp(s * -reach), median * jnp.exp(s * reach)
    outside = jnp.maximum(ends[0] - x, 0) + jnp.maximum(x - ends[1], 0)
    score = outside + s * median * (jnp.sum(panels, axis=0) + tail)
    return jnp.where(infinite, jnp.inf, score)


def crps_censored_shifted_gamma(
    concentration: ArrayLike, rate: ArrayLike, shift: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of max(G - shift, 0), G gamma with mean concentration / rate: precipitation with dry days.

    The CRPS of the gamma at x + shift, less the integral of F^2 from 0 to shift. For a shift above the mean
    both are much larger than the score, and the density beyond the shift is integrated instead.

    Args:
      concentration, rate: broadcastable to x, positive.
      shift: broadcastable to x, not negative.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a parameter is out of range.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Scheuerer, Hamill (2015), Monthly Weather Review 143.

    Examples:
      >>> print(f"{crps_censored_shifted_gamma(1.0, 1.0, 0.0, 0.0):.4f}")
      0.5000
    """
    a, rate, shift, x = together(concentration=concentration, rate=rate, shift=shift, x=x)
    check_positive(concentration=a, rate=rate)
    check_not_negative(shift=shift)
    seen, missed = jnp.maximum(x, 0), jnp.maximum(-x, 0)
    dry = rate * shift
    far = dry > jnp.maximum(a, 1)
    some = dry > 0
    y = jnp.where(far | ~some, 1, dry)
    below = gamma_tails(a, y)[0]
    step = jnp.exp(a * jnp.log(y) - y - jax.scipy.special.gammaln(a + 1))
    large = a >= 1
    big = jnp.where(large, a, 1)
    step = jnp.where(large, jnp.exp(-factorial_excess(big) - deviance(big, y)), step)
    log_spread = log_gamma_ratio(a, jnp.full_like(a, 0.5)) - math.log(math.pi) / 2
    twice = jnp.exp(log_spread) * gamma_tails(2 * a, 2 * y)[0]
    squares = (y - a) * below**2 + 2 * a * below * step - twice
    whole = crps_gamma(a, rate, jnp.where(far, 1, seen + shift))
    near = whole - jnp.where(some, squares, 0) / rate
    beyond = _beyond(jnp.where(far, a, 1), jnp.where(far, dry, 2), rate * seen) / rate
    return missed + jnp.where(far, beyond, near)


def _beyond(a: Array, dry: Array, x: Array) -> Array:
    """The score at rate 1 for a shift above concentration and 1: the density falls from 0 on."""
    enough = 3 - math.log(jnp.finfo(x.dtype).eps)
    slope = 1 - (a - 1) / dry
    excess = a > 1
    bulk = dry * enough / jnp.where(excess, a - 1, 1)
    bend = jnp.where(excess, bulk + jnp.sqrt(bulk**2 + 2 * dry * bulk), jnp.inf)
    power, start = (v[None, ..., None] for v in (a - 1, dry))
    density = Peaked(
        lambda d: power * jnp.log1p(d / start) - d,
        jnp.minimum(enough / slope, bend),
        dry,
        None,
        jnp.zeros_like(dry),
    )
    parts = integrate(density, jnp.zeros_like(x), jnp.full_like(x, jnp.inf), x)
    low_mass, rest = gamma_tails(a, dry)
    share = rest / parts.total
    return low_mass**2 * x + 2 * share * low_mass * parts.below + share**2 * parts.squares
