"""The multivariate normal distribution with one variance for all directions."""

from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.data import DataLike, split_mask
from likelax.families.base import Family, match_weights
from likelax.families.normal import LOG_2PI, Normal
from likelax.families.normal_inverse_gamma import NormalInverseGamma
from likelax.families.student_t import MvStudentT
from likelax.model import pytree
from likelax.one_program import one_program
from likelax.statistics import Moments, diagonal_moments, pool_scatter


@pytree
class SphericalNormal(Family[Moments, NormalInverseGamma]):
    """log p(x) = -|x - loc|^2 / (2 scale^2) - D log scale - D log(2 pi) / 2

    Missing entries are marginalised exactly, independently of each other. The conjugate prior is a
    `NormalInverseGamma` with loc (D,).

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: (D,).
      scale: positive scalar, the standard deviation in every direction.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 3.2.

    Examples:
      >>> print(f"{SphericalNormal(jnp.zeros(2), jnp.array(1.0)).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    _event_ndim: ClassVar[int] = 1

    _finite_statistics = True
    spread: ClassVar[tuple[str, ...]] = ("scale",)

    loc: Array
    scale: Array = constrained(positive)

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log density at x (..., D), or at the observed entries of `Masked` x, nats."""
        values, observed = split_mask(x)
        terms = self._terms(values)
        return jnp.sum(terms if observed is None else jnp.where(observed, terms, 0), axis=-1)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[Moments, Array]:
        """Moments of x and its log probability, summed with the weights.

        A row without observed entries has weight zero. A missing entry has its mean and variance
        under this model, so that `m_step` is a step of EM.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        values, observed = split_mask(x)
        if observed is None:
            return super().e_step(x, weights)
        log_prob = self.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        weights = jnp.where(jnp.any(observed, axis=-1), weights, 0)
        values, loc, scale = numerics.as_float(values, self.loc, self.scale)
        filled = jnp.where(observed, values, jnp.broadcast_to(loc, values.shape))
        stats = self._statistics(filled, weights)
        unseen = jnp.where(observed, 0, weights[..., None]).reshape(-1, loc.shape[-1])
        spread = scale**2 * jnp.sum(unseen, axis=0)
        moments = Moments(stats.weight, stats.mean, stats.scatter + spread)
        return moments, numerics.weighted_sum(weights, log_prob)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, D)."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        white = jax.random.normal(key, (*shape, loc.shape[-1]), loc.dtype)
        return jnp.broadcast_to(loc, white.shape) + scale * white

    def pool(self, stats: Moments) -> Moments:
        """Moments of K models, each with the weight and scatter of all."""
        return pool_scatter(stats)

    def mean(self) -> Array:
        """loc, (D,)."""
        return jnp.asarray(self.loc)

    def variance(self) -> Array:
        """scale^2 in every direction, (D,)."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return jnp.broadcast_to(scale**2, loc.shape)

    def entropy(self) -> Array:
        """D (log scale + (1 + log(2 pi)) / 2), nats."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return loc.shape[-1] * (jnp.log(scale) + (1 + LOG_2PI) / 2)

    def kl_divergence(self, other: Self) -> Array:
        """Sum of those of the entries, nats."""
        self._same_type(other)
        return jnp.sum(Normal(self.loc, self.scale).kl_divergence(Normal(other.loc, other.scale)))

    def expected_log_prob(self, stats: Moments) -> Array:
        """-(total scatter about loc) / (2 scale^2) - weight D (log scale + log(2 pi) / 2), nats."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        constant = loc.shape[-1] * (jnp.log(scale) + LOG_2PI / 2)
        return -jnp.sum(stats.about(loc)) / (2 * scale**2) - stats.weight * constant

    def parameter(self) -> tuple[Array, Array]:
        """(loc, scale^2)."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return loc, scale**2

    def predictive(self, prior: NormalInverseGamma) -> MvStudentT:
        """Student's t with 2 alpha degrees of freedom and one scale in all directions."""
        loc, kappa, alpha, beta = numerics.as_float(prior.loc, prior.kappa, prior.alpha, prior.beta)
        scale = jnp.sqrt(beta * (kappa + 1) / (alpha * kappa))
        return MvStudentT(2 * alpha, loc, scale * jnp.eye(loc.shape[-1], dtype=loc.dtype))

    def _terms(self, x: Array) -> Array:
        x, loc, scale = numerics.as_float(x, self.loc, self.scale)
        if x.ndim == 0 or x.shape[-1] != loc.shape[-1]:
            raise ValueError(
                f"SphericalNormal: x must have shape (..., {loc.shape[-1]}); got {x.shape}"
            )
        gap = (x - jnp.broadcast_to(loc, x.shape)) / scale
        return -(gap**2) / 2 - jnp.log(scale) - LOG_2PI / 2

    def _log_density(self, x: Array) -> Array:
        return jnp.sum(self._terms(x), axis=-1)

    def _statistics(self, x: Array, weights: Array) -> Moments:
        x, weights, loc = numerics.as_float(x, weights, self.loc)
        return diagonal_moments(x.reshape(-1, loc.shape[-1]), weights.reshape(-1), loc)

    def _maximum_likelihood(self, stats: Moments) -> Self:
        loc, scale = numerics.as_float(self.loc, self.scale)
        seen = stats.weight > 0
        variance = numerics.divide(jnp.mean(stats.scatter, axis=-1), stats.weight, scale**2)
        return type(self)(
            jnp.where(seen, stats.mean, loc), jnp.where(seen, jnp.sqrt(variance), scale)
        )

    def _with_parameter(self, value: tuple[Array, Array]) -> Self:
        loc, variance = value
        return type(self)(loc, jnp.sqrt(variance))
