"""Thousands of small fits: `fit.batch` beside a vmapped program, Python loops, and process pools.

Run `python benchmarks/bench_batch.py`, with `--quick` for fewer fits, with `--ours` without the peers (on a
GPU too), with `--rows chains guides` for some of the tables. The slower contenders get a part of the
data sets; times are for each fit, and their ratio to ours is printed.

- chains: hidden Markov models (Poisson emissions, 2 states, 50 to 150 steps) from 5 starts each by
  maximum likelihood. hmmlearn draws its own starts, and stops at another tolerance: its best objective
  of each data set is compared with ours. dynamax, if installed, takes 50 steps of EM.
- mixtures: Gaussian mixtures beside scikit-learn in a process pool.
- groups: the marginal likelihood of conjugate groups (gamma-Poisson), beside SciPy in a process pool.
- guides: restarts of a full-rank guide of the eight schools. `fit_guides` and `fit_guide` also take
  1000 fresh draws for their check, which the batch does not.
- devices: the same batch on 1, 2, ... devices. XLA_FLAGS=--xla_force_host_platform_device_count=2 makes
  two of a processor with two cores.
"""

import argparse
import importlib
import time
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from timing import Row, print_setting, record

import likelax as lx

RESTARTS = 5
LATER = 2  # calls after the first, which compiles; one for --quick


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


def _dynamax(sets, num_steps=50):
    """Fifty steps of EM of each series and start: dynamax has no stopping rule."""
    chains = importlib.import_module("dynamax.hidden_markov_model")
    model = chains.PoissonHMM(2, 1)
    found = []
    for i, values in enumerate(sets):
        for r in range(RESTARTS):
            params, props = model.initialize(jax.random.key(i * RESTARTS + r))
            x = jnp.asarray(values)[:, None]
            found.append(model.fit_em(params, props, x, num_iters=num_steps, verbose=False)[1][-1])
    return found


def _sklearn(values):
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(2, n_init=RESTARTS, tol=1e-6, max_iter=1000).fit(values).score(values)


def timed(work):
    """(first call, best of the later ones), seconds."""
    took = []
    for _ in range(1 + LATER):
        began = time.perf_counter()
        jax.block_until_ready(work())
        took.append(time.perf_counter() - began)
    return took[0], min(took[1:])


