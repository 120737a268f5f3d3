"""EM with the stopping rule of scikit-learn's mixtures."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.fit import Fit, Status
from likelax.fit.algorithm import RUNNING, Data, finish
from likelax.mixture import MixtureStats
from likelax.model import pytree, static
from likelax.statistics import CategoryCounts, Moments


class Start(NamedTuple):
    """Where a fit begins: a model, or statistics of which the first M step makes one.

    Attributes:
      model: with statistics, its values hold for components without rows.
      stats: `MixtureStats` of the rows, without the ridge.
    """

    model: Any
    stats: MixtureStats


class RowState(NamedTuple):
    """A fit between two steps.

    Attributes:
      model: after the last M step.
      stats: of the rows under that model, or of the start.
      total: scalar, what the bound of the next step needs of this model: its log likelihood, or, if
        there is a prior, the entropy of the responsibilities, nats.
      objective: scalar, the bound of the last step.
      step: integer scalar, steps taken; -1 before the start was evaluated.
      status: integer scalar, a `Status`, or `algorithm.RUNNING`.
    """

    model: Any
    stats: MixtureStats
    total: Array
    objective: Array
    step: Array
    status: Array


@pytree
class RowEM:
    """EM that stops when the bound changes by less than `tol`, and returns the model after that step.

    `fit.EM` stops by a relative rise of the total, and returns the model that has the objective. The
    bound is the mean log likelihood of a row before the M step, or, if there is a prior, the evidence
    lower bound after it. One call of `step` is an M step and the E step after it. So a program has each
    of them once, the M step that makes the start from its statistics included.

    Attributes:
      tol: smallest change of the bound.
      max_steps: most steps.
      ridge: added to every variance in every M step: `reg_covar`.
      previous: the bound before the first step; -inf for a new fit.
      shared: average the spread of the posteriors of all components, as for "tied" covariances.
      given: begin with the model of the `Start`, and do not use its statistics.
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = True
    needs_key: ClassVar[bool] = False

    tol: ArrayLike
    max_steps: ArrayLike
    ridge: ArrayLike
    previous: ArrayLike
    shared: bool = static(default=False)
    given: bool = static(default=False)

    def check(self, name: str) -> None:
        """Nothing: the estimators check their arguments."""

    def init(self, model: Any, data: Data, key: Array | None = None) -> RowState:
        """The state before the start, a `Start`, was evaluated."""
        start = jax.tree.map(jnp.asarray, model)
        dtype = jnp.result_type(*jax.tree.leaves(start.model))
        before = jnp.asarray(self.previous, dtype)
        step, status = jnp.asarray(-1), jnp.asarray(RUNNING)
        return RowState(start.model, start.stats, jnp.zeros((), dtype), before, step, status)

    def step(self, state: RowState, data: Data, key: Array | None = None) -> tuple[RowState, Array]:
        """One M step, and the E step of the next; the first call evaluates the start."""
        first, dtype = state.step < 0, state.objective.dtype
        new = self.update(state.model, state.stats, data.prior)
        if self.given:
            new = jax.tree.map(lambda a, b: jnp.where(first, a, b), state.model, new)
        stats, total = new.e_step(data.x, data.weights)
        # the M step does not use the log likelihood at its maximum, so no step computes it
        counts = CategoryCounts(stats.weights.counts, state.stats.weights.log_peak)
        stats = MixtureStats(counts, stats.components)
        if data.prior is None:
            bound = state.total / state.stats.weights.counts.sum()
        else:
            both = jax.tree.map(lambda *parts: jnp.stack(parts), self.widen(state.stats), stats)
            after, ahead = jax.vmap(new.expected_log_prob)(both)
            bound = state.total + after + new.log_prior(data.prior)
            total = total - ahead
        bound = jnp.where(first, state.objective, bound.astype(dtype))
        # NaN in a parameter is NaN in the total
        broken = ~jnp.isfinite(total) | ~(first | jnp.isfinite(bound))
        small = ~first & (jnp.abs(bound - state.objective) < jnp.asarray(self.tol, dtype))
        count = state.step + 1
        status = jnp.where(
            count >= jnp.asarray(self.max_steps, count.dtype), int(Status.MAX_STEPS), RUNNING
        )
        status = jnp.where(small, int(Status.CONVERGED), status)
        status = jnp.where(broken, int(Status.COLLAPSED), status).astype(state.status.dtype)
        later = RowState(new, stats, total.astype(dtype), bound, count, status)
        running = state.status == RUNNING
        kept = jax.tree.map(lambda a, b: jnp.where(running, a, b), later, state)
        return kept, kept.objective[None]

    def update(self, model: Any, stats: MixtureStats, prior: Any) -> Any:
        """The M step from the statistics of the data alone."""
        new = model.m_step(self.widen(stats), prior)
        if not self.shared:
            return new
        posterior = new.components.posterior.pooled()
        components = type(new.components)(posterior, new.components.likelihood)
        return type(new)(new.weights, components)

    def widen(self, stats: MixtureStats) -> MixtureStats:
        """The statistics with the ridge times the weight added to the scatter."""
        moments = stats.components
        added = jnp.asarray(self.ridge, moments.scatter.dtype) * moments.weight
        num_dims = moments.mean.shape[-1]
        if moments.scatter.ndim == moments.mean.ndim + 1:
            added = added[:, None, None] * jnp.eye(num_dims, dtype=added.dtype)[None]
        elif added.ndim < moments.scatter.ndim:
            added = jnp.broadcast_to(added[:, None], moments.scatter.shape)
        widened = Moments(moments.weight, moments.mean, moments.scatter + added)
        return MixtureStats(stats.weights, widened)

    def done(self, state: RowState) -> Array:
        """Whether the fit has ended."""
        return state.status != RUNNING

    def result(self, state: RowState, objectives: Array) -> Fit:
        """The `Fit` with the last model; entry i of its objectives is the bound of step i."""
        trace = finish(objectives, state.step, state.objective)
        return Fit(state.model, trace, state.step, state.status)


