"""The normal distribution on the reals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, ndtri

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Family
from likelax.families.on_line import LogTails, OnLine
from likelax.families.student_t import StudentT
from likelax.model import pytree
from likelax.numerics.special import deviance
from likelax.statistics import Moments, pool_scatter, scalar_moments

if TYPE_CHECKING:
    from likelax.families.normal_inverse_gamma import NormalInverseGamma

LOG_2PI = float(np.log(2 * np.pi))


@pytree
class Normal(OnLine, Family[Moments, "NormalInverseGamma"]):
    """log p(x) = -((x - loc) / scale)^2 / 2 - log scale - log(2 pi) / 2

    In float32 a fit is right to 1e-5 of the scale, and loc to one rounding more, for up to 1e7 data as
    far as 1e6 scales from zero. Scales outside 1e-18 to 1e15 leave the range of squares: the
    fitted scale is then NaN, and `fit.em` ends as COLLAPSED.

    A scale of 0, the fit of data that are all alike, has no density. The posterior over several normals,
    as of a naive Bayes classifier, is still defined, by densities with respect to Lebesgue measure
    plus a unit mass at each such point: there a normal of scale 0 has density 1 and the others 0.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar, the mean.
      scale: positive scalar, the standard deviation.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.6.

    Examples:
      >>> print(f"{Normal(0.0, 1.0).log_prob(0.0):.4f}")
      -0.9189
    """

    _finite_statistics = True
    spread: ClassVar[tuple[str, ...]] = ("scale",)

    loc: Array
    scale: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return loc + scale * jax.random.normal(key, tuple(shape), loc.dtype)

    def pool(self, stats: Moments) -> Moments:
        """Moments of K models, each with the weight and scatter of all."""
        return pool_scatter(stats)

    def mean(self) -> Array:
        """loc."""
        return jnp.asarray(self.loc)

    def variance(self) -> Array:
        """scale^2."""
        _, scale = numerics.as_float(self.loc, self.scale)
        return scale**2

    def entropy(self) -> Array:
        """log scale + (1 + log(2 pi)) / 2, nats."""
        _, scale = numerics.as_float(self.loc, self.scale)
        return jnp.log(scale) + (1 + LOG_2PI) / 2

    def kl_divergence(self, other: Self) -> Array:
        """(s^2 - 1 + d^2) / 2 - log s, s the ratio of the scales, d the distance in other's, nats."""
        self._same_type(other)
        loc, scale, loc0, scale0 = numerics.as_float(self.loc, self.scale, other.loc, other.scale)
        return (deviance(1.0, (scale / scale0) ** 2) + ((loc - loc0) / scale0) ** 2) / 2

    def _log_tails(self, x: Array) -> LogTails:
        x, loc, scale = numerics.as_float(x, self.loc, self.scale)
        # a scale of 0 is a step
        z = numerics.divide(x - loc, scale, jnp.where(x < loc, -jnp.inf, jnp.inf))
        return log_ndtr(z), log_ndtr(-z)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        below, above, loc, scale = numerics.as_float(below, above, self.loc, self.scale)
        z = jnp.where(below < above, ndtri(below), -ndtri(above))
        return self._polished(jax.lax.stop_gradient(loc + scale * z), below, above)

    def expected_log_prob(self, stats: Moments) -> Array:
        """-(scatter about loc) / (2 scale^2) - weight (log scale + log(2 pi) / 2), nats."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        constant = jnp.log(scale) + LOG_2PI / 2
        return -stats.about(loc) / (2 * scale**2) - stats.weight * constant

    def parameter(self) -> tuple[Array, Array]:
        """(loc, scale^2), as a normal-inverse-gamma prior describes them."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return loc, scale**2

    def predictive(self, prior: "NormalInverseGamma") -> StudentT:
        """Student's t with 2 alpha degrees of freedom."""
        loc, kappa, alpha, beta = numerics.as_float(prior.loc, prior.kappa, prior.alpha, prior.beta)
        return StudentT(2 * alpha, loc, jnp.sqrt(beta * (kappa + 1) / (alpha * kappa)))

    def atom(self) -> tuple[Array, Array]:
        """(scale == 0, the point)."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return scale == 0, loc

    def _log_density(self, x: Array) -> Array:
        x, loc, scale = numerics.as_float(x, self.loc, self.scale)
        return -(((x - loc) / scale) ** 2) / 2 - jnp.log(scale) - LOG_2PI / 2

    def _statistics(self, x: Array, weights: Array) -> Moments:
        return scalar_moments(*numerics.as_float(x, weights, self.loc))

    def _maximum_likelihood(self, stats: Moments) -> Self:
        loc, scale = numerics.as_float(self.loc, self.scale)
        seen = stats.weight > 0
        variance = numerics.divide(stats.scatter, stats.weight, scale**2)
        return type(self)(
            jnp.where(seen, stats.mean, loc), jnp.where(seen, jnp.sqrt(variance), scale)
        )

    def _with_parameter(self, value: tuple[Array, Array]) -> Self:
        loc, variance = value
        return type(self)(loc, jnp.sqrt(variance))
