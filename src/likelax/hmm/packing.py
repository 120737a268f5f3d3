"""Ragged sequences packed into a few rows of nearly equal length, which need little padding."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from likelax.data import Sequences
from likelax.numerics.checks import as_numpy, check_array, checked


class Packed(NamedTuple):
    """Sequences concatenated in rows.

    Attributes:
      data: `Sequences` with values (R, L, *event), lengths (R,) and starts (R, L), as the methods of
        `HMM` take them. The sequences of a row are independent.
      rows: (N,) the row of each sequence.
      offsets: (N,) the step of that row at which it begins.
      lengths: (N,) its number of steps.
    """

    data: Sequences
    rows: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    def arrange(self, arrays: Sequence[Any]) -> Any:
        """Other arrays, such as labels or inputs, in the rows of the sequences: (R, L, ...).

        Args:
          arrays: N arrays (T_n, ...), one for each sequence.
        Raises:
          ValueError: for another number of arrays.

        Examples:
          >>> packed = pack([jnp.array([1.0, 2.0]), jnp.array([3.0])], num_rows=1)
          >>> print(packed.arrange([jnp.array([0, 1]), jnp.array([2])]))
          [[0 1 2]]
        """
        _check_list("arrays", arrays)
        if len(arrays) != len(self.lengths):
            raise ValueError(f"Packed: wanted {len(self.lengths)} arrays, got {len(arrays)}")
        return _lay(arrays, self.rows, self.offsets, np.asarray(self.data.starts).shape)

    def split(self, array: ArrayLike) -> list[np.ndarray]:
        """The part of each sequence in an array, in the order of the sequences.

        See the example of `pack`.

        Args:
          array: (R, L, ...).
        Returns:
          N arrays (T_n, ...).
        Raises:
          ValueError: for an array of other leading axes.
        """
        check_array("array", array)
        array = as_numpy("array", array)
        wanted = np.asarray(self.data.starts).shape
        if array.shape[:2] != wanted:
            raise ValueError(f"array must have leading axes {wanted}, got shape {array.shape}")
        return [
            array[row, start : start + length]
            for row, start, length in zip(self.rows, self.offsets, self.lengths, strict=True)
        ]


@checked()
def pack(sequences: Sequence[Any], num_rows: int | None = None) -> Packed:
    """Concatenate ragged sequences in rows of nearly equal length.

    The longest sequence is placed first, and each in the row that is shortest so far. N sequences
    padded to the longest cost N times the longest; packed they cost little more than the sum of their
    lengths.

    Args:
      sequences: N arrays (T_n, *event), or dicts or tuples of such arrays, each with T_n >= 1 steps.
      num_rows: R; more rows vectorise better, fewer need less padding. None: the number for which
        rows are about twice as long as the longest sequence.
    Returns:
      `Packed`. Its total log probability and statistics are those of the sequences; log
      probabilities of the rows are sums over the sequences in them.
    Raises:
      ValueError: for no sequences, an empty one, or fields of different lengths.
    Source: Graham (1969), SIAM J. Applied Mathematics 17, 416-429: longest first.

    Examples:
      >>> packed = pack([jnp.array([1, 2, 3]), jnp.array([4]), jnp.array([5, 6])], num_rows=2)
      >>> print(packed.data.values, packed.data.lengths)
      [[1 2 3]
       [5 6 4]] [3 3]
      >>> print(packed.split(packed.data.values)[2])
      [5 6]
    """
    _check_list("sequences", sequences)
    sizes = [{len(leaf) for leaf in jax.tree.leaves(s)} for s in sequences]
    if not sizes or any(len(s) != 1 or 0 in s for s in sizes):
        raise ValueError(
            "pack: wanted at least one sequence, each with at least one step and all its fields "
            f"of one length; got {len(sizes)} of lengths {sizes[:5]}"
        )
    lengths = np.array([s.pop() for s in sizes])
    if num_rows is None:
        num_rows = max(1, int(lengths.sum() / (2 * lengths.max())))
    if num_rows < 1:
        raise ValueError(f"pack: num_rows must be at least 1; got {num_rows}")
    filled = np.zeros(min(num_rows, len(lengths)), int)
    rows, offsets = np.zeros_like(lengths), np.zeros_like(lengths)
    for n in np.argsort(-lengths, kind="stable"):
        rows[n] = np.argmin(filled)
        offsets[n] = filled[rows[n]]
        filled[rows[n]] += lengths[n]
    shape = (len(filled), int(filled.max()))
    starts = np.zeros(shape, bool)
    starts[rows, offsets] = True
    data = Sequences(
        _lay(sequences, rows, offsets, shape), jnp.asarray(filled), jnp.asarray(starts)
    )
    return Packed(data, rows, offsets, lengths)


def _check_list(name: str, sequences: Any) -> None:
    """Raise unless an argument is a list of arrays, or of trees of them, that have an axis."""
    if not isinstance(sequences, list | tuple | np.ndarray | jax.Array):
        raise TypeError(f"{name} must be a list of arrays, got {type(sequences).__name__}")
    for n, sequence in enumerate(sequences):
        for leaf in jax.tree.leaves(sequence):
            check_array(f"{name}[{n}]", leaf)
            if np.ndim(leaf) == 0:
                raise ValueError(f"{name}[{n}] must have an axis of steps, got a number")


def _lay(arrays: Sequence[Any], rows: Any, offsets: Any, shape: tuple[int, ...]) -> Any:
    def lay(*leaves: ArrayLike) -> Any:
        each = [np.asarray(leaf) for leaf in leaves]
        # padding repeats a value that was seen, so that no family is shown a value it cannot take
        out = np.broadcast_to(each[0][:1], (*shape, *each[0].shape[1:])).copy()
        for part, row, start in zip(each, rows, offsets, strict=True):
            out[row, start : start + len(part)] = part
        return jnp.asarray(out)

    return jax.tree.map(lay, *arrays)
