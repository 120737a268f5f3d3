"""Fit by gradient ascent in unconstrained space, with any optax optimiser, on the device.

`gradient` maximises the log probability of data, `maximize` an exact objective of one's own,
`maximize_noisy` one that is only known by draws or minibatches. None of them raises for
numeric trouble: the status of the `Fit` tells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from likelax import constraints
from likelax.families.base import match_weights
from likelax.fit import doors
from likelax.fit.result import Fit, Status
from likelax.numerics import as_float, weighted_sum

Objective = Callable[[Any], Array]
NoisyObjective = Callable[[Array, Any], Array]

ADAM = optax.adam(0.05)


def gradient(
    model: Any,
    x: Any,
    *,
    weights: ArrayLike | None = None,
    prior: Any = None,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1e-7,
    window: int = 50,
) -> Fit:
    """Maximum likelihood or MAP by gradient ascent on sum_n weights[n] log p(x[n]).

    Parameters move in unconstrained space, guided by the constraints that the model's fields
    declare; structural zeros stay zero. The density of the prior is taken over the model's
    own parameters, so the mode does not depend on the constraint's map.

    Args:
      model: the start; anything with `log_prob(x)`.
      x: data, as `model.log_prob` takes it.
      weights: (N, ...) non-negative, the shape of `model.log_prob(x)`; None is ones.
      prior: the model's conjugate prior, as for `fit.em`: `model.log_prior(prior)` is added.
      optimizer: any optax transformation, schedules and clipping included. It descends on the
        negated objective and sees all parameters as one vector.
      max_steps: at least 1.
      tol: stop when a window of steps raised the best objective by at most
        tol * (1 + |objective|).
      window: steps between two looks at the stopping rule, at least 1.
    Returns:
      A `Fit` with the best model that was seen. `log_probs[t]` is the objective before step t
      for t < num_steps; from num_steps on it is the objective of `model`. Where the objective
      or its gradient is not finite the status is NON_FINITE at the start and COLLAPSED later,
      and the model is the best before that.
    Raises:
      ValueError: max_steps or window below 1, or weights of another shape.
      TypeError: a model without `log_prob`.

    Examples:
      >>> from likelax.families.normal import Normal
      >>> fitted = gradient(Normal(0.0, 1.0), jnp.array([1.0, 2.0, 3.0]))
      >>> print(fitted.model.loc.round(2))
      2.0
    """
    if not callable(getattr(model, "log_prob", None)):
        raise TypeError(f"fit.gradient wants a model with log_prob(x), got {type(model).__name__}.")
    doors.check("fit.gradient", model, x, weights)
    data = (x, weights, prior)
    return _run(None, model, data, _Likelihood(), optimizer, max_steps, tol, window)


def maximize(
    objective: Objective,
    start: Any,
    *,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1e-7,
    window: int = 50,
) -> Fit:
    """Gradient ascent on an exact objective; options and result as in `gradient`.

    Args:
      objective: model -> scalar, to be raised.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
    Returns:
      A `Fit` with the best iterate.

    Examples:
      >>> print(maximize(lambda p: -((p - 3.0) ** 2), jnp.array(0.0)).model.round(2))
      3.0
    """
    return _run(None, start, (), _Exact(objective), optimizer, max_steps, tol, window)


def maximize_noisy(
    key: Array,
    objective: NoisyObjective,
    start: Any,
    *,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1.0,
    window: int = 100,
) -> Fit:
    """Stochastic gradient ascent on an objective known by draws: an ELBO, or minibatches.

    Options and result are those of `gradient`, but for the stopping rule and the model.

    Args:
      key: a typed key; every step gets its own.
      objective: (key, model) -> scalar, an unbiased estimate with an unbiased gradient.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
      tol: stop when the mean objective of a window exceeds that of the best earlier window by
        at most tol standard errors of their difference. Below 0 only max_steps stops it.
      window: steps over which the objective and the iterates are averaged, at least 2.
    Returns:
      A `Fit` whose model is the average, in unconstrained space, of the iterates of the
      window with the highest mean objective: less noisy than any iterate, and not the lucky
      one. Its `log_prob` is that mean; `log_probs` before num_steps are the noisy values.
    Source: Polyak and Juditsky (1992); Dhaka et al. (2020), Robust, accurate stochastic
      optimization for variational inference.

    Examples:
      >>> noisy = lambda key, p: -((p - 3.0 + jax.random.normal(key)) ** 2)
      >>> fitted = maximize_noisy(jax.random.key(0), noisy, jnp.array(0.0))
      >>> bool(abs(fitted.model - 3) < 0.3)
      True
    """
    if window < 2:
        raise ValueError(f"window must be at least 2 to estimate the noise, got {window}.")
    return _run(key, start, (), _Noisy(objective), optimizer, max_steps, tol, window)


def minibatch_log_prob(
    x: Any, batch_size: int, *, log_prior: Objective | None = None
) -> NoisyObjective:
    """An objective for `maximize_noisy`: the log probability of x, estimated from a batch.

    (N / B) sum over B draws with replacement of log p(x[n]), plus log_prior(model)

    Args:
      x: an array (N, ...) or a pytree of such with one N.
      batch_size: B, at least 1.
    """
    leaves = jax.tree.leaves(x)
    if not leaves or any(jnp.ndim(v) == 0 for v in leaves) or leaves[0].shape[0] == 0:
        raise ValueError("x must hold arrays with a leading axis of at least one datum.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    num_data = leaves[0].shape[0]

    def objective(key: Array, model: Any) -> Array:
        rows = jax.random.randint(key, (batch_size,), 0, num_data)
        batch = jax.tree.map(lambda v: v[rows], x)
        log_prob = jnp.sum(model.log_prob(batch)) * (num_data / batch_size)
        return log_prob if log_prior is None else log_prob + log_prior(model)

    return objective


# The three objectives are records rather than closures, so that equal ones compile once.


@dataclass(frozen=True)
class _Likelihood:
    def __call__(self, key: Array | None, model: Any, data: Any) -> Array:
        x, weights, prior = data
        log_prob = model.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        total = weighted_sum(weights, log_prob)
        return total if prior is None else total + model.log_prior(prior)


@dataclass(frozen=True)
class _Exact:
    objective: Objective

    def __call__(self, key: Array | None, model: Any, data: Any) -> Array:
        return self.objective(model)


@dataclass(frozen=True)
class _Noisy:
    objective: NoisyObjective

    def __call__(self, key: Array, model: Any, data: Any) -> Array:
        return self.objective(key, model)


class _Ascent(NamedTuple):
    """What every step changes. `kept` is the best iterate, or for noise the sum of a window's."""

    reals: Array
    optimizer: Any
    step: Array
    finite: Array
    kept: Array
    best_value: Array


