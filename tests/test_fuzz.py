"""Any input gives a right answer, a documented status, or one sentence that names the argument.

`make test` samples 300 cases by the seed that it prints; NESTING_SEED=... runs those again. The slow
test runs more than 4000.
"""

import os
import zlib

import numpy as np
import pytest

import fuzz
from public import Public, public_methods, public_names

SEED = int(os.environ["NESTING_SEED"])
PARTS = 20
# packages whose functions compile in a moment
CHEAP = (
    "calibration.",
    "scoring.",
    "predictive.",
    "monte_carlo.",
    "families.",
    "statistics.",
    "data.",
)


def entries(prefixes=("",)) -> list[Public]:
    every = sorted((*public_names(), *public_methods()), key=lambda entry: entry.name)
    return [entry for entry in every if entry.name.startswith(prefixes)]


def faults(chosen: list[Public], most: int, seed: int) -> tuple[int, list[str]]:
    """(how many cases ran, those with a fault that has no reason) of the calls in some examples."""
    names = {entry.name for entry in chosen}
    calls = {name: call for name, call in fuzz.record(chosen).items() if name in names}
    generator, count, found = np.random.default_rng(seed), 0, []
    for _, call in sorted(calls.items()):
        every = list(fuzz.cases(call))
        valid = fuzz.answers(call)
        for i in generator.permutation(len(every))[:most]:
            outcome = fuzz.outcome(every[i], valid)
            count += 1
            if outcome.kind in fuzz.FAULTS and not fuzz.reason(every[i], outcome):
                found.append(f"{outcome.kind}: {every[i]} {outcome.text}")
    return count, found


@pytest.mark.parametrize("part", range(4))
def test_sampled_odd_inputs(part):
    generator = np.random.default_rng([SEED, part])
    cheap = entries(CHEAP)
    chosen = [cheap[i] for i in generator.permutation(len(cheap))[:12]]
    count, found = faults(chosen, 15, SEED)
    assert found == []
    assert count > 30


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_odd_inputs_of_every_public_name(part):
    chosen = [e for e in entries() if zlib.crc32(e.name.encode()) % PARTS == part]
    count, found = faults(chosen, 30, 0)
    assert found == []
    assert count >= 200
