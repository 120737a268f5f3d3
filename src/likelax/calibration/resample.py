"""Uncertainty of calibration errors: bins of resampled rows, and of simulated outcomes."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.calibration.binning import (
    Bins,
    bin_index,
    check_edges,
    check_probabilities,
    check_rows,
)
from likelax.numerics import matmul
from likelax.numerics.checks import check_fraction, check_key, check_size, checked
from likelax.predictive.simulation import central_interval

_ROWS = 2048  # rows drawn at a time
_MOST = 8  # a row occurs at most seven times: eight or more have probability 1e-5


def _pair_table() -> np.ndarray:
    """(65536,) codes i + 8 j: sixteen random bits become two independent Poisson(1) numbers.

    Each pair (i, j) fills its share of the table, to the nearest 1 / 65536.
    """
    single = np.exp(-1) / np.cumprod([1, 1, 2, 3, 4, 5, 6, 7])
    share = 65536 * np.outer(single, single).ravel() / single.sum() ** 2
    filled = np.floor(share).astype(int)
    short = 65536 - filled.sum()
    filled[np.argsort(filled - share)[:short]] += 1
    return np.repeat(np.arange(_MOST**2, dtype=np.uint8), filled)


_PAIRS = _pair_table()


def _words(key: Array, shape: tuple[int, int]) -> Array:
    """Random words by Threefry over a counter: three times faster on a CPU than `random.bits`."""
    seed = jax.random.bits(key, (4,), jnp.uint32)
    algorithm = jax.lax.RandomAlgorithm.RNG_THREE_FRY
    return jax.lax.rng_bit_generator(seed, shape, jnp.uint32, algorithm=algorithm)[1]


def bootstrap_bins(
    key: Array,
    confidence: ArrayLike,
    outcome: ArrayLike,
    *,
    edges: ArrayLike | None = None,
    num_bins: int = 15,
    weights: ArrayLike | None = None,
    num_resamples: int = 1000,
) -> Bins:
    """Bins of resampled data, in which each row occurs Poisson(1) times, independently.

    For an interval, map a measure over the result and take quantiles:
    `predictive.equal_tailed(jax.vmap(ece)(bins), 0.9)`. The plain ECE is biased upwards, and
    more so in resamples; prefer `debiased_ece` or `bias` for small samples.

    Args:
      key: a typed key.
      confidence, outcome, edges, num_bins, weights: as for `bin_statistics`.
      num_resamples: S.
    Returns:
      `Bins` with a leading axis S on every leaf.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, or num_bins < 1.
    Source: Chamandy et al. (2012), Estimating uncertainty for massive data streams.

    Examples:
      >>> bins = bootstrap_bins(
      ...     jax.random.key(0), jnp.full(400, 0.5), jnp.arange(400) % 2, num_resamples=200
      ... )
      >>> rate = bins.outcome_total.sum(axis=1) / bins.weight.sum(axis=1)
      >>> print(rate.shape, abs(float(rate.std()) - 0.025) < 0.005)
      (200,) True
    """
    check_key(key)
    check_size("num_resamples", num_resamples)
    equal = weights is None
    rows = check_rows(confidence, outcome, weights)
    edges = check_edges(edges, num_bins, rows[0].dtype)
    features = _features(*rows, edges, equal=equal)
    totals = _accumulate(key, _copies, rows[0], features, num_resamples)
    return _as_bins(edges, totals, equal=equal)


def consistency_bins(
    key: Array,
    confidence: ArrayLike,
    *,
    edges: ArrayLike | None = None,
    num_bins: int = 15,
    weights: ArrayLike | None = None,
    num_resamples: int = 1000,
) -> Bins:
    """Bins of outcomes drawn from the confidences, as a perfectly calibrated model would have.

    Quantiles of `accuracy` over the first axis are the consistency band of a reliability
    diagram. The fraction of measures above the real one is a p-value of calibration.

    Args:
      key: a typed key.
      confidence, edges, num_bins, weights: as for `bin_statistics`.
      num_resamples: S.
    Returns:
      `Bins` with a leading axis S on every leaf.
    Raises:
      ValueError: if the shapes differ or are not one-dimensional, or num_bins < 1.
    Source: Broecker, Smith (2007), Weather and Forecasting 22.

    Examples:
      >>> bins = consistency_bins(jax.random.key(0), jnp.full(100, 0.2), num_resamples=50)
      >>> bins.outcome_total.shape
      (50, 15)
    """
    check_key(key)
    check_size("num_resamples", num_resamples)
    equal = weights is None
    confidence, _, weights = check_rows(confidence, confidence, weights, frequencies=False)
    if confidence.shape[0] == 0:
        raise ValueError("confidence must have at least one row, got none")
    check_probabilities("confidence", confidence, weights)
    edges = check_edges(edges, num_bins, confidence.dtype)
    # a row adds (w, w c, 0, w c^2) always, and (w, w (1 - 2 c)) if its outcome is 1
    none = _features(confidence, jnp.zeros_like(confidence), weights, edges, equal=equal)
    one = _features(confidence, jnp.ones_like(confidence), weights, edges, equal=equal)
    fixed = jnp.sum(none, axis=0)[None]
    totals = fixed + _accumulate(key, _outcomes, confidence, one - none, num_resamples)
    return _as_bins(edges, totals, equal=equal)


def _copies(key: Array, confidence: Array, shape: tuple[int, int]) -> Array:
    """How often each row is drawn in each resample: Poisson counts."""
    resamples, rows = shape
    words = _words(key, (resamples, -(-rows // 4)))
    halves = jnp.stack([words & 0xFFFF, words >> 16], axis=-1)
    codes = jnp.asarray(_PAIRS)[halves.astype(jnp.int32)]
    count = jnp.stack([codes & 7, codes >> 3], axis=-1).reshape(resamples, -1)
    return count[:, :rows].astype(confidence.dtype)


def _outcomes(key: Array, confidence: Array, shape: tuple[int, int]) -> Array:
    """Outcomes with the confidences as probabilities."""
    return (jax.random.uniform(key, shape, confidence.dtype) < confidence[None]).astype(
        confidence.dtype
    )


def _features(
    confidence: Array, outcome: Array, weights: Array, edges: Array, *, equal: bool
) -> Array:
    """(N, 4 B): what each row adds to the columns of its bin; 5 B where weights may differ."""
    number = edges.shape[0] - 1
    kept = weights != 0
    confidence, outcome = jnp.where(kept, confidence, edges[0]), jnp.where(kept, outcome, 0)
    index, confidence = bin_index(confidence, edges)
    moments = [jnp.ones_like(weights), confidence, outcome, (confidence - outcome) ** 2]
    if not equal:
        moments.append(weights)
    rows = weights[:, None] * jnp.stack(moments, axis=1)
    hot = jax.nn.one_hot(index, number, dtype=rows.dtype)
    spread = jnp.where(hot[:, :, None] > 0, rows[:, None, :], 0)
    return spread.reshape(rows.shape[0], -1)


def _as_bins(edges: Array, totals: Array, *, equal: bool) -> Bins:
    """`Bins` with a leading axis S from (S, 4 B) or (S, 5 B) totals."""
    resamples, bins = totals.shape[0], edges.shape[0] - 1
    weight, *sums = jnp.moveaxis(totals.reshape(resamples, bins, -1), -1, 0)
    squared = weight if equal else sums.pop()
    return Bins(jnp.broadcast_to(edges, (resamples, *edges.shape)), weight, squared, *sums)


@partial(jax.jit, static_argnums=(1, 4))
def _accumulate(
    key: Array,
    draw: Callable[[Array, Array, tuple[int, int]], Array],
    confidence: Array,
    features: Array,
    num_resamples: int,
) -> Array:
    """sum_n multiplier[s, n] features[n], with the multipliers drawn a block of rows at a time."""
    size = features.shape[0]
    blocks = max(1, -(-size // _ROWS))
    pad = blocks * _ROWS - size if blocks > 1 else 0
    rows = size if blocks == 1 else _ROWS
    features = jnp.pad(features, ((0, pad), (0, 0))).reshape(blocks, rows, -1)
    confidence = jnp.pad(confidence, (0, pad)).reshape(blocks, rows)

    def add(total: Array, part: tuple[Array, Array, Array]) -> tuple[Array, None]:
        key, c, f = part
        weights = draw(key, c, (num_resamples, rows))
        return total + matmul(weights, f), None

    start = jnp.zeros((num_resamples, features.shape[-1]), features.dtype)
    return jax.lax.scan(add, start, (jax.random.split(key, blocks), confidence, features))[0]


@checked()
def consistency_band(
    key: Array,
    confidence: ArrayLike,
    *,
    mass: float = 0.95,
    edges: ArrayLike | None = None,
    num_bins: int = 15,
    weights: ArrayLike | None = None,
    num_resamples: int = 1000,
) -> tuple[Array, Array]:
    """Bounds of each bin's accuracy if the model is calibrated: the band around the diagonal.

    Args:
      key: a typed key.
      confidence, edges, num_bins, weights, num_resamples: as for `consistency_bins`.
      mass: probability that the accuracy of one bin lies in its bounds.
    Returns:
      (lower, upper), each (B,); NaN in an empty bin.
    Raises:
      ValueError: if the shapes differ, num_bins < 1, or mass is not in (0, 1).
    Source: Broecker, Smith (2007), Weather and Forecasting 22.

    Examples:
      >>> lower, upper = consistency_band(jax.random.key(0), jnp.full(100, 0.5), num_bins=1)
      >>> print(0.35 < float(lower[0]) < 0.45, 0.55 < float(upper[0]) < 0.65)
      True True
    """
    check_fraction("mass", mass)
    drawn = consistency_bins(
        key, confidence, edges=edges, num_bins=num_bins, weights=weights,
        num_resamples=num_resamples,
    )  # fmt: skip
    return central_interval(drawn.accuracy, mass)
