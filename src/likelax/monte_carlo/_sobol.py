"""Scrambled Sobol points: base noise that is evenly spread over the unit cube."""

import functools
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.numerics.checks import checked

NUM_BITS = 32


@checked()
def sobol(key: Array, num_points: int, dim: int) -> Array:
    """Randomised Sobol points: each is uniform on the cube, and together they are evenly spread.

    A random linear scramble of the digits and a random digital shift, so that a mean over
    the points is unbiased and independent keys give its error. For smooth integrands the
    error falls nearly as 1/S, best where S is a power of two.

    Args:
      key: a typed key.
      num_points: S, from 1 to 2^32.
      dim: D, from 1 to 1024.
    Returns:
      (S, D) in the open interval (0, 1), in the default float type.
    Raises:
      ValueError: num_points or dim out of range.
    Source: Joe and Kuo (2008), Constructing Sobol sequences with better two-dimensional
      projections (the direction numbers). Matousek (1998), On the L2-discrepancy for anchored
      boxes (the scramble).

    Examples:
      >>> points = jax.jit(sobol, static_argnums=(1, 2))(jax.random.key(0), 8, 2)
      >>> print(jnp.sort(jnp.floor(8 * points[:, 0])))  # one point in each eighth
      [0. 1. 2. 3. 4. 5. 6. 7.]
    """
    table = _directions()
    if not 1 <= dim <= table.shape[0]:
        raise ValueError(f"sobol wants dim from 1 to {table.shape[0]}, got {dim}.")
    if not 1 <= num_points <= 2**NUM_BITS:
        raise ValueError(f"sobol wants num_points from 1 to 2^{NUM_BITS}, got {num_points}.")
    key_scramble, key_shift = jax.random.split(key)
    directions = _scramble(key_scramble, jnp.asarray(table[:dim]))
    shift = jax.random.bits(key_shift, (dim,), jnp.uint32)
    index = jnp.arange(num_points, dtype=jnp.uint32)
    points = jnp.broadcast_to(shift, (num_points, dim))
    for j in range(max(1, (num_points - 1).bit_length())):
        on = ((index >> j) & 1).astype(bool)
        points = points ^ jnp.where(on[:, None], directions[None, :, j], jnp.uint32(0))
    return _to_unit(points)


def _scramble(key: Array, directions: Array) -> Array:
    """Multiply the digits by a random lower triangular binary matrix with ones on its diagonal."""
    dim = directions.shape[0]
    # row i of the matrix, digits from the most significant: ones at i, random before it
    rows = jax.random.bits(key, (dim, NUM_BITS), jnp.uint32)
    place = jnp.uint32(1) << jnp.arange(NUM_BITS - 1, -1, -1, dtype=jnp.uint32)
    before = ~((place << 1) - 1)  # all digits more significant than place
    before = before.at[0].set(0)
    rows = (rows & before[None]) | place[None]
    mixed = rows[:, :, None] & directions[:, None, :]
    parity = jax.lax.population_count(mixed) & 1
    return jnp.sum(parity * place[None, :, None], axis=1, dtype=jnp.uint32)


def _to_unit(bits: Array) -> Array:
    """Cell centres: never 0, never 1."""
    dtype = jnp.zeros(()).dtype
    kept = min(jnp.finfo(dtype).nmant, NUM_BITS)
    return ((bits >> (NUM_BITS - kept)).astype(dtype) + 0.5) * 2.0**-kept


@functools.cache
def _directions() -> np.ndarray:
    """(1024, 32) direction numbers: entry [d, j] is what bit j of the index adds in dimension d."""
    text = resources.files("likelax.monte_carlo").joinpath("sobol_directions.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = np.zeros((len(lines) + 1, NUM_BITS), np.uint64)
    table[0] = 1
    for d, line in enumerate(lines, start=1):
        polynomial, *initial = map(int, line.split())
        degree = len(initial)
        table[d, :degree] = initial
        for j in range(degree, NUM_BITS):
            value = int(table[d, j - degree]) ^ (int(table[d, j - degree]) << degree)
            for i in range(1, degree):
                if (polynomial >> (degree - i)) & 1:
                    value ^= int(table[d, j - i]) << i
            table[d, j] = value
    places = np.arange(NUM_BITS - 1, -1, -1, dtype=np.uint64)
    return (table << places[None]).astype(np.uint32)
