from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, rel_entr

from likelax import variational
from likelax.families import Bernoulli, Beta, Gamma
from likelax.model import pytree
from likelax.monte_carlo import Estimate
from likelax.variational import MeanField, elbo, exact_elbo

NUM_KEYS = 3000


def test_the_notebooks_elbo():
    found = exact_elbo(np.log([0.1, 0.2, 0.3]), np.log([0.3, 0.3, 0.4]))
    np.testing.assert_allclose(found.log_evidence, -0.510826, atol=1e-6)
    np.testing.assert_allclose(found.elbo, -0.566296, atol=1e-6)
    np.testing.assert_allclose(found.kl, 0.055470, atol=1e-6)


def test_exact_elbo_is_evidence_less_kl():
    rng = np.random.default_rng(0)
    log_joint, log_guide = 5 * rng.normal(size=(2, 200, 4))
    found = jax.jit(exact_elbo)(log_joint, log_guide)
    q, evidence = np.exp(log_guide - logsumexp(log_guide, 1)[:, None]), logsumexp(log_joint, 1)
    kl = rel_entr(q, np.exp(log_joint - evidence[:, None])).sum(1)
    np.testing.assert_allclose(found.kl, kl, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.elbo, evidence - kl, rtol=1e-4, atol=1e-5)
    assert jnp.all(found.elbo <= found.log_evidence)


@pytest.mark.parametrize(
    ("joint", "guide", "want"),
    [
        ([0.0, -jnp.inf], [0.0, -jnp.inf], (0, 0, 0)),  # both leave the second state out
        ([0.0, -jnp.inf], [0.0, 0.0], (-jnp.inf, jnp.inf, 0)),  # mass on the impossible
        ([0.0, 0.0], [0.0, -jnp.inf], (0, np.log(2), np.log(2))),
        ([-jnp.inf, -jnp.inf], [0.0, 0.0], (-jnp.inf, jnp.inf, -jnp.inf)),
        ([0.0, -300.0], [-300.0, 0.0], (-300, 300, 0)),  # exp underflows in float32
    ],
)
def test_exact_elbo_at_the_edges(joint, guide, want):
    found = exact_elbo(jnp.array(joint), jnp.array(guide))
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


def test_at_the_posterior_the_elbo_is_the_evidence_without_variance():
    tosses, waits = jnp.array([0, 1, 1, 1]), jnp.array([3.0, 2.0])

    def coin(p):
        return Beta(1.0, 1.0).log_prob(p) + jnp.sum(Bernoulli(p).log_prob(tosses))

    def waiting(rate):
        return Gamma(1.0, 1.0).log_prob(rate) + jnp.sum(jnp.log(rate) - rate * waits)

    @jax.jit
    def both(key):
        keys = jax.random.split(key)
        return (
            elbo(keys[0], coin, Beta(4.0, 2.0), 50, estimator=variational.pathwise),
            elbo(keys[1], waiting, Gamma(3.0, 6.0), 50, estimator=variational.rloo),
        )

    found: tuple[Estimate, Estimate] = both(jax.random.key(0))
    for estimate, evidence in zip(found, (-2.995732, -4.682131), strict=True):
        np.testing.assert_allclose(estimate.value, evidence, atol=3e-6)
        # zero but for the rounding of densities around 3 nats
        assert estimate.standard_error < 1e-6


TABLE = jnp.array([-0.4, 1.1])


@pytest.fixture(scope="module")
def discrete():
    """Enumerated gradients of the ELBO and the two-particle bound, by guide and joint."""

    def log_joint(theta, z):
        return theta * z.astype(float) + jnp.where(z == 1, TABLE[1], TABLE[0])

    def bound(parameters, num_particles):
        logit, theta = parameters
        log_q = jnp.stack([jax.nn.log_sigmoid(-logit), jax.nn.log_sigmoid(logit)])
        log_w = jnp.stack([log_joint(theta, jnp.array(z)) for z in (0, 1)]) - log_q
        if num_particles == 1:
            return jnp.sum(jnp.exp(log_q) * log_w)
        pairs = jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)
        return jnp.sum(jnp.exp(log_q[:, None] + log_q[None, :]) * pairs)

    point = (jnp.array(0.8), jnp.array(0.3))
    exact = {p: jax.grad(bound)(point, p) for p in (1, 2)}

    def estimate(estimator, parameters, key):
        logit, theta = parameters
        guide = Bernoulli(jax.nn.sigmoid(logit))
        return jnp.mean(estimator(key, partial(log_joint, theta), guide, 4))

    return point, exact, estimate


