"""The columns of a table: what family describes each, and the numbers that stand for its texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from likelax import files

LEAVE_OUT = "leave it out by --columns"

# Whole numbers below it count something, as far as one can tell from the numbers alone.
COUNTS_BELOW = 100
MOST_CATEGORIES = 50


@dataclass(frozen=True)
class Column:
    """One column, as a model takes it.

    Attributes:
      name: in the header of the table.
      family: that describes it, such as "normal" or "categorical"; "number" for the input of a
        regression, which has no distribution.
      values: the texts that the codes 0, 1, ... stand for; empty where the numbers are used as they
        are.
    """

    name: str
    family: str
    values: tuple[str, ...] = ()


def describe(where: Any, name: str, raw: np.ndarray, family: str) -> Column:
    """A column whose family is given.

    Args:
      where: the file, for messages.
      name: of the column.
      raw: (N,) as `files.read_raw` returns it.
      family: "categorical" takes texts and numbers, "bernoulli" two values of any kind, and all others
        numbers.
    Raises:
      files.DataError: for what the family can't take.

    Examples:
      >>> describe("t.csv", "sex", np.array(["male", "female", ""]), "bernoulli")
      Column(name='sex', family='bernoulli', values=('female', 'male'))
    """
    if family not in ("categorical", "bernoulli"):
        files.numbers(where, name, raw)
        return Column(name, family)
    texts = files.texts(raw)
    found = _ordered(np.unique(texts[texts != ""]))
    if family == "bernoulli":
        if all(map(files.is_number, found)) and {float(text) for text in found} <= {0.0, 1.0}:
            return Column(name, family)
        if len(found) != 2:
            raise files.DataError(
                f"{where}: column {name!r} has {len(found)} different values; bernoulli wants two"
            )
    if len(found) < 2:
        raise files.DataError(
            f"{where}: column {name!r} has {len(found)} different values; categorical wants two or more"
        )
    return Column(name, family, tuple(found))


def infer(where: Any, name: str, raw: np.ndarray) -> Column:
    """A column whose family is guessed from its values.

    Texts are categorical, two whole numbers bernoulli, other whole numbers from 0 to 99 poisson, and
    all other numbers normal.

    Args:
      where, name, raw: as for `describe`.
    Raises:
      files.DataError: for a column without a value or with a single one, for texts that differ in
        nearly every row, and for texts among numbers.

    Examples:
      >>> infer("t.csv", "visits", np.array(["3", "0", "", "1"]))
      Column(name='visits', family='poisson', values=())
    """
    texts = files.texts(raw)
    known = texts[texts != ""]
    found = [str(text) for text in np.unique(known)]
    if len(found) < 2:
        what = f"is {found[0]!r} in every row" if len(found) else "has no value"
        raise files.DataError(f"{where}: column {name!r} {what}; {LEAVE_OUT}")
    are_numbers = [files.is_number(text) for text in found]
    if all(are_numbers):
        return _of_numbers(where, name, raw, np.unique(np.array(found, float)))
    if any(are_numbers):
        text, number = (found[are_numbers.index(kind)] for kind in (False, True))
        raise files.DataError(
            f"{where}: column {name!r} holds texts such as {text!r} among numbers such as {number!r}; "
            f"correct it, {LEAVE_OUT}, or say --column {name!r}:categorical"
        )
    if len(found) > MOST_CATEGORIES or len(found) == len(known):
        raise files.DataError(
            f"{where}: column {name!r} has {len(found)} different texts in {len(known)} rows; "
            f"{LEAVE_OUT}, or say --column {name!r}:categorical"
        )
    return describe(where, name, raw, "categorical")


def _of_numbers(where: Any, name: str, raw: np.ndarray, values: np.ndarray) -> Column:
    if len(values) == 1:
        raise files.DataError(
            f"{where}: column {name!r} is {values[0]:g} in every row; {LEAVE_OUT}"
        )
    whole = bool(np.all(np.isfinite(values) & (values == np.round(values))))
    if whole and len(values) == 2:
        return describe(where, name, raw, "bernoulli")
    counts = whole and values[0] >= 0 and values[-1] < COUNTS_BELOW
    return Column(name, "poisson" if counts else "normal")


def encode(where: Any, column: Column, raw: np.ndarray) -> np.ndarray:
    """(N,) the numbers or codes of a column; NaN where missing.

    Args:
      where: the file, for messages.
      column: as `describe` or `infer` found it, in this table or in the one that a model was fitted to.
      raw: (N,) as `files.read_raw` returns it.
    Raises:
      files.DataError: for a text where a number is wanted, or one that the model does not know.

    Examples:
      >>> encode("t.csv", Column("sex", "bernoulli", ("female", "male")), np.array(["male", ""]))
      array([ 1., nan])
    """
    if not column.values:
        return files.numbers(where, column.name, raw)
    texts = files.texts(raw)
    found, codes = np.unique(texts, return_inverse=True)
    known = {value: float(code) for code, value in enumerate(column.values)} | {"": np.nan}
    unknown = [str(text) for text in found if text not in known]
    if unknown:
        row = int(np.argmax(texts == unknown[0])) + 1
        raise files.DataError(
            f"{where}: column {column.name!r} holds {unknown[0]!r} in row {row}, which the model does "
            f"not know; it knows {', '.join(column.values)}"
        )
    return np.array([known[text] for text in found], float)[codes]


def decode(column: Column, codes: np.ndarray) -> np.ndarray:
    """(N,) the texts of codes, or the numbers as they are; an empty text for a negative code.

    Examples:
      >>> print(decode(Column("sex", "bernoulli", ("female", "male")), np.array([1, -1])))
      ['male' '']
    """
    if not column.values:
        return codes
    return np.array([*column.values, ""])[np.asarray(codes, int)]


def _ordered(found: np.ndarray) -> list[str]:
    """Texts by the alphabet, numbers by size."""
    texts = [str(text) for text in found]
    return sorted(texts, key=float) if all(map(files.is_number, texts)) else sorted(texts)
