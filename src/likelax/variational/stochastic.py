"""Stochastic gradient ascent that lowers its step size, for bounds known by draws or minibatches.

A stage runs at one step size until neither the objective nor the iterates drift; the next stage
starts from the mean iterate with a quarter of the step size. The noise of the iterates lowers the
bound in proportion to the step size, so the gain from one stage to the next says how far the last
one is from the optimum.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from likelax.fit.algorithm import finish
from likelax.fit.ascent import Ascent, AscentState
from likelax.fit.result import Fit, Status
from likelax.model import pytree, static
from likelax.numerics import any_in_batch
from likelax.parameters import from_vector
from likelax.variational.leaves import select

# Windows in each half of a stage; the means of the halves are compared.
HALF = 4
LOWER = 0.25
# Largest mean squared t statistic, over the parameters, of the difference between the halves. It is
# about 1.5 for iterates without drift.
DRIFT = 4.0


class StagedState(NamedTuple):
    """A staged fit between two windows.

    Attributes:
      inner: the ascent.
      factor: scalar, multiplies the updates of the optimizer.
      iterates: (2 HALF, P) mean iterates of the last windows of this stage.
      means: (2 HALF,) their mean objectives, nats.
      num_windows: integer scalar, how many of these entries are filled.
      best: (P,) mean iterate of the best stage.
      terms: (C,) terms of the bound at `best`, nats.
      seed: data of the key of these terms; all stages are compared on the same draws.
      objective: scalar, mean of `terms`, nats; -inf before a stage is over.
      gap: scalar, estimated nats below the optimum of the family; inf until two stages are over.
      converged: whether the gap is below the tolerance.
      step: integer scalar.
    """

    inner: AscentState
    factor: Array
    iterates: Array
    means: Array
    num_windows: Array
    best: Array
    terms: Array
    seed: Array
    objective: Array
    gap: Array
    converged: Array
    step: Array


@pytree
class StagedAscent:
    """Stochastic ascent in stages of falling step size, as an algorithm: see `fit_guide`.

    Attributes:
      tol: nats; the fit has converged when the estimated gap to the optimum is below it. Below
        zero only `max_steps` stops the fit, at one step size.
      max_steps: maximum number of steps.
      optimizer: an optax transformation; its updates are multiplied by 1, 1/4, 1/16, ...
      window: steps between two looks.
      objective: of (noise, model), as for `fit.maximize_noisy`.
      judge: (key, model) -> (C,) terms whose mean is the exact objective, for comparing stages.

    Source: Dhaka et al. (2020), Robust, accurate stochastic optimization for variational
      inference; Welandawe, Andersen, Vehtari and Huggins (2022), A framework for improving the
      reliability of black-box variational inference.
    """

    by_m_step: ClassVar[bool] = False
    needs_key: ClassVar[bool] = True

    tol: ArrayLike = 0.05
    max_steps: ArrayLike = 20_000
    optimizer: optax.GradientTransformation = static(default=optax.adam(0.05))
    window: int = static(default=100)
    objective: Any = static(default=None)
    judge: Any = static(default=None)

    def check(self, name: str) -> None:
        """Raise for options out of range."""
        self._ascent(jnp.ones(())).check(name)

    def init(self, model: Any, data: Any, key: Any = None) -> StagedState:
        """The state before the first step; of the key only the type is used."""
        inner = self._ascent(jnp.ones(())).init(model, data, key)
        lowest, number = inner.objective, inner.vector.shape[0]
        return StagedState(
            inner=inner,
            factor=jnp.ones((), inner.vector.dtype),
            iterates=jnp.zeros((2 * HALF, number), inner.vector.dtype),
            means=jnp.zeros(2 * HALF, lowest.dtype),
            num_windows=jnp.zeros((), int),
            best=inner.vector,
            terms=jnp.zeros_like(jax.eval_shape(self.judge, key, model)),
            seed=jnp.zeros_like(jax.random.key_data(key)),
            objective=lowest,
            gap=jnp.full_like(lowest, jnp.inf),
            converged=jnp.zeros((), bool),
            step=inner.step,
        )

    def step(self, state: StagedState, data: Any, key: Any = None) -> tuple[StagedState, Array]:
        """One window of steps, and at the end of a stage a smaller step size."""
        # the ascent forgets its best window, so that its result is the mean iterate of this one
        forgetful = state.inner._replace(objective=jnp.full_like(state.objective, -jnp.inf))
        key, key_terms = jax.random.split(key)
        inner, values = self._ascent(state.factor).step(forgetful, data, key)
        first = state.step == 0
        seed = jnp.where(first, jax.random.key_data(key_terms), state.seed)
        state = state._replace(seed=seed)
        whole = inner.finite & (inner.step - state.step == self.window)
        inner = inner._replace(best=jnp.where(whole, inner.best, state.inner.best))
        filled = _filled(state, inner.best, jnp.mean(values), whole)
        tol = jnp.asarray(self.tol).astype(values.dtype)
        full = filled.num_windows == 2 * HALF
        over = full & _is_still(filled.iterates, filled.means) & (tol >= 0)
        impl = jax.random.key_impl(key_terms)
        # members of a batch share the condition, so that most windows skip the judge
        after = jax.lax.cond(
            any_in_batch(over),
            lambda: select(over, self._next_stage(filled, impl), filled),
            lambda: filled,
        )
        after = select(full & ~over, _shifted(filled), after)
        start = jnp.mean(filled.iterates, axis=0)
        inner = inner._replace(vector=jnp.where(over, start, inner.vector))
        after = after._replace(inner=inner, step=inner.step)
        return select(self.done(state), state, after), values

    def done(self, state: StagedState) -> Array:
        """Whether the fit has ended."""
        limit = jnp.asarray(self.max_steps).astype(state.step.dtype)
        return ~state.inner.finite | state.converged | (state.step >= limit)

    def result(self, state: StagedState, objectives: Array) -> Fit:
        """The `Fit` with the mean iterate of the best stage, or of the windows of the first."""
        some = state.num_windows > 0
        filled = jnp.arange(2 * HALF) < state.num_windows
        recent = jnp.mean(state.means, where=filled)
        mean = jnp.mean(state.iterates, axis=0, where=filled[:, None])
        known = ~jnp.isneginf(state.objective)
        last = jnp.where(some, mean, state.inner.best)
        vector = jnp.where(known, state.best, last)
        value = jnp.where(some, recent, objectives[0])
        value = jnp.where(known, state.objective, value)
        ended = jnp.where(state.converged, int(Status.CONVERGED), int(Status.MAX_STEPS))
        failed = jnp.where(state.step == 0, int(Status.NON_FINITE), int(Status.COLLAPSED))
        status = jnp.where(state.inner.finite, ended, failed).astype(int)
        model = from_vector(vector, state.inner.start)
        trace = finish(objectives, state.step, value)
        return Fit(
            (model, state.gap, state.step, None, jnp.zeros((), bool)), trace, state.step, status
        )

    def _next_stage(self, state: StagedState, impl: Any) -> StagedState:
        """The state after a stage: what the stage gained, and a smaller step size."""
        mean = jnp.mean(state.iterates, axis=0)
        key = jax.random.wrap_key_data(state.seed, impl=impl)
        terms = self.judge(key, from_vector(mean, state.inner.start))
        gains = terms - state.terms
        gain = jnp.mean(gains)
        error = jnp.std(gains, ddof=1) / gains.shape[0] ** 0.5
        # the losses of the stages that could follow fall with the step size
        later = jnp.maximum(gain, 0) * LOWER / (1 - LOWER) + 2 * error
        first = jnp.isneginf(state.objective)
        gap = jnp.where(first, jnp.inf, later)
        better = first | (gain > 0)
        return state._replace(
            factor=LOWER * state.factor,
            num_windows=jnp.zeros_like(state.num_windows),
            best=jnp.where(better, mean, state.best),
            terms=jnp.where(better, terms, state.terms),
            objective=jnp.where(better, jnp.mean(terms), state.objective),
            gap=gap,
            converged=gap <= jnp.asarray(self.tol).astype(gap.dtype),
        )

    def _ascent(self, factor: Array) -> Ascent:
        options = self.optimizer, self.window, self.objective, True
        return Ascent(-1.0, self.max_steps, *options, step_scale=factor)


def _filled(state: StagedState, iterate: Array, mean: Array, whole: Array) -> StagedState:
    """With one more window, if all its steps were taken."""
    at = (jnp.arange(2 * HALF) == state.num_windows) & whole
    return state._replace(
        iterates=jnp.where(at[:, None], iterate[None], state.iterates),
        means=jnp.where(at, mean, state.means),
        num_windows=jnp.where(whole, state.num_windows + 1, state.num_windows),
    )


def _shifted(state: StagedState) -> StagedState:
    """The second half of the stage becomes the first."""
    return state._replace(
        iterates=jnp.roll(state.iterates, -HALF, axis=0),
        means=jnp.roll(state.means, -HALF),
        num_windows=jnp.full_like(state.num_windows, HALF),
    )


def _is_still(iterates: Array, means: Array) -> Array:
    """Whether iterates do not drift and the objective does not rise, from half to half."""
    squares, _ = _compare(iterates)
    square, rise = _compare(means[:, None])
    return (jnp.mean(squares) <= DRIFT) & ((rise[0] <= 0) | (square[0] <= DRIFT))


def _compare(values: Array) -> tuple[Array, Array]:
    """(squared t statistic, difference) of the halves of each column of (2 HALF, P)."""
    early, late = values[:HALF], values[HALF:]
    difference = jnp.mean(late, axis=0) - jnp.mean(early, axis=0)
    spread = (jnp.var(early, axis=0, ddof=1) + jnp.var(late, axis=0, ddof=1)) / HALF
    same = spread <= (4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axis=0)) ** 2
    return jnp.where(same, 0, difference**2 / jnp.where(same, 1, spread)), difference
