"""Arguments, defaults, methods and attributes are those of scikit-learn and hmmlearn."""

import inspect

import numpy as np
import pandas as pd
import pytest
from hmmlearn import hmm, vhmm
from hmmlearn.base import BaseHMM
from sklearn import config_context, isotonic, mixture, naive_bayes
from sklearn.base import clone

from likelax.interop import hmmlearn as ours_hmmlearn
from likelax.interop import sklearn as ours

X = np.array([[0, 1], [1, 0], [1, 1], [6, 7], [7, 6], [9, 9.0]])
Y = np.array(["a", "a", "b", "b", "b", "b"])
SKLEARN = {
    "GaussianMixture": mixture,
    "BayesianGaussianMixture": mixture,
    "GaussianNB": naive_bayes,
    "BernoulliNB": naive_bayes,
    "MultinomialNB": naive_bayes,
    "ComplementNB": naive_bayes,
    "CategoricalNB": naive_bayes,
    "IsotonicRegression": isotonic,
}
HMMLEARN = [
    hmm.GaussianHMM, hmm.GMMHMM, hmm.CategoricalHMM, hmm.MultinomialHMM, hmm.PoissonHMM,
    vhmm.VariationalGaussianHMM, vhmm.VariationalCategoricalHMM, BaseHMM,
]  # fmt: skip
PAIRS = [
    *((getattr(ours, name), getattr(module, name)) for name, module in SKLEARN.items()),
    *((getattr(ours_hmmlearn, theirs.__name__), theirs) for theirs in HMMLEARN),
]


def public(cls):
    return {
        name
        for name, value in inspect.getmembers(cls, callable)
        # `set_fit_request` and the like follow from the signatures
        if not name.startswith("_") and not name.endswith("_request")
    }


@pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda cls: cls.__name__)
def test_arguments_defaults_and_methods_are_the_same(mine, theirs):
    arguments, wanted = (
        {name: p.default for name, p in inspect.signature(cls).parameters.items()}
        for cls in (mine, theirs)
    )
    assert arguments == wanted
    assert public(theirs) - public(mine) == set()
    for name in public(theirs):
        signatures = [inspect.signature(getattr(cls, name)) for cls in (mine, theirs)]
        own, want = (
            [(n, p.default) for n, p in signature.parameters.items()] for signature in signatures
        )
        # scikit-learn's mixtures and isotonic regression take no weights in some methods
        assert own[: len(want)] == want, name
        assert all(n == "sample_weight" for n, _ in own[len(want) :]), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * ("Mixture" in n)) for n in SKLEARN]
)
def test_a_fit_has_all_attributes(name):
    x = X[:, 0] if name == "IsotonicRegression" else X
    y = X[:, 1] if name == "IsotonicRegression" else Y
    options = {"random_state": 0} if "Mixture" in name else {}
    frame = pd.Series(x) if x.ndim == 1 else pd.DataFrame(x, columns=["u", "v"])
    fitted = [getattr(place, name)(**options).fit(frame, y) for place in (ours, SKLEARN[name])]
    mine, theirs = ({n for n in dir(f) if n.endswith("_") and n[0] != "_"} for f in fitted)
    assert theirs - mine == set()
    for attribute in theirs:
        shapes = [np.shape(getattr(f, attribute)) for f in fitted]
        assert shapes[0] == shapes[1], attribute


@pytest.mark.parametrize("name", [n for n in ours.__all__ if n[0].isupper()])
def test_metadata_is_routed_and_copies_keep_the_arguments(name):
    model = getattr(ours, name)()
    taken = inspect.signature(model.fit).parameters.keys() - {"X", "y", "fit_params"}
    of_rows = (
        set() if name.startswith("Conformal") else {"sample_weight"}
    )  # to the estimator inside
    assert taken == ({"lengths", "groups"} if name == "HiddenMarkovModel" else of_rows)
    if taken:
        with config_context(enable_metadata_routing=True):
            routing = model.set_fit_request(**dict.fromkeys(taken, True)).get_metadata_routing()
        asked = getattr(routing, "_self_request", routing)
        assert asked.fit.requests == dict.fromkeys(taken, True)
    assert clone(model).get_params(deep=False).keys() == model.get_params(deep=False).keys()
    takes_gaps = name in ("HiddenMarkovModel", "MixedNB", "MixtureModel")
    if not hasattr(model, "estimator"):  # those follow the estimator inside
        assert model.__sklearn_tags__().input_tags.allow_nan == takes_gaps


def test_the_output_of_isotonic_regression_may_be_a_data_frame():
    model = ours.IsotonicRegression().set_output(transform="pandas").fit(X[:, 0], X[:, 1])
    found = model.transform(X[:, 0])
    assert list(found.columns) == ["isotonicregression0"]
    np.testing.assert_array_equal(found.to_numpy()[:, 0], model.predict(X[:, 0]))
    np.testing.assert_array_equal(model.f_([X[0, 0], 3.0, 99.0])[:2], model.predict([X[0, 0], 3.0]))
    assert np.isnan(model.f_(99.0))
