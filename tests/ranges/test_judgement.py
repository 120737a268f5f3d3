"""Recalibration in any unit, diagnostics of odd chains, Laplace's approximation, and arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from likelax import calibration, fit, monte_carlo, numerics, scoring
from likelax.predictive._statistics import statistics
from likelax.variational import laplace
from ranges.points import assert_within, few_and_many, generator, log_uniform


@few_and_many
def test_platt_scaling_of_any_unit_and_origin(count):
    """Row 5 of issue 15: the slope at an offset of 1000 widths was .06 to .56 for 2.1."""
    rng, rows, chunk = generator("platt"), 200, 100
    both = jax.jit(jax.vmap(calibration.fit_platt))
    for _ in range(count // chunk):
        scores = rng.standard_normal((chunk, rows))
        outcome = (rng.random((chunk, rows)) < expit(2 * scores - 0.5)).astype(np.float32)
        unit = log_uniform(rng, 1e-30, 1e30, (chunk, 1)).astype(float)
        offset = log_uniform(rng, 1e-2, 1e3, (chunk, 1)).astype(float)
        moved = both((unit * (scores + offset)).astype(np.float32), outcome)
        plain = both(scores.astype(np.float32), outcome)
        assert_within(moved.slope * unit[:, 0] / plain.slope, 1.0, 2e-3)
        got = jax.vmap(lambda fit, s: fit.apply(s))(
            moved, (unit * (scores + offset)).astype(np.float32)
        )
        want = jax.vmap(lambda fit, s: fit.apply(s))(plain, scores.astype(np.float32))
        assert_within(got, want, 1e-3)


@few_and_many
def test_temperature_and_vector_scaling_in_any_unit(count):
    rng, rows, chunk = generator("temperature"), 100, 50
    fits = [jax.jit(jax.vmap(f)) for f in (calibration.fit_temperature, calibration.fit_vector)]
    for _ in range(count // chunk):
        logits = rng.standard_normal((chunk, rows, 3)).astype(np.float32)
        noisy = logits + rng.gumbel(size=logits.shape) * 0.7
        labels = noisy.argmax(-1)
        unit = log_uniform(rng, 1e-25, 1e25, (chunk, 1, 1))
        for fitted in fits:
            plain, scaled = fitted(logits, labels), fitted(logits * unit, labels)
            got = jax.vmap(lambda f, z: f.apply(z))(scaled, logits * unit)
            want = jax.vmap(lambda f, z: f.apply(z))(plain, logits)
            assert_within(got, want, 2e-3)


def test_impossible_classes_do_not_stop_a_fit():
    """Row 6 of issue 15: one logit of -inf gave an inverse temperature of 7.5e-37."""
    rng = generator("impossible")
    logits = rng.standard_normal((500, 3)).astype(np.float32)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
    broken = logits.copy()
    broken[0, (labels[0] + 1) % 3] = -np.inf
    broken[1, labels[1]] = -np.inf  # says nothing about the temperature
    whole = calibration.fit_temperature(logits, labels)
    found = calibration.fit_temperature(broken, labels)
    assert not found.at_boundary
    assert found.inverse_temperature == pytest.approx(float(whole.inverse_temperature), rel=0.02)
    assert np.isfinite(found.apply(broken)).all()
    assert np.isfinite(calibration.fit_vector(broken, labels).apply(broken)).all()


@jax.jit
def every_diagnostic(draws):
    numbers = [f(draws) for f in (monte_carlo.rhat, monte_carlo.ess_bulk, monte_carlo.ess_tail)]
    return jnp.array(numbers), (monte_carlo.chain_mean(draws), monte_carlo.quantile(draws, 0.5))


def test_nan_among_draws_reaches_every_diagnostic():
    """Row 16 of issue 15: ess_bulk of draws that are all NaN was 800 of 800."""
    draws = jax.random.normal(jax.random.key(0), (4, 100))
    for broken in (draws.at[1, 7].set(jnp.nan), jnp.full((4, 200), jnp.nan)):
        numbers, estimates = every_diagnostic(broken)
        assert np.isnan(numbers).all(), numbers
        for estimate in estimates:
            assert np.isnan(estimate.value)
            assert np.isnan(estimate.standard_error)
            assert np.isnan(estimate.ess)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("value", [0.1, 1.0, 1e6 + 0.3, -1e-30])
@pytest.mark.parametrize("wide", [False, True])
def test_constant_draws(value, wide):
    """ArviZ: an effective size of all draws, and no R-hat. In float64 it was 8.36 of 400."""
    with jax.enable_x64(wide):
        draws = jnp.full((4, 100), value)
        (rhat, bulk, tail), (mean, _) = every_diagnostic(draws)
        assert np.isnan(rhat)
        assert bulk == tail == 400
        assert (mean.ess, mean.standard_error) == (400, 0)
        assert monte_carlo.mean(draws[0]).standard_error == 0
        assert statistics(draws[0])[1:3].tolist() == [0, 0]


def test_a_flat_direction_has_a_status():
    """Row 17 of issue 15: the evidence was NaN and the status CONVERGED."""
    flat = laplace(jax.random.key(0), lambda z: -(z[0] ** 2) / 2, jnp.ones(2))
    assert flat.fit.status == fit.Status.COLLAPSED
    ridge = laplace(jax.random.key(0), lambda z: -((z[0] + z[1]) ** 2) / 2, jnp.ones(2))
    assert ridge.fit.status == fit.Status.COLLAPSED
    units = laplace(
        jax.random.key(0), lambda z: -((z[0] * 1e6) ** 2 + (z[1] * 1e-3) ** 2) / 2, jnp.zeros(2)
    )
    assert units.fit.usable
    assert np.isfinite(units.log_evidence)


BAD = [
    (None, TypeError, "x must be an array of numbers, got None"),
    ("abc", TypeError, "x must be an array of numbers, got 'abc'"),
    (["a", "b"], TypeError, "x must hold real numbers"),
    ([1.0, None], TypeError, "x must hold real numbers, got dtype object"),
    ([[1.0], [1.0, 2.0]], ValueError, "rows of different lengths"),
    (np.array([1j]), TypeError, "got dtype complex128"),
    (jnp.array([1j]), TypeError, "got dtype complex64"),
    (np.array(["2020-01-01"], "datetime64[D]"), TypeError, "got dtype datetime64"),
    (np.array([1_700_000_000_000]), ValueError, "beyond the range of int32"),
    ([2**40, 1], ValueError, "beyond the range of int32"),
    (2**40, ValueError, "beyond the range of int32"),
    ([2**70], ValueError, "integers beyond 64 bits"),
    (np.array([2**32 - 1, 2**33], np.uint64), ValueError, "beyond the range of uint32"),
    (np.array([1e300]), ValueError, "beyond the range of float32"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD)
def test_arguments_that_cannot_be_arrays_are_refused_by_name(value, error, message):
    with pytest.raises(error, match=message):
        numerics.as_array("x", value)


def test_arguments_that_can_be_arrays_are_converted():
    for value in (
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2]),
        [jnp.float32(1), 2.0],
        np.array([np.inf, 2.0]),
    ):
        assert numerics.as_array("x", value).shape == (2,)
    assert jax.jit(lambda x: numerics.as_array("x", [x, x]))(1.0).shape == (2,)
    assert numerics.as_array("x", np.array([True])).dtype == bool
    with jax.enable_x64(True):
        assert numerics.as_array("x", np.array([1_700_000_000_000]))[0] == 1_700_000_000_000


def test_public_functions_name_the_argument():
    """Row 4 of issue 15: labels and data beyond 2^31 wrapped in silence."""
    probs = np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match="labels holds integers"):
        scoring.log_score(probs, np.array([2**32]))
    with pytest.raises(ValueError, match="labels holds integers"):
        calibration.fit_temperature(probs, np.array([2**32]))
    with pytest.raises(TypeError, match="outcome must be an array"):
        calibration.bin_statistics([0.5], None)
    with pytest.raises(TypeError, match="draws must be an array"):
        monte_carlo.rhat("draws")
    with pytest.raises(ValueError, match="x holds integers"):
        statistics(np.array([2**40, 1]))
