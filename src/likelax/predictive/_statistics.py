"""Eight statistics of a variable, to compare simulated data with real ones."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_booleans, divide, named_floats

STATISTICS = (
    "mean",
    "sd",
    "skewness",
    "minimum",
    "maximum",
    "zeros",
    "lag-1 correlation",
    "longest run",
)
"""Names of the entries of `statistics`, in order."""


def statistics(x: ArrayLike, observed: ArrayLike | None = None) -> Array:
    """Eight statistics of one variable, in the order of `STATISTICS`.

    Mean, standard deviation, skewness, minimum, maximum, share of exact zeros, correlation of
    neighbours in time, and the longest stretch of neighbours on one side of the mean.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: (T,) one series, or rows in the order in which they came; or (B, T) series.
      observed: booleans of the shape of x; False leaves an entry out. None: all are used.
    Returns:
      (8,), NaN if an observed entry is. Skewness and correlation of a constant are 0; without observed entries the minimum is inf
      and the maximum -inf.
    Raises:
      ValueError: if x is not (T,) or (B, T), it is empty, or the shapes differ.

    Examples:
      >>> print(statistics(jnp.array([0.0, 0.0, 4.0, 4.0])))
      [2.   2.   0.   0.   4.   0.5  0.25 2.  ]
    """
    (x,) = named_floats(x=x)
    seen = jnp.ones(x.shape, bool) if observed is None else as_booleans("observed", observed)
    if x.ndim not in (1, 2) or x.size == 0 or seen.shape != x.shape:
        raise ValueError(
            f"x must have shape (T,) or (B, T) and observed the same, got {x.shape} and "
            f"{seen.shape}"
        )
    x, seen = jnp.atleast_2d(x), jnp.atleast_2d(seen)
    count = jnp.sum(seen).astype(x.dtype)

    def mean(v: Array) -> Array:
        return divide(jnp.sum(jnp.where(seen, v, 0)), count, 0.0)

    # about an observed entry, so that constants have no spread and large values lose no digits
    anchor = x.reshape(-1)[jnp.argmax(seen)]
    shift = mean(x - anchor)
    centre = jnp.where(count > 0, anchor + shift, 0)
    away = jnp.where(seen, (x - anchor) - shift, 0)
    sd = jnp.sqrt(mean(away**2))
    skewness = divide(mean(away**3), sd**3, 0.0)
    low = jnp.min(jnp.where(seen, x, jnp.inf))
    high = jnp.max(jnp.where(seen, x, -jnp.inf))
    pairs = seen[:, 1:] & seen[:, :-1]
    lag = divide(jnp.sum(jnp.where(pairs, away[:, 1:] * away[:, :-1], 0)), count * sd**2, 0.0)
    run = _longest_run(away > 0, seen).astype(x.dtype)
    return jnp.stack([centre, sd, skewness, low, high, mean((x == 0).astype(x.dtype)), lag, run])


def _longest_run(above: Array, observed: Array) -> Array:
    """Longest stretch of seen entries on one side of the mean."""
    before = jnp.pad(above[:, :-1], ((0, 0), (1, 0)))
    held = jnp.pad(observed[:, :-1], ((0, 0), (1, 0)))
    begins = ~observed | ~held | (above != before)
    at = jnp.arange(above.shape[1])
    last = jax.lax.cummax(jnp.where(begins, at[None, :], 0), axis=1)
    return jnp.max(jnp.where(observed, at[None, :] - last + 1, 0))


def correlation(a: ArrayLike, b: ArrayLike, observed: ArrayLike | None = None) -> Array:
    """Correlation of two variables; 0 if one of them is constant.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a, b: (...) of one shape.
      observed: booleans of that shape, True where both were observed. None: all are used.
    Returns:
      Scalar; NaN if an observed entry is.
    Raises:
      ValueError: if the shapes differ, or there is no entry.

    Examples:
      >>> round(float(correlation(jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 5.0]))), 4)
      1.0
    """
    a, b = named_floats(a=a, b=b)
    seen = jnp.ones(a.shape, bool) if observed is None else as_booleans("observed", observed)
    if not a.size or not a.shape == b.shape == seen.shape:
        raise ValueError(
            f"a, b and observed must have one shape, got {a.shape}, {b.shape} and {seen.shape}"
        )
    count = jnp.sum(seen).astype(a.dtype)

    def centred(v: Array) -> Array:
        gaps = jnp.where(seen, v - v.reshape(-1)[jnp.argmax(seen)], 0)
        return jnp.where(seen, gaps - divide(jnp.sum(gaps), count, 0.0), 0)

    a, b = centred(a), centred(b)
    return divide(jnp.sum(a * b), jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2)), 0.0)
