"""The potentials that every hidden Markov kernel takes: checked, with masks over time."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax._pytree import pytree, static
from likelax.numerics import as_array, logsumexp, named_floats

F = TypeVar("F", bound=Callable[..., Any])

# states that do not fill a vector by themselves: of one chain, and of many as lanes; and those of
# which all that a step computes fits into one kernel
FEW, FEW_LANES, VERY_FEW = 8, 16, 4


def compiled(function: F, **options: Any) -> F:
    """`jax.jit` of a kernel that stays on under `jax.disable_jit`.

    There a loop over T steps would run in Python, at milliseconds a step. Outside the kernels
    `jax.disable_jit` has its effect, so emissions and models of your own can be debugged.

    Args:
      function: the kernel.
      options: as for `jax.jit`.

    Examples:
      >>> with jax.disable_jit():
      ...     print(compiled(lambda x: isinstance(x, jax.core.Tracer))(1.0))
      True
    """
    jitted = jax.jit(function, **options)
    config: Any = jax.config

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not config.jax_disable_jit:
            return jitted(*args, **kwargs)
        with jax.disable_jit(False):
            return jitted(*args, **kwargs)

    return cast(F, run)


@pytree
class Chain:
    """The potentials of one or more concatenated sequences, checked.

    The scaled recursions also take a batch of chains as lanes: a last axis of N, or of 1 where
    all chains share it, on every array. And they take a long chain in blocks (`blocks.cut`).

    Attributes:
      log_initial: (K,) nats.
      log_transition: (K, K), or (T-1, K, K) whose entry t carries step t to step t+1.
      log_lik: (T, K) nats; 0 at padding, once `hide_padding` has been called.
      starts: (T,) booleans, True wherever a sequence begins, and at step 0 once `hide_padding` has
        been called; None: only step 0.
      length: scalar integer, the number of steps that count; None: T.
      num_blocks: B. Above 1, T above is the length of a block, and every array has one more axis
        after those named here and before the lanes: B long, or 1 where all blocks share it. Step
        t of block b is step b T + t of the chain. Transitions that vary are then T, not T - 1.
    """

    log_initial: Array
    log_transition: Array
    log_lik: Array
    starts: Array | None
    length: Array | None
    num_blocks: int = static(default=1)


def chain(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    length: ArrayLike | None,
    starts: ArrayLike | None,
) -> Chain:
    """Check the arguments and put them into one form; padding is still as it was given.

    Raises:
      ValueError: if shapes do not match, or if length is known and outside 0..T.
    """
    log_initial, log_transition, log_lik = named_floats(
        log_initial=log_initial, log_transition=log_transition, log_lik=log_lik
    )
    if log_lik.ndim != 2 or 0 in log_lik.shape:
        raise ValueError(
            f"log_lik must have shape (T, K) with T, K >= 1, got {log_lik.shape}; "
            "use jax.vmap for a batch of sequences"
        )
    num_steps, num_states = log_lik.shape
    if log_initial.shape != (num_states,):
        raise ValueError(
            f"log_initial must have shape (K,) = ({num_states},) to match log_lik "
            f"{log_lik.shape}, got {log_initial.shape}"
        )
    square = (num_states, num_states)
    if log_transition.shape not in (square, (num_steps - 1, *square)):
        raise ValueError(
            f"log_transition must have shape (K, K) = {square}, or (T-1, K, K) = "
            f"{(num_steps - 1, *square)} with entry t for the step from t to t+1, to match "
            f"log_lik {log_lik.shape}; got {log_transition.shape}"
        )
    if num_steps == 1 and log_transition.ndim == 3:
        # no step is left, and nothing reads a transition
        log_transition = jnp.zeros(square, log_lik.dtype)
    length = _check_length(length, num_steps)
    if starts is not None:
        starts = as_array("starts", starts)
        if starts.shape != (num_steps,) or starts.dtype != jnp.bool_:
            raise ValueError(
                f"starts must be booleans of shape (T,) = ({num_steps},), got "
                f"{starts.dtype} of shape {starts.shape}"
            )
    return Chain(log_initial, log_transition, log_lik, starts, length)


def weights_of_states(name: str, logs: ArrayLike) -> Array:
    """An argument (K,), nats, as a floating array.

    Raises:
      ValueError: for another shape, naming the argument.
    """
    (logs,) = named_floats(**{name: logs})
    if logs.ndim != 1 or logs.shape[0] == 0:
        raise ValueError(f"{name} must have shape (K,) with K >= 1, got {logs.shape}")
    return logs


def _check_length(length: ArrayLike | None, num_steps: int) -> Array | None:
    if length is None:
        return None
    length = as_array("length", length)
    if length.shape != () or not jnp.issubdtype(length.dtype, jnp.integer):
        raise ValueError(
            f"length must be a scalar integer, got {length.dtype} of shape {length.shape}; "
            "use jax.vmap for one length per sequence"
        )
    if not isinstance(length, jax.core.Tracer) and not 0 <= int(length) <= num_steps:
        raise ValueError(f"length must lie in 0..T = 0..{num_steps}, got {int(length)}")
    return length.astype(jnp.int32)


def hide_padding(c: Chain) -> Chain:
    """The chain with likelihoods of 1 at padding, and a sequence that begins at step 0."""
    (log_lik,) = blank(c, c.log_lik, value=0)
    starts = None if c.starts is None else c.starts.at[0].set(True)
    return dataclasses.replace(c, log_lik=log_lik, starts=starts)


def active(c: Chain) -> Array:
    """(T,) booleans: the steps that count."""
    steps = _steps(c)
    return jnp.ones_like(steps, bool) if c.length is None else steps < c.length[None]


def _steps(c: Chain) -> Array:
    """(T,) integers: 0, 1, 2, ..."""
    num_steps, num_lanes = c.log_lik.shape[0], c.log_lik.ndim - 2
    steps = jnp.arange(num_steps, dtype=jnp.int32).reshape(num_steps, *(1,) * num_lanes)
    if c.num_blocks == 1:
        return steps
    lanes = (1,) * (num_lanes - 1)
    return steps + num_steps * jnp.arange(c.num_blocks, dtype=jnp.int32).reshape(1, -1, *lanes)


def first(c: Chain) -> Array:
    """(T,) booleans: the steps whose state is drawn from log_initial."""
    return _steps(c) == 0 if c.starts is None else c.starts


def last(c: Chain) -> Array:
    """(T,) booleans: the steps after which nothing of the same sequence comes; padding is last."""
    return ~later(c, active(c) & ~first(c))


def ends(c: Chain) -> Array | None:
    """`last`, or None where only the last step is."""
    return None if c.starts is None and c.length is None else last(c)


def later(c: Chain, x: Array, by: int = 1) -> Array:
    """(T, ...) x of the next step, or of the one before where by is -1; it comes round at the ends."""
    x = jnp.roll(x, -by, axis=0)
    if c.num_blocks == 1:
        return x
    edge = -1 if by > 0 else 0
    return x.at[edge].set(jnp.roll(x[edge], -by, axis=block_axis(c, x) - 1))


def block_axis(c: Chain, x: Array) -> int:
    """The axis of x (T, ...) that counts the blocks."""
    return x.ndim - (c.log_lik.ndim - 2)


def stacked(c: Chain) -> Array | None:
    """The transitions to scan over, or None where one fixed matrix serves every step."""
    return None if fixed(c) else c.log_transition


def moves_out(c: Chain) -> Array:
    """(1 or T, K, K) the transitions out of the steps; those out of the last one are zeros."""
    if fixed(c):
        return c.log_transition[None]
    if c.num_blocks > 1:
        return c.log_transition
    return jnp.concatenate([c.log_transition, jnp.zeros_like(c.log_transition[:1])])


def moves_in(c: Chain) -> Array:
    """(1 or T, K, K) the transitions into the steps; those into the first one are zeros."""
    return moves_out(c) if fixed(c) else later(c, moves_out(c), -1)


def fixed(c: Chain) -> bool:
    """Whether one matrix serves every step."""
    return c.log_transition.ndim == c.log_initial.ndim + 1


def blank(c: Chain, *arrays: Array, value: Any = -jnp.inf) -> tuple[Array, ...]:
    """Set the padding of (T, ...) arrays to one value."""
    if c.length is None:
        return arrays
    keep = active(c)
    return tuple(
        jnp.where(jnp.expand_dims(keep, tuple(range(1, 1 + a.ndim - keep.ndim))), a, value)
        for a in arrays
    )


def finite(logs: Array) -> Array:
    """What to subtract from scores so that impossible ones, whose total is -inf, stay -inf."""
    return lax.select(logs == -jnp.inf, jnp.zeros_like(logs), logs)


# terms whose plain sum keeps its digits, and the steps of a run, which are one term of more steps
_FEW_TERMS, _RUN = 128, 32


def centred(c: Chain) -> tuple[Chain, Array]:
    """(the chain with a largest log likelihood of 0 at each step, what it was (T,)).

    What all states have in common would take digits from their posteriors.
    """
    peaks = finite(lax.stop_gradient(jnp.max(c.log_lik, axis=1)))
    return dataclasses.replace(c, log_lik=c.log_lik - peaks[:, None]), peaks


def before_moves(c: Chain, x: Array) -> Array:
    """(T, K, ...) x of the step before, and -inf where no move leads into a step that counts."""
    return jnp.where((active(c) & ~first(c))[:, None], later(c, x, -1), -jnp.inf)


def log_pairs(c: Chain, log_before: Array, log_after: Array) -> Array:
    """(T, K, K) log p(z_t-1 = i, z_t = j | x) from messages up to constants, nats.

    Args:
      c: the chain.
      log_before: (T, K) log p(z_t, x_0..x_t) + a constant for each t.
      log_after: (T, K) log p(x_t..x_T-1 | z_t) + a constant for each t.
    """
    scores = before_moves(c, log_before)[:, :, None] + moves_in(c) + log_after[:, None]
    whole = logsumexp(scores, axis=(1, 2), keepdims=True)
    return scores - finite(whole)


class Filter(NamedTuple):
    """predicted, filtered (T, K); increment (T,): log p(x_t | x_<t); log_prob. Nats; any value at padding."""

    predicted: Array
    filtered: Array
    increment: Array
    log_prob: Array


class Posterior(NamedTuple):
    """marginals (T, K), in logs or not, any value at padding; counts (K, K); log_prob scalar."""

    marginals: Array
    counts: Array
    log_prob: Array


def total(c: Chain, increment: Array) -> Array:
    """Sum of the increments (T,) of the steps that count.

    Short runs are summed as they are, and their totals without rounding: the sum of T = 1e6
    increments in float32 has the accuracy of a few roundings, not of 1e6. No step waits for another.
    """
    (terms,) = blank(c, increment, value=0)
    num_steps, *lanes = terms.shape
    axes = (0,) if c.num_blocks == 1 else (0, 1)
    known = isinstance(num_steps, int)
    if known and (num_steps > _FEW_TERMS or c.num_blocks > 1):
        pad = ((0, -num_steps % _RUN), *((0, 0) for _ in lanes))
        terms = jnp.sum(jnp.pad(terms, pad).reshape(-1, _RUN, *lanes), axis=1)
    if known and c.num_blocks == 1 and len(terms) <= _FEW_TERMS:
        return jnp.sum(terms, axis=0)
    return _accurate_sum(axes, terms)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _accurate_sum(axes: tuple[int, ...], terms: Array) -> Array:
    """Sum over axes, with all but a few bits of every term added without rounding, in any order.

    Adding and subtracting a number above the sum of all terms rounds each term to a multiple of
    that number's last bit. The sum of these is exact, and what was rounded away is small.

    Source: Rump, Ogita & Oishi (2008), SIAM J. Scientific Computing 31(1), 189-224.
    """
    num_terms = math.prod(terms.shape[a] for a in axes)
    above = 4 * num_terms * jnp.max(jnp.abs(terms), axis=axes, keepdims=True)
    above = jnp.where(jnp.isfinite(above), above, 0)
    rounded = (terms + above) - above
    rest = jnp.where(jnp.isfinite(terms), terms - rounded, 0)
    return jnp.sum(rounded, axis=axes) + jnp.sum(rest, axis=axes)


@_accurate_sum.defjvp
def _accurate_sum_jvp(
    axes: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return _accurate_sum(axes, *primals), jnp.sum(*tangents, axis=axes)
