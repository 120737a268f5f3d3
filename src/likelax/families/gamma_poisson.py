"""The gamma-Poisson (negative binomial) distribution: a count whose rate is gamma distributed."""

from collections.abc import Sequence
from typing import Any, Never, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import (
    Estimable,
    inside,
    is_count,
)
from likelax.families.compound import expected_log_gamma, fit_gamma, latent_gamma
from likelax.families.on_line import Counts, LogTails
from likelax.model import pytree
from likelax.numerics import draws
from likelax.numerics.special import log_binomial_term
from likelax.numerics.tails import log_beta_tails
from likelax.statistics import PositiveMoments


@pytree
class GammaPoisson(Counts, Estimable[PositiveMoments, Never]):
    """p(x) = integral of Poisson(x | r) Gamma(r | concentration, rate) dr, x = 0, 1, 2, ...

    `e_step` gives the expected statistics of the latent rates, so `m_step` is a step of EM over
    both parameters: fit with `fit.em`. If the variance of the counts does not exceed that of a
    Poisson there is no maximum: concentration and rate then grow without bound, and their ratio is
    the mean.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: positive scalar a.
      rate: positive scalar b. The mean is a / b, the variance a (b + 1) / b^2; at inf all mass is
        on 0.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.6.

    Examples:
      >>> print(jnp.exp(GammaPoisson(1.0, 1.0).log_prob(jnp.array([0, 1]))).round(4))
      [0.5  0.25]
    """

    concentration: Array = constrained(positive)
    rate: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.poisson` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        key_rate, key_count = jax.random.split(key)
        concentration, rate = numerics.as_float(self.concentration, self.rate)
        rates = draws.gamma(key_rate, concentration, shape) / rate
        return draws.poisson(key_count, rates, shape)

    def mean(self) -> Array:
        """concentration / rate."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return a / b

    def variance(self) -> Array:
        """concentration (rate + 1) / rate^2."""
        a, b = numerics.as_float(self.concentration, self.rate)
        return a / b * (1 + 1 / b)

    def _log_tails(self, x: Array) -> LogTails:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        return log_beta_tails(a, x + 1, 1 / (1 + 1 / b), 1 / (1 + b))

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent rates, nats: what `m_step` maximises."""
        return expected_log_gamma(stats, self.concentration, self.rate)

    def _support(self, x: Any) -> Any:
        return is_count(x)

    def _log_density(self, x: Array) -> Array:
        support = is_count(x)
        value = jnp.where(support, x, jnp.zeros((), x.dtype))
        return inside(support, x, self._log_mass(value))

    def _log_mass(self, x: Array) -> Array:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        return log_binomial_term(x, a, 1 / (1 + b), 1 / (1 + 1 / b)) - jnp.log1p(x / a)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, a, b = numerics.as_float(x, self.concentration, self.rate)
        return latent_gamma(a + x, b + 1, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        return type(self)(*fit_gamma(stats, self.concentration, self.rate))
