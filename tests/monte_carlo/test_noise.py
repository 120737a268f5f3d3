from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, qmc

from likelax import monte_carlo
from likelax.families import Bernoulli
from likelax.monte_carlo import (
    antithetic,
    expectation_from_noise,
    latin_hypercube,
    sobol,
    stratified,
    uniform,
)
from likelax.monte_carlo._sobol import _directions, _to_unit

NOISES = [uniform, antithetic, stratified, latin_hypercube, sobol]


def test_direction_numbers_are_scipys():
    points = np.zeros((64, 1024), np.uint32)
    for i in range(64):
        for j in range(6):
            if i >> j & 1:
                points[i] ^= _directions()[:, j]
    # SciPy walks the same points in the order of the Gray code
    want = qmc.Sobol(1024, scramble=False, bits=32).random(64)
    ours, want = points / 2.0**32, np.asarray(want)
    assert set(map(tuple, ours)) == set(map(tuple, want))


@pytest.mark.parametrize("noise", NOISES)
def test_each_point_alone_is_uniform(noise):
    keys = jax.random.split(jax.random.key(0), 1000)
    points = np.asarray(jax.jit(jax.vmap(lambda k: noise(k, 16, 2)))(keys))
    assert points.min() > 0 and points.max() < 1
    if noise is not stratified and noise is not antithetic:
        assert kstest(points[:, 3, 1], "uniform").pvalue > 1e-3
    assert kstest(points[:, :, 0].reshape(-1), "uniform").pvalue > 1e-3


def test_scrambled_sobol_keeps_one_point_in_each_elementary_box():
    points = np.asarray(jax.jit(sobol, static_argnums=(1, 2))(jax.random.key(5), 64, 2))
    for i in range(7):
        boxes = np.floor(points * np.array([2**i, 2 ** (6 - i)])).astype(int)
        assert len(set(map(tuple, boxes))) == 64


def product(u):
    return jnp.prod(1 + (u - 0.5) / 2)


@pytest.mark.parametrize("noise", NOISES)
def test_expectations_are_right_within_their_error(noise):
    @jax.jit
    def run(key):
        return expectation_from_noise(key, lambda u: u, product, 32 * 64, dim=2, noise=noise)

    found = run(jax.random.key(1))
    assert abs(found.value - 1) < 4 * found.standard_error + 1e-6


def test_sobol_errors_fall_at_least_as_one_over_n(x64):
    sizes = 32 * 2 ** np.array([4, 7, 10])

    @partial(jax.jit, static_argnums=0)
    def error(n):
        found = expectation_from_noise(jax.random.key(2), lambda u: u, product, n, dim=2)
        return found.standard_error

    errors = np.log([float(error(int(n))) for n in sizes])
    slope = np.polyfit(np.log(sizes), errors, 1)[0]
    assert slope < -1  # -1/2 for independent draws


def test_even_noise_is_worth_more_draws():
    found = expectation_from_noise(jax.random.key(0), lambda u: u[0], jnp.exp, 2048, dim=1)
    assert found.ess > 100 * 2048
    constant = expectation_from_noise(jax.random.key(0), lambda u: 3.0, lambda x: x, 64, dim=1)
    assert (constant.value, constant.standard_error, constant.ess) == (3, 0, 64)


def test_control_variates_are_least_squares():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    y = 1 + x @ [2.0, -1.0] + 0.1 * rng.normal(size=50)
    found = monte_carlo.control_variates(jnp.array(y), jnp.array(x), jnp.zeros(2))
    design = np.column_stack([np.ones(50), x])
    beta, rss, _, _ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(found.value, beta[0], rtol=1e-5)
    np.testing.assert_allclose(found.standard_error, np.sqrt(rss[0] / 47 / 50), rtol=1e-4)
    twice = jnp.concatenate([jnp.array(x), jnp.array(x)], axis=1)
    same = monte_carlo.control_variates(jnp.array(y), twice, jnp.zeros(4))
    np.testing.assert_allclose(same.value, found.value, rtol=1e-5)


def test_gradients_of_expectations_are_unbiased():
    keys = jax.random.split(jax.random.key(0), 500)
    p, rate, loc = 0.3, 2.0, 0.4

    def of_bernoulli(p, key):
        return monte_carlo.score_expectation(key, Bernoulli(p), lambda x: (x + 1) ** 2, 5).value

    @jax.jit
    @jax.vmap
    def gradients(key):
        keys = jax.random.split(key, 3)
        square = monte_carlo.poisson_rate_gradient(keys[1], rate, lambda x: x * x, 5)
        jump = monte_carlo.normal_loc_gradient(keys[2], loc, 2.0, lambda x: x > 1, 5)
        return jax.grad(of_bernoulli)(p, keys[0]), square.value, jump.value

    score, square, jump = gradients(keys)
    density = np.exp(-(0.3**2) / 2) / np.sqrt(2 * np.pi) / 2
    # E[(x + 1)^2] = 1 + 3 p;  E[x^2] = rate + rate^2;  P(X > 1) = Phi((loc - 1) / 2)
    for values, truth in [(score, 3), (square, 1 + 2 * rate), (jump, density)]:
        error = np.std(values) / np.sqrt(500)
        assert abs(np.mean(values) - truth) < 4 * error + 1e-6


