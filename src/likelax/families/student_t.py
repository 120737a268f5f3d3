"""Student's t distribution, of one and of several dimensions."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive, scale_tril
from likelax.data import DataLike, split_mask, take_mask
from likelax.families.base import Estimable, check_event, check_location_and_scale, match_weights
from likelax.families.conditional import Completed, complete
from likelax.families.on_line import LogTails, OnLine, bisect_log
from likelax.model import pytree, static
from likelax.numerics import draws, matmul, newton
from likelax.numerics.special import (
    deviance,
    factorial_excess,
    log_beta,
    log_minus_digamma,
)
from likelax.numerics.tails import log_beta_tails, log_complement
from likelax.one_program import one_program
from likelax.statistics import Moments, scalar_moments, vector_moments

LOG_2PI = float(np.log(2 * np.pi))


def _log_t(dof: Array, log_tail: Array, square: Array, num_dims: Any) -> Array:
    """Log density of a standard t, nats; of a standard normal where dof is inf.

    log_tail is log(1 + square / dof) with square the squared distance from the centre.
    """
    normal = jnp.isinf(dof)
    half = jnp.where(normal, 1, dof) / 2
    more = num_dims / 2
    # log Gamma(half + more) - log Gamma(half) - more log(2 half), whose large parts cancel
    top = half + more
    log_norm = factorial_excess(top) - factorial_excess(half) - deviance(half, top)
    log_norm = log_norm + (more - 1) * jnp.log1p(more / half) - more * LOG_2PI
    tail = jnp.where(normal, square / 2, top * jnp.where(normal, 0, log_tail))
    return jnp.where(normal, -more * LOG_2PI, log_norm) - tail


def _log1p_square(x: Array) -> Array:
    """log(1 + x^2), also where the square overflows."""
    far = jnp.abs(x) > 1e9
    near = jnp.log1p(jnp.where(far, 0, x) ** 2)
    return jnp.where(far, 2 * jnp.log(jnp.abs(jnp.where(far, x, 1))), near)


def _t_entropy(dof: Array, num_dims: int) -> Array:
    """Entropy of a standard t, nats."""
    normal = jnp.isinf(dof)
    half, more = jnp.where(normal, 1, dof) / 2, num_dims / 2
    slope = jnp.log1p(more / half) + log_minus_digamma(half) - log_minus_digamma(half + more)
    peak = _log_t(2 * half, jnp.zeros_like(half), jnp.zeros_like(half), num_dims)
    return jnp.where(normal, more * (1 + LOG_2PI), (half + more) * slope - peak)


def _log_t_tail(dof: Array, z: Array) -> Array:
    """log P(T > z) of a standard t for z >= 0, nats."""
    dof, z = jnp.broadcast_arrays(dof, z)
    eps = float(jnp.finfo(z.dtype).eps)
    normal = dof > 4 / eps
    n = jnp.where(normal, 1, dof)
    slant = z / jnp.sqrt(n)
    length = jnp.hypot(1, slant)
    central, far = slant < 1e-15, length > 1 / eps
    middle = ~(central | far | normal)
    slant, length = jnp.where(middle, slant, 1), jnp.where(middle, length, math.sqrt(2))
    half = jnp.full_like(n, 0.5)
    tail = log_beta_tails(n / 2, half, length**-2, (slant / length) ** 2)[0] - math.log(2)
    log_peak = _log_t(n, jnp.zeros_like(n), jnp.zeros_like(n), 1)
    at_centre = jnp.log1p(-2 * jnp.exp(log_peak) * jnp.where(central, z, 0)) - math.log(2)
    log_slant = jnp.log(jnp.where(far, z, 1)) - jnp.log(n) / 2
    # x^(n / 2) / (n B(n / 2, 1 / 2))
    beyond = -n * log_slant - jnp.log(n) - log_beta(n / 2, half)
    tail = jnp.where(central, at_centre, jnp.where(far, beyond, tail))
    return jnp.where(normal, log_ndtr(-z), tail)


def _t_variance(dof: Array) -> Array:
    """Variance of a standard t: dof / (dof - 2), inf where 1 < dof <= 2, NaN where dof <= 1."""
    finite = dof > 2
    value = dof / jnp.where(finite, dof - 2, 1)
    return jnp.where(finite, value, jnp.where(dof > 1, jnp.inf, jnp.nan))


@pytree
class TailMoments:
    """Expected statistics of a Student's t: those of a normal whose precisions are latent.

    Attributes:
      moments: of the data, each weight times the expected relative precision u of its row.
      weight: sum of the weights.
      deviance: weighted sum of E[u - 1 - log u], the statistic of the degrees of freedom.
    """

    moments: Moments
    weight: Array
    deviance: Array


def _tail_statistics(
    dof: Array, square: Array, num_dims: Any, weights: Array, moments: Callable[[Array], Moments]
) -> TailMoments:
    normal = jnp.isinf(dof)
    finite = jnp.where(normal, 1, dof)
    # the precision of every row is known, and 1, in the limit of a normal
    u = jnp.where(normal, 1, (finite + num_dims) / (finite + square))
    gap = deviance(1.0, u) + log_minus_digamma((dof + num_dims) / 2)
    return TailMoments(
        moments(numerics.weighted(weights, u)),
        jnp.sum(weights),
        numerics.weighted_sum(weights, gap),
    )


def _fit_dof(stats: TailMoments, dof: Array, fixed: bool) -> Array:
    if fixed:
        return dof
    gap = numerics.divide(stats.deviance, stats.weight, 1.0)
    return jnp.where(stats.weight > 0, 2 * newton.solve_shape(gap).point, dof)


def _expected_log_dof(stats: TailMoments, dof: Array) -> Array:
    """Expected log density of the latent precisions, Gamma(dof / 2, dof / 2), less its -log u."""
    normal = jnp.isinf(dof)
    half = jnp.where(normal, 1, dof) / 2
    value = stats.weight * (jnp.log(half) - factorial_excess(half)) - half * stats.deviance
    return jnp.where(normal, 0, value)


@pytree
class StudentT(OnLine, Estimable[TailMoments, Never]):
    """p(x) proportional to (1 + ((x - loc) / scale)^2 / dof)^(-(dof + 1) / 2)

    A normal whose precision is a latent gamma. `e_step` gives its expected statistics, so
    `m_step` is a step of EM: fit with `fit.em`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      dof: positive scalar, degrees of freedom; inf is the normal.
      loc: scalar.
      scale: positive scalar.
      fixed_dof: whether `m_step` holds dof. It grows without bound for data whose tails are not
        heavier than a normal's.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A; Liu & Rubin (1995),
    ML estimation of the t distribution using EM and its extensions, Statistica Sinica 5.

    Examples:
      >>> print(f"{StudentT(1.0, 0.0, 1.0).log_prob(0.0):.4f}")
      -1.1447
    """

    dof: Array = constrained(positive)
    loc: Array
    scale: Array = constrained(positive)
    fixed_dof: bool = static(default=True)

    @property
    def held(self) -> tuple[str, ...]:  # type: ignore[override]
        """dof, where it is fixed."""
        return ("dof",) if self.fixed_dof else ()

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        dof, loc, scale = numerics.as_float(self.dof, self.loc, self.scale)
        normal = jnp.isinf(dof)
        key_normal, key_dof = jax.random.split(key)
        normal_draws = jax.random.normal(key_normal, tuple(shape), loc.dtype)
        half = jnp.where(normal, 1, dof) / 2
        spread = draws.gamma(key_dof, half, shape).astype(loc.dtype) / half
        return loc + scale * normal_draws / jnp.where(normal, 1, jnp.sqrt(spread))

    def _log_density(self, x: Array) -> Array:
        x, dof, loc, scale = numerics.as_float(x, self.dof, self.loc, self.scale)
        z = (x - loc) / scale
        return _log_t(dof, _log1p_square(z / jnp.sqrt(dof)), z * z, 1) - jnp.log(scale)

    def mean(self) -> Array:
        """loc; NaN where dof <= 1."""
        dof, loc = numerics.as_float(self.dof, self.loc)
        return jnp.where(dof > 1, loc, jnp.nan)

    def variance(self) -> Array:
        """scale^2 dof / (dof - 2); inf where 1 < dof <= 2, and NaN where dof <= 1."""
        dof, scale = numerics.as_float(self.dof, self.scale)
        return scale**2 * _t_variance(dof)

    def entropy(self) -> Array:
        """h (digamma(h) - digamma(dof / 2)) + log(sqrt(dof) B(dof / 2, 1 / 2) scale), nats; h = (dof + 1) / 2."""
        dof, scale = numerics.as_float(self.dof, self.scale)
        return _t_entropy(dof, 1) + jnp.log(scale)

    def _log_tails(self, x: Array) -> LogTails:
        x, dof, loc, scale = numerics.as_float(x, self.dof, self.loc, self.scale)
        left = x < loc
        log_tail = _log_t_tail(dof, jnp.where(left, loc - x, x - loc) / scale)
        other = log_complement(log_tail)
        return jnp.where(left, log_tail, other), jnp.where(left, other, log_tail)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, dof, loc, scale = numerics.as_float(
            below, above, self.dof, self.loc, self.scale
        )
        log_tail = jnp.log(jnp.minimum(below, above))
        away = bisect_log(lambda z: _log_t_tail(dof, z) > log_tail, log_tail)
        start = loc + scale * jnp.where(below < above, -away, away)
        return self._polished(jax.lax.stop_gradient(start), below, above)

    def expected_log_prob(self, stats: TailMoments) -> Array:
        """Expected log density of data and latent precisions, minus terms without parameters, nats."""
        dof, loc, scale = numerics.as_float(self.dof, self.loc, self.scale)
        square = stats.moments.about(loc) / scale**2
        return _expected_log_dof(stats, dof) - square / 2 - stats.weight * jnp.log(scale)

    def _statistics(self, x: Array, weights: Array) -> TailMoments:
        x, weights, dof, loc, scale = numerics.as_float(x, weights, self.dof, self.loc, self.scale)
        square = ((x - loc) / scale) ** 2
        return _tail_statistics(dof, square, 1, weights, lambda w: scalar_moments(x, w, loc))

    def _maximum_likelihood(self, stats: TailMoments) -> Self:
        dof, loc, scale = numerics.as_float(self.dof, self.loc, self.scale)
        seen = stats.moments.weight > 0
        # divided by the expanded weight, not by the plain one: the same maximum in fewer steps
        variance = numerics.divide(stats.moments.scatter, stats.moments.weight, scale**2)
        return type(self)(
            _fit_dof(stats, dof, self.fixed_dof),
            jnp.where(seen, stats.moments.mean, loc),
            jnp.where(seen, jnp.sqrt(variance), scale),
            self.fixed_dof,
        )


@pytree
class MvStudentT(Estimable[TailMoments, Never]):
    """Student's t in D dimensions with scale matrix scale_tril scale_tril^T.

    `m_step` is a step of EM, as for `StudentT`: fit with `fit.em`. Missing entries are marginalised
    exactly: `log_prob` is that of the entries seen, and `e_step` fills in the others.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      dof: positive scalar; inf is the normal.
      loc: (D,).
      scale_tril: (D, D) lower triangular with a positive diagonal.
      fixed_dof: whether `m_step` holds dof.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A; Liu & Rubin (1995), ML
    estimation of the t distribution using EM and its extensions, Statistica Sinica 5.

    Examples:
      >>> print(f"{MvStudentT(3.0, jnp.zeros(2), jnp.eye(2)).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    _event_ndim: ClassVar[int] = 1

    dof: Array = constrained(positive)
    loc: Array
    scale_tril: Array = constrained(scale_tril)
    fixed_dof: bool = static(default=True)

    @property
    def held(self) -> tuple[str, ...]:  # type: ignore[override]
        """dof, where it is fixed."""
        return ("dof",) if self.fixed_dof else ()

    def check_shapes(self, name: str) -> None:
        """Raise unless loc ends in (D,) and scale_tril in (D, D).

        Raises:
          ValueError: starting with `name`.
        """
        check_location_and_scale(name, self.loc, self.scale_tril)

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log density at x (..., D), or at the entries seen of `Masked` x, nats."""
        if take_mask(x)[1] is None:
            return super().log_prob(x)
        return self._log_density_seen(self._complete(x)[0])

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[TailMoments, Array]:
        """Expected statistics and the log probability, summed with the weights.

        A row of which nothing was seen has weight zero. Of a row seen in part the moments are
        expected ones under this model, so that `m_step` is a step of EM.

        Raises:
          ValueError: unless weights have one entry for each observation.
        """
        if take_mask(x)[1] is None:
            return super().e_step(x, weights)
        done, seen = self._complete(x)
        log_prob = self._log_density_seen(done)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        weights = jnp.where(seen, weights, 0)
        dof, loc = numerics.as_float(self.dof, self.loc)

        def moments(w: Array) -> Moments:
            rows = self._where_used(done.filled, weights != 0).reshape(-1, loc.shape[-1])
            stats = vector_moments(rows, w.reshape(-1), loc)
            # given the precision u of a row, what was not seen has the covariance rest / u
            unseen = jnp.tensordot(weights, done.rest, axes=weights.ndim, precision="highest")
            return Moments(stats.weight, stats.mean, stats.scatter + unseen)

        stats = _tail_statistics(dof, done.square, done.num_seen, weights, moments)
        return stats, numerics.weighted_sum(weights, log_prob)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, D).

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        dof, loc, tril = numerics.as_float(self.dof, self.loc, self.scale_tril)
        key_normal, key_dof = jax.random.split(key)
        normal = jax.random.normal(key_normal, (*shape, loc.shape[-1]), loc.dtype) @ tril.T
        sharp = jnp.isinf(dof)
        half = jnp.where(sharp, 1, dof) / 2
        spread = draws.gamma(key_dof, half, shape).astype(loc.dtype) / half
        gap = normal / jnp.where(sharp, 1, jnp.sqrt(spread))[..., None]
        return gap + jnp.broadcast_to(loc, gap.shape)

    def mean(self) -> Array:
        """loc, (D,); NaN where dof <= 1."""
        dof, loc = numerics.as_float(self.dof, self.loc)
        return jnp.where(dof > 1, loc, jnp.nan)

    def variance(self) -> Array:
        """Diagonal of the scale matrix times dof / (dof - 2), (D,); inf or NaN as for `StudentT`."""
        dof, tril = numerics.as_float(self.dof, jnp.tril(self.scale_tril))
        return jnp.sum(tril * tril, axis=-1) * _t_variance(dof)

    def entropy(self) -> Array:
        """That of a standard t in D dimensions, and log det scale_tril, nats."""
        dof, tril = numerics.as_float(self.dof, self.scale_tril)
        return _t_entropy(dof, tril.shape[-1]) + jnp.sum(jnp.log(jnp.diagonal(tril)))

    def expected_log_prob(self, stats: TailMoments) -> Array:
        """Expected log density of data and latent precisions, minus terms without parameters, nats."""
        dof, loc, tril = numerics.as_float(self.dof, self.loc, self.scale_tril)
        whiten = numerics.inverse_lower(tril)
        square = jnp.sum(matmul(whiten, stats.moments.about(loc)) * whiten)
        log_det = jnp.sum(jnp.log(jnp.diagonal(tril)))
        return _expected_log_dof(stats, dof) - square / 2 - stats.weight * log_det

    def _complete(self, x: DataLike) -> tuple[Completed, Array]:
        """(the rows completed, whether anything of each was seen)."""
        values, observed = split_mask(x)
        values, loc, tril = numerics.as_float(values, self.loc, jnp.tril(self.scale_tril))
        check_event("MvStudentT", values, loc.shape[-1])
        seen = jnp.ones(values.shape, bool) if observed is None else observed
        covariance = matmul(tril, tril.T)
        return complete(loc, covariance, values, seen), jnp.any(seen, axis=-1)

    def _log_density_seen(self, done: Completed) -> Array:
        dof, square = numerics.as_float(self.dof, done.square)
        log_tail = jnp.log1p(square / dof)
        return _log_t(dof, log_tail, square, done.num_seen) - done.log_det

    def _square(self, x: Array) -> tuple[Array, Array]:
        """(squared distance from loc, log det of scale_tril)."""
        x, loc, tril = numerics.as_float(x, self.loc, self.scale_tril)
        check_event("MvStudentT", x, loc.shape[-1])
        whiten = numerics.inverse_lower(tril)
        white = matmul(x - jnp.broadcast_to(loc, x.shape), whiten.T)
        return jnp.sum(white * white, axis=-1), jnp.sum(jnp.log(jnp.diagonal(tril)))

    def _log_density(self, x: Array) -> Array:
        square, log_det = self._square(x)
        dof, square = numerics.as_float(self.dof, square)
        return _log_t(dof, jnp.log1p(square / dof), square, jnp.shape(self.loc)[-1]) - log_det

    def _statistics(self, x: Array, weights: Array) -> TailMoments:
        x, weights, dof, loc = numerics.as_float(x, weights, self.dof, self.loc)
        square, num_dims = self._square(x)[0], loc.shape[-1]

        def moments(w: Array) -> Moments:
            return vector_moments(x.reshape(-1, num_dims), w.reshape(-1), loc)

        return _tail_statistics(dof, square, num_dims, weights, moments)

    def _maximum_likelihood(self, stats: TailMoments) -> Self:
        dof, loc, tril = numerics.as_float(self.dof, self.loc, self.scale_tril)
        seen = stats.moments.weight > 0
        scatter = stats.moments.scatter / jnp.where(seen, stats.moments.weight, 1)
        new = numerics.cholesky(jnp.where(seen, scatter, jnp.eye(loc.shape[-1], dtype=loc.dtype)))
        return type(self)(
            _fit_dof(stats, dof, self.fixed_dof),
            jnp.where(seen, stats.moments.mean, loc),
            jnp.where(seen, new, tril),
            self.fixed_dof,
        )
