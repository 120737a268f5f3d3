"""Validation of arguments: options, keys, shapes, and values where these are known.

Values of traced arrays are not known, so under `jax.jit` and `jax.vmap` only types and shapes are
checked. Every error is one sentence with the name of the argument, what is wanted and what came.
"""

import dis
import functools
import inspect
import os
import pathlib
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

__all__ = [
    "as_array", "as_booleans", "as_numpy", "as_tree", "check_array", "check_axes", "check_finite", "check_fraction", "check_function", "check_key", "check_methods", "check_not_negative",
    "check_number", "check_numbers", "check_order", "check_positive", "check_same_shape", "check_same_tree", "check_shape", "check_simplex",
    "check_size", "check_tree", "check_type", "check_values", "checked", "explained", "first_index", "is_concrete", "is_real", "known",
]  # fmt: skip

_PACKAGE = str(pathlib.Path(__file__).parents[1]) + os.sep

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def is_concrete(a: Any) -> bool:
    """Whether the values of an array are known: it is not being traced."""
    return not isinstance(a, jax.core.Tracer)


def known(a: Any) -> np.ndarray | None:
    """The values of an array on the host; None if it is traced.

    Args:
      a: number or array of any shape.

    Examples:
      >>> known(jnp.array([1, 2]))
      array([1, 2], dtype=int32)
    """
    return np.asarray(jax.device_get(a)) if is_concrete(a) else None


def first_index(wrong: np.ndarray) -> tuple[int, ...]:
    """Where a boolean array is True first."""
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def as_array(name: str, value: Any) -> Array:
    """Convert an argument to a JAX array, or raise an error that names the argument.

    Numbers, nested lists, NumPy arrays and pandas columns are converted. JAX arrays, traced ones
    included, are returned as they are.

    Args:
      name: of the argument, for the message.
      value: the argument, of any shape.
    Returns:
      Boolean, integer or floating array of the same shape, of the dtype that `jnp.asarray` gives.
    Raises:
      TypeError: for None, text, dates, complex numbers and arrays of Python objects.
      ValueError: for rows of different lengths, for integers that do not fit the integer type of
        JAX's current mode (32 bits unless x64 is enabled; `jnp.asarray` would wrap them), and
        for finite floats that become infinite in its floating type.

    Examples:
      >>> print(as_array("x", [1, 2]))
      [1 2]
      >>> as_array("x", np.array([1_700_000_000_000]))
      Traceback (most recent call last):
        ...
      ValueError: x holds integers beyond the range of int32, such as 1700000000000; ...
    """
    array: Any
    if isinstance(value, jax.Array):
        array = value
    elif any(isinstance(leaf, jax.Array) for leaf in _leaves(value)):
        return jnp.asarray(value)
    elif isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**31):
        return jnp.asarray(value)  # a Python number does not affect the dtype
    else:
        array = as_numpy(name, value)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or jnp.issubdtype(
        array.dtype, jnp.complexfloating
    ):
        raise TypeError(
            f"{name} must hold real numbers, got dtype {array.dtype}; convert it to floats or "
            "integers first"
        )
    if isinstance(array, np.ndarray):
        _check_fits(name, array)
    return jnp.asarray(array)


def as_booleans(name: str, value: Any) -> Array:
    """`as_array` of booleans.

    Args:
      name: of the argument, for the message.
      value: the argument, of any shape.
    Raises:
      TypeError: for any other dtype, integers included.

    Examples:
      >>> print(as_booleans("observed", [True, False]))
      [ True False]
    """
    array = as_array(name, value)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name} must hold booleans, got {array.dtype}; compare first, as in x > 0")
    return array


def _leaves(value: Any) -> list[Any]:
    return jax.tree.leaves(value) if isinstance(value, list | tuple) else []