def test_clear_errors():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="dim from 1 to 1024, got 2000"):
        sobol(key, 4, 2000)
    with pytest.raises(ValueError, match="num_points"):
        sobol(key, 0, 2)
    with pytest.raises(ValueError, match="even number"):
        antithetic(key, 3, 1)
    with pytest.raises(ValueError, match=r"m\^2, got 5; the nearest is 4"):
        stratified(key, 5, 2)
    with pytest.raises(ValueError, match="divide num_samples=10, got 4"):
        expectation_from_noise(key, lambda u: u, product, 10, dim=2, num_replicates=4)
    with pytest.raises(ValueError, match=r"controls \(S, C\)"):
        monte_carlo.control_variates(jnp.zeros(5), jnp.zeros(5), jnp.zeros(1))
    with pytest.raises(ValueError, match="more than C"):
        monte_carlo.control_variates(jnp.zeros(2), jnp.zeros((2, 1)), jnp.zeros(1))
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 2"):
        monte_carlo.score_expectation(key, None, lambda x: x, 1)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, 1e10])
def test_the_gradient_of_a_rate_that_has_no_counts_is_nan(rate):
    found = monte_carlo.poisson_rate_gradient(jax.random.key(0), rate, lambda x: 5 * x, 10)
    assert np.isnan(found.value)


def test_control_variates_have_means_of_their_own():
    """Draws whose mean is off by chance are put right by the known mean, which is not zero."""
    rng = np.random.default_rng(1)
    controls = rng.normal([2.0, -1.0], 1.0, (400, 2)).astype(np.float32)
    noise = 0.3 * rng.normal(size=400)
    values = (3 + 2 * controls[:, 0] - controls[:, 1] + noise).astype(np.float32)
    got = monte_carlo.control_variates(values, controls, jnp.array([2.0, -1.0]))
    assert got.value == pytest.approx(8.0, abs=4 * 0.3 / 20)
    design = np.column_stack([np.ones(400), controls])
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    variance = (residual**2).sum() / 397
    np.testing.assert_allclose(got.standard_error, np.sqrt(variance / 400), rtol=1e-4)
    np.testing.assert_allclose(got.ess, values.var(ddof=1) / variance * 400, rtol=1e-3)


def test_the_worth_of_replicates_is_a_ratio_of_variances():
    """ess = S (error of independent draws / error of the replicates)^2, both from their definition."""
    key, again = jax.random.key(4), jax.random.key(4)
    got = expectation_from_noise(
        key,
        lambda u: u,
        lambda u: u[0] ** 3 + u[1],
        400,
        dim=2,
        noise=antithetic,
        num_replicates=20,
    )
    keys = jax.random.split(again, 20)
    cubes = np.asarray(jax.vmap(lambda k: antithetic(k, 20, 2))(keys), float)
    values = cubes[..., 0] ** 3 + cubes[..., 1]
    together = values.mean(1).std(ddof=1) / np.sqrt(20)
    alone = values.std(ddof=1) / np.sqrt(400)
    np.testing.assert_allclose(got.standard_error, together, rtol=1e-4)
    np.testing.assert_allclose(got.ess, 400 * (alone / together) ** 2, rtol=1e-3)


def test_no_point_is_on_the_edge_of_the_cube():
    """Digits that are all 0, or all 1, are the centres of the first and the last cell."""
    ends = _to_unit(jnp.array([0, 2**32 - 1], jnp.uint32))
    np.testing.assert_array_equal(ends, [2.0**-24, 1 - 2.0**-24])


def test_control_variates_of_a_constant_have_its_draws_and_of_a_copy_infinitely_many():
    x = jnp.arange(6.0)[:, None]
    constant = monte_carlo.control_variates(jnp.full(6, 3.0), x, jnp.array([2.0]))
    assert [float(constant.value), float(constant.standard_error), float(constant.ess)] == [3, 0, 6]
    copy = monte_carlo.control_variates(jnp.arange(6.0), x, jnp.array([2.0]))
    assert float(copy.value) == pytest.approx(2.0, rel=1e-5)
    assert float(copy.ess) > 1e6


@pytest.mark.parametrize("num_samples", [1, 7, 1000])
def test_resampling_keeps_each_draw_as_often_as_its_weight_says(num_samples):
    weights = np.array([0.0, 0.3, 0.0, 0.05, 0.65, 0.0])
    kept = np.asarray(monte_carlo.resample(jax.random.key(0), jnp.log(weights) + 7, num_samples))
    counts = np.bincount(kept, minlength=6)
    assert (np.abs(counts - num_samples * weights) < 1).all()
    assert (np.diff(kept) >= 0).all()
    assert (counts[weights == 0] == 0).all()


def test_resampling_is_unbiased():
    weights = jnp.array([0.11, 0.24, 0.65])
    keys = jax.random.split(jax.random.key(1), 4000)
    kept = jax.vmap(lambda key: monte_carlo.resample(key, jnp.log(weights), 4))(keys)
    counts = np.asarray(jax.nn.one_hot(kept, 3).sum(axis=1))
    error = counts.std(axis=0) / np.sqrt(4000)
    assert (np.abs(counts.mean(axis=0) - 4 * np.asarray(weights)) < 5 * error).all()
    none = monte_carlo.resample(jax.random.key(2), jnp.full(3, -jnp.inf), 2)
    assert none.tolist() == [2, 2]
    for wrong in (jnp.zeros((2, 2)), jnp.array([0.0, jnp.nan]), jnp.zeros(0)):
        with pytest.raises(ValueError, match="log_weights"):
            monte_carlo.resample(jax.random.key(3), wrong, 2)
