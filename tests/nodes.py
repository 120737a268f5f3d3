"""One small case of every node, over which `laws.py` runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx
from likelax.families.registry import FAMILIES, Entry


@dataclass(frozen=True)
class Case:
    """A model, six rows of data for it, and a prior.

    Built by functions, so that each test makes them in its own precision.
    """

    name: str
    model: Callable[[], Any]
    data: Callable[[], Any]
    prior: Callable[[], Any]
    sample_shape: tuple[int, ...] = (4000,)
    identified: bool = True  # a large sample pins the parameters down
    draw: Callable[[Any, Any, Any], Any] = lambda model, key, shape: model.sample(key, shape)


NUM_ROWS = 6
SPARSE = [[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.5, 0.0, 0.5]]


def _normal_rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(NUM_ROWS, *shape))


def _counts(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, high, size=(NUM_ROWS, *shape))


def _mixed_rows() -> dict[str, Any]:
    return {"level": _normal_rows(), "calls": _counts(6), "kind": _counts(3)}


def _mixed_model() -> lx.Product:
    return lx.Product(
        {
            "level": lx.Normal(0.3, 1.2),
            "calls": lx.Poisson(2.5),
            "kind": lx.Categorical(jnp.array([0.2, 0.3, 0.5])),
        }
    )


CASES = [
    Case("bernoulli", lambda: lx.Bernoulli(0.3), lambda: _counts(2), lambda: lx.Beta(2.0, 3.0)),
    Case(
        "categorical",
        lambda: lx.Categorical(jnp.array([0.2, 0.3, 0.5])),
        lambda: _counts(3),
        lambda: lx.Dirichlet(jnp.array([2.0, 1.5, 3.0])),
    ),
    Case("poisson", lambda: lx.Poisson(2.5), lambda: _counts(6), lambda: lx.Gamma(3.0, 2.0)),
    Case(
        "normal",
        lambda: lx.Normal(0.3, 1.2),
        lambda: _normal_rows(),
        lambda: lx.NormalInverseGamma(0.1, 2.0, 3.0, 1.5),
    ),
    Case(
        "mv_normal",
        lambda: lx.MvNormal(jnp.array([0.3, -0.2]), jnp.array([[1.2, 0.0], [0.4, 0.8]])),
        lambda: _normal_rows(2),
        lambda: lx.NormalInverseWishart(jnp.zeros(2), 2.0, 5.0, 2.0 * jnp.eye(2)),
    ),
    Case(
        "product",
        _mixed_model,
        _mixed_rows,
        lambda: lx.Product(
            {
                "level": lx.NormalInverseGamma(0.1, 2.0, 3.0, 1.5),
                "calls": lx.Gamma(3.0, 2.0),
                "kind": lx.Dirichlet(jnp.array([2.0, 1.5, 3.0])),
            }
        ),
    ),
    Case(
        "independent",
        lambda: lx.Independent(lx.Bernoulli(jnp.array([0.2, 0.6, 0.9]))),
        lambda: _counts(2, 3),
        lambda: lx.Independent(lx.Beta(2.0 * jnp.ones(3), 3.0 * jnp.ones(3))),
    ),
    Case(
        "normal_mixture",
        lambda: lx.Mixture(
            jnp.array([0.3, 0.7]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.array([0.6, 0.9]))
        ),
        lambda: _normal_rows(),
        lambda: lx.MixturePrior(
            lx.Dirichlet(jnp.array([2.0, 2.0])),
            lx.NormalInverseGamma(jnp.zeros(2), jnp.ones(2), 3.0 * jnp.ones(2), jnp.ones(2)),
        ),
    ),
    Case(
        "mixed_mixture",
        lambda: lx.Mixture(
            jnp.array([0.4, 0.6]),
            lx.Product(
                {
                    "level": lx.Normal(jnp.array([-1.0, 1.0]), jnp.array([0.6, 0.9])),
                    "calls": lx.Poisson(jnp.array([1.0, 4.0])),
                    "kind": lx.Categorical(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])),
                }
            ),
        ),
        _mixed_rows,
        lambda: lx.MixturePrior(weights=lx.Dirichlet(jnp.array([2.0, 2.0]))),
    ),
    Case(
        "sparse_hmm",
        lambda: lx.HMM(
            jnp.array([0.5, 0.5, 0.0]),
            jnp.array(SPARSE),
            lx.Poisson(jnp.array([0.5, 2.0, 5.0])),
        ),
        lambda: _counts(6, 5),
        lambda: lx.HMMPrior(
            transition=lx.Dirichlet(jnp.array(SPARSE) + 1.0),
            emissions=lx.Gamma(2.0 * jnp.ones(3), jnp.ones(3)),
        ),
        sample_shape=(150, 40),
    ),
    Case(
        "gmm_hmm",
        lambda: lx.HMM(
            jnp.array([0.5, 0.5]),
            jnp.array([[0.8, 0.2], [0.3, 0.7]]),
            lx.Mixture(
                jnp.array([[0.4, 0.6], [0.5, 0.5]]),
                lx.Normal(jnp.array([[-2.0, -1.0], [1.0, 2.5]]), jnp.full((2, 2), 0.8)),
            ),
        ),
        lambda: _normal_rows(5),
        lambda: lx.HMMPrior(initial=lx.Dirichlet(2.0 * jnp.ones(2))),
        sample_shape=(150, 40),
        identified=False,
    ),
]


def case_of(entry: Entry) -> Case:
    """The case of a family from its entry in the registry: six draws of its example."""

    def data() -> Any:
        return jax.device_get(entry.draw(entry.example(), jax.random.key(7), (NUM_ROWS,)))

    return Case(entry.name, entry.example, data, entry.prior or (lambda: None), draw=entry.draw)


# each family, whatever its statistics; those that EM cannot fit have no laws here
LEAVES = [case_of(entry) for entry in FAMILIES if issubclass(entry.family, lx.Model)]
