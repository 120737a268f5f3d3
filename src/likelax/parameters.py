"""Which numbers of a model are free parameters: what fits may change, and what counts."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import constraints
from likelax.constraints import Constraint, FieldChain
from likelax.model import Density, is_spread
from likelax.numerics import as_array, as_float
from likelax.numerics.checks import check_same_tree, check_tree, first_index, is_concrete
from likelax.numerics.lapack import qr, svd

__all__ = [
    "Role", "check_parameters", "from_vector", "held_leaves", "hold", "num_parameters",
    "roles", "to_vector",
]  # fmt: skip

T = TypeVar("T")


class Role(NamedTuple):
    """How fits treat one leaf of a model.

    Attributes:
      constraint: the set that its values lie in.
      moves: whether fits change it: a floating-point array that is not held.
      tied: the axis over which components share its values, or None.
      depth: number of leading axes that count models rather than parameters.
    """

    constraint: Constraint
    moves: bool
    tied: int | None
    depth: int


def roles(model: object) -> list[Role]:
    """The role of each leaf, in the order of `jax.tree.leaves`.

    Args:
      model: any pytree; what `Density` declares (`held`, `spread`, `stacks`, `repeats`, `ties`) is
        read from the nodes that derive from it.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> from likelax import Fixed, Mixture, Normal, Tied
      >>> model = Mixture(jnp.array([0.5, 0.5]), Tied(Normal(jnp.zeros(2), jnp.ones(2))))
      >>> [(role.constraint.name, role.moves, role.tied) for role in roles(model)]
      [('simplex', True, None), ('real', True, None), ('positive', True, 0)]
      >>> [role.moves for role in roles(Fixed(Normal(0.0, 1.0)))]
      [False, False]
    """
    check_tree("model", model)
    leaves = jax.tree.leaves(model)
    return [
        _role(leaf, chain)
        for leaf, chain in zip(leaves, constraints.field_chains(model), strict=True)
    ]


def _constraint(chain: FieldChain) -> Constraint:
    """The constraint of a leaf: from its model's `constraint`, or else from its field."""
    if chain and isinstance(chain[-1].node, Density):
        own = chain[-1].node.constraint(chain[-1].field.name, chain[-1].index)
        if own is not None:
            return own
    return constraints.constraint_of(chain)


def _role(leaf: Any, chain: FieldChain) -> Role:
    depth, stack, shared_over, tied, held = 0, None, None, None, False
    for node, field, _ in chain:
        if not isinstance(node, Density):
            continue
        held |= field.name in node.held
        if node.ties:
            shared_over = stack
        if field.name in (*node.spread, *node.of_spread):
            tied = shared_over
        if field.name in node.stacks:
            stack = depth
        depth += field.name in node.stacks or field.name in node.repeats
    moves = constraints.is_floating(leaf) and not held
    return Role(_constraint(chain), moves, tied, depth)


def num_parameters(model: object) -> Array:
    """Number of free parameters of a model.

    K probabilities count K - 1, a triangular matrix D (D + 1) / 2. Values that no fit changes
    (`Fixed`, total counts), zeros among probabilities, which EM never changes, and components or states
    of probability zero are not counted. `Tied` parameters count once, and of `OneOf` only those of
    the chosen option.

    Args:
      model: one model, not a stack; under `jax.vmap` each of a batch.
    Returns:
      Integer scalar.
    Raises:
      TypeError: for a leaf that is no array of numbers.
      ValueError: for fields whose shapes do not match.

    Examples:
      >>> from likelax import Mixture, MvNormal
      >>> two = MvNormal(jnp.zeros((2, 3)), jnp.stack([jnp.eye(3)] * 2))
      >>> print(num_parameters(Mixture(jnp.array([0.5, 0.5]), two)))
      19
    """
    check_tree("model", model)
    if isinstance(model, Density):
        model.check_shapes("num_parameters")
    leaves = jax.tree.leaves(model)
    total = jnp.zeros((), int)
    for leaf, chain in zip(leaves, constraints.field_chains(model), strict=True):
        role = _role(leaf, chain)
        if role.moves:
            total = total + _count(as_float(leaf)[0], role, _used(chain))
    return total


def _used(chain: FieldChain) -> Array:
    """Which copies of a leaf count: booleans over its axes of models."""
    used = jnp.ones((), bool)
    for node, field, index in chain:
        if not isinstance(node, Density):
            continue
        mine = node.used(field.name, index)
        if mine is not None:
            used = used.reshape(used.shape + (1,) * (mine.ndim - used.ndim)) & mine
        elif field.name in node.repeats:
            used = used[..., None]
    return used


