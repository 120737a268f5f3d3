"""The targets of the ELBO benchmark, by name, with data that depend on nothing but the name.

`make_elbo_problems.py` keeps what a long NUTS run says of each, and the best bounds of long fits.
"""

import json
import pathlib
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import HMM, Mixture, Normal
from reference import elbo_targets as targets

PATH = pathlib.Path(__file__).with_suffix(".json")
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)
NUM_CHECK = 4096


class Problem(NamedTuple):
    """A log joint over R^D.

    Attributes:
      log_joint: a point (D,) -> scalar, nats.
      dim: D.
      kind: "Gaussian", "regression", "other", or "no normal" where a high k-hat is the right answer.
      moments: means and standard deviations (D,) of the posterior in closed form, or None.
      target: a `Gaussian` or `Regression`, whose bounds are known without draws, or None.
      other: (a log joint of other coordinates in which NUTS runs, its draws -> points z), or None.
    """

    log_joint: Callable[[Array], Array]
    dim: int
    kind: str
    moments: tuple[np.ndarray, np.ndarray] | None = None
    target: Any = None
    other: tuple[Callable[[Array], Array], Callable[[Array], Array]] | None = None


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


def centre(z: Array) -> Array:
    """Draws (..., 10) of `schools` as draws of `schools_centred`."""
    effects = z[..., 8:9] + jnp.exp(z[..., 9:]) * z[..., :8]
    return jnp.concatenate([effects, z[..., 8:]], axis=-1)


def item_response(rng: np.random.Generator) -> Problem:
    """Two-parameter item response: 40 people, 15 items."""
    ability, difficulty = rng.normal(size=40), rng.normal(size=15)
    chance = 1 / (1 + np.exp(-(ability[:, None] - difficulty[None])))
    right = (rng.random((40, 15)) < chance).astype(np.float32)

    def log_joint(z: Array) -> Array:
        people, items, log_slope = z[:40], z[40:55], z[55:]
        logits = jnp.exp(log_slope)[None] * (people[:, None] - items[None])
        prior = normal(people, 0.0, 1.0) + normal(items, 0.0, 1.0) + normal(log_slope, 0.0, 0.5)
        return prior + jnp.sum(right * logits - jax.nn.softplus(logits))

    return Problem(log_joint, 70, "other")


def radon(rng: np.random.Generator) -> Problem:
    """Normal outcomes in 40 counties: intercepts, a common slope, two log scales."""
    county, floor = rng.integers(0, 40, 300), rng.integers(0, 2, 300).astype(np.float32)
    y = 1.3 + 0.4 * rng.normal(size=40)[county] - 0.6 * floor + 0.7 * rng.normal(size=300)
    y = y.astype(np.float32)

    def log_joint(z: Array) -> Array:
        a, b, log_tau, log_sigma, effect = z[0], z[1], z[2], z[3], z[4:]
        prior = normal(z[:2], 0.0, 3.0) + normal(z[2:4], 0.0, 1.0)
        prior = prior + normal(effect, 0.0, jnp.exp(log_tau))
        return prior + normal(y, a + b * floor + effect[county], jnp.exp(log_sigma))

    return Problem(log_joint, 44, "other")


def mixture(rng: np.random.Generator) -> Problem:
    """Two normal components, labels summed exactly: means, log scales, logit of the share."""
    points = np.concatenate([rng.normal(-2, 1, 60), rng.normal(2, 0.7, 40)]).astype(np.float32)
    centre = np.array([-2.0, 2.0, 0.0, 0.0, 0.0], np.float32)

    def log_joint(z: Array) -> Array:
        share = jax.nn.sigmoid(z[4])
        model = Mixture(jnp.stack([share, 1 - share]), Normal(z[:2], jnp.exp(z[2:4])))
        return jnp.sum(model.log_prob(points)) + normal(z, centre, 1.0)

    return Problem(log_joint, 5, "other")


def chain(rng: np.random.Generator) -> Problem:
    """A hidden Markov model with two states, the path summed exactly."""
    series = np.repeat([-2.0, 2.0, -2.0, 2.0], 25) + rng.normal(size=100)
    series = series.astype(np.float32)
    centre = np.array([-2.0, 2.0, 0.0, 0.0, 0.0, 0.0], np.float32)

    def log_joint(z: Array) -> Array:
        stay = jax.nn.sigmoid(z[4:6] + 2)
        rows = jnp.stack([jnp.stack([stay[0], 1 - stay[0]]), jnp.stack([1 - stay[1], stay[1]])])
        model = HMM(jnp.array([0.5, 0.5]), rows, Normal(z[:2], jnp.exp(z[2:4])))
        return model.log_prob(series) + normal(z, centre, 1.0)

    return Problem(log_joint, 6, "other")


def funnel(z: Array) -> Array:
    """Neal's funnel: no normal is near it."""
    return normal(z[0], 0.0, 3.0) + normal(z[1:], 0.0, jnp.exp(z[0] / 2))


