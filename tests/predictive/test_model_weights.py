import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from likelax import predictive
from reference.sine_models import log_likelihoods

FROZEN = json.loads((Path(__file__).parents[1] / "reference" / "model_weights.json").read_text())


@pytest.fixture(scope="module")
def results():
    with jax.enable_x64(True):
        judge = jax.jit(predictive.loo)
        return {name: judge(values) for name, values in log_likelihoods().items()}


def as_results(scores):
    return {str(k): predictive.elpd_of(column) for k, column in enumerate(np.asarray(scores).T)}


def test_comparisons_and_weights_are_arvizs(results):
    # its standard errors divide by N, ours by N - 1
    with jax.enable_x64(True):
        table = predictive.compare_all(results)
        factor = np.sqrt(29 / 30)
        for name, difference in table.items():
            assert float(results[name].value) == pytest.approx(FROZEN["elpd"][name], rel=1e-8)
            assert -float(difference.value) == pytest.approx(FROZEN["difference"][name], rel=1e-8)
            error = float(difference.standard_error) * factor
            assert error == pytest.approx(FROZEN["difference_error"][name], rel=1e-8)
    assert list(table) == sorted(table, key=FROZEN["difference"].get)
    got = predictive.pseudo_bma_weights(results)
    assert got == pytest.approx(FROZEN["pseudo-BMA"], rel=1e-8)
    got = predictive.pseudo_bma_weights(results, key=jax.random.key(0), num_draws=100_000)
    assert got == pytest.approx(FROZEN["BB-pseudo-BMA"], abs=5e-3)  # 4 Monte Carlo errors
    # ArviZ's optimiser stops earlier
    got = predictive.stacking_weights(results)
    assert got == pytest.approx(FROZEN["stacking"], abs=1e-4)
    scores = np.stack([np.asarray(r.pointwise, float) for r in results.values()], axis=1)

    def value(weights):
        return np.sum(np.log(np.exp(scores) @ np.array(list(weights.values()))))

    assert value(got) >= value(FROZEN["stacking"])


@pytest.mark.parametrize("seed", range(20))
def test_stacking_is_the_best_of_all_weights(seed):
    """Where the slope of no model is above one, the concave objective is at its maximum."""
    rng = np.random.default_rng(seed)
    num_rows, num_models = rng.integers(2, 100), rng.integers(1, 8)
    scores = rng.normal(size=(num_rows, num_models)) * rng.choice([0.01, 1, 5])
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    if num_models > 2 and seed % 2:
        scores[:, 1] = scores[:, 0]  # the same model twice
    got = np.array(list(predictive.stacking_weights(as_results(scores)).values()))
    assert (got >= 0).all()
    assert got.sum() == pytest.approx(1)
    density = np.exp(scores.astype(np.float32).astype(float))
    density = density[density.max(axis=1) > 0]
    assert ((density / (density @ got)[:, None]).mean(axis=0) < 1 + 1e-9).all()


def test_stacking_is_what_scipy_finds():
    scores = np.random.default_rng(1).normal(size=(40, 3))
    found = minimize(
        lambda w: -np.mean(np.log(np.exp(scores) @ np.append(w, 1 - w.sum()))),
        np.full(2, 1 / 3),
        method="SLSQP",
        bounds=[(0, 1)] * 2,
        constraints={"type": "ineq", "fun": lambda w: 1 - w.sum()},
    )
    got = list(predictive.stacking_weights(as_results(scores)).values())
    np.testing.assert_allclose(got, [*found.x, 1 - found.x.sum()], atol=1e-3)


def test_rows_without_density():
    scores = np.array([[-1.0, -2.0], [-np.inf, -np.inf], [-3.0, -1.0]])
    want = predictive.stacking_weights(as_results(scores[[0, 2]]))
    assert predictive.stacking_weights(as_results(scores)) == pytest.approx(want)
    assert predictive.stacking_weights(as_results(scores[1:2])) == {"0": 0.5, "1": 0.5}
    one = np.array([[-np.inf, -2.0], [-1.0, -1.0]])
    for key in (None, jax.random.key(0)):
        assert predictive.pseudo_bma_weights(as_results(one), key=key) == {"0": 0, "1": 1}
    with pytest.raises(ValueError, match="every model has a row"):
        predictive.pseudo_bma_weights(as_results(scores))


def test_results_that_cannot_be_weighed():
    for weigh in (predictive.stacking_weights, predictive.pseudo_bma_weights):
        with pytest.raises(TypeError, match="dict of results"):
            weigh([1.0])
        with pytest.raises(ValueError, match="must score the same rows"):
            weigh({"a": predictive.elpd_of(np.zeros(2)), "b": predictive.elpd_of(np.zeros(3))})
        with pytest.raises(ValueError, match=r"results\['1'\] has pointwise values that are NaN"):
            weigh(as_results([[0.0, np.nan]]))
