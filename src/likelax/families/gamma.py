"""The gamma distribution: a density on the positive reals, and the conjugate prior of a rate."""

from collections.abc import Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Estimable,
    Family,
    Prior,
    finite,
    inside,
    where_above,
)
from likelax.families.compound import (
    expected_log_gamma,
    fit_gamma,
    gamma_entropy,
    gamma_evidence,
    kl_gamma,
    latent_gamma,
    log_gamma_density,
)
from likelax.families.on_line import LogTails, OnLine
from likelax.families.poisson import Poisson
from likelax.families.simplex import simplex_entropy
from likelax.model import Density, Model, pytree
from likelax.numerics import draws
from likelax.numerics.special import (
    factorial_excess,
    log_beta,
    log_binomial_term,
    log_minus_digamma,
    log_zero_power,
)
from likelax.numerics.tails import log_beta_tails, log_gamma_tails
from likelax.statistics import EventCounts, PositiveMoments, positive_moments


def _updated(concentration: ArrayLike, rate: ArrayLike, stats: EventCounts) -> tuple[Array, Array]:
    """The parameters of a gamma prior after the events and the exposure of the statistics."""
    a, b, events, exposure = numerics.as_float(concentration, rate, stats.events, stats.exposure)
    return a + events, b + exposure


@pytree
class Gamma(OnLine, Estimable[PositiveMoments, Never], Prior[EventCounts]):
    """p(v) = rate^concentration v^(concentration - 1) exp(-rate v) / Gamma(concentration), v >= 0.

    As a prior of a rate it is updated by `EventCounts`; as a model of data its `m_step` finds
    both parameters, in float32 to 2e-5 of themselves where the deviance of the data is as exact; for
    data without spread they are inf, and NaN where one of the data is 0.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, the shape: events already seen.
      rate: positive scalar: the exposure in which they were seen.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6; Minka (2002), Estimating a gamma
    distribution.

    Examples:
      >>> posterior = Gamma(1.0, 1.0).posterior(EventCounts(2.0, 5.0, 0.0))
      >>> print(posterior.concentration, posterior.rate, posterior.mean())
      3.0 6.0 0.5
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return draws.gamma(key, concentration, shape) / rate

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Log likelihood as a function of weight, mean and deviance, nats."""
        return expected_log_gamma(stats, self.concentration, self.rate)

    def posterior(self, stats: EventCounts) -> Self:
        """Gamma(concentration + events, rate + exposure)."""
        return type(self)(*_updated(self.concentration, self.rate, stats))

    def expected_log_likelihood(self, stats: EventCounts) -> Array:
        """The log likelihood at the mean of v, minus a term for the variance of v, nats."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        cost = digamma(concentration) - jnp.log(concentration)
        return stats.log_likelihood(concentration / rate) + stats.events * cost

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        return kl_gamma(self.concentration, self.rate, other.concentration, other.rate)

    def mean(self) -> Array:
        """concentration / rate."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return concentration / rate

    def variance(self) -> Array:
        """concentration / rate^2."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return a / b**2

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """a - log rate + log Gamma(a) + (1 - a) digamma(a) with a = concentration, nats."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return gamma_entropy(a) - jnp.log(b)

    def _log_tails(self, x: Array) -> LogTails:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        return log_gamma_tails(a, b * x)

    def mode(self) -> Array:
        """(concentration - 1) / rate, or 0 where concentration is below one."""
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        return jnp.maximum(concentration - 1, 0) / rate

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Poisson unless given."""
        return (Poisson(self.mean()) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: EventCounts) -> Array:
        """log Z(posterior) - log Z(prior) + log h with Z = Gamma(concentration) / rate^concentration.

        In float32 its error is a few units in the last place of the evidence itself and of the log
        likelihood at its maximum, also for counts to 1e9.
        """
        return gamma_evidence(stats, self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, a, b = numerics.as_float(x, self.concentration, self.rate)
        interior = (v > 0) & (v < jnp.inf)
        density = log_gamma_density(jnp.where(interior, v, 1), a, b)
        # at zero only v^(a - 1) matters: a pole, log rate, or nothing
        edge = (
            log_zero_power(a - 1) + jnp.log(b) - jnp.where(a == 1, b * jnp.where(v == 0, v, 0), 0)
        )
        return inside(self._support(v), v, jnp.where(interior, density, edge))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        return positive_moments(x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(*fit_gamma(stats, self.concentration, self.rate))


@pytree
class GammaKnownShape(OnLine, Family[EventCounts, Gamma]):
    """A gamma whose concentration is known and whose rate has a gamma prior.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, held by `m_step`.
      rate: positive scalar.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6.

    Examples:
      >>> model = GammaKnownShape(concentration=2.0, rate=1.0)
      >>> stats, _ = model.e_step(jnp.array([1.0, 3.0]))
      >>> print(model.m_step(stats).rate, Gamma(1.0, 1.0).posterior(stats).mean())
      1.0 1.0
    """

    held: ClassVar[tuple[str, ...]] = ("concentration",)

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        return self._gamma().sample(key, shape)

    def mean(self) -> Array:
        """concentration / rate."""
        return self._gamma().mean()

    def variance(self) -> Array:
        """concentration / rate^2."""
        return self._gamma().variance()

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """That of a `Gamma`, nats."""
        return self._gamma().entropy()

    def kl_divergence(self, other: Self) -> Array:
        """That of two gamma distributions, nats."""
        self._same_type(other)
        return self._gamma().kl_divergence(other._gamma())

    def _log_tails(self, x: Array) -> LogTails:
        return self._gamma()._log_tails(x)

    def expected_log_prob(self, stats: EventCounts) -> Array:
        """events log rate - exposure rate + log h, nats."""
        (rate,) = numerics.as_float(self.rate)
        return stats.log_likelihood(rate)

    def parameter(self) -> Array:
        """rate, as a gamma prior describes it."""
        return jnp.asarray(self.rate)

    def predictive(self, prior: Gamma) -> "GammaGamma":
        """Gamma with a gamma-distributed rate."""
        return GammaGamma(prior.concentration, prior.rate, self.concentration)

    def _gamma(self) -> Gamma:
        return Gamma(self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        return self._gamma()._log_density(x)

    def _statistics(self, x: Array, weights: Array) -> EventCounts:
        x, weights, shape = numerics.as_float(x, weights, self.concentration)
        weight, exposure = jnp.sum(weights), numerics.weighted_sum(weights, x)
        mean = numerics.divide(exposure, weight, 1.0)
        mean = jnp.where(mean == 0, shape, mean)  # without exposure the rate to stand at is 1
        rest = weight * (factorial_excess(shape) - jnp.log(shape) + jnp.log(mean))
        bends = numerics.weighted_sum(weights, numerics.xlogy(shape - 1, x / mean))
        peak = bends - rest + jnp.where(exposure == 0, shape * weight, 0)
        return EventCounts(shape * weight, exposure, peak)

    def _maximum_likelihood(self, stats: EventCounts) -> Self:
        return self._with_parameter(numerics.divide(stats.events, stats.exposure, self.rate))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(self.concentration, value)


@pytree
class GammaGamma(OnLine, Estimable[PositiveMoments, Never]):
    """p(x) = integral of Gamma(x | shape, r) Gamma(r | concentration, rate) dr, x >= 0

    A scaled beta prime distribution. `e_step` gives the expected statistics of the latent
    rates, so `m_step` is a step of EM over concentration and rate: fit with `fit.em`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, shape of the latent rate.
      rate: positive scalar, rate of the latent rate: the scale of x.
      shape: positive scalar, held by `m_step`.

    Source: Bernardo & Smith (1994), Bayesian Theory, appendix A.

    Examples:
      >>> print(f"{GammaGamma(2.0, 1.0, 1.0).log_prob(1.0):.4f}")
      -1.3863
    """

    held: ClassVar[tuple[str, ...]] = ("shape",)

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)
    shape: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        a, b, c = numerics.as_float(self.concentration, self.rate, self.shape)
        key_rate, key_value = jax.random.split(key)
        log_rate = draws.log_gamma(key_rate, a, shape)
        log_value = draws.log_gamma(key_value, c, shape)
        return b * jnp.exp(log_value - log_rate)

    def mean(self) -> Array:
        """rate shape / (concentration - 1); inf where concentration <= 1."""
        a, b, c = numerics.as_float(self.concentration, self.rate, self.shape)
        return where_above(a, 1, lambda a: b * c / (a - 1))

    def variance(self) -> Array:
        """rate^2 shape (shape + a - 1) / ((a - 2) (a - 1)^2), a = concentration; inf for a <= 2."""
        a, b, c = numerics.as_float(self.concentration, self.rate, self.shape)
        return where_above(a, 2, lambda a: c * (c + a - 1) * (b / (a - 1)) ** 2 / (a - 2))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """That of x / (x + rate), a beta variable, and the mean log slope of x in it, nats."""
        a, b, c = numerics.as_float(self.concentration, self.rate, self.shape)
        rest = log_minus_digamma(a) - log_minus_digamma(a + c) + jnp.log1p(c / a)
        return simplex_entropy(jnp.stack([c, a])) + jnp.log(b) + 2 * rest

    def _log_tails(self, x: Array) -> LogTails:
        x, a, b, c = numerics.as_float(x, self.concentration, self.rate, self.shape)
        return log_beta_tails(c, a, 1 / (1 + b / x), 1 / (1 + x / b))

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent rates, nats: what `m_step` maximises."""
        return expected_log_gamma(stats, self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return (x >= 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        v, a, b, c = numerics.as_float(x, self.concentration, self.rate, self.shape)
        interior = (v > 0) & (v < jnp.inf)
        inner = jnp.where(interior, v, b)
        # x / (x + b) is a beta variable: nothing of the order of a + c cancels
        term = log_binomial_term(c, a, 1 / (1 + b / inner), 1 / (1 + inner / b))
        small, large = jnp.minimum(a, c), jnp.maximum(a, c)
        density = term + jnp.log(small) - jnp.log1p(small / large) - jnp.log(inner)
        constant = -log_beta(a, c)
        slope = jnp.where(c == 1, (a + 1) * jnp.where(v == 0, v, 0) / b, 0)
        edge = log_zero_power(c - 1) + constant - jnp.log(b) - slope
        return inside(self._support(v), v, jnp.where(interior, density, edge))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, a, b, c = numerics.as_float(x, self.concentration, self.rate, self.shape)
        return latent_gamma(a + c, b + x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(*fit_gamma(stats, self.concentration, self.rate), self.shape)


@pytree
class InverseGamma(OnLine, Estimable[PositiveMoments, Never], Prior[EventCounts]):
    """1 / v ~ Gamma(concentration, rate): p(v) proportional to v^(-concentration - 1) exp(-rate / v)

    The conjugate prior of a variance, updated by the `EventCounts` of `NormalKnownLoc`; as a
    model of data its `m_step` finds both parameters by Newton steps.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar, the shape.
      rate: positive scalar, the scale of v.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(f"{InverseGamma(2.0, 1.0).log_prob(1.0):.4f}", InverseGamma(2.0, 1.0).mean())
      -1.0000 1.0
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        a, b = numerics.as_float(self.concentration, self.rate)
        return b * jnp.exp(-draws.log_gamma(key, a, shape))

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Log likelihood as a function of the statistics of 1 / x, nats."""
        return expected_log_gamma(stats, self.concentration, self.rate) + 2 * stats.log_sum

    def posterior(self, stats: EventCounts) -> Self:
        """InverseGamma(concentration + events, rate + exposure)."""
        return type(self)(*_updated(self.concentration, self.rate, stats))

    def expected_log_likelihood(self, stats: EventCounts) -> Array:
        """The log likelihood at the mean of 1 / v, minus a term for the variance of v, nats."""
        return Gamma(self.concentration, self.rate).expected_log_likelihood(stats)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats: that of the gamma distributions of 1 / v."""
        self._same_type(other)
        return kl_gamma(self.concentration, self.rate, other.concentration, other.rate)

    def mean(self) -> Array:
        """rate / (concentration - 1), inf where concentration <= 1."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return jnp.where(a > 1, b / jnp.where(a > 1, a - 1, 1), jnp.inf)

    def variance(self) -> Array:
        """rate^2 / ((a - 1)^2 (a - 2)) with a = concentration; inf where a <= 2."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return where_above(a, 2, lambda a: (b / (a - 1)) ** 2 / (a - 2))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, jnp.inf

    def entropy(self) -> Array:
        """a + log(rate Gamma(a)) - (1 + a) digamma(a) with a = concentration, nats."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return gamma_entropy(a) + jnp.log(b) + 2 * (log_minus_digamma(a) - jnp.log(a))

    def _log_tails(self, x: Array) -> LogTails:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        lower, upper = log_gamma_tails(a, b / x)
        return upper, lower

    def mode(self) -> Array:
        """rate / (concentration + 1)."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return b / (a + 1)

    def predictive(self, likelihood: Model) -> Density:
        """The distribution of one new observation of the likelihood, a `NormalKnownLoc`."""
        return likelihood.predictive(self)

    def log_evidence(self, stats: EventCounts) -> Array:
        """log p(data) with the variance integrated out, nats."""
        return gamma_evidence(stats, self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return (x > 0) & finite(x)

    def _log_density(self, x: Array) -> Array:
        (v,) = numerics.as_float(x)
        support = self._support(v)
        y = 1 / jnp.where(support, v, 1)
        density = log_gamma_density(y, self.concentration, self.rate) + 2 * jnp.log(y)
        return inside(support, v, density)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights = numerics.as_float(x, weights)
        return positive_moments(1 / x, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(*fit_gamma(stats, self.concentration, self.rate))
