"""Every distribution of distrax as components of a mixture and emissions of a chain."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

distrax = pytest.importorskip("distrax")

import likelax as lx  # noqa: E402
from likelax import constraints, variational  # noqa: E402
from likelax.interop.distrax import density  # noqa: E402
from peers import Case, check  # noqa: E402

LOC_SCALE = Case({"loc": 0.3, "scale": 1.2}, ("loc", "scale"))
SIMPLEX = [0.2, 0.3, 0.5]
GAUSS2 = {"loc": [0.2, 0.5]}


def clipped(loc, scale):
    return distrax.Clipped(distrax.Normal(loc, scale), -1.0, 1.0)


def independent(loc, scale):
    return distrax.Independent(distrax.Normal(loc, scale), 1)


def two(prob_a, loc, scale):
    return distrax.MixtureOfTwo(prob_a, distrax.Normal(loc, scale), distrax.Laplace(loc, scale))


def mixture(probs, loc, scale):
    return distrax.MixtureSameFamily(distrax.Categorical(probs=probs), distrax.Normal(loc, scale))


def quantized(loc, scale):
    return distrax.Quantized(distrax.Normal(loc, scale))


def transformed(loc, scale):
    return distrax.Transformed(distrax.Normal(loc, scale), distrax.Tanh())


CASES = {
    "Bernoulli": Case({"probs": 0.4}, ("probs",), off=(2,)),
    "Beta": Case({"alpha": 2.0, "beta": 3.0}, ("alpha",), off=(-0.5, 1.5)),
    "Categorical": Case({"probs": SIMPLEX}, off=(3, -1)),
    "CategoricalUniform": Case({"low": -1.0, "high": 2.0, "logits": [0.1, 0.5, 0.2]}, ("logits",)),
    "Clipped": (clipped, LOC_SCALE),
    "ClippedLogistic": LOC_SCALE._replace(parameters={**LOC_SCALE.parameters, "minimum": -1.0, "maximum": 1.0}),
    "ClippedNormal": LOC_SCALE._replace(parameters={**LOC_SCALE.parameters, "minimum": -1.0, "maximum": 1.0}),
    "Deterministic": Case({"loc": 1.5}, off=(0.0,)),
    "Dirichlet": Case({"concentration": [1.5, 2.0, 3.0]}, ("concentration",), off=([0.5, 0.5, 0.5],)),
    "EpsilonGreedy": Case({"preferences": [0.1, 0.5, 0.2], "epsilon": 0.25}, ("preferences",)),
    "Gamma": Case({"concentration": 2.0, "rate": 1.5}, ("rate",), off=(-1.0,)),
    "Greedy": Case({"preferences": [0.1, 0.5, 0.2]}, ("preferences",)),
    "Gumbel": LOC_SCALE,
    "Independent": (independent, Case({"loc": [0.1, 0.2], "scale": [1.0, 1.5]}, ("scale",))),
    "Laplace": LOC_SCALE,
    "LogStddevNormal": Case({"loc": 0.3, "log_scale": 0.2}, ("log_scale",)),
    "Logistic": LOC_SCALE,
    "MixtureOfTwo": (two, Case({"prob_a": 0.4, "loc": 0.3, "scale": 1.2}, ("scale",))),
    "MixtureSameFamily": (mixture, Case({"probs": [0.3, 0.7], "loc": [0.3, 2.0], "scale": [1.2, 1.0]}, ("scale",))),
    "Multinomial": Case({"probs": SIMPLEX}, (), {"total_count": 4}, off=([1, 1, 1],)),
    "MultivariateNormalDiag": Case({**GAUSS2, "scale_diag": [1.0, 0.8]}, ("loc",)),
    "MultivariateNormalDiagPlusLowRank": Case(
        {**GAUSS2, "scale_diag": [1.0, 0.8], "scale_u_matrix": [[0.5], [0.2]]}, ("loc",)
    ),
    "MultivariateNormalFullCovariance": Case({**GAUSS2, "covariance_matrix": [[1.0, 0.3], [0.3, 0.8]]}, ("loc",)),
    "MultivariateNormalTri": Case({**GAUSS2, "scale_tri": [[1.0, 0.0], [0.4, 0.8]]}, ("loc",)),
    "Normal": LOC_SCALE,
    "OneHotCategorical": Case({"probs": SIMPLEX}, off=([1, 1, 0],)),
    "Quantized": (quantized, LOC_SCALE),
    "Softmax": Case({"logits": [0.1, 0.5, 0.2]}, ("logits",)),
    "Transformed": (transformed, LOC_SCALE),
    "Uniform": Case({"low": -1.0, "high": 2.0}, ("high",), off=(-2.0, 3.0)),
    "VonMises": Case({"loc": 0.2, "concentration": 1.5}, ("concentration",), leaks=True),
}  # fmt: skip

NOT_COVERED = {
    "the base class": {"Distribution"},
    "observations are a pytree, for which likelax has `Product`": {"Joint"},
    "its scale is a bijector, not an array": {"MultivariateNormalFromBijector"},
}


def test_every_public_distribution_is_covered_or_named():
    public = {
        name
        for name, value in vars(distrax).items()
        if inspect.isclass(value) and issubclass(value, distrax.Distribution)
    }
    assert public - set(CASES) == set().union(*NOT_COVERED.values())


@pytest.mark.sampled(0.1, rest="interop")
@pytest.mark.parametrize("name", CASES)
def test_a_family_is_a_component_and_an_emission(name):
    found = CASES[name]
    kind, case = found if callable(found[0]) else (getattr(distrax, name), found)
    check(
        density, kind, case,
        lambda d, x: d.log_prob(x),
        lambda d, key, n: d.sample(seed=key, sample_shape=(n,)),
    )  # fmt: skip


def test_it_is_a_guide_and_its_constraints_are_kept():
    guide = density(distrax.Normal, loc=jnp.array(0.0), scale=jnp.array(1.0))
    target = lx.Normal(1.5, 0.5)
    fitted = variational.fit_guide(
        jax.random.key(0), target.log_prob, guide, max_steps=600, num_check=100
    )
    np.testing.assert_allclose(fitted.guide.parameters["loc"], 1.5, atol=0.05)
    np.testing.assert_allclose(fitted.guide.parameters["scale"], 0.5, atol=0.05)
    bounded = {"low": constraints.interval(-2.0, 0.0)}
    uniform = density(distrax.Uniform, constraints=bounded, low=-1.0, high=2.0)
    assert [role.constraint.name for role in lx.parameters.roles(uniform)] == [
        "real",
        "interval(-2.0, 0.0)",
    ]
    with pytest.raises(ValueError, match=r"wanted parameters \['high', 'low'\], got 'top'"):
        density(distrax.Uniform, constraints={"top": constraints.positive}, low=0.0, high=1.0)
    with pytest.raises(TypeError, match=r"constraints\['low'\] must be a Constraint, got 3"):
        density(distrax.Uniform, constraints={"low": 3}, low=0.0, high=1.0)
