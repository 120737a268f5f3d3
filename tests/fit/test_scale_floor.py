"""`scale_floor`: the M step under a smallest standard deviation is exact, in every nesting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from likelax import (
    HMM,
    Driven,
    Fixed,
    Independent,
    Mixture,
    MvNormal,
    Normal,
    Poisson,
    Product,
    SphericalNormal,
    Tied,
    fit,
    hmm,
)
from likelax.parameters import raise_scales

FLOOR = 0.5


def test_a_raised_covariance_has_the_same_axes_and_no_smaller_eigenvalue():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for scales in itertools.product([0.1, 0.5, 2.0], repeat=3):
        covariance = axes * np.square(scales) @ axes.T
        model = MvNormal.from_covariance(jnp.zeros(3), covariance)
        wanted = axes * np.square(np.maximum(scales, FLOOR)) @ axes.T
        raised = raise_scales(model, FLOOR)
        np.testing.assert_allclose(raised.covariance, wanted, rtol=1e-4, atol=1e-5)
        assert (np.diagonal(raised.scale_tril) > 0).all()
        assert (np.triu(raised.scale_tril, 1) == 0).all()
        if min(scales) > FLOOR:
            np.testing.assert_array_equal(raised.scale_tril, model.scale_tril)


def test_the_floored_m_step_is_the_constrained_maximum():
    # over all 2 x 2 covariances with both eigenvalues at least FLOOR^2, by a search
    x = np.array([[0.0, 0.0], [1.0, 1.1], [2.0, 1.9], [3.0, 3.2]])
    found = fit.em(MvNormal(jnp.zeros(2), jnp.eye(2)), x, scale_floor=FLOOR).model

    def loss(free: np.ndarray) -> float:
        angle, *extra = free
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariance = turn * (FLOOR**2 + np.square(extra)) @ turn.T
        gap = x - np.mean(x, axis=0)
        quadratic = np.sum(gap @ np.linalg.inv(covariance) * gap)
        return quadratic + len(x) * np.linalg.slogdet(covariance)[1]

    best = scipy.optimize.minimize(loss, [0.5, 1.0, 0.1], method="Nelder-Mead", tol=1e-12)
    nats = -best.fun / 2 - len(x) * np.log(2 * np.pi)
    assert float(jnp.sum(found.log_prob(x))) == pytest.approx(nats, abs=1e-3)
    assert np.linalg.eigvalsh(found.covariance).min() == pytest.approx(FLOOR**2, rel=1e-4)


@pytest.mark.parametrize("algorithm", [fit.em, fit.squarem])
def test_a_component_on_one_repeated_point_stands_at_the_floor(algorithm):
    x = jnp.concatenate([jnp.zeros(6), jnp.array([4.0, 5.0, 6.0, 7.0])])
    start = Mixture(jnp.full(2, 0.5), Normal(jnp.array([0.1, 5.0]), jnp.array([0.01, 1.0])))
    assert int(algorithm(start, x).status) == fit.Status.COLLAPSED
    result = algorithm(start, x, scale_floor=FLOOR)
    assert int(result.status) == fit.Status.CONVERGED
    np.testing.assert_allclose(result.model.components.scale[0], FLOOR)
    assert (np.diff(np.asarray(result.objectives)[: int(result.num_steps) + 1]) > -1e-4).all()


@pytest.mark.parametrize(
    "components",
    [
        Tied(Normal(jnp.array([0.0, 0.1]), jnp.full(2, 0.01))),
        Independent(Normal(jnp.zeros((2, 1)), jnp.full((2, 1), 0.01))),
        SphericalNormal(jnp.array([[0.0], [0.1]]), jnp.full(2, 0.01)),
        MvNormal(jnp.array([[0.0], [0.1]]), jnp.full((2, 1, 1), 0.01)),
        Product((Normal(jnp.array([0.0, 0.1]), jnp.full(2, 0.01)), Poisson(jnp.ones(2)))),
    ],
    ids=lambda components: type(components).__name__,
)
@pytest.mark.parametrize("node", ["mixture", "hmm"])
def test_it_reaches_every_scale_inside_a_node(components, node):
    x = jnp.zeros(6) + jnp.array([0.0, 0.0, 0.0, 0.01, 0.01, 0.01])
    if components.event_ndim == 1:
        x = x[:, None]
    if isinstance(components, Product):
        x = (x, jnp.array([1, 2, 1, 0, 1, 1]))
    even = jnp.full(2, 0.5)
    start = (
        Mixture(even, components)
        if node == "mixture"
        else HMM(even, jnp.full((2, 2), 0.5), components)
    )
    model = fit.em(start, x, scale_floor=FLOOR, max_steps=5).model
    scales = [
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(model)
        if "scale" in jax.tree_util.keystr(path)
    ]
    assert scales
    for scale in scales:
        np.testing.assert_allclose(scale, FLOOR, rtol=1e-5)


def test_a_part_without_a_scale_is_left_alone():
    moves = hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.zeros((2, 2, 1)))
    chain = HMM(jnp.full(2, 0.5), moves, Normal(jnp.array([0.0, 1.0]), jnp.full(2, 0.01)))
    x = Driven(jnp.array([0.0, 1.0, 0.0, 1.0, 0.0]), jnp.ones((5, 1)))
    model = fit.em(chain, x, max_steps=2, scale_floor=FLOOR).model
    np.testing.assert_allclose(model.emissions.scale, FLOOR)


def test_a_fixed_scale_stays_and_a_bad_floor_is_refused():
    x = jnp.array([0.0, 1.0])
    still = Mixture(jnp.full(2, 0.5), Fixed(Normal(jnp.zeros(2), jnp.full(2, 0.01))))
    kept = fit.em(still, x, scale_floor=FLOOR).model.components.model.scale
    np.testing.assert_array_equal(kept, still.components.model.scale)
    for bad in (0.0, -1.0, jnp.nan, jnp.ones(2)):
        with pytest.raises(ValueError, match="scale_floor must be one positive number"):
            fit.em(Normal(0.0, 1.0), x, scale_floor=bad)
