"""Every parameter that is counted changes the log density, and what gradient fits of tied ones keep equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit
from likelax.mixture import MixturePrior
from likelax.parameters import to_vector
from likelax.variational_node import StickBreaking
from nodes import CASES, LEAVES

ROWS = np.random.default_rng(0).normal(size=(6, 2))
COUNTS = np.array([0, 1, 2, 1, 0, 1])


def stack(tree, size):
    return jax.tree.map(lambda a: jnp.stack([jnp.asarray(a, float)] * size), tree)


def normals(size):
    # unequal, since two components that are the same make their weights redundant
    each = lx.NormalInverseGamma(jnp.arange(float(size)), *stack((0.4, 2.0, 3.0), size))
    return lx.Variational(each, lx.Normal(jnp.zeros(size), jnp.ones(size)))


def chain(emissions):
    moves = lx.Dirichlet(jnp.array([[3.0, 1.0], [1.0, 2.0]]))
    return lx.VariationalHMM(lx.Dirichlet(jnp.ones(2)), moves, emissions)


def plane():
    prior = lx.NormalInverseWishart(jnp.zeros(2), 1.0, 3.0, jnp.eye(2))
    return lx.Variational(prior, lx.MvNormal(jnp.zeros(2), jnp.eye(2)))


def groups():
    rates = lx.Gamma(jnp.array([1.0, 2.0, 3.0]), jnp.ones(3))
    return lx.Hierarchical(lx.Variational(rates, lx.Poisson(jnp.ones(3))), lx.Gamma(1.0, 1.0))


VARIATIONAL = {
    "poisson": (lambda: lx.Variational(lx.Gamma(2.0, 1.0), lx.Poisson(1.0)), COUNTS, 2),
    "categories": (
        lambda: lx.Variational(lx.Dirichlet(jnp.arange(1.0, 4.0)), lx.Categorical(jnp.ones(3) / 3)),
        COUNTS,
        3,
    ),
    "plane": (plane, ROWS, 2 + 1 + 1 + 3),
    "independent": (lambda: lx.Independent(normals(2)), ROWS, 8),
    "mixture": (
        lambda: lx.VariationalMixture(StickBreaking.process(1.0, 3), normals(3)),
        ROWS[:, 0],
        18,
    ),
    "tied": (
        lambda: lx.VariationalMixture(lx.Dirichlet(jnp.ones(3)), lx.Tied(normals(3))),
        ROWS[:, 0],
        3 + 6 + 2,
    ),
    "chain": (lambda: chain(lx.Tied(normals(2))), ROWS[:, 0], 2 + 4 + 4 + 2),
    "groups": (
        groups,
        np.stack([COUNTS] * 3),
        8,
    ),
}


def num_that_matter(model, x):
    """Of the unconstrained parameters those that change the log density."""
    try:
        vector, rebuild = to_vector(model)
    except ValueError:  # it has none
        return 0
    before = np.asarray(model.log_prob(x))
    moved = [rebuild(vector.at[i].add(0.3)).log_prob(x) for i in range(vector.size)]
    return sum(not np.allclose(before, m, rtol=1e-9, atol=1e-9) for m in moved)


@pytest.mark.sampled(0.15)
@pytest.mark.parametrize("case", CASES + LEAVES, ids=lambda case: case.name)
def test_every_counted_parameter_changes_the_density(x64, case):
    model = jax.tree.map(lambda a: a * jnp.ones((), jnp.asarray(a).dtype), case.model())
    assert num_that_matter(model, case.data()) == fit.num_parameters(model)


@pytest.mark.parametrize("name", VARIATIONAL)
def test_every_counted_parameter_of_a_variational_node_changes_the_bound(x64, name):
    build, x, wanted = VARIATIONAL[name]
    model = build()
    assert fit.num_parameters(model) == wanted
    assert num_that_matter(model, x) == wanted


def test_gradient_fits_keep_the_distribution_of_a_tied_spread_in_common(x64):
    """Otherwise one prior would pay for K distributions, and the bound rise above the evidence."""
    x = np.concatenate([ROWS[:, 0] - 3, ROWS[:, 1] + 3])
    start = lx.VariationalMixture(lx.Dirichlet(jnp.ones(2)), lx.Tied(normals(2)))
    prior = MixturePrior(start.weights, normals(2).posterior)
    by_em = fit.em(start, x, prior=prior, tol=1e-12)
    found = fit.gradient(start, x, prior=prior, max_steps=300)
    assert by_em.objective - 0.1 < found.objective < by_em.objective + 1e-9
    q = found.model.components.model
    np.testing.assert_array_equal(q.posterior.alpha[0], q.posterior.alpha[1])
    np.testing.assert_array_equal(q.likelihood.loc, 0)  # it is not used
