import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import constraints, monte_carlo, variational
from likelax.fit import Status
from likelax.model import pytree
from likelax.variational import FullRank, LowRank, MeanField

LOC = jnp.array([1.0, -2.0, 0.5])
SCALE = jnp.array([0.5, 2.0, 1.0])
FACTOR = jnp.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])
TRIL = jnp.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.7]])
GUIDES = {
    "mean_field": (MeanField(LOC, SCALE), np.diag(SCALE**2)),
    "low_rank": (LowRank(LOC, SCALE, FACTOR), np.diag(SCALE**2) + FACTOR @ FACTOR.T),
    "full_rank": (FullRank(LOC, TRIL), TRIL @ TRIL.T),
}


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", GUIDES)
def test_guides_are_scipys_multivariate_normal(name):
    guide, covariance = GUIDES[name]
    want = stats.multivariate_normal(np.asarray(LOC), np.asarray(covariance))
    x = jnp.array([[0.0, 0.0, 0.0], [1.0, 3.0, -2.0]])
    np.testing.assert_allclose(guide.log_prob(x), want.logpdf(np.asarray(x)), rtol=1e-5)
    np.testing.assert_allclose(guide.entropy(), want.entropy(), rtol=1e-5)
    draws = guide.sample(jax.random.key(0), (20_000,))
    np.testing.assert_allclose(jnp.mean(draws, axis=0), LOC, atol=0.07)
    np.testing.assert_allclose(jnp.cov(draws.T), covariance, atol=0.2)


def test_a_carried_guide_is_a_density_over_the_parameters():
    template = {"rate": jnp.array(2.0), "share": jnp.array([0.2, 0.8])}
    sets = {"rate": constraints.positive, "share": constraints.simplex}
    guide = variational.mean_field(template, sets, scale=0.7)
    draws = guide.sample(jax.random.key(0), (4, 5))
    assert draws["share"].shape == (4, 5, 2)
    np.testing.assert_allclose(jnp.sum(draws["share"], axis=-1), 1, rtol=1e-6)
    # log-normal times logit-normal
    logit = np.log(0.2 / 0.8)
    one = {"rate": jnp.array(1.5), "share": jnp.array([0.6, 0.4])}
    want = stats.lognorm(0.7, scale=2.0).logpdf(1.5)
    want += stats.norm(logit, 0.7).logpdf(np.log(0.6 / 0.4)) - np.log(0.6 * 0.4)
    np.testing.assert_allclose(guide.log_prob(one), want, rtol=1e-5)


PRECISION = jnp.array([[2.0, 1.0], [1.0, 2.0]])
CENTRE = jnp.array([1.0, -1.0])
LOG_EVIDENCE = float(np.log(2 * np.pi) - np.log(3) / 2)


def correlated(z):
    return -(z - CENTRE) @ PRECISION @ (z - CENTRE) / 2


def test_full_rank_finds_a_normal_posterior():
    start = variational.full_rank(jnp.zeros(2))
    found = variational.fit_guide(jax.random.key(0), correlated, start, max_steps=3000)
    base = found.guide.base
    np.testing.assert_allclose(base.loc, CENTRE, atol=0.02)
    covariance = base.scale_tril @ base.scale_tril.T
    np.testing.assert_allclose(covariance, jnp.linalg.inv(PRECISION), atol=0.03)
    np.testing.assert_allclose(found.elbo.value, LOG_EVIDENCE, atol=0.01)
    assert found.elbo.standard_error < 0.01
    assert found.fit.usable and found.k_hat < 0.5


def test_mean_field_falls_short_by_the_kl_and_weights_make_it_up():
    # the best mean-field normal has variances 1 / precision_ii, and misses 0.5 log(4 / 3) nats
    guide = variational.Transported(
        MeanField(CENTRE, jnp.full(2, jnp.sqrt(0.5))), variational.space_of(CENTRE)[0]
    )

    @jax.jit
    def both(key):
        keys = jax.random.split(key)
        weighted = variational.importance(keys[1], correlated, guide, 20_000)
        square = (weighted.draws[:, 0] - CENTRE[0]) ** 2
        bound = variational.elbo(keys[0], correlated, guide, 20_000)
        return bound, monte_carlo.weighted(weighted.log_weights, square), weighted.k_hat

    bound, variance, k_hat = both(jax.random.key(1))
    assert abs(bound.value - (LOG_EVIDENCE - np.log(4 / 3) / 2)) < 4 * bound.standard_error
    assert abs(variance.value - 2 / 3) < 4 * variance.standard_error
    assert k_hat < 0.7


def test_laplace_is_exact_for_a_normal():
    found = variational.laplace(jax.random.key(0), correlated, jnp.zeros(2))
    np.testing.assert_allclose(found.log_evidence, LOG_EVIDENCE, rtol=1e-5)
    np.testing.assert_allclose(found.corrected.value, LOG_EVIDENCE, rtol=1e-4)
    np.testing.assert_allclose(found.fit.model, CENTRE, atol=1e-4)
    root = found.guide.base.scale_tril
    np.testing.assert_allclose(root @ root.T, jnp.linalg.inv(PRECISION), rtol=1e-4)
    assert jnp.all(jnp.triu(root, 1) == 0)


def test_laplace_of_a_gamma_in_log_space():
    # log joint of rate under Gamma(1, 1) with waits 3 and 2: 2 log r - 6 r, plus log r for the map;
    # its mode is log(1 / 2), its curvature there -3
    found = variational.laplace(
        jax.random.key(0), lambda r: 2 * jnp.log(r) - 6 * r, jnp.array(1.0), constraints.positive
    )
    np.testing.assert_allclose(found.fit.model, 0.5, rtol=1e-4)
    want = 3 * np.log(0.5) - 3 + np.log(2 * np.pi / 3) / 2
    np.testing.assert_allclose(found.log_evidence, want, rtol=1e-5)
    # the integral of r^2 exp(-6 r): Gamma(3) / 6^3
    off = found.corrected.value - np.log(2 / 216)
    assert abs(off) < 4 * found.corrected.standard_error
    assert found.k_hat < 0.7


