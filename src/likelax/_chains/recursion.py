"""What a form of the recursions is: the answers that it gives, and the passes that it makes.

| form | arithmetic | order of the steps |
| --- | --- | --- |
| `log_domain` | logs, right for any potentials | one after the other |
| `short` | probabilities, with a certificate | one after the other, for one chain of few states |
| `scaled` | probabilities, with a certificate | one after the other, or in blocks whose beginnings are guessed |
| `products` | logs | in blocks whose beginnings are products of transitions |

`dispatch` decides which of them runs.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax._chains.chain import FEW, FEW_LANES, Chain


class Recursion(Protocol):
    """The answers of one form: the functions that its module defines.

    `log_domain` and `products` are such modules. `scaled` defines the first four, each of which
    returns a `Draft`: the answer with the evidence for its certificate.
    """

    def log_prob(self, c: Chain, /) -> Any:
        """Scalar, nats: log p(x)."""

    def filtered(self, c: Chain, /) -> Any:
        """`Filter`: forward posteriors."""

    def posterior(self, c: Chain, /, in_logs: bool) -> Any:
        """`Posterior`: marginals, summed transition counts and log p(x)."""

    def pairwise(self, c: Chain, /) -> Any:
        """(T-1, K, K) nats: log posterior of consecutive states."""

    def best_path(self, c: Chain, /) -> tuple[Array, Array]:
        """(path (T,) int32, -1 where there is none; its score, nats)."""


class Pass(Protocol):
    """One pass over the steps of a chain, in the order of time or against it.

    A message arrives at a step and meets what is known there; the state of the step that results
    sends a message on to the next step. All arrays may have axes of blocks and lanes after those
    that are named.
    """

    @property
    def begin(self) -> Array:
        """(K, ...) the message to the first step."""

    @property
    def known(self) -> Any:
        """A tree of arrays (T, ...): what is known at each step."""

    @property
    def moves(self) -> Array | None:
        """(T-1, K, K, ...) transitions, or None where one serves every step."""

    @property
    def reverse(self) -> bool:
        """Whether the pass goes back in time."""

    def arrive(self, message: Array, here: Any) -> Array:
        """The message to a step, which is another one where a sequence begins."""

    def enter(self, message: Array, here: Any) -> Any:
        """The state of a step from the message to it and what is known there."""

    def leave(self, state: Any, move: Array | None) -> Array:
        """The message to the next step."""

    def keep(self, message: Array, state: Any) -> Array:
        """What the pass returns for a step."""

    def agree(self, handed: Array, begun: Array) -> Array:
        """Whether the messages that blocks ended with are those that their successors began from."""


def near(handed: Array, begun: Array, roundings: int) -> Array:
    """Whether two messages in logs are the same up to some roundings."""
    slack = roundings * jnp.finfo(handed.dtype).eps * (1 + jnp.abs(handed))
    return jnp.all((handed == begun) | (jnp.abs(handed - begun) <= slack))


def run(p: Pass, begin: Array) -> tuple[Array, Array]:
    """(the message behind the last step, (T, ...) what the pass keeps of the steps, in time)."""

    def step(state: Any, xs: tuple[Any, ...]) -> tuple[Any, Array]:
        here, move, head = xs
        message = p.arrive(p.leave(state, move), here)
        message = message if head is None else jnp.where(head, begin, message)
        state = p.enter(message, here)
        return state, p.keep(message, state)

    one, rest = (-1, slice(-1)) if p.reverse else (0, slice(1, None))
    at_first = jax.tree.map(lambda x: x[one], p.known)
    begin = p.arrive(begin, at_first)
    state = p.enter(begin, at_first)
    if p.moves is None:
        # all steps in one loop: to leave the first one out would copy all that is known at the others
        head = jnp.zeros(jax.tree.leaves(p.known)[0].shape[0], bool).at[one].set(True)
        state, each = lax.scan(step, state, (p.known, None, head), reverse=p.reverse)
        return p.leave(state, None), each
    others = jax.tree.map(lambda x: x[rest], p.known)
    first = p.keep(begin, state)[None]
    _, each = lax.scan(step, state, (others, p.moves, None), reverse=p.reverse)
    # no block follows where transitions vary
    return begin, jnp.concatenate((each, first) if p.reverse else (first, each))


def over_states(
    join: Callable[[Array, Array], Array], reduce: Callable[..., Array], x: Array
) -> Array:
    """(T, ...) x (T, K, ...) reduced over the states, in the form that XLA runs fastest on a CPU.

    It does not vectorise over an axis of few states, so these are taken one by one.
    """
    num_states = x.shape[1]
    if num_states > (FEW if x.ndim == 2 else FEW_LANES):
        return reduce(x, axis=1)
    return functools.reduce(join, [x[:, k] for k in range(num_states)])
