"""Guides for models with latents of each row of data, beside latents that all rows share.

A stochastic step draws the latents of the rows of its batch alone, and counts what they add to the
bound N / B times.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax.constraints import constrained, positive
from likelax.data import DataLike
from likelax.model import pytree, static
from likelax.numerics import as_array
from likelax.numerics.checks import (
    check_function,
    check_tree,
    check_type,
    checked,
)
from likelax.numerics.draws import standard_normal
from likelax.variational.guides import (
    LOG_2PI,
    Reparameterized,
    Transported,
    constrained_draws,
)
from likelax.variational.minibatch import Minibatch
from likelax.variational.space import Space, space_of
from likelax.wrappers import Fixed

LogJoint = Callable[[Any], Array]


@pytree
class PerRow:
    """A normal for each row of data, over d reals.

    Attributes:
      loc: (N, d).
      scale: (N, d) positive.

    Examples:
      >>> from likelax.variational import mean_field, per_row
      >>> per_row(mean_field({"loc": 0.0}), jnp.zeros(2), 5).each.loc.shape
      (5, 2)
    """

    loc: Array
    scale: Array = constrained(positive)

    def _moments(self, x: DataLike | None, rows: Array) -> tuple[Array, Array]:
        """Location and scale (B, d) of the latents of rows (B,); x is not used."""
        return self.loc[rows], self.scale[rows]


@pytree
class Encoded:
    """A normal for each row of data, whose moments are a function of the row.

    Attributes:
      encoder: one row of x -> (2 d,), d locations and d log scales; a pytree of parameters that
        can be called, such as a module of equinox or of flax.

    Examples:
      >>> from likelax.variational import amortized, mean_field
      >>> encoder = jax.tree_util.Partial(lambda a, x: jnp.stack([a * x, -x]), 0.5)
      >>> guide = amortized(mean_field({"loc": 0.0}), 0.0, encoder, jnp.array([0.0, 2.0]))
      >>> isinstance(guide.each, Encoded)
      True
    """

    encoder: Any

    def _moments(self, x: DataLike | None, rows: Array) -> tuple[Array, Array]:
        """Location and scale (B, d) of the latents of rows (B,) of x."""
        some = jax.tree.map(lambda v: jnp.asarray(v)[rows], x)
        loc, log_scale = jnp.split(jax.vmap(self.encoder)(some), 2, axis=-1)
        return loc, jnp.exp(log_scale)


@pytree
class RowGuide:
    """A guide of pairs: latents that all rows share, and latents of each row, independent of them.

    Made by `per_row` and `amortized`; for a `Minibatch` with `local=True`, or any log joint of such pairs.

    Attributes:
      shared: the guide of what all rows share, from `mean_field` or its kind.
      each: `PerRow` or `Encoded`: the moments of the latents of rows over the reals.
      x: the data (N, ...) of which these are a function, in a `Fixed`; None for `PerRow`.
      row_space: the map from d reals to the latents of one row.
      num_rows: N.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = per_row(mean_field({"loc": 0.0}), {"z": jnp.zeros(2)}, 5)
      >>> shared, local = guide.sample(jax.random.key(0), (3,))
      >>> shared["loc"].shape, local["z"].shape
      ((3,), (3, 5, 2))
    """

    shared: Transported
    each: Any
    x: Any
    row_space: Space = static()
    num_rows: int = static()

    @property
    def base(self) -> Reparameterized:
        """The distribution over the reals: of what is shared, and of all rows one after another."""
        return self._base(jnp.arange(self.num_rows), 1.0)

    @property
    def space(self) -> "RowSpace":
        """The map from these reals to pairs."""
        return RowSpace(self.shared.space, self.row_space, self.num_rows)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> tuple[Any, Any]:
        """Pairs with leading axes `shape`; the leaves of the second have the axis N of rows next.

        Raises:
          TypeError: for a key or shape of another type.
        """
        found: tuple[Any, Any] = constrained_draws(self.space, self.base, key, shape)
        return found

    def log_prob(self, x: tuple[Any, Any]) -> Array:
        """Log density of one pair, nats; `jax.vmap` it over more.

        Raises:
          ValueError: for pairs of other shapes.
        """
        if not isinstance(x, tuple) or len(x) != 2:
            raise ValueError(f"x must be a pair (shared, of each row), got {type(x).__name__}")
        check_tree("x", x)
        shared, local = x
        counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(local)}
        if counts != {(self.num_rows,)}:
            raise ValueError(f"x must have {self.num_rows} rows in every leaf of its second part")
        reals = jax.vmap(lambda row: self.row_space.unconstrain(row, "x[1]"))(local)
        loc, scale = self._moments(jnp.arange(self.num_rows))
        each = _log_normal((reals.reshape(-1) - loc) / scale) - jnp.sum(jnp.log(scale))
        return (
            self.shared.log_prob(shared) + each - jnp.sum(jax.vmap(self.row_space.log_det)(reals))
        )

    def pull_back(self, log_joint: LogJoint) -> LogJoint:
        """The log joint of all rows as a density over the reals.

        Raises:
          TypeError: for a log joint that is no function.
        """
        check_function("log_joint", log_joint)
        return lambda y: log_joint(self.space.constrain(y)) + self.space.log_det(y)

    def of_batch(self, log_joint: Minibatch, rows: Array) -> tuple[LogJoint, Reparameterized]:
        """The log joint and the guide of the rows of a batch, as `pull_back` and `base` of all rows.

        What each row adds to either counts N / B times, so their difference is an unbiased estimate of
        that of all rows.

        Args:
          log_joint: with `local=True`.
          rows: (B,) integers.
        Raises:
          TypeError: for a log joint of another type.
          ValueError: for rows that are no integers (B,).
        """
        check_type("log_joint", log_joint, Minibatch)
        rows = as_array("rows", rows)
        if rows.ndim != 1 or not jnp.issubdtype(rows.dtype, jnp.integer):
            raise ValueError(f"rows must be integers (B,), got {rows.dtype} {rows.shape}")
        count = rows.shape[0]
        space = RowSpace(self.shared.space, self.row_space, count, self.num_rows / count)
        return lambda y: log_joint.on_rows(rows, space.constrain(y)) + space.log_det(y), self._base(
            rows, self.num_rows / count
        )

    def _base(self, rows: Array, weight: float) -> Reparameterized:
        loc, scale = self._moments(rows)
        shared: Any = self.shared.base
        return _OfRows(jnp.concatenate([shared.loc, loc]), scale, shared, weight)

    def _moments(self, rows: Array) -> tuple[Array, Array]:
        """Flat location and scale (B d,)."""
        x = None if self.x is None else self.x.model
        loc, scale = self.each._moments(x, rows)
        dim = self.row_space.dim
        if loc.shape != (rows.shape[0], dim):
            raise ValueError(
                f"encoder must return 2 x {dim} numbers for a row, got {2 * loc.shape[-1]}"
            )
        return loc.reshape(-1), scale.reshape(-1)


@dataclasses.dataclass(frozen=True)
class RowSpace:
    """The map from the reals of shared latents and of some rows to a pair.

    Attributes:
      shared, row: the maps of the two parts.
      num_rows: B.
      weight: how often the volume of each row counts.
    """

    shared: Space
    row: Space
    num_rows: int
    weight: float = 1.0

    def constrain(self, reals: Array) -> tuple[Any, Any]:
        """The pair at a point (D + B d,)."""
        shared, rows = self._parts(reals)
        return self.shared.constrain(shared), jax.vmap(self.row.constrain)(rows)

    def log_det(self, reals: Array) -> Array:
        """log |det| of the map at a point (D + B d,), a scalar, nats."""
        shared, rows = self._parts(reals)
        each = jnp.sum(jax.vmap(self.row.log_det)(rows))
        return self.shared.log_det(shared) + self.weight * each

    def _parts(self, reals: Array) -> tuple[Array, Array]:
        shared, rows = jnp.split(reals, [self.shared.dim])
        return shared, rows.reshape(self.num_rows, self.row.dim)


@pytree
class _OfRows(Reparameterized):
    """A guide of shared reals (D,), and independent normals of rows (B d,) that count `weight` times.

    With a weight other than 1 its `log_prob` is no density, but an estimate of that of all rows.
    """

    loc: Array
    scale: Array
    shared: Any
    weight: float = static(default=1.0)

    @property
    def num_noise(self) -> int:
        return int(self.shared.num_noise) + self.scale.shape[0]

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        first, second = jax.random.split(key)
        own = standard_normal(second, (*shape, *self.scale.shape), self.scale.dtype)
        return jnp.concatenate([self.shared.noise(first, shape), own], axis=-1)

    def from_noise(self, noise: Array) -> Array:
        first, own = jnp.split(noise, [self.shared.num_noise], axis=-1)
        loc = self.loc[self.shared.loc.shape[0] :]
        moved = jnp.broadcast_to(loc, own.shape) + jnp.broadcast_to(self.scale, own.shape) * own
        return jnp.concatenate([self.shared.from_noise(first), moved], axis=-1)

    def log_prob(self, x: Array) -> Array:
        dim = self.shared.loc.shape[0]
        shared, own = jnp.split(x, [dim], axis=-1)
        white = (own - jnp.broadcast_to(self.loc[dim:], own.shape)) / jnp.broadcast_to(
            self.scale, own.shape
        )
        each = _log_normal(white) - jnp.sum(jnp.log(self.scale))
        return self.shared.log_prob(shared) + self.weight * each

    def log_prob_of_noise(self, noise: Array) -> Array:
        first, own = jnp.split(noise, [self.shared.num_noise], axis=-1)
        each = _log_normal(own) - jnp.sum(jnp.log(self.scale))
        return self.shared.log_prob_of_noise(first) + self.weight * each

    def entropy(self) -> Array:
        """Differential entropy, nats."""
        each = jnp.sum(jnp.log(self.scale)) + self.scale.shape[0] * (1 + LOG_2PI) / 2
        total: Array = self.shared.entropy() + self.weight * each
        return total


def _log_normal(noise: Array) -> Array:
    return -jnp.sum(noise**2, axis=-1) / 2 - noise.shape[-1] * LOG_2PI / 2


@checked()
def per_row(
    shared: Transported, template: Any, num_rows: int, sets: Any = None, *, scale: float = 0.1
) -> RowGuide:
    """A guide with a normal of its own for the latents of each row of data, beside shared latents.

    For a `Minibatch` with `local=True`, of which every stochastic step draws the latents of its batch only.

    Args:
      shared: the guide of the latents that all rows share, from `mean_field`, `full_rank` or their kind.
      template: the latents of one row, a pytree of floating-point arrays inside their sets; each row
        starts there.
      num_rows: N.
      sets: a `Constraint` for each leaf of the template; None: what its fields declare.
      scale: standard deviation to start with.
    Raises:
      TypeError: for a shared guide of another kind.
      ValueError: for num_rows below 1, or a template outside its sets.

    Examples:
      >>> from likelax.variational import mean_field
      >>> per_row(mean_field({"loc": 0.0}), 0.0, 5).each.loc.shape
      (5, 1)
    """
    _check_shared(shared)
    if num_rows < 1:
        raise ValueError(f"num_rows must be at least 1, got {num_rows}.")
    space, point = space_of(template, sets)
    loc = jnp.broadcast_to(point, (num_rows, space.dim))
    return RowGuide(shared, PerRow(loc, jnp.full_like(loc, scale)), None, space, num_rows)


@checked(encoder=None)
def amortized(
    shared: Transported, template: Any, encoder: Any, x: DataLike, sets: Any = None
) -> RowGuide:
    """A guide whose latents of each row are normals with moments that a network computes from the row.

    The encoder of a variational autoencoder. The network is part of the guide: a fit changes its
    floating-point leaves.

    Args:
      shared: the guide of the latents that all rows share, from `mean_field`, `full_rank` or their kind.
      template: the latents of one row, a pytree of floating-point arrays inside their sets, for
        their structure.
      encoder: one row of x -> (2 d,) for d reals of the template: d locations and d log scales over the
        reals. A pytree that can be called: a module of equinox or flax, a `jax.tree_util.Partial`.
      x: an array (N, ...) or a pytree of such arrays.
      sets: a `Constraint` for each leaf of the template; None: what its fields declare.
    Returns:
      A `RowGuide`. `dataclasses.replace(guide, x=Fixed(new), num_rows=M)` is that of other rows.
    Raises:
      TypeError: for a shared guide of another kind, or an encoder that can't be called.
      ValueError: for an encoder that returns another number of moments.
    Source: Kingma and Welling (2014), Auto-encoding variational Bayes.

    Examples:
      >>> from likelax.variational import mean_field
      >>> encoder = jax.tree_util.Partial(lambda a, x: jnp.stack([a * x, 0.0 * x]), 0.5)
      >>> guide = amortized(mean_field({"loc": 0.0}), 0.0, encoder, jnp.array([1.0, 2.0]))
      >>> print(guide.base.loc)
      [0.  0.5 1. ]
    """
    _check_shared(shared)
    check_function("encoder", encoder)
    space, _ = space_of(template, sets)
    x = jax.tree.map(lambda leaf: as_array("x", leaf), x)
    guide = RowGuide(shared, Encoded(encoder), Fixed(x), space, jax.tree.leaves(x)[0].shape[0])
    jax.eval_shape(lambda: guide.base.loc)  # raises for another number of moments
    return guide


def _check_shared(shared: Any) -> None:
    check_type("shared", shared, Transported)
    if not isinstance(shared.base, Reparameterized):
        raise TypeError(
            "shared must be a guide from mean_field, low_rank, full_rank or block_rank, got one of "
            f"{type(shared.base).__name__}"
        )
