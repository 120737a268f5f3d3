"""Guides over any pytree of constrained parameters: mean-field, low-rank and full-rank normals,
and a full-rank Student t.

Each draws base noise that does not depend on its parameters, `noise`, and maps it to a draw,
`from_noise`: a fit draws the noise of many steps at once. The log density of such a draw is computed
from the noise, which has all its digits, and not from the draw.
"""

import abc
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.constraints import constrained, positive, scale_tril
from likelax.model import pytree, static, with_checked_key
from likelax.numerics import (
    as_array,
    as_float,
    cholesky,
    inverse_lower,
    matmul,
    named_floats,
    solve_lower,
)
from likelax.numerics.checks import check_function, check_key, check_shape, checked
from likelax.numerics.draws import standard_normal
from likelax.numerics.lapack import eigh
from likelax.variational.space import Space, space_of

LOG_2PI = math.log(2 * math.pi)


class Reparameterized(abc.ABC):
    """A distribution on R^D whose draws are a smooth function of noise and parameters.

    Attributes:
      normal_noise: whether the noise is standard normal.
    """

    normal_noise: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        made: Any = cls
        if "noise" in vars(cls):
            made.noise = with_checked_key(made.noise, 0)
        for name in ("from_noise", "log_prob", "log_prob_of_noise"):
            if name in vars(cls):
                setattr(cls, name, _of_vectors(vars(cls)[name]))

    @property
    def num_noise(self) -> int:
        """M, the size of the noise of one draw; here that of `loc`."""
        return self.loc.shape[-1]

    loc: Array

    @abc.abstractmethod
    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Base noise (*shape, M); its distribution does not depend on the parameters."""

    @abc.abstractmethod
    def from_noise(self, noise: Array) -> Array:
        """Draws (..., D) from noise (..., M), differentiable in the parameters."""

    @abc.abstractmethod
    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats."""

    @abc.abstractmethod
    def log_prob_of_noise(self, noise: Array) -> Array:
        """Log density of `from_noise(noise)`: (...), nats.

        Its derivative is the total one, through the density and through the draw.
        """

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws (*shape, D), differentiable in the parameters."""
        return self.from_noise(self.noise(key, shape))


Rule = Callable[[Array], Array]


def _of_vectors(method: Callable[..., Array]) -> Callable[..., Array]:
    """A method of vectors or of their noise, with a check of their number of entries."""
    name = list(inspect.signature(method).parameters)[1]

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Array:
        vectors = args[0] if args else kwargs[name]
        if not hasattr(self, "loc"):  # a class of the user without one
            return method(self, as_array(name, vectors))
        vectors, loc = named_floats(**{name: vectors, "loc": self.loc})
        size = self.num_noise if name == "noise" else loc.shape[-1]
        if vectors.shape[-1:] != (size,):
            raise ValueError(f"{name} must have shape (..., {size}), got {vectors.shape}")
        return method(self, vectors)

    return run


class NormalGuide(Reparameterized):
    """A normal z = loc + L e, e ~ N(0, I), of which a fit can take natural gradient steps.

    Steps are computed in the coordinates e, in which the guide is a standard normal. There the
    scores of the log joint, L' grad log p, have the mean `signal`, and the expected curvature of
    the log joint is -`curvature`; both are 0 and I at the best normal.

    Attributes:
      loc: (D,).
    """

    normal_noise: ClassVar[bool] = True

    @abc.abstractmethod
    def whiten(self, scores: Array) -> Array:
        """L' s for every row s of scores (S, D)."""

    def slopes(self, places: Array) -> Array:
        """Rows g (K, D) with L' g = e for every row e of places (K, D)."""
        return matmul(places, inverse_lower(self.root()))

    @abc.abstractmethod
    def moved(self, shift: Array, precision: Array) -> Self:
        """The guide whose mean and precision in the coordinates e are (D,) and (D, D)."""

    @abc.abstractmethod
    def root(self) -> Array:
        """L (D, D), lower triangular."""

    def part(self, matrix: Array) -> Array:
        """The entries of a precision (D, D) that this family can have; zero elsewhere."""
        return matrix

    def overlap(self, a: Array, b: Array) -> Array:
        """(K, J): a_k' part(b_j b_j') a_k for rows of a (K, D) and b (J, D)."""
        return matmul(a, b.T) ** 2

    def precision(self, curvature: Array, values: Array, vectors: Array, rule: Rule) -> Array:
        """The rule applied to the eigenvalues of `part(curvature)`.

        Args:
          curvature: (D, D) symmetric.
          values, vectors: its eigenvalues (D,) and eigenvectors (D, D).
          rule: eigenvalues -> positive eigenvalues.
        """
        return matmul(vectors * rule(values)[None], vectors.T)