def as_numpy(name: str, value: Any) -> np.ndarray:
    """The argument as a NumPy array, whatever it holds, or an error that names the argument."""
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be an array of numbers, got {value!r}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be one array, got rows of different lengths") from error
    beyond = array.dtype == object
    if isinstance(value, int | list | tuple) and array.dtype.kind == "f":
        beyond = bool((np.abs(array) >= 2.0**63).any())  # NumPy makes floats of some integers
    entries = list(array.flat) if array.dtype == object else jax.tree.leaves(value)
    if beyond and entries and all(map(_is_integer, entries)):
        largest = max(entries, key=abs)
        raise ValueError(f"{name} holds integers beyond 64 bits, such as {largest}; use floats")
    return array


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_fits(name: str, array: np.ndarray) -> None:
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype == array.dtype or array.size == 0:
        return
    advice = "subtract an offset, change the unit, or enable float64 with jax_enable_x64"
    if np.issubdtype(array.dtype, np.integer):
        extremes = (array.min(), array.max())
        limits = np.iinfo(dtype)
        beyond: list[Any] = [int(v) for v in extremes if v < limits.min or v > limits.max]
    else:
        largest = np.max(np.abs(array), initial=0, where=np.isfinite(array))
        beyond = [float(largest)] if largest > jnp.finfo(dtype).max else []
    if beyond:
        kind = "integers" if np.issubdtype(array.dtype, np.integer) else "numbers"
        raise ValueError(
            f"{name} holds {kind} beyond the range of {np.dtype(dtype).name}, such as "
            f"{beyond[-1]}; {advice}"
        )


def is_real(a: Any) -> bool:
    """Whether `jnp.asarray` makes an array of booleans, integers or floats of it."""
    if isinstance(a, Array | np.ndarray | np.generic):
        return _is_real_dtype(a.dtype)
    return isinstance(a, int | float)


def _is_real_dtype(dtype: Any) -> bool:
    if not isinstance(dtype, np.dtype):  # that of a key
        return False
    return dtype.kind in "biuf" or (dtype.kind == "V" and jnp.issubdtype(dtype, jnp.floating))


def check_array(name: str, value: Any) -> None:
    """Raise unless `as_array` converts an argument.

    Raises:
      TypeError, ValueError: as `as_array`.

    Examples:
      >>> check_array("x", [1, 2])
    """
    if not is_real(value):
        as_array(name, value)


def check_values(name: str, a: Any, fine: Callable[[np.ndarray], Any], wanted: str) -> None:
    """Raise unless every value of an array passes a test. Traced arrays are accepted.

    Args:
      name: of the argument.
      a: number or array of any shape.
      fine: values -> booleans of the same shape.
      wanted: what the values must be, for the message.
    Raises:
      ValueError: naming the first value that fails.

    Examples:
      >>> check_values("scale", jnp.array([1.0, -2.0]), lambda v: v > 0, "positive")
      Traceback (most recent call last):
        ...
      ValueError: scale must be positive; got -2.0 at index (1,)
    """
    values = known(a)
    if values is None:
        return
    wrong = ~np.asarray(fine(values))
    if wrong.any():
        at = first_index(wrong)
        where = f" at index {at}" if at else ""
        raise ValueError(f"{name} must be {wanted}; got {values[at]}{where}")


def check_finite(**arrays: Any) -> None:
    """Raise for NaN or infinity in an array, which is a keyword. Traced arrays are accepted.

    Raises:
      ValueError: naming the array.

    Examples:
      >>> check_finite(x=jnp.array([0.0, jnp.nan]))
      Traceback (most recent call last):
        ...
      ValueError: x must be finite; got nan at index (1,)
    """
    for name, a in arrays.items():
        check_values(name, a, np.isfinite, "finite")


def check_numbers(**arrays: Any) -> None:
    """Raise for NaN in an array, which is a keyword. Traced arrays are accepted.

    Raises:
      ValueError: naming the array.

    Examples:
      >>> check_numbers(x=jnp.array([0.0, jnp.inf]))
    """
    for name, a in arrays.items():
        check_values(name, a, lambda v: ~np.isnan(v), "a number")


