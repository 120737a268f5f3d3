import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import predictive

REFERENCE = Path(__file__).parents[1] / "reference" / "loo.json"


def log_likelihood():
    """As in tests/reference/make_loo.py, which made the frozen values."""
    rng = np.random.default_rng(0)
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    theta = rng.normal(8, 6, size=(1000, 8)) + rng.standard_t(4, size=(1000, 1))
    log_lik = -(((y - theta) / sigma) ** 2) / 2 - np.log(sigma) - np.log(2 * np.pi) / 2
    return theta, y, sigma, log_lik.astype(np.float32)


def test_loo_and_waic_are_arvizs():
    want = json.loads(REFERENCE.read_text())
    log_lik = log_likelihood()[-1]
    got = jax.jit(predictive.loo)(log_lik)
    assert float(got.value) == pytest.approx(want["loo"], rel=2e-5)
    np.testing.assert_allclose(got.pointwise, want["loo_pointwise"], rtol=2e-4)
    np.testing.assert_allclose(got.k_hat, want["k_hat"], atol=2e-3)
    assert float(got.num_parameters) == pytest.approx(want["loo_num_parameters"], rel=2e-3)
    # ArviZ divides by N, we by N - 1
    assert float(got.standard_error) * np.sqrt(7 / 8) == pytest.approx(
        want["loo_standard_error"], rel=1e-3
    )
    got = predictive.waic(log_lik)
    assert float(got.value) == pytest.approx(want["waic"], rel=1e-4)
    assert float(got.num_parameters) == pytest.approx(want["waic_num_parameters"], rel=5e-3)


def test_loo_from_a_function_is_loo_of_the_array():
    theta, y, sigma, log_lik = log_likelihood()
    rows = (jnp.asarray(y, jnp.float32), jnp.asarray(sigma, jnp.float32), jnp.arange(8))

    def log_prob(draw, row):
        value, scale, j = row
        z = (value - draw[j]) / scale
        return -(z**2) / 2 - jnp.log(scale) - jnp.log(2 * jnp.pi) / 2

    draws = jnp.asarray(theta, jnp.float32)
    got = jax.jit(lambda d, x: predictive.loo_of(log_prob, d, x, chunk_size=3))(draws, rows)
    want = jax.jit(predictive.loo)(log_lik)
    np.testing.assert_allclose(got.pointwise, want.pointwise, rtol=1e-4)
    np.testing.assert_allclose(got.k_hat, want.k_hat, atol=2e-3)


def test_loo_of_a_conjugate_model_is_exact_leaving_out():
    # normal with known variance and flat prior: p(x_n | others) is a normal, in closed form
    rng = np.random.default_rng(1)
    x = rng.normal(size=12)
    draws = rng.normal(x.mean(), np.sqrt(1 / 12), size=(4000, 1))
    log_lik = (-((x - draws) ** 2) / 2 - np.log(2 * np.pi) / 2).astype(np.float32)
    others = (x.sum() - x) / 11
    variance = 1 + 1 / 11
    want = -((x - others) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
    got = jax.jit(predictive.loo)(log_lik)
    np.testing.assert_allclose(got.pointwise, want, atol=0.02)  # 4000 draws


def test_compare_pairs_the_rows():
    a, b = np.array([-1.0, -2.0, -4.0], np.float32), np.array([-1.5, -2.2, -4.6], np.float32)
    got = predictive.compare(predictive.elpd_of(a), predictive.elpd_of(b))
    assert float(got.value) == pytest.approx(1.3, rel=1e-5)
    assert float(got.standard_error) == pytest.approx(np.sqrt(3) * np.std(a - b, ddof=1), rel=1e-4)
    with pytest.raises(ValueError, match="same rows"):
        predictive.compare(predictive.elpd_of(a), predictive.elpd_of(b[:2]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Estimated shape parameter:UserWarning")
def test_eight_schools_as_arviz_ships_them():
    arviz = pytest.importorskip("arviz")
    data = arviz.load_arviz_data("centered_eight")
    log_lik = data.log_likelihood.obs.values.reshape(-1, 8).astype(np.float32)
    loo, waic = arviz.loo(data, reff=1.0), arviz.waic(data)
    assert float(predictive.loo(log_lik).value) == pytest.approx(loo.elpd_loo, abs=2e-3)
    assert float(predictive.waic(log_lik).value) == pytest.approx(waic.elpd_waic, abs=2e-3)
