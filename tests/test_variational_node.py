import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.cluster import KMeans
from sklearn.mixture import BayesianGaussianMixture

from likelax import fit
from likelax.data import Masked
from likelax.families import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    MvNormal,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    Pareto,
    Poisson,
    SphericalNormal,
)
from likelax.mixture import MixturePrior
from likelax.product import Independent
from likelax.variational_node import StickBreaking, Variational, VariationalMixture
from likelax.wrappers import Tied

ROWS = np.array([[0.3, -1.0], [1.2, 0.4], [-0.7, 2.0], [0.1, 0.2]])
CASES = {
    "wishart": (
        NormalInverseWishart(np.zeros(2), 0.7, 3.5, np.eye(2) * 1.5),
        MvNormal(np.zeros(2), np.eye(2)),
        ROWS,
    ),
    "gamma_normal": (NormalInverseGamma(0.2, 0.7, 1.5, 2.0), Normal(0.0, 1.0), ROWS[:, 0]),
    "gamma": (Gamma(2.0, 1.5), Poisson(1.0), np.array([1, 0, 4])),
    "beta": (Beta(2.0, 3.0), Bernoulli(0.5), np.array([1, 0, 1])),
    "dirichlet": (
        Dirichlet(np.array([1.0, 2.0, 0.5])),
        Categorical(np.ones(3) / 3),
        np.array([0, 2, 0]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_latents_the_elbo_is_the_log_evidence(x64, name):
    prior, likelihood, x = jax.tree.map(jnp.asarray, CASES[name])
    got = fit.em(Variational(prior, likelihood), x, prior=prior, max_steps=3)
    want = prior.log_evidence(likelihood.e_step(x)[0])
    np.testing.assert_allclose(got.objective, want, rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_distribution_has_no_divergence_from_itself(x64, name):
    prior, likelihood, x = jax.tree.map(jnp.asarray, CASES[name])
    np.testing.assert_allclose(prior.kl_divergence(prior), 0, atol=1e-12)
    other = prior.posterior(likelihood.e_step(x)[0])
    assert other.kl_divergence(prior) > 0


def scikit_learn(x, size, process, num_steps, covariance_type="full"):
    """Their fit after so many steps from k-means."""
    kind = "dirichlet_process" if process else "dirichlet_distribution"
    model = BayesianGaussianMixture(
        n_components=size,
        weight_concentration_prior_type=kind,
        covariance_type=covariance_type,
        weight_concentration_prior=0.3,
        reg_covar=0.0,
        tol=0.0,
        max_iter=num_steps,
        random_state=np.random.RandomState(0),
    )
    with pytest.warns(match="did not converge"):
        return model.fit(x)


@pytest.mark.parametrize("process", [False, True])
def test_bayesian_gaussian_mixture_of_scikit_learn(x64, process):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, (60, 2)), rng.normal(2, 1.5, (90, 2))])
    size = 4
    labels = KMeans(size, n_init=1, random_state=np.random.RandomState(0)).fit(x).labels_
    weights = StickBreaking.process(0.3, size) if process else Dirichlet(jnp.full(size, 0.3))

    def stack(tree):
        return jax.tree.map(lambda a: jnp.stack([jnp.asarray(a)] * size), tree)

    wishart = NormalInverseWishart(x.mean(axis=0), 1.0, 2.0, np.cov(x.T))
    prior = MixturePrior(weights, stack(wishart))
    node = Variational(stack(wishart), stack(MvNormal(jnp.zeros(2), jnp.eye(2))))
    model = fit.from_labels(VariationalMixture(weights, node), x, labels, prior=prior)

    @jax.jit
    def step(model):
        """The next model, the ELBO of this one, and of the next under this one's q(labels)."""
        stats, log_prob = model.e_step(x)
        new = model.m_step(stats, prior)
        log_r = model.log_responsibilities(x)
        joint = new.components_log_joint(x)
        half = jnp.sum(jnp.exp(log_r) * (joint - log_r)) + new.log_prior(prior)
        return new, log_prob + model.log_prior(prior), half

    elbos, gaps = [], []
    for count in range(1, 21):
        model, elbo, half = step(model)
        elbos.append(elbo)
        assert half >= elbo - 1e-9
        if count in (2, 20):
            peer = scikit_learn(x, size, process, count)
            q = model.components.posterior
            covariance = q.scale / q.dof[:, None, None]
            mean = model.weights.mean()
            np.testing.assert_allclose(q.loc, peer.means_, rtol=1e-8)
            np.testing.assert_allclose(covariance, peer.covariances_, rtol=1e-8)
            np.testing.assert_allclose(mean / mean.sum(), peer.weights_, rtol=1e-8)
            gaps.append(half - peer.lower_bound_)
    assert np.all(np.diff(elbos) >= -1e-9)
    # their bound lacks the constants of the prior
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=1e-10)