def check_positive(**arrays: Any) -> None:
    """Raise for a value at or below zero; NaN is accepted, and gives NaN. Traced arrays are accepted.

    Raises:
      ValueError: naming the array.

    Examples:
      >>> check_positive(scale=jnp.array([1.0, 2.0]))
    """
    for name, a in arrays.items():
        check_values(name, a, lambda v: ~(v <= 0), "positive")


def check_not_negative(**arrays: Any) -> None:
    """Raise for a value below zero; NaN is accepted, and gives NaN. Traced arrays are accepted.

    Raises:
      ValueError: naming the array.

    Examples:
      >>> check_not_negative(rate=jnp.array([0.0, 2.0]))
    """
    for name, a in arrays.items():
        check_values(name, a, lambda v: ~(v < 0), "zero or more")


def check_order(*, strict: bool = False, **bounds: Any) -> None:
    """Raise where the second of two arrays of one shape is below the first. NaN is accepted.

    Args:
      strict: whether equal bounds are refused too.
      bounds: two arrays, as keywords. Traced ones are accepted.
    Raises:
      ValueError: naming both arrays.

    Examples:
      >>> check_order(low=jnp.array([0.0, 2.0]), high=jnp.array([1.0, 1.0]))
      Traceback (most recent call last):
        ...
      ValueError: high must not be below low; got 1.0 and 2.0 at index (1,)
    """
    (first, low), (second, high) = ((name, known(a)) for name, a in bounds.items())
    if low is None or high is None:
        return
    wrong = high <= low if strict else high < low
    if wrong.any():
        at = first_index(wrong)
        where = f" at index {at}" if at else ""
        wanted = f"be above {first}" if strict else f"not be below {first}"
        raise ValueError(f"{second} must {wanted}; got {high[at]} and {low[at]}{where}")


def check_simplex(name: str, probs: Any) -> None:
    """Raise for rows of probabilities that do not sum to one, to about three digits.

    Traced arrays are accepted.

    Args:
      name: of the argument.
      probs: (..., C).
    Raises:
      ValueError: naming the first such row and its sum, or for a number.

    Examples:
      >>> check_simplex("probs", jnp.array([[0.5, 0.6]]))
      Traceback (most recent call last):
        ...
      ValueError: probs must be probabilities that sum to one; got the sum 1.1 at index (0,)
    """
    if np.ndim(probs) < 1 or np.shape(probs)[-1] == 0:
        raise ValueError(f"{name} must have shape (..., C) with C > 0, got {np.shape(probs)}")
    values = known(probs)
    if values is None:
        return
    slack = 1e-3 + values.shape[-1] * float(jnp.finfo(values.dtype).eps)
    values = values.astype(np.float64)
    total = values.sum(axis=-1)
    wrong = (values < 0).any(axis=-1) | ~(np.abs(total - 1) <= slack)
    if wrong.any():
        at = first_index(wrong)
        where = f" at index {at}" if at else ""
        low = values[at].min()
        got = f"the entry {low:.4g}" if low < 0 else f"the sum {total[at]:.4g}"
        raise ValueError(f"{name} must be probabilities that sum to one; got {got}{where}")


