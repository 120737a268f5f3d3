"""Where default ELBO fits of a full-rank guide end, and what it costs, beside NumPyro's SVI.

Run: python benchmarks/bench_elbo_targets.py [--quick] [words of names]; --quick takes one target.

For each target: the best bound that any run here reached on the same 4096 draws, the gap of
the default fit to it, gradients of the log joint until the guide is within .1 nats of it and until
the fit stops, seconds, status, gap that the fit itself reports, and k-hat. Where NumPyro is installed, the
same gradients for AutoMultivariateNormal at the best of nine settings: Adam .003, .01, .03 with 1, 10
and 100 particles, stopped after 100 000 gradients.
"""

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import HMM, Mixture, Normal, variational
from likelax.fit import Status

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from timing import Row, print_setting, record

from reference import elbo_targets as targets

try:
    import numpyro
    from numpyro import distributions as dist
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal
except ModuleNotFoundError:
    numpyro = None

LogJoint = Callable[[Array], Array]
NEAR = 0.1  # nats
MOST_GRADIENTS = 100_000
PARTICLES = (1, 10, 100)
BUDGET_S = 5.0  # of each setting of NumPyro's
RNG = np.random.default_rng(0)
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


def normal(x: Array, loc: Any, scale: Any) -> Array:
    """Summed log density."""
    z = (x - loc) / scale
    return jnp.sum(-(z**2) / 2 - jnp.log(jnp.asarray(scale)) - targets.LOG_2PI / 2)


def schools(z: Array) -> Array:
    """Eight schools, not centred: effects, mu, log tau."""
    mu, tau = z[8], jnp.exp(z[9])
    prior = normal(z[:8], 0.0, 1.0) + normal(mu, 0.0, 5.0) + normal(tau, 0.0, 5.0) + z[9]
    return prior + normal(EFFECTS, mu + tau * z[:8], ERRORS)


def schools_centred(z: Array) -> Array:
    """The same with the effects themselves."""
    mu, tau = z[8], jnp.exp(z[9])
    prior = normal(z[:8], mu, tau) + normal(mu, 0.0, 5.0) + normal(tau, 0.0, 5.0) + z[9]
    return prior + normal(EFFECTS, z[:8], ERRORS)


def item_response() -> tuple[LogJoint, int]:
    """Two-parameter item response: 40 people, 15 items."""
    ability, difficulty = RNG.normal(size=40), RNG.normal(size=15)
    chance = 1 / (1 + np.exp(-(ability[:, None] - difficulty[None])))
    right = (RNG.random((40, 15)) < chance).astype(np.float32)

    def log_joint(z: Array) -> Array:
        people, items, log_slope = z[:40], z[40:55], z[55:]
        logits = jnp.exp(log_slope)[None] * (people[:, None] - items[None])
        prior = normal(people, 0.0, 1.0) + normal(items, 0.0, 1.0) + normal(log_slope, 0.0, 0.5)
        return prior + jnp.sum(right * logits - jax.nn.softplus(logits))

    return log_joint, 70


def radon() -> tuple[LogJoint, int]:
    """Normal outcomes in 40 counties: intercepts, a common slope, two log scales."""
    county, floor = RNG.integers(0, 40, 300), RNG.integers(0, 2, 300).astype(np.float32)
    y = 1.3 + 0.4 * RNG.normal(size=40)[county] - 0.6 * floor + 0.7 * RNG.normal(size=300)
    y = y.astype(np.float32)

    def log_joint(z: Array) -> Array:
        a, b, log_tau, log_sigma, effect = z[0], z[1], z[2], z[3], z[4:]
        prior = normal(z[:2], 0.0, 3.0) + normal(z[2:4], 0.0, 1.0)
        prior = prior + normal(effect, 0.0, jnp.exp(log_tau) * jnp.ones(40))
        mean = a + b * floor + effect[county]
        return prior + normal(y, mean, jnp.exp(log_sigma) * jnp.ones(300))

    return log_joint, 44


def mixture(z: Array) -> Array:
    """Two normal components, labels summed exactly: means, log scales, logit of the share."""
    share = jax.nn.sigmoid(z[4])
    model = Mixture(jnp.stack([share, 1 - share]), Normal(z[:2], jnp.exp(z[2:4])))
    return jnp.sum(model.log_prob(POINTS)) + normal(z, jnp.array([-2.0, 2.0, 0.0, 0.0, 0.0]), 1.0)


def chain(z: Array) -> Array:
    """A hidden Markov model with two states, the path summed exactly."""
    stay = jax.nn.sigmoid(z[4:6] + 2)
    rows = jnp.stack([jnp.stack([stay[0], 1 - stay[0]]), jnp.stack([1 - stay[1], stay[1]])])
    model = HMM(jnp.array([0.5, 0.5]), rows, Normal(z[:2], jnp.exp(z[2:4])))
    return model.log_prob(SERIES) + normal(z, jnp.array([-2.0, 2.0, 0.0, 0.0, 0.0, 0.0]), 1.0)


