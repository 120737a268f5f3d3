import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import calibration, predictive
from likelax.calibration import bin_statistics, ece, resample


def data(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(size=n).astype(np.float32)
    return confidence, (rng.uniform(size=n) < confidence).astype(np.float32)


def test_bootstrap_has_the_spread_of_resampling_rows():
    confidence, outcome = data(600)
    weights = np.full(600, 2.0, np.float32)
    bins = calibration.bootstrap_bins(
        jax.random.key(0), confidence, outcome, weights=weights, num_resamples=400
    )
    got = jax.vmap(calibration.bias)(bins)
    rng = np.random.default_rng(1)
    index = rng.integers(0, 600, (400, 600))  # the classical bootstrap, as the reference
    want = (confidence - outcome)[index].mean(1)
    exact = float((confidence - outcome).mean())  # 400 draws: four standard errors
    assert float(got.mean()) == pytest.approx(exact, abs=0.2 * float(want.std()))
    assert float(got.std()) == pytest.approx(float(want.std()), rel=0.15)  # 400 draws: 5% each
    # a Poisson number of copies has mean one and variance one
    total = bins.weight.sum(1) / 2
    assert float(total.mean()) == pytest.approx(600, abs=4 * np.sqrt(600 / 400))
    assert float(total.std()) == pytest.approx(np.sqrt(600), rel=0.15)


def test_one_copy_of_each_row_is_the_statistic_itself():
    confidence, outcome = data(5000)  # three blocks of rows, the last padded
    bins = bin_statistics(confidence, outcome)
    drawn = calibration.bootstrap_bins(jax.random.key(2), confidence, outcome, num_resamples=300)
    mean = jax.tree.map(lambda leaf: leaf.mean(0), drawn)
    np.testing.assert_allclose(mean.weight, bins.weight, rtol=0.02)
    np.testing.assert_allclose(mean.brier_total, bins.brier_total, rtol=0.05)


def test_consistency_bins_are_calibrated_and_the_real_one_is_among_them():
    confidence, outcome = data(3000)
    drawn = calibration.consistency_bins(jax.random.key(3), confidence, num_resamples=300)
    bins = bin_statistics(confidence, outcome)
    np.testing.assert_allclose(drawn.weight[0], bins.weight, rtol=1e-5)
    np.testing.assert_allclose(drawn.confidence_total[7], bins.confidence_total, rtol=1e-5)
    np.testing.assert_allclose(drawn.outcome_total.mean(0), bins.confidence_total, rtol=0.02)
    errors = jax.vmap(ece)(drawn)
    lower, upper = predictive.equal_tailed(errors, 0.998)
    assert lower < ece(bins) < upper
    assert ece(bin_statistics(confidence, outcome * 0.7)) > errors.max()


@pytest.mark.parametrize("power,sign", [(1.0, 0), (0.5, -1), (2.0, 1)])
def test_spiegelhalter_is_two_sided(power, sign):
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1.0, 3000).astype(np.float32)
    outcome = (rng.uniform(size=3000) < confidence**power).astype(np.float32)
    got = calibration.spiegelhalter(confidence, outcome)
    p, y = confidence.astype(float), outcome.astype(float)
    z = np.sum((y - p) * (1 - 2 * p)) / np.sqrt(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    assert float(got.statistic) == pytest.approx(z, rel=1e-3, abs=1e-3)
    assert float(got.p_value) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-2, abs=1e-6)
    if sign:
        assert np.sign(z) == sign
        assert got.p_value < 1e-3
    else:
        assert got.p_value > 1e-3
    assert np.isnan(calibration.spiegelhalter(jnp.full(3, 0.5), jnp.ones(3)).statistic)


def test_sixteen_bits_are_two_independent_poisson_numbers():
    table = resample._pair_table()
    pairs = np.stack([table & 7, table >> 3]).astype(float)
    # a table of 65536 entries rounds each of 64 probabilities to within 8e-6
    for one in pairs:
        assert one.mean() == pytest.approx(1, abs=1e-3)
        assert one.var() == pytest.approx(1, abs=2e-3)
    assert np.corrcoef(pairs)[0, 1] == pytest.approx(0, abs=1e-3)