def check_size(name: str, value: Any, least: int = 1) -> None:
    """Raise unless an option is an integer of at least `least`.

    Args:
      name: of the argument.
      value: a Python or NumPy integer.
      least: the smallest valid one.
    Raises:
      TypeError: for anything that is not an integer.
      ValueError: for a smaller one.

    Examples:
      >>> check_size("num_bins", 0)
      Traceback (most recent call last):
        ...
      ValueError: num_bins must be at least 1, got 0
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole and not _is_integer_scalar(value):
        raise TypeError(f"{name} must be an integer of at least {least}, got {_short(value)}")
    if is_concrete(value) and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _is_integer_scalar(value: Any) -> bool:
    """Whether a value is an array of one integer, traced or not."""
    return (
        isinstance(value, Array | np.ndarray)
        and value.ndim == 0
        and jnp.issubdtype(value.dtype, jnp.integer)
    )


def _is_number(value: Any) -> bool:
    """Whether a value is one real number, or an array of one, traced or not; not a boolean."""
    real = isinstance(value, int | float | np.ndarray | np.generic | Array) and np.ndim(value) == 0
    return real and np.dtype(jnp.result_type(value)).kind in "iufV"


def check_number(name: str, value: Any, fine: Callable[[Any], Any], wanted: str) -> None:
    """Raise unless an option is one real number that passes a test. Traced ones are accepted.

    Args:
      name: of the argument.
      value: a number, or an array of one.
      fine: number -> boolean; False at NaN.
      wanted: what the number must be, for the message.
    Raises:
      TypeError: for anything that is not one real number.
      ValueError: for a number that fails.

    Examples:
      >>> check_number("penalty", -1.0, lambda v: v >= 0, "at least 0")
      Traceback (most recent call last):
        ...
      ValueError: penalty must be at least 0, got -1.0
    """
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, {wanted}, got {_short(value)}")
    if is_concrete(value) and not fine(float(value)):
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_fraction(name: str, value: Any) -> None:
    """Raise unless an option is a number in (0, 1). Traced ones are accepted.

    Raises:
      TypeError: for anything that is not one real number.
      ValueError: for a number outside.

    Examples:
      >>> check_fraction("mass", 1.0)
      Traceback (most recent call last):
        ...
      ValueError: mass must lie in (0, 1), got 1.0
    """
    if not _is_number(value):
        raise TypeError(f"{name} must be a number in (0, 1), got {_short(value)}")
    if is_concrete(value) and not 0 < float(value) < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value}")


def check_function(name: str, value: Any) -> None:
    """Raise unless an argument can be called.

    Raises:
      TypeError: naming the argument.

    Examples:
      >>> check_function("f", None)
      Traceback (most recent call last):
        ...
      TypeError: f must be a function, got None
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {_short(value)}")


def check_type(name: str, value: Any, kind: type) -> None:
    """Raise unless an argument is an instance of a class.

    Raises:
      TypeError: naming the argument and the class.

    Examples:
      >>> check_type("bins", None, dict)
      Traceback (most recent call last):
        ...
      TypeError: bins must be a dict, got None
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {_short(value)}")


def check_methods(name: str, value: Any, *methods: str) -> None:
    """Raise unless an argument has some methods.

    Raises:
      TypeError: naming the argument and the methods.

    Examples:
      >>> check_methods("guide", 3.5, "sample", "log_prob")
      Traceback (most recent call last):
        ...
      TypeError: guide must have the methods sample and log_prob, got 3.5
    """
    if not all(callable(getattr(value, method, None)) for method in methods):
        wanted = (
            "the methods " + " and ".join(methods) if len(methods) > 1 else f"a method {methods[0]}"
        )
        raise TypeError(f"{name} must have {wanted}, got {_short(value)}")


def _short(value: Any) -> str:
    """How a value is named in a message: at most one line."""
    text = repr(value)
    return text if len(text) < 60 and "\n" not in text else f"a {type(value).__name__}"


def explained(function: F) -> F:
    """A decorator for functions of arrays: an error that names no argument gets the shapes of all.

    Such an error is one of JAX, or one of a kernel of likelax that the function calls. Errors of
    functions of the user, and TypeErrors of likelax, are raised as they are.

    Examples:
      >>> @explained
      ... def join(x, y):
      ...     return x + y
      >>> join(jnp.ones(2), jnp.ones(3))
      Traceback (most recent call last):
        ...
      ValueError: join: its arguments do not fit together: x (2,), y (3,) (...)
    """
    return _explained(function, of_arrays=True)


def _explained(function: F, *, of_arrays: bool) -> F:
    """As `explained`; a function whose arguments need not be arrays has clear errors of its own."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            arguments = signature.bind(*args, **kwargs).arguments
            if _is_of_the_user(error):
                raise
            wrong = _wrong_leaf(arguments) if of_arrays else None
            if _is_raised(error) and (
                not of_arrays
                or (wrong is None and isinstance(error, TypeError))
                or _names(error, arguments)
            ):
                raise
            owner = f"{type(arguments['self']).__name__}." if "self" in arguments else ""
            name = owner + function.__name__
            raise wrong or ValueError(
                f"{name}: its arguments do not fit together: {_shapes(arguments)} "
                f"({_first_line(error)})"
            ) from error

    return typing.cast(F, told)


