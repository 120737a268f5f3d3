"""A Pareto whose smallest value is known and whose tail index has a gamma prior, and their compound."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Distribution, Family, alike, finite, inside
from likelax.families.exponential import Exponential, Lomax
from likelax.families.gamma import Gamma
from likelax.families.on_line import LogTails, OnLine
from likelax.families.ranges import Pareto
from likelax.model import pytree
from likelax.numerics.special import log_ratio
from likelax.statistics import EventCounts


@pytree
class ParetoKnownScale(OnLine, Family[EventCounts, Gamma]):
    """p(x) = shape scale^shape / x^(shape + 1) for x >= scale, a known number

    log(x / scale) is exponential with rate `shape`, so the conjugate prior of the shape is a `Gamma`.
    For an unknown scale too, fit a `Pareto`.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      scale: positive scalar, the smallest value, held by `m_step`.
      shape: positive scalar, the tail index.

    Source: Fink (1997), A compendium of conjugate priors, 2.4.

    Examples:
      >>> model = ParetoKnownScale(scale=1.0, shape=1.0)
      >>> stats, _ = model.e_step(jnp.exp(jnp.array([1.0, 3.0])))
      >>> print(f"{model.m_step(stats).shape:.2f} {Gamma(2.0, 4.0).posterior(stats).mean():.2f}")
      0.50 0.50
    """

    held: ClassVar[tuple[str, ...]] = ("scale",)

    scale: Array = constrained(positive)
    shape: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        return self._pareto().sample(key, shape)

    def mean(self) -> Array:
        """shape scale / (shape - 1); inf where shape <= 1."""
        return self._pareto().mean()

    def variance(self) -> Array:
        """shape scale^2 / ((shape - 1)^2 (shape - 2)); inf where shape <= 2."""
        return self._pareto().variance()

    def entropy(self) -> Array:
        """log(scale / shape) + 1 + 1 / shape, nats."""
        return self._pareto().entropy()

    def kl_divergence(self, other: Self) -> Array:
        """That of two Pareto distributions, nats; inf where scale < that of other."""
        self._same_type(other)
        return self._pareto().kl_divergence(other._pareto())

    def expected_log_prob(self, stats: EventCounts) -> Array:
        """events log shape - exposure shape + log h, nats."""
        (shape,) = numerics.as_float(self.shape)
        return stats.log_likelihood(shape)

    def parameter(self) -> Array:
        """shape, as a gamma prior describes it."""
        return jnp.asarray(self.shape)

    def predictive(self, prior: Gamma) -> "GammaPareto":
        """Pareto with a gamma-distributed shape."""
        return GammaPareto(prior.concentration, prior.rate, self.scale)

    def _pareto(self) -> Pareto:
        return Pareto(scale=self.scale, shape=self.shape)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self._pareto()._ends()

    def _log_tails(self, x: Array) -> LogTails:
        return self._pareto()._log_tails(x)

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        return self._pareto()._quantile(below, above, upper)

    def _support(self, x: Any) -> Any:
        value, scale = alike(x, self.scale)
        return (value >= scale) & finite(x)

    def _log_density(self, x: Array) -> Array:
        return self._pareto()._log_density(x)

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights, scale, shape = numerics.as_float(x, weights, self.scale, self.shape)
        stats = Exponential(shape)._statistics(log_ratio(x, scale), weights)
        log_base = numerics.weighted_sum(weights, numerics.safe_log(x))
        return EventCounts(stats.events, stats.exposure, stats.log_peak - log_base)

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        return self._with_parameter(numerics.divide(stats.events, stats.exposure, self.shape))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(self.scale, value)


@pytree
class GammaPareto(OnLine, Distribution):
    """p(x) = integral of Pareto(x | scale, a) Gamma(a | concentration, rate) da, x >= scale

    log(x / scale) is Lomax. The tail falls more slowly than any power, so no moment exists.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, shape of the tail index.
      rate: positive scalar, rate of the tail index.
      scale: positive scalar, the smallest value.

    Source: Fink (1997), A compendium of conjugate priors, 2.4.

    Examples:
      >>> print(f"{GammaPareto(2.0, 1.0, 1.0).log_prob(2.0):.4f}")  # -3 log(1 + log 2)
      -1.5798
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)
    scale: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`; inf where one is beyond the largest number."""
        log_draw, scale = numerics.as_float(self._lomax().sample(key, shape), self.scale)
        return scale * jnp.exp(log_draw)

    def mean(self) -> Array:
        """inf."""
        (scale,) = numerics.as_float(self.scale)
        return jnp.full_like(scale, jnp.inf)

    def variance(self) -> Array:
        """inf."""
        return self.mean()

    def entropy(self) -> Array:
        """That of log(x / scale), and the mean of log x; inf where concentration <= 1, nats."""
        lomax = self._lomax()
        entropy, mean, scale = numerics.as_float(lomax.entropy(), lomax.mean(), self.scale)
        return entropy + mean + jnp.log(scale)

    def _lomax(self) -> Lomax:
        return Lomax(self.concentration, self.rate)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.scale, jnp.inf

    def _log_tails(self, x: Array) -> LogTails:
        x, scale = numerics.as_float(x, self.scale)
        return self._lomax()._log_tails(log_ratio(x, scale))

    def _quantile(self, below: Array, above: Array, upper: bool) -> Array:
        log_excess, scale = numerics.as_float(
            self._lomax()._quantile(below, above, upper), self.scale
        )
        return scale * jnp.exp(log_excess)

    def _support(self, x: Any) -> Any:
        return (x > 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, scale = numerics.as_float(x, self.scale)
        support = (v >= scale) & (v < jnp.inf)
        value = jnp.where(support, v, scale)
        excess = self._lomax()._log_density(log_ratio(value, scale))
        return inside(support, v, excess - jnp.log(value))
