"""Wrappers for data: `Masked`, `Labelled`, `Sequences` and `Driven`.

They nest in any order, except that `Masked` is always innermost. Each node unwraps what it uses and
passes the rest on. A node with a latent variable unwraps the outermost layer of `Labelled`, an `HMM`
also `Sequences` and `Driven`, and a leaf `Masked`. So `Labelled(Labelled(y, components), states)`
labels both levels of an HMM of mixtures.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax._pytree import pytree
from likelax.numerics import as_array, as_booleans, named_floats
from likelax.numerics.checks import as_numpy, checked, first_index, is_concrete, is_real, known

__all__ = [
    "DataLike", "Driven", "Labelled", "Masked", "Sequences", "Series", "allowed_by_labels",
    "check_data", "check_labels", "convert", "holds_no_value", "rule_out", "take_labels",
    "take_series", "unlabelled",
]  # fmt: skip

DataLike: TypeAlias = Any
"""Data of a model: an array of numbers (..., *event), a dict or tuple of data for a `Product`, a pair
for a regression, or one of the wrappers of this module around any of these.

Which of them a model takes depends on its parts, which types cannot express here.
"""


@pytree
class Masked:
    """Values with missing entries.

    A missing entry adds 0 to `log_prob` and nothing to the statistics. Its value is not used, so it
    may be NaN.

    Attributes:
      values: an array (..., *event), or a dict or tuple of arrays for a product.
      observed: booleans of the same shape and structure; False where an entry is missing.

    Examples:
      >>> from likelax import Masked, Normal
      >>> x = Masked(jnp.array([0.0, 9.0]), jnp.array([True, False]))
      >>> print(Normal(0.0, 1.0).log_prob(x).round(4))
      [-0.9189  0.    ]
    """

    values: DataLike
    observed: DataLike

    @classmethod
    def from_nan(cls, values: DataLike) -> Self:
        """Declare every NaN in an array, or in a dict or tuple of arrays, as missing.

        Integer and boolean arrays have no NaN, so all their entries count as observed.

        Args:
          values: (..., *event), or a dict or tuple of such arrays.
        Raises:
          TypeError: for something that is not an array of numbers.

        Examples:
          >>> print(Masked.from_nan(jnp.array([1.0, jnp.nan])).observed)
          [ True False]
        """
        values = jax.tree.map(
            lambda v: v if isinstance(v, jax.Array) else _numbers("values", v),
            values,
            is_leaf=_is_rows,
        )
        observed = jax.tree.map(
            lambda v: ~(np if isinstance(v, np.ndarray) else jnp).isnan(v), values
        )
        return cls(
            jax.tree.map(lambda v, seen: as_array("values", _filled(v, seen)), values, observed),
            jax.tree.map(jnp.asarray, observed),
        )


@pytree
class Labelled:
    """Values with labels: the latent variables that were observed, all or some of them.

    The model's `log_prob` is then log p(values, labels), with the unknown labels summed out.

    Attributes:
      values: as the model takes them without labels.
      labels: integers, one for each latent variable: (...) for a mixture, (..., T) for a hidden
        Markov model. -1 is unknown.

    Examples:
      >>> from likelax import Labelled, Mixture, Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.0, 9.0]), jnp.ones(2)))
      >>> known, unknown = (Labelled(jnp.zeros(1), jnp.array([k])) for k in (0, -1))
      >>> print(model.log_prob(known).round(4), model.log_prob(unknown).round(4))
      [-1.6121] [-1.6121]
    """

    values: DataLike
    labels: Array


@pytree
class Sequences:
    """Series of different lengths, padded to one length or concatenated.

    Attributes:
      values: (..., T, *event).
      lengths: (...) integers; steps at or after the length are padding and are not used.
        None: all T steps are used.
      starts: (..., T) booleans; True at a step where a new sequence begins, independent of the
        steps before. None: only step 0 begins one.

    Examples:
      >>> from likelax import HMM, Bernoulli, Sequences
      >>> model = HMM(None, jnp.array([[0.5, 0.5], [0.5, 0.5]]), Bernoulli(jnp.array([0.5, 0.5])))
      >>> x = Sequences(jnp.array([[1, 0, 1], [1, 0, 0]]), lengths=jnp.array([3, 1]))
      >>> print(jnp.exp(model.log_prob(x)).round(4))
      [0.125 0.5  ]
    """

    values: DataLike
    lengths: Array | None = None
    starts: Array | None = None


@pytree
class Driven:
    """Series with inputs of their transitions. The inputs themselves have no distribution.

    Attributes:
      values: (..., T, *event), plain or wrapped.
      inputs: (..., T, D); the move into step t uses inputs[t].

    Examples:
      >>> from likelax import HMM, Bernoulli, Driven, hmm
      >>> moves = hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.ones((2, 2, 1)))
      >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.5, 0.5])))
      >>> print(f"{model.log_prob(Driven(jnp.array([1, 0]), jnp.zeros((2, 1)))):.4f}")
      -1.3863
    """

    values: DataLike
    inputs: Array


def convert(name: str, x: DataLike) -> DataLike:
    """Data with every list, NumPy array and pandas column in them converted to a JAX array.

    Args:
      name: of the argument, for messages.
      x: data, plain or wrapped, or a dict or tuple of such for a product. A list of numbers, or of
        lists of numbers, is one array; any other list is a tuple of fields.
    Returns:
      The same nesting of dicts, tuples and wrappers around JAX arrays; leaves that are traced or
      JAX arrays are returned as they are.
    Raises:
      TypeError: for something that is not an array of numbers (see `numerics.as_array`).
      ValueError: for integers that the default type cannot hold.

    Examples:
      >>> convert("x", {"a": [1, 2], "b": np.array([0.5, 1.5])})["a"].shape
      (2,)
      >>> convert("x", "text")
      Traceback (most recent call last):
        ...
      TypeError: x must be an array of numbers, got 'text'
    """
    if isinstance(x, Masked):
        observed = jax.tree.map(lambda mask: as_booleans(f"{name}.observed", mask), x.observed)
        return Masked(convert(f"{name}.values", without_unseen(x).values), observed)
    if isinstance(x, Labelled):
        return Labelled(convert(name, x.values), as_array(f"{name}.labels", x.labels))
    if isinstance(x, Sequences):
        lengths = None if x.lengths is None else as_array(f"{name}.lengths", x.lengths)
        starts = None if x.starts is None else as_booleans(f"{name}.starts", x.starts)
        return Sequences(convert(name, x.values), lengths, starts)
    if isinstance(x, Driven):
        return Driven(convert(name, x.values), as_array(f"{name}.inputs", x.inputs))
    if isinstance(x, dict):
        return {key: convert(f"{name}[{key!r}]", value) for key, value in x.items()}
    if isinstance(x, tuple) or (isinstance(x, list) and x and not _is_rows(x)):
        return tuple(convert(f"{name}[{i}]", value) for i, value in enumerate(x))
    return as_array(name, x)


class Series(NamedTuple):
    """The fields of `Sequences` and `Driven` around data; None where there is none.

    Attributes:
      lengths: (...,) integers.
      starts: (..., T) booleans.
      inputs: (..., T, D).
    """

    lengths: Array | None = None
    starts: Array | None = None
    inputs: Array | None = None


def take_labels(x: DataLike) -> tuple[DataLike, Array | None]:
    """The data without their outermost layer of labels, and that layer.

    Args:
      x: data, plain or wrapped.
    Returns:
      (data, labels (...) or None).

    Examples:
      >>> rest, labels = take_labels(Sequences(Labelled(jnp.zeros(2), jnp.array([0, 1])), 2))
      >>> type(rest).__name__, labels.tolist()
      ('Sequences', [0, 1])
    """
    if isinstance(x, Labelled):
        return x.values, x.labels
    if isinstance(x, Sequences | Driven):
        values, labels = take_labels(x.values)
        return (x if labels is None else dataclasses.replace(x, values=values)), labels
    return x, None


def take_series(x: DataLike) -> tuple[DataLike, Series]:
    """The data without `Sequences` and `Driven`, and the fields of those. Labels stay in place.

    Args:
      x: data, plain or wrapped.
    Returns:
      (data, `Series`).
    Raises:
      ValueError: for `Sequences` inside `Sequences`, or `Driven` inside `Driven`.

    Examples:
      >>> values, series = take_series(Sequences(jnp.zeros((2, 3)), jnp.array([3, 1])))
      >>> values.shape, series.lengths.tolist(), series.inputs
      ((2, 3), [3, 1], None)
    """
    if isinstance(x, Labelled):
        values, series = take_series(x.values)
        return Labelled(values, x.labels), series
    if isinstance(x, Sequences):
        values, series = take_series(x.values)
        if series.lengths is not None or series.starts is not None:
            raise ValueError("Sequences: wanted one layer; got Sequences inside Sequences")
        return values, series._replace(lengths=x.lengths, starts=x.starts)
    if isinstance(x, Driven):
        values, series = take_series(x.values)
        if series.inputs is not None:
            raise ValueError("Driven: wanted one layer; got Driven inside Driven")
        return values, series._replace(inputs=x.inputs)
    return x, Series()


def unlabelled(x: DataLike) -> DataLike:
    """The data without any labels. `Sequences`, `Driven` and `Masked` stay.

    Args:
      x: data, plain or wrapped, with any number of layers of labels.

    Examples:
      >>> unlabelled(Labelled(Labelled(jnp.zeros(2), jnp.array([0, 1])), jnp.array([1, 1]))).shape
      (2,)
    """
    while True:
        x, labels = take_labels(x)
        if labels is None:
            return x


def take_mask(x: DataLike) -> tuple[DataLike, DataLike]:
    """(values, observed) of the outermost `Masked`; observed is None where there is none.

    Examples:
      >>> take_mask((1.0, 2.0))
      ((1.0, 2.0), None)
    """
    return (x.values, x.observed) if isinstance(x, Masked) else (x, None)


def _numbers(name: str, values: Any) -> np.ndarray:
    """A NumPy array of numbers or booleans, not yet of the floating type of JAX."""
    array = as_numpy(name, values)
    if not is_real(array):
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def with_mask(values: DataLike, observed: DataLike) -> DataLike:
    """`Masked` values, or the values as they are where observed is None."""
    return values if observed is None else Masked(values, observed)


def is_plain(x: DataLike) -> bool:
    """Whether the data are not wrapped: no `Masked`, `Labelled`, `Sequences` or `Driven`."""
    return not isinstance(x, Masked | Labelled | Sequences | Driven)


def split_mask(x: DataLike) -> tuple[Array, Array | None]:
    """(values, observed) of an array or `Masked` array; observed is None where all were seen.

    Entries that were not seen are replaced by 1, so that no NaN reaches a gradient.

    Raises:
      ValueError: for labels or series, and for a mask of another shape.
    """
    if isinstance(x, Labelled | Sequences | Driven):
        raise ValueError(
            f"a leaf family takes arrays or Masked arrays; got {type(x).__name__}, which belongs to "
            "a Mixture or an HMM"
        )
    if not isinstance(x, Masked):
        return _counted(as_array("x", x)), None
    observed = as_booleans("x.observed", x.observed)
    values = _counted(as_array("x.values", _filled(x.values, observed)))
    if values.shape != observed.shape:
        raise ValueError(
            f"Masked: observed must have the shape of values, {values.shape}; got {observed.shape}"
        )
    return jnp.where(observed, values, jnp.ones((), values.dtype)), observed


def without_unseen(x: DataLike) -> DataLike:
    """`Masked` data whose NumPy arrays hold 1 where they were not observed; other data as they are.

    A NaN that is moved to the device raises under `jax_debug_nans`, even if no result depends on it.
    """
    if not isinstance(x, Masked):
        return x
    values, observed = jax.tree.leaves(x.values), jax.tree.leaves(x.observed)
    if len(values) != len(observed):
        return x
    filled = [_filled(v, seen) for v, seen in zip(values, observed, strict=True)]
    return Masked(jax.tree.unflatten(jax.tree.structure(x.values), filled), x.observed)


def _filled(values: Any, observed: Any) -> Any:
    """NumPy values with 1 where they were not observed; anything else as it is."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return values
    seen = known(observed)
    if seen is None or seen.shape != values.shape:
        return values
    return np.where(seen, values, np.ones((), values.dtype))


