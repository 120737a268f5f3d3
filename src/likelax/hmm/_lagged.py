"""Autoregressive emissions: each step regressed on the ones before it."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics.checks import checked


@checked()
def lagged(values: ArrayLike, order: int) -> tuple[Array, Array]:
    """Pairs (inputs, targets) by which `LinearRegression` becomes an autoregression.

    targets[t] = values[t + order];  inputs[t] = (1, values[t + order - 1], ..., values[t])

    `HMM(initial, transition, LinearRegression(coefficients, scale_tril))` with these as its data is a
    Markov-switching autoregression; its log probability is that of all steps but the first
    `order`, given those.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (..., T, E), or (..., T) as E = 1 by the caller adding an axis.
      order: how many steps back, at least 1 and below T.
    Returns:
      (inputs (..., T - order, 1 + order * E), targets (..., T - order, E)).
    Raises:
      ValueError: if order is out of range or values have no time axis.
    Source: Hamilton (1990), J. Econometrics 45, 39-70.

    Examples:
      >>> inputs, targets = lagged(jnp.array([[1.0], [2.0], [4.0], [8.0]]), 2)
      >>> print(inputs, targets[:, 0])
      [[1. 2. 1.]
       [1. 4. 2.]] [4. 8.]
    """
    (values,) = numerics.named_floats(values=values)
    if values.ndim < 2 or not 1 <= order < values.shape[-2]:
        raise ValueError(
            "lagged: values must have shape (..., T, E) with T above order >= 1; "
            f"got {values.shape} and order {order}"
        )
    num_targets = values.shape[-2] - order
    back = [values[..., order - lag : order - lag + num_targets, :] for lag in range(1, order + 1)]
    ones = jnp.ones_like(back[0][..., :1])
    return jnp.concatenate([ones, *back], axis=-1), values[..., order:, :]
