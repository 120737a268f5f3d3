"""CRPS of truncated and censored forecasts.

Closed forms of these scores are differences of numbers that may be millions of times the score: a normal
truncated to an interval of a hundredth of its scale has terms of 300 and a score of 0.001. Here the
density within the bounds is integrated by Gauss's rule relative to its value at its peak there. All terms are positive,
so the result is right relative to itself however narrow the interval is and however far in a tail.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import sigmoid, softplus
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from likelax.numerics.checks import check_order, check_positive, check_values
from likelax.numerics.special import log_beta
from likelax.numerics.tails import beta_tails
from likelax.scoring.arguments import check_masses, together
from likelax.scoring.panels import Parts, Peaked, integrate

_HALF_LOG_2PI = math.log(2 * math.pi) / 2


class Bounded(NamedTuple):
    """Where the bounds and the outcome lie about the peak, in units of the scale."""

    start: Array  # from the centre to the peak
    side: Array  # 1 if the peak is at the lower bound, above the centre
    left: Array
    right: Array
    z: Array
    beyond: Array  # how far the outcome is out of bounds, in the unit of x


def bounded(loc: Array, scale: Array, low: Array, high: Array, x: Array) -> Bounded:
    """The bounds and the outcome about the peak of a density that falls on both sides of loc."""
    endless_low, endless_high = low == -jnp.inf, high == jnp.inf
    bottom, top = jnp.where(endless_low, loc, low), jnp.where(endless_high, loc, high)
    below = ~endless_high & (top < loc)  # the peak is at the upper bound
    above = ~endless_low & (bottom > loc)
    peak = jnp.where(below, top, jnp.where(above, bottom, loc))
    seen = jnp.clip(x, low, high)
    return Bounded(
        jnp.abs(peak - loc) / scale,
        jnp.where(below, -1, jnp.where(above, 1, 0)),
        jnp.where(endless_low, jnp.inf, (peak - bottom) / scale),
        jnp.where(endless_high, jnp.inf, (top - peak) / scale),
        (seen - peak) / scale,
        jnp.abs(x - seen),
    )


def _score(
    at: Bounded, scale: Array, parts: Parts, low_mass: Array, high_mass: Array, rest: Array
) -> Array:
    """The CRPS where the masses are at the bounds, and the rest is spread as the density."""
    to_low = jnp.where(jnp.isinf(at.left), 0, at.left) + at.z
    to_high = jnp.where(jnp.isinf(at.right), 0, at.right) - at.z
    share = rest / parts.total
    spread = (
        jnp.where(jnp.isinf(at.left), 0, low_mass**2 * to_low)
        + jnp.where(jnp.isinf(at.right), 0, high_mass**2 * to_high)
        + 2 * share * (low_mass * parts.below + high_mass * parts.above)
        + share**2 * parts.squares
    )
    endless = (jnp.isinf(at.left) & (low_mass > 0)) | (jnp.isinf(at.right) & (high_mass > 0))
    return at.beyond + jnp.where(endless, jnp.inf, scale * spread)


def normal(start: Array) -> Peaked:
    """The standard normal, with its peak within the bounds at `start`."""
    enough = 3 - jnp.log(jnp.finfo(start.dtype).eps)
    m = start[None, ..., None]
    return Peaked(
        lambda d: -d * (m + d / 2),
        2 * enough / (start + jnp.sqrt(start**2 + 2 * enough)),
        jnp.full_like(start, 8),
        None,
        start,
    )


def logistic(start: Array) -> Peaked:
    """The standard logistic, with its peak within the bounds at `start`."""
    enough = 3 - jnp.log(jnp.finfo(start.dtype).eps)
    m = start[None, ..., None]
    return Peaked(
        lambda d: 2 * (softplus(-m) - softplus(-m - d)) - d,
        jnp.full_like(start, enough),
        jnp.full_like(start, 3),
        None,
        start,
    )


def student_t(dof: Array) -> Callable[[Array], Peaked]:
    """As `normal`, for the Student t distribution."""
    dof = _usable(dof)

    def peaked(start: Array) -> Peaked:
        eps = float(jnp.finfo(start.dtype).eps)
        around = dof + start**2
        n, m, spread = (v[None, ..., None] for v in (dof, start, around))
        ratio = jnp.expm1(jnp.minimum(2 * (3 - math.log(eps)) / (dof + 1), 60))
        by_density = around * ratio / (start + jnp.sqrt(start**2 + around * ratio))
        by_power = (jnp.sqrt(dof) + start) * eps**-0.5
        return Peaked(
            lambda d: -(n + 1) / 2 * jnp.log1p(d * ((2 * m + d) / spread)),
            jnp.minimum(by_density, by_power),
            jnp.sqrt(dof),
            dof,
            start,
        )

    return peaked


def _truncated(
    kind: Callable[[Array], Peaked],
    loc: Array,
    scale: Array,
    low: Array,
    high: Array,
    x: Array,
    low_mass: Array,
    high_mass: Array,
) -> Array:
    check_bounds(scale, low, high)
    check_masses(low_mass=low_mass, high_mass=high_mass)
    for name, mass, bound in (("low", low_mass, low), ("high", high_mass, high)):
        given = jnp.where(jnp.isinf(bound), mass, 0)
        check_values(f"{name}_mass", given, lambda v: ~(v > 0), f"0 where {name} is infinite")
    at = bounded(loc, scale, low, high, x)
    parts = integrate(kind(at.start), at.left, at.right, at.z)
    return _score(at, scale, parts, low_mass, high_mass, 1 - low_mass - high_mass)


def _censored(
    kind: Callable[[Array], Peaked],
    log_density: Callable[[Array], Array],
    lower_tail: Callable[[Array], Array],
    loc: Array,
    scale: Array,
    low: Array,
    high: Array,
    x: Array,
) -> Array:
    check_bounds(scale, low, high)
    at = bounded(loc, scale, low, high, x)
    parts = integrate(kind(at.start), at.left, at.right, at.z)
    ends = (low == -jnp.inf, (low - loc) / scale), (high == jnp.inf, (loc - high) / scale)
    low_mass, high_mass = (
        jnp.where(endless, 0, lower_tail(jnp.where(endless, 0, z))) for endless, z in ends
    )
    rest = jnp.exp(log_density(at.start)) * parts.total
    return _score(at, scale, parts, low_mass, high_mass, rest)


def check_bounds(scale: Array, low: Array, high: Array) -> None:
    """Raise for a scale that is not positive, or bounds without anything between them.

    Raises:
      ValueError: naming the scale or the bounds.
    """
    check_positive(scale=scale)
    check_order(low=low, high=high, strict=True)
    check_values("low", low, lambda v: ~(v == np.inf), "a number or -inf")
    check_values("high", high, lambda v: ~(v == -np.inf), "a number or inf")


def crps_truncated_normal(
    loc: ArrayLike,
    scale: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
    *,
    low_mass: ArrayLike = 0.0,
    high_mass: ArrayLike = 0.0,
) -> Array:
    """CRPS of a normal forecast that is known to lie in [low, high].

    integral of (F(t) - 1[x <= t])^2 dt, F(t) = low_mass + rest (Phi(t) - Phi(low)) / (Phi(high) - Phi(low))
    within the bounds, with Phi of the normal and rest = 1 - low_mass - high_mass

    Args:
      loc, scale: of the normal that is truncated, broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
      low_mass, high_mass: broadcastable to x, in [0, 1] and at most 1 together: probability of exactly
        `low` and of exactly `high`; 0 at a bound that is infinite.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a scale is not positive, high is not above low,
        or a mass is out of range.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{crps_truncated_normal(0.0, 1.0, 0.0, jnp.inf, 0.5):.4f}")
      0.1628
    """
    given = together(
        loc=loc, scale=scale, low=low, high=high, x=x, low_mass=low_mass, high_mass=high_mass
    )
    return _truncated(normal, *given)


def crps_censored_normal(
    loc: ArrayLike, scale: ArrayLike, low: ArrayLike, high: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a normal forecast whose values below `low` and above `high` are moved to these bounds.

    Args:
      loc, scale: broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if shapes do not broadcast to that of x, a scale is not positive, or high is not above
        low.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A; Thorarinsdottir, Gneiting (2010).

    Examples:
      >>> print(f"{crps_censored_normal(0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")
      0.1168
    """
    given = together(loc=loc, scale=scale, low=low, high=high, x=x)
    return _censored(normal, lambda m: -(m**2) / 2 - _HALF_LOG_2PI, ndtr, *given)


