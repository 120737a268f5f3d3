"""Classes of this package and JAX's tree definitions: one class is never taken for another."""

import dataclasses
import importlib
import inspect
import itertools
import pkgutil
from typing import Any

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


def _classes() -> list[type]:
    """Every dataclass that JAX takes for a node, and every NamedTuple, of every module."""
    found = set()
    for module in pkgutil.walk_packages(lx.__path__, "likelax."):
        if module.name in ("likelax.__main__", "likelax.interop.numpyro"):
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
