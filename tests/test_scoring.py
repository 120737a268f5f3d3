import functools
import itertools
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from likelax import scoring

FROZEN = json.loads((Path(__file__).parent / "reference" / "scores.json").read_text())
PROBS = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.6, 0.1, 0.3]], np.float32)
LABELS = np.array([1, 1, 2])


def test_log_and_brier_by_hand():
    chex.assert_trees_all_close(
        scoring.log_score(PROBS, LABELS), -np.log([0.5, 1.0, 0.3]).astype(np.float32), rtol=1e-6
    )
    want = [0.2**2 + 0.5**2 + 0.3**2, 0.0, 0.6**2 + 0.1**2 + 0.7**2]
    chex.assert_trees_all_close(
        scoring.brier_score(PROBS, LABELS), np.asarray(want, np.float32), rtol=1e-6
    )


def test_binary_rules_are_those_of_two_classes():
    p = jnp.array([0.0, 0.3, 1.0, 0.8])
    y = jnp.array([0, 1, 1, 0])
    both = jnp.stack([1 - p, p], axis=-1)
    chex.assert_trees_all_close(
        scoring.binary_log_score(p, y), scoring.log_score(both, y), rtol=1e-6
    )
    chex.assert_trees_all_close(
        2 * scoring.binary_brier_score(p, y), scoring.brier_score(both, y), rtol=1e-6
    )


def test_an_impossible_outcome_scores_inf_with_a_finite_gradient():
    value, grad = jax.value_and_grad(lambda p: scoring.log_score(p, jnp.array(0)))(
        jnp.array([0.0, 1.0])
    )
    assert value == jnp.inf
    assert np.isfinite(grad).all()
    grad = jax.grad(lambda p: scoring.binary_log_score(p, 0.0))(0.0)
    assert np.isfinite(grad)


@pytest.mark.parametrize(
    "rule",
    [scoring.log_score, scoring.brier_score, scoring.ranked_probability_score],
)
def test_rules_for_classes_are_proper(rule):
    truth = jnp.array([0.2, 0.5, 0.3])

    def expected(p):
        return jnp.sum(truth * rule(jnp.broadcast_to(p, (3, 3)), jnp.arange(3)))

    best = expected(truth)
    for other in ([0.3, 0.4, 0.3], [0.2, 0.45, 0.35], [1 / 3, 1 / 3, 1 / 3]):
        assert best < expected(jnp.array(other, jnp.float32))


def test_labels_outside_the_classes_are_refused_and_nan_where_they_are_traced():
    for rule in (scoring.log_score, scoring.brier_score, scoring.ranked_probability_score):
        with pytest.raises(ValueError, match=r"labels must be in 0..2; got -1 at index \(0,\)"):
            rule(PROBS, np.array([-1, 3, 0]))
        assert np.isnan(jax.jit(rule)(PROBS, np.array([-1, 3, 0]))).tolist() == [True, True, False]
        with pytest.raises(TypeError, match="labels must be integers"):
            rule(PROBS, np.array([0.0, 1.0, 2.0], np.float32))
        with pytest.raises(ValueError, match=r"probs must have shape \(\.\.\., C\)"):
            rule(PROBS, np.array([0, 1]))


def test_logits_equal_probabilities():
    logits = jnp.log(jnp.asarray(PROBS[[0, 2]])) + 7.0
    chex.assert_trees_all_close(
        scoring.log_score_from_logits(logits, LABELS[[0, 2]]),
        scoring.log_score(PROBS[[0, 2]], LABELS[[0, 2]]),
        rtol=1e-5,
    )


def test_ranked_probability_score_is_the_crps_of_the_classes():
    # independent: CRPS as an integral of the squared difference of distribution functions
    for p, y in zip(PROBS, LABELS, strict=True):
        grid = np.arange(-0.5, 3.0, 0.01)
        cdf = (p[None] * (np.arange(3)[None] <= grid[:, None])).sum(1)
        want = np.sum((cdf - (grid >= y)) ** 2) * 0.01
        got = scoring.ranked_probability_score(p, y)
        assert got == pytest.approx(want, abs=0.02)  # width of one grid cell a step


