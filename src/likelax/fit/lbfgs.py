"""Maximise a smooth exact objective by L-BFGS: tens of steps where ascent takes thousands."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from likelax.fit import validation
from likelax.fit._gradient import Exact
from likelax.fit.algorithm import Progress, drive, finish
from likelax.fit.ascent import Likelihood, loss
from likelax.fit.result import Fit, Status, T
from likelax.model import pytree, static
from likelax.numerics.checks import as_tree, checked
from likelax.parameters import from_vector, to_vector

# Steps in a row that must fail to raise the objective before the fit has converged.
IDLE = 3


class LBFGSState(NamedTuple):
    """A fit by L-BFGS between two steps.

    Attributes:
      start: the model that gives everything which no step changes.
      vector: (P,) the best iterate, in unconstrained space.
      optimizer: the state of optax's L-BFGS.
      objective: scalar, that of `vector`, nats.
      step: integer scalar, steps taken.
      finite: whether all objectives and gradients were finite.
      idle: integer scalar, steps in a row that raised the objective too little.
      empty: whether there are no data to fit.
    """

    start: Any
    vector: Array
    optimizer: Any
    objective: Array
    step: Array
    finite: Array
    idle: Array
    empty: Array


@pytree
class LBFGS:
    """L-BFGS with a line search, as an algorithm: see `fit.maximize_lbfgs`, which runs it.

    Attributes:
      tol: the fit has converged after three steps in a row that raised the objective by at most
        tol * (1 + |objective|); None: four roundings of the float type. Below zero only
        `max_steps` stops the fit.
      max_steps: maximum number of steps.
      memory: number of gradient pairs that approximate the curvature.
      objective: what to maximise; the log probability of the data.

    Source: Nocedal and Wright (2006), Numerical Optimization, 7.2.

    Examples:
      >>> from likelax import Poisson, fit
      >>> print(f"{fit.run(fit.LBFGS(), Poisson(1.0), jnp.array([2, 4])).model.rate:.3f}")
      3.000
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False

    tol: ArrayLike | None = None
    max_steps: ArrayLike = 500
    memory: int = static(default=10)
    objective: Any = static(default=Likelihood())

    def check(self, name: str) -> None:
        """Raise for options out of range.

        Args:
          name: the function that was called, for the message.
        Raises:
          TypeError: for a tol or max_steps that is not a number.
          ValueError: for an option out of range.
        """
        validation.check_options(name, self.tol, self.max_steps, fewest=1)
        if self.memory < 1:
            raise ValueError(f"{name}: memory must be 1 or more; got {self.memory}")

    def init(self, model: object, data: Any, key: Array | None = None) -> LBFGSState:
        """The state before the first step."""
        vector, _ = to_vector(model)
        dtype = jax.eval_shape(partial(loss, self.objective), vector, model, None, data).dtype
        return LBFGSState(
            start=jax.tree.map(jnp.asarray, model),
            vector=vector,
            optimizer=optax.lbfgs(memory_size=self.memory).init(vector),
            objective=jnp.full((), jnp.nan, dtype),
            step=jnp.zeros((), int),
            finite=jnp.ones((), bool),
            idle=jnp.zeros((), int),
            empty=self.objective.empty(model, data),
        )

    def step(
        self, state: LBFGSState, data: Any, key: Array | None = None
    ) -> tuple[LBFGSState, Array]:
        """One line search along the quasi-Newton direction."""

        def value_of(vector: Array) -> Array:
            return loss(self.objective, vector, state.start, None, data)

        optimizer = optax.lbfgs(memory_size=self.memory)
        # optax relies on implicit promotion, which the caller may have forbidden
        with jax.numpy_dtype_promotion("standard"):
            value, grad = optax.value_and_grad_from_state(value_of)(
                state.vector, state=state.optimizer
            )
            updates, after = optimizer.update(
                grad, state.optimizer, state.vector, value=value, grad=grad, value_fn=value_of
            )
            moved = optax.apply_updates(state.vector, updates)
            reached = -optax.tree_utils.tree_get(after, "value")
        before = jnp.where(state.step == 0, -value, state.objective)
        running = ~self.done(state)
        finite = jnp.isfinite(before) & jnp.isfinite(reached) & jnp.all(jnp.isfinite(grad))
        better = running & finite & (reached >= before)
        limit = self._tolerance(before.dtype)
        small = (limit >= 0) & (reached - before <= limit * (1 + jnp.abs(before)))
        idle = jnp.where(small, state.idle + 1, 0)
        return LBFGSState(
            start=state.start,
            vector=jnp.where(better, moved, state.vector),
            optimizer=after,
            objective=jnp.where(better, reached, before),
            step=jnp.where(running & finite, state.step + 1, state.step),
            finite=state.finite & (finite | ~running),
            idle=jnp.where(running, idle, state.idle),
            empty=state.empty,
        ), before[None]

    def done(self, state: LBFGSState) -> Array:
        """Whether the fit has ended."""
        limit = jnp.asarray(self.max_steps).astype(state.step.dtype)
        return ~state.finite | (state.idle >= IDLE) | (state.step >= limit)

    def result(self, state: LBFGSState, objectives: Array) -> Fit:
        """The `Fit` with the best model."""
        ended = jnp.where(state.idle >= IDLE, int(Status.CONVERGED), int(Status.MAX_STEPS))
        failed = jnp.where(state.step == 0, int(Status.NON_FINITE), int(Status.COLLAPSED))
        status = jnp.where(state.finite, ended, failed)
        status = jnp.where(state.finite & state.empty, int(Status.NO_DATA), status).astype(int)
        trace = finish(objectives, state.step, state.objective)
        return Fit(from_vector(state.vector, state.start), trace, state.step, status)

    def _tolerance(self, dtype: Any) -> Array:
        if self.tol is None:
            return jnp.asarray(4 * jnp.finfo(dtype).eps, dtype)
        return jnp.asarray(self.tol).astype(dtype)


@checked(tol=None, max_steps=None, memory=None)
def maximize_lbfgs(
    objective: Callable[[Any], Array],
    start: T,
    *,
    max_steps: int = 500,
    tol: float | None = None,
    memory: int = 10,
    progress: Progress | None = None,
) -> Fit[T]:
    """Maximise an exact, smooth objective in unconstrained space by L-BFGS.

    Args:
      objective: model -> scalar, to be raised; no noise, or the line search fails.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
      max_steps: at least 1.
      tol: stop when three steps in a row raised the objective by at most
        tol * (1 + |objective|); None: four roundings of the float type. Below zero only `max_steps`
        stops the fit.
      memory: number of gradient pairs that approximate the curvature.
      progress: called on the host after every step with its number and the objective in nats.
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
    algorithm = LBFGS(tol, max_steps, memory, Exact(objective))
    algorithm.check("fit.maximize_lbfgs")
    start = as_tree("start", start)
    return drive(algorithm, start, None, progress=progress)
