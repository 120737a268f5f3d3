"""A pytree of constrained parameters as one flat vector of reals."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import constraints
from likelax.constraints import Constraint
from likelax.numerics import as_array, as_float
from likelax.numerics.checks import check_tree


@dataclasses.dataclass(frozen=True)
class Space:
    """The map from R^D to a pytree of constrained parameters. It is hashable, so it may be static.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      treedef: the structure of the parameters.
      shapes: the shape of each leaf in unconstrained space.
      maps: the `Constraint` of each leaf.

    Examples:
      >>> space, _ = space_of({"tau": 1.0}, {"tau": constraints.positive})
      >>> print(space.constrain(jnp.zeros(1))["tau"])
      1.0
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    maps: tuple[Constraint, ...]

    @property
    def dim(self) -> int:
        """D, the number of reals."""
        return sum(math.prod(shape) for shape in self.shapes)

    def constrain(self, reals: ArrayLike) -> Any:
        """The parameters at a point (D,). See the example of the class.

        Raises:
          ValueError: for a point of another size.
        """
        leaves = [c.constrain(y) for c, y in zip(self.maps, self._pieces(reals), strict=True)]
        return jax.tree.unflatten(self.treedef, leaves)

    def unconstrain(self, parameters: Any, name: str = "parameters") -> Array:
        """The point (D,) of the parameters: the inverse of `constrain`.

        Args:
          parameters: as the template, each inside its set; outside it they give NaN.
          name: of the argument, for messages.
        Raises:
          TypeError: for a leaf that is no array of numbers.
          ValueError: for another structure, or for leaves of other shapes than the template's.

        Examples:
          >>> space, _ = space_of({"tau": 1.0}, {"tau": constraints.positive})
          >>> print(space.unconstrain({"tau": 1.0}))
          [0.]
        """
        check_tree(name, parameters)
        leaves, structure = jax.tree.flatten(parameters)
        wanted: Any = self.treedef
        if structure != wanted:
            raise ValueError(f"{name} must have the structure {wanted}, got {structure}.")
        pieces = [c.unconstrain(x) for c, x in zip(self.maps, as_float(*leaves), strict=True)]
        shapes = tuple(piece.shape for piece in pieces)
        if shapes != self.shapes:
            raise ValueError(
                f"{name} must be one draw, whose leaves have the shapes {self.shapes} over the "
                f"reals, got {shapes}; use jax.vmap for a batch of draws."
            )
        return jnp.concatenate([piece.reshape(-1) for piece in pieces])

    def log_det(self, reals: ArrayLike) -> Array:
        """log |det d parameters / d reals| at a point (D,), a scalar, nats.

        Raises:
          ValueError: for a point of another size.

        Examples:
          >>> space, _ = space_of({"tau": 1.0}, {"tau": constraints.positive})
          >>> print(space.log_det(jnp.array([2.0])))
          2.0
        """
        pieces = self._pieces(reals)
        terms = [jnp.sum(c.log_det(y)) for c, y in zip(self.maps, pieces, strict=True)]
        return jnp.sum(jnp.stack(terms))

    def _pieces(self, reals: ArrayLike) -> list[Array]:
        reals = as_array("reals", reals)
        if reals.shape != (self.dim,):
            raise ValueError(f"reals must have shape ({self.dim},), got {reals.shape}.")
        ends = list(itertools.accumulate(math.prod(shape) for shape in self.shapes))
        parts = jnp.split(reals, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def space_of(template: Any, sets: Any = None) -> tuple[Space, Array]:
    """The unconstrained space of a template, and the point of the template in it.

    Args:
      template: a pytree of floating-point parameters, each inside its set.
      sets: a pytree of the same structure with a `Constraint` at each leaf; None: what the
        template's own fields declare, and `constraints.real` for all other leaves.
    Returns:
      (space, point (D,)).
    Raises:
      ValueError: no leaves, a leaf that is not floating point, another structure of sets, or
        (outside jit) a template on the boundary of its set or beyond.

    Examples:
      >>> space, point = space_of({"tau": 1.0, "theta": jnp.zeros(2)},
      ...                         {"tau": constraints.positive, "theta": constraints.real})
      >>> print(space.dim, point)
      3 [0. 0. 0.]
    """
    check_tree("template", template)
    leaves, treedef = jax.tree.flatten(template)
    if not leaves or not all(map(constraints.is_floating, leaves)):
        raise ValueError("the template must hold floating-point parameters and nothing else.")
    if sets is None:
        sets = constraints.declared(template)
    maps, structure = jax.tree.flatten(sets, is_leaf=lambda node: isinstance(node, Constraint))
    wanted: Any = treedef
    if structure != wanted or not all(isinstance(c, Constraint) for c in maps):
        raise ValueError(
            f"sets must hold one Constraint for each leaf of the template, {treedef}, "
            f"got {structure}."
        )
    pieces = [c.unconstrain(x) for c, x in zip(maps, as_float(*leaves), strict=True)]
    point = jnp.concatenate([p.reshape(-1) for p in pieces])
    if not isinstance(point, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(point))):
        raise ValueError("the template must lie inside its sets, got a point on a boundary or off.")
    return Space(treedef, tuple(p.shape for p in pieces), tuple(maps)), point
