"""Scores of forecasts given as draws, of numbers and of vectors."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import chunks, divide, logsumexp, named_floats
from likelax.numerics.checks import (
    check_not_negative,
    check_number,
    check_order,
    check_positive,
    check_values,
)
from likelax.scoring.closed import of_shape

_COLUMNS = 256  # columns sorted at a time: they fit in a processor's cache
_MOST_ROWS = 2048  # for more rows the sorting network takes long to compile


def crps_ensemble(
    draws: ArrayLike, x: ArrayLike, *, weights: ArrayLike | None = None, fair: bool = True
) -> Array:
    """CRPS of draws from the forecast: mean |draw - x| - mean |draw - draw'| / 2.

    The second mean is a sum over the sorted draws, so the cost is O(M log M), not M^2.

    Args:
      draws: (M, ...), the draws first; M >= 2 where fair.
      x: (...) the observed values.
      weights: (M,) or (M, ...), not negative; the means are weighted by them. Their scale is free. A
        draw of weight zero may hold NaN; without any weight the score is NaN.
      fair: take the second mean over distinct pairs, M (M - 1), which estimates the score of
        the distribution behind the draws without bias; otherwise over all M^2 pairs, the
        score of the draws themselves as a distribution. With weights w that sum to one, the mean over
        distinct pairs divides by 1 - sum w^2.
    Returns:
      (...) in the unit of x. Without weights, or not fair, it is never negative: a sum of distances from
      x with non-negative factors. In float32 it is right to a few units in the last place, with weights
      to 1e-5 of the mean distance from x. NaN if one draw has all the weight and fair.
    Raises:
      ValueError: if the shapes differ, M = 1 and fair, or a weight is negative.
    Source: Ferro (2014), Quarterly Journal of the Royal Meteorological Society 140.

    Examples:
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0))
      0.0
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0, fair=False))
      0.5
      >>> float(crps_ensemble(jnp.array([0.0, 2.0]), 1.0, weights=jnp.array([3.0, 1.0]), fair=False))
      0.625
    """
    draws, x = named_floats(draws=draws, x=x)
    _check_draws(draws, x.shape)
    size = draws.shape[0]
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")
    if weights is not None:
        shares = _shares_of(weights, draws)
        return _weighted_score(jnp.where(shares > 0, draws - x[None], 0), shares, fair)
    # distances from x suffice, and lose no digits for a large offset
    away = draws - x[None]
    return _score(fair, away.reshape(size, -1)).reshape(x.shape)


def _shares_of(weights: ArrayLike, draws: Array) -> Array:
    """Weights of draws in the shape of the draws, summing to one."""
    (weights,) = named_floats(weights=weights)
    if weights.shape not in (draws.shape[:1], draws.shape):
        raise ValueError(
            f"weights must have shape {draws.shape[:1]} or that of draws, {draws.shape}, "
            f"got {weights.shape}"
        )
    check_not_negative(weights=weights)
    weights = jnp.expand_dims(weights, tuple(range(weights.ndim, draws.ndim)))
    return jnp.broadcast_to(weights / jnp.sum(weights, axis=0, keepdims=True), draws.shape)


def _weighted_score(away: Array, shares: Array, fair: bool) -> Array:
    """The score of (M, ...) distances from the outcome, the shares summing to one.

    A sorted draw counts with its distance times its share, times its share and twice those beyond it;
    fair, less the sum of all squared shares.
    """
    order = jnp.argsort(away, axis=0)
    away, shares = (jnp.take_along_axis(a, order, axis=0) for a in (away, shares))
    below = jnp.cumsum(shares, axis=0) - shares
    above = jnp.cumsum(shares[::-1], axis=0)[::-1] - shares
    beyond = jnp.where(away > 0, above, below)
    if not fair:
        return jnp.sum(jnp.abs(away) * shares * (2 * beyond + shares), axis=0)
    itself = jnp.sum(shares**2, axis=0)
    pairs = 2 * beyond + shares - itself[None]
    return jnp.sum(jnp.abs(away) * shares * pairs, axis=0) / (1 - itself)


def threshold_crps_ensemble(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    low: ArrayLike = -jnp.inf,
    high: ArrayLike = jnp.inf,
    weights: ArrayLike | None = None,
    fair: bool = True,
) -> Array:
    """CRPS within [low, high]: the integral of (F(t) - 1[x <= t])^2 over these t alone.

    It judges forecasts of, say, high values, and is proper; to select the cases with high outcomes
    and judge them by the CRPS is not.

    Args:
      draws, x, weights, fair: as for `crps_ensemble`.
      low, high: broadcastable to x, low at most high.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if the shapes do not fit, M = 1 and fair, a weight is negative, or high is below low.
    Float32: as for `crps_ensemble`.
    Source: Gneiting, Ranjan (2011), Journal of Business and Economic Statistics 29; Allen, Ginsbourger,
      Ziegel (2023), SIAM/ASA Journal on Uncertainty Quantification 11.

    Examples:
      >>> draws = jnp.array([0.0, 2.0])
      >>> float(threshold_crps_ensemble(draws, 3.0, low=1.0, fair=False))
      1.25
      >>> float(threshold_crps_ensemble(draws, 3.0, low=4.0))
      0.0
    """
    draws, low, high, x = named_floats(draws=draws, low=low, high=high, x=x)
    _check_draws(draws, x.shape)
    low, high = of_shape(x.shape, low=low, high=high)
    check_order(low=low, high=high)
    return crps_ensemble(
        jnp.clip(draws, low[None], high[None]), jnp.clip(x, low, high), weights=weights, fair=fair
    )


def log_score_ensemble(
    draws: ArrayLike, x: ArrayLike, *, bandwidth: ArrayLike | None = None
) -> Array:
    """Log score of draws smoothed by normal kernels: -log mean N(x; draw, bandwidth^2).

    Args:
      draws: (M, ...), the draws first; M >= 2 without a bandwidth.
      x: (...) the observed values.
      bandwidth: broadcastable to x, positive; by default Silverman's rule,
        1.06 min(deviation, interquartile range / 1.34) M^(-1/5), without the range where it is zero.
    Returns:
      (...) nats.
    Raises:
      ValueError: if the shapes differ, M = 1 or all draws are equal without a bandwidth, or a bandwidth
        is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Krueger, Lerch, Thorarinsdottir, Gneiting (2021), International Statistical Review 89;
      Silverman (1986), Density Estimation, equation 3.30.

    Examples:
      >>> print(f"{log_score_ensemble(jnp.zeros(3), 0.0, bandwidth=1.0):.4f}")
      0.9189
    """
    draws, x = named_floats(draws=draws, x=x)
    _check_draws(draws, x.shape)
    size = draws.shape[0]
    if bandwidth is None:
        if size < 2:
            raise ValueError("draws: at least two are needed without a bandwidth, got one")
        middle = draws[:1]
        deviation = jnp.std(draws - middle, axis=0, ddof=1)
        quarter, three = jnp.quantile(draws - middle, jnp.array([0.25, 0.75], x.dtype), axis=0)
        reach = (three - quarter) / 1.34
        spread = jnp.where(reach > 0, jnp.minimum(deviation, reach), deviation)
        width = 1.06 * spread * size**-0.2
        unequal = "not all equal where no bandwidth is given"
        check_values("draws", deviation, lambda v: ~(v <= 0), unequal)
    else:
        (width,) = named_floats(bandwidth=bandwidth)
        check_positive(bandwidth=width)
        (width,) = of_shape(x.shape, bandwidth=width)
    z = (draws - x[None]) / width[None]
    log_mean = logsumexp(-(z**2) / 2, axis=0) - math.log(size)
    return jnp.log(width) + math.log(2 * math.pi) / 2 - log_mean


def variogram_score(
    draws: ArrayLike, x: ArrayLike, *, weights: ArrayLike | None = None, power: float = 0.5
) -> Array:
    """Variogram score of vector draws.

    sum_ij w[i, j] (|x[i] - x[j]|^p - mean_m |draw[m, i] - draw[m, j]|^p)^2

    It sees wrong dependence between the parts of a vector, which the energy score hardly does, and not
    a shift that all parts share.

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      weights: (D, D) not negative, of the pairs; all one by default.
      power: p, positive.
    Returns:
      (...) in the unit of x to the power 2 p. The gradient where two parts of x or of a draw coincide
      is zero.
    Raises:
      ValueError: if the shapes do not fit, a weight is negative, or power is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Scheuerer, Hamill (2015), Monthly Weather Review 143.

    Examples:
      >>> draws = jnp.array([[0.0, 1.0], [0.0, 4.0]])
      >>> float(variogram_score(draws, jnp.array([1.0, 1.0])))  # 2 ((1 + 2) / 2)^2
      4.5
    """
    draws, x = named_floats(draws=draws, x=x)
    _check_draws(draws, x.shape)
    check_number("power", power, lambda v: 0 < v < math.inf, "positive and finite")
    if x.ndim < 1:
        raise ValueError("x must have shape (..., D), got ()")
    size = x.shape[-1]
    shares = jnp.ones((size, size), x.dtype)
    if weights is not None:
        (shares,) = named_floats(weights=weights)
        if shares.shape != (size, size):
            raise ValueError(f"weights must have shape {(size, size)}, got {shares.shape}")
        check_not_negative(weights=shares)

    def apart(v: Array) -> Array:
        gap = jnp.abs(v[..., :, None] - v[..., None, :])
        return jnp.where(gap == 0, 0, jnp.where(gap == 0, 1, gap) ** power)

    def add(total: Array, draw: Array) -> tuple[Array, None]:
        return total + apart(draw), None

    total, _ = jax.lax.scan(add, jnp.zeros((*x.shape, size), x.dtype), draws)
    gap = apart(x) - total / draws.shape[0]
    return jnp.sum(jnp.broadcast_to(shares, gap.shape) * gap**2, axis=(-2, -1))


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