@pytree
class MeanField(NormalGuide):
    """Independent normals on R^D.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

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
        return standard_normal(key, (*shape, *self.loc.shape), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale * noise, differentiable in the parameters."""
        return _match(self.loc, noise) + _match(self.scale, noise) * noise

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats.

        Raises:
          ValueError: for x with another number of parameters.
        """
        return self.log_prob_of_noise((x - _match(self.loc, x)) / _match(self.scale, x))

    def log_prob_of_noise(self, noise: Array) -> Array:
        """Log density of the draw from this noise (..., D): (...), nats."""
        return _log_normal(noise) - jnp.sum(jnp.log(self.scale))

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return jnp.sum(jnp.log(self.scale)) + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def with_moments(self, loc: Array, covariance: Array) -> Self:
        """The same kind of distribution with this mean and these variances."""
        return type(self)(loc, jnp.sqrt(jnp.diagonal(covariance)))

    def whiten(self, scores: Array) -> Array:
        """scale * s for every row s of scores (S, D)."""
        return scores * _match(self.scale, scores)

    def moved(self, shift: Array, precision: Array) -> Self:
        """The guide whose mean and precision in the coordinates e are (D,) and (D, D)."""
        scale = self.scale / jnp.sqrt(jnp.diagonal(precision))
        return type(self)(self.loc + self.scale * shift, scale)

    def root(self) -> Array:
        """L (D, D), diagonal."""
        return jnp.diag(self.scale)

    def part(self, matrix: Array) -> Array:
        """The diagonal."""
        return jnp.diag(jnp.diagonal(matrix))

    def overlap(self, a: Array, b: Array) -> Array:
        """(K, J): sum_d a_kd^2 b_jd^2."""
        return matmul(a**2, (b**2).T)

    def precision(self, curvature: Array, values: Array, vectors: Array, rule: Rule) -> Array:
        """The rule applied to the diagonal."""
        return jnp.diag(rule(jnp.diagonal(curvature)))


@pytree
class LowRank(Reparameterized):
    """Normal on R^D with covariance diag(scale^2) + factor factor'.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

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

    normal_noise: ClassVar[bool] = True

    loc: Array
    scale: Array = constrained(positive)
    factor: Array

    @property
    def num_noise(self) -> int:
        """D + R."""
        return sum(self.factor.shape)

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard normals (*shape, D + R), the R shared ones last."""
        return standard_normal(key, (*shape, self.num_noise), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + scale * own + factor @ shared, differentiable in the parameters."""
        own, shared = jnp.split(noise, [self.loc.shape[0]], axis=-1)
        return _match(self.loc, own) + _match(self.scale, own) * own + shared @ self.factor.T

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats.

        Raises:
          ValueError: for x with another number of parameters.
        """
        white = (x - _match(self.loc, x)) / _match(self.scale, x)
        tril, scaled = self._capacity()
        inner = white @ scaled
        explained = jnp.linalg.norm(_solve(tril, inner), axis=-1) ** 2
        square = jnp.sum(white**2, axis=-1) - explained
        return -square / 2 - self._log_volume(tril) - x.shape[-1] * LOG_2PI / 2

    def log_prob_of_noise(self, noise: Array) -> Array:
        """Log density of the draw from this noise (..., D + R): (...), nats."""
        own, shared = jnp.split(noise, [self.loc.shape[0]], axis=-1)
        tril, scaled = self._capacity()
        # the part of the noise that does not change the draw
        idle = jnp.sum(_solve(tril, shared - own @ scaled) ** 2, axis=-1)
        square = jnp.sum(noise**2, axis=-1) - idle
        return -square / 2 - self._log_volume(tril) - own.shape[-1] * LOG_2PI / 2

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return self._log_volume(self._capacity()[0]) + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def root(self) -> Array:
        """L (D, D), lower triangular, with L L' the covariance."""
        return cholesky(jnp.diag(self.scale**2) + matmul(self.factor, self.factor.T))

    def _capacity(self) -> tuple[Array, Array]:
        """Cholesky factor (R, R) of I + F'F with F = factor / scale, and F."""
        scaled = self.factor / self.scale[:, None]
        inner = jnp.eye(scaled.shape[1], dtype=scaled.dtype) + scaled.T @ scaled
        return cholesky(inner), scaled

    def _log_volume(self, tril: Array) -> Array:
        return jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(jnp.diagonal(tril)))


