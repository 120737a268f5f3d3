"""Bijections between the reals and constrained parameters, and how a model declares them.

A model declares the constraint of a field in one line, `rate: Array = constrained(positive)`.
`unconstrain` and `constrain` map a whole model to the reals and back. A field without a declaration
is real. A constraint acts on the last axes, so it also holds for K stacked models.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_float, cholesky, safe_log
from likelax.numerics.checks import check_tree, checked

__all__ = [
    "Constraint", "constrain", "constrained", "correlation", "correlation_tril", "declared",
    "greater_than", "inherited", "interval", "log_det", "ordered", "positive", "positive_definite", "real", "scale_tril",
    "simplex", "unconstrain", "unit_interval",
]  # fmt: skip

T = TypeVar("T")


class Constraint(NamedTuple):
    """A smooth bijection from the reals onto a set, acting on the last axes.

    Attributes:
      name: what the set is called in messages.
      constrain: reals (..., *free) -> points of the set (..., *event).
      unconstrain: its inverse. Points on the boundary map to -inf or inf, and back. Their gradients
        are zero, so gradient steps keep structural zeros.
      log_det: reals (..., *free) -> (...), log |det d constrain / d reals|, nats.
      contains: a NumPy array (..., *event) -> booleans (...), True for points of the set and its
        boundary. The eager validation of `fit.*` refuses other values.
      ndim: number of axes of one point: 0 of a number, 1 of a vector, 2 of a matrix.
    """

    name: str
    constrain: Callable[[Array], Array]
    unconstrain: Callable[[Array], Array]
    log_det: Callable[[Array], Array]
    contains: Callable[[np.ndarray], np.ndarray] = lambda x: ~np.isnan(x)
    ndim: int = 0


def constrained(constraint: Constraint, **kwargs: Any) -> Any:
    """A dataclass field whose value lies in the set of the constraint.

    Args:
      constraint: such as `positive` or `simplex`.
      kwargs: as for `dataclasses.field`.

    Examples:
      >>> from likelax.model import pytree
      >>> @pytree
      ... class Exponential:
      ...     rate: Array = constrained(positive)
      >>> print(unconstrain(Exponential(jnp.array(1.0))).rate)
      0.0
    """
    return dataclasses.field(metadata={"constraint": constraint}, **kwargs)


def inherited(**kwargs: Any) -> Any:
    """A dataclass field of a wrapper: an array in it has the constraint of the field around it.

    Args:
      kwargs: as for `dataclasses.field`.

    Examples:
      >>> from likelax import Fixed, Normal, Mixture  # Fixed.model is such a field
      >>> mixture = Mixture(Fixed(jnp.array([0.5, 0.5])), Normal(jnp.zeros(2), jnp.ones(2)))
      >>> declared(mixture).weights.model.name
      'simplex'
    """
    return dataclasses.field(metadata={"inherits": True}, **kwargs)


def unconstrain(model: T) -> T:
    """Map every parameter to the reals.

    The result has the type of the model, but it is a point in the space where gradients are taken:
    its methods have no meaning. Leaves that are not floating point stay as they are.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a dataclass whose fields may declare a `constrained(...)`, or any nesting of such
        in dicts, tuples and lists. An undeclared field is real.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> print(unconstrain({"loc": jnp.array([1.0, 2.0])})["loc"])
      [1. 2.]
    """
    check_tree("model", model)
    return _map(lambda c, leaf: c.unconstrain(leaf), model)


def constrain(reals: T) -> T:
    """The inverse of `unconstrain`: from a point of the reals to the model.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      reals: as `unconstrain` returns it.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> from likelax.families import Poisson
      >>> print(constrain(Poisson(jnp.array(0.0))).rate)
      1.0
    """
    check_tree("reals", reals)
    return _map(lambda c, leaf: c.constrain(leaf), reals)


def log_det(reals: object) -> Array:
    """log |det d model / d reals| of `constrain`, summed over all parameters, nats.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      reals: as `unconstrain` returns it.
    Returns:
      A scalar. Adding it to a log density over the model's parameters gives the log density
      over the reals.
    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> print(log_det({"loc": jnp.zeros(3)}))
      0.0
    """
    check_tree("reals", reals)
    terms: list[Array] = []

    def add(constraint: Constraint, leaf: Array) -> Array:
        terms.append(jnp.sum(constraint.log_det(leaf)))
        return leaf

    _map(add, reals)
    return jnp.sum(jnp.stack(as_float(*terms))) if terms else jnp.zeros(())


def declared(model: T) -> T:
    """The model with each leaf replaced by its `Constraint`.

    Raises:
      TypeError: for a leaf that is no array of numbers.

    Examples:
      >>> declared({"loc": jnp.zeros(3)})["loc"].name
      'real'
    """
    check_tree("model", model)
    return _map(lambda c, leaf: c, model, every=True)


def _map(f: Callable[[Constraint, Array], Any], tree: Any, *, every: bool = False) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    changed = []
    for leaf, chain in zip(leaves, field_chains(tree), strict=True):
        if is_floating(leaf):
            changed.append(f(constraint_of(chain), as_float(leaf)[0]))
        else:
            changed.append(f(constraint_of(chain), leaf) if every else leaf)
    return jax.tree.unflatten(structure, changed)


class Step(NamedTuple):
    """One dataclass on the way from the root of a pytree to a leaf.

    Attributes:
      node: the instance.
      field: the field that the way goes through.
      index: the key of the dict, tuple or list in that field, or None.
    """

    node: Any
    field: dataclasses.Field[Any]
    index: Any = None


FieldChain = list[Step]


def field_chains(tree: object) -> list[FieldChain]:
    """For each leaf of a pytree the dataclasses on the way to it.

    The way ends at a node that does not name its children.

    Examples:
      >>> from likelax.families import Normal
      >>> chain = field_chains({"a": Normal(0.0, 1.0)})[1]
      >>> [(type(step.node).__name__, step.field.name) for step in chain]
      [('Normal', 'scale')]
    """
    return [_chain(tree, path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _chain(node: Any, path: tuple[Any, ...]) -> FieldChain:
    chain: FieldChain = []
    for key in path:
        if isinstance(key, jax.tree_util.GetAttrKey):
            if dataclasses.is_dataclass(node):
                fields = {field.name: field for field in dataclasses.fields(node)}
                chain.append(Step(node, fields[key.name]))
            node = getattr(node, key.name)
        elif isinstance(key, jax.tree_util.DictKey | jax.tree_util.SequenceKey):
            index = key.key if isinstance(key, jax.tree_util.DictKey) else key.idx
            if chain and chain[-1].index is None:
                chain[-1] = chain[-1]._replace(index=index)
            node = node[index]
        else:
            break
    return chain


def constraint_of(chain: FieldChain) -> Constraint:
    """The constraint that a leaf's field declares; `real` where there is none."""
    for _, field, _ in reversed(chain):
        if not field.metadata.get("inherits", False):
            return field.metadata.get("constraint", real)
    return real


