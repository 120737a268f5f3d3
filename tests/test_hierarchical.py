"""Groups under a prior that is fitted, against Newton steps on the evidence and sums over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import gammaln, logsumexp

import likelax as lx
from likelax import constraints, fit
from likelax.model import JointPrior
from likelax.numerics import newton

G = 5
RNG = np.random.default_rng(0)


def stacked(tree, *sizes):
    return jax.tree.map(lambda a: jnp.broadcast_to(jnp.asarray(a), (*sizes, *jnp.shape(a))), tree)


def test_without_latents_it_is_the_maximum_of_the_summed_evidence(x64):
    counts = RNG.poisson(RNG.gamma(4.0, 2.0, G)[:, None], (G, 40))
    prior = lx.Gamma(jnp.array(1.0), jnp.array(0.1))
    node = lx.Hierarchical(lx.Variational(stacked(prior, G), stacked(lx.Poisson(1.0), G)), prior)
    groups = jax.vmap(lambda x: lx.Poisson(1.0).e_step(x)[0])(jnp.asarray(counts))

    def evidence(prior):
        return jax.vmap(prior.log_evidence)(groups).sum()

    want = jax.jit(lambda p: newton.climb(evidence, p, ("concentration", "rate")))(prior)
    found = fit.em(node, counts, tol=1e-13, max_steps=500)
    assert np.all(np.diff(found.objectives[: int(found.num_steps)]) >= -1e-9)
    np.testing.assert_allclose(found.objective, want.value, rtol=1e-9)
    # the objective is flat to 1e-9 where the prior is off by 1e-4
    np.testing.assert_allclose(found.model.prior.concentration, want.point.concentration, rtol=1e-3)
    np.testing.assert_allclose(found.model.prior.mean(), want.point.mean(), rtol=1e-4)
    rates = found.model.groups.posterior.mean()
    apart = counts.mean(axis=1)
    assert np.all(np.abs(rates - apart.mean()) < np.abs(apart - apart.mean()) + 1e-2)


PRIORS = {
    "gamma": lx.Gamma(2.0, 1.5),
    "beta": lx.Beta(2.0, 3.0),
    "dirichlet": lx.Dirichlet(np.array([1.0, 2.0, 0.5])),
    "normal": lx.NormalInverseGamma(0.2, 0.7, 1.5, 2.0),
    "wishart": lx.NormalInverseWishart(np.zeros(2), 0.7, 3.5, np.eye(2) * 1.5),
    "independent": lx.Independent(lx.Beta(np.array([2.0, 1.0]), np.array([3.0, 0.5]))),
    "product": lx.Product({"a": lx.Gamma(2.0, 1.5)}),
    "sticks": lx.StickBreaking(np.array([1.0, 2.0]), np.array([3.0, 0.5])),
}


@pytest.mark.parametrize("name", PRIORS)
def test_at_the_nearest_prior_the_summed_divergence_is_stationary(x64, name):
    prior = jax.tree.map(jnp.asarray, PRIORS[name])
    # posteriors that differ: the prior after statistics of other data, whatever they are
    scatter = jnp.asarray(RNG.uniform(1, 3, G))
    others = jax.vmap(lambda s: jax.tree.map(lambda a: jnp.where(a == 0, s - 2, a * s), prior))(
        scatter
    )
    if name == "wishart":
        others = jax.vmap(
            lambda q, s: lx.NormalInverseWishart(q.loc, q.kappa, q.dof, s * prior.scale)
        )(others, scatter[::-1])
    found = jax.jit(lambda p, q: p.nearest_to(q))(prior, others)

    def parts(p):
        if isinstance(p, lx.Independent):
            return [jax.tree.map(lambda a, d=d: a[..., d], p.component) for d in range(2)]
        return [p.fields["a"]] if isinstance(p, lx.Product) else [p]

    @jax.jit
    @jax.grad
    def slope(flat):
        new = constraints.constrain(unravel(flat))
        pairs = zip(parts(new), parts(others), strict=True)
        return sum(jnp.sum(jax.vmap(lambda q, p=p: q.kl_divergence(p))(q)) for p, q in pairs)

    if name == "sticks":  # it is no density; its fields are free here
        found = lx.StickBreaking(found.alpha, found.beta)
        divergence = jax.grad(lambda p: jnp.sum(jax.vmap(lambda q: q.kl_divergence(p))(others)))
        np.testing.assert_allclose(ravel_pytree(divergence(found))[0], 0, atol=1e-6)
        return
    flat, unravel = ravel_pytree(constraints.unconstrain(found))
    np.testing.assert_allclose(slope(flat), 0, atol=1e-6)


def chains():
    """A node of G chains of two coins, and its prior."""
    rng = np.random.default_rng(1)
    coins = lx.Beta(jnp.array([2.0, 1.0]), jnp.array([1.0, 2.0]))
    prior = lx.HMMPrior(
        lx.Dirichlet(jnp.asarray(rng.uniform(0.5, 2, 2))),
        lx.Dirichlet(jnp.asarray(rng.uniform(0.5, 2, (2, 2)))),
        jax.tree.map(jnp.asarray, coins),
    )
    emissions = lx.Variational(prior.emissions, lx.Bernoulli(jnp.full(2, 0.5)))
    one = lx.VariationalHMM(prior.initial, prior.transition, emissions)
    return lx.Hierarchical(stacked(one, G), prior), rng.integers(0, 2, (G, 4))


def evidence_of_all_paths(prior, x):
    def counted(a, rows, values):
        counts = np.zeros(np.shape(a))
        np.add.at(counts, (rows, values), 1)
        norm = gammaln(np.sum(a, -1)) - gammaln(np.sum(a + counts, -1))
        return np.sum(norm) + np.sum(gammaln(a + counts) - gammaln(a))

    initial = np.asarray(prior.initial.concentration)[None]
    coins = np.stack([prior.emissions.beta, prior.emissions.alpha], axis=-1)
    moves = np.asarray(prior.transition.concentration)
    return logsumexp(
        [
            counted(initial, [0], z[:1]) + counted(moves, z[:-1], z[1:]) + counted(coins, z, x)
            for z in itertools.product(range(2), repeat=len(x))
        ]
    )


@pytest.mark.slow
def test_the_elbo_of_chains_never_falls_and_is_below_the_evidence_of_all_paths(x64):
    node, x = chains()
    found = fit.em(node, x, tol=0.0, max_steps=10)
    assert np.all(np.diff(found.objectives) >= -1e-9)
    for model in (node, found.model):
        evidence = sum(evidence_of_all_paths(model.prior, series) for series in x)
        bound = model.log_prob(x)
        assert evidence - 2 * G < bound < evidence
    np.testing.assert_allclose(found.objective, found.model.log_prob(x), rtol=1e-12)


@pytest.mark.slow
def test_padded_series_and_draws():
    node, x = chains()
    node = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), node)
    stats, bound = node.e_step(x)
    series = lx.Sequences(jnp.pad(jnp.asarray(x), ((0, 0), (0, 1)))[:, None], jnp.full((G, 1), 4))
    np.testing.assert_allclose(node.log_prob(series), bound, rtol=1e-5)
    assert int(node.num_observations(series)) == 4 * G
    assert node.sample(jax.random.key(0), (7,)).shape == (G, 7)
    assert (node.event_ndim, node.free_ndim) == (2, 1)
    assert node.expected_log_prob(stats) < bound  # which has the entropy of the states too
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        node.check_labels("fit", lx.Labelled(jnp.asarray(x), jnp.asarray(x) + 1))


def test_mixtures_of_groups():
    beta = lx.Beta(jnp.ones(2), jnp.array([1.0, 2.0]))
    coins = lx.Variational(beta, lx.Bernoulli(jnp.full(2, 0.5)))
    weights = lx.StickBreaking.process(1.0, 2)
    mixture = stacked(lx.VariationalMixture(weights, coins), G)
    node = lx.Hierarchical(mixture, lx.MixturePrior(weights, beta))
    found = fit.em(node, RNG.integers(0, 2, (G, 6)), max_steps=3)
    assert np.all(np.diff(found.objectives) >= -1e-4)  # float32


class Unfitted(JointPrior):
    def posterior(self, stats):
        return self


def test_what_does_not_fit_is_refused():
    node, x = chains()
    alone = lx.Variational(lx.Gamma(1.0, 1.0), lx.Poisson(1.0))
    for call, sentence in (
        (lambda: node.log_prob(x[:2]), f"x must have the leading axis G = {G}"),
        (
            lambda: lx.Hierarchical(alone, alone.posterior).log_prob(x),
            "leading axis G >= 1 of one",
        ),
        (lambda: fit.em(node, x, prior=node.prior), "leave prior out"),
        (lambda: fit.em(node, x, weights=jnp.ones(())), "leave weights out"),
        (lambda: fit.em(node, x + 2), "probability zero"),
        (lambda: Unfitted().nearest_to(Unfitted()), "Unfitted cannot be fitted to groups"),
    ):
        with pytest.raises((ValueError, TypeError), match=sentence):
            call()
