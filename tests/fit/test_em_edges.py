"""Data on which fits go wrong: the right answer, or an honest status and the last finite model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit
from likelax.families import MvNormal, NormalInverseWishart
from likelax.fit import Status
from likelax.fit.acceleration import extrapolate
from likelax.fit.algorithm import Data
from likelax.mixture import Mixture, MixturePrior
from reference import gaussian_mixture as reference


def start(means, scale=1.0):
    means = jnp.asarray(means, jnp.float32)
    num_components, num_dims = means.shape
    tril = jnp.broadcast_to(scale * jnp.eye(num_dims), (num_components, num_dims, num_dims))
    return Mixture(jnp.full(num_components, 1 / num_components), MvNormal(means, tril))


def rows(num_rows, num_dims, seed=0):
    return np.random.default_rng(seed).normal(size=(num_rows, num_dims)).astype(np.float32)


def constant_column():
    return np.concatenate([rows(30, 1), np.full((30, 1), 7.0, np.float32)], axis=1)


CASES = {
    "fewer rows than components": (rows(3, 2), 5),
    "more dimensions than rows": (rows(4, 8), 2),
    "one constant column": (constant_column(), 2),
    "one point many times": (np.full((30, 2), 3.0, np.float32), 2),
    "two points many times": (np.tile(np.float32([[0, 0], [5, 5]]), (15, 1)), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_singular_data_collapse_and_say_so(name):
    x, size = CASES[name]
    got = fit.em(start(x[np.arange(size) % len(x)] + 0.1 * rows(size, x.shape[1])), x)
    assert got.status == Status.COLLAPSED
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((got.model, got.objectives)))


@pytest.mark.parametrize("name", CASES)
def test_a_prior_mends_singular_data(name):
    x, size = CASES[name]
    num_dims = x.shape[1]
    eye = jnp.broadcast_to(jnp.eye(num_dims), (size, num_dims, num_dims))
    wishart = NormalInverseWishart(
        jnp.broadcast_to(jnp.asarray(x.mean(axis=0)), (size, num_dims)),
        jnp.ones(size),
        jnp.full(size, num_dims + 2.0),
        eye,
    )
    first = start(x[np.arange(size) % len(x)] + 0.1 * rows(size, num_dims))
    got = fit.em(first, x, prior=MixturePrior(components=wishart), max_steps=2000)
    assert got.status == Status.CONVERGED
    assert np.all(np.diff(got.objectives) >= 0)


def test_a_lone_outlier_ends_finite():
    x = np.concatenate([rows(50, 2), np.float32([[1e3, 1e3]])])
    got = fit.em(start([[0.0, 0.0], [900.0, 900.0]]), x)
    assert got.status == Status.COLLAPSED
    assert np.isfinite(got.objective)


def reference_fit(x, means, variances, steps):
    parameters = np.full(len(means), 1 / len(means)), means, variances
    for _ in range(steps):
        shares, _ = reference.e_step(x, *parameters)
        parameters = reference.m_step(x, shares)
    return reference.e_step(x, *parameters)[1].sum(), parameters


def test_widths_that_differ_by_ten_thousand():
    wide, narrow = 100 * rows(300, 2), 0.01 * rows(300, 2, seed=1) + np.float32([0.5, 0.5])
    x = np.concatenate([wide, narrow])
    means = np.array([[1.0, 1.0], [0.4, 0.4]])
    model = start(means)
    tril = model.components.scale_tril * jnp.array([50.0, 0.1])[:, None, None]
    got = fit.em(Mixture(model.weights, MvNormal(model.components.loc, tril)), x)
    variances = np.stack([2500 * np.eye(2), 0.01 * np.eye(2)])
    want, (weights, loc, _) = reference_fit(x.astype(float), means, variances, 30)
    np.testing.assert_allclose(got.objective, want, rtol=1e-5)
    np.testing.assert_allclose(got.model.weights, weights, rtol=1e-3)
    np.testing.assert_allclose(got.model.components.loc[1], loc[1], rtol=1e-3)


@pytest.mark.parametrize("shift", [1e4, 1e6])
def test_far_from_zero_the_fit_is_that_of_the_rounded_data(shift):
    blobs = np.concatenate([rows(400, 2) - 3, rows(400, 2, seed=1) + 3])
    x = (blobs.astype(float) + shift).astype(np.float32)
    means = np.array([[-2.0, -2.0], [2.0, 2.0]]) + shift
    got = fit.em(start(means, 1.5), x)
    assert got.status == Status.CONVERGED
    want, (_, loc, covariance) = reference_fit(
        x.astype(float), means, np.stack([2.25 * np.eye(2)] * 2), 30
    )
    np.testing.assert_allclose(got.objective, want, rtol=1e-4)
    tril = np.asarray(got.model.components.scale_tril)
    np.testing.assert_allclose(tril @ np.swapaxes(tril, -1, -2), covariance, rtol=0.05, atol=0.02)
    np.testing.assert_allclose(got.model.components.loc, loc, rtol=1e-6)


def test_a_tolerance_is_relative_to_the_larger_of_objective_and_weight():
    """A rise of exactly the tolerance ends the fit, one rounding more does not."""
    data = Data(jnp.zeros(4), jnp.array([10.0, 20.0, 30.0, 40.0]))
    for before, reach in ((-0.5, 100.0), (-1024.0, 1024.0)):
        algorithm = fit.EM(tol=2.0**-10)
        start = algorithm.init(lx.Normal(0.0, 1.0), data)
        assert start.size == 100
        state, _ = algorithm.judge(start, jnp.float32(before))
        for rise, ended in ((reach * 2.0**-10, True), (reach * 2.0**-10 * 1.01, False)):
            after, better = algorithm.judge(state, jnp.float32(before) + jnp.float32(rise))
            assert better
            assert (int(after.status) == fit.Status.CONVERGED) == ended


def test_a_fit_of_tolerance_zero_ends_where_nothing_changes():
    found = fit.em(lx.Poisson(1.0), jnp.array([2, 4]), tol=0.0)
    assert (int(found.status), int(found.num_steps)) == (fit.Status.CONVERGED, 2)


def test_extrapolation_never_steps_back():
    """Where the second step turns back by more than it went, the guess is the second step."""
    path = [lx.Normal(jnp.array(loc), jnp.array(1.0)) for loc in (0.0, 1.0, -1.0)]
    assert extrapolate(*path).loc == path[2].loc
    slow = [lx.Normal(jnp.array(loc), jnp.array(1.0)) for loc in (0.0, 1.0, 1.99)]
    assert extrapolate(*slow, cap=3.0).loc == pytest.approx(0 + 6 - 9 * 0.01, rel=1e-5)


def test_a_straight_path_is_not_extrapolated():
    path = [lx.Normal(jnp.array(loc), jnp.array(1.0)) for loc in (0.0, 8.0, 16.0)]
    assert extrapolate(*path).loc == 16.0
