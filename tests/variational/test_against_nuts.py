import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import constraints, monte_carlo, variational
from reference import nuts_values

NUTS = json.loads(nuts_values.PATH.read_text())
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.03, 6000))


def log_normal(x, loc, scale):
    """Up to a constant, summed."""
    return jnp.sum(-(((x - loc) / scale) ** 2) / 2 - jnp.log(jnp.asarray(scale)))


def fitted(log_joint, guide):
    """A full-rank guide after a long run with a falling rate."""
    return variational.fit_guide(
        jax.random.key(0), log_joint, guide, optimizer=OPTIMIZER, max_steps=6000, tol=-1.0
    ).guide


def weighted_means(log_joint, guide, of_draw):
    """Means by Pareto smoothed weights, and k-hat."""

    @jax.jit
    def correct(key):
        weighted = variational.importance(key, log_joint, guide, 20_000)
        values = jax.vmap(of_draw)(weighted.draws)
        return monte_carlo.weighted(weighted.log_weights, values).value, weighted.k_hat

    return correct(jax.random.key(1))


def check(means, want):
    """Every parameter within 0.1 posterior standard deviations of the long run."""
    assert means.keys() == want.keys()
    for name, mean in means.items():
        off = np.abs(np.asarray(mean) - want[name]["mean"]) / np.asarray(want[name]["sd"])
        assert off.max() < 0.1, (name, off)


def eight_schools(z):
    effects, errors = jnp.array(nuts_values.EFFECTS), jnp.array(nuts_values.ERRORS)
    prior = log_normal(z["mu"], 0.0, 5.0) + log_normal(z["tau"], 0.0, 5.0)
    prior = prior + log_normal(z["eta"], 0.0, 1.0)
    return prior + log_normal(z["mu"] + z["tau"] * z["eta"], effects, errors)


SCHOOLS = {"eta": jnp.zeros(8), "mu": 0.0, "tau": 1.0}
SETS = {"eta": constraints.real, "mu": constraints.real, "tau": constraints.positive}


def with_log_tau(z):
    return z | {"log_tau": jnp.log(z["tau"])}


@pytest.mark.slow
def test_eight_schools():
    # log tau has a long lower tail that the ELBO does not see, but the weights do: heavier tails,
    # or a few rounds of matched moments, bring the guide there
    guide = fitted(eight_schools, variational.full_rank(SCHOOLS, SETS))
    heavy = variational.with_tails(guide)

    @jax.jit
    def matched(key, guide):
        return variational.match_moments(key, eight_schools, guide, 20_000)

    guides = {
        "tails": heavy,
        "matched": matched(jax.random.key(2), guide),
        "tails, matched": matched(jax.random.key(3), heavy),
    }
    for name, each in guides.items():
        means, k_hat = weighted_means(eight_schools, each, with_log_tau)
        assert k_hat < 0.7, name
        check(means, NUTS["eight_schools"])


@pytest.mark.slow
def test_logistic_regression():
    features, labels = map(jnp.array, nuts_values.logistic_data())

    def log_joint(z):
        logits = features @ z["beta"]
        return jnp.sum(labels * logits - jax.nn.softplus(logits)) + log_normal(z["beta"], 0.0, 2.0)

    guide = fitted(log_joint, variational.full_rank({"beta": jnp.zeros(3)}))
    means, k_hat = weighted_means(log_joint, guide, lambda z: z)
    assert k_hat < 0.7
    check(means, NUTS["logistic"])
