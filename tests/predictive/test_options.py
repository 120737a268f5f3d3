"""Options of scores and simulations at other values than the defaults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import monte_carlo, predictive, scoring

RNG = np.random.default_rng(5)
LOG_LIK = jnp.asarray(RNG.normal(-2, 1.2, (400, 30)), jnp.float32)


def autocorrelated(size):
    noise = RNG.normal(size=size)
    out = np.zeros(size)
    for t in range(1, size):
        out[t] = 0.9 * out[t - 1] + noise[t]
    return jnp.asarray(out - 3, jnp.float32)


def by_blocks(values, block_size):
    """The standard error of a sum, from the sums of blocks."""
    sums = np.asarray(values, float).reshape(-1, block_size).sum(1)
    return np.sqrt(len(sums)) * sums.std(ddof=1)


def test_blocks_widen_the_error_of_dependent_rows():
    first, second = autocorrelated(400), autocorrelated(400)
    for size in (1, 20):
        one = predictive.elpd_of(first, block_size=size)
        np.testing.assert_allclose(one.standard_error, by_blocks(first, size), rtol=1e-4)
        results = [predictive.elpd_of(values) for values in (first, second)]
        gap = predictive.compare(*results, block_size=size)
        np.testing.assert_allclose(gap.standard_error, by_blocks(first - second, size), rtol=1e-4)
    table = predictive.compare_all(dict(zip("ab", results, strict=True)), block_size=20)
    worst = min(table.values(), key=lambda elpd: float(elpd.value))
    np.testing.assert_allclose(worst.standard_error, gap.standard_error, rtol=1e-5)

    def log_prob(draw, x):
        return x + draw

    scored = predictive.log_predictive_density_of(log_prob, jnp.zeros(1), first, block_size=20)
    np.testing.assert_allclose(scored.standard_error, by_blocks(first, 20), rtol=1e-4)


@pytest.mark.parametrize("efficiency", [0.2, 1.0])
def test_leave_one_out_smooths_the_tail_that_the_efficiency_says(efficiency):
    each = [monte_carlo.psis(-column, relative_efficiency=efficiency).k_hat for column in LOG_LIK.T]
    by_array = predictive.loo(LOG_LIK, relative_efficiency=efficiency)
    np.testing.assert_allclose(by_array.k_hat, each, rtol=1e-4, atol=1e-5)

    def log_prob(draw, x):
        return LOG_LIK[draw, x]

    draws, rows = jnp.arange(400), jnp.arange(30)
    by_function = predictive.loo_of(log_prob, draws, rows, relative_efficiency=efficiency)
    np.testing.assert_allclose(by_function.pointwise, by_array.pointwise, rtol=1e-5)


def test_the_transform_uses_the_smoothed_weights_of_its_efficiency():
    x = jnp.zeros(30)
    draws = jnp.asarray(RNG.normal(size=(400, 30)), jnp.float32)
    for efficiency in (0.2, 1.0):
        got = predictive.loo_pit(
            jax.random.key(0), x, draws, LOG_LIK, relative_efficiency=efficiency
        )
        for n in (0, 7):
            log_weights = monte_carlo.psis(-LOG_LIK[:, n], relative_efficiency=efficiency)
            weights = np.exp(np.asarray(log_weights.log_weights, float))
            below = (weights * (np.asarray(draws[:, n]) < 0)).sum() / weights.sum()
            assert got[n] == pytest.approx(below, abs=1e-5)


def test_a_summary_has_the_mass_that_is_asked():
    draws = jnp.linspace(0.0, 1.0, 1001)
    for mass in (0.5, 0.9):
        summary = predictive.summarise(draws, mass)
        interval = [float(v) for v in jax.tree.leaves(summary) if v.ndim == 0]
        low, high = 0.5 - mass / 2, 0.5 + mass / 2
        assert any(abs(v - low) < 1e-3 for v in interval)
        assert any(abs(v - high) < 1e-3 for v in interval)


def test_replicates_in_chunks_are_as_many_and_all_different():
    draws = predictive.replicate(jax.random.key(0), lx.Normal(3.0, 1.0), (50,), 7, chunk_size=3)
    assert draws.shape == (7, 50)
    assert len(np.unique(np.asarray(draws))) == 350
    assert np.mean(draws) == pytest.approx(3.0, abs=5 / np.sqrt(350))


def test_one_value_or_one_draw_is_enough_where_no_spread_is_asked():
    point, one = jnp.array([0.5]), jnp.array([[0.5]])
    np.testing.assert_array_equal(predictive.distribution(point, jnp.array([0.4, 0.6])), [0, 1])
    assert predictive.equal_tailed(point).lower == predictive.equal_tailed(point).upper == 0.5
    assert predictive.highest_density(point).lower == 0.5
    assert predictive.log_predictive_density(one).value == 0.5
    assert predictive.rank(jax.random.key(0), jnp.array([0.4]), one) == 0
    np.testing.assert_allclose(scoring.crps_ensemble(jnp.array([[2.0]]), point, fair=False), 1.5)
    np.testing.assert_allclose(scoring.energy_score(jnp.array([[2.0]]), point, fair=False), 1.5)
