"""Options of the measures of calibration at other values than the defaults."""

import jax
import jax.numpy as jnp
import numpy as np

from likelax import calibration

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