def show(task, who, number, took, ours):
    each = 1e3 * took[1] / (number * RESTARTS)
    ratio = each / ours if ours else 1.0
    row = Row(f"{task}, each fit", who, 1e3 * took[0], each, each, ratio)
    record(row=row._asdict())
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
    task = f"{number} Poisson hidden Markov models, {RESTARTS} starts each"
    print(f"\n{task}")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    each = show(task, "likelax fit.batch", number, timed(lambda: ours().executed), 0.0)
    part = sets[:few]
    loop = timed(lambda: loop_over_restarts(part, start_chain))
    show(task, "likelax fit.restarts in a Python loop", few, loop, each)
    show(task, "jax.vmap of likelax fit.em", few, timed(lambda: one_vmapped_program(part)), each)
    if not peers:
        return
    if find_spec("dynamax"):
        fewer = part[: max(1, few // 20)]  # it compiles for each length
        took = timed(lambda: _dynamax(fewer))
        show(task, "Python loop over dynamax, 50 steps", len(fewer), took, each)
    peer, best = in_processes(_hmmlearn, part)
    show(task, "hmmlearn in a process pool", few, peer, each)
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
    task = f"{number} Gaussian mixtures, 200 rows in 2 dimensions, {RESTARTS} starts each"
    print(f"\n{task}")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    each = show(task, "likelax fit.batch", number, timed(lambda: ours().executed), 0.0)
    if not peers:
        return
    peer, best = in_processes(_sklearn, x[:few])
    show(task, "scikit-learn in a process pool", few, peer, each)
    gap = np.asarray(done.best.objective)[:few] / 200 - best
    print(f"  nats a row above scikit-learn's best: median {np.median(gap):.4f}")


def _gamma_poisson(values):
    """SciPy's maximum of the same marginal likelihood."""
    import scipy.optimize
    import scipy.stats

    def loss(logs):
        shape, rate = np.exp(logs)
        return -scipy.stats.nbinom.logpmf(values, shape, rate / (1 + rate)).sum()

    return -scipy.optimize.minimize(loss, np.zeros(2), method="L-BFGS-B").fun


def groups(number, few, peers):
    rng = np.random.default_rng(2)
    shapes, rates = rng.uniform(1, 5, (2, number, 1))
    x = rng.poisson(rng.gamma(shapes, 1 / rates, (number, 30))).astype(np.float32)

    def start(key, x):
        return lx.GammaPoisson(jnp.float32(1.0), jnp.float32(1.0))

    def ours():
        return lx.fit.batch(lx.fit.LBFGS(), start, x, key=jax.random.key(0))

    done = ours()
    task = f"{number} groups of 30 gamma-Poisson counts"
    print(f"\n{task}")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    each = show(task, "likelax fit.batch", number / RESTARTS, timed(lambda: ours().executed), 0.0)
    if not peers:
        return
    peer, best = in_processes(_gamma_poisson, x[:few])
    show(task, "SciPy in a process pool", few / RESTARTS, peer, each)
    gap = np.asarray(done.best.objective)[:few] - best
    print(f"  nats above SciPy's best: median {np.median(gap):.4f}, least {gap.min():.4f}")


EFFECTS = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def _schools_prior(z):
    mean, log_spread, each = z[0], z[1], z[2:]
    spread = jnp.exp(log_spread)
    half_cauchy = log_spread - jnp.log1p((spread / 5) ** 2)
    return half_cauchy - (mean / 5) ** 2 / 2 - jnp.sum(each**2) / 2


def _schools(z, x):
    effects, errors = x
    return -(((effects - z[0] - jnp.exp(z[1]) * z[2:]) / errors) ** 2) / 2


def _schools_joint(z):
    return _schools_prior(z) + jnp.sum(_schools(z, (EFFECTS, ERRORS)))


def guides(number, few, peers):
    x = jax.tree.map(lambda a: a[None], (EFFECTS, ERRORS))
    ascent = lx.variational.GuideAscent(_schools_prior, _schools)

    def start(key, x):
        return lx.variational.full_rank(jax.random.normal(key, (10,)))

    def ours():
        key = jax.random.key(0)
        return lx.fit.batch(ascent, start, x, key=key, num_restarts=number)

    done = ours()
    task = f"{number} restarts of a full-rank guide of the eight schools"
    print(f"\n{task}")
    print(f"  executed / needed lane-steps: {int(done.executed) / int(done.needed):.2f}")
    best = np.asarray(done.fits.objective).max()
    print(f"  usable {float(done.fits.usable.mean()):.2f}, best bound {best:.2f} nats")
    each = show(task, "likelax fit.batch", number / RESTARTS, timed(lambda: ours().executed), 0.0)
    starts = jax.vmap(lambda key: start(key, None))(jax.random.split(jax.random.key(1), number))

    def vmapped():
        key = jax.random.key(2)
        return lx.variational.fit_guides(key, _schools_joint, starts).elbo.value

    show(task, "likelax variational.fit_guides", number / RESTARTS, timed(vmapped), each)

    def loop():
        one = jax.tree.map(lambda a: a[:few], starts)
        parts = [jax.tree.map(lambda a, i=i: a[i], one) for i in range(few)]
        key = jax.random.key(3)
        fit_guide = lx.variational.fit_guide
        return [fit_guide(key, _schools_joint, part).elbo.value for part in parts]

    show(task, "Python loop over fit_guide", few / RESTARTS, timed(loop), each)


def devices(number, few, peers):
    sets, count = series(number), 1
    task = f"{number} Poisson hidden Markov models on {jax.device_count()} devices and fewer"
    print(f"\n{task}")
    each = 0.0
    while count <= jax.device_count():
        mesh = jax.make_mesh((count,), ("fits",), devices=jax.devices()[:count])

        def ours(mesh=mesh):
            key = jax.random.key(0)
            run = {"key": key, "num_restarts": RESTARTS, "mesh": mesh}
            return lx.fit.batch(lx.fit.EM(), start_chain, sets, **run).executed

        took = show(task, f"likelax fit.batch, {count} devices", number, timed(ours), each)
        each, count = each or took, count * 2


# The number of data sets or fits, and of those that the slow contenders get; the same for --quick, None to
# leave a table out.
ROWS = {
    "chains": (chains, (10_000, 200), (500, 20)),
    "mixtures": (mixtures, (2_000, 200), (200, 50)),
    "groups": (groups, (10_000, 500), (500, 50)),
    "guides": (guides, (256, 8), (32, 2)),
    "devices": (devices, (10_000, 0), None),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer fits")
    parser.add_argument("--ours", action="store_true", help="no peers")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS], help="tables to make")
    options = parser.parse_args()
    LATER = 1 if options.quick else LATER
    print_setting("hmmlearn", "scikit-learn", "joblib", "dynamax")
    for name in options.rows:
        table, full, quick = ROWS[name]
        sizes = quick if options.quick else full
        if sizes is not None:
            table(*sizes, not options.ours)
