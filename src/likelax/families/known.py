"""A normal with known scale, or with known mean: conjugate pairs of one parameter."""

from collections.abc import Sequence
from typing import ClassVar, Self

import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Family, Prior
from likelax.families.gamma import InverseGamma
from likelax.families.normal import LOG_2PI, Normal
from likelax.families.on_line import LogTails, OnLine
from likelax.families.student_t import StudentT
from likelax.model import Density, pytree
from likelax.numerics.checks import check_type
from likelax.statistics import EventCounts, Moments, scalar_moments


@pytree
class LocationStats:
    """Statistics of likelihoods whose conjugate prior is a normal over their mean.

    Attributes:
      moments: of the data, each weight divided by the known variance: the weight is a precision.
      log_base: weighted sum of the log density's part without the mean, nats.
    """

    moments: Moments
    log_base: Array


class _Normally(OnLine):
    """What a family of one number has because it is a normal with these loc and scale."""

    loc: Array
    scale: Array

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        return Normal(self.loc, self.scale).sample(key, shape)

    def mean(self) -> Array:
        """loc."""
        return jnp.asarray(self.loc)

    def variance(self) -> Array:
        """scale^2."""
        _, scale = numerics.as_float(self.loc, self.scale)
        return scale**2

    def entropy(self) -> Array:
        """log scale + (1 + log(2 pi)) / 2, nats."""
        return Normal(self.loc, self.scale).entropy()

    def kl_divergence(self, other: Self) -> Array:
        """That of two normals, nats."""
        self._same_type(other)
        return Normal(self.loc, self.scale).kl_divergence(Normal(other.loc, other.scale))

    def _log_tails(self, x: Array) -> LogTails:
        return Normal(self.loc, self.scale)._log_tails(x)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        return Normal(self.loc, self.scale)._quantile(below, above, upper)


@pytree
class NormalKnownScale(_Normally, Family[LocationStats, "NormalMean"]):
    """A normal whose scale is known and whose mean has a `NormalMean` prior.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar, the mean.
      scale: positive scalar, held by `m_step`.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 2.

    Examples:
      >>> model = NormalKnownScale(0.0, 1.0)
      >>> stats, _ = model.e_step(jnp.array([1.0, 2.0]))
      >>> print(NormalMean(0.0, 1.0).posterior(stats).loc, model.m_step(stats).loc)
      1.0 1.5
    """

    held: ClassVar[tuple[str, ...]] = ("scale",)

    loc: Array
    scale: Array = constrained(positive)

    def expected_log_prob(self, stats: LocationStats) -> Array:
        """-(scatter about loc) / 2 + log h, nats."""
        (loc,) = numerics.as_float(self.loc)
        return stats.log_base - stats.moments.about(loc) / 2

    def parameter(self) -> Array:
        """loc, as a normal prior describes it."""
        return jnp.asarray(self.loc)

    def predictive(self, prior: "NormalMean") -> Normal:
        """Normal with the variances of mean and observation added.

        Raises:
          TypeError: for a prior of another type.
        """
        check_type("prior", prior, NormalMean)
        loc, spread, scale = numerics.as_float(prior.loc, prior.scale, self.scale)
        return Normal(loc, jnp.hypot(spread, scale))

    def _log_density(self, x: Array) -> Array:
        return Normal(self.loc, self.scale)._log_density(x)

    def _statistics(self, x: Array, weights: Array) -> LocationStats:
        x, weights, loc, scale = numerics.as_float(x, weights, self.loc, self.scale)
        base = -jnp.sum(weights) * (jnp.log(scale) + LOG_2PI / 2)
        return LocationStats(scalar_moments(x, weights / scale**2, loc), base)

    def _maximum_likelihood(self, stats: LocationStats) -> Self:
        (loc,) = numerics.as_float(self.loc)
        return self._with_parameter(jnp.where(stats.moments.weight > 0, stats.moments.mean, loc))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value, self.scale)


@pytree
class NormalMean(_Normally, Prior[LocationStats]):
    """mean ~ Normal(loc, scale): the conjugate prior of `NormalKnownScale`.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar.
      scale: positive scalar.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 2.

    Examples:
      >>> print(NormalMean(0.0, 3.0).predictive(NormalKnownScale(0.0, 4.0)).scale)
      5.0
    """

    loc: Array
    scale: Array = constrained(positive)

    def log_prob(self, value: Array) -> Array:
        """Log density at a mean, nats."""
        return Normal(self.loc, self.scale).log_prob(value)

    def posterior(self, stats: LocationStats) -> Self:
        """Precisions add, and the means are weighted by them."""
        merged = self._moments() + stats.moments
        return type(self)(merged.mean, 1 / jnp.sqrt(merged.weight))

    def expected_log_likelihood(self, stats: LocationStats) -> Array:
        """That of the likelihood at `loc`, minus precision times variance over 2, nats."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return stats.log_base - (stats.moments.about(loc) + stats.moments.weight * scale**2) / 2

    def mode(self) -> Array:
        """loc."""
        return jnp.asarray(self.loc)

    def predictive(self, likelihood: NormalKnownScale) -> Density:
        """The distribution of one new observation of the likelihood."""
        return likelihood.predictive(self)

    def log_evidence(self, stats: LocationStats) -> Array:
        """log p(data) with the mean integrated out, nats."""
        _, scale = numerics.as_float(self.loc, self.scale)
        merged = self._moments() + stats.moments
        return stats.log_base - merged.scatter / 2 - jnp.log1p(stats.moments.weight * scale**2) / 2

    def _moments(self) -> Moments:
        """The prior as one observation with its own precision."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return Moments(1 / scale**2, loc, jnp.zeros_like(loc))


@pytree
class NormalKnownLoc(_Normally, Family[EventCounts, InverseGamma]):
    """A normal whose mean is known and whose variance has an `InverseGamma` prior.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar, held by `m_step`.
      scale: positive scalar, the standard deviation.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6.

    Examples:
      >>> model = NormalKnownLoc(loc=0.0, scale=1.0)
      >>> stats, _ = model.e_step(jnp.array([3.0, -3.0]))
      >>> print(model.m_step(stats).scale)
      3.0
    """

    held: ClassVar[tuple[str, ...]] = ("loc",)

    loc: Array
    scale: Array = constrained(positive)

    def expected_log_prob(self, stats: EventCounts) -> Array:
        """-2 events log scale - exposure / scale^2 + log h, nats."""
        (scale,) = numerics.as_float(self.scale)
        return stats.log_likelihood(1 / scale**2)

    def parameter(self) -> Array:
        """scale^2, as an inverse gamma prior describes it."""
        (scale,) = numerics.as_float(self.scale)
        return scale**2

    def predictive(self, prior: InverseGamma) -> StudentT:
        """Student's t with twice the prior's concentration as degrees of freedom."""
        a, b, loc = numerics.as_float(prior.concentration, prior.rate, self.loc)
        return StudentT(2 * a, loc, jnp.sqrt(b / a))

    def _log_density(self, x: Array) -> Array:
        return Normal(self.loc, self.scale)._log_density(x)

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights, loc = numerics.as_float(x, weights, self.loc)
        events = jnp.sum(weights) / 2
        exposure = numerics.weighted_sum(weights, (x - loc) ** 2) / 2
        precision = numerics.divide(events, exposure, 1.0)
        peak = numerics.xlogy(events, precision) - events * LOG_2PI - exposure * precision
        return EventCounts(events, exposure, peak)

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        scale, exposure = numerics.as_float(self.scale, stats.exposure)
        return self._with_parameter(numerics.divide(exposure, stats.events, scale**2))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(self.loc, jnp.sqrt(value))
