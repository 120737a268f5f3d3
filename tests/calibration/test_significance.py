import jax
import numpy as np
import pytest

from likelax import calibration
from likelax.calibration import significance

KUIPER = jax.jit(jax.vmap(calibration.kuiper, in_axes=(None, 0)))


def test_kuiper_is_the_range_of_the_cumulative_residuals():
    rng = np.random.default_rng(0)
    p = np.round(rng.uniform(size=50), 1).astype(np.float32)  # eleven values: ties enter at once
    y = (rng.uniform(size=50) < p).astype(np.float32)
    w = rng.integers(0, 3, 50).astype(np.float32)
    got = calibration.kuiper(p, y, weights=w)
    path = [0.0] + [(w * (y - p))[p <= value].sum() for value in np.unique(p)]
    want = (max(path) - min(path)) / np.sqrt((w.astype(float) ** 2 * p * (1 - p)).sum())
    assert float(got.statistic) == pytest.approx(want, rel=1e-5)


def test_kuiper_rejects_at_its_level_and_sees_what_spiegelhalter_cannot():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=400).astype(np.float32)
    y = (rng.uniform(size=(1000, 400)) < p).astype(np.float32)
    p_value = np.asarray(KUIPER(p, y).p_value)
    for level in (0.05, 0.3):
        # a path of 400 steps is a little less wide than Brownian motion, so the test is careful
        assert level / 2 < (p_value < level).mean() < level + 4 * np.sqrt(level / 1000)
    # outcomes too frequent below 1/4 and above 3/4, too rare between: no tilt, no bias
    wave = np.clip(p + 0.12 * np.cos(4 * np.pi * p), 0, 1)
    y = (rng.uniform(size=(1, 400)) < wave).astype(np.float32)
    assert float(KUIPER(p, np.repeat(y, 1000, 0)).p_value[0]) < 0.05


def test_the_tail_of_the_range_of_brownian_motion():
    x = np.float32([0.3, 0.9, 1.2, 1.4999, 1.5001, 1.9, 2.4977, 3.5, 9.0])
    tail = np.array([float(significance._range_tail(v)) for v in x])
    assert np.all(np.diff(tail) <= 0) and tail[0] == pytest.approx(1) and tail[-1] < 1e-6
    # two series meet; between the points the tail itself falls by 1.8e-4
    assert tail[3] == pytest.approx(tail[4], abs=2.5e-4)
    # 5 % of Kuiper's statistic for Brownian motion, Arrieta-Ibarra et al. (2022): about 2.4977
    assert tail[6] == pytest.approx(0.05, abs=1e-4)
    steps = np.random.default_rng(2).normal(size=(4000, 1000)).cumsum(1) / np.sqrt(1000)
    spread = np.maximum(steps.max(1), 0) - np.minimum(steps.min(1), 0)
    # a walk of n steps misses about 1.165 / sqrt(n) of the range on both sides together
    want = (spread + 1.165 / np.sqrt(1000) > 1.9).mean()
    assert tail[5] == pytest.approx(want, abs=4 * np.sqrt(0.25 / 4000))


def test_a_band_holds_the_calibrated_and_not_the_over_confident():
    rng = np.random.default_rng(3)
    p = rng.uniform(size=2000).astype(np.float32)
    low, high = calibration.consistency_band(
        jax.random.key(0), p, mass=0.99, num_bins=10, num_resamples=300
    )
    fair = calibration.bin_statistics(p, rng.uniform(size=2000) < p, num_bins=10).accuracy
    sure = calibration.bin_statistics(p, rng.uniform(size=2000) < p**2, num_bins=10).accuracy
    assert ((low <= fair) & (fair <= high)).sum() >= 9
    assert (sure < low).sum() >= 5


def test_the_kolmogorov_smirnov_error_is_the_largest_cumulative_residual():
    rng = np.random.default_rng(3)
    p, y = np.round(rng.uniform(size=50), 1), rng.integers(0, 2, 50)  # ties
    weights = rng.integers(0, 3, 50)
    got = calibration.ks_error(p.astype(np.float32), y, weights=weights.astype(np.float32))
    residual = [np.sum((weights * (y - p))[p <= at]) for at in np.unique(p)]
    assert float(got) == pytest.approx(np.abs(residual).max() / weights.sum(), rel=1e-4)
    copies = np.repeat(np.stack([p, y]), weights, axis=1).astype(np.float32)
    assert float(calibration.ks_error(*copies)) == pytest.approx(float(got), rel=1e-4)
    assert calibration.ks_error(np.array([0.0, 1.0], np.float32), np.array([0, 1])) == 0