def coordinate_ascent(x, labels, prior, num_steps, *, tied):
    """Variational Bayes of spherical normals in NumPy, one responsibility at a time."""
    loc0, kappa0, alpha0, beta0, concentration0 = prior
    num_dims, size = x.shape[1], labels.max() + 1
    resp = np.eye(size)[labels]
    for _ in range(num_steps):
        counts = resp.sum(0)
        means = resp.T @ x / counts[:, None]
        scatter = np.array([np.sum(resp[:, k] * ((x - means[k]) ** 2).sum(1)) for k in range(size)])
        kappa, alpha = kappa0 + counts, alpha0 + num_dims * counts / 2
        loc = (kappa0 * loc0 + counts[:, None] * means) / kappa[:, None]
        pull = kappa0 * counts / kappa * ((means - loc0) ** 2).sum(1)
        beta = beta0 + (scatter + pull) / 2
        if tied:
            alpha = np.full(size, alpha0 + num_dims * len(x) / 2)
            beta = np.full(size, beta0 + (scatter + pull).sum() / 2)
        concentration = concentration0 + counts
        log_weights = special.digamma(concentration) - special.digamma(concentration.sum())
        square = ((x[:, None] - loc) ** 2).sum(-1) * alpha / beta + num_dims / kappa
        log_resp = log_weights + num_dims / 2 * (special.digamma(alpha) - np.log(beta)) - square / 2
        resp = special.softmax(log_resp, axis=1)
    return loc, kappa, alpha, beta, concentration


def stacked(tree, size):
    return jax.tree.map(lambda a: jnp.stack([jnp.asarray(a, float)] * size), tree)


@pytest.mark.parametrize("tied", [False, True])
def test_spherical_mixture_is_coordinate_ascent(x64, tied):
    """scikit-learn takes other degrees of freedom here, which ascend no bound."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, 1, (40, 3)), rng.normal(1, 1.5, (50, 3))])
    labels = np.arange(90) % 3
    prior = (x.mean(0), 0.7, 2.0, 1.5, 0.3)
    gamma = stacked(NormalInverseGamma(*prior[:4]), 3)
    weights = Dirichlet(jnp.full(3, 0.3))
    nodes = Variational(gamma, SphericalNormal(jnp.zeros((3, 3)), jnp.ones(3)))
    model = VariationalMixture(weights, Tied(nodes) if tied else nodes)
    priors = MixturePrior(weights, gamma)
    model = fit.from_labels(model, x, labels, prior=priors)

    @jax.jit
    def step(model):
        stats, log_prob = model.e_step(x)
        return model.m_step(stats, priors), log_prob + model.log_prior(priors)

    elbos = []
    for _ in range(9):
        model, elbo = step(model)
        elbos.append(elbo)
    assert np.all(np.diff(elbos) >= -1e-9)
    q = (model.components.model if tied else model.components).posterior
    got = q.loc, q.kappa, q.alpha, q.beta, model.weights.concentration
    want = coordinate_ascent(x, labels, prior, 10, tied=tied)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_tied_mixture_of_scikit_learn(x64):
    """Their prior of the one covariance counts K times in its mean, and its degrees of freedom are
    divided by K, which the components cannot see: with K times the prior the fits are the same."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, (60, 2)), rng.normal(2, 1.5, (90, 2))])
    size = 3
    labels = KMeans(size, n_init=1, random_state=np.random.RandomState(0)).fit(x).labels_
    weights = Dirichlet(jnp.full(size, 0.3))
    wishart = NormalInverseWishart(x.mean(axis=0), 1.0, 2.0 * size, np.cov(x.T) * size)
    prior = MixturePrior(weights, stacked(wishart, size))
    nodes = Variational(prior.components, stacked(MvNormal(np.zeros(2), np.eye(2)), size))
    model = fit.from_labels(VariationalMixture(weights, Tied(nodes)), x, labels, prior=prior)

    @jax.jit
    def step(model):
        stats, log_prob = model.e_step(x)
        return model.m_step(stats, prior), log_prob + model.log_prior(prior)

    elbos = []
    for count in range(1, 13):
        model, elbo = step(model)
        elbos.append(elbo)
        if count in (2, 12):
            peer = scikit_learn(x, size, False, count, "tied")
            q = model.components.model.posterior
            np.testing.assert_allclose(q.loc, peer.means_, rtol=1e-8)
            np.testing.assert_allclose(
                (q.scale / q.dof[:, None, None])[0], peer.covariances_, rtol=1e-8
            )
            mean = model.weights.mean()
            np.testing.assert_allclose(mean / mean.sum(), peer.weights_, rtol=1e-8)
    assert np.all(np.diff(elbos) >= -1e-9)
    np.testing.assert_allclose(q.dof, 2 * size + len(x))
    assert model.predictive().log_prob(x).shape == (150,)


