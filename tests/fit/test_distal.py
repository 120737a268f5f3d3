"""Distal outcomes against stepmix, whose answers are in distal.json."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit

REFERENCE = Path(__file__).parents[1] / "reference"
KNOWN = json.loads((REFERENCE / "three_step.json").read_text(encoding="utf-8"))
GOLDEN = json.loads((REFERENCE / "distal.json").read_text(encoding="utf-8"))
X, LEVEL, EVENT = np.array(KNOWN["x"]), np.array(GOLDEN["level"]), np.array(GOLDEN["event"])


def measured():
    case = KNOWN["cases"][0]
    return lx.Mixture(jnp.array(case["weights"]), lx.MvBernoulli(jnp.array(case["probs"])))


def outcome(name):
    if name == "binary":
        return lx.Bernoulli(jnp.full(3, 0.5)), EVENT
    return lx.Normal(jnp.zeros(3), jnp.ones(3)), LEVEL


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda c: f"{c['correction']}-{c['assignment']}-{c['outcome']}"
)
def test_outcomes_are_those_of_stepmix(x64, case):
    model, y = outcome(case["outcome"])
    modal = case["assignment"] == "modal"
    if case["correction"] == "BCH":
        found = fit.three_step_distal_bch(measured(), X, model, y, modal=modal)
    else:
        found = fit.three_step_distal_ml(
            measured(), X, model, y, modal=modal, tol=1e-14, max_steps=20_000
        )
    assert found.converged
    want = {name: np.array(value)[:, 0] for name, value in case["structural"].items()}
    if case["outcome"] == "binary":
        np.testing.assert_allclose(found.outcome.probs, want["pis"], rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(found.outcome.loc, want["means"], rtol=1e-4)
        # they add 1e-6 to a variance
        np.testing.assert_allclose(found.outcome.scale**2, want["covariances"], rtol=1e-4)


def test_weights_are_copies_of_rows(x64):
    model, y = outcome("gaussian_diag")
    weights = np.where(np.arange(len(X)) < 100, 2.0, 1.0)
    twice = np.concatenate([np.arange(len(X)), np.arange(100)])
    for method in (fit.three_step_distal_bch, fit.three_step_distal_ml):
        got = method(measured(), X, model, y, weights=weights)
        want = method(measured(), X[twice], model, y[twice])
        np.testing.assert_allclose(got.outcome.loc, want.outcome.loc, rtol=1e-6)
        np.testing.assert_allclose(got.objective, want.objective, rtol=1e-8)


def test_corrections_remove_the_bias():
    """Components that overlap: means of the assigned rows move together, corrected ones do not."""
    key_class, key_x, key_y = jax.random.split(jax.random.key(3), 3)
    label = jax.random.bernoulli(key_class, 0.5, (4000,)).astype(float)
    x = jax.random.normal(key_x, (4000,)) + 1.6 * label
    y = jax.random.normal(key_y, (4000,)) + 3 * label
    model = lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([0.0, 1.6]), jnp.ones(2)))
    start = lx.Normal(jnp.zeros(2), jnp.ones(2))
    assigned = model.predict(x)
    assert float(y[assigned == 1].mean() - y[assigned == 0].mean()) < 2
    for method in (fit.three_step_distal_bch, fit.three_step_distal_ml):
        loc = method(model, x, start, y).outcome.loc
        assert abs(float(loc[1] - loc[0]) - 3) < 0.2


def test_outcomes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="outcome"):
        fit.three_step_distal_bch(measured(), X, lx.Bernoulli(jnp.full(2, 0.5)), EVENT)
    with pytest.raises(ValueError, match="y must have 250 rows, as x"):
        fit.three_step_distal_bch(measured(), X, outcome("binary")[0], EVENT[:9])