def crps_truncated_logistic(
    loc: ArrayLike,
    scale: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
    *,
    low_mass: ArrayLike = 0.0,
    high_mass: ArrayLike = 0.0,
) -> Array:
    """CRPS of a logistic forecast that is known to lie in [low, high].

    As `crps_truncated_normal`, with the logistic in place of the normal.

    Args:
      loc, scale: of the logistic that is truncated, broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
      low_mass, high_mass: as for `crps_truncated_normal`.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: as `crps_truncated_normal`.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{crps_truncated_logistic(0.0, 1.0, 0.0, jnp.inf, 0.5):.4f}")
      0.3963
    """
    given = together(
        loc=loc, scale=scale, low=low, high=high, x=x, low_mass=low_mass, high_mass=high_mass
    )
    return _truncated(logistic, *given)


def crps_censored_logistic(
    loc: ArrayLike, scale: ArrayLike, low: ArrayLike, high: ArrayLike, x: ArrayLike
) -> Array:
    """CRPS of a logistic forecast whose values below `low` and above `high` are moved to these bounds.

    Args:
      loc, scale: broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: as `crps_censored_normal`.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments.
    Source: Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> print(f"{crps_censored_logistic(0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")
      0.1931
    """
    given = together(loc=loc, scale=scale, low=low, high=high, x=x)
    return _censored(logistic, lambda m: -m - 2 * softplus(-m), sigmoid, *given)


