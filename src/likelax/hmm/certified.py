"""Fast where that is provably exact, exact otherwise, and one answer for both."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from likelax.hmm import logspace, scaled


def certified(
    fast: Callable[..., tuple[Any, Array]], exact: Callable[..., Any]
) -> Callable[..., Any]:
    """A function that answers `fast`, or `exact` where fast's own certificate fails.

    Under `jax.vmap` a plain `lax.cond` becomes a select that pays for both. Here a batch has one
    certificate, that of all its rows, so a clean batch never runs `exact`; a flagged batch runs
    it for all rows. Derivatives are those of `exact`.

    Args:
      fast: arguments -> (answer, scalar boolean: is it certified).
      exact: arguments -> answer of the same structure, shapes and dtypes.
    """

    @custom_vmap
    def run(*args: Any) -> Any:
        answer, ok = fast(*args)
        return lax.cond(ok, lambda *_: answer, lambda *a: exact(*a), *args)

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list[Any], *args: Any) -> tuple[Any, Any]:
        in_axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched)

        def fast_batch(*args: Any) -> tuple[Any, Array]:
            answers, ok = jax.vmap(fast, tuple(in_axes), axis_size=axis_size)(*args)
            return answers, jnp.all(ok)

        exact_batch = jax.vmap(exact, tuple(in_axes), axis_size=axis_size)
        out = certified(fast_batch, exact_batch)(*args)
        return out, jax.tree.map(lambda _: True, out)

    @jax.custom_jvp
    def answer(*args: Any) -> Any:
        return run(*args)

    @answer.defjvp
    def answer_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        return jax.jvp(exact, primals, tangents)

    return answer


log_prob = certified(scaled.log_prob, logspace.log_prob)
filtered = certified(scaled.filtered, logspace.forward)
pairwise = certified(scaled.pairwise, logspace.pairwise)
posterior = certified(
    functools.partial(scaled.posterior, in_logs=False),
    functools.partial(logspace.posterior, in_logs=False),
)
log_posterior = certified(
    functools.partial(scaled.posterior, in_logs=True),
    functools.partial(logspace.posterior, in_logs=True),
)
