"""Guides over any pytree of constrained parameters: mean-field, low-rank and full-rank normals,
and a full-rank Student t.

Each draws base noise that does not depend on its parameters, `noise`, and carries it to a draw,
`from_noise`: a fit draws the noise of many steps at once.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax.constraints import constrained, positive, scale_tril
from likelax.model import pytree, static
from likelax.numerics import cholesky, solve_lower
from likelax.variational.space import Space, space_of

LOG_2PI = math.log(2 * math.pi)


@pytree
class MeanField:
    """Independent normals on R^D.

    Attributes:
      loc: (D,).
      scale: (D,) positive.

    Source: Kucukelbir et al. (2017), Automatic differentiation variational inference, JMLR 18.

    Examples:
      >>> guide = MeanField(jnp.array([1.0]), jnp.array([2.0]))
      >>> print(guide.from_noise(jnp.array([3.0])), guide.log_prob(jnp.array([1.0])).round(4))
      [7.] -1.6121
    """

    loc: Array
    scale: Array = constrained(positive)

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard normals (*shape, D)."""
        return jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale * noise, differentiable in the parameters."""
        return _match(self.loc, noise) + _match(self.scale, noise) * noise

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws (*shape, D), differentiable in the parameters."""
        return self.from_noise(self.noise(key, shape))

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats."""
        z = (x - _match(self.loc, x)) / _match(self.scale, x)
        constant = jnp.sum(jnp.log(self.scale)) + x.shape[-1] * LOG_2PI / 2
        return -jnp.sum(z**2, axis=-1) / 2 - constant

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return jnp.sum(jnp.log(self.scale)) + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def with_moments(self, loc: Array, covariance: Array) -> Self:
        """The same kind of distribution with this mean and these variances."""
        return type(self)(loc, jnp.sqrt(jnp.diagonal(covariance)))


@pytree
class LowRank:
    """Normal on R^D with covariance diag(scale^2) + factor factor'.

    Attributes:
      loc: (D,).
      scale: (D,) positive.
      factor: (D, R).

    Source: Ong, Nott and Smith (2018), Gaussian variational approximation with a factor covariance
      structure, Journal of Computational and Graphical Statistics 27.

    Examples:
      >>> guide = LowRank(jnp.zeros(2), jnp.ones(2), jnp.array([[2.0], [0.0]]))
      >>> print(guide.from_noise(jnp.array([0.0, 0.0, 1.0])))  # own noise, then the shared one
      [2. 0.]
    """

    loc: Array
    scale: Array = constrained(positive)
    factor: Array

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard normals (*shape, D + R), the R shared ones last."""
        return jax.random.normal(key, (*shape, sum(self.factor.shape)), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale * own + factor @ shared, differentiable in the parameters."""
        own, shared = jnp.split(noise, [self.loc.shape[0]], axis=-1)
        return _match(self.loc, own) + _match(self.scale, own) * own + shared @ self.factor.T

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws (*shape, D), differentiable in the parameters."""
        return self.from_noise(self.noise(key, shape))

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats."""
        white = (x - _match(self.loc, x)) / _match(self.scale, x)
        tril, scaled = self._capacity()
        inner = white @ scaled
        explained = jnp.linalg.norm(_solve(tril, inner), axis=-1) ** 2
        square = jnp.sum(white**2, axis=-1) - explained
        return -square / 2 - self._log_volume(tril) - x.shape[-1] * LOG_2PI / 2

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return self._log_volume(self._capacity()[0]) + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def _capacity(self) -> tuple[Array, Array]:
        """Cholesky factor (R, R) of I + F'F with F = factor / scale, and F."""
        scaled = self.factor / self.scale[:, None]
        inner = jnp.eye(scaled.shape[1], dtype=scaled.dtype) + scaled.T @ scaled
        return cholesky(inner), scaled

    def _log_volume(self, tril: Array) -> Array:
        return jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(jnp.diagonal(tril)))


