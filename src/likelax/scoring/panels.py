"""Gauss's rule over a density that falls on both sides of its peak: the masses on both sides of each point."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


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
