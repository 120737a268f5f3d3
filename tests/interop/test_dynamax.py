"""Hidden Markov models of dynamax have the same log likelihood as likelax models, there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("dynamax")
from dynamax import hidden_markov_model as theirs

import likelax as lx
from likelax.interop.dynamax import from_dynamax, to_dynamax
from likelax.interop.external import lenient

NUM_STEPS = 12
ARGUMENTS = {
    "BernoulliHMM": (3, 2),
    "CategoricalHMM": (3, 2, 4),
    "CategoricalRegressionHMM": (3, 4, 2),
    "DiagonalGaussianHMM": (3, 2),
    "DiagonalGaussianMixtureHMM": (3, 2, 2),
    "GammaHMM": (3,),
    "GaussianHMM": (3, 2),
    "GaussianMixtureHMM": (3, 2, 2),
    "LinearAutoregressiveHMM": (3, 2, 1),
    "LinearRegressionHMM": (3, 2, 2),
    "LogisticRegressionHMM": (3, 2),
    "LowRankGaussianHMM": (3, 3, 1),
    "MultinomialHMM": (3, 2, 4, 5),
    "PoissonHMM": (3, 2),
    "SharedCovarianceGaussianHMM": (3, 2),
    "SphericalGaussianHMM": (3, 2),
}
# which class comes back, where it is another
BACK = {"LinearAutoregressiveHMM": "LinearRegressionHMM", "LowRankGaussianHMM": "GaussianHMM"}


def jiggled(params):
    """Away from starts at which states are alike."""
    emissions = {}
    for i, (name, value) in enumerate(params.emissions._asdict().items()):
        noise = jax.random.uniform(jax.random.key(i), value.shape, minval=0.8, maxval=1.2)
        if "cov" in name and "factors" not in name:
            noise = 1.0
        value = value * noise
        if name == "weights" and "biases" not in params.emissions._fields:
            value = value / value.sum(-1, keepdims=True)
        if name == "probs" and value.ndim == 3:
            value = value / value.sum(-1, keepdims=True)
        emissions[name] = (
            jnp.clip(value, 0.02, 0.98) if name == "probs" and value.ndim == 2 else value
        )
    return params._replace(emissions=params.emissions._replace(**emissions))


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
@pytest.mark.sampled(0.3, rest="interop")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_log_likelihoods_are_equal_there_and_back(name):
    model = getattr(theirs, name)(*ARGUMENTS[name])
    with lenient():
        params, _ = model.initialize(jax.random.PRNGKey(0))
        params = jiggled(params)
        inputs = None
        if model.inputs_shape:
            inputs = jax.random.normal(jax.random.key(3), (NUM_STEPS, *model.inputs_shape))
        lagged = name == "LinearAutoregressiveHMM"  # its inputs are the emissions before
        given = {} if lagged else {"inputs": inputs}
        _, x = model.sample(params, jax.random.PRNGKey(1), NUM_STEPS, **given)
        inputs = model.compute_inputs(x) if lagged else inputs
        want = model.marginal_log_prob(params, x, inputs=inputs)
    ours = from_dynamax(model, params)
    data = x
    if inputs is not None:
        data = (jnp.concatenate([inputs, jnp.ones((NUM_STEPS, 1))], axis=1), x)
    np.testing.assert_allclose(ours.log_prob(data), want, rtol=1e-5)
    again, back = to_dynamax(ours)
    assert type(again).__name__ == BACK.get(name, name)
    with lenient():
        got = again.marginal_log_prob(back, x, inputs=inputs)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_every_class_of_dynamax_is_covered():
    public = {name for name in dir(theirs) if name.endswith("HMM")} - {"HMM"}
    assert public == set(ARGUMENTS)


def test_a_fitted_model_of_dynamax_goes_on_here():
    x = jnp.asarray(np.random.default_rng(0).poisson([1.0, 4.0, 1.0, 4.0] * 8), jnp.float32)[
        :, None
    ]
    model = theirs.PoissonHMM(2, 1)
    with lenient():
        params, props = model.initialize(jax.random.PRNGKey(0))
        params, _ = model.fit_em(params, props, x[None], num_iters=3, verbose=False)
        want = model.marginal_log_prob(params, x)
        states = model.most_likely_states(params, x)
    ours = from_dynamax(model, params)
    np.testing.assert_allclose(ours.log_prob(x), want, rtol=1e-5)
    np.testing.assert_array_equal(ours.viterbi(x)[0], states)


@pytest.mark.parametrize(
    ("emissions", "x"),
    [
        (lx.Normal(jnp.array([0.0, 3.0]), jnp.array([1.0, 2.0])), jnp.array([0.5, 2.0, 4.0])),
        (lx.Categorical(jnp.array([[0.2, 0.8], [0.7, 0.3]])), jnp.array([0, 1, 1])),
    ],
)
def test_an_emission_of_one_number_becomes_one_of_one_entry(emissions, x):
    chain = lx.HMM(jnp.array([0.3, 0.7]), jnp.array([[0.9, 0.1], [0.2, 0.8]]), emissions)
    model, params = to_dynamax(chain)
    with lenient():
        got = model.marginal_log_prob(params, x[:, None])
    np.testing.assert_allclose(got, chain.log_prob(x), rtol=1e-5)


def test_wrong_arguments_get_a_sentence():
    chain = lx.HMM(jnp.array([0.3, 0.7]), jnp.eye(2), lx.Beta(jnp.ones(2), jnp.ones(2)))
    with pytest.raises(TypeError, match="dynamax has no emissions for Beta"):
        to_dynamax(chain)
    with pytest.raises(TypeError, match=r"model must be one of .* got dict"):
        from_dynamax({}, None)
    several = lx.Multinomial(jnp.full((2, 3), 1 / 3), total_count=jnp.array([2, 3]))
    with pytest.raises(TypeError, match="want one total_count for all states"):
        to_dynamax(lx.HMM(jnp.array([0.3, 0.7]), jnp.eye(2), several))
