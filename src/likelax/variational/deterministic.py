"""Fits without noise: Laplace's approximation, and ascent on fixed draws."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import monte_carlo
from likelax.fit.lbfgs import maximize_lbfgs
from likelax.fit.result import Fit, Status
from likelax.numerics import cholesky, inverse_lower, matmul
from likelax.numerics.checks import checked
from likelax.numerics.draws import standard_normal
from likelax.variational._elbo import elbo
from likelax.variational.estimators import LogJoint, draws_and_log_guides
from likelax.variational.guides import LOG_2PI, FullRank, MeanField, Transported, inverse_root
from likelax.variational.space import Space, space_of
from likelax.variational.weights import beyond_rounding, log_mean_weight


class LaplaceFit(NamedTuple):
    """A normal at the mode, with the curvature there.

    Attributes:
      guide: full-rank normal in unconstrained space, carried to the parameters.
      fit: the `Fit` that found the mode. Its status is COLLAPSED where the search converged on a
        point without positive definite curvature: a flat direction, a ridge or a saddle.
      log_evidence: Laplace's approximation to log p(x), nats; NaN where the curvature at the
        mode is not that of a maximum.
      corrected: log p(x) by importance weights of draws of the guide, with its standard error,
        nats; right where k_hat is below 0.7. The two differ by what the approximation is off.
      k_hat: Pareto k-hat of these weights; above 0.7 neither value of log p(x) can be trusted.
    """

    guide: Transported
    fit: Fit
    log_evidence: Array
    corrected: monte_carlo.Estimate
    k_hat: Array


# Nats below the top of which a fit has converged; looks of Newton's method.
AT_THE_TOP, MOST_LOOKS = 1e-3, 20


@checked()
def laplace(
    key: Array,
    log_joint: LogJoint,
    template: Any,
    sets: Any = None,
    *,
    max_steps: int = 500,
    num_check: int = 1000,
) -> LaplaceFit:
    """Laplace approximation in unconstrained space: exact for a normal posterior.

    log p(x) ~ log p(x, z*) + (D / 2) log 2 pi - (1/2) log det(-Hessian)

    L-BFGS finds the mode z*, and at most 20 steps of Newton's method end at it, in any units.

    Args:
      key: a typed key, for the check.
      log_joint: one draw of the latents -> scalar log p(x, z), nats; twice differentiable.
      template: where to start, a pytree of parameters inside their sets.
      sets: a `Constraint` for each leaf; None: what the template's fields declare.
      max_steps: of L-BFGS.
      num_check: draws for `corrected` and `k_hat`.
    Returns:
      A `LaplaceFit`. Where the log joint is flat in some direction, at a ridge or at a saddle there
      is no normal: the guide's scale and the evidence are NaN, and the status says COLLAPSED. A
      curvature counts as flat where it is within rounding of zero, given the other directions.
    Raises:
      ValueError: num_check below 2, or a template outside its sets.
    Source: MacKay (2003), Information Theory, Inference, and Learning Algorithms, chapter 27.

    Examples:
      >>> fitted = laplace(jax.random.key(0), lambda z: -jnp.sum(z**2) / 2, jnp.ones(2))
      >>> print(f"{fitted.log_evidence:.4f} {jnp.log(2 * jnp.pi):.4f}")
      1.8379 1.8379
    """
    space, point = space_of(template, sets)
    monte_carlo.check_num_samples(num_check, least=2)
    return _laplace(key, log_joint, space, point, max_steps, num_check)


@partial(jax.jit, static_argnames=("log_joint", "space", "max_steps", "num_check"))
def _laplace(
    key: Array, log_joint: LogJoint, space: Space, point: Array, max_steps: int, num_check: int
) -> LaplaceFit:
    def target(reals: Array) -> Array:
        return log_joint(space.constrain(reals)) + space.log_det(reals)

    found, precision = _top(target, maximize_lbfgs(target, point, max_steps=max_steps))
    volume = jnp.sum(jnp.log(jnp.diagonal(cholesky(precision))))
    log_evidence = target(found.model) + space.dim * LOG_2PI / 2 - volume
    guide = Transported(FullRank(found.model, inverse_root(precision)), space)
    draws, log_q = draws_and_log_guides(key, guide.base, num_check)
    log_p = jax.vmap(target)(draws)
    terms = log_p - log_q
    k_hat = beyond_rounding(monte_carlo.psis(terms).k_hat, log_p, log_q)
    fit = Fit(space.constrain(found.model), found.objectives, found.num_steps, found.status)
    return LaplaceFit(guide, fit, log_evidence, log_mean_weight(terms), k_hat)


class FixedDrawFit(NamedTuple):
    """A mean-field normal fitted on fixed draws, and the covariance that it misses.

    Attributes:
      guide: mean-field normal in unconstrained space, carried to the parameters.
      fit: the `Fit` that made it. Its status is COLLAPSED where the search converged on a point
        without positive definite curvature; the covariance is then NaN.
      elbo: a fresh `Estimate` of its ELBO, nats: that on the fixed draws is optimistic.
      covariance: (D, D) linear-response covariance of the unconstrained parameters, right
        for a normal posterior, where mean-field variances are too small.
    """

    guide: Transported
    fit: Fit
    elbo: monte_carlo.Estimate
    covariance: Array


@checked()
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
    Raises:
      ValueError: num_samples below 1, or a template outside its sets.
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
    noise = standard_normal(key_draws, (num_samples, space.dim), point.dtype)

    def target(reals: Array) -> Array:
        return log_joint(space.constrain(reals)) + space.log_det(reals)

    def bound(loc: Array, log_scale: Array) -> Array:
        draws = loc[None] + jnp.exp(log_scale)[None] * noise
        return jnp.mean(jax.vmap(target)(draws)) + jnp.sum(log_scale)

    start = MeanField(point, jnp.full_like(point, scale))
    found = maximize_lbfgs(lambda q: bound(q.loc, jnp.log(q.scale)), start, max_steps=max_steps)
    both = jnp.concatenate([found.model.loc, jnp.log(found.model.scale)])
    top, curvature = _top(
        lambda b: bound(b[: space.dim], b[space.dim :]),
        Fit(both, found.objectives, found.num_steps, found.status),
    )
    root = inverse_root(curvature)
    covariance = matmul(root, root.T)[: space.dim, : space.dim]
    loc, log_scale = top.model[: space.dim], top.model[space.dim :]
    guide = Transported(MeanField(loc, jnp.exp(log_scale)), space)
    fresh = elbo(key_elbo, log_joint, guide, num_check)
    fit = Fit(guide, top.objectives, top.num_steps, top.status)
    return FixedDrawFit(guide, fit, fresh, covariance)


class _Look(NamedTuple):
    """A point of Newton's method: its value, what a step from it is expected to gain, and where it leads."""

    point: Array
    precision: Array
    curved: Array
    value: Array
    gain: Array
    ahead: Array
    step: Array
    done: Array


