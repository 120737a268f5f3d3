"""The floating type of an estimator: that of its data, whatever JAX's global setting."""

from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

FLOATS = [np.float64, np.float32]
"""What `validate_data` keeps; everything else becomes float64, as in scikit-learn."""


def computing(dtype: Any) -> AbstractContextManager[Any]:
    """A context in which JAX computes in `dtype`: float64 needs its 64-bit mode, float32 not.

    Args:
      dtype: float32 or float64.

    Examples:
      >>> import jax.numpy as jnp
      >>> with computing(np.float64):
      ...     print(jnp.asarray(np.ones(1)).dtype)
      float64
    """
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def to_numpy(tree: Any) -> Any:
    """The same tree with NumPy arrays, which pickle without JAX.

    Examples:
      >>> import jax.numpy as jnp
      >>> to_numpy({"a": jnp.zeros(2)})
      {'a': array([0., 0.], dtype=float32)}
    """
    return jax.tree.map(np.array, tree)
