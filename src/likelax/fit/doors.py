"""Eager validation of the arguments of `fit.*`. Kernels do not validate values."""

from typing import Any

import numpy as np

from likelax.data import check_data, first_index, is_concrete
from likelax.model import check_part, check_registration
from likelax.parameters import check_parameters


def check(name: str, model: Any, x: Any, weights: Any = None) -> None:
    """Raise for a model, data or weights with invalid values. Traced values are not looked at.

    Raises:
      TypeError: a model that does not derive from `likelax.Model`, or a class that JAX can confuse
        with another one (`model.check_registration`).
      ValueError: parameters out of range, empty data, a NaN that was not declared missing, a
        negative or NaN weight, or a label that the model has no component for.
    """
    check_part(name, "model", model)
    check_registration(name, model)
    check_data(name, x)
    check_parameters(name, model)
    model.check_labels(name, x)
    if weights is not None and is_concrete(weights):
        array = np.asarray(weights)
        wrong = ~(array >= 0) | np.isinf(array)
        if wrong.any():
            raise ValueError(
                f"{name}: weights must be finite and not negative; "
                f"got {array[wrong][0]} at index {first_index(wrong)}"
            )
