"""Functions shared by the gamma family and its compounds: density, expectation, maximum likelihood."""

from typing import TypeVar

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics import newton
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_binomial_term,
    log_gamma_ratio,
    log_minus_digamma,
    log_ratio,
)
from likelax.statistics import EventCounts, PositiveMoments, positive_moments

T = TypeVar("T")


def log_gamma_density(v: Array, concentration: Array, rate: Array) -> Array:
    """Log density of a gamma at v > 0, nats; terms of the size of the concentration do not cancel."""
    v, a, b = numerics.as_float(v, concentration, rate)
    return jnp.log(a) - jnp.log(v) - factorial_excess(a) - deviance(a, b * v)


def expected_log_gamma(stats: PositiveMoments, concentration: Array, rate: Array) -> Array:
    """sum_n w_n log Gamma(v_n | concentration, rate) from statistics, nats."""
    a, b, mean = numerics.as_float(concentration, rate, stats.mean)
    safe = jnp.where(stats.weight > 0, mean, 1)
    return stats.weight * log_gamma_density(safe, a, b) - (a - 1) * stats.deviance


def fit_gamma(stats: PositiveMoments, concentration: Array, rate: Array) -> tuple[Array, Array]:
    """(concentration, rate) of maximum likelihood; the given ones if the statistics are empty."""
    concentration, rate = numerics.as_float(concentration, rate)
    seen = stats.weight != 0  # NaN counts: it makes the fit NaN
    shape = newton.solve_shape(numerics.divide(stats.deviance, stats.weight, 1.0)).point
    mean = jnp.where(seen, stats.mean, 1)
    return jnp.where(seen, shape, concentration), jnp.where(seen, shape / mean, rate)


def latent_gamma(concentration: Array, rate: Array, weights: Array) -> PositiveMoments:
    """Expected statistics of latent rates whose posteriors are Gamma(concentration, rate).

    Args:
      concentration, rate, weights: (...), one posterior for each observation.
    """
    a, b, weights = numerics.as_float(concentration, rate, weights)
    a, b = jnp.broadcast_to(a, weights.shape), jnp.broadcast_to(b, weights.shape)
    stats = positive_moments(a / b, weights)
    spread = numerics.weighted_sum(weights, log_minus_digamma(a))
    return PositiveMoments(stats.weight, stats.mean, stats.deviance + spread)


def gamma_evidence(stats: EventCounts, concentration: Array, rate: Array) -> Array:
    """log of the integral of v^events exp(-v exposure) h under Gamma(v | concentration, rate)."""
    a, b, events, exposure = numerics.as_float(concentration, rate, stats.events, stats.exposure)
    bare = exposure == 0
    share = jnp.where(bare, 1, exposure)
    # the probability that so many events have under the gamma, and at their own rate
    term = log_binomial_term(events, a, share / (b + share), b / (b + share))
    usual = term - jnp.log1p(events / a) + factorial_excess(events)
    # without exposure the likelihood is a bare power, kept at v = 1
    alone = log_gamma_ratio(a, jnp.where(bare, events, 0)) - events * jnp.log(b)
    return jnp.where(bare, alone, usual) + stats.log_peak


def kl_gamma(
    concentration: ArrayLike, rate: ArrayLike, concentration0: ArrayLike, rate0: ArrayLike
) -> Array:
    """KL(Gamma(concentration, rate) || Gamma(concentration0, rate0)), nats; broadcasts.

    Examples:
      >>> print(f"{kl_gamma(2.0, 1.0, 1.0, 1.0):.4f}")
      0.4228
    """
    a, b, a0, b0 = numerics.as_float(concentration, rate, concentration0, rate0)
    # of the means, and of two gammas of one mean: nothing of the size of a log a cancels
    shapes = factorial_excess(a0) - factorial_excess(a) + log_ratio(a, a0)
    return deviance(a0, a * (b0 / b)) + shapes - (a - a0) * log_minus_digamma(a)


def gamma_entropy(concentration: ArrayLike) -> Array:
    """Entropy of a gamma of rate 1, nats, without terms that cancel.

    Examples:
      >>> print(gamma_entropy(1.0))
      1.0
    """
    (a,) = numerics.as_float(concentration)
    return factorial_excess(a) + (a - 1) * log_minus_digamma(a)
