"""Paths of a hidden Markov model: the best, and its score.

Arguments are those of `likelax.hmm.inference`. A path holds -1 at padding, and in a sequence that
no path can produce.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax.hmm.chain import Chain, blank, chain, compensated_sum, last, stacked


def viterbi(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """The most probable state path, and the log of its joint probability with the data.

    path = argmax_z log_initial[z_0] + sum_t log_transition[z_t, z_t+1] + sum_t log_lik[t, z_t]

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0. Each sequence gets its own best path.
    Returns:
      (path, score): path (T,) int32, -1 at padding and in a sequence that no path can produce;
      score is a scalar, nats, summed over sequences. Of equal paths the one whose last state is
      lowest wins, then the one whose last but one is lowest, and so on.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Viterbi (1967); Rabiner (1989), Proc. IEEE 77(2), section III.B.

    Examples:
      >>> start, move = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
      >>> walk_shop_clean = jnp.log(jnp.array([[0.1, 0.6], [0.4, 0.3], [0.5, 0.1]]))
      >>> path, score = viterbi(start, move, walk_shop_clean)
      >>> print(path, jnp.exp(score).round(5))
      [1 0 0] 0.01344
    """
    c = chain(log_initial, log_transition, log_lik, length, starts)
    scores, gain = _best_scores(c)
    (gain,) = blank(c, gain, value=0)
    return _backtrack(c, scores), compensated_sum(gain)


def _best_scores(c: Chain) -> tuple[Array, Array]:
    """(T, K) score of the best path into each state, peak 0; (T,) what the peak rose by."""

    def update(scores: Array, log_lik: Array) -> tuple[Array, tuple[Array, Array]]:
        scores = scores + log_lik
        peak = jnp.max(scores)
        scores = scores - jnp.where(peak == -jnp.inf, 0, peak)
        return scores, (scores, peak)

    def step(scores: Array, xs: tuple[Any, ...]) -> tuple[Array, tuple[Array, Array]]:
        log_lik, start, transition = xs
        transition = c.log_transition if transition is None else transition
        into = jnp.max(scores[:, None] + transition, axis=0)
        if start is not None:
            into = jnp.where(start, c.log_initial, into)
        return update(into, log_lik)

    scores, (head, gain) = update(c.log_initial, c.log_lik[0])
    starts = None if c.starts is None else c.starts[1:]
    _, (tail, gains) = lax.scan(step, scores, (c.log_lik[1:], starts, stacked(c)))
    return jnp.append(head[None], tail, axis=0), jnp.append(gain, gains)


def _backtrack(c: Chain, scores: Array) -> Array:
    """Follow the best predecessors back; only those on the path are ever looked for."""

    def choose(scores: Array) -> Array:
        best = jnp.argmax(scores).astype(jnp.int32)
        return jnp.where(jnp.max(scores) == -jnp.inf, -1, best)

    def step(state: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        scores, end, transition = xs
        transition = c.log_transition if transition is None else transition
        ahead = jnp.where(end, 0, transition[:, jnp.maximum(state, 0)])
        state = jnp.where((state < 0) & ~end, -1, choose(scores + ahead))
        return state, state

    state = choose(scores[-1])
    xs = (scores[:-1], last(c)[:-1], stacked(c))
    _, path = lax.scan(step, state, xs, reverse=True)
    return blank(c, jnp.append(path, state), value=-1)[0]
