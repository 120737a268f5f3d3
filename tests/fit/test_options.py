"""Options of fits at other values than the defaults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit

RNG = np.random.default_rng(7)
X = jnp.asarray(np.concatenate([RNG.normal(-2, 1, 60), RNG.normal(3, 1, 40)]), jnp.float32)
START = lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.array([1.0, 1.5])))
SHARES = jnp.asarray(RNG.integers(0, 4, 100), jnp.float32)


def start(key):
    places = jax.random.choice(key, X, (2,), replace=False)
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(places, jnp.ones(2)))


def start_of_size(key, size):
    del size
    return start(key)


def test_criteria_count_weighted_rows_as_copies():
    copies = jnp.repeat(X, SHARES.astype(int))
    for criterion in (fit.aic, fit.bic, fit.icl):
        got = criterion(START, X, weights=SHARES)
        np.testing.assert_allclose(got, criterion(START, copies), rtol=1e-5)


def test_more_steps_of_kmeans_bring_centres_to_the_means_of_their_rows():
    x = jnp.asarray(RNG.normal(size=(500, 2)), jnp.float32)

    def gap(num_steps):
        labels, centres = fit.kmeans(jax.random.key(1), x, 6, num_steps=num_steps)
        return max(float(np.abs(x[labels == k].mean(0) - centres[k]).max()) for k in range(6))

    assert gap(200) < 1e-5 < gap(1)


@pytest.mark.slow
def test_a_chunked_restart_is_the_whole_one():
    runs = [
        fit.restarts(jax.random.key(2), start, X, num_restarts=2, chunk_size=size)
        for size in (None, 30)
    ]
    np.testing.assert_allclose(runs[0].objective, runs[1].objective, rtol=1e-6)
    swept = [
        fit.sweep(
            jax.random.key(2),
            start_of_size,
            X,
            sizes=jnp.array([2]),
            num_restarts=2,
            chunk_size=size,
        )
        for size in (None, 30)
    ]
    np.testing.assert_allclose(swept[0].objective, swept[1].objective, rtol=1e-6)


def test_memory_of_lbfgs_makes_fewer_steps():
    """On a valley of 12 dimensions one pair of gradients is not enough to know its shape."""
    widths = jnp.logspace(0, 4, 12)

    def valley(p):
        return -jnp.sum(widths * (p - 1) ** 2) / 2

    short, long = (
        fit.maximize_lbfgs(valley, jnp.zeros(12), memory=size, max_steps=2000) for size in (1, 20)
    )
    np.testing.assert_allclose(long.model, 1, rtol=1e-3)
    assert long.num_steps < short.num_steps


def test_an_algorithm_has_the_memory_too():
    x = jnp.asarray(RNG.normal(3.0, 2.0, 50), jnp.float32)
    runs = [fit.run(fit.LBFGS(memory=size), lx.Normal(0.0, 1.0), x) for size in (1, 10)]
    np.testing.assert_allclose(runs[0].model.loc, runs[1].model.loc, rtol=1e-4)
    assert runs[0].num_steps != runs[1].num_steps


def test_minibatches_add_the_prior_once():
    def log_prior(model):
        return -model.rate

    x = jnp.full(100, 3)
    plain, both = (
        fit.minibatch_log_prob(x, 2, log_prior=prior)(jax.random.key(0), lx.Poisson(3.0))
        for prior in (None, log_prior)
    )
    np.testing.assert_allclose(both, plain - 3, rtol=1e-6)


def by_hand(batches, power, delay, warm_up, num_rows, concentration, rate):
    """The rates of a Poisson model: its (events, exposure) per row, discounted."""
    total, rates = None, []
    for count, batch in enumerate(batches):
        new = np.array([batch.mean(), 1.0])
        share = 1.0 if total is None else (count + delay) ** -power
        total = new if total is None else (1 - share) * total + share * new
        events, exposure = total * num_rows
        gathered = count + 1 >= warm_up
        rates.append((events + concentration - 1) / (exposure + rate) if gathered else 1.0)
    return rates


@pytest.mark.parametrize("power, delay, warm_up", [(0.6, 2.0, 1), (0.9, 5.0, 1), (0.7, 0.5, 3)])
def test_stepwise_discounts_as_it_says(power, delay, warm_up):
    batches = [np.random.default_rng(i).poisson(2.0**i, 10) for i in range(5)]
    path = fit.stepwise(
        lx.Poisson(1.0),
        [jnp.asarray(batch) for batch in batches],
        num_rows=40,
        prior=lx.Gamma(3.0, 0.5),
        power=power,
        delay=delay,
        warm_up=warm_up,
    )
    want = by_hand(batches, power, delay, warm_up, 40, 3.0, 0.5)
    np.testing.assert_allclose([float(model.rate) for model, _ in path], want, rtol=1e-5)


def test_a_floor_holds_for_an_algorithm_too():
    x = jnp.array([0.0, 0.0, 0.0, 5.0, 6.0, 7.0])
    found = fit.run(fit.EM(scale_floor=0.25), START, x)
    np.testing.assert_allclose(jnp.min(found.model.components.scale), 0.25, rtol=1e-5)


def test_a_window_that_is_not_full_ends_no_fit():
    """An objective that is flat: the second window has half its steps when the steps are spent."""

    def flat(key, p):
        return jax.random.normal(key) + 0 * jnp.sum(p)

    def status(**options):
        found = fit.maximize_noisy(jax.random.key(0), flat, jnp.zeros(1), window=100, **options)
        return int(found.status)

    assert status(max_steps=150) == fit.Status.MAX_STEPS
    assert status(max_steps=1000, tol=5.0) == fit.Status.CONVERGED
