import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from likelax import calibration

N, C = 300, 3


def data(seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, C)).astype(np.float32)
    truth = softmax(logits * [0.5, 2.0, 1.0] + [0.3, 0.0, -0.3], axis=1)
    labels = np.array([rng.choice(C, p=p) for p in truth])
    return logits, labels, rng.integers(0, 3, N).astype(np.float32)


def targets(labels, weights):
    held = np.bincount(labels, weights, C)
    doubt = 1 / (held[labels] + 2)
    hot = np.eye(C)[labels]
    return hot * (1 - doubt)[:, None] + (1 - hot) * doubt[:, None] / (C - 1)


VECTOR = jax.jit(lambda z, y, w: calibration.fit_vector(z, y, weights=w))
DIRICHLET = jax.jit(lambda p, y, w: calibration.fit_dirichlet(p, y, weights=w, penalty=0.0))


def test_dirichlet_without_penalty_is_logistic_regression_on_log_probabilities():
    logits, labels, weights = data()
    probs = softmax(logits, axis=1)
    fit = DIRICHLET(probs, labels, weights)
    # soft targets are rows of every class, weighted
    x = np.repeat(log_softmax(logits.astype(float), axis=1), C, axis=0)
    share = (targets(labels, weights) * weights[:, None]).ravel()
    peer = LogisticRegression(C=1e8, tol=1e-10, max_iter=2000).fit(x, np.tile(range(C), N), share)
    want = peer.predict_proba(log_softmax(logits.astype(float), axis=1))
    np.testing.assert_allclose(fit.apply(probs), want, atol=1e-3)


def test_vector_scaling_minimises_the_log_score():
    logits, labels, weights = data()
    fit = VECTOR(logits, labels, weights)
    scale, shift = np.asarray(fit.scale, float), np.asarray(fit.shift, float)
    log_p = log_softmax((logits - np.asarray(fit.center)) * scale + shift, axis=1)
    # at the minimum the residuals are orthogonal to the logits and to one, class by class
    residual = weights[:, None] * (np.exp(log_p) - targets(labels, weights))
    assert np.abs(residual.sum(0)).max() < 1e-4 * weights.sum()
    assert np.abs((residual * logits).sum(0)).max() < 1e-4 * weights.sum()
    assert shift.sum() == pytest.approx(0, abs=1e-5)


def test_of_two_classes_vector_scaling_is_platts():
    rng = np.random.default_rng(1)
    s = rng.normal(size=N).astype(np.float32)
    y = (rng.uniform(size=N) < 1 / (1 + np.exp(-2 * s + 0.5))).astype(int)
    platt = jax.jit(calibration.fit_platt)(s, y.astype(np.float32))
    logits = np.stack([np.zeros(N, np.float32), s], axis=1)
    fit = VECTOR(logits, y, np.ones(N, np.float32))
    np.testing.assert_allclose(fit.apply(logits)[:, 1], platt.apply(s), atol=1e-4)


def test_separated_classes_and_zero_probabilities_stay_finite():
    labels = np.arange(N) % C
    logits = np.where(np.eye(C)[labels] > 0, 5.0, -5.0).astype(np.float32)
    fit = VECTOR(logits, labels, np.ones(N, np.float32))
    assert np.isfinite(fit.scale).all() and np.isfinite(fit.shift).all()
    probs = np.eye(C, dtype=np.float32)[labels]
    fit = DIRICHLET(probs, labels, np.ones(N, np.float32))
    applied = fit.apply(probs)
    assert np.isfinite(applied).all()
    assert (applied.argmax(1) == labels).all()


def test_a_penalty_holds_the_map_near_the_diagonal():
    logits, labels, _ = data(2)
    probs = softmax(logits, axis=1)
    free = DIRICHLET(probs, labels, np.ones(N, np.float32))
    held = jax.jit(lambda p, y: calibration.fit_dirichlet(p, y, penalty=10.0))(probs, labels)
    off = ~np.eye(C, dtype=bool)
    assert np.abs(held.matrix[off]).max() < 0.1 * np.abs(free.matrix[off]).max()

    soft = targets(labels, np.ones(N))

    # the mean squares of the off-diagonal entries and of the shifts, each times the penalty
    def loss(theta):
        matrix, shift = theta[:-C].reshape(C, C), theta[-C:]
        scores = np.log(probs) @ matrix.T + shift
        return -np.mean(np.sum(soft * log_softmax(scores, axis=1), axis=1)) + 10 * (
            np.mean(matrix[off] ** 2) + np.mean(shift**2)
        )

    best = optimize.minimize(loss, np.append(np.eye(C).ravel(), np.zeros(C)), tol=1e-9).x
    got = np.append(np.asarray(held.matrix).ravel(), held.shift)
    np.testing.assert_allclose(got, best, atol=2e-3)
    with pytest.raises(ValueError, match="penalty must be at least 0"):
        calibration.fit_dirichlet(probs, labels, penalty=-1.0)
    with pytest.raises(ValueError, match="probs must have shape"):
        calibration.fit_dirichlet(probs[0], labels)
    with pytest.raises(TypeError, match="labels must be integers"):
        calibration.fit_vector(logits, jnp.zeros(N))


def test_a_nan_logit_is_no_impossible_class():
    """A logit of -inf is probability 0; NaN stays NaN."""
    logits, labels = jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.5]]), jnp.array([1, 0, 1])
    odd = jnp.array([[jnp.nan, 0.0], [-jnp.inf, 0.0]])
    for recalibrate in (calibration.fit_temperature, calibration.fit_vector):
        probs = recalibrate(logits, labels).apply(odd)
        np.testing.assert_array_equal(jnp.isnan(probs[0]), True)
        np.testing.assert_array_equal(probs[1], [0.0, 1.0])
