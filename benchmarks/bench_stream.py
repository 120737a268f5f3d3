"""EM over rows that are read from a file in batches, beside the same rows in memory.

python benchmarks/bench_stream.py           up to 1e8 rows: a minute or two, and a file of 0.8 GB
python benchmarks/bench_stream.py --quick   up to 1e6 rows
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing

from likelax import fit
from likelax.families import MvNormal
from likelax.mixture import Mixture

NUM_DIMS, NUM_COMPONENTS, BATCH, PASSES = 2, 5, 1_000_000, 2


def write(file: Path, num_rows: int) -> None:
    """Rows of five blobs, float32, written a batch at a time."""
    rng = np.random.default_rng(0)
    centers = 4 * rng.normal(size=(NUM_COMPONENTS, NUM_DIMS))
    with file.open("wb") as out:
        for begin in range(0, num_rows, BATCH):
            size = min(BATCH, num_rows - begin)
            labels = rng.integers(NUM_COMPONENTS, size=size)
            rows = centers[labels] + rng.normal(size=(size, NUM_DIMS))
            out.write(rows.astype(np.float32).tobytes())


def row(folder: str, num_rows: int) -> None:
    """Two steps from a file, and from an array."""
    file = Path(folder) / f"{num_rows}.bin"
    write(file, num_rows)
    rows = np.memmap(file, np.float32, "r", shape=(num_rows, NUM_DIMS))
    scales = jnp.broadcast_to(2 * jnp.eye(NUM_DIMS), (NUM_COMPONENTS, NUM_DIMS, NUM_DIMS))
    means = jnp.asarray(np.random.default_rng(1).normal(size=(NUM_COMPONENTS, NUM_DIMS)) * 4)
    start = Mixture(jnp.full(NUM_COMPONENTS, 1 / NUM_COMPONENTS), MvNormal(means, scales))
    size = min(BATCH, num_rows // 10)

    def batches():
        return (rows[i : i + size] for i in range(0, num_rows, size))

    def streamed():
        return fit.stream(start, batches, tol=-1.0, max_passes=PASSES).model.components.loc

    x = jax.device_put(np.array(rows))

    def in_memory():
        return fit.em(start, x, tol=-1.0, max_steps=PASSES, chunk_size=size).model.components.loc

    timing.compare(
        f"{PASSES} steps of EM from a file, N{num_rows} D{NUM_DIMS} K{NUM_COMPONENTS}",
        streamed,
        {"fit.em in memory": in_memory},
        check=np.asarray,
        rtol=1e-3,
        repeats=3,
        budget_s=60.0,
    )
    file.unlink()


def main() -> None:
    """Ten times as many rows in each line."""
    quick = timing.asked_quick(__doc__)
    timing.print_setting()
    with tempfile.TemporaryDirectory() as folder:
        for power in (5, 6) if quick else (6, 7, 8):
            row(folder, 10**power)


if __name__ == "__main__":
    main()
