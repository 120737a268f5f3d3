"""Golden values of three-step estimation by stepmix 3.0, written to three_step.json.

Run it with a Python that has stepmix: `python tests/reference/make_three_step.py`. The tests read the
numbers only, since stepmix is no dependency of them.
"""

import json
from pathlib import Path

import numpy as np
from stepmix.stepmix import StepMix

rng = np.random.default_rng(0)
NUM_ROWS = 250
inputs = np.round(rng.normal(size=(NUM_ROWS, 2)), 3)
scores = inputs @ np.array([[1.0, -0.5, 0.0], [0.3, 0.8, 0.0]]) + np.array([0.2, -0.1, 0.0])
classes = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
items = np.array([[0.9, 0.8, 0.8, 0.2, 0.3], [0.2, 0.7, 0.1, 0.8, 0.9], [0.1, 0.2, 0.3, 0.3, 0.2]])
x = (rng.random((NUM_ROWS, 5)) < items[classes]).astype(int)

found = {"x": x.tolist(), "inputs": inputs.tolist(), "cases": []}
for correction in (None, "BCH", "ML"):
    for assignment in ("modal", "soft"):
        model = StepMix(
            n_components=3,
            n_steps=3,
            correction=correction,
            assignment=assignment,
            measurement="binary",
            structural="covariate",
            structural_params={"method": "newton-raphson", "max_iter": 200, "tol": 1e-11},
            random_state=0,
            n_init=3,
            abs_tol=1e-13,
            rel_tol=0.0,
            max_iter=20_000,
        )
        model.fit(x, inputs)
        beta = np.asarray(model.get_parameters()["structural"]["beta"])  # (K, 1 + D)
        measured = StepMix(
            n_components=3, measurement="binary", random_state=0, n_init=3, abs_tol=1e-13,
            rel_tol=0.0, max_iter=20_000,
        ).fit(x)  # fmt: skip
        parameters = model.get_parameters()
        found["cases"].append(
            {
                "correction": correction,
                "assignment": assignment,
                "weights": np.asarray(measured.get_parameters()["weights"]).tolist(),
                "probs": np.asarray(parameters["measurement"]["pis"]).tolist(),
                "coefficients": (beta - beta[-1:]).T.tolist(),
            }
        )
Path(__file__).with_name("three_step.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
