"""Vertically re-scaled scores: forecasts compared with the outcome as measures with a density.

A weight w of outcomes says how much each matters. Threshold weights are the usual score after a map, as
of `jnp.clip(v, low, high)`, of draws and x; outcome weights are w(x) times the usual score with w(draws) as
weights of the draws. Here the measure w dP is compared with w(x) at x, so that a probability of w that is too low or too high
costs as well.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import check_not_negative, check_number
from likelax.scoring.ensemble import check_draws, shares_of
from likelax.scoring.vectors import (
    far_part,
    kernel_width,
    mean_variogram,
    norm,
    pair_sum,
    pair_weights,
)


def rescaled_crps_ensemble(
    draws: ArrayLike,
    x: ArrayLike,
    weight_at_draws: ArrayLike,
    weight_at_x: ArrayLike,
    *,
    center: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
) -> Array:
    """Vertically re-scaled CRPS of draws: integral of the squared difference of two measures.

    The measure up to t of masses w(draw) / M at the draws, less w(x) at x, less what is missing to a total of
    zero at `center`.

    Args:
      draws: (M, ...), the draws first.
      x: (...) the observed values.
      weight_at_draws: (M, ...), not negative: w at the draws; a draw of weight zero may hold NaN.
      weight_at_x: (...), not negative: w at x.
      center: a number. A probability of w that is wrong costs its square times the distance from here.
      weights: (M,) or (M, ...), not negative, of the draws, of any scale, as in `crps_ensemble`: then a
        draw has the mass w(draw) times its share of these in place of w(draw) / M.
    Returns:
      (...) in the unit of x times the square of the weights.
    Raises:
      ValueError: if the shapes differ, or a weight is negative.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Allen, Ginsbourger, Ziegel (2023), SIAM/ASA Journal on Uncertainty Quantification 11.

    Examples:
      >>> draws, weights = jnp.array([1.0, 3.0]), jnp.array([1.0, 0.5])
      >>> float(rescaled_crps_ensemble(draws, 2.0, weights, 1.0))  # (1/4)^2 + (3/4)^2 + (1/4)^2
      0.6875
    """
    draws, x, masses = _measure(draws, x, weight_at_draws, weight_at_x, weights)
    middle = _center(center, x)[None]
    points = jnp.concatenate([draws, x[None], middle])
    order = jnp.argsort(points, axis=0)
    points, masses = (jnp.take_along_axis(a, order, axis=0) for a in (points, masses))
    up_to = jnp.cumsum(masses, axis=0)[:-1]
    return jnp.sum(up_to**2 * jnp.diff(points, axis=0), axis=0)


def rescaled_energy_score(
    draws: ArrayLike,
    x: ArrayLike,
    weight_at_draws: ArrayLike,
    weight_at_x: ArrayLike,
    *,
    center: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
) -> Array:
    """Vertically re-scaled energy score of vector draws: `rescaled_crps_ensemble` of vectors.

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      weight_at_draws: (M, ...), not negative: w at the draws; a draw of weight zero may hold NaN.
      weight_at_x: (...), not negative: w at x.
      center: a number, or (D,).
      weights: (M,) or (M, ...), not negative, of the draws, of any scale, as in `crps_ensemble`: then a
        draw has the mass w(draw) times its share of these in place of w(draw) / M.
    Returns:
      (...) in the unit of x times the square of the weights.
    Raises:
      ValueError: if the shapes differ, or a weight is negative.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Allen, Ginsbourger, Ziegel (2023), SIAM/ASA Journal on Uncertainty Quantification 11.

    Examples:
      >>> draws, weights = jnp.array([[1.0], [3.0]]), jnp.array([1.0, 0.5])
      >>> float(rescaled_energy_score(draws, jnp.array([2.0]), weights, 1.0))
      0.6875
    """
    draws, x, masses = _measure(draws, x, weight_at_draws, weight_at_x, weights, vectors=True)
    middle = _center(center, x)[None]
    return -pair_sum(norm, jnp.concatenate([draws, x[None], middle]), masses) / 2


def rescaled_kernel_score(
    draws: ArrayLike,
    x: ArrayLike,
    weight_at_draws: ArrayLike,
    weight_at_x: ArrayLike,
    *,
    bandwidth: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
) -> Array:
    """Vertically re-scaled `gaussian_kernel_score` of vector draws.

    sum_ij m[i] m[j] k(i, j) / 2 over the draws, with masses w(draw) / M, and x, with mass -w(x)

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      weight_at_draws: (M, ...), not negative: w at the draws; a draw of weight zero may hold NaN.
      weight_at_x: (...), not negative: w at x.
      bandwidth: of the kernel, a positive number.
      weights: (M,) or (M, ...), not negative, of the draws, of any scale, as in `crps_ensemble`: then a
        draw has the mass w(draw) times its share of these in place of w(draw) / M.
    Returns:
      (...) in the square of the weights.
    Raises:
      ValueError: if the shapes differ, a weight is negative, or the bandwidth is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Allen, Ginsbourger, Ziegel (2023), SIAM/ASA Journal on Uncertainty Quantification 11.

    Examples:
      >>> weights = jnp.array([1.0, 0.0])
      >>> draws = jnp.array([[1.0], [3.0]])
      >>> float(rescaled_kernel_score(draws, jnp.array([1.0]), weights, 1.0))  # (1 / 2)^2 / 2
      0.125
    """
    draws, x, masses = _measure(draws, x, weight_at_draws, weight_at_x, weights, vectors=True)
    width = kernel_width(bandwidth, x)
    points, masses = jnp.concatenate([draws, x[None]]), masses[:-1]
    lost = pair_sum(far_part, points, masses, width)
    return (jnp.sum(masses, axis=0) ** 2 - lost) / 2


def rescaled_variogram_score(
    draws: ArrayLike,
    x: ArrayLike,
    weight_at_draws: ArrayLike,
    weight_at_x: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    power: float = 0.5,
    draw_weights: ArrayLike | None = None,
) -> Array:
    """Vertically re-scaled variogram score of vector draws.

    sum_ij v[i, j] (w(x) |x[i] - x[j]|^p - mean_m w(draw[m]) |draw[m, i] - draw[m, j]|^p)^2

    Args:
      draws: (M, ..., D), the draws first.
      x: (..., D).
      weight_at_draws: (M, ...), not negative: w at the draws; a draw of weight zero may hold NaN.
      weight_at_x: (...), not negative: w at x.
      weights: (D, D) not negative, v of the pairs; all one by default.
      power: p, positive.
      draw_weights: (M,) or (M, ...), not negative, of the draws, of any scale; the mean over m is weighted by
        them.
    Returns:
      (...) in the unit of x to the power 2 p times the square of the weights.
    Raises:
      ValueError: if the shapes differ, a weight is negative, or power is not positive.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Allen, Ginsbourger, Ziegel (2023), SIAM/ASA Journal on Uncertainty Quantification 11.

    Examples:
      >>> draws, x = jnp.array([[0.0, 1.0], [0.0, 4.0]]), jnp.array([0.0, 1.0])
      >>> float(rescaled_variogram_score(draws, x, jnp.array([1.0, 0.0]), 1.0))  # 2 (1 - 1 / 2)^2
      0.5
    """
    draws, x, masses = _measure(
        draws, x, weight_at_draws, weight_at_x, draw_weights, name="draw_weights", vectors=True
    )
    check_number("power", power, lambda v: 0 < v < float("inf"), "positive and finite")
    pairs = pair_weights(weights, x)
    gap = mean_variogram(jnp.concatenate([draws, x[None]]), masses[:-1], power)
    return jnp.sum(jnp.broadcast_to(pairs, gap.shape) * gap**2, axis=(-2, -1))


def _measure(
    draws: ArrayLike,
    x: ArrayLike,
    weight_at_draws: ArrayLike,
    weight_at_x: ArrayLike,
    weights: ArrayLike | None,
    name: str = "weights",
    vectors: bool = False,
) -> tuple[Array, Array, Array]:
    """Draws, x, and masses (M + 2, ...) of the draws, of x and of the centre, which sum to zero."""
    draws, x, weight_at_draws, weight_at_x = named_floats(
        draws=draws, x=x, weight_at_draws=weight_at_draws, weight_at_x=weight_at_x
    )
    check_draws(draws, x.shape)
    if vectors and x.ndim < 1:
        raise ValueError("x must have shape (..., D), got (); use x[..., None] for numbers")
    shape = x.shape[:-1] if vectors else x.shape
    if weight_at_draws.shape != (len(draws), *shape) or weight_at_x.shape != shape:
        raise ValueError(
            f"weight_at_draws must have shape {(len(draws), *shape)} and weight_at_x {shape}, got "
            f"{weight_at_draws.shape} and {weight_at_x.shape}"
        )
    check_not_negative(weight_at_draws=weight_at_draws, weight_at_x=weight_at_x)
    if weights is None:
        shares = jnp.full_like(weight_at_draws, 1 / len(draws))
    else:
        shares = shares_of(weights, weight_at_draws, name)
    masses = weight_at_draws * shares
    itself = masses[..., None] if vectors else masses
    draws = jnp.where(itself == 0, x[None], draws)
    rest = weight_at_x - jnp.sum(masses, axis=0)
    return draws, x, jnp.concatenate([masses, -weight_at_x[None], rest[None]])


def _center(center: ArrayLike, x: Array) -> Array:
    (center,) = named_floats(center=center)
    if center.shape not in ((), x.shape[-1:]):
        raise ValueError(
            f"center must be a number or have shape {x.shape[-1:]}, got {center.shape}"
        )
    center = jnp.expand_dims(center, tuple(range(x.ndim - center.ndim)))
    return jnp.broadcast_to(center.astype(x.dtype), x.shape)
