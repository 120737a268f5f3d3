"""The potentials that every hidden Markov kernel takes: checked, with masks over time."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax.numerics import Compensated, add_compensated, as_float


class Chain(NamedTuple):
    """The potentials of one or more concatenated sequences, checked and with padding blanked.

    The scaled recursions also take a batch of chains as lanes: a last axis of N, or of 1 where
    all chains share it, on every array.

    Attributes:
      log_initial: (K,) nats.
      log_transition: (K, K), or (T-1, K, K) whose entry t carries step t to step t+1.
      log_lik: (T, K) nats; 0 at padding.
      starts: (T,) booleans, True at step 0 and wherever a sequence begins; None: only step 0.
      length: scalar integer, the number of steps that count; None: T.
    """

    log_initial: Array
    log_transition: Array
    log_lik: Array
    starts: Array | None
    length: Array | None


def chain(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    length: ArrayLike | None,
    starts: ArrayLike | None,
) -> Chain:
    """Check shapes and dtypes at trace time and put the arguments into one form."""
    log_initial, log_transition, log_lik = as_float(log_initial, log_transition, log_lik)
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
    if length is not None:
        length = jnp.asarray(length)
        if length.shape != () or not jnp.issubdtype(length.dtype, jnp.integer):
            raise ValueError(
                f"length must be a scalar integer, got {length.dtype} of shape {length.shape}; "
                "use jax.vmap for one length per sequence"
            )
        length = length.astype(jnp.int32)
        log_lik = jnp.where((jnp.arange(num_steps, dtype=jnp.int32) < length)[:, None], log_lik, 0)
    if starts is not None:
        starts = jnp.asarray(starts)
        if starts.shape != (num_steps,) or starts.dtype != jnp.bool_:
            raise ValueError(
                f"starts must be booleans of shape (T,) = ({num_steps},), got "
                f"{starts.dtype} of shape {starts.shape}"
            )
        starts = starts.at[0].set(True)
    return Chain(log_initial, log_transition, log_lik, starts, length)


def active(c: Chain) -> Array:
    """(T,) booleans: the steps that count."""
    num_steps, num_lanes = c.log_lik.shape[0], c.log_lik.ndim - 2
    if c.length is None:
        return jnp.ones((num_steps, *(1,) * num_lanes), bool)
    return _steps(c) < c.length[None]


def _steps(c: Chain) -> Array:
    num_steps, num_lanes = c.log_lik.shape[0], c.log_lik.ndim - 2
    return jnp.arange(num_steps, dtype=jnp.int32).reshape(num_steps, *(1,) * num_lanes)


def first(c: Chain) -> Array:
    """(T,) booleans: the steps whose state is drawn from log_initial."""
    return _steps(c) == 0 if c.starts is None else c.starts


def last(c: Chain) -> Array:
    """(T,) booleans: the steps after which nothing of the same sequence comes; padding is last."""
    follows = active(c)[1:] & ~first(c)[1:]
    return jnp.concatenate([~follows, jnp.ones((1, *follows.shape[1:]), bool)])


def stacked(c: Chain) -> Array | None:
    """The transitions to scan over, or None where one fixed matrix serves every step."""
    return None if fixed(c) else c.log_transition


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


def compensated_sum(terms: Array) -> Array:
    """Sum of (T, ...) terms over T: short blocks as they are, their totals with the error carried.

    The sum of T = 1e6 increments in float32 has the accuracy of a few roundings, not of 1e6.
    """
    lanes = terms.shape[1:]
    if terms.shape[0] > _BLOCK:
        pad = ((0, -terms.shape[0] % _BLOCK), *((0, 0) for _ in lanes))
        terms = jnp.pad(terms, pad).reshape(-1, _BLOCK, *lanes).sum(axis=1)
    zero = jnp.zeros(lanes, terms.dtype)
    acc, _ = lax.scan(
        lambda acc, term: (add_compensated(acc, term), None), Compensated(zero, zero), terms
    )
    return acc.total + acc.error


_BLOCK = 32


class Filter(NamedTuple):
    """predicted, filtered (T, K); increment (T,): log p(x_t | x_<t). Nats; any value at padding."""

    predicted: Array
    filtered: Array
    increment: Array


class Posterior(NamedTuple):
    """marginals (T, K), in logs or not, any value at padding; counts (K, K); log_prob scalar."""

    marginals: Array
    counts: Array
    log_prob: Array


def total(c: Chain, increment: Array) -> Array:
    """Sum of the increments (T,) of the steps that count."""
    return compensated_sum(blank(c, increment, value=0)[0])
