"""Three-step estimation against stepmix, whose answers are in three_step.json, and on drawn data."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy import special

import likelax as lx
from likelax import fit

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "reference" / "three_step.json").read_text(encoding="utf-8")
)
X, INPUTS = np.array(GOLDEN["x"]), np.array(GOLDEN["inputs"])
WITH_ONES = np.concatenate([np.ones((len(X), 1)), INPUTS], axis=1)
CASES = [c for c in GOLDEN["cases"] if c["correction"]]


def measured(case):
    return lx.Mixture(jnp.array(case["weights"]), lx.MvBernoulli(jnp.array(case["probs"])))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['correction']}-{c['assignment']}")
def test_corrections_are_those_of_stepmix(x64, case):
    correct = {"BCH": fit.three_step_bch, "ML": fit.three_step_ml}[case["correction"]]
    modal = case["assignment"] == "modal"
    got = correct(measured(case), X, WITH_ONES, modal=modal)
    assert got.converged
    coefficients = np.asarray(got.regression.coefficients)
    np.testing.assert_allclose(coefficients.sum(1), 0, atol=1e-12)
    want = np.array(case["coefficients"])
    np.testing.assert_allclose(coefficients - coefficients[:, -1:], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modal", [True, False])
def test_the_likelihood_is_at_its_maximum(x64, modal):
    model = measured(CASES[0])
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    got = fit.three_step_ml(model, X, WITH_ONES, modal=modal, weights=weights)
    resp = np.asarray(model.responsibilities(X))
    shares = np.eye(3)[resp.argmax(1)] if modal else resp
    probs = (weights[:, None] * resp).T @ shares / (weights @ resp)[:, None]
    np.testing.assert_allclose(got.assignment.probs, probs, rtol=1e-10)
    np.testing.assert_allclose(got.assignment.shares, shares, rtol=1e-10)

    again = fit.assignments(model, X, modal=modal, weights=weights)
    np.testing.assert_array_equal(again.probs, got.assignment.probs)
    soft = fit.assignments(model, X, modal=False)
    np.testing.assert_allclose(soft.probs, resp.T @ resp / resp.sum(0)[:, None], rtol=1e-10)

    def loss(free):
        scores = WITH_ONES @ np.column_stack([free.reshape(3, 2), np.zeros(3)])
        joint = special.log_softmax(scores, axis=1) + shares @ np.log(probs).T
        return -weights @ special.logsumexp(joint, axis=1)

    best = scipy.optimize.minimize(loss, np.zeros(6), tol=1e-10)
    np.testing.assert_allclose(got.objective, -best.fun, rtol=1e-9)


def test_corrections_remove_the_bias():
    """Components that overlap: uncorrected slopes shrink, corrected ones are near the truth."""
    key_inputs, key_class, key_x = jax.random.split(jax.random.key(3), 3)
    z = jax.random.normal(key_inputs, (4000,))
    inputs = jnp.stack([jnp.ones_like(z), z], axis=1)
    truth = 1.5
    label = jax.random.bernoulli(key_class, jax.nn.sigmoid(truth * z)).astype(int)
    x = jax.random.normal(key_x, (4000,)) + jnp.where(label == 1, 1.6, 0.0)
    # a measurement that does not know the inputs, at its true parameters
    model = lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([0.0, 1.6]), jnp.ones(2)))
    for correct in (fit.three_step_bch, fit.three_step_ml):
        found = correct(model, x, inputs).regression.coefficients
        assert abs(float(found[1, 1] - found[1, 0]) - truth) < 0.3
    plain = fit.em(lx.SoftmaxRegression(jnp.zeros((2, 2))), (inputs, model.predict(x))).model
    assert float(plain.coefficients[1, 1] - plain.coefficients[1, 0]) < 0.9


def test_components_that_cannot_be_told_apart_have_no_correction():
    model = lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.zeros(2), jnp.ones(2)))
    x = jnp.array([0.3, -1.0, 2.0, 0.0])
    inputs = jnp.array([[1.0], [2.0], [0.5], [1.5]])
    assert not fit.three_step_bch(model, x, inputs, modal=False).converged
    with pytest.raises(ValueError, match=r"inputs must have shape \(4, D\); got \(3, 1\)"):
        fit.three_step_bch(model, x, inputs[:3])
    with pytest.raises(ValueError, match="inputs"):
        fit.three_step_ml(model, x, inputs.at[0].set(jnp.nan))
