"""Expectation maximisation for any model with `e_step` and `m_step`, plain and accelerated."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from likelax.constraints import is_floating
from likelax.data import DataLike, holds_no_value
from likelax.families.base import match_weights
from likelax.fit import validation
from likelax.fit.acceleration import extrapolate
from likelax.fit.algorithm import RUNNING, Data, Progress, drive, finish
from likelax.fit.placement import place
from likelax.fit.result import Fit, M, Status
from likelax.model import Density, Model, PriorLike, S, pytree, static
from likelax.numerics import chunks, devices
from likelax.numerics.checks import checked
from likelax.parameters import held_leaves, hold, raise_scales


class EMState(NamedTuple):
    """A fit by EM between two steps.

    Attributes:
      model: the best model so far.
      pending: the model that the next step evaluates.
      objective: scalar, that of `model`, nats.
      step: integer scalar, M steps taken; -1 before the start was evaluated.
      status: integer scalar, a `Status`, or `algorithm.RUNNING`.
      size: scalar, the total weight of the data.
    """

    model: Model
    pending: Model
    objective: Array
    step: Array
    status: Array
    size: Array


@pytree
class EM:
    """Expectation maximisation, as an algorithm: see `fit.em`, which runs it.

    Attributes:
      tol: relative rise of the objective at which to stop; None: just above rounding error. Below
        zero only `max_steps` stops the fit.
      max_steps: maximum number of M steps.
      chunk_size: rows of the data per E step, or None for all at once.
      scale_floor: the smallest scale that an M step may give, or None: see `fit.em`.
      mesh: with automatic axes; the devices over which the rows are split, or None. `fit.em` places
        the data on them.

    Source: Dempster, Laird & Rubin (1977), JRSS B 39, 1-38.

    Examples:
      >>> from likelax import Poisson, fit
      >>> print(fit.run(fit.EM(tol=1e-6), Poisson(1.0), jnp.array([2, 4])).model.rate)
      3.0
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = True
    needs_key: ClassVar[bool] = False

    tol: ArrayLike | None = None
    max_steps: ArrayLike = 1000
    chunk_size: int | None = static(default=None)
    scale_floor: ArrayLike | None = None
    mesh: Mesh | None = static(default=None)

    def check(self, name: str) -> None:
        """Raise for options out of range.

        Args:
          name: the function that was called, for the message.
        Raises:
          TypeError: for a tol or max_steps that is not a number.
          ValueError: for one out of range.
        """
        validation.check_options(name, self.tol, self.max_steps, fewest=0)
        validation.check_scale_floor(name, self.scale_floor)

    def init(self, model: Model, data: Data, key: Array | None = None) -> EMState:
        """The state before the start is evaluated."""
        model, dtype = _settle(model, lambda m: self.update(m, data))
        model = hold(raise_scales(model, self.scale_floor), model)
        size, status = total_weight(model, data), jnp.full((), RUNNING, int)
        if data.prior is None:
            status = _choose(size == 0, Status.NO_DATA, status)
        broken = holds_nan(model)
        status = _choose(broken, Status.NON_FINITE, status)
        objective = jax.lax.select(broken, *np.asarray([np.nan, 0.0], dtype))
        return EMState(model, model, objective, jnp.full_like(status, -1), status, size)

    def update(self, model: M, data: Data) -> tuple[M, Array]:
        """One E step and one M step: (the new model, the objective of the given one).

        `step` calls it; see the example of the class.
        """
        x, weights, prior = data
        stats, objective = e_step(model, x, weights, self.chunk_size, self.mesh)
        if prior is not None:
            objective = objective + model.log_prior(prior)
        new = raise_scales(model.m_step(stats, prior), self.scale_floor)
        return hold(new, model), objective

    def judge(
        self, state: EMState, objective: Array, guess: Array | None = None
    ) -> tuple[EMState, Array]:
        """Compare the pending model, whose objective is given, with the best one.

        `step` calls it; see the example of the class.

        Args:
          state: with the pending model that was evaluated.
          objective: scalar, nats.
          guess: True for a model that was not made by an M step, which may be worse than the best
            one without ending the fit; None for an M step.
        Returns:
          (The state after the comparison, with `pending` as before; whether the pending model is
          the best one now.)
        """
        start, finite = state.step < 0, jnp.isfinite(objective)
        running = state.status == RUNNING
        before = jax.lax.select(start, objective, state.objective)
        tol = jnp.asarray(_tolerance(self.tol, objective.dtype), objective.dtype)
        rise, reach = objective - before, jnp.maximum(jnp.abs(before), state.size)
        better = start | (finite & (rise >= 0))
        # a fall within the rounding error of the sum does not count
        slack = jnp.maximum(tol, 0) + 64 * jnp.finfo(objective.dtype).eps
        small, fell = (tol >= 0) & (rise <= tol * reach) & ~start, rise < -slack * reach
        if guess is not None:
            small, fell, finite = small & ~guess, fell & ~guess, finite | guess
        count = state.step + 1
        spent = count >= jnp.asarray(self.max_steps, count.dtype)
        status = _choose(running & spent, Status.MAX_STEPS, state.status)
        status = _choose(running & small, Status.CONVERGED, status)
        status = _choose(running & fell, Status.DECREASED, status)
        status = _choose(running & ~finite, Status.COLLAPSED, status)
        status = _choose(running & ~finite & start, Status.NON_FINITE, status)
        model = _where(running & better, state.pending, state.model)
        objective = jax.lax.select(running & better, objective, state.objective)
        count = jax.lax.select(running, count, state.step)
        return EMState(model, state.pending, objective, count, status, state.size), better

    def step(self, state: EMState, data: Data, key: Array | None = None) -> tuple[EMState, Array]:
        """Evaluate the pending model, and take one M step from it."""
        # one E step and one M step per call, so that each is compiled once
        new, objective = self.update(state.pending, data)
        state, _ = self.judge(state, objective)
        return state._replace(pending=new), state.objective[None]

    def done(self, state: EMState) -> Array:
        """Whether the fit has ended."""
        return state.status != RUNNING

    def result(self, state: EMState, objectives: Array) -> Fit:
        """The `Fit` with the best model."""
        steps = jnp.maximum(state.step, 0)
        trace = finish(objectives, steps, state.objective)
        return Fit(state.model, trace, steps, state.status)


