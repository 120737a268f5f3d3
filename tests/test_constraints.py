import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import constraints, parameters
from likelax.families import Categorical, MvNormal, Normal
from likelax.mixture import Mixture
from likelax.model import Density, pytree

TRIL = np.linalg.cholesky(
    [[1, 0.8, -0.3, 0.2], [0.8, 1, 0.1, 0], [-0.3, 0.1, 1, 0.5], [0.2, 0, 0.5, 1]]
)
POINTS = {
    "real": (constraints.real, [-3.0, 0.0, 1e6]),
    "positive": (constraints.positive, [1e-30, 1.0, 1e30]),
    "unit_interval": (constraints.unit_interval, [1e-30, 0.3, 0.999]),
    "interval": (constraints.interval(-1.0, 3.0), [-0.999, 0.0, 2.5]),
    "greater_than": (constraints.greater_than(2.0), [2.001, 3.0, 1e6]),
    "simplex": (constraints.simplex, [[0.2, 0.3, 0.5], [1e-20, 0.9, 0.1]]),
    "ordered": (constraints.ordered, [[-1.0, 0.0, 7.0], [0.0, 0.1, 0.2]]),
    "scale_tril": (constraints.scale_tril, [[[1.0, 0.0], [-2.0, 0.5]]]),
    "positive_definite": (constraints.positive_definite, [[[2.0, 0.5], [0.5, 3.0]]]),
    "correlation_tril": (constraints.correlation_tril, [TRIL, np.eye(4)]),
    "correlation": (constraints.correlation, [np.eye(4), TRIL @ TRIL.T]),
}


@pytest.mark.parametrize("name", POINTS)
def test_unconstrain_is_the_inverse(name):
    constraint, points = POINTS[name]
    points = jnp.asarray(np.array(points))
    assert np.all(constraint.contains(np.array(points)))
    back = jax.jit(lambda p: constraint.constrain(constraint.unconstrain(p)))(points)
    # exp(log x) in float32 errs by |log x| roundings: 70 of them at 1e30
    chex.assert_trees_all_close(back, points, rtol=1e-5, atol=1e-6 * (name == "correlation"))


@pytest.mark.parametrize("name", [n for n in POINTS if n != "real"])
def test_log_det_is_that_of_the_jacobian(name, x64):
    constraint, points = POINTS[name]
    reals = jax.jit(constraint.unconstrain)(jnp.asarray(np.array(points)))[-1]

    def free_coordinates(y):
        out = constraint.constrain(y)
        if name == "simplex":
            return out[:-1]
        below = -1 if name.startswith("correlation") else 0
        return out[jnp.tril_indices(len(out), below)] if out.ndim == 2 else out

    jacobian, got = jax.jit(lambda y: (jax.jacobian(free_coordinates)(y), constraint.log_det(y)))(
        reals
    )
    want = np.linalg.slogdet(np.asarray(jacobian).reshape(reals.size, reals.size))[1]
    chex.assert_trees_all_close(got, want, rtol=1e-10)


@pytest.mark.parametrize(
    ("constraint", "edge"),
    [
        (constraints.positive, [0.0, 2.0]),
        (constraints.unit_interval, [0.0, 1.0]),
        (constraints.simplex, [0.0, 0.4, 0.6]),
        (constraints.simplex, [0.4, 0.6, 0.0]),
        (constraints.simplex, [0.0, 1.0, 0.0, 0.0]),
        (constraints.simplex, [1.0]),
        (constraints.correlation_tril, [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]),
        (constraints.correlation_tril, [[1.0]]),
    ],
)
def test_zeros_come_back_as_zeros_with_finite_gradients(constraint, edge):
    edge = jnp.array(edge)

    @jax.jit
    def there_and_back(edge):
        reals = constraint.unconstrain(edge)
        slopes = jnp.arange(1.0, edge.size + 1).reshape(edge.shape)
        gradient = jax.grad(lambda y: jnp.sum(constraint.constrain(y) * slopes))(reals)
        return constraint.constrain(reals), gradient

    back, gradient = there_and_back(edge)
    chex.assert_trees_all_close(back, edge, atol=1e-7)
    assert jnp.all(jnp.isfinite(gradient))


def test_zero_is_the_uniform_simplex():
    chex.assert_trees_all_close(
        constraints.simplex.constrain(jnp.zeros((2, 3))), jnp.full((2, 4), 0.25), rtol=1e-6
    )


