import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax.monte_carlo import expectation, expectation_until, mean, weighted
from likelax.numerics import Compensated


def normal(key, shape):
    return 2 + 3 * jax.random.normal(key, shape)


def test_the_notebooks_second_moment():
    found = expectation(jax.random.key(0), normal, lambda x: x**2, 100_000)
    assert abs(found.value - 13) < 4 * found.standard_error
    # var(X^2) = 2 sd^4 + 4 mean^2 sd^2 = 306
    np.testing.assert_allclose(found.standard_error, np.sqrt(306 / 100_000), rtol=0.03)
    assert found.ess == found.num_samples == 100_000


def test_value_and_error_are_numpys():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    found = mean(jnp.array(values))
    np.testing.assert_allclose(found.value, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, values.std(0, ddof=1) / np.sqrt(3), rtol=1e-6)


def test_a_pytree_of_functions():
    found = expectation(jax.random.key(0), normal, lambda x: {"x": x, "tail": x > 2}, 4000)
    assert abs(found.value["x"] - 2) < 4 * found.standard_error["x"]
    assert abs(found.value["tail"] - 0.5) < 4 * found.standard_error["tail"]


def test_float32_errors_survive_a_large_offset():
    values = 1e4 + jnp.array([-1.0, 1.0] * 500)
    np.testing.assert_allclose(mean(values).standard_error, 1 / np.sqrt(999), rtol=1e-3)


def test_chunks_give_the_moments_of_their_union():
    keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(4)]
    whole = jnp.concatenate([normal(k, (50,)) for k in keys])
    chunked = expectation(jax.random.key(3), normal, lambda x: x, 200, chunk_size=50)
    np.testing.assert_allclose(chunked.value, mean(whole).value, rtol=1e-5)
    np.testing.assert_allclose(chunked.standard_error, mean(whole).standard_error, rtol=1e-5)


def test_one_draw_has_no_standard_error():
    found = expectation(jax.random.key(0), normal, lambda x: x, 1)
    assert jnp.isnan(found.standard_error)


def test_until_the_wanted_error():
    found = expectation_until(jax.random.key(0), normal, lambda x: x, 0.05, chunk_size=500)
    assert found.standard_error <= 0.05
    np.testing.assert_allclose(found.num_samples, (3 / 0.05) ** 2, rtol=0.2)
    capped = expectation_until(
        jax.random.key(0), normal, lambda x: x, 1e-9, chunk_size=100, max_samples=450
    )
    assert capped.num_samples == 400


def test_until_is_the_mean_of_its_chunks():
    keys = [jax.random.fold_in(jax.random.key(1), i) for i in range(4)]
    whole = mean(jnp.concatenate([normal(k, (100,)) for k in keys]))
    found = expectation_until(
        jax.random.key(1), normal, lambda x: x, 1e-9, chunk_size=100, max_samples=400
    )
    np.testing.assert_allclose(found.value, whole.value, rtol=1e-5)
    np.testing.assert_allclose(found.standard_error, whole.standard_error, rtol=1e-5)


def test_weighted_by_hand():
    log_weights, values = np.log([0.5, 0.3, 0.2]) + 7, np.array([1.0, 4.0, -2.0])
    found = weighted(jnp.array(log_weights), jnp.array(values))
    w = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(found.value, w @ values, rtol=1e-6)
    want = np.sqrt(np.sum(w**2 * (values - w @ values) ** 2))
    np.testing.assert_allclose(found.standard_error, want, rtol=1e-6)
    np.testing.assert_allclose(found.ess, 1 / np.sum(w**2), rtol=1e-6)


def test_weights_of_zero_remove_their_values():
    found = weighted(jnp.array([0.0, -jnp.inf]), jnp.array([3.0, jnp.nan]))
    assert (found.value, found.ess) == (3, 1)
    nothing = weighted(jnp.full(2, -jnp.inf), jnp.ones(2))
    assert jnp.isnan(nothing.value) and nothing.ess == 0


def test_weighted_float32_survives_an_offset(x64):
    exact = np.array([0.1, 0.7, 1.9]) - 1e6
    high = exact.astype(np.float32)
    pair = Compensated(jnp.array(high), jnp.array((exact - high).astype(np.float32)))
    values = jnp.array([1.0, 2.0, 3.0], jnp.float32)
    want = weighted(jnp.array(exact + 1e6), values.astype(float)).value
    np.testing.assert_allclose(weighted(pair, values).value, want, rtol=1e-6)


def test_clear_errors():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        expectation(key, normal, lambda x: x, 0)
    with pytest.raises(ValueError, match="chunk_size must divide num_samples=10, got 3"):
        expectation(key, normal, lambda x: x, 10, chunk_size=3)
    with pytest.raises(ValueError, match=r"log_weights \(S,\) and values \(S, ...\)"):
        weighted(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(ValueError, match="standard_error must be positive"):
        expectation_until(key, normal, lambda x: x, 0.0)
    with pytest.raises(ValueError, match="coverage in"):
        mean(jnp.arange(3.0)).interval(1.0)
    with pytest.raises(ValueError, match="leading axis"):
        mean(jnp.ones(()))
