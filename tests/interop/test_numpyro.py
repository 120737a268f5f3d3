import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

numpyro = pytest.importorskip("numpyro")
import numpyro.distributions as dist  # noqa: E402

import likelax as lx  # noqa: E402
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


COMPONENTS = {
    "Normal": {"loc": np.array([-1.0, 0.5, 3.0]), "scale": np.array([0.5, 1.0, 2.0])},
    "Gumbel": {"loc": np.array([-1.0, 0.5, 3.0]), "scale": np.array([0.5, 1.0, 2.0])},
    "Gamma": {"concentration": np.array([1.0, 2.0, 5.0]), "rate": np.array([1.0, 0.5, 2.0])},
    "Poisson": {"rate": np.array([1.0, 4.0, 9.0])},
    "CategoricalProbs": {"probs": np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])},
    "MultivariateNormal": {
        "loc": np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        "scale_tril": np.broadcast_to(np.eye(2), (3, 2, 2)),
    },
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_numpyro_distributions_are_components_and_emissions(name):
    parameters = {k: jnp.asarray(v, jnp.float32) for k, v in COMPONENTS[name].items()}
    parts = adapter.density(getattr(dist, name), **parameters)
    weights = jnp.array([0.2, 0.3, 0.5])
    mixture = lx.Mixture(weights, parts)
    event = (2,) if name == "MultivariateNormal" else ()
    assert mixture.sample(jax.random.key(0), ()).shape == event
    x = mixture.sample(jax.random.key(0), (5,))
    assert x.shape == (5, *event)
    with jax.numpy_rank_promotion("allow"):
        each = getattr(dist, name)(**parameters).log_prob(x[:, None])
    want = jax.nn.logsumexp(each + jnp.log(weights)[None], axis=1)
    np.testing.assert_allclose(mixture.log_prob(x), want, rtol=1e-5)
    chain = lx.HMM(weights, jnp.full((3, 3), 1 / 3), parts)
    assert chain.sample(jax.random.key(1), (3, 7)).shape == (3, 7, *event)
    # with equal rows a chain is a series of independent draws from its mixture
    even = lx.Mixture(jnp.full(3, 1 / 3), parts)
    want = mixture.log_prob(x[:1]).sum() + even.log_prob(x[1:]).sum()
    np.testing.assert_allclose(chain.log_prob(x), want, rtol=1e-4)


def test_gradient_fits_keep_the_constraints_and_em_names_the_way_out():
    parts = adapter.density(dist.Normal, loc=jnp.array([-1.0, 1.0]), scale=jnp.ones(2))
    mixture = lx.Mixture(jnp.array([0.5, 0.5]), parts)
    x = jax.random.normal(jax.random.key(0), (50,)) * 0.3 + jnp.repeat(jnp.array([-2.0, 2.0]), 25)
    ours = lx.Mixture(mixture.weights, lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    got, want = lx.fit.gradient(mixture, x).model, lx.fit.em(ours, x).model
    np.testing.assert_allclose(got.components.parameters["loc"], want.components.loc, atol=1e-2)
    np.testing.assert_allclose(got.components.parameters["scale"], want.components.scale, atol=1e-2)
    with pytest.raises(TypeError, match=r"has no M step; fit it by fit\.gradient"):
        lx.fit.em(mixture, x)
    fixed = lx.fit.em(lx.Mixture(mixture.weights, lx.Fixed(parts)), x)
    assert fixed.converged
    with pytest.raises(TypeError, match=r"components must be a likelax model; got numpyro"):
        lx.Mixture(mixture.weights, dist.Normal(jnp.zeros(2), jnp.ones(2)))
    with pytest.raises(TypeError, match=r"Normal has the parameters \['loc', 'scale'\]"):
        adapter.density(dist.Normal, mean=0.0)


def test_the_start_is_that_of_the_init_strategy():
    start = numpyro.infer.init_to_value(values={"loc": 3.0, "scale": 2.0})
    joint = adapter.unconstrained(jax.random.key(0), model, (X,), init_strategy=start)
    np.testing.assert_allclose(joint.template["loc"], 3.0)
    np.testing.assert_allclose(joint.template["scale"], np.log(2.0), rtol=1e-6)


def correlated_effects():
    numpyro.sample("tril", dist.LKJCholesky(3, 2.0))
    numpyro.sample("matrix", dist.LKJ(2, 1.0))


@pytest.mark.slow
def test_correlation_matrices_are_sites_of_a_guide():
    # over the reals and over the sites: the same volume, and a start that is finite
    joint = adapter.unconstrained(jax.random.key(0), correlated_effects)
    values = joint.constrain(joint.template)
    sets = {"tril": constraints.correlation_tril, "matrix": constraints.correlation}
    space, point = variational.space_of(values, sets)
    log_joint = adapter.constrained(correlated_effects)
    want = joint.log_joint(joint.template)
    got = log_joint(space.constrain(point)) + space.log_det(point)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    with jax.numpy_dtype_promotion("standard"):
        fitted = variational.fit_guide(
            jax.random.key(1), log_joint, variational.full_rank(values, sets), num_check=100
        )
    assert fitted.fit.converged


def test_constraints_without_an_equal_here_are_numpyros_bijections():
    def alpha_of(value):
        model = adapter.density(dist.LowerTruncatedPowerLaw, alpha=value, low=1.0)
        return dict(model.constraints)["alpha"]

    found = alpha_of(-1.5)
    assert alpha_of(-2.0) is found  # so that both are one program
    y = found.unconstrain(jnp.array(-1.5))
    np.testing.assert_allclose(found.constrain(y), -1.5, rtol=1e-6)
    slope = jax.grad(lambda y: found.constrain(y))(y)
    np.testing.assert_allclose(found.log_det(y), jnp.log(abs(slope)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.contains(np.array([-0.5, -2.0])), [False, True])
    car = adapter.density(
        dist.CAR,
        loc=jnp.zeros(2),
        correlation=0.3,
        conditional_precision=1.5,
        adj_matrix=jnp.array([[0.0, 1.0], [1.0, 0.0]]),
    )
    names = {name: constraint.name for name, constraint in car.constraints}
    assert names == {"conditional_precision": "positive", "correlation": "OpenInterval(-1, 1)"}


def test_options_are_shared_and_integers_of_real_parameters_are_not():
    binomial = adapter.density(dist.Binomial, total_count=4, probs=jnp.array([0.2, 0.7]))
    assert set(binomial.parameters) == {"probs"}
    assert dict(binomial.constraints)["probs"] is constraints.unit_interval
    normal = adapter.density(dist.Normal, loc=0, scale=1)
    assert {a.dtype.kind for a in normal.parameters.values()} == {"f"}
    np.testing.assert_allclose(normal.log_prob(0.5), stats.norm.logpdf(0.5), rtol=1e-6)