@pytest.fixture(scope="module")
def continuous():
    """Gradients by quadrature of bounds for a normal guide and a quartic joint."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    nodes, weights = jnp.array(nodes), jnp.array(weights / weights.sum())

    def log_joint(theta, z):
        return jnp.sum(-((z - theta) ** 2) / 2 - 0.1 * z**4)

    def bound(parameters, num_particles, power):
        guide, theta = parameters
        z = guide.loc + guide.scale * nodes
        log_w = -((z - theta) ** 2) / 2 - 0.1 * z**4 - jax.vmap(guide.log_prob)(z[:, None])
        if num_particles == 1:
            return jnp.sum(weights * log_w)
        pairs = jnp.logaddexp(power * log_w[:, None], power * log_w[None, :]) - jnp.log(2.0)
        return jnp.sum(weights[:, None] * weights[None, :] * pairs) / power

    point = (MeanField(jnp.array([0.5]), jnp.array([0.8])), jnp.array(0.3))
    exact = {
        "elbo": jax.grad(bound)(point, 1, 1.0),
        "iwae": jax.grad(bound)(point, 2, 1.0),
        "renyi": jax.grad(bound)(point, 2, 0.5),
    }

    def estimate(estimator, parameters, key):
        guide, theta = parameters
        return jnp.mean(estimator(key, partial(log_joint, theta), guide, 4))

    return point, exact, estimate


def check_unbiased(estimate, point, exact):
    """z-test of the mean gradient over many keys; four standard deviations."""
    keys = jax.random.split(jax.random.key(7), NUM_KEYS)
    run = jax.jit(jax.vmap(jax.grad(estimate), (None, 0)))
    gradients = jax.tree.leaves(run(point, keys))
    for gradient, want in zip(gradients, jax.tree.leaves(exact), strict=True):
        error = jnp.std(gradient, axis=0) / jnp.sqrt(float(NUM_KEYS))
        assert jnp.all(jnp.abs(jnp.mean(gradient, axis=0) - want) < 4 * error + 1e-5)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(
    ("estimator", "particles"),
    [(variational.score, 1), (variational.rloo, 1), (variational.vimco(2), 2)],
)
def test_discrete_gradients_are_unbiased(estimator, particles, discrete):
    point, exact, estimate = discrete
    check_unbiased(partial(estimate, estimator), point, exact[particles])


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        (variational.pathwise, "elbo"),
        (variational.sticking_the_landing, "elbo"),
        (variational.analytic_entropy, "elbo"),
        (variational.score, "elbo"),
        (variational.rloo, "elbo"),
        (variational.iwae(2), "iwae"),
        (variational.dreg(2), "iwae"),
        (variational.vimco(2), "iwae"),
        (variational.renyi(0.5, 2), "renyi"),
    ],
)
def test_continuous_gradients_are_unbiased(estimator, objective, continuous):
    point, exact, estimate = continuous
    check_unbiased(partial(estimate, estimator), point, exact[objective])


def test_sticking_the_landing_has_no_noise_at_the_posterior():
    guide = MeanField(jnp.array([1.0]), jnp.array([2.0]))

    @jax.jit
    @jax.grad
    def gradient(q):
        terms = variational.sticking_the_landing(jax.random.key(0), guide.log_prob, q, 8)
        return jnp.mean(terms)

    for leaf in jax.tree.leaves(gradient(guide)):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


def test_rloo_has_no_noise_at_the_posterior(discrete):
    (_, theta), _, estimate = discrete
    logit = theta + TABLE[1] - TABLE[0]
    gradient = jax.grad(lambda at: estimate(variational.rloo, (at, theta), jax.random.key(0)))
    np.testing.assert_allclose(gradient(logit), 0, atol=1e-6)


@pytree
class NoTree:
    """A guide whose density forgets to sum over its event."""

    loc: jax.Array

    def sample(self, key, shape=()):
        return jax.random.normal(key, (*shape, 2))

    def log_prob(self, x):
        return x


def test_the_check_sees_a_dropped_score_term(discrete):
    # what a library does that takes the pathwise gradient through discrete draws
    point, exact, estimate = discrete
    with pytest.raises(AssertionError):
        check_unbiased(partial(estimate, variational.pathwise), point, exact[1])


@pytest.mark.parametrize(
    ("log_joint", "guide", "message"),
    [
        (lambda z: z, MeanField(jnp.zeros(2), jnp.ones(2)), r"log_joint .* scalar .* shape \(2,\)"),
        (jnp.sum, NoTree(jnp.zeros(2)), "guide.log_prob must return a scalar"),
    ],
)
def test_densities_that_are_no_scalars_are_refused(log_joint, guide, message):
    with pytest.raises(ValueError, match=message):
        elbo(jax.random.key(0), log_joint, guide, 4)


def test_clear_errors():
    key, guide = jax.random.key(0), MeanField(jnp.zeros(2), jnp.ones(2))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        elbo(key, jnp.sum, guide, 0)
    with pytest.raises(ValueError, match="rloo wants num_samples of at least 2"):
        elbo(key, jnp.sum, guide, 1, estimator=variational.rloo)
    with pytest.raises(ValueError, match="one shape"):
        exact_elbo(jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match="alpha=1"):
        variational.renyi(1, 2)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        variational.vimco(1)
