import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import predictive


def test_p_values_are_two_sided():
    simulated = jnp.arange(99.0)[:, None] * jnp.ones((1, 3))
    got = predictive.p_value(jnp.array([-1.0, 49.0, 200.0]), simulated)
    np.testing.assert_allclose(got, [0.02, 1.0, 0.02], rtol=1e-6)
    with pytest.raises(ValueError, match="simulated must have shape"):
        predictive.p_value(jnp.zeros(2), simulated)


@pytest.mark.parametrize("discrete", [False, True])
def test_pit_is_uniform_where_the_model_is_right(discrete):
    rng = np.random.default_rng(0)
    draw = (lambda *s: rng.poisson(1.5, s)) if discrete else (lambda *s: rng.normal(size=s))
    draws, x = draw(7, 3000).astype(np.float32), draw(3000).astype(np.float32)
    u = predictive.pit(jax.random.key(0), x, draws)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(predictive.pit(jax.random.key(1), x + 1, draws), "uniform").pvalue < 1e-6


def test_weighted_pit_is_the_weighted_distribution_function():
    draws = jnp.array([[0.0], [1.0], [2.0], [2.0]])
    weights = jnp.log(jnp.array([[0.1], [0.2], [0.3], [0.4]]))
    u = predictive.pit(jax.random.key(0), jnp.array([1.5]), draws, log_weights=weights)
    np.testing.assert_allclose(u, [0.3], rtol=1e-5)
    u = predictive.pit(jax.random.key(0), jnp.array([2.0]), draws, log_weights=weights)
    assert 0.3 < float(u[0]) < 1


def longest_run(above):
    return max(len(list(group)) for _, group in itertools.groupby(above))


STATISTICS = jax.jit(predictive.statistics)


def test_statistics_are_numpys_and_scipys():
    x = np.random.default_rng(0).poisson(1.5, 60).astype(np.float32)
    away = x - x.mean()
    want = [
        x.mean(), x.std(), stats.skew(x), x.min(), x.max(), (x == 0).mean(),
        (away[1:] * away[:-1]).sum() / (away**2).sum(), longest_run(away > 0),
    ]  # fmt: skip
    np.testing.assert_allclose(STATISTICS(x), want, rtol=1e-4)
    seen = np.random.default_rng(1).uniform(size=60) < 0.7
    got = STATISTICS(np.where(seen, x, 99), seen)
    np.testing.assert_allclose(got[:6], STATISTICS(x[seen])[:6], rtol=1e-5)
    y = np.random.default_rng(2).normal(size=60).astype(np.float32)
    want = np.corrcoef(x[seen], y[seen])[0, 1]
    assert float(predictive.correlation(x, y, seen)) == pytest.approx(want, rel=1e-4)
    assert STATISTICS(jnp.zeros(5)).tolist() == [0, 0, 0, 0, 0, 1, 0, 5]
    assert STATISTICS(jnp.array([2.0]))[:5].tolist() == [2, 0, 0, 2, 2]
    with pytest.raises(ValueError, match="x"):
        predictive.statistics(jnp.zeros(0))


def test_a_check_finds_what_an_iid_model_cannot_do():
    rng = np.random.default_rng(3)
    states = np.cumsum(rng.uniform(size=200) < 0.05) % 2
    x = (3 * states + rng.normal(size=200)).astype(np.float32)
    simulated = rng.permuted(np.tile(x, (400, 1)), axis=1)  # the same values, their order lost
    result = predictive.check(x, simulated, chunk_size=128)
    found = {n for n, p in zip(predictive.STATISTICS, result.p_value, strict=True) if p < 0.01}
    assert found == {"lag-1 correlation", "longest run"}
    with pytest.raises(ValueError, match="simulated must have shape"):
        predictive.check(x, simulated[:, :3])
    with pytest.raises(ValueError, match="x must have shape"):
        predictive.statistics(jnp.zeros((2, 3, 4)))
