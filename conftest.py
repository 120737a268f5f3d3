"""Settings under which every test and every docstring example runs."""

import gc
import itertools
import os
import random
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Tests compile many small programs and run each briefly: XLA need not optimise them, and takes two
# thirds of the time with its older emitters, which jaxlib 0.11 dropped. A persistent compilation
# cache shared by the workers made no difference of more than 5%, so there is none.
_FLAGS = ["--xla_backend_optimization_level=0"]
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Sampled tests use another seed in each run; the workers of one run share it.
SEED = os.environ.setdefault("TEST_SEED", str(random.SystemRandom().randrange(2**20)))


def pytest_report_header() -> str:
    """Print the seed, which TEST_SEED=... sets again."""
    return f"TEST_SEED={SEED}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave those cases of a sampled grid that the seed does not choose to other runs."""
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled and random.Random(SEED + item.nodeid).random() > sampled.args[0]:
            item.add_marker(getattr(pytest.mark, sampled.kwargs.get("rest", "slow")))


def _one_core_for_each_worker() -> None:
    """Two workers whose compilers and thread pools share all cores wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1 and os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") != "1":
        os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


# scripts that made the frozen values: they need the peers, and run by hand
collect_ignore_glob = ["tests/reference/*"]
# a program that a test runs on eight virtual devices
collect_ignore = ["tests/fit/on_devices.py"]
# an adapter's examples need the library that it adapts
for _name in ("arviz", "distrax", "distreqx", "dynamax", "numpyro"):
    if find_spec(_name) is None:
        collect_ignore.append(f"src/likelax/interop/{_name}.py")
if find_spec("numpyro") is None:
    collect_ignore.append("src/likelax/interop/plates.py")
if find_spec("tensorflow_probability") is None:
    collect_ignore.append("src/likelax/interop/tfp.py")

_one_core_for_each_worker()

# Tracing makes millions of objects that live long: collecting less often saves a twentieth of the time.
gc.set_threshold(50_000, 10, 10)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
np.set_printoptions(precision=4, suppress=True)


_tests_run = itertools.count(1)


@pytest.fixture(autouse=True)
def _room_for_programs() -> Iterator[None]:
    """Linux ends a process that has 65 530 memory maps, and each compiled program takes a few."""
    yield
    maps = Path("/proc/self/maps")
    if next(_tests_run) % 20 == 0 and maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    """Every docstring example may use these without importing them."""
    doctest_namespace.update(jax=jax, jnp=jnp, np=np)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