def is_floating(leaf: ArrayLike) -> bool:
    """True for a leaf that gradients can move: floating point, not a count, flag, key or function.

    Examples:
      >>> is_floating(1.5), is_floating(jnp.arange(3))
      (True, False)
    """
    if not isinstance(leaf, Array | np.ndarray | np.generic | float | int):
        return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.floating))
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


real = Constraint("real", lambda y: y, lambda x: x, jnp.zeros_like, np.isfinite)
"""The reals themselves."""

positive = Constraint("positive", jnp.exp, safe_log, lambda y: y, lambda x: x >= 0)
"""(0, inf), by exp. Zero goes to -inf and stays zero."""


def _logit(p: Array) -> Array:
    return safe_log(p) - safe_log(1 - p)


def _log_sigmoid(y: Array) -> Array:
    """log 1 / (1 + exp(-y)) with zero gradient at both infinities."""
    inside = jnp.where(jnp.isfinite(y), y, 0)
    edge = jnp.where(y > 0, jnp.zeros_like(y), y)
    return jnp.where(jnp.isfinite(y), -jax.nn.softplus(-inside), edge)


unit_interval = Constraint(
    "unit_interval",
    jax.nn.sigmoid,
    _logit,
    lambda y: _log_sigmoid(y) + _log_sigmoid(-y),
    lambda x: (x >= 0) & (x <= 1),
)
"""(0, 1), by the logistic function."""


