"""A model that the command line fitted, in a file that says what it is and what it was fitted to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from likelax import files, fit, named
from likelax.data import DataLike, Masked
from likelax.hmm import HMM
from likelax.interop.chains import as_sequences
from likelax.mixture import Mixture


@dataclass(frozen=True)
class Kept:
    """A fitted model and where it comes from.

    Attributes:
      name: KIND:FAMILY, as for `named.parse`.
      columns: names of the columns that it was fitted to.
      scalar: whether a row is a number, not a vector.
      size: number of components or states; None for a family alone.
      group: name of the column that tells the series apart, if any.
      holdout: share of the data that the fit did not see.
      seed: that chose the starts, and shuffled rows in no order before some were held out.
      model: the model.
    """

    name: str
    columns: tuple[str, ...]
    scalar: bool
    size: int | None
    group: str | None
    holdout: float
    seed: int
    model: Any

    @property
    def named(self) -> named.Named:
        """The model by name."""
        return named.parse(self.name)

    def save(self, file: Path) -> None:
        """Write it to a file, in place of an older one."""
        notes = asdict(self)
        del notes["model"]
        fit.save(file, self.model, notes=notes)


def load(file: Path) -> Kept:
    """Read what `Kept.save` wrote. No code in the file is run.

    Raises:
      files.DataError: for a file that can't be read, or that `likelax fit` did not write.
    """
    try:
        notes = fit.load_notes(file)
        notes["columns"] = tuple(map(str, notes["columns"]))
        kept = Kept(**notes, model=None)
        columns = None if kept.scalar else len(kept.columns)
        like = kept.named.blank(columns, kept.size)
        model = fit.load(file, like)
    except FileNotFoundError:
        raise files.DataError(f"{file} does not exist") from None
    except (OSError, KeyError, TypeError, ValueError, OverflowError, MemoryError):
        raise files.DataError(f"{file} is damaged, or was not written by `likelax fit`") from None
    return replace(kept, model=model)


def trimmed(model: Any, size: int) -> Any:
    """A mixture or hidden Markov model without the components beyond the first `size`."""
    if isinstance(model, Mixture):
        components = jax.tree.map(lambda a: a[:size], model.components)
        return Mixture(model.weights[:size], components)
    if isinstance(model, HMM):
        emissions = jax.tree.map(lambda a: a[:size], model.emissions)
        return HMM(model.initial[:size], model.transition[:size, :size], emissions)
    return model


def as_data(rows: files.Rows, *, series: bool) -> DataLike:
    """Rows as a model takes them: missing numbers as `Masked`, groups as series after each other.

    Args:
      rows: of a file.
      series: whether the rows are the steps of series, and groups tell the series apart.

    Examples:
      >>> rows = files.Rows(np.array([1.0, 2.0, 3.0]), ("n",), np.array(["a", "b", "a"]))
      >>> x = as_data(rows, series=True)
      >>> print(x.values, x.starts)
      [1. 3. 2.] [ True False  True]
    """
    parts = list(rows.parts().values()) if series else [rows.values]
    values = single(np.concatenate(parts))
    if series and rows.groups is not None:
        return as_sequences(values, np.array([len(part) for part in parts]))
    return Masked.from_nan(values) if np.isnan(values).any() else jnp.asarray(values)


def single(values: np.ndarray) -> np.ndarray:
    """Numbers of a file in 32 bits.

    Raises:
      files.DataError: for a number that 32 bits can't hold.
    """
    large = np.isfinite(values) & (np.abs(values) > np.finfo(np.float32).max)
    if large.any():
        raise files.DataError(
            f"{values[large].flat[0]:g} is too large for 32 bits; change its unit"
        )
    return values.astype(np.float32)


def divided(
    rows: files.Rows, holdout: float, *, series: bool, seed: int
) -> tuple[files.Rows, files.Rows]:
    """The rows to fit, and those held out.

    Of one series the last steps are held out, of several the last series. Rows in no order are shuffled.

    Args:
      rows: of a file.
      holdout: share, in [0, 1).
      series: whether the rows are the steps of series.
      seed: of the shuffle.
    Raises:
      files.DataError: if nothing would be left to fit, or nothing held out though `holdout` > 0.
    """
    number = len(rows.values)
    if series and rows.groups is not None:
        labels = list(rows.parts())
        last = labels[_first_held(len(labels), holdout, "series") :]
        held = np.isin(rows.groups, last)
        return _of(rows, ~held), _of(rows, held)
    order = np.arange(number) if series else np.random.default_rng(seed).permutation(number)
    first = _first_held(number, holdout, "rows")
    return _of(rows, order[:first]), _of(rows, order[first:])


def _first_held(number: int, holdout: float, what: str) -> int:
    first = number - round(holdout * number)
    if first < 1 or (holdout > 0 and first == number):
        raise files.DataError(
            f"--holdout {holdout} leaves {first} of {number} {what} to fit; wanted at least one of each"
        )
    return first


def _of(rows: files.Rows, chosen: np.ndarray) -> files.Rows:
    groups = None if rows.groups is None else rows.groups[chosen]
    return files.Rows(rows.values[chosen], rows.columns, groups)


def parameters(model: Any) -> dict[str, list[Any]]:
    """The parameters of a model as a table: the name of each number, and the number.

    Examples:
      >>> from likelax.families import Normal
      >>> parameters(Normal(1.0, 2.0))
      {'parameter': ['loc', 'scale'], 'value': [1.0, 2.0]}
    """
    names, values = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        array = np.asarray(leaf)
        for at in np.ndindex(array.shape):
            names.append(leaf_name(path, at))
            values.append(array[at].item())
    return {"parameter": names, "value": values}


def leaf_name(path: Sequence[Any], at: tuple[int, ...]) -> str:
    """The name of one number of a model, such as "components.rate[0]"."""
    index = str(list(at)).replace(" ", "") if at else ""
    return jax.tree_util.keystr(tuple(path)).lstrip(".") + index
