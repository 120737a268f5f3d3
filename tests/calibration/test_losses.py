import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import calibration
from likelax.calibration import bin_statistics, mmce, soft_binned_ece

N = 80


def data(seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(2, 1, N).astype(np.float32)
    outcome = (rng.uniform(size=N) < confidence**1.5).astype(np.float32)
    return confidence, outcome, rng.integers(0, 3, N).astype(np.float32)


MMCE = jax.jit(jax.value_and_grad(lambda c, y, w: mmce(c, y, width=0.2, weights=w)))
SOFT = jax.jit(jax.value_and_grad(lambda c, y, w: soft_binned_ece(c, y, weights=w, num_bins=10)))


def test_mmce_is_the_double_sum():
    c, y, w = data()
    c[:5] = c[5]  # ties

    def plain(c):
        r = w * (c - y)
        kernel = np.exp(-np.abs(c[:, None] - c[None]) / 0.2)
        return np.sqrt(r @ kernel @ r) / w.sum()

    value, grad = MMCE(c, y, w)
    assert float(value) == pytest.approx(plain(c.astype(float)), rel=1e-4)
    c, y, w = data(1)
    grad = MMCE(c, y, w)[1]
    direction = np.random.default_rng(2).normal(size=N)
    ahead, behind = (plain(c.astype(float) + d * direction) for d in (1e-6, -1e-6))
    assert float(grad @ direction) == pytest.approx((ahead - behind) / 2e-6, rel=2e-3)


def test_a_cold_soft_bin_is_a_bin_and_a_warm_one_is_smooth():
    c, y, w = data()
    cold = soft_binned_ece(c, y, weights=w, temperature=1e-7)
    want = calibration.rms_error(bin_statistics(c, y, weights=w))
    assert float(cold) == pytest.approx(float(want), rel=1e-3)

    def plain(c):
        centre = (np.arange(10) + 0.5) / 10
        share = np.exp(-((c[:, None] - centre) ** 2) / 0.01)
        share = w[:, None] * share / share.sum(1, keepdims=True)
        gap = (share * (c - y)[:, None]).sum(0) / share.sum(0)
        return np.sqrt((share.sum(0) * gap**2).sum() / w.sum())

    value, grad = SOFT(c, y, w)
    assert float(value) == pytest.approx(plain(c.astype(float)), rel=1e-4)
    direction = np.random.default_rng(2).normal(size=N)
    ahead, behind = (plain(c.astype(float) + d * direction) for d in (1e-6, -1e-6))
    assert float(grad @ direction) == pytest.approx((ahead - behind) / 2e-6, rel=2e-3)


@pytest.mark.parametrize("loss", [mmce, soft_binned_ece])
def test_edges_of_a_loss(loss):
    loss = jax.jit(loss)
    right = jnp.array([0.0, 1.0, 1.0])
    value, grad = jax.value_and_grad(loss)(right, right)
    assert value == 0 and (grad == 0).all()
    odd = loss(jnp.array([0.2, jnp.nan, 0.9]), jnp.ones(3), weights=jnp.array([1.0, 0.0, 1.0]))
    assert float(odd) == pytest.approx(float(loss(jnp.array([0.2, 0.9]), jnp.ones(2))), rel=1e-5)
    assert np.isnan(loss(jnp.array([0.2, jnp.nan]), jnp.ones(2)))
    assert np.isnan(loss(jnp.zeros(0), jnp.zeros(0)))


def test_training_with_a_loss_calibrates():
    """One temperature, by plain gradient descent on each loss, against an error of 0.1 at first."""
    rng = np.random.default_rng(5)
    logit = rng.normal(size=2000).astype(np.float32)
    y = (rng.uniform(size=2000) < 1 / (1 + np.exp(-logit))).astype(np.float32)

    def trained(loss):
        def step(scale, _):
            grad = jax.grad(lambda s: loss(jax.nn.sigmoid(s * logit), y) ** 2)(scale)
            return scale - 20 * grad, None

        return jax.lax.scan(step, jnp.float32(2.5), None, length=60)[0]

    for scale in jax.jit(lambda: [trained(loss) for loss in (mmce, soft_binned_ece)])():
        assert float(scale) == pytest.approx(1.0, abs=0.25)
