"""What the fits refuse at their door, in one sentence each; inside, kernels do not look."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.data import Driven, Labelled, Masked, Sequences
from likelax.mixture import check_labels
from likelax.model import check_registration


def check(name: str, model: Any, x: Any, weights: Any = None) -> None:
    """Refuse data and weights with wrong values; what is being traced is let through.

    Raises:
      TypeError: a class that JAX can confuse with another one (`model.check_registration`).
      ValueError: empty data, a NaN that nobody declared missing, a negative or NaN weight, or a
        label that the model has no component for.
    """
    check_registration(name, model)
    _check_values(name, x, "x")
    if hasattr(model, "check_values"):
        model.check_values(name)
    labels = _labels(x)
    limit = getattr(model, "num_components", None) or getattr(model, "num_states", None)
    if labels is not None and _concrete(labels):
        if limit is None:
            raise ValueError(f"{name}: {type(model).__name__} has no latent variable to label")
        check_labels(name, labels, limit)
    if weights is not None and _concrete(weights):
        array = np.asarray(weights)
        wrong = ~(array >= 0) | np.isinf(array)
        if wrong.any():
            raise ValueError(
                f"{name}: weights must be finite and not negative; "
                f"got {array[wrong][0]} at index {_first(wrong)}"
            )


def _check_values(name: str, x: Any, path: str) -> None:
    if isinstance(x, Labelled):
        return _check_values(name, x.values, path)
    if isinstance(x, Driven):
        return _check_values(name, x.values, path)
    if isinstance(x, Sequences):
        _check_lengths(name, x)
        return _check_values(name, x.values if x.lengths is None else _unpadded(x), path)
    if isinstance(x, dict):
        for key, value in x.items():
            _check_values(name, value, f"{path}[{key!r}]")
        return None
    if isinstance(x, tuple | list):
        for i, value in enumerate(x):
            _check_values(name, value, f"{path}[{i}]")
        return None
    if isinstance(x, Masked):
        values, observed = jax.tree.leaves(x.values), jax.tree.leaves(x.observed)
        got, wanted = ([jnp.shape(a) for a in leaves] for leaves in (observed, values))
        if got != wanted:
            raise ValueError(
                f"{name}: {path} is Masked, whose observed must have the shape of values, "
                f"{_shapes(wanted)}; got {_shapes(got)}"
            )
        for value, seen in zip(values, observed, strict=True):
            _check_array(name, value, seen, path)
        return None
    return _check_array(name, x, None, path)


def _check_array(name: str, values: Any, observed: Any, path: str) -> None:
    if jnp.size(values) == 0:
        raise ValueError(
            f"{name}: {path} is empty, shape {jnp.shape(values)}; at least one row is needed"
        )
    if not (_concrete(values) and _concrete(observed)):
        return
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        return
    wrong = np.isnan(array)
    if observed is not None:
        wrong &= np.asarray(observed)
    if wrong.any():
        raise ValueError(
            f"{name}: {path} holds NaN, first at index {_first(wrong)}; "
            "declare missing entries with Masked.from_nan(x), or remove them"
        )


def _check_lengths(name: str, x: Sequences) -> None:
    if x.lengths is None or not _concrete(x.lengths):
        return
    lengths = np.asarray(x.lengths)
    leaf = jax.tree.leaves(x.values)[0]
    if jnp.ndim(leaf) <= lengths.ndim:
        return
    num_steps = jnp.shape(leaf)[lengths.ndim]
    wrong = (lengths < 0) | (lengths > num_steps)
    if wrong.any():
        raise ValueError(
            f"{name}: lengths must lie in 0..{num_steps}; "
            f"got {lengths[wrong][0]} at index {_first(wrong)}"
        )


def _unpadded(x: Sequences) -> Any:
    """The values with whatever stands at padded steps put out of sight."""
    if not _concrete(x.lengths):
        return x.values
    lengths = np.asarray(x.lengths)

    def blank(leaf: Any) -> Any:
        if not _concrete(leaf):
            return leaf
        array = np.asarray(leaf)
        padded = np.arange(array.shape[lengths.ndim]) >= lengths[..., None]
        return np.where(padded.reshape(padded.shape + (1,) * (array.ndim - padded.ndim)), 1, array)

    return jax.tree.map(blank, x.values)


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(str(shape) for shape in shapes)


def _labels(x: Any) -> Array | None:
    if isinstance(x, Labelled):
        return x.labels
    return _labels(x.values) if isinstance(x, Sequences | Driven) else None


def _concrete(a: Any) -> bool:
    return not isinstance(a, jax.core.Tracer)


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])
