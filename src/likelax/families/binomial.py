"""Counts of successes: binomial, geometric, negative binomial, and their compounds with a beta."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive, unit_interval
from likelax.families.base import (
    Estimable,
    Family,
    alike,
    check_concrete,
    inside,
    is_count,
    where_above,
)
from likelax.families.beta import Beta
from likelax.families.on_line import Counts, LogTails
from likelax.families.simplex import latent_simplex
from likelax.model import pytree
from likelax.numerics import draws
from likelax.numerics.lattice import log_lattice_sum
from likelax.numerics.special import (
    deviance,
    log_beta_binomial,
    log_binomial_term,
)
from likelax.numerics.tails import log_beta_tails, log_complement
from likelax.statistics import BinaryCounts, PositiveMoments, coin_counts


class _BinaryFamily(Family[BinaryCounts, Beta]):
    """Base class of likelihoods with a beta prior on `probs`."""

    probs: Array

    def expected_log_prob(self, stats: BinaryCounts) -> Array:
        """successes log probs + failures log(1 - probs) + log h, nats."""
        (probs,) = numerics.as_float(self.probs)
        return stats.log_likelihood(probs, 1 - probs)

    def parameter(self) -> Array:
        """probs, as a beta prior describes it."""
        return jnp.asarray(self.probs)

    def _maximum_likelihood(self, stats: BinaryCounts) -> Self:
        total = stats.successes + stats.failures
        return self._with_parameter(numerics.divide(stats.successes, total, self.probs))


def _check_probs(name: str, probs: Any) -> None:
    check_concrete(f"{name}: probs", probs, lambda p: (p >= 0) & (p <= 1), "between 0 and 1")


@pytree
class Binomial(Counts, _BinaryFamily):
    """p(x) = C(n, x) probs^x (1 - probs)^(n - x) for x = 0, ..., n, with n = total_count.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      total_count: n, a non-negative whole number, held by `m_step`.
      probs: scalar in [0, 1]; both ends are exact.

    Raises:
      ValueError: at construction, for another total_count or probs, as in the wrong order.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.4.

    Examples:
      >>> print(jnp.exp(Binomial(2, 0.5).log_prob(jnp.array([0, 1, 2]))))
      [0.25 0.5  0.25]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    total_count: Array
    probs: Array = constrained(unit_interval)

    def __post_init__(self) -> None:
        check_concrete(
            "Binomial: total_count",
            self.total_count,
            lambda n: (n >= 0) & (np.floor(n) == n),
            "a non-negative whole number",
        )
        _check_probs("Binomial", self.probs)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.binomial` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        probs, n = numerics.as_float(self.probs, self.total_count)
        return draws.whole_counts(draws.binomial(key, n, probs, shape))

    def mean(self) -> Array:
        """total_count probs."""
        n, probs = numerics.as_float(self.total_count, self.probs)
        return n * probs

    def variance(self) -> Array:
        """total_count probs (1 - probs)."""
        n, probs = numerics.as_float(self.total_count, self.probs)
        return n * probs * (1 - probs)

    def kl_divergence(self, other: Self) -> Array:
        """total_count times that of one trial, nats; NaN for another total_count."""
        self._same_type(other)
        n, n0, probs, probs0 = numerics.as_float(
            self.total_count, other.total_count, self.probs, other.probs
        )
        value = n * (deviance(probs, probs0) + deviance(1 - probs, 1 - probs0))
        return jnp.where(n == n0, value, jnp.nan)

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, self.total_count

    def _log_tails(self, x: Array) -> LogTails:
        x, n, probs = numerics.as_float(x, self.total_count, self.probs)
        above, below = log_beta_tails(x + 1, jnp.maximum(n - x, 1), probs, 1 - probs)
        return below, above

    def predictive(self, prior: Beta) -> "BetaBinomial":
        """Binomial with a beta-distributed probability."""
        return BetaBinomial(prior.alpha, prior.beta, total_count=self.total_count)

    def _support(self, x: Any) -> Any:
        value, n = alike(x, self.total_count)
        return is_count(x) & (value <= n)

    def _log_density(self, x: Array) -> Array:
        n = jnp.asarray(self.total_count)
        support, value, n, probs = _counts_up_to(x, n, self.probs)
        return inside(support, x, log_binomial_term(value, n - value, probs, 1 - probs))

    def _log_mass(self, x: Array) -> Array:
        x, n, probs = numerics.as_float(x, self.total_count, self.probs)
        return log_binomial_term(x, n - x, probs, 1 - probs)

    def _statistics(self, x: Array, weights: Array) -> BinaryCounts:
        x, weights, n = numerics.as_float(x, weights, self.total_count)
        wins = numerics.weighted_sum(weights, x)
        losses = numerics.weighted_sum(weights, n - x)
        p, q = _shares(wins, losses)
        peak = numerics.weighted_sum(weights, log_binomial_term(x, n - x, p, q))
        return BinaryCounts(wins, losses, peak)

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(self.total_count, value)


def _shares(wins: Array, losses: Array) -> tuple[Array, Array]:
    """The probability with the largest likelihood, and its complement."""
    total = wins + losses
    return numerics.divide(wins, total, 0.5), numerics.divide(losses, total, 0.5)


def _counts_up_to(x: Array, n: Array, *parameters: Array) -> list[Array]:
    """(support, x with a valid value off it, n, parameters) for counts of 0..n."""
    value, n, *floats = numerics.as_float(x, n, *parameters)
    support = is_count(x) & (value <= n)
    return [support, jnp.where(support, value, 0), n, *floats]


@pytree
class NegativeBinomial(Counts, _BinaryFamily):
    """x failures before success number r = total_count: C(x + r - 1, x) probs^r (1 - probs)^x

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      total_count: r, positive (not only whole), held by `m_step`. Where r is unknown too, fit a
        `GammaPoisson`: the same distribution with r = concentration and
        probs = rate / (1 + rate).
      probs: scalar in (0, 1], the probability of success, as in SciPy; what NumPyro and TensorFlow
        Probability call probs is one minus this.

    Raises:
      ValueError: at construction, for another total_count or probs, as in the wrong order.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(jnp.exp(NegativeBinomial(1, 0.5).log_prob(jnp.array([0, 1, 2]))))
      [0.5   0.25  0.125]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    total_count: Array
    probs: Array = constrained(unit_interval)

    def __post_init__(self) -> None:
        name = "NegativeBinomial"
        check_concrete(f"{name}: total_count", self.total_count, lambda r: r > 0, "positive")
        _check_probs(name, self.probs)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.poisson` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        key_rate, key_count = jax.random.split(key)
        probs, r = numerics.as_float(self.probs, self.total_count)
        rate = draws.gamma(key_rate, r, shape) * (1 - probs) / probs
        return draws.poisson(key_count, rate, shape)

    def mean(self) -> Array:
        """total_count (1 - probs) / probs; inf where probs is 0."""
        r, probs = numerics.as_float(self.total_count, self.probs)
        return numerics.divide(r * (1 - probs), probs, jnp.inf)

    def variance(self) -> Array:
        """total_count (1 - probs) / probs^2; inf where probs is 0."""
        r, probs = numerics.as_float(self.total_count, self.probs)
        return numerics.divide(r * (1 - probs), probs**2, jnp.inf)

    def kl_divergence(self, other: Self) -> Array:
        """total_count / probs times that of one trial, nats; NaN for another total_count."""
        self._same_type(other)
        r, r0, probs, probs0 = numerics.as_float(
            self.total_count, other.total_count, self.probs, other.probs
        )
        each = deviance(probs, probs0) + deviance(1 - probs, 1 - probs0)
        return jnp.where(r == r0, r / probs * each, jnp.nan)

    def _log_tails(self, x: Array) -> LogTails:
        x, r, probs = numerics.as_float(x, self.total_count, self.probs)
        return log_beta_tails(r, x + 1, probs, 1 - probs)

    def predictive(self, prior: Beta) -> "BetaNegativeBinomial":
        """Negative binomial with a beta-distributed probability."""
        return BetaNegativeBinomial(prior.alpha, prior.beta, total_count=self.total_count)

    def _support(self, x: Any) -> Any:
        return is_count(x)

    def _log_density(self, x: Array) -> Array:
        support, value, *_ = _counts(x, self.probs, self.total_count)
        return inside(support, x, self._log_mass(value))

    def _log_mass(self, x: Array) -> Array:
        x, probs, r = numerics.as_float(x, self.probs, self.total_count)
        return log_binomial_term(x, r, 1 - probs, probs) - jnp.log1p(x / r)

    def _statistics(self, x: Array, weights: Array) -> BinaryCounts:
        x, weights, r = numerics.as_float(x, weights, self.total_count)
        wins, failures = r * jnp.sum(weights), numerics.weighted_sum(weights, x)
        p, q = _shares(wins, failures)
        term = log_binomial_term(x, r, q, p) - jnp.log1p(x / r)
        return BinaryCounts(wins, failures, numerics.weighted_sum(weights, term))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(self.total_count, value)