def split_host(x: DataLike) -> tuple[np.ndarray, np.ndarray | None]:
    """`split_mask` for NumPy arrays, on the host."""
    values, observed = take_mask(x)
    values = _counted(np.asarray(values))
    if observed is None:
        return values, None
    return np.where(observed, values, np.ones((), values.dtype)), np.asarray(observed)


def _counted(values: Any) -> Any:
    """Booleans as the integers 0 and 1; other arrays as they are."""
    return values.astype(int) if values.dtype == jnp.bool_ else values


def holds_no_value(x: DataLike) -> Array | None:
    """Whether every value of the data is masked.

    Data with labels count as observed.

    Args:
      x: data, plain or wrapped.
    Returns:
      A boolean scalar; None if some part of the data is not `Masked`.

    Examples:
      >>> print(holds_no_value(Masked.from_nan(jnp.array([jnp.nan]))), holds_no_value(jnp.ones(1)))
      True None
    """
    if take_labels(x)[1] is not None:
        return None
    parts = jax.tree.leaves(take_series(x)[0], is_leaf=lambda part: isinstance(part, Masked))
    if not all(isinstance(part, Masked) for part in parts):
        return None
    masks = [mask for part in parts for mask in jax.tree.leaves(part.observed)]
    seen = [jnp.any(as_booleans("observed", mask)) for mask in masks]
    return ~jnp.any(jnp.stack(seen)) if seen else None


