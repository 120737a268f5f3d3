"""Fits without noise: Laplace's approximation, and ascent on fixed draws."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import monte_carlo
from likelax.fit.lbfgs import maximize_lbfgs
from likelax.fit.result import Fit
from likelax.variational._elbo import elbo
from likelax.variational.estimators import LogJoint
from likelax.variational.guides import LOG_2PI, FullRank, MeanField, Transported
from likelax.variational.space import Space, space_of


class LaplaceFit(NamedTuple):
    """A normal at the mode, with the curvature there.

    Attributes:
      guide: full-rank normal in unconstrained space, carried to the parameters.
      fit: the `Fit` that found the mode.
      log_evidence: Laplace's approximation to log p(x), nats; NaN where the curvature at the
        mode is not that of a maximum.
    """

    guide: Transported
    fit: Fit
    log_evidence: Array


def laplace(
    log_joint: LogJoint, template: Any, sets: Any = None, *, max_steps: int = 500
) -> LaplaceFit:
    """Laplace approximation in unconstrained space: exact for a normal posterior.

    log p(x) ~ log p(x, z*) + (D / 2) log 2 pi - (1/2) log det(-Hessian)

    Args:
      log_joint: one draw of the latents -> scalar log p(x, z), nats; twice differentiable.
      template: where to start, a pytree of parameters inside their sets.
      sets: a `Constraint` for each leaf; None: what the template's fields declare.
      max_steps: of L-BFGS.
    Returns:
      A `LaplaceFit`. At a saddle or a ridge the guide's scale is NaN.
    Source: MacKay (2003), Information Theory, Inference, and Learning Algorithms, chapter 27.

    Examples:
      >>> fitted = laplace(lambda z: -jnp.sum(z**2) / 2, jnp.ones(2))
      >>> print(f"{fitted.log_evidence:.4f} {jnp.log(2 * jnp.pi):.4f}")
      1.8379 1.8379
    """
    space, point = space_of(template, sets)
    return _laplace(log_joint, space, point, max_steps)


@partial(jax.jit, static_argnames=("log_joint", "space", "max_steps"))
def _laplace(log_joint: LogJoint, space: Space, point: Array, max_steps: int) -> LaplaceFit:
    def target(reals: Array) -> Array:
        return log_joint(space.constrain(reals)) + space.log_det(reals)

    found = maximize_lbfgs(target, point, max_steps=max_steps)
    precision = -jax.hessian(target)(found.model)
    tril = jnp.linalg.cholesky(precision)
    volume = jnp.sum(jnp.log(jnp.diagonal(tril)))
    log_evidence = target(found.model) + space.dim * LOG_2PI / 2 - volume
    guide = Transported(FullRank(found.model, _inverse_root(precision)), space)
    model = space.constrain(found.model)
    return LaplaceFit(guide, Fit(model, *_rest(found)), log_evidence)


class FixedDrawFit(NamedTuple):
    """A mean-field normal fitted on fixed draws, and the covariance that it misses.

    Attributes:
      guide: mean-field normal in unconstrained space, carried to the parameters.
      fit: the `Fit` that made it.
      elbo: a fresh `Estimate` of its ELBO, nats: that on the fixed draws is optimistic.
      covariance: (D, D) linear-response covariance of the unconstrained parameters, right
        for a normal posterior, where mean-field variances are too small.
    """

    guide: Transported
    fit: Fit
    elbo: monte_carlo.Estimate
    covariance: Array


def fit_fixed_draws(
    key: Array,
    log_joint: LogJoint,
    template: Any,
    sets: Any = None,
    *,
    num_samples: int = 64,
    scale: float = 0.1,
    max_steps: int = 500,
    num_check: int = 1000,
) -> FixedDrawFit:
    """Mean-field VI with the same draws at every step (DADVI): exact optimisation by L-BFGS.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      template: where to start, a pytree of parameters inside their sets.
      sets: a `Constraint` for each leaf; None: what the template's fields declare.
      num_samples: S fixed draws; too few for many parameters let the scales run away.
      scale: standard deviation to start with.
      max_steps: of L-BFGS.
      num_check: fresh draws for the final ELBO.
    Returns:
      A `FixedDrawFit`.
    Source: Giordano, Ingram and Broderick (2024), Black box variational inference with a
      deterministic objective, JMLR 25.

    Examples:
      >>> precision = jnp.array([[2.0, 1.0], [1.0, 2.0]])
      >>> posterior = lambda z: -z @ precision @ z / 2
      >>> fitted = fit_fixed_draws(jax.random.key(0), posterior, jnp.zeros(2))
      >>> bool(jnp.allclose(fitted.covariance, jnp.linalg.inv(precision), atol=0.15))
      True
    """
    monte_carlo.check_num_samples(num_samples)
    space, point = space_of(template, sets)
    return _fixed_draws(key, log_joint, space, point, num_samples, scale, max_steps, num_check)


@partial(jax.jit, static_argnames=("log_joint", "space", "num_samples", "max_steps", "num_check"))
def _fixed_draws(
    key: Array,
    log_joint: LogJoint,
    space: Space,
    point: Array,
    num_samples: int,
    scale: float,
    max_steps: int,
    num_check: int,
) -> FixedDrawFit:
    key_draws, key_elbo = jax.random.split(key)
    noise = jax.random.normal(key_draws, (num_samples, space.dim), point.dtype)

    def target(reals: Array) -> Array:
        return log_joint(space.constrain(reals)) + space.log_det(reals)

    def bound(loc: Array, log_scale: Array) -> Array:
        draws = loc[None] + jnp.exp(log_scale)[None] * noise
        return jnp.mean(jax.vmap(target)(draws)) + jnp.sum(log_scale)

    start = MeanField(point, jnp.full_like(point, scale))
    found = maximize_lbfgs(lambda q: bound(q.loc, jnp.log(q.scale)), start, max_steps=max_steps)
    both = jnp.concatenate([found.model.loc, jnp.log(found.model.scale)])
    curvature = -jax.hessian(lambda b: bound(b[: space.dim], b[space.dim :]))(both)
    covariance = jnp.linalg.inv(curvature)[: space.dim, : space.dim]
    guide = Transported(found.model, space)
    fresh = elbo(key_elbo, log_joint, guide, num_check)
    return FixedDrawFit(guide, Fit(guide, *_rest(found)), fresh, covariance)


def _rest(fit: Fit) -> tuple[Array, Array, Array]:
    return fit.objectives, fit.num_steps, fit.status


def _inverse_root(precision: Array) -> Array:
    """Lower Cholesky factor of the inverse."""
    size = precision.shape[0]
    eye = jnp.eye(size, dtype=precision.dtype)
    # the factor of the reversed precision, reversed, is upper; its inverse transposed is ours
    upper = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    return jax.scipy.linalg.solve_triangular(upper, eye, lower=False).T
