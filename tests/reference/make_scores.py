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
INF = np.inf
# ours, theirs as a function of x and their arguments, our arguments before x, and our options
FAMILIES = [
    ("crps_beta", lambda x: sr.crps_beta(x, 4.0, 3.0, -1.0, 3.0), [4.0, 3.0], {"low": -1.0, "high": 3.0}),
    ("crps_exponential", lambda x: sr.crps_exponentialM(x, 0.3, -1.0, 2.0), [0.5],
     {"low": -1.0, "low_mass": 0.3}),
    ("crps_uniform", lambda x: sr.crps_uniform(x, -1.0, 3.0, 0.2, 0.3), [-1.0, 3.0],
     {"low_mass": 0.2, "high_mass": 0.3}),
    ("crps_two_piece_exponential", lambda x: sr.crps_2pexponential(x, 0.4, 2.0, 0.5), [0.5, 0.4, 2.0], {}),
    ("crps_two_piece_normal", lambda x: sr.crps_2pnormal(x, 0.4, 2.0, 0.5), [0.5, 0.4, 2.0], {}),
    ("crps_censored_shifted_gamma", lambda x: sr.crps_csg0(np.maximum(x, 0), 0.8, 0.5, shift=0.7),
     [0.8, 0.5, 0.7], {}),
    *(
        (
            "crps_generalized_extreme_value",
            lambda x, shape=shape: sr.crps_gev(x, np.array(shape), 0.5, 2.0),
            [shape, 0.5, 2.0],
            {},
        )
        for shape in (-0.4, 0.0, 0.7)
    ),
    *(
        ("crps_generalized_pareto", lambda x, shape=shape: sr.crps_gpd(x, shape, -2.0, 2.0, 0.1),
         [shape, -2.0, 2.0], {"low_mass": 0.1})
        for shape in (-0.4, 0.0, 0.7)
    ),
    ("crps_truncated_normal", lambda x: sr.crps_gtcnormal(x, 0.5, 2.0, -1.0, 3.0, 0.1, 0.2),
     [0.5, 2.0, -1.0, 3.0], {"low_mass": 0.1, "high_mass": 0.2}),
    ("crps_truncated_normal", lambda x: sr.crps_tnormal(x, 0.5, 2.0, -1.0, INF), [0.5, 2.0, -1.0, INF], {}),
    ("crps_censored_normal", lambda x: sr.crps_cnormal(x, 0.5, 2.0, -1.0, 3.0), [0.5, 2.0, -1.0, 3.0], {}),
    ("crps_truncated_logistic", lambda x: sr.crps_gtclogistic(x, 0.5, 2.0, -1.0, 3.0, 0.1, 0.2),
     [0.5, 2.0, -1.0, 3.0], {"low_mass": 0.1, "high_mass": 0.2}),
    ("crps_truncated_logistic", lambda x: sr.crps_tlogistic(x, 0.5, 2.0, -1.0, 3.0),
     [0.5, 2.0, -1.0, 3.0], {}),
    ("crps_censored_logistic", lambda x: sr.crps_clogistic(x, 0.5, 2.0, -1.0, 3.0),
     [0.5, 2.0, -1.0, 3.0], {}),
    ("crps_truncated_student_t", lambda x: sr.crps_gtct(x, 3.0, 0.5, 2.0, -1.0, 3.0, 0.1, 0.2),
     [3.0, 0.5, 2.0, -1.0, 3.0], {"low_mass": 0.1, "high_mass": 0.2}),
    ("crps_truncated_student_t", lambda x: sr.crps_tt(x, 3.0, 0.5, 2.0, -INF, 3.0),
     [3.0, 0.5, 2.0, -INF, 3.0], {}),
    ("crps_censored_student_t", lambda x: sr.crps_ct(x, 3.0, 0.5, 2.0, -1.0, 3.0),
     [3.0, 0.5, 2.0, -1.0, 3.0], {}),
    ("crps_log_laplace", lambda x: sr.crps_loglaplace(x, 0.5, 0.6), [0.5, 0.6], {}),
    ("crps_log_logistic", lambda x: sr.crps_loglogistic(x, 0.5, 0.6), [0.5, 0.6], {}),
    ("log_score_two_piece_exponential", lambda x: sr.logs_2pexponential(x, 0.4, 2.0, 0.5),
     [0.5, 0.4, 2.0], {}),
    ("log_score_two_piece_normal", lambda x: sr.logs_2pnormal(x, 0.4, 2.0, 0.5), [0.5, 0.4, 2.0], {}),
    ("log_score_logistic", lambda x: sr.logs_logistic(x, 0.5, 2.0), [0.5, 2.0], {}),
    ("log_score_log_laplace", lambda x: sr.logs_loglaplace(x, 0.5, 0.6), [0.5, 0.6], {}),
    ("log_score_log_logistic", lambda x: sr.logs_loglogistic(x, 0.5, 0.6), [0.5, 0.6], {}),
    *(
        ("log_score_generalized_extreme_value", lambda x, shape=shape: sr.logs_gev(x, shape, 0.5, 2.0),
         [shape, 0.5, 2.0], {})
        for shape in (-0.4, 0.7)
    ),
    *(
        ("log_score_generalized_pareto", lambda x, shape=shape: sr.logs_gpd(x, shape, -2.0, 2.0),
         [shape, -2.0, 2.0], {})
        for shape in (-0.4, 0.7)
    ),
    ("log_score_truncated_normal", lambda x: sr.logs_tnormal(x, 0.5, 2.0, -1.0, 3.0),
     [0.5, 2.0, -1.0, 3.0], {}),
    ("log_score_truncated_logistic", lambda x: sr.logs_tlogistic(x, 0.5, 2.0, -1.0, 3.0),
     [0.5, 2.0, -1.0, 3.0], {}),
    ("log_score_truncated_student_t", lambda x: sr.logs_tt(x, 3.0, 0.5, 2.0, -1.0, 3.0),
     [3.0, 0.5, 2.0, -1.0, 3.0], {}),
]  # fmt: skip


