"""Variational hidden Markov models against hmmlearn's, and against sums over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hmmlearn.vhmm import VariationalCategoricalHMM, VariationalGaussianHMM
from scipy.special import digamma, gammaln, logsumexp

import likelax as lx
from likelax import fit

STEPS = 12


def peer(kind, num_features, start, prior, **options):
    """hmmlearn's model before a fit from the posterior `start`; both are dicts of its attributes."""
    model = kind(len(prior["startprob"]), init_params="", n_iter=STEPS, tol=-np.inf, **options)
    model._init = lambda *args: None  # it draws, or runs k-means, for what is set here
    for name, value in start.items():
        setattr(model, f"{name}_posterior_", np.array(value))
    for name, value in prior.items():
        setattr(model, f"{name}_prior_", np.array(value))
    model.n_features = num_features
    return model


def random_chain(rng, size):
    prior = {"startprob": rng.uniform(0.3, 2, size), "transmat": rng.uniform(0.3, 2, (size, size))}
    start = {k: v + rng.uniform(0.5, 9, v.shape) for k, v in prior.items()}
    return prior, start


def chain_of(values):
    return lx.Dirichlet(jnp.asarray(values["startprob"])), lx.Dirichlet(
        jnp.asarray(values["transmat"])
    )


def padded(x, lengths):
    parts = np.split(np.asarray(x), np.cumsum(lengths)[:-1])
    values = np.zeros((len(lengths), max(lengths), *x.shape[1:]), x.dtype)
    for row, part in zip(values, parts, strict=True):
        row[: len(part)] = part
    return lx.Sequences(jnp.asarray(values), jnp.asarray(lengths))


def assert_rises(objectives):
    # a sum of 60 terms of size 1 to 100 in float64
    assert np.all(np.diff(objectives) >= -1e-9)


def test_categorical_emissions_are_those_of_hmmlearn(x64):
    rng = np.random.default_rng(0)
    lengths, size, categories = [30, 1, 24], 3, 4
    x = rng.integers(0, categories, (sum(lengths), 1))
    prior, start = random_chain(rng, size)
    prior["emissionprob"] = rng.uniform(0.3, 2, (size, categories))
    start["emissionprob"] = prior["emissionprob"] + rng.uniform(0.5, 9, (size, categories))
    theirs = peer(VariationalCategoricalHMM, categories, start, prior)
    theirs.fit(x, lengths)

    def node(values):
        emissions = lx.Dirichlet(jnp.asarray(values["emissionprob"]))
        return *chain_of(values), emissions

    initial, transition, emissions = node(start)
    flat = lx.Categorical(jnp.full((size, categories), 1 / categories))
    begin = lx.VariationalHMM(initial, transition, lx.Variational(emissions, flat))
    found = fit.em(
        begin, padded(x[:, 0], lengths), prior=lx.HMMPrior(*node(prior)), tol=0.0, max_steps=STEPS
    )
    assert_rises(found.objectives[:STEPS])
    np.testing.assert_allclose(found.objectives[:STEPS], theirs.monitor_.history, rtol=1e-10)
    got = found.model
    for ours, name in (
        (got.initial, "startprob"),
        (got.transition, "transmat"),
        (got.emissions.posterior, "emissionprob"),
    ):
        want = getattr(theirs, f"{name}_posterior_")
        np.testing.assert_allclose(ours.concentration, want, rtol=1e-9)


def gaussian(rng, size, num_dims, covariance_type):
    """A prior and a start of normal emissions, as hmmlearn's attributes."""
    prior, start = random_chain(rng, size)
    scale = np.eye(num_dims) if covariance_type == "full" else np.ones(num_dims)
    for values, dof in ((prior, num_dims + 0.5), (start, 12.0)):
        values["means"] = rng.normal(size=(size, num_dims))
        values["beta"] = rng.uniform(0.5, 2, size)
        values["dof"] = dof + rng.uniform(0, 2, size)
        values["scale"] = np.stack([rng.uniform(0.5, 3) * scale for _ in range(size)])
    return prior, start


