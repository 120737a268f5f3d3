"""Sums over counts: entropies, and tails of the beta-binomial, beside SciPy's terms one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import likelax as lx
from likelax.numerics import lattice

COUNTS = {
    "few": (lx.Poisson(0.01), stats.poisson(0.01)),
    "none": (lx.Poisson(0.0), stats.poisson(0.0)),
    "some": (lx.Poisson(7.3), stats.poisson(7.3)),
    "many": (lx.Poisson(2e4), stats.poisson(2e4)),
    "binomial": (lx.Binomial(12, 0.3), stats.binom(12, 0.3)),
    "sure": (lx.Binomial(12, 1.0), stats.binom(12, 1.0)),
    "large binomial": (lx.Binomial(50_000, 0.02), stats.binom(50_000, 0.02)),
    "negative": (lx.NegativeBinomial(0.3, 0.01), stats.nbinom(0.3, 0.01)),
    "large negative": (lx.NegativeBinomial(1.5, 1e-4), stats.nbinom(1.5, 1e-4)),
    "gamma": (lx.GammaPoisson(30.0, 0.01), stats.nbinom(30.0, 0.01 / 1.01)),
    "beta": (lx.BetaBinomial(2.0, 3.0, total_count=9.0), stats.betabinom(9, 2.0, 3.0)),
    "bowl": (lx.BetaBinomial(0.3, 0.2, total_count=3000.0), stats.betabinom(3000, 0.3, 0.2)),
    "narrow": (lx.BetaBinomial(4e3, 9e3, total_count=2e4), stats.betabinom(20_000, 4e3, 9e3)),
}


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", COUNTS)
def test_entropies_are_sums_of_all_terms(x64, name):
    model, peer = COUNTS[name]
    mass = peer.pmf(np.arange(1_000_000 if name == "large negative" else 60_000))
    # SciPy's terms have lost up to 1e-10 where the counts are large
    np.testing.assert_allclose(model.entropy(), special.entr(mass).sum(), rtol=1e-9, atol=1e-12)
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), model).entropy()
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, model.entropy(), rtol=2e-5, atol=2e-5)


def test_entropies_of_large_means_are_those_of_normals(x64):
    # Evans, Boersma, Blachman & Jagers (1988), SIAM Review 30, 314-317
    for rate in (1e3, 1e6, 1e9, 1e12):
        want = np.log(2 * np.pi * np.e * rate) / 2 - 1 / (12 * rate) - 1 / (24 * rate**2)
        want -= 19 / (360 * rate**3)
        np.testing.assert_allclose(lx.Poisson(rate).entropy(), want, rtol=1e-11)
    assert np.isnan(lx.Poisson(1e17).entropy())


def test_entropies_have_derivatives_and_map(x64):
    rates = jnp.array([0.4, 9.0, 5e3])
    slopes = jax.vmap(jax.grad(lambda rate: lx.Poisson(rate).entropy()))(rates)
    step = 1e-4 * rates
    change = jax.vmap(lambda rate: lx.Poisson(rate).entropy())
    np.testing.assert_allclose(
        slopes, (change(rates + step) - change(rates - step)) / (2 * step), rtol=1e-6
    )
    assert np.isfinite(jax.grad(lambda rate: lx.Poisson(rate).entropy())(1e-8))


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", ["beta", "bowl", "narrow"])
def test_tails_of_the_beta_binomial_are_sums(x64, name):
    model, peer = COUNTS[name]
    n = int(model.total_count)
    log_p = peer.logpmf(np.arange(n + 1))
    below = np.logaddexp.accumulate(log_p)
    above = np.append(np.logaddexp.accumulate(log_p[::-1])[::-1][1:], -np.inf)
    x = np.unique(np.linspace(0, n, 23).astype(int))
    # to 1e-10 in logs: both tails keep that where one of them is 1e-300
    np.testing.assert_allclose(model.log_cdf(x), below[x], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.log_survival(x), above[x], rtol=1e-8, atol=1e-10)
    probs = np.array([1e-9, 0.03, 0.5, 0.98])
    np.testing.assert_array_equal(model.quantile(probs), np.searchsorted(np.exp(below), probs))
    upper = np.array([np.argmax(np.exp(above) <= p) for p in probs])
    np.testing.assert_array_equal(model.quantile(probs, upper=True), upper)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize(
    ("low", "count"), [(0, 0), (3, 1), (0, 63), (7, 130), (0, 2000), (5, 10**6)]
)
def test_sums_of_powers(x64, low, count):
    want = special.zeta(2.5, low + 1) - special.zeta(2.5, low + count + 1)
    got = lattice.lattice_sum(lambda x: (1 + x) ** -2.5, low, count)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    log = lattice.log_lattice_sum(lambda x: -2000 - 2.5 * jnp.log1p(x), low, count)
    np.testing.assert_allclose(log, -2000 + np.log(want) if count else -np.inf, rtol=1e-12)


def test_sums_beyond_whole_numbers_are_nan():
    assert lattice.num_whole(np.dtype(np.float32)) == 2**24
    assert np.isnan(lattice.lattice_sum(jnp.ones_like, 0, 2.0**25))
    assert np.isnan(lx.BetaBinomial(1.0, 1.0, total_count=2.0**26).log_cdf(2.0**25 + 64))
