"""The contract of algorithms, and what one driver makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import fit
from likelax.data import Labelled, Masked
from likelax.families import MvNormal, Normal, Poisson, VonMises
from likelax.fit import Data, Status
from likelax.mixture import Mixture

X = jnp.array([-2.1, -2.0, -1.4, 0.3, 1.9, 2.0, 2.6])
START = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
ALGORITHMS = {
    "EM": fit.EM(tol=1e-4),
    "SQUAREM": fit.SQUAREM(fit.EM(tol=1e-4)),
    "Ascent": fit.Ascent(tol=1e-3, window=10),
    "LBFGS": fit.LBFGS(),
}


def close(got, want, rtol=1e-5):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)


def by_hand(algorithm, model, data):
    """All steps of a fit in a Python loop, and the state at the end."""
    state, seen = algorithm.init(model, data), []
    step = jax.jit(algorithm.step)
    while not algorithm.done(state):
        state, values = step(state, data)
        seen.append(values)
    return state, jnp.concatenate(seen)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_loop_over_the_steps_is_the_fit(name):
    algorithm, data = ALGORITHMS[name], Data(X)
    state, seen = by_hand(algorithm, START, data)
    want = fit.run(algorithm, START, X)
    got = algorithm.result(state, seen)
    assert (got.status, got.num_steps) == (want.status, want.num_steps)
    assert want.status == Status.CONVERGED
    close(got.model, want.model)
    steps = int(got.num_steps)
    close(got.objectives[:steps], want.objectives[:steps])
    close(want.objective, jnp.sum(want.model.log_prob(X)))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_further_steps_do_not_change_a_finished_fit(name):
    algorithm, data = ALGORITHMS[name], Data(X)
    state, seen = by_hand(algorithm, START, data)
    for _ in range(3):
        state, _ = algorithm.step(state, data)
        assert algorithm.done(state)
    late, then = (
        algorithm.result(state, seen),
        algorithm.result(by_hand(algorithm, START, data)[0], seen),
    )
    for a, b in zip(jax.tree.leaves(late), jax.tree.leaves(then), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_batch_is_a_loop_over_fits_of_different_lengths(name):
    def run(loc, tol):
        start = Mixture(START.weights, Normal(loc, jnp.ones(2)))
        algorithm = jax.tree.map(lambda leaf: leaf, ALGORITHMS[name])
        if name == "SQUAREM":
            algorithm = fit.SQUAREM(fit.EM(tol=tol))
        elif name == "EM":
            algorithm = fit.EM(tol=tol)
        return fit.run(algorithm, start, X)

    locs = jnp.array([[-1.0, 1.0], [-0.1, 0.1], [-4.0, 3.0]])
    tols = jnp.array([1e-2, 1e-5, 1e-3])
    together = jax.vmap(run)(locs, tols)
    apart = [run(*each) for each in zip(locs, tols, strict=True)]
    # on jax 0.8 the two programs round differently, which decides the last step of L-BFGS
    slack = 1 if name == "LBFGS" and jax.__version_info__ < (0, 10) else 0
    gaps = np.subtract(together.num_steps, [f.num_steps for f in apart])
    assert np.abs(gaps).max() <= slack
    assert len(set(together.num_steps.tolist())) > 1
    for i, alone in enumerate(apart):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], together.model), alone.model, 1e-3)


def test_runs_of_other_lengths_and_tolerances_share_a_program():
    traced = []

    def objective(p):
        traced.append(1)
        return -((p - 3.0) ** 2)

    fit.maximize(objective, jnp.array(0.0), max_steps=2000, tol=1e-3)
    count = len(traced)
    got = fit.maximize(objective, jnp.array(0.0), max_steps=1900, tol=-1.0)
    assert len(traced) == count
    assert (got.objectives.shape, got.num_steps) == ((1901,), 1900)


@pytest.mark.parametrize("max_steps", [0, 1, 2, 63, 64, 999, 1000, 1001, 2500])
def test_objectives_have_one_entry_a_step(max_steps):
    got = fit.em(Poisson(1.0), jnp.array([1, 2]), max_steps=max_steps, tol=-1.0)
    assert got.objectives.shape == (max_steps + 1,)
    assert got.num_steps == max_steps
    close(got.objective, jnp.sum(got.model.log_prob(jnp.array([1, 2]))))


def test_max_steps_may_be_traced():
    limits = jnp.array([0, 2, 5])
    fits = jax.vmap(lambda n: fit.em(START, X, max_steps=n, tol=-1.0))(limits)
    assert fits.num_steps.tolist() == limits.tolist()
    for i, limit in enumerate([0, 2, 5]):
        want = fit.em(START, X, max_steps=limit, tol=-1.0)
        np.testing.assert_allclose(fits.objective[i], want.objective, rtol=1e-5)
        np.testing.assert_allclose(
            fits.objectives[i, : limit + 1], want.objectives, rtol=1e-5, atol=1e-5
        )
    # more steps than `objectives` has entries: the last one is still that of the model
    long = jax.jit(lambda n: fit.em(START, X, max_steps=n, tol=-1.0))(1500)
    assert long.num_steps == 1500
    np.testing.assert_allclose(long.objective, jnp.sum(long.model.log_prob(X)), rtol=1e-5)


NEGATIVE = {
    "em": lambda: fit.em(START, X, tol=-1.0, max_steps=7),
    "squarem": lambda: fit.squarem(START, X, tol=-1.0, max_steps=7),
    "gradient": lambda: fit.gradient(START, X, tol=-1.0, max_steps=7, window=2),
    "lbfgs": lambda: fit.maximize_lbfgs(lambda p: -(p**2), jnp.array(0.0), tol=-1.0, max_steps=7),
    "noisy": lambda: fit.maximize_noisy(
        jax.random.key(0), lambda k, p: -(p**2), jnp.array(0.0), tol=-1.0, max_steps=7, window=2
    ),
    "stream": lambda: fit.stream(START, lambda: [X], tol=-1.0, max_passes=7),
    "restarts": lambda: fit.restarts(
        jax.random.key(0), lambda k: START, X, num_restarts=1, tol=-1.0, max_steps=7
    ),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_below_zero_only_max_steps_stops(name):
    got = NEGATIVE[name]()
    assert (got.status, got.num_steps) == (Status.MAX_STEPS, 7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tol": float("nan")}, ValueError, r"fit\.em: tol must be a number; got nan"),
        ({"tol": "1e-3"}, TypeError, r"fit\.em: tol must be a number or None; got '1e-3'"),
        ({"max_steps": 2.5}, TypeError, r"fit\.em: max_steps must be an integer; got 2\.5"),
        ({"max_steps": -1}, ValueError, r"fit\.em: max_steps must be 0 or more; got -1"),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        fit.em(START, X, **options)


def test_progress_of_every_algorithm():
    for algorithm in ALGORITHMS.values():
        seen = {}

        def tell(step, nats, seen=seen):
            seen[int(step)] = float(nats)

        got = fit.run(algorithm, START, X, progress=tell)
        jax.effects_barrier()
        assert max(seen) == got.num_steps
        np.testing.assert_allclose(seen[int(got.num_steps)], got.objective, rtol=1e-6)


# Fits to nothing, and starts that hold NaN


def nothing(weights, x=X):
    ascent = {"optimizer": optax.adam(0.1), "max_steps": 20, "window": 5}
    return {
        "em": lambda m: fit.em(m, x, weights=weights),
        "squarem": lambda m: fit.squarem(m, x, weights=weights),
        "gradient": lambda m: fit.gradient(m, x, weights=weights, **ascent),
        "lbfgs": lambda m: fit.run(fit.LBFGS(max_steps=5), m, x, weights=weights),
        "restarts": lambda m: fit.restarts(
            jax.random.key(0), lambda k: m, x, num_restarts=2, weights=weights
        ),
    }


@pytest.mark.parametrize("how", ["em", "squarem", "gradient", "lbfgs", "restarts"])
def test_no_data_is_a_status_and_keeps_the_start(how):
    got = nothing(jnp.zeros(7))[how](START)
    assert got.status == Status.NO_DATA
    assert not got.usable
    close(got.model, START, 1e-6)
    with pytest.raises(fit.FitError, match=r"NO_DATA .*positive weight, or a prior"):
        got.raise_unless_converged()


def test_masked_data_are_no_data():
    masked = Masked.from_nan(jnp.full(7, jnp.nan))
    for x in (masked, Masked(X, jnp.zeros(7, bool))):
        assert fit.em(START, x).status == Status.NO_DATA
        assert fit.stream(START, lambda x=x: [x, x]).status == Status.NO_DATA
        assert nothing(None, x)["gradient"](START).status == Status.NO_DATA
    # labels are data: they tell the weights
    labelled = fit.em(START, Labelled(masked, jnp.array([0, 0, 0, 0, 0, 1, 1])))
    assert labelled.status == Status.CONVERGED
    close(labelled.model.weights, np.array([5 / 7, 2 / 7]))


def test_one_data_set_without_weight_in_a_batch():
    weights = jnp.stack([jnp.ones(7), jnp.zeros(7)])
    fits = jax.vmap(lambda w: fit.em(START, X, weights=w))(weights)
    assert fits.status.tolist() == [Status.CONVERGED, Status.NO_DATA]
    assert fit.best(fits).status == Status.CONVERGED


@pytest.mark.parametrize("how", ["em", "squarem", "gradient", "lbfgs"])
@pytest.mark.parametrize("weights", [None, jnp.zeros(7)])
def test_a_start_with_nan_is_never_converged(how, weights):
    broken = Mixture(START.weights, Normal(jnp.array([jnp.nan, 1.0]), jnp.ones(2)))
    got = jax.jit(nothing(weights)[how])(broken)  # traced values are not validated
    assert got.status in (Status.NON_FINITE, Status.NO_DATA)
    if how in ("em", "squarem"):
        assert (got.status, got.num_steps) == (Status.NON_FINITE, 0)


def test_nan_data_under_vmap_name_both_causes():
    data = jnp.stack([X, X.at[3].set(jnp.nan)])
    fits = jax.vmap(lambda x: fit.em(START, x))(data)
    assert fits.status.tolist() == [Status.CONVERGED, Status.NON_FINITE]
    with pytest.raises(fit.FitError, match=r"positive probability.*Masked\.from_nan\(x\)"):
        fits.raise_unless_converged()


# Invalid models and data


def test_a_batch_of_models_is_refused_with_a_sentence():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), START)
    for call in (fit.em, fit.mle, fit.gradient, fit.squarem):
        with pytest.raises(ValueError, match=r"shape \(4, 2\) are a batch.*jax\.vmap"):
            call(batch, X)
    with pytest.raises(ValueError, match=r"Mixture\.log_prob.*shape \(4, 2\).*jax\.vmap"):
        batch.log_prob(X)
    assert jax.vmap(lambda m: m.log_prob(X))(batch).shape == (4, 7)
    nested = Mixture(jnp.array([0.5, 0.5]), jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), START))
    assert fit.em(nested, X, max_steps=1).usable


def test_mle_refuses_what_em_refuses():
    wide = MvNormal(jnp.zeros(2), jnp.eye(2))
    for call in (fit.em, fit.mle):
        with pytest.raises(ValueError, match=r"x must have shape \(..., 2\)"):
            call(wide, jnp.zeros((5, 3)))
        with pytest.raises(ValueError, match="one per observation"):
            call(START, X, weights=jnp.ones(3))
        with pytest.raises(ValueError, match="no conjugate prior"):
            call(VonMises(0.0, 1.0), X, prior=Poisson(1.0))


def test_all_restarts_on_demand():
    def start(key):
        return Mixture(START.weights, Normal(jax.random.normal(key, (2,)), jnp.ones(2)))

    def key():
        return jax.random.key(3)

    fits = fit.restarts(key(), start, X, num_restarts=3, keep_all=True)
    assert fits.objectives.shape[0] == 3
    each = [fit.em(start(k), X) for k in jax.random.split(key(), 3)]
    np.testing.assert_allclose(fits.objective, [f.objective for f in each], rtol=1e-4)
    close(fit.best(fits), fit.restarts(key(), start, X, num_restarts=3))

    def sized(key, size):
        return start(key)

    table = fit.sweep(key(), sized, X, sizes=[2, 2], num_restarts=3, keep_all=True)
    assert table.objective.shape == (2, 3)
    best = fit.sweep(key(), sized, X, sizes=[2, 2], num_restarts=3)
    close(jax.vmap(fit.best)(table), best)
