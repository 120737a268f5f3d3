"""What the main programs are on an H100, from a machine that has none: `make gpu-report`.

Each program is compiled by XLA for an H100 (no device is needed for that: jax's CUDA plugin, a description of
the chip, and ptxas), and the compiled text is counted: launches of kernels and bytes moved, trips of loops
included. The modelled time is 2 microseconds a launch plus the bytes at 3.35 TB/s. It is not autotuned, and a
driver may replay several launches as one graph, so it is a model and no measurement; the page docs/gpu.md
puts what was measured on an H100 beside it.

    python benchmarks/gpu_report.py                        all programs, ten minutes, and docs/gpu.md
    python benchmarks/gpu_report.py --only viterbi         print some
"""

import argparse
import functools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # else the plugin looks for a driver
# Triton's matrix products want tiles that only a device can choose; cuBLAS does not.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_enable_triton_gemm=false"

import jax
import jax.numpy as jnp

import likelax as lx
from likelax.fit import lanes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"
LAUNCH_MS = 0.002
BYTES_A_MS = 3.35e9
# Milliseconds on an H100 (80 GB), jax 0.11.2, compiled, 2026-11-27: docs/engine.md.
MEASURED = {
    "log likelihood T1e6 K4": 0.79,
    "smoother T1e6 K4": 1.32,
    "Viterbi T1e6 K4": 1.21,
    "log likelihood B1e4 T1e3 K8": 14.7,
    "smoother B1e4 T1e3 K8": 29.8,
}
# The chip as XLA wants it described; NVIDIA's data sheet and CUDA's deviceQuery.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def programs() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Name -> (function, shapes of its arguments)."""
    found: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
    kernels = {
        "log likelihood": lx.hmm.log_partition,
        "smoother": lx.hmm.smoother,
        "gradient": jax.grad(lx.hmm.log_partition, (0, 1, 2)),
        "Viterbi": lx.hmm.viterbi,
    }
    sizes = {
        "T1e6 K4": (10**6, 4, None),
        "T1e5 K16": (10**5, 16, None),
        "T1e5 K64": (10**5, 64, None),
        "B1e4 T1e3 K8": (1000, 8, 10**4),
        "B100 T1e3 K4": (1000, 4, 100),
    }
    for size, (steps, states, batch) in sizes.items():
        lik = (steps, states) if batch is None else (batch, steps, states)
        args = tuple(shape(*s) for s in ((states,), (states, states), lik))
        for name, kernel in kernels.items():
            run = kernel if batch is None else jax.vmap(kernel, (None, None, 0))
            found[f"{name} {size}"] = run, args
    blobs = lx.Mixture(
        jnp.full(10, 0.1),
        lx.MvNormal(jnp.zeros((10, 50)), jnp.broadcast_to(jnp.eye(50), (10, 50, 50))),
    )
    em = functools.partial(lx.fit.em, max_steps=10, tol=0.0)
    found["EM, Gaussian mixture N1e5 D50 K10"] = em, (shapes(blobs), shape(10**5, 50))
    chain = lx.HMM(
        jnp.full(4, 0.25), jnp.full((4, 4), 0.25), lx.Normal(jnp.arange(4.0), jnp.ones(4))
    )
    found["EM, HMM of normals T1e6 K4"] = em, (shapes(chain), shape(10**6))
    poisson = lx.HMM(jnp.full(2, 0.5), jnp.full((2, 2), 0.5), lx.Poisson(jnp.arange(1.0, 3.0)))
    series = lx.Sequences(shape(10_000, 150), jax.ShapeDtypeStruct((10_000,), jnp.int32))
    found["batch, a round: 5e4 HMMs of counts T150 K2"] = batch_round(poisson, series, 50_000)
    plane = lx.Mixture(
        jnp.full(2, 0.5), lx.MvNormal(jnp.zeros((2, 2)), jnp.broadcast_to(jnp.eye(2), (2, 2, 2)))
    )
    found["batch, a round: 1e4 mixtures N200 D2 K2"] = batch_round(
        plane, shape(2_000, 200, 2), 10_000
    )
    found["ECE bins N1e6"] = lx.calibration.bin_statistics, (shape(10**6), shape(10**6))
    found["PSIS-LOO S4000 N1e4"] = lx.predictive.loo, (shape(4000, 10**4),)
    return found


