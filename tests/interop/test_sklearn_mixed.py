"""Mixed columns: naive Bayes is that of scikit-learn for each type, a mixture that of its definition."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from sklearn import mixture, naive_bayes
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from likelax.interop.sklearn import MixedNB, MixtureModel

RNG = np.random.default_rng(0)
CLASS = RNG.integers(0, 2, 120)
TABLE = pd.DataFrame(
    {
        "size": RNG.normal(3 * CLASS, 1),
        "calls": RNG.poisson(1 + 5 * CLASS),
        "kind": pd.Categorical(
            np.where(RNG.random(120) < 0.8 * CLASS + 0.1, "x", "y"), categories=["y", "x", "w"]
        ),
        "paid": RNG.random(120) < 0.2 + 0.6 * CLASS,
        "town": np.where(RNG.random(120) < 0.3 + 0.5 * CLASS, "u", "v"),
    }
)
TYPES = ["normal", "poisson", "categorical", "bernoulli", "categorical"]


@pytest.mark.parametrize(
    ("kind", "peer"),
    [
        ("normal", naive_bayes.GaussianNB(priors=[0.2, 0.3, 0.5], var_smoothing=0.1)),
        ("bernoulli", naive_bayes.BernoulliNB(alpha=0.5)),
        ("categorical", naive_bayes.CategoricalNB(alpha=0.5)),
    ],
)
def test_columns_of_one_type_give_the_classifier_of_scikit_learn(kind, peer):
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    x = {
        "normal": rng.normal(y[:, None], 1, (60, 3)),
        "bernoulli": rng.integers(0, 2, (60, 3)),
    }.get(kind, rng.integers(0, 4, (60, 3)))
    options = {"priors": peer.priors, "var_smoothing": 0.1} if kind == "normal" else {}
    found = MixedNB(columns=kind, smoothing=0.5, **options).fit(x, y)
    np.testing.assert_allclose(found.predict_proba(x), peer.fit(x, y).predict_proba(x), rtol=1e-10)


def test_classes_of_mixed_columns_add_their_log_probabilities():
    model = MixedNB(columns={"calls": "poisson"}, smoothing=1.0).fit(TABLE, CLASS)
    assert list(model.columns_) == TYPES
    assert list(model.categories_[2]) == ["y", "x", "w"]
    counts = np.array([TABLE["calls"][k == CLASS].sum() for k in range(2)])
    rows = np.bincount(CLASS)
    mean = TABLE["calls"].mean()
    rate = (counts + mean) / (rows + 1)  # one row with the mean of the column is added
    np.testing.assert_allclose(model.components_.fields["poisson"].component.rate[:, 0], rate)
    codes = pd.Categorical(TABLE["kind"]).codes
    probs = np.stack([np.bincount(codes[k == CLASS], minlength=3) + 1 for k in range(2)])
    alone = MixedNB(columns={"calls": "poisson"}).fit(TABLE[["calls", "kind"]], CLASS)
    by_hand = np.log(rows / rows.sum()) + stats.poisson.logpmf(
        TABLE["calls"].to_numpy()[:, None], rate
    )
    by_hand = by_hand + np.log((probs / probs.sum(axis=1, keepdims=True))[:, codes]).T
    np.testing.assert_allclose(
        alone.predict_joint_log_proba(TABLE[["calls", "kind"]]), by_hand, rtol=1e-10
    )


def test_batches_of_mixed_columns_add_and_missing_entries_are_left_out():
    table = TABLE.copy()
    table.loc[3, "size"], table.loc[4, "kind"], table.loc[5, "town"] = np.nan, np.nan, None
    model = MixedNB(columns={"calls": "poisson"})
    whole = model.fit(table, CLASS).predict_proba(table)
    parts = MixedNB(columns={"calls": "poisson"}).partial_fit(
        table[:70], CLASS[:70], classes=[0, 1]
    )
    parts.partial_fit(table[70:], CLASS[70:])
    np.testing.assert_allclose(parts.predict_proba(table), whole, rtol=1e-9)
    assert parts.components_.fields["normal"].component.scale.dtype == np.float64
    row = pd.DataFrame(
        {"size": [np.nan], "calls": np.nan, "kind": None, "paid": np.nan, "town": None}
    )
    np.testing.assert_allclose(model.predict_proba(row)[0], model.class_prior_)


def test_booleans_with_gaps_are_binary_and_dates_are_refused():
    table = TABLE.assign(paid=pd.array([None, *TABLE["paid"][1:]], dtype="boolean"))
    floats = TABLE.assign(paid=TABLE["paid"].astype(float))
    floats.loc[0, "paid"] = np.nan
    types = {"calls": "poisson"}
    model = MixedNB(columns=types).fit(table, CLASS)
    assert list(model.columns_) == TYPES
    wanted = MixedNB(columns={**types, "paid": "bernoulli"}).fit(floats, CLASS)
    np.testing.assert_array_equal(model.predict_proba(table), wanted.predict_proba(floats))
    dated = TABLE.assign(day=pd.Timestamp("2020-01-01"))
    with pytest.raises(ValueError, match="column 'day' of X holds datetime64"):
        MixedNB().fit(dated, CLASS)


def test_a_frame_of_polars_is_that_of_pandas():
    polars = pytest.importorskip("polars")
    table = TABLE.astype({"kind": object})
    table.loc[3, "size"], table.loc[4, "kind"], table.loc[5, "town"] = np.nan, None, None
    paid = [None, *TABLE["paid"].tolist()[1:]]
    theirs = {name: [None if v != v else v for v in table[name]] for name in table}
    frame = polars.DataFrame({**theirs, "paid": paid})
    frame = frame.cast({"kind": polars.Enum(["y", "x", "w"])})
    pandas = table.assign(
        kind=pd.Categorical(table["kind"], categories=["y", "x", "w"]),
        paid=pd.array(paid, dtype="boolean"),
    )
    for model in (
        MixedNB(columns={"calls": "poisson"}),
        MixtureModel(2, columns={"calls": "poisson"}, random_state=0),
    ):
        wanted = model.fit(pandas, CLASS).predict_proba(pandas)
        assert list(model.columns_) == TYPES
        model.fit(frame, polars.Series(CLASS))
        assert list(model.columns_) == TYPES and list(model.categories_[2]) == ["y", "x", "w"]
        np.testing.assert_allclose(model.predict_proba(frame), wanted, rtol=1e-9)
        assert list(model.feature_names_in_) == list(TABLE)
    with pytest.raises(ValueError, match="column 'day' of X holds Date"):
        MixedNB().fit(frame.with_columns(day=polars.date(2020, 1, 1)), CLASS)


def test_categories_that_the_fit_did_not_see():
    strange = TABLE.assign(town="z")
    with pytest.raises(ValueError, match="'z' in column 4"):
        MixedNB().fit(TABLE, CLASS).predict(strange)
    for model in (MixedNB(handle_unknown="missing"), MixtureModel(2, handle_unknown="missing")):
        model.set_params(columns={"calls": "poisson"}).fit(TABLE, CLASS)
        without = TABLE.assign(town=None)
        np.testing.assert_allclose(model.predict_proba(strange), model.predict_proba(without))


def test_a_mixture_of_mixed_columns_has_the_density_of_its_parameters():
    model = MixtureModel(
        2, columns={"calls": "poisson"}, smoothing=0.5, scale_floor=0.01, tol=1e-8, max_iter=100,
        n_init=2, random_state=1,
    ).fit(TABLE)  # fmt: skip
    assert list(model.columns_) == TYPES and model.converged_
    fields = model.components_.fields
    joint = np.log(model.weights_) + stats.norm.logpdf(
        TABLE["size"].to_numpy()[:, None],
        fields["normal"].component.loc[:, 0],
        fields["normal"].component.scale[:, 0],
    )
    joint = joint + stats.poisson.logpmf(
        TABLE["calls"].to_numpy()[:, None], fields["poisson"].component.rate[:, 0]
    )
    joint = joint + stats.bernoulli.logpmf(
        TABLE["paid"].to_numpy()[:, None].astype(int), fields["bernoulli"].probs[:, 0]
    )
    for at, name in enumerate(["kind", "town"]):
        codes = pd.Categorical(TABLE[name]).codes
        joint = joint + np.log(fields["categorical"].fields[at].probs[:, codes]).T
    np.testing.assert_allclose(model.score_samples(TABLE), special.logsumexp(joint, axis=1))
    assert model.score(TABLE) == pytest.approx(special.logsumexp(joint, axis=1).mean())
    right = np.mean(model.predict(TABLE) == CLASS)
    assert max(right, 1 - right) > 0.9
    assert model.model_.num_components == 2


def test_normal_columns_give_the_mixture_of_scikit_learn():
    x = 100 + 5 * np.stack([TABLE["size"], RNG.normal(CLASS, 1)], axis=1)
    wanted = mixture.GaussianMixture(
        2, covariance_type="diag", reg_covar=0, tol=1e-12, max_iter=2000, random_state=0
    ).fit(x)
    found = MixtureModel(2, smoothing=0, tol=1e-12, max_iter=2000, random_state=0).fit(
        x, sample_weight=np.ones(len(x))
    )
    order, other = np.argsort(found.weights_), np.argsort(wanted.weights_)
    # EM ends where a step changes the objective by 1e-12; parameters are right to its square root
    np.testing.assert_allclose(found.weights_[order], wanted.weights_[other], atol=1e-4)
    normals = found.components_.fields["normal"].component
    np.testing.assert_allclose(normals.loc[order], wanted.means_[other], atol=1e-3)
    np.testing.assert_allclose(normals.scale[order] ** 2, wanted.covariances_[other], rtol=1e-3)
    single = MixtureModel(2, random_state=0).fit(x.astype(np.float32))
    assert single.score_samples(x.astype(np.float32)).dtype == np.float32


def test_columns_that_do_not_fit_their_types_are_refused():
    x = np.array([[0.5, 2.0], [1.5, 3.0], [0.2, 4.0]])
    for columns, message in [
        ("round", "type of column '0' must be one of"),
        (["normal"], "one type for each of the 2 columns"),
        ({5: "normal"}, "no column 5"),
        ({0: "bernoulli"}, "must hold 0 and 1"),
        ({0: "poisson"}, "must hold counts"),
    ]:
        with pytest.raises(ValueError, match=message):
            MixtureModel(columns=columns).fit(x)
    with pytest.raises(ValueError, match="must hold numbers"):
        MixtureModel(columns="normal").fit(TABLE)
    with pytest.raises(ValueError, match="without an order"):
        MixtureModel().fit(pd.DataFrame({"a": ["x", 3, "y"]}))
    with pytest.raises(ValueError, match="'handle_unknown' parameter"):
        MixtureModel(handle_unknown="no").fit(x)
    with pytest.raises(ValueError, match="infinity"):
        MixtureModel().fit(pd.DataFrame({"a": [1.0, np.inf, 2.0]}))
    with pytest.raises(ValueError, match="n_components=4"):
        MixtureModel(4).fit(x)
    with pytest.raises(NotFittedError):
        MixtureModel().predict(x)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        MixtureModel(2, max_iter=1, tol=0.0, random_state=0).fit(x)