def _counts(x: Array, *parameters: Array) -> list[Array]:
    """(support, x with a valid value off it, parameters) for counts of 0, 1, 2, ..."""
    value, *floats = numerics.as_float(x, *parameters)
    support = is_count(x)
    return [support, jnp.where(support, value, 0), *floats]


@pytree
class Geometric(Counts, _BinaryFamily):
    """x failures before the first success: p(x) = probs (1 - probs)^x for x = 0, 1, 2, ...

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      probs: scalar in (0, 1], the probability of success.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(jnp.exp(Geometric(0.5).log_prob(jnp.array([0, 1, 2]))))
      [0.5   0.25  0.125]
    """

    probs: Array = constrained(unit_interval)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`."""
        (probs,) = numerics.as_float(self.probs)
        # an exponential cut down to whole steps
        wait = jax.random.exponential(key, tuple(shape), probs.dtype)
        sure = probs == 1
        steps = jnp.floor(-wait / jnp.log1p(-jnp.where(sure, 0.5, probs)))
        return draws.whole_counts(jnp.where(sure, 0, steps))

    def mean(self) -> Array:
        """(1 - probs) / probs; inf where probs is 0."""
        (probs,) = numerics.as_float(self.probs)
        return numerics.divide(1 - probs, probs, jnp.inf)

    def variance(self) -> Array:
        """(1 - probs) / probs^2; inf where probs is 0."""
        (probs,) = numerics.as_float(self.probs)
        return numerics.divide(1 - probs, probs**2, jnp.inf)

    def entropy(self) -> Array:
        """That of one trial over probs, nats."""
        (probs,) = numerics.as_float(self.probs)
        each = -numerics.xlogy(probs, probs) - numerics.xlog1py(1 - probs, -probs)
        return numerics.divide(each, probs, jnp.inf)

    def kl_divergence(self, other: Self) -> Array:
        """That of one trial over probs, nats."""
        self._same_type(other)
        probs, probs0 = numerics.as_float(self.probs, other.probs)
        return (deviance(probs, probs0) + deviance(1 - probs, 1 - probs0)) / probs

    def _log_tails(self, x: Array) -> LogTails:
        x, probs = numerics.as_float(x, self.probs)
        log_upper = numerics.xlog1py(x + 1, -probs)
        return log_complement(log_upper), log_upper

    def predictive(self, prior: Beta) -> "BetaNegativeBinomial":
        """Geometric with a beta-distributed probability: r = 1."""
        return BetaNegativeBinomial(prior.alpha, prior.beta, total_count=jnp.ones_like(prior.alpha))

    def _support(self, x: Any) -> Any:
        return is_count(x)

    def _log_density(self, x: Array) -> Array:
        support, value, probs = _counts(x, self.probs)
        return inside(support, x, numerics.xlog1py(value, -probs) + numerics.safe_log(probs))

    def _statistics(self, x: Array, weights: Array) -> BinaryCounts:
        x, weights = numerics.as_float(x, weights)
        return coin_counts(jnp.sum(weights), numerics.weighted_sum(weights, x))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value)


@pytree
class BetaBinomial(Counts, Estimable[PositiveMoments, Never]):
    """p(x) = integral of Binomial(x | n, v) Beta(v | alpha, beta) dv for x = 0, ..., n = total_count.

    `e_step` gives the expected statistics of the latent probabilities, so `m_step` is a step of
    EM over alpha and beta: fit with `fit.em`.

    Float32: log density within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      alpha: positive scalar.
      beta: positive scalar.
      total_count: n, a non-negative whole number, held by `m_step`; by keyword only.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 5.3 and appendix A.

    Examples:
      >>> print(jnp.exp(BetaBinomial(1.0, 1.0, total_count=4).log_prob(jnp.arange(5))).round(4))
      [0.2 0.2 0.2 0.2 0.2]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)
    total_count: Array = dataclasses.field(kw_only=True)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.binomial` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        key_probs, key_count = jax.random.split(key)
        probs = Beta(self.alpha, self.beta).sample(key_probs, shape)
        _, n = numerics.as_float(probs, self.total_count)
        return draws.whole_counts(draws.binomial(key_count, n, probs, shape))

    def mean(self) -> Array:
        """total_count alpha / (alpha + beta)."""
        n, a, b = numerics.as_float(self.total_count, self.alpha, self.beta)
        return n * a / (a + b)

    def variance(self) -> Array:
        """That of a binomial at the mean, times (alpha + beta + n) / (alpha + beta + 1)."""
        n, a, b = numerics.as_float(self.total_count, self.alpha, self.beta)
        p, q = a / (a + b), b / (a + b)
        return n * p * q * (a + b + n) / (a + b + 1)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent probabilities, nats: what `m_step` maximises."""
        return Beta(self.alpha, self.beta).expected_log_prob(stats)

    def _support(self, x: Any) -> Any:
        value, n = alike(x, self.total_count)
        return is_count(x) & (value <= n)

    def _log_density(self, x: Array) -> Array:
        support, value, n, alpha, beta = _counts_up_to(x, self.total_count, self.alpha, self.beta)
        return inside(support, x, log_beta_binomial(value, n - value, alpha, beta))

    def _ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0.0, self.total_count

    def _log_mass(self, x: Array) -> Array:
        x, n, alpha, beta = numerics.as_float(x, self.total_count, self.alpha, self.beta)
        return log_beta_binomial(x, n - x, alpha, beta)

    def _log_tails(self, x: Array) -> LogTails:
        """The tail away from the mean by a sum over its counts, and the other as one minus it."""
        x, n, mean = numerics.as_float(x, self.total_count, self.mean())
        left = x <= mean
        first, size = jnp.where(left, 0, x + 1), jnp.where(left, x + 1, n - x)
        tail = jnp.minimum(log_lattice_sum(self._log_mass, first, size), 0)
        other = log_complement(tail)
        return jnp.where(left, tail, other), jnp.where(left, other, tail)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights, n, a, b = numerics.as_float(x, weights, self.total_count, self.alpha, self.beta)
        return latent_simplex(jnp.stack([a + x, b + n - x], axis=-1), weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        fitted = Beta(*numerics.as_float(self.alpha, self.beta)).m_step(stats)
        return type(self)(fitted.alpha, fitted.beta, total_count=self.total_count)


@pytree
class BetaNegativeBinomial(Estimable[PositiveMoments, Never]):
    """p(x) = integral of NegativeBinomial(x | r, v) Beta(v | alpha, beta) dv, x = 0, 1, 2, ...

    `e_step` gives the expected statistics of the latent probabilities, so `m_step` is a step of
    EM over alpha and beta: fit with `fit.em`.

    Float32: log density within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      alpha: positive scalar.
      beta: positive scalar.
      total_count: r, positive, held by `m_step`; by keyword only.

    Source: Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, 6.2.3.

    Examples:
      >>> print(jnp.exp(BetaNegativeBinomial(1.0, 1.0, total_count=1.0).log_prob(jnp.arange(2))).round(4))
      [0.5    0.1667]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)
    total_count: Array = dataclasses.field(kw_only=True)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape `shape`.

        The loop inside ends with probability one: `likelax.numerics.draws.poisson` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        key_probs, key_rate, key_count = jax.random.split(key, 3)
        probs = Beta(self.alpha, self.beta).sample(key_probs, shape)
        _, r = numerics.as_float(probs, self.total_count)
        rate = draws.gamma(key_rate, r, shape) * (1 - probs) / probs
        return draws.poisson(key_count, rate, shape)

    def mean(self) -> Array:
        """total_count beta / (alpha - 1); inf where alpha <= 1."""
        r, a, b = numerics.as_float(self.total_count, self.alpha, self.beta)
        return where_above(a, 1, lambda a: r * b / (a - 1))

    def variance(self) -> Array:
        """r beta (alpha + r - 1) (alpha + beta - 1) / ((alpha - 2) (alpha - 1)^2); inf for alpha <= 2."""
        r, a, b = numerics.as_float(self.total_count, self.alpha, self.beta)
        return where_above(
            a, 2, lambda a: r * b * (a + r - 1) * (a + b - 1) / ((a - 2) * (a - 1) ** 2)
        )

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent probabilities, nats: what `m_step` maximises."""
        return Beta(self.alpha, self.beta).expected_log_prob(stats)

    def _support(self, x: Any) -> Any:
        return is_count(x)

    def _log_density(self, x: Array) -> Array:
        support, value, r, alpha, beta = _counts(x, self.total_count, self.alpha, self.beta)
        term = log_beta_binomial(r, value, alpha, beta)
        return inside(support, x, term - jnp.log1p(value / r))

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights, r, a, b = numerics.as_float(x, weights, self.total_count, self.alpha, self.beta)
        wins = jnp.broadcast_to(a + r, x.shape)
        return latent_simplex(jnp.stack([wins, b + x], axis=-1), weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        fitted = Beta(*numerics.as_float(self.alpha, self.beta)).m_step(stats)
        return type(self)(fitted.alpha, fitted.beta, total_count=self.total_count)