def test_a_model_goes_to_the_reals_and_back():
    model = {
        "mixture": Mixture(
            jnp.array([0.25, 0.75]), Normal(jnp.array([0.0, 1.0]), jnp.array([0.5, 2.0]))
        ),
        "others": (MvNormal(jnp.zeros(2), jnp.eye(2)), Categorical(jnp.array([0.5, 0.0, 0.5]))),
    }
    reals = constraints.unconstrain(model)
    assert reals["mixture"].weights.shape == (1,)
    assert reals["others"][0].scale_tril.shape == (3,)
    chex.assert_trees_all_close(constraints.constrain(reals), model, rtol=1e-6)
    # scales 0.5 and 2 give 0; one free weight gives log(p (1 - p)); a zero gives -inf
    mixture_only = constraints.log_det(reals["mixture"])
    chex.assert_trees_all_close(mixture_only, np.log(0.25 * 0.75), rtol=1e-5)
    assert constraints.log_det(reals) == -jnp.inf


def test_stacked_models_need_nothing_extra():
    rows = jnp.array([[0.2, 0.8], [0.5, 0.5]])
    stacked = constraints.unconstrain(Categorical(rows)).probs
    one_by_one = jnp.stack([constraints.unconstrain(Categorical(row)).probs for row in rows])
    chex.assert_trees_all_equal(stacked, one_by_one)


def test_integers_and_absent_parts_stay():
    tree = {"count": jnp.arange(3), "none": None, "x": 1.0}
    reals = constraints.unconstrain(tree)
    chex.assert_trees_all_equal(reals["count"], jnp.arange(3))
    assert reals["none"] is None


def test_declared_names_the_sets():
    model = Mixture(jnp.ones(2) / 2, Normal(jnp.zeros(2), jnp.ones(2)))
    declared = constraints.declared(model)
    names = declared.weights.name, declared.components.loc.name, declared.components.scale.name
    assert names == ("simplex", "real", "positive")


def test_clear_errors():
    with pytest.raises(ValueError, match="low < high"):
        constraints.interval(1.0, 1.0)
    with pytest.raises(ValueError, match=r"D \(D \+ 1\) / 2 reals on the last axis, got 4"):
        constraints.scale_tril.constrain(jnp.zeros(4))
    with pytest.raises(ValueError, match=r"square matrices .* got shape \(2, 3\)"):
        constraints.scale_tril.unconstrain(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"D \(D - 1\) / 2 reals on the last axis, got 4"):
        constraints.correlation_tril.constrain(jnp.zeros(4))
    with pytest.raises(ValueError, match=r"square matrices .* got shape \(2, 3\)"):
        constraints.correlation_tril.unconstrain(jnp.zeros((2, 3)))


@partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["width"])
@dataclasses.dataclass
class Layer:
    """A dataclass with a field that is no leaf, as in flax."""

    weights: jax.Array
    width: int


@jax.tree_util.register_pytree_with_keys_class
class Network:
    """Functions are leaves, and the constructor takes other arguments, as in equinox."""

    def __init__(self, key):
        self.layer, self.activation = Layer(jnp.ones(2), 2), jax.nn.relu

    def tree_flatten_with_keys(self):
        names = "layer", "activation"
        return [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in names], None

    @classmethod
    def tree_unflatten(cls, aux, children):
        new = object.__new__(cls)
        new.layer, new.activation = children
        return new


def test_modules_of_other_libraries_are_real_and_keep_what_is_no_number():
    network = Network(jax.random.key(0))
    back = constraints.constrain(constraints.unconstrain(network))
    assert back.layer.width == 2
    assert back.activation is jax.nn.relu
    chex.assert_trees_all_equal(back.layer.weights, jnp.ones(2))
    assert constraints.declared(network).layer.weights.name == "real"


def test_points_that_are_no_correlations_are_not_contained():
    scaled = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert not constraints.correlation_tril.contains(scaled)
    assert not constraints.correlation.contains(scaled @ scaled.T)


def test_a_constraint_of_ones_own_is_checked_by_fits():
    """Vectors below 3, whose set and number of axes its maker gives."""
    below = constraints.Constraint(
        "vectors below three",
        lambda r: 3 - jnp.exp(r),
        lambda x: jnp.log(3 - x),
        lambda r: jnp.sum(r, axis=-1),
        contains=lambda x: np.all(x <= 3, axis=-1),
        ndim=1,
    )

    @pytree
    class Capped(Density):
        top: jax.Array = constraints.constrained(below)

        def log_prob(self, x):
            return jnp.sum(self.top - x, axis=-1)

        def sample(self, key, shape=()):
            return jnp.broadcast_to(self.top, (*shape, *self.top.shape))

    model = Capped(jnp.array([1.0, 2.0]))
    again = constraints.constrain(constraints.unconstrain(model))
    np.testing.assert_allclose(again.top, model.top, rtol=1e-6)
    parameters.check_parameters("fit", model)
    with pytest.raises(ValueError, match=r"fit: Capped.top must lie in vectors below three"):
        parameters.check_parameters("fit", Capped(jnp.array([1.0, 4.0])))
    with pytest.raises(ValueError, match=r"fit: .*top"):
        parameters.check_parameters("fit", Capped(jnp.array(1.0)))