@checked()
def interval(low: float, high: float) -> Constraint:
    """(low, high), by a shifted and scaled logistic function.

    Raises:
      ValueError: if low is not below high.

    Examples:
      >>> print(interval(-1.0, 1.0).constrain(jnp.array(0.0)))
      0.0
    """
    if not low < high:
        raise ValueError(f"interval wants low < high, got low={low}, high={high}.")
    width = high - low
    return Constraint(
        f"interval({low}, {high})",
        lambda y: low + width * jax.nn.sigmoid(y),
        lambda x: safe_log(x - low) - safe_log(high - x),
        lambda y: math.log(width) + _log_sigmoid(y) + _log_sigmoid(-y),
        lambda x: (x >= low) & (x <= high),
    )


@checked()
def greater_than(low: float) -> Constraint:
    """(low, inf), by low + exp.

    Examples:
      >>> print(greater_than(2.0).constrain(jnp.array(0.0)))
      3.0
    """
    return Constraint(
        f"greater_than({low})",
        lambda y: low + jnp.exp(y),
        lambda x: safe_log(x - low),
        lambda y: y,
        lambda x: x >= low,
    )


def _sticks(y: Array) -> tuple[Array, Array, Array]:
    """Log of what each stick-breaking step finds, takes and leaves; shape of y, nats."""
    num_free = y.shape[-1]
    # 0 in every coordinate is the uniform distribution
    offset = jnp.log(jnp.arange(num_free, 0, -1, dtype=y.dtype))
    y = y - jnp.broadcast_to(offset, y.shape)
    takes, leaves = _log_sigmoid(y), _log_sigmoid(-y)
    after = jnp.cumsum(leaves, axis=-1)
    found = jnp.concatenate([jnp.zeros_like(after[..., :1]), after[..., :-1]], axis=-1)
    return found, takes, leaves


def _simplex_constrain(y: Array) -> Array:
    if y.shape[-1] == 0:
        return jnp.ones((*y.shape[:-1], 1), y.dtype)
    found, takes, leaves = _sticks(y)
    last = found[..., -1:] + leaves[..., -1:]
    return jnp.exp(jnp.concatenate([found + takes, last], axis=-1))


def _simplex_unconstrain(p: Array) -> Array:
    num_free = p.shape[-1] - 1
    rest = jnp.flip(jnp.cumsum(jnp.flip(p, -1), -1), -1)[..., 1:]
    offset = jnp.log(jnp.arange(num_free, 0, -1, dtype=p.dtype))
    head = p[..., :-1]
    # no probability is left: every coordinate gives the same point, so use the middle
    spent = (head == 0) & (rest == 0)
    ratio = safe_log(jnp.where(spent, 1, head)) - safe_log(jnp.where(spent, 1, rest))
    return ratio + jnp.broadcast_to(offset, ratio.shape)


def _simplex_log_det(y: Array) -> Array:
    if y.shape[-1] == 0:
        return jnp.zeros(y.shape[:-1], y.dtype)
    found, takes, leaves = _sticks(y)
    return jnp.sum(found + takes + leaves, axis=-1)


def _in_simplex(p: np.ndarray) -> np.ndarray:
    # the error of the sum of K probabilities that were rounded to four digits
    return np.all(p >= 0, axis=-1) & (np.abs(p.sum(axis=-1) - 1) <= 1e-3)


simplex = Constraint(
    "simplex", _simplex_constrain, _simplex_unconstrain, _simplex_log_det, _in_simplex, ndim=1
)
"""Rows of K probabilities that sum to one, from K - 1 reals by stick-breaking."""


def _ordered_constrain(y: Array) -> Array:
    return jnp.cumsum(jnp.concatenate([y[..., :1], jnp.exp(y[..., 1:])], axis=-1), axis=-1)


def _ordered_unconstrain(x: Array) -> Array:
    return jnp.concatenate([x[..., :1], safe_log(jnp.diff(x, axis=-1))], axis=-1)


