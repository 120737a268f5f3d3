"""The normal-inverse-Wishart distribution: the conjugate prior of a multivariate normal."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import multigammaln

from likelax import numerics
from likelax.constraints import constrained, positive, positive_definite
from likelax.families.base import Prior
from likelax.families.mv_normal import MvNormal
from likelax.families.normal import LOG_2PI
from likelax.families.statistics import Moments
from likelax.model import pytree


def _log_det(positive: Array) -> Array:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(numerics.cholesky(positive))))


@pytree
class NormalInverseWishart(Prior):
    """covariance ~ InverseWishart(dof, scale), mean | covariance ~ MvNormal(loc, covariance / kappa).

    Its values are pairs (mean (D,), covariance (D, D)).

    Attributes:
      loc: (D,), expected mean.
      kappa: positive scalar: the mean was already seen this many times.
      dof: scalar above D - 1, degrees of freedom of the covariance.
      scale: (D, D) positive definite, scatter already seen.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, 9.

    Examples:
      >>> prior = NormalInverseWishart(jnp.zeros(2), 1.0, 4.0, jnp.eye(2))
      >>> mean, covariance = prior.mean()
      >>> print(covariance[0, 0])
      1.0
    """

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
        gap = jnp.matmul(whiten, mean - loc, precision="highest")
        trace = jnp.sum(jnp.matmul(whiten, scale, precision="highest") * whiten)
        return (
            self._log_normalizer()
            - num_dims * LOG_2PI / 2
            - (dof + num_dims + 2) / 2 * log_det
            - (trace + kappa * jnp.sum(gap**2)) / 2
        )

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Array, Array]:
        """Draws (mean (*shape, D), covariance (*shape, D, D)), by Bartlett's decomposition."""
        loc, kappa, dof, scale = self._floats()
        num_dims = loc.shape[-1]
        key_diagonal, key_lower, key_mean = jax.random.split(key, 3)
        degrees = dof - jnp.arange(num_dims, dtype=loc.dtype)
        chi2 = 2 * jax.random.gamma(key_diagonal, degrees / 2, (*shape, num_dims), loc.dtype)
        eye = jnp.eye(num_dims, dtype=loc.dtype)
        lower = jnp.tril(jax.random.normal(key_lower, (*shape, num_dims, num_dims), loc.dtype), -1)
        bartlett = lower + jnp.sqrt(chi2)[..., None] * jnp.broadcast_to(eye, lower.shape)
        # scale = C C^T and Wishart root A: the draw is (C A^-T)(C A^-T)^T
        flat = bartlett.reshape(-1, num_dims, num_dims)
        inverse = jax.vmap(numerics.inverse_lower)(flat).reshape(bartlett.shape)
        root = jnp.matmul(
            numerics.cholesky(scale), jnp.swapaxes(inverse, -1, -2), precision="highest"
        )
        covariance = jnp.matmul(root, jnp.swapaxes(root, -1, -2), precision="highest")
        white = jax.random.normal(key_mean, (*shape, num_dims, 1), loc.dtype)
        gap = jnp.matmul(root, white, precision="highest")[..., 0] / jnp.sqrt(kappa)
        return jnp.broadcast_to(loc, gap.shape) + gap, covariance

    def posterior(self, stats: Moments) -> Self:
        """The prior with the moments of a data set merged into it."""
        loc, kappa, dof, scale = self._floats()
        # the prior is itself a data set: kappa observations at loc with this scatter
        merged = Moments(kappa, loc, scale) + stats
        return type(self)(merged.mean, merged.weight, dof + stats.weight, merged.scatter)

    def mean(self) -> tuple[Array, Array]:
        """(loc, scale / (dof - D - 1)); the covariance has no mean (inf) where dof <= D + 1."""
        loc, _, dof, scale = self._floats()
        excess = dof - loc.shape[-1] - 1
        return loc, jnp.where(excess > 0, scale / jnp.where(excess > 0, excess, 1), jnp.inf)

    def mode(self) -> tuple[Array, Array]:
        """(loc, scale / (dof + D + 2)), of mean and covariance jointly."""
        loc, _, dof, scale = self._floats()
        return loc, scale / (dof + loc.shape[-1] + 2)

    def predictive(self, likelihood: Any = None) -> Any:
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
