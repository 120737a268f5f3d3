"""The table of families: laws of conjugate and variational pairs, and a family added to it."""

import importlib.util
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from laws import LAWS
from likelax.families.registry import FAMILIES
from nodes import case_of

ROOT = Path(__file__).parents[2]
PAIRS = [entry for entry in FAMILIES if entry.prior is not None]
# priors whose expected log likelihood has no closed form here
NOT_VARIATIONAL = {"LinearRegression", "UniformFromZero"}


def in_float64(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def test_every_family_is_exported():
    names = [entry.name for entry in FAMILIES]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert set(names) == set(lx.families.__all__) <= set(lx.__all__)
    for entry in FAMILIES:
        assert getattr(lx, entry.name) is getattr(lx.families, entry.name) is entry.family
        assert type(entry.example()) is entry.family


def test_no_family_is_left_out():
    """Every public density in a file of families has an entry."""
    listed = {entry.family for entry in FAMILIES}
    abstract = {"Prior", "Distribution", "Estimable", "Family", "Regression"}
    abstract |= {"OnLine", "Counts"}

    def below(cls):
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    found = {
        cls
        for cls in below(lx.Density)
        if cls.__module__.startswith("likelax.families.") and not cls.__name__.startswith("_")
    }
    assert {cls.__name__ for cls in found - listed} <= abstract


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("entry", FAMILIES, ids=lambda e: e.name)
def test_draws_of_an_example_are_possible(entry):
    model = entry.example()
    x = entry.draw(model, jax.random.key(0), (5,))
    if (
        entry.family in (lx.NormalInverseGamma, lx.NormalInverseWishart)
        or entry.name.startswith("Matrix")
        or entry.family is lx.RidgePrior
    ):
        log_prob = jax.vmap(model.log_prob)(x)
    else:
        log_prob = model.log_prob(x)
    assert log_prob.shape == (5,) and np.all(np.isfinite(log_prob))


def bayes_rule(entry):
    """log prior + log likelihood - log posterior is the log evidence, whatever the parameter."""
    model, prior = in_float64(entry.example()), in_float64(entry.prior())
    x = (
        in_float64(entry.draw(model, jax.random.key(1), (6,)))
        if entry.inputs
        else entry.draw(model, jax.random.key(1), (6,))
    )
    stats, log_lik = model.e_step(x)
    value = model.parameter()
    terms = jnp.sum(prior.log_prob(value)) + log_lik
    got = terms - jnp.sum(prior.posterior(stats).log_prob(value))
    np.testing.assert_allclose(got, jnp.sum(prior.log_evidence(stats)), rtol=1e-9)


def elbo_of_the_posterior(entry):
    """E_q[log p(x | v)] - KL(q || prior) at q = posterior is the log evidence."""
    model, prior = in_float64(entry.example()), in_float64(entry.prior())
    x = entry.draw(model, jax.random.key(1), (6,))
    stats, _ = model.e_step(x)
    after = prior.posterior(stats)
    elbo = after.expected_log_likelihood(stats) - after.kl_divergence(prior)
    np.testing.assert_allclose(jnp.sum(elbo), jnp.sum(prior.log_evidence(stats)), rtol=1e-9)
    fit = lx.fit.em(lx.Variational(prior, model), x, prior=prior)
    np.testing.assert_allclose(fit.objectives[-1], jnp.sum(elbo), rtol=1e-9)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("entry", PAIRS, ids=lambda e: e.name)
def test_bayes_rule_holds_for_every_pair(x64, entry):
    bayes_rule(entry)


@pytest.mark.parametrize(
    "entry",
    [e for e in PAIRS if e.name not in {*NOT_VARIATIONAL, "MvBernoulli"}],
    ids=lambda e: e.name,
)
def test_the_elbo_at_the_posterior_is_the_evidence(x64, entry):
    elbo_of_the_posterior(entry)


@pytest.mark.parametrize(
    "entry", [e for e in PAIRS if e.name in NOT_VARIATIONAL], ids=lambda e: e.name
)
def test_other_priors_say_that_they_have_no_closed_form(entry):
    model, prior = entry.example(), entry.prior()
    stats, _ = model.e_step(entry.draw(model, jax.random.key(1), (6,)))
    with pytest.raises(TypeError, match="no closed form here"):
        prior.expected_log_likelihood(stats)


@pytest.fixture(scope="module")
def added():
    """The entry of the page "Add a family", made from its first two blocks alone."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    page = (ROOT / "docs" / "add_a_family.md").read_text(encoding="utf-8")
    names = {"__name__": "a_user"}
    for _, source, _ in build.blocks(page)[:2]:
        exec(source, names)
    return names["entry"]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_family_of_the_page_obeys_every_law(x64, added, law):
    law(case_of(added))


def test_the_family_of_the_page_is_conjugate_and_variational(x64, added):
    bayes_rule(added)
    elbo_of_the_posterior(added)


def test_the_family_of_the_page_is_a_component_and_an_emission(x64, added):
    pair = added.family(jnp.array([0.5, 3.0]))
    x = added.draw(added.example(), jax.random.key(0), (4, 10))
    each = jax.vmap(lambda m: m.log_prob(x), out_axes=-1)(pair)
    mixture = lx.Mixture(jnp.array([0.4, 0.6]), pair)
    want = np.log(np.exp(each) @ np.array([0.4, 0.6]))
    np.testing.assert_allclose(mixture.log_prob(x), want, rtol=1e-10)
    moves = jnp.array([[0.9, 0.1], [0.2, 0.8]])
    chain = lx.HMM(jnp.array([0.5, 0.5]), moves, pair)
    for node, data in ((mixture, x.reshape(-1)), (chain, x)):
        fit = lx.fit.em(node, data, max_steps=20)
        assert np.all(np.diff(fit.objectives) >= 0) and np.isfinite(fit.objectives[-1])
        stats, _ = node.e_step(data)
        got = jax.grad(lambda m, s=stats: m.expected_log_prob(s))(node)
        want = jax.grad(lambda m, d=data: m.log_prob(d).sum())(node)
        chex.assert_trees_all_close(got, want, rtol=1e-8, atol=1e-8)
