"""Every distribution of distreqx as components of a mixture and emissions of a chain."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("distreqx")
import distreqx.distributions as dist
from distreqx import bijectors

from likelax.interop.distreqx import density
from peers import Case, check

LOC_SCALE = Case({"loc": 0.3, "scale": 1.2}, ("loc", "scale"))
GAUSS2 = {"loc": [0.2, 0.5]}


def independent(loc, scale):
    return dist.Independent(dist.Normal(loc, scale))


def transformed(loc, scale):
    return dist.Transformed(dist.Normal(loc, scale), bijectors.Tanh())


def mixture(probs, loc, scale):
    each = jax.vmap(dist.Normal)(loc, scale)
    return dist.MixtureSameFamily(dist.Categorical(probs=probs), each)


CASES = {
    "Bernoulli": Case({"probs": 0.4}, ("probs",), off=(2,)),
    "Beta": Case({"alpha": 2.0, "beta": 3.0}, ("alpha",), off=(-0.5, 1.5)),
    "Categorical": Case({"probs": [0.2, 0.3, 0.5]}, off=(3, -1)),
    "Gamma": Case({"concentration": 2.0, "rate": 1.5}, ("rate",), off=(-1.0,)),
    "Independent": (independent, Case({"loc": [0.1, 0.2], "scale": [1.0, 1.5]}, ("scale",)), 1),
    "Logistic": LOC_SCALE,
    "MixtureSameFamily": (
        mixture, Case({"probs": [0.3, 0.7], "loc": [0.3, 2.0], "scale": [1.2, 1.0]}, ("scale",)), 0
    ),
    "MultivariateNormalDiag": Case({**GAUSS2, "scale_diag": [1.0, 0.8]}, ("loc",)),
    "MultivariateNormalFullCovariance": Case({**GAUSS2, "covariance_matrix": [[1.0, 0.3], [0.3, 0.8]]}, ("loc",)),
    "MultivariateNormalTri": Case({**GAUSS2, "scale_tri": [[1.0, 0.0], [0.4, 0.8]]}, ("loc",)),
    "Normal": LOC_SCALE,
    "OneHotCategorical": Case({"probs": [0.2, 0.3, 0.5]}, off=([1, 1, 0],)),
    "Transformed": (transformed, LOC_SCALE, 0),
    "Uniform": Case({"low": -1.0, "high": 2.0}, ("high",), off=(-2.0, 3.0)),
}  # fmt: skip

NOT_COVERED = {"its scale is a bijector, not an array": {"MultivariateNormalFromBijector"}}


def test_every_public_distribution_is_covered_or_named():
    public = {
        name
        for name, value in vars(dist).items()
        if inspect.isclass(value)
        and issubclass(value, dist.AbstractDistribution)
        and not name.startswith("Abstract")
    }
    assert public - set(CASES) == set().union(*NOT_COVERED.values())


@pytest.mark.sampled(0.2, rest="interop")
@pytest.mark.parametrize("name", CASES)
def test_a_family_is_a_component_and_an_emission(name):
    found = CASES[name]
    kind, case, *axes = found if callable(found[0]) else (getattr(dist, name), found)
    check(
        lambda kind, **given: density(kind, num_event_axes=axes[0] if axes else None, **given),
        kind,
        case,
        lambda d, x: jax.vmap(d.log_prob)(x),
        lambda d, key, n: jax.vmap(d.sample)(jax.random.split(key, n)),
    )


def test_one_distribution_has_any_shape_of_draws(x64):
    model = density(dist.Normal, loc=1.0, scale=2.0)
    assert model.sample(jax.random.key(0)).shape == ()
    assert model.sample(jax.random.key(0), (2, 3)).shape == (2, 3)
    x = jnp.array([[0.5], [1.5]])
    want = -((np.asarray(x) - 1) ** 2) / 8 - np.log(2) - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(model.log_prob(x), want, rtol=1e-12)