@checked()
def allowed_by_labels(labels: ArrayLike, num_values: int) -> Array:
    """Which values of a latent variable a label allows; -1 (unknown) allows all.

    Args:
      labels: (...) integers.
      num_values: K.
    Returns:
      (..., K) booleans.
    Raises:
      TypeError: for labels that are not integers.

    Examples:
      >>> print(allowed_by_labels(jnp.array([1, -1]), 2))
      [[False  True]
       [ True  True]]
    """
    labels = as_array("labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    # one_hot of -1 is all zeros
    return jax.nn.one_hot(labels, num_values, dtype=bool) | (labels < 0)[..., None]


def rule_out(log_scores: ArrayLike, labels: ArrayLike | None) -> Array:
    """Log scores with -inf at the values that labels rule out.

    Args:
      log_scores: (..., K) nats.
      labels: (...) integers; -1 rules out nothing. None: no labels.
    Raises:
      ValueError: where labels are not integers in -1..K-1, one for each leading entry.

    Examples:
      >>> print(rule_out(jnp.zeros((2, 2)), jnp.array([1, -1])))
      [[-inf   0.]
       [  0.   0.]]
    """
    (log_scores,) = named_floats(log_scores=log_scores)
    if log_scores.ndim == 0:
        raise ValueError("log_scores must have shape (..., K), got a number")
    if labels is None:
        return log_scores
    labels = as_array("labels", labels)
    *wanted, num_values = log_scores.shape
    if labels.shape != tuple(wanted) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"Labelled: labels must be integers of shape {tuple(wanted)}; "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    check_labels("Labelled", labels, num_values)
    return jnp.where(allowed_by_labels(labels, num_values), log_scores, -jnp.inf)


@checked()
def check_labels(name: str, labels: ArrayLike, num_values: int) -> None:
    """Raise if a label is out of range. Values of traced labels are not checked.

    Args:
      name: the function that was called, for the message.
      labels: (...) integers.
      num_values: K; labels must lie in 0..K-1, or be -1 for unknown.
    Raises:
      ValueError: starting with `name`.

    Examples:
      >>> check_labels("fit", jnp.array([0, 2]), 2)
      Traceback (most recent call last):
        ...
      ValueError: fit: labels must lie in 0..1, or be -1 for unknown; got 2 at index (1,)
    """
    if not is_concrete(labels):
        return
    array = as_numpy("labels", labels)
    wrong = (array < -1) | (array >= num_values)
    if wrong.any():
        at = first_index(wrong)
        raise ValueError(
            f"{name}: labels must lie in 0..{num_values - 1}, or be -1 for unknown; "
            f"got {array[at]} at index {at}"
        )


def check_data(name: str, x: DataLike) -> None:
    """Raise for empty data, a NaN that was not declared missing, or lengths out of range.

    Of traced arrays only the shapes are checked.

    Args:
      name: the function that was called, for the message.
      x: data, plain or wrapped.
    Raises:
      ValueError: naming the part of x and the fault.

    Examples:
      >>> check_data("fit", jnp.array([0.0, jnp.nan]))
      Traceback (most recent call last):
        ...
      ValueError: fit: x holds NaN, first at index (1,); declare missing entries with
      Masked.from_nan(x), or remove them
    """
    rest, series = take_series(unlabelled(x))
    if not jax.tree.leaves(rest):
        raise ValueError(f"{name}: x is empty, got {rest!r}; at least one row is needed")
    values, observed = _split(name, rest)
    for path, leaf, seen in _entries("x", values, observed):
        if not is_plain(leaf):
            check_data(name, leaf)
            continue
        if jnp.size(leaf) == 0:
            raise ValueError(
                f"{name}: {path} is empty, shape {jnp.shape(leaf)}; at least one row is needed"
            )
        padding = _padding(name, leaf, series.lengths)
        if not (is_concrete(leaf) and is_concrete(seen) and is_concrete(padding)):
            continue
        array = np.asarray(leaf)
        if not np.issubdtype(array.dtype, np.floating):
            continue
        wrong = np.isnan(array)
        if seen is not None:
            wrong &= np.asarray(seen)
        if padding is not None:
            wrong &= ~np.asarray(padding)
        if wrong.any():
            raise ValueError(
                f"{name}: {path} holds NaN, first at index {first_index(wrong)}; "
                "declare missing entries with Masked.from_nan(x), or remove them"
            )


def _split(name: str, x: DataLike) -> tuple[Any, Any]:
    """(values, observed) of data without series; observed is None where all were seen."""
    if not isinstance(x, Masked):
        return x, None
    values, observed = jax.tree.leaves(x.values), jax.tree.leaves(x.observed)
    got, wanted = ([jnp.shape(a) for a in leaves] for leaves in (observed, values))
    if got != wanted:
        raise ValueError(
            f"{name}: x is Masked, whose observed must have the shape of values, "
            f"{', '.join(map(str, wanted))}; got {', '.join(map(str, got))}"
        )
    return x.values, x.observed


def _entries(path: str, values: Any, observed: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, array, its mask or None) of every field of the data."""
    if isinstance(values, dict):
        for key, value in values.items():
            seen = None if observed is None else observed[key]
            yield from _entries(f"{path}[{key!r}]", value, seen)
    elif isinstance(values, tuple | list) and not _is_rows(values):
        for i, value in enumerate(values):
            seen = None if observed is None else observed[i]
            yield from _entries(f"{path}[{i}]", value, seen)
    else:
        yield path, values, observed


def _is_rows(values: Any) -> bool:
    """Whether a list holds numbers or rows of numbers rather than one array for each field."""
    if not isinstance(values, list):
        return False
    return all(_is_rows(v) if isinstance(v, list) else isinstance(v, int | float) for v in values)


def _padding(name: str, leaf: Any, lengths: Any) -> Any:
    """True where an array (..., T, *event) is padding; None without lengths.

    Raises:
      ValueError: for lengths out of range.
    """
    if lengths is None or jnp.ndim(leaf) <= jnp.ndim(lengths):
        return None
    num_steps = jnp.shape(leaf)[jnp.ndim(lengths)]
    if not is_concrete(lengths):
        return lengths
    lengths = np.asarray(lengths)
    wrong = (lengths < 0) | (lengths > num_steps)
    if wrong.any():
        at = first_index(wrong)
        raise ValueError(
            f"{name}: lengths must lie in 0..{num_steps}; got {lengths[at]} at index {at}"
        )
    padded = np.arange(num_steps) >= lengths[..., None]
    return padded.reshape(padded.shape + (1,) * (jnp.ndim(leaf) - padded.ndim))
