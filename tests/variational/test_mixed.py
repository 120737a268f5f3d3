"""Discrete latents summed exactly inside a log joint, continuous ones left to the guide."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import constraints, variational
from likelax.families import Poisson
from likelax.hmm import HMM
from likelax.mixture import Mixture
from likelax.variational import MeanField, Transported

COUNTS = np.array([1, 0, 7, 9, 2])
STAY = np.array([[0.8, 0.2], [0.3, 0.7]])


def of_states(rate):
    """The rate of the second of two states, under an exponential prior."""
    rates = jnp.stack([jnp.asarray(1.0), rate])
    chain = HMM(jnp.array([0.6, 0.4]), jnp.array(STAY, jnp.float32), Poisson(rates))
    return chain.log_prob(jnp.array(COUNTS)) - rate / 10


def of_labels(rate):
    rates = jnp.stack([jnp.asarray(1.0), rate])
    mixture = Mixture(jnp.array([0.6, 0.4]), Poisson(rates))
    return jnp.sum(mixture.log_prob(jnp.array(COUNTS))) - rate / 10


def enumerated(rate, chained):
    """log p(counts, rate) over all 32 assignments, in NumPy."""
    lik = stats.poisson([[1.0], [rate]]).pmf(COUNTS)
    start, total = np.array([0.6, 0.4]), 0.0
    for path in itertools.product((0, 1), repeat=len(COUNTS)):
        prob = start[path[0]]
        for before, after in itertools.pairwise(path):
            prob *= STAY[before, after] if chained else start[after]
        total += prob * np.prod(lik[path, np.arange(len(COUNTS))])
    return np.log(total) - rate / 10


@pytest.mark.parametrize(("log_joint", "chained"), [(of_states, True), (of_labels, False)])
def test_the_elbo_and_its_gradient_are_those_of_enumeration(log_joint, chained):
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()

    def exact(loc, scale):
        """E_q of the log joint of the log rate, plus the entropy."""
        reals = loc + scale * nodes
        terms = np.array([enumerated(np.exp(y), chained) + y for y in reals])
        return weights @ terms + np.log(scale) + (1 + np.log(2 * np.pi)) / 2

    space, _ = variational.space_of(jnp.array(1.0), constraints.positive)

    @jax.jit
    def estimate(key):
        def bound(base):
            found = variational.elbo(key, log_joint, Transported(base, space), 2000)
            return found.value, found.standard_error

        point = MeanField(jnp.array([1.8]), jnp.array([0.3]))
        (value, error), slope = jax.value_and_grad(bound, has_aux=True)(point)
        return value, error, slope.loc[0]

    keys = jax.random.split(jax.random.key(0), 20)
    values, errors, slopes = jax.vmap(estimate)(keys)
    want, h = exact(1.8, 0.3), 1e-4
    error = np.std(values) / np.sqrt(20)
    assert abs(np.mean(values) - want) < 4 * error
    # the reported error is that of one estimate
    np.testing.assert_allclose(np.mean(errors), np.std(values), rtol=0.6)
    want_slope = (exact(1.8 + h, 0.3) - exact(1.8 - h, 0.3)) / (2 * h)
    assert abs(np.mean(slopes) - want_slope) < 4 * np.std(slopes) / np.sqrt(20)
