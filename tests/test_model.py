"""Classes of this package and JAX's tree definitions: one class is never taken for another."""

import dataclasses
import importlib
import inspect
import itertools
import pkgutil
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax.model import Density, check_registration, pytree, static

# families with two parameters, which fit one data set of (0, 1)
TWO_PARAMETERS = [
    lx.Normal(0.0, 1.0),
    lx.Laplace(0.0, 1.0),
    lx.VonMises(0.0, 1.0),
    lx.Uniform(-9.0, 9.0),
    lx.Gamma(1.0, 1.0),
    lx.Lomax(2.0, 1.0),
    lx.Weibull(shape=1.0, scale=1.0),
    lx.InverseGamma(2.0, 1.0),
    lx.LogNormal(0.0, 1.0),
    lx.Beta(1.0, 1.0),
    lx.Pareto(scale=2.0, shape=0.01),
]
SIZES = range(5, 13)
# adapters, which need the library of their name
OPTIONAL = {"distrax", "distreqx", "dynamax", "numpyro", "tfp"}


def _classes() -> list[type]:
    """Every dataclass that JAX takes for a node, and every NamedTuple, of every module."""
    found = set()
    for module in pkgutil.walk_packages(lx.__path__, "likelax."):
        if module.name == "likelax.__main__" or module.name.rpartition(".")[2] in OPTIONAL:
            continue
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if cls.__module__.startswith("likelax") and _size(cls) is not None:
                found.add(cls)
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def _size(cls: type) -> int | None:
    """How many fields a class has; None if JAX does not take it for a node."""
    if hasattr(cls, "_fields"):
        return len(cls._fields)
    if not dataclasses.is_dataclass(cls) or inspect.isabstract(cls):
        return None
    return None if jax.tree.structure(_instance(cls)).node_data() is None else len(_names(cls))


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _instance(cls: type) -> Any:
    """An instance that holds the same value in every field, whatever the class."""
    if hasattr(cls, "_fields"):
        return cls(*[1.0] * len(cls._fields))
    node = object.__new__(cls)
    node.__dict__.update(dict.fromkeys(_names(cls), 1.0))
    return node


def test_tree_definitions_of_all_classes_differ():
    classes = _classes()
    assert len(classes) > 100
    pairs = [
        (a, b) for a, b in itertools.combinations(classes, 2) if _size(a) == _size(b) is not None
    ]
    assert len(pairs) > 1000
    same = [
        (a.__name__, b.__name__)
        for a, b in pairs
        if jax.tree.structure(_instance(a)) == jax.tree.structure(_instance(b))
    ]
    assert not same


