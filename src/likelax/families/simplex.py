"""What the beta, the Dirichlet and their compounds share: mean logs and maximum likelihood."""

import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.numerics import newton
from likelax.numerics.special import log_zero_power
from likelax.statistics import MeanLogs

T = TypeVar("T")


def mean_logs(logs: Array, weights: Array) -> MeanLogs:
    """Statistics of logs (..., C) with weights (...), over all leading axes."""
    logs = logs.reshape(-1, logs.shape[-1])
    weights = weights.reshape(-1)
    weight = jnp.sum(weights)
    total = numerics.weighted_sum(weights[:, None], logs, axis=0)
    return MeanLogs(weight, numerics.divide(total, weight[None], 0.0))


def log_powers(exponents: Array, logs: Array) -> Array:
    """sum_c exponents[c] logs[c], nats, in which 0 times -inf is 0, with gradients throughout."""
    finite = jnp.isfinite(logs)
    terms = jnp.where(finite, exponents * jnp.where(finite, logs, 0), log_zero_power(exponents))
    return jnp.sum(terms, axis=-1)


def latent_simplex(concentration: Array, weights: Array) -> MeanLogs:
    """Expected statistics of latent points whose posteriors are Dirichlet(concentration (..., C))."""
    total = jnp.sum(concentration, axis=-1, keepdims=True)
    return mean_logs(jax.lax.digamma(concentration) - jax.lax.digamma(total), weights)


def fit_simplex(model: T, stats: MeanLogs, names: tuple[str, ...]) -> T:
    """The model with the named fields at maximum likelihood, starting from those it has.

    It is kept where the statistics are empty or hold a zero, whose likelihood has no maximum.
    """
    fine = (stats.weight > 0) & jnp.all(jnp.isfinite(stats.mean_logs))
    # one row of weight one has the same maximum; any that has one will do for the others
    safe = MeanLogs(
        jnp.ones_like(stats.weight),
        jnp.where(fine, stats.mean_logs, -1.0 - math.log(stats.mean_logs.shape[-1])),
    )

    def objective(candidate: Any) -> Array:
        return candidate.expected_log_prob(safe)

    start = jax.tree.map(
        lambda leaf: numerics.as_float(leaf)[0].astype(safe.mean_logs.dtype), model
    )
    found = newton.climb(objective, start, names).point
    return jax.tree.map(lambda new, old: jnp.where(fine, new, old), found, start)
