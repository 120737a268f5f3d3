"""Random nestings of nodes, wrappers and data, over which `test_nestings.py` runs the laws."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx
from likelax.constraints import constrain, unconstrain
from likelax.families.registry import FAMILIES, Entry

NUM_ROWS, NUM_STEPS, NUM_FEATURES, NUM_VALUES = 8, 3, 2, 2
Lead = tuple[int, ...]


@dataclass(frozen=True)
class Leaf:
    """A family: how to draw its parameters with leading axes, and data for it."""

    model: Callable[[np.random.Generator, Lead], Any]
    event: Lead = ()
    pools: bool = False
    inputs: Lead | None = None  # the shape of one input of a model of targets given inputs


def _reals(rng: np.random.Generator, lead: Lead, *event: int) -> Any:
    return jnp.asarray(rng.normal(size=(*lead, *event)))


def _positive(rng: np.random.Generator, lead: Lead, *event: int) -> Any:
    return jnp.asarray(rng.uniform(0.5, 2.0, size=(*lead, *event)))


def _probs(rng: np.random.Generator, lead: Lead, *event: int) -> Any:
    return jnp.asarray(rng.uniform(0.2, 0.8, size=(*lead, *event)))


def _simplex(rng: np.random.Generator, lead: Lead, size: int) -> Any:
    return jnp.asarray(rng.dirichlet(np.full(size, 3.0), size=lead))


def _tril(rng: np.random.Generator, lead: Lead, size: int) -> Any:
    lower = np.tril(rng.normal(size=(*lead, size, size)), -1)
    return jnp.asarray(lower + rng.uniform(0.7, 1.5, size=(*lead, size, 1)) * np.eye(size))


LEAVES = {
    "Normal": Leaf(lambda r, n: lx.Normal(_reals(r, n), _positive(r, n)), pools=True),
    "LogNormal": Leaf(lambda r, n: lx.LogNormal(_reals(r, n), _positive(r, n)), pools=True),
    "Poisson": Leaf(lambda r, n: lx.Poisson(_positive(r, n))),
    "Bernoulli": Leaf(lambda r, n: lx.Bernoulli(_probs(r, n))),
    "Categorical": Leaf(lambda r, n: lx.Categorical(_simplex(r, n, 3))),
    "Exponential": Leaf(lambda r, n: lx.Exponential(_positive(r, n))),
    "Geometric": Leaf(lambda r, n: lx.Geometric(_probs(r, n))),
    "Laplace": Leaf(lambda r, n: lx.Laplace(_reals(r, n), _positive(r, n))),
    "VonMises": Leaf(lambda r, n: lx.VonMises(_reals(r, n), _positive(r, n))),
    "Gamma": Leaf(lambda r, n: lx.Gamma(_positive(r, n), _positive(r, n))),
    "Weibull": Leaf(lambda r, n: lx.Weibull(shape=_positive(r, n), scale=_positive(r, n))),
    "NormalKnownScale": Leaf(lambda r, n: lx.NormalKnownScale(_reals(r, n), _positive(r, n))),
    "NormalKnownLoc": Leaf(lambda r, n: lx.NormalKnownLoc(loc=_reals(r, n), scale=_positive(r, n))),
    "MvNormal": Leaf(lambda r, n: lx.MvNormal(_reals(r, n, 2), _tril(r, n, 2)), (2,), pools=True),
    "SphericalNormal": Leaf(
        lambda r, n: lx.SphericalNormal(_reals(r, n, 2), _positive(r, n)), (2,), pools=True
    ),
    "MvBernoulli": Leaf(lambda r, n: lx.MvBernoulli(_probs(r, n, 3)), (3,)),
}


def near(example: Any, rng: np.random.Generator, lead: Lead) -> Any:
    """Copies of a model with leading axes, each moved a little within its constraints."""
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), example)
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*lead, *leaf.shape)), example)
    moves = [role.moves for role in lx.parameters.roles(example)]
    reals, structure = jax.tree.flatten(unconstrain(many))
    moved = [
        leaf + 0.3 * rng.normal(size=leaf.shape) if move else leaf
        for leaf, move in zip(reals, moves, strict=True)
    ]
    return constrain(jax.tree.unflatten(structure, moved))


def _near_example(entry: Entry, rng: np.random.Generator, lead: Lead) -> Any:
    return near(entry.example(), rng, lead)


# one observation outside the support of one component makes a leaf alone impossible
SHARP = ("Delta", "Pareto", "Uniform", "UniformFromZero")
LEAVES |= {
    entry.name: Leaf(
        functools.partial(_near_example, entry),
        pools=bool(entry.family.spread),
        inputs=entry.inputs,
    )
    for entry in FAMILIES
    if issubclass(entry.family, lx.Model) and entry.name not in {*LEAVES, *SHARP}
}
WRAPPERS = ("none", "Fixed", "Tied")
SHAPES = ("alone", "Independent", "Product")
NODES = ("none", "Mixture", "HMM", "HMM of Mixture", "Mixture of HMM")
DATA = ("plain", "Masked", "Sequences")


@dataclass(frozen=True)
class Nesting:
    """One nesting by name, and the seed of its parameters and data."""

    leaf: str
    wrapper: str
    shape: str
    node: str
    data: str
    seed: int

    def __str__(self) -> str:
        return f"{self.node}-{self.shape}-{self.wrapper}-{self.leaf}-{self.data}-{self.seed}"

    @property
    def is_serial(self) -> bool:
        return "HMM" in self.node

    def model(self) -> Any:
        """The model; every level of latent variables has `NUM_VALUES` values."""
        rng = np.random.default_rng(self.seed)
        levels = {"none": 0, "Mixture": 1, "HMM": 1}.get(self.node, 2)
        parts = self._parts(rng, (NUM_VALUES,) * levels)
        if self.node == "none":
            return parts
        outer, _, inner = self.node.partition(" of ")
        if inner:
            parts = _around(inner, rng, (NUM_VALUES,), parts)
        return _around(outer, rng, (), parts)

    def _parts(self, rng: np.random.Generator, lead: Lead) -> Any:
        if self.shape == "Independent":
            return lx.Independent(self._wrapped(rng, (*lead, NUM_FEATURES)))
        if self.shape == "Product":
            return lx.Product(
                {"a": self._wrapped(rng, lead), "b": lx.Poisson(_positive(rng, lead))}
            )
        return self._wrapped(rng, lead)

    def _wrapped(self, rng: np.random.Generator, lead: Lead) -> Any:
        model = LEAVES[self.leaf].model(rng, lead)
        if self.wrapper == "Tied":
            # tied components begin with one spread, as the documentation asks
            spread = {
                name: jnp.broadcast_to(
                    getattr(model, name)[(0,) * len(lead)], getattr(model, name).shape
                )
                for name in model.spread
            }
            return lx.Tied(dataclasses.replace(model, **spread))
        return lx.Fixed(model) if self.wrapper == "Fixed" else model

    def values(self) -> Any:
        """Plain data: (N, *event), or (N, T, *event) for series; drawn from the model.

        A mixture of HMMs does not know the length of its series, so its first HMM is drawn from.
        """
        model = self.model()
        if self.node == "Mixture of HMM":
            model = jax.tree.map(lambda leaf: leaf[0], model.components)
        rows = (NUM_ROWS, NUM_STEPS) if self.is_serial else (NUM_ROWS,)
        key, inputs = jax.random.key(self.seed), LEAVES[self.leaf].inputs
        if inputs is None:
            return jax.jit(lambda key: model.sample(key, rows))(key)
        given: Any = np.random.default_rng(self.seed).uniform(size=(*rows, *inputs))
        if self.shape == "Product":
            given = {"a": given, "b": None}
        return jax.jit(lambda key: model.sample_given(key, given, rows))(key)

    def wrapped(self, values: Any) -> Any:
        """The data as `data` says: entries hidden, or series cut short."""
        rng = np.random.default_rng(self.seed + 1)
        if self.data == "Masked":
            seen = jax.tree.map(lambda v: rng.uniform(size=jnp.shape(v)) < 0.7, values)
            return lx.Masked(values, seen)
        if self.data == "Sequences":
            return lx.Sequences(values, rng.integers(1, NUM_STEPS + 1, size=NUM_ROWS))
        return values


def _around(node: str, rng: np.random.Generator, lead: Lead, parts: Any) -> Any:
    if node == "Mixture":
        return lx.Mixture(_simplex(rng, lead, NUM_VALUES), parts)
    initial = _simplex(rng, lead, NUM_VALUES)
    return lx.HMM(initial, _simplex(rng, (*lead, NUM_VALUES), NUM_VALUES), parts)


def every_nesting(seed: int = 0) -> list[Nesting]:
    """The whole grid: every leaf in every wrapper, shape and node, with every kind of data."""
    return [
        Nesting(leaf, wrapper, shape, node, data, seed)
        for leaf in LEAVES
        for wrapper in WRAPPERS
        if wrapper != "Tied" or LEAVES[leaf].pools
        for shape in SHAPES
        # several targets of one input are a product of regressions
        if shape != "Independent" or LEAVES[leaf].inputs is None
        for node in NODES
        for data in DATA
        if data != "Sequences" or "HMM" in node
    ]


def sample_nestings(seed: int, count: int) -> list[Nesting]:
    """`count` different nestings of the grid, chosen by the seed."""
    grid = every_nesting(seed)
    chosen = np.random.default_rng(seed).choice(len(grid), size=count, replace=False)
    return [grid[i] for i in chosen]


def latent_paths(nesting: Nesting) -> np.ndarray:
    """(P, T) or (P, 1): every value of the outermost latent variable."""
    steps = NUM_STEPS if nesting.node.startswith("HMM") else 1
    return np.indices((NUM_VALUES,) * steps).reshape(steps, -1).T