def _count(leaf: Array, role: Role, used: Array) -> Array:
    """Free numbers of one leaf, in the copies that are used."""
    if role.constraint.name == "simplex":
        each = jnp.maximum(jnp.sum(leaf != 0, axis=-1) - 1, 0)
    else:
        like = jax.eval_shape(role.constraint.unconstrain, leaf).shape
        kept = leaf.shape[: role.depth]
        each = jnp.full(kept, int(np.prod(like[role.depth :], dtype=int)))
    used = jnp.broadcast_to(used.reshape(used.shape + (1,) * (each.ndim - used.ndim)), each.shape)
    if role.tied is not None:
        each = jax.lax.index_in_dim(each, 0, axis=role.tied, keepdims=False)
        used = jnp.any(used, axis=role.tied)
    return jnp.sum(jnp.where(used, each, 0))


def to_vector(model: T) -> tuple[Array, Callable[[Array], T]]:
    """The free parameters in unconstrained space as one vector, and a function back to the model.

    The vector has no entries for leaves that are held or not floating point; `rebuild` returns them
    bit for bit as they are. It has one entry for values that tied components share: that of the
    first component.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a model, or any pytree of parameters.
    Returns:
      (vector (P,), rebuild: vector -> model).
    Raises:
      ValueError: if there is no free parameter.

    Examples:
      >>> from likelax import Fixed, Mixture, Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Fixed(Normal(jnp.zeros(2), jnp.ones(2))))
      >>> vector, rebuild = to_vector(model)
      >>> print(vector, rebuild(vector).weights)
      [0.] [0.5 0.5]
    """
    leaves, each = jax.tree.leaves(model), roles(model)
    if isinstance(model, Density):
        model.check_shapes("to_vector")
    if not any(role.moves for role in each):
        raise ValueError(
            "the model, or start, has no floating-point parameter that a fit may change"
        )
    free = [_free(leaf, role) for leaf, role in zip(leaves, each, strict=True) if role.moves]
    vector = jnp.concatenate([a.reshape(-1) for a in as_float(*free)])
    return vector, lambda vector: from_vector(vector, model)


def from_vector(vector: ArrayLike, like: T) -> T:
    """The model with these free parameters, and everything else as in `like`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      vector: (P,), as `to_vector` of a model of the same type and shapes returns it.
      like: gives the type, the shapes and the leaves that no fit changes.
    Raises:
      ValueError: for a vector of another length.

    Examples:
      >>> from likelax import NormalKnownScale
      >>> print(from_vector(jnp.array([2.0]), NormalKnownScale(0.0, 1.5)).loc)
      2.0
    """
    vector = as_array("vector", vector)
    check_tree("like", like)
    leaves, structure = jax.tree.flatten(like)
    each, start, put_back = roles(like), 0, []
    shapes = [
        jax.eval_shape(lambda leaf, role=role: _free(leaf, role), leaf) if role.moves else None
        for leaf, role in zip(leaves, each, strict=True)
    ]
    size = sum(shape.size for shape in shapes if shape is not None)
    if vector.shape != (size,):
        raise ValueError(f"vector must have shape ({size},) for this like; got {vector.shape}")
    for leaf, role, shape in zip(leaves, each, shapes, strict=True):
        if shape is None:
            put_back.append(leaf)
            continue
        piece = vector[start : start + shape.size].reshape(shape.shape).astype(shape.dtype)
        value = role.constraint.constrain(piece)
        tied = role.tied is not None
        put_back.append(jnp.broadcast_to(value, jnp.shape(leaf)) if tied else value)
        start += shape.size
    return jax.tree.unflatten(structure, put_back)


def _free(leaf: Any, role: Role) -> Array:
    """The leaf in unconstrained space; of values that are tied the first copy."""
    value = as_float(leaf)[0]
    if role.tied is not None:
        value = jax.lax.slice_in_dim(value, 0, 1, axis=role.tied)
    return role.constraint.unconstrain(value)


def hold(new: T, old: T) -> T:
    """The model `new` with the leaves that no fit changes taken from `old`, bit for bit.

    Args:
      new: an M step of `old`.
      old: the model before, of the same structure.
    Raises:
      ValueError: for another structure.

    Examples:
      >>> from likelax import Binomial
      >>> new, old = (Binomial(probs=0.5, total_count=n) for n in (9.0, 10.0))
      >>> print(hold(new, old).total_count)
      10.0
    """
    check_same_tree(new=new, old=old)
    leaves, structure = jax.tree.flatten(new)
    each = zip(leaves, jax.tree.leaves(old), held_leaves(old), strict=True)
    return jax.tree.unflatten(
        structure, [before if is_held else after for after, before, is_held in each]
    )


