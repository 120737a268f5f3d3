"""Data of hidden Markov models whose shape is a mistake, and pytrees from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import HMM, Fixed, Mixture, Product, fit
from likelax.data import Masked, Sequences
from likelax.families import MvNormal, Normal, Poisson

rng = np.random.default_rng(0)
X = jnp.asarray(rng.normal(size=40) + np.repeat([-2, 2, -2, 2], 10), jnp.float32)
SCALAR = HMM(
    jnp.array([0.5, 0.5]),
    jnp.array([[0.8, 0.2], [0.2, 0.8]]),
    Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)),
)
PLANE = HMM(
    SCALAR.initial,
    SCALAR.transition,
    MvNormal(jnp.array([[-1.0, 0], [1, 0]]), jnp.stack([jnp.eye(2)] * 2)),
)

# A column of one sequence for a model of scalars


@pytest.mark.parametrize("call", [fit.em, fit.squarem, fit.mle, fit.gradient])
def test_a_column_is_not_taken_for_sequences_of_one_step(call):
    message = r"x of shape \(40, 1\) is 40 sequences of one step each.*40 steps give x\[:, 0\]"
    with pytest.raises(ValueError, match=message):
        call(SCALAR, X[:, None])


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (SCALAR, Masked.from_nan(X[:, None])),
        (SCALAR, Sequences(X[:, None])),
        (Mixture(jnp.ones(1), jax.tree.map(lambda leaf: leaf[None], SCALAR)), X[:, None]),
        (PLANE, jnp.ones((40, 1, 2))),
    ],
)
def test_wrapped_columns_are_refused_too(model, x):
    with pytest.raises(ValueError, match="40 sequences of one step each"):
        fit.em(model, x)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (SCALAR, X),
        (SCALAR, X[None]),
        (SCALAR, X.reshape(20, 2)),
        (PLANE, jnp.stack([X, X], axis=-1) + rng.normal(size=(40, 2)).astype(np.float32)),
        (HMM(SCALAR.initial, Fixed(SCALAR.transition), SCALAR.emissions), X[:, None]),
        (HMM(SCALAR.initial, SCALAR.transition, Product((SCALAR.emissions,))), (X,)),
    ],
)
def test_sequences_that_tell_the_transition_are_fitted(model, x):
    assert fit.em(model, x, max_steps=2).usable


def test_a_density_without_an_m_step_is_refused_by_name():
    from likelax.model import Density, pytree

    @pytree
    class Mine(Density):
        loc: jax.Array

        def log_prob(self, x):
            return -((x - self.loc) ** 2)

        def sample(self, key, shape=()):
            return jnp.broadcast_to(self.loc, shape)

    for model in (Mine(0.0), Mixture(jnp.ones(2) / 2, Mine(jnp.zeros(2)))):
        for call in (fit.em, fit.squarem, fit.mle):
            with pytest.raises(TypeError, match=r"Mine has no M step.*fit\.gradient"):
                call(model, X)
    np.testing.assert_allclose(fit.gradient(Mine(0.0), X).model.loc, X.mean(), atol=1e-3)


# Pytree classes of other libraries, such as modules of equinox


@jax.tree_util.register_pytree_with_keys_class
class Layer:
    """A class with static fields and an __init__ that takes something else than its leaves."""

    def __init__(self, size, *, name="layer"):
        self.weight = jnp.zeros(size)
        self.bias = jnp.zeros(())
        self.steps = jnp.arange(size)
        self.name = name

    def tree_flatten_with_keys(self):
        keys = map(jax.tree_util.GetAttrKey, ("weight", "bias", "steps"))
        return tuple(zip(keys, (self.weight, self.bias, self.steps), strict=True)), self.name

    @classmethod
    def tree_unflatten(cls, name, leaves):
        layer = object.__new__(cls)
        layer.weight, layer.bias, layer.steps = leaves
        layer.name = name
        return layer

    def __call__(self, x):
        return x @ self.weight + self.bias


FEATURES = jnp.asarray(rng.normal(size=(30, 2)), jnp.float32)
TARGETS = FEATURES @ jnp.array([1.5, -0.5]) + 0.3


def negative_squares(layer):
    return -jnp.sum((layer(FEATURES) - TARGETS) ** 2)


@pytest.mark.parametrize("maximize", [fit.maximize, fit.maximize_lbfgs])
def test_a_class_with_its_own_init_and_static_fields_is_fitted(maximize):
    # independent reference: the targets are this linear function of the features
    got = maximize(negative_squares, Layer(2, name="first")).model
    np.testing.assert_allclose(got.weight, [1.5, -0.5], atol=1e-2)
    np.testing.assert_allclose(got.bias, 0.3, atol=1e-2)
    assert got.name == "first"
    np.testing.assert_array_equal(got.steps, [0, 1])


def test_such_a_class_beside_a_model():
    start = {"layer": Layer(2), "noise": Normal(0.0, 2.0)}

    def objective(both):
        return jnp.sum(both["noise"].log_prob(TARGETS + 0.1 - both["layer"](FEATURES)))

    got = fit.maximize_lbfgs(objective, start, max_steps=3).model
    assert got["noise"].scale > 0
    assert objective(got) > objective(start)


def test_a_batch_of_other_models_keeps_its_message():
    with pytest.raises(ValueError, match="weights"):
        fit.em(Poisson(1.0), jnp.array([1, 2]), weights=jnp.ones(3))
