"""Scores of forecasts given as draws of numbers."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr, ndtr
from jax.typing import ArrayLike

from likelax.numerics import chunks, divide, logsumexp, named_floats, safe_log
from likelax.numerics.checks import (
    check_not_negative,
    check_order,
    check_positive,
    check_values,
)
from likelax.scoring.arguments import of_shape

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
    check_draws(draws, x.shape)
    size = draws.shape[0]
    check_pairs(size, fair)
    if weights is not None:
        shares = shares_of(weights, draws)
        return _weighted_score(jnp.where(shares > 0, draws - x[None], 0), shares, fair)
    # distances from x suffice, and lose no digits for a large offset
    away = draws - x[None]
    return _score(fair, away.reshape(size, -1)).reshape(x.shape)


def shares_of(weights: ArrayLike, draws: Array, name: str = "weights") -> Array:
    """Weights of draws, an argument of this name, in the shape of the draws, summing to one."""
    (weights,) = named_floats(**{name: weights})
    if weights.shape not in (draws.shape[:1], draws.shape):
        raise ValueError(
            f"{name} must have shape {draws.shape[:1]} or that of draws, {draws.shape}, "
            f"got {weights.shape}"
        )
    check_not_negative(**{name: weights})
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
    check_draws(draws, x.shape)
    low, high = of_shape(x.shape, low=low, high=high)
    check_order(low=low, high=high)
    return crps_ensemble(
        jnp.clip(draws, low[None], high[None]), jnp.clip(x, low, high), weights=weights, fair=fair
    )


def log_score_ensemble(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    bandwidth: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Array:
    """Log score of draws smoothed by normal kernels: -log mean N(x; draw, bandwidth^2).

    Args:
      draws: (M, ...), the draws first; M >= 2 without a bandwidth.
      x: (...) the observed values.
      bandwidth: broadcastable to x, positive; by default Silverman's rule,
        1.06 min(deviation, interquartile range / 1.34) M^(-1/5), without the range where it is zero.
      weights: (M,) or (M, ...), not negative, of any scale; the mean is weighted by them, and a bandwidth
        must be given. A draw of weight zero may hold NaN; without any weight the score is NaN.
    Returns:
      (...) nats.
    Raises:
      ValueError: if the shapes differ, M = 1, all draws are equal or weights are given without a bandwidth,
        or a bandwidth is not positive or a weight negative.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Krueger, Lerch, Thorarinsdottir, Gneiting (2021), International Statistical Review 89;
      Silverman (1986), Density Estimation, equation 3.30.

    Examples:
      >>> print(f"{log_score_ensemble(jnp.zeros(3), 0.0, bandwidth=1.0):.4f}")
      0.9189
    """
    draws, x = named_floats(draws=draws, x=x)
    width = _bandwidth(draws, x, bandwidth, weights)
    return _kernel_score(*_log_shares(draws, x, weights), x, width)


def _log_shares(draws: Array, x: Array, weights: ArrayLike | None) -> tuple[Array, Array]:
    """Draws, x in place of those without weight, and the log of their shares, (M, ...)."""
    if weights is None:
        return draws, jnp.full_like(draws, -math.log(len(draws)))
    shares = shares_of(weights, draws)
    return jnp.where(shares == 0, x[None], draws), safe_log(shares)


def _kernel_score(draws: Array, log_shares: Array, x: Array, width: Array) -> Array:
    z = (draws - x[None]) / width[None]
    log_mean = logsumexp(log_shares - z**2 / 2, axis=0)
    return jnp.log(width) + math.log(2 * math.pi) / 2 - log_mean


def _bandwidth(
    draws: Array, x: Array, bandwidth: ArrayLike | None, weights: ArrayLike | None
) -> Array:
    check_draws(draws, x.shape)
    size = draws.shape[0]
    if bandwidth is not None:
        (width,) = named_floats(bandwidth=bandwidth)
        check_positive(bandwidth=width)
        return of_shape(x.shape, bandwidth=width)[0]
    if weights is not None:
        raise ValueError("bandwidth must be given with weights: Silverman's rule has none")
    if size < 2:
        raise ValueError("draws: at least two are needed without a bandwidth, got one")
    middle = draws[:1]
    deviation = jnp.std(draws - middle, axis=0, ddof=1)
    quarter, three = jnp.quantile(draws - middle, jnp.array([0.25, 0.75], x.dtype), axis=0)
    reach = (three - quarter) / 1.34
    spread = jnp.where(reach > 0, jnp.minimum(deviation, reach), deviation)
    unequal = "not all equal where no bandwidth is given"
    check_values("draws", deviation, lambda v: ~(v <= 0), unequal)
    return 1.06 * spread * size**-0.2


def threshold_log_score_ensemble(
    draws: ArrayLike,
    x: ArrayLike,
    *,
    low: ArrayLike = -jnp.inf,
    high: ArrayLike = jnp.inf,
    bandwidth: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    conditional: bool = False,
) -> Array:
    """Log score within (low, high) of draws smoothed by normal kernels.

    Censored likelihood: `log_score_ensemble` where x is within, and minus the log of the probability of
    being outside where it is not.

    Args:
      draws, x, bandwidth, weights: as for `log_score_ensemble`.
      low, high: broadcastable to x, low at most high.
      conditional: instead, the score of the forecast given that x is within, and 0 where it is not. It
        does not see a wrong probability of being within.
    Returns:
      (...) nats.
    Raises:
      ValueError: as `log_score_ensemble`, or if high is below low.
    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.
    Source: Diks, Panchenko, van Dijk (2011), Journal of Econometrics 163.

    Examples:
      >>> score = threshold_log_score_ensemble(jnp.zeros(3), 1.0, high=0.0, bandwidth=1.0)
      >>> print(f"{score:.4f}")  # log 2
      0.6931
    """
    draws, x, low, high = named_floats(draws=draws, x=x, low=low, high=high)
    width = _bandwidth(draws, x, bandwidth, weights)
    draws, log_shares = _log_shares(draws, x, weights)
    low, high = of_shape(x.shape, low=low, high=high)
    check_order(low=low, high=high)
    inside = (x > low) & (x < high)
    score = _kernel_score(draws, log_shares, x, width)
    under, over = ((v - draws) / width[None] for v in (low[None], high[None]))
    if conditional:
        # from the side where both tails are small
        flipped = under > 0
        less, more = jnp.where(flipped, -over, under), jnp.where(flipped, -under, over)
        within = logsumexp(log_shares + jnp.log(ndtr(more) - ndtr(less)), axis=0)
        return jnp.where(jnp.isnan(x), x, jnp.where(inside, score + within, 0))
    tails = jnp.stack([log_ndtr(under), log_ndtr(-over)])
    outside = logsumexp(log_shares[None] + tails, axis=(0, 1))
    return jnp.where(jnp.isnan(x), x, jnp.where(inside, score, -outside))


def error_spread_score(draws: ArrayLike, x: ArrayLike) -> Array:
    """Error-spread score of draws: (s^2 - e^2 - e s g)^2, e = m - x.

    m, s and g are mean, deviation and skewness of the draws. It judges whether the spread tells the size
    of the error, and is proper for these moments.

    Args:
      draws: (M, ...), the draws first, M >= 3.
      x: (...) the observed values.
    Returns:
      (...) in the fourth power of the unit of x.
    Raises:
      ValueError: if the shapes differ, or M is below 3.
    Float32: within 1e-5 of (s^2 + e^2)^2, and of one rounding of the arguments.
    Source: Christensen, Moroz, Palmer (2015), Quarterly Journal of the Royal Meteorological Society 141.

    Examples:
      >>> float(error_spread_score(jnp.array([-1.0, 0.0, 1.0]), 0.0))
      1.0
    """
    draws, x = named_floats(draws=draws, x=x)
    check_draws(draws, x.shape)
    size = len(draws)
    if size < 3:
        raise ValueError(f"draws: at least three are needed for a skewness, got {size}")
    away = draws - x[None]
    error = jnp.mean(away, axis=0)
    gap = away - error[None]
    variance = jnp.sum(gap**2, axis=0) / (size - 1)
    # deviation times skewness
    factor = size / ((size - 1) * (size - 2))
    pull = factor * divide(jnp.sum(gap**3, axis=0), variance, 0.0)
    return (variance - error**2 - error * pull) ** 2


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


def check_draws(draws: Array, shape: tuple[int, ...]) -> None:
    """Raise unless draws have the shape of x after their first axis, and there is one at least.

    Raises:
      ValueError: saying both shapes.
    """
    if draws.ndim != len(shape) + 1 or draws.shape[1:] != shape or draws.shape[0] < 1:
        raise ValueError(
            f"draws must have shape (M, *x.shape) = (M, {', '.join(map(str, shape))}), "
            f"got {draws.shape}"
        )


def check_pairs(size: int, fair: bool) -> None:
    """Raise for a single draw where the score is fair.

    Raises:
      ValueError: saying how to score it.
    """
    if fair and size < 2:
        raise ValueError("draws: a fair score needs at least two draws, got one; use fair=False")
