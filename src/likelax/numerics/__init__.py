"""Arithmetic that is exact at zero: logs, normalisation and sums.

Zero is -inf here, never an epsilon. Every function has finite gradients at its edges.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

Axis = int | Sequence[int] | None


def as_float(*arrays: ArrayLike) -> list[Array]:
    """Convert all arguments to one floating dtype: the widest among the floats given.

    Integers and booleans never decide the dtype, so counts may be passed as they are.

    Returns:
      One array per argument, in order, all of the same floating dtype.

    Examples:
      >>> x, y = as_float(3, jnp.ones(2))
      >>> x.dtype == y.dtype
      True
    """
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
        dtype = jax.dtypes.canonicalize_dtype(max(chosen, key=lambda d: jnp.finfo(d).bits))
    return [jnp.asarray(a, dtype) for a in arrays]


def _is_weak(a: ArrayLike) -> bool:
    return isinstance(a, (bool, int, float)) or getattr(a, "weak_type", False)


def safe_log(x: ArrayLike) -> Array:
    """Natural log with log 0 = -inf and a zero gradient there.

    A structural zero stays a zero: its tangent is 0, not the inf of d log x / dx.

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


def xlogy(x: ArrayLike, y: ArrayLike) -> Array:
    """x log y with 0 log 0 = 0, and finite gradients wherever x = 0.

    Args:
      x: any shape.
      y: broadcastable to x, non-negative. y = 0 with x > 0 gives -inf.
    Returns:
      x log y. Where x = 0 the derivative by y is 0; where y = 0 the derivative by y is 0.

    Examples:
      >>> print(xlogy(jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0])))
      [0. 0.]
    """
    x, y = as_float(x, y)
    # x = 0 removes the term, so y may be anything there, an infinity included
    inner = jnp.where(x == 0, 1, y)
    return jnp.where(x == 0, 0, x) * jnp.where(x == 0, 0, safe_log(inner))


def xlog1py(x: ArrayLike, y: ArrayLike) -> Array:
    """x log(1 + y) with 0 log 0 = 0, and finite gradients wherever x = 0 or y = -1.

    Examples:
      >>> print(xlog1py(jnp.array([0.0, 0.0]), jnp.array([-1.0, 1.0])))
      [0. 0.]
    """
    x, y = as_float(x, y)
    edge = (x == 0) | (y == -1)
    value = jnp.where(edge, 0, x) * jnp.log1p(jnp.where(edge, 0, y))
    return jnp.where((y == -1) & (x != 0), -jnp.inf * jnp.sign(x), value)


def logsumexp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Array:
    """log sum exp(a), equal to -inf with zero gradient where every term is -inf.

    Args:
      a: nats; -inf is a term of zero.
      axis: axes to sum over; None is all of them.
    Returns:
      nats. The gradient is softmax(a); a slice of zeros has gradient zero, where
      `jax.nn.logsumexp` gives NaN.

    Examples:
      >>> float(logsumexp(jnp.full(3, -jnp.inf)))
      -inf
    """
    (a,) = as_float(a)
    peak = jax.lax.stop_gradient(jnp.max(a, axis=axis, keepdims=True, initial=-jnp.inf))
    peak = jnp.where(jnp.isfinite(peak), peak, 0)
    total = jnp.sum(jnp.exp(a - peak), axis=axis, keepdims=True)
    out = safe_log(total) + peak
    return out if keepdims else jnp.squeeze(out, axis=_axes(axis, a.ndim))


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def normalize(scores: ArrayLike, axis: int = -1) -> Array:
    """Divide non-negative scores by their sum.

    Args:
      scores: any shape, non-negative.
      axis: the axis whose entries shall sum to one.
    Returns:
      Probabilities. A slice whose sum is zero has no distribution and is all NaN in the
      value; use `log_normalize`, which keeps it as all -inf.

    Examples:
      >>> print(normalize(jnp.array([4.0, 2.0, 1.0])))
      [0.5714 0.2857 0.1429]
    """
    (scores,) = as_float(scores)
    return scores / jnp.sum(scores, axis=axis, keepdims=True)


def log_normalize(scores: ArrayLike, axis: int = -1) -> tuple[Array, Array]:
    """Subtract log sum exp along an axis.

    Args:
      scores: log scores, nats.
      axis: the axis whose exponentials shall sum to one.
    Returns:
      (log_probs, log_total): log_probs has the shape of scores, log_total lacks `axis`.
      An impossible slice (all -inf) stays all -inf with log_total = -inf.

    Examples:
      >>> log_probs, log_total = log_normalize(jnp.array([0.0, 0.0]))
      >>> print(jnp.exp(log_probs), f"{log_total:.4f}")
      [0.5 0.5] 0.6931
    """
    (scores,) = as_float(scores)
    total = logsumexp(scores, axis=axis, keepdims=True)
    shift = jnp.where(total == -jnp.inf, 0, total)
    return scores - shift, jnp.squeeze(total, axis=axis)


def divide(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike) -> Array:
    """numerator / denominator, or `otherwise` where the denominator is zero.

    For ratios of statistics that may be empty. The gradient there is that of `otherwise`.

    Examples:
      >>> print(divide(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]), 7.0))
      [0.5 7. ]
    """
    numerator, denominator, otherwise = as_float(numerator, denominator, otherwise)
    empty = denominator == 0
    return jnp.where(empty, otherwise, numerator / jnp.where(empty, 1, denominator))


def weighted_sum(weights: ArrayLike, values: ArrayLike, axis: Axis = None) -> Array:
    """Sum of weights * values in which a zero weight removes its value, -inf included.

    Examples:
      >>> float(weighted_sum(jnp.array([0.0, 2.0]), jnp.array([-jnp.inf, 3.0])))
      6.0
    """
    weights, values = as_float(weights, values)
    # cleared before the product, so that neither it nor its gradient meets 0 * inf
    return jnp.sum(weights * jnp.where(weights == 0, 0, values), axis=axis)


class Compensated(NamedTuple):
    """A running sum and the rounding error that it lost: the true sum is total + error."""

    total: Array
    error: Array


def add_compensated(acc: Compensated, term: Array) -> Compensated:
    """Add one term without losing its low bits (Neumaier's two-sum).

    A running sum of 1e6 terms in float32 keeps float32 accuracy. An infinite term makes
    the total infinite and leaves the error at zero.

    Source: Neumaier (1974), ZAMM 54, 39-51.

    Examples:
      >>> acc = Compensated(jnp.float32(1e8), jnp.float32(0))
      >>> for _ in range(8):
      ...     acc = add_compensated(acc, jnp.float32(1.0))
      >>> float(acc.total + acc.error) == 1e8 + 8
      True
    """
    total = acc.total + term
    lost = jnp.where(
        jnp.abs(acc.total) >= jnp.abs(term),
        (acc.total - total) + term,
        (term - total) + acc.total,
    )
    return Compensated(total, acc.error + jnp.where(jnp.isfinite(total), lost, 0))


@jax.custom_batching.custom_vmap
def any_in_batch(flag: Array) -> Array:
    """The flag itself; under `jax.vmap`, whether any member of the batch has it.

    For a `cond` or a `while_loop` that the members of a batch shall share.

    Examples:
      >>> print(jax.vmap(any_in_batch)(jnp.array([False, True])))
      [ True  True]
    """
    return flag


@any_in_batch.def_vmap
def _(axis_size: int, in_batched: list[bool], flags: Array) -> tuple[Array, bool]:
    return any_in_batch(jnp.any(flags, axis=0)), False
