"""Settings under which every test and every docstring example runs."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# scripts that made the frozen values: they need the peers, and run by hand
collect_ignore_glob = ["tests/reference/*"]
# an adapter's examples need the library that it adapts
collect_ignore = [
    f"src/likelax/interop/{name}.py" for name in ("numpyro",) if find_spec(name) is None
]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
np.set_printoptions(precision=4, suppress=True)


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    """Every docstring example may use these without importing them."""
    doctest_namespace.update(jax=jax, jnp=jnp, np=np)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
