"""Constructor arguments out of range: refused in `fit`, in scikit-learn's words."""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_number(
    estimator: Any,
    name: str,
    *,
    least: float = 0,
    above: bool = False,
    integer: bool = False,
    optional: bool = False,
) -> None:
    """Raise unless a constructor argument is a number in a half-line.

    Args:
      estimator: holds the argument.
      name: of the argument.
      least: the end of the half-line.
      above: exclude the end.
      integer: require an integer.
      optional: allow None.
    Raises:
      ValueError: naming the argument, the class, the range and the value.

    Examples:
      >>> import types
      >>> check_number(types.SimpleNamespace(tol=-1.0), "tol")
      Traceback (most recent call last):
        ...
      ValueError: The 'tol' parameter of SimpleNamespace must be a float in the range [0, inf). Got -1.0 instead.
    """
    value = getattr(estimator, name)
    if optional and value is None:
        return
    kind = numbers.Integral if integer else numbers.Real
    fine = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    if not fine or not (value > least if above else value >= least):
        wanted = f"{'an int' if integer else 'a float'} in the range {'(' if above else '['}{least}, inf)"
        _refuse(estimator, name, f"{wanted} or None" if optional else wanted)


def check_choice(estimator: Any, name: str, choices: Iterable[str]) -> None:
    """Raise unless a constructor argument is one of some strings.

    Args:
      estimator: holds the argument.
      name: of the argument.
      choices: the strings.
    Raises:
      ValueError: naming the argument, the class, the choices and the value.

    Examples:
      >>> import types
      >>> check_choice(types.SimpleNamespace(kind="x"), "kind", ["full"])
      Traceback (most recent call last):
        ...
      ValueError: The 'kind' parameter of SimpleNamespace must be a str among {'full'}. Got 'x' instead.
    """
    value = getattr(estimator, name)
    if not isinstance(value, str) or value not in (choices := list(choices)):
        listed = ", ".join(repr(choice) for choice in sorted(choices))
        _refuse(estimator, name, f"a str among {{{listed}}}")


def check_flag(estimator: Any, name: str) -> None:
    """Raise unless a constructor argument is True or False.

    Args:
      estimator: holds the argument.
      name: of the argument.
    Raises:
      ValueError: naming the argument, the class and the value.

    Examples:
      >>> import types
      >>> check_flag(types.SimpleNamespace(warm_start=True), "warm_start")
    """
    if not isinstance(getattr(estimator, name), bool | np.bool_):
        _refuse(estimator, name, "an instance of 'bool'")


def _refuse(estimator: Any, name: str, wanted: str) -> None:
    raise ValueError(
        f"The {name!r} parameter of {type(estimator).__name__} must be {wanted}. "
        f"Got {getattr(estimator, name)!r} instead."
    )