@pytree
class FullRank:
    """Normal on R^D with any covariance.

    Attributes:
      loc: (D,).
      scale_tril: (D, D) lower triangular, positive diagonal.

    Source: Kucukelbir et al. (2017), Automatic differentiation variational inference, JMLR 18.

    Examples:
      >>> guide = FullRank(jnp.zeros(2), jnp.array([[2.0, 0.0], [1.0, 1.0]]))
      >>> print(guide.from_noise(jnp.array([1.0, 0.0])))
      [2. 1.]
    """

    loc: Array
    scale_tril: Array = constrained(scale_tril)

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard normals (*shape, D)."""
        return jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale_tril @ noise, differentiable in the parameters."""
        return _match(self.loc, noise) + noise @ self.scale_tril.T

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws (*shape, D), differentiable in the parameters."""
        return self.from_noise(self.noise(key, shape))

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats."""
        white = _solve(self.scale_tril, x - _match(self.loc, x))
        constant = self._log_volume() + x.shape[-1] * LOG_2PI / 2
        return -jnp.sum(white**2, axis=-1) / 2 - constant

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return self._log_volume() + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def with_moments(self, loc: Array, covariance: Array) -> Self:
        """The same kind of distribution with this mean and covariance."""
        return type(self)(loc, cholesky(covariance))

    def _log_volume(self) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))


@pytree
class FullRankT:
    """loc + scale_tril @ t, the D entries of t independent Student t: tails heavier than a
    normal's along every axis, which keep importance weights bounded where the posterior's are.

    Attributes:
      loc: (D,).
      scale_tril: (D, D) lower triangular, positive diagonal.
      dof: degrees of freedom, above 2.

    Examples:
      >>> guide = FullRankT(jnp.zeros(1), jnp.eye(1), dof=5.0)
      >>> print(guide.log_prob(jnp.zeros(1)).round(4))  # Gamma(3) / (Gamma(2.5) sqrt(5 pi))
      -0.9686
    """

    loc: Array
    scale_tril: Array = constrained(scale_tril)
    dof: float = static(default=5.0)

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard Student t (*shape, D)."""
        return jax.random.t(key, self.dof, (*shape, *self.loc.shape), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale_tril @ noise, differentiable in loc and scale_tril."""
        return _match(self.loc, noise) + noise @ self.scale_tril.T

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws (*shape, D), differentiable in loc and scale_tril."""
        return self.from_noise(self.noise(key, shape))

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats."""
        white = _solve(self.scale_tril, x - _match(self.loc, x))
        kernel = (self.dof + 1) / 2 * jnp.log1p(white**2 / self.dof)
        volume = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return -jnp.sum(kernel, axis=-1) - volume - x.shape[-1] * self._log_constant()

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        half = (self.dof + 1) / 2
        gap = jax.scipy.special.digamma(half) - jax.scipy.special.digamma(self.dof / 2)
        volume = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return volume + self.loc.shape[-1] * (half * gap + self._log_constant())

    def with_moments(self, loc: Array, covariance: Array) -> Self:
        """The same kind of distribution with this mean and covariance."""
        return type(self)(loc, cholesky(covariance * (1 - 2 / self.dof)), self.dof)

    def _log_constant(self) -> float:
        beta = math.lgamma(self.dof / 2) - math.lgamma((self.dof + 1) / 2)
        return beta + math.log(self.dof * math.pi) / 2


@pytree
class Transported:
    """A distribution on R^D carried to a pytree of constrained parameters.

    Attributes:
      base: a distribution on R^D: `MeanField`, `LowRank`, `FullRank`, or a class of your own.
      space: the map.

    Examples:
      >>> from likelax.constraints import positive
      >>> guide = mean_field({"tau": 1.0}, {"tau": positive}, scale=1.0)
      >>> print(f"{guide.log_prob({'tau': jnp.array(1.0)}):.4f}")  # a standard log-normal at 1
      -0.9189
    """

    base: Any
    space: Space = static()

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """Draws with leading axes `shape`, of the structure of the template."""
        constrain: Callable[[Array], Any] = self.space.constrain
        for _ in shape:
            constrain = jax.vmap(constrain)
        return constrain(self.base.sample(key, shape))

    def log_prob(self, x: Any) -> Array:
        """Log density of one draw over the parameters, nats."""
        reals = self.space.unconstrain(x)
        return self.base.log_prob(reals) - self.space.log_det(reals)

    def pull_back(self, log_joint: Callable[[Any], Array]) -> Callable[[Array], Array]:
        """The log joint as a density over R^D, where the estimators work."""
        return lambda y: log_joint(self.space.constrain(y)) + self.space.log_det(y)


