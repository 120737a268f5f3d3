"""Writes scores.json: answers of scoringrules 0.10 for `scoring`.

Run with scoringrules installed: python tests/reference/make_scores.py
"""

import json
from pathlib import Path

import numpy as np
import scoringrules as sr

X = [-1.5, 0.3, 0.8, 2.0, 7.5]
CASES = {
    "crps_beta": (sr.crps_beta, [(0.7, 2.0), (4.0, 3.0)]),
    "crps_exponential": (sr.crps_exponential, [(0.5,), (2.0,)]),
    "crps_gamma": (sr.crps_gamma, [(0.7, 0.5), (4.0, 2.0)]),
    "crps_laplace": (sr.crps_laplace, [(0.0, 1.0), (2.0, 0.4)]),
    "crps_log_normal": (sr.crps_lognormal, [(0.0, 1.0), (0.5, 0.3)]),
    "crps_logistic": (sr.crps_logistic, [(0.0, 1.0), (2.0, 0.4)]),
    "crps_normal": (sr.crps_normal, [(0.0, 1.0), (2.0, 0.4)]),
    "crps_student_t": (sr.crps_t, [(1.5, 0.0, 1.0), (4.0, 2.0, 0.4)]),
    "crps_uniform": (sr.crps_uniform, [(0.0, 1.0), (-1.0, 3.0)]),
}
# scored inside the support alone
SUPPORT = {
    "crps_beta": (0, 1),
    "crps_exponential": (0, np.inf),
    "crps_gamma": (0, np.inf),
    "crps_log_normal": (0, np.inf),
}


def ensemble() -> tuple[np.ndarray, np.ndarray]:
    """(12, 5, 3) draws and (5, 3) outcomes, of a generator whose stream NumPy froze."""
    state = np.random.RandomState(0)
    return state.standard_normal((12, 5, 3)), state.standard_normal((5, 3))


def main() -> None:
    """Ask scoringrules and write its answers."""
    out: dict[str, object] = {}
    for name, (rule, parameters) in CASES.items():
        low, high = SUPPORT.get(name, (-np.inf, np.inf))
        x = np.array([v for v in X if low < v < high])
        out[name] = [[list(p), x.tolist(), rule(x, *p).tolist()] for p in parameters]
    out["crps_poisson"] = [
        [[r], [0.0, 2.0, 9.0], np.asarray(sr.crps_poisson(np.array([0.0, 2.0, 9.0]), r)).tolist()]
        for r in (0.4, 6.0)
    ]
    counts = np.array([0.0, 2.0, 9.0])
    out["crps_binomial"] = [
        [list(p), counts.tolist(), np.asarray(sr.crps_binomial(counts, *p)).tolist()]
        for p in ((9, 0.05), (12, 0.7))
    ]
    out["crps_negative_binomial"] = [
        [
            [r, probs],
            counts.tolist(),
            np.asarray(sr.crps_negbinom(counts, r, probs)).tolist(),
        ]
        for r, probs in ((0.5, 0.6), (4.0, 0.3))
    ]
    mixture = [[0.3, 0.7], [-1.0, 2.0], [0.5, 1.5]]
    loc, scale, weights = mixture[1], mixture[2], mixture[0]
    out["crps_normal_mixture"] = [
        float(sr.crps_mixnorm(x, np.array(loc), np.array(scale), np.array(weights))) for x in X
    ]
    draws, seen = ensemble()
    first, x = draws[:, :, 0].T, seen[:, 0]
    out["crps_ensemble_fair"] = sr.crps_ensemble(x, first, estimator="fair").tolist()
    out["crps_ensemble"] = sr.crps_ensemble(x, first, estimator="nrg").tolist()
    moved = np.moveaxis(draws, 0, 1)  # (5, 12, 3)
    out["energy_score"] = sr.es_ensemble(seen, moved, estimator="nrg").tolist()
    out["energy_score_fair"] = sr.es_ensemble(seen, moved, estimator="fair").tolist()
    weights = np.arange(1.0, 13.0)
    heavy = np.broadcast_to(weights, first.shape)
    for name, estimator in (("", "nrg"), ("_fair", "fair")):
        out["crps_ensemble_weighted" + name] = sr.crps_ensemble(
            x, first, ens_w=heavy, estimator=estimator
        ).tolist()
    out["threshold_crps_ensemble"] = sr.twcrps_ensemble(
        x, first, a=-0.5, b=0.7, estimator="nrg"
    ).tolist()
    out["log_score_ensemble"] = sr.logs_ensemble(x, first).tolist()
    out["log_score_ensemble_wide"] = sr.logs_ensemble(x, first, bw=np.full(5, 0.7)).tolist()
    out["variogram_score"] = sr.vs_ensemble(seen, moved).tolist()
    pairs = np.arange(9.0).reshape(3, 3)
    out["variogram_score_weighted"] = sr.vs_ensemble(
        seen, moved, np.broadcast_to(pairs, (5, 3, 3)), p=1.0
    ).tolist()
    out["quantile_score"] = sr.quantile_score(np.array(X), 0.6, 0.3).tolist()
    out["interval_score"] = sr.interval_score(np.array(X), 0.0, 1.0, 0.2).tolist()
    out["ranked_probability_score"] = float(
        sr.rps_score(np.array(3), np.array([0.1, 0.2, 0.4, 0.3]))
    )
    text = json.dumps(out) + "\n"
    Path(__file__).with_name("scores.json").write_text(text)


if __name__ == "__main__":
    main()
