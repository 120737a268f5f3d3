"""Where default ELBO fits end, and what it costs, beside NumPyro's SVI and BlackJAX.

Run: python benchmarks/bench_elbo_targets.py [--quick] [words of names]; --quick takes one target.

For each target a default full-rank, mean-field and (for three of them) rank 5 fit of likelax, and

- NumPyro's AutoMultivariateNormal at nine settings, Adam .003, .01, .03 with 1, 10 and 100 particles, of which
  the one that first comes within .1 nats of the best bound counts, or else the one with the highest bound;
- NumPyro's AutoNormal and AutoLowRankMultivariateNormal, Adam .01 with 10 particles;
- BlackJAX's meanfield_vi, Adam .01 with 10 draws, and its pathfinder with its default options.

Every row says: the gap to the best bound of its family, which is that of a long fit in float64 kept in
`tests/reference/elbo_problems.json` or a higher one of this run, all exact or on the same 4096 draws; the largest error
of a posterior mean and of a posterior standard deviation, in standard deviations of a NUTS run kept there; the
gradients of the log joint until the guide is within .1 nats of the best bound; those of the whole run; and the
status and k-hat of ours. Times are of our whole fit and of a peer's way to .1 nats. A peer's setting
stops after 40 times our gradients, 100 000 at most, or 2 seconds of processors: "never" means within that.
"""

import argparse
import copy
import importlib
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from timing import Row, optional, print_setting, record

from likelax import variational
from likelax.fit import Status

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
elbo_problems = importlib.import_module("reference.elbo_problems")
numpyro, blackjax = optional("numpyro"), optional("blackjax")

LogJoint = Callable[[Array], Array]
NEAR = 0.1  # nats
MOST_GRADIENTS = 100_000
MOST_TIMES = 40  # a peer's gradients over ours
FEWEST_GRADIENTS = 4_000
BUDGET_S = 2.0  # of processors, for each setting of a peer
RATES = (0.003, 0.01, 0.03)
PARTICLES = (1, 10, 100)
RANK = 5
LOW_RANK = (
    "logistic regression 500",
    "50 groups, not centred",
    "radon",
)  # fitted by stochastic steps
COLUMNS = (
    "target", "best bound", "gap", "mean, sd off", "gradients to .1 nats", "in all", "first call",
    "next call", "status", "k-hat", "NumPyro to .1 nats", "its gradients / ours", "its time / ours",
)  # fmt: skip


class Stop(NamedTuple):
    """A guide on the way of a fit: gradients and seconds until then, and its moments."""

    gradients: int
    seconds: float
    loc: Array
    tril: Array


class Judged(NamedTuple):
    """A way that a fit took: its stops, and their bounds on the same draws."""

    stops: list[Stop]
    bounds: list[float]

    def near(self, best: float) -> Stop | None:
        """The first stop whose bound is within .1 nats of the best one."""
        pairs = zip(self.stops, self.bounds, strict=True)
        return next((stop for stop, bound in pairs if bound > best - NEAR), None)

    def highest(self) -> tuple[float, Stop]:
        """The highest bound, -inf if none is finite, and its stop."""
        finite = [b if math.isfinite(b) else -math.inf for b in self.bounds]
        at = int(np.argmax(finite))
        return finite[at], self.stops[at]


def evaluator(problem: Any) -> Callable[[list[Stop]], Judged]:
    """Bounds without draws or from the same draws each time, so that differences are exact."""
    bound = elbo_problems.judge(problem)
    return lambda stops: Judged(stops, [bound(s.loc, s.tril) for s in stops])


class Ours:
    """Default fits of one kind of guide: the result, its times and its way."""

    def __init__(self, log_joint: LogJoint, start: Any) -> None:
        self.log_joint, self.start = log_joint, start
        self.times: list[float] = []
        self.found = self.again()
        self.first = self.times.pop()
        self.again()

    def again(self) -> Any:
        """One more fit."""
        began = time.perf_counter()
        found = jax.block_until_ready(self._fit())
        self.times.append(time.perf_counter() - began)
        return found

    @property
    def seconds(self) -> float:
        """Median of the fits after the first."""
        return statistics.median(self.times)

    def way(self, most: int) -> list[Stop]:
        """The guides after some of the steps, the last one included."""
        steps = int(self.found.fit.num_steps)
        if most == 0:
            return [self._stop(self.found)]
        ahead = {*range(1, min(steps, 4)), *np.geomspace(1, steps, most).astype(int)} - {steps}
        found = [self._fit(max_steps=int(stop)) for stop in sorted(ahead)]
        return [self._stop(f) for f in [*found, self.found]]

    def _fit(self, **options: Any) -> Any:
        return variational.fit_guide(jax.random.key(0), self.log_joint, self.start, **options)

    def _stop(self, found: Any) -> Stop:
        base = found.guide.base
        return Stop(int(found.num_gradients), self.seconds, base.loc, base.root())


