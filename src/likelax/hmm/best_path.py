"""The best path of a chain: scores forward, choices back.

Both recursions take the axes of blocks and lanes that `Chain` may have.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm import blocks
from likelax.hmm.chain import Chain, fixed, last, over_states, recur, stacked, total


def best_path(c: Chain) -> tuple[Array, Array]:
    """(path (T,) int32, -1 where there is none; its score, nats)."""
    num_steps = c.log_lik.shape[0]
    c = blocks.cut(c)
    path, score = in_order(c)
    return blocks.join(c, path)[:num_steps], score


def in_order(c: Chain) -> tuple[Array, Array]:
    """As `best_path`, without cutting the chain into blocks, or in those that it has."""
    scores = _scores(c)
    score = total(c, over_states(jnp.maximum, jnp.max, scores))
    path = _choices(c, scores) if scores.ndim == 2 else _choices_in_lanes(c, scores)
    return path, score


def _scores(c: Chain) -> Array:
    """(T, K) score of the best path into each state; that of the step before had its peak at 0."""

    def arrive(message: Array, here: tuple[Array, Array | None]) -> Array:
        _, start = here
        if start is None:
            return message
        return jnp.where(start[None], c.log_initial, message)

    def enter(message: Array, here: tuple[Array, Array | None]) -> tuple[Array, Array]:
        scores = message + here[0]
        return scores, jnp.max(scores, axis=0)

    def leave(state: tuple[Array, Array], move: Array | None = None) -> Array:
        scores, peak = state
        into = _best_into(scores, c.log_transition if move is None else move)
        return into - jnp.where(peak == -jnp.inf, 0, peak)[None]

    every = (c.log_lik, c.starts)
    begin = jnp.broadcast_to(c.log_initial, c.log_lik.shape[1:])
    if c.num_blocks > 1:
        begin = blocks.beginnings(c, arrive, enter, leave, begin, every, _close)
    return recur(arrive, enter, leave, lambda _, state: state[0], begin, every, stacked(c))


def _close(handed: Array, begun: Array) -> Array:
    slack = 32 * jnp.finfo(handed.dtype).eps
    near = jnp.abs(handed - begun) <= slack * (1 + jnp.abs(handed))
    return jnp.all((handed == begun) | near)


def _best_into(scores: Array, move: Array) -> Array:
    """(K, ...) max_i scores[i] + move[i]."""
    if scores.ndim == 1:
        return jnp.max(scores[:, None] + move, axis=0)
    return functools.reduce(
        jnp.maximum, [scores[i][None] + move[i] for i in range(scores.shape[0])]
    )


def _choices(c: Chain, scores: Array) -> Array:
    """(T,) the best path, from its last state back, by the best predecessors on it."""

    def enter(after: Array, xs: tuple[Array, Array], move: Array) -> Array:
        scores, end = xs
        ahead = jnp.where(end, 0, move[:, jnp.maximum(after, 0)])
        return jnp.where((after < 0) & ~end, -1, _choose(scores + ahead))

    def step(after: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        here, move = xs
        state = enter(after, here, c.log_transition if move is None else move)
        return state, state

    every = (scores[:-1], last(c)[:-1])
    state = _choose(scores[-1])
    _, path = lax.scan(step, state, (every, stacked(c)), reverse=True)
    return jnp.concatenate([path, state[None]])


def _choices_in_lanes(c: Chain, scores: Array) -> Array:
    """As `_choices`, by the best predecessor of every state at once.

    Not on the path alone: to look one up would be a gather, and those do not run along lanes.
    """
    states = range(scores.shape[1])
    moves = c.log_transition[None]
    if not fixed(c):
        moves = jnp.concatenate([c.log_transition, jnp.zeros_like(moves[0, :1])])
    before = _lowest_best([scores[:, i, None] + moves[:, i] for i in states])
    alone = _lowest_best([scores[:, i] for i in states])
    end = last(c)

    def arrive(after: Array, here: tuple[Array, ...]) -> Array:
        return jnp.where(here[2], -1, after)

    def enter(after: Array, here: tuple[Array, ...]) -> Array:
        before, alone, end = here
        # a path that is lost stays lost, but for where one ends
        state = jnp.where(end, alone, -1)
        for j in states:
            state = jnp.where(after == j, before[j], state)
        return state

    every = (before, alone, end)
    after = jnp.zeros_like(alone[0])
    if c.num_blocks > 1:
        after = blocks.beginnings(c, arrive, enter, _itself, after, every, _equal, reverse=True)
    path = recur(arrive, enter, _itself, lambda _, state: state, after, every, None, reverse=True)
    return path.astype(jnp.int32)


def _itself(state: Array, _: None = None) -> Array:
    return state


def _equal(handed: Array, begun: Array) -> Array:
    return jnp.all(handed == begun)


def _choose(scores: Array) -> Array:
    """The lowest state of the best score, -1 if all are impossible."""
    best = jnp.argmax(scores).astype(jnp.int32)
    return jnp.where(jnp.max(scores) == -jnp.inf, -1, best)


def _lowest_best(scores: list[Array]) -> Array:
    """As `_choose`, of the scores of the states one by one; a byte holds what lanes can have."""
    top, best = scores[0], jnp.zeros((), jnp.int8)
    for k, row in enumerate(scores[1:], 1):
        best = jnp.where(row > top, jnp.int8(k), best)
        top = jnp.maximum(row, top)
    return jnp.where(top == -jnp.inf, jnp.int8(-1), best)
