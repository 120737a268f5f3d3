"""Importance weights of guides with respect to the posterior, and guides fitted by them."""

from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax import monte_carlo
from likelax.numerics import logsumexp
from likelax.numerics.checks import checked
from likelax.variational.estimators import Guide, LogJoint, density

G = TypeVar("G", bound=Guide)

# Roundings of log p and log q, and nats, by which weights may differ that are equal without rounding.
ROUNDINGS, NEARLY_EQUAL = 16, 0.01


class Weighted(NamedTuple):
    """Draws of a guide and their smoothed importance weights with respect to the posterior.

    Attributes:
      draws: a pytree with a leading axis S.
      log_weights: (S,) normalised, nats.
      k_hat: scalar, the Pareto k-hat of the weights; -inf where they are equal but for rounding.
      log_evidence: `Estimate` of log p(x), nats: the log of the mean weight, not smoothed. Its expected
        value is below log p(x), and its standard error is too small where k-hat is above 0.7.
    """

    draws: Any
    log_weights: Array
    k_hat: Array
    log_evidence: monte_carlo.Estimate


@checked()
def importance(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Weighted:
    """Draws of the guide with Pareto smoothed importance weights for the posterior.

    Use them as `monte_carlo.weighted(w.log_weights, jax.vmap(f)(w.draws))`.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`.
      num_samples: S.
    Returns:
      `Weighted`, with leaves (S, ...).
    Source: Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work?

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)
      >>> w = importance(jax.random.key(0), lambda z: -jnp.sum(z**2) / 2, guide, 100)
      >>> bool(jnp.allclose(w.log_weights, -jnp.log(100.0)))
      True
      >>> print(f"{w.log_evidence.value:.4f}")  # log(2 pi) / 2
      0.9189
    """
    log_target, base, finish = density(log_joint, guide)
    draws, log_p, log_q = _weighted_draws(key, log_target, base, num_samples)
    smoothed = monte_carlo.psis(log_p - log_q)
    k_hat = beyond_rounding(smoothed.k_hat, log_p, log_q)
    return Weighted(
        jax.vmap(finish)(draws), smoothed.log_weights, k_hat, log_mean_weight(log_p - log_q)
    )


def beyond_rounding(k_hat: Array, log_p: Array, log_q: Array) -> Array:
    """k-hat of the weights p / q, or -inf where they are equal but for rounding: psis finds no tail among ties.

    Args:
      k_hat: what psis found.
      log_p, log_q: (S,) nats. Where they are so large that little is left of their difference, k-hat stays.
    """
    terms = log_p - log_q
    most = jnp.minimum(ROUNDINGS * rounding_of(log_p, log_q), NEARLY_EQUAL)
    return jnp.where(jnp.max(terms) - jnp.min(terms) <= most, -jnp.inf, k_hat)


def rounding_of(log_p: Array, log_q: Array) -> Array:
    """One rounding of log p and log q of the size that they have on average, nats."""
    eps = jnp.finfo((log_p - log_q).dtype).eps
    return eps * (jnp.mean(jnp.abs(log_p)) + jnp.mean(jnp.abs(log_q)))


def log_mean_weight(log_weights: Array) -> monte_carlo.Estimate:
    """log E[w] from S log weights (S,), nats, with its standard error by the delta method."""
    num, dtype = log_weights.shape[0], log_weights.dtype
    total = logsumexp(log_weights)
    ratio = num * jnp.exp(log_weights - total)  # weights over their mean
    error = jnp.sqrt(jnp.mean((ratio - 1) ** 2) / (num - 1))
    value = total - jnp.log(jnp.asarray(num, dtype))
    ess = num / jnp.mean(ratio**2)
    return monte_carlo.Estimate(value, error, ess, jnp.asarray(num))


@checked()
def match_moments(
    key: Array, log_joint: LogJoint, guide: G, num_samples: int, *, num_rounds: int = 3
) -> G:
    """The guide with the mean and covariance of its own weighted draws, in several rounds.

    A guide that maximises an ELBO may have too small a covariance or too short tails. The weights
    show that, and a few rounds correct it and lower k-hat.

    Args:
      key, log_joint: as for `importance`.
      guide: from `mean_field`, `full_rank` or `with_tails`, fitted.
      num_samples: S draws in each round, many times the number of parameters.
      num_rounds: at least 1.
    Returns:
      A guide of the same type. A round without a finite covariance leaves the guide as it is.
    Raises:
      TypeError: a guide of another kind.
      ValueError: num_samples below 2, or num_rounds below 1.
    Source: Cappe, Douc, Guillin, Marin and Robert (2008), Adaptive importance sampling in general
      mixture classes; Paananen, Piironen, Buerkner and Vehtari (2021), Implicitly adaptive
      importance sampling.

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.5)
      >>> better = match_moments(jax.random.key(0), lambda z: -jnp.sum(z**2) / 2, guide, 4000)
      >>> bool(abs(better.base.scale[0] - 1) < 0.05)
      True
    """
    monte_carlo.check_num_samples(num_samples, least=2)
    monte_carlo.check_num_samples(num_rounds)
    if not hasattr(getattr(guide, "base", None), "with_moments"):
        raise TypeError(
            "match_moments wants a guide from mean_field, full_rank or with_tails, got "
            f"{type(guide).__name__}."
        )
    return _match_moments(key, log_joint, guide, num_samples, num_rounds)


@partial(jax.jit, static_argnames=("log_joint", "num_samples", "num_rounds"))
def _match_moments(
    key: Array, log_joint: LogJoint, guide: Any, num_samples: int, num_rounds: int
) -> Any:
    log_target, start, _ = density(log_joint, guide)

    def one_round(state: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], None]:
        base, later = state
        now, later = jax.random.split(later)
        draws, log_p, log_q = _weighted_draws(now, log_target, base, num_samples)
        shares = jnp.exp(monte_carlo.psis(log_p - log_q).log_weights)
        loc = jnp.sum(shares[:, None] * draws, axis=0)
        centred = draws - loc[None]
        moved = base.with_moments(loc, (shares[:, None] * centred).T @ centred)
        leaves = jax.tree.leaves(moved)
        usable = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        return (jax.tree.map(partial(jnp.where, usable), moved, base), later), None

    (base, _), _ = jax.lax.scan(one_round, (start, key), None, length=num_rounds)
    return type(guide)(base, guide.space)


def _weighted_draws(
    key: Array, log_target: LogJoint, base: Any, num_samples: int
) -> tuple[Array, Array, Array]:
    """(draws (S, D), their log_target, their log density (S,), nats)."""
    draws = base.sample(key, (num_samples,))
    return draws, jax.vmap(log_target)(draws), jax.vmap(base.log_prob)(draws)
