"""Data frames of pandas and polars as data of models, and results as data frames.

It needs neither library: it calls methods of the frames that it is given.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, Masked
from likelax.numerics import as_array
from likelax.numerics.checks import check_type, checked
from likelax.predictive import summarise

__all__ = ["Fields", "Labels", "fields_of", "labels_of", "rows_of", "summary_frame", "to_frame"]


class Fields(NamedTuple):
    """Columns of a data frame as the data of a `Product`.

    Attributes:
      data: a dict with an array (N,) for each column; `Masked` if any entry is missing.
      categories: the names of the codes 0..C-1 of each column of categories, by column.
    """

    data: DataLike
    categories: dict[str, tuple[Any, ...]]


class Labels(NamedTuple):
    """A column of categories as labels.

    Attributes:
      labels: (N,) integers, -1 where missing.
      names: of the codes 0..C-1.
    """

    labels: Array
    names: tuple[Any, ...]


def fields_of(
    frame: Any,
    columns: Sequence[str] | None = None,
    *,
    categories: Mapping[str, Sequence[Any]] | None = None,
) -> Fields:
    """Columns of a data frame as data of a `Product`, such as the components of `naive_bayes.mixed`.

    Numbers and booleans stay what they are. Text and categories become integer codes: in the order of
    the categories where the column declares them, else sorted. Nulls and NaN are missing.

    Args:
      frame: a data frame of pandas or polars, of shape (N, number of columns).
      columns: names of the columns to use; None: all.
      categories: the names of the codes by column, such as those of the data that a model was
        fitted to, so that new data have the same codes.
    Returns:
      `Fields`.
    Raises:
      TypeError: for something that is no data frame, and for columns of dates or of other objects.
      ValueError: for columns that the frame does not have, and for an entry that is not among the given
        categories.

    Examples:
      >>> import pandas
      >>> frame = pandas.DataFrame({"size": [1.5, None], "kind": ["b", "a"]})
      >>> found = fields_of(frame)
      >>> print(found.data.values["kind"], found.categories, found.data.observed["size"])
      [1 0] {'kind': ('a', 'b')} [ True False]
    """
    names = _names(frame, columns)
    check_type("categories", categories or {}, Mapping)
    given = dict(categories or {})
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"categories: wanted columns among {names}, got {unknown}")
    values, observed, found = {}, {}, {}
    for name in names:
        column, missing, labels = _column(frame, name, given.get(name))
        values[name], observed[name] = as_array(f"frame[{name!r}]", column), ~missing
        if labels is not None:
            found[name] = labels
    if all(seen.all() for seen in observed.values()):
        return Fields(values, found)
    return Fields(Masked(values, {n: as_array(n, seen) for n, seen in observed.items()}), found)


def rows_of(frame: Any, columns: Sequence[str] | None = None) -> DataLike:
    """Columns of numbers as rows, for a multivariate model.

    Args:
      frame: a data frame of pandas or polars.
      columns: names of the columns to use; None: all.
    Returns:
      (N, D) floats; `Masked` if any entry is missing.
    Raises:
      TypeError: for something that is no data frame, and for columns that hold no numbers.
      ValueError: for columns that the frame does not have.

    Examples:
      >>> import pandas
      >>> print(rows_of(pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})))
      [[1.  0.5]
       [2.  1.5]]
    """
    columns = _names(frame, columns)
    parts = [_column(frame, name) for name in columns]
    for name, (_, _, labels) in zip(columns, parts, strict=True):
        if labels is not None:
            raise TypeError(f"rows_of: column {name!r} must hold numbers, got {labels[:3]}")
    values = np.stack([np.asarray(column, float) for column, _, _ in parts], axis=1)
    missing = np.stack([gaps for _, gaps, _ in parts], axis=1)
    rows = as_array("frame", values)
    return Masked(rows, as_array("frame", ~missing)) if missing.any() else rows


def labels_of(frame: Any, column: str, *, names: Sequence[Any] | None = None) -> Labels:
    """A column as labels of `Labelled` data and of naive Bayes, -1 where missing.

    Args:
      frame: a data frame of pandas or polars, of shape (N, number of columns).
      column: its name; text, categories, integers or booleans.
      names: of the codes, as for `categories` of `fields_of`; None: those of the column.
    Returns:
      `Labels`.
    Raises:
      TypeError: for something that is no data frame, and for columns of floats, dates or other objects.
      ValueError: for a column that the frame does not have, or an entry that is not among names.

    Examples:
      >>> import pandas
      >>> found = labels_of(pandas.DataFrame({"y": ["wet", None, "dry"]}), "y")
      >>> print(found.labels, found.names)
      [ 1 -1  0] ('dry', 'wet')
    """
    check_type("column", column, str)
    _names(frame, [column])
    codes, missing, found = _column(frame, column, names)
    if found is None:
        if codes.dtype.kind == "f":
            raise TypeError(f"labels_of: column {column!r} must hold categories, got floats")
        distinct = np.unique(codes[~missing])
        codes, found = np.searchsorted(distinct, codes), tuple(distinct.tolist())
    return Labels(as_array("labels", np.where(missing, -1, codes)), found)


def to_frame(
    like: Any,
    results: Mapping[str, ArrayLike],
    *,
    names: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Results as a data frame of the same library, with the same index if the number of rows is the same.

    Args:
      like: a data frame of pandas or polars.
      results: arrays (N,), or (N, K) such as responsibilities, which become K columns.
      names: for an array (N, K) what its columns are called; for codes (N,) such as states or
        classes the names that replace them, -1 being missing.
    Returns:
      A data frame with N rows. The columns of an array (N, K) called `p` are `p[0]`, `p[1]`, or `p[name]`.
    Raises:
      TypeError: for something that is no data frame.
      ValueError: for results of different lengths or other shapes, and for names that do not fit.

    Examples:
      >>> import pandas
      >>> frame = pandas.DataFrame({"x": [1.0, 2.0]}, index=["u", "v"])
      >>> results = {"p": jnp.array([[0.25, 0.75], [1.0, 0.0]]), "state": jnp.array([1, 0])}
      >>> print(to_frame(frame, results, names={"p": ["dry", "wet"], "state": ["dry", "wet"]}))
         p[dry]  p[wet] state
      u    0.25    0.75   wet
      v    1.00    0.00   dry
    """
    library = _library(like, "like")
    check_type("results", results, Mapping)
    check_type("names", names or {}, Mapping)
    given = dict(names or {})
    unknown = sorted(set(given) - set(results))
    if unknown:
        raise ValueError(f"names: wanted names of results {sorted(results)}, got {unknown}")
    found: dict[str, Any] = {}
    for name, value in results.items():
        array = np.asarray(as_array(f"results[{name!r}]", value))
        labels = given.get(name)
        if labels is not None:
            check_type(f"names[{name!r}]", labels, Sequence)
        if array.ndim == 1:
            found[name] = array if labels is None else _named(name, array, list(labels), library)
        elif array.ndim == 2:
            labels = range(array.shape[1]) if labels is None else labels
            if len(labels) != array.shape[1]:
                raise ValueError(
                    f"names[{name!r}]: wanted {array.shape[1]} names, one for each column, "
                    f"got {len(labels)}"
                )
            found.update({f"{name}[{k}]": array[:, i] for i, k in enumerate(labels)})
        else:
            raise ValueError(f"results[{name!r}] must have shape (N,) or (N, K), got {array.shape}")
    sizes = {name: len(column) for name, column in found.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"results must have one number of rows, got {sizes}")
    if library == "pandas" and set(sizes.values()) == {len(like)}:
        return type(like)(found, index=like.index)
    return type(like)(found)