class _State(NamedTuple):
    """What every window changes."""

    ascent: _Ascent
    key: Array | None
    trace: Array
    best: Array
    best_value: Array
    best_error: Array
    stalled: Array


@partial(jax.jit, static_argnames=("objective", "optimizer", "max_steps", "window"))
def _run(
    key: Array | None,
    start: Any,
    data: Any,
    objective: Any,
    optimizer: optax.GradientTransformation,
    max_steps: int,
    tol: float,
    window: int,
) -> Fit:
    if max_steps < 1 or window < 1:
        raise ValueError(f"max_steps and window must be at least 1, got {max_steps} and {window}.")
    moving, rebuild = to_reals(start)
    noisy = key is not None

    def loss(reals: Array, step_key: Array | None) -> Array:
        value = objective(step_key, rebuild(reals), data)
        if jnp.shape(value) != ():
            raise ValueError(
                f"the objective must return a scalar, got shape {jnp.shape(value)}; sum its terms."
            )
        return -as_float(value)[0]

    def step(now: _Ascent, step_key: Array | None) -> tuple[_Ascent, Array]:
        value, grad = jax.value_and_grad(loss)(now.reals, step_key)
        value = -value
        running = now.finite & (now.step < max_steps)
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
        # optax relies on implicit promotion, which the caller may have forbidden
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = optimizer.update(grad, now.optimizer, now.reals)
            moved = optax.apply_updates(now.reals, updates)
        taken = running & good
        if noisy:
            kept, best_value = jnp.where(taken, now.kept + now.reals, now.kept), now.best_value
        else:
            better = taken & (value > now.best_value)
            kept = jnp.where(better, now.reals, now.kept)
            best_value = jnp.where(better, value, now.best_value)
        # after a failure the iterates are not looked at again, so they need no guard
        count = jnp.where(taken, now.step + 1, now.step)
        finite = now.finite & (good | ~running)
        return _Ascent(moved, optimizer_state, count, finite, kept, best_value), value

    def one_window(state: _State) -> _State:
        """A scan of fixed length, which compiles to a tighter loop than one that may stop."""
        keys, later = None, None
        if state.key is not None:
            now_key, later = jax.random.split(state.key)
            keys = jax.random.split(now_key, window)
        after, values = jax.lax.scan(step, state.ascent, keys, length=window)
        trace = jax.lax.dynamic_update_slice(state.trace, values, (state.ascent.step,))
        state = state._replace(key=later, trace=trace)
        return look_at_noise(state, after, values) if noisy else look(state, after)

    def look(before: _State, after: _Ascent) -> _State:
        small = after.best_value - before.best_value <= tol * (1 + jnp.abs(after.best_value))
        return before._replace(
            ascent=after, best=after.kept, best_value=after.best_value, stalled=small
        )

    def look_at_noise(before: _State, after: _Ascent, values: Array) -> _State:
        steps = after.step - before.ascent.step
        count = steps.astype(values.dtype)
        taken = jnp.arange(window) < steps
        mean = jnp.sum(jnp.where(taken, values, 0)) / count
        squares = jnp.sum(jnp.where(taken, (values - mean) ** 2, 0))
        error = jnp.sqrt(squares / (count - 1) / count)
        noise = jnp.sqrt(error**2 + before.best_error**2)
        first, complete = jnp.isneginf(before.best_value), steps == window
        better = (first | complete) & (steps > 0) & (mean > before.best_value)
        best = jnp.where(better, after.kept / count.astype(after.kept.dtype), before.best)
        best_value = jnp.where(better, mean, before.best_value)
        best_error = jnp.where(better, error, before.best_error)
        small = (tol >= 0) & ~first & complete & (mean - before.best_value <= tol * noise)
        after = after._replace(kept=jnp.zeros_like(after.kept))
        return _State(after, before.key, before.trace, best, best_value, best_error, small)

    window = min(window, max_steps)
    dtype = jax.eval_shape(loss, moving, key).dtype
    lowest = jnp.asarray(-jnp.inf, dtype)
    ascent = _Ascent(
        reals=moving,
        optimizer=optimizer.init(moving),
        step=jnp.zeros((), int),
        finite=jnp.asarray(True),
        kept=jnp.zeros_like(moving) if noisy else moving,
        best_value=lowest,
    )
    state = jax.lax.while_loop(
        lambda s: s.ascent.finite & ~s.stalled & (s.ascent.step < max_steps),
        one_window,
        _State(
            ascent=ascent,
            key=key,
            trace=jnp.full(-(-max_steps // window) * window + 1, jnp.nan, dtype),
            best=moving,
            best_value=lowest,
            best_error=jnp.zeros((), dtype),
            stalled=jnp.asarray(False),
        ),
    )
    num_steps, finite = state.ascent.step, state.ascent.finite
    ended = jnp.where(state.stalled, int(Status.CONVERGED), int(Status.MAX_STEPS))
    failed = jnp.where(num_steps == 0, int(Status.NON_FINITE), int(Status.COLLAPSED))
    status = jnp.where(finite, ended, failed).astype(int)
    value = jnp.where(num_steps == 0, state.trace[0], state.best_value)
    trace = jnp.where(jnp.arange(max_steps + 1) < num_steps, state.trace[: max_steps + 1], value)
    return Fit(rebuild(state.best), trace, num_steps, status)


def to_reals(start: Any) -> tuple[Array, Callable[[Array], Any]]:
    """The floating leaves in unconstrained space as one vector, and the way back to the model."""
    leaves, treedef = jax.tree.flatten(constraints.unconstrain(start))
    moves = [constraints.is_floating(leaf) for leaf in leaves]
    if not any(moves):
        raise ValueError("the start has no floating-point parameter to fit.")
    moving = [leaf for m, leaf in zip(moves, leaves, strict=True) if m]
    ends = np.cumsum([leaf.size for leaf in moving]).tolist()

    def rebuild(reals: Array) -> Any:
        pieces = iter(jnp.split(reals, ends[:-1]))
        back = [
            next(pieces).reshape(leaf.shape).astype(leaf.dtype) if m else leaf
            for m, leaf in zip(moves, leaves, strict=True)
        ]
        return constraints.constrain(jax.tree.unflatten(treedef, back))

    return jnp.concatenate([leaf.reshape(-1) for leaf in as_float(*moving)]), rebuild
