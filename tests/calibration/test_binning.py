import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve

from likelax import calibration
from likelax.calibration import bin_statistics, ece


def data(n=500, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(2, 1, n).astype(np.float32)
    outcome = (rng.uniform(size=n) < confidence**1.5).astype(np.float32)
    return confidence, outcome


def loop_bins(confidence, outcome, edges, weights=None):
    """Plain reference: one bin at a time, in float64."""
    weights = np.ones(len(confidence)) if weights is None else weights
    rows = []
    for b in range(len(edges) - 1):
        inside = (confidence > edges[b]) & (confidence <= edges[b + 1])
        if b == 0:
            inside |= confidence == edges[0]
        w = weights[inside].astype(float)
        rows.append([w.sum(), w @ confidence[inside].astype(float), w @ outcome[inside]])
    return np.array(rows).T


def test_the_notebook_bins():
    confidence = jnp.array([0.3, 0.4, 0.55, 0.65, 0.8, 0.9])
    outcome = jnp.array([0, 0, 1, 1, 1, 0])
    bins = bin_statistics(confidence, outcome, edges=[0.0, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(bins.accuracy, [0, 1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(bins.confidence, [0.35, 0.6, 0.85], rtol=1e-6)
    assert ece(bins) == pytest.approx((0.35 + 0.4 + 0.35) / 3, rel=1e-6)
    assert calibration.bias(bins) == pytest.approx((0.35 - 0.4 + 0.35) / 3, rel=1e-5)


@pytest.mark.parametrize("num_bins", [1, 10, 100])  # 100: another search than below 64
def test_bins_equal_a_loop(num_bins):
    confidence, outcome = data()
    weights = np.random.default_rng(1).gamma(2, size=500).astype(np.float32)
    bins = bin_statistics(confidence, outcome, num_bins=num_bins, weights=weights)
    want = loop_bins(confidence, outcome, np.asarray(bins.edges), weights)
    np.testing.assert_allclose(
        [bins.weight, bins.confidence_total, bins.outcome_total], want, rtol=1e-5
    )


def test_scikit_learn_has_the_same_curve():
    confidence, outcome = data()
    want_accuracy, want_confidence = calibration_curve(outcome, confidence, n_bins=15)
    bins = bin_statistics(confidence, outcome)
    np.testing.assert_allclose(bins.accuracy[bins.occupied], want_accuracy, rtol=1e-5)
    np.testing.assert_allclose(bins.confidence[bins.occupied], want_confidence, rtol=1e-5)


def test_netcal_has_the_same_error_where_it_is_right():
    # netcal 1.4, ECE(15), on data(); no confidence lies on an edge, where it differs
    assert float(ece(bin_statistics(*data()))) == pytest.approx(0.08550833398103716, rel=1e-5)


def test_edges_belong_to_the_bin_below_and_zero_and_one_have_a_bin():
    bins = bin_statistics(jnp.array([0.0, 0.5, 0.75, 1.0]), jnp.ones(4), num_bins=4)
    assert bins.weight.tolist() == [1, 1, 1, 1]
    assert bins.edges.shape == (5,)
    bins = bin_statistics(jnp.array([0.0, 0.25, 0.25, 1.0]), jnp.ones(4), num_bins=4)
    assert bins.weight.tolist() == [3, 0, 0, 1]


def test_empty_bins_are_masked_everywhere():
    bins = bin_statistics(jnp.array([0.1, 0.9]), jnp.array([0, 1]), num_bins=10)
    assert bins.occupied.sum() == 2
    assert np.isnan(bins.accuracy).sum() == 8
    for measure in (ece, calibration.rms_error, calibration.max_error):
        assert measure(bins) == pytest.approx(0.1, rel=1e-5)
    for measure in (ece, calibration.rms_error, calibration.max_error, calibration.debiased_ece):
        grad = jax.grad(lambda c, m=measure: m(bin_statistics(c, jnp.array([0, 1]), num_bins=10)))
        assert np.isfinite(grad(jnp.array([0.1, 0.9]))).all()


def test_no_data_is_nan_not_zero():
    bins = bin_statistics(jnp.zeros(0), jnp.zeros(0))
    for measure in (ece, calibration.rms_error, calibration.max_error, calibration.bias):
        assert np.isnan(measure(bins))


def test_statistics_add_and_weights_are_copies():
    confidence, outcome = data(400)
    whole = bin_statistics(confidence, outcome)
    parts = bin_statistics(confidence[:150], outcome[:150]).merge(
        bin_statistics(confidence[150:], outcome[150:])
    )
    chex.assert_trees_all_close(whole, parts, rtol=1e-5)
    copies = np.random.default_rng(3).integers(0, 4, 400)
    weighted = bin_statistics(confidence, outcome, weights=copies.astype(np.float32))
    repeated = bin_statistics(np.repeat(confidence, copies), np.repeat(outcome, copies))
    for measure in (ece, calibration.rms_error, calibration.max_error, calibration.bias):
        assert measure(weighted) == pytest.approx(float(measure(repeated)), rel=1e-5)


def test_weight_zero_removes_a_row_and_nan_with_it():
    confidence = jnp.array([0.3, jnp.nan, 0.9])
    outcome = jnp.array([0.0, jnp.nan, 1.0])
    weights = jnp.array([1.0, 0.0, 1.0])
    got = bin_statistics(confidence, outcome, weights=weights)
    want = bin_statistics(confidence[::2], outcome[::2])
    chex.assert_trees_all_close(got, want)


def test_a_logit_passed_as_a_probability_is_not_lost():
    for bad in (1.7, -0.3, np.nan):
        assert np.isnan(ece(bin_statistics(jnp.array([0.5, bad]), jnp.array([1, 0]))))


def test_a_million_rows_lose_nothing_in_float32():
    n = 1_000_000
    bins = bin_statistics(np.full(n, 0.1, np.float32), np.zeros(n, np.float32))
    assert bins.weight.sum() == n
    # blocks of 256: at most 128 half units in the last place; one running sum is off by 1e-2
    assert ece(bins) == pytest.approx(float(np.float32(0.1)), rel=8e-6)


def test_quantile_bins_hold_equal_weight_and_never_split_ties():
    confidence, outcome = data(600)
    edges = calibration.quantile_edges(confidence, 6)
    bins = bin_statistics(confidence, outcome, edges=edges)
    assert bins.weight.tolist() == [100] * 6
    tied = np.round(confidence, 1)  # eleven values only: netcal raises here
    edges = calibration.quantile_edges(tied, 15)
    bins = bin_statistics(tied, outcome, edges=edges)
    assert bins.weight.sum() == 600
    index = np.searchsorted(np.asarray(edges[1:-1]), tied, side="left")
    assert all(len(set(index[tied == value])) == 1 for value in np.unique(tied))
    weights = (np.arange(600) < 300).astype(np.float32)
    chex.assert_trees_all_close(
        calibration.quantile_edges(confidence, 4, weights=weights),
        calibration.quantile_edges(confidence[:300], 4),
    )


def test_top_label_and_classwise():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2]], np.float32)
    labels = np.array([0, 1, 1])
    confidence, correct = calibration.top_label(probs, labels)
    np.testing.assert_allclose(confidence, [0.7, 0.6, 0.4])
    assert correct.tolist() == [1, 0, 0]
    confidence, outcome = calibration.classwise(probs, labels)
    np.testing.assert_array_equal(confidence, probs.T)
    assert outcome.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    with pytest.raises(TypeError, match="labels must be integers"):
        calibration.top_label(probs, labels.astype(np.float32))


@pytest.mark.parametrize("num_bins", [1, 15])
def test_debiasing_removes_the_bias_of_a_calibrated_model(num_bins):
    # outcomes drawn from the confidences: the true error is zero, the plain one is not
    confidence = np.random.default_rng(0).uniform(size=300).astype(np.float32)
    outcome = np.random.default_rng(1).uniform(size=(400, 300)) < confidence

    @jax.vmap
    def errors(y):
        bins = bin_statistics(confidence, y, num_bins=num_bins)
        return ece(bins), calibration.debiased_ece(bins), calibration.debiased_squared_error(bins)

    plain, debiased, squared = errors(outcome.astype(np.float32))
    # the gap is plugged in for its mean, so 0.59 of the bias stays: sqrt(2 / pi) times 2 - sqrt 2
    assert abs(debiased.mean()) < 0.7 * plain.mean()
    assert abs(squared.mean()) < 4 * squared.std() / 20


def test_clopper_pearson_is_scipys():
    confidence, outcome = data(60)
    bins = bin_statistics(confidence, outcome, num_bins=30)
    lower, upper = calibration.clopper_pearson(bins, 0.9)
    for b in np.flatnonzero(bins.occupied):
        want = stats.binomtest(int(bins.outcome_total[b]), int(bins.weight[b])).proportion_ci(0.9)
        assert lower[b] == pytest.approx(want.low, abs=2e-5)
        assert upper[b] == pytest.approx(want.high, abs=2e-5)
    assert not bins.occupied.all()
    assert lower[~bins.occupied].tolist() == [0] * int((~bins.occupied).sum())
    assert upper[~bins.occupied].tolist() == [1] * int((~bins.occupied).sum())


def test_wrong_shapes_and_edges_are_named():
    with pytest.raises(ValueError, match="confidence must have shape"):
        bin_statistics(jnp.zeros((3, 2)), jnp.zeros(3))
    with pytest.raises(ValueError, match="outcome must have the shape of confidence"):
        bin_statistics(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(ValueError, match="num_bins must be at least 1"):
        bin_statistics(jnp.zeros(3), jnp.zeros(3), num_bins=0)
    a = bin_statistics(jnp.zeros(3), jnp.zeros(3), num_bins=2)
    with pytest.raises(ValueError, match="must share their edges"):
        a.merge(bin_statistics(jnp.zeros(3), jnp.zeros(3), edges=[0, 0.4, 1.0]))


def test_lp_errors_lie_between_the_mean_and_the_largest_gap():
    rng = np.random.default_rng(4)
    p, y = rng.uniform(size=200).astype(np.float32), rng.integers(0, 2, 200)
    bins = calibration.bin_statistics(p, y, num_bins=5)
    assert float(calibration.lp_error(bins, 1.0)) == pytest.approx(float(calibration.ece(bins)))
    rms = float(calibration.rms_error(bins))
    assert float(calibration.lp_error(bins, 2.0)) == pytest.approx(rms, rel=1e-5)
    gap, share = np.abs(np.asarray(bins.gap, float)), np.asarray(bins.fraction, float)
    want = (share @ gap**3.5) ** (1 / 3.5)
    assert float(calibration.lp_error(bins, 3.5)) == pytest.approx(want, rel=1e-5)
    largest = float(calibration.max_error(bins))
    assert float(calibration.lp_error(bins, 500.0)) == pytest.approx(largest, rel=1e-2)
    flat = calibration.bin_statistics(jnp.array([0.5, 0.5]), jnp.array([0, 1]), num_bins=2)
    assert calibration.lp_error(flat, 3.0) == 0
    with pytest.raises(ValueError, match="power must be at least 1"):
        calibration.lp_error(bins, 0.5)
