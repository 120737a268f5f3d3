import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import likelax as lx
from likelax import naive_bayes, predictive
from likelax.interop.frames import fields_of, labels_of, rows_of, summary_frame, to_frame

try:
    import polars
except ModuleNotFoundError:
    polars = None

COLUMNS = {
    "size": [1.5, None, 3.0, float("nan")],
    "calls": [1, 2, None, 4],
    "rain": [True, False, True, True],
    "kind": ["b", "a", None, "b"],
}


def in_pandas(columns, **dtypes):
    made = {n: pd.array(v, dtype="Int64") if n == "calls" else v for n, v in columns.items()}
    frame = pd.DataFrame(made, index=list("uvwxyz")[: len(next(iter(columns.values())))])
    return frame.astype({n: pd.CategoricalDtype(names) for n, names in dtypes.items()})


def in_polars(columns, **dtypes):
    frame = polars.DataFrame(columns)
    return frame.cast({n: polars.Enum(names) for n, names in dtypes.items()})


by_library = pytest.mark.parametrize(
    "make",
    [
        in_pandas,
        pytest.param(in_polars, marks=pytest.mark.skipif(polars is None, reason="no polars")),
    ],
)


@by_library
def test_columns_become_fields_with_their_gaps(make):
    found = fields_of(make(COLUMNS))
    seen = {"size": [1, 0, 1, 0], "calls": [1, 1, 0, 1], "rain": [1] * 4, "kind": [1, 1, 0, 1]}
    assert isinstance(found.data, lx.Masked) and found.categories == {"kind": ("a", "b")}
    for name, mask in seen.items():
        mask = np.array(mask, bool)
        np.testing.assert_array_equal(found.data.observed[name], mask)
        values = np.array([v for v, m in zip(COLUMNS[name], mask, strict=True) if m])
        want = np.searchsorted(["a", "b"], values) if name == "kind" else values
        np.testing.assert_array_equal(np.asarray(found.data.values[name])[mask], want)
    kinds = {n: v.dtype.kind for n, v in found.data.values.items()}
    assert kinds == {"size": "f", "calls": "i", "rain": "b", "kind": "i"}
    whole = fields_of(make(COLUMNS), ["rain"])
    np.testing.assert_array_equal(whole.data["rain"], COLUMNS["rain"])


@by_library
def test_declared_and_given_categories_decide_the_codes(make):
    frame = make({"kind": ["b", "a", "b"]}, kind=["b", "c", "a"])
    found = fields_of(frame)
    np.testing.assert_array_equal(found.data["kind"], [0, 2, 0])
    assert found.categories["kind"] == ("b", "c", "a")
    again = fields_of(make({"kind": ["a"]}), categories=found.categories)
    np.testing.assert_array_equal(again.data["kind"], [2])
    coded = fields_of(make({"grade": [3, 5]}), categories={"grade": [5, 3]})
    np.testing.assert_array_equal(coded.data["grade"], [1, 0])
    with pytest.raises(
        ValueError, match=r"column 'kind' holds 'd'; wanted one of \['b', 'c', 'a'\]"
    ):
        fields_of(make({"kind": ["d"]}), categories=found.categories)


