"""Latents of each row of data: minibatches of them end where a fit of all rows does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import Fixed, constraints, variational
from likelax.fit import Status
from likelax.variational import Minibatch

LOG_2PI = np.log(2 * np.pi)
N = 60
X = jnp.asarray(np.random.default_rng(0).normal(1.0, 1.5, size=N), jnp.float32)
ADAM = optax.adam(0.03)


def log_prior(z):  # mu ~ N(0, 1)
    return -(z["mu"] ** 2) / 2 - LOG_2PI / 2


def log_lik(z, local, x):  # l_n ~ N(mu, 1), x_n ~ N(l_n, 1)
    return -((local - z["mu"]) ** 2) / 2 - (x - local) ** 2 / 2 - LOG_2PI


JOINT = Minibatch(log_prior, log_lik, X, 12, local=True)


def best_mean_field():
    """Means, standard deviations and ELBO of the best independent normals, in float64.

    The precision is that of a normal posterior over (mu, l_1, ..., l_N): its inverse gives the means,
    the inverse of its diagonal the variances of the best guide.
    """
    precision = np.diag(np.array([1.0 + N] + N * [2.0]))
    precision[0, 1:] = precision[1:, 0] = -1
    shift = np.concatenate([[0.0], np.asarray(X, np.float64)])
    mean = np.linalg.solve(precision, shift)
    log_evidence = shift @ mean / 2 - np.sum(np.asarray(X, np.float64) ** 2) / 2
    log_evidence += -np.linalg.slogdet(precision)[1] / 2 - N * LOG_2PI / 2
    kl = (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1]) / 2
    return mean, 1 / np.sqrt(np.diag(precision)), log_evidence - kl


def check(found, mean_error=0.1):
    mean, sd, best = best_mean_field()
    base = found.guide.base
    assert found.fit.usable
    np.testing.assert_allclose(base.loc, mean, atol=mean_error)
    np.testing.assert_allclose(base.scale, sd[1:], rtol=0.15)
    assert -0.3 < found.elbo.value - best < 4 * found.elbo.standard_error + 1e-3


def test_a_normal_for_each_row_by_minibatches_is_the_fit_of_all_rows():
    start = variational.per_row(variational.mean_field({"mu": 0.0}), 0.0, N, scale=0.5)
    found = variational.fit_guide(
        jax.random.key(0), JOINT, start, optimizer=ADAM, max_steps=4000, num_check=500
    )
    check(found)
    # natural gradients of one guide of all latents see all rows
    whole = variational.fit_guide(
        jax.random.key(1), JOINT, variational.mean_field(({"mu": 0.0}, jnp.zeros(N)))
    )
    _, _, best = best_mean_field()
    assert whole.fit.status == Status.CONVERGED
    assert abs(whole.elbo.value - best) < 0.05 + 4 * whole.elbo.standard_error


def affine(p, x):
    return jnp.stack([p["slope"] * x + p["offset"], p["log_scale"]])


def test_an_amortised_guide_by_minibatches_is_the_fit_of_all_rows():
    # the best location of a row, (mu + x) / 2, is an affine function of x
    network = jax.tree_util.Partial(affine, {"slope": 0.0, "offset": 0.0, "log_scale": 0.0})
    start = variational.amortized(variational.mean_field({"mu": 0.0}), 0.0, network, X)
    found = variational.fit_guide(
        jax.random.key(0), JOINT, start, optimizer=ADAM, max_steps=2000, num_check=500
    )
    check(found)
    (learnt,) = found.guide.each.encoder.args
    np.testing.assert_allclose(learnt["slope"], 0.5, atol=0.05)
    # the data are no parameters
    np.testing.assert_array_equal(found.guide.x.model, X)


def test_a_batch_is_an_unbiased_part_of_all_rows():
    sets = {"tau": constraints.positive, "z": constraints.real}
    shared = variational.full_rank({"mu": 0.3}, scale=0.5)
    guide = variational.per_row(shared, {"tau": 1.0, "z": jnp.zeros(2)}, 6, sets, scale=0.4)
    rows = jnp.arange(6.0)

    def own(z, local, x):
        return -local["tau"] * x - jnp.sum(local["z"] ** 2, axis=1) * z["mu"]

    joint = Minibatch(lambda z: -(z["mu"] ** 2), own, rows, 2, local=True)
    pair = guide.sample(jax.random.key(0))
    assert pair[1]["z"].shape == (6, 2) and jnp.all(pair[1]["tau"] > 0)
    reals = jnp.concatenate(
        [shared.space.unconstrain(pair[0]), jax.vmap(guide.row_space.unconstrain)(pair[1]).ravel()]
    )
    whole = guide.pull_back(joint)(reals), guide.base.log_prob(reals)
    np.testing.assert_allclose(
        guide.log_prob(pair), whole[1] - guide.space.log_det(reals), rtol=1e-5
    )
    parts = []
    for start in (0, 2, 4):
        of_rows, base = guide.of_batch(joint, jnp.array([start, start + 1]))
        some = jnp.concatenate([reals[:1], reals[1 + 3 * start : 1 + 3 * (start + 2)]])
        parts.append((of_rows(some), base.log_prob(some)))
    np.testing.assert_allclose(np.mean(parts, axis=0), whole, rtol=1e-5)
    # the density of a draw from its noise is that of the draw, and the entropy its mean
    base = guide.base
    noise = base.noise(jax.random.key(1), (4000,))
    np.testing.assert_allclose(
        base.log_prob_of_noise(noise[:3]), base.log_prob(base.from_noise(noise[:3])), rtol=1e-4
    )
    np.testing.assert_allclose(-jnp.mean(base.log_prob_of_noise(noise)), base.entropy(), atol=0.15)


def test_many_draws_are_checked_in_parts(monkeypatch):
    monkeypatch.setattr(variational.checking, "NUMBERS_AT_ONCE", 50)
    guide = variational.per_row(variational.mean_field(jnp.zeros(1), scale=1.0), 0.0, 2, scale=1.0)

    def joint(z):  # the posterior is the start, so all terms are the log evidence
        return -jnp.sum(z[0] ** 2) / 2 - jnp.sum(z[1] ** 2) / 2

    found = variational.fit_guide(jax.random.key(0), joint, guide, max_steps=3, num_check=90)
    np.testing.assert_allclose(found.elbo.value, 1.5 * LOG_2PI, atol=0.01)
    assert found.elbo.num_samples == 90


def test_an_encoder_knows_the_sets_of_the_latents_and_takes_other_rows():
    network = jax.tree_util.Partial(lambda a, x: jnp.stack([a * x, -1.0 + 0 * x]), jnp.array(0.5))
    guide = variational.amortized(
        variational.mean_field({"mu": 0.0}), 1.0, network, X, constraints.positive
    )
    _, local = guide.sample(jax.random.key(0), (7,))
    assert local.shape == (7, N) and jnp.all(local > 0)
    new = dataclasses.replace(guide, x=Fixed(X[:3]), num_rows=3)
    np.testing.assert_allclose(new.base.loc[1:], X[:3] / 2, rtol=1e-6)
    log_scale = np.log(local[0, :3]) - np.asarray(X[:3]) / 2  # a log-normal
    want = -(log_scale**2) * np.exp(2) / 2 + 1 - LOG_2PI / 2 - np.log(local[0, :3])
    got = new.log_prob(({"mu": jnp.zeros(())}, local[0, :3]))
    shared = -np.log(0.1) - LOG_2PI / 2  # mean_field starts with a scale of .1, here at its mean
    np.testing.assert_allclose(got, want.sum() + shared, rtol=1e-4)


def test_wrong_arguments_get_a_sentence():
    shared = variational.mean_field({"mu": 0.0})
    guide = variational.per_row(shared, 0.0, N)
    with pytest.raises(ValueError, match="num_rows must be at least 1, got 0"):
        variational.per_row(shared, 0.0, 0)
    with pytest.raises(TypeError, match="shared must be"):
        variational.per_row(variational.MeanField(jnp.zeros(1), jnp.ones(1)), 0.0, 3)
    with pytest.raises(ValueError, match="encoder must return 2 x 1 numbers for a row, got 4"):
        variational.amortized(shared, 0.0, jax.tree_util.Partial(lambda x: jnp.stack([x] * 4)), X)
    with pytest.raises(ValueError, match="wants a Minibatch of so many rows with local=True"):
        few = Minibatch(log_prior, log_lik, X[:5], 2, local=True)
        variational.fit_guide(jax.random.key(0), few, guide)
    with pytest.raises(ValueError, match="the others would be biased"):
        variational.fit_guide(jax.random.key(0), JOINT, guide, estimator=variational.rloo)
    with pytest.raises(ValueError, match="z must be a pair"):
        JOINT({"mu": jnp.zeros(())})
    with pytest.raises(ValueError, match="x must be a pair"):
        guide.log_prob({"mu": jnp.zeros(())})
    with pytest.raises(ValueError, match=f"x must have {N} rows in every leaf"):
        guide.log_prob(({"mu": jnp.zeros(())}, jnp.zeros(3)))
