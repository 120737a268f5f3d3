"""Generalised linear models: logistic, softmax, Poisson and negative binomial regression.

Their statistics are value, gradient and Hessian of the log likelihood at the current coefficients;
`m_step` maximises a bound of it that is proven from these (see `local_quadratic`), so `fit.em`
never lowers the likelihood and converges to the maximum, quadratically as Newton's method does.
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import Constraint, constrained, positive
from likelax.data import DataLike
from likelax.families import local_quadratic
from likelax.families.base import inside, is_count, match_weights, whole
from likelax.families.local_quadratic import LocalQuadratic
from likelax.families.regression import Regression
from likelax.families.ridge import RidgePrior
from likelax.model import pytree
from likelax.numerics import draws, matmul
from likelax.numerics.special import deviance, factorial_excess, log_binomial_term


class _GeneralizedLinear(Regression[LocalQuadratic, RidgePrior]):
    """Base class of regressions whose log density is concave in scores = inputs @ coefficients."""

    def log_prob(self, x: DataLike) -> Array:
        """log p(targets | inputs), (...), nats; 0 where the target is missing.

        Raises:
          ValueError: unless x is a pair of the right shapes.
        """
        inputs, targets, seen = self._pair(x)
        log_prob = self._log_density(self._scores(inputs), targets)
        return log_prob if seen is None else jnp.where(seen, log_prob, 0)

    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[LocalQuadratic, Array]:
        """Value, gradient and curvature of the log likelihood, summed with the weights."""
        inputs, targets, seen = self._pair(x)
        weights = match_weights(weights, targets.shape, inputs.dtype)
        if seen is not None:
            weights = jnp.where(seen, weights, 0)
        kept = weights != 0
        inputs = jnp.where(kept[..., None], inputs, 0)
        targets = jnp.where(kept, targets, jnp.ones((), targets.dtype))
        scores = self._scores(inputs)
        total = numerics.weighted_sum(weights, self._log_density(scores, targets))
        slope, curvature = self._derivatives(scores, targets)
        at = self._matrix()
        num_scores = at.shape[1]
        stats = local_quadratic.expand(
            inputs.reshape(-1, inputs.shape[-1]),
            slope.reshape(-1, num_scores),
            curvature.reshape(-1, num_scores, num_scores),
            weights.reshape(-1),
            at.astype(inputs.dtype),
            total,
        )
        return stats, total

    def m_step(self, stats: LocalQuadratic, prior: RidgePrior | None = None) -> Self:
        """The coefficients that maximise `expected_log_prob(stats)`, a shortened Newton step.

        With a prior they maximise the same kind of bound of the log joint, which never falls.
        Without rows and prior the model stays as it is. Linearly dependent inputs share their step.
        Linearly separable data have no maximum: the coefficients then grow from step to step,
        unless there is a prior.
        """
        old = self._matrix().astype(stats.at.dtype)
        at = jnp.where(stats.weight > 0, stats.at, old)
        about = dataclasses.replace(stats, at=at)
        precision = jnp.zeros_like(old)
        if prior is not None:
            precision = prior.matched(jnp.zeros_like(old))
        new = local_quadratic.maximum(about, precision)
        return self._with_coefficients(new.reshape(jnp.shape(self.coefficients)))

    def expected_log_prob(self, stats: LocalQuadratic) -> Array:
        """A lower bound of the log likelihood that touches it at the model of the E step, nats."""
        return local_quadratic.lower_bound(stats, self._matrix().astype(stats.at.dtype))

    def log_prior(self, prior: RidgePrior | None) -> Array:
        """Log density of the coefficients under a ridge prior, nats; 0 without one."""
        return jnp.zeros(()) if prior is None else prior.log_prob(self.coefficients)

    def _matrix(self) -> Array:
        """The coefficients as (D, C)."""
        (coefficients,) = numerics.as_float(self.coefficients)
        return coefficients.reshape(coefficients.shape[0], -1)

    def _scores(self, inputs: Array) -> Array:
        """(..., C), or (...) for one score."""
        coefficients, _ = numerics.as_float(self.coefficients, inputs)
        return matmul(inputs, coefficients)

    @abc.abstractmethod
    def _log_density(self, scores: Array, targets: Array) -> Array: ...

    @abc.abstractmethod
    def _derivatives(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        """Derivatives of the log density with respect to the scores: first, and second with opposite sign."""

    @abc.abstractmethod
    def _with_coefficients(self, coefficients: Array) -> Self: ...


@pytree
class LogisticRegression(_GeneralizedLinear):
    """p(target = 1 | input) = 1 / (1 + exp(-input . coefficients)), targets 0 or 1

    Data are pairs (inputs (..., D), targets (...)). A constant is an input of ones. Its prior is a
    `RidgePrior`. In a `Mixture` it is a mixture of experts, in an `HMM` a GLM-HMM. Fit
    with `fit.em`.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      coefficients: (D,).

    Source: McCullagh & Nelder (1989), Generalized Linear Models, 4.

    Examples:
      >>> model = LogisticRegression(jnp.array([2.0]))
      >>> print(jnp.exp(model.log_prob((jnp.array([[0.0], [1.0]]), jnp.array([1, 1])))).round(4))
      [0.5    0.8808]
    """

    coefficients: Array

    def mean(self, inputs: DataLike | None = None) -> Array:
        """p(target = 1 | inputs): inputs (..., D) give (...)."""
        return jax.nn.sigmoid(self._scores(self._given("mean", inputs)))

    def variance(self, inputs: DataLike | None = None) -> Array:
        """p (1 - p) at inputs (..., D): (...)."""
        scores = self._scores(self._given("variance", inputs))
        return jax.nn.sigmoid(scores) * jax.nn.sigmoid(-scores)

    def _draw(self, key: Array, inputs: Array) -> Array:
        return jax.random.bernoulli(key, self.mean(inputs)).astype(int)

    def _possible_targets(self, targets: np.ndarray) -> Any:
        return (targets == 0) | (targets == 1)

    def _log_density(self, scores: Array, targets: Array) -> Array:
        (y,) = numerics.as_float(targets)
        side = jnp.where(y == 1, -scores, scores)
        return inside((y == 0) | (y == 1), targets, -jax.nn.softplus(side))

    def _derivatives(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        p, q = jax.nn.sigmoid(scores), jax.nn.sigmoid(-scores)
        return jnp.where(targets == 1, q, -p), p * q

    def _with_coefficients(self, coefficients: Array) -> Self:
        return type(self)(coefficients)


def _contrasts(num_classes: int) -> np.ndarray:
    """(C, C - 1) orthonormal columns, each orthogonal to the constant vector."""
    steps = np.arange(1, num_classes)
    upper = np.triu(np.ones((num_classes, num_classes)), 1)[:, 1:]
    upper[steps, steps - 1] = -steps
    return upper / np.sqrt(steps * (steps + 1))


def _up_to_a_constant(coefficients: Array) -> Array:
    basis = jnp.asarray(_contrasts(coefficients.shape[-1]), coefficients.dtype)
    return matmul(coefficients, basis)


def _from_contrasts(reals: Array) -> Array:
    basis = jnp.asarray(_contrasts(reals.shape[-1] + 1), reals.dtype)
    return matmul(reals, basis.T)


contrasts = Constraint(
    "rows of C numbers that count up to a constant",
    _from_contrasts,
    _up_to_a_constant,
    lambda reals: jnp.zeros_like(reals[..., 0]) if reals.shape[-1] else jnp.zeros(reals.shape[:-1]),
    lambda rows: np.all(np.isfinite(rows), axis=-1),
)
"""Rows of C numbers of which only differences matter, as C - 1 reals; they come back with mean 0."""


@pytree
class SoftmaxRegression(_GeneralizedLinear):
    """p(target = c | input) proportional to exp(input . coefficients[:, c]), targets 0..C-1

    Data are pairs (inputs (..., D), targets (...)), the targets integers. A constant is an input of
    ones. Adding the same vector to the coefficients of every class changes nothing, so there are
    D (C - 1) free parameters; a `RidgePrior` prefers those that sum to zero over the classes. Fit
    with `fit.em`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      coefficients: (D, C).

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 10.3.

    Examples:
      >>> model = SoftmaxRegression(jnp.array([[0.0, 1.0]]))
      >>> print(jnp.exp(model.log_prob((jnp.array([[0.0], [1.0]]), jnp.array([1, 1])))).round(4))
      [0.5    0.7311]
    """

    coefficients: Array = constrained(contrasts)

    def mean(self, inputs: DataLike | None = None) -> Array:
        """p(target = c | inputs) of every class: inputs (..., D) give (..., C)."""
        return jax.nn.softmax(self._scores(self._given("mean", inputs)), axis=-1)

    def variance(self, inputs: DataLike | None = None) -> Array:
        """p (1 - p) of every class at inputs (..., D): (..., C)."""
        probs = self.mean(self._given("variance", inputs))
        return probs * (1 - probs)

    def _draw(self, key: Array, inputs: Array) -> Array:
        return jax.random.categorical(key, self._scores(inputs))

    def _match_targets(self, inputs: Array, targets: Array) -> Array:
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            num_classes = jnp.shape(self.coefficients)[-1]
            raise TypeError(
                f"SoftmaxRegression: targets must be integer codes 0..{num_classes - 1}; "
                f"got dtype {targets.dtype}"
            )
        return super()._match_targets(inputs, targets)

    def _possible_targets(self, targets: np.ndarray) -> Any:
        return (targets >= 0) & (targets < self.coefficients.shape[-1])

    def _log_density(self, scores: Array, targets: Array) -> Array:
        log_probs = numerics.log_normalize(scores)[0]
        known = (targets >= 0) & (targets < scores.shape[-1])
        at = jnp.where(known, targets, 0)[..., None]
        return jnp.where(known, jnp.take_along_axis(log_probs, at, axis=-1)[..., 0], -jnp.inf)

    def _derivatives(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        probs = jax.nn.softmax(scores, axis=-1)
        hits = jax.nn.one_hot(targets, scores.shape[-1], dtype=scores.dtype)
        eye = jnp.broadcast_to(
            jnp.eye(scores.shape[-1], dtype=scores.dtype), (*probs.shape, probs.shape[-1])
        )
        return hits - probs, probs[..., None] * (eye - probs[..., None, :])

    def _with_coefficients(self, coefficients: Array) -> Self:
        return type(self)(coefficients)


def _exponential(scores: Array) -> Array:
    """exp(scores), with the largest number in place of an overflow, so that no inf - inf arises."""
    return jnp.minimum(jnp.exp(scores), jnp.finfo(scores.dtype).max)


@pytree
class PoissonRegression(_GeneralizedLinear):
    """target ~ Poisson(exp(input . coefficients)), targets 0, 1, 2, ...

    Data are pairs (inputs (..., D), targets (...)). A constant is an input of ones, and a known
    exposure an input log(exposure) whose coefficient is one. Its prior is a `RidgePrior`. Fit with
    `fit.em`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      coefficients: (D,).

    Source: McCullagh & Nelder (1989), Generalized Linear Models, 6.

    Examples:
      >>> model = PoissonRegression(jnp.array([0.0, 1.0]))
      >>> print(model.mean(jnp.array([[1.0, 0.0], [1.0, 1.0]])).round(4))
      [1.     2.7183]
    """

    coefficients: Array

    def mean(self, inputs: DataLike | None = None) -> Array:
        """exp(inputs . coefficients): inputs (..., D) give (...)."""
        return jnp.exp(self._scores(self._given("mean", inputs)))

    def variance(self, inputs: DataLike | None = None) -> Array:
        """As the mean."""
        return self.mean(self._given("variance", inputs))

    def _draw(self, key: Array, inputs: Array) -> Array:
        rate = self.mean(inputs)
        return draws.poisson(key, rate, rate.shape)

    def _possible_targets(self, targets: np.ndarray) -> Any:
        return is_count(targets)

    def _log_density(self, scores: Array, targets: Array) -> Array:
        y, scores = numerics.as_float(targets, scores)
        support = (y >= 0) & (y < jnp.inf) & whole(y)
        y = jnp.where(support, y, 0)
        rate = jnp.exp(scores)
        lost = rate == 0  # to underflow
        near = -deviance(y, jnp.where(lost, 1, rate)) - factorial_excess(y)
        log_factorial = factorial_excess(y) + numerics.xlogy(y, y) - y
        return inside(support, targets, jnp.where(lost, y * scores - log_factorial, near))

    def _derivatives(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        rate = _exponential(scores)
        return targets.astype(scores.dtype) - rate, rate

    def _with_coefficients(self, coefficients: Array) -> Self:
        return type(self)(coefficients)


@pytree
class NegativeBinomialRegression(_GeneralizedLinear):
    """Counts with mean m = exp(input . coefficients) and variance m + m^2 / total_count

    Data are pairs (inputs (..., D), targets (...)). A `NegativeBinomial` with
    probs = total_count / (total_count + m): a `PoissonRegression` whose rate is multiplied by a
    gamma variable of mean one. Its prior is a `RidgePrior`. Fit with `fit.em`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      total_count: r, positive, held by `m_step`; its inverse is the dispersion ("alpha").
      coefficients: (D,).

    Source: Hilbe (2011), Negative Binomial Regression, 8; McCullagh & Nelder (1989), Generalized
    Linear Models, 6.2.3.

    Examples:
      >>> model = NegativeBinomialRegression(1.0, jnp.zeros(1))
      >>> print(jnp.exp(model.log_prob((jnp.ones((3, 1)), jnp.array([0, 1, 2])))))
      [0.5   0.25  0.125]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    total_count: Array = constrained(positive)
    coefficients: Array

    def mean(self, inputs: DataLike | None = None) -> Array:
        """exp(inputs . coefficients): inputs (..., D) give (...)."""
        return jnp.exp(self._scores(self._given("mean", inputs)))

    def variance(self, inputs: DataLike | None = None) -> Array:
        """mean + mean^2 / total_count at inputs (..., D): (...)."""
        mean, r = numerics.as_float(self.mean(self._given("variance", inputs)), self.total_count)
        return mean + mean**2 / r

    def _draw(self, key: Array, inputs: Array) -> Array:
        key_rate, key_count = jax.random.split(key)
        mean, r = numerics.as_float(self.mean(inputs), self.total_count)
        rate = mean * draws.gamma(key_rate, r, mean.shape) / r
        return draws.poisson(key_count, rate, rate.shape)

    def _log_odds(self, scores: Array) -> tuple[Array, Array]:
        """(log of m / r, r)."""
        scores, r = numerics.as_float(scores, self.total_count)
        return scores - jnp.log(r), r

    def _possible_targets(self, targets: np.ndarray) -> Any:
        return is_count(targets)

    def _log_density(self, scores: Array, targets: Array) -> Array:
        odds, r = self._log_odds(scores)
        y, _ = numerics.as_float(targets, odds)
        support = (y >= 0) & (y < jnp.inf) & whole(y)
        y = jnp.where(support, y, 0)
        p, q = jax.nn.sigmoid(-odds), jax.nn.sigmoid(odds)
        lost = (p == 0) | (q == 0)  # to underflow
        near = log_binomial_term(y, r, jnp.where(lost, 0.5, q), jnp.where(lost, 0.5, p))
        fair = log_binomial_term(y, r, jnp.full_like(q, 0.5), jnp.full_like(q, 0.5))
        powers = y * jax.nn.log_sigmoid(odds) + r * jax.nn.log_sigmoid(-odds)
        far = fair + (y + r) * math.log(2.0) + powers
        return inside(support, targets, jnp.where(lost, far, near) - jnp.log1p(y / r))

    def _derivatives(self, scores: Array, targets: Array) -> tuple[Array, Array]:
        odds, r = self._log_odds(scores)
        y = targets.astype(odds.dtype)
        p, q = jax.nn.sigmoid(-odds), jax.nn.sigmoid(odds)
        return y * p - r * q, (y + r) * p * q

    def _with_coefficients(self, coefficients: Array) -> Self:
        return type(self)(self.total_count, coefficients)
