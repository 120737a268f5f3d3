"""Which fits are compiled with few optimizations, and draws in one row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import variational
from likelax.numerics.draws import standard_normal
from likelax.variational.effort import is_light

LONG = jnp.ones(100_000)


def _small(z):
    return -jnp.sum(z**2) / 2


def _large(z):
    return -jnp.sum((z[0] - LONG) ** 2)


def _scanned(z):
    return jax.lax.scan(lambda total, x: (total - (z[0] - x) ** 2, None), 0.0, LONG)[0]


def _unbounded(z):
    return jax.lax.while_loop(lambda x: x > 1, lambda x: x / 2, z[0])


@pytest.mark.parametrize(
    ("log_joint", "light"),
    [(_small, True), (_large, False), (_scanned, False), (_unbounded, False)],
)
def test_fits_of_few_numbers_are_compiled_lightly(log_joint, light):
    key, guide = jax.random.key(0), variational.full_rank(jnp.zeros(2))
    assert is_light(key, log_joint, guide, 64) == light


def test_traced_fits_are_compiled_as_the_user_says():
    key, seen = jax.random.key(0), []

    @jax.jit
    def look(loc):
        seen.append(is_light(key, _small, variational.full_rank(loc), 64))
        return loc

    look(jnp.zeros(2))
    assert seen == [False]


def test_light_fits_end_where_traced_ones_do():
    def one(key):
        found = variational.fit_guide(key, _small, variational.mean_field(jnp.ones(2)))
        return found.elbo.value, found.guide.base.loc

    value, loc = one(jax.random.key(0))
    traced_value, traced_loc = jax.jit(one)(jax.random.key(0))
    np.testing.assert_allclose(value, traced_value, atol=1e-4)
    np.testing.assert_allclose(loc, traced_loc, atol=1e-4)


def test_draws_in_one_row_are_those_of_jax():
    key = jax.random.key(0)
    drawn = standard_normal(key, (5, 3, 2), jnp.float32)
    np.testing.assert_array_equal(drawn, jax.random.normal(jax.random.clone(key), (5, 3, 2)))
