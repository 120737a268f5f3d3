"""Scoring rules: what a forecast costs once the outcome is known. Lower is better, per observation.

Every rule here is proper (the truth has the lowest expected score) and has finite gradients.
A probability is never clipped: a forecast that calls the outcome impossible scores inf under
the log rule.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erf, gammaln
from jax.typing import ArrayLike

from likelax.numerics import as_float, safe_log, xlog1py, xlogy


def log_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """Log score of class probabilities: -log probs[label].

    Args:
      probs: (..., C).
      labels: (...) integers in [0, C); outside it, NaN.
    Returns:
      (...) nats; inf where the outcome was called impossible, with zero gradient.

    Examples:
      >>> print(log_score(jnp.array([[0.0, 1.0], [0.5, 0.5]]), jnp.array([1, 0])).round(4))
      [0.     0.6931]
    """
    probs, labels = _classes(probs, labels)
    return -safe_log(_pick(probs, labels)) + 0.0


def log_score_from_logits(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Log score of class logits: logsumexp(logits) - logits[label].

    Args:
      logits: (..., C), any log scores up to a constant.
      labels: (...) integers in [0, C); outside it, NaN.
    Returns:
      (...) nats.

    Examples:
      >>> print(log_score_from_logits(jnp.array([[0.0, 1000.0]]), jnp.array([0])))
      [1000.]
    """
    logits, labels = _classes(logits, labels)
    return -_pick(jax.nn.log_softmax(logits, axis=-1), labels) + 0.0


def binary_log_score(probs: ArrayLike, outcome: ArrayLike) -> Array:
    """Log score of an event's probability: -y log p - (1 - y) log(1 - p).

    Args:
      probs: (...) probability of the event.
      outcome: (...) 0 or 1, or a frequency in between.
    Returns:
      (...) nats.

    Examples:
      >>> print(binary_log_score(jnp.array([1.0, 0.5]), jnp.array([1, 0])).round(4))
      [0.     0.6931]
    """
    probs, outcome = _paired(probs, outcome)
    return -xlogy(outcome, probs) - xlog1py(1 - outcome, -probs) + 0.0


def brier_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """Brier score of class probabilities: sum_c (probs[c] - [c = label])^2, in [0, 2].

    Args:
      probs: (..., C).
      labels: (...) integers in [0, C); outside it, NaN.
    Returns:
      (...). For two classes it is twice `binary_brier_score`.
    Source: Brier (1950), Monthly Weather Review 78.

    Examples:
      >>> print(brier_score(jnp.array([[0.25, 0.75]]), jnp.array([1])))
      [0.125]
    """
    probs, labels = _classes(probs, labels)
    inside = (labels >= 0) & (labels < probs.shape[-1])
    hot = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    return jnp.where(inside, jnp.sum((probs - hot) ** 2, axis=-1), jnp.nan)


def binary_brier_score(probs: ArrayLike, outcome: ArrayLike) -> Array:
    """Brier score of an event's probability: (p - y)^2, in [0, 1].

    Examples:
      >>> print(binary_brier_score(jnp.array([0.75]), jnp.array([1])))
      [0.0625]
    """
    probs, outcome = _paired(probs, outcome)
    return (probs - outcome) ** 2


def ranked_probability_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """RPS of ordered classes: sum_c (P(class <= c) - [label <= c])^2.

    Unlike the Brier score it charges less for a near miss. It is the CRPS of the integers.

    Args:
      probs: (..., C), classes in order.
      labels: (...) integers in [0, C); outside it, NaN.
    Returns:
      (...), in [0, C - 1].
    Source: Epstein (1969), Journal of Applied Meteorology 8.

    Examples:
      >>> print(ranked_probability_score(jnp.array([[1.0, 0.0, 0.0]]), jnp.array([2])))
      [2.]
    """
    probs, labels = _classes(probs, labels)
    inside = (labels >= 0) & (labels < probs.shape[-1])
    cumulative = jnp.cumsum(probs, axis=-1)[..., :-1]
    classes = jnp.arange(probs.shape[-1] - 1, dtype=labels.dtype)
    reached = labels[..., None] <= classes.reshape((1,) * labels.ndim + (-1,))
    score = jnp.sum((cumulative - reached.astype(probs.dtype)) ** 2, axis=-1)
    return jnp.where(inside, score, jnp.nan)