def test_one_tied_component_is_an_untied_one(x64):
    prior = stacked(NormalInverseGamma(0.2, 0.7, 1.5, 2.0), 1)
    node = Variational(prior, Normal(jnp.zeros(1), jnp.ones(1)))
    stats = node.stacked_e_step(jnp.asarray(ROWS[:, 0]), jnp.ones((len(ROWS), 1)))
    alone, tied = node.stacked_m_step(stats, prior), Tied(node).stacked_m_step(stats, prior)
    chex.assert_trees_all_close(alone, tied.model, rtol=1e-12)
    np.testing.assert_allclose(
        alone.stacked_log_prior(prior), tied.stacked_log_prior(prior), rtol=1e-12
    )
    with pytest.raises(TypeError, match="Tied: Gamma has no covariance or scale to share"):
        Gamma(jnp.ones(2), jnp.ones(2)).tied_posterior(None)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_diagonal_and_spherical_bayesian_mixtures_in_one_dimension(x64, covariance_type):
    # in more dimensions they take the digammas of a full Wishart for independent variances too,
    # which ascends no bound; in one dimension the two are the same
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, 60), rng.normal(2, 1.5, 90)])
    labels = KMeans(3, n_init=1, random_state=np.random.RandomState(0)).fit(x[:, None]).labels_
    gamma = NormalInverseGamma(x.mean(), 1.0, 0.5, x.var(ddof=1) / 2)
    gamma = jax.tree.map(lambda a: jnp.full(3, a), gamma)
    weights = Dirichlet(jnp.full(3, 0.3))
    prior = MixturePrior(weights, gamma)
    node = Variational(gamma, Normal(jnp.zeros(3), jnp.ones(3)))
    start = fit.from_labels(VariationalMixture(weights, node), x, labels, prior=prior)
    got = fit.em(start, x, prior=prior, tol=0.0, max_steps=10).model
    peer = scikit_learn(x[:, None], 3, False, 10, covariance_type)
    q = got.components.posterior
    np.testing.assert_allclose(q.loc, peer.means_[:, 0], rtol=1e-6)
    np.testing.assert_allclose(q.beta / q.alpha, peer.covariances_.ravel(), rtol=1e-6)
    np.testing.assert_allclose(got.weights.mean(), peer.weights_, rtol=1e-6)


def test_the_predictive_integrates_the_posterior_out():
    prior = NormalInverseGamma(jnp.zeros(2), jnp.ones(2), jnp.full(2, 3.0), jnp.ones(2))
    node = Variational(prior, Normal(jnp.zeros(2), jnp.ones(2)))
    model = VariationalMixture(Dirichlet(jnp.ones(2)), node)
    x = jnp.array([0.0, 1.0])
    # Jensen: the expected log density is below the log of the expected one
    assert np.all(model.log_prob(x) < model.predictive().log_prob(x))
    assert model.sample(jax.random.key(0), (3,)).shape == (3,)


