"""What a model holds stays bit-equal under every fit, and what is tied stays equal."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import HMM, Fixed, Mixture, Product, Tied, fit
from likelax.families import (
    Binomial,
    GammaKnownShape,
    MvNormal,
    NegativeBinomial,
    Normal,
    NormalKnownLoc,
    NormalKnownScale,
    Poisson,
    StudentT,
)

rng = np.random.default_rng(0)
REALS = jnp.asarray(rng.normal(0, 2, 8), jnp.float32)
PLANE = jnp.asarray(rng.normal(0, 2, (8, 2)), jnp.float32)
COUNTS = jnp.asarray(rng.integers(0, 8, 8))
SHARES = jnp.array([0.3, 0.7])  # none of these numbers survives a logarithm and an exponential
NORMALS = Normal(jnp.array([-1.1, 1.3]), jnp.array([0.9, 1.7]))
TIED = Tied(Normal(jnp.array([-1.1, 1.3]), jnp.array([0.9, 0.9])))
COUNTERS = Poisson(jnp.array([1.7, 4.3]))
MOVES = jnp.array([[0.9, 0.1], [0.3, 0.7]])


class Case(NamedTuple):
    """A model with data, and by hand: the leaves that are held, and those tied over axis 0."""

    model: Any
    x: Any
    held: Callable[[Any], list[Any]]
    tied: Callable[[Any], list[Any]] = lambda model: []


PAIR = Product((TIED, COUNTERS))
CASES = {
    "mixture of Fixed": Case(
        Mixture(SHARES, Fixed(NORMALS)), REALS, lambda m: jax.tree.leaves(m.components)
    ),
    "mixture of a product with a Fixed field": Case(
        Mixture(SHARES, Product((Fixed(NORMALS), COUNTERS))),
        (REALS, COUNTS),
        lambda m: jax.tree.leaves(m.components.fields[0]),
    ),
    "StudentT": Case(StudentT(2.7, 0.0, 1.0), REALS, lambda m: [m.dof]),
    "NormalKnownScale": Case(NormalKnownScale(0.3, 1.3), REALS, lambda m: [m.scale]),
    "NormalKnownLoc": Case(NormalKnownLoc(0.3, 1.3), REALS, lambda m: [m.loc]),
    "GammaKnownShape": Case(GammaKnownShape(1.3, 0.7), jnp.exp(REALS), lambda m: [m.concentration]),
    "Binomial": Case(Binomial(probs=0.3, total_count=10), COUNTS, lambda m: [m.total_count]),
    "NegativeBinomial": Case(
        NegativeBinomial(probs=0.3, total_count=4.7), COUNTS, lambda m: [m.total_count]
    ),
    "HMM with a Fixed start": Case(
        HMM(Fixed(SHARES), MOVES, NORMALS), REALS, lambda m: [m.initial.model]
    ),
    "HMM with a Fixed transition": Case(
        HMM(SHARES, Fixed(MOVES), NORMALS), REALS, lambda m: [m.transition.model]
    ),
    "HMM with Fixed emissions": Case(
        HMM(SHARES, MOVES, Fixed(NORMALS)), REALS, lambda m: jax.tree.leaves(m.emissions)
    ),
    "mixture of Tied": Case(
        Mixture(
            SHARES,
            Tied(MvNormal(jnp.array([[-1.0, 0], [1, 0]]), jnp.stack([0.9 * jnp.eye(2)] * 2))),
        ),
        PLANE,
        lambda m: [],
        lambda m: [m.components.model.scale_tril],
    ),
    "mixture of a product with a Tied field": Case(
        Mixture(SHARES, PAIR),
        (REALS, COUNTS),
        lambda m: [],
        lambda m: [m.components.fields[0].model.scale],
    ),
    "HMM of a product with a Tied field": Case(
        HMM(SHARES, MOVES, PAIR),
        (REALS, COUNTS),
        lambda m: [],
        lambda m: [m.emissions.fields[0].model.scale],
    ),
}

# weight decay moves every number that it sees
DECAY = optax.adamw(0.1, weight_decay=0.1)
ASCENT = {"optimizer": DECAY, "max_steps": 4, "window": 2, "tol": -1.0}


def noisy(x):
    return lambda key, model: jnp.sum(model.log_prob(x)) * (1 + 0.1 * jax.random.normal(key))


FITS = {
    "em": lambda m, x: fit.em(m, x, max_steps=3, tol=-1.0).model,
    "squarem": lambda m, x: fit.squarem(m, x, max_steps=5, tol=-1.0).model,
    "mle": fit.mle,
    "restarts": lambda m, x: (
        fit.restarts(jax.random.key(0), lambda k: m, x, num_restarts=2, max_steps=2).model
    ),
    "sweep": lambda m, x: jax.tree.map(
        lambda leaf: leaf[0],
        fit.sweep(
            jax.random.key(0), lambda k, n: m, x, sizes=[2], num_restarts=1, max_steps=2
        ).model,
    ),
    "stream": lambda m, x: fit.stream(m, lambda: [x, x], max_passes=2).model,
    "stepwise": lambda m, x: list(fit.stepwise(m, [x, x]))[-1][0],
    "implicit": lambda m, x: fit.implicit(m, x, max_steps=3),
    "gradient": lambda m, x: fit.gradient(m, x, **ASCENT).model,
    "maximize": lambda m, x: fit.maximize(lambda m: jnp.sum(m.log_prob(x)), m, **ASCENT).model,
    "maximize_lbfgs": lambda m, x: (
        fit.maximize_lbfgs(lambda m: jnp.sum(m.log_prob(x)), m, max_steps=3).model
    ),
    "maximize_noisy": lambda m, x: (
        fit.maximize_noisy(jax.random.key(0), noisy(x), m, **ASCENT).model
    ),
}


def often(name, how):
    """Every model under one fit of each kind, every fit on one model of each kind."""
    hard = {"mixture of a product with a Fixed field", "mixture of a product with a Tied field"}
    return how in ("em", "gradient") or (name in hard and how != "maximize_lbfgs")


def test_a_tied_component_without_data_follows_the_others():
    loc, scale = jnp.array([0.0, -1.0, 1.0]), jnp.full(3, 0.9)
    start = Mixture(jnp.array([0.0, 0.4, 0.6]), Tied(Normal(loc, scale)))
    got = fit.em(start, REALS).model
    alone = Mixture(start.weights[1:], Tied(Normal(loc[1:], scale[1:])))
    want = fit.em(alone, REALS).model.components.model.scale[0]
    np.testing.assert_allclose(got.components.model.scale, jnp.full(3, want), rtol=1e-5)
    assert got.components.model.loc[0] == 0


GRID = [
    pytest.param(name, how, marks=[] if often(name, how) else pytest.mark.slow)
    for name in CASES
    for how in FITS
]


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(("name", "how"), GRID)
def test_held_leaves_stay_bit_equal_and_tied_ones_equal(name, how):
    case = CASES[name]
    got = FITS[how](case.model, case.x)
    for before, after in zip(case.held(case.model), case.held(got), strict=True):
        before, after = np.asarray(jnp.asarray(before)), np.asarray(after)
        assert (after.dtype, after.tobytes()) == (before.dtype, before.tobytes())
    for leaf in case.tied(got):
        np.testing.assert_array_equal(leaf[0], leaf[1])
    # the fit did something
    pairs = zip(jax.tree.leaves(case.model), jax.tree.leaves(got), strict=True)
    assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs)