@pytest.mark.parametrize("loc,scale,x", [(0.0, 1.0, 0.3), (2.0, 0.5, -1.0), (1.0, 3.0, 9.0)])
def test_crps_normal_is_its_integral(loc, scale, x):
    want = sum(
        integrate.quad(lambda t: (stats.norm.cdf(t, loc, scale) - (t >= x)) ** 2, a, b)[0]
        for a, b in itertools.pairwise([loc - 40 * scale, x, loc + 40 * scale])
    )
    assert scoring.crps_normal(loc, scale, x) == pytest.approx(want, rel=2e-5)


def test_crps_normal_of_a_point_forecast_is_the_distance():
    value, grad = jax.value_and_grad(scoring.crps_normal, argnums=(0, 1))(1.0, 0.0, 3.0)
    assert value == 2.0
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("rate", [0.0, 0.4, 3.0, 60.0])
@pytest.mark.parametrize("x", [0, 2, 50])
def test_crps_poisson_is_its_sum(rate, x):
    grid = np.arange(400)
    want = np.sum((stats.poisson.cdf(grid, rate) - (grid >= x)) ** 2)
    assert scoring.crps_poisson(rate, x) == pytest.approx(want, rel=1e-4, abs=1e-5)
    assert np.isfinite(jax.grad(scoring.crps_poisson)(jnp.float32(rate), x))


@pytest.mark.parametrize("shift", [0.0, 1e4])  # a large offset must not cost digits
def test_ensemble_crps_is_all_pairs(shift):
    rng = np.random.default_rng(0)
    draws, x = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    draws, x = draws + np.float32(shift), x + np.float32(shift)
    near = np.abs(draws.astype(float) - x).mean(0)
    pairs = np.abs(draws.astype(float)[:, None] - draws[None]).sum((0, 1))
    got = scoring.crps_ensemble(draws, x)
    np.testing.assert_allclose(got, near - pairs / (2 * 7 * 6), rtol=1e-4, atol=1e-6)
    got = scoring.crps_ensemble(draws, x, fair=False)
    np.testing.assert_allclose(got, near - pairs / (2 * 49), rtol=1e-4, atol=1e-6)


def test_energy_score_of_one_dimension_is_the_crps():
    rng = np.random.default_rng(1)
    draws, x = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    energy = jax.jit(scoring.energy_score, static_argnames="fair")
    for fair in (True, False):
        np.testing.assert_allclose(
            energy(draws[..., None], x[..., None], fair=fair),
            scoring.crps_ensemble(draws, x, fair=fair),
            rtol=1e-5,
            atol=1e-6,
        )
    grad = jax.grad(scoring.energy_score)(jnp.zeros((3, 2)), jnp.zeros(2))
    assert (grad == 0).all()


def test_a_fair_score_is_unbiased():
    # the mean over ensembles of two equals the score of the distribution they come from
    rng = np.random.default_rng(2)
    draws = rng.normal(size=(2, 40000)).astype(np.float32)
    scores = scoring.crps_ensemble(draws, np.full(40000, 0.5, np.float32))
    error = float(scores.std()) / 200
    assert abs(float(scores.mean()) - float(scoring.crps_normal(0.0, 1.0, 0.5))) < 4 * error


def test_interval_and_dawid_sebastiani_by_hand():
    got = scoring.interval_score(0.0, 1.0, jnp.array([0.5, 2.0, -1.0]), mass=0.5)
    assert got.tolist() == [1.0, 5.0, 5.0]
    assert scoring.dawid_sebastiani_score(1.0, 2.0, 5.0) == pytest.approx(4 + 2 * np.log(2))
    with pytest.raises(ValueError, match="mass must lie in"):
        scoring.interval_score(0.0, 1.0, 0.5, mass=1.0)


