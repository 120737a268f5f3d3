"""Isotonic regression is scikit-learn's; a calibrated classifier is a recalibrator of rows left out."""

import numpy as np
import pytest
from sklearn import isotonic as peer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_classification
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import scale

from likelax import calibration
from likelax.interop.sklearn import CalibratedClassifier, IsotonicRegression
from likelax.interop.sklearn.calibrated import METHODS

BINARY = make_classification(200, 8, n_redundant=4, random_state=0)
IRIS = scale(load_iris().data), load_iris().target


@pytest.mark.parametrize("increasing", [True, False, "auto"])
def test_isotonic_regression_is_that_of_scikit_learn(increasing):
    rng = np.random.default_rng(0)
    x = np.round(rng.uniform(0, 10, 60), 1)
    y = (-1 if increasing is False else 1) * x + rng.standard_normal(60)
    weights = rng.integers(0, 3, 60).astype(float)
    options = {"increasing": increasing, "y_min": -8.0, "y_max": 8.0, "out_of_bounds": "clip"}
    wanted = peer.IsotonicRegression(**options).fit(x, y, weights)
    found = IsotonicRegression(**options).fit(x[:, None], y, sample_weight=weights)
    at = np.linspace(-1, 11, 97)
    np.testing.assert_allclose(found.predict(at), wanted.predict(at), rtol=1e-10, atol=1e-12)
    assert found.increasing_ == wanted.increasing_
    assert (found.X_min_, found.X_max_) == (wanted.X_min_, wanted.X_max_)
    np.testing.assert_allclose(found.transform(at[:, None]), wanted.transform(at))
    assert list(found.get_feature_names_out(input_features=["x0"])) == ["isotonicregression0"]


def test_isotonic_regression_beyond_its_range():
    model = IsotonicRegression().fit([1.0, 2.0], [0.0, 1.0])
    np.testing.assert_array_equal(model.predict([0.0, 1.5]), [np.nan, 0.5])
    with pytest.raises(ValueError, match="fitted range"):
        model.set_params(out_of_bounds="raise").predict([0.0])
    with pytest.raises(ValueError, match="'increasing' parameter"):
        IsotonicRegression(increasing="up").fit([1.0], [1.0])
    with pytest.raises(ValueError, match="1 feature"):
        IsotonicRegression().fit([[1.0, 2.0]], [1.0])
    with pytest.warns(UserWarning, match="rank correlation"):
        IsotonicRegression(increasing="auto").fit(np.arange(8.0), [0.0, 1.0] * 4)
    single = IsotonicRegression().fit(np.float32([1, 2]), np.float32([0, 1])).predict([1.5])
    assert single.dtype == np.float32


def test_isotonic_calibration_is_that_of_scikit_learn():
    x, y = BINARY
    wanted = CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3, ensemble=False).fit(x, y)
    found = CalibratedClassifier(GaussianNB(), method="isotonic", cv=3).fit(x, y)
    np.testing.assert_allclose(found.predict_proba(x), wanted.predict_proba(x), atol=1e-9)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("method", METHODS)
def test_a_recalibrator_is_fitted_to_rows_left_out(method):
    x, y = BINARY
    folds = StratifiedKFold(2)
    model = CalibratedClassifier(GaussianNB(), method=method, cv=folds).fit(x, y)
    probs = model.predict_proba(x)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
    raw = GaussianNB().fit(x, y).predict_proba(x)
    loss, raw_loss = (np.mean((p[:, 1] - y) ** 2) for p in (probs, raw))
    # the squared error of 200 rows; a recalibrator with few rows may lose a little
    assert loss < raw_loss + 0.01
    if method == "temperature":
        left_out = cross_val_predict(GaussianNB(), x, y, cv=folds, method="predict_log_proba")
        by_hand = calibration.fit_temperature(left_out.astype(np.float32), y)
        # by hand in float32: right to 1e-3
        np.testing.assert_allclose(
            model.recalibrators_.inverse_temperature, by_hand.inverse_temperature, rtol=2e-3
        )


def test_more_than_two_classes_are_each_calibrated_against_the_rest():
    x, y = IRIS
    model = CalibratedClassifier(method="beta", cv=3).fit(x, y, sample_weight=np.ones(len(x)))
    assert len(model.recalibrators_) == 3 and model.score(x, y) > 0.9
    with pytest.raises(ValueError, match="less than 3 examples"):
        CalibratedClassifier(cv=3).fit(x[49:52], y[49:52])
    with pytest.raises(ValueError, match="'method' parameter"):
        CalibratedClassifier(method="none").fit(x, y)
