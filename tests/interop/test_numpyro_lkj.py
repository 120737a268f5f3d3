"""A NumPyro model with two correlation matrices: its density in both spaces, and where fits of it end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

numpyro = pytest.importorskip("numpyro")

from likelax import constraints, variational  # noqa: E402
from likelax.interop.numpyro import constrained, unconstrained  # noqa: E402
from reference import lkj_model  # noqa: E402

TEMPLATE = {
    "of_errors": jnp.eye(3),
    "of_groups": jnp.eye(2),
    "sigma": jnp.ones(3),
    "tau": jnp.ones(2),
    "white": jnp.zeros((12, 2)),
}
SETS = {
    "of_errors": constraints.correlation,
    "of_groups": constraints.correlation_tril,
    "sigma": constraints.positive,
    "tau": constraints.positive,
    "white": constraints.real,
}


@pytest.mark.slow
def test_a_guide_over_the_sites_has_the_density_of_numpyros_own_transforms():
    guide = variational.full_rank(TEMPLATE, SETS)
    reals = 0.5 * jax.random.normal(jax.random.key(0), (guide.space.dim,))
    over_sites = guide.pull_back(constrained(lkj_model.two_correlations, lkj_model.DATA))
    found = jax.jit(over_sites)(reals)
    # NumPyro's transforms of correlations are by tanh too, row by row
    start = numpyro.infer.init_to_value(values=TEMPLATE)
    joint = unconstrained(
        jax.random.key(1), lkj_model.two_correlations, lkj_model.DATA, init_strategy=start
    )
    for name in ("of_errors", "of_groups", "sigma", "tau"):
        np.testing.assert_allclose(joint.template[name], 0, atol=1e-6)
    sizes = [leaf.size for leaf in jax.tree.leaves(joint.template)]
    parts = jnp.split(reals, np.cumsum(sizes)[:-1].tolist())
    leaves, structure = jax.tree.flatten(joint.template)
    point = jax.tree.unflatten(
        structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    )
    np.testing.assert_allclose(found, jax.jit(joint.log_joint)(point), rtol=1e-5)