def test_draws_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match="draws must have shape"):
        scoring.crps_ensemble(np.zeros((5, 2), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="at least two draws"):
        scoring.crps_ensemble(np.zeros((1, 3), np.float32), np.zeros(3, np.float32))


CLOSED = [name for name in FROZEN if name.startswith("crps_") and isinstance(FROZEN[name][0], list)]


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_are_scoringrules(name):
    rule = jax.jit(getattr(scoring, name))
    for parameters, x, want in FROZEN[name]:
        got = rule(*map(jnp.float32, parameters), jnp.array(x))
        np.testing.assert_allclose(got, want, rtol=5e-5, atol=2e-5)


@pytest.mark.sampled(0.2)
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_have_finite_gradients_outside_the_support_too(name):
    rule = getattr(scoring, name)
    number = len(FROZEN[name][0][0])
    x = jnp.array([-2.0, 0.0, 0.5, 40.0])
    grad = jax.jit(jax.grad(lambda *p: rule(*p).sum(), argnums=tuple(range(number + 1))))
    for got in grad(*map(jnp.float32, FROZEN[name][0][0]), x):
        assert np.isfinite(got).all()


def test_normal_mixture_is_scoringrules():
    x = jnp.array([-1.5, 0.3, 0.8, 2.0, 7.5])
    parts = [jnp.broadcast_to(jnp.array(p), (5, 2)) for p in ([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5])]
    got = jax.jit(scoring.crps_normal_mixture)(*parts, x)
    np.testing.assert_allclose(got, FROZEN["crps_normal_mixture"], rtol=2e-5)
    with pytest.raises(ValueError, match="weights, loc and scale must have shape"):
        scoring.crps_normal_mixture(parts[0][0], parts[1][0], parts[2][0], x)


def test_ensembles_and_the_rest_are_scoringrules():
    state = np.random.RandomState(0)  # as in tests/reference/make_scores.py
    draws, x = (a.astype(np.float32) for a in (state.standard_normal((12, 5, 3)),
                                               state.standard_normal((5, 3))))  # fmt: skip
    for fair, end in ((True, "_fair"), (False, "")):
        got = scoring.crps_ensemble(draws[..., 0], x[:, 0], fair=fair)
        np.testing.assert_allclose(got, FROZEN["crps_ensemble" + end], rtol=1e-4, atol=1e-6)
        got = scoring.energy_score(draws, x, fair=fair)
        np.testing.assert_allclose(got, FROZEN["energy_score" + end], rtol=1e-4, atol=1e-6)
        got = scoring.crps_ensemble(draws[..., 0], x[:, 0], weights=jnp.arange(1, 13), fair=fair)
        np.testing.assert_allclose(got, FROZEN["crps_ensemble_weighted" + end], rtol=1e-4)
    rule = scoring.threshold_crps_ensemble
    got = rule(draws[..., 0], x[:, 0], low=-0.5, high=0.7, fair=False)
    np.testing.assert_allclose(got, FROZEN["threshold_crps_ensemble"], rtol=1e-4, atol=1e-6)
    got = scoring.log_score_ensemble(draws[..., 0], x[:, 0])
    np.testing.assert_allclose(got, FROZEN["log_score_ensemble"], rtol=1e-5)
    got = scoring.log_score_ensemble(draws[..., 0], x[:, 0], bandwidth=0.7)
    np.testing.assert_allclose(got, FROZEN["log_score_ensemble_wide"], rtol=1e-5)
    got = scoring.variogram_score(draws, x)
    np.testing.assert_allclose(got, FROZEN["variogram_score"], rtol=1e-4)
    got = scoring.variogram_score(draws, x, weights=jnp.arange(9.0).reshape(3, 3), power=1.0)
    np.testing.assert_allclose(got, FROZEN["variogram_score_weighted"], rtol=1e-4)
    at = jnp.array([-1.5, 0.3, 0.8, 2.0, 7.5])
    got = scoring.quantile_score(0.6, at, level=0.3)
    np.testing.assert_allclose(got, FROZEN["quantile_score"], rtol=1e-5)
    got = scoring.interval_score(0.0, 1.0, at, mass=0.8)
    np.testing.assert_allclose(got, FROZEN["interval_score"], rtol=1e-5)
    got = scoring.ranked_probability_score(jnp.array([0.1, 0.2, 0.4, 0.3]), jnp.array(2))
    assert float(got) == pytest.approx(FROZEN["ranked_probability_score"], rel=1e-5)


@pytest.mark.parametrize("size,number", [(2, 3), (33, 600)])  # a network of 64, chunks of 256
def test_draws_in_any_order_and_number_are_all_pairs(size, number):
    rng = np.random.default_rng(6)
    draws = np.round(rng.normal(size=(size, number)), 1).astype(np.float32)  # ties
    x = rng.normal(size=number).astype(np.float32)
    rule = jax.jit(jax.value_and_grad(lambda d: scoring.crps_ensemble(d, x).sum()))
    value, grad = rule(draws)
    d = draws.astype(float)
    pairs = np.abs(d[:, None] - d[None]).sum((0, 1)) / (2 * size * (size - 1))
    assert float(value) == pytest.approx((np.abs(d - x).mean(0) - pairs).sum(), rel=1e-4)
    # a common shift moves no distance between draws, so ties cost nothing here
    assert float(grad.sum()) == pytest.approx((np.sign(d - x) / size).sum(), abs=1e-2)
    away = np.sort(rng.normal(size=size))[:, None].astype(np.float32) * np.ones(number, np.float32)
    want = np.sign(away - x) / size - (2 * np.arange(size) - size + 1)[:, None] / (
        size * (size - 1)
    )
    np.testing.assert_allclose(rule(away)[1], want, atol=1e-6)
    assert np.isnan(rule(np.where(draws == draws[0, 0], np.nan, draws))[0])


@pytest.mark.parametrize("shape", [(6,), (6, 4)])
def test_weights_of_whole_numbers_are_copies_of_draws(shape):
    rng = np.random.default_rng(7)
    draws, x = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    weights = rng.integers(0, 4, shape)
    weights[1:3] += 1
    weights[0] = 0
    draws[0] = np.nan  # of weight zero
    counts = np.broadcast_to(weights if weights.ndim == 2 else weights[:, None], (6, 4))
    got = scoring.crps_ensemble(draws, x, weights=weights, fair=False)
    for n in range(4):
        copies = np.repeat(draws[:, n], counts[:, n])
        want = scoring.crps_ensemble(copies, x[n], fair=False)
        np.testing.assert_allclose(got[n], want, rtol=1e-5, atol=1e-7)
    grad = jax.grad(lambda d: scoring.crps_ensemble(d, x, weights=weights).sum())(draws)
    assert np.isfinite(grad).all()
    with pytest.raises(ValueError, match="weights must be zero or more"):
        scoring.crps_ensemble(draws, x, weights=-np.ones(6))
    with pytest.raises(ValueError, match="weights must have shape"):
        scoring.crps_ensemble(draws, x, weights=np.ones(4))


@pytest.mark.parametrize("size", [5, 600])
@pytest.mark.parametrize("fair", [True, False])
def test_equal_weights_change_nothing(size, fair):
    rng = np.random.default_rng(8)
    draws, x = rng.normal(size=(size, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    got = scoring.crps_ensemble(draws, x, weights=np.full(size, 2.5), fair=fair)
    np.testing.assert_allclose(got, scoring.crps_ensemble(draws, x, fair=fair), rtol=1e-4)


def test_threshold_scores_add_up_to_the_whole():
    rng = np.random.default_rng(9)
    draws, x = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    parts = [(-np.inf, -0.3), (-0.3, 0.9), (0.9, np.inf)]
    weights = np.arange(1.0, 10.0)
    rule = functools.partial(scoring.threshold_crps_ensemble, fair=False, weights=weights)
    total = sum(rule(draws, x, low=low, high=high) for low, high in parts)
    want = scoring.crps_ensemble(draws, x, fair=False, weights=weights)
    np.testing.assert_allclose(total, want, rtol=1e-5)
    with pytest.raises(ValueError, match="high"):
        scoring.threshold_crps_ensemble(draws, x, low=1.0, high=0.0)
    with pytest.raises(ValueError, match="low must broadcast to the shape of x"):
        scoring.threshold_crps_ensemble(draws, x, low=jnp.zeros((7, 1)))


def test_quantile_scores_over_all_levels_are_the_crps():
    levels = (np.arange(20_000) + 0.5) / 20_000
    forecast = stats.norm.ppf(levels, 1.0, 2.0)
    got = 2 * np.mean(scoring.quantile_score(forecast, np.full(20_000, 1.7), level=levels))
    assert got == pytest.approx(float(scoring.crps_normal(1.0, 2.0, 1.7)), rel=1e-4)
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        scoring.quantile_score(0.0, 1.0, level=1.0)


def test_a_weighted_interval_score_is_the_mean_of_its_quantile_scores():
    lower, upper, mass = np.array([-1.0, -3.0]), np.array([1.0, 2.0]), np.array([0.5, 0.8])
    levels = np.concatenate([(1 - mass) / 2, [0.5], (1 + mass) / 2])
    forecasts = np.concatenate([lower, [0.2], upper])
    for x in (-4.0, 0.1, 1.5):
        want = 2 * np.mean(scoring.quantile_score(forecasts, np.full(5, x), level=levels))
        got = scoring.weighted_interval_score(0.2, lower, upper, x, mass=mass)
        assert float(got) == pytest.approx(float(want), rel=1e-6)
    with pytest.raises(ValueError, match="lower and upper must have shape"):
        scoring.weighted_interval_score(0.2, lower, upper, 0.0, mass=mass[:1])
    with pytest.raises(ValueError, match="mass must be in"):
        scoring.weighted_interval_score(0.2, lower, upper, 0.0, mass=mass + 1)


def sum_of_squares(cdf, x, start, end):
    """The CRPS of counts: the integral of (F(t) - 1[x <= t])^2, over unit steps cut at x."""
    edges = np.unique(np.concatenate([np.arange(start, end + 1), [x]]))
    left, width = edges[:-1], np.diff(edges)
    return np.sum(width * (cdf(np.floor(left)) - (left >= x)) ** 2)


BINOMIAL, NEGATIVE_BINOMIAL, GAMMA_POISSON = map(
    jax.jit, (scoring.crps_binomial, scoring.crps_negative_binomial, scoring.crps_gamma_poisson)
)


@pytest.mark.parametrize("x", [-2.0, 0.0, 1.0, 1.5, 3.0, 7.0, 40.0])
def test_crps_of_counts_is_its_sum(x):
    for n, p in [
        (1, 0.3),
        (3, 0.5),
        (7, 0.02),
        (7, 0.98),
        (30, 0.1),
        (400, 0.01),
        (5, 0.0),
        (5, 1.0),
    ]:
        want = sum_of_squares(stats.binom(n, p).cdf, x, -3, 401)
        assert BINOMIAL(n, p, x) == pytest.approx(want, rel=2e-5, abs=2e-6), (n, p)
    assert BINOMIAL(0, 0.5, x) == abs(x)
    for r, rate in [(1.0, 1.0), (0.05, 0.4), (0.05, 8.0), (6.0, 2.0), (90.0, 9.0), (2.0, 0.2)]:
        want = sum_of_squares(stats.nbinom(r, rate / (1 + rate)).cdf, x, -3, 401)
        assert GAMMA_POISSON(r, rate, x) == pytest.approx(want, rel=2e-5, abs=2e-6), (r, rate)
        got = NEGATIVE_BINOMIAL(r, rate / (1 + rate), x)
        assert got == pytest.approx(want, rel=2e-5, abs=2e-6), (r, rate)
    assert NEGATIVE_BINOMIAL(3, 1.0, x) == abs(x)


@pytest.mark.sampled(0.2)
@pytest.mark.parametrize("x", [0.0, 2.0, 9.0])
def test_crps_of_counts_has_right_derivatives(x):
    rules = [
        (lambda p: scoring.crps_binomial(9, p, x), [0.2, 0.7]),
        (lambda r: scoring.crps_gamma_poisson(r, 1.5, x), [2.5]),
        (lambda rate: scoring.crps_gamma_poisson(2.5, rate, x), [1.5]),
        (lambda a: scoring.crps_beta(a, 3.0, x / 10), [0.5, 2.5]),
        (lambda n: scoring.crps_student_t(n, 1.0, 2.0, x), [1.0, 7.0]),
    ]
    with jax.enable_x64(True):
        for rule, places in rules:
            at, h = jnp.array(places), 1e-5
            both = jax.jit(lambda v, rule=rule: jax.vmap(jax.value_and_grad(rule))(v))
            values, slopes = both(jnp.concatenate([at + h, at - h, at]))
            high, low, _ = jnp.split(values, 3)
            want = (high - low) / (2 * h)
            np.testing.assert_allclose(slopes[-len(places) :], want, rtol=1e-6, atol=1e-8)


def test_derivatives_at_the_edges():
    slope = jax.jit(jax.grad(scoring.crps_binomial, argnums=1))
    assert [float(slope(5, p, x)) for p, x in ((0.0, 0), (0.0, 3), (1.0, 3))] == [0, -10, 10]
    middle = jax.jit(jax.grad(scoring.crps_student_t, argnums=3))
    assert float(middle(2.0, 0.0, 1.0, 0.0)) == 0


@pytest.mark.parametrize("dof", [0.6, 1.0, 1.05, 2.0, 30.0, np.inf])
def test_crps_of_student_t_is_its_integral(dof):
    law = stats.t(dof, 1.0, 2.0) if np.isfinite(dof) else stats.norm(1.0, 2.0)
    for x in (-3.0, 1.0, 1.5, 20.0):
        want = (
            integrate.quad(lambda t: law.cdf(t) ** 2, -np.inf, x, limit=500)[0]
            + integrate.quad(lambda t: law.sf(t) ** 2, x, np.inf, limit=500)[0]
        )
        got = scoring.crps_student_t(dof, 1.0, 2.0, x)
        assert got == pytest.approx(want, rel=1e-5 if dof < 1 or dof > 1.2 else 1e-4)
    assert scoring.crps_student_t(0.5, 0.0, 1.0, 0.0) == np.inf


def test_kernel_log_scores_and_variograms_by_hand():
    draws = np.array([[0.0, 1.0], [2.0, 5.0], [3.0, 5.5]], np.float32)
    got = scoring.log_score_ensemble(draws[:, 0], 1.0, bandwidth=0.5)
    want = -np.log(np.mean(stats.norm.pdf(1.0, draws[:, 0], 0.5)))
    assert float(got) == pytest.approx(want, rel=1e-5)
    far = scoring.log_score_ensemble(draws[:, 0] + 1e4, 1e4 + 1, bandwidth=0.5)
    assert float(far) == pytest.approx(want, rel=1e-5)
    got = scoring.variogram_score(draws, np.array([0.0, 4.0]), power=1.0)
    assert float(got) == pytest.approx(2 * (4 - np.mean([1.0, 3.0, 2.5])) ** 2, rel=1e-6)
    for bad in ({"power": 0.0}, {"weights": np.ones((3, 3))}, {"weights": -np.ones((2, 2))}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            scoring.variogram_score(draws, np.array([0.0, 4.0]), **bad)
    with pytest.raises(ValueError, match="at least two"):
        scoring.log_score_ensemble(draws[:1, 0], 1.0)
    with pytest.raises(ValueError, match="draws must be not all equal"):
        scoring.log_score_ensemble(jnp.ones(4), 1.0)
    ties = jnp.array([0.0, 1.0, 1.0, 1.0, 1.0, 3.0])  # whose quartiles are equal
    width = 1.06 * np.std(np.asarray(ties), ddof=1) * 6**-0.2
    want = scoring.log_score_ensemble(ties, 1.5, bandwidth=width)
    assert float(scoring.log_score_ensemble(ties, 1.5)) == pytest.approx(float(want), rel=1e-5)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        scoring.log_score_ensemble(draws[:, 0], 1.0, bandwidth=0.0)
    with pytest.raises(ValueError, match="bandwidth must broadcast to the shape of x"):
        scoring.log_score_ensemble(draws[:, 0], 1.0, bandwidth=jnp.ones(2))


@pytest.mark.parametrize(
    "rule,edge,parameters",
    [
        (scoring.crps_gamma, 0.0, (2.0, 1.5)),
        (scoring.crps_gamma, 0.0, (0.4, 1.5)),
        (scoring.crps_exponential, 0.0, (1.5,)),
        (scoring.crps_log_normal, 0.0, (0.2, 0.3)),
        (scoring.crps_log_normal, 0.0, (0.2, 1.4)),
        (scoring.crps_beta, 0.0, (2.0, 3.0)),
        (scoring.crps_beta, 0.0, (0.5, 3.0)),
        (scoring.crps_uniform, -1.0, (-1.0, 2.0)),
        (scoring.crps_poisson, 0.0, (2.5,)),
        (scoring.crps_poisson, 0.0, (0.5,)),
        (scoring.crps_binomial, 0.0, (7, 0.3)),
        (scoring.crps_gamma_poisson, 0.0, (2.0, 0.5)),
    ],
)
def test_a_score_is_continuous_at_the_edge_and_grows_by_the_distance_below(rule, edge, parameters):
    at = float(rule(*parameters, edge))
    assert float(rule(*parameters, edge + 1e-5)) == pytest.approx(at, abs=1e-4)
    for distance in (0.25, 3.0):
        assert float(rule(*parameters, edge - distance)) == pytest.approx(at + distance, rel=1e-5)


def test_what_cannot_be_scored_is_refused():
    for rule, parameters in (
        (scoring.crps_binomial, (2.5, 0.5)),
        (scoring.crps_binomial, (-1, 0.5)),
        (scoring.crps_binomial, (2, 1.5)),
        (scoring.crps_negative_binomial, (0.0, 0.5)),
        (scoring.crps_negative_binomial, (1.0, 0.0)),
        (scoring.crps_beta, (0.0, 1.0)),
        (scoring.crps_student_t, (0.0, 0.0, 1.0)),
        (scoring.crps_student_t, (1.0, 0.0, 0.0)),
    ):
        with pytest.raises(ValueError, match="must be"):
            rule(*parameters, 1.0)


def test_nan_stays_nan():
    """Whatever the argument: a score of NaN is no score."""
    calls = {
        scoring.crps_beta: (2.0, 3.0, 0.5),
        scoring.crps_student_t: (3.0, 0.0, 1.0, 0.5),
        scoring.crps_gamma_poisson: (2.0, 3.0, 1.0),
        scoring.crps_ensemble: (jnp.arange(4.0), 0.5),
        scoring.threshold_crps_ensemble: (jnp.arange(4.0), 0.5),
        scoring.log_score_ensemble: (jnp.arange(4.0), 0.5),
        scoring.variogram_score: (jnp.arange(8.0).reshape(4, 2), jnp.arange(2.0)),
    }
    for rule, arguments in calls.items():
        for at in range(len(arguments)):
            spoilt = [jnp.asarray(a, float) for a in arguments]
            spoilt[at] = spoilt[at].at[(0,) * spoilt[at].ndim].set(jnp.nan)
            assert np.isnan(jax.jit(rule)(*spoilt)), (rule.__name__, at)
