"""Extrapolation of EM's path: fewer steps where EM creeps."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from likelax import constraints


def extrapolate(first: Any, second: Any, third: Any, cap: ArrayLike = jnp.inf) -> Any:
    """SQUAREM's guess from three models in a row of EM: where the path is heading.

    theta' = theta_0 - 2 a r + a^2 v,  r = theta_1 - theta_0,  v = (theta_2 - theta_1) - r,
    a = -min(max(|r| / |v|, 1), cap), in unconstrained coordinates.

    Args:
      first, second, third: models of one type and shape, each an EM step after the one before.
      cap: at least 1; at 1 the guess is `third`.
    Returns:
      A model of that type. At a fixed point, or where a coordinate is not finite (a structural
      zero), it is `third`. Nothing says that it is better: the caller must look.
    Source: Varadhan & Roland (2008), Scandinavian Journal of Statistics 35, 335-353, scheme S3.

    Examples:
      >>> from likelax.families import Normal
      >>> path = [Normal(jnp.array(1 - 0.5**i), jnp.array(1.0)) for i in range(3)]
      >>> print(extrapolate(*path).loc)  # a geometric path jumps to its limit
      1.0
    """
    leaves = [jax.tree.leaves(constraints.unconstrain(model)) for model in (first, second, third)]
    start, step, bend = [], [], []
    for a, b, c in zip(*leaves, strict=True):
        if not constraints.is_floating(a):
            continue
        ok = jnp.isfinite(a) & jnp.isfinite(b) & jnp.isfinite(c)
        start.append(jnp.where(ok, a, c))
        step.append(jnp.where(ok, b - a, 0))
        bend.append(jnp.where(ok, (c - b) - (b - a), 0))
    size = jnp.sqrt(sum(jnp.sum(r * r) for r in step))
    curve = jnp.sqrt(sum(jnp.sum(v * v) for v in bend))
    ahead = jnp.clip(size / jnp.where(curve > 0, curve, 1), 1, cap)
    guess = iter(
        [s + 2 * ahead * r + ahead**2 * v for s, r, v in zip(start, step, bend, strict=True)]
    )
    structure = jax.tree.structure(third)
    moved = [next(guess) if constraints.is_floating(c) else c for c in leaves[2]]
    back = constraints.constrain(jax.tree.unflatten(structure, moved))
    usable = (curve > 0) & (size > 0)
    return jax.tree.map(lambda new, old: jnp.where(usable, new, old), back, third)