@jax.jit
def first_model(algorithm: RowEM, start: Start, prior: Any) -> Any:
    """The model after one M step from the statistics of a start.

    Args:
      algorithm: gives the ridge.
      start: of which the statistics are used.
      prior: as for a fit.
    """
    return algorithm.update(start.model, start.stats, prior)


def statistics_of(x: np.ndarray, shares: np.ndarray, kind: str) -> MixtureStats:
    """The statistics of a mixture of Gaussians from shares of rows, on the host.

    Args:
      x: (N, D).
      shares: (N, K) non-negative: responsibilities times weights.
      kind: `covariance_type`.

    Examples:
      >>> stats = statistics_of(np.array([[0.0], [2.0], [5.0]]), np.eye(2)[[0, 0, 1]], "full")
      >>> print(stats.components.mean[:, 0], stats.components.scatter[:, 0, 0])
      [1. 5.] [2. 0.]
    """
    counts = shares.sum(axis=0)
    means, scatters = [], []
    for share, count in zip(shares.T, counts, strict=True):
        own = share > 0
        rows, share = x[own], share[own, None]
        means.append((share * rows).sum(axis=0) / (count if count > 0 else 1))
        gap = rows - means[-1]
        scatters.append(
            (share * gap).T @ gap if kind in ("full", "tied") else (share * gap**2).sum(axis=0)
        )
    mean: Any = np.stack(means)
    weight: Any = np.broadcast_to(counts[:, None], mean.shape) if kind == "diag" else counts
    scatter: Any = np.stack(scatters)
    # the M step does not use the log likelihood at its maximum, which the second field holds
    labels: Any = CategoryCounts(counts, counts.dtype.type(0))
    return MixtureStats(labels, Moments(weight, mean, scatter))