class _Dense(NormalGuide):
    """A normal with a location and a scale matrix."""

    loc: Array
    scale_tril: Array

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Standard normals (*shape, D)."""
        return standard_normal(key, (*shape, *self.loc.shape), self.loc.dtype)

    def from_noise(self, noise: Array) -> Array:
        """loc + L @ noise, differentiable in the parameters."""
        return _match(self.loc, noise) + matmul(noise, self.root().T)

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats.

        Raises:
          ValueError: for x with another number of parameters.
        """
        return self.log_prob_of_noise(_solve(self.root(), x - _match(self.loc, x)))

    def log_prob_of_noise(self, noise: Array) -> Array:
        """Log density of the draw from this noise (..., D): (...), nats."""
        return _log_normal(noise) - self._log_volume()

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        return self._log_volume() + self.loc.shape[-1] * (1 + LOG_2PI) / 2

    def whiten(self, scores: Array) -> Array:
        """L' s for every row s of scores (S, D)."""
        return matmul(scores, self.root())

    def moved(self, shift: Array, precision: Array) -> Self:
        """The guide whose mean and precision in the coordinates e are (D,) and (D, D)."""
        root = self.root()
        loc = self.loc + matmul(root, shift)
        return self._replace(loc, matmul(root, inverse_root(precision)))

    def with_moments(self, loc: Array, covariance: Array) -> Self:
        """The same kind of distribution with this mean and covariance, as far as it can have it."""
        return self._replace(loc, cholesky(self.part(covariance)))

    def root(self) -> Array:
        """L (D, D), lower triangular."""
        return self.scale_tril

    def _replace(self, loc: Array, scale_tril: Array) -> Self:
        return dataclasses.replace(self, loc=loc, scale_tril=scale_tril)  # type: ignore[type-var]

    def _log_volume(self) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))


