"""Maximise a smooth exact objective by L-BFGS: tens of steps where ascent takes thousands."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from likelax.fit.result import Fit, Status
from likelax.numerics import as_float
from likelax.parameters import to_vector


class _State(NamedTuple):
    reals: Array
    optimizer: Any
    value: Array
    step: Array
    finite: Array
    idle: Array
    trace: Array


def maximize_lbfgs(
    objective: Callable[[Any], Array],
    start: Any,
    *,
    max_steps: int = 500,
    tol: float | None = None,
    memory: int = 10,
) -> Fit:
    """Maximise an exact, smooth objective in unconstrained space by L-BFGS.

    Args:
      objective: model -> scalar, to be raised; no noise, or the line search fails.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
      max_steps: at least 1.
      tol: stop when three steps in a row raised the objective by at most
        tol * (1 + |objective|); None: four roundings of the float type.
      memory: gradient pairs that stand for the curvature.
    Returns:
      A `Fit`; `objectives` and the statuses are as for `fit.maximize`.
    Raises:
      ValueError: max_steps or memory below 1, or an objective that is not scalar.
    Source: Nocedal and Wright (2006), Numerical Optimization, 7.2.

    Examples:
      >>> bowl = lambda p: -jnp.sum((p - jnp.array([1.0, 2.0])) ** 2)
      >>> print(maximize_lbfgs(bowl, jnp.zeros(2)).model)
      [1. 2.]
    """
    if max_steps < 1 or memory < 1:
        raise ValueError(f"max_steps and memory must be at least 1, got {max_steps} and {memory}.")
    return _run(objective, start, max_steps, tol, memory)


@partial(jax.jit, static_argnames=("objective", "max_steps", "memory"))
def _run(
    objective: Callable[[Any], Array], start: Any, max_steps: int, tol: float | None, memory: int
) -> Fit:
    moving, rebuild = to_vector(start)
    optimizer = optax.lbfgs(memory_size=memory)

    def loss(reals: Array) -> Array:
        value = objective(rebuild(reals))
        if jnp.shape(value) != ():
            raise ValueError(
                f"the objective must return a scalar, got shape {jnp.shape(value)}; sum its terms."
            )
        return -as_float(value)[0]

    evaluate = optax.value_and_grad_from_state(loss)
    dtype = jax.eval_shape(loss, moving).dtype
    rise = 4 * jnp.finfo(dtype).eps if tol is None else jnp.asarray(tol, dtype)

    def step(state: _State) -> _State:
        # optax relies on implicit promotion, which the caller may have forbidden
        with jax.numpy_dtype_promotion("standard"):
            value, grad = evaluate(state.reals, state=state.optimizer)
            updates, optimizer_state = optimizer.update(
                grad, state.optimizer, state.reals, value=value, grad=grad, value_fn=loss
            )
            moved = optax.apply_updates(state.reals, updates)
            reached = loss(moved)
        finite = jnp.isfinite(reached) & jnp.all(jnp.isfinite(grad))
        better = finite & (-reached >= state.value)
        small = -reached - state.value <= rise * (1 + jnp.abs(state.value))
        value = jnp.where(better, -reached, state.value)
        count = jnp.where(finite, state.step + 1, state.step)
        return _State(
            reals=jnp.where(better, moved, state.reals),
            optimizer=optimizer_state,
            value=value,
            step=count,
            finite=finite,
            idle=jnp.where(small, state.idle + 1, 0),
            trace=state.trace.at[count].set(value),
        )

    first = -loss(moving)
    state = jax.lax.while_loop(
        lambda s: s.finite & (s.idle < 3) & (s.step < max_steps),
        step,
        _State(
            reals=moving,
            optimizer=optimizer.init(moving),
            value=first,
            step=jnp.zeros((), int),
            finite=jnp.isfinite(first),
            idle=jnp.zeros((), int),
            trace=jnp.full(max_steps + 1, first, dtype),
        ),
    )
    ended = jnp.where(state.idle >= 3, int(Status.CONVERGED), int(Status.MAX_STEPS))
    failed = jnp.where(state.step == 0, int(Status.NON_FINITE), int(Status.COLLAPSED))
    status = jnp.where(state.finite, ended, failed).astype(int)
    trace = jnp.where(jnp.arange(max_steps + 1) < state.step, state.trace, state.value)
    return Fit(rebuild(state.reals), trace, state.step, status)
