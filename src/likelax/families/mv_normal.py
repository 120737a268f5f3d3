"""The multivariate normal distribution with a full covariance."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, scale_tril
from likelax.data import DataLike, is_plain, split_mask
from likelax.families import conditional, mv_normal_batch
from likelax.families.base import Family, check_location_and_scale, match_weights
from likelax.families.normal import LOG_2PI
from likelax.families.student_t import MvStudentT
from likelax.model import Dims, pytree
from likelax.numerics.special import deviance
from likelax.one_program import one_program
from likelax.statistics import Moments, pool_scatter, vector_moments

if TYPE_CHECKING:
    from likelax.families.normal_inverse_wishart import NormalInverseWishart

# below so many rows times components the plain verbs compile in half the time and run as fast
FEW_TERMS = 2048


@pytree
class MvNormal(Family[Moments, "NormalInverseWishart"]):
    """log p(x) = -|L^-1 (x - loc)|^2 / 2 - log det L - D log(2 pi) / 2, with L = scale_tril

    Missing entries are marginalised exactly: `log_prob` is that of the entries seen, and
    `e_step` fills in the conditional mean and covariance of the others. In float32 a fit is as right as
    that of a `Normal` in every direction: 1e-5 of the covariance for up to 1e7 rows as far as
    1e6 standard deviations from zero.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: (D,).
      scale_tril: (D, D) lower triangular with a positive diagonal; the covariance is L L^T.
        `m_step` gives NaN where the scatter is singular to rounding (fewer rows than D, a
        constant column, duplicates), which `fit.em` reports as COLLAPSED; a prior prevents it.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 3.2 and 3.3.

    Examples:
      >>> from likelax import Masked
      >>> model = MvNormal(jnp.zeros(2), jnp.eye(2))
      >>> half = Masked.from_nan(jnp.array([0.0, jnp.nan]))
      >>> print(f"{model.log_prob(jnp.zeros(2)):.4f} {model.log_prob(half):.4f}")
      -1.8379 -0.9189
    """

    _event_ndim: ClassVar[int] = 1

    _finite_statistics = True
    spread: ClassVar[tuple[str, ...]] = ("scale_tril",)

    loc: Array
    scale_tril: Array = constrained(scale_tril)

    def check_shapes(self, name: str) -> None:
        """Raise unless loc ends in (D,) and scale_tril in (D, D).

        Raises:
          ValueError: starting with `name`.
        """
        check_location_and_scale(name, self.loc, self.scale_tril)

    @classmethod
    def from_covariance(cls, loc: ArrayLike, covariance: ArrayLike) -> Self:
        """From a mean (D,) and a positive definite covariance (D, D).

        A matrix that is not positive definite gives NaN.

        Raises:
          ValueError: for arrays of other shapes.

        Examples:
          >>> covariance = jnp.array([[4.0, 0.0], [0.0, 9.0]])
          >>> print(MvNormal.from_covariance(jnp.zeros(2), covariance).scale_tril)
          [[2. 0.]
           [0. 3.]]
        """
        loc, covariance = numerics.named_floats(loc=loc, covariance=covariance)
        if covariance.shape[-2:] != (loc.shape[-1:] * 2) or loc.ndim == 0:
            raise ValueError(
                f"loc must have shape (D,) and covariance (D, D); got {loc.shape} "
                f"and {covariance.shape}"
            )
        return cls(loc, numerics.cholesky(covariance))

    @property
    def covariance(self) -> Array:
        """(D, D), L L^T."""
        (tril,) = numerics.as_float(jnp.tril(self.scale_tril))
        return numerics.matmul(tril, tril.T)

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log density at x (..., D), or at the observed entries of `Masked` x: (...), nats.

        Raises:
          ValueError: for x with another number of features.
        """
        values, observed = split_mask(x)
        if observed is None:
            return self._log_density(values)
        self._check(values)
        return self.complete(values, observed)[0]

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[Moments, Array]:
        """Moments of x and its log probability, summed with the weights.

        A row without observed entries has weight zero. For a row with some missing entries the
        moments are their expectations under this model, so that `m_step` is a step of EM.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        values, observed = split_mask(x)
        if observed is None:
            return super().e_step(x, weights)
        self._check(values)
        log_prob, filled, extra = self.complete(values, observed)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        weights = jnp.where(jnp.any(observed, axis=-1), weights, 0)
        stats = self._statistics(filled, weights)
        unseen = jnp.tensordot(weights, extra, axes=weights.ndim, precision="highest")
        stats = Moments(stats.weight, stats.mean, stats.scatter + unseen)
        return stats, numerics.weighted_sum(weights, log_prob)

    def mixture_e_step(
        self, log_weights: Array, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[Array, Moments, Array] | None:
        """The E step of a mixture whose K components are stacked in self, as one product.

        None for few rows, for which the plain form compiles faster, and for wrapped x.

        Raises:
          ValueError: for weights of another shape than the rows of x.
        """
        rows = self._rows(x)
        if rows is None:
            return None
        x, log_weights, _ = numerics.as_float(x, log_weights, self.loc)
        weights = match_weights(weights, x.shape[:-1], x.dtype)
        return mv_normal_batch.e_step(self, log_weights, x.reshape(rows), weights.reshape(-1))

    @one_program
    def stacked_log_prob(self, x: DataLike) -> Array:
        """log p_k(x) of K models, stacked in self, as one product where that is faster."""
        rows = self._rows(x)
        if rows is None:
            return super().stacked_log_prob(x)
        x, _ = numerics.as_float(x, self.loc)
        log_prob = mv_normal_batch.log_prob(self, x.reshape(rows))
        return log_prob.reshape(*x.shape[:-1], log_prob.shape[-1])

    @one_program
    def stacked_e_step(self, x: DataLike, shares: Array) -> Moments:
        """Moments of K models, stacked in self, as one product where that is faster."""
        rows = self._rows(x)
        if rows is None or jnp.shape(shares)[:-1] != jnp.shape(x)[:-1]:
            return super().stacked_e_step(x, shares)
        x, shares, _ = numerics.as_float(x, shares, self.loc)
        return mv_normal_batch.statistics(
            self, x.reshape(rows), shares.reshape(rows[0], shares.shape[-1])
        )

    def pool(self, stats: Moments) -> Moments:
        """Moments of K models, each with the weight and scatter of all."""
        return pool_scatter(stats)

    def _rows(self, x: DataLike) -> tuple[int, int] | None:
        """(N, D) of plain data of many rows for K models, stacked in self; else None."""
        if not is_plain(x) or jnp.ndim(self.scale_tril) != 3:
            return None
        num_components, num_dims = jnp.shape(self.loc)
        shape = jnp.shape(x)
        if len(shape) < 2 or shape[-1] != num_dims:
            return None
        num_rows = math.prod(shape[:-1])
        known = isinstance(num_rows, int)  # symbolic for `jax.export`
        many = known and num_rows * num_components >= FEW_TERMS
        return (num_rows, num_dims) if many else None

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, D)."""
        loc, tril = numerics.as_float(self.loc, self.scale_tril)
        white = jax.random.normal(key, (*shape, loc.shape[-1]), loc.dtype)
        return jnp.broadcast_to(loc, white.shape) + numerics.matmul(white, tril.T)

    def mean(self) -> Array:
        """loc."""
        return jnp.asarray(self.loc)

    def variance(self) -> Array:
        """The diagonal of the covariance, (D,)."""
        return jnp.diagonal(self.covariance)

    def entropy(self) -> Array:
        """log det scale_tril + D (1 + log(2 pi)) / 2, nats."""
        (tril,) = numerics.as_float(self.scale_tril)
        half = tril.shape[-1] / 2
        return jnp.sum(jnp.log(jnp.diagonal(tril))) + half * (1 + LOG_2PI)

    def kl_divergence(self, other: Self) -> Array:
        """(|L'^-1 L|^2 - D + |L'^-1 (loc - loc')|^2) / 2 - log det L'^-1 L, L scale_tril, nats."""
        self._same_type(other)
        loc, tril, loc0, tril0 = numerics.as_float(
            self.loc, jnp.tril(self.scale_tril), other.loc, jnp.tril(other.scale_tril)
        )
        ratio = numerics.solve_lower(tril0, tril)
        apart = numerics.solve_lower(tril0, loc - loc0)
        squares = jnp.diagonal(ratio) ** 2
        rest = jnp.sum(jnp.tril(ratio, -1) ** 2) + jnp.sum(apart**2)
        return (jnp.sum(deviance(jnp.ones_like(squares), squares)) + rest) / 2

    def marginal(self, dims: Dims) -> Self:
        """The distribution of the entries `dims` (M,) alone.

        Raises:
          ValueError: for entries that are not there, or named twice.
        """
        at = self._entries(dims)
        return self.from_covariance(jnp.asarray(self.loc)[at], self.covariance[np.ix_(at, at)])

    def condition(self, dims: Dims, values: ArrayLike) -> Self:
        """The distribution of the other entries, in their order, given entries `dims` = values.

        mean = loc_r + S_rd S_dd^-1 (values - loc_d), covariance = S_rr - S_rd S_dd^-1 S_dr

        Args:
          dims: (M,) integers known when traced.
          values: (M,).
        Source: Bishop (2006), Pattern Recognition and Machine Learning, 2.3.1.
        """
        values, loc, covariance = numerics.as_float(values, self.loc, self.covariance)
        at = self._entries(dims)
        rest = np.setdiff1d(np.arange(loc.shape[-1]), at)
        tril = numerics.cholesky(covariance[np.ix_(at, at)])
        half = numerics.solve_lower(tril, covariance[np.ix_(at, rest)])
        white = numerics.solve_lower(tril, values - loc[at])
        mean = loc[rest] + numerics.matmul(half.T, white)
        removed = numerics.matmul(half.T, half)
        return self.from_covariance(mean, covariance[np.ix_(rest, rest)] - removed)

    def expected_log_prob(self, stats: Moments) -> Array:
        """-(trace of precision times scatter about loc) / 2 - weight times the constant, nats."""
        loc, whiten, log_norm = self._whitener()
        inner = numerics.matmul(whiten, stats.about(loc))
        return -jnp.sum(inner * whiten) / 2 + stats.weight * log_norm

    def parameter(self) -> tuple[Array, Array]:
        """(loc, covariance), as a normal-inverse-Wishart prior describes them."""
        return jnp.asarray(self.loc), self.covariance

    def predictive(self, prior: "NormalInverseWishart") -> MvStudentT:
        """Multivariate t with dof - D + 1 degrees of freedom."""
        loc, kappa, dof, scale = numerics.as_float(prior.loc, prior.kappa, prior.dof, prior.scale)
        dof = dof - loc.shape[-1] + 1
        return MvStudentT(dof, loc, numerics.cholesky(scale * ((kappa + 1) / (kappa * dof))))

    def _whitener(self) -> tuple[Array, Array, Array]:
        """(loc, L^-1, the log density at loc)."""
        loc, tril = numerics.as_float(self.loc, self.scale_tril)
        whiten = numerics.inverse_lower(tril)
        log_norm = -jnp.sum(jnp.log(jnp.diagonal(tril))) - loc.shape[-1] * LOG_2PI / 2
        return loc, whiten, log_norm

    def _entries(self, dims: Dims) -> np.ndarray:
        """Entries as integers from 0."""
        num_dims = jnp.shape(self.loc)[-1]
        at = np.asarray(dims)
        fine = at.ndim == 1 and at.size > 0 and np.issubdtype(at.dtype, np.integer)
        if not fine or np.any((at < -num_dims) | (at >= num_dims)):
            raise ValueError(
                f"MvNormal: dims must be integers (M,) in 0..{num_dims - 1}; got {dims}"
            )
        if np.unique(at % num_dims).size < at.size:
            raise ValueError(f"MvNormal: dims must differ; got {dims}")
        return at % num_dims

    def _check(self, x: Array) -> None:
        num_dims = jnp.shape(self.loc)[-1]
        if x.ndim == 0 or x.shape[-1] != num_dims:
            raise ValueError(f"MvNormal: x must have shape (..., {num_dims}); got {x.shape}")

    def _log_density(self, x: Array) -> Array:
        self._check(x)
        loc, whiten, log_norm = self._whitener()
        x, whiten = numerics.as_float(x, whiten)
        white = numerics.matmul(x - jnp.broadcast_to(loc, x.shape), whiten.T)
        return -jnp.sum(white * white, axis=-1) / 2 + log_norm

    def complete(self, values: Array, observed: Array) -> tuple[Array, Array, Array]:
        """Replace missing entries by their conditional means.

        Args:
          values: (..., D), finite.
          observed: (..., D) booleans.
        Returns:
          (log density of the observed entries (...) in nats, rows (..., D) with the conditional mean
          in place of the others, their conditional covariance (..., D, D), 0 at observed entries).
        Raises:
          ValueError: for values or observed of another shape.

        Examples:
          >>> covariance = jnp.array([[1.0, 0.5], [0.5, 1.0]])
          >>> model = MvNormal.from_covariance(jnp.zeros(2), covariance)
          >>> _, rows, spread = model.complete(jnp.array([2.0, 0.0]), jnp.array([True, False]))
          >>> print(rows, spread[1, 1])
          [2. 1.] 0.75
        """
        self.check_shapes("MvNormal.complete")
        values = numerics.as_array("values", values)
        observed = numerics.as_booleans("observed", observed)
        if values.shape[-1:] != jnp.shape(self.loc) or observed.shape != values.shape:
            raise ValueError(
                f"values and observed must have shape (..., {jnp.shape(self.loc)[-1]}), "
                f"got {values.shape} and {observed.shape}"
            )
        done = conditional.complete(jnp.asarray(self.loc), self.covariance, values, observed)
        log_prob = -done.square / 2 - done.log_det - done.num_seen * LOG_2PI / 2
        return log_prob, done.filled, done.rest

    def _statistics(self, x: Array, weights: Array) -> Moments:
        x, weights, loc = numerics.as_float(x, weights, self.loc)
        return vector_moments(x.reshape(-1, loc.shape[-1]), weights.reshape(-1), loc)

    def _maximum_likelihood(self, stats: Moments) -> Self:
        loc, tril = numerics.as_float(self.loc, self.scale_tril)
        seen = stats.weight > 0
        num_dims = loc.shape[-1]
        covariance = stats.scatter / jnp.where(seen, stats.weight, 1)
        eye = jnp.eye(num_dims, dtype=loc.dtype)
        new = numerics.cholesky(jnp.where(seen, covariance, eye))
        # A variance given the entries before that rounding could have made is none: a scatter of
        # lower rank must not pass for a narrow one.
        noise = 2 * num_dims * jnp.finfo(loc.dtype).eps * jnp.diagonal(covariance)
        singular = seen & ~jnp.all(jnp.diagonal(new) ** 2 > noise)
        new = jnp.where(singular, jnp.nan, new)
        return type(self)(jnp.where(seen, stats.mean, loc), jnp.where(seen, new, tril))

    def _with_parameter(self, value: tuple[Array, Array]) -> Self:
        return self.from_covariance(*value)
