"""The Gaussian mixtures with scikit-learn's names give scikit-learn's numbers from the same starts."""

import pickle

import jax
import numpy as np
import pytest
import sklearn.mixture as peer
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from likelax.interop import sklearn as ours

X = load_iris().data
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
KINDS = ("full", "tied", "diag", "spherical")


def assert_same(found, wanted, names, rtol=1e-7):
    for name in names:
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=rtol, atol=1e-9, err_msg=name
        )


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gaussian_mixture_is_that_of_scikit_learn(kind):
    options = {"n_components": 3, "covariance_type": kind, "random_state": 0, "tol": 1e-4}
    wanted = peer.GaussianMixture(**options).fit(X)
    found = ours.GaussianMixture(**options).fit(X)
    assert found.n_iter_ == wanted.n_iter_ and found.converged_
    assert_same(found, wanted, (*PARAMETERS, "lower_bound_"))
    if hasattr(wanted, "lower_bounds_"):  # since scikit-learn 1.7
        assert_same(found, wanted, ("lower_bounds_",))
    # both are computed in float64, and the precisions are well conditioned
    np.testing.assert_allclose(found.score_samples(X), wanted.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(found.predict_proba(X), wanted.predict_proba(X), atol=1e-8)
    np.testing.assert_array_equal(found.predict(X), wanted.predict(X))
    assert found.bic(X) == pytest.approx(wanted.bic(X)) and found.aic(X) == pytest.approx(
        wanted.aic(X)
    )


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("start", ["k-means++", "random", "random_from_data"])
def test_starts_are_those_of_scikit_learn_and_the_best_of_several_is_kept(start):
    options = {
        "n_components": 2, "covariance_type": "diag", "random_state": 3, "n_init": 3,
        "init_params": start, "reg_covar": 1e-3, "max_iter": 200,
    }  # fmt: skip
    wanted = peer.GaussianMixture(**options).fit(X[::5])
    assert_same(ours.GaussianMixture(**options).fit(X[::5]), wanted, PARAMETERS, rtol=1e-6)


@pytest.mark.parametrize("kind", ["full", "spherical"])
def test_given_parameters_are_where_the_fit_starts(kind):
    means = X[[0, 60, 120]]
    precisions = np.stack([np.eye(4)] * 3) * 2.0 if kind == "full" else np.full(3, 2.0)
    options = {
        "n_components": 3, "covariance_type": kind, "means_init": means,
        "precisions_init": precisions, "random_state": 0, "max_iter": 3,
    }  # fmt: skip
    for extra in ({"weights_init": [0.5, 0.25, 0.25]}, {}):
        with pytest.warns(ConvergenceWarning):
            wanted = peer.GaussianMixture(**options, **extra).fit(X)
        with pytest.warns(ConvergenceWarning, match="did not converge"):
            found = ours.GaussianMixture(**options, **extra).fit(X)
        assert_same(found, wanted, PARAMETERS)


def test_a_weight_is_a_number_of_copies():
    weights = np.arange(len(X)) % 3
    copies = np.repeat(X, weights, axis=0)
    options = {"n_components": 2, "covariance_type": "tied", "random_state": 0, "tol": 1e-9}
    model = ours.GaussianMixture(**options, max_iter=500)
    weighted, copied = clone(model).fit(X, sample_weight=weights), clone(model).fit(copies)
    order, other = np.argsort(weighted.weights_), np.argsort(copied.weights_)
    # the starts differ, so the two agree as far as the tolerance lets EM run
    np.testing.assert_allclose(weighted.means_[order], copied.means_[other], atol=1e-3)


def test_float32_stays_float32_and_a_second_fit_compiles_nothing():
    x = X[:, :2].astype(np.float32)
    model = ours.GaussianMixture(2, random_state=0).fit(x)
    assert {getattr(model, name).dtype for name in PARAMETERS} == {np.dtype(np.float32)}
    assert model.score_samples(x).dtype == model.predict_proba(x).dtype == np.float32
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(jax._src.dispatch.logger, "log", lambda *a, **k: compiled.append(a))
        ours.GaussianMixture(2, random_state=1, tol=1e-4, reg_covar=1e-4).fit(x).predict_proba(x)
    assert [entry for entry in compiled if "XLA compilation" in str(entry)] == []


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    options = {"n_components": 3, "random_state": 0, "covariance_type": "diag"}
    whole = ours.GaussianMixture(**options, max_iter=2)
    parts = ours.GaussianMixture(**options, max_iter=1, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        whole.fit(X)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            parts.fit(X)
    assert_same(parts, whole, PARAMETERS)


def test_no_steps_give_the_start_without_a_warning():
    model = ours.GaussianMixture(3, random_state=0, max_iter=0).fit(X)
    assert model.n_iter_ == 0 and not model.converged_ and model.lower_bounds_ == []


def test_a_collapsed_component_and_arguments_out_of_range_are_refused():
    points = np.repeat([[0.0, 1.0], [2.0, 5.0]], 5, axis=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        ours.GaussianMixture(2, reg_covar=0.0, random_state=0).fit(points)
    for options, message in [
        ({"n_components": 0}, "'n_components' parameter of GaussianMixture must be an int"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"covariance_type": "round"}, "'covariance_type' parameter"),
        ({"warm_start": 3}, "'warm_start' parameter"),
        ({"weights_init": [0.5, 0.6]}, "should have the shape"),
        ({"weights_init": [2.0]}, "range"),
        ({"weights_init": [0.5]}, "normalized"),
        ({"means_init": [[np.nan] * 4]}, "NaN"),
        ({"precisions_init": [-np.eye(4)]}, "positive-definite"),
        ({"precisions_init": [[-1.0] * 4], "covariance_type": "diag"}, "positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            ours.GaussianMixture(**options).fit(X)
    with pytest.raises(ValueError, match="n_samples = 3"):
        ours.GaussianMixture(4).fit(X[:3])
    with pytest.raises(ValueError, match="NaN"):
        ours.GaussianMixture().fit([[0.0], [np.nan], [1.0]])
    with pytest.raises(NotFittedError):
        ours.GaussianMixture().predict(X)


def test_draws_have_the_moments_of_the_model():
    model = ours.GaussianMixture(2, random_state=0, covariance_type="full").fit(X)
    draws, labels = model.sample(40_000)
    assert np.all(np.diff(labels) >= 0)
    for k in range(2):
        own = draws[labels == k]
        # five standard errors of 10000 draws or more
        np.testing.assert_allclose(own.mean(axis=0), model.means_[k], atol=0.05)
        np.testing.assert_allclose(np.cov(own.T), model.covariances_[k], atol=0.05)
    with pytest.raises(ValueError, match="n_samples"):
        model.sample(0)


def test_steps_are_reported(capsys):
    ours.GaussianMixture(2, random_state=0, verbose=2, verbose_interval=1).fit(X[:, :2])
    said = capsys.readouterr().out
    assert "Initialization 0" in said and "Iteration 1\t" in said and "converged" in said


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_a_bayesian_mixture_is_that_of_scikit_learn(kind):
    options = {
        "n_components": 3, "covariance_type": kind, "random_state": 0, "max_iter": 300,
        "weight_concentration_prior_type": "dirichlet_process" if kind == "full" else
        "dirichlet_distribution", "weight_concentration_prior": 0.7, "mean_precision_prior": 0.5,
        "mean_prior": [5.0, 3.0, 4.0, 1.0], "degrees_of_freedom_prior": 6.0,
        "covariance_prior": np.eye(4) / 2, "init_params": "random",
    }  # fmt: skip
    wanted = peer.BayesianGaussianMixture(**options).fit(X)
    found = ours.BayesianGaussianMixture(**options).fit(X)
    assert found.n_iter_ == wanted.n_iter_
    assert_same(found, wanted, (*PARAMETERS, "degrees_of_freedom_", "mean_precision_"), rtol=1e-6)
    np.testing.assert_allclose(found.score_samples(X), wanted.score_samples(X), rtol=1e-7)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_the_bound_of_a_bayesian_mixture_never_falls(kind):
    model = ours.BayesianGaussianMixture(
        n_components=3, covariance_type=kind, random_state=0, tol=0.0, max_iter=30, n_init=2,
        reg_covar=0.0, verbose=1, verbose_interval=40,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        model.fit(X, sample_weight=np.ones(len(X)))
    # rounding of a sum of about 500 nats in float64
    assert np.min(np.diff(model.lower_bounds_)) > -1e-9
    model.set_params(warm_start=True, max_iter=2)
    before = model.lower_bound_
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    assert model.lower_bound_ >= before - 1e-9


def test_arguments_of_a_bayesian_mixture_out_of_range_are_refused():
    for options, message in [
        ({"weight_concentration_prior_type": "none"}, "weight_concentration_prior_type"),
        ({"mean_precision_prior": 0.0}, "mean_precision_prior"),
        ({"degrees_of_freedom_prior": 1.0}, "greater than 3"),
        ({"mean_prior": [1.0]}, "should have the shape"),
        ({"covariance_prior": -np.eye(4)}, "positive-definite"),
        ({"covariance_prior": [-1.0] * 4, "covariance_type": "diag"}, "positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            ours.BayesianGaussianMixture(**options).fit(X)


def test_a_pickled_model_answers_the_same_and_its_model_is_likelaxs():
    model = ours.GaussianMixture(2, random_state=0).fit(X[:, :2])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X[:, :2]), model.predict_proba(X[:, :2]))
    assert model.model_.num_components == 2


@pytest.mark.parametrize("estimator", [ours.GaussianMixture, ours.BayesianGaussianMixture])
def test_a_fit_is_one_program(estimator, caplog):
    x = X[::7, :3]  # a shape of its own: nothing of it was compiled before
    with jax.log_compiles():
        estimator(n_components=2, random_state=0, covariance_type="diag").fit(x)
    compiled = [entry.message for entry in caplog.records if "XLA compilation" in entry.message]
    assert len(compiled) == 1, compiled
