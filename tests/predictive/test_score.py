import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import predictive

HERE = Path(__file__).parents[1] / "reference"
SCHOOLS = json.loads((HERE / "eight_schools.json").read_text())
JUDGE = jax.jit(lambda log_lik: (predictive.loo(log_lik), predictive.waic(log_lik)))


def log_likelihood():
    """As in tests/reference/make_loo.py, which made the frozen values."""
    rng = np.random.default_rng(0)
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    theta = rng.normal(8, 6, size=(1000, 8)) + rng.standard_t(4, size=(1000, 1))
    log_lik = -(((y - theta) / sigma) ** 2) / 2 - np.log(sigma) - np.log(2 * np.pi) / 2
    return theta, y, sigma, log_lik.astype(np.float32)


def test_loo_and_waic_are_arvizs():
    want = json.loads((HERE / "loo.json").read_text())
    log_lik = log_likelihood()[-1]
    got, cheap = JUDGE(log_lik)
    assert float(got.value) == pytest.approx(want["loo"], rel=2e-5)
    np.testing.assert_allclose(got.pointwise, want["loo_pointwise"], rtol=2e-4)
    np.testing.assert_allclose(got.k_hat, want["k_hat"], atol=2e-3)
    assert float(got.num_parameters) == pytest.approx(want["loo_num_parameters"], rel=2e-3)
    # ArviZ divides by N, we by N - 1
    assert float(got.standard_error) * np.sqrt(7 / 8) == pytest.approx(
        want["loo_standard_error"], rel=1e-3
    )
    assert float(cheap.value) == pytest.approx(want["waic"], rel=1e-4)
    assert float(cheap.num_parameters) == pytest.approx(want["waic_num_parameters"], rel=5e-3)


def test_loo_from_a_function_is_loo_of_the_array():
    theta, y, sigma, log_lik = log_likelihood()
    rows = (jnp.asarray(y, jnp.float32), jnp.asarray(sigma, jnp.float32), jnp.arange(8))

    def log_prob(draw, row):
        value, scale, j = row
        z = (value - draw[j]) / scale
        return -(z**2) / 2 - jnp.log(scale) - jnp.log(2 * jnp.pi) / 2

    draws = jnp.asarray(theta, jnp.float32)
    got, cheap, plain = jax.jit(
        lambda d, x: (
            predictive.loo_of(log_prob, d, x, chunk_size=3),
            predictive.waic_of(log_prob, d, x, chunk_size=3),
            predictive.log_predictive_density_of(log_prob, d, x, chunk_size=3),
        )
    )(draws, rows)
    want, want_cheap = JUDGE(log_lik)
    np.testing.assert_allclose(got.pointwise, want.pointwise, rtol=1e-4)
    np.testing.assert_allclose(got.k_hat, want.k_hat, atol=2e-3)
    np.testing.assert_allclose(cheap.pointwise, want_cheap.pointwise, rtol=1e-4)
    want = predictive.log_predictive_density(log_lik)
    np.testing.assert_allclose(plain.pointwise, want.pointwise, rtol=1e-4)


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


@pytest.mark.parametrize("name", ["centered", "non_centered"])
def test_eight_schools_as_arviz_ships_them(name):
    want = SCHOOLS[name]
    log_lik = np.load(HERE / "eight_schools.npz")[name]
    got, cheap = JUDGE(log_lik)
    assert float(got.value) == pytest.approx(want["loo"], abs=1e-3)
    np.testing.assert_allclose(got.k_hat, want["k_hat"], atol=5e-3)
    assert float(got.num_parameters) == pytest.approx(want["loo_num_parameters"], abs=1e-3)
    assert float(cheap.value) == pytest.approx(want["waic"], abs=1e-3)
    assert float(cheap.num_parameters) == pytest.approx(want["waic_num_parameters"], abs=1e-3)


def test_comparison_is_arvizs():
    draws = np.load(HERE / "eight_schools.npz")
    got = predictive.compare_all({name: JUDGE(draws[name])[0] for name in draws})
    want = SCHOOLS["compare"]
    assert next(iter(got)) == want["best"]
    worst = list(got.values())[1]
    assert -float(worst.value) == pytest.approx(want["difference"], abs=2e-3)
    # ArviZ divides by N, we by N - 1
    error = float(worst.standard_error) * np.sqrt(7 / 8)
    assert error == pytest.approx(want["standard_error"], rel=0.02)
    with pytest.raises(ValueError, match="no results"):
        predictive.compare_all({})


def test_many_rows_are_taken_in_chunks_of_columns():
    rng = np.random.default_rng(2)
    log_lik = rng.normal(size=(100, 150)).astype(np.float32)  # 150 = 2 * 64 + 22
    got = jax.jit(predictive.loo)(log_lik)
    want = jax.jit(predictive.loo)(log_lik[:, 100:])
    np.testing.assert_allclose(got.pointwise[100:], want.pointwise, rtol=1e-5)
    np.testing.assert_allclose(got.k_hat[100:], want.k_hat, atol=1e-4)


