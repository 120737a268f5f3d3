"""Bayesian linear regression: targets that are linear in their inputs, and the conjugate prior."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import multigammaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive, positive_definite, scale_tril
from likelax.data import DataLike, Masked
from likelax.families.base import Prior, match_weights, mean_of_used
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
from likelax.one_program import one_program
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
    targets are marginalised exactly: `e_step` uses their conditional mean and covariance given the
    observed targets of the row. In a `Mixture` it is a mixture of experts, in an `HMM` a
    regression that switches.

    Its conjugate prior is a `MatrixNormalInverseWishart`; a `RidgePrior` of the coefficients alone
    can be given in its place.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

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

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """log p(targets | inputs), (...), nats: that of the observed targets of `Masked` ones.

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

    @one_program
    def e_step(
        self, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[RegressionStats, Array]:
        """(statistics, log probability) of a pair, summed with the weights.

        A row without observed targets has weight zero. For a row with some missing targets the
        moments are their expectations under this model, so that `m_step` is a step of EM.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
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

        With a `RidgePrior` and E targets the mode has no closed form: the coefficients are
        maximised given the covariance, and then the covariance given them, so the log joint never
        falls. Linearly dependent inputs have no unique solution without a prior, and give NaN.

        Source: Meng & Rubin (1993), Biometrika 80, 267-278.
        """
        if isinstance(prior, MatrixNormalInverseWishart):
            coefficients, covariance = prior.posterior(stats).mode()
            return type(self)(coefficients, numerics.cholesky(covariance))
        old, tril = numerics.as_float(self.coefficients, self.scale_tril)
        seen = stats.joint.weight > 0
        if prior is None:
            found = eliminate(stats.joint, old.shape[0])
            coefficients, residual = jnp.where(seen, found.coefficients, old), found.residual
        else:
            coefficients = self._ridge(stats.joint, prior)
            residual = _residual(stats.joint, coefficients)
        covariance = residual / jnp.where(seen, stats.joint.weight, 1)
        eye = jnp.eye(old.shape[1], dtype=old.dtype)
        new = numerics.cholesky(jnp.where(seen, covariance, eye))
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

        The coefficients of each model stay those of its own least squares. Only the block of the
        targets changes, by the difference between its share and its residual scatter.
        """
        num_inputs = jnp.shape(self.coefficients)[-2]
        return _share(
            stats, jax.vmap(lambda joint: eliminate(joint, num_inputs).residual)(stats.joint)
        )

    def pool_with_prior(
        self,
        stats: RegressionStats,
        prior: "MatrixNormalInverseWishart | RidgePrior | None",
        used: Array | None = None,
    ) -> tuple[RegressionStats, "MatrixNormalInverseWishart | RidgePrior | None"]:
        """`pool` with a prior of each of K models; a `RidgePrior` is of the coefficients alone."""
        if not isinstance(prior, RidgePrior):
            return super().pool_with_prior(stats, prior, used)

        def own(model: Self, joint: Moments, prior: RidgePrior) -> Array:
            return _residual(joint, model._ridge(joint, prior))

        return _share(stats, jax.vmap(own)(self, stats.joint, prior)), prior

    def _noise(self) -> MvNormal:
        coefficients, tril = numerics.as_float(self.coefficients, self.scale_tril)
        return MvNormal(jnp.zeros_like(coefficients[0]), tril)

    def _loc(self, inputs: Array) -> Array:
        inputs, coefficients = numerics.as_float(inputs, self.coefficients)
        return numerics.matmul(inputs, coefficients)

    def _draw(self, key: Array, inputs: Array) -> Array:
        loc = self._loc(inputs)
        return loc + self._noise().sample(key, loc.shape[:-1])

    def _ridge(self, joint: Moments, prior: RidgePrior) -> Array:
        """The coefficients that are best under a ridge prior, given the covariance."""
        old, tril = numerics.as_float(self.coefficients, self.scale_tril)
        num_inputs, num_targets = old.shape
        penalty = prior.matched(old).reshape(-1)
        if num_targets == 1:
            extra = jnp.pad(jnp.diag(penalty * tril[0, 0] ** 2), (0, 1))
            found = eliminate(joint, num_inputs, extra).coefficients
            # without rows, coefficients without a penalty stay as they are
            kept = (joint.weight == 0) & (penalty[:, None] == 0)
            return jnp.where(kept, old, jnp.where(joint.weight == 0, 0, found))
        gram, cross = _gram(joint, num_inputs)
        inverse = numerics.solve_cholesky(tril, jnp.eye(num_targets, dtype=tril.dtype))
        # without rows, coefficients without a penalty stay as they are
        free = (penalty == 0) & (joint.weight == 0)
        matrix = jnp.kron(gram, inverse) + jnp.diag(jnp.where(free, 1, penalty))
        target = numerics.matmul(cross, inverse).reshape(-1)
        target = jnp.where(free, old.reshape(-1), target)
        return numerics.solve_cholesky(numerics.cholesky(matrix), target).reshape(old.shape)

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


class Eliminated(NamedTuple):
    """What is left of inputs and targets after least squares.

    Attributes:
      coefficients: (D, E).
      residual: (E, E) scatter of the targets about what the inputs explain.
      log_det: log determinant of inputs^T inputs.
    """

    coefficients: Array
    residual: Array
    log_det: Array


def eliminate(joint: Moments, num_inputs: int, extra: Array | None = None) -> Eliminated:
    """Least squares of targets on inputs, from their centred moments.

    Gaussian elimination of the D inputs from the second moments about zero, S + w m m^T. S and the
    term of the mean are kept apart: their sum would lose what inputs far from zero differ in.

    Args:
      joint: of the rows (input, target).
      num_inputs: D.
      extra: (D + E, D + E) that a prior adds to the scatter, or None.
    Returns:
      `Eliminated`, NaN where an input is a linear combination of those before it to rounding.
    """
    scatter = joint.scatter if extra is None else joint.scatter + extra
    size, eps = scatter.shape[0], jnp.finfo(scatter.dtype).eps
    least = 2 * size * eps * jnp.diagonal(scatter)

    def step(p: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        scatter, mean, weight, rows, pivots = state
        own, column, at = scatter[p, p], scatter[p], mean[p]
        pivot = own + weight * at**2
        pivot = jnp.where(pivot > least[p], pivot, jnp.nan)
        rows = rows.at[p].set((column + weight * at * mean) / pivot)
        # a constant input has no scatter: it takes the term of the mean, and nothing else
        varies = own > 0
        safe = jnp.where(varies, own, 1)
        column = jnp.where(varies, column, 0)
        scatter = scatter - column[:, None] * (column / safe)[None, :]
        mean = mean - (at / safe) * column
        return scatter, mean, weight * (own / pivot), rows, pivots.at[p].set(pivot)

    rows, pivots = jnp.zeros((num_inputs, size), scatter.dtype), jnp.zeros_like(scatter[0])
    start = (scatter, joint.mean, joint.weight, rows, pivots[:num_inputs])
    scatter, mean, weight, rows, pivots = jax.lax.fori_loop(0, num_inputs, step, start)
    left = scatter[num_inputs:, num_inputs:]
    mean = mean[num_inputs:]
    upper = rows[::-1, :num_inputs][:, ::-1]
    unit = jnp.tril(upper, -1) + jnp.eye(num_inputs, dtype=rows.dtype)
    coefficients = numerics.solve_lower(unit, rows[::-1, num_inputs:])[::-1]
    residual = left + weight * mean[:, None] * mean[None, :]
    return Eliminated(coefficients, residual, jnp.sum(jnp.log(pivots)))


def _share(stats: RegressionStats, residual: Array) -> RegressionStats:
    """Statistics of K models, each with its share of the total of their residual scatters (K, E, E)."""
    joint = stats.joint
    residual = jnp.where((joint.weight > 0)[:, None, None], residual, 0)
    share = numerics.divide(joint.weight, jnp.sum(joint.weight), 0.0)
    pooled = share[:, None, None] * jnp.sum(residual, axis=0, keepdims=True)
    moved = jax.vmap(_add_to_targets)(joint.scatter, pooled - residual)
    return RegressionStats(Moments(joint.weight, joint.mean, moved))


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
    inner = numerics.matmul(numerics.matmul(gap.T, joint.scatter), gap)
    mean = numerics.matmul(joint.mean, gap)
    return inner + joint.weight * mean[:, None] * mean[None, :]


@pytree
class MatrixNormalInverseWishart(Prior[RegressionStats]):
    """covariance ~ InverseWishart(dof, scale), coefficients | covariance ~ matrix normal with mean loc,
    precision between rows and that covariance between columns.

    The conjugate prior of `LinearRegression`; its values are pairs (coefficients (D, E),
    covariance (E, E)).

    Float32: log density within 5e-4 of 1 + its size for dof up to 100, and of one rounding of
    the arguments.

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

    of_spread: ClassVar[tuple[str, ...]] = ("dof", "scale")

    loc: Array
    precision: Array = constrained(positive_definite)
    dof: Array = constrained(positive)
    scale: Array = constrained(positive_definite)

    def _floats(self) -> list[Array]:
        return numerics.as_float(self.loc, self.precision, self.dof, self.scale)

    def log_prob(self, value: tuple[Array, Array]) -> Array:
        """Log density at one (coefficients, covariance), nats; NaN where it is not positive definite."""
        loc, precision, dof, scale = self._floats()
        coefficients, covariance = numerics.as_float(*value)
        num_inputs, num_targets = loc.shape
        gap = coefficients - loc
        spread = scale + numerics.matmul(numerics.matmul(gap.T, precision), gap)
        tril = numerics.cholesky(covariance)
        trace = jnp.trace(numerics.solve_cholesky(tril, spread))
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))
        return (
            self._log_normalizer()
            - num_inputs * num_targets * LOG_2PI / 2
            - (dof + num_targets + num_inputs + 1) / 2 * log_det
            - trace / 2
        )

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (coefficients (*shape, D, E), covariance (*shape, E, E)).

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        loc, precision, dof, scale = self._floats()
        key_covariance, key_coefficients = jax.random.split(key)
        zero = jnp.zeros_like(loc[0])
        _, covariance = NormalInverseWishart(zero, jnp.ones_like(dof), dof, scale).sample(
            key_covariance, shape
        )
        white = jax.random.normal(key_coefficients, (*shape, *loc.shape), loc.dtype)
        # rows with covariance precision^-1, columns with the drawn one
        rows = numerics.inverse_lower(numerics.cholesky(precision)).T
        columns = jnp.swapaxes(numerics.cholesky(covariance), -1, -2)
        gap = numerics.matmul(numerics.matmul(rows, white), columns)
        return jnp.broadcast_to(loc, gap.shape) + gap, covariance

    def posterior(self, stats: RegressionStats) -> Self:
        """The prior with the inputs and residuals of the data added."""
        _, precision, dof, _ = self._floats()
        gram, _ = _gram(stats.joint, precision.shape[0])
        found = self._eliminated(stats)
        return type(self)(
            found.coefficients, precision + gram, dof + stats.joint.weight, found.residual
        )

    def pooled(self, used: Array | None = None) -> Self:
        """K of them, stacked: the same, with the covariance that is most probable under all."""
        share = mean_of_used(self._floats()[2:], used)
        return type(self)(self.loc, self.precision, *share)

    def _eliminated(self, stats: RegressionStats) -> Eliminated:
        """Least squares of the data and of what was already seen."""
        loc, precision, _, scale = self._floats()
        cross = numerics.matmul(precision, loc)
        corner = scale + numerics.matmul(loc.T, cross)
        return eliminate(
            stats.joint, loc.shape[0], jnp.block([[precision, cross], [cross.T, corner]])
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
        eye = jnp.eye(precision.shape[0], dtype=precision.dtype)
        rows = jnp.diagonal(numerics.solve_cholesky(numerics.cholesky(precision), eye))
        columns = jnp.diagonal(self.mean()[1])
        return rows[:, None] * columns[None, :], inverse_wishart_variance(dof, scale)

    def mode(self) -> tuple[Array, Array]:
        """(loc, scale / (dof + D + E + 1)), of coefficients and covariance jointly."""
        loc, _, dof, scale = self._floats()
        return loc, scale / (dof + loc.shape[0] + loc.shape[1] + 1)

    def predictive(self, inputs: Array) -> MvStudentT:
        """The distribution of the targets (E,) at one input (D,), with all parameters integrated out."""
        loc, precision, dof, scale = self._floats()
        inputs, _ = numerics.as_float(inputs, loc)
        num_targets = loc.shape[1]
        lever = jnp.sum(numerics.solve_lower(numerics.cholesky(precision), inputs) ** 2)
        degrees = dof - num_targets + 1
        tril = numerics.cholesky(scale) * jnp.sqrt((1 + lever) / degrees)
        return MvStudentT(degrees, numerics.matmul(inputs, loc), tril)

    def log_evidence(self, stats: RegressionStats) -> Array:
        """log p(targets | inputs) with coefficients and covariance integrated out, nats."""
        after, num_targets = self.posterior(stats), jnp.shape(self.loc)[1]
        constant = stats.joint.weight * num_targets * LOG_2PI / 2
        log_det = self._eliminated(stats).log_det
        return self._log_normalizer() - after._log_normalizer(log_det) - constant

    def _log_normalizer(self, log_det: Array | None = None) -> Array:
        """log_det: of the precision, where it is known better than from its entries."""
        loc, precision, dof, scale = self._floats()
        num_targets = loc.shape[1]
        log_det = _log_det(precision) if log_det is None else log_det
        return (
            dof / 2 * _log_det(scale)
            - dof * num_targets / 2 * jnp.log(2.0).astype(loc.dtype)
            - multigammaln(dof / 2, num_targets)
            + num_targets / 2 * log_det
        )


def _log_det(positive: Array) -> Array:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(numerics.cholesky(positive))))
