"""Student's t distribution, of one and of several dimensions."""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln

from likelax import numerics
from likelax.constraints import constrained, positive, scale_tril
from likelax.families.base import Distribution
from likelax.model import pytree

LOG_PI = float(np.log(np.pi))


def _log_t(dof: Array, square: Array, num_dims: int) -> Array:
    """Log density of a standard t at squared distance `square`, nats."""
    half = (dof + num_dims) / 2
    log_norm = gammaln(half) - gammaln(dof / 2) - num_dims * (jnp.log(dof) + LOG_PI) / 2
    return log_norm - half * jnp.log1p(square / dof)


@pytree
class StudentT(Distribution):
    """p(x) proportional to (1 + ((x - loc) / scale)^2 / dof)^(-(dof + 1) / 2)

    Attributes:
      dof: positive scalar, degrees of freedom.
      loc: scalar.
      scale: positive scalar.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(f"{StudentT(1.0, 0.0, 1.0).log_prob(0.0):.4f}")
      -1.1447
    """

    dof: Array = constrained(positive)
    loc: Array
    scale: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        dof, loc, scale = numerics.as_float(self.dof, self.loc, self.scale)
        return loc + scale * jax.random.t(key, dof, tuple(shape), loc.dtype)

    def _log_density(self, x: Array) -> Array:
        x, dof, loc, scale = numerics.as_float(x, self.dof, self.loc, self.scale)
        return _log_t(dof, ((x - loc) / scale) ** 2, 1) - jnp.log(scale)


@pytree
class MvStudentT(Distribution):
    """Student's t in D dimensions with scale matrix scale_tril scale_tril^T.

    Attributes:
      dof: positive scalar.
      loc: (D,).
      scale_tril: (D, D) lower triangular with a positive diagonal.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(f"{MvStudentT(3.0, jnp.zeros(2), jnp.eye(2)).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    event_ndim: ClassVar[int] = 1

    dof: Array = constrained(positive)
    loc: Array
    scale_tril: Array = constrained(scale_tril)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, D)."""
        dof, loc, tril = numerics.as_float(self.dof, self.loc, self.scale_tril)
        key_normal, key_dof = jax.random.split(key)
        normal = jax.random.normal(key_normal, (*shape, loc.shape[-1]), loc.dtype) @ tril.T
        chi2 = 2 * jax.random.gamma(key_dof, dof / 2, tuple(shape), loc.dtype)
        draws = normal * jnp.sqrt(dof / chi2)[..., None]
        return draws + jnp.broadcast_to(loc, draws.shape)

    def _log_density(self, x: Array) -> Array:
        x, dof, loc, tril = numerics.as_float(x, self.dof, self.loc, self.scale_tril)
        whiten = solve_triangular(tril, jnp.eye(tril.shape[-1], dtype=tril.dtype), lower=True)
        white = (x - jnp.broadcast_to(loc, x.shape)) @ whiten.T
        log_det = jnp.sum(jnp.log(jnp.diagonal(tril)))
        return _log_t(dof, jnp.sum(white * white, axis=-1), loc.shape[-1]) - log_det
