"""Access of the checklist to models and data: rows or series, wrapped or not."""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.data import DataLike, take_labels, take_mask, take_series, unlabelled
from likelax.hmm.inference import Smoothed
from likelax.hmm.model import HMM
from likelax.mixture import Mixture
from likelax.model import SupportsLogProb, SupportsSample
from likelax.numerics import as_float


def is_serial(model: object) -> TypeGuard[HMM]:
    """True for a model of sequences, whose observation is a whole series."""
    return isinstance(model, HMM)


class Simulator(SupportsLogProb, SupportsSample, Protocol):
    """Anything with `log_prob` and `sample`."""


def can_sample(model: object) -> TypeGuard[Simulator]:
    """Whether the model can be sampled; the checklist also accepts objects without `sample`."""
    return callable(getattr(model, "sample", None))


def call(function: Callable[..., Any], *args: Any, static: Any = None) -> Any:
    """Call under jit where every argument is a pytree of arrays, else as it is.

    Args:
      function: defined once, at the top of a module, so that its compiled form is kept.
      static: a hashable last argument that is part of the program, a shape say; None is none.
    """
    number = (bool, int, float, np.ndarray, np.generic, jax.Array)
    last = () if static is None else (static,)
    if all(isinstance(leaf, number) for leaf in jax.tree.leaves(args)):
        return jax.jit(function, static_argnums=(len(args),) if last else ())(*args, *last)
    return function(*args, *last)


def log_prob(model: SupportsLogProb, x: DataLike) -> Array:
    """log p of every row, or of every series."""
    return model.log_prob(x)


def log_responsibilities(model: Mixture, x: DataLike) -> Array:
    """Log responsibilities of the components of a mixture, given x."""
    return model.log_responsibilities(x)


def smoother(model: HMM, x: DataLike) -> Smoothed:
    """The smoothed states of a hidden Markov model, given x."""
    return model.smoother(x)


def sample(key: Array, model: SupportsSample, shape: tuple[int, ...]) -> Any:
    """Draws from the model."""
    return model.sample(key, shape)


def scores(model: SupportsLogProb, x: DataLike) -> Array:
    """(N,) log scores, nats: of rows, or of the steps of a series given the steps before.

    Padding is NaN-free: steps past a length score NaN and are left out by `finite_rows`.
    """
    if not isinstance(model, HMM):
        return jnp.atleast_1d(model.log_prob(x)).reshape(-1)
    step = model.filter(x).log_increments
    lengths = unwrap(x)[1]
    if lengths is not None:
        inside = jnp.arange(step.shape[-1]) < jnp.asarray(lengths, int)[..., None]
        step = jnp.where(inside, step, jnp.nan)
    return step.reshape(-1)


def unwrap(x: DataLike) -> tuple[Any, Any]:
    """(values as the model's emissions take them, lengths or None)."""
    values, series = take_series(unlabelled(x))
    return values, series.lengths


def starts_of(x: DataLike) -> Array | None:
    """Where new sequences begin, or None."""
    return take_series(unlabelled(x))[1].starts


def labels_of(x: DataLike) -> Array | None:
    """The labels that came with the data, or None."""
    labels = take_labels(x)[1]
    return None if labels is None else jnp.asarray(labels)


def shape_of(model: SupportsLogProb, x: DataLike) -> tuple[int, ...]:
    """The shape that `model.sample(key, shape)` needs for data like x."""
    if is_serial(model):
        return jax.eval_shape(lambda m, v: m.emission_log_prob(v), model, unwrap(x)[0]).shape[:-1]
    values = jax.tree.leaves(x)
    try:
        return jax.eval_shape(model.log_prob, x).shape
    except TypeError:  # a model that is not a pytree may not be traceable
        return jnp.shape(values[0])[:1]


_MOST_COLUMNS = 32  # further columns of a wide event are left out


def columns(x: DataLike, lead: int) -> tuple[Array, Array]:
    """Every number of the data as a column, missing entries and padding marked.

    Args:
      x: data, wrapped or not.
      lead: number of leading axes: 1 for rows or one series, 2 for (N, T) series.
    Returns:
      (values, observed), each (C, B, T): C columns of B series of T steps; independent rows are
      one series of N.
    """
    values, lengths = unwrap(x)
    values, observed = take_mask(values)
    leaves = jax.tree.leaves(values)
    masks = [None] * len(leaves) if observed is None else jax.tree.leaves(observed)
    found, known = [], []
    for leaf, mask in zip(as_float(*leaves), masks, strict=True):
        seen = jnp.ones(leaf.shape, bool) if mask is None else jnp.asarray(mask)
        rows = (1, *leaf.shape[:1]) if lead == 1 else leaf.shape[:2]
        leaf, seen = leaf.reshape(*rows, -1), seen.reshape(*rows, -1)
        if lengths is not None:
            inside = jnp.arange(rows[1])[None, :] < jnp.asarray(lengths, int).reshape(-1)[:, None]
            seen = seen & inside[..., None]
        found.append(jnp.moveaxis(jnp.where(seen, leaf, 0), -1, 0))
        known.append(jnp.moveaxis(seen, -1, 0))
    return jnp.concatenate(found)[:_MOST_COLUMNS], jnp.concatenate(known)[:_MOST_COLUMNS]


def column_names(x: DataLike, lead: int) -> list[str]:
    """Where each of the `columns` is found in the data, as a path."""
    values, _ = take_mask(unwrap(x)[0])
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(values):
        name = jax.tree_util.keystr(path) or "x"
        width = math.prod(jnp.shape(leaf)[lead:])
        found += [name] if width == 1 else [f"{name}[{d}]" for d in range(width)]
    return found[:_MOST_COLUMNS]


def is_whole(leaf: Any) -> bool:
    """True for integers and booleans: a discrete variable."""
    return not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)


def row_names(bad: Any, most: int = 5) -> str:
    """Row numbers of a boolean (N,) array, as text."""
    at = np.flatnonzero(np.asarray(bad))
    text = ", ".join(str(i) for i in at[:most])
    return text + (f" and {len(at) - most} more" if len(at) > most else "")
