"""Debugging modes of JAX, float64, threads and processes: fits and densities end with the same answers."""

import multiprocessing
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from nodes import CASES

X = np.random.default_rng(0).normal(size=30).astype(np.float32) + np.repeat([-3.0, 3.0], 15).astype(
    np.float32
)


def gaussian_mixture():
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))


def gaussian_hmm():
    return lx.HMM(
        jnp.array([0.5, 0.5]),
        jnp.array([[0.8, 0.2], [0.3, 0.7]]),
        lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)),
    )


def with_holes(x):
    """The data with every third row missing; floats hold NaN there."""

    def hole(leaf):
        missing = np.zeros(np.shape(leaf), bool)
        missing[::3] = True
        leaf = np.asarray(leaf)
        if leaf.dtype.kind == "f":
            leaf = np.where(missing, np.nan, leaf).astype(np.float32)
        return leaf, ~missing

    pairs = jax.tree.map(hole, x)
    values, observed = (
        jax.tree.map(lambda pair, i=i: pair[i], pairs, is_leaf=lambda node: isinstance(node, tuple))
        for i in (0, 1)
    )
    return lx.Masked(values, observed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_missing_values_pass_debug_nans(case):
    model, x = case.model(), with_holes(case.data())
    want = model.log_prob(x)
    with jax.debug_nans(True):
        got = model.log_prob(x)
        stats, _ = model.e_step(x)
        model.m_step(stats)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("start", [gaussian_mixture, gaussian_hmm])
def test_a_fit_of_missing_values_passes_debug_nans(start):
    x = with_holes(X)
    want = lx.fit.em(start(), x, max_steps=3).objective
    with jax.debug_nans(True):
        got = lx.fit.em(start(), x, max_steps=3).objective
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_an_hmm_is_fitted_without_jit_in_seconds():
    """Kernels of chains stay compiled: a step of time in Python takes a millisecond."""
    x = np.tile(X, 4)[:107]
    want = lx.fit.em(gaussian_hmm(), x, max_steps=3)
    begin = time.process_time()
    with jax.disable_jit():
        got = lx.fit.em(gaussian_hmm(), x, max_steps=3)
    assert time.process_time() - begin < 60
    np.testing.assert_allclose(got.objective, want.objective, rtol=1e-4)


@pytest.mark.parametrize("start", [gaussian_mixture, gaussian_hmm])
def test_fits_pass_the_internal_checks_of_jax(start):
    want = lx.fit.em(start(), X, max_steps=3).objective
    with jax.enable_checks(True):
        got = lx.fit.em(start(), X, max_steps=3).objective
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("start", [gaussian_mixture, gaussian_hmm])
def test_fits_in_float64(x64, start):
    fit = lx.fit.em(start(), X.astype(np.float64), max_steps=3)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(fit.model)} == {"float64"}


@pytest.mark.parametrize("start", [gaussian_mixture, gaussian_hmm])
def test_a_compiled_density_transfers_nothing(start):
    model, x = jax.device_put((start(), X))
    log_prob = jax.jit(lambda model, x: model.log_prob(x))
    want = log_prob(model, x)
    with jax.transfer_guard("disallow"):
        got = log_prob(model, x)
    np.testing.assert_array_equal(got, want)


def test_threads_fit_at_the_same_time():
    shifts = [0.0, 1.0, 2.0, 3.0]
    want = [lx.fit.em(gaussian_mixture(), X + s, max_steps=5).objective for s in shifts]
    got = [None] * 4

    def run(i):
        got[i] = lx.fit.em(gaussian_mixture(), X + shifts[i], max_steps=5).objective

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(got, want)


def _fit_in_a_process(model, x):
    return np.asarray(lx.fit.em(model, x, max_steps=3).objective)


def test_a_spawned_process_fits_the_same():
    model = jax.device_get(gaussian_mixture())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(_fit_in_a_process, (model, X))
    np.testing.assert_allclose(got, _fit_in_a_process(model, X), rtol=1e-6)
