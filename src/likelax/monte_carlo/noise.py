"""Base noise on the unit cube, and expectations from it with a valid standard error."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax.monte_carlo._sobol import sobol
from likelax.monte_carlo.estimate import Estimate, check_num_samples, mean
from likelax.numerics.checks import checked

Noise = Callable[[Array, int, int], Array]
"""(key, num_points, dim) -> (num_points, dim) in (0, 1); each point alone is uniform."""


@checked()
def uniform(key: Array, num_points: int, dim: int) -> Array:
    """Independent uniform points.

    Args:
      key: a typed key.
      num_points: S.
      dim: D.
    Returns:
      (S, D) in (0, 1).
    Source: Owen (2013), Monte Carlo theory, methods and examples, chapter 3.

    Examples:
      >>> uniform(jax.random.key(0), 4, 2).shape
      (4, 2)
    """
    dtype = jnp.zeros(()).dtype
    return jax.random.uniform(key, (num_points, dim), minval=jnp.finfo(dtype).tiny)


@checked()
def antithetic(key: Array, num_points: int, dim: int) -> Array:
    """Pairs u and 1 - u: errors that are odd about the middle cancel.

    Args:
      key: a typed key.
      num_points: S, even.
      dim: D.
    Returns:
      (S, D) in (0, 1).
    Raises:
      ValueError: an odd number of points.
    Source: Owen (2013), Monte Carlo theory, methods and examples, section 8.2.

    Examples:
      >>> points = antithetic(jax.random.key(0), 4, 1)
      >>> print(points.mean())
      0.5
    """
    if num_points % 2:
        raise ValueError(f"antithetic wants an even number of points, got {num_points}.")
    # cell centres, so that 1 - u is exact and stays inside
    cells = jnp.finfo(jnp.zeros(()).dtype).nmant
    half = jax.random.bits(key, (num_points // 2, dim), jnp.uint32) >> max(32 - cells, 0)
    half = (half.astype(jnp.zeros(()).dtype) + 0.5) * 2.0 ** -min(cells, 32)
    return jnp.concatenate([half, 1 - half])


@checked()
def stratified(key: Array, num_points: int, dim: int) -> Array:
    """One uniform point in each cell of a grid with m cells a side, S = m^D.

    Args:
      key: a typed key.
      num_points: S = m^D.
      dim: D.
    Returns:
      (S, D) in (0, 1).
    Raises:
      ValueError: S is not a D-th power.
    Source: Owen (2013), Monte Carlo theory, methods and examples, section 8.4.

    Examples:
      >>> print(jnp.floor(4 * stratified(jax.random.key(0), 4, 1)[:, 0]))
      [0. 1. 2. 3.]
    """
    side = round(num_points ** (1 / dim))
    if side**dim != num_points:
        raise ValueError(
            f"stratified wants num_points = m^{dim}, got {num_points}; the nearest is {side**dim}."
        )
    cells = jnp.stack(jnp.unravel_index(jnp.arange(num_points), (side,) * dim), axis=-1)
    return _inside(cells, uniform(key, num_points, dim), side)


@checked()
def latin_hypercube(key: Array, num_points: int, dim: int) -> Array:
    """Every coordinate stratified into S cells, the cells paired at random.

    Args:
      key: a typed key.
      num_points: S.
      dim: D.
    Returns:
      (S, D) in (0, 1).
    Source: McKay, Beckman and Conover (1979), Technometrics 21.

    Examples:
      >>> points = latin_hypercube(jax.random.key(0), 4, 2)
      >>> print(jnp.sort(jnp.floor(4 * points), axis=0)[:, 1])
      [0. 1. 2. 3.]
    """
    key_cell, key_place = jax.random.split(key)
    order = jax.vmap(lambda k: jax.random.permutation(k, num_points), out_axes=1)
    cells = order(jax.random.split(key_cell, dim))
    return _inside(cells, uniform(key_place, num_points, dim), num_points)


def _inside(cells: Array, place: Array, side: int) -> Array:
    below_one = 1 - jnp.finfo(place.dtype).epsneg
    return jnp.minimum((cells.astype(place.dtype) + place) / side, below_one)


@checked()
def expectation_from_noise(
    key: Array,
    transform: Callable[[Array], Any],
    f: Callable[[Any], Any],
    num_samples: int,
    *,
    dim: int,
    noise: Noise = sobol,
    num_replicates: int = 32,
) -> Estimate:
    """E[f(X)] with X = transform(u) from even base noise u, replicated for its error.

    The points of one replicate are dependent, so the standard error is that of the mean of
    R independent replicates.

    Args:
      key: a typed key.
      transform: one point (D,) of the open unit cube -> one draw; for a normal,
        `lambda u: loc + scale * jax.scipy.special.ndtri(u)`.
      f: one draw -> an array or a pytree of arrays.
      num_samples: S points in all, a multiple of num_replicates.
      dim: D.
      noise: `sobol`, `antithetic`, `latin_hypercube`, `stratified` or `uniform`; it makes
        S / R points at a time.
      num_replicates: R, at least 2. Fewer replicates have more points each and a smaller error;
        more of them estimate the error better.
    Returns:
      An `Estimate`; ess is the number of independent draws with this error, the smallest over the
      entries of f.
    Raises:
      ValueError: num_replicates below 2 or not a divisor of num_samples.
    Source: Owen (2013), Monte Carlo theory, methods and examples, chapters 8, 10 and 17.

    Examples:
      >>> square = expectation_from_noise(
      ...     jax.random.key(0), lambda u: u[0], lambda x: x**2, 4096, dim=1)
      >>> bool(abs(square.value - 1 / 3) < 1e-4)
      True
    """
    check_num_samples(num_samples)
    if num_replicates < 2 or num_samples % num_replicates:
        raise ValueError(
            f"num_replicates must be at least 2 and divide num_samples={num_samples}, "
            f"got {num_replicates}."
        )
    points = num_samples // num_replicates
    keys = jax.random.split(key, num_replicates)
    cubes = jax.vmap(lambda k: noise(k, points, dim))(keys)
    values = jax.vmap(jax.vmap(lambda u: f(transform(u))))(cubes)
    replicated = mean(jax.tree.map(lambda v: jnp.mean(v, axis=1), values))
    pooled = mean(jax.tree.map(lambda v: v.reshape(num_samples, *v.shape[2:]), values))

    def worth(alone: Array, together: Array) -> Array:
        ratio = (alone / jnp.where(together > 0, together, 1)) ** 2
        exact = jnp.where(alone > 0, jnp.inf, 1)
        return jnp.min(jnp.where(together > 0, ratio, exact))

    worths = jax.tree.map(worth, pooled.standard_error, replicated.standard_error)
    ess = jnp.min(jnp.stack(jax.tree.leaves(worths))) * num_samples
    return Estimate(replicated.value, replicated.standard_error, ess, pooled.num_samples)
