import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_softmax
from sklearn.calibration import _SigmoidCalibration

from likelax import calibration

TEMPERATURE = jax.jit(lambda z, y, w: calibration.fit_temperature(z, y, weights=w))


@pytest.mark.parametrize("scale", [0.3, 3.0, 3000.0])  # the last diverges under plain Newton
def test_temperature_minimises_the_log_score(scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(150, 3)).astype(np.float32)
    labels = np.array([rng.choice(3, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    weights = rng.integers(0, 3, 150).astype(np.float32)
    fit = TEMPERATURE(logits * np.float32(scale), labels, weights)

    def loss(inverse):
        picked = log_softmax(inverse * logits.astype(float), axis=1)[np.arange(150), labels]
        return -(weights * picked).sum()

    want = optimize.minimize_scalar(loss, bounds=(0, 10), method="bounded").x
    assert float(fit.inverse_temperature) * scale == pytest.approx(want, rel=2e-3)
    assert not fit.at_boundary
    np.testing.assert_allclose(fit.apply(logits).sum(-1), 1, rtol=1e-6)


def test_temperature_stops_at_its_boundaries():
    logits = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    ones = jnp.ones(3)
    wrong = TEMPERATURE(logits, jnp.array([0, 1, 0]), ones)
    assert wrong.inverse_temperature == 0
    assert wrong.at_boundary
    right = TEMPERATURE(logits, jnp.array([1, 0, 1]), ones)
    assert right.at_boundary
    assert np.isfinite(right.inverse_temperature)
    equal = TEMPERATURE(jnp.zeros((3, 2)), jnp.array([1, 0, 1]), ones)
    assert equal.at_boundary
    assert np.isfinite(equal.inverse_temperature)


def binary(seed=1):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=200).astype(np.float32)
    return scores, (rng.uniform(size=200) < expit(2 * scores - 0.5)).astype(np.float32)


def test_platt_is_scikit_learns():
    scores, outcome = binary()
    fit = jax.jit(calibration.fit_platt)(scores, outcome)
    peer = _SigmoidCalibration().fit(scores, outcome)
    np.testing.assert_allclose(fit.apply(scores), peer.predict(scores), atol=2e-4)


def test_platt_is_finite_where_the_classes_separate():
    fit = jax.jit(calibration.fit_platt)(jnp.linspace(-1, 1, 200), jnp.arange(200) >= 100)
    assert np.isfinite(fit.slope)
    assert fit.slope > 5


def test_beta_minimises_the_log_score_and_keeps_its_ends():
    scores, outcome = binary()
    confidence = expit(scores)
    fit = jax.jit(calibration.fit_beta)(confidence, outcome)
    hits = outcome.sum()
    targets = np.where(outcome > 0, (hits + 1) / (hits + 2), 1 / (200 - hits + 2))
    x = np.stack([np.log(confidence), -np.log1p(-confidence), np.ones(200)], 1).astype(float)

    def loss(b):
        return np.sum(np.logaddexp(0, x @ b) - targets * (x @ b))

    best = optimize.minimize(loss, np.zeros(3), bounds=[(0, None), (0, None), (None, None)])
    got = np.array([fit.a, fit.b, fit.intercept], float)
    assert loss(got) == pytest.approx(best.fun, rel=1e-5)
    assert fit.apply(jnp.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    falling = jax.jit(calibration.fit_beta)(confidence, 1 - outcome)
    assert (falling.a, falling.b) == (0.0, 0.0)


def test_histogram_gives_each_bin_its_frequency():
    confidence = np.array([0.1, 0.2, 0.6, 0.9, 0.8], np.float32)
    fit = calibration.fit_histogram(confidence, np.array([0, 1, 1, 1, 0]), num_bins=3)
    assert fit.apply(jnp.array([0.15, 0.95])).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(fit.apply(jnp.array([[0.5, 0.65]])), [[1.0, 1.0]])
    assert np.isnan(fit.apply(jnp.array([1.5]))).all()


@pytest.mark.parametrize("fit", [calibration.fit_platt, calibration.fit_beta])
def test_weights_are_copies(fit):
    scores, outcome = binary(2)
    confidence = expit(scores)
    copies = np.random.default_rng(3).integers(0, 3, 200)
    weighted = fit(confidence, outcome, weights=copies.astype(np.float32))
    repeated = fit(np.repeat(confidence, copies), np.repeat(outcome, copies))
    np.testing.assert_allclose(weighted.apply(confidence), repeated.apply(confidence), atol=2e-4)