def _wrong_leaf(arguments: dict[str, Any]) -> TypeError | None:
    try:
        for argument, tree in arguments.items():
            check_tree(argument, tree)
    except TypeError as wrong:
        return wrong
    return None


def _shapes(arguments: dict[str, Any]) -> str:
    return ", ".join(
        f"{argument}{jax.tree_util.keystr(path)} {np.shape(leaf) if is_real(leaf) else _short(leaf)}"
        for argument, tree in arguments.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            tree, is_leaf=lambda node: node is None
        )
        if not callable(leaf)
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".:")


def _last_frame(error: Exception) -> types.TracebackType:
    """That of the call of JAX, which leaves its own frames out of a traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return typing.cast(types.TracebackType, trace)


def _is_of_the_user(error: Exception) -> bool:
    place = _last_frame(error).tb_frame.f_code.co_filename
    known = type(error) in (TypeError, ValueError, IndexError)
    return not known or not (place.startswith(_PACKAGE) or f"{os.sep}jax{os.sep}" in place)


def _is_raised(error: Exception) -> bool:
    """Whether an error comes from a `raise` of likelax rather than from what it calls."""
    last = _last_frame(error)
    code = last.tb_frame.f_code
    raised = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and code.co_filename.startswith(_PACKAGE)


def _names(error: Exception, arguments: dict[str, Any]) -> bool:
    """Whether an error names an argument, or a part of one."""
    paths = jax.tree_util.tree_leaves_with_path(arguments, is_leaf=lambda node: node is None)
    names = {word for path, _ in paths for word in _words(jax.tree_util.keystr(path))}
    return bool(names & {*_words(str(error))} or not names)


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", text)


def check_key(key: Any, name: str = "key") -> None:
    """Raise unless an argument is one typed random key. It may be traced.

    Args:
      key: the argument.
      name: of the argument.
    Raises:
      TypeError: for a legacy key, a seed, or None.
      ValueError: for several keys.

    Examples:
      >>> check_key(7)
      Traceback (most recent call last):
        ...
      TypeError: key must be a typed key, got 7; make one by jax.random.key(7)
    """
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if dtype == np.uint32 and np.shape(key)[-1:] == (2,):
            raise TypeError(
                f"{name} must be a typed key, got a legacy one of dtype uint32; make one by "
                "jax.random.key(seed), or jax.random.wrap_key_data(key)"
            )
        seed = key if isinstance(key, int) else "seed"
        got = f"{dtype} of shape {np.shape(key)}" if dtype is not None else f"{key!r}"
        raise TypeError(
            f"{name} must be a typed key, got {got}; make one by jax.random.key({seed})"
        )
    if np.shape(key) != ():
        raise ValueError(
            f"{name} must be one key, got {np.shape(key)} of them; map over keys by jax.vmap"
        )


def check_shape(shape: Any, name: str = "shape") -> None:
    """Raise unless an argument is the shape of an array: a tuple of integers that are 0 or more.

    Raises:
      TypeError: for anything that is not a sequence of integers.
      ValueError: for a negative one.

    Examples:
      >>> check_shape(5)
      Traceback (most recent call last):
        ...
      TypeError: shape must be a tuple of integers such as (5,), got 5
    """
    listed = isinstance(shape, Sequence | np.ndarray) and not isinstance(shape, str | bytes)
    if not listed or any(isinstance(n, float | complex | str | bytes | None) for n in shape):
        such = (shape,) if isinstance(shape, int) else (5,)
        raise TypeError(f"{name} must be a tuple of integers such as {such}, got {_short(shape)}")
    if any(isinstance(n, int | np.integer) and n < 0 for n in shape):
        raise ValueError(f"{name} must not have a negative entry, got {shape}")


def check_axes(name: str, a: Any, ndim: int) -> None:
    """Raise for a number or an array with fewer axes than `ndim`; anything else is accepted.

    Raises:
      ValueError: starting with `name`.

    Examples:
      >>> check_axes("probs", jnp.ones(()), 1)
      Traceback (most recent call last):
        ...
      ValueError: probs must have 1 axis or more, got shape ()
    """
    if is_real(a) and np.ndim(a) < ndim:
        axes = "1 axis" if ndim == 1 else f"{ndim} axes"
        raise ValueError(f"{name} must have {axes} or more, got shape {np.shape(a)}")


def check_tree(name: str, tree: Any) -> None:
    """Raise unless every leaf of a pytree is an array of numbers, a number, a key or a function.

    Raises:
      TypeError: naming the leaf.

    Examples:
      >>> check_tree("start", {"loc": "zero"})
      Traceback (most recent call last):
        ...
      TypeError: start['loc'] must be a number or an array of numbers, got 'zero'
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not (_has_numbers(leaf) or callable(leaf)):
            at = f"{name}{jax.tree_util.keystr(path)}"
            raise TypeError(f"{at} must be a number or an array of numbers, got {_short(leaf)}")