# Roles of a pending model: an EM step of the best one; the same, with known parent; a guess.
_PLAIN, _PAIRED, _GUESS = range(3)


class SQUAREMState(NamedTuple):
    """A fit by SQUAREM between two steps.

    Attributes:
      em: the state of the EM algorithm inside.
      role: integer scalar, how `em.pending` was made.
      parent: the model of which `em.pending` is an EM step.
      fallback: an EM step of the best model, used if a guess is no better than that.
      cap: scalar, the largest step length of the next guess.
    """

    em: EMState
    role: Array
    parent: Model
    fallback: Model
    cap: Array

    @property
    def step(self) -> Array:
        """Steps taken."""
        return self.em.step

    @property
    def objective(self) -> Array:
        """That of the best model so far, nats."""
        return self.em.objective


@pytree
class SQUAREM:
    """EM with extrapolation, as an algorithm: see `fit.squarem`, which runs it.

    Attributes:
      em: the algorithm whose steps are extrapolated.

    Source: Varadhan & Roland (2008), Scandinavian Journal of Statistics 35, 335-353.

    Examples:
      >>> from likelax import Poisson, fit
      >>> print(fit.run(fit.SQUAREM(fit.EM(max_steps=50)), Poisson(1.0), jnp.array([2, 4])).model)
      Poisson(rate=Array(3., dtype=float32))
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = True
    needs_key: ClassVar[bool] = False

    em: EM = EM()

    @property
    def max_steps(self) -> ArrayLike:
        """Maximum number of steps; a guess counts as one."""
        return self.em.max_steps

    def check(self, name: str) -> None:
        """Raise for options out of range.

        Args:
          name: the function that was called, for the message.
        Raises:
          TypeError: for a tol or max_steps that is not a number.
          ValueError: for one out of range.
        """
        self.em.check(name)

    def init(self, model: Model, data: Data, key: Array | None = None) -> SQUAREMState:
        """The state before the start is evaluated."""
        inner = self.em.init(model, data)
        cap = jnp.full((), 4.0, inner.objective.dtype)
        return SQUAREMState(inner, jnp.full((), _PLAIN), inner.model, inner.model, cap)

    def step(
        self, state: SQUAREMState, data: Data, key: Array | None = None
    ) -> tuple[SQUAREMState, Array]:
        """Evaluate the pending model, and take one M step from it or extrapolate."""
        new, objective = self.em.update(state.em.pending, data)
        guessed = state.role == _GUESS
        inner, better = self.em.judge(state.em, objective, guessed)
        ripe, missed = (state.role == _PAIRED) & better, guessed & ~better
        # longer steps after a guess that helped, shorter ones after a guess that did not
        changed = jnp.where(better, state.cap * 4, jnp.maximum(state.cap / 4, 2))
        cap = jnp.where(guessed, changed, state.cap)
        guess = extrapolate(state.parent, state.em.pending, new, cap)
        pending = _where(missed, state.fallback, _where(ripe, guess, new))
        role = jnp.where(ripe, _GUESS, jnp.where(missed, _PLAIN, _PAIRED))
        inner = inner._replace(pending=pending)
        return SQUAREMState(inner, role, state.em.pending, new, cap), inner.objective[None]

    def done(self, state: SQUAREMState) -> Array:
        """Whether the fit has ended."""
        return self.em.done(state.em)

    def result(self, state: SQUAREMState, objectives: Array) -> Fit:
        """The `Fit` with the best model."""
        return self.em.result(state.em, objectives)


@checked(tol=None, max_steps=None, chunk_size=None, model=None, weights=None)
def em(
    model: M,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    scale_floor: ArrayLike | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Fit[M]:
    """Fit a model by expectation maximisation, on the device from first step to last.

    Alternates `e_step` and `m_step` until the objective, sum_n weights[n] log p(x[n]) plus the
    log prior, rises by no more than tol * max(|objective|, sum of weights). It is compiled once per
    type and shape, and `jax.vmap` maps it over starts and over data sets.

    Args:
      model: where to start. Its structure is kept; its parameters are replaced.
      x: data with leading axes, plain or wrapped in `Masked`, `Labelled` or `Sequences`.
      weights: one non-negative weight per observation, or None for ones.
      prior: the model's conjugate prior, for maximum a posteriori, or None.
      tol: relative rise of the objective at which to stop. None: 1e-10 in float64 and 1e-7 in
        float32, just above rounding error: with overlapping clusters the objective rises that
        slowly for many steps. Below zero only `max_steps` stops the fit. It may be traced.
      max_steps: maximum number of M steps; 0 evaluates the start. If it is traced, `objectives`
        has 1001 entries, whatever its value.
      chunk_size: rows of x per E step along the first axis, which bounds memory; the statistics
        of the chunks are added. None: all at once, or as the model decides.
      scale_floor: positive; no component ends with a standard deviation below it in any direction,
        so that none collapses onto a point. It holds for every `scale` and `scale_tril` that
        components can share (`Tied`), in units of the data. The M step is then the exact maximum
        over such models: the variance, or each eigenvalue of the covariance, is raised to
        scale_floor^2. None: no floor.
      mesh: devices over which to split the rows of x, those of all its axes, such as
        `jax.make_mesh((8,), ("rows",))`. Each device takes the E step of its rows; only statistics
        and parameters are sent. Of one sequence of a hidden Markov model the steps are split, and each
        device sends one matrix (K, K) more. None: the mesh over which x is split already, if it is.
      progress: called on the host after every step with its number, from 0, and the objective
        in nats, such as `lambda step, nats: print(int(step), nats)`.
    Returns:
      `Fit`. NaN is never reported as convergence, and the model is never worse than the start.
      Parameters that the model holds (`Fixed`, a total count) stay bit-equal. Without a prior, a
      data set whose weights are all zero or whose values are all masked has the status NO_DATA.
    Raises:
      ValueError: for empty data, NaN that was not declared missing, negative weights, labels
        out of range, shapes that do not fit, or a mesh for data without rows that is not one sequence of
        an `HMM` with a fixed transition.
    Source: Dempster, Laird & Rubin (1977), JRSS B 39, 1-38.

    Examples:
      >>> from likelax.families import Normal
      >>> from likelax.mixture import Mixture
      >>> x = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])
      >>> start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
      >>> print(em(start, x).model.components.loc)
      [-2.  2.]
    """
    algorithm = EM(tol, max_steps, chunk_size, scale_floor)
    return _run("fit.em", algorithm, lambda em: em, model, Data(x, weights, prior), mesh, progress)


@checked(tol=None, max_steps=None, chunk_size=None, model=None, weights=None)
def squarem(
    model: M,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    scale_floor: ArrayLike | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Fit[M]:
    """`em` with extrapolation along the path of two EM steps.

    For slow fits, such as those of overlapping clusters. An extrapolated model that does not raise
    the objective is dropped, so the objective never falls, as with `em`.

    Args:
      model, x, weights, prior, tol, chunk_size, scale_floor, mesh, progress: as for `em`.
      max_steps: maximum number of steps. Each is one E step and one M step, also for a model that
        is dropped, so a step costs the same as one of `em`.
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
    algorithm = EM(tol, max_steps, chunk_size, scale_floor)
    return _run("fit.squarem", algorithm, SQUAREM, model, Data(x, weights, prior), mesh, progress)