def along(
    advance: Callable[[Any, int], Any],
    state: Any,
    moments: Callable[[Any], tuple[Array, Array]],
    particles: int,
    most: int,
) -> list[Stop]:
    """Stops of a stochastic fit whose program is compiled already."""
    stops = np.unique((np.geomspace(100, most, 14) / particles).astype(int))
    found, at, seconds, start = [], 0, 0.0, time.process_time()
    for stop in stops[stops > 0]:
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, int(stop) - at))
        seconds += time.perf_counter() - began
        at = int(stop)
        found.append(Stop(at * particles, seconds, *moments(state)))
        if time.process_time() - start > BUDGET_S:
            break
    return found


def svi(
    name: str, log_joint: LogJoint, dim: int, rates: tuple[float, ...], particles: int, most: int
) -> dict[str, list[Stop]]:
    """By setting: the way of NumPyro's SVI with an automatic guide of this name."""
    dist, infer = numpyro.distributions, numpyro.infer

    def model() -> None:
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([dim]).to_event(1))
        numpyro.factor("rest", log_joint(z) - elbo_problems.normal(z, 0.0, 1.0))

    options = {"rank": min(RANK, dim)} if name == "AutoLowRankMultivariateNormal" else {}
    start = infer.init_to_value(values={"z": jnp.zeros(dim)})
    guide = getattr(infer.autoguide, name)(model, init_loc_fn=start, **options)
    loss = infer.Trace_ELBO(num_particles=particles)
    started = infer.SVI(model, guide, numpyro.optim.Adam(0.01), loss)
    first = started.init(jax.random.key(1))

    def at_rate(rate: Any) -> Any:
        other = copy.copy(started)
        other.optim = numpyro.optim.Adam(rate)
        return other

    @jax.jit
    def advance(state: Any, steps: int, rate: float) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, s: at_rate(rate).update(s)[0], state)

    def moments(state: Any) -> tuple[Array, Array]:
        params = started.get_params(state)
        if name == "AutoNormal":
            return params["z_auto_loc"], jnp.diag(params["z_auto_scale"])
        found = guide.get_posterior(params)
        if name == "AutoMultivariateNormal":
            return found.loc, found.scale_tril
        return found.loc, jnp.linalg.cholesky(found.covariance_matrix)

    jax.block_until_ready(advance(first, 1, 0.01))
    return {
        f"{rate:g} x {particles}": along(
            lambda state, steps, rate=rate: advance(state, steps, rate),
            first,
            moments,
            particles,
            most,
        )
        for rate in rates
    }


