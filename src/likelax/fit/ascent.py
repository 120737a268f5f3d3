"""Gradient ascent in unconstrained space, as an algorithm: windows of blocks of steps."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from likelax.data import holds_no_value
from likelax.families.base import match_weights
from likelax.fit import validation
from likelax.fit.algorithm import Data, finish
from likelax.fit.result import Fit, Status
from likelax.model import Model, pytree, static
from likelax.numerics import as_float, devices, weighted_sum
from likelax.numerics.checks import check_number
from likelax.parameters import from_vector, to_vector

# XLA compiles a short loop over small arrays into native code, and a long one step by step: on a
# CPU that is the difference between 1 and 4 microseconds. Blocks also bound the memory of noise.
BLOCK = 50
NOISE_AT_ONCE = 2**18

ADAM = optax.adam(0.05)


class Objective(Protocol):
    """A function of a model to be maximised. Equal ones share a compiled program."""

    def __call__(self, noise: Any, model: Any, data: Any) -> Array:
        """Scalar, nats; noise is None for an exact objective."""

    def draw(self, key: Array, start: Any) -> Any:
        """The noise of one step. Not called for an exact objective."""

    def empty(self, model: Any, data: Any) -> Array:
        """Boolean scalar: whether there are no data to fit."""


@dataclass(frozen=True)
class Likelihood:
    """sum_n weights[n] log p(x[n]), plus the log prior if there is one, nats.

    Attributes:
      mesh: with automatic axes, over which the rows are split, or None.
    """

    mesh: Mesh | None = None

    def __call__(self, noise: None, model: Model, data: Data) -> Array:
        """The objective."""
        if self.mesh is None:
            total = _log_prob(model, data.x, data.weights)
        else:
            axes = self.mesh.axis_names
            share = partial(_log_prob, axes=axes)
            total = devices.sum_over_rows(share, self.mesh)(model, data.x, data.weights)
        return total if data.prior is None else total + model.log_prior(data.prior)

    def draw(self, key: Array, start: object) -> None:
        """No noise."""

    def empty(self, model: object, data: Data) -> Array:
        """Whether all weights are zero or all values are masked, and there is no prior."""
        empty = jnp.zeros((), bool)
        if data.prior is not None:
            return empty
        if data.weights is not None:
            empty = jnp.all(jnp.asarray(data.weights) == 0)
        masked = holds_no_value(data.x)
        return empty if masked is None else empty | masked


def _log_prob(model: Model, x: Any, weights: Any, axes: tuple[str, ...] = ()) -> Array:
    if axes and jax.eval_shape(model.log_prob, x).ndim == 0:
        log_prob = model.split_log_prob(x, axes)
    else:
        log_prob = model.log_prob(x)
    return weighted_sum(match_weights(weights, log_prob.shape, log_prob.dtype), log_prob)


def loss(objective: Objective, vector: Array, start: Any, noise: Any, data: Any) -> Array:
    """The negated objective as a function of the free parameters.

    Args:
      objective: the function to be maximised.
      vector: (P,) of `to_vector`.
      start: the model that gives everything which is not in the vector.
      noise: of `objective.draw`, or None.
      data: passed on.
    Raises:
      ValueError: for an objective that is not scalar.
    """
    value = objective(noise, from_vector(vector, start), data)
    if jnp.shape(value) != ():
        raise ValueError(
            f"the objective must return a scalar, got shape {jnp.shape(value)}; sum its terms."
        )
    return -as_float(value)[0]


class AscentState(NamedTuple):
    """Gradient ascent between two windows.

    Attributes:
      start: the model that gives everything which no step changes.
      vector: (P,) the iterate, in unconstrained space.
      optimizer: the state of the optax transformation.
      step: integer scalar, steps taken.
      finite: whether all objectives and gradients were finite.
      kept: (P,) the best iterate; for a noisy objective the sum of the iterates of this window.
      value: scalar, the objective of the best iterate, nats.
      best: (P,) the result; for a noisy objective the mean iterate of the best window.
      objective: scalar, the objective of `best`, nats; for a noisy one the mean of that window.
      error: scalar, standard error of `objective`; 0 for an exact objective.
      stalled: whether the last window stopped the fit.
      empty: whether there are no data to fit.
    """

    start: Any
    vector: Array
    optimizer: Any
    step: Array
    finite: Array
    kept: Array
    value: Array
    best: Array
    objective: Array
    error: Array
    stalled: Array
    empty: Array


@pytree
class Ascent:
    """Gradient ascent with any optax optimiser, as an algorithm: see `fit.gradient`, which runs it.

    Attributes:
      tol: rise of the objective over a window at which to stop, as for `fit.gradient` or, with a
        random key, as for `fit.maximize_noisy`. Below zero only `max_steps` stops the fit.
      max_steps: maximum number of steps.
      optimizer: an optax transformation.
      window: steps per call of `step`.
      objective: what to maximise; the log probability of the data.
      noisy: whether the objective is random. Every step then needs a key.
      step_scale: factor of every update of the optimizer; with `optax.adam(1.0)` it is the learning rate. It
        may be traced, so that one program serves several rates: `fit.batch(..., hyperparameters=...)`.

    Examples:
      >>> from likelax import Poisson, fit
      >>> print(fit.run(fit.Ascent(), Poisson(1.0), jnp.array([2, 4])).model.rate.round(2))
      3.0
    """

    by_m_step: ClassVar[bool] = False

    tol: ArrayLike = 1e-7
    max_steps: ArrayLike = 2000
    optimizer: optax.GradientTransformation = static(default=ADAM)
    window: int = static(default=50)
    objective: Any = static(default=Likelihood())
    noisy: bool = static(default=False)
    step_scale: ArrayLike = 1.0

    @property
    def needs_key(self) -> bool:
        """Whether every step needs a random key."""
        return self.noisy

    def check(self, name: str) -> None:
        """Raise for options out of range.

        Args:
          name: the function that was called, for the message.
        Raises:
          TypeError: for a tol or max_steps that is not a number.
          ValueError: for an option out of range.
        """
        validation.check_options(name, self.tol, self.max_steps, fewest=1)
        check_number(f"{name}: step_scale", self.step_scale, lambda v: 0 < v < np.inf, "positive")
        fewest = 2 if self.noisy else 1
        if self.window < fewest:
            why = " to estimate the noise" * self.noisy
            raise ValueError(f"{name}: window must be at least {fewest}{why}; got {self.window}")

    def init(self, model: object, data: Any, key: Array | None = None) -> AscentState:
        """The state before the first step; of the key only the type is used."""
        vector, _ = to_vector(model)

        def value(vector: Array, key: Array | None) -> Array:
            noise = self.objective.draw(key, model) if self.noisy else None
            return loss(self.objective, vector, model, noise, data)

        dtype = jax.eval_shape(value, vector, key).dtype
        lowest, no = jnp.full((), -jnp.inf, dtype), jnp.zeros((), bool)
        return AscentState(
            start=jax.tree.map(jnp.asarray, model),
            vector=vector,
            optimizer=self.optimizer.init(vector),
            step=jnp.zeros((), int),
            finite=~no,
            kept=jnp.zeros_like(vector) if self.noisy else vector,
            value=lowest,
            best=vector,
            objective=lowest,
            error=jnp.zeros((), dtype),
            stalled=no,
            empty=self.objective.empty(model, data),
        )

    def step(
        self, state: AscentState, data: Any, key: Array | None = None
    ) -> tuple[AscentState, Array]:
        """One window of steps, and a test of the stopping rule."""
        shapes = None
        if self.noisy:
            shapes = jax.eval_shape(lambda k: self.objective.draw(k, state.start), key)
        block = _block_length(self.window, shapes)
        one_step = partial(self._one_step, state.start, self._running(state), data)

        def one_block(now: _Moving, block_key: Array | None) -> tuple[_Moving, Array]:
            noise = None
            if block_key is not None:
                keys = jax.random.split(block_key, block)
                noise = jax.vmap(lambda k: self.objective.draw(k, state.start))(keys)
            return jax.lax.scan(one_step, now, noise, length=block)

        num_blocks = self.window // block
        keys = None if key is None else jax.random.split(key, num_blocks)
        moving = _Moving(*(getattr(state, field) for field in _Moving._fields))
        after, values = jax.lax.scan(one_block, moving, keys, length=num_blocks)
        values = values.reshape(self.window)
        look = self._look_at_noise if self.noisy else self._look
        return look(state, after, values), values

    def done(self, state: AscentState) -> Array:
        """Whether the fit has ended."""
        return ~self._running(state) | (state.step >= self._limit(state))

    def result(self, state: AscentState, objectives: Array) -> Fit:
        """The `Fit` with the best model."""
        none = state.step == 0
        value = jnp.where(none, objectives[0], state.objective)
        ended = jnp.where(state.stalled, int(Status.CONVERGED), int(Status.MAX_STEPS))
        failed = jnp.where(none, int(Status.NON_FINITE), int(Status.COLLAPSED))
        status = jnp.where(state.finite, ended, failed)
        status = jnp.where(state.finite & state.empty, int(Status.NO_DATA), status).astype(int)
        trace = finish(objectives, state.step, value)
        return Fit(from_vector(state.best, state.start), trace, state.step, status)

    def _limit(self, state: AscentState) -> Array:
        return jnp.asarray(self.max_steps).astype(state.step.dtype)

    def _running(self, state: AscentState) -> Array:
        return state.finite & ~state.stalled

    def _one_step(
        self, start: Any, running: Array, data: Any, now: "_Moving", noise: Any
    ) -> tuple["_Moving", Array]:
        compute = partial(loss, self.objective)
        value, grad = jax.value_and_grad(compute)(now.vector, start, noise, data)
        value = -value
        running = running & now.finite & (now.step < jnp.asarray(self.max_steps, now.step.dtype))
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
        # optax relies on implicit promotion, which the caller may have forbidden
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = self.optimizer.update(grad, now.optimizer, now.vector)
            updates = jnp.asarray(self.step_scale).astype(now.vector.dtype) * updates
            moved = optax.apply_updates(now.vector, updates)
        taken = running & good
        if self.noisy:
            kept, best = jnp.where(taken, now.kept + now.vector, now.kept), now.value
        else:
            better = taken & (value > now.value)
            kept = jnp.where(better, now.vector, now.kept)
            best = jnp.where(better, value, now.value)
        # after a failure the iterates are not used again, so they need no guard
        count = jnp.where(taken, now.step + 1, now.step)
        finite = now.finite & (good | ~running)
        return _Moving(moved, optimizer, count, finite, kept, best), value

    def _look(self, before: AscentState, after: "_Moving", values: Array) -> AscentState:
        """Stop if the window raised the best objective too little."""
        tol = jnp.asarray(self.tol).astype(values.dtype)
        small = after.value - before.value <= tol * (1 + jnp.abs(after.value))
        stalled = before.stalled | ((tol >= 0) & small & ~self.done(before))
        state = before._replace(**after._asdict())
        return state._replace(best=after.kept, objective=after.value, stalled=stalled)

    def _look_at_noise(self, before: AscentState, after: "_Moving", values: Array) -> AscentState:
        """Stop if the window's mean exceeds that of the best one by too little for the noise."""
        tol = jnp.asarray(self.tol).astype(values.dtype)
        steps, window = after.step - before.step, values.shape[0]
        count = steps.astype(values.dtype)
        taken = jnp.arange(window) < steps
        mean = jnp.sum(jnp.where(taken, values, 0)) / count
        squares = jnp.sum(jnp.where(taken, (values - mean) ** 2, 0))
        error = jnp.sqrt(squares / (count - 1) / count)
        noise = jnp.sqrt(error**2 + before.error**2)
        first, complete = jnp.isneginf(before.objective), steps == window
        better = (first | complete) & (steps > 0) & (mean > before.objective)
        mean_iterate = after.kept / count.astype(after.kept.dtype)
        small = ~first & complete & (mean - before.objective <= tol * noise)
        state = before._replace(**after._asdict())
        return state._replace(
            kept=jnp.zeros_like(after.kept),
            best=jnp.where(better, mean_iterate, before.best),
            objective=jnp.where(better, mean, before.objective),
            error=jnp.where(better, error, before.error),
            stalled=before.stalled | ((tol >= 0) & small),
        )


class _Moving(NamedTuple):
    """The part of `AscentState` that changes at every step."""

    vector: Array
    optimizer: Any
    step: Array
    finite: Array
    kept: Array
    value: Array


def _block_length(window: int, noise: Any) -> int:
    """Steps in a block: a divisor of the window, and few enough to hold their noise."""
    size = sum(leaf.size for leaf in jax.tree.leaves(noise))
    most = min(BLOCK, max(1, NOISE_AT_ONCE // max(1, size)))
    longest = max(d for d in range(1, most + 1) if window % d == 0)
    # a window without good divisors runs as one block
    return window if longest < most / 8 and window * size <= NOISE_AT_ONCE else longest
