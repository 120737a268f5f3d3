"""A long chain in blocks that run side by side, and the proof that they are one chain.

A processor is no faster at one step of few states than at a hundred of them at once. So a long chain
is cut into B blocks, the lanes of one recursion of T / B steps. Where a block begins is not known
before the one ahead of it has ended; it is guessed, all blocks run, and each hands its last message
to the next, as the next guess. The recursion forgets: after a pass or two what is handed over is
what was begun from. Then, by induction from the first block, whose beginning is known, every block is
right: a check of B messages that takes nothing on trust. Where the passes do not agree in a few
rounds, as in a chain that never forgets, the steps are taken one after the other.

Unlike the prefix products of `associative` this costs no K-fold arithmetic.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm.chain import Chain, block_axis, fixed

# shorter chains are done before the blocks have met; more states fill a vector by themselves
_LONG, _FEW = 8192, 16
# lanes that keep a processor busy; steps whose plain sum keeps its digits
_WIDTH, _LONGEST = 128, 8192
_ROUNDS = 5


def cut(c: Chain) -> Chain:
    """The chain in blocks where that is faster, else as it is."""
    num_steps, num_states, *lanes = c.log_lik.shape
    if num_steps < _LONG or num_states > _FEW or not fixed(c):
        return c
    num_lanes = lanes[0] if lanes else 1
    return cut_into(c, max(_WIDTH // num_lanes, num_steps // _LONGEST))


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
        c.log_transition[:, :, None],
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


def join(c: Chain, x: Array) -> Array:
    """(T, ...) of a chain in blocks, in the order of time, with the padding; else as it is."""
    if c.num_blocks == 1:
        return x
    x = jnp.moveaxis(x, block_axis(c, x), 0)
    return x.reshape(-1, *x.shape[2:])


def agree(
    run: Callable[[Array], tuple[Any, Array]],
    guess: Array,
    same: Callable[[Array, Array], Array],
    one_by_one: Callable[[], Any],
) -> Any:
    """What the blocks make of their beginnings once they agree on them.

    Args:
      run: beginnings of the blocks -> (answer, beginnings as the blocks before hand them over).
      guess: the beginnings to try first.
      same: (beginnings handed over, beginnings used) -> whether they are equal.
      one_by_one: the answer without blocks, for where they do not come to agree.
    """

    def again(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        rounds, guess, _, _ = carry
        answer, handed = run(guess)
        return rounds + 1, handed, same(handed, guess), answer

    def going(carry: tuple[Any, ...]) -> Array:
        rounds, _, agreed, _ = carry
        return ~agreed & (rounds < _ROUNDS)

    blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(run, guess)[0])
    begin = (jnp.zeros((), jnp.int32), guess, jnp.zeros((), bool), blank)
    _, _, agreed, answer = lax.while_loop(going, again, begin)
    return lax.cond(agreed, lambda: answer, one_by_one)
