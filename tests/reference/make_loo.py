"""Writes loo.json and eight_schools.*: PSIS-LOO and WAIC by ArviZ.

The first is for log likelihoods that the test draws again, the second for the draws that ArviZ
ships of both parametrisations of eight schools, which are stored beside its answers.

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


def answers(data: arviz.InferenceData) -> dict[str, float | list[float]]:
    """What ArviZ says of one fit."""
    loo = arviz.loo(data, pointwise=True, reff=1.0)
    waic = arviz.waic(data, pointwise=True)
    return {
        "loo": float(loo.elpd_loo),
        "loo_standard_error": float(loo.se),
        "loo_num_parameters": float(loo.p_loo),
        "loo_pointwise": loo.loo_i.values.tolist(),
        "k_hat": loo.pareto_k.values.tolist(),
        "waic": float(waic.elpd_waic),
        "waic_num_parameters": float(waic.p_waic),
    }


if __name__ == "__main__":
    here = Path(__file__).parent
    drawn = arviz.from_dict(
        posterior={"m": np.zeros((1, 1000))}, log_likelihood={"x": log_likelihood()[None]}
    )
    (here / "loo.json").write_text(json.dumps(answers(drawn), indent=1) + "\n")
    shipped = {n: arviz.load_arviz_data(f"{n}_eight") for n in ("centered", "non_centered")}
    table = arviz.compare(
        {n: arviz.loo(data, pointwise=True, reff=1.0) for n, data in shipped.items()}
    )
    other = table.index[1]
    schools = {name: answers(data) for name, data in shipped.items()}
    schools["compare"] = {
        "best": table.index[0],
        "difference": float(table.loc[other, "elpd_diff"]),
        "standard_error": float(table.loc[other, "dse"]),
    }
    (here / "eight_schools.json").write_text(json.dumps(schools, indent=1) + "\n")
    np.savez_compressed(
        here / "eight_schools.npz",
        **{
            name: data.log_likelihood.obs.values.reshape(-1, 8).astype(np.float32)
            for name, data in shipped.items()
        },
    )
