"""Scores of forecasts given as draws of vectors."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import cholesky, divide, named_floats, solve_lower
from likelax.numerics.checks import check_not_negative, check_number, check_size, check_values
from likelax.scoring.ensemble import check_draws, check_pairs, shares_of


def variogram_score(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    power: float = 0.5,
    draw_weights: ArrayLike | None = None,
    fair: bool = False,
) -> Array:
    """Variogram score of vector draws.

    sum_ij w[i, j] (|x[i] - x[j]|^p - mean_m |draw[m, i] - draw[m, j]|^p)^2

    It sees wrong dependence between the parts of a vector, which the energy score hardly does, and not
    a shift that all parts share.

    Args:
      draws: (M, ..., D), the draws first; M >= 2 where fair.
      x: (..., D).
      weights: (D, D) not negative, of the pairs; all one by default.
      power: p, positive.
      draw_weights: (M,) or (M, ...), not negative, of the draws, of any scale. A draw of weight zero may
        hold NaN.
      fair: subtract the squared error of the mean over the draws, which estimates the score of the
        distribution behind the draws without bias; it may be negative.
    Returns:
      (...) in the unit of x to the power 2 p. The gradient where two parts of x or of a draw coincide
      is zero.
    Raises:
      ValueError: if the shapes do not fit, a weight is negative, power is not positive, or M = 1 and fair.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Scheuerer, Hamill (2015), Monthly Weather Review 143.

    Examples:
      >>> draws = jnp.array([[0.0, 1.0], [0.0, 4.0]])
      >>> float(variogram_score(draws, jnp.array([1.0, 1.0])))  # 2 ((1 + 2) / 2)^2
      4.5
      >>> float(variogram_score(draws, jnp.array([1.0, 1.0]), fair=True))  # less 2 (1 / 2)^2
      4.0
    """
    draws, x, shares = _vectors(draws, x, draw_weights, fair, "draw_weights")
    check_number("power", power, lambda v: 0 < v < math.inf, "positive and finite")
    pairs = pair_weights(weights, x)
    between = mean_variogram(draws, shares, power)
    gap = variogram(x, power) - between
    total = gap**2
    if fair:
        spread = _variogram_spread(draws, shares, power, between)
        itself = jnp.sum(shares**2, axis=0)
        total = total - (itself / (1 - itself))[..., None, None] * spread
    return jnp.sum(jnp.broadcast_to(pairs, gap.shape) * total, axis=(-2, -1))


def pair_weights(weights: ArrayLike | None, x: Array) -> Array:
    """Weights of the pairs of parts, (D, D), all one by default.

    Raises:
      ValueError: for another shape, or a negative weight.
    """
    size = x.shape[-1]
    if weights is None:
        return jnp.ones((size, size), x.dtype)
    (weights,) = named_floats(weights=weights)
    if weights.shape != (size, size):
        raise ValueError(f"weights must have shape {(size, size)}, got {weights.shape}")
    check_not_negative(weights=weights)
    return weights


def variogram(v: Array, power: ArrayLike) -> Array:
    """|v[i] - v[j]|^power, (..., D, D), with gradient zero where it is zero."""
    gap = jnp.abs(v[..., :, None] - v[..., None, :])
    return jnp.where(gap == 0, 0, jnp.where(gap == 0, 1, gap) ** power)


@functools.partial(jax.jit, inline=True)
def mean_variogram(draws: Array, shares: Array, power: ArrayLike) -> Array:
    """The sum of the variograms of draws (M, ..., D) times their shares (M, ...), one at a time."""

    def add(total: Array, both: tuple[Array, Array]) -> tuple[Array, None]:
        draw, share = both
        return total + share[..., None, None] * variogram(draw, power), None

    start = jnp.zeros((*draws.shape[1:], draws.shape[-1]), draws.dtype)
    return jax.lax.scan(add, start, (draws, shares))[0]


@functools.partial(jax.jit, inline=True)
def _variogram_spread(draws: Array, shares: Array, power: ArrayLike, mean: Array) -> Array:
    """The variance of the variograms of the draws."""

    def add(total: Array, both: tuple[Array, Array]) -> tuple[Array, None]:
        draw, share = both
        return total + share[..., None, None] * (variogram(draw, power) - mean) ** 2, None

    return jax.lax.scan(add, jnp.zeros_like(mean), (draws, shares))[0]


def energy_score(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    fair: bool = True,
    shift: int | None = None,
) -> Array:
    """Energy score of vector draws: mean ||draw - x|| - mean ||draw - draw'|| / 2.

    The CRPS of vectors. The cost is M^2 distances, one row of them in memory at a time, and with a shift
    2 M.

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      weights: (M,) or (M, ...), not negative, of the draws, of any scale, as in `crps_ensemble`.
      fair: as in `crps_ensemble`.
      shift: 1 to M - 1: take the second mean over the M pairs (draw m, draw m - shift) alone, which is fair
        for draws in random order, as independent ones are. It varies more than that over all pairs.
    Returns:
      (...) in the unit of x, never negative. The gradient where two points coincide is zero.
    Raises:
      ValueError: if the shapes differ, x is a scalar, M = 1 and fair, a weight is negative, or a shift is out
        of range, not fair or with weights.
    Float32: right to 2e-5 of itself, and to one rounding of the arguments.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.3.

    Examples:
      >>> float(energy_score(jnp.array([[0.0, 0.0], [6.0, 8.0]]), jnp.zeros(2)))
      0.0
      >>> draws = jnp.array([[0.0, 0.0], [6.0, 8.0]])
      >>> float(energy_score(draws, jnp.zeros(2), weights=jnp.array([1.0, 3.0]), fair=False))
      5.625
    """
    draws, x, shares = _vectors(draws, x, weights, fair)
    check_shift(shift, len(draws), weights, fair)
    return _energy(draws - x[None], shares, fair, shift)


def check_shift(shift: int | None, size: int, weights: ArrayLike | None, fair: bool) -> None:
    """Raise for a shift between draws outside 1..size - 1, or one that goes with no other option.

    Raises:
      ValueError: naming the option.
    """
    if shift is None:
        return
    check_size("shift", shift)
    if shift >= size:
        raise ValueError(f"shift must be below the number of draws, {size}; got {shift}")
    if not fair:
        raise ValueError("shift needs fair=True: the pairs are of distinct draws")
    if weights is not None:
        raise ValueError("shift cannot be combined with weights: a pair of draws has no weight")


@functools.partial(jax.jit, static_argnames=("fair", "shift"), inline=True)
def _energy(away: Array, shares: Array, fair: bool, shift: int | None) -> Array:
    # Half the sum of |a| + |b| - |a - b| over pairs of distances from x. None of these terms is
    # negative, and with unit vectors u each is |u_a + u_b|^2 |a| |b| / (|a| + |b| + |a - b|).
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(away), axis=(0, -1)))
    away = divide(away, unit[None, ..., None], 0.0)
    length = norm(away)
    direction = divide(away, length[..., None], 0.0)

    def less(a: Array, u: Array, size: Array) -> Array:
        around = length + size + norm(away - a)
        square = jnp.sum((direction + u) ** 2, axis=-1)
        return square * length * divide(jnp.broadcast_to(size, length.shape), around, 0.0)

    if shift is not None:
        other = (jnp.roll(v, shift, axis=0) for v in (away, direction, length))
        return unit * jnp.mean(less(*other), axis=0) / 2

    def row(total: Array, index: Array) -> tuple[Array, None]:
        terms = less(away[index][None], direction[index][None], length[index][None])
        terms = jnp.where(_is(index, terms) & fair, 0, terms)
        return total + shares[index] * jnp.sum(shares * terms, axis=0), None

    total, _ = jax.lax.scan(row, jnp.zeros_like(unit), jnp.arange(len(away)))
    return unit * total / (2 * _pairs(shares, fair))


def gaussian_kernel_score(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    bandwidth: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    fair: bool = True,
    shift: int | None = None,
) -> Array:
    """Kernel score of vector draws with a Gaussian kernel: half a squared maximum mean discrepancy.

    mean (1 - k(draw, x)) - mean (1 - k(draw, draw')) / 2, k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))

    Args:
      draws: (M, ..., D), the draws first. For numbers, pass draws[..., None] and x[..., None].
      x: (..., D).
      bandwidth: positive number: distances well below it count as none, those well above as the same.
      weights: (M,) or (M, ...), not negative, of the draws, of any scale, as in `crps_ensemble`.
      fair: as in `crps_ensemble`.
      shift: as in `energy_score`.
    Returns:
      (...) without unit, at most 1, and from 0 on where not fair.
    Raises:
      ValueError: if the shapes differ, x is a scalar, M = 1 and fair, a weight is negative, the
        bandwidth is not a positive number, or a shift is out of range, not fair or with weights.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Gneiting, Raftery (2007), JASA 102, section 5.1; Gretton et al. (2012), JMLR 13.

    Examples:
      >>> print(f"{gaussian_kernel_score(jnp.zeros((2, 1)), jnp.ones(1)):.4f}")  # 1 - exp(-1 / 2)
      0.3935
    """
    draws, x, shares = _vectors(draws, x, weights, fair)
    width = kernel_width(bandwidth, x)
    check_shift(shift, len(draws), weights, fair)
    near = jnp.sum(shares * far_part(draws - x[None], width), axis=0)
    if shift is not None:
        apart = far_part(draws - jnp.roll(draws, shift, axis=0), width)
        return near - jnp.mean(apart, axis=0) / 2
    return near - pair_sum(far_part, draws, shares, width) / (2 * _pairs(shares, fair))


@functools.partial(jax.jit, static_argnums=0, inline=True)
def pair_sum(
    distance: Callable[..., Array], points: Array, masses: Array, *options: Array
) -> Array:
    """sum_ij m[i] m[j] distance(p[i] - p[j], ...) over all pairs, one row of them at a time.

    Args:
      distance: a function of this package, so that its program is compiled once.
      points: (M, ..., D).
      masses: (M, ...).
      options: arrays for `distance`.
    """

    def row(total: Array, both: tuple[Array, Array]) -> tuple[Array, None]:
        point, mass = both
        terms = jnp.sum(masses * distance(points - point[None], *options), axis=0)
        return total + mass * terms, None

    return jax.lax.scan(row, jnp.zeros_like(masses[0]), (points, masses))[0]


def kernel_width(bandwidth: ArrayLike, x: Array) -> Array:
    """The bandwidth as one float of the dtype of x.

    Raises:
      ValueError: unless it is one positive number.
    """
    check_number("bandwidth", bandwidth, lambda v: 0 < v < math.inf, "positive and finite")
    return jnp.asarray(bandwidth, x.dtype)


def far_part(gap: Array, width: Array) -> Array:
    """1 - exp(-|gap|^2 / (2 width^2)) over the last axis."""
    return -jnp.expm1(-jnp.sum((gap / width) ** 2, axis=-1) / 2)


def dawid_sebastiani_ensemble(
    draws: ArrayLike, x: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """Dawid-Sebastiani score of the mean and covariance of vector draws.

    (x - m)^T C^-1 (x - m) + log det C, m and C of the draws, C divided by M - 1

    For numbers, pass draws[..., None] and x[..., None]; for given moments see `dawid_sebastiani_score`.

    Args:
      draws: (M, ..., D), the draws first, M > D.
      x: (..., D).
      weights: (M,) or (M, ...), not negative, of the draws, of any scale. With weights w that sum to one,
        the covariance is divided by 1 - sum w^2. A draw of weight zero may hold NaN.
    Returns:
      (...); NaN or infinite where traced draws lie in fewer than D dimensions.
    Raises:
      ValueError: if the shapes differ, x is a scalar, M is at most D, a weight is negative, or the draws
        of some weight lie in fewer than D dimensions.
    Float32: within 1e-4 of 1 + its size where the correlations are below 0.99.
    Source: Dawid, Sebastiani (1999), Annals of Statistics 27.

    Examples:
      >>> print(f"{dawid_sebastiani_ensemble(jnp.array([[-1.0], [1.0]]), jnp.ones(1)):.4f}")
      1.1931
    """
    draws, x, shares = _vectors(draws, x, weights, False)
    size, dim = draws.shape[0], x.shape[-1]
    if size <= dim:
        raise ValueError(f"draws: more than D = {dim} are needed, got {size}")

    def score(draws: Array, x: Array, shares: Array) -> Array:
        away = draws - x[None]
        mean = shares @ away
        gap = away - mean[None]
        tril = cholesky((gap * shares[:, None]).T @ gap / (1 - jnp.sum(shares**2)))
        return jnp.sum(solve_lower(tril, mean) ** 2) + 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))

    each = jax.vmap(score, in_axes=(1, 0, 1))(
        draws.reshape(size, -1, dim), x.reshape(-1, dim), shares.reshape(size, -1)
    )
    given = jnp.isfinite(jnp.sum(draws)) & jnp.isfinite(jnp.sum(x))
    spread = f"spread over {dim} dimensions, so that their covariance has an inverse"
    check_values("draws", jnp.where(given, each, 0), np.isfinite, spread)
    return each.reshape(x.shape[:-1])


def _vectors(
    draws: ArrayLike,
    x: ArrayLike,
    weights: ArrayLike | None,
    fair: bool,
    name: str = "weights",
) -> tuple[Array, Array, Array]:
    """Draws, x and shares (M, ...) that sum to one; draws without weight are x."""
    draws, x = named_floats(draws=draws, x=x)
    check_draws(draws, x.shape)
    if x.ndim < 1:
        raise ValueError("x must have shape (..., D), got (); use x[..., None] for numbers")
    check_pairs(len(draws), fair)
    if weights is None:
        return draws, x, jnp.full(draws.shape[:-1], 1 / len(draws), draws.dtype)
    shares = shares_of(weights, draws[..., 0], name)
    return jnp.where(shares[..., None] == 0, x[None], draws), x, shares


def _pairs(shares: Array, fair: bool) -> Array:
    return 1 - jnp.sum(shares**2, axis=0) if fair else jnp.ones_like(shares[0])


def _is(index: Array, terms: Array) -> Array:
    """(M, 1, ...), true for one draw."""
    return jnp.expand_dims(jnp.arange(len(terms)) == index, tuple(range(1, terms.ndim)))


def norm(v: Array) -> Array:
    """Euclidean length over the last axis, with gradient zero at zero."""
    square = jnp.sum(v**2, axis=-1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