@pytree
class FullRank(_Dense):
    """Normal on R^D with any covariance.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

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


@pytree
class BlockRank(_Dense):
    """Normal on R^D with any covariance within blocks, and independence between them.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      loc: (D,).
      scale_tril: (D, D) lower triangular, positive diagonal; only entries within a block are used.
      labels: D integers; parameters with one label are a block.

    Examples:
      >>> guide = BlockRank(jnp.zeros(3), jnp.tril(jnp.ones((3, 3))), labels=(0, 0, 1))
      >>> print(guide.from_noise(jnp.array([1.0, 1.0, 1.0])))
      [1. 2. 1.]
    """

    loc: Array
    scale_tril: Array = constrained(scale_tril)
    labels: tuple[int, ...] = static(default=())

    def root(self) -> Array:
        """L (D, D), lower triangular, zero between blocks."""
        return self.part(self.scale_tril)

    def part(self, matrix: Array) -> Array:
        """The entries within blocks.

        Raises:
          ValueError: for a matrix of another size.
        """
        matrix, labels = as_array("matrix", matrix), np.asarray(self.labels)
        if matrix.shape != 2 * labels.shape:
            raise ValueError(f"matrix must have shape {2 * labels.shape}, got {matrix.shape}")
        return jnp.where(labels[:, None] == labels[None], matrix, 0)

    def overlap(self, a: Array, b: Array) -> Array:
        """(K, J): squared inner products within blocks, summed over the blocks."""
        labels = np.asarray(self.labels)
        places = [np.flatnonzero(labels == label) for label in sorted(set(self.labels))]
        squares = [matmul(a[:, at], b[:, at].T) ** 2 for at in places]
        return jnp.sum(jnp.stack(squares), axis=0)

    def precision(self, curvature: Array, values: Array, vectors: Array, rule: Rule) -> Array:
        """The rule applied to the eigenvalues of the curvature within blocks."""
        own, axes = eigh(self.part(curvature))
        return self.part(matmul(axes * rule(own)[None], axes.T))


@pytree
class FullRankT(Reparameterized):
    """loc + scale_tril @ t, the D entries of t independent Student t: tails heavier than a
    normal's along every axis, which keep importance weights bounded where the posterior's are.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

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
        return _match(self.loc, noise) + matmul(noise, self.scale_tril.T)

    def log_prob(self, x: Array) -> Array:
        """Log density of x (..., D): (...), nats.

        Raises:
          ValueError: for x with another number of parameters.
        """
        return self.log_prob_of_noise(_solve(self.scale_tril, x - _match(self.loc, x)))

    def log_prob_of_noise(self, noise: Array) -> Array:
        """Log density of the draw from this noise (..., D): (...), nats."""
        kernel = (self.dof + 1) / 2 * jnp.log1p(noise**2 / self.dof)
        volume = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return -jnp.sum(kernel, axis=-1) - volume - noise.shape[-1] * self._log_constant()

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


def constrained_draws(space: Any, base: Any, key: Array, shape: Sequence[int]) -> Any:
    """Draws of `base` over the reals with leading axes `shape`, carried into `space`.

    Args:
      space: with `constrain`, of one draw.
      base: the distribution over the reals.
      key: a typed key.
      shape: leading axes.
    Raises:
      TypeError: for a key or shape of another type.
    """
    check_key(key)
    check_shape(shape)
    constrain: Callable[[Array], Any] = space.constrain
    for _ in shape:
        constrain = jax.vmap(constrain)
    return constrain(base.sample(key, shape))


