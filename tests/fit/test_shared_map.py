"""Posterior modes of normals whose spread is shared, over directions or over components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit

RNG = np.random.default_rng(0)
LABELS = np.array([0] * 7 + [1] * 5)
ROWS = RNG.normal(size=(12, 2)) + 3 * LABELS[:, None]
LOC = jnp.array([[0.1, -0.2], [2.0, 3.0]])
TWO = jnp.ones(2)
NIG = lx.NormalInverseGamma(jnp.array([0.0, 1.0]), TWO * 0.5, 2 * TWO, jnp.array([1.0, 2.0]))
FEATURES = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.1], axis=1), NIG)
NIW = lx.NormalInverseWishart(LOC, TWO, TWO * 4, jnp.stack([jnp.eye(2), 2 * jnp.eye(2)]))
VECTOR = lx.NormalInverseGamma(LOC, TWO * 0.5, 2 * TWO, TWO)
MATRIX = lx.MatrixNormalInverseWishart(
    jnp.zeros((2, 2, 1)),
    jnp.stack([jnp.eye(2)] * 2),
    TWO * 3,
    jnp.stack([jnp.eye(1), 2 * jnp.eye(1)]),
)
EYES = jnp.stack([jnp.eye(2)] * 2)
LINE = lx.LinearRegression(jnp.zeros((2, 2, 1)), jnp.ones((2, 1, 1)))
PAIR = (RNG.normal(size=(12, 2)), ROWS[:, 0])
CASES = {
    "tied normal": (lx.Tied(lx.Normal(LOC[:, 0], TWO)), NIG, ROWS[:, 0]),
    "tied features": (
        lx.Tied(lx.Independent(lx.Normal(LOC, jnp.ones((2, 2))))),
        lx.Independent(FEATURES),
        ROWS,
    ),
    "tied full": (lx.Tied(lx.MvNormal(LOC, EYES)), NIW, ROWS),
    "tied spherical": (lx.Tied(lx.SphericalNormal(LOC, TWO)), VECTOR, ROWS),
    "spherical": (lx.SphericalNormal(LOC, jnp.array([1.0, 2.0])), VECTOR, ROWS),
    "tied regression": (lx.Tied(LINE), MATRIX, PAIR),
    "tied ridge": (lx.Tied(LINE), lx.RidgePrior(jnp.array([1.0, 2.0])), PAIR),
    "tied field": (
        lx.Tied(lx.Product({"a": lx.Normal(LOC[:, 0], TWO), "b": lx.Normal(LOC[:, 1], TWO)})),
        lx.Product({"a": NIG, "b": None}),
        {"a": ROWS[:, 0], "b": ROWS[:, 1]},
    ),
}


def wide(name):
    """A case in float64."""
    components, prior, x = CASES[name]
    start = lx.Mixture(TWO / 2, components)
    leaves = (start, lx.MixturePrior(None, prior))
    return *jax.tree.map(lambda leaf: jnp.asarray(leaf, float), leaves), lx.Labelled(x, LABELS)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", CASES)
def test_the_mode_is_where_the_log_joint_is_flat(name, x64):
    start, prior, data = wide(name)
    fitted = fit.em(start, data, prior=prior, tol=1e-13, max_steps=60)
    assert bool(fitted.usable)
    rises = np.diff(np.asarray(fitted.objectives))
    assert (rises >= -1e-9).all()
    vector, rebuild = lx.parameters.to_vector(fitted.model)

    def log_joint(v):
        model = rebuild(v)
        return model.log_prob(data).sum() + model.log_prior(prior)

    np.testing.assert_allclose(jax.jit(jax.grad(log_joint))(vector), 0, atol=1e-5)


def test_components_share_their_spread_under_different_priors():
    components, prior, x = CASES["tied full"]
    data = lx.Labelled(x, LABELS)
    model = fit.mle(lx.Mixture(TWO / 2, components), data, prior=lx.MixturePrior(None, prior))
    tril = np.asarray(model.components.model.scale_tril)
    assert (tril[0] == tril[1]).all()


def test_a_tied_spread_without_data_is_that_of_the_prior(x64):
    start, prior, data = wide("tied normal")
    model = fit.mle(start, data, weights=np.zeros(12), prior=prior)
    np.testing.assert_allclose(model.components.model.scale**2, 3 / 7)  # (1 + 2) / (3.5 + 3.5)
