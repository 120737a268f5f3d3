"""Class weights are row weights, written by class."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from likelax import calibration

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.uniform(0.05, 0.95, 60).astype(np.float32)
OUTCOME = (RNG.uniform(size=60) < CONFIDENCE**2).astype(np.int32)
ROWS = RNG.uniform(0.5, 2.0, 60).astype(np.float32)
OF_OUTCOMES = np.array([0.5, 3.0], np.float32)
LABELS = RNG.integers(0, 3, 60)
LOGITS = (RNG.normal(size=(60, 3)) + 2 * np.eye(3)[LABELS]).astype(np.float32)
PROBS = np.asarray(jax.nn.softmax(LOGITS, axis=-1))
OF_CLASSES = np.array([0.5, 3.0, 1.2], np.float32)

OF_TWO = {
    "bin_statistics": lambda **w: calibration.bin_statistics(CONFIDENCE, OUTCOME, num_bins=5, **w),
    "smooth_ece": lambda **w: calibration.smooth_ece(CONFIDENCE, OUTCOME, num_nodes=64, **w),
    "ks_error": lambda **w: calibration.ks_error(CONFIDENCE, OUTCOME, **w),
    "fit_platt": lambda **w: calibration.fit_platt(CONFIDENCE, OUTCOME, **w),
    "fit_beta": lambda **w: calibration.fit_beta(CONFIDENCE, OUTCOME, **w),
    "fit_isotonic": lambda **w: calibration.fit_isotonic(CONFIDENCE, OUTCOME, **w),
    "fit_histogram": lambda **w: calibration.fit_histogram(CONFIDENCE, OUTCOME, num_bins=5, **w),
}
OF_MANY = {
    "fit_temperature": lambda **w: calibration.fit_temperature(LOGITS, LABELS, **w),
    "fit_vector": lambda **w: calibration.fit_vector(LOGITS, LABELS, **w),
    "fit_dirichlet": lambda **w: calibration.fit_dirichlet(PROBS, LABELS, **w),
}


@pytest.mark.parametrize("name", [*OF_TWO, *OF_MANY])
def test_class_weights_are_row_weights(name):
    function, of_class, labels = (
        (OF_TWO[name], OF_OUTCOMES, OUTCOME)
        if name in OF_TWO
        else (OF_MANY[name], OF_CLASSES, LABELS)
    )
    by_hand = np.array([of_class[label] for label in labels])
    alone = function(class_weights=of_class)
    chex.assert_trees_all_close(alone, function(weights=by_hand), rtol=1e-6)
    both = function(class_weights=of_class, weights=ROWS)
    chex.assert_trees_all_close(both, function(weights=by_hand * ROWS), rtol=1e-6)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(alone, function(), rtol=1e-3)
    with pytest.raises(ValueError, match="class_weights must have shape"):
        function(class_weights=np.ones(4, np.float32))
    with pytest.raises(ValueError, match="class_weights must be finite and not negative"):
        function(class_weights=-of_class)


def test_class_weights_turn_a_sample_into_one_with_other_shares():
    # three times as many rows of class 1: the error of the data that have them
    tripled = np.concatenate([np.arange(60), *(np.flatnonzero(OUTCOME),) * 2])
    copies = calibration.bin_statistics(CONFIDENCE[tripled], OUTCOME[tripled])
    weighted = calibration.bin_statistics(CONFIDENCE, OUTCOME, class_weights=np.array([1.0, 3.0]))
    np.testing.assert_allclose(calibration.ece(weighted), calibration.ece(copies), rtol=1e-5)


def test_frequencies_have_no_class():
    frequencies = np.full(60, 0.5, np.float32)
    with pytest.raises(ValueError, match="outcome must be 0 or 1 where class_weights are given"):
        calibration.ks_error(CONFIDENCE, frequencies, class_weights=OF_OUTCOMES)
    traced = jax.jit(lambda y: calibration.ks_error(CONFIDENCE, y, class_weights=OF_OUTCOMES))
    assert np.isnan(traced(frequencies))
    # a row without weight may hold anything
    unseen = np.where(np.arange(60) == 3, 0.0, 1.0).astype(np.float32)
    strange = np.where(np.arange(60) == 3, np.nan, OUTCOME).astype(np.float32)
    got, want = (
        calibration.bin_statistics(CONFIDENCE, y, weights=unseen, class_weights=OF_OUTCOMES)
        for y in (strange, OUTCOME)
    )
    chex.assert_trees_all_close(got, want)


def test_weights_by_class_are_scikit_learns():
    got = calibration.row_weights(LABELS, OF_CLASSES, weights=ROWS)
    want = compute_sample_weight(dict(enumerate(OF_CLASSES)), LABELS) * ROWS
    np.testing.assert_allclose(got, want, rtol=1e-6)
    got = calibration.balanced_class_weights(LABELS, 3)
    want = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    got = calibration.balanced_class_weights(np.array([0, 2, 2]), 4, weights=np.array([2.0, 1, 1]))
    np.testing.assert_allclose(got, [0.5, 0, 0.5, 0])
    confidence, right = calibration.top_label(PROBS, LABELS)
    rows = calibration.row_weights(LABELS, OF_CLASSES)
    bins = calibration.bin_statistics(confidence, right, weights=rows)
    np.testing.assert_allclose(bins.weight.sum(), OF_CLASSES[LABELS].sum(), rtol=1e-6)
    assert np.isnan(jax.jit(calibration.row_weights)(np.array([0, 5]), OF_CLASSES)[1])
    with pytest.raises(ValueError, match=r"labels must have shape \(N,\)"):
        calibration.row_weights(jnp.zeros((2, 2), int), OF_CLASSES)
    with pytest.raises(ValueError, match="weights must have the shape of labels"):
        calibration.row_weights(LABELS, OF_CLASSES, weights=np.ones(2))
    with pytest.raises(TypeError, match="labels must be integers"):
        calibration.row_weights(LABELS * 1.0, OF_CLASSES)
