"""Rows of data, or steps of a series, split over the devices of a mesh, each of which works on its own.

Only statistics and parameters are sent between devices. `jax.distributed` makes a mesh of the devices
of several processes; nothing here differs then, except that arrays need not be in one process.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from likelax.data import DataLike, Sequences, take_series
from likelax.statistics import merge

T = TypeVar("T")


def automatic(mesh: Mesh) -> Mesh:
    """The mesh with axes of the kind `Auto`. Programs here never name the sharding of an array.

    Args:
      mesh: any mesh; `jax.make_mesh` gives one with explicit axes.
    Raises:
      TypeError: for something else than a mesh of devices.

    Examples:
      >>> print(automatic(jax.make_mesh((1,), ("rows",))).axis_types[0].name)
      Auto
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, as jax.make_mesh returns; got {mesh!r}")
    return Mesh(mesh.devices, mesh.axis_names)


def mesh_of(x: Any) -> Mesh | None:
    """The mesh over which the first axis of data is split already, with automatic axes.

    Args:
      x: data, plain or wrapped.
    Returns:
      The mesh; None if no array is split by rows, or for traced data, whose place is not known.
    Raises:
      ValueError: for arrays split over a part of the axes of their mesh.

    Examples:
      >>> print(mesh_of(jnp.zeros(4)))
      None
    """
    for leaf in jax.tree.leaves(x):
        if not isinstance(leaf, Array) or isinstance(leaf, jax.core.Tracer):
            continue
        place = leaf.sharding
        if not isinstance(place, NamedSharding) or place.mesh.size == 1:
            continue
        first = place.spec[0] if len(place.spec) else None
        names = (first,) if isinstance(first, str) else tuple(first or ())
        if not names:
            continue
        if set(names) != set(place.mesh.axis_names):
            raise ValueError(
                f"the rows of the data are split over {names} of a mesh with the axes "
                f"{place.mesh.axis_names}; split them over all axes, or give a mesh of one axis"
            )
        return Mesh(place.mesh.devices, place.mesh.axis_names)
    return None


def put(tree: T, mesh: Mesh, *, rows: bool) -> T:
    """The arrays of a tree on all devices of a mesh.

    Args:
      tree: any pytree of arrays and numbers. With several processes each of them gives the same,
        or arrays that are on the mesh already.
      mesh: with automatic axes.
      rows: whether the first axis is split over the devices; False: every device has all.
    """
    place = NamedSharding(mesh, PartitionSpec(mesh.axis_names) if rows else PartitionSpec())

    def one(leaf: Any) -> Array:
        if isinstance(leaf, Array) and leaf.sharding.is_equivalent_to(place, leaf.ndim):
            return leaf if leaf.sharding == place else jax.device_put(leaf, place)
        if jax.process_count() == 1:
            return jax.device_put(leaf, place)
        if isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf), mesh, rows=rows)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf, jnp.result_type(leaf))
        return jax.make_array_from_callback(array.shape, place, lambda at: array[at])

    return jax.tree.map(one, tree)