def wishart(values):
    return lx.NormalInverseWishart(
        *(jnp.asarray(values[name]) for name in ("means", "beta", "dof", "scale"))
    )


def test_full_covariances_are_those_of_hmmlearn(x64):
    rng = np.random.default_rng(1)
    lengths, size, num_dims = [25, 20], 3, 2
    x = rng.normal(size=(sum(lengths), num_dims)) + rng.integers(0, 3, (sum(lengths), 1)) * 2
    prior, start = gaussian(rng, size, num_dims, "full")
    theirs = peer(VariationalGaussianHMM, num_dims, start, prior, covariance_type="full")
    theirs.fit(x, lengths)
    flat = lx.MvNormal(jnp.zeros((size, num_dims)), jnp.stack([jnp.eye(num_dims)] * size))
    begin = lx.VariationalHMM(*chain_of(start), lx.Variational(wishart(start), flat))
    assert (begin.event_ndim, begin.free_ndim) == (2, 1)
    over = lx.HMMPrior(*chain_of(prior), wishart(prior))
    found = fit.em(begin, padded(x, lengths), prior=over, tol=0.0, max_steps=STEPS)
    assert_rises(found.objectives[:STEPS])
    # their log likelihoods lack the constant of the normal density
    missing = x.size * np.log(2 * np.pi) / 2
    bounds = np.array(theirs.monitor_.history) - missing
    np.testing.assert_allclose(found.objectives[:STEPS], bounds, rtol=1e-9)
    got = found.model
    np.testing.assert_allclose(got.transition.concentration, theirs.transmat_posterior_, rtol=1e-8)
    q = got.emissions.posterior
    for ours, name in ((q.loc, "means"), (q.kappa, "beta"), (q.dof, "dof"), (q.scale, "scale")):
        np.testing.assert_allclose(ours, getattr(theirs, f"{name}_posterior_"), rtol=1e-7)


