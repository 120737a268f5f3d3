"""Time of a batch of fits against its sizes: draws docs/images/scaling.png and writes its numbers.

Run `python benchmarks/scaling_batch.py` on an idle machine; `--quick` for small sizes, and `--draw` to
draw the figure again from benchmarks/results/scaling.json. Each point is the best of three calls after
the first, with a fixed number of steps. The expected slope is 1 for the number of fits, N and T, and
between 1 and 2 for K and D, whose fixed costs hide it at small sizes. Virtual devices share the cores of
one processor: beyond these they can't be faster.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "scaling.json"
IMAGE = HERE.parent / "docs" / "images" / "scaling.png"

# Axis: (label, sizes, sizes of --quick).
AXES = {
    "fits": ("number of fits", [100, 300, 1000, 3000, 10_000], [20, 60, 200]),
    "N": ("rows of one mixture", [10**4, 10**5, 10**6, 10**7], [10**3, 10**4, 10**5]),
    "T": ("steps of one series", [10**3, 10**4, 10**5, 10**6], [10**3, 10**4]),
    "K": ("states", [2, 4, 8, 16, 32, 64], [2, 4, 8]),
    "D": ("columns", [1, 2, 4, 8, 16, 32], [1, 2, 4]),
    "devices": ("virtual devices", [1, 2, 4, 8], [1, 2]),
}


def chains(number, states=2, steps=100, mesh=None):
    """Seconds of a batch of Poisson chains with 20 EM steps each."""
    import jax
    import jax.numpy as jnp

    import likelax as lx

    rng = np.random.default_rng(0)
    hidden = np.cumsum(rng.random((number, steps)) < 0.1, axis=1) % states
    x = jnp.asarray(rng.poisson(1.0 + 3.0 * hidden).astype(np.float32))

    def start(key, x):
        moves = jnp.full((states, states), 0.1 / states) + 0.9 * jnp.eye(states)
        rates = jax.random.uniform(key, (states,), minval=0.5, maxval=3.0 * states)
        return lx.HMM(jnp.full(states, 1 / states), moves, lx.Poisson(rates))

    def run():
        em = lx.fit.EM(tol=-1.0, max_steps=20)
        done = lx.fit.batch(em, start, x, key=jax.random.key(0), mesh=mesh)
        return done.fits.status

    return best_time(run)


def mixture(rows, columns=2, mesh=None):
    """Seconds of ten EM steps of a Gaussian mixture with four components."""
    import jax
    import jax.numpy as jnp

    import likelax as lx

    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    x += 4 * rng.integers(0, 4, (rows, 1)).astype(np.float32)
    model = lx.fit.at_points(jax.random.key(0), x[:1000], 4)
    x = jnp.asarray(x)
    run = {"max_steps": 10, "tol": -1.0, "mesh": mesh}
    return best_time(lambda: lx.fit.em(model, x, **run).objective)


def best_time(work):
    import jax

    took = []
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready(work())
        took.append(time.perf_counter() - began)
    return min(took[1:])


def one(axis, size):
    """Seconds at one size of an axis."""
    import jax

    if axis == "devices":
        return chains(2000, mesh=jax.make_mesh((jax.device_count(),), ("fits",)))
    return {
        "fits": lambda: chains(size),
        "N": lambda: mixture(size),
        "T": lambda: chains(1, steps=size),
        "K": lambda: chains(200, states=size),
        "D": lambda: mixture(10**5, columns=size),
    }[axis]()


def measure(quick):
    """{axis: [[size, seconds], ...]}, each point in a process of its own."""
    found = {}
    for axis, (label, full, small) in AXES.items():
        found[axis] = []
        for size in small if quick else full:
            env = dict(os.environ)
            if axis == "devices":
                flags = f"{env.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={size}"
                env["XLA_FLAGS"] = flags
            command = [sys.executable, __file__, "--one", axis, str(size)]
            text = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            found[axis].append([size, float(text.stdout.split()[-1])])
            print(f"{label} {size}: {1e3 * found[axis][-1][1]:.1f} ms", flush=True)
    return found


def shown(number):
    """10_000 as 10k, a million as 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def draw(found):
    """One panel an axis, with a line of the expected slope through the last point."""
    from likelax import plots

    def fill(figure):
        for panel, (axis, points) in zip(figure.subplots(2, 3).flat, found.items(), strict=True):
            sizes, seconds = np.array(points).T
            slope = 0 if axis == "devices" else 1
            line = 1e3 * seconds[-1] * (sizes / sizes[-1]) ** slope
            panel.loglog(sizes, line, color=plots.soft(), linestyle=":", label=f"slope {slope}")
            panel.loglog(sizes, 1e3 * seconds, marker="o", label="measured")
            panel.set_xticks(sizes, [shown(size) for size in sizes])
            low, high = np.floor(np.log10(panel.get_ylim()))
            panel.set_yticks([c * 10**e for e in np.arange(low, high + 1) for c in (1, 3)])
            panel.set_ylim(1e3 * seconds.min() / 2, 1e3 * seconds.max() * 2)
            panel.yaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
            panel.set_xlabel(AXES[axis][0])
            panel.set_ylabel("ms")
            panel.legend()

    IMAGE.write_bytes(plots.png(plots.figure(fill, size=(9.5, 5.6))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draw", action="store_true", help="only draw the stored numbers")
    parser.add_argument("--one", nargs=2, metavar=("AXIS", "SIZE"))
    options = parser.parse_args()
    if options.one:
        print(one(options.one[0], int(options.one[1])))
    else:
        if not options.draw:
            RESULTS.write_text(json.dumps(measure(options.quick), indent=1) + "\n")
        draw(json.loads(RESULTS.read_text()))
