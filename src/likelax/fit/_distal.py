"""Three-step estimation of distal outcomes: what follows from the component of a row, corrected likewise."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, check_data, convert
from likelax.families.base import match_weights
from likelax.fit._three_step import Assignment, assignments
from likelax.mixture import Mixture
from likelax.model import Model, check_stack
from likelax.numerics.checks import check_tree, checked

M = TypeVar("M", bound=Model)


class Distal(NamedTuple, Generic[M]):
    """Distributions of an outcome given the component.

    Attributes:
      outcome: the K fitted models, with a leading axis K on every leaf.
      objective: what they maximise, a scalar in nats.
      converged: whether the maximum was found.
      assignment: the second step.
    """

    outcome: M
    objective: Array
    converged: Array
    assignment: Assignment


@checked(weights=None)
def three_step_distal_bch(
    model: Mixture,
    x: DataLike,
    outcome: M,
    y: DataLike,
    *,
    modal: bool = True,
    weights: ArrayLike | None = None,
) -> Distal[M]:
    """Fit an outcome given the component, with the shares of rows corrected by the inverse of their errors.

    sum_n w_n sum_k (a probs^-1)[n, k] log p(y[n] | k), with shares a and probs from `assignments`

    It is one M step with weights, some of which are negative.

    Float32: within 1e-3 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a mixture that was fitted to x alone.
      x: (N, ...) as for `model.log_prob`.
      outcome: K models of a family whose M step has a closed form, with a leading axis K, such as
        `Normal` or `Bernoulli`; their parameters are not used.
      y: (N, ...) the outcomes, as for `outcome.log_prob`.
      modal, weights: as for `assignments`.
    Returns:
      `Distal`. It does not converge, and may be NaN, if the components cannot be told apart, or if the
      negative shares of a component outweigh the others, as in a variance below zero.
    Raises:
      ValueError: for another number of outcome models than components, y of another number of rows
        than x, or a NaN that is not declared missing.
    Source: Bakk, Tekle & Vermunt (2013), Sociological Methodology 43, 272-311.

    Examples:
      >>> from likelax import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-2.0, 2.0]), jnp.ones(2)))
      >>> x, y = jnp.array([-2.0, -2.5, 2.2, 1.8]), jnp.array([1.0, 2.0, 7.0, 9.0])
      >>> found = three_step_distal_bch(model, x, Normal(jnp.zeros(2), jnp.ones(2)), y)
      >>> print(found.outcome.loc.round(1))
      [1.5 8. ]
    """
    assigned, y, weights = _second_step(model, x, outcome, y, modal, weights)
    found, value, converged = _solve_bch(assigned, outcome, y, weights)
    return Distal(found, value, converged, assigned)


@checked(weights=None)
def three_step_distal_ml(
    model: Mixture,
    x: DataLike,
    outcome: M,
    y: DataLike,
    *,
    modal: bool = True,
    weights: ArrayLike | None = None,
    max_steps: int = 2000,
    tol: float = 1e-7,
) -> Distal[M]:
    """Fit an outcome given the component, with the assignment as an indicator whose errors are known.

    sum_n w_n log sum_k model.weights[k] p(y[n] | k) prod_s probs[k, s]^a[n, s], with shares a and probs
    from `assignments`, by EM from the answer for the assigned rows

    Float32: within 1e-3 of 1 + its size, and of one rounding of the arguments.

    Args:
      model, x, outcome, y, modal, weights: as for `three_step_distal_bch`: x (N, ...), y (N, ...).
      max_steps: of EM.
      tol: rise of the objective over its size at which to stop.
    Returns:
      `Distal`. It does not converge, and may be NaN, if the objective has no maximum, as with outcomes that
      are all alike. The outcome has a part in which rows belong to a component, so it must be of the right
      family, where `three_step_distal_bch` needs only that errors of assignment do not depend on it.
    Raises:
      ValueError: as `three_step_distal_bch`.
    Source: Bakk, Tekle & Vermunt (2013), Sociological Methodology 43, 272-311.

    Examples:
      >>> from likelax import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-2.0, 2.0]), jnp.ones(2)))
      >>> x, y = jnp.array([-2.0, -2.5, 2.2, 1.8]), jnp.array([1.0, 2.0, 7.0, 9.0])
      >>> found = three_step_distal_ml(model, x, Normal(jnp.zeros(2), jnp.ones(2)), y)
      >>> print(found.outcome.loc.round(1))
      [1.5 8. ]
    """
    assigned, y, weights = _second_step(model, x, outcome, y, modal, weights)
    found, value, converged = _solve_ml(
        assigned, model.weights, outcome, y, weights, max_steps, tol
    )
    return Distal(found, value, converged, assigned)


def _second_step(
    model: Mixture,
    x: DataLike,
    outcome: Model,
    y: DataLike,
    modal: bool,
    weights: ArrayLike | None,
) -> tuple[Assignment, DataLike, Array]:
    """(the assignment, outcomes, weights)."""
    check_tree("outcome", outcome)
    assigned = assignments(model, x, modal=modal, weights=weights)
    num_rows, size = assigned.shares.shape
    check_stack("distal outcome", "outcome", outcome, "model.weights", (size,))
    y = convert("y", y)
    check_data("y", y)
    found = jax.eval_shape(outcome.stacked_log_prob, y).shape
    if found != (num_rows, size):
        raise ValueError(f"y must have {num_rows} rows, as x; got log probabilities {found}")
    return assigned, y, match_weights(weights, (num_rows,), assigned.shares.dtype)


@jax.jit
def _solve_bch(
    assigned: Assignment, outcome: M, y: DataLike, weights: Array
) -> tuple[M, Array, Array]:
    corrected = numerics.solve(assigned.probs.T, assigned.shares.T).T
    corrected = numerics.weighted(weights[:, None], corrected)
    found = outcome.stacked_m_step(outcome.stacked_e_step(y, corrected))
    value = jnp.sum(corrected * found.stacked_log_prob(y))
    return found, value, jnp.isfinite(value)


@jax.jit
def _solve_ml(
    assigned: Assignment,
    proportions: Array,
    outcome: M,
    y: DataLike,
    weights: Array,
    max_steps: int,
    tol: float,
) -> tuple[M, Array, Array]:
    log_errors = jnp.sum(numerics.xlogy(assigned.shares[:, None], assigned.probs), axis=-1)
    log_errors = log_errors + numerics.safe_log(proportions).astype(log_errors.dtype)[None]

    def e_step(outcome: M) -> tuple[Array, Array]:
        log_resp, log_total = numerics.log_normalize(log_errors + outcome.stacked_log_prob(y))
        return log_resp, numerics.weighted_sum(weights, log_total)

    def m_step(outcome: M, shares: Array) -> M:
        return outcome.stacked_m_step(outcome.stacked_e_step(y, weights[:, None] * shares))

    def step(state: tuple[M, Array, Array, Array]) -> tuple[M, Array, Array, Array]:
        outcome, before, _, count = state
        log_resp, value = e_step(outcome)
        done = value - before <= tol * (1 + jnp.abs(value))
        return m_step(outcome, jnp.exp(log_resp)), value, done, count + 1

    first = m_step(outcome, assigned.shares)
    start = (first, jnp.asarray(-jnp.inf, weights.dtype), jnp.asarray(False), jnp.zeros((), int))
    found, value, done, _ = jax.lax.while_loop(
        lambda state: ~state[2] & (state[3] < max_steps), step, start
    )
    return found, value, done & jnp.isfinite(value)