def _run(
    name: str,
    em: EM,
    algorithm: Callable[[EM], EM | SQUAREM],
    model: M,
    data: Data,
    mesh: Mesh | None,
    progress: Progress | None,
) -> Fit[M]:
    """Run an algorithm made of an `EM`, on the devices of a mesh if there is one."""
    em.check(name)
    model, data, mesh = place(name, model, data, mesh)
    em = dataclasses.replace(em, mesh=mesh)
    with devices.using(mesh):
        return devices.fetched(drive(algorithm(em), model, data, progress=progress), mesh)


@checked(model=None, weights=None)
def mle(
    model: M,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    mesh: Mesh | None = None,
) -> M:
    """One E step and one M step: the maximum likelihood (or posterior mode) in closed form.

    For families, products, and models whose latent variables were observed, such as a naive Bayes
    classifier given `Labelled` data.

    Args:
      model: gives the structure; its parameters are used only where there are no data, or for the
        posterior of unobserved latent variables.
      x, weights, prior, mesh: as for `em`.
    Returns:
      The fitted model. Parameters for which there are no data stay as they are.
    Raises:
      ValueError: as for `em`.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 2.4.1.

    Examples:
      >>> from likelax.families import Poisson
      >>> print(mle(Poisson(1.0), jnp.array([2, 4])).rate)
      3.0
    """
    model, data, mesh = place("fit.mle", model, Data(x, weights, prior), mesh)
    with devices.using(mesh):
        return devices.fetched(_mle(model, data, mesh), mesh)


