"""Writes model_weights.json: ArviZ's weights of three models of a sine.

Run with arviz 0.23 and numpy 2: python tests/reference/make_model_weights.py
"""

import json
from pathlib import Path

import arviz
import numpy as np
from sine_models import log_likelihoods


def main() -> None:
    """Ask ArviZ and write its answers."""
    data = {
        name: arviz.from_dict(
            posterior={"m": np.zeros((1, 400))}, log_likelihood={"x": values[None]}
        )
        for name, values in log_likelihoods().items()
    }
    loos = {name: arviz.loo(one, pointwise=True, reff=1.0) for name, one in data.items()}
    out: dict[str, object] = {}
    for method in ("stacking", "pseudo-BMA", "BB-pseudo-BMA"):
        table = arviz.compare(loos, method=method, b_samples=100_000, seed=0)
        out[method] = {name: float(table.loc[name, "weight"]) for name in loos}
    out["elpd"] = {name: float(table.loc[name, "elpd_loo"]) for name in loos}
    out["difference"] = {name: float(table.loc[name, "elpd_diff"]) for name in loos}
    out["difference_error"] = {name: float(table.loc[name, "dse"]) for name in loos}
    Path(__file__).with_name("model_weights.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