POINTS = jnp.asarray(
    np.concatenate([RNG.normal(-2, 1, 60), RNG.normal(2, 0.7, 40)]).astype(np.float32)
)
SERIES = jnp.asarray(np.repeat([-2.0, 2.0, -2.0, 2.0], 25) + RNG.normal(size=100), jnp.float32)


def funnel(z: Array) -> Array:
    """Neal's funnel: no normal is near it."""
    return normal(z[0], 0.0, 3.0) + normal(z[1:], 0.0, jnp.exp(z[0] / 2) * jnp.ones(9))


def banana(z: Array) -> Array:
    """A bent normal."""
    return normal(z[0], 0.0, 10.0) + normal(z[1] + 0.03 * z[0] ** 2 - 3, 0.0, 1.0)


def problems() -> dict[str, tuple[LogJoint, int]]:
    """Name -> (log joint, number of parameters)."""
    found: dict[str, tuple[LogJoint, int]] = {}

    def add(name: str, target: Any) -> None:
        found[name] = (target.log_joint, target.dim)

    for dim, condition in (
        (2, 1.0),
        (8, 1e4),
        (32, 1e2),
        (32, 1e4),
        (64, 1e2),
        (64, 1e6),
        (256, 1e4),
    ):
        add(f"Gaussian {dim}, {condition:g}", targets.gaussian(RNG, dim, condition, 0.0))
    add("logistic 500x20, scales 1-30", targets.regression(RNG, "logistic", 500, 20, 30.0))
    add("logistic 30x40, scales 1-30", targets.regression(RNG, "logistic", 30, 40, 30.0))
    add("Poisson 30x40, scales 1-30", targets.regression(RNG, "poisson", 30, 40, 30.0))
    add("Poisson 200x10, scales 1-30", targets.regression(RNG, "poisson", 200, 10, 30.0))
    add("neg. binomial 300x20", targets.regression(RNG, "negative binomial", 300, 20, 3.0))
    for groups in (8, 50, 200, 1000):
        add(f"Poisson, {groups} groups", targets.hierarchy(RNG, groups, False))
    for groups in (8, 50, 200):
        add(f"Poisson, {groups} groups, centred", targets.hierarchy(RNG, groups, True))
    found["eight schools"] = (schools, 10)
    found["eight schools, centred"] = (schools_centred, 10)
    found["radon-like"] = radon()
    found["item response"] = item_response()
    found["mixture"] = (mixture, 5)
    found["hidden Markov model"] = (chain, 6)
    found["funnel"] = (funnel, 10)
    found["banana"] = (banana, 2)
    return found


def evaluator(log_joint: LogJoint, dim: int) -> Callable[[Array, Array], float]:
    """(loc, tril) -> ELBO from the same 4096 draws each time, so that differences are exact."""
    noise = jax.random.normal(jax.random.key(99), (2048, dim))
    noise = jnp.concatenate([noise, -noise])

    @jax.jit
    def bound(loc: Array, tril: Array) -> Array:
        guide = variational.FullRank(loc, tril)
        values = jax.lax.map(log_joint, guide.from_noise(noise), batch_size=1024)
        return jnp.mean(values - guide.log_prob_of_noise(noise))

    return lambda loc, tril: float(bound(loc, tril))


def ours(log_joint: LogJoint, dim: int) -> tuple[Any, float, float, list[tuple[int, Any]]]:
    """The default fit, first and second call in seconds, and the guide after 1, 2, ... steps."""
    start = variational.full_rank(jnp.zeros(dim))

    def run(**options: Any) -> Any:
        return jax.block_until_ready(
            variational.fit_guide(jax.random.key(0), log_joint, start, **options)
        )

    began = time.perf_counter()
    run()
    first = time.perf_counter() - began
    began = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - began
    steps = int(found.fit.num_steps)
    stops = sorted({*range(1, min(steps, 6)), *np.geomspace(1, steps, 12).astype(int), steps})
    path = [(stop, run(max_steps=int(stop), num_check=64)) for stop in stops]
    return found, first, seconds, [(int(p.num_gradients), p.guide.base) for _, p in path]


