"""Concatenated sequences of rows, and starts of chains: what the estimators of chains share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from likelax.data import DataLike, Masked, Sequences


def check_lengths(lengths: ArrayLike | None, num_rows: int) -> np.ndarray:
    """The lengths of the sequences that rows are cut into.

    Args:
      lengths: (B,) positive integers that add to `num_rows`, or None for one sequence.
      num_rows: N.
    Raises:
      ValueError: for lengths that are not positive or add to another number.

    Examples:
      >>> check_lengths(None, 3)
      array([3])
    """
    found = np.atleast_1d(np.asarray([num_rows] if lengths is None else lengths))
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or np.any(found < 1):
        raise ValueError(f"lengths must be positive integers of shape (B,), got {lengths!r}")
    if found.sum() != num_rows:
        raise ValueError(
            f"lengths must add to the number of rows, {num_rows}; they add to {found.sum()}"
        )
    return found


def lengths_of_groups(groups: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The lengths of runs of equal groups: each run is a sequence.

    Args:
      groups: (N,) one value a row.
    Raises:
      ValueError: for a group whose rows do not follow each other.

    Examples:
      >>> lengths_of_groups(["a", "a", "b"])
      array([2, 1])
    """
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(np.unique(codes[starts])) < len(starts):
        raise ValueError("groups: the rows of a group must follow each other, in the order of time")
    return np.diff(starts, append=len(codes))


def as_sequences(x: np.ndarray, lengths: np.ndarray) -> DataLike:
    """Rows as `Sequences`; NaN entries are declared missing.

    Args:
      x: (N, ...).
      lengths: (B,).

    Examples:
      >>> as_sequences(np.zeros(3), np.array([2, 1])).starts
      array([ True, False,  True])
    """
    starts: Any = np.zeros(len(x), bool)
    starts[np.cumsum(lengths) - lengths] = True
    missing = np.isnan(x) if np.issubdtype(x.dtype, np.floating) else np.zeros(1, bool)
    values: DataLike = Masked(np.where(missing, 0, x), ~missing) if missing.any() else x
    return Sequences(values, starts=starts)
