"""Fitted mixtures and classifiers of scikit-learn give the same probabilities here, there and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import mixture, naive_bayes

import likelax as lx
from likelax.interop import sklearn as ours
from likelax.interop.sklearn import from_sklearn, to_sklearn

RNG = np.random.default_rng(0)
Y = np.repeat([0, 1, 2], 20)
X = RNG.normal(size=(60, 2)) + 3.0 * np.stack([Y, -Y], axis=1)
KINDS = ("full", "tied", "diag", "spherical")


@pytest.mark.parametrize("kind", KINDS)
def test_a_gaussian_mixture(kind, x64):
    fitted = mixture.GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    model = from_sklearn(fitted)
    np.testing.assert_allclose(model.log_prob(X), fitted.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(model.responsibilities(X), fitted.predict_proba(X), atol=1e-9)
    back = to_sklearn(model)
    if kind == "diag":  # the family of Gaussian naive Bayes
        np.testing.assert_allclose(back.predict_proba(X), fitted.predict_proba(X), atol=1e-9)
        return
    assert back.covariance_type == kind
    np.testing.assert_allclose(back.score_samples(X), fitted.score_samples(X), rtol=1e-9)
    assert back.sample(2)[0].shape == (2, 2)


@pytest.mark.parametrize("process", ["dirichlet_process", "dirichlet_distribution"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bayesian_mixture(kind, process, x64):
    fitted = mixture.BayesianGaussianMixture(
        n_components=3,
        covariance_type=kind,
        weight_concentration_prior_type=process,
        random_state=0,
        max_iter=300,
    ).fit(X)
    model = from_sklearn(fitted)
    shares = np.exp(model.log_responsibilities(X))
    if kind in ("full", "tied"):
        np.testing.assert_allclose(shares, fitted.predict_proba(X), atol=1e-8)
        np.testing.assert_allclose(model.log_prob(X), fitted.score_samples(X), rtol=1e-8)
        return
    # scikit-learn takes E[log det] of a Wishart distribution of D x D matrices here too
    assert np.abs(shares - fitted.predict_proba(X)).max() < 0.02
    dof = fitted.degrees_of_freedom_
    found = model.components.component if kind == "diag" else model.components
    np.testing.assert_allclose(found.posterior.alpha.reshape(3, -1)[:, 0] * 2, dof, rtol=1e-12)
    means = (found.posterior.beta / found.posterior.alpha).reshape(3, -1)
    np.testing.assert_allclose(means, fitted.covariances_.reshape(3, -1), rtol=1e-12)


CLASSIFIERS = {
    "GaussianNB": X,
    "BernoulliNB": (X > 1).astype(float),
    "MultinomialNB": RNG.poisson(np.stack([1 + Y, 3 - Y, np.ones(60)], axis=1)).astype(float),
    "CategoricalNB": np.stack([np.clip(Y + RNG.integers(0, 2, 60), 0, 2), RNG.integers(0, 4, 60)], axis=1),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier(name, x64):
    x = CLASSIFIERS[name]
    for library in (naive_bayes, ours):
        fitted = getattr(library, name)().fit(x, Y)
        model = from_sklearn(fitted)
        data = tuple(x.T) if name == "CategoricalNB" else x
        data = x.astype(int) if name in ("BernoulliNB", "MultinomialNB") else data
        want = fitted.predict_proba(x)
        np.testing.assert_allclose(model.responsibilities(data), want, atol=1e-9)
        back = to_sklearn(model)
        assert type(back).__name__ == name
        np.testing.assert_allclose(back.predict_proba(x), want, atol=1e-9)
        np.testing.assert_array_equal(back.predict(x), fitted.predict(x))


def test_wrong_arguments_get_a_sentence():
    complement = naive_bayes.ComplementNB().fit(CLASSIFIERS["MultinomialNB"], Y)
    with pytest.raises(TypeError, match=r"fitted must be one of .* got ComplementNB"):
        from_sklearn(complement)
    weights = jnp.array([0.5, 0.5])
    with pytest.raises(TypeError, match="no estimator of scikit-learn for Poisson"):
        to_sklearn(lx.Mixture(weights, lx.Poisson(jnp.array([1.0, 2.0]))))
    tied = lx.Tied(lx.Normal(jnp.zeros(2), jnp.ones(2)))
    with pytest.raises(TypeError, match="no estimator of scikit-learn for Tied Normal"):
        to_sklearn(lx.Mixture(weights, tied))
