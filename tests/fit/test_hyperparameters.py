"""A batch over values of hyperparameters is a loop of single fits, in one compiled program."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import likelax as lx
from likelax import fit

RNG = np.random.default_rng(0)
HIGHER = optax.adam(1.0)


def counts(*shape):
    return RNG.poisson(np.where(RNG.random(shape) < 0.4, 1.0, 7.0)).astype(np.float32)


def pair(key, x, value):
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Poisson(jax.random.uniform(key, (2,)) * 8 + 0.5))


def keys(num_sets, restarts, num_sizes=1):
    """Of each start; all hyperparameters have the same."""
    data = jax.random.key_data(jax.random.split(jax.random.key(0), num_sets * num_sizes * restarts))
    return data.reshape(num_sets, num_sizes, restarts, -1)


def em(value):
    return fit.EM(tol=value["tol"], max_steps=value["max_steps"])


def dirichlet(value):
    rates = lx.Gamma(value["shapes"], jnp.ones(2, value["shapes"].dtype))
    return lx.MixturePrior(lx.Dirichlet(jnp.repeat(value["concentration"], 2)), rates)


VALUES = {
    "tol": [1e-2, 1e-4, 1e-6],
    "max_steps": [3, 50, 50],
    "concentration": [1.0, 2.0, 30.0],
    "shapes": [[1.0, 1.0], [2.0, 3.0], [2.0, 2.0]],
}


def test_hyperparameters_of_algorithm_and_prior_give_the_single_fits(x64):
    x, shape = counts(3, 20), (3, 3, 2)
    values = {name: np.array(value) for name, value in VALUES.items()}
    run = {"hyperparameters": values, "num_restarts": 2, "num_lanes": 4, "prior": dirichlet}
    done = fit.batch(em, pair, x, key=jax.random.key(0), **run)
    assert done.fits.status.shape == shape
    at = keys(3, 2)
    for b, h, r in np.ndindex(shape):
        one = {name: jnp.asarray(value[h]) for name, value in values.items()}
        start = pair(jax.random.wrap_key_data(at[b, 0, r]), None, None)
        alone = fit.run(em(one), start, x[b], prior=dirichlet(one))
        many = done[b, h, r]
        assert (int(alone.status), int(alone.num_steps)) == (int(many.status), int(many.num_steps))
        chex.assert_trees_all_close(
            (alone.model, alone.objective), (many.model, many.objective), rtol=1e-6
        )
    np.testing.assert_array_equal(done.best.objective, done.fits.objective.max(axis=2))
    table = done.to_pandas()
    assert list(table.columns)[:6] == ["dataset", *VALUES, "restart"]
    assert table.shape[0] == 18 and table.tol[2] == 1e-4 and list(table.shapes[2]) == [2.0, 3.0]
    picked = table[(table.dataset == 1) & (table.concentration == 30.0)]
    np.testing.assert_array_equal(picked.objective, done[1, 2].objective)
    with pytest.raises(IndexError, match="there are 3 hyperparameters; got index 3"):
        done[1, 3]
    with pytest.raises(IndexError, match=r"have 3 axes; got index \(0, 0, 0, 0\)"):
        done[0, 0, 0, 0]


def test_a_start_and_its_size_take_hyperparameters(x64):
    x = [counts(9), counts(12)]

    def sized(key, x, size, value):  # the scale is a constant of each fit
        weights = jnp.where(jnp.arange(2) < size, 1 / size, 0.0)
        loc = jax.random.uniform(key, (2,)) * 8
        scale = lx.Fixed(lx.Normal(loc, jnp.repeat(value["scale"], 2)))
        return lx.Mixture(weights, scale)

    run = {"sizes": [1, 2], "hyperparameters": {"scale": [0.5, 1.0, 4.0]}, "num_restarts": 2}
    done = fit.batch(fit.EM(max_steps=4), sized, x, key=jax.random.key(0), **run)
    assert done.fits.status.shape == (2, 2, 3, 2) and done.best.objective.shape == (2, 2, 3)
    at = keys(2, 2, 2)
    for b, s, h, r in [(0, 1, 0, 1), (1, 0, 2, 0), (1, 1, 1, 1)]:
        value = {"scale": jnp.asarray(run["hyperparameters"]["scale"][h])}
        start = sized(jax.random.wrap_key_data(at[b, s, r]), None, jnp.asarray(s + 1), value)
        alone = fit.em(start, x[b], max_steps=4)
        np.testing.assert_allclose(alone.objective, done[b, s, h, r].objective, rtol=1e-9)
    assert list(done.to_pandas().columns)[:4] == ["dataset", "size", "scale", "restart"]


def ascent(value):
    return fit.Ascent(optimizer=HIGHER, step_scale=value["rate"], max_steps=100, window=10)


def test_one_program_serves_all_learning_rates_and_failures_are_fitted_again(tmp_path):
    compiled, x = [], jnp.asarray(counts(2, 20))
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )

    def run(*rates, **options):
        run = {"num_restarts": 2, "num_lanes": 3, "key": jax.random.key(0)}
        return fit.batch(ascent, pair, x, hyperparameters={"rate": rates}, **run, **options)

    done = run(1e-2, 1e-1, 1e30)
    np.testing.assert_array_equal(done.failed, [[False, False, True]] * 2)
    before = len(compiled)
    other = run(0.2, 0.05, 0.1)
    assert len(compiled) == before
    alone = fit.gradient(
        pair(jax.random.wrap_key_data(keys(2, 2)[1, 0, 1]), None, None),
        x[1],
        optimizer=optax.adam(0.05),
        max_steps=100,
        window=10,
    )
    np.testing.assert_allclose(alone.objective, other[1, 1, 1].objective, rtol=1e-5)

    again = run(0.2, 0.2, 0.2, previous=done, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(again.failed, False)
    kept = jnp.array([0, 1])
    np.testing.assert_array_equal(again.fits.objective[:, kept], done.fits.objective[:, kept])
    with pytest.raises(ValueError, match="checkpoint of another run"):
        run(0.2, 0.2, 0.3, checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hyperparameters": [1.0]}, r"must be a dict from names to arrays .* got \[1.0\]"),
        ({"hyperparameters": {}}, r"leading axis of at least one value; got shapes {}"),
        ({"hyperparameters": {"a": 1.0}}, r"got shapes {'a': \(\)}"),
        ({"hyperparameters": {"a": [1.0], "b": [1.0, 2.0]}}, r"{'a': \(1,\), 'b': \(2,\)}"),
        ({"hyperparameters": {"a": ["x"]}}, r"hyperparameters\['a'\] must hold real numbers"),
        ({"hyperparameters": {"restart": [1.0]}}, "'restart' is a column of the results"),
        (
            {"algorithm": lambda v: fit.EM(tol=v["a"]), "hyperparameters": {"a": [1.0, jnp.nan]}},
            "tol must be a number; got nan",
        ),
        (
            {"algorithm": lambda v: v["a"], "hyperparameters": {"a": [1.0]}},
            "algorithm must be one such as",
        ),
        (
            {"algorithm": lambda v: fit.Ascent(step_scale=v["a"]), "hyperparameters": {"a": [0.0]}},
            "step_scale must be positive, got 0.0",
        ),
        (
            {"prior": lambda v: lx.Gamma(v["a"], 1.0), "hyperparameters": {"a": [1.0]}},
            "prior must be a prior of Mixture; got Gamma",
        ),
        ({"algorithm": lambda v: fit.EM()}, "algorithm must be one such as .* hyperparameters"),
    ],
)
def test_bad_hyperparameters_are_one_clear_sentence(given, message):
    whole = {"algorithm": fit.EM(), "start": pair, "datasets": jnp.ones((2, 4))}
    with pytest.raises((ValueError, TypeError), match=message):
        fit.batch(**(whole | given), key=jax.random.key(0))
