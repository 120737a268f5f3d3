"""The bootstrap of the likelihood ratio of two numbers of components, against fits one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit

RNG = np.random.default_rng(0)
APART = np.concatenate([RNG.normal(-2, 1, 40), RNG.normal(2, 1, 40)])


def start(key, x, size):
    loc = jax.random.choice(key, x, (2,), replace=False)
    weights = jnp.where(jnp.arange(2) < size, 1 / size.astype(loc.dtype), 0)
    return lx.Mixture(weights, lx.Normal(loc, jnp.full(2, jnp.std(x))))


def test_it_is_the_ratio_of_fits_one_by_one(x64):
    key = jax.random.key(1)
    options = {"sizes": [1, 2], "num_restarts": 3, "num_replicates": 6}
    got = fit.bootstrap_test(key, start, APART, **options)
    # one component in closed form
    alone = -len(APART) / 2 * (np.log(2 * np.pi * APART.var()) + 1)
    np.testing.assert_allclose(got.smaller.objective, alone, rtol=1e-9)
    np.testing.assert_allclose(got.statistic, 2 * (got.larger.objective - alone), rtol=1e-9)
    np.testing.assert_allclose(got.larger.objective, jnp.sum(got.larger.model.log_prob(APART)))
    _, key_draw, _ = jax.random.split(jax.random.key(1), 3)
    keys = jax.random.split(key_draw, 6)
    for k, statistic in zip(keys, got.replicates, strict=True):
        x = np.asarray(got.smaller.model.sample(k, (80,)))
        one = -40 * (np.log(2 * np.pi * x.var()) + 1)
        halves = np.sort(x).reshape(2, 40)
        by_hand = lx.Mixture(
            jnp.array([0.5, 0.5]), lx.Normal(jnp.array(halves.mean(1)), jnp.array(halves.std(1)))
        )
        two = fit.em(by_hand, x).objective
        # another start may end at a better maximum than theirs, or a worse one
        assert statistic >= -1e-9
        assert abs(float(statistic) - 2 * float(two - one)) < 8
    reached = 1 + np.sum(np.asarray(got.replicates) >= float(got.statistic))
    np.testing.assert_allclose(got.p_value, reached / 7)


def test_two_clusters_are_found_and_one_is_not_split():
    options = {"sizes": [1, 2], "num_restarts": 4, "num_replicates": 19}
    apart = fit.bootstrap_test(jax.random.key(0), start, jnp.asarray(APART), **options)
    assert float(apart.p_value) == pytest.approx(1 / 20)
    single = jax.random.normal(jax.random.key(5), (80,))
    assert fit.bootstrap_test(jax.random.key(0), start, single, **options).p_value > 0.1


@pytest.mark.slow
def test_p_values_are_uniform_where_the_smaller_model_is_true():
    p_values = []
    for seed in range(40):
        x = jax.random.normal(jax.random.key(100 + seed), (60,))
        test = fit.bootstrap_test(
            jax.random.key(seed), start, x, sizes=[1, 2], num_restarts=5, num_replicates=19
        )
        p_values.append(float(test.p_value))
    # a multiple of 1 / 20; the mean of 40 has a standard error of 0.046
    assert abs(np.mean(p_values) - 0.525) < 0.18
    assert np.mean(np.array(p_values) <= 0.1) < 0.3


@pytest.mark.slow
def test_other_algorithms_and_data_that_are_not_plain():
    x = {"a": jnp.asarray(APART)}

    def product(key, x, size):
        inner = start(key, x["a"], size)
        return lx.Mixture(inner.weights, lx.Product({"a": inner.components}))

    got = fit.bootstrap_test(
        jax.random.key(0), product, x, sizes=(1, 2), num_restarts=2, num_replicates=3,
        algorithm=fit.EM(max_steps=20),
    )  # fmt: skip
    assert got.replicates.shape == (3,)
    wrapped = lx.data.Masked(APART, APART < 3)

    def masked(key, x, size):
        return start(key, jnp.where(x.observed, x.values, 0), size)

    with pytest.raises(ValueError, match="x must not be wrapped, or sample must draw"):
        fit.bootstrap_test(jax.random.key(0), masked, wrapped, sizes=(1, 2))
    got = fit.bootstrap_test(
        jax.random.key(0), masked, wrapped, sizes=(1, 2), num_restarts=2, num_replicates=3,
        sample=lambda key, model: lx.data.Masked(model.sample(key, (80,)), jnp.asarray(APART < 3)),
    )  # fmt: skip
    assert got.replicates.shape == (3,)
    with pytest.raises(ValueError, match="sizes must ascend; got"):
        fit.bootstrap_test(jax.random.key(0), start, APART, sizes=(2, 2))
    with pytest.raises(ValueError, match="sizes must be two integers"):
        fit.bootstrap_test(jax.random.key(0), start, APART, sizes=3)


def test_a_fit_that_failed_has_no_p_value():
    x = jnp.zeros(10).at[0].set(jnp.nan)
    got = fit.bootstrap_test(
        jax.random.key(0), start, x, sizes=[1, 2], num_restarts=2, num_replicates=2
    )
    assert jnp.isnan(got.p_value)
