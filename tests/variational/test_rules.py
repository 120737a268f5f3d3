"""The rules by which fits of guides go on and end, one step at a time on states made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import variational
from likelax.fit._gradient import Noisy
from likelax.variational import natural, stochastic


def quadratic(z):
    return -jnp.sum(z**2) / 2


@pytest.fixture(scope="module")
def climb():
    guide = variational.full_rank(jnp.ones(2)).base
    rule = natural.NaturalAscent(tol=0.1, log_joint=quadratic)
    return rule, rule.init(guide, None, jax.random.key(0))


@pytest.mark.parametrize(
    ("better", "distance", "rate", "bound", "want"),
    [
        # (rate, averaging, narrowings, failed) after the look
        (True, 1.0, 0.25, -3.0, (0.5, False, 0, False)),
        (True, 1.0, 0.75, -3.0, (1.0, False, 0, False)),
        (False, 1.0, 1.0, -3.0, (0.25, False, 0, False)),
        (True, 0.01 * natural.SETTLED, 1.0, -3.0, (1.0, True, 0, False)),
        # a short step that gains nothing near rest, and one far from it
        (False, 0.1, 0.2, -3.0, (0.05, True, 0, False)),
        (False, 0.2, 0.2, -3.0, (0.05, False, 0, False)),
        (False, 0.1, 0.8, -3.0, (0.2, False, 0, False)),
        (False, 0.9, 3 * natural.STUCK, -3.0, (0.75 * natural.STUCK, True, 0, False)),
        (False, 1.1, 3 * natural.STUCK, -3.0, (1.0, False, 1, False)),
        # no finite bound yet
        (False, 0.0, 1.0, -np.inf, (1.0, False, 1, False)),
    ],
)
def test_a_look_on_fixed_draws(climb, better, distance, rate, bound, want):
    rule, state = climb
    state = state._replace(
        rate=jnp.float32(rate), look=state.look._replace(bound=jnp.float32(bound))
    )
    after = rule._climbed(state, jnp.asarray(better), jnp.float32(distance))
    got = after.rate, after.averaging, after.narrowings, after.failed
    np.testing.assert_allclose([float(v) for v in got], [float(v) for v in want], rtol=1e-6)
    assert after.gap == jnp.inf


def test_a_bound_that_no_narrowing_makes_finite_is_a_failure(climb):
    rule, state = climb
    state = state._replace(narrowings=jnp.asarray(natural.MOST_NARROWINGS))
    after = rule._climbed(state, jnp.asarray(False), jnp.float32(0))
    assert after.failed and after.narrowings == natural.MOST_NARROWINGS and not after.averaging


def averaged(climb, *, batches=0, level=0.0, distance, finite=True, sets=1, agreed=0.0):
    """After a look that differs from the one before in its signal alone: a gap of `agreed`."""
    rule, state = climb
    state = state._replace(
        batches=jnp.asarray(batches),
        noise_level=jnp.float32(level),
        sets=jnp.asarray(sets),
        averaging=jnp.asarray(True),
    )
    signal = jnp.array([(2 * agreed) ** 0.5, 0.0])
    seen = state.look._replace(bound=jnp.float32(-3.0), signal=signal)
    state = state._replace(look=seen)
    return rule._averaged(state, jnp.asarray(finite), seen, jnp.float32(distance))


def test_the_first_fresh_look_sets_the_level_of_noise_and_later_ones_smooth_it(climb):
    first = averaged(climb, distance=0.4)
    assert first.noise_level == pytest.approx(0.4)
    assert first.rate == pytest.approx(1 / 2) and first.batches == 1
    third = averaged(climb, batches=2, level=0.4, distance=0.2)
    assert third.noise_level == pytest.approx(0.3)
    assert third.rate == pytest.approx(1 / 4) and third.batches == 3


def test_the_gap_is_the_noise_left_or_what_two_looks_agree_on(climb):
    noisy = averaged(climb, batches=2, level=0.4, distance=0.4)
    assert noisy.gap == pytest.approx(0.1) and noisy.stalled  # .4 / 4, at the tolerance itself
    assert not averaged(climb, batches=2, level=0.44, distance=0.44).stalled
    agreed = averaged(climb, batches=2, level=0.4, distance=0.4, agreed=0.3)
    assert float(agreed.gap) > 0.1 and not agreed.stalled
    lost = averaged(climb, batches=2, level=0.0, distance=0.0, finite=False)
    assert lost.gap == jnp.inf and not lost.stalled


def test_draws_that_were_fitted_and_not_the_posterior_are_made_more(climb):
    far = 1.01 * natural.OVERFITTED
    again = averaged(climb, distance=far)
    assert again.sets == natural.RAISE and not again.averaging and again.rate == 1
    assert averaged(climb, distance=0.01, finite=False).sets == natural.RAISE
    for kept in (
        averaged(climb, distance=natural.OVERFITTED),
        averaged(climb, batches=1, level=far, distance=far),
        averaged(climb, distance=far, sets=natural.MOST_SETS),
    ):
        assert kept.averaging and kept.batches > 0


TERMS = jnp.array([1.0, 2.0, 3.0, 4.0])
GAIN = jnp.array([0.3, 0.1, 0.2, 0.2])


@pytest.mark.parametrize("gain", [GAIN, -GAIN])
def test_the_gap_after_a_stage_is_what_later_ones_may_gain(gain):
    """A stage gains LOWER times what the one before gained: a geometric sum, and two errors."""
    rule = stochastic.StagedAscent(
        tol=0.5,
        max_steps=100,
        optimizer=optax.sgd(0.1),
        window=10,
        objective=Noisy(lambda noise, z: quadratic(z)),
        judge=lambda key, z: jnp.where(z[0] > 0, TERMS + gain, TERMS),
    )
    state = rule.init(jnp.ones(2), None, jax.random.key(0))
    state = state._replace(iterates=jnp.ones_like(state.iterates))
    impl = jax.random.key_impl(jax.random.key(0))
    first = rule._next_stage(state._replace(iterates=-state.iterates), impl)
    assert first.gap == jnp.inf and not first.converged
    assert first.objective == pytest.approx(2.5) and first.factor == stochastic.LOWER
    after = rule._next_stage(first._replace(iterates=state.iterates), impl)
    error = float(np.std(np.asarray(GAIN), ddof=1)) / 2
    lower = stochastic.LOWER
    gained = float(gain.mean()) > 0
    want = (0.2 * lower / (1 - lower) if gained else 0.0) + 2 * error
    assert after.gap == pytest.approx(want, rel=1e-4)
    assert bool(after.converged) == (want <= 0.5)
    assert after.objective == pytest.approx(2.7 if gained else 2.5)
    np.testing.assert_allclose(after.best, 1.0 if gained else -1.0)


@pytest.mark.parametrize(
    "lost",
    [
        lambda z: jnp.where(z[0] > 1.5, -jnp.inf, 0.0),
        lambda z: jnp.where(z[0] > 1.5, jnp.nan, 0.0),
        lambda z: jnp.sqrt(jnp.maximum(z[1] - 9.0, 0.0)),  # its slope in z[1] is NaN below 9
    ],
)
def test_a_look_is_finite_if_all_densities_and_all_slopes_are(lost):
    guide = variational.mean_field(jnp.zeros(2), scale=1.0).base
    nowhere = jnp.zeros((1, 2))  # no far places
    fine = natural.NaturalAscent(log_joint=quadratic)
    assert fine._look_once(guide, nowhere, jax.random.key(0))[1]
    rule = natural.NaturalAscent(log_joint=lambda z: quadratic(z) + lost(z))
    assert not rule._look_once(guide, nowhere, jax.random.key(0))[1]