ordered = Constraint(
    "ordered",
    _ordered_constrain,
    _ordered_unconstrain,
    lambda y: jnp.sum(y[..., 1:], axis=-1),
    lambda x: np.all(np.diff(x, axis=-1) >= 0, axis=-1),
    ndim=1,
)
"""Vectors that increase along the last axis."""


def _size(num_free: int) -> int:
    """D of a triangle with D (D + 1) / 2 entries."""
    size = int((2 * num_free + 0.25) ** 0.5)
    if size * (size + 1) // 2 != num_free:
        raise ValueError(f"scale_tril wants D (D + 1) / 2 reals on the last axis, got {num_free}.")
    return size


def _diagonal(size: int) -> Array:
    return jnp.cumsum(jnp.arange(1, size + 1)) - 1


def _tril_constrain(y: Array) -> Array:
    size = _size(y.shape[-1])
    at = _diagonal(size)
    y = y.at[..., at].set(jnp.exp(y[..., at]))
    rows, columns = jnp.tril_indices(size)
    return jnp.zeros((*y.shape[:-1], size, size), y.dtype).at[..., rows, columns].set(y)


def _tril_unconstrain(tril: Array) -> Array:
    if tril.ndim < 2 or tril.shape[-1] != tril.shape[-2]:
        raise ValueError(f"scale_tril wants square matrices (..., D, D), got shape {tril.shape}.")
    rows, columns = jnp.tril_indices(tril.shape[-1])
    y = tril[..., rows, columns]
    at = _diagonal(tril.shape[-1])
    return y.at[..., at].set(safe_log(y[..., at]))


def _tril_log_det(y: Array) -> Array:
    return jnp.sum(y[..., _diagonal(_size(y.shape[-1]))], axis=-1)


def _is_scale_tril(tril: np.ndarray) -> np.ndarray:
    lower = np.all(np.triu(tril, 1) == 0, axis=(-2, -1)) & np.all(np.isfinite(tril), axis=(-2, -1))
    return lower & np.all(np.diagonal(tril, axis1=-2, axis2=-1) > 0, axis=-1)


scale_tril = Constraint(
    "scale_tril", _tril_constrain, _tril_unconstrain, _tril_log_det, _is_scale_tril, ndim=2
)
"""Lower triangular matrices with a positive diagonal, from D (D + 1) / 2 reals by rows."""


def _definite_constrain(y: Array) -> Array:
    tril = _tril_constrain(y)
    return tril @ jnp.swapaxes(tril, -1, -2)


def _definite_log_det(y: Array) -> Array:
    size = _size(y.shape[-1])
    # d (L L') / d L has determinant 2^D prod_i L_ii^(D - i + 1)
    powers = jnp.arange(size + 1, 1, -1, dtype=y.dtype)
    return size * math.log(2.0) + jnp.sum(y[..., _diagonal(size)] * powers, axis=-1)


def _is_definite(matrix: np.ndarray) -> np.ndarray:
    finite = np.all(np.isfinite(matrix), axis=(-2, -1))
    matrix = np.where(finite[..., None, None], matrix, np.eye(matrix.shape[-1]))
    size = np.max(np.abs(matrix), axis=(-2, -1), keepdims=True)
    symmetric = np.all(np.abs(matrix - np.swapaxes(matrix, -1, -2)) <= 1e-5 * size, axis=(-2, -1))
    return finite & symmetric & np.all(np.linalg.eigvalsh(matrix) > 0, axis=-1)


positive_definite = Constraint(
    "positive_definite",
    _definite_constrain,
    lambda matrix: _tril_unconstrain(cholesky(matrix)),
    _definite_log_det,
    _is_definite,
    ndim=2,
)
"""Symmetric positive definite matrices, by their Cholesky factor."""


def _log_sech_squared(y: Array) -> Array:
    """log(1 - tanh(y)^2)."""
    size = jnp.abs(y)
    return 2 * (math.log(2.0) - size - jnp.log1p(jnp.exp(-2 * size)))


def _correlation_size(num_free: int) -> int:
    """D of a matrix with D (D - 1) / 2 entries below its diagonal."""
    size = int((2 * num_free + 0.25) ** 0.5 + 0.5)
    if size * (size - 1) // 2 != num_free:
        raise ValueError(
            f"correlation_tril wants D (D - 1) / 2 reals on the last axis, got {num_free}."
        )
    return size