@partial(jax.jit, static_argnames="mesh")
def _mle(model: M, data: Data, mesh: Mesh | None) -> M:
    x, weights, prior = data
    # evaluate both as `fit.em` does, so that the same shapes and priors raise
    jax.eval_shape(model.log_prob, x)
    if prior is not None:
        jax.eval_shape(model.log_prior, prior)
    stats, _ = e_step(model, x, weights, mesh=mesh)
    return hold(model.m_step(stats, prior), model)


def e_step(
    model: Model[S, Any],
    x: DataLike,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[S, Array]:
    """`model.e_step` in chunks along the first axis of x, with their statistics added.

    Args:
      model, x, weights: as for the model's own `e_step`.
      chunk_size: rows at a time; None or anything not below the number of rows is all at once.
      mesh: with automatic axes, over which the rows are split, or None.
    Returns:
      (statistics, scalar log probability).
    Raises:
      ValueError: where x has no leading axis to cut.
    """
    if mesh is not None:
        axes = mesh.axis_names

        def on_each(model: Model[S, Any], x: DataLike, weights: Any) -> tuple[S, Array]:
            if chunk_size is None and jax.eval_shape(model.log_prob, x).ndim == 0:
                return model.split_e_step(x, weights, axes)
            return e_step(model, x, weights, chunk_size)

        return devices.over_rows(on_each, mesh)(model, x, weights)
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


def default_tolerance(dtype: Any) -> float:
    """Default relative tolerance: just above rounding error."""
    return 1e-10 if jnp.finfo(dtype).eps < 1e-10 else 1e-7


def _tolerance(tol: ArrayLike | None, dtype: Any) -> ArrayLike:
    return default_tolerance(dtype) if tol is None else tol


def _choose(condition: Array, status: Status, other: Array) -> Array:
    return jax.lax.select(condition, np.asarray(int(status), other.dtype), other)


def _where(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def holds_nan(model: object) -> Array:
    """Whether a floating-point leaf holds NaN: a boolean scalar."""
    found = jnp.zeros((), bool)
    for leaf in jax.tree.leaves(model):
        if is_floating(leaf):
            found = found | jnp.any(jnp.isnan(leaf))
    return found


def _settle(model: M, update: Callable[[M], tuple[M, Array]]) -> tuple[M, Any]:
    """The model with leaves of the dtype and shape that an update returns, and the objective's dtype.

    Python numbers and integers become floats, so that the types in the loop do not change. The
    values of leaves that no fit changes stay as they are.
    """
    leaves, structure = jax.tree.flatten(model)
    new, objective = jax.eval_shape(update, model)

    def match(leaf: Any, want: jax.ShapeDtypeStruct, held: bool) -> Array:
        if held:
            return jnp.asarray(leaf, jnp.result_type(leaf))
        return jnp.broadcast_to(jnp.asarray(leaf, want.dtype), want.shape)

    each = zip(leaves, jax.tree.leaves(new), held_leaves(model), strict=True)
    return jax.tree.unflatten(structure, [match(*three) for three in each]), objective.dtype


def total_weight(model: Density, data: Data) -> Array:
    """Sum of the weights of the observations; 0 if all values are masked."""
    shape = jax.eval_shape(model.log_prob, data.x)
    total = jnp.sum(match_weights(data.weights, shape.shape, shape.dtype))
    empty = holds_no_value(data.x)
    return total if empty is None else jnp.where(empty, 0, total)
