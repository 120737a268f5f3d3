"""A distribution of another library, stood for by SciPy-like classes, is as good as one of ours."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import likelax as lx
from likelax import fit
from likelax.constraints import positive
from likelax.interop import External

CONSTRAINTS = (("shape", positive), ("scale", positive))


def build(shape, scale):
    """A gamma distribution whose methods have other names than ours."""
    return types.SimpleNamespace(shape=shape, scale=scale)


def log_density(distribution, x):
    return jax.scipy.stats.gamma.logpdf(x, distribution.shape, scale=distribution.scale)


def draw(distribution, key, shape):
    return jax.random.gamma(key, distribution.shape, shape) * distribution.scale


def gamma(shape, scale):
    return External(
        {"shape": jnp.asarray(shape), "scale": jnp.asarray(scale)},
        build,
        CONSTRAINTS,
        log_density=log_density,
        draw=draw,
    )


def test_it_has_the_density_the_draws_and_the_gradient_of_our_own(x64):
    theirs, ours = gamma(2.5, 0.5), lx.Gamma(2.5, 2.0)
    x = jnp.array([0.1, 1.0, 4.0])
    np.testing.assert_allclose(theirs.log_prob(x), ours.log_prob(x), rtol=1e-12)
    draws = theirs.sample(jax.random.key(0), (20_000,))
    assert jnp.mean(draws) == pytest.approx(1.25, abs=5 * 0.8 / np.sqrt(20_000))
    roles = lx.parameters.roles(theirs)
    assert [role.constraint.name for role in roles] == ["positive", "positive"]


def test_a_mixture_of_it_is_fitted_by_gradients(x64):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.gamma(2.0, 0.5, 300), rng.gamma(30.0, 0.5, 300)])
    start = lx.Mixture(jnp.array([0.5, 0.5]), gamma([2.0, 20.0], [1.0, 1.0]))
    found = fit.gradient(start, x, optimizer=optax.adam(0.05), max_steps=1500)
    means = found.model.components.parameters["shape"] * found.model.components.parameters["scale"]
    np.testing.assert_allclose(np.sort(means), [1.0, 15.0], rtol=0.1)


def test_its_events_may_have_axes():
    def density(distribution, x):
        return jnp.sum(-((x - jnp.broadcast_to(distribution.loc, x.shape)) ** 2) / 2, axis=-1)

    model = External(
        {"loc": jnp.zeros(3)},
        lambda loc: types.SimpleNamespace(loc=loc),
        log_density=density,
        num_event_axes=1,
    )
    assert model.event_ndim == 1
    chex.assert_shape(model.log_prob(jnp.ones((5, 3))), (5,))
    mixture = lx.Mixture(
        jnp.array([0.5, 0.5]),
        External(
            {"loc": jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])},
            lambda loc: types.SimpleNamespace(loc=loc),
            log_density=density,
            num_event_axes=1,
        ),
    )
    np.testing.assert_allclose(mixture.responsibilities(jnp.full(3, 0.5)), 0.5, rtol=1e-6)
