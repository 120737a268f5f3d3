"""Data that are impossible whatever the parameters: every fit refuses them, or has a status."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit, naive_bayes
from likelax.families.registry import FAMILIES
from likelax.model import check_possible
from ranges.points import generator

MODELS = {entry.name: entry for entry in FAMILIES if issubclass(entry.family, lx.Model)}
ENTRIES = [-np.inf, -7.5, -1.0, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 6.0, 1e30, np.inf]


def spoiled(x, value):
    """The data with one entry of the first observation, or of its target, replaced."""
    pair = isinstance(x, tuple)
    values = np.array(x[1] if pair else x)
    integer = values.dtype.kind == "i" and np.isfinite(value) and value == np.floor(value)
    values = values if integer and abs(value) < 1e9 else values.astype(np.float32)
    values[(0,) * values.ndim] = value
    return (np.array(x[0]), values) if pair else values


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", MODELS)
def test_impossible_is_what_has_no_probability(name):
    """A finite log density is possible, and what is impossible has none."""
    entry = MODELS[name]
    model = jax.tree.map(np.asarray, entry.example())
    x = entry.draw(entry.example(), jax.random.key(3), (6,))
    log_prob = jax.jit(lambda model, x: model.log_prob(x))
    assert np.all(model.possible(jax.tree.map(np.asarray, x)))
    for value in ENTRIES:
        row = spoiled(x, value)
        codes = name in ("Categorical", "SoftmaxRegression")
        if codes and jax.tree.leaves(row)[-1].dtype.kind == "f":
            continue  # refused by its type
        got = np.broadcast_to(model.possible(row), 6)
        assert got[1:].all()
        density = float(log_prob(model, row)[0])
        if name == "NoisyNormal" and value < 0:
            assert not got[0]  # a negative variance, which is no question of probability
        elif got[0]:
            assert not np.isnan(density), value
        else:
            assert not np.isfinite(density), value
    if name not in ("Categorical", "SoftmaxRegression"):
        with pytest.raises(ValueError, match="probability zero whatever the parameters of"):
            check_possible("fit.mle", entry.example(), spoiled(x, np.inf))


BAD = {
    "Bernoulli": (lx.Bernoulli(0.5), [0, 3]),
    "Normal": (lx.Normal(0.0, 1.0), [1.0, np.inf]),
    "Poisson": (lx.Poisson(1.0), [3.0, 0.5]),
    "Categorical": (lx.Categorical(jnp.array([0.5, 0.5])), [0, 2]),
    "Mixture": (
        lx.Mixture(jnp.array([0.5, 0.5]), lx.Independent(lx.Poisson(jnp.ones((2, 2))))),
        [[1.0, 2.0], [1.0, -2.0]],
    ),
    "HMM": (
        lx.HMM(jnp.array([0.5, 0.5]), jnp.full((2, 2), 0.5), lx.Poisson(jnp.array([1.0, 2.0]))),
        [1.0, 2.0, 0.5],
    ),
    "OneOf": (
        lx.Mixture(
            jnp.array([0.5, 0.5]),
            lx.OneOf(jnp.array([0, 1]), (lx.Delta(jnp.zeros(2)), lx.Poisson(jnp.ones(2)))),
        ),
        [0.0, 3.0, 0.5],
    ),
    "Product": (
        lx.Product({"a": lx.Normal(0.0, 1.0), "b": lx.Bernoulli(0.5)}),
        {"a": [0.0, 1.0], "b": [1, 2]},
    ),
}
FITS = {
    "mle": lambda model, x: fit.mle(model, x),
    "em": lambda model, x: fit.em(model, x),
    "squarem": lambda model, x: fit.squarem(model, x),
    "gradient": lambda model, x: fit.gradient(model, x),
    "run": lambda model, x: fit.run(fit.EM(), model, x),
    "implicit": lambda model, x: fit.implicit(model, x),
    "stream": lambda model, x: fit.stream(model, lambda: [x]),
    "stepwise": lambda model, x: next(fit.stepwise(model, [x])),
    "restarts": lambda model, x: fit.restarts(
        jax.random.key(0), lambda key: jax.tree.map(jnp.asarray, model), x, num_restarts=2
    ),
    "sweep": lambda model, x: fit.sweep(
        jax.random.key(0),
        lambda key, size: jax.tree.map(jnp.asarray, model),
        x,
        sizes=[1],
        num_restarts=1,
    ),
}


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("name", BAD)
def test_every_fit_refuses_impossible_data(name, how):
    """Row 12 of issue 15: a coin fitted to [0, 3] had probability 1.5."""
    model, x = BAD[name]
    x = jax.tree.map(np.asarray, x, is_leaf=lambda a: isinstance(a, list))
    with pytest.raises(ValueError, match="probability zero whatever the parameters"):
        FITS[how](model, x)


@pytest.mark.parametrize("name", BAD)
def test_a_batch_reports_impossible_data_and_fits_the_other_sets(name):
    """One bad data set of thousands is no reason to refuse the batch."""
    model, x = BAD[name]
    x = jax.tree.map(np.asarray, x, is_leaf=lambda a: isinstance(a, list))

    def with_a_possible_one(a):
        alternating = np.arange(len(a)).reshape(-1, *[1] * (a.ndim - 1)) % 2
        return np.stack([np.broadcast_to(alternating, a.shape), a]).astype(a.dtype)

    sets = jax.tree.map(with_a_possible_one, x)
    done = fit.batch(fit.EM(), lambda key, x: model, sets, key=jax.random.key(0))
    assert done.failed.tolist() == [False, True]


def test_naive_bayes_refuses_tf_idf_values():
    x, labels = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 0.0]]), np.array([0, 1])
    with pytest.raises(ValueError, match="naive_bayes: x"):
        naive_bayes.multinomial(2, 3).statistics(x, labels)
    nb = naive_bayes.multinomial(2, 3)  # a row that is dropped may hold anything
    assert np.isfinite(nb.fit(nb.statistics(x, np.array([-1, 1]))).components.probs).all()


def test_rows_without_weight_and_missing_ones_may_be_anything():
    model, x = lx.Poisson(1.0), np.array([1.0, 0.5, 4.0])
    got = [
        fit.mle(model, x, weights=np.array([1.0, 0.0, 1.0])),
        fit.mle(model, lx.Masked(x, np.array([True, False, True]))),
    ]
    assert [float(m.rate) for m in got] == [2.5, 2.5]
    chain = lx.HMM(jnp.ones(1), jnp.ones((1, 1)), lx.Poisson(jnp.ones(1)))
    assert fit.em(chain, lx.Sequences(np.array([[1.0, 2.0, -9.0]]), np.array([2]))).usable


@pytest.mark.parametrize("name", ["Bernoulli", "Normal", "Poisson"])
def test_a_traced_fit_has_a_status(name):
    model, x = BAD[name]
    status = jax.jit(lambda x: fit.em(model, x).status)(jnp.asarray(x))
    assert status == fit.Status.NON_FINITE
    fitted = jax.jit(lambda x: fit.mle(model, x))(jnp.asarray(x))
    assert any(np.isnan(leaf).any() for leaf in jax.tree.leaves(fitted))


# features that are constant in every class: labels 0 0 1 1
SAME = np.array([[0, 7], [1, 7], [4, 7], [5, 7]], np.float32)
APART = np.array([[0, 7], [1, 7], [4, 8], [5, 8]], np.float32)


LABELS = jnp.array([0, 0, 1, 1])
learn = jax.jit(lambda nb, x: nb.fit(nb.statistics(x, LABELS)))
predict = jax.jit(lambda model, x: model.predict(x))
responsibilities = jax.jit(lambda model, x: model.responsibilities(x))


def classifier(x):
    return learn(naive_bayes.gaussian(2, x.shape[1]), x)


def test_a_feature_that_never_varies_says_nothing_where_all_classes_agree():
    """Row 8 of issue 15: the posterior was NaN, and the prediction -1."""
    both, one = classifier(SAME), classifier(SAME[:, :1])
    assert predict(both, SAME).tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(responsibilities(both, SAME), responsibilities(one, SAME[:, :1]))


def test_a_feature_that_never_varies_decides_where_classes_differ():
    model = classifier(APART)
    assert predict(model, APART).tolist() == [0, 0, 1, 1]
    # also against the other feature; a value that no class has is impossible
    rows = np.array([[5, 7], [0, 8], [0, 9]], np.float32)
    assert predict(model, rows).tolist() == [0, 1, -1]
    mixed = classifier(np.array([[0, 7], [1, 7], [4, 8], [5, 6]], np.float32))
    # at 7 a class that always has 7 is infinitely more probable than one with a density there
    assert predict(mixed, np.array([[5, 7], [0, 7.5]], np.float32)).tolist() == [0, 1]
    seen = lx.Masked(rows, np.array([[True, False]] * 3))
    assert predict(model, seen).tolist() == [1, 0, 0]


@pytest.mark.parametrize("family", [lx.Normal, lx.Laplace, lx.LogNormal, lx.Uniform])
def test_point_masses_are_the_limit_of_narrow_densities(family, x64):
    """Posteriors over three models, two of them narrow, as the width falls to 0."""
    at = np.array([1.0, 1.0, 2.0])
    middle = np.log(at) if family is lx.LogNormal else at

    def posterior(width):
        wide = np.array([width, 1.0, width])
        second = middle + wide if family is lx.Uniform else wide
        mixture = lx.Mixture(jnp.ones(3) / 3, family(jnp.asarray(middle), jnp.asarray(second)))
        return responsibilities(mixture, np.array([1.0, 2.0, 1.5]))

    got, limit = posterior(0.0), posterior(1e-9)
    np.testing.assert_allclose(got, limit, atol=1e-6)


def test_point_masses_leave_other_posteriors_as_they_are():
    rng = generator("no atoms")
    loc, scale = rng.standard_normal((3, 2)), np.exp(rng.standard_normal((3, 2)))
    components = lx.Independent(lx.Normal(jnp.asarray(loc), jnp.asarray(scale)))
    x = rng.standard_normal((20, 2)).astype(np.float32)
    plain = jax.vmap(lambda c: c.log_prob(x), out_axes=-1)(components)
    np.testing.assert_allclose(components.stacked_log_kernel(x), plain, rtol=1e-5, atol=1e-5)
