"""Data sets from files, and tables of results to files. Nothing in a file is executed."""

import csv
import difflib
import importlib
import importlib.util
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MOST_LISTED = 20  # columns that a message names

# What stands for a missing number in a table.
MISSING = frozenset({"", "na", "nan", "null", "none"})

STDIN = Path("-")

# What NumPy and zipfile raise for a file that is damaged, or of another kind.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    NotImplementedError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)


class DataError(ValueError):
    """A file that cannot be read as numbers. Its message is one sentence for the user."""


def ending(file: Path) -> str:
    """The ending of the name of a file, in small letters.

    Examples:
      >>> ending(Path("DATA.CSV"))
      '.csv'
    """
    return file.suffix.lower()


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of all .npy and .csv files of a folder, by the names of the files, sorted.

    Args:
      folder: each file is one data set: rows (N,) or (N, D).
    Raises:
      DataError: for a folder without such files, a file that can't be read, or files whose numbers
        of columns differ.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     np.save(Path(folder) / "a.npy", np.array([1.0, 2.0]))
      ...     print(read_folder(Path(folder)))
      {'a': array([1., 2.])}
    """
    files = sorted(p for p in folder.iterdir() if ending(p) in (".npy", ".csv"))
    if not files:
        raise DataError(f"{folder} holds no .npy or .csv file")
    names = [file.stem for file in files]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{folder} holds two files of the name {min(twice)}; rename one")
    found = {file.stem: _read_array(file) for file in files}
    shapes = {name: array.shape[1:] for name, array in found.items()}
    first = names[0]
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise DataError(
                f"all data sets must have the same columns; {first} has the shape "
                f"{found[first].shape} and {name} {found[name].shape}"
            )
    return found


def _read_array(file: Path) -> np.ndarray:
    if ending(file) == ".csv":
        columns = list(read_table(file).values())
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    try:
        # NumPy leaves a file open that it opens itself and can't read
        with file.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)
    except _UNREADABLE:
        raise DataError(f"{file} is damaged, or no array of numbers") from None
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind not in "biuf"
        or array.ndim not in (1, 2)
        or 0 in array.shape[1:]
    ):
        raise DataError(f"{file} must hold rows of numbers, of shape (N,) or (N, D)")
    return array


def read_table(file: Path, text: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The columns of a CSV or Parquet file by name. A first line of numbers is data, not names.

    Args:
      file: .csv or .parquet.
      text: names of columns that may hold text; all others must be numbers, NaN where missing.
    Raises:
      DataError: for a file that can't be read, or a column that is not of numbers.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "t.csv"
      ...     _ = file.write_text("who,n\\nann,1\\nbob,\\n")
      ...     print(read_table(file, text=["who"])["n"])
      [ 1. nan]
    """
    columns = _columns(file)
    return {
        name: column if name in text else numbers(file, name, column)
        for name, column in columns.items()
    }


def _columns(file: Path) -> dict[str, np.ndarray]:
    """The columns of a table by name: text from a CSV file, anything from a Parquet file."""
    if ending(file) == ".parquet":
        return _read_parquet(file)
    try:
        lines = sys.stdin.read() if file == STDIN else file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text in UTF-8; save it as a CSV in UTF-8") from None
    lines = lines.removeprefix("\ufeff")  # which some programs put at the start of a text
    try:
        reader = csv.reader(io.StringIO(lines), delimiter=_separator(lines), skipinitialspace=True)
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{file} is no CSV file: {error}") from None
    if not rows:
        raise DataError(f"{file} is empty")
    names = [name.strip() for name in rows[0]]
    if all(map(is_number, names)):
        names = [f"column {i + 1}" for i in range(len(names))]
    else:
        rows = rows[1:]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(f"{file} has two columns of the name {twice!r}; rename one")
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise DataError(
                f"{file}: row {i + 1} of data has {len(row)} entries; wanted {len(names)}"
            )
    return {name: np.array([row[j] for row in rows], str) for j, name in enumerate(names)}


def _separator(lines: str) -> str:
    """What separates the entries of the first line: a comma, or without any a semicolon or a tab."""
    first = next(csv.reader(io.StringIO(lines.lstrip().partition("\n")[0])), [])
    return next((found for found in ";\t" if len(first) == 1 and found in first[0]), ",")


