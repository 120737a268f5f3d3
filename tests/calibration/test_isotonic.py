import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from likelax import scoring
from likelax.calibration import corp, fit_isotonic

FIT = jax.jit(lambda c, y, w: fit_isotonic(c, y, weights=w))


def data(seed, digits):
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(size=200), digits).astype(np.float32)
    outcome = (rng.uniform(size=200) < confidence).astype(np.float32)
    weights = rng.integers(0, 3, 200).astype(np.float32)
    return confidence, outcome, weights


@pytest.mark.parametrize("digits", [1, 7])  # one digit: many ties, which must share a value
def test_it_is_scikit_learns(digits):
    confidence, outcome, weights = data(0, digits)
    fit = FIT(confidence, outcome, weights)
    kept = weights > 0
    peer = IsotonicRegression(out_of_bounds="clip").fit(
        confidence[kept], outcome[kept], weights[kept]
    )
    grid = np.linspace(-0.1, 1.1, 50).astype(np.float32)
    np.testing.assert_allclose(fit.apply(confidence), peer.predict(confidence), atol=2e-5)
    np.testing.assert_allclose(fit.apply(grid), peer.predict(grid), atol=2e-4)
    assert (np.diff(fit.values) >= 0).all()


def test_the_worst_case_and_a_batch():
    y = jnp.arange(200.0)[::-1] / 200
    x = jnp.linspace(0, 1, 200)
    fits = jax.jit(jax.vmap(fit_isotonic, in_axes=(None, 0)))(x, jnp.stack([y, y[::-1]]))
    np.testing.assert_allclose(fits.values[0], np.full(200, y.mean()), rtol=1e-5)
    np.testing.assert_allclose(fits.values[1], y[::-1], rtol=1e-6)


@pytest.mark.parametrize("rule", [scoring.binary_brier_score, scoring.binary_log_score])
def test_corp_parts_add_up_and_are_not_negative(rule):
    confidence, outcome, weights = data(1, 7)
    parts = jax.jit(lambda c, y, w: corp(c, y, weights=w, rule=rule))(confidence, outcome, weights)
    total = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert float(total) == pytest.approx(float(parts.score), rel=1e-5)
    assert parts.miscalibration >= 0
    assert parts.discrimination >= 0
    rate = (weights * outcome).sum() / weights.sum()
    want = rule(jnp.full(2, rate), jnp.array([0.0, 1.0]))
    assert float(parts.uncertainty) == pytest.approx(
        float(want @ jnp.array([1 - rate, rate])), rel=1e-4
    )