def _correlation_tril_constrain(y: Array) -> Array:
    size = _correlation_size(y.shape[-1])
    rows, columns = jnp.tril_indices(size, -1)
    empty = jnp.zeros((*y.shape[:-1], size, size), y.dtype)
    # row i: L_ij = tanh(y_ij) times the root of what the entries before j leave of the squared norm 1
    share = jnp.tanh(y)
    taken = empty.at[..., rows, columns].set(_log_sech_squared(y))
    left = jnp.cumsum(taken[..., :-1], axis=-1)
    left = jnp.concatenate([jnp.zeros_like(taken[..., :1]), left], axis=-1)
    diagonal = jnp.broadcast_to(jnp.eye(size, dtype=y.dtype), empty.shape)
    shares = diagonal.at[..., rows, columns].set(share)
    return shares * jnp.exp(left / 2)


def _correlation_tril_unconstrain(tril: Array) -> Array:
    if tril.ndim < 2 or tril.shape[-1] != tril.shape[-2]:
        raise ValueError(
            f"correlation_tril wants square matrices (..., D, D), got shape {tril.shape}."
        )
    rows, columns = jnp.tril_indices(tril.shape[-1], -1)
    squares = jnp.flip(jnp.cumsum(jnp.flip(tril**2, -1), -1), -1)
    after = squares[..., rows, columns + 1]
    entry = tril[..., rows, columns]
    # an entry that leaves nothing of the norm is on the boundary; after it, any point will do
    edge = after == 0
    inside = jnp.arcsinh(jnp.where(edge, 0, entry) / jnp.sqrt(jnp.where(edge, 1, after)))
    outside = jnp.where(entry == 0, 0, jnp.sign(entry) * jnp.inf)
    return jnp.where(edge, outside, inside)


def _correlation_tril_log_det(y: Array) -> Array:
    rows, columns = np.tril_indices(_correlation_size(y.shape[-1]), -1)
    # tanh once, and half for each later entry of the row
    times = jnp.broadcast_to(jnp.asarray(1 + (rows - 1 - columns) / 2, y.dtype), y.shape)
    return jnp.sum(times * _log_sech_squared(y), axis=-1)


def _is_correlation_tril(tril: np.ndarray) -> np.ndarray:
    return _is_scale_tril(tril) & np.all(np.abs(np.sum(tril**2, axis=-1) - 1) <= 1e-3, axis=-1)


correlation_tril = Constraint(
    "correlation_tril",
    _correlation_tril_constrain,
    _correlation_tril_unconstrain,
    _correlation_tril_log_det,
    _is_correlation_tril,
    ndim=2,
)
"""Cholesky factors of correlation matrices: lower triangular, positive diagonal, rows of norm one.

From D (D - 1) / 2 reals by rows, whose tanh are partial correlations. The volume is that of the
entries below the diagonal, as in the density of LKJ for Cholesky factors.

Source: Lewandowski, Kurowicka and Joe (2009), Generating random correlation matrices based on vines
and extended onion method, Journal of Multivariate Analysis 100.
"""


def _correlation_constrain(y: Array) -> Array:
    tril = _correlation_tril_constrain(y)
    return tril @ jnp.swapaxes(tril, -1, -2)


def _correlation_log_det(y: Array) -> Array:
    diagonal = jnp.diagonal(_correlation_tril_constrain(y), axis1=-2, axis2=-1)
    size = diagonal.shape[-1]
    powers = jnp.broadcast_to(jnp.arange(size - 1, -1, -1, dtype=y.dtype), diagonal.shape)
    return _correlation_tril_log_det(y) + jnp.sum(powers * safe_log(diagonal), axis=-1)


correlation = Constraint(
    "correlation",
    _correlation_constrain,
    lambda matrix: _correlation_tril_unconstrain(cholesky(matrix)),
    _correlation_log_det,
    lambda matrix: (
        _is_definite(matrix)
        & np.all(np.abs(np.diagonal(matrix, axis1=-2, axis2=-1) - 1) <= 1e-3, axis=-1)
    ),
    ndim=2,
)
"""Correlation matrices, by their Cholesky factor; the volume is that of the entries below the diagonal."""
