"""Expectation maximisation for any model that answers the four verbs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.families.base import match_weights
from likelax.fit import doors
from likelax.fit.acceleration import extrapolate
from likelax.fit.result import Fit, Status
from likelax.numerics import chunks


class _State(NamedTuple):
    """The best model so far with its objective, and the next to look at.

    role: what `pending` is; `parent` is the model it came from, and `fallback` the EM step of
    the best model, to take instead of a guess that is no better; `cap` bounds its length.
    """

    model: Any
    pending: Any
    objective: Array
    step: Array
    status: Array
    trace: Array
    role: Array
    parent: Any = None
    fallback: Any = None
    cap: Any = None


Progress = Callable[[Any, Any], None]

_RUNNING = -1
# Roles of a pending model: an EM step of the best one; that, with its parent at hand; a guess.
_PLAIN, _PAIRED, _GUESS = range(3)


def em(
    model: Any,
    x: Any,
    *,
    weights: Any = None,
    prior: Any = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    progress: Progress | None = None,
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
      tol: relative rise of the objective at which to stop. None: 1e-10 in float64 and 1e-7 in
        float32, one unit in the last place: overlapping clusters rise that slowly for long.
      max_steps: most M steps to take. 0 evaluates the start.
      chunk_size: rows of x taken at a time along the first axis, which bounds memory; the
        statistics of the chunks are added. None: all at once, or as the model sees fit.
      progress: called on the host after every step with its number, from 0, and the objective
        in nats, such as `lambda step, nats: print(int(step), nats)`.
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
    return _em(model, x, weights, prior, tol, max_steps, chunk_size, progress)


def squarem(
    model: Any,
    x: Any,
    *,
    weights: Any = None,
    prior: Any = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Fit:
    """`em` with extrapolation: after two EM steps a jump along their path, kept only if it helps.

    For slow fits, such as overlapping clusters. A guess that does not raise the objective is
    dropped, so the objective never falls, as with `em`.

    Args:
      model, x, weights, prior, tol, chunk_size, progress: as for `em`.
      max_steps: most steps to take; a step is one E and one M step, a guess that was dropped
        included, so steps cost what those of `em` cost.
    Returns:
      `Fit`, as for `em`.
    Raises:
      ValueError: as for `em`.
    Source: Varadhan & Roland (2008), Scandinavian Journal of Statistics 35, 335-353.

    Examples:
      >>> from likelax.families import Normal
      >>> from likelax.mixture import Mixture
      >>> x = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])
      >>> start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
      >>> print(squarem(start, x).model.components.loc)
      [-2.  2.]
    """
    doors.check("fit.squarem", model, x, weights)
    if max_steps < 0:
        raise ValueError(f"fit.squarem: max_steps must be 0 or more; got {max_steps}")
    return _em(model, x, weights, prior, tol, max_steps, chunk_size, progress, accelerate=True)


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


def e_step(
    model: Any, x: Any, weights: Any = None, chunk_size: int | None = None
) -> tuple[Any, Array]:
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
            "chunk_size: x is a single observation and has no leading axis to cut; "
            "leave chunk_size out"
        )
    if chunk_size >= shape.shape[0]:
        return model.e_step(x, weights)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    weights = match_weights(weights, shape.shape, shape.dtype)
    return chunks.sum_rows(model.e_step, x, weights, chunk_size)


@functools.partial(jax.jit, static_argnames=("max_steps", "chunk_size", "progress", "accelerate"))
def _em(
    model: Any,
    x: Any,
    weights: Any,
    prior: Any,
    tol: float | None,
    max_steps: int,
    chunk_size: int | None,
    progress: Progress | None = None,
    accelerate: bool = False,
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
        tol = default_tolerance(dtype)
    size = _total_weight(model, x, weights)

    def running(s: _State) -> Array:
        return s.status == _RUNNING

    def step(s: _State) -> _State:
        # one E step and one M step stand in the loop, so that each is compiled once: the
        # pending model is judged here, and the next one made from the same statistics
        new, objective = update(s.pending)
        start = s.step < 0
        count = s.step + 1
        before = jnp.where(start, objective, s.objective)
        rise = objective - before
        reach = jnp.maximum(jnp.abs(before), size)
        finite = jnp.isfinite(objective)
        better = start | (finite & (rise >= 0))
        plain = s.role <= _PAIRED
        # a fall within rounding of the sum counts as standing still
        fell = rise < -(tol + 64 * eps) * reach
        done = ~start & plain & (rise <= tol * reach)
        status = jnp.where(count >= max_steps, Status.MAX_STEPS, _RUNNING)
        status = jnp.where(done, Status.CONVERGED, status)
        status = jnp.where(fell & plain, Status.DECREASED, status)
        failed = jnp.where(start, Status.NON_FINITE, Status.COLLAPSED)
        status = jnp.where(finite | ~plain, status, failed)
        kept, value = _where(better, (s.pending, objective), (s.model, s.objective))
        trace = jnp.where(jnp.arange(max_steps + 1) >= count, value, s.trace)
        if progress is not None:
            jax.debug.callback(progress, count, value)
        if not accelerate:
            return _State(kept, new, value, count, status, trace, s.role)
        ripe = (s.role == _PAIRED) & better
        missed = ~plain & ~better
        # reach further after a guess that helped, and less far after one that did not
        cap = jnp.where(plain, s.cap, jnp.where(missed, jnp.maximum(s.cap / 4, 2), s.cap * 4))
        guess = extrapolate(s.parent, s.pending, new, cap)
        pending = _where(missed, s.fallback, _where(ripe, guess, new))
        role = jnp.where(ripe, _GUESS, jnp.where(missed, _PLAIN, _PAIRED))
        return _State(kept, pending, value, count, status, trace, role, s.pending, new, cap)

    initial = _State(
        model,
        model,
        jnp.zeros((), dtype),
        jnp.full((), -1),
        jnp.full((), _RUNNING),
        jnp.full(max_steps + 1, jnp.nan, dtype),
        jnp.full((), _PLAIN),
        *((model, model, jnp.full((), 4.0, dtype)) if accelerate else ()),
    )
    end = jax.lax.while_loop(running, step, initial)
    return Fit(end.model, end.trace, end.step, end.status)


def default_tolerance(dtype: Any) -> float:
    """Relative rise at which a fit stops when nobody says: the smallest that is not rounding."""
    return 1e-10 if jnp.finfo(dtype).eps < 1e-10 else 1e-7


def _where(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


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
