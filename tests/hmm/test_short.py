"""The form of one short chain: right where it is certified, and certified where it ought to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax._chains import chain, dispatch, log_domain, short
from likelax.hmm import inference
from reference import enumeration

ANSWERS = {
    "log_prob": {},
    "filtered": {},
    "posterior": {"in_logs": True},
}
# around the thresholds of float32: exp underflows at -87, the certificate asks for -16.6
EDGES = np.array([-np.inf, 0, -1, -15, -16, -17, -40, -60, -86, -104, -1e4, 1, 2, 90])


@pytest.fixture(params=[1, 1024], ids=["both ends", "one end"])
def ends(request, monkeypatch):
    monkeypatch.setattr(short, "_LONG", request.param)


def answers(form, potentials):
    c = chain.Chain(*potentials, None, None)
    return {name: getattr(form, name)(c, **known) for name, known in ANSWERS.items()}


@pytest.mark.parametrize("num_steps", [1, 5, 6])
def test_log_prob_is_the_sum_over_all_paths(x64, ends, num_steps):
    rng = np.random.default_rng(num_steps)
    potentials = (
        rng.uniform(-3, 1, 3),
        rng.uniform(-3, 1, (3, 3)),
        5 * rng.normal(size=(num_steps, 3)),
    )
    got, certified = jax.jit(lambda *p: short.log_prob(chain.Chain(*p, None, None)))(*potentials)
    paths = enumeration.enumerate_paths(*potentials, length=num_steps, starts=None)
    assert certified
    np.testing.assert_allclose(got, enumeration.log_prob(paths), rtol=1e-13)


def odd_chains(num_steps, num_chains=3000, num_states=3):
    """Potentials of float32, and the same in float64; of a third of the chains some are of EDGES."""
    rng = np.random.default_rng(num_steps)

    def odd(*shape):
        plain = rng.uniform(-3, 0, (num_chains, *shape))
        some = rng.random((num_chains, *shape)) < rng.choice([0, 0, 0.2], num_chains).reshape(
            -1, *(1,) * len(shape)
        )
        return np.where(some, rng.choice(EDGES, plain.shape), plain).astype(np.float32)

    potentials = odd(num_states), odd(num_states, num_states), odd(num_steps, num_states)
    return potentials, tuple(np.asarray(p, np.float64) for p in potentials)


@pytest.mark.parametrize("num_steps", [5, 6])
def test_what_is_certified_has_the_digits_of_the_log_domain_in_float64(x64, ends, num_steps):
    potentials, wide = odd_chains(num_steps)
    run = jax.jit(jax.vmap(lambda *p: answers(short, p)))(*potentials)
    exact = jax.jit(jax.vmap(lambda *p: answers(log_domain, p)))(*wide)
    for name, (got, certified) in run.items():
        certified = np.asarray(certified)
        assert 0.3 < np.mean(certified) < 0.9, name
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(exact[name]), strict=True):
            g, w = np.asarray(g)[certified], np.asarray(w)[certified]
            np.testing.assert_array_equal(g == -np.inf, w == -np.inf)
            sure = np.isfinite(w)
            # a difference of likelihoods 1e4 nats apart has the digits of the larger one
            size = np.max(
                np.abs(wide[2][certified]),
                axis=(1, 2),
                where=np.isfinite(wide[2][certified]),
                initial=1,
            )
            slack = 4e-6 * size.reshape(-1, *(1,) * (g.ndim - 1))
            assert np.all(np.abs(g[sure] - w[sure]) <= np.broadcast_to(slack, g.shape)[sure])


@pytest.mark.parametrize("num_steps", [1, 6])
def test_the_gradient_has_the_digits_of_the_log_domain_in_float64_for_any_chain(x64, num_steps):
    potentials, wide = odd_chains(num_steps)
    got = jax.jit(jax.vmap(lambda *p: short.gradient(chain.Chain(*p, None, None))))(*potentials)
    exact = jax.vmap(lambda *p: log_domain.posterior(chain.Chain(*p, None, None), in_logs=False))
    flat = np.concatenate([p.reshape(len(p), -1) for p in wide], axis=1)
    size = np.max(np.abs(flat), axis=1, where=np.isfinite(flat), initial=1)
    for g, w in zip(got, jax.jit(exact)(*wide), strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w)
        np.testing.assert_array_equal(g == -np.inf, w == -np.inf)
        gap = np.where(w == -np.inf, 0, g - np.where(w == -np.inf, 0, w))
        assert np.all(np.abs(gap) <= 1e-6 * size.reshape(-1, *(1,) * (g.ndim - 1)))


@pytest.mark.parametrize("spread", [0, 3])
def test_the_gradient_of_a_thousand_steps_has_the_digits_of_float64(x64, spread):
    rng = np.random.default_rng(0)
    log_lik = spread * rng.normal(size=(1000, 3)).astype(np.float32) - 20
    # steps that are all alike round all the same way
    wide = np.log(np.full(3, 1 / 3)), np.log(rng.dirichlet(np.ones(3), 3)), log_lik
    narrow = [np.asarray(p, np.float32) for p in wide]
    wide = [np.asarray(p, np.float64) for p in narrow]
    got = jax.jit(lambda *p: short.gradient(chain.Chain(*p, None, None)))(*narrow)
    exact = jax.jit(lambda *p: log_domain.posterior(chain.Chain(*p, None, None), in_logs=False))
    for g, w in zip(got, exact(*wide), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_short_chain_is_one_exact_recursion():
    flat, log_lik = jnp.full(4, -1.386), jnp.zeros((1000, 4))
    slope = jax.make_jaxpr(jax.grad(inference.log_partition, 2))
    found = str(slope(flat, jnp.stack([flat] * 4), log_lik))
    assert found.count("cond[") == 0 and found.count("scan[") == 2


def test_a_thousand_steps_in_float32_sum_to_the_digits_of_float64(x64):
    rng = np.random.default_rng(0)
    for num_states in (4, 8):
        potentials = tuple(
            np.asarray(p, np.float32)
            for p in (
                np.log(rng.dirichlet(np.ones(num_states))),
                np.log(rng.dirichlet(np.ones(num_states), num_states)),
                20 * rng.normal(size=(2001, num_states)) - 50,
            )
        )
        got, certified = jax.jit(lambda *p: short.log_prob(chain.Chain(*p, None, None)))(
            *potentials
        )
        wide = tuple(np.asarray(p, np.float64) for p in potentials)
        want = jax.jit(lambda *p: log_domain.log_prob(chain.Chain(*p, None, None)))(*wide)
        assert certified
        np.testing.assert_allclose(got, want, rtol=3e-7)


def test_a_short_chain_is_given_this_form_and_one_that_is_not_certified_the_log_domain():
    rng = np.random.default_rng(0)
    log_lik = jnp.asarray(rng.normal(size=(60, 3)), jnp.float32)
    flat, zeros = (
        jnp.full((3, 3), -1.0986123),
        jnp.log(jnp.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]])),
    )
    assert dispatch._TINY < 60 * 9
    jaxpr = str(jax.make_jaxpr(inference.smoother)(flat[0], flat, log_lik))
    assert jaxpr.count("cond[") == 1 and jaxpr.count("scan[") == 4
    for move in (flat, zeros):
        got = inference.smoother(flat[0], move, log_lik)
        want = log_domain.posterior(chain.Chain(flat[0], move, log_lik, None, None), in_logs=True)
        for g, w in zip(
            (got.log_marginals, got.transition_counts, got.log_prob), want, strict=True
        ):
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)
