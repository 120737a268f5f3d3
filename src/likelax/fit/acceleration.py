"""Extrapolation of the path of EM: fewer steps where EM is slow."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from likelax.parameters import roles, to_vector

T = TypeVar("T")


def extrapolate(first: T, second: T, third: T, cap: ArrayLike = jnp.inf) -> T:
    """The extrapolation of SQUAREM from three successive models of EM.

    theta' = theta_0 - 2 a r + a^2 v,  r = theta_1 - theta_0,  v = (theta_2 - theta_1) - r,
    a = -min(max(|r| / |v|, 1), cap), in unconstrained coordinates.

    Args:
      first, second, third: models of one type and shape, each an EM step after the one before.
      cap: at least 1; at 1 the guess is `third`.
    Returns:
      A model of that type. It equals `third` at a fixed point, and in coordinates that are not
      finite (a structural zero). It may have a lower objective, so the caller must compare.
      Parameters that a model holds are those of `third`, and tied ones stay tied.
    Source: Varadhan & Roland (2008), Scandinavian Journal of Statistics 35, 335-353, scheme S3.

    Examples:
      >>> from likelax.families import Normal
      >>> path = [Normal(jnp.array(1 - 0.5**i), jnp.array(1.0)) for i in range(3)]
      >>> print(extrapolate(*path).loc)  # a geometric path is extrapolated to its limit
      1.0
    """
    if not any(role.moves for role in roles(third)):
        return third
    (start, _), (middle, _), (end, rebuild) = map(to_vector, (first, second, third))
    ok = jnp.isfinite(start) & jnp.isfinite(middle) & jnp.isfinite(end)
    step = jnp.where(ok, middle - start, 0)
    bend = jnp.where(ok, (end - middle) - (middle - start), 0)
    size, curve = jnp.sqrt(jnp.sum(step * step)), jnp.sqrt(jnp.sum(bend * bend))
    ahead = jnp.clip(size / jnp.where(curve > 0, curve, 1), 1, cap)
    guess = jnp.where(ok, start + 2 * ahead * step + ahead**2 * bend, end)
    usable = (curve > 0) & (size > 0)
    return jax.tree.map(lambda new, old: jnp.where(usable, new, old), rebuild(guess), third)