def as_tree(name: str, tree: T) -> T:
    """A pytree with its NumPy arrays left as they are, and pandas columns converted to arrays.

    Raises:
      TypeError, ValueError: as `as_array`, for a leaf that is no array of numbers, key or function.

    Examples:
      >>> as_tree("start", {"loc": 1.5})
      {'loc': 1.5}
    """

    def converted(path: Any, leaf: Any) -> Any:
        carried = callable(leaf) or isinstance(leaf, jax.Array)  # a function, a random key
        if is_real(leaf) or carried:
            return leaf
        return as_array(name + jax.tree_util.keystr(path), leaf)

    return jax.tree_util.tree_map_with_path(converted, tree)


def check_same_tree(**trees: Any) -> None:
    """Raise unless two pytrees of numbers, given as keywords, have the same structure.

    Raises:
      TypeError: as `check_tree`.
      ValueError: naming both.

    Examples:
      >>> check_same_tree(a={"loc": 1.0}, b=(1.0,))
      Traceback (most recent call last):
        ...
      ValueError: a and b must have the same structure; got a dict and a tuple
    """
    for name, tree in trees.items():
        check_tree(name, tree)
    (first, a), (second, b) = trees.items()
    structures: list[Any] = [jax.tree.structure(a), jax.tree.structure(b)]
    if structures[0] != structures[1]:
        got = f"a {type(a).__name__} and a {type(b).__name__}"
        raise ValueError(f"{first} and {second} must have the same structure; got {got}")


def _has_numbers(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, int | float)
    return _is_real_dtype(dtype) or jnp.issubdtype(dtype, jax.dtypes.prng_key)


def check_same_shape(**arrays: Any) -> None:
    """Raise unless all arrays, given as keywords, have the shape of the first one.

    Raises:
      ValueError: naming both shapes.

    Examples:
      >>> check_same_shape(x=jnp.zeros(2), loc=jnp.zeros(3))
      Traceback (most recent call last):
        ...
      ValueError: loc must have the shape of x, (2,), got (3,)
    """
    (first, wanted), *rest = ((name, np.shape(a)) for name, a in arrays.items())
    for name, got in rest:
        if got != wanted:
            raise ValueError(f"{name} must have the shape of {first}, {wanted}, got {got}")


