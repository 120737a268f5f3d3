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
