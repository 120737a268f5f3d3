"""A normal with known noise against SciPy, numerical optimisation and its own laws."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import likelax as lx
from likelax.families import NoisyNormal, Normal, NormalInverseGamma

RNG = np.random.default_rng(0)
NOISE = RNG.uniform(0, 2, 40)
VALUES = 1.5 + np.sqrt(0.49 + NOISE) * RNG.normal(size=40)
WEIGHTS = RNG.uniform(0.5, 2, 40)


def log_lik(loc, scale):
    return stats.norm.logpdf(VALUES, loc, np.sqrt(scale**2 + NOISE))


def test_log_prob_is_a_normal_with_the_variances_added(x64):
    model = NoisyNormal(0.4, 1.3)
    np.testing.assert_allclose(model.log_prob((VALUES, NOISE)), log_lik(0.4, 1.3), rtol=1e-12)


@pytest.mark.parametrize("prior", [None, NormalInverseGamma(0.0, 1.0, 3.0, 2.0)])
def test_em_ends_at_the_optimum_of_a_general_optimiser(prior, x64):
    def loss(free):
        loc, scale = free[0], np.exp(free[1])
        total = np.sum(WEIGHTS * log_lik(loc, scale))
        if prior is not None:  # of (mean, variance)
            total += stats.invgamma.logpdf(scale**2, 3.0, scale=2.0)
            total += stats.norm.logpdf(loc, 0.0, scale)
        return -total

    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 5000}
    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options=options)
    fit = lx.fit.em(NoisyNormal(0.0, 1.0), (VALUES, NOISE), weights=WEIGHTS, prior=prior, tol=1e-15)
    assert np.all(np.diff(fit.objectives) >= 0)
    np.testing.assert_allclose(fit.model.loc, best.x[0], atol=1e-5)
    np.testing.assert_allclose(fit.model.scale, np.exp(best.x[1]), atol=1e-5)
    np.testing.assert_allclose(np.nanmax(fit.objectives), -best.fun, rtol=1e-10)


def test_without_noise_it_is_a_normal(x64):
    zero = np.zeros(40)
    got = NoisyNormal(0.4, 1.3).e_step((VALUES, zero), WEIGHTS)
    chex.assert_trees_all_close(got, Normal(0.4, 1.3).e_step(VALUES, WEIGHTS), rtol=1e-12)


def test_missing_values_and_zero_weights_add_nothing(x64):
    model, seen = NoisyNormal(0.4, 1.3), np.arange(40) % 3 > 0
    want = model.e_step((VALUES[seen], NOISE[seen]))
    hidden, noise = np.where(seen, VALUES, np.nan), np.where(seen, NOISE, np.nan)
    for x in ((lx.Masked(hidden, seen), NOISE), lx.Masked((hidden, noise), (seen, seen))):
        np.testing.assert_allclose(model.log_prob(x)[~seen], 0)
        chex.assert_trees_all_close(model.e_step(x), want, rtol=1e-12)
    chex.assert_trees_all_close(model.e_step((hidden, noise), 1.0 * seen), want, rtol=1e-12)


def test_fisher_identity(x64):
    model = jax.tree.map(jnp.asarray, NoisyNormal(0.4, 1.3))
    sums, _ = model.e_step((VALUES, NOISE))
    got = jax.grad(lambda m: m.expected_log_prob(sums))(model)
    want = jax.grad(lambda m: m.log_prob((VALUES, NOISE)).sum())(model)
    chex.assert_trees_all_close(got, want, rtol=1e-9)


def test_draws_have_both_variances():
    model, noise = NoisyNormal(1.0, 2.0), jnp.full((20_000, 2), jnp.array([0.0, 5.0]))
    values, given = model.sample(jax.random.key(0), (20_000, 2), noise)
    chex.assert_trees_all_equal(given, noise)
    np.testing.assert_allclose(values.mean(0), 1.0, atol=0.1)
    np.testing.assert_allclose(values.var(0), model.variance(noise[0]), rtol=0.05)


def test_deconvolution_by_a_mixture_finds_two_narrow_groups(x64):
    """Two groups hidden by noise as large as their distance."""
    rng = np.random.default_rng(1)
    label, noise = rng.integers(0, 2, 3000), rng.uniform(0.1, 4.0, 3000)
    truth = np.where(label == 0, -1.5, 1.5) + 0.3 * rng.normal(size=3000)
    values = truth + np.sqrt(noise) * rng.normal(size=3000)
    start = lx.Mixture(jnp.array([0.5, 0.5]), NoisyNormal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    fit = lx.fit.em(start, (values, noise))
    assert fit.usable and np.all(np.diff(fit.objectives) >= 0)
    # five standard errors of a mean of some 1500 values with the noise of the better half
    np.testing.assert_allclose(fit.model.components.loc, [-1.5, 1.5], atol=0.15)
    np.testing.assert_allclose(fit.model.components.scale, 0.3, atol=0.2)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="one shape"):
        NoisyNormal(0.0, 1.0).log_prob((jnp.zeros(3), jnp.ones(2)))
    with pytest.raises(ValueError, match="variances"):
        NoisyNormal(0.0, 1.0).sample(jax.random.key(0), (3,))
    with pytest.raises(TypeError, match="variances of the noise"):
        NoisyNormal(0.0, 1.0).variance()
