import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import predictive
from likelax.families import Beta, Normal


@pytest.fixture(scope="module")
def heads():
    theta_key, toss_key = jax.random.split(jax.random.key(3))
    theta = Beta(9.0, 5.0).sample(theta_key, (20_000,))
    return predictive.simulate(toss_key, theta, lambda k, p: jax.random.binomial(k, 10, p))


def test_ten_more_tosses_after_beta_9_5(heads):
    truth = stats.betabinom(10, 9, 5)
    summary = predictive.summarise(heads, 0.9)
    assert summary.mean == pytest.approx(truth.mean(), abs=4 * truth.std() / 141)
    assert summary.sd == pytest.approx(truth.std(), rel=0.03)
    assert [int(b) for b in summary.interval] == [3, 9] == [truth.ppf(0.05), truth.ppf(0.95)]


def test_chunks_change_nothing_and_need_not_divide():
    theta = jnp.linspace(0.0, 1.0, 10)

    def sample(key, loc):
        return {"x": Normal(loc, 1.0).sample(key, (3,))}

    key = jax.random.key(0)
    want = predictive.simulate(key, theta, sample)
    for size in (1, 4, 10, 99):
        got = predictive.simulate(jax.random.clone(key), theta, sample, chunk_size=size)
        chex.assert_trees_all_close(got, want, rtol=1e-6)


def test_replicates_are_independent_data_sets():
    draws = predictive.replicate(jax.random.key(1), Normal(2.0, 3.0), (50,), 40)
    assert draws.shape == (40, 50)
    assert len(np.unique(np.asarray(draws))) == 2000
    assert float(draws.mean()) == pytest.approx(2.0, abs=4 * 3 / np.sqrt(2000))


def test_equal_tailed_is_the_inverse_distribution_function():
    draws = np.random.default_rng(0).normal(size=(257, 2)).astype(np.float32)
    got = predictive.equal_tailed(draws, 0.8)
    want = np.quantile(draws, [0.1, 0.9], axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(np.stack(got), want)


def test_highest_density_is_the_shortest_of_all():
    draws = np.random.default_rng(1).gamma(2, size=101).astype(np.float32)
    ordered = np.sort(draws)
    held = int(np.ceil(0.7 * 101))
    lengths = [(ordered[i + held - 1] - ordered[i], i) for i in range(101 - held + 1)]
    _, at = min(lengths)
    got = predictive.highest_density(draws, 0.7)
    assert (float(got.lower), float(got.upper)) == (ordered[at], ordered[at + held - 1])


def test_log_predictive_density_averages_probabilities():
    log_lik = np.log([[0.1, 0.5, 0.2], [0.3, 0.7, 0.2]]).astype(np.float32)
    got = predictive.log_predictive_density(log_lik)
    want = np.log([0.2, 0.6, 0.2])
    np.testing.assert_allclose(got.pointwise, want, rtol=1e-6)
    assert got.value == pytest.approx(want.sum(), rel=1e-6)
    assert got.standard_error == pytest.approx(np.sqrt(3) * want.std(ddof=1), rel=1e-5)


def test_blocks_see_serial_correlation():
    rng = np.random.default_rng(2)
    step = np.repeat(rng.normal(size=200), 10).astype(np.float32)  # ten copies of each value
    single = predictive.elpd_of(step)
    blocked = predictive.elpd_of(step, block_size=10)
    want = np.sqrt(10) * float(single.standard_error)
    assert blocked.standard_error == pytest.approx(want, rel=0.01)
    assert np.isnan(predictive.elpd_of(step, block_size=5000).standard_error)
    assert predictive.elpd_of(jnp.array([0.0, -jnp.inf])).value == -jnp.inf


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="same leading axis"):
        predictive.simulate(jax.random.key(0), (jnp.zeros(3), jnp.zeros(4)), lambda k, d: d)
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        predictive.simulate(jax.random.key(0), jnp.zeros(3), lambda k, d: d, chunk_size=0)
    with pytest.raises(ValueError, match="mass must lie in"):
        predictive.equal_tailed(jnp.zeros(3), 1.5)
    with pytest.raises(ValueError, match="log_lik must have shape"):
        predictive.log_predictive_density(jnp.zeros(3))
