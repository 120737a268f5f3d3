"""The normal-inverse-Wishart distribution: the conjugate prior of a multivariate normal."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, multigammaln

from likelax import numerics
from likelax.constraints import constrained, positive, positive_definite
from likelax.data import DataLike, take_mask
from likelax.families.base import Prior, mean_of_used, where_above
from likelax.families.mv_normal import MvNormal
from likelax.families.normal import LOG_2PI
from likelax.model import Density, Model, pytree
from likelax.numerics import draws, matmul
from likelax.statistics import Moments


def _log_det(positive: Array) -> Array:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(numerics.cholesky(positive))))


def inverse_wishart_variance(dof: Array, scale: Array) -> Array:
    """Variance of each entry of an inverse Wishart matrix (D, D); inf where dof <= D + 3.

    Source: von Rosen (1988), Scandinavian Journal of Statistics 15, 97-109.
    """
    num_dims = scale.shape[-1]
    diagonal = jnp.diagonal(scale)

    def moment(dof: Array) -> Array:
        over = dof - num_dims
        top = (over + 1) * scale**2 + (over - 1) * diagonal[:, None] * diagonal[None, :]
        return top / (over * (over - 1) ** 2 * (over - 3))

    return where_above(dof, num_dims + 3, moment)


@pytree
class NormalInverseWishart(Prior[Moments]):
    """covariance ~ InverseWishart(dof, scale), mean | covariance ~ MvNormal(loc, covariance / kappa).

    Its values are pairs (mean (D,), covariance (D, D)).

    Float32: log density within 5e-4 of 1 + its size for dof up to 100, and of one rounding of
    the arguments.

    Attributes:
      loc: (D,), expected mean.
      kappa: positive scalar: the number of earlier observations of the mean.
      dof: scalar above D - 1, degrees of freedom of the covariance.
      scale: (D, D) positive definite, scatter already seen.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 9.

    Examples:
      >>> prior = NormalInverseWishart(jnp.zeros(2), 1.0, 4.0, jnp.eye(2))
      >>> mean, covariance = prior.mean()
      >>> print(covariance[0, 0])
      1.0
    """

    of_spread: ClassVar[tuple[str, ...]] = ("dof", "scale")

    loc: Array
    kappa: Array = constrained(positive)
    dof: Array = constrained(positive)
    scale: Array = constrained(positive_definite)

    def _floats(self) -> list[Array]:
        return numerics.as_float(self.loc, self.kappa, self.dof, self.scale)

    def log_prob(self, value: tuple[Array, Array]) -> Array:
        """Log density at one (mean, covariance), nats; NaN where it is not positive definite."""
        loc, kappa, dof, scale = self._floats()
        mean, covariance = numerics.as_float(*value)
        num_dims = loc.shape[-1]
        tril = numerics.cholesky(covariance)
        whiten = numerics.inverse_lower(tril)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))
        gap = matmul(whiten, mean - loc)
        trace = jnp.sum(matmul(whiten, scale) * whiten)
        return (
            self._log_normalizer()
            - num_dims * LOG_2PI / 2
            - (dof + num_dims + 2) / 2 * log_det
            - (trace + kappa * jnp.sum(gap**2)) / 2
        )

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (mean (*shape, D), covariance (*shape, D, D)), by Bartlett's decomposition.

        The loop inside ends with probability one: `likelax.numerics.draws.gamma` has the proof.
        """
        loc, kappa, dof, scale = self._floats()
        num_dims = loc.shape[-1]
        key_diagonal, key_lower, key_mean = jax.random.split(key, 3)
        degrees = dof - jnp.arange(num_dims, dtype=loc.dtype)
        chi2 = 2 * draws.gamma(key_diagonal, degrees / 2, (*shape, num_dims))
        eye = jnp.eye(num_dims, dtype=loc.dtype)
        lower = jnp.tril(jax.random.normal(key_lower, (*shape, num_dims, num_dims), loc.dtype), -1)
        bartlett = lower + jnp.sqrt(chi2)[..., None] * jnp.broadcast_to(eye, lower.shape)
        # scale = C C^T and Wishart root A: the draw is (C A^-T)(C A^-T)^T
        flat = bartlett.reshape(-1, num_dims, num_dims)
        inverse = jax.vmap(numerics.inverse_lower)(flat).reshape(bartlett.shape)
        root = matmul(numerics.cholesky(scale), jnp.swapaxes(inverse, -1, -2))
        covariance = matmul(root, jnp.swapaxes(root, -1, -2))
        white = jax.random.normal(key_mean, (*shape, num_dims, 1), loc.dtype)
        gap = matmul(root, white)[..., 0] / jnp.sqrt(kappa)
        return jnp.broadcast_to(loc, gap.shape) + gap, covariance

    def posterior(self, stats: Moments) -> Self:
        """The prior with the moments of a data set merged into it."""
        loc, kappa, dof, scale = self._floats()
        # the prior is itself a data set: kappa observations at loc with this scatter
        merged = Moments(kappa, loc, scale) + stats
        return type(self)(merged.mean, merged.weight, dof + stats.weight, merged.scatter)

    def pooled(self, used: Array | None = None) -> Self:
        """K of them, stacked: the same, with the covariance that is most probable under all."""
        share = mean_of_used(self._floats()[2:], used)
        return type(self)(self.loc, self.kappa, *share)

    def tied_posterior(self, stats: Moments, used: Array | None = None) -> Self:
        """K of them, stacked: each mean's own, and one distribution of the covariance.

        Args:
          stats: moments with a leading axis K.
          used: (K,) booleans, which of the K count, or None for all.
        """
        prior = self.pooled(used)
        # what the data add to each, and the prior once
        bare = dataclasses.replace(prior, scale=jnp.zeros_like(prior.scale))
        each = jax.vmap(lambda p, s: p.posterior(s))(bare, stats)
        added = each.dof - bare.dof, each.scale
        of_spread = [
            p + jnp.broadcast_to(jnp.sum(a, axis=0, keepdims=True), a.shape)
            for p, a in zip((prior.dof, prior.scale), added, strict=True)
        ]
        return type(self)(each.loc, each.kappa, *of_spread)

    def tied_divergence(self, other: Self, used: Array | None = None) -> Array:
        """KL(self || other) of K stacked ones with one distribution of the covariance, nats."""
        prior = other.pooled(used)
        each = jax.vmap(lambda q, p: q.kl_divergence(p))
        of_spread = each(dataclasses.replace(self, loc=prior.loc, kappa=prior.kappa), prior)
        return self._tied_sum(each(self, prior), of_spread, used)

    def expected_log_likelihood(self, stats: Moments) -> Array:
        """That of the normal at E[covariance^-1], minus a term for the variance of both, nats."""
        plugged_in, excess = self._plug_in()
        return plugged_in.expected_log_prob(stats) + stats.weight * excess

    def expected_log_density(self, likelihood: Model, x: DataLike) -> Array:
        """E[log p(x | mean, covariance)], (...), nats.

        Raises:
          ValueError: for `Masked` vectors, which have no closed form for single entries.
        """
        if take_mask(x)[1] is not None:
            raise ValueError(
                "Variational: vectors with missing entries have no closed form; use "
                "Independent(Variational(NormalInverseGamma(...), Normal(...))), or fit.em of a "
                "mixture of MvNormal with prior=..."
            )
        plugged_in, excess = self._plug_in()
        return plugged_in.log_prob(x) + excess

    def _plug_in(self) -> tuple[MvNormal, Array]:
        """The normal at E[covariance^-1], and what the expected log density of a row has beside it."""
        loc, kappa, dof, scale = self._floats()
        num_dims = loc.shape[-1]
        half = (dof - jnp.arange(num_dims, dtype=loc.dtype)) / 2
        # E log det precision against log det of the plug-in precision dof scale^-1
        gap = jnp.sum(digamma(half)) - num_dims * jnp.log(dof / 2)
        return MvNormal(loc, numerics.cholesky(scale / dof)), (gap - num_dims / kappa) / 2

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        self._same_type(other)
        loc, kappa, dof, scale = self._floats()
        loc0, kappa0, dof0, scale0 = other._floats()
        num_dims = loc.shape[-1]
        tril, tril0 = numerics.cholesky(scale), numerics.cholesky(scale0)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))
        log_det0 = 2 * jnp.sum(jnp.log(jnp.diagonal(tril0)))
        white = numerics.solve_lower(tril, jnp.column_stack([loc - loc0, tril0]))
        gap, trace = white[:, 0], jnp.sum(white[:, 1:] ** 2)
        ratio = kappa0 / kappa
        normal = (num_dims * (ratio - 1 - jnp.log(ratio)) + kappa0 * dof * jnp.sum(gap**2)) / 2
        half = (dof - jnp.arange(num_dims, dtype=loc.dtype)) / 2
        log_norms = multigammaln(jnp.stack([dof0, dof]) / 2, num_dims)
        wishart = (
            dof0 / 2 * (log_det - log_det0)
            + log_norms[0]
            - log_norms[1]
            + (dof - dof0) / 2 * jnp.sum(digamma(half))
            + dof * (trace - num_dims) / 2
        )
        return normal + wishart

    def mean(self) -> tuple[Array, Array]:
        """(loc, scale / (dof - D - 1)); the covariance has no mean (inf) where dof <= D + 1."""
        loc, _, dof, scale = self._floats()
        excess = dof - loc.shape[-1] - 1
        return loc, jnp.where(excess > 0, scale / jnp.where(excess > 0, excess, 1), jnp.inf)

    def variance(self) -> tuple[Array, Array]:
        """Variances of the entries of the mean (D,) and of the covariance (D, D).

        E[covariance] / kappa, whose diagonal counts, and that of the inverse Wishart distribution;
        inf where they do not exist, dof <= D + 1 and dof <= D + 3.
        """
        _, kappa, dof, scale = self._floats()
        return jnp.diagonal(self.mean()[1]) / kappa, inverse_wishart_variance(dof, scale)

    def mode(self) -> tuple[Array, Array]:
        """(loc, scale / (dof + D + 2)), of mean and covariance jointly."""
        loc, _, dof, scale = self._floats()
        return loc, scale / (dof + loc.shape[-1] + 2)

    def predictive(self, likelihood: Model | None = None) -> Density:
        """The distribution of one new observation; the likelihood is MvNormal unless given."""
        return (MvNormal(self.loc, self.scale) if likelihood is None else likelihood).predictive(
            self
        )

    def log_evidence(self, stats: Moments) -> Array:
        """log p(data) with mean and covariance integrated out, nats."""
        num_dims = jnp.shape(self.loc)[-1]
        after = self.posterior(stats)
        return (
            self._log_normalizer() - after._log_normalizer() - stats.weight * num_dims * LOG_2PI / 2
        )

    def _log_normalizer(self) -> Array:
        loc, kappa, dof, scale = self._floats()
        num_dims = loc.shape[-1]
        return (
            dof / 2 * _log_det(scale)
            - dof * num_dims / 2 * jnp.log(2.0).astype(loc.dtype)
            - multigammaln(dof / 2, num_dims)
            + num_dims / 2 * jnp.log(kappa)
        )
