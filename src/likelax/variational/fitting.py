"""Fit guides to log joints: stochastic ELBO ascent, fixed-draw ascent, and Laplace."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from likelax import monte_carlo
from likelax.fit.gradient import maximize_noisy
from likelax.fit.lbfgs import maximize_lbfgs
from likelax.fit.result import Fit
from likelax.variational.elbo import elbo
from likelax.variational.estimators import (
    Estimator,
    LogJoint,
    density,
    pathwise,
    sticking_the_landing,
)
from likelax.variational.guides import LOG_2PI, FullRank, MeanField, Transported
from likelax.variational.space import space_of

ADAM = optax.adam(0.05)


class GuideFit(NamedTuple):
    """A fitted guide and how far to trust it.

    Attributes:
      guide: the fitted approximate posterior, a model.
      fit: the `Fit` that made it: trace, steps, status.
      elbo: a fresh `Estimate` of its ELBO, nats.
      k_hat: Pareto k-hat of its importance weights: below 0.7 weighted estimates can be
        trusted, see `monte_carlo.psis`.
    """

    guide: Any
    fit: Fit
    elbo: monte_carlo.Estimate
    k_hat: Array


class Weighted(NamedTuple):
    """Draws of a guide and the smoothed weights that turn them towards the posterior.

    Attributes:
      draws: a pytree with a leading axis S.
      log_weights: (S,) normalised, nats.
      k_hat: scalar.
    """

    draws: Any
    log_weights: Array
    k_hat: Array


def fit_guide(
    key: Array,
    log_joint: LogJoint,
    guide: Any,
    *,
    num_samples: int = 16,
    estimator: Estimator = sticking_the_landing,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 5000,
    tol: float = 1.0,
    window: int = 200,
    num_check: int = 1000,
) -> GuideFit:
    """Fit a guide by stochastic gradient ascent on its ELBO, on the device.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: where to start: `mean_field(...)` and its kind, or any pytree with `sample` and
        `log_prob` whose fields declare their constraints.
      num_samples: terms of the estimator at each step.
      estimator: decides the bound and its gradient; `rloo` for discrete latents.
      optimizer, max_steps, tol, window: as for `fit.maximize_noisy`.
      num_check: fresh draws for the final ELBO and k-hat.
    Returns:
      A `GuideFit`; it never raises for numeric trouble, see `fit.status`.

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> posterior = lambda z: -jnp.sum((z - 2.0) ** 2) / 2
      >>> fitted = fit_guide(jax.random.key(0), posterior, mean_field(jnp.zeros(1)))
      >>> bool(jnp.all(abs(fitted.guide.base.loc - 2) < 0.05))
      True
    """
    monte_carlo.check_num_samples(num_samples)
    key_fit, key_elbo, key_weights = jax.random.split(key, 3)

    fitted = maximize_noisy(
        key_fit,
        _Bound(log_joint, estimator, num_samples),
        guide,
        optimizer=optimizer,
        max_steps=max_steps,
        tol=tol,
        window=window,
    )
    bound, k_hat = _check(key_elbo, key_weights, log_joint, fitted.model, num_check)
    return GuideFit(fitted.model, fitted, bound, k_hat)


@dataclass(frozen=True)
class _Bound:
    """A record rather than a closure, so that equal ones compile once."""

    log_joint: LogJoint
    estimator: Estimator
    num_samples: int

    def __call__(self, key: Array, guide: Any) -> Array:
        return jnp.mean(self.estimator(key, self.log_joint, guide, self.num_samples))


@partial(jax.jit, static_argnames=("log_joint", "num_check"))
def _check(
    key_elbo: Array, key_weights: Array, log_joint: LogJoint, guide: Any, num_check: int
) -> tuple[monte_carlo.Estimate, Array]:
    bound = elbo(key_elbo, log_joint, guide, num_check)
    return bound, importance(key_weights, log_joint, guide, num_check).k_hat


def importance(key: Array, log_joint: LogJoint, guide: Any, num_samples: int) -> Weighted:
    """Draws of the guide with Pareto smoothed weights towards the posterior.

    Use them as `monte_carlo.weighted(w.log_weights, jax.vmap(f)(w.draws))`.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`.
      num_samples: S.
    Source: Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work?

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)
      >>> w = importance(jax.random.key(0), lambda z: -jnp.sum(z**2) / 2, guide, 100)
      >>> bool(jnp.allclose(w.log_weights, -jnp.log(100.0)))
      True
    """
    log_target, base, finish = density(log_joint, guide)
    draws = base.sample(key, (num_samples,))
    log_weights = jax.vmap(log_target)(draws) - jax.vmap(base.log_prob)(draws)
    smoothed = monte_carlo.psis(log_weights)
    return Weighted(jax.vmap(finish)(draws), smoothed.log_weights, smoothed.k_hat)


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
    key_draws, key_elbo = jax.random.split(key)
    space, point = space_of(template, sets)
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
    fresh = elbo(key_elbo, log_joint, guide, num_check, estimator=pathwise)
    return FixedDrawFit(guide, Fit(guide, *_rest(found)), fresh, covariance)


def _rest(fit: Fit) -> tuple[Array, Array, Array]:
    return fit.log_probs, fit.num_steps, fit.status


def _inverse_root(precision: Array) -> Array:
    """Lower Cholesky factor of the inverse."""
    size = precision.shape[0]
    eye = jnp.eye(size, dtype=precision.dtype)
    # the factor of the reversed precision, reversed, is upper; its inverse transposed is ours
    upper = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    return jax.scipy.linalg.solve_triangular(upper, eye, lower=False).T
