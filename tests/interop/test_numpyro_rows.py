"""NumPyro models whose plate takes a part of its rows, with latents of each row or without."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

numpyro = pytest.importorskip("numpyro")
import numpyro.distributions as dist  # noqa: E402

from likelax import variational  # noqa: E402
from likelax.interop.numpyro import minibatch, unconstrained  # noqa: E402

N = 60
X = jnp.asarray(np.random.default_rng(0).normal(1.0, 1.5, size=N), jnp.float32)


def model(x, batch_size):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.Gamma(20.0, 20.0))
    with numpyro.plate("rows", len(x), subsample_size=batch_size) as rows:
        share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
        own = numpyro.sample("own", dist.Normal(mu, tau))
        numpyro.deterministic("twice", 2 * own)
        numpyro.sample("x", dist.Normal(own + share[:, 0], 1.0), obs=x[rows])


def test_all_rows_are_the_model_without_a_subsample():
    start = numpyro.infer.init_to_value(values={"tau": 1.5})
    joint = minibatch(jax.random.key(0), model, (X,), {"batch_size": 7}, init_strategy=start)
    np.testing.assert_allclose(joint.template["tau"], np.log(1.5), rtol=1e-6)
    whole = unconstrained(jax.random.key(0), model, (X, N))
    assert set(joint.template) == {"mu", "tau"} and joint.log_joint.batch_size == 7
    assert {name: v.shape for name, v in joint.row_template.items()} == {"own": (), "share": (2,)}
    guide = variational.per_row(
        variational.mean_field(joint.template, scale=0.5), joint.row_template, N, scale=0.5
    )
    z, local = jax.jit(guide.sample)(jax.random.key(1))
    want = jax.jit(whole.log_joint)(z | local)
    np.testing.assert_allclose(jax.jit(joint.log_joint)((z, local)), want, rtol=1e-5)

    def part(rows):
        return joint.log_joint.on_rows(rows, (z, jax.tree.map(lambda leaf: leaf[rows], local)))

    parts = jax.jit(jax.vmap(part))(jnp.arange(N).reshape(-1, 6))
    np.testing.assert_allclose(np.mean(parts), want, rtol=1e-5)
    ours, theirs = jax.jit(joint.constrain)((z, local)), jax.jit(whole.constrain)(z | local)
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_minibatches_of_latents_end_where_the_fit_of_all_rows_does():
    def conjugate(x, batch_size):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x), subsample_size=batch_size) as rows:
            own = numpyro.sample("own", dist.Normal(mu, 1.0))
            numpyro.sample("x", dist.Normal(own, 1.0), obs=x[rows])

    joint = minibatch(jax.random.key(0), conjugate, (X, 12))
    start = variational.per_row(
        variational.mean_field(joint.template), joint.row_template, N, scale=0.5
    )
    found = variational.fit_guide(
        jax.random.key(1), joint.log_joint, start, optimizer=optax.adam(0.03), max_steps=4000
    )
    whole = unconstrained(jax.random.key(0), conjugate, (X, N))
    best = variational.fit_guide(
        jax.random.key(2), whole.log_joint, variational.mean_field(whole.template)
    )
    assert best.fit.converged and found.fit.usable
    error = np.hypot(found.elbo.standard_error, best.elbo.standard_error)
    assert abs(found.elbo.value - best.elbo.value) < 0.3 + 3 * error
    np.testing.assert_allclose(found.guide.each.loc[:, 0], best.guide.base.loc[1:], atol=0.1)


def test_a_plate_without_latents_is_a_minibatch_of_rows():
    def shared_only(x, batch_size):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x), subsample_size=batch_size) as rows:
            numpyro.sample("x", dist.Normal(mu, 1.0), obs=x[rows])

    joint = minibatch(jax.random.key(0), shared_only, (X, 5))
    assert joint.row_template == {} and not joint.log_joint.local
    z = {"mu": jnp.array(0.3)}
    whole = unconstrained(jax.random.key(0), shared_only, (X, N)).log_joint(z)
    np.testing.assert_allclose(joint.log_joint(z), whole, rtol=1e-5)
    np.testing.assert_allclose(joint.constrain(z)["mu"], 0.3)
    with pytest.raises(ValueError, match="one plate whose subsample_size is less than its size"):
        minibatch(jax.random.key(0), shared_only, (X, N))
