"""Wrapped data: what a declaration changes, and what is refused at a fit's door."""

import ast
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx

GMM = lx.Mixture(jnp.array([0.5, 0.5]), lx.MvNormal(jnp.zeros((2, 2)), jnp.stack([jnp.eye(2)] * 2)))
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
MIXED = lx.Product({"a": lx.Normal(0.0, 1.0), "b": lx.Bernoulli(0.5)})


def test_masked_from_nan_over_a_tree():
    masked = lx.Masked.from_nan({"a": np.array([1.0, np.nan]), "b": np.array([1, 0])})
    assert masked.observed["a"].tolist() == [True, False]
    assert masked.observed["b"].tolist() == [True, True]
    np.testing.assert_allclose(MIXED.log_prob(masked)[1], lx.Bernoulli(0.5).log_prob(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: lx.fit.em(GMM, X[:, :1]), r"x must have shape \(\.\.\., 2\); got \(5, 1\)"),
        (lambda: lx.fit.em(GMM, X.at[3, 1].set(jnp.nan)), r"x holds NaN, first at index \(3, 1\)"),
        (
            lambda: lx.fit.em(GMM, X, weights=-jnp.ones(5)),
            "weights must be finite and not negative",
        ),
        (lambda: lx.fit.em(GMM, X, weights=jnp.ones(4)), r"shape \(5,\); got \(4,\)"),
        (lambda: lx.fit.mle(GMM, lx.Labelled(X, jnp.arange(5))), r"labels must lie in 0\.\.1"),
        (lambda: lx.fit.mle(GMM, lx.Labelled(X, jnp.zeros(5))), "labels must be integers"),
        (lambda: lx.fit.em(GMM, X[:0]), "x is empty"),
        (
            lambda: lx.fit.mle(MIXED, lx.Labelled({"a": X[:, 0], "b": X[:, 1]}, jnp.zeros(5, int))),
            "no latent variable to label",
        ),
        (lambda: MIXED.log_prob({"a": 0.0}), r"must have the fields \['a', 'b'\]; got \['a'\]"),
        (lambda: MIXED.log_prob((0.0, 1)), "must have the fields"),
        (
            lambda: lx.Independent(lx.Normal(jnp.zeros(3), jnp.ones(3))).log_prob(X),
            r"\(\.\.\., 3\)",
        ),
        (lambda: lx.Normal(0.0, 1.0).log_prob(lx.Masked(X, jnp.ones(5, bool))), "shape of values"),
    ],
    ids=[
        "shape",
        "nan",
        "negative weights",
        "weights shape",
        "label range",
        "label dtype",
        "empty",
        "nothing to label",
        "missing field",
        "tuple for dict",
        "features",
        "mask shape",
    ],
)
def test_bad_input_is_one_clear_sentence(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_no_other_module_asks_which_wrapper_data_have():
    wrappers = {"Masked", "Labelled", "Sequences", "Driven"}
    source = pathlib.Path(lx.__file__).parent
    asking = [
        f"{path.relative_to(source)}:{node.lineno}"
        for path in source.rglob("*.py")
        if path.name != "data.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("isinstance", "issubclass")
        and wrappers & {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    ]
    assert asking == []


def test_labels_of_series_start_a_fit():
    x, states = jnp.array([0.0, 1.0, 9.0, 8.0, 1e6]), jnp.array([0, 0, 1, 1, 0])
    chain = lx.HMM(jnp.full(2, 0.5), jnp.full((2, 2), 0.5), lx.Normal(jnp.zeros(2), jnp.ones(2)))
    start = lx.fit.from_labels(chain, lx.Sequences(x, jnp.array(4)), states)
    np.testing.assert_allclose(start.emissions.loc, [0.5, 8.5])
    np.testing.assert_allclose(start.transition, [[0.5, 0.5], [0.0, 1.0]])