@checked()
def summary_frame(like: Any, draws: Any, *, mass: float = 0.9) -> Any:
    """Mean, standard deviation and central interval of draws as a data frame.

    Args:
      like: a data frame of pandas or polars of any shape, which decides the kind of the result.
      draws: a pytree with leaves (S, ...).
      mass: of the interval.
    Returns:
      A data frame with one row for each number: its `parameter`, such as `components.loc[0]`, and
      `mean`, `sd`, `low` and `high`.
    Raises:
      TypeError: for something that is no data frame.
      ValueError: as `predictive.summarise`.

    Examples:
      >>> import pandas
      >>> print(summary_frame(pandas.DataFrame(), {"loc": jnp.array([1.0, 3.0])}))
        parameter  mean        sd  low  high
      0       loc   2.0  1.414214  1.0   3.0
    """
    _library(like, "like")
    rows: list[dict[str, Any]] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(draws):
        found = summarise(leaf, mass)
        columns = (found.mean, found.sd, found.interval.lower, found.interval.upper)
        for index in np.ndindex(found.mean.shape):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            entry = f"[{', '.join(map(str, index))}]" if index else ""
            numbers = (float(column[index]) for column in columns)
            rows.append({"parameter": name + entry} | dict(zip(_COLUMNS, numbers, strict=True)))
    return type(like)({name: [row[name] for row in rows] for name in ("parameter", *_COLUMNS)})


