"""Methods of models that are one compiled program where they are called outside of one."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

from likelax.data import convert
from likelax.numerics.checks import explained

F = TypeVar("F", bound=Callable[..., Any])

_DATA = {"x", "values", "weights", "shares"}


def one_program(method: F) -> F:
    """A method of a model, compiled once for each shape of its arguments.

    It checks the shapes of the model, and the labels and lengths of `x` where they are known, converts
    data and weights to JAX arrays, and runs as one program, also under `jax.grad`; single operations
    would be compiled and dispatched one by one, and a loop would be compiled again with every call.
    Within `jax.jit` it adds its operations to the surrounding program.

    Args:
      method: its arguments are pytrees of arrays; those named x, values, weights and shares
        are data. With an argument `mesh` that is not None it is called as it is, and compiles by itself.

    Examples:
      >>> from likelax import Poisson
      >>> @one_program
      ... def is_traced(model, x):
      ...     return isinstance(x, jax.core.Tracer)
      >>> bool(is_traced(Poisson(1.0), 3))
      True
    """
    program = jax.jit(method, inline=True)
    signature = inspect.signature(method)

    @functools.wraps(method)
    def run(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        model = next(iter(given.values()))
        name = f"{type(model).__name__}.{method.__name__}"
        model.check_shapes(name)
        if "x" in given:
            model.check_labels(name, given["x"])
        for data in _DATA & given.keys():
            given[data] = None if given[data] is None else convert(data, given[data])
        whole = method if given.get("mesh") is not None else program
        return whole(*given.values())

    return cast(F, explained(run))
