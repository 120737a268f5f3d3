import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import predictive

X = np.random.default_rng(0).normal(size=12).astype(np.float32)
X[5] = 9.0


def posterior(key, x, inputs, size):
    """Draws of the coefficients, prior N(0, 10^2) each and noise of scale one."""
    precision = inputs.T @ inputs + np.eye(inputs.shape[1]) / 100
    mean = np.linalg.solve(precision, inputs.T @ x)
    root = np.linalg.cholesky(np.linalg.inv(precision))
    noise = np.asarray(jax.random.normal(key, (size, len(mean))))
    return jnp.asarray(mean + noise @ root.T, jnp.float32), (mean, precision)


def exact(x, inputs):
    """log p(x_n | the others), by a fit without each row."""
    values = []
    for n in range(len(x)):
        rest = np.arange(len(x)) != n
        _, (mean, precision) = posterior(jax.random.key(0), x[rest], inputs[rest], 1)
        variance = 1 + inputs[n] @ np.linalg.solve(precision, inputs[n])
        gap = x[n] - inputs[n] @ mean
        values.append(-(gap**2) / variance / 2 - np.log(2 * np.pi * variance) / 2)
    return np.array(values)


def log_prob(draw, row):
    return -((row[0] - row[1] @ draw) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("columns", [1, 2])
def test_moved_draws_are_as_good_as_fits_without_the_row(columns):
    # the row with the outlier has the largest input, so it moves both coefficients
    inputs = np.stack([np.ones(12), np.where(np.arange(12) == 5, 4.0, np.arange(12) / 12)], axis=1)
    inputs = inputs[:, :columns].astype(np.float32)
    draws, _ = posterior(jax.random.key(1), X, inputs, 2000)
    rows = (jnp.asarray(X), jnp.asarray(inputs))

    def log_posterior(draw):
        each = jax.vmap(log_prob, in_axes=(None, 0))(draw, rows)
        return jnp.sum(each) - jnp.sum(draw**2) / 200

    rough = predictive.loo_of(log_prob, draws, rows)
    better = jax.jit(
        lambda rough: predictive.moment_match(rough, log_posterior, log_prob, draws, rows)
    )(rough)
    want = exact(X, inputs)
    assert rough.k_hat[5] > 0.7 > better.k_hat[5]
    assert abs(rough.pointwise[5] - want[5]) > 0.3
    np.testing.assert_allclose(better.pointwise[5], want[5], atol=0.02)
    good = np.asarray(rough.k_hat) < 0.7
    np.testing.assert_array_equal(better.pointwise[good], rough.pointwise[good])
    np.testing.assert_allclose(better.value, want.sum(), atol=0.1)


def test_draws_are_trees_and_few_moves_or_a_high_threshold_change_nothing():
    x = jnp.asarray(X)
    flat, _ = posterior(jax.random.key(1), X, np.ones((12, 1), np.float32), 1000)
    draws = {"loc": flat[:, 0]}

    def one(draw, row):
        return -((row - draw["loc"]) ** 2) / 2

    def whole(draw):
        return jnp.sum(one(draw, x)) - draw["loc"] ** 2 / 200

    rough = predictive.loo_of(one, draws, x)
    same = predictive.moment_match(rough, whole, one, draws, x, threshold=jnp.inf)
    np.testing.assert_array_equal(same.pointwise, rough.pointwise)
    np.testing.assert_allclose(same.num_parameters, rough.num_parameters, rtol=1e-4)
    moved = predictive.moment_match(rough, whole, one, draws, x, max_steps=1)
    assert moved.k_hat[5] < rough.k_hat[5]
    with pytest.raises(ValueError, match="result must be of the 11 rows of x, got 12 values"):
        predictive.moment_match(rough, whole, one, draws, x[:11])


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("distance", [5.0, 7.0, 10.0])
def test_k_hat_is_not_raised_by_rounding(distance):
    """An affine map makes these weights equal, so what is left of their tail is rounding."""
    x = jnp.asarray([0.3, -0.2, 0.1, -0.4, distance], jnp.float32)
    draws = jnp.mean(x) + jax.random.normal(jax.random.key(0), (1000,)) / 5**0.5

    def one(draw, row):
        return -((row - draw) ** 2) / 2

    rough = predictive.loo_of(one, draws, x)
    better = predictive.moment_match(rough, lambda v: jnp.sum(one(v, x)), one, draws, x)
    assert rough.k_hat[4] > 0.7 > better.k_hat[4]
    rest = np.asarray(x[:4])
    want = -np.log(1.25) / 2 - (distance - rest.mean()) ** 2 / 2 / 1.25
    np.testing.assert_allclose(better.pointwise[4], want, atol=0.03)


def series(size=40):
    x = np.random.default_rng(1).normal(size=size).astype(np.float32) + 0.5
    return np.where(np.arange(size) < 20, x, x + 4)  # the mean moves away from the first fit


def exact_futures(x, first):
    """log p(x_t | the past) for a normal of unknown mean, prior N(0, 10^2)."""
    values = []
    for t in range(first, len(x)):
        precision = t + 0.01
        mean, variance = x[:t].sum() / precision, 1 + 1 / precision
        values.append(-((x[t] - mean) ** 2) / variance / 2 - np.log(2 * np.pi * variance) / 2)
    return np.array(values)


def log_lik_of(x, size=4000):
    noise = jax.random.normal(jax.random.key(0), (size, 1))

    def log_lik(n):
        past = jnp.sum(jnp.where(jnp.arange(len(x)) < n, x, 0))
        precision = n.astype(jnp.float32) + 0.01
        draws = past / precision + noise / jnp.sqrt(precision)
        return -((x[None] - draws) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2

    return log_lik


def test_reweighted_futures_are_those_of_fits_at_every_step():
    x = jnp.asarray(series())
    want = exact_futures(series(), 10)
    results = {}
    for threshold in (-jnp.inf, 0.5, jnp.inf):
        results[threshold] = jax.jit(
            lambda threshold=threshold: predictive.psis_leave_future_out(
                log_lik_of(x), num_steps=40, first=10, threshold=threshold
            )
        )()
    every, some, none = results.values()
    assert every.refitted[1:].all() and not every.refitted[0] and not none.refitted.any()
    assert 0 < some.refitted.sum() < 10
    # 4000 draws of one fit, and fewer where they are reweighted
    np.testing.assert_allclose(every.pointwise, want, atol=0.03)
    np.testing.assert_allclose(some.pointwise, want, atol=0.15)
    np.testing.assert_allclose(some.value, want.sum(), atol=0.5)
    assert some.k_hat[0] == 0
    assert (np.asarray(some.k_hat) > 0.5).tolist() == some.refitted.tolist()


def test_several_steps_ahead_are_predicted_together():
    x = jnp.asarray(series(12))
    got = predictive.psis_leave_future_out(log_lik_of(x), num_steps=12, first=8, num_ahead=2)
    one = exact_futures(series(12), 8)
    np.testing.assert_allclose(got.pointwise, one[:-1] + one[1:], atol=0.03)
    with pytest.raises(ValueError, match=r"log_lik must return shape \(S, 13\)"):
        predictive.psis_leave_future_out(log_lik_of(x), num_steps=13, first=8)
    with pytest.raises(ValueError, match="first \\+ num_ahead must be at most"):
        predictive.psis_leave_future_out(log_lik_of(x), num_steps=12, first=12)