def _top(target: Callable[[Array], Array], found: Fit) -> tuple[Fit, Array]:
    """The fit at its maximum, and the negative Hessian there; NaN where it is not positive definite.

    L-BFGS ends where its steps gain little, which in other units than the target's may be far from
    the top. Newton's steps know no units, and what one is expected to gain is the distance from the top in nats.
    """

    def look(before: _Look) -> _Look:
        value, score = jax.value_and_grad(target)(before.ahead)
        precision = -jax.hessian(target)(before.ahead)
        better = ~(value < before.value)
        root = inverse_root(precision)
        shift = matmul(root, matmul(root.T, score))
        gain = jnp.sum(score * shift) / 2
        curved, step = _is_curved(precision), before.step + 1
        done = ~better | ~curved | ~(gain > AT_THE_TOP) | (step >= MOST_LOOKS)
        ahead = before.ahead + shift
        here = _Look(before.ahead, precision, curved, value, gain, ahead, step, done)
        kept = before._replace(step=step, done=done)
        return jax.tree.map(partial(jnp.where, better), here, kept)

    point = found.model
    dim, nothing = point.shape[0], jnp.asarray(jnp.nan, point.dtype)
    start = _Look(
        point,
        jnp.full((dim, dim), jnp.nan, point.dtype),
        jnp.zeros((), bool),
        nothing,
        nothing,
        point,
        jnp.zeros((), int),
        jnp.zeros((), bool),
    )
    last = jax.lax.while_loop(lambda state: ~state.done, look, start)
    # steps that gain less than the value is rounded by are at the top too
    rounding = 8 * jnp.finfo(point.dtype).eps * jnp.abs(last.value)
    at_top = last.gain <= jnp.maximum(AT_THE_TOP, rounding)
    ended = jnp.where(at_top, int(Status.CONVERGED), int(Status.MAX_STEPS))
    flat = jnp.where(found.status == Status.CONVERGED, int(Status.COLLAPSED), found.status)
    ended = jnp.where(last.curved, ended, flat)
    status = jnp.where(found.usable, ended, found.status).astype(found.status.dtype)
    fit = Fit(last.point, found.objectives, found.num_steps, status)
    return fit, jnp.where(last.curved, last.precision, jnp.nan)


def _is_curved(precision: Array) -> Array:
    """Whether the matrix is positive definite by more than rounding, in any units of its rows.

    An error of eps sqrt(a_ii a_jj) in every entry changes the square of pivot i of the Cholesky factor L,
    relative to itself, by eps (sum_j |inv(L)_ij| sqrt(a_jj))^2 at most. A pivot that is zero but
    for rounding is changed by as much as itself.

    Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, 10.1.
    """
    eps = jnp.finfo(precision.dtype).eps
    reach = jnp.abs(inverse_lower(cholesky(precision))) @ jnp.sqrt(jnp.diagonal(precision))
    return jnp.all(0.5 * precision.shape[0] * eps * reach**2 < 1)