_COLUMNS = ("mean", "sd", "low", "high")


def _library(frame: Any, argument: str = "frame") -> str:
    """The library of a data frame.

    Raises:
      TypeError: for something else.
    """
    name = type(frame).__module__.split(".")[0]
    if name not in ("pandas", "polars") or type(frame).__name__ != "DataFrame":
        raise TypeError(
            f"{argument} must be a DataFrame of pandas or polars, got {type(frame).__name__}"
        )
    return name


def _names(frame: Any, columns: Sequence[str] | None) -> list[str]:
    _library(frame)
    held = list(frame.columns)
    if columns is None:
        return held
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns must be a list of names, got {columns!r}")
    unknown = [name for name in columns if name not in held]
    if unknown:
        raise ValueError(f"columns: the frame has {held}, got {unknown}")
    return list(columns)


def _column(
    frame: Any, name: str, names: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[Any, ...] | None]:
    """(values or codes, where they are missing, names of the codes or None) of a column."""
    series = frame[name]
    read = _from_pandas if _library(frame) == "pandas" else _from_polars
    values, missing, declared = read(name, series)
    if values.dtype.kind == "f":
        missing = missing | np.isnan(values)
    if values.dtype.kind != "O":
        if names is None:
            return np.where(missing, np.ones((), values.dtype), values), missing, None
        values = values.astype(object)
    chosen = names if names is not None else declared
    if chosen is None:
        chosen = sorted({value for value, gap in zip(values, missing, strict=True) if not gap})
    code = {value: k for k, value in enumerate(chosen)}
    for value, gap in zip(values, missing, strict=True):
        if not gap and value not in code:
            raise ValueError(f"column {name!r} holds {value!r}; wanted one of {list(chosen)}")
    codes = [0 if gap else code[value] for value, gap in zip(values, missing, strict=True)]
    return np.array(codes, int), missing, tuple(chosen)


Column = tuple[np.ndarray, np.ndarray, list[Any] | None]
"""(values, objects for categories; where missing; declared categories or None)."""


def _from_pandas(name: str, series: Any) -> Column:
    missing = series.isna().to_numpy(bool)
    if series.dtype.name == "category":
        return series.astype(object).to_numpy(), missing, series.cat.categories.tolist()
    kind = getattr(series.dtype, "kind", "O")
    if kind in "biuf":
        whole = series.fillna(1) if missing.any() and kind != "f" else series
        if kind == "f":
            return whole.to_numpy(float, na_value=np.nan), missing, None
        return whole.to_numpy({"b": bool}.get(kind, int)), missing, None
    if kind in "mMc":
        raise TypeError(f"column {name!r} holds {series.dtype}; convert it to numbers first")
    return _text(name, series.astype(object).to_numpy(), missing)


def _from_polars(name: str, series: Any) -> Column:
    missing = series.is_null().to_numpy()
    dtype = series.dtype
    if dtype.is_numeric() or str(dtype) == "Boolean":
        if dtype.is_integer() or str(dtype) == "Boolean":
            filled = series.fill_null(1 if dtype.is_numeric() else True)
            return filled.to_numpy(), missing, None
        return series.cast(importlib.import_module("polars").Float64).to_numpy(), missing, None
    if dtype.is_temporal():
        raise TypeError(f"column {name!r} holds {dtype}; convert it to numbers first")
    declared = dtype.categories.to_list() if str(dtype).startswith("Enum") else None
    values, missing, _ = _text(name, np.array([*series.to_list(), None], object)[:-1], missing)
    return values, missing, declared


def _text(name: str, values: np.ndarray, missing: np.ndarray) -> Column:
    """Objects that must be text or booleans where they are not missing."""
    for value, gap in zip(values, missing, strict=True):
        if not gap and not isinstance(value, str | bool):
            raise TypeError(f"column {name!r} must hold numbers, text or categories, got {value!r}")
    return values, missing, None


def _named(name: str, codes: np.ndarray, names: list[Any], library: str) -> Any:
    """Codes as categories, missing where they are -1."""
    if (
        codes.dtype.kind not in "iu"
        or codes.max(initial=-1) >= len(names)
        or codes.min(initial=0) < -1
    ):
        raise ValueError(
            f"results[{name!r}] must hold integers from -1 to {len(names) - 1}, since it has "
            f"{len(names)} names"
        )
    frames = importlib.import_module(library)
    if library == "pandas":
        return frames.Categorical.from_codes(codes, categories=names)
    text = list(map(str, names))
    values = [None if code < 0 else text[code] for code in codes]
    return frames.Series(name, values, dtype=frames.Enum(text))
