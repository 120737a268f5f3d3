"""Draws of equal weight from weighted ones."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import log_normalize, named_floats
from likelax.numerics.checks import check_key, check_size, check_values


def resample(key: Array, log_weights: ArrayLike, num_samples: int) -> Array:
    """Systematic resampling: which weighted draws to keep, and how often.

    Draw s is kept floor(n w[s]) or ceil(n w[s]) times, n w[s] on average, with n = num_samples.

    Args:
      key: a typed key.
      log_weights: (S,) nats, not necessarily normalised; those of `psis` or `variational.importance`.
      num_samples: n, the number of draws of equal weight.
    Returns:
      (n,) integers in 0..S-1, ascending: `jax.tree.map(lambda leaf: leaf[kept], draws)` are the
      draws. If no weight is positive, S - 1 everywhere.
    Raises:
      ValueError: if log_weights is not (S,), holds NaN or inf, or num_samples < 1.
    Source: Douc, Cappe, Moulines (2005), Comparison of resampling schemes for particle filtering.

    Examples:
      >>> print(resample(jax.random.key(0), jnp.log(jnp.array([0.5, 0.0, 0.25, 0.25])), 4))
      [0 0 2 3]
    """
    check_key(key)
    check_size("num_samples", num_samples)
    (log_weights,) = named_floats(log_weights=log_weights)
    if log_weights.ndim != 1 or 0 in log_weights.shape:
        raise ValueError(f"log_weights must have shape (S,) with S >= 1, got {log_weights.shape}")
    check_values("log_weights", log_weights, lambda v: v < jnp.inf, "below infinity, and not NaN")
    shares = jnp.exp(log_normalize(log_weights)[0])
    reached = jnp.cumsum(shares)
    # the last draw with weight reaches one exactly, whatever the rounding
    last = shares.shape[0] - 1 - jnp.argmax(shares[::-1] > 0)
    reached = jnp.where(jnp.arange(shares.shape[0]) >= last, 1, reached)
    steps = jnp.arange(num_samples, dtype=shares.dtype)
    places = (steps + jax.random.uniform(key, (), shares.dtype)) / num_samples
    return jnp.searchsorted(reached, places, side="right").clip(max=last)
