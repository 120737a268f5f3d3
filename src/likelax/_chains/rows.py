"""Kernels of one chain that see the whole batch when `jax.vmap` maps them.

`jax.vmap` maps a function operation by operation. A `lax.cond` then becomes a select, which runs
both of its programs for every row. Here the rule for a batch is a function of the whole batch,
`Rows`, which chooses one program for all rows.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from likelax._chains.chain import Chain


class Rows(NamedTuple):
    """One chain, or a batch of N chains.

    Attributes:
      leaves: the arrays of the chain; those that differ between the chains lead with an axis N.
      structure: the tree that the arrays belong to.
      batched: for each array, whether it leads with N; None: one chain, and no axis N anywhere.
    """

    leaves: tuple[Array, ...]
    structure: Any
    batched: tuple[bool, ...] | None

    @property
    def size(self) -> int:
        """N, or 1."""
        if self.batched is None:
            return 1
        return next(a.shape[0] for a, b in zip(self.leaves, self.batched, strict=True) if b)

    @property
    def num_steps(self) -> int:
        """T."""
        return self._log_lik.shape[-2]

    @property
    def num_states(self) -> int:
        """K."""
        return self._log_lik.shape[-1]

    @property
    def _log_lik(self) -> Array:
        return jax.tree.unflatten(self.structure, self.leaves).log_lik

    def each(self, function: Callable[..., Any], *results: Any) -> Any:
        """function(results of a row, its chain) for every row; results lead with N."""

        def one(results: Any, *leaves: Array) -> Any:
            return function(*results, jax.tree.unflatten(self.structure, leaves))

        if self.batched is None:
            return one(results, *self.leaves)
        axes = (0, *(0 if b else None for b in self.batched))
        return jax.vmap(one, axes, axis_size=self.size)(results, *self.leaves)

    def lanes(self) -> Chain:
        """All rows as one chain with lanes: the axis N, or one of size 1, comes last."""
        if self.batched is None:
            return jax.tree.unflatten(self.structure, self.leaves)
        pairs = zip(self.leaves, self.batched, strict=True)
        leaves = [jnp.moveaxis(a, 0, -1) if b else a[..., None] for a, b in pairs]
        return jax.tree.unflatten(self.structure, leaves)

    def take(self, at: Array) -> "Rows":
        """The rows at these places (M,); a place behind the last is the last."""
        batched = self.batched or (False,) * len(self.leaves)
        pairs = zip(self.leaves, batched, strict=True)
        leaves = tuple(a.at[at].get(mode="clip") if b else a for a, b in pairs)
        return Rows(leaves, self.structure, batched)

    def from_lanes(self, out: Any) -> Any:
        """What a chain with lanes gave, with the axis N first."""
        if self.batched is None:
            return out
        return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), out)


def kernel(answer: Callable[[Rows], Any]) -> Callable[[Chain], Any]:
    """A function of one chain from a function of `Rows`, whose results lead with N for a batch.

    Nested calls of `jax.vmap` make one batch of all their axes together.
    """

    def run(c: Chain) -> Any:
        # custom_vmap cannot be differentiated where an argument holds None, so it sees leaves only
        leaves, structure = jax.tree.flatten(c)
        return _on_leaves(answer, structure, None)(*leaves)

    return run


@functools.cache
def _on_leaves(
    answer: Callable[[Rows], Any], structure: Any, batched: tuple[bool, ...] | None
) -> Callable[..., Any]:
    @custom_vmap
    def run(*leaves: Array) -> Any:
        return answer(Rows(leaves, structure, batched))

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list[bool], *leaves: Array) -> tuple[Any, Any]:
        if not any(in_batched):
            # only tangents are batched, as in a Hessian, and no choice depends on them
            out = run(*leaves)
            return out, jax.tree.map(lambda _: False, out)
        if batched is None and axis_size == 1:
            # a batch of one is one chain, which has faster forms
            each = zip(in_batched, leaves, strict=True)
            out = run(*(leaf[0] if outer else leaf for outer, leaf in each))
            return jax.tree.map(lambda a: a[None], out), jax.tree.map(lambda _: True, out)
        if batched is None:
            inner = _on_leaves(answer, structure, tuple(in_batched))
            out = inner(*leaves)
            return out, jax.tree.map(lambda _: True, out)
        pairs = list(zip(in_batched, batched, strict=True))
        num_rows = next(a.shape[outer] for a, (outer, b) in zip(leaves, pairs, strict=True) if b)
        merged = []
        for leaf, (outer, b) in zip(leaves, pairs, strict=True):
            if outer and not b:
                leaf = jnp.repeat(leaf, num_rows, axis=0)
            elif b and not outer:
                leaf = jnp.tile(leaf, (axis_size, *(1,) * (leaf.ndim - 1)))
            elif b:
                leaf = leaf.reshape(-1, *leaf.shape[2:])
            merged.append(leaf)
        inner = _on_leaves(answer, structure, tuple(outer or b for outer, b in pairs))
        out = jax.tree.map(lambda a: a.reshape(axis_size, num_rows, *a.shape[1:]), inner(*merged))
        return out, jax.tree.map(lambda _: True, out)

    return run
