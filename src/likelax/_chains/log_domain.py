"""The recursions in the log domain: right for any potentials, and the smallest programs.

One scan goes forward over the filter, one goes back over the smoother. The first step is not taken
apart from the others, so that XLA compiles each body once.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from likelax._chains.best_path import in_order
from likelax._chains.chain import (
    Chain,
    Filter,
    Posterior,
    active,
    centred,
    ends,
    finite,
    first,
    fixed,
    last,
    moves_in,
    moves_out,
)
from likelax.numerics import Compensated, add_compensated

best_path = in_order


def _sum_of_exp(scores: Array, axis: int) -> tuple[Array, Array, Array]:
    """(log of the sum, exp(scores - peak), peak), with the fewest operations for a scan's body."""
    peak = lax.stop_gradient(jnp.max(scores, axis=axis))
    shares = jnp.exp(scores - jnp.expand_dims(finite(peak), axis))
    # the sum is at least 1 unless every term is zero, and then the peak makes the result -inf
    return jnp.log(jnp.maximum(jnp.sum(shares, axis=axis), 0.5)) + peak, shares, peak


def _log_sum(scores: Array, axis: int) -> Array:
    return _sum_of_exp(scores, axis)[0]


def _each(c: Chain, moves: Callable[[Chain], Array]) -> Array | None:
    """(T, K, K) transitions into the steps, or out of them; None where one serves every step."""
    return None if fixed(c) else moves(c)


def filtered(c: Chain) -> Filter:
    """Forward posteriors, all out of one loop, which is one kernel where the states are few."""
    counts = None if c.length is None else active(c)

    def step(carry: tuple[Array, Compensated], here: tuple[Any, ...]) -> tuple[Any, Any]:
        message, whole = carry
        log_lik, start, move, count = here
        if start is not None:
            message = jnp.where(start, c.log_initial, message)
        # what all states have in common would take digits
        peak = finite(lax.stop_gradient(jnp.max(log_lik)))
        joint = message + (log_lik - peak)
        increment = _log_sum(joint, 0)
        joint = joint - finite(increment)
        increment = increment + peak
        whole = add_compensated(
            whole, increment if count is None else jnp.where(count, increment, 0)
        )
        move = c.log_transition if move is None else move
        return (_log_sum(joint[:, None] + move, 0), whole), (message, joint, increment)

    zero = jnp.zeros((), c.log_lik.dtype)
    every = (c.log_lik, c.starts, _each(c, moves_out), counts)
    begin = c.log_initial, Compensated(zero, zero)
    (_, whole), (predicted, filtered, increment) = lax.scan(step, begin, every)
    return Filter(predicted, filtered, increment, whole.total + whole.error)


def log_prob(c: Chain) -> Array:
    """Scalar, nats: log p(x)."""
    return filtered(c).log_prob


def _smooth(c: Chain, run: Filter, keep: Callable[[Array, Array], Any]) -> tuple[Any, Array]:
    """(what is kept of each step, (K, K) summed transition counts), from the last step to the first.

    log p(z_t = i, z_t+1 = j | x) = filtered[t, i] + transition[i, j] - predicted[t+1, j]
                                    + log p(z_t+1 = j | x)

    Args:
      c: the chain.
      run: its forward recursion.
      keep: (log marginals (K,) of a step, (K, K) log posterior of the step before and this one)
        -> what to keep.
    Source: Kim (1994), J. Econometrics 60, 1-22, in the log domain.
    """
    end = ends(c)
    before = jnp.concatenate([jnp.full_like(run.filtered[:1], -jnp.inf), run.filtered[:-1]])
    if end is not None:
        before = jnp.where((active(c) & ~first(c))[:, None], before, -jnp.inf)

    def step(carry: tuple[Array, Compensated], here: tuple[Any, ...]) -> tuple[Any, Any]:
        marginals, counts = carry
        before, filtered, predicted, end, move = here
        if end is not None:
            marginals = jnp.where(end, filtered, marginals)
        # rounding would make the sum of the marginals drift over many steps
        marginals = marginals - finite(_log_sum(marginals, 0))
        move = c.log_transition if move is None else move
        scores = before[:, None] + move + (marginals - finite(predicted))[None]
        earlier, shares, peak = _sum_of_exp(scores, 1)
        counts = add_compensated(counts, shares * jnp.exp(peak)[:, None])
        return (earlier, counts), keep(marginals, scores)

    zero = jnp.zeros((c.log_initial.size, c.log_initial.size), c.log_lik.dtype)
    every = (before, run.filtered, run.predicted, end, _each(c, moves_in))
    begin = (run.filtered[-1], Compensated(zero, zero))
    (_, counts), kept = lax.scan(step, begin, every, reverse=True)
    return kept, counts.total + counts.error


def posterior(c: Chain, in_logs: bool) -> Posterior:
    """Posterior marginals, summed transition counts and log p(x)."""
    run = filtered(c)
    marginals, counts = _smooth(
        c, run, lambda marginals, scores: marginals if in_logs else jnp.exp(marginals)
    )
    return Posterior(marginals, counts, run.log_prob)


def pairwise(c: Chain) -> Array:
    """(T-1, K, K) log posterior of consecutive states."""
    return _smooth(c, filtered(c), lambda marginals, scores: scores)[0][1:]


def backward(c: Chain) -> Array:
    """(T, K) log p(x_t+1.. | z_t) - log p(x_t+1.. | x_0..x_t), within each sequence."""
    c, _ = centred(c)
    increment = filtered(c).increment

    def step(message: Array, here: tuple[Any, ...]) -> tuple[Array, Array]:
        # message: of the step after, with its own data, which are no more of it
        log_lik, increment, end, move = here
        move = c.log_transition if move is None else move
        found = jnp.where(end, 0, _log_sum(move + message[None], 1))
        found = jnp.where(increment == -jnp.inf, -jnp.inf, found)
        return log_lik + found - finite(increment), found

    every = (c.log_lik, increment, last(c), _each(c, moves_out))
    return lax.scan(step, jnp.zeros_like(c.log_initial), every, reverse=True)[1]


def backward_windows(c: Chain, lag: int) -> Array:
    """(T, K) log p(x_t+1..x_t+lag | z_t): the backward messages of a window that moves along."""
    num_states = c.log_initial.size

    def step(windows: Array, here: tuple[Any, ...]) -> tuple[Array, Array]:
        # windows[h]: the message at this step that looks h steps ahead
        log_lik, end, move = here
        if end is not None:
            windows = jnp.where(end, 0, windows)
        move = c.log_transition if move is None else move
        longer = _log_sum(move[None] + (log_lik[None] + windows[:-1])[:, None], 2)
        earlier = jnp.concatenate([jnp.zeros((1, num_states), longer.dtype), longer])
        return earlier, windows[-1]

    zero = jnp.zeros((lag + 1, num_states), c.log_lik.dtype)
    every = (c.log_lik, ends(c), _each(c, moves_in))
    return lax.scan(step, zero, every, reverse=True)[1]