def test_flattening_keeps_fields_statics_and_names():
    @pytree
    class Node:
        a: Any
        size: Any = static()
        b: Any = None

    node = Node(jnp.ones(2), 3, {"c": 4.0})
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(node)]
    assert paths == [".a", ".b['c']"]
    again = jax.tree.map(lambda leaf: leaf, node)
    assert (type(again), again.size, again.b) == (Node, 3, {"c": 4.0})
    assert jax.tree.structure(node) != jax.tree.structure(dataclasses.replace(node, size=4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.a = 0.0


def test_a_class_without_leaves_and_one_with_one():
    @pytree
    class Empty:
        pass

    @pytree
    class One:
        value: Any

    assert jax.tree.leaves(Empty()) == []
    assert isinstance(jax.tree.map(lambda leaf: leaf, Empty()), Empty)
    assert jax.tree.map(lambda leaf: leaf + 1, One(1)).value == 2


def test_jit_returns_the_class_that_it_was_given():
    same = jax.jit(lambda model, x: model)
    for size, model in itertools.product(SIZES, TWO_PARAMETERS):
        assert type(same(model, jnp.zeros(size))) is type(model)


def test_vmap_returns_the_class_that_it_was_given():
    same = jax.jit(jax.vmap(lambda model, x: model, in_axes=(None, 0)))
    for size, model in itertools.product(SIZES, TWO_PARAMETERS):
        assert type(same(model, jnp.zeros(size))) is type(model)


@pytest.mark.slow
def test_fits_return_the_family_that_was_asked_for():
    rng = np.random.default_rng(0)
    for size in SIZES:
        x = rng.uniform(0.05, 0.95, size).astype(np.float32)
        for model in TWO_PARAMETERS:
            assert type(lx.fit.mle(model, x)) is type(model)


def test_two_classes_do_not_mix():
    normal, laplace = lx.Normal(0.0, 1.0), lx.Laplace(0.0, 1.0)
    with pytest.raises(ValueError, match="Laplace"):
        jax.tree.map(lambda a, b: a, normal, laplace)
    with pytest.raises(TypeError, match="Laplace"):
        jax.lax.cond(jnp.array(True), lambda: normal, lambda: laplace)
    with pytest.raises(TypeError, match="Laplace"):
        jax.lax.while_loop(
            lambda model: model.scale < 2, lambda model: lx.Laplace(model.loc, model.scale), normal
        )
    with pytest.raises(TypeError, match="Laplace"):
        jax.lax.scan(lambda model, _: (laplace, None), normal, jnp.zeros(3))


@dataclasses.dataclass(frozen=True)
class _Foreign(Density):
    loc: Any
    scale: Any

    def log_prob(self, x):
        return lx.Normal(self.loc, self.scale).log_prob(x)

    def sample(self, key, shape=()):
        return lx.Normal(self.loc, self.scale).sample(key, shape)


_AMBIGUOUS = jax.tree.structure(
    jax.tree_util.register_dataclass(_Foreign)(0.0, 1.0)
) == jax.tree.structure(
    jax.tree_util.register_dataclass(dataclasses.make_dataclass("Other", ["u", "v"]))(0.0, 1.0)
)


@pytest.mark.parametrize(
    "model",
    [_Foreign(0.0, 1.0), lx.Product((lx.Normal(0.0, 1.0), _Foreign(0.0, 1.0)))],
    ids=["alone", "inside a product"],
)
def test_a_model_that_jax_may_confuse_is_refused(model):
    if not _AMBIGUOUS:
        check_registration("fit.em", model)  # this jax tells such classes apart
        return
    with pytest.raises(TypeError, match=r"fit\.mle: _Foreign was registered by .* likelax\.model"):
        lx.fit.mle(model, jnp.zeros(3))


def test_other_registrations_are_accepted():
    @jax.tree_util.register_pytree_node_class
    @dataclasses.dataclass
    class Keyed:
        loc: Any

        def tree_flatten(self):
            return (self.loc,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    for model in (Keyed(0.0), lx.Normal(0.0, 1.0), {"a": Keyed(0.0)}, None, 3.0):
        check_registration("fit.em", model)


def test_stacked_m_steps_take_one_prior_for_each_model():
    """As each model alone with its prior; `Fixed` takes none, and `Tied` shares one scale."""
    rng = np.random.default_rng(0)
    x, shares = jnp.asarray(rng.normal(size=8), jnp.float32), jnp.asarray(rng.random((8, 2)))
    two = lx.Normal(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0]))
    priors = lx.NormalInverseGamma(
        jnp.array([0.5, -0.5]), jnp.array([1.0, 3.0]), jnp.array([2.0, 4.0]), jnp.array([1.0, 0.5])
    )
    stats = two.stacked_e_step(x, shares)

    def pick(tree, k):
        return jax.tree.map(lambda leaf: leaf[k], tree)

    alone = [pick(two, k).m_step(pick(stats, k), pick(priors, k)) for k in range(2)]
    want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    got = two.stacked_m_step(stats, prior=priors)
    chex.assert_trees_all_close(got, want, rtol=1e-6)

    features = jax.tree.map(lambda leaf: leaf[:, None], two)
    wide = lx.Independent(features)
    of_features = jax.tree.map(lambda leaf: leaf[:, None], priors)
    got = wide.stacked_m_step(
        wide.stacked_e_step(x[:, None], shares), prior=lx.Independent(of_features)
    )
    chex.assert_trees_all_close(pick(got.component, (slice(None), 0)), want, rtol=1e-6)

    fields = lx.Product({"a": two})
    got = fields.stacked_m_step(
        fields.stacked_e_step({"a": x}, shares), prior=lx.Product({"a": priors})
    )
    chex.assert_trees_all_close(got.fields["a"], want, rtol=1e-6)

    choice = lx.OneOf(jnp.array([0, 1]), (two, lx.Laplace(two.loc, two.scale)))
    got = choice.stacked_m_step(choice.stacked_e_step(x, shares), prior=(priors, None))
    chex.assert_trees_all_close(pick(got.options[0], 0), pick(want, 0), rtol=1e-6)

    fixed = lx.Fixed(two)
    chex.assert_trees_all_equal(fixed.stacked_m_step(stats, prior=priors), fixed)

    tied = lx.Tied(lx.Normal(two.loc, jnp.ones(2)))
    best = tied.stacked_m_step(stats, prior=priors).model
    assert best.scale[0] == best.scale[1]

    def joint(loc, scale):
        model = lx.Normal(loc, jnp.full(2, scale))
        each = jax.vmap(lambda m, s, p: m.expected_log_prob(s) + m.log_prior(p))
        return jnp.sum(each(model, stats, priors))

    slopes = jax.grad(joint, (0, 1))(best.loc, best.scale[0])
    chex.assert_trees_all_close(slopes, (jnp.zeros(2), jnp.zeros(())), atol=1e-3)


def test_a_fused_e_step_weighs_its_rows():
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(4000, 2)), jnp.float32)
    weights = jnp.asarray(rng.random(4000), jnp.float32)
    parts = lx.MvNormal(jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.stack([jnp.eye(2)] * 2))
    log_weights = jnp.log(jnp.array([0.3, 0.7]))
    counts, stats, log_prob = parts.mixture_e_step(log_weights, x, weights=weights)
    model = lx.Mixture(jnp.exp(log_weights), parts)
    shares = model.responsibilities(x) * weights[:, None]
    np.testing.assert_allclose(counts, shares.sum(0), rtol=1e-4)
    np.testing.assert_allclose(log_prob, jnp.sum(weights * model.log_prob(x)), rtol=1e-5)
    mean = jnp.matmul(shares.T, x, precision="highest") / shares.sum(0)[:, None]
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-3, atol=1e-4)
    assert lx.Normal(jnp.zeros(2), jnp.ones(2)).mixture_e_step(log_weights, x[:, 0]) is None
