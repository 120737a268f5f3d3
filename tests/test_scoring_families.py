"""Scores of truncated, censored, extreme, two-piece and log families, and weighted scores of draws."""

import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import scoring

REFERENCE = Path(__file__).parent / "reference"
FROZEN = json.loads((REFERENCE / "scores.json").read_text())
INTEGRALS = json.loads((REFERENCE / "crps_integrals.json").read_text())
NAMES = sorted({name for name, *_ in INTEGRALS})


def of_family(name):
    return [case for case in FROZEN["families"] if case[0] == name]


@pytest.mark.parametrize("name", sorted({case[0] for case in FROZEN["families"]}))
def test_families_are_scoringrules(name, x64):
    rule = jax.jit(getattr(scoring, name))
    for _, parameters, options, x, want in of_family(name):
        x, want = np.array(x), np.array(want)
        # scoringrules has no score below the range of these
        if name == "crps_censored_shifted_gamma":
            want = want + np.maximum(-x, 0)
        known = ~np.isnan(want) if name == "crps_beta" else np.full(x.shape, True)
        got = rule(*parameters, jnp.asarray(x), **options)
        np.testing.assert_allclose(np.asarray(got)[known], want[known], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_families_are_their_integrals(name):
    rule = jax.jit(getattr(scoring, name))
    # 2e-5 in float32 and 1e-12 in float64, as promised
    for dtype, error in ((np.float32, 2e-5), (np.float64, 1e-12)):
        with jax.enable_x64(dtype == np.float64):
            cases = [case for case in INTEGRALS if case[0] == name]
            *parameters, x = (
                jnp.asarray(v, dtype) for v in zip(*([*p, x] for _, p, x, _ in cases), strict=True)
            )
            want = np.array([value for *_, value in cases])
            np.testing.assert_allclose(np.asarray(rule(*parameters, x)), want, rtol=error)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_families_are_differences(name, x64):
    rule = getattr(scoring, name)
    case = [c for c in INTEGRALS if c[0] == name and c[2] != 0][-1]
    parameters = [jnp.asarray(v, float) for v in (*case[1], case[2])]
    number = len(parameters)
    grads = jax.jit(jax.grad(rule, argnums=tuple(range(number))))(*parameters)
    for i, got in enumerate(grads):
        step = 1e-5
        up, down = (
            [v + (side * step if i == j else 0) for j, v in enumerate(parameters)]
            for side in (1, -1)
        )
        want = (rule(*up) - rule(*down)) / (2 * step)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.sampled(0.1)
@pytest.mark.parametrize("name", sorted({case[0] for case in FROZEN["families"]}))
def test_gradients_outside_the_support_are_finite(name):
    _, parameters, options, *_ = of_family(name)[0]
    x = jnp.array([-40.0, -1.0, 0.0, 0.5, 3.0, 40.0])
    if "hyper" in name:
        parameters = [jnp.float32(v) for v in parameters]
    rule = getattr(scoring, name)

    def total(*p):
        scores = rule(*p, **options)
        return jnp.sum(jnp.where(jnp.isinf(scores), 0, scores))

    grads = jax.jit(jax.grad(total, argnums=tuple(range(len(parameters) + 1))))(
        *map(jnp.float32, parameters), x
    )
    for got in grads:
        assert np.isfinite(got).all()


def test_without_bounds_truncated_and_censored_forecasts_are_the_usual_ones():
    x = jnp.array([-3.0, 0.2, 50.0])
    inf = jnp.inf
    for kind in ("truncated", "censored"):
        rules = {
            k: jax.jit(getattr(scoring, f"crps_{kind}_{k}"))
            for k in ("normal", "logistic", "student_t")
        }
        want = scoring.crps_normal(0.5, 2.0, x)
        np.testing.assert_allclose(rules["normal"](0.5, 2.0, -inf, inf, x), want, rtol=2e-6)
        want = scoring.crps_logistic(0.5, 2.0, x)
        np.testing.assert_allclose(rules["logistic"](0.5, 2.0, -inf, inf, x), want, rtol=2e-6)
        dof = jnp.array([[0.6], [4.0], [inf]])
        want = scoring.crps_student_t(dof, 0.5, 2.0, jnp.stack([x] * 3))
        got = rules["student_t"](dof, 0.5, 2.0, -inf, inf, jnp.stack([x] * 3))
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert np.isinf(rules["student_t"](0.4, 0.0, 1.0, -inf, inf, 0.0))
        assert np.isfinite(rules["student_t"](0.4, 0.0, 1.0, -1.0, 9.0, 0.0))


def test_a_score_of_a_truncated_normal_is_that_of_its_draws():
    low, high, masses = 0.5, 2.0, {"low_mass": 0.2, "high_mass": 0.1}
    z = stats.norm.cdf([low, high])
    inside = stats.norm.ppf(z[0] + (np.arange(700) + 0.5) / 700 * (z[1] - z[0]))
    draws = np.concatenate([np.full(200, low), inside, np.full(100, high)]).astype(np.float32)
    x = jnp.array([0.0, 0.5, 1.1, 4.0])
    got = jax.jit(scoring.crps_truncated_normal)(0.0, 1.0, low, high, x, **masses)
    many = jnp.repeat(draws[:, None], 4, axis=1)
    # 700 quantiles of the part between miss it by 1 / 700 of its width
    np.testing.assert_allclose(got, scoring.crps_ensemble(many, x, fair=False), atol=2e-3)


@pytest.mark.parametrize("population", [(3, 7, 1), (0, 5, 3), (40, 60, 100), (50, 900, 300)])
def test_crps_of_draws_without_replacement_is_its_sum(population):
    m, n, size = population
    k = np.arange(-5, size + 6)
    cdf = stats.hypergeom.cdf(k, m + n, m, size)
    x = np.array([-2.0, 0.0, 1.0, m * size // (m + n), size + 3.0])
    want = np.sum((cdf[:, None] - (k[:, None] >= x)) ** 2, axis=0)
    got = scoring.crps_hypergeometric(m, n, size, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    log_mass = stats.hypergeom.logpmf(k, m + n, m, size)
    got = scoring.log_score_hypergeometric(m, n, size, jnp.asarray(k))
    np.testing.assert_allclose(got, -log_mass, rtol=2e-5, atol=2e-6)
    assert scoring.log_score_hypergeometric(3, 7, 2, 0.5) == math.inf
    with pytest.raises(ValueError, match="num_draws - population must be at most 0; got 1"):
        scoring.crps_hypergeometric(3, 7, 11, 2)


def test_scores_without_finite_tails_are_infinite():
    for score in (
        scoring.crps_generalized_extreme_value(2.0, 0.0, 1.0, 0.0),
        scoring.crps_generalized_pareto(2.0, 0.0, 1.0, 0.0),
        scoring.crps_log_laplace(0.0, 2.0, 1.0),
        scoring.crps_log_logistic(0.0, 2.0, 1.0),
    ):
        assert score == math.inf


def test_masses_at_ends_are_refused_where_they_cannot_be():
    rule = scoring.crps_truncated_normal
    for options, message in (
        ({"low_mass": -0.1}, r"low_mass must be in \[0, 1\]"),
        ({"low_mass": 0.6, "high_mass": 0.6}, "low_mass .* high_mass must be at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            rule(0.0, 1.0, -1.0, 1.0, 0.0, **options)
        with pytest.raises(ValueError, match=message):
            scoring.crps_uniform(-1.0, 1.0, 0.0, **options)
    with pytest.raises(ValueError, match="high_mass must be 0 where high is infinite"):
        rule(0.0, 1.0, -1.0, jnp.inf, 0.0, high_mass=0.1)
    assert jax.jit(rule)(0.0, 1.0, -1.0, jnp.inf, 0.0, high_mass=0.1) == math.inf
    with pytest.raises(ValueError, match="low must be a number or -inf"):
        rule(0.0, 1.0, jnp.inf, jnp.nan, 0.0)


def ensemble():
    state = np.random.RandomState(0)  # as in tests/reference/make_scores.py
    draws, x = state.standard_normal((12, 5, 3)), state.standard_normal((5, 3))
    return draws.astype(np.float32), x.astype(np.float32)


def weight(v):
    return jnp.exp(-jnp.sum(v**2, axis=-1) / 4)


def chain(v):
    return jnp.clip(v, -0.5, 0.7)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_kernel_scores_and_fair_variograms_are_scoringrules():
    draws, x = ensemble()
    close(scoring.gaussian_kernel_score(draws, x), FROZEN["kernel"]["fair"])
    close(scoring.gaussian_kernel_score(draws, x, fair=False), FROZEN["kernel"]["all"])
    number = scoring.gaussian_kernel_score(draws[:, :, :1], x[:, :1])
    close(number, FROZEN["kernel"]["number"])
    twice = scoring.gaussian_kernel_score(2 * draws, 2 * x, bandwidth=2.0)
    close(twice, FROZEN["kernel"]["fair"])
    pairs = jnp.arange(9.0).reshape(3, 3)
    got = scoring.variogram_score(draws, x, weights=pairs, fair=True)
    np.testing.assert_allclose(got, FROZEN["variogram_score_fair"], rtol=1e-4, atol=1e-4)


def test_threshold_and_outcome_weighted_scores_are_scoringrules():
    draws, x = ensemble()
    want = FROZEN["threshold"]
    close(scoring.energy_score(chain(draws), chain(x), fair=False), want["energy"])
    close(scoring.variogram_score(chain(draws), chain(x)), want["variogram"])
    close(scoring.gaussian_kernel_score(chain(draws), chain(x), fair=False), want["kernel"])
    want, pairs = FROZEN["outcome"], jnp.arange(9.0).reshape(3, 3)
    of_draws, of_x = weight(draws), weight(x)
    close(of_x * scoring.energy_score(draws, x, weights=of_draws, fair=False), want["energy"])
    got = scoring.gaussian_kernel_score(draws, x, weights=of_draws, fair=False)
    close(of_x * got, want["kernel"])
    got = scoring.variogram_score(draws, x, weights=pairs, draw_weights=of_draws)
    close(of_x * got, want["variogram"])
    first, y = draws[..., 0], x[:, 0]
    got = scoring.crps_ensemble(first, y, weights=weight(first[..., None]), fair=False)
    close(weight(y[:, None]) * got, want["crps"])


def test_rescaled_scores_are_scoringrules():
    draws, x = ensemble()
    want, given = FROZEN["rescaled"], (draws, x, weight(draws), weight(x))
    pairs = jnp.arange(9.0).reshape(3, 3)
    close(scoring.rescaled_energy_score(*given), want["energy"])
    close(scoring.rescaled_kernel_score(*given), want["kernel"])
    close(scoring.rescaled_variogram_score(*given, weights=pairs), want["variogram"])
    first, y = draws[..., 0], x[:, 0]
    numbers = (first, y, weight(first[..., None]), weight(y[:, None]))
    close(scoring.rescaled_crps_ensemble(*numbers), want["crps"])
    heavy, want = jnp.arange(1.0, 13.0), FROZEN["rescaled_weighted"]
    close(scoring.rescaled_energy_score(*given, weights=heavy), want["energy"])
    close(scoring.rescaled_kernel_score(*given, weights=heavy), want["kernel"])
    got = scoring.rescaled_variogram_score(*given, weights=pairs, draw_weights=heavy)
    close(got, want["variogram"])
    close(scoring.rescaled_crps_ensemble(*numbers, weights=heavy), want["crps"])
    # one dimension of the energy score, about another centre
    got = scoring.rescaled_energy_score(first[..., None], y[:, None], *numbers[2:], center=0.3)
    close(got, scoring.rescaled_crps_ensemble(*numbers, center=0.3))


def test_equal_weights_change_neither_rescaled_nor_other_scores():
    draws, x = ensemble()
    ones = (jnp.ones((12, 5)), jnp.ones(5))
    close(
        scoring.rescaled_energy_score(draws, x, *ones), scoring.energy_score(draws, x, fair=False)
    )
    got = scoring.rescaled_kernel_score(draws, x, *ones, bandwidth=0.5)
    close(got, scoring.gaussian_kernel_score(draws, x, bandwidth=0.5, fair=False))
    got = scoring.rescaled_variogram_score(draws, x, *ones, power=1.0)
    close(got, scoring.variogram_score(draws, x, power=1.0))
    got = scoring.rescaled_crps_ensemble(draws[..., 0], x[:, 0], *ones, center=7.0)
    close(got, scoring.crps_ensemble(draws[..., 0], x[:, 0], fair=False))
    for rule in (scoring.energy_score, scoring.gaussian_kernel_score):
        for fair in (True, False):
            close(rule(draws, x, weights=ones[0], fair=fair), rule(draws, x, fair=fair))
            # whole numbers are copies, and a draw without weight may be NaN
            heavy = jnp.array([2.0, 1.0, 0.0])
            some = jnp.asarray(draws[:3]).at[2].set(jnp.nan)
            copied = rule(draws[jnp.array([0, 0, 1])], x, fair=False)
            close(rule(some, x, weights=heavy, fair=False), copied)


def test_weighted_fair_variograms_are_all_distinct_pairs():
    draws, x = (np.asarray(a, float) for a in ensemble())
    draws, x, w = draws[:4, 0], x[0], np.array([0.1, 0.2, 0.3, 0.4])

    def features(v):
        return np.abs(v[..., :, None] - v[..., None, :]) ** 0.5

    phi, at = features(draws), features(x)
    near = sum(w[i] * np.sum((phi[i] - at) ** 2) for i in range(4))
    apart = sum(
        w[i] * w[j] * np.sum((phi[i] - phi[j]) ** 2) for i in range(4) for j in range(4)
    ) / (1 - np.sum(w**2))
    got = scoring.variogram_score(
        jnp.asarray(draws, jnp.float32), jnp.asarray(x, jnp.float32),
        draw_weights=jnp.asarray(w, jnp.float32), fair=True,
    )  # fmt: skip
    assert got == pytest.approx(near - apart / 2, rel=1e-4, abs=1e-5)


def test_moment_and_log_scores_of_draws_are_scoringrules():
    draws, x = ensemble()
    got = scoring.dawid_sebastiani_ensemble(draws, x)
    np.testing.assert_allclose(got, FROZEN["dawid_sebastiani_ensemble"], rtol=1e-4)
    for conditional, want in zip((False, True), FROZEN["threshold_log_score"], strict=True):
        got = scoring.threshold_log_score_ensemble(
            draws[..., 0], x[:, 0], low=-0.5, high=0.7, bandwidth=0.7, conditional=conditional
        )
        close(got, want)
    probs, label = jnp.array([0.1, 0.2, 0.4, 0.3]), jnp.array(2)
    close(scoring.ranked_log_score(probs, label), FROZEN["ranked_log_score"])
    assert np.isnan(jax.jit(scoring.ranked_log_score)(probs, jnp.array(4)))
    levels = jnp.broadcast_to(jnp.arange(1.0, 13.0) / 13, (5, 12))
    each = scoring.quantile_score(draws[..., 0].T, jnp.repeat(x[:, :1], 12, axis=1), level=levels)
    close(2 * jnp.mean(each, axis=-1), FROZEN["crps_quantile"])


def test_a_conditional_score_far_in_a_tail_keeps_its_digits():
    draws = jnp.array([0.0, 0.5])
    got = scoring.threshold_log_score_ensemble(
        draws, 7.5, low=7.0, high=8.0, bandwidth=1.0, conditional=True
    )
    chance = np.mean(stats.norm.sf(7.0 - np.array(draws)) - stats.norm.sf(8.0 - np.array(draws)))
    density = np.mean(stats.norm.pdf(7.5 - np.array(draws)))
    assert got == pytest.approx(np.log(chance) - np.log(density), rel=1e-4)


def test_the_error_spread_score_is_that_of_the_moments():
    # scoringrules 0.10 leaves out the number of draws in the skewness, so it forgets that for many
    draws = np.random.default_rng(0).exponential(size=100_000).astype(np.float32)
    # an exponential has deviation 1 and skewness 2
    assert scoring.error_spread_score(draws, 0.5) == pytest.approx((1 - 0.25 - 1) ** 2, abs=0.05)
    with pytest.raises(ValueError, match="at least three"):
        scoring.error_spread_score(draws[:2], 0.5)


def test_pairs_a_shift_apart_are_scoringrules():
    draws, x = ensemble()
    for name, shift in (("akr", 1), ("akr_circperm", 6)):
        energy, kernel = FROZEN["shifted"][name]
        close(scoring.energy_score(draws, x, shift=shift), energy)
        close(scoring.gaussian_kernel_score(draws, x, shift=shift), kernel)


@pytest.mark.parametrize("rule", [scoring.energy_score, scoring.gaussian_kernel_score])
def test_all_pairs_are_the_mean_over_all_shifts(rule):
    draws, x = (a[:5] for a in ensemble())
    each = [rule(draws, x, shift=shift) for shift in range(1, 5)]
    close(np.mean(each, axis=0), rule(draws, x))
    for options, message in (
        ({"shift": 5}, "shift must be below the number of draws, 5; got 5"),
        ({"shift": 1, "fair": False}, "shift needs fair=True"),
        ({"shift": 1, "weights": jnp.ones(5)}, "shift cannot be combined with weights"),
    ):
        with pytest.raises(ValueError, match=message):
            rule(draws, x, **options)


def test_weights_are_copies_and_a_draw_without_weight_may_be_nan():
    draws, x = ensemble()
    some = jnp.asarray(draws[:4]).at[3].set(jnp.nan)
    heavy = jnp.array([2.0, 1.0, 1.0, 0.0])
    copied = draws[jnp.array([0, 0, 1, 2])]
    first, y = some[..., 0], x[:, 0]
    got = scoring.log_score_ensemble(first, y, bandwidth=0.7, weights=heavy)
    close(got, scoring.log_score_ensemble(copied[..., 0], y, bandwidth=0.7))
    for conditional in (False, True):
        options = {"low": -0.5, "high": 0.7, "bandwidth": 0.7, "conditional": conditional}
        got = scoring.threshold_log_score_ensemble(first, y, weights=heavy, **options)
        close(got, scoring.threshold_log_score_ensemble(copied[..., 0], y, **options))
    with pytest.raises(ValueError, match="bandwidth must be given with weights"):
        scoring.log_score_ensemble(first, y, weights=heavy)
    points = jnp.where(heavy[:, None, None] > 0, some, 0)[..., :1]
    got = scoring.dawid_sebastiani_ensemble(points, x[:, :1], weights=heavy)
    mean, around = (np.average(v, axis=0, weights=heavy) for v in (points, points**2))
    variance = (around - mean**2) / (1 - (0.5**2 + 0.25**2 + 0.25**2))
    want = (x[:, :1] - mean) ** 2 / variance + np.log(variance)
    close(got, want[:, 0])
    close(scoring.dawid_sebastiani_ensemble(some[..., :1], x[:, :1], weights=heavy), want[:, 0])
    got = scoring.dawid_sebastiani_ensemble(draws, x, weights=jnp.full((12, 5), 3.0))
    np.testing.assert_allclose(got, scoring.dawid_sebastiani_ensemble(draws, x), rtol=1e-4)


def test_the_docs_have_a_row_for_every_score_of_scoringrules():
    docs = Path(__file__).parents[1] / "docs" / "calibration.md"
    rows = [line.split(" | ")[0] for line in docs.read_text().splitlines() if line[:1] == "|"]
    named = {name for row in rows for name in re.findall("`(.*?)`", row)}
    assert set(FROZEN["names"]) <= named
