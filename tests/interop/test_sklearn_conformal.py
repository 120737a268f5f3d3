"""Conformal sets and intervals are those of the definition, and hold the truth as often as promised."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB

from likelax.interop.sklearn import ConformalClassifier, ConformalRegressor

X, Y = make_classification(
    600, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, class_sep=0.7, random_state=0
)
NAMES = np.array(["a", "b", "c"])[Y]


def test_sets_are_those_of_a_fitted_classifier_and_its_scores():
    base = GaussianNB().fit(X[:300], NAMES[:300])
    model = ConformalClassifier(FrozenEstimator(base), mass=0.8, calibration_size=1)
    model.fit(X[300:450], NAMES[300:450])
    probs = base.predict_proba(X[300:450])
    scores = np.sort(1 - probs[np.arange(150), Y[300:450]])
    assert model.threshold_ == pytest.approx(scores[int(np.ceil(0.8 * 151)) - 1])
    sets = model.predict_set(X[450:])
    np.testing.assert_array_equal(sets, 1 - base.predict_proba(X[450:]) <= model.threshold_)
    np.testing.assert_array_equal(model.predict(X), base.predict(X))
    # 150 rows, and a threshold of 150 rows: a standard deviation of 0.046
    assert abs(sets[np.arange(150), Y[450:]].mean() - 0.8) < 0.15
    assert model.score(X, NAMES) == base.score(X, NAMES)


def test_a_part_of_the_rows_is_kept_for_the_threshold():
    model = ConformalClassifier(mass=0.9, calibration_size=0.5, random_state=1).fit(X, NAMES)
    assert list(model.classes_) == ["a", "b", "c"] and model.n_features_in_ == 6
    again = ConformalClassifier(mass=0.9, calibration_size=0.5, random_state=1).fit(X, NAMES)
    assert model.threshold_ == again.threshold_
    # fewer than nine rows promise 0.9 with no threshold below infinity
    few = ConformalClassifier(GaussianNB(), calibration_size=0.1, random_state=0).fit(
        X[:60], NAMES[:60]
    )
    assert few.threshold_ == np.inf and few.predict_set(X).all()


def test_intervals_are_as_wide_as_a_quantile_of_the_errors():
    x, y = make_regression(300, 3, noise=10.0, random_state=0)
    base = LinearRegression().fit(x[:100], y[:100])
    model = ConformalRegressor(FrozenEstimator(base), mass=0.9, calibration_size=1)
    model.fit(x[100:200], y[100:200])
    errors = np.sort(np.abs(y[100:200] - base.predict(x[100:200])))
    assert model.threshold_ == pytest.approx(errors[int(np.ceil(0.9 * 101)) - 1])
    lower, upper = model.predict_interval(x[200:]).T
    np.testing.assert_allclose((lower + upper) / 2, base.predict(x[200:]))
    assert np.mean((lower <= y[200:]) & (y[200:] <= upper)) > 0.8
    split = ConformalRegressor(mass=0.5, calibration_size=0.4, random_state=2).fit(x, y)
    assert 0 < split.threshold_ < model.threshold_


def test_parameters_of_fit_reach_the_rows_of_the_estimator():
    weights = np.where(Y == 0, 5.0, 1.0)
    plain = ConformalClassifier(LogisticRegression(), random_state=0).fit(X, Y)
    weighted = ConformalClassifier(LogisticRegression(), random_state=0).fit(
        X, Y, sample_weight=weights
    )
    assert not np.allclose(plain.estimator_.coef_, weighted.estimator_.coef_)
    with config_context(enable_metadata_routing=True):
        base = LogisticRegression().set_fit_request(sample_weight=True)
        routed = ConformalClassifier(base, random_state=0).fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(routed.estimator_.coef_, weighted.estimator_.coef_)


def test_arguments_of_conformal_estimators_out_of_range_are_refused():
    for options, message in [
        (
            {"mass": 1.0},
            "'mass' parameter of ConformalClassifier must be a float in the range \\(0, 1\\)",
        ),
        ({"calibration_size": 0.0}, "'calibration_size' parameter"),
        ({"calibration_size": 1}, "FrozenEstimator"),
    ]:
        with pytest.raises(ValueError, match=message):
            ConformalClassifier(**options).fit(X, Y)
    with pytest.raises(ValueError, match="without rows of the classes"):
        ConformalClassifier(FrozenEstimator(GaussianNB().fit(X[Y < 2], Y[Y < 2]))).fit(X, Y)
    with pytest.raises(ValueError, match="n_samples=1"):
        ConformalRegressor().fit([[1.0]], [1.0])
    with pytest.raises(NotFittedError):
        ConformalClassifier().predict_set(X)
