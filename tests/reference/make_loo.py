"""Writes loo.json: PSIS-LOO and WAIC by ArviZ for log likelihoods that the test draws again.

Run with arviz 0.23 and numpy 2: python tests/reference/make_loo.py
"""

import json
from pathlib import Path

import arviz
import numpy as np


def log_likelihood() -> np.ndarray:
    """(1000, 8) normal log likelihoods, one row far out so that its k-hat is large."""
    rng = np.random.default_rng(0)
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    theta = rng.normal(8, 6, size=(1000, 8)) + rng.standard_t(4, size=(1000, 1))
    return -(((y - theta) / sigma) ** 2) / 2 - np.log(sigma) - np.log(2 * np.pi) / 2


if __name__ == "__main__":
    data = arviz.from_dict(
        posterior={"m": np.zeros((1, 1000))}, log_likelihood={"x": log_likelihood()[None]}
    )
    loo = arviz.loo(data, pointwise=True, reff=1.0)
    waic = arviz.waic(data, pointwise=True)
    result = {
        "loo": float(loo.elpd_loo),
        "loo_standard_error": float(loo.se),
        "loo_num_parameters": float(loo.p_loo),
        "loo_pointwise": loo.loo_i.values.tolist(),
        "k_hat": loo.pareto_k.values.tolist(),
        "waic": float(waic.elpd_waic),
        "waic_num_parameters": float(waic.p_waic),
    }
    Path(__file__).with_name("loo.json").write_text(json.dumps(result, indent=1) + "\n")
