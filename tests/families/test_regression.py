"""Bayesian linear regression against least squares, plain NumPy and its own laws."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from likelax.families import LinearRegression, MatrixNormalInverseWishart
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