def crps_normal(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a normal forecast: scale (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt pi).

    Args:
      loc, scale: broadcastable to x; scale 0 is a point forecast and scores |x - loc|.
      x: (...) what was seen.
    Returns:
      (...) in the unit of x.
    Source: Gneiting, Raftery (2007), JASA 102, section 4.2.

    Examples:
      >>> round(float(crps_normal(0.0, 1.0, 0.0)), 4)
      0.2337
    """
    loc, scale, x = as_float(loc, scale, x)
    shape = jnp.broadcast_shapes(loc.shape, scale.shape, x.shape)
    loc, scale, x = (jnp.broadcast_to(a, shape) for a in (loc, scale, x))
    point = scale == 0
    z = (x - loc) / jnp.where(point, 1, scale)
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    spread = z * erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
    return jnp.where(point, jnp.abs(x - loc), scale * spread)


def crps_poisson(rate: ArrayLike, x: ArrayLike) -> Array:
    """CRPS of a Poisson forecast, in closed form.

    (x - r)(2 F(x) - 1) + 2 r f(x) - r exp(-2 r) (I0(2 r) + I1(2 r))

    Args:
      rate: broadcastable to x, non-negative; rate 0 scores x.
      x: (...) counts.
    Returns:
      (...) in counts.
    Source: Wei, Held (2014), Test 23; Jordan, Krueger, Lerch (2019), appendix A.

    Examples:
      >>> round(float(crps_poisson(0.0, 3)), 4)
      3.0
    """
    rate, x = as_float(rate, x)
    shape = jnp.broadcast_shapes(rate.shape, x.shape)
    rate, x = jnp.broadcast_to(rate, shape), jnp.broadcast_to(x, shape)
    zero = rate == 0
    r = jnp.where(zero, 1, rate)
    whole = jnp.floor(x)
    below = jnp.where(whole < 0, 0, jax.scipy.special.gammaincc(jnp.maximum(whole, 0) + 1, r))
    mass = jnp.where(
        whole < 0,
        0,
        jnp.exp(xlogy(jnp.maximum(whole, 0), r) - r - gammaln(jnp.maximum(whole, 0) + 1)),
    )
    spread = r * (jax.scipy.special.i0e(2 * r) + jax.scipy.special.i1e(2 * r))
    return jnp.where(zero, jnp.abs(x), (x - r) * (2 * below - 1) + 2 * r * mass - spread)


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
    away = jnp.sort(draws - x[None], axis=0)
    rank = (2 * jnp.arange(size) - (size - 1)).astype(draws.dtype).reshape((-1,) + (1,) * x.ndim)
    pairs = size * (size - 1) if fair else size * size
    return jnp.mean(jnp.abs(away), axis=0) - jnp.sum(rank * away, axis=0) / pairs


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


def interval_score(lower: ArrayLike, upper: ArrayLike, x: ArrayLike, *, mass: float) -> Array:
    """Interval score: the width, and 2 / (1 - mass) times the distance by which it missed.

    Args:
      lower, upper: (...) bounds of the central interval of probability `mass`.
      x: (...) what was seen.
      mass: in (0, 1), the probability the interval claims.
    Returns:
      (...) in the unit of x.
    Raises:
      ValueError: if mass is not in (0, 1).
    Source: Gneiting, Raftery (2007), JASA 102, section 6.2.

    Examples:
      >>> round(float(interval_score(0.0, 1.0, 1.5, mass=0.9)), 4)
      11.0
    """
    if not 0 < mass < 1:
        raise ValueError(f"mass must lie in (0, 1), got {mass}")
    lower, upper, x = as_float(lower, upper, x)
    missed = jnp.maximum(lower - x, 0) + jnp.maximum(x - upper, 0)
    return upper - lower + 2 / (1 - mass) * missed


def dawid_sebastiani_score(loc: ArrayLike, scale: ArrayLike, x: ArrayLike) -> Array:
    """Dawid-Sebastiani score of a mean and a standard deviation: z^2 + 2 log scale.

    It needs two moments only, and is proper for them.

    Args:
      loc, scale: (...), scale positive.
      x: (...).
    Returns:
      (...).
    Source: Dawid, Sebastiani (1999), Annals of Statistics 27.

    Examples:
      >>> float(dawid_sebastiani_score(0.0, 1.0, 2.0))
      4.0
    """
    loc, scale, x = as_float(loc, scale, x)
    return ((x - loc) / scale) ** 2 + 2 * jnp.log(scale)


def _classes(probs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    (probs,) = as_float(probs)
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them first")
    if probs.ndim < 1 or labels.shape != probs.shape[:-1]:
        raise ValueError(
            f"probs must have shape (..., C) and labels (...), got {probs.shape} and {labels.shape}"
        )
    return probs, labels


def _pick(values: Array, labels: Array) -> Array:
    """values[..., label]; NaN for a label that is no class."""
    inside = (labels >= 0) & (labels < values.shape[-1])
    at = jnp.where(inside, labels, 0)
    picked = jnp.take_along_axis(values, at[..., None], axis=-1)[..., 0]
    return jnp.where(inside, picked, jnp.nan)


def _paired(probs: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:
    probs, outcome = as_float(probs, outcome)
    if probs.shape != outcome.shape:
        raise ValueError(
            f"outcome must have the shape of probs, {probs.shape}, got {outcome.shape}"
        )
    return probs, outcome


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