def match_inputs(
    name: str, inputs: Any, shape: Sequence[int], event: tuple[int, ...] | None = None
) -> None:
    """Raise unless every array of the inputs of a draw has the leading axes `shape`.

    Args:
      name: the function that was called, for the message.
      inputs: any pytree of arrays.
      shape: of the draws.
      event: the axes that follow, or None for any.
    Raises:
      ValueError: naming both shapes.
    """
    for leaf in jax.tree.leaves(inputs):
        got, lead = np.shape(leaf), tuple(shape)
        if got[: len(lead)] != lead or (event is not None and got[len(lead) :] != event):
            rest = "..." if event is None else ", ".join(map(str, event))
            raise ValueError(
                f"{name}: inputs must have shape (*shape, {rest}) with shape {lead}; got {got}"
            )


def checked(**least: int | None) -> Callable[[F], F]:
    """A decorator that validates the options of a function by their annotations.

    A parameter `key: Array` must be one typed key, an `ArrayLike` numbers that `as_array` converts, an `int` an integer of at least 1, a `float` a real
    number other than NaN, a `Callable` a function, and a class of this library an instance of it.
    Where None is a possible value it is accepted.

    Args:
      least: the smallest valid value of an `int` parameter, where it is not 1; None leaves a
        parameter to the function itself.

    Examples:
      >>> @checked(lag=0)
      ... def wait(lag: int) -> int:
      ...     return lag
      >>> wait("two")
      Traceback (most recent call last):
        ...
      TypeError: lag must be an integer of at least 0, got 'two'
    """

    def decorate(function: F) -> F:
        plan = tuple(_plan(function, least))

        @functools.wraps(function)
        def validated(*args: Any, **kwargs: Any) -> Any:
            for name, place, optional, check in plan:
                if name in kwargs:
                    value = kwargs[name]
                elif place < len(args):
                    value = args[place]
                else:
                    continue
                if value is not None or not optional:
                    check(name, value)
            return function(*args, **kwargs)

        return _explained(typing.cast(F, validated), of_arrays=False)

    return decorate


Check = Callable[[str, Any], None]


def _plan(
    function: Callable[..., Any], least: dict[str, int | None]
) -> typing.Iterator[tuple[str, int, bool, Check]]:
    """(name, position, whether it may be None, check) of each parameter that is validated."""
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        if least.get(parameter.name, 1) is None:
            continue
        if parameter.annotation in (ArrayLike, ArrayLike | None):
            yield parameter.name, place, parameter.annotation != ArrayLike, check_array
            continue
        one_of = typing.get_origin(parameter.annotation) in (typing.Union, types.UnionType)
        kinds = typing.get_args(parameter.annotation) if one_of else (parameter.annotation,)
        optional = type(None) in kinds
        kinds = tuple(kind for kind in kinds if kind is not type(None))
        check = _check_of(parameter.name, kinds, least)
        if check is not None:
            yield parameter.name, place, optional, check


def _least(name: str, least: dict[str, int | None]) -> int:
    given = least.get(name)
    return given if given is not None else -99 if name == "axis" else 1


def _check_of(name: str, kinds: tuple[Any, ...], least: dict[str, int | None]) -> Check | None:
    if name == "key":
        return lambda name, value: check_key(value, name)
    if kinds == (int,):
        return functools.partial(check_size, least=_least(name, least))
    if kinds == (float,):
        return functools.partial(check_number, fine=lambda v: v == v, wanted="a real number")
    if len(kinds) == 1 and typing.get_origin(kinds[0]) is Callable:
        return check_function
    kind = typing.get_origin(kinds[0]) or kinds[0]
    if isinstance(kind, TypeVar):
        kind = kind.__bound__
    own = inspect.isclass(kind) and kind.__module__.startswith("likelax.")
    if len(kinds) == 1 and own and not getattr(kind, "_is_protocol", False):
        return functools.partial(check_type, kind=kind)
    return None