def banana(z: Array) -> Array:
    """A bent normal."""
    return normal(z[0], 0.0, 10.0) + normal(z[1] + 0.03 * z[0] ** 2 - 3, 0.0, 1.0)


# E exp(z[0]) = exp(9 / 2); E (0.03 z[0]^2)^2 - E^2 = 2 (0.03 100)^2
FUNNEL = np.zeros(10), np.array([3.0] + 9 * [np.exp(9 / 4)])
BANANA = np.zeros(2), np.array([10.0, 19**0.5])
GAUSSIANS = (
    (2, 1.0), (8, 1e4), (16, 1e4), (32, 1e2), (32, 1e4), (64, 1e2), (64, 1e6), (256, 1e4)
)  # fmt: skip
REGRESSIONS = (
    ("logistic", 500, 20, 30.0), ("logistic", 30, 40, 30.0), ("poisson", 200, 10, 30.0),
    ("poisson", 30, 40, 30.0), ("negative binomial", 300, 20, 30.0), ("negative binomial", 30, 40, 3.0),
)  # fmt: skip


def problems() -> dict[str, Callable[[], Problem]]:
    """Name -> a function that makes the problem."""
    found: dict[str, Callable[[], Problem]] = {}

    def add(name: str, make: Callable[[np.random.Generator], Problem]) -> None:
        found[name] = lambda: make(np.random.default_rng(zlib.crc32(name.encode())))

    for dim, condition in GAUSSIANS:
        add(f"Gaussian, D {dim}, condition {condition:g}", _gaussian(dim, condition))
    for kind, num, dim, scale in REGRESSIONS:
        add(
            f"{kind} regression {num} x {dim}, scales 1 to {scale:g}",
            _regression(kind, num, dim, scale),
        )
    for groups in (8, 50, 200, 1000):
        for centred in (False, True):
            word = "centred" if centred else "not centred"
            add(f"Poisson regression, {groups} groups, {word}", _hierarchy(groups, centred))
    add("eight schools, not centred", lambda rng: Problem(schools, 10, "other"))
    add(
        "eight schools, centred",
        lambda rng: Problem(schools_centred, 10, "other", other=(schools, centre)),
    )
    for name, make in (
        ("radon-like, 40 counties", radon),
        ("item response, 40 x 15", item_response),
        ("mixture, labels summed", mixture),
        ("hidden Markov model, path summed", chain),
    ):
        add(name, make)
    add("funnel", lambda rng: Problem(funnel, 10, "no normal", FUNNEL))
    add("banana", lambda rng: Problem(banana, 2, "no normal", BANANA))
    return found


def _gaussian(dim: int, condition: float) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        target = targets.gaussian(rng, dim, condition, 0.0)
        covariance = np.linalg.inv(np.asarray(target.precision, np.float64))
        moments = np.asarray(target.loc, np.float64), np.sqrt(np.diag(covariance))
        return Problem(target.log_joint, dim, "Gaussian", moments, target)

    return make


def _regression(
    kind: str, num: int, dim: int, scale: float
) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        target = targets.regression(rng, kind, num, dim, scale)
        return Problem(target.log_joint, dim, "regression", target=target)

    return make


def _hierarchy(groups: int, centred: bool) -> Callable[[np.random.Generator], Problem]:
    return lambda rng: Problem(
        targets.hierarchy(rng, groups, centred).log_joint, groups + 3, "other"
    )


def judge(problem: Problem) -> Callable[[Array, Array], float]:
    """(loc, tril) -> the ELBO of a normal guide: exact, or from the same 4096 draws each time."""
    if problem.target is not None:
        return lambda loc, tril: _exact(problem.target, loc, tril)
    # a generator whose stream NumPy froze
    half = np.random.RandomState(99).standard_normal((NUM_CHECK // 2, problem.dim))
    draws = jnp.asarray(np.concatenate([half, -half]), jnp.zeros(()).dtype)

    @jax.jit
    def bound(loc: Array, tril: Array) -> Array:
        points = loc[None] + jnp.matmul(draws, tril.T, precision="highest")
        log_p = jax.lax.map(problem.log_joint, points, batch_size=1024)
        log_volume = jnp.sum(jnp.log(jnp.diagonal(tril))) + problem.dim * targets.LOG_2PI / 2
        return jnp.mean(log_p) + jnp.mean(jnp.sum(draws**2, axis=1)) / 2 + log_volume

    return lambda loc, tril: float(bound(loc, tril))


def _exact(target: Any, loc: Array, tril: Array) -> float:
    with np.errstate(all="ignore"):
        value = target.elbo(np.asarray(loc, np.float64), np.asarray(tril, np.float64))
    return float(value) if np.isfinite(value) else -np.inf


def kept() -> dict[str, Any]:
    """What `make_elbo_problems.py` found, by name of the problem."""
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found