def test_a_row_that_a_draw_calls_impossible_has_no_density():
    log_lik = log_likelihood()[-1]
    log_lik[7, 2] = -np.inf
    results = JUDGE(log_lik)
    for result in results:
        assert np.isneginf(result.pointwise).tolist() == [False, False, True] + [False] * 5
        assert result.value == -np.inf
    assert results[0].k_hat[2] == np.inf


def test_loo_pit_is_uniform_where_the_plain_one_is_not():
    """400 rows that each have a mean of their own: fitted and predicted, a row looks central."""
    rng = np.random.default_rng(4)
    mean = rng.normal(size=400)
    x = (mean + rng.normal(size=400)).astype(np.float32)
    # posterior of each mean given its x: N(x / 2, 1 / 2)
    means = x / 2 + np.sqrt(0.5) * rng.normal(size=(1000, 400))
    log_lik = (-((x - means) ** 2) / 2).astype(np.float32)
    draws = (means + rng.normal(size=(1000, 400))).astype(np.float32)
    left_out = jax.jit(predictive.loo_pit)(jax.random.key(0), x, draws, log_lik)
    assert stats.kstest(left_out, "uniform").pvalue > 1e-3
    plain = predictive.pit(jax.random.key(1), x, draws)
    assert stats.kstest(plain, "uniform").pvalue < 1e-3
    with pytest.raises(ValueError, match="x must have shape"):
        predictive.loo_pit(jax.random.key(2), x[:3], draws, log_lik)


@pytest.mark.slow
def test_each_row_has_its_own_efficiency():
    log_lik = log_likelihood()[-1]
    efficiency = np.array([1.0, 0.05, 0.05, 1.0, 2.0, 0.05, 2.0, 1.0])
    draws = jnp.asarray(log_lik.T)  # one row of "draws" for each observation
    got = predictive.loo(log_lik, relative_efficiency=efficiency)
    by_function = predictive.loo_of(
        lambda i, row: draws[row, i],
        np.arange(1000),
        np.arange(8),
        relative_efficiency=efficiency,
    )
    np.testing.assert_allclose(by_function.pointwise, got.pointwise, rtol=1e-6)
    x, seen = np.zeros(8, np.float32), np.random.default_rng(0).normal(size=(1000, 8))
    seen = seen.astype(np.float32)
    key = jax.random.key(0)
    pit = predictive.loo_pit(key, x, seen, log_lik, relative_efficiency=efficiency)
    for one in set(efficiency.tolist()):
        n = efficiency == one
        want = predictive.loo(log_lik, relative_efficiency=one)
        np.testing.assert_allclose(got.pointwise[n], want.pointwise[n], rtol=1e-5)
        np.testing.assert_allclose(got.k_hat[n], want.k_hat[n], rtol=1e-4)
        alone = predictive.loo_pit(jax.random.clone(key), x, seen, log_lik, relative_efficiency=one)
        np.testing.assert_allclose(pit[n], alone[n], rtol=1e-5)
    for wrong, what in ((np.ones(3), "must be a number or have shape"), (-efficiency, "positive")):
        with pytest.raises(ValueError, match=what):
            predictive.loo(log_lik, relative_efficiency=wrong)
    with pytest.raises(TypeError, match="known when the program is compiled"):
        jax.jit(lambda r: predictive.loo(log_lik, relative_efficiency=r))(efficiency)


def test_relative_efficiency_is_that_of_an_autoregression():
    """AR(1) with correlation c: (1 - c) / (1 + c), for a likelihood that is nearly linear."""
    rng = np.random.default_rng(5)
    correlations = np.array([0.0, 0.5, 0.9, -0.5])
    noise = rng.normal(size=(4, 5000, 4)) * np.sqrt(1 - correlations**2)
    state = np.empty_like(noise)
    state[:, 0] = rng.normal(size=(4, 4))
    for t in range(1, 5000):
        state[:, t] = correlations * state[:, t - 1] + noise[:, t]
    log_lik = np.concatenate([1e-2 * state, np.zeros((4, 5000, 1))], axis=-1).reshape(20_000, 5)
    got = predictive.relative_efficiency(log_lik.astype(np.float32), num_chains=4)
    want = (1 - correlations) / (1 + correlations)
    np.testing.assert_allclose(got[:4], want, rtol=0.15)
    assert float(got[4]) == 1
    for chains in (0, 3, 10_000):
        with pytest.raises(ValueError, match="num_chains"):
            predictive.relative_efficiency(log_lik, num_chains=chains)


def test_standard_error_of_the_number_of_parameters():
    log_lik = log_likelihood()[-1]
    for result in JUDGE(log_lik):
        inside = np.log(np.mean(np.exp(log_lik.astype(float)), axis=0))
        gap = inside - np.asarray(result.pointwise, float)
        want = np.sqrt(8) * np.std(gap, ddof=1)
        assert float(result.num_parameters_error) == pytest.approx(want, rel=1e-3)
