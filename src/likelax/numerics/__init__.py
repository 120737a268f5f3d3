"""Arithmetic that is exact at zero: logs, normalisation, sums and small linear systems.

The log of zero is -inf; no epsilon is added. Every function has finite gradients at its edges.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import lapack
from likelax.numerics.checks import as_array, as_booleans, check_axes, checked, is_real

__all__ = [
    "Compensated",
    "add_compensated",
    "any_in_batch",
    "as_array",
    "as_booleans",
    "as_float",
    "cholesky",
    "divide",
    "inverse_lower",
    "log_normalize",
    "logsumexp",
    "named_floats",
    "normalize",
    "row_products",
    "safe_log",
    "solve",
    "solve_cholesky",
    "solve_lower",
    "weighted",
    "weighted_sum",
    "xlog1py",
    "xlogy",
]

Axis = int | Sequence[int] | None

_BLOCK = 256  # rows that one running sum of `row_products` adds
_UNROLLED = 4  # rows of a triangular system whose substitution is written out
_INVERTED = 32  # rows of a triangular block that is inverted by halves


def named_floats(**arguments: Any) -> list[Array]:
    """`as_array` of each keyword under its own name, then `as_float` of all of them.

    Args:
      arguments: arrays of any shapes, as keywords.
    Returns:
      One array for each keyword, in order, all of the same floating dtype.
    Raises:
      TypeError, ValueError: as `as_array`, naming the keyword.

    Examples:
      >>> draws, x = named_floats(draws=[1, 2], x=0.5)
      >>> draws.dtype == x.dtype
      True
    """
    return as_float(*(as_array(name, value) for name, value in arguments.items()))


def as_float(*arrays: ArrayLike) -> list[Array]:
    """Convert all arguments to one floating dtype: the widest among the floats given, or float32.

    Sums and special functions are not reliable in fewer bits, and JAX does not have all of them. Integers and booleans do not affect the dtype, so counts may be passed as they are.

    Args:
      arrays: of any shapes.
    Returns:
      One array per argument, in order, all of the same floating dtype.
    Raises:
      TypeError: for something that is not an array of real numbers, such as a parameter of None.

    Examples:
      >>> x, y = as_float(3, jnp.ones(2))
      >>> x.dtype == y.dtype
      True
    """
    arrays = tuple(a if is_real(a) else as_array("every argument", a) for a in arrays)
    floats = [jax.dtypes.canonicalize_dtype(jnp.result_type(a)) for a in arrays]
    floats = [d for d in floats if jnp.issubdtype(d, jnp.floating)]
    strong = [
        d
        for a, d in zip(arrays, map(jnp.result_type, arrays), strict=True)
        if jnp.issubdtype(d, jnp.floating) and not _is_weak(a)
    ]
    chosen = strong or floats
    dtype = jnp.zeros(()).dtype
    if chosen:
        widest = max(chosen, key=lambda d: jnp.finfo(d).bits)
        wide = jnp.finfo(widest).bits >= 32
        dtype = jax.dtypes.canonicalize_dtype(widest if wide else jnp.float32)
    return [jnp.asarray(a, dtype) for a in arrays]


def _is_weak(a: ArrayLike) -> bool:
    return isinstance(a, (bool, int, float)) or getattr(a, "weak_type", False)


@checked()
def safe_log(x: ArrayLike) -> Array:
    """Natural log with log 0 = -inf and a zero gradient there.

    The tangent at zero is 0 instead of the infinite d log x / dx, so a gradient step keeps a
    structural zero.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: any shape, non-negative. Negative entries give NaN.
    Returns:
      log x, same shape, nats.

    Examples:
      >>> print(safe_log(jnp.array([0.0, 1.0])))
      [-inf   0.]
    """
    (x,) = as_float(x)
    zero = x == 0
    return jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1, x)))


@checked()
def xlogy(x: ArrayLike, y: ArrayLike) -> Array:
    """x log y with 0 log 0 = 0, and finite gradients wherever x = 0.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: any shape.
      y: broadcastable to x, non-negative. y = 0 with x > 0 gives -inf.
    Returns:
      x log y, the shape of x. Its derivative with respect to y is 0 where x = 0 or y = 0.

    Examples:
      >>> print(xlogy(jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0])))
      [0. 0.]
    """
    x, y = as_float(x, y)
    # x = 0 removes the term, so y may be anything there, even infinite
    inner = jnp.where(x == 0, 1, y)
    return jnp.where(x == 0, 0, x) * jnp.where(x == 0, 0, safe_log(inner))


@checked()
def xlog1py(x: ArrayLike, y: ArrayLike) -> Array:
    """x log(1 + y) with 0 log 0 = 0, and finite gradients wherever x = 0 or y = -1.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      x: any shape.
      y: broadcastable to x, at least -1.
    Returns:
      x log(1 + y), the shape of x.

    Examples:
      >>> print(xlog1py(jnp.array([0.0, 0.0]), jnp.array([-1.0, 1.0])))
      [0. 0.]
    """
    x, y = as_float(x, y)
    edge = (x == 0) | (y == -1)
    value = jnp.where(edge, 0, x) * jnp.log1p(jnp.where(edge, 0, y))
    return jnp.where((y == -1) & (x != 0), jnp.where(x > 0, -jnp.inf, jnp.inf), value)


@checked()
def logsumexp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Array:
    """log sum exp(a), equal to -inf with zero gradient where every term is -inf.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      a: (...) nats; -inf is a term of zero.
      axis: axes to sum over; None is all of them.
      keepdims: whether to keep the summed axes with length 1.
    Returns:
      nats, without the summed axes. The gradient is softmax(a). For a slice that is all -inf it is
      zero; that of `jax.nn.logsumexp` is NaN.

    Examples:
      >>> float(logsumexp(jnp.full(3, -jnp.inf)))
      -inf
    """
    (a,) = as_float(a)
    _, log_total, peak = _below_peak(a, axis)
    out = log_total + peak
    return out if keepdims else jnp.squeeze(out, axis=_axes(axis, a.ndim))


def _below_peak(a: Array, axis: Axis) -> tuple[Array, Array, Array]:
    """(a - peak, log sum exp(a - peak), peak), the largest along the axes, or 0 if it is not finite."""
    peak = jax.lax.stop_gradient(jnp.max(a, axis=axis, keepdims=True, initial=-jnp.inf))
    peak = jnp.where(jnp.isfinite(peak), peak, 0)
    below = a - peak
    return below, safe_log(jnp.sum(jnp.exp(below), axis=axis, keepdims=True)), peak


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


@checked()
def normalize(scores: ArrayLike, axis: int = -1) -> Array:
    """Divide non-negative scores by their sum.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      scores: any shape, non-negative.
      axis: the axis along which the result sums to one.
    Returns:
      Probabilities, the shape of scores. A slice whose sum is zero becomes NaN; `log_normalize`
      keeps such a slice as all -inf.

    Examples:
      >>> print(normalize(jnp.array([4.0, 2.0, 1.0])))
      [0.5714 0.2857 0.1429]
    """
    (scores,) = as_float(scores)
    return scores / jnp.sum(scores, axis=axis, keepdims=True)


@checked()
def log_normalize(scores: ArrayLike, axis: int = -1) -> tuple[Array, Array]:
    """Subtract log sum exp along an axis.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      scores: (...) log scores, nats.
      axis: the axis along which the exponentials of the result sum to one.
    Returns:
      (log_probs, log_total): log_probs has the shape of scores, log_total lacks `axis`.
      An impossible slice (all -inf) stays all -inf with log_total = -inf.
    Raises:
      ValueError: for a number.

    Examples:
      >>> log_probs, log_total = log_normalize(jnp.array([0.0, 0.0]))
      >>> print(jnp.exp(log_probs), f"{log_total:.4f}")
      [0.5 0.5] 0.6931
    """
    (scores,) = as_float(scores)
    check_axes("scores", scores, 1)
    # without the peak, which would take digits
    below, log_total, peak = _below_peak(scores, axis)
    shift = jnp.where(log_total == -jnp.inf, 0, log_total)
    return below - shift, jnp.squeeze(log_total + peak, axis=axis)


@checked()
def divide(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike) -> Array:
    """numerator / denominator, or `otherwise` where the denominator is zero.

    For ratios of statistics that may be empty. The gradient there is that of `otherwise`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      numerator, denominator, otherwise: of shapes that broadcast.
    Returns:
      The broadcast shape.

    Examples:
      >>> print(divide(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]), 7.0))
      [0.5 7. ]
    """
    numerator, denominator, otherwise = as_float(numerator, denominator, otherwise)
    empty = denominator == 0
    return jnp.where(empty, otherwise, numerator / jnp.where(empty, 1, denominator))


@checked()
def weighted(weights: ArrayLike, values: ArrayLike) -> Array:
    """weights * values, and 0 where the weight is zero, whatever the value.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      weights, values: of shapes that broadcast.
    Returns:
      The broadcast shape.

    Examples:
      >>> print(weighted(jnp.array([0.0, 2.0]), jnp.array([jnp.nan, 3.0])))
      [0. 6.]
    """
    return _cleared_product(*as_float(weights, values))


@checked()
def weighted_sum(weights: ArrayLike, values: ArrayLike, axis: Axis = None) -> Array:
    """Sum of weights * values, where a zero weight removes its value, even if that is infinite.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      weights, values: of shapes that broadcast.
      axis: axes to sum over; None is all of them.

    Examples:
      >>> float(weighted_sum(jnp.array([0.0, 2.0]), jnp.array([-jnp.inf, 3.0])))
      6.0
    """
    return jnp.sum(_cleared_product(*as_float(weights, values)), axis=axis)


def _cleared_product(weights: Array, values: Array) -> Array:
    # cleared before the product, so that neither it nor its gradient has 0 * inf
    return weights * jnp.where(weights == 0, 0, values)


@checked()
def row_products(a: ArrayLike, b: ArrayLike) -> Array:
    """a^T b, with a sum over N rows that is accurate for any N.

    One running sum in float32 stops growing once a term is smaller than half a unit in the last
    place of the total, at about 1e7 equal terms, and its third digit is wrong much earlier. So blocks
    of 256 rows are summed first, and then the sums of the blocks.

    Args:
      a: (N, P).
      b: (N, Q).
    Returns:
      (P, Q); the error relative to |a|^T |b| is a few units in the last place up to 1e7 rows.
    Raises:
      ValueError: for arrays of other shapes.

    Examples:
      >>> print(row_products(jnp.ones((1000, 1)), jnp.ones((1000, 2))))
      [[1000. 1000.]]
    """
    a, b = as_float(a, b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[0]:
        raise ValueError(f"a must have shape (N, P) and b (N, Q); got {a.shape} and {b.shape}")
    if 0 in (*a.shape, *b.shape):
        return jnp.zeros((a.shape[1], b.shape[1]), a.dtype)
    num_rows = a.shape[0]
    if not isinstance(num_rows, int):  # symbolic, for `jax.export`
        spare = ((0, -num_rows % _BLOCK), (0, 0))
        return _products_of_blocks(jnp.pad(a, spare), jnp.pad(b, spare))
    if num_rows <= _BLOCK:
        return matmul(a.T, b)
    whole = num_rows // _BLOCK * _BLOCK
    rest = matmul(a[whole:].T, b[whole:])
    return _products_of_blocks(a[:whole], b[:whole]) + rest


def _products_of_blocks(a: Array, b: Array) -> Array:
    """a^T b of a whole number of blocks."""
    blocks = (m.reshape(m.shape[0] // _BLOCK, _BLOCK, m.shape[1]) for m in (a, b))
    return jnp.sum(jnp.einsum("bnp,bnq->bpq", *blocks, precision="highest"), axis=0)


@checked()
def solve_lower(tril: ArrayLike, b: ArrayLike) -> Array:
    """X with tril X = b by forward substitution, for small and for large systems.

    Up to 4 rows the substitution is unrolled. Up to 32 rows the matrix is inverted by halves in a few
    products, and one step of refinement makes the residual as small as that of substitution. A larger
    system is split into blocks of 32 rows, whose inverses are computed together. LAPACK is not called,
    since two batched triangular solves of jaxlib in one program can deadlock on a CPU.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      tril: (D, D) lower triangular; entries above the diagonal are not used, and have derivative
        zero. Use `jax.vmap` for batches.
      b: (D,) or (D, M).
    Returns:
      The shape of b. A zero on the diagonal gives inf or NaN. The error is that of substitution, a
      few D units in the last place times the condition number of tril.
    Raises:
      ValueError: for other shapes.
    Source: Golub & Van Loan (2013), Matrix Computations, 3.1.

    Examples:
      >>> print(solve_lower(jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.array([2.0, 3.0])))
      [1. 2.]
    """
    tril, b = as_float(tril, b)
    if tril.ndim != 2 or tril.shape[0] != tril.shape[1] or b.shape[:1] != tril.shape[:1]:
        raise ValueError(
            f"solve_lower wants tril (D, D) and b (D,) or (D, M), got {tril.shape} and {b.shape}"
        )
    columns = b if b.ndim == 2 else b[:, None]
    lower = jnp.tril(tril)

    def forward(_: Any, right: Array) -> Array:
        return _substitute(lower, right)

    def backward(_: Any, right: Array) -> Array:
        # reversed in both axes the transpose is lower triangular again
        return _substitute(lower.T[::-1, ::-1], right[::-1])[::-1]

    # the derivative of the solution, not of the steps, needs two solves for any number of rows
    x = jax.lax.custom_linear_solve(lambda x: matmul(lower, x), columns, forward, backward)
    return x if b.ndim == 2 else x[:, 0]


@checked()
def inverse_lower(tril: ArrayLike) -> Array:
    """The inverse of a lower triangular matrix, without LAPACK as `solve_lower`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      tril: (D, D) lower triangular.

    Examples:
      >>> print(inverse_lower(jnp.array([[2.0, 0.0], [1.0, 1.0]])))
      [[ 0.5  0. ]
       [-0.5  1. ]]
    """
    (tril,) = as_float(tril)
    return _inverse_lower(jnp.tril(tril))


@jax.custom_jvp
def _inverse_lower(tril: Array) -> Array:
    if tril.shape[0] <= _INVERTED:
        return _inverse_by_halves(tril)
    return _substitute(tril, jnp.eye(tril.shape[0], dtype=tril.dtype))


@_inverse_lower.defjvp
def _inverse_lower_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (tril,), (change,) = primals, tangents
    inverse = _inverse_lower(tril)
    return inverse, -matmul(matmul(inverse, change), inverse)


@checked()
def solve_cholesky(tril: ArrayLike, b: ArrayLike) -> Array:
    """X with tril tril^T X = b: `cho_solve` without LAPACK, for the reason given in `solve_lower`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      tril: (D, D) lower triangular.
      b: (D,) or (D, M).

    Examples:
      >>> print(solve_cholesky(2 * jnp.eye(2), jnp.array([4.0, 8.0])))
      [1. 2.]
    """
    tril, b = as_float(tril, b)
    half = solve_lower(tril, b)
    return solve_lower(tril.T[::-1, ::-1], half[::-1])[::-1]


@checked()
def solve(matrix: ArrayLike, b: ArrayLike) -> Array:
    """x with matrix x = b for a square matrix, by its QR factors: without a triangular solve of LAPACK.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      matrix: (D, D).
      b: (D,).
    Returns:
      (D,); inf or NaN where the matrix is singular.
    Source: Golub & Van Loan (2013), Matrix Computations, 5.2.

    Examples:
      >>> print(solve(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([4.0, 3.0])))
      [3. 2.]
    """
    matrix, b = as_float(matrix, b)

    def factored(a: Array, right: Array) -> Array:
        q, r = lapack.qr(a)
        rotated = matmul(q.T, right)
        # reversed in both axes the upper triangle is a lower one
        return solve_lower(r[::-1, ::-1], rotated[::-1])[::-1]

    def product(x: Array) -> Array:
        return matmul(matrix, x)

    return jax.lax.custom_linear_solve(
        product, b, lambda _, v: factored(matrix, v), lambda _, v: factored(matrix.T, v)
    )


@checked()
def cholesky(matrix: ArrayLike) -> Array:
    """Lower Cholesky factor, NaN if the matrix is not positive definite.

    The value of `jnp.linalg.cholesky`, with a derivative that uses `solve_lower`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      matrix: (..., D, D) symmetric.
    Raises:
      ValueError: for a matrix that is not square.

    Examples:
      >>> print(cholesky(jnp.array([[4.0, 0.0], [0.0, 9.0]])))
      [[2. 0.]
       [0. 3.]]
    """
    (matrix,) = as_float(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must have shape (..., D, D); got {matrix.shape}")
    factor = _cholesky
    for _ in matrix.shape[:-2]:
        factor = jax.vmap(factor)
    return factor(matrix)


@jax.custom_jvp
def _cholesky(matrix: Array) -> Array:
    return lapack.cholesky(matrix)


@_cholesky.defjvp
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (change,) = primals, tangents
    tril = _cholesky(matrix)
    whiten = inverse_lower(tril)
    symmetric = (change + change.T) / 2
    inner = matmul(matmul(whiten, symmetric), whiten.T)
    half = jnp.tril(inner) - jnp.diag(jnp.diagonal(inner)) / 2
    return tril, matmul(tril, half)


def _substitute(tril: Array, b: Array) -> Array:
    """tril^-1 b for b (D, M)."""
    size = tril.shape[0]
    if size <= _UNROLLED:
        return _written_out(tril, b)
    if size <= _INVERTED:
        inverse = _inverse_by_halves(tril)
        x = matmul(inverse, b)
        return x + matmul(inverse, b - matmul(tril, x))
    count = -(-size // _INVERTED)
    spare = count * _INVERTED - size
    tril = jnp.pad(tril, ((0, spare), (0, spare)))
    # ones on the diagonal of the padding rows, which do not affect the others
    tril = tril + jnp.diag(jnp.arange(size + spare) >= size).astype(tril.dtype)
    b = jnp.pad(b, ((0, spare), (0, 0)))
    at = jnp.arange(count)
    inverses = jax.vmap(_inverse_by_halves)(
        tril.reshape(count, _INVERTED, count, _INVERTED)[at, :, at, :]
    )

    def step(i: Any, x: Array) -> Array:
        start = i * _INVERTED
        rows = jax.lax.dynamic_slice_in_dim(tril, start, _INVERTED)
        right = jax.lax.dynamic_slice_in_dim(b, start, _INVERTED)
        # rows of x from here on are zero, so the block's own columns add nothing
        block = matmul(inverses[i], right - matmul(rows, x))
        return jax.lax.dynamic_update_slice_in_dim(x, block, start, 0)

    return jax.lax.fori_loop(0, count, step, jnp.zeros_like(b))[:size]


def _written_out(tril: Array, b: Array) -> Array:
    rows: list[Array] = []
    for i in range(tril.shape[0]):
        right = b[i]
        for j, row in enumerate(rows):
            right = right - tril[i, j] * row
        rows.append(right / tril[i, i])
    return jnp.stack(rows)


def _inverse_by_halves(tril: Array) -> Array:
    """The inverse of a lower triangular matrix, from those of its diagonal blocks of 1, 2, 4, ... rows.

    The inverse of [[A, 0], [C, B]] is [[A^-1, 0], [-B^-1 C A^-1, B^-1]]. Each round does this for
    all pairs of blocks, in two products: X holds the inverses so far on its block diagonal.
    """
    at = np.arange(tril.shape[0])
    inverse = jnp.diag(1 / jnp.diagonal(tril))
    size = 1
    while size < len(at):
        block, pair = at // size, at // (2 * size)
        below = (pair[:, None] == pair[None, :]) & (block[:, None] > block[None, :])
        step = matmul(matmul(inverse, jnp.where(below, tril, 0)), inverse)
        inverse, size = inverse - step, 2 * size
    return inverse


def matmul(a: Array, b: Array) -> Array:
    """The matrix product at the full precision of its dtype, which accelerators do not take by default.

    Float32: within 1e-5 of the product of absolute values, and of one rounding of the arguments.

    Args:
      a, b: as for `jnp.matmul`.

    Examples:
      >>> print(matmul(jnp.eye(2), jnp.array([1.0, 2.0])))
      [1. 2.]
    """
    return jnp.matmul(a, b, precision="highest")


class Compensated(NamedTuple):
    """A running sum and its rounding error: the true sum is total + error.

    Attributes:
      total, error: (...) of one shape.
    """

    total: Array
    error: Array


@checked()
def add_compensated(acc: Compensated, term: ArrayLike) -> Compensated:
    """Add one term without losing its low bits (Knuth's two-sum).

    A running sum of 1e6 terms in float32 keeps float32 accuracy. An infinite term makes
    the total infinite and leaves the error at zero.

    Args:
      acc: arrays (...).
      term: (...).
    Source: Knuth (1997), The Art of Computer Programming 2, section 4.2.2, theorem B.

    Examples:
      >>> acc = Compensated(jnp.float32(1e8), jnp.float32(0))
      >>> for _ in range(8):
      ...     acc = add_compensated(acc, jnp.float32(1.0))
      >>> float(acc.total + acc.error) == 1e8 + 8
      True
    """
    running, term = as_float(acc.total, term)
    total = running + term
    part = total - running
    lost = (running - (total - part)) + (term - part)
    lost = jax.lax.select(jnp.isfinite(total), lost, jnp.zeros_like(lost))
    return Compensated(total, acc.error + lost)


@jax.custom_batching.custom_vmap
def any_in_batch(flag: Array) -> Array:
    """The flag itself; under `jax.vmap`, whether it is True for any member of the batch.

    For a `cond` or a `while_loop` that all members of a batch share.

    Args:
      flag: boolean scalar.

    Examples:
      >>> print(jax.vmap(any_in_batch)(jnp.array([False, True])))
      [ True  True]
    """
    return flag


@any_in_batch.def_vmap
def _(axis_size: int, in_batched: list[bool], flags: Array) -> tuple[Array, bool]:
    return any_in_batch(jnp.any(flags, axis=0)), False