def batch_round(model: Any, x: Any, num_fits: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A round of `fit.batch`: two EM steps in every lane, and (in brackets) the hand-over of lanes."""
    em = lx.fit.EM()
    models = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((num_fits, *a.shape), a.dtype), shapes(model)
    )

    def begin(models: Any, x: Any) -> lanes.Lanes:
        data = lanes.Data(x, None, None)
        width = lanes.count(data, lanes.OWN, num_fits)
        return lanes.begin(em, models, data, lanes.OWN, lanes=width, length=1)

    def advance(state: lanes.Lanes, models: Any, x: Any) -> lanes.Lanes:
        data = lanes.Data(x, None, None)
        return lanes.advance(em, state, models, data, lanes.OWN, rounds=jnp.asarray(1))

    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        state = jax.eval_shape(begin, models, x)
    print(f"{num_fits} fits: {state.fit.shape[0]} lanes")
    return advance, (state, models, x)


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.asarray(a).dtype), tree)


@functools.cache
def h100() -> jax.sharding.Sharding:
    """Where programs are compiled for."""
    from jax.experimental import topologies

    chip = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    return jax.sharding.SingleDeviceSharding(chip.devices[0])


# --- counting in the text of a compiled program ---------------------------------------------------

WIDTH = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1}
# No kernel runs for these.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota",
    "partition-id", "replica-id", "opt-barrier", "async-done", "async-update",
}  # fmt: skip


class Line(NamedTuple):
    """One instruction: its name, type, operation, and the rest of its line."""

    name: str
    kind: str
    op: str
    rest: str

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.\-]+)", self.rest.split("), ")[0])


class Count(NamedTuple):
    """Launches, bytes moved, and loops whose trips nobody knows, which count as one trip."""

    launches: int = 0
    moved: int = 0
    unknown: int = 0

    def plus(self, other: "Count", times: int = 1) -> "Count":
        return Count(*(a + times * b for a, b in zip(self, other, strict=True)))


def nbytes(kind: str) -> int:
    """Bytes of a type as HLO writes it, of all arrays in a tuple."""
    return sum(
        WIDTH.get(dtype, 1) * math.prod(int(n) for n in sizes.split(",") if n)
        for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", kind)
    )


def computations(text: str) -> tuple[dict[str, list[Line]], str]:
    """The computations of a program, and the name of the one that is entered."""
    found: dict[str, list[Line]] = {}
    name = entry = ""
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{$", line)
        if head:
            name = head[2]
            entry = name if head[1] else entry
            found[name] = []
        body = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?[\])}]) ([\w\-]+)\((.*)$", line)
        if body and name:
            found[name].append(Line(*body.groups()))
    return found, entry


def count(text: str, branch: Callable[..., Count] = min) -> Count:
    """What a compiled program does; of branches the cheapest, or by `max` the dearest."""
    found, entry = computations(text)

    def called(line: Line, word: str) -> str:
        return re.search(rf"{word}=%?([\w.\-]+)", line.rest)[1]  # type: ignore[index]

    def fused(name: str) -> int:
        """Bytes that a fusion reads and writes: of an array that it only slices, the slices."""
        lines = found[name]
        total, root = 0, lines[-1]
        for line in lines:
            if line.op == "parameter":
                uses = [other for other in lines if line.name in other.operands]
                slices = [
                    0 if use.op == "dynamic-update-slice" else nbytes(use.kind)
                    for use in uses
                    if use.op in ("dynamic-slice", "slice", "gather", "dynamic-update-slice")
                    and use.operands[0] == line.name
                ]
                whole = nbytes(line.kind)
                total += min(sum(slices), whole) if len(slices) == len(uses) else whole
        written = nbytes(root.kind)
        by_name = {line.name: line for line in lines}
        for line in lines:
            if line.op == "dynamic-update-slice":
                part = by_name.get(line.operands[1])
                written += (nbytes(part.kind) if part else 0) - nbytes(line.kind)
        return total + max(written, 0)

    @functools.cache
    def of(name: str) -> Count:
        total, kinds = Count(), {line.name: line.kind for line in found[name]}
        for line in found[name]:
            if line.op == "while":
                trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line.rest)
                body = of(called(line, "body"))
                if trips is None:
                    body = body.plus(of(called(line, "condition"))).plus(Count(unknown=1))
                total = total.plus(body, int(trips[1]) if trips else 1)
            elif line.op == "conditional":
                names = re.search(r"branch_computations=\{([^}]*)\}", line.rest)
                each = (
                    re.findall(r"%?([\w.\-]+)", names[1])
                    if names
                    else [called(line, "true_computation"), called(line, "false_computation")]
                )
                total = total.plus(branch(of(one) for one in each))
            elif line.op in ("call", "async-start"):
                inner = re.search(r"(?:to_apply|calls)=%?([\w.\-]+)", line.rest)
                if inner and inner[1] in found:
                    total = total.plus(of(inner[1]))
            elif line.op not in FREE:
                read = sum(nbytes(kinds.get(operand, "")) for operand in line.operands)
                moved = (
                    fused(called(line, "calls"))
                    if line.op == "fusion"
                    else read + nbytes(line.kind)
                )
                total = total.plus(Count(1, moved))
        return total

    return of(entry)


# --- the table ------------------------------------------------------------------------------------


class Report(NamedTuple):
    """One program: counted where the certificate holds and where it fails, and its bytes at least."""

    usual: Count
    worst: Count
    least_bytes: int
    temporary_bytes: int


def report(function: Callable[..., Any], args: tuple[Any, ...]) -> Report:
    """Compile for an H100, and count."""
    placed = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=h100()), args)
    # the sizes of chunks are those of the default device when a program is traced
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        done = jax.jit(function).lower(*placed).compile()
    memory, text = done.memory_analysis(), done.as_text()
    least = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Report(count(text, min), count(text, max), least, memory.temp_size_in_bytes)


def human(n: float) -> str:
    """A number in three digits and a letter."""
    for unit in ("", "k", "M", "G"):
        if n < 1000:
            return f"{n:.3g} {unit}".strip() if unit else f"{n:.3g}"
        n /= 1000
    return f"{n:.3g} T"


def cells(name: str, found: Report) -> list[str]:
    """One row of the page."""
    loops = ", and a loop of unknown length" if found.usual.unknown else ""
    worst = "" if found.worst == found.usual else f" ({human(found.worst.launches)})"
    return [
        name,
        f"{human(found.usual.launches)}{worst}{loops}",
        f"{human(found.usual.moved)}B",
        f"{human(found.temporary_bytes)}B",
        f"{found.usual.launches * LAUNCH_MS + found.usual.moved / BYTES_A_MS:.3g}",
        f"{found.least_bytes / BYTES_A_MS:.3g}",
        f"{MEASURED[name]:g}" if name in MEASURED else "",
    ]


HEAD = [
    "program",
    "launches (where a certificate fails)",
    "moved",
    "temporaries",
    "modelled, ms",
    "memory floor, ms",
    "measured, ms",
]
TEXT = """# What the programs are on a GPU

Made by `make gpu-report`, without a GPU: XLA compiles each program for an H100, and the kernels that it would launch
and the bytes that they would move are counted in the compiled text. jax {version}.

- **modelled**: 2 microseconds for each launch, and the bytes at 3.35 TB/s, an H100's rate. With 2 the model is
  within a quarter of the long chains that were measured, and half of a large batch: a launch can cost 8.
- **memory floor**: arguments and results moved once, which nothing can beat.
- **measured**: on one H100 with jax 0.11.2, where such a run was made ([the engine](engine.md)).
- A loop whose number of trips is not known counts as one trip: a fit by EM is shown with one step, and a batch
  of fits with one round, two EM steps in each of 12 500 or 2 500 lanes. In brackets: launches where the check of
  the fast form fails and the exact one runs, or where lanes take the next fits.

{table}
"""


def main() -> None:
    """Print the table, and write the page if it is whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="regular expression on the names")
    options = parser.parse_args()
    rows = [HEAD, ["---"] * len(HEAD)]
    for name, (function, args) in programs().items():
        if re.search(options.only, name):
            rows.append(cells(name, report(function, args)))
            print(" | ".join(rows[-1]), flush=True)
    if not options.only:
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        PAGE.write_text(TEXT.format(version=jax.__version__, table=table), encoding="utf-8")
        print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()
