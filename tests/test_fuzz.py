"""Any input gives a right answer, a documented status, or one sentence that names the argument.

`make test` samples 300 cases by the seed that it prints; TEST_SEED=... runs those again. The slow
tests run some thousand, over every public name, always those of seed 0.
"""

import gc
import os
import zlib

import jax
import numpy as np
import pytest

import fuzz
from public import Public, public_methods, public_names

SEED = int(os.environ["TEST_SEED"])
# packages of which no case of any seed that was tried has a fault
SAMPLED = ("calibration", "scoring")
# modules whose programs take long to compile
HEAVY = ("calibration.resample", "calibration.multiclass", "calibration.smooth")
# the decorators of `_pytree` cannot be called twice with one class
LEFT_OUT = {"tour", "plots", "_pytree"}
# their constructors take anything and `fit` refuses it, as scikit-learn wants; its own checks look at that
ESTIMATORS = ("interop.sklearn.", "interop.hmmlearn.")
PLACES = sorted({entry.name.partition(".")[0] for entry in public_names()} - LEFT_OUT)


def entries(places: tuple[str, ...]) -> list[Public]:
    every = sorted((*public_names(), *public_methods()), key=lambda entry: entry.name)
    chosen = [entry for entry in every if entry.name.partition(".")[0] in places]
    return [entry for entry in chosen if not entry.name.startswith(ESTIMATORS)]


def faults(chosen: list[Public], total: int, seed: int) -> tuple[int, list[str]]:
    """(how many cases ran, those with a fault) of the calls in some examples."""
    with jax.debug_key_reuse(False):  # a case takes the key of the example again
        return _faults(chosen, total, seed)


def _faults(chosen: list[Public], total: int, seed: int) -> tuple[int, list[str]]:
    names = {entry.name for entry in chosen}
    calls = [call for name, call in sorted(fuzz.record(chosen).items()) if name in names]
    count, found = 0, []
    for call in calls:
        jax.clear_caches()  # odd shapes compile anew each time, and nobody needs them again
        gc.collect()
        every = list(fuzz.cases(call))
        try:
            valid = fuzz.answers(call)
        except FileNotFoundError:  # the example's folder is gone
            continue
        # of the call alone, so that no other function and no other test changes its cases
        generator = np.random.default_rng([seed, zlib.crc32(call.name.encode())])
        for i in generator.permutation(len(every))[: max(2, total // len(calls))]:
            outcome = fuzz.outcome(every[i], valid)
            count += 1
            if outcome.kind in fuzz.FAULTS and not fuzz.reason(every[i], outcome):
                found.append(f"{outcome.kind}: {every[i]} {outcome.text}")
    return count, found


@pytest.mark.parametrize("part", range(3))
def test_sampled_odd_inputs(part):
    """60 cases of six functions each."""
    clean = [
        entry
        for entry in entries(SAMPLED)
        if entry.function and ">>>" in entry.doc and not entry.name.startswith(HEAVY)
    ]
    order = np.random.default_rng([SEED, part]).permutation(len(clean))
    _, found = faults([clean[i] for i in order[:6]], 60, SEED)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_odd_inputs_of_every_public_name(place):
    count, found = faults(entries((place,)), 150, 0)
    assert not found, "\n".join([f"{len(found)} of {count} cases:", *found])


@pytest.mark.parametrize(
    ("function", "value", "kind"),
    [
        (lambda x: np.sum(x), "text", "inside"),
        (lambda x: np.float32(0), np.float32(np.nan), "swallowed"),
        (lambda x: x - x, np.float32(np.inf), "passed on"),
        (lambda x: np.float32(np.nan), np.float32(2.0), "nan"),
    ],
)
def test_each_kind_of_outcome_is_found_out(function, value, kind):
    call = fuzz.Call("here.function", function, {"x": np.float32(1.0)}, "")
    case = fuzz.Case(call, ("x",), "odd", value, same=False)
    with np.errstate(invalid="ignore"):
        assert fuzz.outcome(case, [np.float32(1.0)]).kind == kind


def test_a_sentence_names_an_argument():
    from likelax import scoring

    call = fuzz.Call(
        "scoring.crps_normal", scoring.crps_normal, {"loc": 0.0, "scale": 1.0, "x": 0.0}, ""
    )
    case = fuzz.Case(call, ("scale",), "negative", -1.0, same=False)
    assert fuzz.outcome(case, fuzz.answers(call)) == (
        "sentence",
        "ValueError: scale must be zero or more; got -1.0",
    )