def blackjax_mean_field(log_joint: LogJoint, dim: int, most: int) -> list[Stop]:
    """The way of BlackJAX's mean-field steps in a loop."""
    steps = blackjax.meanfield_vi(log_joint, optax.adam(0.01), num_samples=10)

    def one(_: Any, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        state, key = carry
        key, now = jax.random.split(key)
        return steps.step(now, state)[0], key

    @jax.jit
    def advance(carry: Any, count: int) -> Any:
        return jax.lax.fori_loop(0, count, one, carry)

    first = steps.init(jnp.zeros(dim)), jax.random.key(1)
    jax.block_until_ready(advance(first, 1))
    return along(advance, first, lambda c: (c[0].mu, jnp.diag(jnp.exp(c[0].rho))), 10, most)


def blackjax_pathfinder(log_joint: LogJoint, dim: int) -> tuple[float, Stop]:
    """Seconds of the first call, and the normal that BlackJAX's Pathfinder picks.

    Its "gradients" are the steps of L-BFGS.
    """
    pathfinder = importlib.import_module("blackjax.vi.pathfinder")
    formula = importlib.import_module("blackjax.optimizers.lbfgs").lbfgs_inverse_hessian_formula_2

    @jax.jit
    def run(key: Array) -> Any:
        q, info = pathfinder.approximate(key, log_joint, jnp.zeros(dim))
        inner = q.beta @ (q.gamma @ (q.beta.T @ q.grad_position))
        loc = q.position + q.alpha * q.grad_position + inner
        covariance = formula(q.alpha, q.beta, q.gamma)
        return loc, jnp.linalg.cholesky(covariance), jnp.sum(jnp.isfinite(info.path.elbo))

    times = []
    for _ in range(3):
        began = time.perf_counter()
        loc, tril, steps = jax.block_until_ready(run(jax.random.key(0)))
        times.append(time.perf_counter() - began)
    return times[0], Stop(int(steps), min(times), loc, tril)


def off(stop: Stop, wanted: tuple[np.ndarray, np.ndarray] | None) -> str:
    """The largest errors of means and standard deviations, in posterior standard deviations."""
    if wanted is None:
        return "not known"
    mean, sd = wanted
    spread = np.linalg.norm(np.asarray(stop.tril), axis=1)
    errors = np.max(np.abs(np.asarray(stop.loc) - mean) / sd), np.max(np.abs(spread - sd) / sd)
    return ", ".join("none" if not math.isfinite(e) else f"{e:.2g}" for e in errors)


def moments_of(problem: Any, kept: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Posterior means and standard deviations: in closed form, or those of the NUTS run."""
    if problem.moments is not None or "nuts" not in kept:
        return problem.moments
    return np.array(kept["nuts"]["mean"]), np.array(kept["nuts"]["sd"])


class Comparison:
    """The rows of one guide family of one target: ours, and peers."""

    def __init__(
        self, task: str, ours: Ours, judge: Any, kept: float, wanted: Any, most: int
    ) -> None:
        self.task, self.ours, self.judge, self.wanted = task, ours, judge, wanted
        self.own = judge(ours.way(most))
        self.kept, self.peers = kept, {}

    def add(self, who: str, ways: dict[str, list[Stop]]) -> None:
        """A peer, with a way for each of its settings. Our fit is timed once more after it."""
        self.peers[who] = {setting: self.judge(stops) for setting, stops in ways.items()}
        self.ours.again()

    def report(self) -> tuple[float, dict[str, Any]]:
        """Record the rows; returns the best bound, and the figures of the peers."""
        ways = [way for ways in self.peers.values() for way in ways.values()]
        best = max(self.kept, self.own.highest()[0], *(way.highest()[0] for way in ways))
        seconds = self.ours.seconds
        found = self.ours.found
        near, last = self.own.near(best), self.own.stops[-1]
        status = Status(int(found.fit.status)).name
        self.figures = (
            f"{best - self.own.bounds[-1]:.3f}", off(last, self.wanted),
            f"{near.gradients:,}" if near else "never", f"{last.gradients:,}",
        )  # fmt: skip
        words = (
            f"{self.text(*self.figures)}; {status}, k-hat {float(found.k_hat):.2f}, own gap "
            f"{float(found.gap):.3f}"
        )
        mine = Row(
            self.task,
            "likelax",
            1e3 * self.ours.first,
            1e3 * seconds,
            1e3 * min(self.ours.times),
            1.0,
        )
        record(row=mine._replace(answer=words)._asdict())
        answers = {}
        for who, settings in self.peers.items():
            reached = {s: w.near(best) for s, w in settings.items()}
            cost = {s: stop.gradients if stop else math.inf for s, stop in reached.items()}
            setting = min(settings, key=lambda s: (cost[s], -settings[s].highest()[0]))
            bound, stop = settings[setting].highest()
            at = reached[setting]
            spent = at.seconds if at else max(w.stops[-1].seconds for w in settings.values())
            count = at.gradients if at else None
            answers[who] = count, spent, setting, best - bound
            words = self.text(
                f"{best - bound:.3f}", off(stop, self.wanted),
                f"{count:,}" if at else "never", f"{settings[setting].stops[-1].gradients:,}",
            ) + (f"; {setting}" if setting else "")  # fmt: skip
            peer = Row(self.task, who, None, 1e3 * spent, 1e3 * spent, spent / seconds)
            record(row=peer._replace(answer=words)._asdict())
        return best, answers

    @staticmethod
    def text(gap: str, errors: str, near: str, total: str) -> str:
        """What a row says."""
        return f"gap {gap}; mean, sd off {errors}; {near} gradients to .1 nats, {total} in all"


def row(name: str, problem: Any, quick: bool) -> dict[str, Any]:
    """The rows of one target, and the line of the printed table."""
    kept = elbo_problems.kept().get(name, {})
    judge, wanted = evaluator(problem), moments_of(problem, kept)
    log_joint, dim = problem.log_joint, problem.dim
    start, most = jnp.zeros(dim), 6 if dim < 300 else 0

    def compared(kind: str, make: Any) -> tuple[Comparison, int]:
        ours = Ours(log_joint, make(start))
        limit = kept.get("mean field" if kind == "mean-field" else "full rank", -math.inf)
        limit = -math.inf if kind == "low-rank" else limit
        stops = most if kind == "full-rank" else 0
        found = Comparison(f"{kind} guide, {name}", ours, judge, limit, wanted, stops)
        near = found.own.near(found.own.highest()[0])
        count = near.gradients if near else MOST_GRADIENTS
        return found, min(MOST_GRADIENTS, max(FEWEST_GRADIENTS, MOST_TIMES * count))

    full, limit = compared("full-rank", variational.full_rank)
    if numpyro is not None:
        ways: dict[str, list[Stop]] = {}
        for particles in (10,) if quick else PARTICLES:
            ways |= svi("AutoMultivariateNormal", log_joint, dim, RATES, particles, limit)
        full.add("NumPyro AutoMultivariateNormal", ways)
    if blackjax is not None and not quick:
        _, stop = blackjax_pathfinder(log_joint, dim)
        full.add("BlackJAX pathfinder", {"": [stop]})
    best, answers = full.report()
    if quick:
        return line(name, problem, full, best, answers)
    mean, limit = compared("mean-field", variational.mean_field)
    if numpyro is not None:
        mean.add("NumPyro AutoNormal", svi("AutoNormal", log_joint, dim, (0.01,), 10, limit))
    if blackjax is not None:
        mean.add("BlackJAX meanfield_vi", {"0.01 x 10": blackjax_mean_field(log_joint, dim, limit)})
    mean.report()
    if any(word in name for word in LOW_RANK):
        low, limit = compared("low-rank", lambda z: variational.low_rank(z, rank=RANK))
        if numpyro is not None:
            theirs = "AutoLowRankMultivariateNormal"
            low.add(f"NumPyro {theirs}", svi(theirs, log_joint, dim, (0.01,), 10, limit))
        low.report()
    return line(name, problem, full, best, answers)


def line(
    name: str, problem: Any, full: Comparison, best: float, answers: dict[str, Any]
) -> dict[str, Any]:
    """Print one line of the table, and return its ratios."""
    ours, found = full.ours, full.ours.found
    near = full.own.near(best)
    cells = [
        name, f"{best:.2f}", *full.figures, f"{ours.first:.1f} s", f"{1e3 * ours.seconds:.1f} ms",
        Status(int(found.fit.status)).name, f"{float(found.k_hat):.2f}",
    ]  # fmt: skip
    ratios: dict[str, Any] = {"kind": problem.kind}
    if "NumPyro AutoMultivariateNormal" in answers:
        count, spent, setting, short = answers["NumPyro AutoMultivariateNormal"]
        tried = max(
            w.stops[-1].gradients for w in full.peers["NumPyro AutoMultivariateNormal"].values()
        )
        own = near.gradients if near else math.inf
        sign = "" if count else "> "
        ratios |= {"gradients": (count or tried) / own, "time": spent / ours.seconds}
        cells.append(f"{count:,} ({setting})" if count else f"never; {short:.2f} short ({setting})")
        cells += [f"{sign}{ratios['gradients']:.3g}", f"{sign}{ratios['time']:.3g}"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return ratios


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one target, ten particles")
    parser.add_argument("words", nargs="*", help="only targets with one of these in their names")
    options = parser.parse_args()
    print_setting("numpyro", "blackjax")
    if numpyro is not None:
        # a guide that went to NaN is a row, and not an error
        numpyro.enable_validation(False)
    print(f"\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    words = options.words or (["eight schools, centred"] if options.quick else [])
    found = []
    for name, make in elbo_problems.problems().items():
        if not words or any(word in name for word in words):
            found.append(row(name, make(), options.quick))
            jax.clear_caches()
    for title, kinds, gradients in (
        ("Gaussians and regressions", ("Gaussian", "regression"), 20),
        ("the rest", ("other",), 1),
    ):
        some = [r for r in found if r["kind"] in kinds and "gradients" in r]
        if some:
            few = sum(r["gradients"] >= gradients for r in some)
            fast = sum(r["time"] >= 5 for r in some)
            print(
                f"\nOf {len(some)} {title}: {few} in at most 1/{gradients} of NumPyro's gradients, "
                f"{fast} in at most a fifth of its time."
            )


if __name__ == "__main__":
    main()