def mean_field(template: Any, sets: Any = None, *, scale: float = 0.1) -> Transported:
    """A guide of independent normals in unconstrained space, centred on the template.

    Args:
      template: a pytree of floating-point parameters, each inside its set.
      sets: a `Constraint` for each leaf; None: what the template's fields declare.
      scale: standard deviation to start with.

    Examples:
      >>> guide = mean_field({"theta": jnp.zeros(3)})
      >>> guide.sample(jax.random.key(0), (5,))["theta"].shape
      (5, 3)
    """
    space, loc = space_of(template, sets)
    return Transported(MeanField(loc, jnp.full_like(loc, scale)), space)


def low_rank(template: Any, sets: Any = None, *, rank: int, scale: float = 0.1) -> Transported:
    """A guide whose covariance is diagonal plus a matrix of rank `rank`.

    Args:
      template, sets, scale: as for `mean_field`.
      rank: R.
    Raises:
      ValueError: rank not from 1 to the number of parameters.

    Examples:
      >>> low_rank({"theta": jnp.zeros(3)}, rank=1).base.factor.shape
      (3, 1)
    """
    space, loc = space_of(template, sets)
    if not 1 <= rank <= space.dim:
        raise ValueError(f"rank must be from 1 to {space.dim}, got {rank}.")
    # a factor of zero would be a stationary point: start from small cosine waves
    place = (jnp.arange(space.dim, dtype=loc.dtype) + 0.5) / space.dim
    waves = jnp.cos(jnp.pi * place[:, None] * jnp.arange(rank, dtype=loc.dtype)[None])
    factor = 0.1 * scale * waves
    return Transported(LowRank(loc, jnp.full_like(loc, scale), factor), space)


def full_rank(template: Any, sets: Any = None, *, scale: float = 0.1) -> Transported:
    """A guide with any dependence between the parameters.

    Args:
      template, sets, scale: as for `mean_field`.

    Examples:
      >>> full_rank({"theta": jnp.zeros(3)}).base.scale_tril.shape
      (3, 3)
    """
    space, loc = space_of(template, sets)
    return Transported(FullRank(loc, scale * jnp.eye(space.dim, dtype=loc.dtype)), space)


def with_tails(guide: Transported, *, dof: float = 5.0) -> Transported:
    """A fitted full-rank guide with the tails of a Student t: same mean, same covariance.

    For importance weights where the posterior has a longer tail than a normal. Fit the normal
    first: an ELBO under heavy tails meets draws so far off that they overflow.

    Args:
      guide: from `full_rank`.
      dof: degrees of freedom, above 2.
    Raises:
      TypeError: a guide of another kind.
      ValueError: dof not above 2.

    Examples:
      >>> with_tails(full_rank({"theta": jnp.zeros(3)}), dof=7.0).base.dof
      7.0
    """
    if not isinstance(getattr(guide, "base", None), FullRank):
        raise TypeError(f"with_tails wants a guide from full_rank, got {type(guide).__name__}.")
    if not dof > 2:
        raise ValueError(f"dof must be above 2, so that the guide has a covariance; got {dof}.")
    tril = guide.base.scale_tril * math.sqrt(1 - 2 / dof)
    return Transported(FullRankT(guide.base.loc, tril, dof), guide.space)


def scattered(
    key: Array, guide: Transported, num_guides: int, *, spread: float = 1.0
) -> Transported:
    """R copies of a guide, each centred elsewhere: starts for `fit_guides`.

    Args:
      key: a typed key.
      guide: from `mean_field` or another function of this module.
      num_guides: R.
      spread: standard deviation of the centres about the guide's own, in unconstrained space.
    Returns:
      A guide with a leading axis R on every leaf.

    Examples:
      >>> scattered(jax.random.key(0), mean_field(jnp.zeros(3)), 4).base.loc.shape
      (4, 3)
    """

    def place(noise: Array) -> Transported:
        base = dataclasses.replace(guide.base, loc=guide.base.loc + spread * noise)
        return dataclasses.replace(guide, base=base)

    loc = guide.base.loc
    return jax.vmap(place)(jax.random.normal(key, (num_guides, *loc.shape), loc.dtype))


def _match(vector: Array, x: Array) -> Array:
    return jnp.broadcast_to(vector, x.shape)


def _solve(tril: Array, x: Array) -> Array:
    """tril^-1 x for every x (..., D)."""
    flat = x.reshape(-1, x.shape[-1])
    return solve_lower(tril, flat.T).T.reshape(x.shape)
