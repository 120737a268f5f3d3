"""Side-by-side timing: compile first, block on the result, interleave, print the ratio."""

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import numpy as np

Work = Callable[[], Any]


class Row(NamedTuple):
    """One contender at one task. Times in ms; `ratio` is its median over ours (above 1: we win)."""

    task: str
    who: str
    first_ms: float
    median_ms: float
    best_ms: float
    ratio: float


def compare(
    name: str,
    ours: Work,
    peers: dict[str, Work],
    *,
    check: Callable[[Any], Any] | None = None,
    rtol: float = 1e-4,
    repeats: int = 7,
    budget_s: float = 20.0,
) -> list[Row]:
    """Time our callable and its peers in turn, round by round, and print one line for each.

    Args:
      name: what is done, with its sizes.
      ours: takes nothing, returns the answer (arrays); already closed over its data.
      peers: the same for each peer, by name.
      check: turns an answer into the numbers that must agree; None skips the comparison. A peer
        that disagrees is timed and marked, since a wrong answer is part of the finding.
      rtol: tolerance of that comparison.
      repeats: rounds after the first call, which is timed apart because it compiles.
      budget_s: no new round begins after this many seconds.
    Returns:
      One `Row` a contender, ours first.
    """
    contenders = {"likelax": ours, **peers}
    first, answers = {}, {}
    for who, work in contenders.items():
        first[who], answers[who] = _timed(work)
    times: dict[str, list[float]] = {who: [] for who in contenders}
    began = time.perf_counter()
    while len(times["likelax"]) < repeats:
        for who, work in contenders.items():
            times[who].append(_timed(work)[0])
        if time.perf_counter() - began > budget_s:
            break
    medians = {who: statistics.median(t) for who, t in times.items()}
    rows = []
    print(f"\n{name}")
    for who in contenders:
        ratio = medians[who] / medians["likelax"]
        rows.append(Row(name, who, first[who], medians[who], min(times[who]), ratio))
        note = (
            "" if check is None else _verdict(check(answers[who]), check(answers["likelax"]), rtol)
        )
        print(
            f"  {who:<24} median {medians[who]:10.3f} ms   best {min(times[who]):10.3f} ms   "
            f"first call {first[who]:9.1f} ms   ratio {ratio:7.2f}   {note}"
        )
    return rows


def _timed(work: Work) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = jax.block_until_ready(work())
    return 1e3 * (time.perf_counter() - began), answer


def _verdict(got: Any, want: Any, rtol: float) -> str:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return f"ANOTHER SHAPE {got.shape}"
    if np.allclose(got, want, rtol=rtol, atol=rtol):
        return "same answer"
    return f"DIFFERS by {np.nanmax(np.abs(got - want)):.3g}"


def print_setting(*packages: str) -> None:
    """Print the device, the platform and the versions of jax and of the packages named."""
    print(f"device {jax.devices()[0].device_kind} x {jax.device_count()}, {platform.platform()}")
    named = ("jax", "jaxlib", "numpy", *packages)
    print(", ".join(f"{p} {_version(p)}" for p in named))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
