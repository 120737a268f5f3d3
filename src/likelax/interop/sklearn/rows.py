"""EM with the stopping rule of scikit-learn's mixtures."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.fit import Fit, Status
from likelax.fit.algorithm import RUNNING, Data, finish
from likelax.mixture import MixtureStats
from likelax.model import Model, pytree, static
from likelax.statistics import Moments, category_counts


class RowState(NamedTuple):
    """A fit between two steps.

    Attributes:
      model: after the last M step.
      objective: scalar, the bound of the last step.
      step: integer scalar, steps taken.
      status: integer scalar, a `Status`, or `algorithm.RUNNING`.
    """

    model: Any
    objective: Array
    step: Array
    status: Array


@pytree
class RowEM:
    """EM that stops when the bound changes by less than `tol`, and returns the model after that step.

    `fit.EM` stops by a relative rise of the total, and returns the model that has the objective. The
    bound is the mean log likelihood of a row before the M step, or, if there is a prior, the evidence
    lower bound after it.

    Attributes:
      tol: smallest change of the bound.
      max_steps: most steps.
      ridge: added to every variance in every M step: `reg_covar`.
      previous: the bound before the first step; -inf for a new fit.
      shared: average the spread of the posteriors of all components, as for "tied" covariances.
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = True
    needs_key: ClassVar[bool] = False

    tol: ArrayLike
    max_steps: ArrayLike
    ridge: ArrayLike
    previous: ArrayLike
    shared: bool = static(default=False)

    def check(self, name: str) -> None:
        """Nothing: the estimators check their arguments."""

    def init(self, model: Model, data: Data, key: Array | None = None) -> RowState:
        """The state before the first step."""
        dtype = jnp.result_type(*jax.tree.leaves(model))
        none = jnp.asarray(self.max_steps) <= 0
        status = jnp.where(none, int(Status.MAX_STEPS), RUNNING)
        return RowState(model, jnp.asarray(self.previous, dtype), jnp.zeros((), int), status)

    def step(self, state: RowState, data: Data, key: Array | None = None) -> tuple[RowState, Array]:
        """One E step and one M step."""
        model, dtype = state.model, state.objective.dtype
        stats, total = model.e_step(data.x, data.weights)
        new = self.update(model, stats, data.prior)
        if data.prior is None:
            bound = total / stats.weights.counts.sum()
        else:
            entropy = total - model.expected_log_prob(stats)
            bound = entropy + new.expected_log_prob(self.widen(stats)) + new.log_prior(data.prior)
        count = state.step + 1
        broken = ~jnp.isfinite(bound) | ~jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(new)])
        )
        small = jnp.abs(bound - state.objective) < jnp.asarray(self.tol, dtype)
        status = jnp.where(
            count >= jnp.asarray(self.max_steps, count.dtype), int(Status.MAX_STEPS), RUNNING
        )
        status = jnp.where(small, int(Status.CONVERGED), status)
        status = jnp.where(broken, int(Status.COLLAPSED), status)
        after = RowState(new, bound.astype(dtype), count, status.astype(state.status.dtype))
        running = state.status == RUNNING
        kept = jax.tree.map(lambda a, b: jnp.where(running, a, b), after, state)
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
        """The `Fit` with the last model."""
        trace = finish(objectives, state.step, state.objective)
        return Fit(state.model, trace, state.step, state.status)


@jax.jit
def start(
    algorithm: RowEM, template: Any, x: Array, weights: Array | None, shares: Array, prior: Any
) -> Any:
    """The model after one M step from responsibilities.

    Args:
      algorithm: gives the ridge.
      template: parameters of components without rows.
      x: (N, D).
      weights: (N,), or None.
      shares: (R, N, K) responsibilities of R starts.
      prior: as for a fit.
    Returns:
      Models with a leading axis R.
    """

    def one(shares: Array) -> Any:
        if weights is not None:
            shares = shares * weights[:, None]
        counts = category_counts(jnp.sum(shares, axis=0))
        stats = MixtureStats(counts, template.components.stacked_e_step(x, shares))
        return algorithm.update(template, stats, prior)

    return jax.lax.map(one, shares)
