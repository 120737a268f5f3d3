"""Bayesian linear regression against least squares, plain NumPy and its own laws."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax
from likelax.data import Masked
from likelax.families import LinearRegression, MatrixNormalInverseWishart, RidgePrior
from likelax.statistics import add

RNG = np.random.default_rng(0)
INPUTS = np.concatenate([np.ones((12, 1)), RNG.normal(size=(12, 2))], 1)
TARGETS = INPUTS @ RNG.normal(size=(3, 2)) + 0.3 * RNG.normal(size=(12, 2))
MODEL = LinearRegression(np.zeros((3, 2)), np.eye(2))
PRIOR = MatrixNormalInverseWishart(
    RNG.normal(size=(3, 2)), np.diag([0.5, 1.0, 2.0]), 5.0, np.array([[1.0, 0.2], [0.2, 0.7]])
)


def test_m_step_is_least_squares(x64):
    fitted = MODEL.m_step(MODEL.e_step((INPUTS, TARGETS))[0])
    weights = np.linalg.lstsq(INPUTS, TARGETS, rcond=None)[0]
    gap = TARGETS - INPUTS @ weights
    np.testing.assert_allclose(fitted.coefficients, weights, rtol=1e-9)
    np.testing.assert_allclose(fitted.scale_tril @ fitted.scale_tril.T, gap.T @ gap / 12, rtol=1e-9)


def test_evidence_is_a_matrix_t(x64):
    """With the parameters integrated out all targets together are a matrix t distribution."""
    sums, _ = MODEL.e_step((INPUTS, TARGETS))
    column = np.eye(12) + INPUTS @ np.linalg.inv(PRIOR.precision) @ INPUTS.T
    want = stats.matrix_t.logpdf(
        TARGETS,
        mean=INPUTS @ PRIOR.loc,
        row_spread=column,
        col_spread=PRIOR.scale,
        df=PRIOR.dof - 1,
    )
    np.testing.assert_allclose(PRIOR.log_evidence(sums), want, rtol=1e-9)


def test_evidence_is_the_chain_of_predictives(x64):
    @jax.jit
    def chain(prior):
        def step(posterior, row):
            log_prob = posterior.predictive(row[0]).log_prob(row[1])
            return posterior.posterior(MODEL.e_step(row)[0]), log_prob

        return jax.lax.scan(step, prior, (jnp.asarray(INPUTS), jnp.asarray(TARGETS)))

    prior = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PRIOR)
    last, log_probs = chain(prior)
    first, second = ((INPUTS[s], TARGETS[s]) for s in (slice(0, 5), slice(5, 12)))
    both = add(MODEL.e_step(first)[0], MODEL.e_step(second)[0])
    np.testing.assert_allclose(prior.log_evidence(both), log_probs.sum(), rtol=1e-9)
    chex.assert_trees_all_close(last, prior.posterior(both), rtol=1e-8)


def test_bayes_rule_holds_at_any_parameter(x64):
    sums, log_lik = LinearRegression(PRIOR.loc, np.eye(2)).e_step((INPUTS, TARGETS))
    value = (PRIOR.loc, np.eye(2))
    got = PRIOR.log_prob(value) + log_lik - PRIOR.posterior(sums).log_prob(value)
    np.testing.assert_allclose(got, PRIOR.log_evidence(sums), rtol=1e-9)


def test_missing_targets_are_marginalised(x64):
    """Of two targets one was seen: the marginal normal, and EM reaches the maximum of it."""
    model = LinearRegression(0.5 * np.ones((3, 2)), np.array([[1.0, 0.0], [0.6, 0.8]]))
    seen = np.ones((12, 2), bool)
    seen[3:6, 0], seen[8:10, 1], seen[11] = False, False, False
    x = (INPUTS, Masked(np.where(seen, TARGETS, np.nan), seen))
    loc = INPUTS @ model.coefficients
    covariance = model.scale_tril @ model.scale_tril.T
    want = [
        stats.multivariate_normal.logpdf(y[s], m[s], covariance[np.ix_(s, s)]) if s.any() else 0.0
        for y, m, s in zip(TARGETS, loc, seen, strict=True)
    ]
    np.testing.assert_allclose(model.log_prob(x), want, rtol=1e-9)
    model = jax.tree.map(jnp.asarray, model)
    sums, total = model.e_step(x)
    np.testing.assert_allclose(total, np.sum(want), rtol=1e-10)
    identity = jax.grad(lambda m: m.expected_log_prob(sums))(model)
    chex.assert_trees_all_close(
        identity, jax.grad(lambda m: m.log_prob(x).sum())(model), rtol=1e-8, atol=1e-10
    )
    fit = likelax.fit.em(model, x, max_steps=500)
    assert np.all(np.diff(fit.objectives) >= 0)
    slope = jax.grad(lambda m: m.log_prob(x).sum())(fit.model)
    np.testing.assert_allclose(slope.coefficients, 0, atol=1e-2)  # EM is slow at the end


def test_a_target_per_row_may_be_a_scalar(x64):
    model = LinearRegression(np.ones((3, 1)), np.eye(1))
    column = (INPUTS, TARGETS[:, :1])
    np.testing.assert_allclose(model.log_prob((INPUTS, TARGETS[:, 0])), model.log_prob(column))
    seen = np.arange(12) > 3
    masked = (INPUTS, Masked(TARGETS[:, 0], seen))
    np.testing.assert_allclose(model.log_prob(masked), np.where(seen, model.log_prob(column), 0))


def test_map_raises_the_log_joint_to_the_mode_of_the_prior(x64):
    x = (INPUTS, TARGETS)
    for prior in (jax.tree.map(jnp.asarray, PRIOR), RidgePrior(jnp.array([0.0, 2.0, 1.0]))):
        fit = likelax.fit.em(jax.tree.map(jnp.asarray, MODEL), x, prior=prior)
        assert fit.usable and np.all(np.diff(fit.objectives) >= 0)

        def joint(model, prior=prior):
            return model.log_prob(x).sum() + model.log_prior(prior)

        # fields as they are: the covariance prior is a density over the covariance
        slope = jax.grad(joint)(fit.model)
        np.testing.assert_allclose(slope.coefficients, 0, atol=1e-4)
        if isinstance(prior, RidgePrior):
            np.testing.assert_allclose(np.tril(slope.scale_tril), 0, atol=1e-4)


def test_ridge_of_one_target_is_that_of_the_normal_equations(x64):
    """At its covariance, the coefficients solve (X'X / s^2 + P) b = X'y / s^2."""
    precision = np.array([0.0, 2.0, 1.0])
    model = LinearRegression(jnp.zeros((3, 1)), jnp.eye(1))
    fit = likelax.fit.em(model, (INPUTS, TARGETS[:, 0]), prior=RidgePrior(precision))
    noise = float(fit.model.scale_tril[0, 0]) ** 2
    want = np.linalg.solve(
        INPUTS.T @ INPUTS / noise + np.diag(precision), INPUTS.T @ TARGETS[:, 0] / noise
    )
    np.testing.assert_allclose(fit.model.coefficients[:, 0], want, rtol=1e-5)


def test_without_rows_the_model_stays(x64):
    model = LinearRegression(jnp.ones((3, 2)), 2 * jnp.eye(2))
    sums, _ = model.e_step((INPUTS, TARGETS), np.zeros(12))
    chex.assert_trees_all_close(model.m_step(sums), model)
    ridge = model.m_step(sums, RidgePrior(jnp.array([0.0, 1.0, 1.0])))
    np.testing.assert_allclose(ridge.coefficients, [[1, 1], [0, 0], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(ridge.scale_tril, model.scale_tril)


def test_draws_are_normal_about_the_line(x64):
    model = LinearRegression(jnp.asarray(PRIOR.loc), jnp.array([[1.0, 0.0], [0.6, 0.8]]))
    inputs = jnp.broadcast_to(jnp.asarray(INPUTS), (5000, 12, 3))
    given, targets = model.sample(jax.random.key(0), (5000, 12), inputs)
    chex.assert_trees_all_equal(given, inputs)
    np.testing.assert_allclose(targets.mean(0), model.mean(INPUTS), atol=5 / np.sqrt(5000))
    np.testing.assert_allclose(targets.var(0), model.variance(INPUTS), rtol=0.15)


def test_missing_targets_of_series_are_those_of_their_steps():
    """Targets (B, T, E) with gaps are scored and counted as the same steps in one row."""
    rng = np.random.default_rng(0)
    model = LinearRegression(
        jnp.array([[0.5, -1.0], [0.8, 0.3]]), jnp.array([[1.2, 0], [0.4, 0.8]])
    )
    inputs, targets = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 2))
    seen = rng.random((3, 5, 2)) < 0.6
    mask = (np.ones((3, 5, 2), bool), seen)

    def flat(tree):
        return jax.tree.map(lambda a: a.reshape(15, 2), tree)

    wide = Masked((inputs, targets), mask)
    long = Masked(flat((inputs, targets)), flat(mask))
    got, want = model.log_prob(wide), model.log_prob(long)
    assert np.all(got[~seen.any(-1)] == 0)
    np.testing.assert_allclose(np.ravel(got), want, rtol=1e-5)
    chex.assert_trees_all_close(model.e_step(wide), model.e_step(long), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "x", [jnp.ones((2, 3)), (jnp.ones((3, 1)),) * 3, (jnp.ones((3, 1)),), {"inputs": jnp.ones(3)}]
)
@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(jnp.zeros((1, 1)), jnp.eye(1)),
        likelax.PoissonRegression(jnp.zeros(1)),
    ],
)
def test_what_is_no_pair_is_refused(model, x):
    with pytest.raises(ValueError, match=r"x must be a pair \(\w+, \w+\); got"):
        model.log_prob(x)
