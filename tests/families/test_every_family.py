"""Laws of every family and prior that need no data of their own, at generated parameters, in float64.

Each law ties one method to another: draws to densities, modes to densities, posteriors to evidence.
"""

import dataclasses
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax.families.registry import FAMILIES, Entry
from nestings import near

NUM_DRAWS = 20_000
SIGMAS = 5.5  # a mean of draws is farther off with probability 4e-8
# the support moves with a parameter, so that the score has another mean than zero
SHARP = ("Delta", "GammaPareto", "Pareto", "Uniform", "UniformFromZero")
# the same families with parameters whose support lies within that of the example
NARROWER = {
    "GammaPareto": {"concentration": 8.3, "rate": 2.0, "scale": 1.8},
    "Pareto": {"scale": 1.8, "shape": 5.8},
    "Uniform": {"low": -0.3, "high": 1.5},
    "UniformFromZero": {"high": 1.5},
}
# a direction; the shares of the codes; a variance per target; a scale that multiplies any shape
ODD_MOMENTS = ("VonMises", "Categorical", "RidgePrior")
# `expected_log_prob` leaves out terms without parameters, or is a bound, as the docstrings say
PART = ("LogisticRegression", "MvStudentT", "NegativeBinomialRegression", "NoisyNormal")
PART += ("PoissonRegression", "SoftmaxRegression", "StudentT", "Weibull")
PART += ("BetaBinomial", "BetaNegativeBinomial", "DirichletMultinomial", "GammaGamma")
PART += ("GammaPoisson", "Lomax")
each_family = pytest.mark.parametrize("entry", FAMILIES, ids=lambda entry: entry.name)


def moved(example: Any, name: str) -> Any:
    """An instance near the example: no zero mean, no identity."""
    model = near(example, np.random.default_rng(zlib.crc32(name.encode())), ())
    if "Wishart" in name:  # so that the error of a variance has a moment
        model = dataclasses.replace(model, dof=model.dof + 10)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), model)


def instance(entry: Entry) -> Any:
    return moved(entry.example(), entry.name)


def has(model: Any, name: str) -> bool:
    return callable(getattr(model, name, None))


def assert_mean(values: Any, want: Any) -> None:
    """The mean over the first axis is right to `SIGMAS` standard errors, entry by entry."""
    values, want = np.asarray(values), np.asarray(want)
    error = values.std(0) / np.sqrt(len(values))
    far = np.abs(values.mean(0) - want) > SIGMAS * error + 1e-9 * (1 + np.abs(want))
    assert not far.any(), f"{values.mean(0)} for {want}, standard error {error}"


@pytest.mark.sampled(0.3)
@each_family
def test_draws_have_the_density_and_the_moments_of_the_family(entry, x64):
    """The score has mean zero; where the support moves, the ratio of a narrower density has mean one."""
    model = entry.example() if entry.name in SHARP else instance(entry)
    within = entry.family(**NARROWER[entry.name]) if entry.name in NARROWER else model

    def on_draws(model):
        x = entry.draw(model, jax.random.key(1), (NUM_DRAWS,))
        own = jax.vmap(model.log_prob)(x)
        score = jax.vmap(lambda row: jax.grad(lambda m: m.log_prob(row))(model))(x)
        moments = None
        if entry.name not in ODD_MOMENTS and entry.inputs is None:
            mean, values = model.mean(), jax.tree.map(lambda leaf: leaf.astype(float), x)
            squares = jax.tree.map(lambda leaf, m: (leaf - m[None]) ** 2, values, mean)
            moments = (values, mean, squares, model.variance() if has(model, "variance") else None)
        return jnp.exp(jax.vmap(within.log_prob)(x) - own), own, score, moments

    weight, own, score, moments = jax.jit(on_draws)(model)
    assert np.all(own > -np.inf)
    assert_mean(weight, 1.0)
    if entry.name not in SHARP:
        for role, leaf in zip(lx.parameters.roles(model), jax.tree.leaves(score), strict=True):
            if role.constraint.name == "simplex":  # only differences count
                leaf = leaf - jnp.mean(leaf, axis=(0, -1))
            if role.moves:
                assert_mean(leaf, 0.0)
    if moments is not None:
        values, mean, squares, variance = map(jax.tree.leaves, moments)
        for leaf, want in zip(values + squares[: len(variance)], mean + variance, strict=True):
            if np.all(np.isfinite(want)):
                assert_mean(leaf, want)


