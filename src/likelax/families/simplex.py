"""Functions shared by the beta, the Dirichlet and their compounds: statistics, maximum likelihood."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_minus_digamma,
    log_ratio,
    log_zero_power,
    trigamma,
)
from likelax.statistics import PositiveMoments, positive_rows


def simplex_moments(values: Array, weights: Array) -> PositiveMoments:
    """Statistics of points of a simplex (..., C) with weights (...), over all leading axes."""
    return positive_rows(values.reshape(-1, values.shape[-1]), weights.reshape(-1))


def check_simplex(probs: Array) -> Array:
    """The probabilities (..., C), or NaN where their sum differs from one by more than 1e-3.

    The slack admits rounded input and the steps of numerical derivatives.
    """
    off = jnp.abs(jnp.sum(probs, axis=-1, keepdims=True) - 1) > 1e-3
    return jnp.where(off, jnp.nan, probs)


def latent_simplex(concentration: Array, weights: Array) -> PositiveMoments:
    """Expected statistics of latent points whose posteriors are Dirichlet(concentration (..., C))."""
    total = jnp.sum(concentration, axis=-1, keepdims=True)
    stats = simplex_moments(concentration / total, weights)
    # log of the mean less the mean log, of each posterior
    return add_lack(stats, log_minus_digamma(concentration) - log_minus_digamma(total), weights)


def nearest_concentration(concentration: Array, start: Array) -> Array:
    """The concentration (C,) of the Dirichlet p with the least sum of KL(q || p) over q of (G, C)."""
    stats = latent_simplex(concentration, jnp.ones_like(concentration[..., 0]))
    return fit_simplex(stats, start)


def add_lack(stats: PositiveMoments, lack: Array, weights: Array) -> PositiveMoments:
    """Statistics of latent points from those of their means.

    Args:
      stats: of the means.
      lack: (..., C) log of the mean less the mean log, of each point.
      weights: (...).
    """
    flat = lack.reshape(-1, lack.shape[-1])
    more = numerics.weighted_sum(weights.reshape(-1, 1), flat, axis=0)
    return PositiveMoments(stats.weight, stats.mean, stats.deviance + more)


def masked_total(values: Array, observed: Array) -> Array:
    """Sum (..., 1) of the entries seen."""
    return jnp.sum(jnp.where(observed, values, 0), axis=-1, keepdims=True)


def unseen_lack(concentration: Array, observed: Array) -> Array:
    """log of the mean less the mean log of each share of what was not seen, (..., C); 0 where seen.

    The shares of the unseen part of a Dirichlet are a Dirichlet of their own.
    """
    a = jnp.broadcast_to(concentration, observed.shape)
    total = masked_total(a, ~observed)
    lack = log_minus_digamma(a) - log_minus_digamma(jnp.where(total > 0, total, 1))
    return jnp.where(observed, 0, lack)


def log_density(v: Array, concentration: Array, present: Array | None = None) -> Array:
    """Log density of a Dirichlet at v (..., C) with a sum of one, nats; on an edge its limit there.

    present: (..., C) False at entries that the distribution does not have; None: it has all.

    Terms of the size of the concentration do not cancel. The derivative with respect to v where
    v[c] is 0 is that from inside the simplex, where it is finite.
    """
    a = jnp.broadcast_to(concentration, v.shape)
    a = a if present is None else jnp.where(present, a, 0)
    total = jnp.sum(a, axis=-1)
    a = a if present is None else jnp.where(present, a, 1)
    interior = v > 0
    safe = jnp.where(interior, v, 1)
    # at an edge the factor is a bare power of zero, and the rest has no entry for it
    terms = jnp.log(a) - jnp.log(safe) - factorial_excess(a) - deviance(a, total[..., None] * safe)
    edges = log_zero_power(a - 1) + jnp.log(a) - factorial_excess(a) - numerics.xlogy(a, a) + a
    edges = edges + a * jnp.log(total)[..., None]
    # v is zero here, and its derivative that of the interior
    edges = edges - jnp.where(a == 1, total[..., None] * jnp.where(interior, 0, v), 0)
    constant = factorial_excess(total) - jnp.log(total)
    each = jnp.where(interior, terms, edges)
    return jnp.sum(each if present is None else jnp.where(present, each, 0), axis=-1) + constant


def expected_log_density(stats: PositiveMoments, concentration: Array) -> Array:
    """sum_n w_n log Dirichlet(v_n | concentration) from statistics, nats."""
    (a,) = numerics.as_float(concentration)
    seen = stats.weight > 0
    mean = jnp.where(seen, stats.mean, 1 / a.shape[-1])
    none = (a == 1) | (mean == 0)
    lost = jnp.where(none, 0, (a - 1) * jnp.where(none, 0, stats.deviance))
    weight = jnp.where(seen, stats.weight, 1)
    value = weight * log_density(mean, a) - jnp.sum(lost, axis=-1)
    return jnp.where(seen, value, 0)


def fit_simplex(stats: PositiveMoments, concentration: Array) -> Array:
    """The concentration (C,) of maximum likelihood, or the given one if the statistics are empty.

    All inf if the data are all equal, NaN if one of them is zero: then the likelihood has no
    maximum. In float32 it is right to 1e-4 of itself from 1e-2 to 1e9.
    """
    (old,) = numerics.as_float(concentration)
    seen = stats.weight != 0  # NaN counts: it makes the fit NaN
    mean = jnp.where(seen, stats.mean, 1 / old.shape[-1])
    lack = numerics.divide(stats.deviance, stats.weight[None], 1.0)
    holds_zero = ~jnp.all(jnp.isfinite(lack) & (mean > 0))
    alike = jnp.all(lack <= 0)
    usual = seen & ~holds_zero & ~alike
    share = jnp.where(usual, mean, 1 / old.shape[-1])
    found = _solve(share, jnp.where(usual, lack, 1.0))
    found = jnp.where(alike, jnp.inf, found)
    return jnp.where(seen, jnp.where(holds_zero, jnp.nan, found), old)


@jax.custom_jvp
def _solve(mean: Array, lack: Array) -> Array:
    """The a (C,) with digamma(a[c]) - digamma(sum a) = log mean[c] - lack[c], for means that sum to one.

    For a given sum s every a[c] follows; s is found by halving a bracket of log s.
    """
    limits = jnp.finfo(mean.dtype)
    low, high = jnp.log(limits.tiny) / 2, jnp.log(limits.max) - 1

    def entries(log_total: Array) -> tuple[Array, Array]:
        total = jnp.exp(log_total)
        target = log_total + jnp.log(mean) - log_minus_digamma(total) - lack
        return jnp.exp(_log_inverse_digamma(target)), total

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        a, total = entries(middle)
        # sum a / s - 1, which would cancel for large s
        shift = log_minus_digamma(a) - log_minus_digamma(total) - lack
        excess = jnp.where(total < 1, jnp.sum(a) / total - 1, jnp.sum(mean * jnp.expm1(shift)))
        return jnp.where(excess > 0, middle, low), jnp.where(excess > 0, high, middle)

    bracket = (low.astype(mean.dtype), high.astype(mean.dtype))
    low, high = jax.lax.fori_loop(0, 60, halve, bracket)
    return entries((low + high) / 2)[0]


@_solve.defjvp
def _solve_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    mean, lack = primals
    a = _solve(mean, lack)
    logs = tangents[0] / mean - tangents[1]
    # (diag q - z) da = change of the mean logs, by Sherman and Morrison
    part, z = 1 / trigamma(a), trigamma(jnp.sum(a))
    rest = z * jnp.sum(part * logs) / (1 - z * jnp.sum(part))
    return a, part * (logs + rest)


def _log_inverse_digamma(target: Array) -> Array:
    """log a with digamma(a) = target, by Newton steps in log a."""
    near = jnp.log(jnp.exp(jnp.minimum(target, 40)) + 0.5)
    start = jnp.where(target > 40, target, near)
    # -1 / (target + 0.577) solves it for small a
    start = jnp.where(target < -2.2, -jnp.log(jnp.where(target < -2.2, -target - 0.577, 1)), start)

    def step(_: int, y: Array) -> Array:
        a = jnp.exp(y)
        return y - (y - log_minus_digamma(a) - target) / (a * trigamma(a))

    return jax.lax.fori_loop(0, 5, step, start)


def simplex_entropy(concentration: ArrayLike) -> Array:
    """Entropy of a Dirichlet over the last axis (..., C), nats, without terms that cancel.

    Examples:
      >>> print(f"{simplex_entropy(jnp.full(2, 2.0)):.4f}")
      -0.1251
    """
    (a,) = numerics.as_float(concentration)
    num_values, total = a.shape[-1], jnp.sum(a, axis=-1)
    each = factorial_excess(a) + (a - 1) * log_minus_digamma(a)
    whole = factorial_excess(total) + (total - num_values) * log_minus_digamma(total)
    return jnp.sum(each, axis=-1) - whole - (num_values - 1) * jnp.log(total)


def simplex_divergence(concentration: ArrayLike, concentration0: ArrayLike) -> Array:
    """KL of two Dirichlet distributions over the last axis (..., C), nats, without such terms.

    Examples:
      >>> print(f"{simplex_divergence(jnp.array([2.0, 1.0]), jnp.ones(2)):.4f}")
      0.1931
    """
    a, a0 = numerics.as_float(concentration, concentration0)
    total, total0 = jnp.sum(a, axis=-1), jnp.sum(a0, axis=-1)
    # of the means, and of the spread about them
    means = jnp.sum(deviance(a0, total0[..., None] * (a / total[..., None])), axis=-1)
    # parts and totals together: a call of a special function is a long program
    a, a0 = jnp.broadcast_arrays(a, a0)
    totals = jnp.sum(a, axis=-1, keepdims=True), jnp.sum(a0, axis=-1, keepdims=True)
    v, v0 = (jnp.concatenate(part, axis=-1) for part in zip((a, a0), totals, strict=True))
    excess = factorial_excess(jnp.stack([v0, v]))
    each = excess[0] - excess[1] + log_ratio(v, v0) - (v - v0) * log_minus_digamma(v)
    return means + jnp.sum(each[..., :-1], axis=-1) - each[..., -1]
