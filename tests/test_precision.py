"""What docstrings say of float32: "Float32: within X of 1 + its size, and of one rounding of the arguments".

The arguments are those of the docstrings' examples, and others near them. The answer in float32 is
compared with that in float64 from the same arguments; what one rounding of the arguments changes in
float64 is allowed besides. Wide ranges are in `tests/ranges`.
"""

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fuzz import Call, is_key, record
from public import Public, public_methods, public_names

NEARBY = 10
STATED = re.compile(r"Float32: ([a-z ]*)within (\d+e-\d+) of (1|itself)")
PACKAGES = (
    "calibration",
    "families",
    "hmm",
    "mixture",
    "monte_carlo",
    "naive_bayes",
    "numerics",
    "predictive",
    "scoring",
    "statistics",
    "variational",
)
# Public functions of these packages that state no tolerance, and why.
SILENT = {
    "draws, which differ between the types": (
        "at_points bootstrap_bins consistency_band consistency_bins sample_paths expectation "
        "expectation_until normal_loc_gradient poisson_rate_gradient antithetic "
        "expectation_from_noise latin_hypercube stratified uniform sobol loo_pit calibration_ranks "
        "rank uniform_envelope replicate simulate elbo analytic_entropy pathwise rloo score "
        "sticking_the_landing dreg iwae renyi vimco scattered importance match_moments check "
        "score_expectation exponential gamma binomial resample"
    ),
    "chooses its way by comparing estimates, as its docstring says": "moment_match",
    "fits, whose status and objective tell": (
        "fit_fixed_draws laplace fit_guide fit_guides fit_rows pathfinder"
    ),
    "builds a model or a guide from its arguments": (
        "bernoulli build categorical gaussian mixed multinomial block_rank full_rank low_rank "
        "mean_field with_tails space_of banded sticky pack per_row amortized"
    ),
    "moves, counts or picks, and computes no number": (
        "match_states relabel columns forget_unseen top_label any_in_batch as_array as_booleans "
        "as_float named_floats check_num_samples p_value pit heaviest inside_only merge equal_tailed"
    ),
}
ANSWERS = "answers of its methods "


def in_scope(name: str) -> bool:
    return name.split(".")[0] in PACKAGES


@functools.cache
def _classes() -> dict[str, Public]:
    return {entry.name: entry for entry in public_names() if inspect.isclass(entry.value)}


def without_tolerance(entries: list[Public]) -> list[str]:
    """Names of public functions that neither state a tolerance nor have a reason in `SILENT`."""
    silent = {name for names in SILENT.values() for name in names.split()}
    return [
        entry.name
        for entry in entries
        if in_scope(entry.name)
        and not inspect.isclass(entry.value)
        and entry.name.rpartition(".")[2] not in silent
        and not re.search("[Ff]loat32", entry.doc)
    ]


def test_every_public_function_states_its_tolerance():
    assert without_tolerance(public_names()) == []


def stated(call: Call) -> tuple[float, float] | None:
    """(absolute, relative) tolerance that the docstring of a function, or of its class, states."""
    found = STATED.search(call.doc)
    owner = _classes().get(call.name.rpartition(".")[0])
    if found is None and owner is not None:
        found = STATED.search(owner.doc)
        of_all = found is not None and found.group(1) == ANSWERS
        if not of_all and not call.name.endswith(".log_prob"):
            return None
    if found is None:
        return None
    size = float(found.group(2))
    return (size if found.group(3) == "1" else 0.0), size


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, float) or jnp.issubdtype(getattr(leaf, "dtype", np.int32), jnp.floating)


def _are_probabilities(a: np.ndarray) -> bool:
    """Whether every row sums to one."""
    return bool(a.ndim and a.shape[-1] > 1 and np.all(a >= 0) and np.allclose(a.sum(-1), 1))


