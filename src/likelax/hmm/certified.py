"""The answers step by step: scaled where that is certified as exact, in the log domain elsewhere."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm import best_path as best
from likelax.hmm import logspace, scaled
from likelax.hmm.batching import Rows, kernel
from likelax.hmm.chain import FEW_LANES, Chain

# Steps times transitions, T K K over all rows. Up to the first number one exact recursion is all
# that pays to compile; up to the second the full certificate costs more to compile than it saves.
_SMALL, _MEDIUM = 10_000, 2**15


def _work(rows: Rows) -> int:
    return rows.size * rows.num_steps * rows.num_states**2


def fast_where_certified(
    fast: Callable[[Chain], tuple[Any, Array, Any]], exact: Callable[[Chain], Any], rows: Rows
) -> Any:
    """What `exact` gives for each row, by `fast` where that is certified.

    The rows have one certificate, that all of theirs hold, so a clean batch never runs `exact`; a
    batch with one flagged row runs it for all.

    Args:
      fast: chain -> (draft, a sufficient certificate that costs nothing, evidence for the full one).
      exact: chain -> the answer.
      rows: one chain or a batch; with few states a batch goes through `fast` as lanes.
    """
    if _work(rows) <= _SMALL:
        return rows.each(exact)
    if rows.batched is None or rows.num_states <= FEW_LANES:
        c = rows.lanes()
        draft, plain, evidence = fast(c)

        def careful() -> Array:
            return scaled.careful(evidence, c)

        def finish() -> Any:
            return rows.from_lanes(scaled.in_time(draft, c))

    else:
        draft, plain, evidence = rows.each(fast)
        plain = jnp.all(plain)

        def careful() -> Array:
            return jnp.all(rows.each(scaled.careful, evidence))

        def finish() -> Any:
            return rows.each(scaled.in_time, draft)

    ok = plain
    if _work(rows) > _MEDIUM:
        ok = lax.cond(plain, lambda: jnp.array(True), careful)
    return lax.cond(ok, finish, lambda: rows.each(exact))


def _in_lanes(run: Callable[[Chain], Any], rows: Rows) -> Any:
    if rows.num_states <= FEW_LANES:
        return rows.from_lanes(run(rows.lanes()))
    return rows.each(run)


def _differentiable(
    answer: Callable[[Rows], Any], exact: Callable[[Chain], Any]
) -> Callable[[Chain], Any]:
    """The kernel of `answer`, with the derivatives of `exact`."""
    run = jax.custom_jvp(kernel(answer))

    @run.defjvp
    def jvp(primals: tuple[Chain], tangents: tuple[Chain]) -> tuple[Any, Any]:
        return run(*primals), jax.jvp(exact, primals, tangents)[1]

    return run


def _certified(
    fast: Callable[[Chain], tuple[Any, Array, Any]], exact: Callable[[Chain], Any]
) -> Callable[[Chain], Any]:
    return _differentiable(lambda rows: fast_where_certified(fast, exact, rows), exact)


log_prob = _certified(scaled.log_prob, logspace.log_prob)
filtered = _certified(scaled.filtered, logspace.forward)
pairwise = _certified(scaled.pairwise, logspace.pairwise)
posterior = _certified(
    partial(scaled.posterior, in_logs=False), partial(logspace.posterior, in_logs=False)
)
log_posterior = _certified(
    partial(scaled.posterior, in_logs=True), partial(logspace.posterior, in_logs=True)
)
best_path = _differentiable(lambda rows: _in_lanes(best.best_path, rows), best.in_order)
