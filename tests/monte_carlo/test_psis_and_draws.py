import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import monte_carlo
from likelax.monte_carlo import psis
from likelax.numerics import Compensated
from reference import arviz_values

PSIS = jax.jit(psis)
ARVIZ = json.loads(arviz_values.PATH.read_text())


@pytest.mark.parametrize("name", arviz_values.LOG_WEIGHTS)
def test_psis_matches_arviz(name, x64):
    found = PSIS(jnp.array(arviz_values.log_weights(name)))
    want = ARVIZ["psis"][name]
    np.testing.assert_allclose(found.k_hat, want["k_hat"], rtol=1e-10)
    np.testing.assert_allclose(np.sort(found.log_weights)[-20:], want["largest"], rtol=1e-10)


def test_psis_vmaps(x64):
    batch = jnp.stack([jnp.array(arviz_values.log_weights(n)) for n in ("light", "heavy")])
    together = jax.jit(jax.vmap(psis))(batch)
    for row, log_weights in enumerate(batch):
        alone = PSIS(log_weights)
        np.testing.assert_allclose(together.k_hat[row], alone.k_hat, rtol=1e-12)
        np.testing.assert_allclose(together.log_weights[row], alone.log_weights, rtol=1e-12)


def test_psis_in_float32_survives_an_offset_of_a_million():
    exact = arviz_values.log_weights("heavy") - 1e6
    high = exact.astype(np.float32)
    pair = Compensated(jnp.array(high), jnp.array((exact - high).astype(np.float32)))
    np.testing.assert_allclose(PSIS(pair).k_hat, ARVIZ["psis"]["heavy"]["k_hat"], atol=1e-4)


def test_psis_at_the_edges():
    equal = PSIS(jnp.zeros(10))
    assert equal.k_hat == jnp.inf
    np.testing.assert_allclose(equal.log_weights, -np.log(10), rtol=1e-6)
    assert jnp.all(PSIS(jnp.full(10, -jnp.inf)).log_weights == -jnp.inf)
    assert jnp.isnan(PSIS(jnp.zeros(10).at[3].set(jnp.nan)).k_hat)
    assert psis(jnp.zeros(1)).log_weights == 0
    with pytest.raises(ValueError, match=r"shape \(S,\), got \(2, 3\); vmap"):
        psis(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="relative_efficiency must be positive"):
        psis(jnp.zeros(3), relative_efficiency=0.0)


@jax.jit
def diagnose(x):
    """Compiled together: R-hat, bulk and tail ESS, mean and 30% quantile."""
    return (
        monte_carlo.rhat(x),
        monte_carlo.ess_bulk(x),
        monte_carlo.ess_tail(x),
        monte_carlo.chain_mean(x),
        monte_carlo.quantile(x, 0.3),
    )


@pytest.mark.parametrize("name", arviz_values.CHAINS)
def test_chain_diagnostics_match_arviz(name, x64):
    x, want = jnp.array(arviz_values.chains(name)), ARVIZ["chains"][name]
    rhat, bulk, tail, mean, quantile = diagnose(x)
    np.testing.assert_allclose(rhat, want["rhat"], rtol=1e-10)
    np.testing.assert_allclose(bulk, want["ess_bulk"], rtol=1e-10)
    np.testing.assert_allclose(tail, want["ess_tail"], rtol=1e-10)
    np.testing.assert_allclose(mean.standard_error, want["mcse_mean"], rtol=1e-10)
    np.testing.assert_allclose(quantile.standard_error, want["mcse_quantile"], rtol=1e-10)
    np.testing.assert_allclose(quantile.value, np.quantile(x, 0.3), rtol=1e-12)


def test_chains_that_disagree_are_seen():
    x = jax.random.normal(jax.random.key(0), (2, 100)) + jnp.array([0.0, 3.0])[:, None]
    assert monte_carlo.rhat(x) > 1.5


def test_clear_errors():
    with pytest.raises(ValueError, match=r"at least 4 draws each, got \(3,\); add an axis"):
        monte_carlo.rhat(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"prob in \(0, 1\), got 1"):
        monte_carlo.quantile(jnp.zeros((1, 9)), 1)


@pytest.mark.parametrize("size, efficiency", [(1000, 1.0), (1000, 4.0), (1000, 0.1), (25, 1.0)])
def test_the_tail_has_the_size_of_its_definition(size, efficiency, x64):
    """min(S / 5, 3 sqrt(S / efficiency)) weights are smoothed, five of 25 being enough for a shape."""
    raw = np.random.default_rng(size).normal(size=size)
    found = monte_carlo.psis(raw, relative_efficiency=efficiency)
    moved = np.asarray(found.log_weights) - raw
    kept = np.abs(moved - np.median(moved)) < 1e-9
    tail = math.ceil(min(size / 5, 3 * math.sqrt(size / efficiency)))
    # the largest may be cut back to where it was
    assert {*np.flatnonzero(~kept), np.argmax(raw)} == set(np.argsort(raw)[-tail:])
    assert np.isfinite(found.k_hat)
    assert monte_carlo.psis(raw[:24][np.argsort(raw[:24])[:20]]).k_hat == np.inf
