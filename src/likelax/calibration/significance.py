"""Tests of calibration, and exact intervals for the frequency in a bin."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from likelax.calibration.binning import Bins, check_fit, check_probabilities, check_rows
from likelax.numerics import divide
from likelax.numerics.checks import check_fraction, checked
from likelax.numerics.tails import beta_quantile


class Significance(NamedTuple):
    """A test statistic, and its p-value under calibration.

    Attributes:
      statistic: scalar.
      p_value: scalar, two-sided.
    """

    statistic: Array
    p_value: Array


def spiegelhalter(
    confidence: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None
) -> Significance:
    """Spiegelhalter's test of calibration, two-sided.

    z = sum w (y - p)(1 - 2 p) / sqrt sum w^2 (1 - 2 p)^2 p (1 - p)

    It is positive for an over-confident model and negative for an under-confident one, so the test
    must be two-sided. z is standard normal under calibration.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence, outcome, weights: (N,) as for `bin_statistics`.
    Returns:
      `Significance`; NaN if every confidence is 0, 1/2 or 1, for which the statistic is undefined.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, a confidence is outside [0, 1], an
        outcome is NaN, or there is no row with weight.
    Source: Spiegelhalter (1986), Statistics in Medicine 5.

    Examples:
      >>> test = spiegelhalter(jnp.full(100, 0.9), jnp.arange(100) < 70)
      >>> round(float(test.statistic), 3), bool(test.p_value < 1e-6)
      (6.667, True)
    """
    p, y, w = check_rows(confidence, outcome, weights)
    check_probabilities("confidence", p, w)
    check_fit("outcome", y, w)
    p, y = jnp.where(w == 0, 0.5, p), jnp.where(w == 0, 0.5, y)
    tilt = 1 - 2 * p
    variance = jnp.sum((w * tilt) ** 2 * p * (1 - p))
    z = jnp.sum(w * (y - p) * tilt) / jnp.sqrt(variance)
    return Significance(z, 2 * ndtr(-jnp.abs(z)))


def kuiper(
    confidence: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None
) -> Significance:
    """Kuiper's test: the range of the cumulative residuals, over their standard deviation.

    With rows in order of confidence, C[k] = sum_{j <= k} w[j] (y[j] - p[j]), C[0] = 0, the
    statistic is (max C - min C) / sqrt sum w^2 p (1 - p). It needs no bins and detects
    miscalibration of either sign at any confidence; rows with equal confidences are added together.
    Under calibration and for many rows it is the range of a Brownian motion on [0, 1], which gives the
    p-value.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence, outcome, weights: (N,) as for `bin_statistics`.
    Returns:
      `Significance`; NaN if every confidence is 0 or 1.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, a confidence is outside [0, 1], an
        outcome is NaN, or there is no row with weight.
    Source: Arrieta-Ibarra, Gujral, Tannen, Tygert, Xu (2022), Metrics of calibration for
      probabilistic predictions, JMLR 23. Feller (1951) for the range.

    Examples:
      >>> test = kuiper(jnp.full(100, 0.9), jnp.arange(100) < 70)
      >>> round(float(test.statistic), 3), bool(test.p_value < 1e-6)
      (6.667, True)
    """
    path, p, w = _path(confidence, outcome, weights)
    spread = jnp.max(path, initial=0) - jnp.min(path, initial=0)
    statistic = spread / jnp.sqrt(jnp.sum(w**2 * p * (1 - p)))
    return Significance(statistic, _range_tail(statistic))


def ks_error(
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """Kolmogorov-Smirnov calibration error: the largest cumulative residual, over the total weight.

    With rows in order of confidence, max_k |sum_{j <= k} w[j] (y[j] - p[j])| / sum w. It needs no bins,
    and is at most the ECE of any bins whose edges are finer than the data.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      confidence, outcome, weights: (N,) as for `bin_statistics`.
      class_weights: (2,) likewise, or None.
    Returns:
      A scalar in [0, 1].
    Raises:
      ValueError: as for `kuiper`.
    Source: Gupta et al. (2021), Calibration of neural networks using splines, ICLR.

    Examples:
      >>> print(ks_error(jnp.array([0.25, 0.75]), jnp.array([1, 1])))
      0.5
    """
    path, _, w = _path(confidence, outcome, weights, class_weights)
    return jnp.max(jnp.abs(path), initial=0) / jnp.sum(w)


def _path(
    confidence: ArrayLike,
    outcome: ArrayLike,
    weights: ArrayLike | None,
    class_weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """(cumulative residuals in order of confidence, 0 inside ties; confidence; weights)."""
    p, y, w = check_rows(confidence, outcome, weights, class_weights=class_weights)
    check_probabilities("confidence", p, w)
    check_fit("outcome", y, w)
    p, y = jnp.where(w == 0, 0.5, p), jnp.where(w == 0, 0.5, y)
    order = jnp.argsort(p)
    path = jnp.cumsum((w * (y - p))[order])
    last = jnp.concatenate([p[order][1:] != p[order][:-1], jnp.ones(1, bool)])
    # the order within ties is arbitrary, and 0 is always on the path
    return jnp.where(last, path, 0), p, w


def _range_tail(x: Array) -> Array:
    """P(range of a Brownian motion on [0, 1] > x), by the series that is short at x."""
    near = jnp.where(x < 1.5, jnp.maximum(x, 1e-3), 1.5)
    odd = jnp.asarray((np.arange(4) + 0.5) ** 2 * math.pi**2, x.dtype)
    terms = (8 / near[..., None] ** 2 + 2 / odd) * jnp.exp(-2 * odd / near[..., None] ** 2)
    small = 1 - jnp.sum(terms, axis=-1)
    k = jnp.arange(1, 9, dtype=x.dtype)
    sign = jnp.asarray(np.where(np.arange(8) % 2, -1.0, 1.0), x.dtype)
    large = 8 * jnp.sum(sign * k * ndtr(-k * jnp.maximum(x, 1.5)[..., None]), axis=-1)
    return jnp.where(jnp.isnan(x), jnp.nan, jnp.where(x < 1.5, small, jnp.minimum(large, 1)))


@checked()
def clopper_pearson(bins: Bins, mass: float = 0.95) -> tuple[Array, Array]:
    """Exact interval for each bin's true frequency, from its effective count.

    The bounds are beta quantiles; with weights the count is the effective one and the interval approximate.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      bins: `Bins` of outcomes 0 and 1.
      mass: least probability that the interval covers the frequency.
    Returns:
      (lower, upper), each (B,); (0, 1) in an empty bin.
    Raises:
      ValueError: if mass is not in (0, 1).
    Source: Clopper, Pearson (1934), Biometrika 26.

    Examples:
      >>> from likelax.calibration import bin_statistics
      >>> bins = bin_statistics(jnp.full(4, 0.5), jnp.ones(4), num_bins=1)
      >>> print([round(float(bound[0]), 4) for bound in clopper_pearson(bins)])
      [0.3976, 1.0]
    """
    check_fraction("mass", mass)
    count = bins.count
    hits = count * divide(bins.outcome_total, bins.weight, 0.0)
    misses = count - hits
    tail = (1 - mass) / 2
    lower = beta_quantile(jnp.where(hits > 0, hits, 1), misses + 1, tail)
    upper = beta_quantile(hits + 1, jnp.where(misses > 0, misses, 1), 1 - tail)
    return jnp.where(hits > 0, lower, 0), jnp.where(misses > 0, upper, 1)
