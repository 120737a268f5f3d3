"""Models of likelax as NumPyro distributions and factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

numpyro = pytest.importorskip("numpyro")
import numpyro.distributions as dist  # noqa: E402

import likelax as lx  # noqa: E402
from likelax.interop.numpyro import constrained, distribution, factor, unconstrained  # noqa: E402

MODELS = {
    "normal": lx.Normal(0.5, 2.0),
    "gamma": lx.Gamma(2.0, 3.0),
    "beta": lx.Beta(2.0, 3.0),
    "poisson": lx.Poisson(2.0),
    "categorical": lx.Categorical(jnp.array([0.2, 0.3, 0.5])),
    "dirichlet": lx.Dirichlet(jnp.array([1.0, 2.0, 3.0])),
    "normal of vectors": lx.MvNormal(jnp.zeros(2), jnp.eye(2)),
    "mixture": lx.Mixture(jnp.array([0.4, 0.6]), lx.Normal(jnp.array([0.0, 3.0]), jnp.ones(2))),
    "chain": lx.HMM(jnp.array([0.4, 0.6]), jnp.eye(2), lx.Poisson(jnp.array([1.0, 5.0]))),
}
SUPPORTS = {"gamma": "Greater", "beta": "nterval", "poisson": "Possible", "dirichlet": "Simplex"}


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_a_distribution(name):
    model = MODELS[name]
    theirs = distribution(model, lengths=(5,) * model.free_ndim)
    x = theirs.sample(jax.random.key(0), (4,))
    assert x.shape == (4, *theirs.event_shape) and theirs.batch_shape == ()
    assert len(theirs.event_shape) == model.event_ndim
    np.testing.assert_allclose(theirs.log_prob(x), model.log_prob(x), rtol=1e-6)
    assert theirs.support(x).shape == (4,) and theirs.support(x).all()
    assert theirs.support.event_dim == model.event_ndim
    assert SUPPORTS.get(name, "") in type(theirs.support).__name__
    assert theirs.support.is_discrete == (x.dtype.kind == "i")
    # a pytree whose leaves are those of the model, so that it passes through jit and vmap
    np.testing.assert_allclose(
        jax.jit(lambda d, x: d.log_prob(x))(theirs, x), model.log_prob(x), rtol=1e-5
    )


def test_the_support_is_that_of_the_values_seen():
    assert not distribution(lx.Poisson(2.0)).support(jnp.array(-1))
    assert not distribution(lx.Gamma(2.0, 3.0)).support(jnp.array(-1.0))
    own = distribution(lx.Normal(0.0, 1.0), support=dist.constraints.positive)
    assert own.support is dist.constraints.positive


def test_plates_observations_and_latents():
    x = jnp.array([0.5, 1.5, 4.0])

    def ours(x):
        scale = numpyro.sample("scale", distribution(lx.Gamma(2.0, 3.0)))
        with numpyro.plate("rows", 3):
            numpyro.sample("x", distribution(lx.Normal(1.0, scale)), obs=x)

    got = constrained(ours, (x,))({"scale": jnp.array(0.8)})
    want = stats.gamma(2, scale=1 / 3).logpdf(0.8) + stats.norm(1, 0.8).logpdf(np.asarray(x)).sum()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # over the reals the gamma is moved by a logarithm: the Jacobian is the scale
    joint = unconstrained(jax.random.key(0), ours, (x,))
    np.testing.assert_allclose(
        joint.log_joint({"scale": jnp.log(0.8)}), want + np.log(0.8), rtol=1e-5
    )
    drawn = numpyro.infer.Predictive(ours, num_samples=7)(jax.random.key(1), None)
    assert drawn["x"].shape == (7, 3) and drawn["scale"].shape == (7,)


def test_a_factor_takes_all_data():
    chain = MODELS["chain"]
    x = lx.Sequences(jnp.array([[1, 4, 6], [2, 0, 0]]), lengths=jnp.array([3, 1]))
    got = constrained(lambda x: factor("x", chain, x), (x,))({})
    np.testing.assert_allclose(got, chain.log_prob(x).sum(), rtol=1e-6)


STEPS = np.array([0] * 9 + [1] * 7 + [0] * 6 + [1] * 8)
COUNTS = np.random.default_rng(0).poisson(np.where(STEPS, 4.0, 1.0))


def chain_of(stay):
    moves = jnp.stack([jnp.stack([stay, 1 - stay]), jnp.stack([1 - stay, stay])])
    return lx.HMM(jnp.array([0.5, 0.5]), moves, lx.Poisson(jnp.array([1.0, 4.0])))


def by_enumeration(stay):
    """log p(counts | stay) by the forward recursion in NumPy."""
    moves = np.array([[stay, 1 - stay], [1 - stay, stay]])
    lik = stats.poisson.pmf(COUNTS[:, None], [1.0, 4.0])
    ahead, total = np.array([0.5, 0.5]) * lik[0], 0.0
    for row in lik[1:]:
        ahead = (ahead @ moves) * row
        total += np.log(ahead.sum())
        ahead = ahead / ahead.sum()
    return total


@pytest.mark.slow
def test_nuts_with_a_chain_finds_the_posterior_of_a_transition(x64):
    def model(x):
        stay = numpyro.sample("stay", dist.Beta(2.0, 2.0))
        numpyro.sample("x", distribution(chain_of(stay), lengths=(len(COUNTS),)), obs=x)

    kernel = numpyro.infer.NUTS(model)
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=300, num_samples=1500, progress_bar=False)
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        mcmc.run(jax.random.key(0), jnp.asarray(COUNTS))
    draws = np.asarray(mcmc.get_samples()["stay"])
    grid = (np.arange(1000) + 0.5) / 1000
    log_post = stats.beta(2, 2).logpdf(grid) + [by_enumeration(p) for p in grid]
    weights = np.exp(log_post - log_post.max())
    weights /= weights.sum()
    mean = weights @ grid
    sd = np.sqrt(weights @ (grid - mean) ** 2)
    # about 500 of 1500 draws count
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(500)
    assert abs(draws.std() / sd - 1) < 0.15
    # the gradient is that of the grid
    slope = jax.grad(lambda p: chain_of(p).log_prob(jnp.asarray(COUNTS)))(0.8)
    want = (by_enumeration(0.8 + 1e-5) - by_enumeration(0.8 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, want, rtol=1e-6)


def test_wrong_arguments_get_a_sentence():
    with pytest.raises(ValueError, match=r"lengths: HMM has 1 axes .* got \(\)"):
        distribution(MODELS["chain"])
    with pytest.raises(TypeError, match="an observation of Product is no array; use factor"):
        distribution(lx.Product({"a": lx.Poisson(2.0)}))
    with pytest.raises(TypeError, match="model must be a Density, got 3"):
        distribution(3)
    with pytest.raises(TypeError, match="model must be a Density, got 3"):
        factor("x", 3, jnp.zeros(2))
