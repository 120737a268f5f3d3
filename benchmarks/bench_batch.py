"""Thousands of small fits: `fit.batch` beside a vmapped program, Python loops, and process pools.

Run `python benchmarks/bench_batch.py`, or with `--quick` for fewer fits, or with `--ours` without the
peers, on a GPU too. Every contender fits the
same hidden Markov models (Poisson emissions, 2 states, 50 to 150 steps) from 5 starts each by
maximum likelihood. The slower contenders get a part of the data sets; times are for each fit, and
their ratio to ours is printed. hmmlearn draws its own starts, and stops at another tolerance: its
best objective of each data set is compared with ours. The second table fits Gaussian mixtures.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from timing import print_setting

import likelax as lx

RESTARTS = 5


def series(number, seed=0):
    """Ragged counts of sticky chains with two rates."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        states = np.cumsum(rng.random(rng.integers(50, 151)) < 0.1) % 2
        found.append(rng.poisson(rng.uniform(1, 10, 2)[states]).astype(np.float32))
    return found


def start_chain(key, x):
    rates = jax.random.uniform(key, (2,), minval=0.5, maxval=12.0)
    return lx.HMM(jnp.full(2, 0.5), jnp.array([[0.9, 0.1], [0.1, 0.9]]), lx.Poisson(rates))


def padded(sets):
    width = max(map(len, sets))
    values = np.stack([np.pad(s, (0, width - len(s))) for s in sets])
    return lx.Sequences(jnp.asarray(values), jnp.asarray([len(s) for s in sets]))


def loop_over_restarts(sets, start):
    x = padded(sets)
    keys = jax.random.split(jax.random.key(1), len(sets))
    return [
        lx.fit.restarts(
            keys[i],
            lambda key: start(key, None),
            lx.Sequences(x.values[i], x.lengths[i]),
            num_restarts=RESTARTS,
        ).objective
        for i in range(len(sets))
    ]


def one_vmapped_program(sets):
    x = padded(sets)
    keys = jax.random.split(jax.random.key(1), (len(sets), RESTARTS))
    models = jax.vmap(jax.vmap(lambda key: start_chain(key, None)))(keys)
    return VMAPPED(models, x)


@jax.jit
def VMAPPED(models, x):
    each = jax.vmap(lambda model, series: lx.fit.em(model, series).objective, in_axes=(0, None))
    return jax.vmap(each)(models, x)


def _hmmlearn(values):
    from hmmlearn.hmm import PoissonHMM

    best = -np.inf
    for seed in range(RESTARTS):
        model = PoissonHMM(2, n_iter=1000, tol=1e-4, random_state=seed)
        best = max(best, model.fit(values[:, None].astype(int)).score(values[:, None].astype(int)))
    return best


def _sklearn(values):
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(2, n_init=RESTARTS, tol=1e-6, max_iter=1000).fit(values).score(values)


def timed(work):
    """(first call, best of two later ones), seconds."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(work())
        took.append(time.perf_counter() - began)
    return took[0], min(took[1:])


def show(who, number, took, ours):
    each = 1e3 * took[1] / (number * RESTARTS)
    ratio = each / ours if ours else 1.0
    print(f"  {who:<38} {each:9.4f} ms a fit   first call {took[0]:7.2f} s   ratio {ratio:8.1f}")
    return each


def in_processes(work, parts):
    """The time of a process pool, and the answers."""
    import joblib

    with joblib.Parallel(n_jobs=-1) as pool:

        def run():
            return np.array(pool(joblib.delayed(work)(part) for part in parts))

        return timed(run), run()


def chains(number, few, peers):
    sets = series(number)
    key = jax.random.key(0)

    def ours():
        return lx.fit.batch(
            lx.fit.EM(), start_chain, sets, key=jax.random.clone(key), num_restarts=RESTARTS
        )

    done = ours()
    print(f"\n{number} Poisson hidden Markov models, {RESTARTS} starts each")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    each = show("likelax fit.batch", number, timed(lambda: ours().executed), 0.0)
    part = sets[:few]
    loop = timed(lambda: loop_over_restarts(part, start_chain))
    show("likelax fit.restarts in a Python loop", few, loop, each)
    show("jax.vmap of likelax fit.em", few, timed(lambda: one_vmapped_program(part)), each)
    if not peers:
        return
    peer, best = in_processes(_hmmlearn, part)
    show("hmmlearn in a process pool", few, peer, each)
    gap = np.asarray(done.best.objective)[:few] - best
    print(f"  nats above hmmlearn's best: median {np.median(gap):.3f}, least {gap.min():.3f}")


def mixtures(number, few, peers):
    rng = np.random.default_rng(1)
    centers = rng.normal(0, 3, (number, 2, 2))
    rows = centers[np.arange(number)[:, None], rng.integers(0, 2, (number, 200))]
    x = (rows + rng.normal(size=rows.shape)).astype(np.float32)

    def start(key, x):
        return lx.fit.at_points(key, x, 2)

    def ours():
        return lx.fit.batch(
            lx.fit.EM(tol=1e-6), start, x, key=jax.random.key(0), num_restarts=RESTARTS
        )

    done = ours()
    print(f"\n{number} Gaussian mixtures, 200 rows in 2 dimensions, {RESTARTS} starts each")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    each = show("likelax fit.batch", number, timed(lambda: ours().executed), 0.0)
    if not peers:
        return
    peer, best = in_processes(_sklearn, x[:few])
    show("scikit-learn in a process pool", few, peer, each)
    gap = np.asarray(done.best.objective)[:few] / 200 - best
    print(f"  nats a row above scikit-learn's best: median {np.median(gap):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--ours", action="store_true")
    options = parser.parse_args()
    print_setting("hmmlearn", "scikit-learn", "joblib")
    few, peers = 50 if options.quick else 200, not options.ours
    chains(500 if options.quick else 10_000, few, peers)
    mixtures(200 if options.quick else 2_000, few, peers)
