"""The normal-inverse-gamma distribution: the conjugate prior of a normal's mean and variance."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.data import DataLike, take_mask
from likelax.families.base import Prior, mean_of_used, where_above
from likelax.families.compound import kl_gamma, log_gamma_density
from likelax.families.normal import LOG_2PI, Normal
from likelax.model import Density, Model, pytree
from likelax.numerics import draws
from likelax.statistics import Moments


@pytree
class NormalInverseGamma(Prior[Moments]):
    """variance ~ InverseGamma(alpha, beta), mean | variance ~ Normal(loc, sqrt(variance / kappa)).

    Its values are pairs (mean, variance). With loc (D,) one variance is shared by D means: the prior
    of a `SphericalNormal`.

    Float32: log density within 5e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar or (D,), expected mean.
      kappa: positive scalar: the number of earlier observations of the mean.
      alpha: positive scalar, shape of the variance.
      beta: positive scalar, scale of the variance.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 6.

    Examples:
      >>> prior = NormalInverseGamma(0.0, 1.0, 2.0, 2.0)
      >>> stats = Moments(jnp.float32(3), jnp.float32(4), jnp.float32(6))
      >>> print(prior.posterior(stats).loc, prior.posterior(stats).beta)
      3.0 11.0
    """

    of_spread: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    loc: Array
    kappa: Array = constrained(positive)
    alpha: Array = constrained(positive)
    beta: Array = constrained(positive)

    def _floats(self) -> list[Array]:
        return numerics.as_float(self.loc, self.kappa, self.alpha, self.beta)

    def _size(self) -> int:
        """How many means share the variance."""
        return jnp.size(self.loc)

    def log_prob(self, value: tuple[Array, Array]) -> Array:
        """Log density at one (mean, variance), nats; -inf where the variance is not positive."""
        loc, kappa, alpha, beta = self._floats()
        mean, variance = numerics.as_float(*value)
        positive = variance > 0
        v = jnp.where(positive, variance, 1)
        square = jnp.sum((mean - loc) ** 2, axis=tuple(range(-loc.ndim, 0)))
        # 1 / variance is a gamma variable: nothing of the order of alpha cancels
        of_variance = log_gamma_density(1 / v, alpha, beta) - 2 * jnp.log(v)
        of_mean = self._size() * (jnp.log(kappa) - jnp.log(v) - LOG_2PI) / 2 - kappa * square / (
            2 * v
        )
        log_prob = of_variance + of_mean
        return jnp.where(positive, log_prob, -jnp.inf)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (mean (*shape, *loc.shape), variance (*shape)).

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        loc, kappa, alpha, beta = self._floats()
        key_variance, key_mean = jax.random.split(key)
        variance = beta / draws.gamma(key_variance, alpha, shape)
        normal = jax.random.normal(key_mean, (*shape, *loc.shape), loc.dtype)
        scale = jnp.expand_dims(jnp.sqrt(variance / kappa), tuple(range(-loc.ndim, 0)))
        return jnp.broadcast_to(loc, normal.shape) + scale * normal, variance

    def posterior(self, stats: Moments) -> Self:
        """The prior with the moments of a data set merged into it."""
        loc, kappa, alpha, beta = self._floats()
        size = self._size()
        # the prior is itself a data set: kappa observations at loc with scatter 2 beta in all
        seen = Moments(kappa, loc, jnp.broadcast_to(2 * beta / size, loc.shape))
        merged = seen + stats
        return type(self)(
            merged.mean,
            merged.weight,
            alpha + size * stats.weight / 2,
            jnp.sum(merged.scatter) / 2,
        )

    def pooled(self, used: Array | None = None) -> Self:
        """K of them, stacked: the same, with the variance that is most probable under all."""
        share = mean_of_used(self._floats()[2:], used)
        return type(self)(self.loc, self.kappa, *share)

    def tied_posterior(self, stats: Moments, used: Array | None = None) -> Self:
        """K of them, stacked: each mean's own, and one distribution of the variance.

        Args:
          stats: moments with a leading axis K.
          used: (K,) booleans, which of the K count, or None for all.
        """
        prior = self.pooled(used)
        # what the data add to each, and the prior once
        bare = dataclasses.replace(prior, beta=jnp.zeros_like(prior.beta))
        each = jax.vmap(lambda p, s: p.posterior(s))(bare, stats)
        added = each.alpha - bare.alpha, each.beta
        of_spread = [
            p + jnp.broadcast_to(jnp.sum(a, axis=0, keepdims=True), a.shape)
            for p, a in zip((prior.alpha, prior.beta), added, strict=True)
        ]
        return type(self)(each.loc, each.kappa, *of_spread)

    def tied_divergence(self, other: Self, used: Array | None = None) -> Array:
        """KL(self || other) of K stacked ones with one distribution of the variance, nats."""
        prior = other.pooled(used)
        each = jax.vmap(lambda q, p: q.kl_divergence(p))
        of_spread = each(dataclasses.replace(self, loc=prior.loc, kappa=prior.kappa), prior)
        return self._tied_sum(each(self, prior), of_spread, used)

    def expected_log_likelihood(self, stats: Moments) -> Array:
        """That of the normal at E[1 / variance], minus a term for the variance of both parameters, nats."""
        loc, kappa, alpha, beta = self._floats()
        precision, size = alpha / beta, self._size()
        square = jnp.sum(stats.about(loc)) * precision
        spread = digamma(alpha) - jnp.log(beta) - LOG_2PI - 1 / kappa
        return (stats.weight * size * spread - square) / 2

    def expected_log_density(self, likelihood: Model, x: DataLike) -> Array:
        """E[log p(x | mean, variance)], (...), nats.

        Raises:
          ValueError: for `Masked` vectors, whose entries have no closed form one by one.
        """
        if jnp.ndim(self.loc) and take_mask(x)[1] is not None:
            raise ValueError(
                "Variational: vectors with missing entries have no closed form; use "
                "Independent(Variational(NormalInverseGamma(...), Normal(...)))"
            )
        return super().expected_log_density(likelihood, x)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        loc, kappa, alpha, beta = self._floats()
        loc0, kappa0, alpha0, beta0 = other._floats()
        ratio, square = kappa0 / kappa, jnp.sum((loc - loc0) ** 2)
        normal = (self._size() * (ratio - 1 - jnp.log(ratio)) + kappa0 * square * alpha / beta) / 2
        return normal + kl_gamma(alpha, beta, alpha0, beta0)

    def mean(self) -> tuple[Array, Array]:
        """(loc, beta / (alpha - 1)); the variance has no mean (inf) where alpha <= 1."""
        loc, _, alpha, beta = self._floats()
        return loc, jnp.where(alpha > 1, beta / jnp.where(alpha > 1, alpha - 1, 1), jnp.inf)

    def variance(self) -> tuple[Array, Array]:
        """(beta / (kappa (alpha - 1)), beta^2 / ((alpha - 1)^2 (alpha - 2))) of mean and variance.

        inf where alpha <= 1, and of the variance where alpha <= 2.
        """
        loc, kappa, alpha, beta = self._floats()
        of_mean = where_above(alpha, 1, lambda a: beta / (a - 1) / kappa)
        return (
            jnp.broadcast_to(of_mean, loc.shape),
            where_above(alpha, 2, lambda a: (beta / (a - 1)) ** 2 / (a - 2)),
        )

    def mode(self) -> tuple[Array, Array]:
        """(loc, beta / (alpha + 1 + D / 2)), of mean and variance jointly; D is 1 for a scalar loc."""
        loc, _, alpha, beta = self._floats()
        return loc, beta / (alpha + 1 + self._size() / 2)

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is Normal unless given."""
        return (Normal(self.loc, self.beta) if likelihood is None else likelihood).predictive(self)

    def log_evidence(self, stats: Moments) -> Array:
        """log p(data) with mean and variance integrated out, nats."""
        after = self.posterior(stats)
        constant = stats.weight * self._size() * LOG_2PI / 2
        return self._log_normalizer() - after._log_normalizer() - constant

    def _log_normalizer(self) -> Array:
        _, kappa, alpha, beta = self._floats()
        return alpha * jnp.log(beta) - gammaln(alpha) + self._size() * jnp.log(kappa) / 2
