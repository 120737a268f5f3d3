"""Which form of the recursions answers: the one place that decides.

It is decided when the program is traced, from the work T K K summed over the rows of the batch, and
when it is lowered, from the platform:

| work | on a CPU | elsewhere |
| --- | --- | --- |
| at most `_SMALL` | `log_domain`, but for more than `_TINY` of one chain of few states `short` | the same |
| at most `_MEDIUM`, one chain | `short` or `scaled`, and `log_domain` where the plain certificate fails | the same |
| at most `_SHORT`, one short chain of few states | `short`, and `log_domain` likewise | the same |
| at most `_MEDIUM`, a batch | `scaled`, and `log_domain` where the full certificate fails | the same |
| more | `scaled`, and `log_domain` where the full certificate fails | `products` |
| sizes not known | `log_domain` | `log_domain` |

The gradient of one short chain of few states is `short.gradient` up to a work of `_SLOPE`, and above that
`short.gradient` where `short` is not certified.

`lax.platform_dependent` drops the other branch when the program is lowered for one platform, whatever
machine that is done on.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax._chains import best_path as by_steps
from likelax._chains import blocks, log_domain, products, scaled, short
from likelax._chains.chain import FEW_LANES, VERY_FEW, Chain, Filter, Posterior
from likelax._chains.recursion import Recursion
from likelax._chains.rows import Rows, kernel

_EXACT: Recursion = log_domain
_PRODUCTS: Recursion = products

# Work up to the first number is one exact recursion, the smallest program, and so is a batch up to the
# second; up to the third the full certificate of one chain costs more to compile than it saves, and so does a
# second form for accelerators. A batch is mostly one of many steps of a loop, where it pays. One chain of few states is
# short up to the fourth, and up to the fifth its gradient is one exact recursion.
_TINY, _SMALL, _MEDIUM, _SHORT, _SLOPE = 256, 10_000, 2**15, 2**16, 2**14
# steps from which derivatives of posteriors take the accelerator's form there
_LONG = 2048
# uncertified rows are redone so many at a time: a share of the rows, within bounds; but the loop over
# one chain of very few states is a small one, which compiles soonest
_SHARE, _FEWEST, _MOST = 128, 8, 64


@dataclass(frozen=True)
class _Answer:
    """One answer of a chain, or of each row of a batch.

    Attributes:
      steps: rows -> the answers, on a CPU.
      exact: chain -> the answer, in the smallest program, which JAX can differentiate.
      products: chain -> the answer, on an accelerator.
      parallel: True for `products`, False for steps; None: by size and platform.
      short: chain -> (the answer, whether it is certified), for one short chain; None: there is none.
      slope: whether it is for a gradient, which has an exact form for one short chain of few states.
    """

    steps: Callable[[Rows], Any]
    exact: Callable[[Chain], Any]
    products: Callable[[Chain], Any]
    parallel: bool | None
    short: Callable[[Chain], tuple[Any, Array]] | None
    slope: bool

    def __call__(self, rows: Rows) -> Any:
        if self.parallel:
            return self._by_products(rows)
        if self.short is not None and _is_short(rows):
            c, exact = rows.lanes(), short.gradient if self.slope else self.exact
            if self.slope and not _larger(rows, _SLOPE):
                return exact(c)
            if _larger(rows, _TINY):
                out, ok = self.short(c)
                return lax.cond(ok, lambda: out, lambda: exact(c))
        if not _larger(rows, _SMALL):
            return rows.each(self.exact)
        if self.parallel is False or not _larger(rows, _MEDIUM):
            return self.steps(rows)
        return lax.platform_dependent(
            *rows.leaves,
            cpu=lambda *leaves: self.steps(rows._replace(leaves=leaves)),
            default=lambda *leaves: self._by_products(rows._replace(leaves=leaves)),
        )

    def _by_products(self, rows: Rows) -> Any:
        return rows.from_lanes(self.products(rows.lanes()))

    def differentiable(self, c: Chain) -> Any:
        """The answer for one chain, without rules of derivatives."""
        num_steps = c.log_lik.shape[0]
        if self.parallel:
            return self.products(c)
        if self.parallel is False or not isinstance(num_steps, int) or num_steps < _LONG:
            return self.exact(c)
        return lax.platform_dependent(c, cpu=self.exact, default=self.products)


def _is_short(rows: Rows) -> bool:
    """Whether `short` serves: one chain of known size, not so long that blocks pay."""
    if rows.batched is not None or not short.serves(rows.lanes()) or not _larger(rows, 0):
        return False
    return not _larger(rows, _SHORT) and rows.num_steps < blocks.LONG


def _larger(rows: Rows, bound: int) -> bool:
    """Whether the work is known and larger than a bound."""
    sizes = rows.size, rows.num_steps
    if not all(isinstance(size, int) for size in sizes):
        return False
    return math.prod(sizes) * rows.num_states**2 > bound


def _certified(
    fast: Callable[[Chain], scaled.Draft], exact: Callable[[Chain], Any], rows: Rows
) -> Any:
    """What `exact` gives for each row, by `fast` where that is certified.

    Args:
      fast: chain -> draft; with few states all rows go through it as lanes.
      exact: chain -> the answer.
      rows: one chain or a batch.
    """
    if rows.batched is None or rows.num_states <= FEW_LANES:
        c = rows.lanes()
        draft = fast(c)
        finish, plain = draft.finish, draft.plain

        def careful() -> Array:
            ok = scaled.careful(draft.evidence, c, draft.both_ways)
            return jnp.broadcast_to(ok, plain.shape)

    else:

        def finished(c: Chain) -> tuple[Any, Array, Any]:
            draft = fast(c)
            return draft.finish(), draft.plain, draft.evidence

        out, plain, evidence = rows.each(finished)

        def finish() -> Any:
            return out

        def careful() -> Array:
            return rows.each(scaled.careful, evidence)

    ok = plain
    if rows.batched is not None or _larger(rows, _MEDIUM):
        ok = lax.cond(jnp.all(plain), lambda: plain, careful)
    if rows.batched is None:
        return lax.cond(ok, finish, lambda: rows.each(exact))
    state = jnp.broadcast_to(ok, rows.size), finish()
    if rows.num_states > FEW_LANES:
        return _redone(exact, rows, state, 0)
    return rows.from_lanes(_redone(exact, rows, state, -1))


def _redone(exact: Callable[[Chain], Any], rows: Rows, state: tuple[Array, Any], axis: int) -> Any:
    """Answers with those rows that are not right computed by `exact`, a few at a time.

    Args:
      exact: chain -> the answer.
      rows: the batch.
      state: (N,) which rows are right; their answers.
      axis: that of the rows in the answers, 0 or -1.
    """
    fewest = 1 if rows.num_states <= VERY_FEW else _FEWEST
    few = min(rows.size, max(fewest, min(_MOST, rows.size // _SHARE)))

    def again(state: tuple[Array, Any]) -> tuple[Array, Any]:
        ok, out = state
        _, at = lax.top_k(jnp.logical_not(ok).astype(jnp.float32), few)
        redone = rows.take(at).each(exact)
        # where fewer are left, the answers of right ones stay
        at = jnp.where(ok[at], rows.size, at)
        place = (at,) if axis == 0 else (..., at)
        out = jax.tree.map(
            lambda a, b: a.at[place].set(jnp.moveaxis(b, 0, axis), mode="drop"), out, redone
        )
        return ok.at[at].set(True, mode="drop"), out

    return lax.while_loop(lambda state: ~jnp.all(state[0]), again, state)[1]


def _best_by_steps(rows: Rows) -> Any:
    """The best paths, which need no certificate."""
    if rows.num_states <= FEW_LANES:
        return rows.from_lanes(by_steps.best_path(rows.lanes()))
    return rows.each(by_steps.best_path)


@functools.cache
def _kernel(
    name: str, parallel: bool | None, slope: bool = False, **options: Any
) -> Callable[[Chain], Any]:
    """One answer of a chain, which knows its batch and its derivatives."""

    def of(form: Any) -> Callable[[Chain], Any]:
        return functools.partial(getattr(form, name), **options)

    exact = of(_EXACT)
    steps = (
        functools.partial(_certified, of(scaled), exact) if name != "best_path" else _best_by_steps
    )
    quick = of(short) if hasattr(short, name) else None
    answer = _Answer(steps, exact, of(_PRODUCTS), parallel, quick, slope)
    run = jax.custom_jvp(kernel(answer))

    @run.defjvp
    def jvp(primals: tuple[Chain], tangents: tuple[Chain]) -> tuple[Any, Any]:
        return run(*primals), jax.jvp(answer.differentiable, primals, tangents)[1]

    return run


def log_prob(c: Chain, parallel: bool | None = None) -> Any:
    """Scalar, nats."""
    return _kernel("log_prob", parallel)(c)


def filtered(c: Chain, parallel: bool | None = None) -> Filter:
    """Forward posteriors."""
    return _kernel("filtered", parallel)(c)


def pairwise(c: Chain, parallel: bool | None = None) -> Any:
    """(T-1, K, K) nats."""
    return _kernel("pairwise", parallel)(c)


def posterior(c: Chain, parallel: bool | None = None, *, in_logs: bool) -> Posterior:
    """Marginals, counts and log p(x)."""
    return _kernel("posterior", parallel, in_logs=in_logs)(c)


def gradient(c: Chain, parallel: bool | None = None) -> Posterior:
    """`posterior` in probabilities; little work is one exact recursion, which compiles soonest."""
    return _kernel("posterior", parallel, slope=True, in_logs=False)(c)


def best_path(c: Chain, parallel: bool | None = None) -> tuple[Array, Array]:
    """(path (T,), its score)."""
    return _kernel("best_path", parallel)(c)
