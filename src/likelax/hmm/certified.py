"""Fast where that is provably exact, exact otherwise, and one answer for both."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from likelax.hmm import best_path as best
from likelax.hmm import logspace, scaled


def _never(*_: Any) -> bool:
    return False


def _as_it_is(draft: Any, *_: Any) -> Any:
    return draft


def certified(
    fast: Callable[..., tuple[Any, Array, Any]],
    careful: Callable[..., Array],
    exact: Callable[..., Any],
    finish: Callable[..., Any] = _as_it_is,
    as_lanes: Callable[..., bool] = _never,
) -> Callable[..., Any]:
    """A function that answers `fast` where that is certified, and `exact` elsewhere.

    Under `jax.vmap` a plain `lax.cond` becomes a select that pays for both. Here a batch has one
    certificate, that of all its rows, so a clean batch never runs `exact`; a flagged batch runs
    it for all rows.

    Args:
      fast: arguments -> (draft, a sufficient certificate that costs nothing, evidence).
      careful: evidence, arguments -> the full certificate; asked where the first one fails.
      exact: arguments -> an answer of the structure, shapes and dtypes that `finish` gives.
      finish: draft, arguments -> the answer; run only where it is certified, and apart from `fast`,
        so that XLA does not work the draft out in the order of the answer.
      as_lanes: arguments of one row -> whether `fast` and `careful` take a batch at once, as a
        last axis on every array, of size 1 where the rows share it.
    """

    return _on_leaves(
        lambda unflatten: _certified(
            lambda *leaves: fast(*unflatten(leaves)),
            lambda evidence, *leaves: careful(evidence, *unflatten(leaves)),
            lambda *leaves: exact(*unflatten(leaves)),
            lambda draft, *leaves: finish(draft, *unflatten(leaves)),
            lambda *leaves: as_lanes(*unflatten(leaves)),
        )
    )


def _on_leaves(build: Callable[[Callable[[Any], Any]], Callable[..., Any]]) -> Callable[..., Any]:
    """A function of trees from `build`, which makes one of their leaves, given how to unflatten.

    custom_vmap cannot be differentiated where an argument holds None, so it sees leaves only.
    """

    @functools.cache
    def on_leaves(treedef: Any) -> Callable[..., Any]:
        return build(functools.partial(jax.tree.unflatten, treedef))

    def run(*args: Any) -> Any:
        leaves, treedef = jax.tree.flatten(args)
        return on_leaves(treedef)(*leaves)

    return run


def _certified(
    fast: Callable[..., Any],
    careful: Callable[..., Array],
    exact: Callable[..., Any],
    finish: Callable[..., Any],
    as_lanes: Callable[..., bool] = _never,
) -> Callable[..., Any]:
    def choose(*args: Array) -> Any:
        draft, plain, evidence = fast(*args)
        ok = lax.cond(plain, lambda *_: jnp.array(True), careful, evidence, *args)
        return lax.cond(ok, finish, lambda _, *args: exact(*args), draft, *args)

    run = custom_vmap(choose)

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list[bool], *args: Array) -> tuple[Any, Any]:
        if not any(in_batched):
            # only tangents are batched, as in a Hessian; the certificate depends on none of them
            out = choose(*args)
            return out, jax.tree.map(lambda _: False, out)
        in_axes = tuple(0 if batched else None for batched in in_batched)
        exact_batch = jax.vmap(exact, in_axes, axis_size=axis_size)
        if as_lanes(*_one_row(args, in_batched)):
            lanes = functools.partial(_lanes, in_batched)

            def fast_lanes(*args: Array) -> tuple[Any, Array, Any]:
                return fast(*lanes(args))

            def careful_lanes(evidence: Any, *args: Array) -> Array:
                return careful(evidence, *lanes(args))

            def finish_lanes(draft: Any, *args: Array) -> Any:
                return _rows(finish(draft, *lanes(args)))

            out = _certified(fast_lanes, careful_lanes, exact_batch, finish_lanes)(*args)
            return out, jax.tree.map(lambda _: True, out)

        def fast_batch(*args: Array) -> tuple[Any, Array, Any]:
            drafts, plain, evidence = jax.vmap(fast, in_axes, axis_size=axis_size)(*args)
            return drafts, jnp.all(plain), evidence

        def careful_batch(evidence: Any, *args: Array) -> Array:
            rows = jax.vmap(careful, (0, *in_axes), axis_size=axis_size)
            return jnp.all(rows(evidence, *args))

        finish_batch = jax.vmap(finish, (0, *in_axes), axis_size=axis_size)
        out = _certified(fast_batch, careful_batch, exact_batch, finish_batch)(*args)
        return out, jax.tree.map(lambda _: True, out)

    return run


def _one_row(args: Any, in_batched: list[bool]) -> list[Any]:
    return [
        jax.ShapeDtypeStruct(a.shape[1:] if b else a.shape, a.dtype)
        for a, b in zip(args, in_batched, strict=True)
    ]


def _lanes(in_batched: list[bool], args: Any) -> list[Array]:
    pairs = zip(args, in_batched, strict=True)
    return [jnp.moveaxis(a, 0, -1) if b else a[..., None] for a, b in pairs]


def _rows(lanes: Any) -> Any:
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), lanes)


def in_lanes(run: Callable[..., Any], as_lanes: Callable[..., bool]) -> Callable[..., Any]:
    """run, which takes a batch as lanes under `jax.vmap` where `as_lanes` of one row says so."""

    def build(unflatten: Callable[[Any], Any]) -> Callable[..., Any]:
        def whole(*leaves: Array) -> Any:
            return run(*unflatten(leaves))

        mapped = custom_vmap(whole)

        @mapped.def_vmap
        def run_batch(axis_size: int, in_batched: list[bool], *leaves: Array) -> tuple[Any, Any]:
            if not any(in_batched):
                out = whole(*leaves)
                return out, jax.tree.map(lambda _: False, out)
            if as_lanes(*unflatten(_one_row(leaves, in_batched))):
                out = _rows(whole(*_lanes(in_batched, leaves)))
            else:
                in_axes = tuple(0 if batched else None for batched in in_batched)
                out = jax.vmap(whole, in_axes, axis_size=axis_size)(*leaves)
            return out, jax.tree.map(lambda _: True, out)

        return mapped

    return _on_leaves(build)


def _differentiable(run: Callable[[Any], Any], exact: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """run, with the derivative of `exact`: custom_vmap has none in reverse mode."""

    @jax.custom_jvp
    def f(c: Any) -> Any:
        return run(c)

    @f.defjvp
    def jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
        return f(*primals), jax.jvp(exact, primals, tangents)[1]

    return f


def _answer(
    fast: Callable[[Any], Any], exact: Callable[[Any], Any], lanes: bool = True
) -> Callable[[Any], Any]:
    as_lanes = scaled.as_lanes if lanes else _never
    return _differentiable(certified(fast, scaled.careful, exact, scaled.in_time, as_lanes), exact)


best_path = _differentiable(in_lanes(best.best_path, scaled.as_lanes), best.in_order)
log_prob = _answer(scaled.log_prob, logspace.log_prob)
filtered = _answer(scaled.filtered, logspace.forward)
pairwise = _answer(scaled.pairwise, logspace.pairwise, lanes=False)
posterior = _answer(
    functools.partial(scaled.posterior, in_logs=False),
    functools.partial(logspace.posterior, in_logs=False),
)
log_posterior = _answer(
    functools.partial(scaled.posterior, in_logs=True),
    functools.partial(logspace.posterior, in_logs=True),
)
