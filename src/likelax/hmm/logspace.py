"""The recursions in the log domain: slower than the scaled ones, and right for any potentials."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm.chain import Chain, Filter, Posterior, first, last, stacked, total
from likelax.numerics import Compensated, add_compensated, log_normalize, logsumexp


def _logsumexp(scores: Array, axis: int) -> Array:
    """As `numerics.logsumexp`, with the fewest operations for the body of a scan."""
    peak = lax.stop_gradient(jnp.max(scores, axis=axis))
    shift = jnp.expand_dims(jnp.where(peak == -jnp.inf, 0, peak), axis)
    total = jnp.sum(jnp.exp(scores - shift), axis=axis)
    # the sum is at least 1 unless every term is zero, and then the peak makes the result -inf
    return jnp.log(jnp.maximum(total, jnp.finfo(total.dtype).tiny)) + peak


def forward(c: Chain) -> Filter:
    """The forward recursion. In the scan each message is only shifted to a peak of 0."""

    def update(predicted: Array, log_lik: Array) -> tuple[Array, tuple[Array, ...]]:
        joint = predicted + log_lik
        peak = lax.stop_gradient(jnp.max(joint))
        joint = joint - jnp.where(peak == -jnp.inf, 0, peak)
        return joint, (predicted, joint, peak)

    def step(joint: Array, xs: tuple[Any, ...]) -> tuple[Array, tuple[Array, ...]]:
        log_lik, start, transition = xs
        transition = c.log_transition if transition is None else transition
        predicted = _logsumexp(joint[:, None] + transition, axis=0)
        if start is not None:
            predicted = jnp.where(start, c.log_initial, predicted)
        return update(predicted, log_lik)

    joint, head = update(c.log_initial, c.log_lik[0])
    starts = None if c.starts is None else c.starts[1:]
    _, tail = lax.scan(step, joint, (c.log_lik[1:], starts, stacked(c)))
    predicted, joint, peak = (
        jnp.append(h[None], t, axis=0) for h, t in zip(head, tail, strict=True)
    )
    filtered, log_total = log_normalize(joint)
    # step t began from a message of total exp(log_total[t-1]), a start from one of total 1
    before = jnp.append(jnp.zeros(1, joint.dtype), log_total[:-1])
    before = jnp.where(first(c) | (before == -jnp.inf), 0, before)
    return Filter(predicted - before[:, None], filtered, log_total + peak - before)


def backward(c: Chain) -> Array:
    """(T, K) log p(x_t+1.. | z_t) up to a constant for each t; the largest finite entry is 0."""

    def step(backward: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        log_lik, end, transition = xs
        transition = c.log_transition if transition is None else transition
        message = _logsumexp(transition + (log_lik + backward)[None], axis=1)
        peak = lax.stop_gradient(jnp.max(message))
        message = message - jnp.where(peak == -jnp.inf, 0, peak)
        message = jnp.where(end, 0, message)
        return message, message

    end = jnp.zeros_like(c.log_initial)
    _, messages = lax.scan(step, end, (c.log_lik[1:], last(c)[:-1], stacked(c)), reverse=True)
    return jnp.append(messages, end[None], axis=0)


def pairwise_step(filtered: Array, transition: Array, ahead: Array, end: Array) -> Array:
    """(K, K) log p(z_t, z_t+1 | x) from the messages at t and t+1; all -inf at an end."""
    scores = filtered[:, None] + transition + ahead[None]
    scores = jnp.where(end, -jnp.inf, scores)
    total = logsumexp(scores)
    return scores - jnp.where(total == -jnp.inf, 0, total)


def _pairwise_sum(c: Chain, filtered: Array, backward: Array) -> Array:
    """(K, K) expected transition counts, summed over t in a scan: nothing T x K x K is stored."""

    def step(acc: Compensated, xs: tuple[Any, ...]) -> tuple[Compensated, None]:
        filtered, ahead, end, transition = xs
        transition = c.log_transition if transition is None else transition
        return add_compensated(acc, jnp.exp(pairwise_step(filtered, transition, ahead, end))), None

    zero = jnp.zeros((c.log_initial.size, c.log_initial.size), c.log_lik.dtype)
    xs = (filtered[:-1], (c.log_lik + backward)[1:], last(c)[:-1], stacked(c))
    acc, _ = lax.scan(step, Compensated(zero, zero), xs)
    return acc.total + acc.error


def log_prob(c: Chain) -> Array:
    """Log partition of the chain."""
    return total(c, forward(c).increment)


def posterior(c: Chain, in_logs: bool) -> Posterior:
    """Posterior marginals, summed transition counts and log partition."""
    messages, behind = forward(c), backward(c)
    marginals = log_normalize(messages.filtered + behind)[0]
    counts = _pairwise_sum(c, messages.filtered, behind)
    marginals = marginals if in_logs else jnp.exp(marginals)
    return Posterior(marginals, counts, total(c, messages.increment))


def pairwise(c: Chain) -> Array:
    """(T-1, K, K) log posterior of consecutive states."""
    ahead = (c.log_lik + backward(c))[1:]
    moves = None if c.log_transition.ndim == 2 else 0
    step = jax.vmap(pairwise_step, in_axes=(0, moves, 0, 0))
    return step(forward(c).filtered[:-1], c.log_transition, ahead, last(c)[:-1])


def backward_windows(c: Chain, lag: int) -> Array:
    """(T, K) log p(x_t+1..x_t+lag | z_t): the backward messages of a window that moves along."""
    num_states = c.log_initial.size

    def step(windows: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        # windows[h]: the message at t+1 that looks h steps ahead
        log_lik, end, transition = xs
        transition = c.log_transition if transition is None else transition
        longer = _logsumexp(transition[None] + (log_lik[None] + windows[:-1])[:, None], axis=2)
        windows = jnp.append(jnp.zeros((1, num_states), longer.dtype), longer, axis=0)
        windows = jnp.where(end, 0, windows)
        return windows, windows[-1]

    zero = jnp.zeros((lag + 1, num_states), c.log_lik.dtype)
    _, messages = lax.scan(step, zero, (c.log_lik[1:], last(c)[:-1], stacked(c)), reverse=True)
    return jnp.append(messages, zero[:1], axis=0)