def one_state(num_dims):
    """Data, hmmlearn's diagonal model of them with one state, and likelax's with its prior."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(9, num_dims))
    prior, start = gaussian(rng, 1, num_dims, "diag")
    theirs = peer(VariationalGaussianHMM, num_dims, start, prior, covariance_type="diag")
    theirs.fit(x)
    loc, kappa, dof, scale = (jnp.asarray(prior[n]) for n in ("means", "beta", "dof", "scale"))
    wide = jnp.ones((1, num_dims))
    gamma = lx.NormalInverseGamma(loc, kappa[:, None] * wide, dof[:, None] / 2 * wide, scale / 2)
    one = lx.Independent(lx.Variational(gamma, lx.Normal(jnp.zeros_like(wide), wide)))
    over = lx.HMMPrior(*chain_of(prior), lx.Independent(gamma))
    found = fit.em(lx.VariationalHMM(*chain_of(prior), one), x, prior=over, max_steps=3)
    stats = lx.Normal(0.0, 1.0)
    each = [
        jax.tree.map(lambda a, d=d: a[0, d], gamma).log_evidence(stats.e_step(x[:, d])[0])
        for d in range(num_dims)
    ]
    bound = theirs.monitor_.history[-1] - x.size * np.log(2 * np.pi) / 2
    return found.objective, sum(each), bound


def test_one_state_of_data_is_the_conjugate_evidence_and_in_one_dimension_hmmlearns(x64):
    ours, evidence, theirs = one_state(1)
    np.testing.assert_allclose(ours, evidence, rtol=1e-10)
    np.testing.assert_allclose(theirs, evidence, rtol=1e-10)


def test_diagonal_covariances_of_hmmlearn_are_not_the_evidence_in_two_dimensions(x64):
    # with one state nothing is hidden, so the bound at its maximum is the evidence of the conjugate
    # prior; hmmlearn 0.3.3 takes the digammas of a full Wishart for independent variances
    ours, evidence, theirs = one_state(2)
    np.testing.assert_allclose(ours, evidence, rtol=1e-10)
    assert abs(theirs - evidence) > 0.1


def small():
    """A node of two states with categorical emissions, its prior, and four steps of data."""
    rng = np.random.default_rng(3)
    shapes = ((2,), (2, 2), (2, 3))
    prior = [rng.uniform(0.5, 2, s) for s in shapes]
    q = [rng.uniform(0.5, 4, s) for s in shapes]
    flat = lx.Categorical(jnp.full((2, 3), 1 / 3))

    def node(parts):
        initial, transition, emissions = (lx.Dirichlet(jnp.asarray(a)) for a in parts)
        return lx.VariationalHMM(initial, transition, lx.Variational(emissions, flat))

    over = lx.HMMPrior(*(lx.Dirichlet(jnp.asarray(a)) for a in prior))
    return node(q), over, q, prior, np.array([0, 2, 2, 1])


def every_path(weights, x):
    """All paths and the sum of their log weights."""
    initial, moves, emissions = weights
    paths = list(itertools.product(range(2), repeat=len(x)))
    scores = [
        initial[z[0]]
        + sum(moves[a, b] for a, b in itertools.pairwise(z))
        + sum(emissions[k, v] for k, v in zip(z, x, strict=True))
        for z in paths
    ]
    return np.array(paths), np.array(scores)


def expected_logs(a):
    return digamma(a) - digamma(a.sum(-1, keepdims=True))


def divergence(a, b):
    """KL of Dirichlet rows, by the expectation of the difference of their log densities."""

    def log_norm(c):
        return gammaln(c.sum(-1)) - gammaln(c).sum(-1)

    return np.sum(log_norm(a) - log_norm(b) + ((a - b) * expected_logs(a)).sum(-1))


def test_the_bound_and_the_states_are_sums_over_all_paths(x64):
    node, over, q, prior, x = small()
    paths, scores = every_path([expected_logs(a) for a in q], x)
    np.testing.assert_allclose(node.log_prob(x), logsumexp(scores), rtol=1e-12)
    share = np.exp(scores - logsumexp(scores))
    found = node.smoother(x)
    want = np.array([[share[paths[:, t] == k].sum() for k in range(2)] for t in range(4)])
    np.testing.assert_allclose(np.exp(found.log_marginals), want, rtol=1e-10)
    path, score = node.viterbi(x)
    np.testing.assert_array_equal(path, paths[scores.argmax()])
    np.testing.assert_allclose(score, scores.max(), rtol=1e-12)
    kl = sum(divergence(a, b) for a, b in zip(q, prior, strict=True))
    np.testing.assert_allclose(node.log_prior(over), -kl, rtol=1e-10)
    stats, log_prob = node.e_step(x)
    entropy = -np.sum(share * np.log(share))
    np.testing.assert_allclose(log_prob, node.expected_log_prob(stats) + entropy, rtol=1e-10)


def test_the_bound_is_below_the_evidence_of_all_paths(x64):
    node, over, _, prior, x = small()

    def evidence(a, rows, values):
        counts = np.zeros_like(np.atleast_2d(a))
        np.add.at(counts, (rows, values), 1)
        return np.sum(
            gammaln(np.sum(np.atleast_2d(a), -1)) - gammaln(np.sum(np.atleast_2d(a) + counts, -1))
        ) + np.sum(gammaln(np.atleast_2d(a) + counts) - gammaln(np.atleast_2d(a)))

    paths, _ = every_path([np.zeros(np.shape(a)) for a in prior], x)
    each = [
        evidence(prior[0], [0], z[:1])
        + evidence(prior[1], z[:-1], z[1:])
        + evidence(prior[2], z, x)
        for z in paths
    ]
    bound = fit.em(node, x, prior=over).objective
    assert logsumexp(each) - 2 < bound < logsumexp(each)
    # with the states known nothing is lost
    known = lx.Labelled(jnp.asarray(x), jnp.asarray(paths[5]))
    found = fit.em(node, known, prior=over, max_steps=2)
    np.testing.assert_allclose(found.objective, each[5], rtol=1e-10)


def test_small_concentrations_do_not_underflow():
    # E log of an entry of concentration 1e-3 is -1000, whose exp is 0 in every float
    emissions = lx.Variational(lx.Beta(jnp.ones(2), jnp.ones(2)), lx.Bernoulli(jnp.full(2, 0.5)))
    rows = lx.Dirichlet(jnp.array([[1.0, 1e-3], [1.0, 1.0]]))
    node = lx.VariationalHMM(lx.Dirichlet(jnp.array([1.0, 1.0])), rows, emissions)
    known = lx.Labelled(jnp.array([0, 0]), jnp.array([0, 1]))
    want = expected_logs(np.array([1, 1.0]))[0] + expected_logs(np.array([1, 1e-3]))[1] - 2
    np.testing.assert_allclose(node.log_prob(known), want, rtol=1e-5)


def test_rows_that_are_broken_sticks_and_the_predictive_chain():
    coins = lx.Variational(
        lx.Beta(jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0])), lx.Bernoulli(jnp.full(2, 0.5))
    )
    stick = lx.StickBreaking.process(1.0, 2)
    rows = jax.tree.map(lambda a: jnp.stack([a, a]), stick)
    node = lx.VariationalHMM(stick, rows, coins)
    assert node.num_states == 2
    over = lx.HMMPrior(stick, rows, coins.posterior)
    x = jnp.array([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = fit.em(node, x, prior=over, max_steps=5)
    assert np.all(np.diff(found.objectives) >= -1e-5)  # float32
    counts = jnp.array([[1.0, 2.0], [4.0, 0.0]])
    after = rows.posterior(lx.statistics.category_counts(counts))
    for k in range(2):  # each row is updated as it would be by itself
        alone = stick.posterior(lx.statistics.category_counts(counts[k]))
        np.testing.assert_array_equal(after.beta[k], alone.beta)
        np.testing.assert_allclose(after.mean()[k], alone.mean(), rtol=1e-6)
    ahead = node.predictive()
    np.testing.assert_allclose(ahead.initial, [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        ahead.log_prob(jnp.array([1])), np.log(2 / 3 / 4 + 1 / 3 * 0.75), rtol=1e-5
    )
    assert node.sample(jax.random.key(0), (3, 5)).shape == (3, 5)
    missing = lx.Masked(x[0], jnp.zeros(5, bool))
    weight = every_path_weight(node)
    np.testing.assert_allclose(node.log_prob(missing), weight, rtol=1e-5)


def every_path_weight(node):
    """log of the summed weights of five steps without data."""
    begin = np.exp(node.initial.expected_log())
    moves = np.exp(jax.vmap(lambda row: row.expected_log())(node.transition))
    return np.log(np.sum(begin @ np.linalg.matrix_power(moves, 4)))


def test_what_does_not_fit_is_refused():
    node, over, _, _, x = small()
    with pytest.raises(ValueError, match=r"needs HMMPrior\(initial, transition, emissions\)"):
        fit.em(node, x, prior=lx.HMMPrior(initial=over.initial))
    with pytest.raises(ValueError, match=r"transition must have arrays of shape \(K, K\)"):
        lx.VariationalHMM(node.initial, node.initial, node.emissions).check_shapes("HMM")
    with pytest.raises(ValueError, match="takes no inputs"):
        node.log_prob(lx.Driven(jnp.asarray(x), jnp.zeros((4, 1))))
    tied = lx.Tied(node.emissions)
    with pytest.raises(TypeError, match="has no covariance or scale to share"):
        fit.em(lx.VariationalHMM(node.initial, node.transition, tied), x, prior=over)