@pytest.mark.parametrize(
    "entry", [e for e in FAMILIES if hasattr(e.family, "mode")], ids=lambda e: e.name
)
def test_the_mode_is_the_highest_point(entry, x64):
    """The density falls from the mode towards any draw: all supports here are convex."""
    model = instance(entry)

    def on_draws(model):
        mode = model.mode()
        draws = model.sample(jax.random.key(2), (50,))

        def towards(share, draw):
            mixed = jax.tree.map(lambda a, b: (1 - share) * jnp.asarray(a) + share * b, mode, draw)
            return model.log_prob(mixed)

        shares = jnp.array([1e-4, 1e-2, 0.3, 1.0])
        each = jax.vmap(lambda draw: jax.vmap(lambda share: towards(share, draw))(shares))
        return model.log_prob(mode), each(draws)

    top, others = jax.jit(on_draws)(model)
    assert np.all(others <= top + 1e-9)


@pytest.mark.parametrize(
    "prior, mode",
    [
        (lx.Dirichlet(jnp.array([0.5, 3.0, 2.0])), [0, 2 / 3, 1 / 3]),
        (lx.Dirichlet(jnp.array([1.0, 3.0, 2.0])), [0, 2 / 3, 1 / 3]),
        (lx.Dirichlet(jnp.array([0.5, 0.5, 1.0])), [0.25, 0.25, 0.5]),
        (lx.Beta(0.5, 3.0), 0),
        (lx.Beta(3.0, 0.5), 1),
        (lx.Beta(0.5, 1.5), 0),
        (lx.Gamma(0.5, 2.0), 0),
    ],
    ids=str,
)
def test_a_mode_at_a_pole_or_an_edge(prior, mode):
    np.testing.assert_allclose(prior.mode(), mode, rtol=1e-6)


@pytest.mark.parametrize(
    "entry", [e for e in FAMILIES if issubclass(e.family, lx.Model)], ids=lambda e: e.name
)
def test_expected_log_prob_is_the_log_prob_of_the_data(entry, x64):
    model = instance(entry)

    def both(model):
        x = entry.draw(model, jax.random.key(4), (7,))
        stats, log_prob = model.e_step(x, weights)
        return log_prob, model.expected_log_prob(stats), jnp.sum(weights * model.log_prob(x))

    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.25])
    reported, expected, total = jax.jit(both)(model)
    np.testing.assert_allclose(reported, total, rtol=1e-9)
    if entry.name not in PART:
        np.testing.assert_allclose(expected, total, rtol=1e-9)


@pytest.mark.parametrize(
    "entry", [e for e in FAMILIES if e.prior is not None], ids=lambda e: e.name
)
def test_bayes_theorem(entry, x64):
    """log p(theta | x) = log p(theta) + log p(x | theta) - log p(x), and MAP is its highest point."""
    model = instance(entry)
    prior = moved(entry.prior(), type(entry.prior()).__name__)
    weights = jnp.array([1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0])

    def sides(model, prior):
        x = entry.draw(model, jax.random.key(5), (7,))
        stats, log_lik = model.e_step(x, weights)
        best = model.m_step(stats, prior)

        def joint(share):
            moved = jax.tree.map(lambda a, b: (1 - share) * a + share * b, best, model)
            return jnp.sum(weights * moved.log_prob(x)) + moved.log_prior(prior)

        right = model.log_prior(prior) + log_lik - jnp.sum(prior.log_evidence(stats))
        others = jax.vmap(joint)(jnp.array([1e-3, 0.1, 0.5, 1.0]))
        return model.log_prior(prior.posterior(stats)), right, joint(0.0), others

    left, right, best, others = jax.jit(sides)(model, prior)
    np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-8)
    assert np.all(others <= best + 1e-9)


@pytest.mark.parametrize(
    "model, x, want",
    [
        (lx.GammaGamma(2.0, 3.0, 1.0), 0.0, np.log(2 / 3)),
        (lx.GammaGamma(2.0, 3.0, 2.0), 0.0, -np.inf),
        (lx.Gamma(1.0, 2.0), 0.0, np.log(2)),
        (lx.Beta(1.0, 3.0), 0.0, np.log(3)),
        (lx.Beta(3.0, 1.0), 1.0, np.log(3)),
        (lx.Dirichlet(jnp.array([1.0, 2.0, 1.0])), jnp.array([0.0, 1.0, 0.0]), np.log(6)),
        (lx.Lomax(2.0, 4.0), 0.0, np.log(0.5)),
        (lx.Weibull(shape=1.0, scale=2.0), 0.0, np.log(0.5)),
    ],
    ids=str,
)
def test_the_density_at_an_end_is_its_limit(model, x, want):
    np.testing.assert_allclose(model.log_prob(x), want, rtol=1e-5)
