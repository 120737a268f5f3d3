"""Maximum likelihood without a closed form, by damped Newton steps on the device."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrain, unconstrain
from likelax.numerics.lapack import eigh
from likelax.numerics.special import factorial_excess, log_minus_digamma

T = TypeVar("T")

_RUNNING = -1
CONVERGED, MAX_STEPS, NON_FINITE = 0, 1, 3
_FARTHEST = 3.0
_HALVINGS = 60


class Solution(NamedTuple):
    """Where a Newton search ended.

    Attributes:
      point: the best point seen: an array, or a model.
      value: the objective there.
      num_steps: scalar integer, points tried.
      status: scalar integer with the codes of `fit.Status`: 0 converged, 1 the steps ran out,
        3 the objective was not finite at the start (the point is then the start).
    """

    point: Any
    value: Array
    num_steps: Array
    status: Array


class _State(NamedTuple):
    x: Array
    value: Array
    gradient: Array
    hessian: Array
    damping: Array
    step: Array
    status: Array


def maximize(
    objective: Callable[[Array], Array], start: ArrayLike, *, max_steps: int = 100
) -> Solution:
    """Maximise a smooth function of a few real variables.

    The Newton direction uses the absolute eigenvalues of the Hessian, so it always points uphill. A
    step that does not raise the objective is rejected and damped (Levenberg). No coordinate changes
    by more than 3 in one step.

    Args:
      objective: (P,) -> scalar.
      start: (P,).
      max_steps: most points to try.
    Returns:
      `Solution`, whose value is at least that of the start. `jax.vmap` maps it.
    Source: Nocedal & Wright (2006), Numerical Optimization, 3.4 and 10.3.

    Examples:
      >>> found = maximize(lambda x: -jnp.sum((x - 2.0) ** 4 + (x - 2.0) ** 2), jnp.zeros(1))
      >>> print(found.point, found.status)
      [2.] 0
    """
    (x,) = numerics.as_float(start)
    eps = jnp.finfo(x.dtype).eps
    gradient_of = jax.grad(objective)
    hessian_of = jax.hessian(objective)

    def body(s: _State) -> _State:
        curvature, axes = eigh(-s.hessian)
        size = jnp.abs(curvature)
        size = size * (1 + s.damping) + s.damping * jnp.max(size) + jnp.finfo(x.dtype).tiny
        move = axes @ ((s.gradient @ axes) / size)
        reach = jnp.max(jnp.abs(move))
        move = move * jnp.minimum(1, _FARTHEST / jnp.where(reach > 0, reach, 1))
        new = s.x + move
        value = objective(new)
        gradient, hessian = gradient_of(new), hessian_of(new)
        fine = (
            jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
        )
        # a fall within the rounding error counts as no change
        rose = fine & (value >= s.value - 8 * eps * jnp.abs(s.value))
        still = jnp.max(jnp.abs(move)) <= jnp.sqrt(eps) * (1 + jnp.max(jnp.abs(s.x)))
        step = s.step + 1
        # no change because the maximum is reached, not because every step was rejected
        done = rose | (s.gradient @ move <= 64 * eps * (1 + jnp.abs(s.value)))
        ended = jnp.where(done, CONVERGED, MAX_STEPS)
        status = jnp.where(still, ended, jnp.where(step >= max_steps, MAX_STEPS, _RUNNING))
        kept_x, value, gradient, hessian = jax.tree.map(
            lambda a, b: jnp.where(rose, a, b),
            (new, value, gradient, hessian),
            (s.x, s.value, s.gradient, s.hessian),
        )
        damping = jnp.where(rose, s.damping / 10, jnp.maximum(10 * s.damping, 1e-2))
        damping = jnp.where(damping < 1e-6, 0, damping)
        return _State(kept_x, value, gradient, hessian, damping, step, status)

    first = (objective(x), gradient_of(x), hessian_of(x))
    good = jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in first]))
    state = _State(
        x,
        *first,
        jnp.zeros((), x.dtype),
        jnp.zeros((), int),
        jnp.where(good, _RUNNING, NON_FINITE),
    )
    end = jax.lax.while_loop(lambda s: s.status == _RUNNING, body, state)
    return Solution(end.x, end.value, end.step, end.status)


def climb(
    objective: Callable[[T], Array], model: T, names: tuple[str, ...], *, max_steps: int = 100
) -> Solution:
    """Maximise a function of a model over some of its fields, the others held.

    Args:
      objective: model -> scalar.
      model: where to start; its fields declare their constraints.
      names: the fields that are free.
      max_steps: most points to try.
    Returns:
      `Solution` whose point is the model.

    Examples:
      >>> from likelax.families import Poisson
      >>> data = jnp.array([2, 4])
      >>> total = lambda model: jnp.sum(model.log_prob(data))
      >>> found = jax.jit(lambda start: climb(total, start, ("rate",)))(Poisson(1.0))
      >>> print(found.point.rate.round(4))
      3.0
    """
    reals = unconstrain(model)
    flat, unravel = ravel_pytree({name: getattr(reals, name) for name in names})

    def at(x: Array) -> T:
        moved = constrain(dataclasses.replace(cast(Any, reals), **unravel(x)))
        return dataclasses.replace(
            cast(Any, model), **{name: getattr(moved, name) for name in names}
        )

    found = maximize(lambda x: objective(at(x)), flat, max_steps=max_steps)
    return Solution(at(found.point), *found[1:])


def solve_shape(gap: ArrayLike) -> Solution:
    """The gamma shape a with log a - digamma(a) = gap: the maximiser over a of
    a log a - log Gamma(a) - a (1 + gap).

    Args:
      gap: non-negative scalar, log of the mean minus the mean of the log.
    Returns:
      `Solution` whose point is the scalar a; inf where gap is 0 (data without spread), NaN where it
      is inf or NaN (data with a zero). In float32 a is right to 1e-5 of itself.
    Source: Minka (2002), Estimating a gamma distribution.

    Examples:
      >>> print(f"{jax.jit(solve_shape)(0.5772157).point:.4f}")
      1.0000
    """
    (gap,) = numerics.as_float(gap)
    flat = gap <= 0
    shape = jnp.where(flat, jnp.inf, _shape_of(jnp.where(flat, 1, gap)))
    value = jnp.where(flat, jnp.inf, jnp.log(shape) - factorial_excess(shape) - shape * gap)
    return Solution(shape, value, jnp.asarray(_HALVINGS), jnp.asarray(CONVERGED))


@jax.custom_jvp
def _shape_of(gap: Array) -> Array:
    """The a with log a - digamma(a) = gap > 0, a falling function of a, by halving a bracket."""
    limits = jnp.finfo(gap.dtype)
    bracket = tuple(jnp.full_like(gap, float(np.log(v))) for v in (limits.tiny, limits.max))

    def halve(_: int, bracket: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high = bracket
        middle = (low + high) / 2
        below = log_minus_digamma(jnp.exp(middle)) > gap
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, bracket)
    return jnp.where(jnp.isnan(gap) | jnp.isinf(gap), jnp.nan, jnp.exp((low + high) / 2))


@_shape_of.defjvp
def _shape_of_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    shape = _shape_of(*primals)
    return shape, tangents[0] / jax.jvp(log_minus_digamma, (shape,), (jnp.ones_like(shape),))[1]
