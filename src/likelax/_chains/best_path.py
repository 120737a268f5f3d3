"""The best path step by step: scores forward, choices back.

Both passes take the axes of blocks and lanes that `Chain` may have.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from likelax._chains import blocks
from likelax._chains.chain import (
    FEW_LANES,
    VERY_FEW,
    Chain,
    finite,
    fixed,
    last,
    moves_out,
    stacked,
    total,
)
from likelax._chains.recursion import near, over_states, run


def best_path(whole: Chain) -> tuple[Array, Array]:
    """(path (T,) int32, -1 where there is none; its score, nats)."""
    c = blocks.cut(whole)
    path, score = in_order(c)
    return blocks.join(c, path, whole), score


def in_order(c: Chain) -> tuple[Array, Array]:
    """As `best_path`, without cutting the chain into blocks, or in those that it has."""
    num_steps, num_states, *lanes = c.log_lik.shape
    plain = fixed(c) and c.starts is None and c.length is None and not lanes
    if plain and num_states <= VERY_FEW and isinstance(num_steps, int):
        return _whole(c)
    forward = _Scores(c)
    scores = blocks.settled(c, forward, lambda begin: run(forward, begin))
    score = total(c, over_states(jnp.maximum, jnp.max, scores))
    path = _choices(c, scores) if scores.ndim == 2 else _choices_in_lanes(c, scores)
    return path, score


def _whole(c: Chain) -> tuple[Array, Array]:
    """As `in_order`, of one chain of very few states, in two loops that are one kernel each.

    So few states fit into a loop that also finds the best predecessor of each, and the way back is
    to look these up.
    """
    num_states = c.log_initial.shape[0]

    def step(carry: tuple[Array, Array], log_lik: Array) -> tuple[Any, tuple[Array, Array]]:
        scores = carry[0] + log_lik
        peak = jnp.max(scores)
        each = [scores[i] + c.log_transition[i] for i in range(num_states)]
        into = functools.reduce(jnp.maximum, each) - finite(peak)
        return (into, scores), (_best_of_few(each), peak)

    def back(after: Array, before: Array) -> tuple[Array, Array]:
        state = jnp.where(after < 0, -1, before[jnp.maximum(after, 0)].astype(jnp.int32))
        return state, state

    (_, scores), (before, peaks) = lax.scan(step, (c.log_initial, c.log_initial), c.log_lik)
    end = choose(scores)
    _, path = lax.scan(back, end, before[:-1], reverse=True)
    return jnp.append(path, end), total(c, peaks)


@dataclass(frozen=True)
class _Scores:
    """(T, K) score of the best path into each state; that of the step before had its peak at 0."""

    c: Chain
    reverse = False

    @property
    def begin(self) -> Array:
        return jnp.broadcast_to(self.c.log_initial, self.c.log_lik.shape[1:])

    @property
    def known(self) -> tuple[Array, Array | None]:
        return self.c.log_lik, self.c.starts

    @property
    def moves(self) -> Array | None:
        return stacked(self.c)

    def arrive(self, message: Array, here: tuple[Array, Array | None]) -> Array:
        _, start = here
        return message if start is None else jnp.where(start[None], self.c.log_initial, message)

    def enter(self, message: Array, here: tuple[Array, Array | None]) -> tuple[Array, Array]:
        scores = message + here[0]
        return scores, jnp.max(scores, axis=0)

    def leave(self, state: tuple[Array, Array], move: Array | None) -> Array:
        scores, peak = state
        into = best_into(scores, self.c.log_transition if move is None else move)
        return into - finite(peak)[None]

    def keep(self, message: Array, state: tuple[Array, Array]) -> Array:
        return state[0]

    def agree(self, handed: Array, begun: Array) -> Array:
        return near(handed, begun, 32)


def best_into(scores: Array, move: Array) -> Array:
    """(K, ...) max_i scores[i] + move[i]."""
    if scores.ndim == 1:
        return jnp.max(scores[:, None] + move, axis=0)
    return functools.reduce(
        jnp.maximum, [scores[i][None] + move[i] for i in range(scores.shape[0])]
    )


def _choices(c: Chain, scores: Array) -> Array:
    """(T,) the best path, from its last state back, by the best predecessors on it."""

    def step(after: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        scores, end, move = xs
        move = c.log_transition if move is None else move
        ahead = jnp.where(end, 0, move[:, jnp.maximum(after, 0)])
        state = jnp.where((after < 0) & ~end, -1, choose(scores + ahead))
        return state, state

    # nothing follows the last step, so where it goes to does not matter
    end = last(c).at[-1].set(True)
    every = (scores, end, None if fixed(c) else moves_out(c))
    return lax.scan(step, jnp.int32(0), every, reverse=True)[1]


def choose(scores: Array, axis: int = 0) -> Array:
    """The lowest state along an axis of the best score, -1 if all are impossible."""
    best = jnp.argmax(scores, axis=axis).astype(jnp.int32)
    return jnp.where(jnp.max(scores, axis=axis) == -jnp.inf, -1, best)


def _choices_in_lanes(c: Chain, scores: Array) -> Array:
    """As `_choices`, by the best predecessor of every state at once.

    Not on the path alone: to look one up would be a gather, and those do not run along lanes.
    """
    backward = _Choices(*best_predecessors(c, scores), last(c))
    path = blocks.settled(c, backward, lambda begin: run(backward, begin))
    return path.astype(jnp.int32)


def best_predecessors(c: Chain, scores: Array) -> tuple[Array, Array]:
    """((T, K, ...) the best state before each state of the next step, (T, ...) the best state)."""
    moves = moves_out(c)
    num_states = scores.shape[1]
    if num_states > FEW_LANES:
        return choose(scores[:, :, None] + moves, 1), choose(scores, 1)
    before = _best_of_few([scores[:, i, None] + moves[:, i] for i in range(num_states)])
    return before, _best_of_few([scores[:, i] for i in range(num_states)])


def _best_of_few(scores: list[Array]) -> Array:
    """As `choose`, of the scores of the states one by one; a byte holds them."""
    top, best = scores[0], jnp.zeros_like(scores[0], jnp.int8)
    for k, row in enumerate(scores[1:], 1):
        best = jnp.where(row > top, jnp.int8(k), best)
        top = jnp.maximum(row, top)
    return jnp.where(top == -jnp.inf, jnp.int8(-1), best)


@dataclass(frozen=True)
class _Choices:
    """(T,) the states of the best path from the last one back; its messages are states.

    before (T, K), alone (T,), end (T,): the best predecessor of each state of the next step, the best
    state of a step by itself, and whether a sequence ends there.
    """

    before: Array
    alone: Array
    end: Array
    moves = None
    reverse = True

    @property
    def begin(self) -> Array:
        return jnp.zeros_like(self.alone[0])

    @property
    def known(self) -> tuple[Any, ...]:
        return self.before, self.alone, self.end

    def arrive(self, message: Array, here: tuple[Any, ...]) -> Array:
        return jnp.where(here[2], -1, message)

    def enter(self, message: Array, here: tuple[Any, ...]) -> Array:
        before, alone, end = here
        # a path that is lost stays lost, but for where one ends
        state = jnp.where(end, alone, -1)
        for j in range(before.shape[0]):
            state = jnp.where(message == j, before[j], state)
        return state

    def leave(self, state: Array, move: Array | None) -> Array:
        return state

    def keep(self, message: Array, state: Array) -> Array:
        return state

    def agree(self, handed: Array, begun: Array) -> Array:
        return jnp.all(handed == begun)