def split_rows(
    name: str, x: T, weights: ArrayLike | None, shape: tuple[int, ...], mesh: Mesh
) -> tuple[T, Array | None]:
    """Data and weights with their rows on the devices of a mesh, as `over_rows` takes them.

    Rows are added until every device has as many as the others: copies of the first ones, of weight
    zero.

    Args:
      name: the function that was called, for the message.
      x: data, plain or wrapped, of which every array has N rows.
      weights: of `shape`, or None for ones.
      shape: (N, ...), that of the log probabilities.
      mesh: with automatic axes.
    Raises:
      ValueError: for a single observation, or arrays of other lengths.

    Examples:
      >>> mesh = automatic(jax.make_mesh((1,), ("rows",)))
      >>> x, weights = split_rows("fit", jnp.arange(3.0), None, (3,), mesh)
      >>> print(x, weights)
      [0. 1. 2.] None
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if not shape or lengths != {shape[:1]}:
        raise ValueError(
            f"{name}: mesh splits the first axis of the data, which all arrays must share; got "
            f"log probabilities of shape {shape} and arrays of shapes "
            f"{[jnp.shape(leaf) for leaf in jax.tree.leaves(x)]}"
        )
    extra = -shape[0] % mesh.size
    if extra:
        at = np.arange(shape[0] + extra) % shape[0]
        counts = np.ones(shape, np.float32) if weights is None else np.asarray(weights)
        weights = np.concatenate([counts, np.zeros((extra, *shape[1:]), counts.dtype)])
        x = jax.tree.map(lambda leaf: np.asarray(leaf)[at], x)
    placed: tuple[T, Array | None] = put((x, weights), mesh, rows=True)  # type: ignore[assignment]
    return placed


def split_steps(name: str, x: DataLike, mesh: Mesh) -> DataLike:
    """One series with its steps on the devices of a mesh; numbers, such as a length, are on all.

    Steps are added until every device has as many as the others, and `Sequences` says how many count.

    Args:
      name: the function that was called, for the message.
      x: one series, plain or wrapped, of which every array has T steps.
      mesh: with automatic axes.
    Raises:
      ValueError: for arrays of other lengths.

    Examples:
      >>> mesh = automatic(jax.make_mesh((1,), ("steps",)))
      >>> print(split_steps("fit", jnp.arange(3.0), mesh))
      [0. 1. 2.]
    """
    sizes = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(x) if jnp.ndim(leaf)}
    if len(sizes) != 1:
        raise ValueError(
            f"{name}: mesh splits the steps of a series, which all arrays must share; got arrays of "
            f"shapes {[jnp.shape(leaf) for leaf in jax.tree.leaves(x)]}"
        )
    (num_steps,) = sizes
    extra = -num_steps % mesh.size
    if extra:
        at = np.arange(num_steps + extra) % num_steps
        x = jax.tree.map(lambda leaf: np.asarray(leaf)[at] if jnp.ndim(leaf) else leaf, x)
        values, series = take_series(x)
        length = num_steps if series.lengths is None else series.lengths
        x = Sequences(values, jnp.asarray(length), series.starts)
    return jax.tree.map(lambda leaf: put(leaf, mesh, rows=jnp.ndim(leaf) > 0), x)


def row_specs(x: T, axes: tuple[str, ...]) -> T:
    """How the arrays of data are split: by their first axis; numbers are the same on all devices."""
    rows, whole = PartitionSpec(axes), PartitionSpec()
    specs: T = jax.tree.map(lambda leaf: rows if jnp.ndim(leaf) else whole, x)
    return specs


def local_rows(x: T) -> T:
    """The rows that this process has, as NumPy arrays where some are in other processes.

    Args:
      x: any pytree of arrays, split by rows.
    Returns:
      x itself where this process has all rows.
    """

    def is_here(leaf: Any) -> bool:
        if not isinstance(leaf, Array) or isinstance(leaf, jax.core.Tracer):
            return True
        return leaf.is_fully_addressable or leaf.is_fully_replicated

    def one(leaf: Any) -> Any:
        if is_here(leaf):
            return leaf
        parts = {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}
        return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])

    return x if all(map(is_here, jax.tree.leaves(x))) else jax.tree.map(one, x)


def shapes(x: T) -> T:
    """The shapes and types of data, whichever devices they are on."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), x)


def over_rows(
    e_step: Callable[..., tuple[T, Array]], mesh: Mesh
) -> Callable[[Any, Any, Any], tuple[T, Array]]:
    """An E step in which every device takes its rows, and the statistics are merged.

    Args:
      e_step: from (model, x, weights) to (statistics, scalar in nats).
      mesh: with automatic axes.
    Returns:
      The same function for data from `split_rows` or `split_steps`. Its results are the same on every
      device.
    """
    axes = mesh.axis_names

    def local(model: Any, x: Any, weights: Any) -> tuple[T, Array]:
        stats, nats = e_step(model, x, weights)
        return merge(stats, axes), jax.lax.psum(nats, axes)

    def on_all(model: Any, x: Any, weights: Any) -> tuple[T, Array]:
        specs = (PartitionSpec(), *row_specs((x, weights), axes))
        found: tuple[T, Array] = on_each(local, mesh, specs, PartitionSpec())(model, x, weights)
        return found

    return on_all


def on_each(
    function: Callable[..., Any], mesh: Mesh, specs: tuple[Any, ...], out: Any
) -> Callable[..., Any]:
    """A function that every device of a mesh calls on its part of the arguments.

    Args:
      function: of the parts; it may use the axes of the mesh, as in `jax.lax.psum`.
      mesh: with automatic axes.
      specs: how each argument is split, as for `jax.shard_map`.
      out: how the result is split.
    """
    # check_vma can't follow the carries of loops that begin with the same zeros on all devices
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)


def sum_over_rows(
    total: Callable[[Any, Any, Any], Array], mesh: Mesh
) -> Callable[[Any, Any, Any], Array]:
    """A sum over the rows of data in which every device takes its own; JAX can differentiate it.

    Args:
      total: from (model, x, weights) to a scalar.
      mesh: with automatic axes.
    Returns:
      The same function for data from `split_rows`.
    """

    def e_step(model: Any, x: Any, weights: Any) -> tuple[tuple[()], Array]:
        return (), total(model, x, weights)

    return lambda model, x, weights: over_rows(e_step, mesh)(model, x, weights)[1]


def using(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which eager calls may use the mesh, whichever mesh the user has set."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def fetched(tree: T, mesh: Mesh | None) -> T:
    """Arrays that are the same on all devices of a mesh, as arrays on the default device."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def gathered(tree: T, mesh: Mesh | None) -> T:
    """All of the arrays of a tree as NumPy arrays, in every process.

    Args:
      tree: any pytree of arrays.
      mesh: on whose devices they are, or None.
    """
    if mesh is not None and jax.process_count() > 1:
        place = NamedSharding(mesh, PartitionSpec())
        tree = jax.jit(lambda tree: tree, out_shardings=place)(tree)

    def one(leaf: Array) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jnp.asarray(np.asarray(jax.random.key_data(leaf)))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return np.asarray(leaf)

    return jax.tree.map(one, tree)
