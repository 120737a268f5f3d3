"""Bayesian linear regression: targets that are linear in their inputs, and the conjugate prior."""

from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve
from jax.scipy.special import multigammaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive, scale_tril
from likelax.data import DataLike, Masked
from likelax.families.base import Prior, match_weights
from likelax.families.mv_normal import MvNormal
from likelax.families.normal import LOG_2PI
from likelax.families.normal_inverse_wishart import (
    NormalInverseWishart,
    inverse_wishart_variance,
)
from likelax.families.regression import Regression
from likelax.families.ridge import RidgePrior
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
class LinearRegression(Regression[RegressionStats, "MatrixNormalInverseWishart | RidgePrior"]):
    """target ~ MvNormal(input @ coefficients, L L^T) with L = scale_tril, for E targets at once.

    Data are pairs (inputs (..., D), targets (..., E)), or targets (...) where E is 1; the log
    probability is that of the targets given the inputs. A constant is an input of ones. Missing
    targets are marginalised exactly: of a row seen in part, `e_step` fills in the conditional mean
    and covariance of the others. In a `Mixture` it is a mixture of experts, in an `HMM` a
    regression that switches.

    Its conjugate prior is a `MatrixNormalInverseWishart`; a `RidgePrior` of the coefficients alone
    can be given in its place.

    Attributes:
      coefficients: (D, E).
      scale_tril: (E, E) lower triangular with a positive diagonal.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 14.

    Examples:
      >>> model = LinearRegression(jnp.zeros((1, 1)), jnp.eye(1))
      >>> x = (jnp.array([[1.0], [2.0], [3.0]]), jnp.array([2.1, 3.9, 6.0]))
      >>> print(model.m_step(model.e_step(x)[0]).coefficients.round(2))
      [[1.99]]
    """

    _target_ndim: ClassVar[int] = 1

    spread: ClassVar[tuple[str, ...]] = ("scale_tril",)

    coefficients: Array
    scale_tril: Array = constrained(scale_tril)

    def log_prob(self, x: DataLike) -> Array:
        """log p(targets | inputs), (...), nats: that of the targets seen of `Masked` ones.

        Raises:
          ValueError: unless x is a pair of the right shapes.
        """
        inputs, targets, seen = self._pair(x)
        gap = targets - self._loc(inputs)
        return self._noise().log_prob(gap if seen is None else Masked(gap, seen))

    def mean(self, inputs: DataLike | None = None) -> Array:
        """inputs @ coefficients: inputs (..., D) give (..., E)."""
        return self._loc(self._given("mean", inputs))

    def variance(self, inputs: DataLike | None = None) -> Array:
        """The diagonal of L L^T for every row of inputs (..., D): (..., E)."""
        inputs = self._given("variance", inputs)
        variance = self._noise().variance()
        return jnp.broadcast_to(variance, (*inputs.shape[:-1], *variance.shape))

    def e_step(
        self, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[RegressionStats, Array]:
        """(statistics, log probability) of a pair, summed with the weights.

        A row of which no target was seen has weight zero. Of a row seen in part the moments are
        expected ones under this model, so that `m_step` is a step of EM.
        """
        inputs, targets, seen = self._pair(x)
        weights = match_weights(weights, inputs.shape[:-1], inputs.dtype)
        loc = self._loc(inputs)
        gap = targets - loc
        num_targets = loc.shape[-1]
        unseen = jnp.zeros((num_targets, num_targets), loc.dtype)
        if seen is None:
            log_prob = self._noise().log_prob(gap)
        else:
            log_prob, gap, extra = self._noise().complete(gap, seen)
            weights = jnp.where(jnp.any(seen, axis=-1), weights, 0)
            unseen = jnp.tensordot(weights, extra, axes=weights.ndim, precision="highest")
            targets = jnp.where(seen, targets, loc + gap)
        rows = jnp.concatenate([inputs, targets], axis=-1)
        rows = jnp.where((weights != 0)[..., None], rows, 0).reshape(-1, rows.shape[-1])
        joint = vector_moments(rows, weights.reshape(-1), jnp.zeros_like(rows[0]))
        joint = Moments(joint.weight, joint.mean, _add_to_targets(joint.scatter, unseen))
        return RegressionStats(joint), numerics.weighted_sum(weights, log_prob)

    def m_step(
        self, stats: RegressionStats, prior: "MatrixNormalInverseWishart | RidgePrior | None" = None
    ) -> Self:
        """Least squares, or with a prior the posterior mode; empty statistics change nothing.

        With a `RidgePrior` and E targets the mode has no closed form: the coefficients are best
        given the covariance, then the covariance given them, so that the log joint never falls.
        Inputs that depend on each other linearly have no single solution without a prior, and
        give NaN.

        Source: Meng & Rubin (1993), Biometrika 80, 267-278.
        """
        if isinstance(prior, MatrixNormalInverseWishart):
            coefficients, covariance = prior.posterior(stats).mode()
            return type(self)(coefficients, jnp.linalg.cholesky(covariance))
        old, tril = numerics.as_float(self.coefficients, self.scale_tril)
        num_inputs = old.shape[0]
        seen = stats.joint.weight > 0
        if prior is None:
            coefficients = jnp.where(seen, _least_squares(stats.joint, num_inputs), old)
        else:
            coefficients = self._ridge(stats.joint, prior)
        covariance = _residual(stats.joint, coefficients) / jnp.where(seen, stats.joint.weight, 1)
        new = jnp.linalg.cholesky(
            jnp.where(seen, covariance, jnp.eye(old.shape[1], dtype=old.dtype))
        )
        return type(self)(coefficients, jnp.where(seen, new, tril))

    def expected_log_prob(self, stats: RegressionStats) -> Array:
        """-(trace of precision times residual scatter) / 2 - weight times the constant, nats."""
        coefficients, tril, weight = numerics.as_float(
            self.coefficients, self.scale_tril, stats.joint.weight
        )
        residual = Moments(weight, jnp.zeros_like(tril[0]), _residual(stats.joint, coefficients))
        return self._noise().expected_log_prob(residual)

    def log_prior(self, prior: "MatrixNormalInverseWishart | RidgePrior | None") -> Array:
        """Log density of the parameters under a prior, nats; 0 without one."""
        if prior is None:
            return jnp.zeros(())
        if isinstance(prior, RidgePrior):
            return prior.log_prob(self.coefficients)
        return prior.log_prob(self.parameter())

    def parameter(self) -> tuple[Array, Array]:
        """(coefficients, covariance), as a matrix-normal-inverse-Wishart prior describes them."""
        return jnp.asarray(self.coefficients), self._noise().covariance

    def pool(self, stats: RegressionStats) -> RegressionStats:
        """Statistics of K models, each with its share of the total residual scatter.

        The coefficients of each stay those of its own least squares: only the block of the targets
        changes, by what the residual scatter lacks of its share.
        """
        num_inputs = jnp.shape(self.coefficients)[-2]
        joint = stats.joint

        def own(joint: Moments) -> Array:
            fitted = _least_squares(joint, num_inputs)
            return jnp.where(joint.weight > 0, _residual(joint, fitted), 0)

        scatter = jax.vmap(own)(joint)
        share = numerics.divide(joint.weight, jnp.sum(joint.weight), 0.0)
        pooled = share[:, None, None] * jnp.sum(scatter, axis=0, keepdims=True)
        moved = jax.vmap(_add_to_targets)(joint.scatter, pooled - scatter)
        return RegressionStats(Moments(joint.weight, joint.mean, moved))

    def _noise(self) -> MvNormal:
        coefficients, tril = numerics.as_float(self.coefficients, self.scale_tril)
        return MvNormal(jnp.zeros_like(coefficients[0]), tril)

    def _loc(self, inputs: Array) -> Array:
        inputs, coefficients = numerics.as_float(inputs, self.coefficients)
        return jnp.matmul(inputs, coefficients, precision="highest")

    def _draw(self, key: Array, inputs: Array) -> Array:
        loc = self._loc(inputs)
        return loc + self._noise().sample(key, loc.shape[:-1])

    def _ridge(self, joint: Moments, prior: RidgePrior) -> Array:
        """The coefficients that are best under a ridge prior, given the covariance."""
        old, tril = numerics.as_float(self.coefficients, self.scale_tril)
        num_inputs, num_targets = old.shape
        gram, cross = _gram(joint, num_inputs)
        inverse = cho_solve((tril, True), jnp.eye(num_targets, dtype=tril.dtype))
        penalty = prior.matched(old).reshape(-1)
        # without rows, coefficients without a penalty stay as they are
        free = (penalty == 0) & (joint.weight == 0)
        matrix = jnp.kron(gram, inverse) + jnp.diag(jnp.where(free, 1, penalty))
        target = jnp.matmul(cross, inverse, precision="highest").reshape(-1)
        target = jnp.where(free, old.reshape(-1), target)
        return cho_solve((jnp.linalg.cholesky(matrix), True), target).reshape(old.shape)

    def _match_targets(self, inputs: Array, targets: Array) -> Array:
        num_inputs, num_targets = jnp.shape(self.coefficients)
        _, targets = numerics.as_float(inputs, targets)
        if num_targets == 1 and targets.shape == inputs.shape[:-1]:
            targets = targets[..., None]
        if targets.shape != (*inputs.shape[:-1], num_targets):
            raise ValueError(
                f"LinearRegression: x must be (inputs (..., {num_inputs}), targets (..., "
                f"{num_targets})) with equal leading axes; got {inputs.shape} and {targets.shape}"
            )
        return targets


def _least_squares(joint: Moments, num_inputs: int) -> Array:
    """(D, E) coefficients of least squares; any where the weight is 0."""
    gram, cross = _gram(joint, num_inputs)
    eye = jnp.eye(num_inputs, dtype=gram.dtype)
    return cho_solve((jnp.linalg.cholesky(jnp.where(joint.weight > 0, gram, eye)), True), cross)


def _add_to_targets(scatter: Array, extra: Array) -> Array:
    """Scatter (D + E, D + E) with (E, E) added to the block of the targets."""
    num_inputs = scatter.shape[0] - extra.shape[0]
    return scatter.at[num_inputs:, num_inputs:].add(extra)


def _gram(joint: Moments, num_inputs: int) -> tuple[Array, Array]:
    """(inputs^T inputs (D, D), inputs^T targets (D, E)), summed with the weights."""
    second = joint.scatter + joint.weight * joint.mean[:, None] * joint.mean[None, :]
    return second[:num_inputs, :num_inputs], second[:num_inputs, num_inputs:]


def _residual(joint: Moments, coefficients: Array) -> Array:
    """(E, E) scatter of targets - inputs @ coefficients about zero, from centred moments."""
    num_targets = coefficients.shape[1]
    gap = jnp.concatenate([-coefficients, jnp.eye(num_targets, dtype=coefficients.dtype)], axis=0)
    inner = jnp.matmul(
        jnp.matmul(gap.T, joint.scatter, precision="highest"), gap, precision="highest"
    )
    mean = jnp.matmul(joint.mean, gap, precision="highest")
    return inner + joint.weight * mean[:, None] * mean[None, :]


@pytree
class MatrixNormalInverseWishart(Prior[RegressionStats]):
    """covariance ~ InverseWishart(dof, scale), coefficients | covariance ~ matrix normal with mean loc,
    precision between rows and that covariance between columns.

    The conjugate prior of `LinearRegression`; its values are pairs (coefficients (D, E),
    covariance (E, E)).

    Attributes:
      loc: (D, E), expected coefficients.
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
        """Log density at one (coefficients, covariance), nats; NaN where it is not positive definite."""
        loc, precision, dof, scale = self._floats()
        coefficients, covariance = numerics.as_float(*value)
        num_inputs, num_targets = loc.shape
        gap = coefficients - loc
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
        """Draws (coefficients (*shape, D, E), covariance (*shape, E, E))."""
        loc, precision, dof, scale = self._floats()
        key_covariance, key_coefficients = jax.random.split(key)
        zero = jnp.zeros_like(loc[0])
        _, covariance = NormalInverseWishart(zero, jnp.ones_like(dof), dof, scale).sample(
            key_covariance, shape
        )
        white = jax.random.normal(key_coefficients, (*shape, *loc.shape), loc.dtype)
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
        coefficients = cho_solve(
            (jnp.linalg.cholesky(after), True),
            jnp.matmul(precision, loc, precision="highest") + cross,
        )
        gap = coefficients - loc
        pull = jnp.matmul(
            jnp.matmul(gap.T, precision, precision="highest"), gap, precision="highest"
        )
        return type(self)(
            coefficients,
            after,
            dof + stats.joint.weight,
            scale + pull + _residual(stats.joint, coefficients),
        )

    def mean(self) -> tuple[Array, Array]:
        """(loc, scale / (dof - E - 1)); the covariance has no mean (inf) where dof <= E + 1."""
        loc, _, dof, scale = self._floats()
        excess = dof - loc.shape[1] - 1
        return loc, jnp.where(excess > 0, scale / jnp.where(excess > 0, excess, 1), jnp.inf)

    def variance(self) -> tuple[Array, Array]:
        """Variances of the coefficients (D, E) and of the entries of the covariance (E, E).

        inf where they do not exist: dof <= E + 1, and dof <= E + 3 for the covariance.
        """
        _, precision, dof, scale = self._floats()
        rows = jnp.diagonal(jnp.linalg.inv(precision))
        columns = jnp.diagonal(self.mean()[1])
        return rows[:, None] * columns[None, :], inverse_wishart_variance(dof, scale)

    def mode(self) -> tuple[Array, Array]:
        """(loc, scale / (dof + D + E + 1)), of coefficients and covariance jointly."""
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
        """log p(targets | inputs) with coefficients and covariance integrated out, nats."""
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