def theirs(
    log_joint: LogJoint, dim: int, particles: int
) -> dict[float, list[tuple[int, float, Array, Array]]]:
    """By learning rate: (gradients, seconds, loc, tril) of NumPyro's SVI along the way."""

    def model() -> None:
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([dim]).to_event(1))
        numpyro.factor("rest", log_joint(z) - normal(z, 0.0, 1.0))

    start = numpyro.infer.init_to_value(values={"z": jnp.zeros(dim)})
    guide = AutoMultivariateNormal(model, init_loc_fn=start)

    started = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO(num_particles=particles))
    first = started.init(jax.random.key(1))

    def svi(rate: Any) -> Any:
        other = copy.copy(started)
        other.optim = numpyro.optim.Adam(rate)
        return other

    @jax.jit
    def advance(state: Any, steps: int, rate: float) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, s: svi(rate).update(s)[0], state)

    jax.block_until_ready(advance(first, 1, 0.01))
    stops = np.unique((np.geomspace(100, MOST_GRADIENTS, 16) / particles).astype(int))
    found: dict[float, list[tuple[int, float, Array, Array]]] = {}
    for rate in (0.003, 0.01, 0.03):
        state, at, seconds = first, 0, 0.0
        found[rate] = []
        for stop in stops[stops > 0]:
            began = time.perf_counter()
            state = jax.block_until_ready(advance(state, int(stop) - at, rate))
            seconds += time.perf_counter() - began
            at = int(stop)
            params = svi(rate).get_params(state)
            moments = params["auto_loc"], params["auto_scale_tril"]
            found[rate].append((at * particles, seconds, *moments))
            if seconds > BUDGET_S:
                break
    return found


def first_near(path: list[tuple[float, float]], best: float) -> str:
    """The first cost at which the bound is within .1 nats of the best one."""
    for cost, bound in path:
        if bound > best - NEAR:
            return f"{cost:,.0f}"
    return "never"


def row(name: str, log_joint: LogJoint, dim: int, all_particles: tuple[int, ...]) -> None:
    """One line of the table."""
    bound = evaluator(log_joint, dim)
    found, first, seconds, path = ours(log_joint, dim)
    base = found.guide.base
    longer = variational.fit_guide(
        jax.random.key(7), log_joint, found.guide, tol=-1.0, max_steps=40, num_check=64
    ).guide.base
    own = [(count, bound(q.loc, q.scale_tril)) for count, q in path]
    best = max(bound(base.loc, base.scale_tril), bound(longer.loc, longer.scale_tril))
    peers: dict[str, list[tuple[float, float, float]]] = {}
    if numpyro is not None:
        for particles in all_particles:
            for rate, steps in theirs(log_joint, dim, particles).items():
                peers[f"{rate:g} x {particles}"] = [(c, s, bound(m, L)) for c, s, m, L in steps]
    finite = [b for steps in peers.values() for _, _, b in steps if math.isfinite(b)]
    best = max([best, *finite])
    status = Status(int(found.fit.status)).name
    line = (
        f"| {name} | {best:.2f} | {best - bound(base.loc, base.scale_tril):.3f} | "
        f"{first_near(own, best)} | {int(found.num_gradients):,} | {first:.1f} | {seconds:.3f} | "
        f"{status} | {float(found.gap):.3f} | {float(found.k_hat):.2f} |"
    )
    task = f"full-rank guide, {name}"
    mine = Row(task, "likelax", 1e3 * first, 1e3 * seconds, 1e3 * seconds, 1.0, answer=status)
    record(row=mine._asdict())
    if peers:
        reached = {
            who: next(((c, s) for c, s, b in steps if b > best - NEAR), (math.inf, math.inf))
            for who, steps in peers.items()
        }
        who = min(reached, key=lambda w: reached[w][0])
        count, spent = reached[who]
        nearest = max(finite) if finite else -math.inf
        verdict = f"within {NEAR:g} nats ({who})"
        if not math.isfinite(count):
            spent, verdict = (
                max(s for steps in peers.values() for _, s, _ in steps),
                "never that near",
            )
        peer = Row(task, "numpyro SVI", None, 1e3 * spent, 1e3 * spent, spent / seconds)
        record(row=peer._replace(answer=verdict)._asdict())
        line += (
            f" {count:,.0f} ({who}, {spent:.2f} s) |"
            if math.isfinite(count)
            else f" never; nearest {best - nearest:.2f} short |"
        )
    print(line, flush=True)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one target, ten particles")
    parser.add_argument("words", nargs="*", help="only targets with one of these in their names")
    options = parser.parse_args()
    print_setting("numpyro")
    columns = [
        "target",
        "best bound",
        "gap",
        "gradients to .1 nats",
        "gradients in all",
        "first call, s",
    ]
    columns += [
        "next call, s",
        "status",
        "gap it reports",
        "k-hat",
        "NumPyro, gradients to .1 nats",
    ]
    print(f"\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    words = options.words or (["eight schools, centred"] if options.quick else [])
    for name, (log_joint, dim) in problems().items():
        if not words or any(word in name for word in words):
            row(name, log_joint, dim, (10,) if options.quick else PARTICLES)


if __name__ == "__main__":
    main()
