"""Scores of ensembles against scoringrules, on the same data to the same answer.

    python benchmarks/bench_scoring.py           half a minute
    python benchmarks/bench_scoring.py --quick   small sizes, seconds

scoringrules takes part where it is installed, with numba where that is.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import timing

from likelax import scoring


def bench_crps(members: int, size: int) -> None:
    """Fair ensemble CRPS: scoringrules' fastest estimator of it, `pwm`, by each of its backends."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(members, size)).astype(np.float32)
    x = rng.normal(size=size).astype(np.float32)
    d, seen = jnp.asarray(draws), jnp.asarray(x)
    last = np.ascontiguousarray(draws.T)  # their layout, made before the clock starts
    ours = jax.jit(scoring.crps_ensemble)
    rules, peers = timing.optional("scoringrules"), {}
    for backend in ("numpy", "numba") if rules is not None else ():
        if backend == "numpy" or timing.optional("numba") is not None:
            peers[f"scoringrules {backend}"] = lambda backend=backend: rules.crps_ensemble(
                x, last, estimator="pwm", backend=backend
            )
    name = f"CRPS, {members} members, {size} forecasts"
    timing.compare(name, lambda: ours(d, seen), peers, check=np.asarray, rtol=1e-3)


def bench_energy(members: int, size: int, dims: int) -> None:
    """Fair energy score of vectors."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(members, size, dims)).astype(np.float32)
    x = rng.normal(size=(size, dims)).astype(np.float32)
    d, seen = jnp.asarray(draws), jnp.asarray(x)
    ours = jax.jit(scoring.energy_score)
    rules, peers = timing.optional("scoringrules"), {}
    last = np.ascontiguousarray(np.moveaxis(draws, 0, 1))
    if rules is not None:
        peers["scoringrules numpy"] = lambda: rules.es_ensemble(
            x, last, estimator="fair", backend="numpy"
        )
    name = f"energy score, {members} members, {size} forecasts of {dims}"
    timing.compare(name, lambda: ours(d, seen), peers, check=np.asarray, rtol=1e-3)


def main() -> None:
    """Run all rows."""
    quick = timing.asked_quick(__doc__)
    warnings.simplefilter("ignore")
    timing.print_setting("scoringrules", "numba")
    bench_crps(100, 1_000 if quick else 20_000)
    bench_crps(1000, 100 if quick else 2_000)
    bench_energy(50, 100 if quick else 2_000, 3)


if __name__ == "__main__":
    main()
