"""The recursions in the log domain as parallel prefix products, for accelerators.

A step of the chain is a (K, K) matrix of log potentials, and messages are products of them. The
products are associative, so all prefixes take log2 T rounds instead of T steps, at K times the
arithmetic and a memory of T K^2. Every product is shifted to a peak of 0; the increments of the
log probability are worked out again from the normalised messages, so no running total loses bits.
In float32 an entry of a product is right to the rounding of its distance from the peak, which grows
with the steps in it: where states lie thousands of nats apart, prefer the sequential recursions.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm.chain import Chain, Filter, Posterior, first, last, total
from likelax.hmm.logspace import pairwise_step
from likelax.numerics import log_normalize, logsumexp


def _product(left: Array, right: Array) -> Array:
    """(..., K, K) log of the matrix product of exponentials, shifted to a peak of 0."""
    out = logsumexp(left[..., :, :, None] + right[..., None, :, :], axis=-2)
    peak = lax.stop_gradient(jnp.max(out, axis=(-2, -1), keepdims=True))
    return out - jnp.where(peak == -jnp.inf, 0, peak)


def _best(left: Array, right: Array) -> Array:
    """(..., K, K) the best of left[i, k] + right[k, j] over k, shifted to a peak of 0."""
    out = jnp.max(left[..., :, :, None] + right[..., None, :, :], axis=-2)
    peak = jnp.max(out, axis=(-2, -1), keepdims=True)
    return out - jnp.where(peak == -jnp.inf, 0, peak)


def _moves(c: Chain) -> Array:
    """(T-1, K, K) log_transition + log_lik of the step that it leads to."""
    square = (c.log_lik.shape[0] - 1, c.log_initial.size, c.log_initial.size)
    ahead = jnp.broadcast_to(c.log_lik[1:, None, :], square)
    return jnp.broadcast_to(c.log_transition, square) + ahead


def _prefixes(c: Chain, product: Callable[[Array, Array], Array]) -> Array:
    """(T, K) the sum over paths, or the best of them, into each state, up to a constant for each t."""
    entry = jnp.broadcast_to(c.log_initial, c.log_lik.shape) + c.log_lik
    # where a sequence begins, the message is the same whatever came before
    fresh = jnp.broadcast_to(entry[:, None, :], (*entry.shape, entry.shape[1]))
    cut = first(c)
    steps = jnp.where(cut[1:, None, None], fresh[1:], _moves(c))
    steps = jnp.append(fresh[:1], steps, axis=0)

    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return jnp.where(b[1][..., None, None], b[0], product(a[0], b[0])), a[1] | b[1]

    return lax.associative_scan(join, (steps, cut))[0][:, 0]


def forward(c: Chain) -> Filter:
    """As `logspace.forward`."""
    filtered = log_normalize(_prefixes(c, _product))[0]
    moves = jnp.broadcast_to(
        c.log_transition, (filtered.shape[0] - 1, *c.log_transition.shape[-2:])
    )
    moved = logsumexp(filtered[:-1, :, None] + moves, axis=1)
    moved = jnp.append(c.log_initial[None], moved, axis=0)
    predicted = jnp.where(first(c)[:, None], c.log_initial[None], moved)
    filtered, increment = log_normalize(predicted + c.log_lik)
    return Filter(predicted, filtered, increment)


def backward(c: Chain) -> Array:
    """As `logspace.backward`."""
    end = last(c)
    # after an end the message is 0 in every state: a product with one column of zeros
    nothing = jnp.where(jnp.arange(c.log_initial.size) == 0, 0, -jnp.inf).astype(c.log_lik.dtype)
    nothing = jnp.broadcast_to(nothing, (*c.log_lik.shape, c.log_initial.size))
    steps = jnp.where(end[:-1, None, None], nothing[:-1], _moves(c))
    steps = jnp.append(steps, nothing[-1:], axis=0)

    def join(later: tuple[Array, Array], one: tuple[Array, Array]) -> tuple[Array, Array]:
        joined = _product(one[0], later[0])
        return jnp.where(one[1][..., None, None], one[0], joined), later[1] | one[1]

    products, _ = lax.associative_scan(join, (steps, end), reverse=True)
    messages = logsumexp(products, axis=2)
    peak = lax.stop_gradient(jnp.max(messages, axis=1, keepdims=True))
    return messages - jnp.where(peak == -jnp.inf, 0, peak)


def log_prob(c: Chain) -> Array:
    """As `logspace.log_prob`."""
    return total(c, forward(c).increment)


def _pairs(c: Chain, filtered: Array, behind: Array) -> Array:
    moves = None if c.log_transition.ndim == 2 else 0
    step = jax.vmap(pairwise_step, in_axes=(0, moves, 0, 0))
    return step(filtered[:-1], c.log_transition, (c.log_lik + behind)[1:], last(c)[:-1])


def posterior(c: Chain, in_logs: bool) -> Posterior:
    """As `logspace.posterior`."""
    messages, behind = forward(c), backward(c)
    marginals = log_normalize(messages.filtered + behind)[0]
    counts = jnp.sum(jnp.exp(_pairs(c, messages.filtered, behind)), axis=0)
    marginals = marginals if in_logs else jnp.exp(marginals)
    return Posterior(marginals, counts, total(c, messages.increment))


def pairwise(c: Chain) -> Array:
    """As `logspace.pairwise`."""
    return _pairs(c, forward(c).filtered, backward(c))


def best_scores(c: Chain) -> tuple[Array, Array]:
    """(T, K) score of the best path into each state, peak 0; (T,) what the peak rose by."""
    scores = _prefixes(c, _best)
    peak = jnp.max(scores, axis=1, keepdims=True)
    scores = scores - jnp.where(peak == -jnp.inf, 0, peak)
    moves = jnp.broadcast_to(c.log_transition, (scores.shape[0] - 1, *c.log_transition.shape[-2:]))
    into = jnp.append(c.log_initial[None], jnp.max(scores[:-1, :, None] + moves, axis=1), axis=0)
    into = jnp.where(first(c)[:, None], c.log_initial[None], into)
    return scores, jnp.max(into + c.log_lik, axis=1)


def backtrack(c: Chain, scores: Array) -> Array:
    """(T,) the best path, -1 where there is none: maps from the next state, composed."""
    num_states = c.log_initial.size

    def choose(scores: Array, axis: int) -> Array:
        best = jnp.argmax(scores, axis=axis)
        # one symbol more than there are states, for "no path"
        return jnp.where(jnp.max(scores, axis=axis) == -jnp.inf, num_states, best)

    moves = jnp.broadcast_to(c.log_transition, (scores.shape[0] - 1, *c.log_transition.shape[-2:]))
    back = choose(scores[:-1, :, None] + moves, 1)
    back = jnp.append(back, jnp.full_like(back[:, :1], num_states), axis=1)
    alone = jnp.broadcast_to(choose(scores, 1)[:, None], (scores.shape[0], num_states + 1))
    back = jnp.where(last(c)[:-1, None], alone[:-1], back)
    maps = jnp.append(back, alone[-1:], axis=0)

    def follow(later: Array, one: Array) -> Array:
        return jnp.take_along_axis(one, later, axis=-1)

    path = lax.associative_scan(follow, maps, reverse=True)[:, 0]
    return jnp.where(path == num_states, -1, path).astype(jnp.int32)
