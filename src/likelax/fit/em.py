"""Expectation maximisation for any model that answers the four verbs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.families.base import match_weights
from likelax.families.statistics import add
from likelax.fit import doors
from likelax.fit.result import Fit, Status


class _State(NamedTuple):
    candidate: Any
    model: Any
    objective: Array
    step: Array
    status: Array
    trace: Array


_RUNNING = -1


def em(
    model: Any,
    x: Any,
    *,
    weights: Any = None,
    prior: Any = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
) -> Fit:
    """Fit a model by expectation maximisation, on the device from first step to last.

    Alternates `e_step` and `m_step` until the objective, sum_n weights[n] log p(x[n]) plus the
    log prior, rises by no more than tol * max(|objective|, sum of weights). Compiled once per
    type and shape; vmaps over models (restarts) and over data sets.

    Args:
      model: where to start. Its structure is kept; its parameters are replaced.
      x: data with leading axes, plain or wrapped in `Masked`, `Labelled` or `Sequences`.
      weights: one non-negative weight per observation, or None for ones.
      prior: the model's conjugate prior, for maximum a posteriori, or None.
      tol: relative rise of the objective at which to stop. None: 1e-10 in float64 and 1e-6 in
        float32, where smaller rises are rounding.
      max_steps: most M steps to take. 0 evaluates the start.
      chunk_size: rows of x taken at a time along the first axis, which bounds memory; the
        statistics of the chunks are added. None: all at once.
    Returns:
      `Fit`. NaN is never reported as convergence, and the model is never worse than the start.
    Raises:
      ValueError: for empty data, NaN that was not declared missing, negative weights, labels
        out of range, or shapes that do not fit.
    Source: Dempster, Laird & Rubin (1977), JRSS B 39, 1-38.

    Examples:
      >>> from likelax.families import Normal
      >>> from likelax.mixture import Mixture
      >>> x = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])
      >>> start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
      >>> print(em(start, x).model.components.loc)
      [-2.  2.]
    """
    doors.check("fit.em", model, x, weights)
    if max_steps < 0:
        raise ValueError(f"fit.em: max_steps must be 0 or more; got {max_steps}")
    return _em(model, x, weights, prior, tol, max_steps, chunk_size)


def mle(model: Any, x: Any, *, weights: Any = None, prior: Any = None) -> Any:
    """One E step and one M step: the maximum likelihood (or posterior mode) in closed form.

    For families, products, and anything whose latent variables were seen, such as a naive
    Bayes classifier given `Labelled` data.

    Args:
      model: gives the structure; its parameters matter only where statistics are empty or
        latent variables unseen.
      x, weights, prior: as for `em`.
    Returns:
      The fitted model.
    Raises:
      ValueError: as for `em`.

    Examples:
      >>> from likelax.families import Poisson
      >>> print(mle(Poisson(1.0), jnp.array([2, 4])).rate)
      3.0
    """
    doors.check("fit.mle", model, x, weights)
    return _mle(model, x, weights, prior)


@jax.jit
def _mle(model: Any, x: Any, weights: Any, prior: Any) -> Any:
    return model.m_step(model.e_step(x, weights)[0], prior)


def e_step(model: Any, x: Any, weights: Any = None, chunk_size: int | None = None) -> tuple[Any, Array]:
    """`model.e_step` taken in chunks along the first axis of x, their statistics added.

    Args:
      model, x, weights: as for the model's own `e_step`.
      chunk_size: rows at a time; None or anything not below the number of rows is all at once.
    Returns:
      (statistics, scalar log probability).
    Raises:
      ValueError: where x has no leading axis to cut.
    """
    if chunk_size is None:
        return model.e_step(x, weights)
    shape = jax.eval_shape(model.log_prob, x)
    if shape.ndim == 0:
        raise ValueError(
            "chunk_size: x is a single observation and has no leading axis to cut; leave chunk_size out"
        )
    num_rows = shape.shape[0]
    if chunk_size >= num_rows:
        return model.e_step(x, weights)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    weights = match_weights(weights, shape.shape, shape.dtype)

    def take(start: Array) -> tuple[Any, Array]:
        # the last chunk is moved back to end at the last row; rows seen before weigh nothing there
        first = jnp.minimum(start, num_rows - chunk_size)
        cut = functools.partial(
            jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=chunk_size, axis=0
        )
        fresh = jnp.arange(chunk_size) + first >= start
        fresh = fresh.reshape((-1,) + (1,) * (len(shape.shape) - 1))
        rows = jax.tree.map(lambda a: cut(jnp.asarray(a)), x)
        return model.e_step(rows, jnp.where(fresh, cut(weights), 0))

    starts = jnp.arange(0, num_rows, chunk_size)
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(take, starts[0]))
    total, _ = jax.lax.scan(lambda acc, start: (add(acc, take(start)), None), empty, starts)
    return total


@functools.partial(jax.jit, static_argnames=("max_steps", "chunk_size"))
def _em(
    model: Any,
    x: Any,
    weights: Any,
    prior: Any,
    tol: float | None,
    max_steps: int,
    chunk_size: int | None,
) -> Fit:
    def evaluate(model: Any) -> tuple[Any, Array]:
        stats, log_prob = e_step(model, x, weights, chunk_size)
        return stats, log_prob if prior is None else log_prob + model.log_prior(prior)

    def update(model: Any) -> tuple[Any, Array]:
        stats, objective = evaluate(model)
        return model.m_step(stats, prior), objective

    model, dtype = _settle(model, update)
    eps = jnp.finfo(dtype).eps
    if tol is None:
        tol = 1e-10 if eps < 1e-10 else 1e-6
    size = _total_weight(model, x, weights)

    def step(s: _State) -> _State:
        # one E step and one M step stand in the loop, so that each is compiled once: the
        # candidate is judged here, and the next one made from the same statistics
        following, objective = update(s.candidate)
        first = s.step == 0
        rise = objective - s.objective
        reach = jnp.maximum(jnp.abs(s.objective), size)
        status = jnp.where(s.step >= max_steps, Status.MAX_STEPS, _RUNNING)
        status = jnp.where(~first & (rise <= tol * reach), Status.CONVERGED, status)
        # a fall within rounding of the sum counts as standing still
        fell = ~first & (rise < -(tol + 64 * eps) * reach)
        status = jnp.where(fell, Status.DECREASED, status)
        failed = jnp.where(first, Status.NON_FINITE, Status.COLLAPSED)
        status = jnp.where(jnp.isfinite(objective), status, failed)
        better = first | (jnp.isfinite(objective) & (rise >= 0))
        model, objective = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (s.candidate, objective),
            (s.model, s.objective),
        )
        trace = jnp.where(jnp.arange(max_steps + 1) >= s.step, objective, s.trace)
        return _State(following, model, objective, s.step + 1, status, trace)

    start = _State(
        candidate=model,
        model=model,
        objective=jnp.full((), -jnp.inf, dtype),
        step=jnp.zeros((), int),
        status=jnp.full((), _RUNNING),
        trace=jnp.full(max_steps + 1, -jnp.inf, dtype),
    )
    end = jax.lax.while_loop(lambda s: s.status == _RUNNING, step, start)
    return Fit(end.model, end.trace, end.step - 1, end.status)


def _settle(model: Any, update: Callable[[Any], tuple[Any, Array]]) -> tuple[Any, Any]:
    """The model with its leaves of the dtype and shape that an update gives them, and the
    objective's dtype.

    Python numbers and integers become floats, so that the loop's types stand still.
    """
    want, objective = jax.eval_shape(update, model)

    def match(leaf: Any, w: jax.ShapeDtypeStruct) -> Array:
        return jnp.broadcast_to(jnp.asarray(leaf, w.dtype), w.shape)

    return jax.tree.map(match, model, want), objective.dtype


def _total_weight(model: Any, x: Any, weights: Any) -> Array:
    shape = jax.eval_shape(model.log_prob, x)
    return jnp.sum(match_weights(weights, shape.shape, shape.dtype))
