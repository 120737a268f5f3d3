"""The variational classes with hmmlearn's names give hmmlearn's bounds and posteriors."""

import logging

import hmmlearn.vhmm as peer
import numpy as np
import pytest
from scipy import special
from sklearn.base import clone

from likelax.interop import hmmlearn as ours

RNG = np.random.default_rng(0)
LENGTHS = [30, 20]
STATES = np.concatenate([np.arange(n) // 5 % 2 for n in LENGTHS])
X = 4.0 * STATES[:, None] + RNG.standard_normal((50, 2))
SYMBOLS = ((X[:, :1] > 2).astype(int)) + (X[:, 1:] > 3)
OF_CHAIN = ("startprob_posterior_", "transmat_posterior_", "startprob_", "transmat_")
OF_GAUSSIANS = (
    "means_posterior_",
    "beta_posterior_",
    "dof_posterior_",
    "scale_posterior_",
    "covars_",
)
PRIORS = {"startprob_prior": 1.0, "transmat_prior": 2.0}


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)


def assert_same(found, wanted, names, x, constant=0.0):
    assert found.monitor_.iter == wanted.monitor_.iter
    bounds = np.array(found.monitor_.history) + constant
    np.testing.assert_allclose(bounds, wanted.monitor_.history, rtol=1e-10)
    for name in (*OF_CHAIN, *names):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-9)
    assert found.score(x, LENGTHS) == pytest.approx(wanted.score(x, LENGTHS), rel=1e-10)
    np.testing.assert_array_equal(found.predict(x, LENGTHS), wanted.predict(x, LENGTHS))
    probs = found.predict_proba(x, LENGTHS)
    np.testing.assert_allclose(probs, wanted.predict_proba(x, LENGTHS), atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"emissionprob_prior": 3.0, "n_features": 4, **PRIORS}])
def test_a_variational_chain_of_symbols_is_that_of_hmmlearn(options):
    options = {"n_iter": 30, "random_state": 0, "tol": 1e-5, **options}
    wanted = peer.VariationalCategoricalHMM(2, **options).fit(SYMBOLS, LENGTHS)
    found = ours.VariationalCategoricalHMM(2, **options).fit(SYMBOLS, LENGTHS)
    assert_same(found, wanted, ("emissionprob_prior_", "emissionprob_posterior_"), SYMBOLS)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_variational_chain_of_gaussians_is_that_of_hmmlearn(kind):
    # in two dimensions hmmlearn takes "diag" and "spherical" for Wishart distributions of full matrices
    x = X if kind in ("full", "tied") else X[:, :1]
    num_dims = x.shape[1]
    scale = {"full": np.stack([np.eye(num_dims)] * 2), "tied": np.eye(num_dims)}.get(kind)
    scale = np.ones((2, 1) if kind == "diag" else 2) if scale is None else scale
    given = {
        "means_prior": np.ones((2, num_dims)), "beta_prior": np.array([0.5, 1.0]),
        "dof_prior": 3.0 if kind == "tied" else np.full(2, 3.0), "scale_prior": scale, **PRIORS,
    }  # fmt: skip
    for extra in ({}, given):
        options = {"covariance_type": kind, "n_iter": 30, "random_state": 0, "tol": 1e-5, **extra}
        wanted = peer.VariationalGaussianHMM(2, **options).fit(x, LENGTHS)
        found = ours.VariationalGaussianHMM(2, **options).fit(x, LENGTHS)
        # hmmlearn leaves the constant of the normal distribution out of its bound
        assert_same(found, wanted, OF_GAUSSIANS, x, x.size * np.log(2 * np.pi) / 2)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_the_bound_of_independent_columns_never_falls_and_lies_below_the_evidence(kind):
    model = ours.VariationalGaussianHMM(2, kind, random_state=0, n_iter=25, tol=0.0).fit(X, LENGTHS)
    bounds = np.array(model.monitor_.history)
    assert np.min(np.diff(bounds)) > -1e-9
    # one state: the bound is the evidence, by hand that of D normals with unknown mean and variance
    one = ours.VariationalGaussianHMM(1, kind, random_state=0, n_iter=3, tol=0.0).fit(X)
    num_rows, num_dims = X.shape
    scatter = ((X - X.mean(axis=0)) ** 2).sum(axis=0)  # the prior of the mean is at the mean of X
    dof, scale = num_dims, 1e-3
    if kind == "spherical":
        shape, rate = num_dims * dof / 2, num_dims * scale / 2
        after, more = shape + num_rows * num_dims / 2, rate + scatter.sum() / 2
    else:
        shape, rate = np.full(num_dims, dof / 2), np.full(num_dims, scale / 2)
        after, more = shape + num_rows / 2, rate + scatter / 2
    evidence = np.sum(
        shape * np.log(rate)
        - after * np.log(more)
        + special.gammaln(after)
        - special.gammaln(shape)
    )
    evidence += num_dims * np.log(1 / (num_rows + 1)) / 2 - X.size * np.log(2 * np.pi) / 2
    assert one.monitor_.history[-1] == pytest.approx(evidence)


