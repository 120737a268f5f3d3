import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import predictive

NORMAL = 200


def ranks(key, spread=1.0, shift=0.0):
    """SBC of a normal mean: x ~ N(theta, 1), theta ~ N(0, 1), posterior N(x / 2, 1 / 2)."""

    def posterior(key, x):
        noise = jax.random.normal(key, (19,))
        return {"theta": x / 2 + shift + spread * jnp.sqrt(0.5) * noise}

    return predictive.calibration_ranks(
        key,
        lambda key: {"theta": jax.random.normal(key)},
        lambda key, theta: theta["theta"] + jax.random.normal(key),
        posterior,
        num_simulations=NORMAL,
        chunk_size=64,
    )["theta"]


@pytest.fixture(scope="module")
def envelope():
    return jax.jit(
        lambda key: predictive.uniform_envelope(key, NORMAL, num_parts=20, num_draws=4000)
    )(jax.random.key(0))


def inside(envelope, values):
    curve = predictive.distribution(values, envelope.points)
    return bool(((envelope.lower <= curve) & (curve <= envelope.upper)).all())


def test_a_right_posterior_stays_inside_and_wrong_ones_do_not(envelope):
    make = jax.jit(ranks)
    for spread, shift, right in ((1.0, 0.0, True), (0.5, 0.0, False), (2.0, 0.0, False),
                                 (1.0, 0.4, False)):  # fmt: skip
        got = make(jax.random.key(1), spread, shift)
        assert got.min() >= 0 and got.max() <= 19
        assert inside(envelope, (got + 1) / 20) is right


def test_an_envelope_holds_all_points_at_once_with_its_mass(envelope):
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 20, (4000, NORMAL))
    curves = np.stack([(parts <= k).mean(1) for k in range(19)], axis=1)
    low, high = np.asarray(envelope.lower) - 1e-6, np.asarray(envelope.upper) + 1e-6
    held = ((low <= curves) & (curves <= high)).all(1).mean()
    # 4000 samples here and 4000 behind the envelope; counts are discrete, so a little more
    assert 0.94 < held < 0.965
    # each bound by itself is a central binomial interval
    tail = (1 - float(envelope.pointwise)) / 2 * 0.999  # float32
    for point, a, b in zip(envelope.points, low, high, strict=True):
        law = stats.binom(NORMAL, float(point))
        assert law.cdf(round(a * NORMAL + 1e-3) - 1) < tail * 1.002
        assert tail <= law.cdf(round(a * NORMAL + 1e-3))
        assert law.sf(round(b * NORMAL - 1e-3)) < tail * 1.002


def test_ranks_break_ties_at_random():
    x, draws = jnp.zeros(4000), jnp.zeros((3, 4000))
    got = np.bincount(predictive.rank(jax.random.key(3), x, draws), minlength=4)
    assert stats.chisquare(got).pvalue > 1e-3
    with pytest.raises(ValueError, match="draws must have shape"):
        predictive.rank(jax.random.key(4), x, draws[:, :3])
    with pytest.raises(ValueError, match="mass must lie in"):
        predictive.uniform_envelope(jax.random.key(5), 10, mass=1.0)
    with pytest.raises(ValueError, match="num_parts must be at least 2"):
        predictive.uniform_envelope(jax.random.key(5), 10, num_parts=1)
