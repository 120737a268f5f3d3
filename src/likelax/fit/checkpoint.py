"""Write models and the state of long fits to disk, and read them."""

import contextlib
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


class OtherFormatError(ValueError):
    """A file that another version of likelax wrote, in a format that this one does not read."""


FORMAT = 1
"""The number of the file format. It changes when `load` could no longer read older files."""

# what NumPy, zipfile and json raise for a file that is damaged, or of another kind
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    MemoryError,
    AttributeError,
    zipfile.BadZipFile,
    NotImplementedError,
    RecursionError,
)


def save(
    path: str | os.PathLike[str], tree: object, *, notes: Mapping[str, Any] | None = None
) -> None:
    """Write a model, or any tree of arrays, to a file.

    The data are written to a second file that then replaces the old one. So a process that is
    killed while it writes leaves the old file. The file keeps its mode, and a link stays a link.

    Args:
      path: the file; its folder must exist.
      tree: its leaves are arrays, numbers or random keys. The structure itself is not written, but a
        description of it: `load` is given a tree like it.
      notes: what else the file should say, as JSON can hold it; `load_notes` reads it.
    Raises:
      FileNotFoundError: if the folder does not exist.
      TypeError: for a leaf that is no array of numbers, or notes that are no dict that JSON can hold.

    Examples:
      >>> import tempfile
      >>> from likelax.families import Normal
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/model.npz", Normal(1.5, 2.0))
      ...     print(load(f"{folder}/model.npz", Normal(0.0, 1.0)).loc)
      1.5
    """
    leaves, structure = jax.tree.flatten(tree)
    kinds, arrays = [], []
    for i, leaf in enumerate(leaves):
        kind, array = _to_disk(f"leaf {i} of {type(tree).__name__}", leaf)
        kinds.append(kind)
        arrays.append(array)
    head = {"likelax": FORMAT, "structure": str(structure), "kinds": kinds, "notes": _plain(notes)}
    with _replaced(Path(os.path.realpath(path))) as part:
        np.savez(part, *arrays, head=np.array(json.dumps(head)))


def load(path: str | os.PathLike[str], like: T) -> T:
    """Read what `save` wrote. No code in the file is run.

    Args:
      path: the file.
      like: a tree of the same structure and shapes, such as the model that a fit started from.
        A leaf that is `...` stands for an array of any shape, and comes back as a NumPy array.
    Returns:
      A tree like it with the leaves of the file, in the types in which they were saved.
    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged or was not written by `save`; if it holds a tree of another
        structure, other shapes, or integers for floating-point numbers; or if it holds 64-bit
        numbers, which JAX would cut to 32 bits without `jax_enable_x64`.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/state.npz", {"step": 3})
      ...     print(load(f"{folder}/state.npz", {"step": ...})["step"])
      3
    """
    name = f"load: {os.fspath(path)}"
    leaves, structure = jax.tree.flatten(like)
    head, found = _read(path)
    if head["structure"] != str(structure) or len(found) != len(leaves):
        raise ValueError(
            f"{name} holds {head['structure']}; wanted {structure}. "
            "Give a tree like the one that was saved, or another file"
        )
    each = zip(found, head["kinds"], leaves, strict=True)
    return jax.tree.unflatten(structure, [_from_disk(name, *three) for three in each])


def fingerprint(arrays: Any, program: str = "") -> str:
    """A hash by which a run is recognised, in another process too.

    Args:
      arrays: a tree, of which every array counts, and its place.
      program: text of the program that works on them, if it is to count. It holds what arrays do not: a model, an
        algorithm with its optimizer and objective, and their constants.

    Examples:
      >>> fingerprint({"a": np.ones(2)}) == fingerprint({"a": np.ones(2)})
      True
      >>> fingerprint({"a": np.ones(2)}) == fingerprint({"b": np.ones(2)})
      False
    """
    digest = hashlib.sha256(program.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def load_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes that `save` kept in a file; empty without any.

    Args:
      path: the file.
    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged or was not written by `save`.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/state.npz", {"step": 3}, notes={"data": "spikes.csv"})
      ...     print(load_notes(f"{folder}/state.npz"))
      {'data': 'spikes.csv'}
    """
    found = _read(path)[0].get("notes")
    return found if isinstance(found, dict) else {}


def _plain(notes: Any) -> dict[str, Any]:
    if notes is None:
        return {}
    if isinstance(notes, Mapping):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return dict(json.loads(json.dumps(dict(notes), allow_nan=False)))
    raise TypeError(f"save: notes must be a dict of what JSON can hold; got {notes!r:.80}")


def _to_disk(name: str, leaf: Any) -> tuple[str, np.ndarray]:
    """(what the leaf is, as text; an array of a type that NumPy can write without pickle)."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return f"key {jax.random.key_impl(leaf)}", np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    if isinstance(leaf, bool | int | float):
        with contextlib.suppress(OverflowError):  # in the type that JAX gives it, if it fits
            array = np.asarray(leaf, jnp.result_type(leaf))
    if array.dtype.kind in "biuf":
        return array.dtype.name, array
    if jnp.issubdtype(array.dtype, jnp.floating):  # bfloat16 and the like: only their bits
        return array.dtype.name, array.view(f"u{array.dtype.itemsize}")
    raise TypeError(f"save: {name} must be an array of numbers or a random key; got {leaf!r}")


def _from_disk(name: str, array: np.ndarray, kind: str, like: Any) -> jax.Array | np.ndarray:
    if kind.startswith("key "):
        value: Any = jax.random.wrap_key_data(jnp.asarray(array), impl=kind.removeprefix("key "))
    else:
        dtype = jnp.dtype(kind)
        value = array if array.dtype == dtype else array.view(dtype)
        if like is not ... and jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise ValueError(
                f"{name} holds {kind}, which JAX would cut to 32 bits; set jax_enable_x64"
            )
    if like is ...:
        return value
    if value.shape != np.shape(like):
        raise ValueError(
            f"{name} holds arrays of other shapes; got {value.shape} for {np.shape(like)}. "
            "Give a tree like the one that was saved, or another file"
        )
    wanted = jnp.result_type(like)
    if jnp.issubdtype(wanted, jnp.floating) and not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{name} holds {kind} for {wanted}; save floating-point numbers there")
    return jnp.asarray(value)


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(what the file says of itself, its arrays)."""
    wrong = f"load: {os.fspath(path)} is damaged, or was not written by likelax"
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            found = [file[f"arr_{i}"] for i in range(len(head["kinds"]))]
            version, _ = head["likelax"], head["structure"]
    except FileNotFoundError:
        raise
    except _UNREADABLE:
        raise ValueError(wrong) from None
    if version != FORMAT:
        raise OtherFormatError(
            f"load: {os.fspath(path)} has the format {version}; this version of likelax reads {FORMAT}"
        )
    return head, found


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when all of it is on disk."""
    for stale in path.parent.glob(f".{path.name}.*.part"):
        if not _is_running(stale.name.split(".")[-2]):
            stale.unlink(missing_ok=True)  # of a process that was killed while it wrote
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with open(part, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            os.chmod(part, stat.S_IMODE(path.stat().st_mode))
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
