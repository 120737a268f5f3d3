"""Components of different types that share a spread: `OneOf` of `Tied` options."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import likelax as lx
from likelax import fit
from likelax.mixture import MixturePrior
from likelax.one_of import OneOf
from likelax.parameters import to_vector
from likelax.variational_node import Variational, VariationalMixture
from likelax.wrappers import Tied

X = np.array([-2.1, -1.4, 0.3, 1.2, 4.0, 5.5])
SHARED = (0.5, 0.4, 2.0, 3.0)  # loc, kappa, alpha, beta
APART = (4.0, 0.3, 1.5, 0.7)


def gammas(parameters, size):
    return lx.NormalInverseGamma(*(jnp.full(size, float(p)) for p in parameters))


def log_evidence(groups, loc, kappa, alpha, beta):
    """log p of groups of numbers with a mean each and one variance, both integrated out."""
    rest, log_p, total = beta, 0.0, 0
    for x in (np.asarray(group) for group in groups):
        if size := len(x):
            pull = kappa * size / (kappa + size) * (x.mean() - loc) ** 2
            rest += (np.sum((x - x.mean()) ** 2) + pull) / 2
            log_p += np.log(kappa / (kappa + size)) / 2 - size * np.log(2 * np.pi) / 2
            total += size
    end = alpha + total / 2
    log_p += special.gammaln(end) - special.gammaln(alpha)
    return log_p + alpha * np.log(beta) - end * np.log(rest)


def exact_evidence():
    """log p(X) over all labels: the first two components share a variance, the third has its own."""
    terms = []
    for labels in itertools.product(range(3), repeat=len(X)):
        groups = [X[np.array(labels) == k] for k in range(3)]
        counts = np.array([len(g) for g in groups])
        log_labels = np.sum(special.gammaln(1 + counts)) + special.gammaln(3)
        log_labels -= special.gammaln(3 + len(X))
        shared, apart = log_evidence(groups[:2], *SHARED), log_evidence(groups[2:], *APART)
        terms.append(log_labels + shared + apart)
    return special.logsumexp(terms)


def variational_mixture(components):
    return VariationalMixture(lx.Dirichlet(jnp.ones(3)), components)


def steps_of(model, prior, labels, num_steps):
    """The model after each step of EM from labels, and its ELBO."""
    model = fit.from_labels(model, X, labels, prior=prior)

    @jax.jit
    def step(model):
        stats, log_prob = model.e_step(X)
        return model.m_step(stats, prior), log_prob + model.log_prior(prior)

    elbos = []
    for _ in range(num_steps):
        model, elbo = step(model)
        elbos.append(float(elbo))
    return model, elbos


def normals(parameters):
    return Variational(gammas(parameters, 3), lx.Normal(jnp.zeros(3), jnp.ones(3)))


def test_the_bound_of_tied_options_is_below_the_evidence_and_rises(x64):
    components = OneOf(jnp.array([0, 0, 1]), (Tied(normals(SHARED)), normals(APART)))
    # the priors of copies that no component chose have no part in it
    strange = lx.NormalInverseGamma(
        *(a.at[2].set(50.0) for a in jax.tree.leaves(gammas(SHARED, 3)))
    )
    evidence = exact_evidence()
    found = []
    for shared in (gammas(SHARED, 3), strange):
        prior = MixturePrior(lx.Dirichlet(jnp.ones(3)), (shared, gammas(APART, 3)))
        model, elbos = steps_of(variational_mixture(components), prior, [0, 0, 1, 1, 2, 2], 12)
        assert np.all(np.diff(elbos) >= -1e-10)
        assert evidence - 2.5 < elbos[-1] < evidence
        found.append(elbos)
    np.testing.assert_allclose(*found, rtol=1e-12)
    q = model.components.options[0].model.posterior
    np.testing.assert_allclose(q.alpha[0], q.alpha[1], rtol=1e-12)
    # the same divergences, written out
    over = -model.weights.kl_divergence(prior.weights)
    for options, parameters, which in ((q, SHARED, (0, 1)), (
        model.components.options[1].posterior, APART, (2,))):  # fmt: skip
        loc, kappa, alpha, beta = (np.asarray(a) for a in jax.tree.leaves(options))
        loc0, kappa0, alpha0, beta0 = parameters
        for k in which:
            ratio, square = kappa0 / kappa[k], kappa0 * alpha[k] / beta[k] * (loc[k] - loc0) ** 2
            over -= (ratio - 1 - np.log(ratio) + square) / 2
        a, b = alpha[which[0]], beta[which[0]]
        over -= (a - alpha0) * special.digamma(a) - special.gammaln(a) + special.gammaln(alpha0)
        over -= alpha0 * (np.log(b) - np.log(beta0)) + a * (beta0 - b) / b
    np.testing.assert_allclose(model.log_prior(prior), over, rtol=1e-12)
    # a new observation has the mixture of the predictive distributions
    grid = jnp.linspace(-60.0, 60.0, 24001)
    density = jnp.exp(model.predictive().log_prob(grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)


def test_one_option_for_all_is_the_tied_mixture(x64):
    nodes, shared = normals(SHARED), gammas(SHARED, 3)
    unused = jax.tree.map(lambda a: a + 1.0, (nodes, shared))
    wide, wide_prior = (
        lx.Independent(jax.tree.map(lambda a: a[:, None], t)) for t in (nodes, shared)
    )
    shares = jnp.asarray(np.eye(3)[[0, 0, 1, 1, 2, 2]])
    found = []
    for node, prior, x in (
        (Tied(nodes), shared, X),
        (OneOf(jnp.ones(3, int), (unused[0], Tied(nodes))), (unused[1], shared), X),
        (
            OneOf(jnp.zeros(3, int), (lx.Product((Tied(wide),)),)),
            (lx.Product((wide_prior,)),),
            (X[:, None],),
        ),
    ):
        new = node.stacked_m_step(node.stacked_e_step(x, shares), prior)
        found.append((new.stacked_log_prob(x), new.stacked_log_prior(prior)))
    for other in found[1:]:
        chex.assert_trees_all_close(other, found[0], rtol=1e-12)


def test_modes_of_tied_options_ascend_what_log_prior_adds(x64):
    """The objective of MAP: every chosen component's prior, and no other, is in the shared scale."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, 1, 30), rng.normal(3, 1, 30), rng.exponential(9, 20)])
    priors = lx.NormalInverseGamma(
        jnp.zeros(3), jnp.ones(3), jnp.array([2.0, 3.0, 90.0]), jnp.array([1.0, 9.0, 9e3])
    )
    tied = Tied(lx.Normal(jnp.array([-1.0, 1.0, 0.0]), jnp.ones(3)))
    rest = lx.Laplace(jnp.full(3, 9.0), jnp.full(3, 5.0))
    model = lx.Mixture(jnp.ones(3) / 3, OneOf(jnp.array([0, 0, 1]), (tied, rest)))
    prior = MixturePrior(None, (priors, None))
    result = fit.em(model, x, prior=prior, max_steps=300, tol=1e-13)
    assert result.converged
    fitted = result.model
    scale = fitted.components.options[0].model.scale
    np.testing.assert_allclose(scale, scale[0], rtol=1e-12)  # copies that no component chose too
    vector, rebuild = to_vector(fitted)
    chex.assert_trees_all_close(rebuild(vector), fitted, rtol=1e-12)

    def objective(vector):
        model = rebuild(vector)
        return jnp.sum(model.log_prob(x)) + model.log_prior(prior)

    np.testing.assert_allclose(objective(vector), result.objective, rtol=1e-12)
    slope = jax.grad(objective)(vector)
    # weights, locations and scale of the first option; a Laplace location is a median, at a kink
    np.testing.assert_allclose(slope[:6], 0, atol=1e-4)