def test_what_has_no_closed_form_is_refused():
    node = Variational(Beta(1.0, 1.0), Bernoulli(0.5))
    with pytest.raises(ValueError, match="needs a prior"):
        fit.mle(node, jnp.array([0, 1]))
    with pytest.raises(TypeError, match="wanted two Beta; got Gamma"):
        Beta(1.0, 1.0).kl_divergence(Gamma(1.0, 1.0))
    with pytest.raises(TypeError, match="Pareto: the expected log likelihood has no closed form"):
        Pareto(scale=1.0, shape=2.0).expected_log_likelihood(None)


def test_what_was_not_seen_adds_nothing_and_what_cannot_be_is_impossible():
    seen = Masked(jnp.array([0.0, 0.0]), jnp.array([False, True]))
    node = Variational(NormalInverseGamma(0.0, 2.0, 3.0, 1.0), Normal(0.0, 1.0))
    assert node.log_prob(seen)[0] == 0
    np.testing.assert_allclose(node.log_prob(seen)[1], node.log_prob(jnp.zeros(1))[0])
    for q, likelihood, x in (
        (Gamma(2.0, 1.0), Poisson(1.0), -1),
        (Beta(2.0, 1.0), Bernoulli(0.5), 3),
        (Dirichlet(jnp.ones(3)), Categorical(jnp.ones(3) / 3), 3),
    ):
        node = Variational(q, likelihood)
        assert node.log_prob(jnp.array(x)) == -jnp.inf
        assert node.log_prob(Masked(jnp.array([x]), jnp.array([False])))[0] == 0
    wishart = NormalInverseWishart(jnp.zeros(2), 2.0, 3.0, jnp.eye(2))
    vectors = Variational(wishart, MvNormal(jnp.zeros(2), jnp.eye(2)))
    with pytest.raises(ValueError, match="missing entries have no closed form"):
        vectors.log_prob(Masked(jnp.zeros((1, 2)), jnp.ones((1, 2), bool)))


def test_the_predictive_of_a_process_is_normalised_also_feature_by_feature():
    prior = NormalInverseGamma(*(jnp.ones((3, 2)) for _ in range(4)))
    node = Independent(Variational(prior, Normal(jnp.zeros((3, 2)), jnp.ones((3, 2)))))
    found = VariationalMixture(StickBreaking.process(1.0, 3), node).predictive()
    np.testing.assert_allclose(found.weights, [4 / 7, 2 / 7, 1 / 7], rtol=1e-6)
    assert found.log_prob(jnp.zeros((5, 2))).shape == (5,)


def test_a_weight_whose_expected_logarithm_is_far_below_zero_still_counts():
    """exp(E log w) of a small concentration is 0 in float32, and the component was lost."""
    q = Dirichlet(jnp.array([5.0, 2e-3]))
    normals = NormalInverseGamma(
        *(jnp.array(v) for v in ((0.0, 60.0), (9.0, 9.0), (9.0, 9.0), (9.0, 9.0)))
    )
    likelihood = Normal(jnp.zeros(2), jnp.ones(2))
    node = VariationalMixture(q, Variational(normals, likelihood))
    x = jnp.array([60.0])
    want = q.expected_log() + jax.vmap(lambda c: c.log_prob(x[0]))(node.components)
    assert jnp.exp(q.expected_log())[1] == 0
    np.testing.assert_allclose(node.log_prob(x)[0], jax.nn.logsumexp(want), rtol=1e-5)
    shares = jax.nn.softmax(want)
    np.testing.assert_allclose(jnp.exp(node.log_responsibilities(x)[0]), shares, atol=1e-5)
    stats, log_prob = node.e_step(x)
    np.testing.assert_allclose(stats.weights.counts, shares, atol=1e-5)
    np.testing.assert_allclose(log_prob, node.log_prob(x)[0], rtol=1e-6)
    bound = node.expected_log_prob(stats)
    np.testing.assert_allclose(bound, jnp.sum(shares * want), rtol=1e-5)