def raise_scales(model: T, floor: ArrayLike | None) -> T:
    """The model with no standard deviation below `floor`, in any direction.

    Args:
      model: any model. Its `scale` and `scale_tril` fields are those that a class declares as its
        `spread`; other parameters stay as they are.
      floor: positive scalar, in units of the data; None changes nothing.

    Examples:
      >>> from likelax import Normal
      >>> print(raise_scales(Normal(0.0, 1e-9), 0.1).scale)
      0.1
    """
    if floor is None:
        return model
    leaves, structure = jax.tree.flatten(model)
    raised = [
        _raise_scale(chain, leaf, floor) if is_spread(chain) else leaf
        for leaf, chain in zip(leaves, constraints.field_chains(model), strict=True)
    ]
    return jax.tree.unflatten(structure, raised)


def _raise_scale(chain: constraints.FieldChain, leaf: ArrayLike, floor: ArrayLike) -> Array:
    scale, least = as_float(leaf, floor)
    if constraints.constraint_of(chain) is not constraints.scale_tril:
        return jnp.maximum(scale, least)
    # L = U diag(s) V^T has the covariance U diag(s^2) U^T, whose factor is the R^T of a QR of (U s)^T
    left, values, _ = svd(jnp.tril(scale))
    rows = jnp.swapaxes(left * jnp.maximum(values, least)[..., None, :], -1, -2)
    factor = jnp.swapaxes(qr(rows)[1], -1, -2)
    signs = jnp.where(jnp.diagonal(factor, axis1=-2, axis2=-1) < 0, -1, 1).astype(scale.dtype)
    raised = factor * signs[..., None, :]
    enough = jnp.min(values, axis=-1) >= least
    return jnp.where(enough[..., None, None], scale, raised)


def held_leaves(model: object) -> list[bool]:
    """Which leaves the model declares as held, in the order of `jax.tree.leaves`.

    A parameter that is an integer only because the start was written so, as in `Poisson(1)`, is not
    held.

    Args:
      model: any pytree.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> from likelax import Binomial
      >>> held_leaves(Binomial(10.0, 0.3))  # total_count, probs
      [True, False]
    """
    check_tree("model", model)
    return [_role(0.0, chain).moves is False for chain in constraints.field_chains(model)]


def check_parameters(name: str, model: object) -> None:
    """Raise if a parameter lies outside its set, anywhere in a model. Traced ones are not checked.

    Args:
      name: the function that was called, for the message.
      model: a model, or K of them stacked, as for restarts.
    Raises:
      ValueError: naming the class, the field, its constraint and the value.

    Examples:
      >>> from likelax import Poisson
      >>> check_parameters("fit", Poisson(-1.0))
      Traceback (most recent call last):
        ...
      ValueError: fit: Poisson.rate must be positive; got -1.
    """
    seen: set[int] = set()
    leaves = jax.tree.leaves(model)
    for leaf, chain in zip(leaves, constraints.field_chains(model), strict=True):
        for node, _, _ in chain:
            if isinstance(node, Density) and id(node) not in seen:
                seen.add(id(node))
                node.check_shapes(name)
        if not chain or not isinstance(chain[-1].node, Density):
            continue
        if is_concrete(leaf) and constraints.is_floating(leaf):
            _check_values(name, np.asarray(leaf), chain)


def _check_values(name: str, values: np.ndarray, chain: FieldChain) -> None:
    constraint = _constraint(chain)
    wrong = ~constraint.contains(values.astype(np.float64))
    if not np.any(wrong):
        return
    node, field, _ = chain[-1]
    at = first_index(np.asarray(wrong))
    got = values[at] if wrong.ndim else values
    summed = f", which sums to {got.sum():.4g}" if constraint.name == "simplex" else ""
    where = f" at index {at if len(at) > 1 else at[0]}" if wrong.ndim else ""
    raise ValueError(
        f"{name}: {type(node).__name__}.{field.name} must be {_MEANING[constraint.name]}; "
        f"got {np.array2string(np.asarray(got), precision=4, threshold=9)}{summed}{where}"
        if constraint.name in _MEANING
        else f"{name}: {type(node).__name__}.{field.name} must lie in {constraint.name}; "
        f"got {np.array2string(np.asarray(got), precision=4, threshold=9)}{where}"
    )


_MEANING = {
    "real": "finite",
    "positive": "positive",
    "unit_interval": "between 0 and 1",
    "simplex": "probabilities that sum to one",
    "ordered": "in increasing order",
    "scale_tril": "lower triangular with a positive diagonal",
    "positive_definite": "symmetric and positive definite",
    "correlation_tril": "lower triangular with a positive diagonal and rows of norm one",
    "correlation": "a correlation matrix, symmetric and positive definite with a diagonal of ones",
}
