"""Sequential Monte Carlo: draws from a posterior and its evidence, by tempering from the prior."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from likelax.monte_carlo.resampling import resample
from likelax.numerics import cholesky, log_normalize, logsumexp, named_floats
from likelax.numerics.checks import (
    check_fraction,
    check_function,
    check_key,
    check_size,
    check_values,
)

_HALVINGS = 40  # of the interval of temperatures


class Tempered(NamedTuple):
    """Draws of equal weight from a posterior, and its evidence.

    Attributes:
      draws: a pytree with leaves (S, ...).
      log_evidence: scalar, the estimate of log p(x), nats.
      temperatures: (max_steps,) of each step, from above 0 to 1; NaN after the last step. If none is 1,
        the steps were too few and the draws are from a flattened posterior.
      acceptance: (max_steps,) share of the moves of each step that were accepted; NaN after the last.
        Below some 0.05 the draws of that step hardly moved apart.
      num_steps: scalar integer.
    """

    draws: Any
    log_evidence: Array
    temperatures: Array
    acceptance: Array
    num_steps: Array


class _State(NamedTuple):
    flat: Array  # (S, D)
    log_prior: Array  # (S,)
    log_lik: Array  # (S,)
    log_evidence: Array
    temperatures: Array
    acceptance: Array
    step: Array
    temperature: Array


def tempered_draws(
    key: Array,
    sample: Callable[[Array, tuple[int, ...]], Any],
    log_prior: Callable[[Any], Array],
    log_lik: Callable[[Any], Array],
    num_samples: int,
    *,
    ess_fraction: float = 0.5,
    num_moves: int = 5,
    max_steps: int = 100,
    temperatures: ArrayLike | None = None,
) -> Tempered:
    """Sequential Monte Carlo from the prior to the posterior, through prior(theta) likelihood(theta)^t.

    Each step raises the temperature t until the effective number of the weights likelihood^(t' - t) falls to
    a fraction, resamples by them, and moves each draw by random walk Metropolis steps with the covariance
    of the draws. The evidence is the product of the mean weights.

    Args:
      key: a typed key.
      sample: (key, shape) -> draws from the prior with leading axes `shape`, such as `prior.sample`; real
        arrays, or a pytree of such. At least as many draws as numbers in one, and better a hundred times that.
      log_prior: one draw -> log density of the prior, nats; it must be normalised for the evidence.
        -inf outside of its support, which moves do not leave.
      log_lik: one draw -> log p(x | draw), nats; -inf where x is impossible.
      num_samples: S, at least 2.
      ess_fraction: in (0, 1), of S, that the weights of a step keep.
      num_moves: Metropolis steps after each resampling.
      max_steps: most temperatures.
      temperatures: (K,) ascending to 1, to be used instead of those chosen. The evidence itself, not its
        logarithm, is then without bias; chosen ones have a bias of the order of 1 / S.
    Returns:
      `Tempered`, with K in place of max_steps where temperatures are given.
    Raises:
      ValueError: if a number is out of range, or temperatures do not ascend to 1.
    Float32: the temperatures are right to 1e-6; the draws have the error of Monte Carlo.
    Source: Del Moral, Doucet, Jasra (2006), JRSS B 68; Chopin, Papaspiliopoulos (2020), An Introduction
      to Sequential Monte Carlo, chapter 17.

    Examples:
      >>> from likelax import Gamma, Poisson
      >>> prior, x = Gamma(2.0, 1.0), jnp.array([3.0, 1.0, 2.0])
      >>> log_lik = lambda rate: jnp.sum(Poisson(rate).log_prob(x))
      >>> result = tempered_draws(jax.random.key(0), prior.sample, prior.log_prob, log_lik, 2000)
      >>> exact = prior.log_evidence(Poisson(1.0).e_step(x)[0])
      >>> bool(abs(result.log_evidence - exact) < 0.1)
      True
    """
    check_key(key)
    for name, f in (("sample", sample), ("log_prior", log_prior), ("log_lik", log_lik)):
        check_function(name, f)
    check_size("num_samples", num_samples, 2)
    check_fraction("ess_fraction", ess_fraction)
    check_size("num_moves", num_moves, 0)
    check_size("max_steps", max_steps)
    first, rest = jax.random.split(key)
    draws = sample(first, (num_samples,))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], draws))[1]
    flat = jax.vmap(lambda draw: ravel_pytree(draw)[0])(draws)
    schedule = None
    if temperatures is not None:
        schedule = _schedule(temperatures).astype(flat.dtype)
        max_steps = len(schedule)

    def densities(flat: Array) -> tuple[Array, Array]:
        return jax.vmap(lambda v: (log_prior(unravel(v)), log_lik(unravel(v))))(flat)

    def advance(state: _State) -> _State:
        lik, before = state.log_lik, state.temperature
        if schedule is None:
            after = _next_temperature(lik, before, ess_fraction * num_samples)
        else:
            after = schedule[state.step]
        log_weights = jnp.where(lik == -jnp.inf, lik, (after - before) * lik)
        gain = logsumexp(log_weights) - math.log(num_samples)
        select, move = jax.random.split(jax.random.fold_in(rest, state.step))
        tril = _spread(state.flat, log_weights)
        kept = resample(select, log_weights, num_samples)
        start = (state.flat[kept], state.log_prior[kept], lik[kept])

        def metropolis(current: Any, number: Array) -> tuple[Any, Array]:
            at, prior, lik = current
            jump, decide = jax.random.split(jax.random.fold_in(move, number))
            noise = jax.random.normal(jump, at.shape, at.dtype)
            new = at + noise @ tril.T
            new_prior, new_lik = densities(new)
            log_ratio = new_prior - prior + after * (new_lik - lik)
            # a NaN is refused
            accept = jnp.log(jax.random.uniform(decide, prior.shape, at.dtype)) < log_ratio
            moved = (jnp.where(accept[:, None], new, at), jnp.where(accept, new_prior, prior),
                     jnp.where(accept, new_lik, lik))  # fmt: skip
            return moved, jnp.mean(accept.astype(at.dtype))

        (flat, prior, lik), accepted = jax.lax.scan(metropolis, start, jnp.arange(num_moves))
        return _State(
            flat,
            prior,
            lik,
            state.log_evidence + gain,
            state.temperatures.at[state.step].set(after),
            state.acceptance.at[state.step].set(jnp.mean(accepted)),
            state.step + 1,
            after,
        )

    empty = jnp.full(max_steps, jnp.nan, flat.dtype)
    zero = jnp.zeros((), flat.dtype)
    start = _State(flat, *densities(flat), zero, empty, empty, jnp.zeros((), jnp.int32), zero)
    end = jax.lax.while_loop(
        lambda state: (state.temperature < 1) & (state.step < max_steps), advance, start
    )
    draws = jax.vmap(unravel)(end.flat)
    return Tempered(draws, end.log_evidence, end.temperatures, end.acceptance, end.step)


def _schedule(temperatures: ArrayLike) -> Array:
    (values,) = named_floats(temperatures=temperatures)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"temperatures must have shape (K,) with K >= 1, got {values.shape}")
    steps = jnp.diff(values, prepend=jnp.zeros(1, values.dtype))
    check_values("steps of temperatures", steps, lambda v: v > 0, "positive from 0 on")
    check_values("last of temperatures", values[-1], lambda v: v == 1, "1")
    return values


def _next_temperature(log_lik: Array, before: Array, least: float) -> Array:
    """The highest temperature at which the weights are worth `least` draws, by bisection."""

    def enough(after: Array) -> Array:
        log_weights = jnp.where(log_lik == -jnp.inf, log_lik, (after - before) * log_lik)
        return 2 * logsumexp(log_weights) - logsumexp(2 * log_weights) >= math.log(least)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        fine = enough(middle)
        return jnp.where(fine, middle, low), jnp.where(fine, high, middle)

    one = jnp.ones_like(before)
    # the upper end, so that every step goes on
    _, high = jax.lax.fori_loop(0, _HALVINGS, halve, (before, one))
    return jnp.where(enough(one), one, high)


def _spread(flat: Array, log_weights: Array) -> Array:
    """Cholesky factor of the best jumps of a random walk: the covariance times 2.38^2 / D."""
    shares = jnp.exp(log_normalize(log_weights)[0])
    gap = flat - (shares @ flat)[None]
    covariance = (shares[:, None] * gap).T @ gap
    return 2.38 / math.sqrt(flat.shape[1]) * cholesky(covariance)
