"""Three-step estimation: regressions of the component of each row on inputs, corrected for wrong assignments."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, check_data, convert
from likelax.families.base import match_weights
from likelax.families.generalized_linear import SoftmaxRegression
from likelax.mixture import Mixture
from likelax.numerics import matmul, newton
from likelax.numerics.checks import check_finite, check_values, checked


class Assignment(NamedTuple):
    """Rows assigned to components, and how often that is wrong.

    Attributes:
      shares: (N, K) which share of each row is assigned to each component.
      probs: (K, K) p(assigned to s | component c), rows c; estimated from the responsibilities.
    """

    shares: Array
    probs: Array


class ThreeStep(NamedTuple):
    """A regression of the component on inputs.

    Attributes:
      regression: p(component | inputs); the coefficients (D, K) sum to zero over the components.
      objective: what it maximises, a scalar in nats.
      converged: whether the maximum was found.
      assignment: the second step.
    """

    regression: SoftmaxRegression
    objective: Array
    converged: Array
    assignment: Assignment


@checked(weights=None)
def assignments(
    model: Mixture, x: DataLike, *, modal: bool = True, weights: ArrayLike | None = None
) -> Assignment:
    """Assign each row to components, and estimate how often that is wrong.

    p(assigned to s | component c) = sum_n r[n, c] a[n, s] / sum_n r[n, c], r the responsibilities and
    a the shares.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a mixture that was fitted to x.
      x: (N, ...) as for `model.log_prob`.
      modal: whether a row goes to its most probable component; else a is r.
      weights: (N,) non-negative, or None for ones.
    Returns:
      `Assignment`. The row of a component without responsibility is NaN.
    Raises:
      ValueError: for empty data, a NaN that is not declared missing, x without an axis of rows, or
        weights that are negative, or of another shape than `model.log_prob(x)`.
    Source: Bolck, Croon & Hagenaars (2004), Political Analysis 12, 3-27.

    Examples:
      >>> from likelax import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
      >>> print(assignments(model, jnp.array([-1.0, 0.1, 1.0])).probs.round(2))
      [[0.61 0.39]
       [0.08 0.92]]
    """
    x = convert("x", x)
    check_data("x", x)
    resp = model.responsibilities(x)
    if resp.ndim != 2:
        raise ValueError(
            f"x must have one axis of rows; got responsibilities of shape {resp.shape}"
        )
    weights = match_weights(weights, resp.shape[:-1], resp.dtype)
    check_values("weights", weights, lambda w: (w >= 0) & np.isfinite(w), "finite and not negative")
    shares = resp
    if modal:
        shares = jax.nn.one_hot(model.predict(x), resp.shape[-1], dtype=resp.dtype)
    own = numerics.weighted(weights[..., None], resp)
    joint = numerics.row_products(own, shares)
    return Assignment(shares, joint / jnp.sum(own, axis=0)[:, None])


@checked(weights=None)
def three_step_bch(
    model: Mixture,
    x: DataLike,
    inputs: ArrayLike,
    *,
    modal: bool = True,
    weights: ArrayLike | None = None,
) -> ThreeStep:
    """Regress the component on inputs, with the shares of rows corrected by the inverse of their errors.

    sum_n w_n sum_k (a probs^-1)[n, k] log p(k | inputs[n]), with shares a and probs from `assignments`

    The corrected shares can be negative, but those of a row sum to one, so the objective is concave.
    Without covariates its maximum has unbiased proportions.

    Float32: within 1e-3 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a mixture that was fitted to x alone.
      x: (N, ...) as for `model.log_prob`.
      inputs: (N, D). A constant is an input of ones.
      modal, weights: as for `assignments`.
    Returns:
      `ThreeStep`. It does not converge, and may be NaN, if the components cannot be told apart, so
      that the errors have no inverse, or if the objective has no maximum.
    Raises:
      ValueError: for inputs of another shape, or that are not finite.
    Source: Vermunt (2010), Latent class modeling with covariates, Political Analysis 18, 450-469.

    Examples:
      >>> from likelax import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-2.0, 2.0]), jnp.ones(2)))
      >>> x = jnp.array([-2.0, -2.5, 2.2, 1.0, -1.5, 2.0])
      >>> inputs = jnp.array([[1.0, -1.0], [1.0, 0.4], [1.0, 1.0], [1.0, -0.3], [1.0, 0.2], [1.0, 0.9]])
      >>> found = three_step_bch(model, x, inputs)
      >>> print(bool(found.converged), bool(found.regression.coefficients[1, 1] > 0))
      True True
    """
    assigned, inputs, weights = _second_step(model, x, inputs, modal, weights)
    regression, value, converged = _solve_bch(assigned, inputs, weights)
    return ThreeStep(regression, value, converged, assigned)


@checked(weights=None)
def three_step_ml(
    model: Mixture,
    x: DataLike,
    inputs: ArrayLike,
    *,
    modal: bool = True,
    weights: ArrayLike | None = None,
) -> ThreeStep:
    """Regress the component on inputs, with the assignment as an indicator whose errors are known.

    sum_n w_n log sum_k p(k | inputs[n]) prod_s probs[k, s]^a[n, s], with shares a and probs from
    `assignments`

    Float32: within 1e-3 of 1 + its size, and of one rounding of the arguments.

    Args:
      model, x, inputs, modal, weights: as for `three_step_bch`: x (N, ...), inputs (N, D).
    Returns:
      `ThreeStep`.
    Raises:
      ValueError: for inputs of another shape, or that are not finite.
    Source: Vermunt (2010), Latent class modeling with covariates, Political Analysis 18, 450-469.

    Examples:
      >>> from likelax import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-2.0, 2.0]), jnp.ones(2)))
      >>> x = jnp.array([-2.0, -2.5, 2.2, 1.0, -1.5, 2.0])
      >>> inputs = jnp.array([[1.0, -1.0], [1.0, 0.4], [1.0, 1.0], [1.0, -0.3], [1.0, 0.2], [1.0, 0.9]])
      >>> found = three_step_ml(model, x, inputs)
      >>> print(bool(found.converged), bool(found.regression.coefficients[1, 1] > 0))
      True True
    """
    assigned, inputs, weights = _second_step(model, x, inputs, modal, weights)
    regression, value, converged = _solve_ml(assigned, inputs, weights)
    return ThreeStep(regression, value, converged, assigned)


def _second_step(
    model: Mixture, x: DataLike, inputs: ArrayLike, modal: bool, weights: ArrayLike | None
) -> tuple[Assignment, Array, Array]:
    """(the assignment, inputs, weights), all of one dtype."""
    assigned = assignments(model, x, modal=modal, weights=weights)
    (inputs,) = numerics.named_floats(inputs=inputs)
    num_rows = assigned.shares.shape[:-1]
    if inputs.ndim != 2 or inputs.shape[:1] != num_rows:
        raise ValueError(f"inputs must have shape ({num_rows[0]}, D); got {inputs.shape}")
    check_finite(inputs=inputs)
    weights = match_weights(weights, num_rows, assigned.shares.dtype)
    shares, probs, inputs, weights = numerics.as_float(*assigned, inputs, weights)
    return Assignment(shares, probs), inputs, weights


@jax.jit
def _solve_bch(
    assigned: Assignment, inputs: Array, weights: Array
) -> tuple[SoftmaxRegression, Array, Array]:
    corrected = numerics.solve(assigned.probs.T, assigned.shares.T).T
    start = jnp.zeros((inputs.shape[1], corrected.shape[1]), corrected.dtype)
    return _third_step(_cross_entropy(corrected, weights), inputs, start)


@jax.jit
def _solve_ml(
    assigned: Assignment, inputs: Array, weights: Array
) -> tuple[SoftmaxRegression, Array, Array]:
    log_errors = jnp.sum(numerics.xlogy(assigned.shares[:, None], assigned.probs), axis=-1)

    def objective(scores: Array) -> Array:
        joint = numerics.log_normalize(scores)[0] + log_errors
        return numerics.weighted_sum(weights, numerics.logsumexp(joint, axis=-1))

    start = jnp.zeros((inputs.shape[1], log_errors.shape[1]), log_errors.dtype)
    # from the uncorrected maximum, which is the only one of its objective
    first = _third_step(_cross_entropy(assigned.shares, weights), inputs, start)[0]
    return _third_step(objective, inputs, first.coefficients)


def _cross_entropy(shares: Array, weights: Array) -> Callable[[Array], Array]:
    """From scores (N, K) to sum_n w_n sum_k shares[n, k] log p(k)."""

    def objective(scores: Array) -> Array:
        terms = jnp.sum(shares * numerics.log_normalize(scores)[0], axis=-1)
        return numerics.weighted_sum(weights, terms)

    return objective


def _third_step(
    objective: Callable[[Array], Array], inputs: Array, start: Array
) -> tuple[SoftmaxRegression, Array, Array]:
    """(regression, objective, whether it is the maximum) over coefficients of scores (N, K)."""
    # the last component's stay at zero
    shape = start.shape[0], start.shape[1] - 1

    def full(free: Array) -> Array:
        return jnp.pad(free.reshape(shape), ((0, 0), (0, 1)))

    def of_free(free: Array) -> Array:
        return objective(matmul(inputs, full(free)))

    found = newton.maximize(of_free, (start[:, :-1] - start[:, -1:]).reshape(-1))
    coefficients = full(found.point)
    centred = coefficients - jnp.mean(coefficients, axis=1, keepdims=True)
    return SoftmaxRegression(centred), found.value, found.status == newton.CONVERGED
