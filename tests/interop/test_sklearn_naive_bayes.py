"""The naive Bayes classifiers with scikit-learn's names give scikit-learn's numbers."""

import numpy as np
import pytest
import sklearn.naive_bayes as peer
from scipy.sparse import csr_array
from sklearn.datasets import load_digits, load_iris

from likelax.interop import sklearn as ours

DIGITS = load_digits()
COUNTS, LABELS = DIGITS.data[:300], DIGITS.target[:300]
WEIGHTS = np.arange(300) % 4 / 2.0
PRIOR = np.arange(1, 11) / 55
CASES = [
    ("MultinomialNB", {"alpha": 0.5, "class_prior": PRIOR}),
    ("MultinomialNB", {"alpha": np.full(64, 0.25), "fit_prior": False}),
    ("ComplementNB", {"alpha": 0.5, "norm": True, "fit_prior": False, "class_prior": PRIOR}),
    ("BernoulliNB", {"alpha": 0.5, "binarize": 7.0, "class_prior": PRIOR, "fit_prior": False}),
    ("CategoricalNB", {"alpha": 0.5, "min_categories": 20, "class_prior": PRIOR, "fit_prior": False}),
    ("GaussianNB", {"var_smoothing": 1e-3, "priors": PRIOR}),
]  # fmt: skip


def assert_same(found, wanted, x):
    np.testing.assert_allclose(
        found.predict_joint_log_proba(x), wanted.predict_joint_log_proba(x), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(found.predict_proba(x), wanted.predict_proba(x), atol=1e-9)
    np.testing.assert_array_equal(found.predict(x), wanted.predict(x))
    np.testing.assert_allclose(found.class_count_, wanted.class_count_)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_classifier_is_that_of_scikit_learn(name, options):
    wanted, found = getattr(peer, name)(**options), getattr(ours, name)(**options)
    wanted.fit(COUNTS, LABELS, sample_weight=WEIGHTS)
    found.fit(COUNTS, LABELS, sample_weight=WEIGHTS)
    assert_same(found, wanted, COUNTS)
    for model in (wanted, found):
        model.partial_fit(COUNTS[::-1], LABELS[::-1], sample_weight=WEIGHTS)
    assert_same(found, wanted, COUNTS)


@pytest.mark.parametrize("name", ["MultinomialNB", "ComplementNB", "BernoulliNB"])
def test_sparse_rows_and_batches_are_as_good_as_dense_ones(name):
    whole, parts = getattr(ours, name)(), getattr(ours, name)()
    whole.fit(COUNTS, LABELS)
    for half in (slice(0, 150), slice(150, 300)):
        parts.partial_fit(csr_array(COUNTS[half]), LABELS[half], classes=np.arange(10))
    np.testing.assert_allclose(parts.feature_log_prob_, whole.feature_log_prob_)
    np.testing.assert_allclose(
        parts.predict_proba(csr_array(COUNTS)), whole.predict_proba(COUNTS), atol=1e-12
    )


def test_the_variances_of_batches_are_those_of_all_rows():
    # scikit-learn takes away the smoothing of the new batch instead of that of the batch before
    x, y = load_iris(return_X_y=True)
    whole = ours.GaussianNB(var_smoothing=0.1).fit(x, y)
    parts = ours.GaussianNB(var_smoothing=0.1)
    for part in (slice(0, 150, 3), slice(1, 150, 3), slice(2, 150, 3)):
        parts.partial_fit(x[part], y[part], classes=[0, 1, 2])
    np.testing.assert_allclose(parts.var_ - parts.epsilon_, whole.var_ - whole.epsilon_)
    np.testing.assert_allclose(parts.theta_, whole.theta_)


def test_without_smoothing_only_rows_with_the_value_are_impossible():
    x, y = np.array([[2, 0], [1, 1]]), np.array(["a", "b"])
    counts = ours.MultinomialNB(alpha=0.0).fit(x, y)
    # scikit-learn gives NaN for the row that lacks the value: 0 times -inf
    np.testing.assert_allclose(counts.predict_joint_log_proba([[1, 0]]), np.log([[0.5, 0.25]]))
    assert counts.predict_joint_log_proba([[0, 1]])[0, 0] == -np.inf
    coins = ours.BernoulliNB(alpha=0.0).fit(x, y)
    np.testing.assert_allclose(coins.predict_proba([[1, 1], [1, 0]]), [[0, 1], [1, 0]])
    assert np.all(np.isneginf(coins.predict_joint_log_proba([[0, 1]])))


def test_a_small_alpha_is_raised_with_a_warning_if_it_is_not_forced():
    for name in ("MultinomialNB", "ComplementNB", "BernoulliNB", "CategoricalNB"):
        with pytest.warns(UserWarning, match="alpha too small"):
            getattr(ours, name)(alpha=0.0, force_alpha=False).fit([[1, 0], [0, 1]], [0, 1])


def test_float32_stays_float32():
    model = ours.GaussianNB().fit(load_iris().data.astype(np.float32), load_iris().target)
    assert model.theta_.dtype == model.var_.dtype == np.float32
    assert model.predict_proba(np.zeros((1, 4), np.float32)).dtype == np.float32


def test_what_does_not_fit_is_refused():
    x, y = COUNTS[:20], LABELS[:20]
    for model, message in [
        (ours.MultinomialNB(alpha=[1.0]), "n_features"),
        (ours.MultinomialNB(alpha=-1.0), "'alpha' parameter of MultinomialNB"),
        (ours.MultinomialNB(class_prior=[1.0]), "Number of priors"),
        (ours.GaussianNB(priors=[0.5]), "Number of priors"),
        (ours.GaussianNB(priors=np.full(10, 0.2)), "sum of the priors"),
        (ours.CategoricalNB(min_categories=[2, 2]), "should have shape"),
        (ours.CategoricalNB(min_categories=1.5), "integral type"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(x, y)
    with pytest.raises(ValueError, match="Negative values"):
        ours.ComplementNB().fit(-x, y)
    with pytest.raises(ValueError, match="first call"):
        ours.GaussianNB().partial_fit(x, y)
    fitted = ours.GaussianNB().partial_fit(x, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="not the same"):
        fitted.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(ValueError, match="do not exist"):
        fitted.partial_fit(x, y + 9)
    with pytest.raises(IndexError, match="out of bounds"):
        ours.CategoricalNB().fit([[0], [1]], [0, 1]).predict([[2]])
