import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from likelax import calibration


def scores(n, seed, digits=7):
    rng = np.random.default_rng(seed)
    s = np.round(rng.uniform(size=n), digits).astype(np.float32)
    return s, (rng.uniform(size=n) < s).astype(np.float32)


@jax.jit
def venn_abers(s, y, w, new):
    fit = calibration.fit_venn_abers(s, y, weights=w)
    return (*fit.interval(new), fit.apply(new))


@pytest.mark.parametrize("digits", [1, 7])  # one digit: new rows join ties
def test_venn_abers_is_two_isotonic_fits_with_the_new_row(digits):
    s, y = scores(60, 0, digits)
    w = np.random.default_rng(1).integers(0, 3, 60).astype(np.float32)
    new = np.concatenate([np.round(np.linspace(-0.1, 1.1, 13), 1), s[:7]]).astype(np.float32)
    got = venn_abers(s, y, w, new)
    kept = w > 0
    for label in (0, 1):
        want = [
            IsotonicRegression()
            .fit(np.append(s[kept], x), np.append(y[kept], label), np.append(w[kept], 1.0))
            .predict([x])[0]
            for x in new
        ]
        np.testing.assert_allclose(got[label], want, atol=2e-6)
    p0, p1, p = got
    assert (p0 <= p1).all()
    np.testing.assert_allclose(p, p1 / (1 - p0 + p1), rtol=1e-6)


def test_venn_abers_keeps_its_digits_in_ten_thousand_rows():
    s, y = scores(10_000, 2)
    new = np.float32([0.001, 0.4, 0.999])
    got = venn_abers(s, y, np.ones(10_000, np.float32), new)
    for label in (0, 1):
        want = [
            IsotonicRegression().fit(np.append(s, x), np.append(y, label)).predict([x])[0]
            for x in new
        ]
        np.testing.assert_allclose(got[label], want, atol=1e-5)


def test_a_conformal_threshold_is_the_order_statistic_of_n_plus_one():
    x = np.random.default_rng(0).permutation(9).astype(np.float32)
    of = calibration.Conformal.of_scores
    for mass, want in ((0.5, 4.0), (0.9, 8.0), (0.91, np.inf), (0.05, 0.0)):
        # ceil(mass * 10) of the nine sorted scores 0 ... 8
        assert float(of(x, mass=mass).threshold) == want
    weights = np.ones(9, np.float32)
    weights[x == 4] = 0.0
    assert float(of(x, mass=0.5, weights=weights).threshold) == 5.0
    with pytest.raises(ValueError, match="mass must lie in"):
        of(x, mass=1.0)


def test_the_promise_holds_for_a_wrong_model():
    """Coverage over 4000 calibration sets of 19 rows: Beta(18, 2) has mean exactly 0.9."""
    rng = np.random.default_rng(3)
    x = rng.gamma(2, size=(4000, 20)).astype(np.float32)  # the model says: normal about zero

    @jax.vmap
    def held(x):
        fit = calibration.fit_conformal_interval(
            jnp.full(19, -0.5), jnp.full(19, 0.5), x[:19], mass=0.9
        )
        low, high = fit.interval(-0.5, 0.5)
        return (low <= x[19]) & (x[19] <= high)

    coverage = float(jax.jit(held)(x).mean())
    assert coverage == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 4000))


def test_sets_hold_the_true_class():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(2000, 4)).astype(np.float32)
    probs = np.asarray(jax.nn.softmax(logits))
    labels = np.array([rng.choice(4, p=p / p.sum()) for p in np.asarray(probs, float) ** 0.5])
    fit = jax.jit(lambda p, y: calibration.fit_conformal_sets(p, y, mass=0.8))
    sets = np.asarray(fit(probs[:1000], labels[:1000]).sets(probs[1000:]))
    held = sets[np.arange(1000), labels[1000:]].mean()
    assert held == pytest.approx(0.8, abs=4 * np.sqrt(2 * 0.16 / 1000))
    with pytest.raises(TypeError, match="labels must be integers"):
        calibration.fit_conformal_sets(probs, labels.astype(np.float32))
    with pytest.raises(ValueError, match="one shape"):
        calibration.fit_conformal_interval(jnp.zeros(3), jnp.zeros(3), jnp.zeros(2))


def test_sets_under_shift_are_those_of_the_definition():
    # Tibshirani et al. (2019): a label is in the set unless the weighted share of rows, the new one among
    # them, that conform no better is at most 1 - mass
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(3), 12).astype(np.float32)
    labels, weights = rng.integers(0, 3, 12), rng.exponential(size=12).astype(np.float32)
    new = rng.dirichlet(np.ones(3), (2, 4)).astype(np.float32)
    new_weights = np.array([[0.0, 0.1, 1.0, 30.0], [0.5, 2.0, 4.0, 8.0]], np.float32)
    fit = calibration.fit_conformal_sets(
        probs, labels, mass=0.7, weights=weights, new_weights=new_weights
    )
    assert fit.threshold.shape == (2, 4)
    scores = 1 - probs[np.arange(12), labels]
    want = np.empty(new.shape, bool)
    for row in np.ndindex(2, 4):
        for label in range(3):
            worse = weights[scores >= 1 - new[row][label]].sum() + new_weights[row]
            want[(*row, label)] = worse > 0.3 * (weights.sum() + new_weights[row])
    np.testing.assert_array_equal(fit.sets(new), want)
    assert want[0, 3].all() and not want.all()
    with pytest.raises(ValueError, match="as many rows as there were new_weights"):
        fit.sets(new[0])
    with pytest.raises(ValueError, match="as many rows as there were new_weights"):
        fit.interval(np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match="new_weights must be zero or more"):
        calibration.Conformal.of_scores(scores, mass=0.7, new_weights=-1.0)


def test_intervals_hold_their_promise_under_a_shift_of_covariates():
    rng = np.random.default_rng(0)

    def experiment(weighted):
        # inputs N(0, 1) for these and N(1, 1) for new rows: their ratio is exp(z - 1/2)
        z, new = rng.normal(size=(200,)), rng.normal(1, 1, size=(200,))
        x, truth = (v + rng.normal(size=200) * np.exp(v / 2) for v in (z, new))
        ratio = {"weights": np.exp(z - 0.5), "new_weights": np.exp(new - 0.5)} if weighted else {}
        fit = calibration.fit_conformal_interval(z, z, x, mass=0.8, **ratio)
        got = fit.interval(new, new)
        return np.mean((got.lower <= truth) & (truth <= got.upper))

    shifted = np.mean([experiment(True) for _ in range(40)])
    plain = np.mean([experiment(False) for _ in range(40)])
    assert shifted == pytest.approx(0.81, abs=0.03)  # 40 x 200 rows, clustered by fit
    assert plain < 0.72
