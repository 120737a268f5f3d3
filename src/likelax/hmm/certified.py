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
    fast: Callable[..., tuple[Any, Array, Any]],
    careful: Callable[..., Array],
    exact: Callable[..., Any],
) -> Callable[..., Any]:
    """A function that answers `fast` where that is certified, and `exact` elsewhere.

    Under `jax.vmap` a plain `lax.cond` becomes a select that pays for both. Here a batch has one
    certificate, that of all its rows, so a clean batch never runs `exact`; a flagged batch runs
    it for all rows.

    Args:
      fast: arguments -> (answer, a sufficient certificate that costs nothing, evidence).
      careful: evidence, arguments -> the full certificate; asked where the first one fails.
      exact: arguments -> an answer of the same structure, shapes and dtypes.
    """

    @functools.cache
    def on_leaves(treedef: Any) -> Callable[..., Any]:
        # custom_vmap cannot be differentiated where an argument holds None, so it sees leaves only
        def unflatten(leaves: Any) -> Any:
            return jax.tree.unflatten(treedef, leaves)

        return _certified(
            lambda *leaves: fast(*unflatten(leaves)),
            lambda evidence, *leaves: careful(evidence, *unflatten(leaves)),
            lambda *leaves: exact(*unflatten(leaves)),
        )

    def run(*args: Any) -> Any:
        leaves, treedef = jax.tree.flatten(args)
        return on_leaves(treedef)(*leaves)

    return run


def _certified(
    fast: Callable[..., Any], careful: Callable[..., Array], exact: Callable[..., Any]
) -> Callable[..., Any]:
    def choose(*args: Array) -> Any:
        answer, plain, evidence = fast(*args)
        ok = lax.cond(plain, lambda *_: jnp.array(True), careful, evidence, *args)
        return lax.cond(ok, lambda *_: answer, exact, *args)

    run = custom_vmap(choose)

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list[bool], *args: Array) -> tuple[Any, Any]:
        if not any(in_batched):
            # only tangents are batched, as in a Hessian; the certificate depends on none of them
            out = choose(*args)
            return out, jax.tree.map(lambda _: False, out)
        in_axes = tuple(0 if batched else None for batched in in_batched)

        def fast_batch(*args: Array) -> tuple[Any, Array, Any]:
            answers, plain, evidence = jax.vmap(fast, in_axes, axis_size=axis_size)(*args)
            return answers, jnp.all(plain), evidence

        def careful_batch(evidence: Any, *args: Array) -> Array:
            rows = jax.vmap(careful, (0, *in_axes), axis_size=axis_size)
            return jnp.all(rows(evidence, *args))

        exact_batch = jax.vmap(exact, in_axes, axis_size=axis_size)
        out = _certified(fast_batch, careful_batch, exact_batch)(*args)
        return out, jax.tree.map(lambda _: True, out)

    return run


log_prob = certified(scaled.log_prob, scaled.careful, logspace.log_prob)
filtered = certified(scaled.filtered, scaled.careful, logspace.forward)
pairwise = certified(scaled.pairwise, scaled.careful, logspace.pairwise)
posterior = certified(
    functools.partial(scaled.posterior, in_logs=False),
    scaled.careful,
    functools.partial(logspace.posterior, in_logs=False),
)
log_posterior = certified(
    functools.partial(scaled.posterior, in_logs=True),
    scaled.careful,
    functools.partial(logspace.posterior, in_logs=True),
)