def crps_truncated_student_t(
    dof: ArrayLike,
    loc: ArrayLike,
    scale: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
    *,
    low_mass: ArrayLike = 0.0,
    high_mass: ArrayLike = 0.0,
) -> Array:
    """CRPS of a Student t forecast that is known to lie in [low, high].

    As `crps_truncated_normal`, with the Student t distribution in place of the normal.

    Args:
      dof: broadcastable to x, positive. Without both bounds the score is infinite for dof <= 1/2.
      loc, scale: of the distribution that is truncated, broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
      low_mass, high_mass: as for `crps_truncated_normal`.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: as `crps_truncated_normal`, or if dof is not positive.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments, from dof 0.6 on.
    Source: Jordan, Krueger, Lerch (2019), appendix A, whose formula does not hold at dof = 1.

    Examples:
      >>> print(f"{crps_truncated_student_t(3.0, 0.0, 1.0, 0.0, jnp.inf, 0.5):.4f}")
      0.2302
    """
    given = together(
        dof=dof, loc=loc, scale=scale, low=low, high=high, x=x,
        low_mass=low_mass, high_mass=high_mass,
    )  # fmt: skip
    dof, *given = given
    return _truncated(student_t(dof), *given)


def crps_censored_student_t(
    dof: ArrayLike,
    loc: ArrayLike,
    scale: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    x: ArrayLike,
) -> Array:
    """CRPS of a Student t forecast whose values below `low` and above `high` are moved to these bounds.

    Args:
      dof: broadcastable to x, positive. Without both bounds the score is infinite for dof <= 1/2.
      loc, scale: broadcastable to x, scale positive.
      low, high: broadcastable to x, low < high; -inf and inf are no bounds.
      x: (...) the observed values.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: as `crps_censored_normal`, or if dof is not positive.
    Float32: right to 2e-5 of the score, and to one rounding of the arguments, from dof 0.6 on.
    Source: Jordan, Krueger, Lerch (2019), appendix A, whose formula does not hold at dof = 1.

    Examples:
      >>> print(f"{crps_censored_student_t(3.0, 0.0, 1.0, 0.0, jnp.inf, 0.0):.4f}")
      0.1378
    """
    dof, *given = together(dof=dof, loc=loc, scale=scale, low=low, high=high, x=x)
    n = _usable(dof)

    def log_density(m: Array) -> Array:
        constant = jnp.log(n) / 2 + log_beta(jnp.full_like(n, 0.5), n / 2)
        return -(n + 1) / 2 * jnp.log1p(m**2 / n) - constant

    return _censored(student_t(dof), log_density, lambda z: student_t_tail(n, z), *given)


def _usable(dof: Array) -> Array:
    check_positive(dof=dof)
    normal = 4 / float(jnp.finfo(dof.dtype).eps)  # from here on, it is the normal to rounding
    return jnp.minimum(dof, normal)


def student_t_tail(dof: Array, z: Array) -> Array:
    """P(T <= z) of the Student t distribution, right relative to itself."""
    slant = jnp.abs(z) / jnp.sqrt(dof)
    length = jnp.hypot(1, slant)
    middle = z == 0  # where the derivative of the beta distribution has a pole
    near, far = (jnp.where(middle, 0.5, (v / length) ** 2) for v in (slant, 1))
    tail = jnp.where(middle, 1, beta_tails(jnp.full_like(dof, 0.5), dof / 2, near, far)[1]) / 2
    return jnp.where(z > 0, 1 - tail, tail)
