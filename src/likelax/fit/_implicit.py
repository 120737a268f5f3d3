"""Derivatives of a fitted model with respect to the data, from the fixed point of EM."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike
from likelax.fit import validation
from likelax.fit._em import em
from likelax.fit.result import M
from likelax.model import Model, PriorLike
from likelax.numerics.checks import checked
from likelax.parameters import hold, roles, to_vector


@checked(tol=None, max_steps=None, model=None, weights=None)
def implicit(
    model: M,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
) -> M:
    """The model that `fit.em` finds, differentiable with respect to x, weights and prior.

    At the fixed point theta = F(theta, data) of EM, d theta = (1 - dF/d theta)^-1 dF/d data d data.
    Memory does not grow with the steps, unlike differentiating through them.

    Args:
      model, x, weights, prior, tol, max_steps: as for `fit.em`. Use a small tol: a
        derivative is as exact as the fixed point. The derivative with respect to `model`, the
        start, is zero.
    Returns:
      The fitted model. Forward and reverse mode work, and vmap. A parameter on its boundary (a
      weight of zero) gives NaN. One dense system in the P parameters is solved.
    Raises:
      ValueError: as for `fit.em`.
    Source: Blondel et al. (2022), Efficient and modular implicit differentiation, NeurIPS.

    Examples:
      >>> from likelax.families import Poisson
      >>> rate = lambda x: implicit(Poisson(jnp.array(1.0)), x).rate
      >>> print(jax.jit(jax.grad(rate))(jnp.array([2.0, 4.0])))
      [0.5 0.5]
    """
    x, weights = validation.check("fit.implicit", model, x, weights)
    start = jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf)), model)
    if not any(role.moves for role in roles(start)):
        return start
    flat, rebuild = to_vector(start)

    def vector_of(model: Model) -> Array:
        return to_vector(model)[0].astype(flat.dtype)

    def advance(theta: Array) -> Array:
        now = rebuild(theta)
        new = now.m_step(now.e_step(x, weights)[0], prior)
        return vector_of(hold(new, now)) - theta

    def solve(_: Any, theta: Array) -> Array:
        found = em(rebuild(theta), x, weights=weights, prior=prior, tol=tol, max_steps=max_steps)
        return vector_of(found.model)

    def tangent_solve(linear: Any, target: Array) -> Array:
        return numerics.solve(jax.jacfwd(linear)(jnp.zeros_like(target)), target)

    return rebuild(jax.lax.custom_root(advance, flat, solve, tangent_solve))
