"""Golden values of three-step estimation with distal outcomes by stepmix 3.0, written to distal.json.

Run it with a Python that has stepmix: `python tests/reference/make_distal.py`. The classes are those of
make_three_step.py.
"""

import json
from pathlib import Path

import numpy as np
from stepmix.stepmix import StepMix

HERE = Path(__file__).parent
known = json.loads((HERE / "three_step.json").read_text(encoding="utf-8"))
x = np.array(known["x"])
rng = np.random.default_rng(1)
first = known["cases"][0]
probs, shares = np.array(first["probs"]), np.array(first["weights"])
joint = np.log(shares) + x @ np.log(probs).T + (1 - x) @ np.log1p(-probs).T
classes = np.argmax(joint + rng.gumbel(size=joint.shape), axis=1)
level = np.round(rng.normal(np.array([-1.0, 0.5, 2.0])[classes], 1.0), 3)
event = (rng.random(len(x)) < np.array([0.2, 0.8, 0.5])[classes]).astype(int)
found = {"level": level.tolist(), "event": event.tolist(), "cases": []}
for correction in ("BCH", "ML"):
    for assignment in ("modal", "soft"):
        for outcome, values in (("gaussian_diag", level), ("binary", event)):
            model = StepMix(
                n_components=3, n_steps=3, correction=correction, assignment=assignment,
                measurement="binary", structural=outcome, random_state=0, n_init=3,
                abs_tol=1e-13, rel_tol=0.0, max_iter=20_000,
            )  # fmt: skip
            model.fit(x, values[:, None])
            parameters = model.get_parameters()
            found["cases"].append(
                {
                    "correction": correction,
                    "assignment": assignment,
                    "outcome": outcome,
                    "probs": np.asarray(parameters["measurement"]["pis"]).tolist(),
                    "weights": np.asarray(parameters["weights"]).tolist(),
                    "structural": {
                        name: np.asarray(value).tolist()
                        for name, value in parameters["structural"].items()
                    },
                }
            )
(HERE / "distal.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
