"""Public methods that the laws reach only in some runs, each against its parts or a calculation by hand."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit, naive_bayes, statistics, variational
from likelax.fit import Status

X = jnp.array([0.2, -1.0, 1.7, 0.4, 2.5])
WEIGHTS = jnp.array([1.0, 0.5, 2.0, 1.0, 0.3])
PAIR = lx.Normal(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0]))
MOVES = jnp.array([[0.9, 0.1], [0.2, 0.8]])


def close(got, want):
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


def test_a_wrapper_answers_as_the_model_inside():
    inside = lx.MvNormal(jnp.array([1.0, -1.0]), jnp.array([[1.0, 0.0], [0.5, 2.0]]))
    rows = jnp.stack([X, X[::-1]], axis=-1)
    for around in (lx.Fixed, lx.Tied):
        model = around(inside)
        assert (model.event_ndim, model.free_ndim) == (inside.event_ndim, inside.free_ndim)
        for name in ("log_prob", "log_kernel"):
            close(getattr(model, name)(rows), getattr(inside, name)(rows))
        close([model.mean(), model.variance()], [inside.mean(), inside.variance()])
        close(model.e_step(rows, WEIGHTS), inside.e_step(rows, WEIGHTS))
        assert model.possible(rows).all()
        close(model.marginal([1]).model, inside.marginal([1]))
        close(model.condition([0], jnp.array([0.3])).model, inside.condition([0], jnp.array([0.3])))
        key = jax.random.key(0)
        close(model.sample(key, (3,)), inside.sample(jax.random.clone(key), (3,)))
        prior = lx.NormalInverseWishart(jnp.zeros(2), 2.0, 5.0, jnp.eye(2))
        close(model.predictive(prior).log_prob(rows), inside.predictive(prior).log_prob(rows))
        stats = inside.e_step(rows)[0]
        close(model.expected_log_prob(stats), inside.expected_log_prob(stats))
        moved = inside if around is lx.Fixed else inside.m_step(stats)
        close(model.m_step(stats).model, moved)
        density = 0.0 if around is lx.Fixed else inside.log_prior(prior)
        close(model.log_prior(prior), jnp.asarray(density))


def test_a_wrapper_of_stacked_models_answers_as_they_do():
    shares = jnp.stack([WEIGHTS, 1 - WEIGHTS / 3], axis=-1)
    stats = PAIR.stacked_e_step(X, shares)
    for around in (lx.Fixed, lx.Tied):
        model = around(PAIR)
        close(model.stacked_log_prob(X), PAIR.stacked_log_prob(X))
        close(model.stacked_log_kernel(X), PAIR.stacked_log_kernel(X))
        close(model.stacked_e_step(X, shares), stats)
        close(model.pool(stats), PAIR.pool(stats))
        close(model.pool_with_prior(stats, None), PAIR.pool_with_prior(stats, None))
    close(lx.Fixed(PAIR).stacked_m_step(stats).model, PAIR)
    tied = lx.Tied(PAIR).stacked_m_step(stats).model
    apart = PAIR.stacked_m_step(stats)
    weights = shares.sum(axis=0)
    close(tied.loc, apart.loc)
    close(tied.scale**2, jnp.full(2, jnp.average(apart.scale**2, weights=weights)))


@pytest.mark.parametrize("name", ["spherical", "noisy", "product", "independent", "mixture"])
def test_tied_spreads_are_the_weighted_mean(name):
    rng = np.random.default_rng(1)
    shares = jnp.asarray(rng.dirichlet(np.ones(2), 20), jnp.float32)
    values = jnp.asarray(rng.normal(size=(20, 2)), jnp.float32)
    weights = shares.sum(axis=0)

    def mean(spreads):
        return jnp.broadcast_to(jnp.average(spreads, axis=0, weights=weights), spreads.shape)

    if name == "spherical":
        model = lx.SphericalNormal(jnp.zeros((2, 2)), jnp.ones(2))
        tied, apart = lx.Tied(model).stacked_m_step, model.stacked_m_step
        stats = model.stacked_e_step(values, shares)
        close(tied(stats).model.scale ** 2, mean(apart(stats).scale ** 2))
    elif name == "noisy":
        model = lx.NoisyNormal(jnp.zeros(2), jnp.ones(2))
        close(model.mean(), jnp.zeros(2))
        pairs = (values[:, 0], jnp.zeros(20))
        stats = model.stacked_e_step(pairs, shares)
        got = lx.Tied(model).stacked_m_step(stats).model.scale
        close(got**2, mean(model.stacked_m_step(stats).scale ** 2))
    elif name == "product":
        model = lx.Product((PAIR, PAIR))
        fields = (values[:, 0], values[:, 1])
        stats = model.stacked_e_step(fields, shares)
        got = lx.Tied(model).stacked_m_step(stats).model.fields
        want = model.stacked_m_step(stats).fields
        for one, other in zip(got, want, strict=True):
            close(one.scale**2, mean(other.scale**2))
        close(
            lx.Product((lx.Normal(0.0, 1.0),) * 2).log_kernel((X, X)),
            2 * lx.Normal(0.0, 1.0).log_kernel(X),
        )
    elif name == "independent":
        model = lx.Independent(lx.Normal(jnp.zeros((2, 2)), jnp.ones((2, 2))))
        stats = model.stacked_e_step(values, shares)
        got = lx.Tied(model).stacked_m_step(stats).model.component.scale
        close(got**2, mean(model.stacked_m_step(stats).component.scale ** 2))
        close(model.pool_with_prior(stats, None)[0], model.pool(stats))
    else:
        outer = lx.Mixture(
            jnp.full((2, 2), 0.5), lx.Normal(jnp.array([[-1.0, 1.0]] * 2), jnp.ones((2, 2)))
        )
        stats = outer.stacked_e_step(values[:, 0], shares)
        pooled = outer.pool(stats)
        total = jax.tree.map(lambda s: s.sum(axis=0), stats.components.weight)
        close(pooled.components.weight, jnp.broadcast_to(total, (2, 2)))
        close(pooled.weights, stats.weights)


def test_a_choice_is_the_option_that_it_chose():
    options = (lx.Poisson(2.0), lx.GammaPoisson(2.0, 0.5))
    counts = jnp.array([0, 3, 1, 5])
    for which, option in enumerate(options):
        model = lx.OneOf(jnp.array(which), options)
        assert model.event_ndim == 0
        close(model.log_prob(counts), option.log_prob(counts))
        stats, total = model.e_step(counts)
        close(total, option.log_prob(counts).sum())
        close(model.m_step(stats).options[which], option.m_step(option.e_step(counts)[0]))
        close(model.m_step(stats).options[1 - which], options[1 - which])
        close(model.expected_log_prob(stats), option.expected_log_prob(option.e_step(counts)[0]))
        close(model.mean(), option.mean())
        draws = np.asarray(model.sample(jax.random.key(which), (4000,)), float)
        error = np.sqrt(float(option.variance()) / 4000)
        assert abs(draws.mean() - float(option.mean())) < 5 * error


def test_parts_of_products_are_those_of_the_fields():
    product = lx.Product((lx.Bernoulli(0.3), lx.Normal(1.0, 2.0)))
    close(product.parameter(), (lx.Bernoulli(0.3).parameter(), lx.Normal(1.0, 2.0).parameter()))
    prior = lx.Product((lx.Beta(3.0, 2.0), lx.Beta(2.0, 5.0)))
    close(prior.mode(), (lx.Beta(3.0, 2.0).mode(), lx.Beta(2.0, 5.0).mode()))
    each = lx.Independent(lx.Bernoulli(jnp.array([0.3, 0.6])))
    close(each.parameter(), jnp.array([0.3, 0.6]))
    coins = lx.MvBernoulli(jnp.array([0.3, 0.6]))
    predictive = coins.predictive(lx.Beta(jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0])))
    close(predictive.probs, jnp.array([0.25, 0.75]))


def test_scaled_statistics_are_those_of_scaled_weights():
    angles = lx.VonMises(0.5, 2.0)
    lengths = lx.Pareto(scale=0.1, shape=1.5)
    for model, x in ((angles, X), (lengths, jnp.abs(X) + 0.5)):
        half = statistics.scale(model.e_step(x, WEIGHTS)[0], 0.5)
        close(model.m_step(half), model.m_step(model.e_step(x, WEIGHTS / 2)[0]))
        close(half.weight, WEIGHTS.sum() / 2)


def test_what_has_no_closed_form_says_so():
    model = lx.Poisson(2.0)
    calls = {
        "marginal": lambda: model.marginal([0]),
        "condition": lambda: model.condition([0], 1.0),
        "StudentT.predictive": lambda: lx.StudentT(3.0, 0.0, 1.0).predictive(None),
        "share": lambda: model.pool(model.e_step(jnp.array([1, 2]))[0]),
        "Gamma": lambda: lx.Gamma(1.0, 1.0).pooled(),
        "ComplementScore": lambda: naive_bayes.ComplementScore(jnp.zeros((2, 3))).sample(
            jax.random.key(0)
        ),
    }
    for word, call in calls.items():
        with pytest.raises(TypeError, match=word):
            call()


def test_the_status_of_a_fit_in_two_words():
    found = fit.em(lx.Mixture(jnp.array([0.5, 0.5]), PAIR), X)
    expected = {Status.CONVERGED: (True, True), Status.MAX_STEPS: (False, True)}
    for status in Status:
        one = dataclasses.replace(found, status=jnp.array(int(status)))
        assert (bool(one.converged), bool(one.usable)) == expected.get(status, (False, False))


def test_a_prior_of_a_chain_is_updated_part_by_part():
    model = lx.HMM(jnp.array([0.5, 0.5]), MOVES, lx.Poisson(jnp.array([1.0, 4.0])))
    prior = lx.HMMPrior(
        lx.Dirichlet(jnp.ones(2)),
        lx.Dirichlet(jnp.full((2, 2), 2.0)),
        lx.Gamma(jnp.ones(2), jnp.ones(2)),
    )
    x = jnp.array([[0, 5, 4, 1], [1, 0, 3, 6]])
    stats = model.e_step(x)[0]
    got = prior.posterior(stats)
    close(got.initial.concentration, 1 + stats.initial.counts)
    close(got.transition.concentration, 2 + stats.transition.counts)
    found = model.smoother(x)
    shares = jnp.exp(found.log_marginals).reshape(-1, 2)
    close(got.emissions.concentration, 1 + x.reshape(-1).astype(float) @ shares)
    close(got.emissions.rate, 1 + shares.sum(axis=0))
    assert lx.HMMPrior().posterior(stats).emissions is None
    close(model.num_observations(x), jnp.full(2, 4.0))
    close(model.num_observations(lx.Sequences(x, jnp.array([3, 0]))), jnp.array([3.0, 0.0]))


def test_draws_given_inputs_are_pairs_with_the_inputs():
    inputs = jnp.linspace(-1, 1, 6)[:, None]
    lines = lx.LinearRegression(jnp.array([[[2.0]], [[2.0]]]), jnp.full((2, 1, 1), 1e-4))
    mixture = lx.Mixture(jnp.array([0.5, 0.5]), lines)
    chain = lx.HMM(jnp.array([0.5, 0.5]), MOVES, lines)
    for model, shape in ((mixture, (6,)), (lx.Fixed(mixture), (6,)), (chain, (6,))):
        got, values = model.sample_given(jax.random.key(0), inputs, shape)
        close(got, inputs)
        np.testing.assert_allclose(values, 2 * inputs, atol=1e-3)


def test_expected_answers_of_variational_nodes_are_those_of_their_parts():
    posterior, likelihood = lx.Beta(3.0, 2.0), lx.Bernoulli(0.5)
    node = lx.Variational(posterior, likelihood)
    flips = jnp.array([1, 0, 1])
    stats = node.e_step(flips)[0]
    close(node.expected_log_prob(stats), posterior.expected_log_likelihood(stats))
    draws = np.asarray(node.sample(jax.random.key(0), (4000,)), float)
    assert abs(draws.mean() - 0.6) < 5 * np.sqrt(0.24 / 4000)
    mixture = lx.VariationalMixture(
        lx.Dirichlet(jnp.array([2.0, 1.0])),
        lx.Variational(
            lx.Beta(jnp.array([3.0, 1.0]), jnp.array([1.0, 3.0])), lx.Bernoulli(jnp.full(2, 0.5))
        ),
    )
    assert mixture.num_components == 2
    mean = 2 / 3 * 0.75 + 1 / 3 * 0.25
    close(mixture.mean(), jnp.asarray(mean))
    close(mixture.variance(), jnp.asarray(mean * (1 - mean)))
    seen, total = mixture.e_step(flips)
    resp = jnp.exp(mixture.log_responsibilities(flips))
    entropy = -jnp.sum(resp * jnp.log(resp))
    close(mixture.expected_log_prob(seen), total - entropy)


def test_guides_know_their_roots_and_entropies():
    guide = variational.mean_field(jnp.zeros(3), scale=0.5)
    close(guide.base.root(), 0.5 * jnp.eye(3))
    low = variational.low_rank(jnp.zeros(3), rank=1, scale=0.5).base
    factor = np.asarray(low.factor, float)
    covariance = np.diag(np.asarray(low.scale, float) ** 2) + factor @ factor.T
    np.testing.assert_allclose(low.root() @ low.root().T, covariance, rtol=1e-4, atol=1e-6)
    want = np.linalg.slogdet(2 * np.pi * np.e * covariance)[1] / 2
    assert float(low.entropy()) == pytest.approx(want, rel=1e-5)