def is_number(text: str) -> bool:
    """Whether a text is a number, as Python reads it.

    Examples:
      >>> is_number("1e-3"), is_number("1,5")
      (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def texts(column: np.ndarray) -> np.ndarray:
    """(N,) the entries of a column as texts; empty where missing.

    Examples:
      >>> print(texts(np.array([1.0, np.nan, 2.5])), texts(np.array(["a ", "NA"])))
      ['1' '' '2.5'] ['a' '']
    """
    if column.dtype.kind in "biuf":
        return np.array(["" if np.isnan(v) else str(v).removesuffix(".0") for v in column + 0], str)
    found = [str(value).strip() for value in column]
    return np.array(["" if text.lower() in MISSING else text for text in found], str)


def numbers(file: Any, name: str, column: np.ndarray) -> np.ndarray:
    """(N,) the entries of a column as numbers; NaN where missing.

    Args:
      file: for the message.
      name: of the column.
      column: (N,) texts or numbers.
    Raises:
      DataError: for a text that is no number.

    Examples:
      >>> numbers("t.csv", "n", np.array(["1.5", "NA"]))
      array([1.5, nan])
    """
    if column.dtype.kind in "biuf":
        return column
    found = texts(column)
    filled = np.where(found == "", "nan", found) if len(found) else found
    try:
        return filled.astype(float)
    except ValueError:
        wrong = next(i for i, text in enumerate(filled) if not is_number(text))
        is_decimal = re.fullmatch(r"[+-]?\d*,\d+", found[wrong])
        remedy = "name the columns to use by --columns"
        raise DataError(
            f"{file}: column {name!r} holds {str(found[wrong])!r} in row {wrong + 1}, which is no number; "
            + ("write decimals with a point, such as 1.5" if is_decimal else remedy)
        ) from None


def _read_parquet(file: Path) -> dict[str, np.ndarray]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise DataError(f"{file}: Parquet needs pyarrow; pip install 'likelax[parquet]'") from None
    try:
        table = parquet.read_table(file)
    except Exception as error:  # pyarrow raises classes of its own for damaged files
        raise DataError(f"{file} is no Parquet file: {str(error).split('. ')[0]}") from None
    return {name: table[name].to_numpy() for name in table.column_names}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive: (N,) is a column, and (N, D) are D of them."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _UNREADABLE:
        raise DataError(f"{file} is damaged, or no archive of arrays") from None
    if "head" in arrays:
        raise DataError(f"{file} is a model of likelax; wanted a table")
    table: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufU" or array.ndim not in (1, 2):
            raise DataError(
                f"{file}: array {name!r} has the type {array.dtype} and the shape {array.shape}; wanted "
                "columns of numbers or texts, (N,) or (N, D)"
            )
        if array.ndim == 1:
            table[name] = array
        else:
            table |= {f"{name}[{j}]": array[:, j] for j in range(array.shape[1])}
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) != 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "no array"
        raise DataError(f"{file}: all arrays must have the same number of rows; got {said}")
    return table


class Rows(NamedTuple):
    """Rows of numbers from a file.

    Attributes:
      values: (N,) for one column, else (N, D); NaN where missing.
      columns: the names of the columns used.
      groups: (N,) text, what each row belongs to; None without a column for it.
      labels: (N,) class or target of each row, NaN where missing; None without a column for it.
      weights: (N,) weight of each row; None without a column for it.
    """

    values: np.ndarray
    columns: tuple[str, ...]
    groups: np.ndarray | None
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None

    def parts(self) -> dict[str, np.ndarray]:
        """The rows of each group, in the order in which the groups first appear."""
        return {name: self.values[at] for name, at in self.places().items()}

    def places(self) -> dict[str, np.ndarray]:
        """The row numbers of each group, in the order in which the groups first appear."""
        if self.groups is None:
            return {"": np.arange(len(self.values))}
        labels, first, where = np.unique(self.groups, return_index=True, return_inverse=True)
        order = np.argsort(where, kind="stable")
        ends = np.cumsum(np.bincount(where, minlength=len(labels)))[:-1]
        places = np.split(order, ends)
        return {str(labels[i]): places[i] for i in np.argsort(first)}


def read_raw(file: Path, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The columns of a CSV, Parquet or NumPy file, or a CSV from standard input, by name.

    Args:
      file: .csv, .parquet, .npz, .npy, or `-` for standard input.
      names: of the columns of an .npy file, which has none: as many as it has columns. Else they are
        called "column 1" and so on.
    Returns:
      Columns (N,): texts from a CSV, texts or numbers from other files.
    Raises:
      DataError: for a file that can't be read.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "t.npy"
      ...     np.save(file, np.array([[1, 2], [3, 4]]))
      ...     print(read_raw(file)["column 2"])
      [2 4]
    """
    if file != STDIN and not file.is_file():
        raise DataError(f"{file} does not exist" if not file.exists() else f"{file} is no file")
    if ending(file) == ".npz":
        return _read_npz(file)
    if ending(file) == ".npy":
        values = _read_array(file)
        values = values[:, None] if values.ndim == 1 else values
        own = [f"column {i + 1}" for i in range(values.shape[1])]
        if names and not set(names) <= set(own):
            if len(names) != len(own):
                raise DataError(f"{file} has {len(own)} columns; wanted {len(names)}")
            own = list(names)
        return dict(zip(own, values.T, strict=True))
    if file != STDIN and ending(file) not in (".csv", ".tsv", ".parquet"):
        raise DataError(
            f"{file}: wanted a .csv, .tsv, .parquet, .npy or .npz file, or - for standard input"
        )
    return _columns(file)


