"""What scores share about their arguments: one shape, masses at bounds; and a quotient that is smooth at zero."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import check_values
from likelax.numerics.special import polynomial


def together(**values: ArrayLike) -> list[Array]:
    """All as floats of the shape of x, or of the parameters where x is one number.

    Raises:
      ValueError: for shapes that do not broadcast to that.
    """
    arrays = dict(zip(values, named_floats(**values), strict=True))
    x = arrays["x"]
    shape = x.shape if x.ndim else max((a.shape for a in arrays.values()), key=len)
    return of_shape(shape, **arrays)


def of_shape(shape: tuple[int, ...], /, **arrays: Array) -> list[Array]:
    """All broadcast to the shape of x.

    Raises:
      ValueError: for shapes that do not broadcast to that.
    """
    for name, a in arrays.items():
        lined_up = zip(reversed(a.shape), reversed(shape), strict=False)
        if a.ndim > len(shape) or any(m not in (1, n) for m, n in lined_up):
            raise ValueError(f"{name} must broadcast to the shape of x, {shape}, got {a.shape}")
    return [jnp.broadcast_to(a, shape) for a in arrays.values()]


def check_masses(**masses: Array) -> None:
    """Raise unless masses at one or two points are in [0, 1] and at most 1 together.

    Raises:
      ValueError: naming the masses.
    """
    for name, mass in masses.items():
        check_values(name, mass, lambda v: ~((v < 0) | (v > 1)), "in [0, 1]")
    whole = sum(masses.values())
    check_values(" + ".join(masses), whole, lambda v: ~(v > 1 + 1e-6), "at most 1")


def growth(u: Array) -> Array:
    """(exp(u) - 1) / u, which is 1 at 0."""
    small = jnp.abs(u) < 0.1
    series = polynomial(_INVERSE_FACTORIALS, jnp.where(small, u, 0))
    return jnp.where(small, series, jnp.expm1(u) / jnp.where(small, 1, u))


_INVERSE_FACTORIALS = tuple(1 / math.factorial(k + 1) for k in range(12))
