"""scikit-learn's own checks of estimators pass, without an expected failure."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from likelax.interop import sklearn as ours
from likelax.interop.sklearn.calibrated import METHODS

OLD = sklearn.__version__.startswith("1.6.")
FAST = [ours.CategoricalNB(), ours.ComplementNB(), ours.IsotonicRegression()]
SLOW = [
    ours.BernoulliNB(),
    ours.MultinomialNB(),
    ours.GaussianNB(),
    ours.GaussianMixture(),
    ours.BayesianGaussianMixture(),
    ours.HiddenMarkovModel(),
    ours.MixtureModel(),
    ours.MixedNB(),
    *(ours.CalibratedClassifier(method=method, cv=3) for method in METHODS),
    ours.ConformalClassifier(),
    ours.ConformalRegressor(),
]


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize(
    "estimator", [*FAST, *(pytest.param(e, marks=pytest.mark.slow) for e in SLOW)], ids=repr
)
def test_the_checks_of_scikit_learn_pass(estimator):
    for model, check in estimator_checks_generator(estimator):
        if OLD and "positive_only" in str(check) and isinstance(estimator, ours.CategoricalNB):
            continue  # the check of 1.6 subtracts a mean from integers in place
        try:
            check(model)
        except pytest.skip.Exception:
            pass
        except Exception as error:
            skipped = type(error).__name__ in ("SkipTest", "SkipTestWarning")
            assert skipped, f"{check}: {error}"


def test_a_pickled_pipeline_predicts_the_same_in_a_fresh_process(tmp_path):
    x = load_iris().data
    pipeline = make_pipeline(StandardScaler(), ours.GaussianMixture(2, random_state=0)).fit(x)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(pipeline))
    np.save(tmp_path / "x.npy", x)
    script = (
        "import pickle, sys, numpy as np\n"
        "model = pickle.load(open(sys.argv[1] + '/model.pickle', 'rb'))\n"
        "np.save(sys.argv[1] + '/out.npy', model.predict_proba(np.load(sys.argv[1] + '/x.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pipeline.predict_proba(x))
