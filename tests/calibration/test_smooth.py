import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize

from likelax.calibration import smooth_ece

FIT = jax.jit(smooth_ece)


def by_quadrature(confidence, outcome):
    """The definition: reflected Gaussian kernels by their images, integrated, then solved."""
    c, r = np.asarray(confidence, float), np.asarray(outcome, float) - np.asarray(confidence, float)

    def error(s):
        t = np.linspace(0, 1, 20001)
        total = np.zeros_like(t)
        for value, residual in zip(c, r, strict=True):
            images = np.concatenate([value + 2 * np.arange(-4, 5), -value + 2 * np.arange(-4, 5)])
            z = (t[:, None] - images[None]) / s
            total += residual / len(c) * np.exp(-(z**2) / 2).sum(1) / (s * np.sqrt(2 * np.pi))
        return integrate.trapezoid(np.abs(total), t)

    return optimize.brentq(lambda s: error(s) - s, 2e-3, 1.0, xtol=1e-5)


@pytest.mark.parametrize("ends", [False, True])  # relplot loses half of the mass at 0 and 1
def test_smooth_ece_is_its_definition(ends):
    rng = np.random.default_rng(0)
    confidence = rng.beta(1, 1, 40).astype(np.float32)
    if ends:
        confidence[:15], confidence[15:25] = 0.0, 1.0
    outcome = (rng.uniform(size=40) < np.clip(0.8 * confidence + 0.05, 0, 1)).astype(np.float32)
    # 2e-3 of the value: what a grid of 1024 cells and one Newton step leave
    assert FIT(confidence, outcome) == pytest.approx(by_quadrature(confidence, outcome), rel=2e-3)


def test_residuals_of_one_sign_are_their_mean():
    # no kernel width can change the integral of a density of one sign
    confidence = jnp.array([0.0, 0.3, 0.8])
    outcome = jnp.array([0.1, 0.5, 0.9])
    assert FIT(confidence, outcome) == pytest.approx(0.4 / 3, rel=1e-4)
    assert FIT(jnp.array([1.0, 1.0]), jnp.array([0.0, 0.0])) == pytest.approx(1.0, rel=1e-4)


def test_weights_are_copies_and_bad_confidences_show():
    confidence, outcome = jnp.array([0.2, 0.9, 0.6]), jnp.array([1.0, 1.0, 0.0])
    weighted = smooth_ece(confidence, outcome, weights=jnp.array([2.0, 1.0, 0.0]))
    copied = FIT(jnp.array([0.2, 0.2, 0.9]), jnp.array([1.0, 1.0, 1.0]))
    assert weighted == pytest.approx(float(copied), rel=1e-5)
    assert np.isnan(FIT(jnp.array([0.2, 1.2, 0.6]), outcome))


def test_the_gradient_is_that_of_the_fixed_point():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.05, 0.95, 30).astype(np.float32)
    outcome = (rng.uniform(size=30) < confidence**2).astype(np.float32)
    grad = jax.jit(jax.grad(smooth_ece))(confidence, outcome)
    assert np.isfinite(grad).all()
    direction = rng.normal(size=30).astype(np.float32)
    step = 2e-3
    ahead, behind = (by_quadrature(confidence + d * direction, outcome) for d in (step, -step))
    assert float(grad @ direction) == pytest.approx((ahead - behind) / (2 * step), rel=0.05)