@by_library
def test_rows_and_labels(make):
    frame = make({"a": [1, 2, 3], "b": [0.5, None, 2.5], "y": ["wet", None, "dry"]})
    rows = rows_of(frame, ["a", "b"])
    np.testing.assert_array_equal(rows.observed, [[1, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(rows.values[jnp.array([0, 2])], [[1, 0.5], [3, 2.5]])
    np.testing.assert_array_equal(rows_of(frame, ["a"]), [[1], [2], [3]])
    labels, names = labels_of(frame, "y")
    np.testing.assert_array_equal(labels, [1, -1, 0])
    assert names == ("dry", "wet")
    labels, names = labels_of(make({"y": [7, 3, 7]}), "y")
    np.testing.assert_array_equal(labels, [1, 0, 1])
    assert names == (3, 7)
    np.testing.assert_array_equal(labels_of(frame, "y", names=["wet", "dry"]).labels, [0, -1, 1])


@by_library
def test_a_classifier_from_frame_to_frame(make):
    rng = np.random.default_rng(0)
    classes = np.repeat(["calm", "storm"], 20)
    columns = {
        "wind": np.where(classes == "storm", 6.0, 1.0) + rng.normal(size=40),
        "sky": np.where(
            rng.random(40) < 0.8, np.where(classes == "storm", "grey", "blue"), "white"
        ),
        "class": classes,
    }
    columns = {name: values.tolist() for name, values in columns.items()}
    columns["wind"][3] = None
    frame = pd.DataFrame(columns) if make is in_pandas else make(columns)
    data, categories = fields_of(frame, ["wind", "sky"])
    labels, names = labels_of(frame, "class")
    fields = {"wind": lx.Normal(0.0, 1.0), "sky": lx.Categorical(jnp.full(3, 1 / 3))}
    priors = {"sky": lx.Dirichlet(jnp.full(3, 2.0))}
    nb = naive_bayes.mixed(2, fields, priors)
    model = nb.fit(nb.statistics(data, labels))
    results = {"p": model.responsibilities(data), "class": model.predict(data)}
    out = to_frame(frame, results, names={"p": names, "class": names})
    assert type(out) is type(frame) and list(out.columns) == ["p[calm]", "p[storm]", "class"]
    assert np.mean(np.asarray(out["class"].to_list()) == classes) > 0.9
    np.testing.assert_allclose(out["p[calm]"].to_numpy() + out["p[storm]"].to_numpy(), 1, rtol=1e-6)
    # the codes of the fit for a new frame, and states with a gap
    new = fields_of(make({"wind": [9.0], "sky": ["white"]}), categories={"sky": categories["sky"]})
    assert model.predict(new.data).shape == (1,)
    states = to_frame(frame, {"state": jnp.array([1, -1])}, names={"state": ["a", "b"]})["state"]
    assert states.to_list()[0] == "b" and states[1] not in ("a", "b")  # a gap


def test_pandas_keeps_its_index_and_types():
    frame = in_pandas({"x": [1.0, 2.0]})
    out = to_frame(frame, {"state": jnp.array([1, -1])}, names={"state": ["dry", "wet"]})
    assert list(out.index) == ["u", "v"] and out["state"].dtype.name == "category"
    assert out["state"].isna().tolist() == [False, True]
    assert list(to_frame(frame, {"score": jnp.zeros(3)}).index) == [0, 1, 2]


@by_library
def test_draws_become_a_table(make):
    draws = {"loc": np.arange(10.0)[:, None] * np.array([1.0, 2.0]), "tau": np.ones(10)}
    out = summary_frame(make({"x": [1.0]}), draws, mass=0.5)
    assert type(out) is type(make({"x": [1.0]}))
    assert out["parameter"].to_list() == ["loc[0]", "loc[1]", "tau"]
    np.testing.assert_allclose(out["mean"].to_numpy(), [4.5, 9.0, 1.0], rtol=1e-6)
    want = predictive.equal_tailed(np.arange(10.0), 0.5)
    np.testing.assert_allclose([out["low"][0], out["high"][0]], [want.lower, want.upper], rtol=1e-6)
    np.testing.assert_allclose(out["sd"][0], np.std(np.arange(10.0), ddof=1), rtol=1e-6)


@by_library
def test_wrong_arguments_get_a_sentence(make):
    frame = make({"x": [1.0], "day": [datetime.datetime(2024, 1, 1)]})
    with pytest.raises(TypeError, match=r"column 'day' holds .*convert it to numbers first"):
        fields_of(frame)
    with pytest.raises(ValueError, match=r"the frame has \['x', 'day'\], got \['y'\]"):
        fields_of(frame, ["y"])
    with pytest.raises(TypeError, match="frame must be a DataFrame of pandas or polars, got dict"):
        fields_of({"x": [1.0]})
    with pytest.raises(TypeError, match="columns must be a list of names, got 'x'"):
        fields_of(frame, "x")
    with pytest.raises(TypeError, match="column 'x' must hold categories, got floats"):
        labels_of(frame, "x")
    with pytest.raises(TypeError, match=r"column 'k' must hold numbers, got \('a',\)"):
        rows_of(make({"k": ["a"]}))
    with pytest.raises(ValueError, match=r"wanted columns among \['x'\], got \['y'\]"):
        fields_of(frame, ["x"], categories={"y": ["a"]})
    with pytest.raises(ValueError, match=r"must have shape \(N,\) or \(N, K\), got \(1, 1, 1\)"):
        to_frame(frame, {"p": np.zeros((1, 1, 1))})
    with pytest.raises(ValueError, match="wanted 2 names, one for each column, got 1"):
        to_frame(frame, {"p": np.zeros((1, 2))}, names={"p": ["a"]})
    with pytest.raises(ValueError, match="must hold integers from -1 to 0, since it has 1 names"):
        to_frame(frame, {"s": np.array([1])}, names={"s": ["a"]})
    with pytest.raises(ValueError, match=r"one number of rows, got \{'a': 1, 'b': 2\}"):
        to_frame(frame, {"a": np.zeros(1), "b": np.zeros(2)})
    with pytest.raises(ValueError, match=r"wanted names of results \['a'\], got \['b'\]"):
        to_frame(frame, {"a": np.zeros(1)}, names={"b": ["u"]})


def test_an_object_in_a_column_is_named():
    with pytest.raises(
        TypeError, match=r"column 'x' must hold numbers, text or categories, got \(1, 2\)"
    ):
        fields_of(pd.DataFrame({"x": [(1, 2), "a"]}))


def test_large_integers_are_refused_with_the_column():
    with pytest.raises(
        ValueError, match=r"frame\['time'\] holds integers beyond the range of int32"
    ):
        fields_of(pd.DataFrame({"time": [1_700_000_000_000]}))
    with jax.enable_x64(True):
        assert (
            fields_of(pd.DataFrame({"time": [1_700_000_000_000]})).data["time"][0]
            == 1_700_000_000_000
        )
