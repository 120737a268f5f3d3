"""A long chain in blocks that run side by side, and a check that the result is that of one chain.

A processor needs as long for one step of few states as for a hundred such steps at once. So a long
chain is cut into B blocks, which are the lanes of one recursion of T / B steps.

The message that a block begins from is not known before the block ahead of it has ended. So it is
guessed. All blocks run, and each gives its last message to the next one, as a better guess. A chain
forgets where it began, so after a pass or two the message that a block was given equals the one that it
began from. Then all blocks are right, by induction: the first block begins from what is known, and each
other block from the right message of the one before it. Only B messages are compared, and nothing is
assumed about the chain.

A chain that never forgets does not agree after a few passes. Then its blocks run one after the other.

`products` also takes the steps side by side, and needs K times the arithmetic; this does not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax._chains.chain import FEW, FEW_LANES, Chain, block_axis, fixed, moves_out
from likelax._chains.recursion import Pass

# shorter chains are done before the blocks have met
LONG = 4096
# lanes that keep a processor busy, and numbers in a vector of it; steps in which most chains forget; steps
# whose plain sum keeps its digits
_WIDTH, _VECTOR, _SHORTEST, _LONGEST = 128, 8, 64, 8192
# rounds before blocks go one by one; the first guess takes a share of the steps
_ROUNDS, _WARM = 5, 8


def cut(c: Chain) -> Chain:
    """The chain in blocks where that is faster, else as it is."""
    num_steps, num_states, *lanes = c.log_lik.shape
    if num_steps < LONG or num_states > FEW_LANES or not fixed(c):
        return c
    num_lanes = lanes[0] if lanes else 1
    least = max(_WIDTH // num_lanes, num_steps // _LONGEST)
    if least <= 1:
        return c
    # blocks without padding need no masks; and lanes should fill whole vectors
    most = max(least, min(2 * least, num_steps // _SHORTEST))
    even = [n for n in range(least, most + 1) if num_steps % n == 0]
    whole = [n for n in even if n * num_lanes % _VECTOR == 0]
    choose = max if num_states <= FEW else min
    return cut_into(c, choose(whole or even or [least]))


def cut_into(c: Chain, num_blocks: int) -> Chain:
    """The chain in so many blocks; the last is padded."""
    if num_blocks <= 1:
        return c
    num_steps, _, *lanes = c.log_lik.shape
    length = c.length
    if length is None and num_steps % num_blocks:
        length = jnp.full((1,) * len(lanes), num_steps, jnp.int32)
    return Chain(
        c.log_initial[:, None],
        c.log_transition[:, :, None] if fixed(c) else split(moves_out(c), num_blocks, 3),
        split(c.log_lik, num_blocks, 2),
        None if c.starts is None else split(c.starts, num_blocks, 1),
        None if length is None else length[None],
        num_blocks,
    )


def split(x: Array, num_blocks: int, axis: int) -> Array:
    """(T, ...) in blocks, padded with zeros, and counted along `axis`."""
    pad = ((0, -x.shape[0] % num_blocks), *((0, 0) for _ in x.shape[1:]))
    x = jnp.pad(x, pad)
    return jnp.moveaxis(x.reshape(num_blocks, -1, *x.shape[1:]), 0, axis)


def join(c: Chain, x: Array, whole: Chain) -> Array:
    """(T, ...) of a chain in blocks in the order of time, without the padding; else as it is."""
    if c.num_blocks == 1:
        return x
    x = jnp.moveaxis(x, block_axis(c, x), 0)
    return x.reshape(-1, *x.shape[2:])[: whole.log_lik.shape[0]]


def settled(c: Chain, p: Pass, go: Callable[[Array], tuple[Array, Any]]) -> Any:
    """What a pass over all blocks gives, from the messages that the blocks begin from.

    Args:
      c: the chain, in blocks or not.
      p: the pass.
      go: the messages that the blocks begin from -> (the messages that they end with, what the
        pass gives).
    """
    if c.num_blocks == 1:
        return go(p.begin)[1]

    def again(state: tuple[Any, ...]) -> tuple[Any, ...]:
        rounds, begun, _, _ = state
        last_round = rounds == _ROUNDS
        begun = lax.cond(last_round, lambda: _one_by_one(c, p), lambda: begun)
        handed, out = go(begun)
        handed = _hand_over(c, p, handed)
        return rounds + 1, handed, out, last_round | p.agree(handed, begun)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(go, p.begin)[1])
    begin = (jnp.zeros((), jnp.int32), _guess(c, p), zeros, jnp.zeros((), bool))
    return lax.while_loop(lambda state: ~state[3], again, begin)[2]


def _hand_over(c: Chain, p: Pass, message: Array) -> Array:
    """The messages that blocks end with, given to the next ones; the first begins as the chain."""
    axis = p.begin.ndim - c.log_lik.ndim + 2
    edge = c.num_blocks - 1 if p.reverse else 0
    first = lax.slice_in_dim(p.begin, edge, edge + 1, axis=axis)
    message = jnp.roll(message, -1 if p.reverse else 1, axis)
    return lax.dynamic_update_slice_in_dim(message, first, edge, axis)


def _guess(c: Chain, p: Pass) -> Array:
    """The messages handed over if all blocks begin as the chain does, a few steps before they end."""
    num_steps = c.log_lik.shape[0]
    few = max(1, num_steps // _WARM)
    part = slice(None, few) if p.reverse else slice(-few, None)
    return _hand_over(c, p, _behind(p, p.begin, jax.tree.map(lambda x: x[part], p.known)))


def _behind(p: Pass, message: Array, known: Any) -> Array:
    """The message behind some steps, from that to the first of them and what is known there."""

    def step(message: Array, here: Any) -> tuple[Array, None]:
        return p.leave(p.enter(p.arrive(message, here), here), None), None

    return lax.scan(step, message, known, reverse=p.reverse)[0]


def _one_by_one(c: Chain, p: Pass) -> Array:
    """The messages that the blocks begin from, by one block after the other."""
    axis = p.begin.ndim - c.log_lik.ndim + 2

    def block(message: Array, known: Any) -> tuple[Array, Array]:
        return _behind(p, message, known), message

    def apart(x: Array) -> Array:
        along = block_axis(c, x)
        return jnp.expand_dims(jnp.moveaxis(x, along, 0), along + 1)

    edge = c.num_blocks - 1 if p.reverse else 0
    first = lax.slice_in_dim(p.begin, edge, edge + 1, axis=axis)
    _, begun = lax.scan(block, first, jax.tree.map(apart, p.known), reverse=p.reverse)
    return jnp.moveaxis(jnp.squeeze(begun, axis + 1), 0, axis)
