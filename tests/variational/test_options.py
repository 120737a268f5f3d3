"""Options of guides and their fits at other values than the defaults."""

import dataclasses
import math
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import fit
from likelax.constraints import positive, real
from likelax.variational import (
    BlockRank,
    GuideAscent,
    block_rank,
    fit_fixed_draws,
    fit_guide,
    fit_guides,
    full_rank,
    importance,
    low_rank,
    match_moments,
    mean_field,
    pathwise,
    scattered,
)
from likelax.variational.fitting import _worth
from likelax.variational.leaves import Held, jittable
from likelax.variational.natural import _agreement, _distance


def square(z):
    return -jnp.sum(z**2) / 2


def log_joint(z):
    """log tau is normal with mean 1 and scale 1/2, x standard normal."""
    return -((jnp.log(z["tau"]) - 1) ** 2) / 0.5 - jnp.log(z["tau"]) - z["x"] ** 2 / 2


TEMPLATE = {"tau": jnp.array(1.0), "x": jnp.array(0.0)}
SETS = {"tau": positive, "x": real}


@pytest.mark.parametrize("kind", ["block", "low"])
def test_draws_of_a_guide_lie_in_their_sets(kind):
    template = {"tau": jnp.array(2.0), "x": jnp.array(-3.0)}
    if kind == "block":
        guide = block_rank(template, sets=SETS)
    else:
        guide = low_rank(template, sets=SETS, rank=1)
    draws = guide.sample(jax.random.key(0), (100,))
    assert np.all(draws["tau"] > 0)
    assert np.median(draws["tau"]) == pytest.approx(2.0, rel=0.1)
    assert np.median(draws["x"]) == pytest.approx(-3.0, rel=0.1)


def test_fixed_draws_find_a_positive_parameter():
    found = [
        fit_fixed_draws(jax.random.key(0), log_joint, TEMPLATE, SETS, num_samples=size)
        for size in (20, 400)
    ]
    log_tau = [float(f.guide.base.loc[0]) for f in found]
    # the mean of S fixed draws has the error 1 / (2 sqrt S)
    assert abs(log_tau[1] - 1) < 3 * 0.5 / math.sqrt(400) < abs(log_tau[0] - log_tau[1]) + 0.1
    assert log_tau[0] != log_tau[1]


def test_a_stochastic_fit_draws_as_often_as_it_is_told():
    seen = []

    def estimator(key, log_joint, guide, num_samples):
        seen.append(num_samples)
        return pathwise(key, log_joint, guide, num_samples)

    guide = mean_field(jnp.zeros(2))
    starts = scattered(jax.random.key(1), guide, 3)
    options = {"estimator": estimator, "max_steps": 20, "num_check": 7}
    fit_guide(jax.random.key(0), square, guide, num_samples=5, **options)
    assert 5 in seen
    seen.clear()
    fit_guides(jax.random.key(2), square, starts, num_samples=6, **options)
    assert 6 in seen


def test_more_rounds_of_matching_come_closer():
    guide = mean_field(jnp.zeros(1), scale=4.0)

    def gap(num_rounds):
        better = match_moments(jax.random.key(3), square, guide, 300, num_rounds=num_rounds)
        return abs(float(better.base.scale[0]) - 1)

    assert gap(6) < 0.15 < abs(guide.base.scale[0] - 1)
    assert gap(1) != gap(6)


def test_a_larger_tolerance_ends_a_fit_of_rows_earlier():
    x = jnp.asarray(np.random.default_rng(0).normal(2.0, 1.0, 50), jnp.float32)

    def steps(tol):
        algorithm = GuideAscent(square, lambda z, x: -(jnp.abs(x - z[0]) ** 1.5), tol=tol)

        def start(key, x):
            return mean_field(jnp.full(1, 30.0))

        done = fit.batch(algorithm, start, [x], key=jax.random.key(0), num_restarts=1)
        return int(done.best.num_steps[0])

    assert steps(2.0) < steps(0.005)


def test_blocks_are_the_labels():
    tril = jnp.array([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [3.0, 4.0, 1.0]])
    guide = BlockRank(jnp.zeros(3), tril, labels=(0, 1, 0))
    np.testing.assert_array_equal(guide.root(), [[1, 0, 0], [0, 1, 0], [3, 0, 1]])


