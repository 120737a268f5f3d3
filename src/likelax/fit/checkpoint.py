"""Write models and the state of long fits to disk, and read them."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def save(path: str | os.PathLike[str], tree: object) -> None:
    """Write a model, or any tree of arrays, to a file.

    The data are written to a temporary file that then replaces the old one. So a process that is
    killed while it writes leaves the old file.

    Args:
      path: the file; its folder must exist.
      tree: its leaves are arrays or numbers. The structure itself is not written: `load` is
        given a tree like it.
    Raises:
      FileNotFoundError: where the folder does not exist.

    Examples:
      >>> from likelax.families import Normal
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/model.npz", Normal(1.5, 2.0))
      ...     print(load(f"{folder}/model.npz", Normal(0.0, 1.0)).loc)
      1.5
    """
    path = Path(path)
    leaves, structure = jax.tree.flatten(tree)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            np.savez(part, *map(np.asarray, leaves), structure=np.array(str(structure)))
            part.flush()
            os.fsync(part.fileno())
            os.chmod(part.name, 0o644)
        except BaseException:
            os.unlink(part.name)
            raise
    os.replace(part.name, path)


def load(path: str | os.PathLike[str], like: T) -> T:
    """Read what `save` wrote.

    Args:
      path: the file.
      like: a tree of the same structure and shapes, such as the model that a fit started from.
        A leaf that is `...` stands for an array of any shape.
    Returns:
      A tree like it with the leaves of the file.
    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where the file is damaged or was not written by `save`, or holds a tree of another
        structure or other shapes.

    Examples:
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/state.npz", {"step": 3})
      ...     print(load(f"{folder}/state.npz", {"step": ...})["step"])
      3
    """
    leaves, structure = jax.tree.flatten(like)
    written, found = _read(path, len(leaves))
    if written != str(structure):
        raise ValueError(
            f"load: {os.fspath(path)} holds {written}; wanted {structure}. "
            "Give a tree like the one that was saved, or another file"
        )
    wrong = [
        (got.shape, np.shape(want))
        for got, want in zip(found, leaves, strict=True)
        if want is not ... and got.shape != np.shape(want)
    ]
    if wrong:
        raise ValueError(
            f"load: {os.fspath(path)} holds arrays of other shapes; got {wrong[0][0]} for "
            f"{wrong[0][1]}. Give a tree like the one that was saved, or another file"
        )
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in found])


def _read(path: str | os.PathLike[str], most: int) -> tuple[str, list[np.ndarray]]:
    """(the structure that was saved, as text; its first arrays)."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return str(file["structure"]), [
                file[f"arr_{i}"] for i in range(min(most, len(file.files) - 1))
            ]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load: {os.fspath(path)} is damaged, or was not written by likelax ({error})"
        ) from None
