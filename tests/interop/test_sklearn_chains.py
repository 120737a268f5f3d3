"""Hidden Markov models as estimators: sequences by lengths or groups, grids, missing values."""

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold

from likelax.interop import chains
from likelax.interop.sklearn import HiddenMarkovModel


def series(seed=0, lengths=(30, 20, 25, 15), num_dims=2):
    rng = np.random.default_rng(seed)
    states = np.concatenate([np.arange(n) // 6 % 2 for n in lengths])
    return 4.0 * states[:, None] + rng.standard_normal((len(states), num_dims)), np.array(lengths)


X, LENGTHS = series()
GROUPS = np.repeat(np.arange(4), LENGTHS)


def test_scores_and_paths_are_those_of_hmmlearn():
    model = HiddenMarkovModel(2, emission="full", random_state=0, tol=1e-9).fit(X, lengths=LENGTHS)
    peer = GaussianHMM(2, covariance_type="full")
    peer.startprob_, peer.transmat_ = model.startprob_, model.transmat_
    tril = model.emissions_.scale_tril
    peer.means_, peer.covars_ = model.emissions_.loc, tril @ np.swapaxes(tril, -1, -2)
    wanted = peer.score(X, LENGTHS) / len(X)
    assert model.score(X, lengths=LENGTHS) == pytest.approx(wanted, rel=1e-9)
    assert model.log_likelihood_ / len(X) == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_array_equal(model.predict(X, lengths=LENGTHS), peer.predict(X, LENGTHS))
    np.testing.assert_allclose(
        model.predict_proba(X, groups=GROUPS), peer.predict_proba(X, LENGTHS), atol=1e-9
    )
    assert model.model_.num_states == 2


def test_a_grid_over_sequences_is_a_loop_by_hand():
    grid = {"n_components": [1, 2]}
    base = HiddenMarkovModel(random_state=0, max_iter=20, tol=1e-3, emission="spherical")
    with config_context(enable_metadata_routing=True):
        base.set_fit_request(groups=True).set_score_request(groups=True)
        search = GridSearchCV(base, grid, cv=GroupKFold(2), refit=False).fit(X, groups=GROUPS)
    for place, size in enumerate(grid["n_components"]):
        scores = []
        for train, test in GroupKFold(2).split(X, groups=GROUPS):
            model = clone(base).set_params(n_components=size).fit(X[train], groups=GROUPS[train])
            scores.append(model.score(X[test], groups=GROUPS[test]))
        found = [search.cv_results_[f"split{fold}_test_score"][place] for fold in range(2)]
        np.testing.assert_allclose(found, scores, rtol=1e-12)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("emission", ["tied", "diag", "poisson", "bernoulli"])
def test_each_emission_finds_the_two_states(emission):
    x = {"poisson": np.round(np.abs(X) * 3), "bernoulli": X > 2.0}.get(emission, X).astype(float)
    model = HiddenMarkovModel(2, emission=emission, n_init=2, random_state=0, scale_floor=None)
    found = model.fit(x, lengths=LENGTHS).predict(x, lengths=LENGTHS)
    states = np.concatenate([np.arange(n) // 6 % 2 for n in LENGTHS])
    # neighbours and two features: under a tenth of the rows are assigned wrongly
    assert max(np.mean(found == states), np.mean(found != states)) > 0.9
    draws, labels = model.sample(5)
    assert draws.shape == (5, 2) and labels.shape == (5,)


def test_missing_values_are_integrated_out():
    x = X.astype(np.float32)
    x[3, 0] = x[10] = np.nan
    with pytest.warns(ConvergenceWarning):
        model = HiddenMarkovModel(2, random_state=0, max_iter=3, tol=0.0).fit(x)
    assert model.transmat_.dtype == np.float32
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    model = HiddenMarkovModel(random_state=0)
    for options, message in [
        ({"lengths": [90], "groups": GROUPS}, "not both"),
        ({"lengths": [3]}, "must add to"),
        ({"lengths": [45, 45.0]}, "positive integers"),
        ({"groups": np.tile([0, 1], 45)}, "must follow each other"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, **options)
    with pytest.raises(ValueError, match="n_samples=2"):
        HiddenMarkovModel(3).fit(X[:2])
    with pytest.raises(ValueError, match="cannot produce"):
        HiddenMarkovModel(emission="poisson", random_state=0).fit(X - 100)
    with pytest.raises(ValueError, match="status COLLAPSED"):
        HiddenMarkovModel(emission="diag", random_state=0, scale_floor=None).fit(
            np.eye(2)[[0, 0, 1, 1]]
        )
    assert chains.as_sequences(X, LENGTHS).starts.sum() == 4
