"""Options of the measures of calibration at other values than the defaults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from likelax import calibration
from likelax.calibration.smooth import _residuals

RNG = np.random.default_rng(3)
CONFIDENCE = jnp.asarray(RNG.beta(2, 1, 4000), jnp.float32)
OUTCOME = RNG.random(4000) < np.asarray(CONFIDENCE) ** 1.3
EDGES = jnp.array([0.0, 0.2, 0.5, 0.9, 1.0])


def test_resampled_bins_have_the_edges_and_the_spread_of_binomial_counts():
    bins = calibration.bin_statistics(CONFIDENCE, OUTCOME, edges=EDGES)
    again = calibration.bootstrap_bins(
        jax.random.key(1), CONFIDENCE, OUTCOME, edges=EDGES, num_resamples=500
    )
    assert again.weight.shape == (500, 4)
    rates = np.asarray(again.outcome_total / again.weight)
    rate = np.asarray(bins.outcome_total / bins.weight)
    error = np.sqrt(rate * (1 - rate) / np.asarray(bins.weight))
    np.testing.assert_allclose(rates.mean(0), rate, atol=5 * error.max() / np.sqrt(500))
    np.testing.assert_allclose(rates.std(0), error, rtol=0.15)
    few = calibration.bootstrap_bins(
        jax.random.key(2), CONFIDENCE, OUTCOME, num_bins=3, num_resamples=10
    )
    assert few.weight.shape == (10, 3)


def test_consistent_bins_have_the_rate_of_their_confidence():
    bins = calibration.consistency_bins(
        jax.random.key(3), CONFIDENCE, edges=EDGES, num_resamples=500
    )
    mean = np.asarray(bins.confidence_total / bins.weight)[0]
    error = np.sqrt(mean * (1 - mean) / np.asarray(bins.weight)[0])
    rates = np.asarray(bins.outcome_total / bins.weight)
    np.testing.assert_allclose(rates.mean(0), mean, atol=5 * error.max() / np.sqrt(500))
    few = calibration.consistency_bins(jax.random.key(4), CONFIDENCE, num_bins=3, num_resamples=10)
    assert few.weight.shape == (10, 3)
    lower, upper = calibration.consistency_band(jax.random.key(5), CONFIDENCE, edges=EDGES)
    np.testing.assert_allclose(upper - lower, 2 * 1.96 * error, rtol=0.25)
    np.testing.assert_allclose((upper + lower) / 2, mean, atol=error.max())


def test_a_histogram_has_the_rates_of_its_own_edges():
    fit = calibration.fit_histogram(CONFIDENCE, OUTCOME, edges=EDGES)
    inside = (np.asarray(CONFIDENCE) > 0.2) & (np.asarray(CONFIDENCE) <= 0.5)
    np.testing.assert_allclose(fit.apply(jnp.array([0.21, 0.5])), OUTCOME[inside].mean(), rtol=1e-5)


def test_a_coarse_grid_mixes_errors_that_cancel():
    """Just below one half all came true, and just above none: one cell sees no error."""
    confidence, outcome = jnp.tile(jnp.array([0.45, 0.55]), 200), jnp.tile(jnp.array([1, 0]), 200)
    by_size = [calibration.smooth_ece(confidence, outcome, num_nodes=n) for n in (1, 1024, 4096)]
    assert by_size[0] < 1e-6 < 0.1 < by_size[1]
    np.testing.assert_allclose(by_size[2], by_size[1], rtol=1e-2)


def test_bins_without_spread_have_no_bias():
    """All came false at one confidence: the error is known exactly."""
    bins = calibration.bin_statistics(jnp.full(50, 0.3), jnp.zeros(50, int))
    np.testing.assert_allclose(calibration.debiased_ece(bins), 0.3, rtol=1e-5)
    np.testing.assert_allclose(calibration.debiased_squared_error(bins), 0.09, rtol=1e-5)


def test_weighted_bins_count_as_many_rows_as_their_weights_are_worth():
    weights = jnp.array([1.0, 1.0, 4.0, 2.0])
    bins = calibration.bin_statistics(
        jnp.array([0.5, 0.5, 0.5, 0.5]), jnp.array([1, 0, 1, 0]), weights=weights, num_bins=1
    )
    np.testing.assert_allclose(bins.count, 64 / 22, rtol=1e-6)
    gap = np.array([-0.5, 0.5, -0.5, 0.5])
    mean = np.average(gap, weights=weights)
    variance = np.average((gap - mean) ** 2, weights=weights) / (64 / 22 - 1)
    np.testing.assert_allclose(
        calibration.debiased_squared_error(bins), mean**2 - variance, rtol=1e-5
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_beta_map_is_the_best_of_those_that_rise(seed):
    """Where the free fit would fall on one side, its coefficient is zero and the others are refitted."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.02, 0.98, 60)
    true = [confidence**3, 1 - (1 - confidence) ** 3, 0.5 + 0.4 * np.sin(9 * confidence)][seed % 3]
    outcome = rng.random(60) < true
    ones = outcome.sum()  # Platt's targets, which keep separable data finite
    target = np.where(outcome, (ones + 1) / (ones + 2), 1 / (60 - ones + 2))

    def of_score(score):
        return np.mean(np.logaddexp(0, score) - target * score)

    def loss(p):
        return of_score(p[0] * np.log(confidence) - p[1] * np.log1p(-confidence) + p[2])

    best = optimize.minimize(loss, [1, 1, 0], bounds=[(0, None), (0, None), (None, None)]).fun
    fit = calibration.fit_beta(jnp.asarray(confidence), jnp.asarray(outcome))
    got = np.asarray(fit.apply(jnp.asarray(confidence)), float)
    assert abs(of_score(np.log(got) - np.log1p(-got)) - best) < 1e-5


def test_a_residual_is_shared_by_the_two_nearest_cells():
    """At .3 between the centres .125 and .375 of four cells; at .05 there is only one."""
    got = _residuals(jnp.array([0.3, 0.05]), jnp.array([1.0, 0.0]), jnp.array([1.0, 3.0]), 4)
    np.testing.assert_allclose(got, [0.175 * 0.3 - 0.0375, 0.175 * 0.7, 0, 0], atol=1e-6)