@pytree
class Transported:
    """A distribution on R^D carried to a pytree of constrained parameters.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

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
        """Draws with leading axes `shape`, of the structure of the template.

        Raises:
          TypeError: for a key or shape of another type.
        """
        return constrained_draws(self.space, self.base, key, shape)

    def log_prob(self, x: Any) -> Array:
        """Log density of one draw over the parameters, nats; `jax.vmap` it over more.

        It is -inf on the boundary of a set and beyond it, and NaN at NaN.

        Raises:
          ValueError: for parameters of other shapes than the template's.
        """
        reals = self.space.unconstrain(x, "x")
        inside = jnp.all(jnp.isfinite(reals))
        kept = jnp.where(inside, reals, 0)
        log_prob = self.base.log_prob(kept) - self.space.log_det(kept)
        unknown = [jnp.any(jnp.isnan(leaf)) for leaf in as_float(*jax.tree.leaves(x))]
        off = jnp.where(jnp.any(jnp.stack(unknown)), jnp.nan, -jnp.inf).astype(log_prob.dtype)
        return jnp.where(inside, log_prob, off)

    def pull_back(self, log_joint: Callable[[Any], Array]) -> Callable[[Array], Array]:
        """The log joint as a density over R^D, where the estimators work.

        Raises:
          TypeError: for a log joint that is no function.
        """
        check_function("log_joint", log_joint)
        return lambda y: log_joint(self.space.constrain(y)) + self.space.log_det(y)


@checked()
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


@checked()
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


@checked()
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


@checked()
def block_rank(
    template: Any, sets: Any = None, *, blocks: Any = None, scale: float = 0.1
) -> Transported:
    """A guide that is dense within blocks of parameters and independent between them.

    Args:
      template, sets, scale: as for `mean_field`.
      blocks: an integer for each leaf of the template, in a pytree of the same structure; leaves
        with one integer are one block. None: each leaf is a block.
    Raises:
      ValueError: blocks of another structure.

    Examples:
      >>> template = {"effect": jnp.zeros(3), "log_tau": 0.0, "slope": jnp.zeros(2)}
      >>> guide = block_rank(template, blocks={"effect": 0, "log_tau": 0, "slope": 1})
      >>> guide.base.labels
      (0, 0, 0, 0, 1, 1)
    """
    space, loc = space_of(template, sets)
    if blocks is None:
        blocks = jax.tree.unflatten(space.treedef, range(len(space.shapes)))
    names, structure = jax.tree.flatten(blocks)
    wanted: Any = space.treedef
    if structure != wanted:
        raise ValueError(
            f"blocks must hold one integer for each leaf of the template, {wanted}, got {structure}."
        )
    labels = [
        int(name)
        for name, shape in zip(names, space.shapes, strict=True)
        for _ in range(math.prod(shape))
    ]
    tril = scale * jnp.eye(space.dim, dtype=loc.dtype)
    return Transported(BlockRank(loc, tril, tuple(labels)), space)


@checked(guide=None)
def with_tails(guide: Transported, *, dof: float = 5.0) -> Transported:
    """A normal guide with the tails of a Student t: same mean, same covariance.

    For importance weights where the posterior has a longer tail than a normal. Fit the normal
    first: an ELBO under heavy tails meets draws so far off that they overflow.

    Args:
      guide: from `mean_field`, `block_rank`, `low_rank` or `full_rank`.
      dof: degrees of freedom, above 2.
    Raises:
      TypeError: a guide of another kind.
      ValueError: dof not above 2.

    Examples:
      >>> with_tails(full_rank({"theta": jnp.zeros(3)}), dof=7.0).base.dof
      7.0
    """
    if not isinstance(getattr(guide, "base", None), NormalGuide | LowRank):
        raise TypeError(
            "with_tails wants a guide from mean_field, block_rank, low_rank or full_rank, got "
            f"{type(guide).__name__}."
        )
    if not dof > 2:
        raise ValueError(f"dof must be above 2, so that the guide has a covariance; got {dof}.")
    tril = guide.base.root() * math.sqrt(1 - 2 / dof)
    return Transported(FullRankT(guide.base.loc, tril, dof), guide.space)


@checked()
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
    return jax.vmap(place)(standard_normal(key, (num_guides, *loc.shape), loc.dtype))


def inverse_root(precision: Array) -> Array:
    """Lower triangular K (D, D) with K K' = precision^-1."""
    # the inverse of the reversed precision's factor, reversed and transposed, is lower again
    return inverse_lower(cholesky(precision[::-1, ::-1]))[::-1, ::-1].T


def _log_normal(noise: Array) -> Array:
    return -jnp.sum(noise**2, axis=-1) / 2 - noise.shape[-1] * LOG_2PI / 2


def _match(vector: Array, x: Array) -> Array:
    return jnp.broadcast_to(vector, x.shape)


def _solve(tril: Array, x: Array) -> Array:
    """tril^-1 x for every x (..., D)."""
    flat = x.reshape(-1, x.shape[-1])
    return solve_lower(tril, flat.T).T.reshape(x.shape)
