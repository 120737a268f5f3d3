import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

numpyro = pytest.importorskip("numpyro")
import numpyro.distributions as dist  # noqa: E402

from likelax import constraints, variational  # noqa: E402
from likelax.interop import numpyro as adapter  # noqa: E402

X = jnp.array([0.3, 1.2, -0.7])


def model(x):
    loc = numpyro.sample("loc", dist.Normal(0.0, 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.deterministic("ratio", loc / scale)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("x", dist.Normal(loc, scale), obs=x)


def by_scipy(loc, scale):
    prior = stats.norm(0, 2).logpdf(loc) + stats.halfnorm(0, 1).logpdf(scale)
    return prior + stats.norm(loc, scale).logpdf(np.asarray(X)).sum()


def test_both_spaces_are_scipys_density():
    sites = {"loc": jnp.array(0.4), "scale": jnp.array(0.8)}
    got = adapter.constrained(model, (X,))(sites)
    np.testing.assert_allclose(got, by_scipy(0.4, 0.8), rtol=1e-5)
    joint = adapter.unconstrained(jax.random.key(0), model, (X,))
    reals = {"loc": jnp.array(0.4), "scale": jnp.log(0.8)}
    assert joint.template.keys() == reals.keys()
    # log scale adds its own Jacobian
    np.testing.assert_allclose(joint.log_joint(reals), by_scipy(0.4, 0.8) + np.log(0.8), rtol=1e-5)
    values = joint.constrain(reals)
    np.testing.assert_allclose([values["scale"], values["ratio"]], [0.8, 0.5], rtol=1e-5)


def test_keyword_arguments_reach_the_model():
    def with_keyword(x, *, loc):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("x", dist.Normal(loc, scale), obs=x)

    got = adapter.constrained(with_keyword, (X[0],), {"loc": 0.0})({"scale": jnp.array(1.0)})
    want = stats.halfnorm(0, 1).logpdf(1.0) + stats.norm(0, 1).logpdf(0.3)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.slow
def test_guides_fitted_in_both_spaces_agree():
    joint = adapter.unconstrained(jax.random.key(0), model, (X,))
    options = {"max_steps": 600, "num_check": 500, "tol": -1.0}
    over_reals = variational.fit_guide(
        jax.random.key(1), joint.log_joint, variational.mean_field(joint.template), **options
    )
    sets = {"loc": constraints.real, "scale": constraints.positive}
    start = variational.mean_field({"loc": 0.0, "scale": 1.0}, sets)
    over_sites = variational.fit_guide(
        jax.random.key(1), adapter.constrained(model, (X,)), start, **options
    )
    np.testing.assert_allclose(over_reals.elbo.value, over_sites.elbo.value, atol=0.05)
    for ours, theirs in zip(
        jax.tree.leaves(over_reals.guide), jax.tree.leaves(over_sites.guide), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_a_numpyro_distribution_is_a_guide_and_discrete_latents_keep_their_score():
    def coin_model(x):
        coin = numpyro.sample("coin", dist.Bernoulli(0.25))
        numpyro.sample("x", dist.Normal(2.0 * coin, 1.0), obs=x)

    log_joint = adapter.constrained(coin_model, (jnp.array(1.5),))
    lik = stats.norm([0, 2], 1).pdf(1.5) * np.array([0.75, 0.25])
    log_evidence, posterior = np.log(lik.sum()), lik[1] / lik.sum()

    def bound(logit, key):
        with jax.numpy_dtype_promotion("standard"):
            guide = dist.Bernoulli(logits=logit)
            terms = variational.rloo(key, lambda z: log_joint({"coin": z}), guide, 64)
        return jnp.mean(terms)

    logit = float(np.log(posterior / (1 - posterior)))
    values = jax.jit(jax.vmap(bound, (None, 0)))(logit, jax.random.split(jax.random.key(0), 20))
    np.testing.assert_allclose(values, log_evidence, rtol=1e-4)
    # the gradient of sum_k q_k (log p_k - log q_k) by the logit, away from the posterior
    gradients = jax.jit(jax.vmap(jax.grad(bound), (None, 0)))(
        0.3, jax.random.split(jax.random.key(1), 200)
    )
    q = 1 / (1 + np.exp(-0.3))
    want = q * (1 - q) * (np.log(lik[1] / q) - np.log(lik[0] / (1 - q)))
    error = np.std(gradients) / np.sqrt(200)
    assert abs(np.mean(gradients) - want) < 4 * error
