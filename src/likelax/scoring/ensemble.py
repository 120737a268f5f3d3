"""Scores of forecasts given as draws: CRPS of numbers, energy score of vectors."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import chunks, divide, named_floats

_COLUMNS = 256  # columns sorted at a time: they fit in a processor's cache
_MOST_ROWS = 2048  # for more rows the sorting network takes long to compile


def crps_ensemble(draws: ArrayLike, x: ArrayLike, *, fair: bool = True) -> Array:
    """CRPS of draws from the forecast: mean |draw - x| - mean |draw - draw'| / 2.

    The second mean is a sum over the sorted draws, so the cost is O(M log M), not M^2.

    Args:
      draws: (M, ...), the draws first; M >= 2 where fair.
      x: (...) the observed values.
      fair: take the second mean over distinct pairs, M (M - 1), which estimates the score of
        the distribution behind the draws without bias; otherwise over all M^2 pairs, the
        score of the draws themselves as a distribution.
    Returns:
      (...) in the unit of x, never negative: a sum of distances from x with non-negative
      factors. In float32 it is right to a few units in the last place.
    Raises:
      ValueError: if the shapes differ, or M = 1 and fair.
    Source: Ferro (2014), Quarterly Journal of the Royal Meteorological Society 140.

    Examples:
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0))
      0.0
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0, fair=False))
      0.5
    """
    draws, x = named_floats(draws=draws, x=x)
    _check_draws(draws, x.shape)
    size = draws.shape[0]
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")
    # distances from x suffice, and lose no digits for a large offset
    away = draws - x[None]
    return _score(fair, away.reshape(size, -1)).reshape(x.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _score(fair: bool, away: Array) -> Array:
    """The score of each column of (M, N), whose outcome is 0.

    Draw number i of the sorted ones counts with its distance times (2 (M - i) - 1) / M^2 above
    the outcome and (2 i + 1) / M^2 below; fair, 2 (M - 1 - i) and 2 i over M (M - 1).
    """

    def of_sorted(x: Array) -> Array:
        return jnp.sum(jnp.abs(x) * _shares(fair, x), axis=0)

    def by_sort(away: Array) -> Array:
        return of_sorted(jnp.sort(away, axis=0))

    def by_network(away: Array) -> Array:
        return chunks.map_rows(lambda some: of_sorted(_network(some.T)), away.T, _COLUMNS)

    if away.shape[0] > _MOST_ROWS:
        return by_sort(away)
    # XLA sorts by calling a comparison, on a CPU thirty times slower than minima and maxima
    return jax.lax.platform_dependent(away, cpu=by_network, default=by_sort)


@_score.defjvp
def _score_jvp(fair: bool, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (away,), (moves,) = primals, tangents
    order = jnp.argsort(away, axis=0)
    x, moves = (jnp.take_along_axis(a, order, axis=0) for a in (away, moves))
    return _score(fair, away), jnp.sum(jnp.sign(x) * _shares(fair, x) * moves, axis=0)


def _shares(fair: bool, x: Array) -> Array:
    """(M, N) the factor of each distance, for sorted columns."""
    size = x.shape[0]
    rank = jnp.arange(size).astype(x.dtype)[:, None]
    below, above = (
        (2 * rank, 2 * (size - 1 - rank)) if fair else (2 * rank + 1, 2 * (size - rank) - 1)
    )
    pairs = size * (size - 1) if fair else size * size
    return (
        jnp.where(x > 0, jnp.broadcast_to(above, x.shape), jnp.broadcast_to(below, x.shape)) / pairs
    )


def _network(x: Array) -> Array:
    """Columns of (M, N) in ascending order, by Batcher's merges of ever longer runs."""
    size = x.shape[0]
    whole = 1 << (size - 1).bit_length()
    x = jnp.pad(x, ((0, whole - size), (0, 0)), constant_values=jnp.inf)
    run = 1
    while run < whole:
        halves = x.reshape(-1, 2, run, x.shape[1])
        up, down = halves[:, 0], halves[:, 1, ::-1]
        low, high = jnp.minimum(up, down), jnp.maximum(up, down)[:, ::-1]
        x = jnp.stack([low, high], axis=1).reshape(x.shape)
        step = run // 2
        while step >= 1:
            halves = x.reshape(-1, 2, step, x.shape[1])
            low, high = (f(halves[:, 0], halves[:, 1]) for f in (jnp.minimum, jnp.maximum))
            x = jnp.stack([low, high], axis=1).reshape(x.shape)
            step //= 2
        run *= 2
    return x[:size]


def energy_score(draws: ArrayLike, x: ArrayLike, *, fair: bool = True) -> Array:
    """Energy score of vector draws: mean ||draw - x|| - mean ||draw - draw'|| / 2.

    The CRPS of vectors. The cost is M^2 distances, one row of them in memory at a time.

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      fair: as in `crps_ensemble`.
    Returns:
      (...) in the unit of x, never negative. The gradient where two points coincide is zero.
    Raises:
      ValueError: if the shapes differ, x is a scalar, or M = 1 and fair.
    Float32: right to 2e-5 of itself, and to one rounding of the arguments.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.3.

    Examples:
      >>> float(energy_score(jnp.array([[0.0, 0.0], [6.0, 8.0]]), jnp.zeros(2)))
      0.0
    """
    draws, x = named_floats(draws=draws, x=x)
    _check_draws(draws, x.shape)
    if x.ndim < 1:
        raise ValueError("x must have shape (..., D), got (); use `crps_ensemble` for scalars")
    size = draws.shape[0]
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")

    # Half the sum of |a| + |b| - |a - b| over pairs of distances from x. None of these terms is
    # negative, and with unit vectors u each is |u_a + u_b|^2 |a| |b| / (|a| + |b| + |a - b|).
    away = draws - x[None]
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(away), axis=(0, -1)))
    away = divide(away, unit[None, ..., None], 0.0)
    length = _norm(away)
    direction = divide(away, length[..., None], 0.0)

    def row(total: Array, index: Array) -> tuple[Array, None]:
        a, u, size = away[index], direction[index], length[index]
        around = length + size[None] + _norm(away - a[None])
        square = jnp.sum((direction + u[None]) ** 2, axis=-1)
        terms = square * length * divide(jnp.broadcast_to(size, length.shape), around, 0.0)
        itself = jnp.arange(len(length)) == index
        terms = jnp.where(jnp.expand_dims(itself, tuple(range(1, terms.ndim))) & fair, 0, terms)
        return total + jnp.sum(terms, axis=0), None

    total, _ = jax.lax.scan(row, jnp.zeros(x.shape[:-1], x.dtype), jnp.arange(size))
    pairs = size * (size - 1) if fair else size * size
    return unit * total / (2 * pairs)


def _check_draws(draws: Array, shape: tuple[int, ...]) -> None:
    if draws.ndim != len(shape) + 1 or draws.shape[1:] != shape or draws.shape[0] < 1:
        raise ValueError(
            f"draws must have shape (M, *x.shape) = (M, {', '.join(map(str, shape))}), "
            f"got {draws.shape}"
        )


def _norm(v: Array) -> Array:
    """Euclidean length over the last axis, with gradient zero at zero."""
    square = jnp.sum(v**2, axis=-1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
