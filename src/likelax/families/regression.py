"""Bayesian linear regression: targets that are linear in their inputs, and the conjugate prior."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve
from jax.scipy.special import multigammaln

from likelax import numerics
from likelax.constraints import constrained, positive, scale_tril
from likelax.families.base import Prior, match_weights
from likelax.families.mv_normal import MvNormal
from likelax.families.normal import LOG_2PI
from likelax.families.normal_inverse_wishart import NormalInverseWishart
from likelax.families.student_t import MvStudentT
from likelax.model import pytree
from likelax.statistics import Moments, vector_moments


@pytree
class RegressionStats:
    """Moments of inputs and targets side by side: (D + E,) means and their scatter.

    Attributes:
      joint: `Moments` of the rows (input, target).
    """

    joint: Moments


@pytree
class LinearRegression:
    """target ~ MvNormal(input @ weights, L L^T) with L = scale_tril, for E targets at once.

    x is a pair (inputs (..., D), targets (..., E)); its log probability is that of the targets
    given the inputs. A constant is an input of ones. One target is E = 1.

    Attributes:
      weights: (D, E).
      scale_tril: (E, E) lower triangular with a positive diagonal.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 14.

    Examples:
      >>> model = LinearRegression(jnp.zeros((1, 1)), jnp.eye(1))
      >>> x = (jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[2.1], [3.9], [6.0]]))
      >>> print(model.m_step(model.e_step(x)[0]).weights.round(2))
      [[1.99]]
    """

    weights: Array
    scale_tril: Array = constrained(scale_tril)

    def log_prob(self, x: tuple[Any, Any]) -> Array:
        """log p(targets | inputs), (...), nats."""
        inputs, targets = self._pair(x)
        loc = jnp.matmul(inputs, jnp.asarray(self.weights, inputs.dtype), precision="highest")
        centred = MvNormal(jnp.zeros_like(loc, shape=loc.shape[-1:]), self.scale_tril)
        return centred.log_prob(targets - loc)

    def sample(self, key: Array, inputs: Array) -> Array:
        """Targets (..., E) for inputs (..., D)."""
        inputs, weights = numerics.as_float(inputs, self.weights)
        loc = jnp.matmul(inputs, weights, precision="highest")
        noise = MvNormal(jnp.zeros_like(loc, shape=loc.shape[-1:]), self.scale_tril)
        return loc + noise.sample(key, loc.shape[:-1])

    def e_step(self, x: tuple[Any, Any], weights: Any = None) -> tuple[RegressionStats, Array]:
        """(statistics, log probability) of a pair, summed with the weights."""
        log_prob = self.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        rows = jnp.concatenate(self._pair(x), axis=-1)
        rows = rows.reshape(-1, rows.shape[-1])
        joint = vector_moments(rows, weights.reshape(-1), jnp.zeros_like(rows[0]))
        return RegressionStats(joint), numerics.weighted_sum(weights, log_prob)

    def m_step(
        self, stats: RegressionStats, prior: "MatrixNormalInverseWishart | None" = None
    ) -> Self:
        """Least squares, or with a prior the posterior mode; empty statistics change nothing.

        Inputs that depend on each other linearly have no single solution, and give NaN.
        """
        if prior is not None:
            weights, covariance = prior.posterior(stats).mode()
            return type(self)(weights, jnp.linalg.cholesky(covariance))
        old, tril = numerics.as_float(self.weights, self.scale_tril)
        num_inputs = old.shape[0]
        seen = stats.joint.weight > 0
        eye = jnp.eye(num_inputs, dtype=old.dtype)
        gram, cross = _gram(stats.joint, num_inputs)
        weights = cho_solve((jnp.linalg.cholesky(jnp.where(seen, gram, eye)), True), cross)
        covariance = _residual(stats.joint, weights) / jnp.where(seen, stats.joint.weight, 1)
        new = jnp.linalg.cholesky(
            jnp.where(seen, covariance, jnp.eye(old.shape[1], dtype=old.dtype))
        )
        return type(self)(jnp.where(seen, weights, old), jnp.where(seen, new, tril))

    def _pair(self, x: tuple[Any, Any]) -> tuple[Array, Array]:
        inputs, targets, weights = numerics.as_float(*x, self.weights)
        num_inputs, num_targets = weights.shape[-2:]
        if (
            inputs.shape[-1:] != (num_inputs,)
            or targets.shape[-1:] != (num_targets,)
            or inputs.shape[:-1] != targets.shape[:-1]
        ):
            raise ValueError(
                f"LinearRegression: x must be (inputs (..., {num_inputs}), targets (..., "
                f"{num_targets})) with equal leading axes; got {inputs.shape} and {targets.shape}"
            )
        return inputs, targets


def _gram(joint: Moments, num_inputs: int) -> tuple[Array, Array]:
    """(inputs^T inputs (D, D), inputs^T targets (D, E)), summed with the weights."""
    second = joint.scatter + joint.weight * joint.mean[:, None] * joint.mean[None, :]
    return second[:num_inputs, :num_inputs], second[:num_inputs, num_inputs:]


def _residual(joint: Moments, weights: Array) -> Array:
    """(E, E) scatter of targets - inputs @ weights about zero, from centred moments."""
    num_targets = weights.shape[1]
    gap = jnp.concatenate([-weights, jnp.eye(num_targets, dtype=weights.dtype)], axis=0)
    inner = jnp.matmul(
        jnp.matmul(gap.T, joint.scatter, precision="highest"), gap, precision="highest"
    )
    mean = jnp.matmul(joint.mean, gap, precision="highest")
    return inner + joint.weight * mean[:, None] * mean[None, :]


@pytree
class MatrixNormalInverseWishart(Prior):
    """covariance ~ InverseWishart(dof, scale), weights | covariance ~ matrix normal with mean loc,
    precision between rows and that covariance between columns.

    The conjugate prior of `LinearRegression`; its values are pairs (weights (D, E),
    covariance (E, E)).

    Attributes:
      loc: (D, E), expected weights.
      precision: (D, D) positive definite: inputs^T inputs already seen.
      dof: scalar above E - 1.
      scale: (E, E) positive definite, residual scatter already seen.

    Source: Rowe (2003), Multivariate Bayesian Statistics, 8.4.

    Examples:
      >>> prior = MatrixNormalInverseWishart(jnp.zeros((1, 1)), jnp.eye(1), 4.0, jnp.eye(1))
      >>> print(prior.mean()[1])
      [[0.5]]
    """

    loc: Array
    precision: Array
    dof: Array = constrained(positive)
    scale: Array

    def _floats(self) -> list[Array]:
        return numerics.as_float(self.loc, self.precision, self.dof, self.scale)

    def log_prob(self, value: tuple[Array, Array]) -> Array:
        """Log density at one (weights, covariance), nats; NaN where it is not positive definite."""
        loc, precision, dof, scale = self._floats()
        weights, covariance = numerics.as_float(*value)
        num_inputs, num_targets = loc.shape
        gap = weights - loc
        spread = scale + jnp.matmul(jnp.matmul(gap.T, precision), gap)
        tril = jnp.linalg.cholesky(covariance)
        trace = jnp.trace(cho_solve((tril, True), spread))
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))
        return (
            self._log_normalizer()
            - num_inputs * num_targets * LOG_2PI / 2
            - (dof + num_targets + num_inputs + 1) / 2 * log_det
            - trace / 2
        )

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (weights (*shape, D, E), covariance (*shape, E, E))."""
        loc, precision, dof, scale = self._floats()
        key_covariance, key_weights = jax.random.split(key)
        zero = jnp.zeros_like(loc[0])
        _, covariance = NormalInverseWishart(zero, jnp.ones_like(dof), dof, scale).sample(
            key_covariance, shape
        )
        white = jax.random.normal(key_weights, (*shape, *loc.shape), loc.dtype)
        # rows with covariance precision^-1, columns with the drawn one
        rows = jnp.linalg.inv(jnp.linalg.cholesky(precision)).T
        columns = jnp.swapaxes(jnp.linalg.cholesky(covariance), -1, -2)
        gap = jnp.matmul(jnp.matmul(rows, white, precision="highest"), columns, precision="highest")
        return jnp.broadcast_to(loc, gap.shape) + gap, covariance

    def posterior(self, stats: RegressionStats) -> Self:
        """The prior's inputs and residuals with those of the data added."""
        loc, precision, dof, scale = self._floats()
        gram, cross = _gram(stats.joint, loc.shape[0])
        after = precision + gram
        weights = cho_solve(
            (jnp.linalg.cholesky(after), True),
            jnp.matmul(precision, loc, precision="highest") + cross,
        )
        gap = weights - loc
        pull = jnp.matmul(
            jnp.matmul(gap.T, precision, precision="highest"), gap, precision="highest"
        )
        return type(self)(
            weights, after, dof + stats.joint.weight, scale + pull + _residual(stats.joint, weights)
        )

    def mean(self) -> tuple[Array, Array]:
        """(loc, scale / (dof - E - 1)); the covariance has no mean (inf) where dof <= E + 1."""
        loc, _, dof, scale = self._floats()
        excess = dof - loc.shape[1] - 1
        return loc, jnp.where(excess > 0, scale / jnp.where(excess > 0, excess, 1), jnp.inf)

    def mode(self) -> tuple[Array, Array]:
        """(loc, scale / (dof + D + E + 1)), of weights and covariance jointly."""
        loc, _, dof, scale = self._floats()
        return loc, scale / (dof + loc.shape[0] + loc.shape[1] + 1)

    def predictive(self, inputs: Array) -> MvStudentT:
        """The distribution of the targets (E,) at one input (D,), with everything integrated out."""
        loc, precision, dof, scale = self._floats()
        inputs, _ = numerics.as_float(inputs, loc)
        num_targets = loc.shape[1]
        lever = jnp.sum(inputs * cho_solve((jnp.linalg.cholesky(precision), True), inputs))
        degrees = dof - num_targets + 1
        tril = jnp.linalg.cholesky(scale) * jnp.sqrt((1 + lever) / degrees)
        return MvStudentT(degrees, jnp.matmul(inputs, loc, precision="highest"), tril)

    def log_evidence(self, stats: RegressionStats) -> Array:
        """log p(targets | inputs) with weights and covariance integrated out, nats."""
        after = self.posterior(stats)
        num_targets = jnp.shape(self.loc)[1]
        constant = stats.joint.weight * num_targets * LOG_2PI / 2
        return self._log_normalizer() - after._log_normalizer() - constant

    def _log_normalizer(self) -> Array:
        loc, precision, dof, scale = self._floats()
        num_targets = loc.shape[1]
        return (
            dof / 2 * jnp.linalg.slogdet(scale)[1]
            - dof * num_targets / 2 * jnp.log(2.0).astype(loc.dtype)
            - multigammaln(dof / 2, num_targets)
            + num_targets / 2 * jnp.linalg.slogdet(precision)[1]
        )