def ensemble() -> tuple[np.ndarray, np.ndarray]:
    """(12, 5, 3) draws and (5, 3) outcomes, of a generator whose stream NumPy froze."""
    state = np.random.RandomState(0)
    return state.standard_normal((12, 5, 3)), state.standard_normal((5, 3))


def main() -> None:
    """Ask scoringrules and write its answers."""
    scores = (name for name in sr.__all__ if "backend" not in name)
    out: dict[str, object] = {"names": sorted(scores)}
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
    out["families"] = []
    for name, theirs, arguments, options in FAMILIES:
        positive = "shifted" not in name and ("log_l" in name)
        x_there = np.array([v for v in X if v > 0] if positive else X)
        values = np.asarray(theirs(x_there.copy())).tolist()  # one changes its argument
        out["families"].append([name, arguments, options, x_there.tolist(), values])
    out["families"] += [
        [name, [40, 60, 30], {}, counts.tolist(), np.asarray(theirs(counts, 40, 60, 30)).tolist()]
        for name, theirs in (
            ("crps_hypergeometric", sr.crps_hypergeometric),
            ("log_score_hypergeometric", sr.logs_hypergeometric),
        )
    ]

    def weight(v: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum(v**2, axis=-1) / 4)

    def weight_of_number(v: np.ndarray) -> np.ndarray:
        return np.exp(-(v**2) / 4)

    def chain(v: np.ndarray) -> np.ndarray:
        return np.clip(v, -0.5, 0.7)

    pairs = np.broadcast_to(np.arange(9.0).reshape(3, 3), (5, 3, 3))
    out["kernel"] = {
        "fair": sr.gksmv_ensemble(seen, moved, estimator="fair").tolist(),
        "all": sr.gksmv_ensemble(seen, moved, estimator="nrg").tolist(),
        "number": sr.gksuv_ensemble(x, first, estimator="fair").tolist(),
    }
    out["variogram_score_fair"] = sr.vs_ensemble(seen, moved, pairs, estimator="fair").tolist()
    out["threshold"] = {
        "energy": sr.twes_ensemble(seen, moved, chain, estimator="nrg").tolist(),
        "variogram": sr.twvs_ensemble(seen, moved, chain).tolist(),
        "kernel": sr.twgksmv_ensemble(seen, moved, chain, estimator="nrg").tolist(),
    }
    out["outcome"] = {
        "crps": sr.owcrps_ensemble(x, first, w_func=weight_of_number).tolist(),
        "energy": sr.owes_ensemble(seen, moved, weight).tolist(),
        "variogram": sr.owvs_ensemble(seen, moved, weight, w=pairs).tolist(),
        "kernel": sr.owgksmv_ensemble(seen, moved, weight).tolist(),
    }
    out["rescaled"] = {
        "crps": sr.vrcrps_ensemble(x, first, w_func=weight_of_number).tolist(),
        "energy": sr.vres_ensemble(seen, moved, weight).tolist(),
        "variogram": sr.vrvs_ensemble(seen, moved, weight, w=pairs).tolist(),
        "kernel": sr.vrgksmv_ensemble(seen, moved, weight).tolist(),
    }
    members = np.broadcast_to(weights, (5, 12))
    out["rescaled_weighted"] = {
        "crps": sr.vrcrps_ensemble(x, first, w_func=weight_of_number, ens_w=members).tolist(),
        "energy": sr.vres_ensemble(seen, moved, weight, ens_w=members).tolist(),
        "variogram": sr.vrvs_ensemble(seen, moved, weight, w=pairs, ens_w=members).tolist(),
        "kernel": sr.vrgksmv_ensemble(seen, moved, weight, ens_w=members).tolist(),
    }
    out["shifted"] = {
        name: [
            sr.es_ensemble(seen, moved, estimator=name).tolist(),
            sr.gksmv_ensemble(seen, moved, estimator=name).tolist(),
        ]
        for name in ("akr", "akr_circperm")
    }
    wide = np.full(5, 0.7)
    out["threshold_log_score"] = [
        sr.clogs_ensemble(x, first, a=-0.5, b=0.7, bw=wide, cens=cens).tolist()
        for cens in (True, False)
    ]
    out["dawid_sebastiani_ensemble"] = sr.dssmv_ensemble(seen, moved).tolist()
    out["ranked_log_score"] = float(sr.rls_score(np.array(3), np.array([0.1, 0.2, 0.4, 0.3])))
    out["crps_quantile"] = sr.crps_quantile(x, first, np.arange(1, 13) / 13).tolist()
    out["quantile_score"] = sr.quantile_score(np.array(X), 0.6, 0.3).tolist()
    out["interval_score"] = sr.interval_score(np.array(X), 0.0, 1.0, 0.2).tolist()
    out["ranked_probability_score"] = float(
        sr.rps_score(np.array(3), np.array([0.1, 0.2, 0.4, 0.3]))
    )
    text = json.dumps(out) + "\n"
    Path(__file__).with_name("scores.json").write_text(text)


if __name__ == "__main__":
    main()
