"""Batches of matrix factorisations that cannot hang.

On a CPU, jaxlib 0.10 to 0.11 shares a large batch out over its threads, and the thread that asked waits
for the others. Two such calls of one program wait for each other for good. So they get no large batch.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

# jaxlib shares out a batch of at least this many floating-point operations, by its own count.
SHARED_OUT = 200_000


def in_small_batches(kernel: Callable[[Array], Any], cost: float) -> Callable[[Array], Any]:
    """The kernel, whose batches a CPU works through in pieces too small to be shared out.

    Its derivative is that of the kernel, whose batches are whole and may hang; `numerics.cholesky` has one
    of its own.

    Args:
      kernel: matrices (..., M, N) -> arrays with the same leading axes.
      cost: at least the operations that jaxlib counts for one matrix, divided by max(M, N)^3.
    """

    @custom_vmap
    def run(matrices: Array) -> Any:
        if any(not isinstance(size, int) for size in matrices.shape):  # symbolic
            return kernel(matrices)
        *lead, rows, columns = matrices.shape
        piece = max(1, int((SHARED_OUT - 1) / (cost * max(1, rows, columns) ** 3)))
        if math.prod(lead) <= piece:
            return kernel(matrices)

        def pieces(matrices: Array) -> Any:
            found = jax.lax.map(kernel, matrices.reshape(-1, rows, columns), batch_size=piece)
            return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), found)

        return jax.lax.platform_dependent(matrices, cpu=pieces, default=kernel)

    @run.def_vmap
    def _(size: int, in_batched: list[bool], matrices: Array) -> tuple[Any, Any]:
        found = run(matrices)
        return found, jax.tree.map(lambda _: True, found)

    @jax.custom_jvp
    def differentiable(matrices: Array) -> Any:
        return run(matrices)

    @differentiable.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
        found: tuple[Any, Any] = jax.jvp(kernel, primals, tangents)
        return found

    return differentiable


def _tuple(kernel: Callable[[Array], Any]) -> Callable[[Array], Any]:
    return lambda matrices: tuple(kernel(matrices))


# (..., D, D) symmetric -> (..., D, D); `numerics.cholesky` has the better derivative.
cholesky = in_small_batches(jnp.linalg.cholesky, 1 / 3)
# (..., D, D) symmetric -> (eigenvalues (..., D), eigenvectors (..., D, D)).
eigh = in_small_batches(_tuple(jnp.linalg.eigh), 30)
# (..., M, N) -> (Q (..., M, min(M, N)), R (..., min(M, N), N)).
qr = in_small_batches(_tuple(jnp.linalg.qr), 4)
# (..., M, N) -> (U (..., M, R), values (..., R), V^T (..., R, N)), R the smaller of M and N.
svd = in_small_batches(_tuple(functools.partial(jnp.linalg.svd, full_matrices=False)), 30)
# (..., D, D) symmetric -> (..., D, D).
pseudo_inverse = in_small_batches(functools.partial(jnp.linalg.pinv, hermitian=True), 30)
