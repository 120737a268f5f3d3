"""Data sets of a batch in groups of one shape, padded where they differ in length."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.data import DataLike, Sequences, convert
from likelax.fit.result import M
from likelax.fit.validation import check_weights
from likelax.model import Density
from likelax.numerics import as_array, chunks


@dataclass(frozen=True)
class Group:
    """Data sets of one shape: their positions (G,), data and weights with a leading axis G."""

    at: np.ndarray
    x: Any
    weights: Array | None


def groups(
    datasets: Any, weights: Any, start: Callable[[Array, Any], M], key: Array
) -> Iterator[Group]:
    """The data sets of a batch, in groups of one shape.

    Args:
      datasets, weights: as for `fit.batch`.
      start: from (key, x) to a model; only its type is used.
      key: random key.
    Raises:
      ValueError: for data sets or weights that do not fit.
    """
    if isinstance(datasets, Iterator):
        raise TypeError(
            "fit.batch: datasets must be a list of data sets, or data with a leading axis; got "
            f"{type(datasets).__name__}: give list(...) of it"
        )
    if not isinstance(datasets, list):
        x = convert("fit.batch: datasets", datasets)
        size = chunks.num_rows(x)
        if size == 0:
            raise ValueError(
                "fit.batch: all arrays of datasets must share a leading axis of at least one data "
                f"set; got shapes {[leaf.shape for leaf in jax.tree.leaves(x)]}"
            )
        shares = None if weights is None else as_array("fit.batch: weights", weights)
        if shares is not None and shares.shape[:1] != (size,):
            raise ValueError(
                f"fit.batch: weights must have the leading axis {size}; got shape {shares.shape}"
            )
        if shares is not None:
            check_weights("fit.batch: weights", shares)
        yield Group(np.arange(size), x, shares)
        return
    if not datasets:
        raise ValueError("fit.batch: datasets is empty")
    sets = [convert(f"fit.batch: datasets[{i}]", x) for i, x in enumerate(datasets)]
    if weights is not None and len(weights) != len(sets):
        raise ValueError(
            f"fit.batch: weights must have one entry for each of the {len(sets)} data sets; "
            f"got {len(weights)}"
        )
    _check_alike(sets)
    lengths = np.array([_length(i, x) for i, x in enumerate(sets)])
    first = jax.eval_shape(start, key, sets[int(np.argmax(lengths))])
    series = isinstance(first, Density) and first.free_ndim == 1  # a guide is no model
    series = series and jax.tree.leaves(sets[0])[0].ndim == first.event_ndim
    if weights is not None:
        weights = [np.asarray(w, float) for w in weights]
        for i, one in enumerate(weights):
            wanted = () if series else (int(lengths[i]),)
            if one.shape != wanted:
                raise ValueError(
                    f"fit.batch: weights[{i}] must have shape {wanted}, as datasets[{i}]; got {one.shape}"
                )
            check_weights(f"fit.batch: weights[{i}]", one)
    for size, at in _classes(lengths):
        parts = [_pad(sets[i], size) for i in at]
        x = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *parts)
        if series:
            x = Sequences(x, jnp.asarray(lengths[at]))
            seen = (lengths[at] > 0).astype(float)
            shares = None if weights is None else jnp.asarray([weights[i] for i in at])
            yield Group(at, x, jnp.asarray(seen) if shares is None else shares * seen)
        else:
            given = [np.ones(lengths[i]) if weights is None else weights[i] for i in at]
            padded = [np.pad(w, (0, size - len(w))) for w in given]
            yield Group(at, x, jnp.asarray(np.stack(padded)))


def _check_alike(sets: list[Any]) -> None:
    """Raise for data sets that differ in more than their first axis and the type of their numbers."""

    def form(x: Any) -> tuple[Any, list[tuple[int, ...]]]:
        return jax.tree.structure(x), [leaf.shape[1:] for leaf in jax.tree.leaves(x)]

    first = form(sets[0])
    for i, x in enumerate(sets):
        if form(x) != first:
            raise ValueError(
                "fit.batch: data sets may differ in their first axis only; "
                f"got {_said(sets[0])} for datasets[0] and {_said(x)} for datasets[{i}]"
            )


def _said(x: Any) -> str:
    shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(x))
    return f"{type(x).__name__ if not isinstance(x, Array) else 'an array'} of {shapes}"


def _length(index: int, x: DataLike) -> int:
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(x)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"fit.batch: all arrays of datasets[{index}] must share their first axis; got lengths "
            f"{sorted(lengths)}"
        )
    return int(lengths.pop()[0])


def _classes(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(padded length, positions): the longest, then half of it, and so on."""
    left = np.arange(len(lengths))
    while left.size:
        size = int(lengths[left].max())
        here = (lengths[left] > size // 2) | (size == 0)
        yield max(size, 1), left[here]
        left = left[~here]


def _pad(x: Any, size: int) -> Any:
    """Data filled up to `size` rows by repetition of their own; zeros where there are none."""

    def fill(leaf: Array) -> np.ndarray:
        array = np.asarray(leaf)
        if len(array) == 0:
            return np.zeros((size, *array.shape[1:]), array.dtype)
        return array[np.arange(size) % len(array)]

    return jax.tree.map(fill, x)
