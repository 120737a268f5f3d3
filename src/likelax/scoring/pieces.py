"""CRPS of two-piece forecasts: one scale below the mode, another above. Precision is as in `closed`."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from likelax.numerics.checks import check_positive
from likelax.scoring.arguments import together

_HALF_MEAN = math.sqrt(2 / math.pi)  # of |N(0, 1)|
_HALF_GAP = (2 - math.sqrt(2)) / math.sqrt(math.pi)  # half the mean distance of two of them


def crps_two_piece_normal(
    loc: ArrayLike, low_scale: ArrayLike, high_scale: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a two-piece normal forecast: density 2 phi(z) / (low_scale + high_scale).

    z = (x - loc) / low_scale below loc and (x - loc) / high_scale above.

    Args:
      loc: broadcastable to x, the mode.
      low_scale, high_scale: broadcastable to x, positive.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Gneiting, Thorarinsdottir (2010), arXiv:1010.2318.

    Examples:
      >>> print(f"{crps_two_piece_normal(0.0, 1.0, 1.0, 0.0):.4f}")
      0.2337
    """
    away, near, far, share = sides(loc, low_scale, high_scale, x)
    z = away / near
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    # E |X - x| less the distance, then half the mean distance of two draws
    pull = near * (4 * density - _HALF_MEAN) - 4 * away * ndtr(-z)
    apart = _HALF_GAP * (share**2 * near + (1 - share) ** 2 * far)
    across = share * (1 - share) * (near + far) * _HALF_MEAN
    return away + share * pull + (1 - share) * far * _HALF_MEAN - apart - across


def crps_two_piece_exponential(
    loc: ArrayLike, low_scale: ArrayLike, high_scale: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a two-piece exponential forecast, the asymmetric Laplace distribution.

    |y| - 2 p s (1 - exp(-|y| / s)) + (low_scale^3 + high_scale^3) / (2 (low_scale + high_scale)^2),
    y = x - loc, s the scale on the side of y and p = s / (low_scale + high_scale)

    Args:
      loc: broadcastable to x, the mode.
      low_scale, high_scale: broadcastable to x, positive.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, or a scale is not positive.
    Float32: right to 2e-5 of score and spread, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{crps_two_piece_exponential(0.0, 1.0, 1.0, 0.0):.4f}")
      0.2500
    """
    away, near, far, share = sides(loc, low_scale, high_scale, x)
    spread = (share**2 * near + (1 - share) ** 2 * far) / 2
    return away + 2 * share * near * jnp.expm1(-away / near) + spread


def sides(
    loc: ArrayLike, low_scale: ArrayLike, high_scale: ArrayLike, x: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """|x - loc|, the scale on that side and on the other, and the probability of that side."""
    loc, low, high, x = together(loc=loc, low_scale=low_scale, high_scale=high_scale, x=x)
    check_positive(low_scale=low, high_scale=high)
    under = x < loc
    near, far = jnp.where(under, low, high), jnp.where(under, high, low)
    return jnp.abs(x - loc), near, far, near / (near + far)