def _near(leaf: Any, rng: np.random.Generator) -> Any:
    """Other numbers of the same kind: probabilities stay so, and signs, zeros and symmetry too."""
    if not _is_float(leaf):
        return leaf
    a = np.asarray(leaf, float)
    grown = a * np.exp(0.3 * rng.normal(size=a.shape))
    if _are_probabilities(a):
        return (grown / grown.sum(-1, keepdims=True)).astype(np.float32)
    if a.ndim == 2 and a.shape[0] == a.shape[1] and np.allclose(a, a.T):
        return a.astype(np.float32)
    if np.all((a >= 0) & (a <= 1)):
        return (a ** np.exp(0.3 * rng.normal(size=a.shape))).astype(np.float32)
    return grown.astype(np.float32)


def _answer(call: Call, arguments: Any, rng: np.random.Generator | None, dtype: Any) -> list[Any]:
    """The floats of the answer; with a generator, from arguments that are one rounding away."""

    def cast(leaf: Any) -> Any:
        if not _is_float(leaf):
            return leaf
        a = np.asarray(leaf).astype(np.float32).astype(dtype)
        if rng is not None:
            moved = a * (1 + 6e-8 * rng.choice([-1, 1], a.shape))
            a = np.where((a >= 0) & (a <= 1), np.clip(moved, 0, 1), moved)
        if dtype == np.float64 and _are_probabilities(a):
            a = a / a.sum(-1, keepdims=True)
        return float(a) if isinstance(leaf, float) else jnp.asarray(a)

    answer = call.function(**jax.tree.map(cast, arguments))
    return [np.asarray(a, float) for a in jax.tree.leaves(answer) if _is_float(a)]


def _excess(call: Call, arguments: Any, tolerance: tuple[float, float]) -> float:
    """The largest error in tolerances; ValueError where the arguments are not allowed."""
    rng = np.random.default_rng(0)
    got = _answer(call, arguments, None, np.float32)
    with jax.enable_x64(True):
        want = _answer(call, arguments, None, np.float64)
        near = [_answer(call, arguments, rng, np.float64) for _ in range(2)]
    worst = 0.0
    for one, other, *moved in zip(got, want, *near, strict=True):
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        finite = np.isfinite(one) & np.isfinite(other) & np.isfinite(moved).all(0)
        slack = np.max([np.abs(np.where(finite, m - other, 0)) for m in moved], axis=0, initial=0)
        allowed = 2 * slack + tolerance[0] + tolerance[1] * np.abs(np.where(finite, other, 0))
        error = np.where(same, 0, np.where(finite, np.abs(one - other) / allowed, np.inf))
        worst = max(worst, float(np.max(error, initial=0)))
    return worst


def _calls(package: str) -> dict[str, Call]:
    entries = [e for e in (*public_names(), *public_methods()) if e.name.startswith(package)]
    found = record(entries)
    return {
        name: call
        for name, call in found.items()
        if name.startswith(package)
        and stated(call)
        and not any(map(is_key, jax.tree.leaves(call.arguments)))
    }


def nearby(call: Call) -> Iterator[Any]:
    """The arguments of the example, and others near them."""
    rng = np.random.default_rng(0)
    yield call.arguments
    for _ in range(NEARBY):
        yield jax.tree.map(lambda leaf: _near(leaf, rng), call.arguments)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("package", PACKAGES)
def test_stated_tolerances_hold(package):
    wrong = []
    for name, call in _calls(package).items():
        tolerance, tried = stated(call), 0
        for arguments in nearby(call):
            try:
                excess = _excess(call, arguments, tolerance)
            except jax.dtypes.TypePromotionError:
                raise
            except ValueError:  # these are no valid arguments
                continue
            tried += 1
            if excess > 1:
                wrong.append(f"{name}: {excess:.2g} times {tolerance}, trial {tried}")
                break
        if tried == 0:
            wrong.append(f"{name}: never tried")
    assert wrong == []
    jax.clear_caches()