def test_letters_choose_which_posteriors_are_fitted():
    model = ours.VariationalGaussianHMM(
        2, "full", params="mc", init_params="mc", algorithm="map", n_iter=4, tol=0.0, random_state=0,
        implementation="scaling",
    )  # fmt: skip
    flat = np.full((2, 2), 3.0)
    model.startprob_prior_ = model.startprob_posterior_ = np.ones(2)
    model.transmat_prior_ = model.transmat_posterior_ = flat
    model.fit(X, LENGTHS)
    np.testing.assert_array_equal(model.transmat_posterior_, flat)
    assert clone(model).params == "mc" and model.decode(X)[0] > 25  # "map": a sum of probabilities
    means = model.means_posterior_.copy()
    still = model.set_params(params="c", init_params="").fit(X, LENGTHS)
    np.testing.assert_array_equal(still.means_, means)
    symbols = ours.VariationalCategoricalHMM(
        2, algorithm="map", params="st", n_iter=3, tol=0.0, random_state=0, verbose=False,
        implementation="scaling",
    )  # fmt: skip
    start = clone(symbols).set_params(n_iter=1).fit(SYMBOLS).emissionprob_posterior_
    np.testing.assert_array_equal(symbols.fit(SYMBOLS).emissionprob_posterior_, start)
    again = symbols.set_params(init_params="st", params="e").fit(SYMBOLS)
    assert not np.array_equal(again.emissionprob_posterior_, start)


def test_steps_of_variational_fits_are_printed(capsys):
    ours.VariationalCategoricalHMM(2, n_iter=2, tol=0.0, verbose=True).fit(SYMBOLS)
    ours.VariationalGaussianHMM(2, n_iter=2, tol=0.0, verbose=True).fit(X)
    assert capsys.readouterr().err.count("\n") == 4


def test_posteriors_of_other_shapes_are_refused():
    for cls, x, name, value in [
        (ours.VariationalCategoricalHMM, SYMBOLS, "startprob_prior_", np.ones(3)),
        (ours.VariationalCategoricalHMM, SYMBOLS, "transmat_posterior_", np.ones((3, 2))),
        (ours.VariationalCategoricalHMM, SYMBOLS, "emissionprob_prior_", np.ones((2, 5))),
        (ours.VariationalGaussianHMM, X, "means_posterior_", np.ones((2, 3))),
        (ours.VariationalGaussianHMM, X, "dof_prior_", np.ones(1)),
        (ours.VariationalGaussianHMM, X, "scale_posterior_", np.ones((2, 2))),
    ]:
        model = cls(2, random_state=0, n_iter=1, tol=0.0).fit(x)
        setattr(model, name, value)
        with pytest.raises(ValueError, match=f"{name} must have shape"):
            model.set_params(init_params="").fit(x)
    tied = ours.VariationalGaussianHMM(2, "tied", random_state=0, n_iter=1, tol=0.0).fit(X)
    tied.dof_posterior_ = np.ones(2)
    with pytest.raises(ValueError, match="dof_posterior_ must be a number"):
        tied.set_params(init_params="").fit(X)
    with pytest.raises(ValueError, match="covariance_type must be"):
        ours.VariationalGaussianHMM(2, "round").fit(X)
    negative = ours.VariationalCategoricalHMM(2, startprob_prior=-1.0, random_state=0)
    with pytest.raises(ValueError, match="lower bound is nan"):
        negative.fit(SYMBOLS)