def check_columns(file: Path, table: Mapping[str, Any], wanted: Iterable[str | None]) -> None:
    """Raise for a column that a table does not have.

    Args:
      file: for the message.
      table: columns by name.
      wanted: names; None is no column.
    Raises:
      DataError: naming the columns that there are.

    Examples:
      >>> check_columns(Path("t.csv"), {"a": 0}, ["a", None])
    """
    for name in wanted:
        if name is not None and name not in table:
            near = difflib.get_close_matches(name, table, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{file} has no column {name!r}; it has {listed(table)}{meant}")


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first of them if they are many.

    Examples:
      >>> listed("abc")
      'a, b, c'
    """
    first, more = list(names)[:MOST_LISTED], len(list(names)) - MOST_LISTED
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def stacked(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns side by side, (N, D); one alone stays (N,).

    Examples:
      >>> stacked([np.zeros(3), np.ones(3)]).shape
      (3, 2)
    """
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def read_rows(file: Path, columns: Sequence[str] = (), group: str | None = None) -> Rows:
    """Rows of numbers from a CSV, Parquet or NumPy file, or a CSV from standard input.

    Args:
      file: as for `read_raw`.
      columns: names of the columns to use; empty: all that have a name, but the group.
      group: name of the column that says what a row belongs to.
    Raises:
      DataError: as `read_raw`, or for a column that does not exist.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "t.csv"
      ...     _ = file.write_text("who,n\\nann,1\\nbob,2\\nann,3\\n")
      ...     print(read_rows(file, group="who").parts())
      {'ann': array([1., 3.]), 'bob': array([2.])}
    """
    table = read_raw(file, columns)
    check_columns(file, table, (group, *columns))
    used = tuple(columns) or tuple(name for name in table if name not in ("", group))
    if not used:
        raise DataError(f"{file} has no column with a name beside {group!r}")
    values = stacked([numbers(file, name, table[name]) for name in used])
    return Rows(values, used, None if group is None else table[group].astype(str))


def write_table(file: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write columns of one length to a .csv or .parquet file.

    Raises:
      DataError: for another ending, or Parquet without pyarrow.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "t.csv"
      ...     write_table(file, {"n": [1, 2], "who": ["a", "b"]})
      ...     print(file.read_text().splitlines())
      ['n,who', '1,a', '2,b']
    """
    check_output(file)
    part = file.with_name(f".{file.name}.part")
    if ending(file) == ".parquet":
        arrow = importlib.import_module("pyarrow")
        table = arrow.table({name: arrow.array(list(c)) for name, c in columns.items()})
        importlib.import_module("pyarrow.parquet").write_table(table, part)
    else:
        with part.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    part.replace(file)


def check_output(file: Path, endings: Sequence[str] = (".csv", ".parquet")) -> None:
    """Raise unless a result can be written to this file.

    Args:
      file: a table by default.
      endings: that its name may have.
    Raises:
      DataError: for another ending, Parquet without pyarrow, a folder, a file in a folder that does
        not exist, or one in which nothing may be written.

    Examples:
      >>> check_output(Path("model.pkl"), [".npz"])
      Traceback (most recent call last):
        ...
      likelax.files.DataError: model.pkl: wanted a name that ends in .npz
    """
    if ending(file) not in endings:
        raise DataError(f"{file}: wanted a name that ends in {' or '.join(endings)}")
    if ending(file) == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{file}: Parquet needs pyarrow; pip install 'likelax[parquet]', or write .csv"
        )
    folder = file.resolve().parent
    if file.is_dir():
        raise DataError(f"{file} is a folder")
    if not folder.is_dir():
        raise DataError(f"{file}: its folder does not exist")
    if not os.access(folder, os.W_OK):
        raise DataError(f"{file}: its folder can't be written to")
