"""Side-by-side timing: compile first, block on the result, interleave, print the ratio.

Where the environment variable BENCH_RECORD names a file, each row and setting is appended to it as a line of
JSON; `run.py` makes one file of results of them.
"""

import argparse
import ctypes
import importlib
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Work = Callable[[], Any]


class Row(NamedTuple):
    """One contender at one task. Times in ms; `ratio` is its median over ours (above 1: we win).

    `memory_mb` is what the process grew by at most during one call more, None where that can't be read;
    `first_ms` is None where the first call was not timed, and
    `answer` says whether it agrees with ours, "" where that isn't compared.
    """

    task: str
    who: str
    first_ms: float | None
    median_ms: float
    best_ms: float
    ratio: float
    memory_mb: float | None = None
    answer: str = ""


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
    for who, work in contenders.items():
        ratio = medians[who] / medians["likelax"]
        agrees = (
            "" if check is None else _verdict(check(answers[who]), check(answers["likelax"]), rtol)
        )
        memory = _growth(work)
        row = Row(name, who, first[who], medians[who], min(times[who]), ratio, memory, agrees)
        rows.append(row)
        print(
            f"  {who:<24} median {row.median_ms:10.3f} ms   best {row.best_ms:10.3f} ms   "
            f"first call {row.first_ms:9.1f} ms   ratio {ratio:7.2f}   {agrees}"
        )
        record(row=row._asdict())
    return rows


def record(**entry: Any) -> None:
    """Append one line of JSON to the file of results, if one is asked for."""
    if "BENCH_RECORD" in os.environ:
        with open(os.environ["BENCH_RECORD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _growth(work: Work) -> float | None:
    """MB by which the memory of the process grows at most while `work` runs once, mapped files left out."""
    try:
        trim = ctypes.CDLL(None).malloc_trim  # else memory freed before is used again, unseen
        before = _resident()
    except (OSError, AttributeError, ValueError):
        return None
    trim(0)
    before, most, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    jax.block_until_ready(work())
    done.set()
    watcher.join()
    return max(most - before, 0) / 1e6


def _resident() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        (kilobytes,) = (line.split()[1] for line in file if line.startswith("RssAnon:"))
    return 1024 * int(kilobytes)


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


def optional(name: str) -> Any:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def asked_quick(doc: str) -> bool:
    """Whether the command line says --quick: small sizes, seconds."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    return parser.parse_args().quick


def print_setting(*packages: str) -> None:
    """Print the device, the platform, the versions of jax and of the packages named, and the machine's rates."""
    versions = {p: _version(p) for p in ("jax", "jaxlib", "numpy", *packages)}
    device = f"{jax.devices()[0].device_kind} x {jax.device_count()}"
    print(f"device {device}, {os.cpu_count()} processors, {platform.platform()}")
    print(", ".join(f"{p} {v}" for p, v in versions.items()))
    if "BENCH_RECORD" in os.environ:
        record(
            setting={
                "device": device,
                "processors": os.cpu_count(),
                "platform": platform.platform(),
                "python": platform.python_version(),
                "date": time.strftime("%Y-%m-%d"),
                "load": os.getloadavg()[0],
                "versions": versions,
                "limits": limits(),
            }
        )


def limits() -> dict[str, float]:
    """What this machine does in this run: matrix product, exp, and reading memory, float32."""
    square, line = jnp.ones((2048, 2048)), jnp.linspace(-9, 0, 1_000_000)
    long = jnp.ones(64_000_000)
    product, exp, total = jax.jit(lambda a: a @ a), jax.jit(jnp.exp), jax.jit(jnp.sum)
    return {
        "matrix_gflops": _rate(lambda: product(square), 2 * 2048**3),
        "exp_g": _rate(lambda: exp(line), line.size),
        "memory_gb": _rate(lambda: total(long), 4 * long.size),
    }


def _rate(work: Work, amount: float, repeats: int = 5) -> float:
    """The best rate of `work` in G/s, after one call that compiles."""
    jax.block_until_ready(work())
    return amount / min(_timed(work)[0] for _ in range(repeats)) / 1e6


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
