"""Scores of forecasts given as draws: CRPS of numbers, energy score of vectors."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_float, chunks

_COLUMNS = 256  # sorted at a time: they stay near the processor
_MOST_ROWS = 2048  # beyond it the sorting network is long to compile


def crps_ensemble(draws: ArrayLike, x: ArrayLike, *, fair: bool = True) -> Array:
    """CRPS of draws from the forecast: mean |draw - x| - mean |draw - draw'| / 2.

    The second mean is a sum over the sorted draws, so the cost is O(M log M), not M^2.

    Args:
      draws: (M, ...), the draws first; M >= 2 where fair.
      x: (...) what was seen.
      fair: take the second mean over distinct pairs, M (M - 1), which estimates the score of
        the distribution behind the draws without bias; otherwise over all M^2 pairs, the
        score of the draws themselves as a distribution.
    Returns:
      (...) in the unit of x; a fair score may be negative.
    Raises:
      ValueError: if the shapes differ, or M = 1 and fair.
    Source: Ferro (2014), Quarterly Journal of the Royal Meteorological Society 140.

    Examples:
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0))
      0.0
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0, fair=False))
      0.5
    """
    draws, x = as_float(draws, x)
    _check_draws(draws, x.shape)
    size = draws.shape[0]
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")
    # distances from x are as good as the draws and lose no digits to a large offset
    away = draws - x[None]
    pairs = size * (size - 1) if fair else size * size
    near, spread = (total.reshape(x.shape) for total in _sums(away.reshape(size, -1)))
    return near / size - spread / pairs


@jax.custom_jvp
def _sums(away: Array) -> tuple[Array, Array]:
    """sum_i |x_i| and sum_i (2 i - (M - 1)) x_(i) of each column of (M, N).

    The second is half the sum of the distances of all pairs.
    """
    size = away.shape[0]
    rank = _ranks(size, away.dtype)

    def of_sorted(x: Array) -> tuple[Array, Array]:
        return jnp.sum(jnp.abs(x), axis=0), jnp.sum(rank * x, axis=0)

    def by_sort(away: Array) -> tuple[Array, Array]:
        return of_sorted(jnp.sort(away, axis=0))

    def by_network(away: Array) -> tuple[Array, Array]:
        rows = away.T
        return chunks.map_rows(lambda some: of_sorted(_network(some.T)), rows, _COLUMNS)

    if size > _MOST_ROWS:
        return by_sort(away)
    # XLA sorts by calling a comparison, on a CPU thirty times slower than minima and maxima
    return jax.lax.platform_dependent(away, cpu=by_network, default=by_sort)


@_sums.defjvp
def _sums_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (away,), (moves,) = primals, tangents
    order = jnp.argsort(away, axis=0)
    rank = _ranks(away.shape[0], away.dtype)
    near = jnp.sum(jnp.sign(away) * moves, axis=0)
    return _sums(away), (near, jnp.sum(rank * jnp.take_along_axis(moves, order, axis=0), axis=0))


def _ranks(size: int, dtype: Any) -> Array:
    return (2 * jnp.arange(size) - (size - 1)).astype(dtype)[:, None]


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
      (...). The gradient where two points coincide is zero.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.3.

    Examples:
      >>> float(energy_score(jnp.array([[0.0, 0.0], [6.0, 8.0]]), jnp.zeros(2)))
      0.0
    """
    draws, x = as_float(draws, x)
    _check_draws(draws, x.shape)
    if x.ndim < 1:
        raise ValueError("x must have shape (..., D), got (); use `crps_ensemble` for scalars")
    size = draws.shape[0]
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")

    def row(total: Array, draw: Array) -> tuple[Array, None]:
        return total + jnp.sum(_norm(draws - draw[None]), axis=0), None

    total, _ = jax.lax.scan(row, jnp.zeros(x.shape[:-1], x.dtype), draws)
    pairs = size * (size - 1) if fair else size * size
    return jnp.mean(_norm(draws - x[None]), axis=0) - total / (2 * pairs)


def _check_draws(draws: Array, shape: tuple[int, ...]) -> None:
    if draws.ndim != len(shape) + 1 or draws.shape[1:] != shape:
        raise ValueError(
            f"draws must have shape (M, *x.shape) = (M, {', '.join(map(str, shape))}), "
            f"got {draws.shape}"
        )


def _norm(v: Array) -> Array:
    """Euclidean length over the last axis, with gradient zero at zero."""
    square = jnp.sum(v**2, axis=-1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