def test_fixed_draws_and_their_linear_response():
    found = variational.fit_fixed_draws(jax.random.key(0), correlated, jnp.zeros(2))
    assert found.fit.status == Status.CONVERGED
    # 64 draws: the moments of the draws themselves are off by about an eighth
    np.testing.assert_allclose(found.guide.base.loc, CENTRE, atol=0.3)
    np.testing.assert_allclose(found.covariance, jnp.linalg.inv(PRECISION), atol=0.15)
    assert found.elbo.value <= LOG_EVIDENCE + 4 * found.elbo.standard_error


def test_a_log_joint_of_nan_is_a_status():
    start = variational.mean_field(jnp.zeros(2))
    found = variational.fit_guide(jax.random.key(0), lambda z: jnp.sum(z) * jnp.nan, start)
    assert found.fit.status == Status.NON_FINITE
    assert jnp.isnan(found.elbo.value)
    np.testing.assert_array_equal(found.guide.base.loc, start.base.loc)


@pytree
class Everything:
    """A parameter of each constraint."""

    real: jax.Array
    positive: jax.Array = constraints.constrained(constraints.positive)
    unit: jax.Array = constraints.constrained(constraints.unit_interval)
    simplex: jax.Array = constraints.constrained(constraints.simplex)
    ordered: jax.Array = constraints.constrained(constraints.ordered)
    tril: jax.Array = constraints.constrained(constraints.scale_tril)
    definite: jax.Array = constraints.constrained(constraints.positive_definite)
    correlation: jax.Array = constraints.constrained(constraints.correlation)
    factor: jax.Array = constraints.constrained(constraints.correlation_tril)


MATRIX = jnp.array([[1.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 1.0]])
TEMPLATE = Everything(
    jnp.zeros(2), jnp.array(2.0), jnp.array([0.3]), jnp.array([0.2, 0.3, 0.5]),
    jnp.array([-1.0, 0.0, 2.0]), jnp.linalg.cholesky(MATRIX), 2 * MATRIX, MATRIX,
    jnp.linalg.cholesky(MATRIX),
)  # fmt: skip
MAKERS = {
    "mean field": variational.mean_field,
    "blocks": variational.block_rank,
    "low rank": lambda template, scale: variational.low_rank(template, rank=2, scale=scale),
    "full rank": variational.full_rank,
    "mean field, t": variational.mean_field,
    "low rank, t": lambda template, scale: variational.low_rank(template, rank=2, scale=scale),
    "full rank, t": variational.full_rank,
}


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", MAKERS)
def test_guides_take_a_pytree_of_all_constraints(name):
    guide = MAKERS[name](TEMPLATE, scale=0.3)
    if name.endswith("t"):
        normal, guide = guide, variational.with_tails(guide, dof=6.0)
        assert isinstance(guide.base, variational.FullRankT)
        covariance = guide.base.scale_tril @ guide.base.scale_tril.T * 6 / 4
        root = normal.base.root()
        np.testing.assert_allclose(covariance, root @ root.T, rtol=1e-4, atol=1e-6)
    draws = guide.sample(jax.random.key(0), (50,))
    assert isinstance(draws, Everything)
    sets = constraints.declared(TEMPLATE)
    for field in dataclasses.fields(Everything):
        inside = getattr(sets, field.name).contains(np.asarray(getattr(draws, field.name)))
        assert np.all(inside), field.name
    # the density is that of the reals over the volume of the map
    reals = jax.vmap(guide.space.unconstrain)(draws)
    want = guide.base.log_prob(reals) - jax.vmap(guide.space.log_det)(reals)
    found = jax.jit(jax.vmap(guide.log_prob))(draws)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    # and the draws have the template in their middle
    np.testing.assert_allclose(jnp.mean(reals, axis=0), guide.base.loc, atol=0.3)


def test_a_t_guide_is_fitted_from_its_start():
    # independent Student t with 5 degrees of freedom, carried by a matrix: the guide's own family
    tril = jnp.array([[1.0, 0.0], [0.8, 0.5]])
    posterior = variational.FullRankT(CENTRE, tril, 5.0)
    start = variational.with_tails(variational.full_rank(jnp.zeros(2), scale=1.0))
    found = variational.fit_guide(
        jax.random.key(0), lambda z: 2.0 + posterior.log_prob(z), start, num_check=500
    )
    assert found.fit.usable and found.k_hat < 0.7
    np.testing.assert_allclose(found.elbo.value, 2.0, atol=0.02)
    np.testing.assert_allclose(found.guide.base.loc, CENTRE, atol=0.1)
    np.testing.assert_allclose(found.guide.base.scale_tril, tril, atol=0.1)


def test_clear_errors():
    with pytest.raises(ValueError, match="floating-point parameters and nothing else"):
        variational.mean_field({"n": 3})
    with pytest.raises(ValueError, match="one Constraint for each leaf"):
        variational.mean_field({"a": 1.0}, {"b": constraints.real})
    with pytest.raises(ValueError, match="inside its sets"):
        variational.mean_field(0.0, constraints.positive)
    with pytest.raises(ValueError, match="rank must be from 1 to 2, got 3"):
        variational.low_rank(jnp.zeros(2), rank=3)
    with pytest.raises(ValueError, match=r"log_joint must return a scalar"):
        variational.fit_guide(jax.random.key(0), lambda z: z, variational.mean_field(jnp.zeros(2)))
