"""Work on many rows at once, in chunks that stay in a processor's cache."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.statistics import add

# Numbers in the arrays of one chunk: a megabyte or two in float32.
CACHE = 400_000
FEWEST, MOST = 256, 4096
# An accelerator needs much parallel work: its chunks only bound memory.
ACCELERATOR = 256


def scale() -> int:
    """Size of a chunk on jax's default device, in units of a processor's cache."""
    return 1 if jax.default_backend() == "cpu" else ACCELERATOR


def rows_in_cache(numbers_per_row: int) -> int:
    """Rows whose work fits a processor's cache, between 256 and 4096; more on an accelerator.

    Examples:
      >>> rows_in_cache(100)
      4000
    """
    return min(max(CACHE // max(numbers_per_row, 1), FEWEST), MOST) * scale()


def num_rows(x: Any) -> int:
    """Length of the first axis that all arrays of the tree share, or 0 if they share none.

    Examples:
      >>> num_rows((jnp.zeros((5, 2)), jnp.zeros(5))), num_rows((jnp.zeros(5), 1.0))
      (5, 0)
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    (first,) = lengths if len(lengths) == 1 else ((),)
    return first[0] if first else 0


def map_rows(f: Callable[[Any], Any], x: Any, size: int) -> Any:
    """f(x) for a function of rows, `size` rows at a time.

    Args:
      f: maps a tree of arrays with n rows to one, row by row.
      x: a tree of arrays that share their first axis, of length N.
      size: rows in a chunk, at least 1. Not below N: f is called once with all of them.
    Returns:
      What f returns, with N rows.

    Examples:
      >>> print(map_rows(lambda rows: rows * 2, jnp.arange(5), size=2))
      [0 2 4 6 8]
    """
    total = num_rows(x)
    if size >= total:
        return f(x)
    # the last chunk ends at the last row, and only its new rows are used
    count = -(-total // size)
    starts = jnp.minimum(jnp.arange(count) * size, total - size)
    parts = jax.lax.map(lambda start: f(_take(x, start, size)), starts)

    def join(part: Array) -> Array:
        rest = part.shape[2:]
        full = part[:-1].reshape((count - 1) * size, *rest)
        return jnp.concatenate([full, part[-1, count * size - total :]])

    return jax.tree.map(join, parts)


def sum_rows(
    f: Callable[[Any, Array], tuple[Any, Array]], x: Any, weights: Array, size: int
) -> tuple[Any, Array]:
    """f(x, weights) for an E step, `size` rows at a time, with their statistics added.

    Args:
      f: maps rows and their weights to (statistics, scalar in nats); a row of weight zero
        adds nothing.
      x: a tree of arrays that share their first axis, of length N.
      weights: (N, ...).
      size: rows in a chunk, at least 1. Not below N: f is called once with all of them.
    Returns:
      (statistics, nats) of all rows; the nats are summed with compensation.

    Examples:
      >>> rows, weights = jnp.arange(5.0), jnp.ones(5)
      >>> stats, _ = sum_rows(lambda r, w: (jnp.sum(r * w), jnp.sum(w)), rows, weights, size=2)
      >>> float(stats)
      10.0
    """
    total = weights.shape[0]
    # f itself raises for arrays of different lengths
    if size >= total or num_rows(x) != total:
        return f(x, weights)

    def chunk(start: Array) -> tuple[Any, Array]:
        # the last chunk ends at the last row; rows of earlier chunks have weight zero in it
        first = jnp.minimum(start, total - size)
        fresh = (jnp.arange(size) + first >= start).reshape((size,) + (1,) * (weights.ndim - 1))
        rows, shares = _take((x, weights), first, size)
        return f(rows, jnp.where(fresh, shares, 0))

    def body(carry: tuple[Any, numerics.Compensated], start: Array) -> tuple[Any, None]:
        stats, nats = chunk(start)
        return (add(carry[0], stats), numerics.add_compensated(carry[1], nats)), None

    starts = jnp.arange(0, total, size)
    stats, nats = jax.eval_shape(chunk, starts[0])
    zeros = functools.partial(jax.tree.map, lambda s: jnp.zeros(s.shape, s.dtype))
    empty = numerics.Compensated(*zeros((nats, nats)))
    (stats, summed), _ = jax.lax.scan(body, (zeros(stats), empty), starts)
    return stats, summed.total + summed.error


def _take(x: Any, start: Array, size: int) -> Any:
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), start, size, axis=0), x
    )
