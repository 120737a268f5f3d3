"""Recalibrators of several classes: vector scaling and Dirichlet calibration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.calibration.recalibration import (
    check_labelled,
    check_last_axis,
    standardized,
)
from likelax.model import pytree
from likelax.numerics import matmul, named_floats, solve, weighted_sum
from likelax.numerics.checks import check_number, check_simplex

_STEPS = 30  # Newton's; a dozen is usual
_COLUMNS = 16  # of the Hessian at a time


@pytree
class Vector:
    """softmax(scale * (logits - center) + shift), a scale and a shift for each class.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      scale, shift: (C,); the shifts sum to zero.
      center: (C,) the mean logit of each class in the data that were fitted.

    Source: Guo et al. (2017), On calibration of modern neural networks, 4.2.

    Examples:
      >>> half = Vector(jnp.full(2, 0.5), jnp.zeros(2), jnp.zeros(2))
      >>> print(half.apply(jnp.array([0.0, 2.0 * jnp.log(3.0)])).round(4))
      [0.25 0.75]
    """

    scale: Array
    shift: Array
    center: Array

    def apply(self, logits: ArrayLike) -> Array:
        """Probabilities (..., C) from logits (..., C); a logit of -inf keeps probability 0.

        See the example of the class.

        Raises:
          ValueError: for another C.
        """
        logits = check_last_axis("logits", logits, self.scale.shape[-1])
        lead = (1,) * (logits.ndim - 1)
        scale, shift, center = (a.reshape(*lead, -1) for a in (self.scale, self.shift, self.center))
        possible = logits != -jnp.inf  # NaN stays NaN
        score = scale * (jnp.where(possible, logits, center) - center) + shift
        return jax.nn.softmax(jnp.where(possible, score, -jnp.inf), axis=-1)


def fit_vector(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Vector:
    """Vector scaling by the least log score, with Platt's targets, which keep it finite.

    Float32: parameters within 1e-2 of 1 + their size, and of one rounding of the arguments.

    Args:
      logits: (N, C) with C >= 2, in any unit and from any origin. A logit of -inf is an impossible
        class; a row whose own label is one, or that has a logit of inf, is left out.
      labels: (N,) integers in [0, C).
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (C,) weights of the classes, times which the row weights are taken, or None.
    Returns:
      `Vector`.
    Raises:
      ValueError: if the shapes differ, a label is out of range, there is no row with weight, or one
        holds NaN.
      TypeError: if labels are not integers.
    Source: Guo et al. (2017), On calibration of modern neural networks, 4.2.

    Examples:
      >>> logits = jnp.array([[0.0, 2.0], [0.0, -2.0], [0.0, 2.0], [0.0, -2.0]])
      >>> fit = fit_vector(logits, jnp.array([1, 0, 0, 1]))
      >>> print(fit.apply(logits)[0].round(3))
      [0.5 0.5]
    """
    (values,) = named_floats(logits=logits)
    return _vector(*_checked("logits", values, labels, weights, class_weights))


@jax.jit
def _vector(values: Array, targets: Array, weights: Array, possible: Array) -> Vector:
    size = values.shape[1]
    columns = [
        standardized(values[:, c : c + 1], jnp.where(possible[:, c], weights, 0))
        for c in range(size)
    ]
    standard, center, width = (
        jnp.concatenate(parts, axis=-1) for parts in zip(*columns, strict=True)
    )
    targets = jnp.where(possible, targets, 0)

    def scores(theta: Array) -> Array:
        score = theta[:size][None] * standard + theta[size:][None]
        return jnp.where(possible, score, -jnp.inf)

    start = jnp.concatenate([jnp.ones(size, values.dtype), jnp.zeros(size, values.dtype)])
    theta = _newton(lambda t: _log_score(scores(t), targets, weights), start)
    return Vector(theta[:size] / width, theta[size:] - jnp.mean(theta[size:]), center)


@pytree
class DirichletMap:
    """softmax(matrix @ log probs + shift). It can be the identity.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      matrix: (C, C).
      shift: (C,); sums to zero.

    Source: Kull et al. (2019), Beyond temperature scaling: Dirichlet calibration.

    Examples:
      >>> print(DirichletMap(jnp.eye(2), jnp.zeros(2)).apply(jnp.array([0.2, 0.8])).round(4))
      [0.2 0.8]
    """

    matrix: Array
    shift: Array

    def apply(self, probs: ArrayLike) -> Array:
        """Recalibrated probabilities (..., C).

        The log of a probability of zero is replaced by the log of the smallest normal number. Then a
        class of probability zero keeps it, unless the matrix has a negative entry for it. See the
        example of the class.

        Args:
          probs: (..., C).
        Raises:
          ValueError: for another C, or rows that do not sum to one.
        """
        probs = check_last_axis("probs", probs, self.shift.shape[-1])
        check_simplex("probs", probs)
        score = jnp.tensordot(_logs(probs), self.matrix.T, axes=1, precision="highest")
        return jax.nn.softmax(score + self.shift.reshape((1,) * (probs.ndim - 1) + (-1,)), axis=-1)


def fit_dirichlet(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    penalty: float = 1e-3,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> DirichletMap:
    """Dirichlet calibration with off-diagonal and intercept regularisation (ODIR).

    The multiclass form of beta calibration: a linear map of log probabilities. The loss has `penalty`
    times the mean square of the off-diagonal entries and of the shifts. Memory and time grow as C^2
    and C^4: for hundreds of classes use `fit_vector`.

    Float32: parameters within 1e-2 of 1 + their size, and of one rounding of the arguments.

    Args:
      probs: (N, C) with C >= 2.
      labels: (N,) integers in [0, C).
      penalty: at least 0.
      weights: (N,) non-negative; 0 removes the row. None is all ones.
      class_weights: (C,) weights of the classes, times which the row weights are taken, or None.
    Returns:
      `DirichletMap`.
    Raises:
      ValueError: if the shapes differ, penalty is negative, a label is out of range, a row does not
        sum to one, or there is no row with weight.
      TypeError: if labels are not integers.
    Source: Kull et al. (2019), Beyond temperature scaling: Dirichlet calibration.

    Examples:
      >>> probs = jnp.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
      >>> fit = fit_dirichlet(probs, jnp.array([0, 0, 1, 1]))
      >>> bool(fit.apply(probs)[0, 0] < 0.9)
      True
    """
    check_number("penalty", penalty, lambda v: 0 <= v < np.inf, "at least 0")
    (values,) = named_floats(probs=probs)
    check_simplex("probs", values)
    probs, targets, weights, _ = _checked("probs", values, labels, weights, class_weights)
    return _dirichlet(probs, targets, weights, jnp.asarray(penalty, probs.dtype))


@jax.jit
def _dirichlet(probs: Array, targets: Array, weights: Array, penalty: Array) -> DirichletMap:
    size, features = probs.shape[1], _logs(probs)
    off = 1 - np.eye(size)

    def loss(theta: Array) -> Array:
        matrix, shift = theta[:-size].reshape(size, size), theta[-size:]
        scores = matmul(features, matrix.T) + shift[None]
        away = jnp.sum((matrix * jnp.asarray(off, matrix.dtype)) ** 2) / (size * (size - 1))
        return _log_score(scores, targets, weights) + penalty * (away + jnp.mean(shift**2))

    start = jnp.concatenate([jnp.eye(size).reshape(-1), jnp.zeros(size)]).astype(probs.dtype)
    theta = _newton(loss, start)
    shift = theta[-size:] - jnp.mean(theta[-size:])
    return DirichletMap(theta[:-size].reshape(size, size), shift)


def _logs(probs: Array) -> Array:
    """Log probabilities, zero standing as the smallest normal number: a product with -inf is NaN."""
    tiny = jnp.finfo(probs.dtype).tiny
    return jnp.log(jnp.where(probs < tiny, tiny, probs))


def _checked(
    name: str,
    values: Array,
    labels: ArrayLike,
    weights: ArrayLike | None,
    class_weights: ArrayLike | None,
) -> tuple[Array, Array, Array, Array]:
    """(values (N, C), Platt's targets (N, C), weights (N,) that sum to one, possible (N, C))."""
    values, labels, weights, possible = check_labelled(name, values, labels, weights, class_weights)
    size = values.shape[1]
    hot = jax.nn.one_hot(labels, size, dtype=values.dtype)
    held = jnp.sum(jnp.where((weights == 0)[:, None], 0, hot * weights[:, None]), axis=0)
    # one pseudo-count for each class moves its rows towards the other classes
    doubt = (1 / (held + 2))[jnp.clip(labels, 0, size - 1)][:, None]
    targets = hot * (1 - doubt) + (1 - hot) * doubt / (size - 1)
    values = jnp.where((weights == 0)[:, None], 0.5, values)
    return values, targets, weights / jnp.sum(weights), possible


def _log_score(scores: Array, targets: Array, weights: Array) -> Array:
    """Weighted mean of the cross entropy between targets and softmax(scores)."""
    log_probs = jax.nn.log_softmax(scores, axis=1)
    return -jnp.sum(weights * weighted_sum(targets, log_probs, axis=1))


def _newton(loss: Callable[[Array], Array], start: Array) -> Array:
    """The minimum (P,) of a convex loss by Newton's steps, halved while they do not improve."""
    gradient = jax.grad(loss)
    basis = jnp.eye(start.shape[0], dtype=start.dtype)

    def step(_: int, theta: Array) -> Array:
        def column(e: Array) -> Array:
            return jax.jvp(gradient, (theta,), (e,))[1]

        curvature = jax.lax.map(column, basis, batch_size=_COLUMNS)
        # softmax is invariant to a common shift: the ridge makes the system solvable
        ridge = 1e-6 * (jnp.trace(curvature) / start.shape[0] + 1e-6)
        move = solve(curvature + ridge * basis, gradient(theta))
        tries = theta[None] - 0.5 ** jnp.arange(8).astype(theta.dtype)[:, None] * move[None]
        losses = jax.lax.map(loss, tries)
        best = jnp.argmin(losses)
        return jnp.where(losses[best] < loss(theta), tries[best], theta)

    return jax.lax.fori_loop(0, _STEPS, step, start)
