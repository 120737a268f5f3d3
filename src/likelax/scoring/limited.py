"""CRPS of truncated and censored forecasts.

Closed forms of these scores are differences of numbers that may be millions of times the score: a normal
truncated to an interval of a hundredth of its scale has terms of 300 and a score of 0.001. Here the
density within the bounds is integrated by Gauss's rule relative to its value at its peak there. All terms are positive,
so the result is right relative to itself however narrow the interval is and however far in a tail.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import sigmoid, softplus
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from likelax.numerics.checks import check_order, check_positive, check_values
from likelax.numerics.special import log_beta
from likelax.numerics.tails import beta_tails
from likelax.scoring.closed import check_masses, together

_HALF_LOG_2PI = math.log(2 * math.pi) / 2


class Peaked(NamedTuple):
    """A density with its peak within the bounds at `peak`, from where it falls on both sides.

    Fields:
      log_fall: of the distance from the peak, log of the density relative to that at the peak.
      reach: the distance beyond which the density does not matter, or has the form of `power`.
      width: the distance over which the density may change, from the peak to the nearest pole.
      power: the density beyond `reach` is a power of its argument with exponent -1 - power; None if
        it falls exponentially.
      start: the argument of the density at the peak, not negative, which `power` refers to.
    """

    log_fall: Callable[[Array], Array]
    reach: Array
    width: Array
    power: Array | None
    start: Array


class Parts(NamedTuple):
    """Integrals of a density relative to its value at the peak, in units of its scale.

    Fields:
      total: of the density.
      below: of F from the lower bound to the outcome, F the distribution function times `total`.
      above: of total - F from the outcome to the upper bound.
      squares: of the squares of both.
    """

    total: Array
    below: Array
    above: Array
    squares: Array


def integrate(density: Peaked, left: Array, right: Array, z: Array) -> Parts:
    """`Parts` of a density on [-left, right] about its peak, for an outcome at z therein.

    Three panels meet at the peak and at z. In each the argument is the hyperbolic sine of the
    variable of the rule, so a long tail needs few points.

    Args:
      density: of arrays (...).
      left, right, z: (...); left and right may be infinite.
    """
    nodes, weights, inner_matrix, outer_matrix = gauss_rule(z.dtype)
    reach = jax.lax.stop_gradient(density.reach)
    a, b = jnp.minimum(left, reach), jnp.minimum(right, reach)
    within = jnp.clip(z, -a, b)
    up = within >= 0
    near = jnp.stack([jnp.maximum(-within, 0), jnp.zeros_like(z), jnp.maximum(within, 0)])
    far = jnp.stack([a, jnp.abs(within), b])
    place, step = bent(near, far, density.start[None], density.width[None], nodes)
    density_there = jnp.exp(density.log_fall(place)) * step
    inner, outer = density_there @ inner_matrix.T, density_there @ outer_matrix.T
    first, second, third = density_there @ weights
    tail_left, tail_right = (_tail(density, side, reach) for side in (left, right))
    # F left of the outcome, and total - F right of it
    before = jnp.where(up, tail_left[0] + first, tail_right[0] + third)
    mass = jnp.stack(
        [
            tail_left[0][..., None] + outer[0],
            before[..., None] + inner[1],
            tail_right[0][..., None] + outer[2],
        ]
    )
    once, twice = (mass * step) @ weights, (mass**2 * step) @ weights
    total = first + second + third + tail_left[0] + tail_right[0]
    beyond = total * jnp.abs(z - within)
    return Parts(
        total,
        once[0] + jnp.where(up, once[1] + beyond, 0),
        once[2] + jnp.where(up, 0, once[1] + beyond),
        jnp.sum(twice, axis=0) + tail_left[1] + tail_right[1] + total * beyond,
    )


def bent(
    near: Array, far: Array, start: ArrayLike, width: ArrayLike, nodes: Array
) -> tuple[Array, Array]:
    """Distances (..., K) between near and far, and their derivatives with respect to nodes in [0, 1].

    The distances are evenly spaced in arcsinh((start + distance) / width).
    """
    nodes = jnp.expand_dims(nodes, tuple(range(near.ndim)))
    bend = [jnp.arcsinh((start + v) / width) for v in (near, far)]
    begin, length = (jax.lax.stop_gradient(v)[..., None] for v in (bend[0], bend[1] - bend[0]))
    short = length < 1e-3  # straight
    length = jnp.where(short, 1, length)
    whole = jnp.cosh(begin + length / 2) * jnp.sinh(length / 2)
    part = jnp.cosh(begin + length * nodes / 2) * jnp.sinh(length * nodes / 2)
    slope = length / 2 * jnp.cosh(begin + length * nodes)
    gap = (far - near)[..., None]
    share = jnp.where(short, nodes, part / whole)
    return near[..., None] + gap * share, gap * jnp.where(short, 1, slope / whole)


def _tail(density: Peaked, side: Array, reach: Array) -> tuple[Array, Array]:
    """The mass beyond the reach where the side has no bound, and the integral of its square."""
    if density.power is None:
        return jnp.zeros_like(reach), jnp.zeros_like(reach)
    at, power = density.start + reach, density.power
    mass = jnp.exp(density.log_fall(reach[None, ..., None]))[0, ..., 0] * at / power
    finite = 2 * power > 1
    square = jnp.where(finite, mass**2 * at / jnp.where(finite, 2 * power - 1, 1), jnp.inf)
    endless = jnp.isinf(side)
    return jnp.where(endless, mass, 0), jnp.where(endless, square, 0)


def gauss_rule(dtype: jnp.dtype) -> tuple[Array, Array, Array, Array]:
    """`gauss` of as many nodes as the dtype needs on a panel, as arrays."""
    size = 20 if jnp.finfo(dtype).bits <= 32 else 48
    nodes, weights, inner, outer = (jnp.asarray(a, dtype) for a in gauss(size))
    return nodes, weights, inner, outer


@functools.cache
def gauss(size: int) -> tuple[np.ndarray, ...]:
    """Gauss's rule on [0, 1]: K nodes, weights, and the (K, K) matrices that integrate from 0 to each
    node and from each node to 1.

    Examples:
      >>> nodes, _, inner, _ = gauss(8)
      >>> print((inner @ nodes - nodes**2 / 2).round(12) + 0.0)
      [0. 0. 0. 0. 0. 0. 0. 0.]
    """
    nodes, weights = np.polynomial.legendre.leggauss(size)
    values = np.polynomial.legendre.legvander(nodes, size)  # (K, K + 1)
    degree = np.arange(size)
    lower = np.concatenate([-np.ones((size, 1)), values[:, :-2]], axis=1)
    integrals = (values[:, 1:] - lower) / (
        2 * degree + 1
    )  # of each polynomial from -1 to each node
    inner = integrals @ (values[:, :-1] * weights[:, None] * (2 * degree + 1) / 2).T
    return (nodes + 1) / 2, weights / 2, inner / 2, inner[::-1, ::-1] / 2


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
