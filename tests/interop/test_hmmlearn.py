"""hmmlearn's classes give hmmlearn's numbers from the same seeds."""

import logging
import pickle

import hmmlearn.hmm as peer
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

import likelax as lx
from likelax.interop import hmmlearn as ours

RNG = np.random.default_rng(0)
LENGTHS = [30, 20]
STATES = np.concatenate([np.arange(n) // 5 % 2 for n in LENGTHS])
X = 4.0 * STATES[:, None] + RNG.standard_normal((50, 2))
SYMBOLS = ((X[:, :1] > 2).astype(int)) + (X[:, 1:] > 3)
COUNTS = RNG.poisson(1 + 3 * STATES[:, None], (50, 2))
TRIALS = np.stack([RNG.multinomial(5, [0.2, 0.3, 0.5] if s else [0.6, 0.3, 0.1]) for s in STATES])
PRIORS = {"startprob_prior": 2.0, "transmat_prior": 1.5, "n_iter": 20, "tol": 1e-3}
OF_GAUSSIANS = {
    "min_covar": 1e-2, "means_prior": 1.0, "means_weight": 2.0, "covars_prior": 0.5,
    "covars_weight": 4.0,
}  # fmt: skip
CASES = [
    *(
        ("GaussianHMM", {"covariance_type": kind, **OF_GAUSSIANS, **PRIORS}, X, ("means_", "_covars_"))
        for kind in ("spherical", "diag", "full", "tied")
    ),
    (
        "CategoricalHMM",
        {"emissionprob_prior": 1.5, "n_features": 4, **PRIORS},
        SYMBOLS,
        ("emissionprob_",),
    ),
    ("MultinomialHMM", {"n_trials": 5, **PRIORS}, TRIALS, ("emissionprob_",)),
    ("PoissonHMM", PRIORS, COUNTS, ("lambdas_",)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(("name", "options", "x", "names"), CASES)
def test_a_fit_is_that_of_hmmlearn(name, options, x, names):
    wanted = getattr(peer, name)(2, random_state=0, **options).fit(x, LENGTHS)
    found = getattr(ours, name)(2, random_state=0, **options).fit(x, LENGTHS)
    assert found.monitor_.iter == wanted.monitor_.iter
    np.testing.assert_allclose(found.monitor_.history, wanted.monitor_.history, rtol=1e-10)
    for each in ("startprob_", "transmat_", *names):
        np.testing.assert_allclose(getattr(found, each), getattr(wanted, each), atol=1e-10)
    assert found.score(x, LENGTHS) == pytest.approx(wanted.score(x, LENGTHS), rel=1e-10)
    assert found.aic(x, LENGTHS) == pytest.approx(wanted.aic(x, LENGTHS), rel=1e-10)
    assert found.bic(x, LENGTHS) == pytest.approx(wanted.bic(x, LENGTHS), rel=1e-10)
    for algorithm in ("viterbi", "map"):
        score, path = found.decode(x, LENGTHS, algorithm=algorithm)
        other, same = wanted.decode(x, LENGTHS, algorithm=algorithm)
        assert score == pytest.approx(other, rel=1e-10)
        if name != "CategoricalHMM":  # its few symbols have several best paths
            np.testing.assert_array_equal(path, same)
            np.testing.assert_array_equal(
                found.set_params(algorithm=algorithm).predict(x, LENGTHS), path
            )
    log_prob, probs = found.score_samples(x, LENGTHS)
    np.testing.assert_allclose(probs, wanted.predict_proba(x, LENGTHS), atol=1e-10)
    assert log_prob == pytest.approx(wanted.score(x, LENGTHS))
    np.testing.assert_allclose(
        found.get_stationary_distribution(), wanted.get_stationary_distribution(), atol=1e-10
    )
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(x, LENGTHS), found.predict(x, LENGTHS))
    for currstate in (None, 1):
        draws, states = found.sample(6, random_state=1, currstate=currstate)
        rows, path = wanted.sample(6, random_state=1, currstate=currstate)
        np.testing.assert_array_equal(states, path)
        if (
            options.get("covariance_type") != "spherical"
        ):  # hmmlearn takes the matrix of another state
            np.testing.assert_allclose(draws, rows.reshape(draws.shape), rtol=1e-8)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("kind", ["spherical", "diag", "full", "tied"])
def test_a_chain_of_mixtures_ends_where_that_of_hmmlearn_does(kind):
    # hmmlearn takes covariances about the means of the step before; the two agree where they stand still
    options = {"n_mix": 2, "covariance_type": kind, "tol": 1e-10}
    wanted = peer.GMMHMM(2, random_state=0, n_iter=300, **options).fit(X, LENGTHS)
    names = ("startprob_", "transmat_", "weights_", "means_", "covars_")
    found = ours.GMMHMM(2, init_params="", n_iter=5, **options)
    for name in names:
        setattr(found, name, getattr(wanted, name))
    found.fit(X, LENGTHS)
    for name in names:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-3)
    assert found.score(X, LENGTHS) == pytest.approx(wanted.score(X, LENGTHS), abs=1e-5)
    same = ours.GMMHMM(2, n_mix=2, covariance_type=kind)
    for name in names:
        setattr(same, name, getattr(wanted, name))
    assert same.score(X, LENGTHS) == pytest.approx(wanted.score(X, LENGTHS), rel=1e-10)
    np.testing.assert_array_equal(same.predict(X, LENGTHS), wanted.predict(X, LENGTHS))
    rows, path = wanted.sample(6, random_state=1)
    np.testing.assert_array_equal(same.sample(6, random_state=1)[1], path)
    np.testing.assert_allclose(same.sample(6, random_state=1)[0], rows)
    # the weights of each state are free, where hmmlearn counts those of one
    assert same.aic(X, LENGTHS) == pytest.approx(wanted.aic(X, LENGTHS) + 2)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("kind", ["spherical", "diag", "full", "tied"])
def test_priors_of_mixtures_leave_a_state_without_rows_finite(kind):
    model = ours.GMMHMM(
        3, 2, min_covar=1e-2, startprob_prior=2.0, transmat_prior=2.0, weights_prior=2.0,
        means_prior=1.0, means_weight=0.5, covars_prior=1.0 if kind in ("full", "tied") else 2.0,
        covars_weight=6.0, algorithm="map", covariance_type=kind, random_state=1, n_iter=3, tol=0.0,
        params="stmcw", init_params="stmc",
    )  # fmt: skip
    model.weights_ = np.array([[0.3, 0.7]] * 3)
    model.fit(X)
    assert np.isfinite(model.score(X)) and np.isfinite(model.covars_).all()


def test_letters_choose_what_is_initialised_and_fitted(capsys):
    for cls, x, name in [
        (ours.CategoricalHMM, SYMBOLS, "emissionprob_"),
        (ours.PoissonHMM, COUNTS, "lambdas_"),
        (ours.MultinomialHMM, TRIALS, "emissionprob_"),
        (ours.GaussianHMM, X, "means_"),
    ]:
        first = cls(2, random_state=0, n_iter=2, tol=0.0, algorithm="map").fit(x)
        held = cls(
            2, params="t", init_params="", implementation="scaling", verbose=True, n_iter=2, tol=0.0
        )
        for each in ("startprob_", "transmat_", name, "_covars_", "n_trials"):
            if hasattr(first, each):
                setattr(held, each, getattr(first, each))
        held.fit(x)
        np.testing.assert_array_equal(getattr(held, name), getattr(first, name))
        np.testing.assert_array_equal(held.startprob_, first.startprob_)
        assert clone(held).params == "t"
    assert capsys.readouterr().err.count("\n") == 8


def test_the_base_keeps_its_arguments():
    model = ours.BaseHMM(
        n_components=3, startprob_prior=2.0, transmat_prior=3.0, algorithm="map", random_state=1,
        n_iter=7, tol=0.1, verbose=True, params="s", init_params="t", implementation="scaling",
    )  # fmt: skip
    assert clone(model).get_params() == model.get_params()
    assert (model.monitor_.tol, model.monitor_.n_iter, model.monitor_.verbose) == (0.1, 7, True)


def test_gamma_priors_weigh_against_the_rows_of_a_state():
    # hmmlearn weighs them against the rows of all states
    model = ours.PoissonHMM(1, lambdas_prior=3.0, lambdas_weight=2.0, random_state=0, n_iter=1)
    model.fit([[1], [3]])
    np.testing.assert_allclose(model.lambdas_, [[(3 + 4) / (2 + 2)]])


def test_models_go_to_likelax_and_back():
    for found, x in [
        (peer.GaussianHMM(2, "tied", random_state=0).fit(X), X),
        (ours.GaussianHMM(2, "spherical", random_state=0).fit(X), X),
        (peer.CategoricalHMM(2, random_state=0).fit(SYMBOLS), SYMBOLS),
        (peer.PoissonHMM(2, random_state=0).fit(COUNTS), COUNTS),
    ]:
        with jax.enable_x64(True):
            model = ours.to_likelax(found)
            data = x[:, 0] if isinstance(model.emissions, lx.Categorical) else x
            assert float(model.log_prob(data)) == pytest.approx(found.score(x), rel=1e-9)
            assert ours.from_likelax(model).score(x) == pytest.approx(found.score(x), rel=1e-9)
    for kind in ("tied", "diag"):
        mixtures = peer.GMMHMM(2, 2, covariance_type=kind, random_state=0).fit(X)
        mixture = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
        with jax.enable_x64(True):
            assert float(ours.to_likelax(mixtures).log_prob(X)) == pytest.approx(mixtures.score(X))
            total = float(jnp.sum(ours.to_likelax(mixture).log_prob(X)))
        assert total / len(X) == pytest.approx(mixture.score(X))
    with pytest.raises(TypeError, match="no likelax model for a int"):
        ours.to_likelax(3)
    with pytest.raises(TypeError, match="no class of hmmlearn for Bernoulli"):
        ours.from_likelax(lx.HMM(jnp.ones(1), jnp.ones((1, 1)), lx.Bernoulli(jnp.full(1, 0.5))))


def test_what_does_not_fit_is_refused():
    for model, x, message in [
        (ours.CategoricalHMM(2), X, "must be symbols"),
        (ours.CategoricalHMM(2, n_features=2), SYMBOLS + 2, "Largest symbol"),
        (ours.MultinomialHMM(2), X, "nonnegative integers"),
        (ours.MultinomialHMM(2, n_trials=9), TRIALS, "number of trials"),
        (ours.PoissonHMM(2), X, "nonnegative integers"),
        (ours.GaussianHMM(2, "round"), X, "covariance_type must be"),
        (ours.GMMHMM(2, covariance_type="round"), X, "covariance_type must be"),
        (ours.GaussianHMM("2"), X, "'n_components' parameter of GaussianHMM must be an int"),
        (ours.VariationalGaussianHMM(2, n_iter=0.5), X, "'n_iter' parameter"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(x)
    model = ours.GaussianHMM(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="algorithm must be"):
        model.decode(X, algorithm="best")
    for kind, covars in [
        ("diag", [[-1.0], [1.0]]),
        ("full", [np.eye(2), -np.eye(2)]),
        ("tied", [1.0]),
    ]:
        with pytest.raises(ValueError, match="covars must"):
            ours.GaussianHMM(2, kind).covars_ = covars
    model.transmat_ = np.eye(3)
    with pytest.raises(ValueError, match="transmat_ must have shape"):
        model.score(X)
    model.transmat_ = np.ones((2, 2))
    with pytest.raises(ValueError, match="must sum to 1"):
        model.score(X)
    with pytest.raises(ValueError, match="single n_trials"):
        ours.MultinomialHMM(2, random_state=0).fit(COUNTS).sample(2)
    monitor = ours.ConvergenceMonitor(0.1, 3, False)
    monitor.report(-1.0)
    with pytest.warns(UserWarning, match="fell by"):
        monitor.report(-2.0)
    monitor.reset()
    assert monitor.iter == 0


def test_singular_covariances_are_widened_as_in_hmmlearn():
    x = np.concatenate([np.full((12, 1), 7.0), RNG.standard_normal((12, 3))], axis=1)
    wanted = peer.GaussianHMM(3, "full", random_state=0, n_iter=3, tol=0.0).fit(x)
    found = ours.GaussianHMM(3, "full", random_state=0, n_iter=3, tol=0.0).fit(x)
    # covariances whose least eigenvalue is 1e-7 amplify rounding 1e7 times
    np.testing.assert_allclose(found.monitor_.history, wanted.monitor_.history, rtol=1e-6)
    np.testing.assert_allclose(found.means_, wanted.means_, atol=1e-6)
    model = ours.GaussianHMM(1, "full")
    model.startprob_, model.transmat_, model.means_ = [1.0], [[1.0]], np.zeros((1, 2))
    model._covars_ = -np.ones((1, 2, 2))
    with pytest.raises(ValueError, match="a state collapsed"):
        model.score(x[:, :2])


@pytest.mark.parametrize("name", ["GaussianHMM", "GMMHMM", "VariationalGaussianHMM"])
def test_a_covariance_type_that_does_not_exist_is_one_sentence_before_and_after_the_fit(name):
    x = np.random.default_rng(0).normal(size=(30, 1))
    with pytest.raises(ValueError, match=r"covariance_type must be one of .* got 'odd'"):
        getattr(ours, name)(2, covariance_type="odd").fit(x)
    model = getattr(ours, name)(1, n_iter=1).fit(x)
    model.covariance_type = "odd"
    with pytest.raises(ValueError, match=r"covariance_type must be one of .* got 'odd'"):
        model.score(x)
