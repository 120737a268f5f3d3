"""Draw docs/images/variational.png and print the table of docs/variational.md; run after a change.

Every gradient estimator is held against a gradient by enumeration or quadrature, and the guides of
eight schools against a long NUTS run.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

from likelax import constraints, monte_carlo, plots, variational
from likelax.families import Bernoulli
from likelax.variational import MeanField

HERE = Path(__file__).parent
NUTS = json.loads((HERE.parent / "tests" / "reference" / "nuts_values.json").read_text())
NUM_KEYS, NUM_DRAWS = 20_000, 4


def quartic(z: Array) -> Array:
    """The joint of the continuous rows: a normal with lighter tails."""
    return jnp.sum(-((z - 0.3) ** 2) / 2 - 0.1 * z**4)


def coin(z: Array) -> Array:
    """The joint of the discrete rows."""
    return jnp.where(z == 1, 1.4, -0.4)


def normal_guide(loc: Array) -> MeanField:
    """Differentiated by its location."""
    return MeanField(loc[None], jnp.array([0.8]))


def coin_guide(logit: Array) -> Bernoulli:
    """Differentiated by its logit."""
    return Bernoulli(jax.nn.sigmoid(logit))


def normal_bound(num_particles: int, power: float, loc: Array) -> Array:
    """By Gauss-Hermite quadrature over one draw, or over pairs."""
    nodes, weights = map(jnp.array, np.polynomial.hermite_e.hermegauss(60))
    weights = weights / jnp.sum(weights)
    z = (loc + 0.8 * nodes)[:, None]
    log_w = jax.vmap(quartic)(z) - normal_guide(loc).log_prob(z)
    if num_particles == 1:
        return jnp.sum(weights * log_w)
    pairs = jnp.logaddexp(power * log_w[:, None], power * log_w[None, :]) - jnp.log(2.0)
    return jnp.sum(weights[:, None] * weights[None, :] * pairs) / power


def coin_bound(num_particles: int, power: float, logit: Array) -> Array:
    """By enumeration."""
    log_q = jnp.stack([jax.nn.log_sigmoid(-logit), jax.nn.log_sigmoid(logit)])
    log_w = jnp.array([-0.4, 1.4]) - log_q
    if num_particles == 1:
        return jnp.sum(jnp.exp(log_q) * log_w)
    pairs = jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)
    return jnp.sum(jnp.exp(log_q[:, None] + log_q[None, :]) * pairs)


def row(
    name: str,
    estimator: variational.Estimator,
    num_particles: int,
    power: float,
    problem: tuple[Callable, Callable, Callable],
) -> str:
    """One line: the exact gradient, the z-score of the mean of many, the variance of one."""
    log_joint, make_guide, bound = problem
    point = jnp.array(0.5)

    def estimate(at: Array, key: Array) -> Array:
        terms = estimator(key, log_joint, make_guide(at), NUM_DRAWS // num_particles)
        return jnp.mean(terms)

    keys = jax.random.split(jax.random.key(1), NUM_KEYS)
    found = np.asarray(jax.jit(jax.vmap(jax.grad(estimate), (None, 0)))(point, keys))
    exact = float(jax.grad(partial(bound, num_particles, power))(point))
    z_score = (found.mean() - exact) / (found.std() / np.sqrt(NUM_KEYS))
    return f"| {name} | {exact:.3f} | {z_score:+.1f} | {found.var():.4f} |"


def table() -> None:
    """Four draws for each gradient, whatever the estimator makes of them."""
    normal = (quartic, normal_guide, normal_bound)
    discrete = (coin, coin_guide, coin_bound)
    v = variational
    print("| normal guide, by its location | gradient | z | variance |\n| --- | --- | --- | --- |")
    for name, estimator, particles, power in [
        ("`pathwise`", v.pathwise, 1, 1.0),
        ("`sticking_the_landing`", v.sticking_the_landing, 1, 1.0),
        ("`analytic_entropy`", v.analytic_entropy, 1, 1.0),
        ("`score`", v.score, 1, 1.0),
        ("`rloo`", v.rloo, 1, 1.0),
        ("`iwae(2)`", v.iwae(2), 2, 1.0),
        ("`dreg(2)`", v.dreg(2), 2, 1.0),
        ("`vimco(2)`", v.vimco(2), 2, 1.0),
        ("`renyi(0.5, 2)`", v.renyi(0.5, 2), 2, 0.5),
    ]:
        print(row(name, estimator, particles, power, normal))
    print("| **coin, by its logit** | | | |")
    for name, estimator, particles in [
        ("`score`", v.score, 1),
        ("`rloo`", v.rloo, 1),
        ("`vimco(2)`", v.vimco(2), 2),
        ("`pathwise`, which drops the score", v.pathwise, 1),
    ]:
        print(row(name, estimator, particles, 1.0, discrete))


EFFECTS = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
TEMPLATE = {"eta": jnp.zeros(8), "mu": 0.0, "tau": 1.0}
SETS = {"eta": constraints.real, "mu": constraints.real, "tau": constraints.positive}


def schools(z: Any) -> Array:
    """Eight schools, non-centred."""

    def normal(x: Array, loc: Any, scale: Any) -> Array:
        return jnp.sum(-(((x - loc) / scale) ** 2) / 2 - jnp.log(jnp.asarray(scale)))

    prior = normal(z["mu"], 0.0, 5.0) + normal(z["tau"], 0.0, 5.0) + normal(z["eta"], 0.0, 1.0)
    return prior + normal(z["mu"] + z["tau"] * z["eta"], EFFECTS, ERRORS)


@partial(jax.jit, static_argnums=2)
def offs(key: Array, guide: Any, weigh: bool) -> Any:
    """How far each mean is from that of NUTS, in posterior standard deviations."""
    w = variational.importance(key, schools, guide, 40_000)
    z = w.draws | {"log_tau": jnp.log(w.draws["tau"])}
    log_weights = w.log_weights if weigh else jnp.zeros_like(w.log_weights)
    means = monte_carlo.weighted(log_weights, z).value
    want = {k: (jnp.array(v["mean"]), jnp.array(v["sd"])) for k, v in NUTS["eight_schools"].items()}
    return {k: jnp.abs(means[k] - want[k][0]) / want[k][1] for k in means}, w.k_hat


def draw(figure: Figure) -> None:
    """The ELBO of two guides as they are fitted, and what is left of their errors."""
    left, right = figure.subplots(1, 2)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 6000))
    starts = {
        "mean-field": variational.mean_field(TEMPLATE, SETS),
        "full rank": variational.full_rank(TEMPLATE, SETS),
    }
    rows = []
    for i, (name, start) in enumerate(starts.items()):
        found = variational.fit_guide(
            jax.random.key(0), schools, start, optimizer=optimizer, max_steps=6000, tol=-1.0
        )
        trace = np.asarray(found.fit.objectives[:-1]).reshape(-1, 100).mean(1)
        left.plot(100 * np.arange(1, 61), trace, color=plots.colors()[i], label=name)
        rows.append((name, *offs(jax.random.key(1), found.guide, False)))
        rows.append((f"{name}, weighted", *offs(jax.random.key(1), found.guide, True)))
    heavy = variational.with_tails(found.guide)
    rows.append(("with tails, weighted", *offs(jax.random.key(1), heavy, True)))
    for name, guide in (("matched", found.guide), ("tails, matched", heavy)):
        moved = variational.match_moments(jax.random.key(2), schools, guide, 40_000)
        rows.append((f"{name}, weighted", *offs(jax.random.key(1), moved, True)))
    left.set(xlabel="step", ylabel="ELBO, nats", ylim=(-16.5, -15.2))
    plots.legend_above(left, columns=2)
    for place, (name, off, k_hat) in enumerate(rows):
        every = np.concatenate([np.atleast_1d(np.asarray(v)) for v in off.values()])
        print(f"{name}: worst {every.max():.3f}, k-hat {k_hat:.2f}")
        right.scatter(every, np.full(every.size, place), s=14, color=plots.ink(), alpha=0.5)
        right.scatter(float(off["log_tau"]), place, s=40, color=plots.colors()[1], zorder=3)
    right.axvline(0.1, color=plots.soft(), linestyle=(0, (4, 2)))
    right.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    right.invert_yaxis()
    right.set_xscale("log")
    right.set_xlabel("off the long NUTS run, posterior sd; log tau in colour")


if __name__ == "__main__":
    table()
    figure = plots.figure(draw, size=(10.4, 3.8))
    (HERE / "images" / "variational.png").write_bytes(plots.png(figure))
