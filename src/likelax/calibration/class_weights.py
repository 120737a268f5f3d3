"""Weights of rows from weights of classes, for data whose classes come in other shares than they will."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_array, divide, named_floats
from likelax.numerics.checks import check_size, check_values

__all__ = ["balanced_class_weights", "check_classes", "check_weights", "row_weights"]


def row_weights(
    labels: ArrayLike, class_weights: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """The weight of each row: that of its class, times its own.

    Where a function takes `class_weights`, it does this itself; for the outcomes of `top_label`, which are
    no classes, pass these as `weights`.

    Args:
      labels: (N,) integers in [0, C), the true classes.
      class_weights: (C,) finite and not negative, of any scale; 0 removes the rows of a class. The
        shares that classes will have over the shares in the data make the data stand for the former.
      weights: (N,) of the rows, or one number; None is all ones.
    Returns:
      (N,); NaN where a traced label is out of range.
    Raises:
      ValueError: if the shapes do not fit, a weight is negative, infinite or NaN, or a label is out of
        range.
      TypeError: if labels are not integers.
    Float32: one rounding of the product.
    Source: Saerens, Latinne, Decaestecker (2002), Neural Computation 14, for shares that change.

    Examples:
      >>> print(row_weights(jnp.array([0, 1, 1]), jnp.array([2.0, 0.5])))
      [2.  0.5 0.5]
    """
    labels, class_weights = as_array("labels", labels), _of_classes(class_weights)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them first")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    (own,) = named_floats(weights=1.0 if weights is None else weights)
    check_weights("weights", own)
    if own.shape not in ((), labels.shape):
        raise ValueError(f"weights must have the shape of labels, {labels.shape}, got {own.shape}")
    num_classes = class_weights.shape[0]
    check_classes(labels, num_classes)
    valid = (labels >= 0) & (labels < num_classes)
    of_label = jnp.where(valid, class_weights[jnp.clip(labels, 0, num_classes - 1)], jnp.nan)
    return of_label * own.astype(of_label.dtype)


def balanced_class_weights(
    labels: ArrayLike, num_classes: int, *, weights: ArrayLike | None = None
) -> Array:
    """Class weights under which every class has the same total weight.

    N / (C N[c]), as scikit-learn has them, N the total weight of the rows and N[c] that of class c.

    Args:
      labels: (N,) integers in [0, C).
      num_classes: C.
      weights: (N,) of the rows, or one number; None is all ones.
    Returns:
      (C,), and 0 for a class without weight.
    Raises:
      ValueError, TypeError: as `row_weights`.
    Float32: within 1e-6 of its size for up to 1e7 rows of one weight.
    Source: King & Zeng (2001), Logistic regression in rare events data, Political Analysis 9.

    Examples:
      >>> print(balanced_class_weights(jnp.array([0, 1, 1, 1]), 2).round(3))
      [2.    0.667]
    """
    check_size("num_classes", num_classes)
    each = row_weights(labels, jnp.ones(num_classes), weights=weights)
    hot = as_array("labels", labels)[:, None] == jnp.arange(num_classes)[None]
    held = jnp.sum(jnp.where(hot, each[:, None], 0), axis=0)
    return divide(jnp.broadcast_to(jnp.sum(each), held.shape), num_classes * held, 0.0)


def weights_by_outcome(weights: Array, class_weights: ArrayLike | None, outcome: Array) -> Array:
    """Row weights times those of the classes 0 and 1; NaN for a traced outcome between them.

    Raises:
      ValueError: if there are not two class weights, one is invalid, or an outcome is neither 0 nor 1.
    """
    if class_weights is None:
        return weights
    of_class = _of_classes(class_weights).astype(weights.dtype)
    if of_class.shape != (2,):
        raise ValueError(
            f"class_weights must have shape (2,), of the outcomes 0 and 1, got {of_class.shape}"
        )
    left_out = weights == 0
    binary = "0 or 1 where class_weights are given"
    check_values("outcome", jnp.where(left_out, 0, outcome), lambda y: (y == 0) | (y == 1), binary)
    one = jnp.where(outcome == 1, of_class[1], jnp.where(outcome == 0, of_class[0], jnp.nan))
    return jnp.where(left_out, 0, weights * one)


def weights_by_label(
    weights: ArrayLike | None, class_weights: ArrayLike | None, labels: ArrayLike, num_classes: int
) -> ArrayLike | None:
    """The `weights` of a function of (N, C) values, times those of the classes.

    Raises:
      ValueError: as `row_weights`, or for another number of class weights than C.
    """
    if class_weights is None:
        return weights
    shape = _of_classes(class_weights).shape
    if shape != (num_classes,):
        raise ValueError(f"class_weights must have shape (C,) = ({num_classes},), got {shape}")
    return row_weights(labels, class_weights, weights=weights)


def _of_classes(class_weights: ArrayLike) -> Array:
    (found,) = named_floats(class_weights=class_weights)
    if found.ndim != 1 or not found.shape[0]:
        raise ValueError(f"class_weights must have shape (C,), got {found.shape}")
    check_weights("class_weights", found)
    return found


def check_weights(name: str, weights: Array) -> None:
    """Raise for a weight that is negative, infinite or NaN. Traced weights are accepted."""
    check_values(name, weights, lambda w: (w >= 0) & np.isfinite(w), "finite and not negative")


def check_classes(labels: Array, num_classes: int) -> None:
    """Raise for a label outside 0..C-1. Traced labels are accepted."""
    check_values(
        "labels", labels, lambda v: (v >= 0) & (v < num_classes), f"in 0..{num_classes - 1}"
    )
