"""Pathfinder against the exact normal, eight schools by NUTS, and what it says of failures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import constraints, variational
from likelax.fit import Status
from reference import nuts_values

NUTS = json.loads(nuts_values.PATH.read_text())
PRECISION = jnp.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
CENTRE = jnp.array([3.0, -2.0, 1.0])


def normal(z):
    return -(z - CENTRE) @ PRECISION @ (z - CENTRE) / 2


@pytest.mark.parametrize(("num_paths", "memory"), [(1, 10), (3, 6)])
def test_a_normal_posterior_is_found(num_paths, memory):
    found = variational.pathfinder(
        jax.random.key(0),
        normal,
        jnp.zeros(3),
        num_paths=num_paths,
        spread=2.0,
        max_steps=40,
        memory=memory,
        num_elbo=20,
        num_draws=2000,
    )
    evidence = 3 * np.log(2 * np.pi) / 2 - np.linalg.slogdet(np.asarray(PRECISION))[1] / 2
    assert found.fit.status == Status.CONVERGED
    assert evidence - 0.3 < found.elbo.value < evidence + 4 * found.elbo.standard_error + 1e-4
    np.testing.assert_allclose(found.fit.model, CENTRE, atol=1e-3)
    assert found.k_hat < 0.7
    np.testing.assert_allclose(jnp.mean(found.draws, axis=0), CENTRE, atol=0.1)
    covariance = jnp.linalg.inv(PRECISION)
    np.testing.assert_allclose(jnp.cov(found.draws.T), covariance, atol=0.15)
    assert found.num_evaluations == num_paths * (40 * 20 + 2000) + 2000


def test_the_inverse_hessian_of_a_quadratic_is_exact_after_as_many_steps_as_parameters():
    # moves along conjugate axes, the gradient changes that belong to them
    axes = jnp.linalg.eigh(PRECISION)[1].T
    inverse = variational._pathfinder._inverse_hessian(jnp.ones(3), axes, axes @ PRECISION)
    np.testing.assert_allclose(inverse, jnp.linalg.inv(PRECISION), rtol=1e-4, atol=1e-5)


def test_eight_schools_and_a_fit_that_starts_from_them():
    effects, errors = jnp.array(nuts_values.EFFECTS), jnp.array(nuts_values.ERRORS)

    def log_joint(z):
        prior = -jnp.sum(z["eta"] ** 2) / 2 - (z["mu"] ** 2 + z["tau"] ** 2) / 50
        off = (z["mu"] + z["tau"] * z["eta"] - effects) / errors
        return prior - jnp.sum(off**2) / 2

    template = {"eta": jnp.zeros(8), "mu": 0.0, "tau": 1.0}
    sets = {"eta": constraints.real, "mu": constraints.real, "tau": constraints.positive}
    found = variational.pathfinder(jax.random.key(1), log_joint, template, sets)
    want = NUTS["eight_schools"]["mu"]
    mean = jnp.mean(found.draws["mu"])
    assert abs(mean - want["mean"]) < 0.3 * want["sd"]
    assert jnp.all(found.draws["tau"] > 0)
    fitted = variational.fit_guide(jax.random.key(2), log_joint, found.guide)
    # the fit ends at the best bound of its family, and the path's is near
    assert fitted.fit.status in (Status.CONVERGED, Status.UNRELIABLE)
    gain = fitted.fit.objective - found.elbo.value
    assert -3 * found.elbo.standard_error < gain < 3.0


def test_trouble_is_a_status_and_options_are_checked():
    lost = variational.pathfinder(
        jax.random.key(0), lambda z: jnp.nan * jnp.sum(z), jnp.zeros(2), num_paths=1, max_steps=3
    )
    assert lost.fit.status == Status.NON_FINITE
    for option in ("num_paths", "max_steps"):
        with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
            variational.pathfinder(jax.random.key(0), normal, jnp.zeros(3), **{option: 0})
