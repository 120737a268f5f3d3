"""Points drawn over whole ranges: what the tests of this folder share.

By default every run draws the same few hundred points. `LIKELAX_SEED=7 pytest tests/ranges` draws
others; the tests marked `slow` draw 8 000.
"""

import os
import zlib

import numpy as np
import pytest

SEED = int(os.environ.get("LIKELAX_SEED", "0"))
EPS = float(np.finfo(np.float32).eps)
FEW, MANY = 300, 8_000

few_and_many = pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


def generator(name: str) -> np.random.Generator:
    """A generator of its own for every test, the same in every run of one seed."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def log_uniform(rng: np.random.Generator, low: float, high: float, size: object) -> np.ndarray:
    """Numbers whose logarithm is uniform, rounded to float32: inputs that both sides share."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.float32)


def worst(got: object, want: object, tolerance: object) -> str:
    """Where |got - want| is largest in units of the tolerance; for the message of an assert."""
    ratio = np.abs(np.asarray(got, float) - want) / tolerance
    at = np.unravel_index(np.nanargmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
    return f"seed {SEED}, point {at}: {np.asarray(got)[at]} for {np.asarray(want)[at]}, {ratio[at]:.2g} tolerances"


def assert_within(got: object, want: object, tolerance: object) -> None:
    """Every |got - want| is within the tolerance, and nothing is NaN that should not be."""
    got, want = np.broadcast_arrays(np.asarray(got, float), np.asarray(want, float))
    tolerance = np.broadcast_to(tolerance, want.shape)
    fine = (got == want) | (np.abs(got - want) <= tolerance) | (np.isnan(got) & np.isnan(want))
    assert fine.all(), worst(got, want, np.where(tolerance > 0, tolerance, 1e-300))