def test_starts_are_scattered_about_the_guide_itself():
    guide = mean_field(jnp.array([10.0, -4.0]))
    places = scattered(jax.random.key(0), guide, 400, spread=0.5).base.loc
    np.testing.assert_allclose(places.mean(0), [10.0, -4.0], atol=4 * 0.5 / 20)
    np.testing.assert_allclose(places.std(0), 0.5, rtol=0.15)


def test_the_density_of_noise_is_that_of_its_draw():
    base = low_rank(jnp.zeros(4), rank=2).base
    key_factor, key_noise = jax.random.split(jax.random.key(0))
    leaves, structure = jax.tree.flatten(base)
    shapes = [leaf.shape for leaf in leaves]
    assert (4, 2) in shapes
    moved = [
        leaf + 0.7 * jax.random.normal(jax.random.fold_in(key_factor, i), leaf.shape)
        if leaf.shape == (4, 2)
        else leaf
        for i, leaf in enumerate(leaves)
    ]
    guide = jax.tree.unflatten(structure, moved)
    noise = jax.random.normal(key_noise, (5, 6))
    got = guide.log_prob_of_noise(noise)
    np.testing.assert_allclose(got, guide.log_prob(guide.from_noise(noise)), atol=1e-3)
    root = jax.jacobian(guide.from_noise)(noise[0])
    covariance = jnp.matmul(root, root.T, precision="highest")
    draws = guide.from_noise(noise)
    want = stats.multivariate_normal(guide.loc, np.asarray(covariance, float)).logpdf(draws)
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_the_gap_that_a_step_is_expected_to_gain_is_a_divergence(x64):
    """KL(guide || target) of two normals that are near, to the second order."""
    rng = np.random.default_rng(0)
    bend = 1e-3 * rng.normal(size=(3, 3))
    precision, mean = np.eye(3) + bend + bend.T, 1e-3 * rng.normal(size=3)
    signal, log_det = precision @ mean, np.linalg.slogdet(precision)[1]
    gap = (np.trace(precision) + mean @ precision @ mean - 3 - log_det) / 2
    guide = full_rank(jnp.zeros(3))
    values, vectors = np.linalg.eigh(precision)
    look = SimpleNamespace(signal=jnp.asarray(signal), curvature=jnp.asarray(precision))
    got = _distance(guide, look, jnp.asarray(values), jnp.asarray(vectors))
    np.testing.assert_allclose(got, gap, rtol=1e-2)
    np.testing.assert_allclose(_agreement(guide, look, look), gap, rtol=1e-2)


def test_the_log_evidence_of_importance_weights_is_that_of_a_normal():
    guide = full_rank(jnp.zeros(2), scale=1.3)
    found = importance(jax.random.key(5), lambda z: -jnp.sum((z - 0.3) ** 2) / 2 + 4, guide, 20_000)
    want = 4 + np.log(2 * np.pi)
    evidence = found.log_evidence
    assert 0 < float(evidence.standard_error) < 0.02
    assert abs(float(evidence.value) - want) < 4 * float(evidence.standard_error)
    assert int(evidence.num_samples) == 20_000


def test_a_round_without_a_finite_covariance_leaves_the_guide():
    guide = mean_field(jnp.zeros(2), scale=1.0)
    wide = jnp.array([1.0, 1e25])  # the second variance overflows
    base = dataclasses.replace(guide.base, scale=guide.base.scale * wide)
    moved = type(guide)(base, guide.space)
    found = match_moments(jax.random.key(6), moved.log_prob, moved, 100)
    chex.assert_trees_all_equal(found, moved)


def test_only_fits_that_can_be_used_are_worth_their_bound():
    def worth(usable, value):
        elbo = SimpleNamespace(value=jnp.array(value))
        return float(_worth(SimpleNamespace(fit=SimpleNamespace(usable=usable), elbo=elbo)))

    assert worth(True, 2.0) == 2.0
    assert worth(False, 2.0) == worth(True, np.nan) == worth(True, np.inf) == -np.inf


def test_only_what_is_no_array_or_float_is_held_as_it_is():
    moved = [np.ones(2), jnp.ones(2), 2.0, np.float32(1)]
    assert not any(isinstance(jittable(leaf), Held) for leaf in moved)
    assert all(isinstance(jittable(leaf), Held) for leaf in (abs, True, 3))
