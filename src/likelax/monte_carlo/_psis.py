"""Pareto smoothed importance sampling: smoothed weights, and the diagnostic k-hat."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import Compensated, as_float, log_normalize, named_floats
from likelax.numerics.checks import checked


class Psis(NamedTuple):
    """Smoothed importance weights.

    Attributes:
      log_weights: (S,) nats, normalised: exp sums to one.
      k_hat: scalar, the shape of the generalised Pareto fitted to the tail. Below
        min(1 - 1 / log10(S), 0.7) the weighted estimates can be trusted; above 1 the weights
        have no mean. inf: five weights or fewer in the tail, nothing was smoothed.
    """

    log_weights: Array
    k_hat: Array


@checked()
def psis(log_weights: ArrayLike | Compensated, *, relative_efficiency: float = 1.0) -> Psis:
    """Replace the largest importance weights by the quantiles of a fitted Pareto tail.

    The ceil(min(S / 5, 3 sqrt(S / relative_efficiency))) largest weights are the tail.

    Args:
      log_weights: (S,) log p - log q at draws from q, nats, up to a constant; -inf is a weight
        of zero. In float32 weights with a large common offset are rounded: pass the `Compensated`
        sum that they come from to keep their digits.
      relative_efficiency: ess / S of the draws; 1 for independent ones.
    Returns:
      A `Psis`. A NaN weight makes k_hat NaN; weights that are all zero stay zero.
    Raises:
      ValueError: log_weights not (S,), or relative_efficiency not positive.
    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
      JMLR 25. Zhang and Stephens (2009) for the fit.

    Examples:
      >>> log_weights = 0.5 * jax.random.exponential(jax.random.key(0), (1000,))
      >>> bool(abs(jax.jit(psis)(log_weights).k_hat - 0.5) < 0.2)
      True
    """
    x = centre(log_weights)
    if x.ndim != 1 or x.shape[0] == 0:
        raise ValueError(f"psis wants log_weights of shape (S,), got {x.shape}; vmap over batches.")
    tail = smooth_tail(x, tail_length(x.shape[0], relative_efficiency))
    return Psis(log_normalize(x.at[tail.where].set(tail.smoothed))[0], tail.k_hat)


class Tail(NamedTuple):
    """The M largest of S log weights, in ascending order, before and after smoothing.

    Attributes:
      values: (M,) as they were.
      where: (M,) their places among the S.
      smoothed: (M,) log quantiles of the fitted Pareto distribution, or `values` where none fits.
      cutoff: scalar; exactly the weights above it are in the tail. Fewer than M where weights tie.
      k_hat: scalar, as in `Psis`.
    """

    values: Array
    where: Array
    smoothed: Array
    cutoff: Array
    k_hat: Array


def tail_length(num_draws: int, relative_efficiency: float) -> int:
    """Number of weights in the tail of `num_draws`.

    Raises:
      ValueError: if relative_efficiency is not positive.
    """
    if not relative_efficiency > 0:
        raise ValueError(f"relative_efficiency must be positive, got {relative_efficiency}.")
    size = math.ceil(min(num_draws / 5, 3 * (num_draws / relative_efficiency) ** 0.5))
    return min(size, num_draws - 1)


def smooth_tail(x: Array, size: int, length: Array | None = None) -> Tail:
    """Fit the tail alone, so that who needs only sums of weights need not put it back.

    Args:
      x: (S,) log weights as `centre` gives them: the largest is 0.
      size: M, the number of weights in the tail, from `tail_length`.
      length: scalar; where it is smaller than `size`, only so many weights are in the tail.
    """
    if size == 0:
        none, infinite = jnp.zeros(0, x.dtype), jnp.asarray(jnp.inf, x.dtype)
        return Tail(none, jnp.zeros(0, int), none, infinite, infinite)
    # without the barrier XLA merges the slices below into top_k and sorts all S draws instead
    values, where = jax.lax.optimization_barrier(jax.lax.top_k(x, size + 1))
    first_out = values[-1] if length is None else values[jnp.minimum(length, size)]
    cutoff = jnp.maximum(first_out, jnp.log(jnp.finfo(x.dtype).tiny))
    values, where = values[:-1][::-1], where[:-1][::-1]
    in_tail = values > cutoff
    count = jnp.sum(in_tail)
    # exp(x) - exp(cutoff) without the cancellation
    excess = jnp.exp(cutoff) * jnp.expm1(jnp.where(in_tail, values - cutoff, 0))
    # computed once for all points of the grid
    excess = jax.lax.optimization_barrier(excess)
    shape, scale = _fit_pareto(excess, in_tail, count)
    rank = jnp.arange(size) - (size - count)
    probs = (rank.astype(x.dtype) + 0.5) / jnp.maximum(count, 1).astype(x.dtype)
    probs = jnp.where(in_tail, probs, 0.5)
    smoothed = jnp.log(_pareto_quantile(probs, shape, scale) + jnp.exp(cutoff))
    smooth = in_tail & (count > 4) & jnp.isfinite(shape) & (scale > 0)
    smoothed = jnp.where(smooth, jnp.minimum(smoothed, 0), values)
    k_hat = jnp.where(count > 4, shape, jnp.inf)
    k_hat = jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, k_hat)
    return Tail(values, where, smoothed, cutoff, k_hat)


def centre(log_weights: ArrayLike | Compensated) -> Array:
    """Log weights minus the largest one, so that exp does not overflow.

    Args:
      log_weights: (S,) nats, or a `Compensated` pair of arrays, whose low parts are added.

    Examples:
      >>> print(centre(Compensated(jnp.float32([-1e8, -1e8]), jnp.float32([0.0, 1.5]))))
      [-1.5  0. ]
    """
    if isinstance(log_weights, Compensated):
        high, low = as_float(log_weights.total, log_weights.error)
        return centre((high - _peak(high)) + low)
    (x,) = named_floats(log_weights=log_weights)
    return x - _peak(x)


def _peak(x: Array) -> Array:
    peak = jnp.max(x, initial=-jnp.inf)
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(peak), peak, 0))


def _fit_pareto(excess: Array, in_tail: Array, count: Array) -> tuple[Array, Array]:
    """(shape, scale) of a generalised Pareto, by the posterior mean over a grid of b = shape/scale.

    `excess` ascends; the tail is its last `count` entries.
    """
    size, dtype = excess.shape[0], excess.dtype
    num = jnp.maximum(count, 1).astype(dtype)
    num_grid = 30 + math.isqrt(size)
    used = 30 + jnp.sum(jnp.arange(1, num_grid) ** 2 <= count)
    grid = jnp.arange(1, num_grid + 1, dtype=dtype)
    on_grid = grid <= used.astype(dtype)
    quartile = excess[jnp.maximum(size - count + (count + 2) // 4 - 1, 0)]
    quartile = jnp.where(quartile > 0, quartile, 1)
    largest = jnp.where(excess[-1] > 0, excess[-1], 1)
    b = (1 - jnp.sqrt(used.astype(dtype) / (grid - 0.5))) / (3 * quartile) + 1 / largest
    b = jnp.where(on_grid, b, -1)

    def shape_at(b: Array) -> Array:
        return jnp.sum(jnp.where(in_tail, jnp.log1p(-b * excess), 0)) / num

    shapes = jax.vmap(shape_at)(b)
    log_lik = num * (jnp.log(-b / shapes) - shapes - 1)
    log_lik = jnp.where(on_grid, log_lik, -jnp.inf)
    weights = jnp.exp(log_normalize(log_lik)[0])
    weights = jnp.where(weights >= 10 * jnp.finfo(dtype).eps, weights, 0)
    b_mean = jnp.sum(weights * jnp.where(weights > 0, b, 0)) / jnp.sum(weights)
    shape = shape_at(b_mean)
    # a weak prior with mean 1/2 and the weight of 10 draws
    return (num * shape + 5) / (num + 10), -shape / b_mean


def _pareto_quantile(probs: Array, shape: Array, scale: Array) -> Array:
    flat = jnp.abs(shape) < jnp.finfo(probs.dtype).eps
    log_rest = jnp.log1p(-probs)
    safe = jnp.where(flat, 1, shape)
    return scale * jnp.where(flat, -log_rest, jnp.expm1(-safe * log_rest) / safe)
