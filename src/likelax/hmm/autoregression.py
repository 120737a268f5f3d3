"""Autoregressive emissions: each step regressed on the ones before it."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics.checks import check_positive, checked


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


def switching_mean(
    values: ArrayLike, loc: ArrayLike, coefficients: ArrayLike, scale: ArrayLike
) -> Array:
    """Log likelihoods of an autoregression about a mean that switches with the state.

    x_t - loc[z_t] = sum_h coefficients[h] (x_t-h - loc[z_t-h]) + scale[z_t] noise

    With `hmm.state_history`, Hamilton's model of the business cycle.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (T,) the series.
      loc: (K,) mean in each state.
      coefficients: (H,) of the deviations 1, ..., H steps before, H below T.
      scale: scalar or (K,), positive: the standard deviation of the noise.
    Returns:
      (T - H, K, ..., K), nats, with 1 + H axes of states: log p(x_t | the H values before it, the
      states), for t = H, ..., T - 1.
    Raises:
      ValueError: at trace time, if shapes do not match, or where a scale is not positive.
    Source: Hamilton (1989), Econometrica 57, 357-384.

    Examples:
      >>> log_lik = switching_mean(jnp.arange(5.0), jnp.array([0.0, 1.0]), jnp.array([0.5]), 1.0)
      >>> print(log_lik.shape, log_lik[0].round(3))
      (4, 2, 2) [[-1.419 -2.044]
       [-0.919 -1.044]]
    """
    values, loc, coefficients, scale = numerics.named_floats(
        values=values, loc=loc, coefficients=coefficients, scale=scale
    )
    order, num_states = coefficients.size, loc.size
    if (
        values.ndim != 1
        or loc.shape != (num_states,)
        or coefficients.shape != (order,)
        or scale.shape not in ((), (num_states,))
        or not order < values.size
    ):
        raise ValueError(
            "switching_mean: wanted values (T,), loc (K,), coefficients (H,) with H below T, and "
            f"scale () or (K,); got {values.shape}, {loc.shape}, {coefficients.shape} and {scale.shape}"
        )
    check_positive(scale=scale)
    num_steps = values.size - order
    gap = jnp.zeros((num_steps, *(1,) * (order + 1)), values.dtype)
    for lag, share in enumerate([jnp.ones((), values.dtype), *(-coefficients)]):
        deviation = values[order - lag : order - lag + num_steps, None] - loc[None]
        others = tuple(1 + i for i in range(order + 1) if i != lag)
        gap = gap + share * jnp.expand_dims(deviation, others)
    size = jnp.broadcast_to(scale, (num_states,)).reshape(1, -1, *(1,) * order)
    return -((gap / size) ** 2) / 2 - jnp.log(size) - math.log(2 * math.pi) / 2
