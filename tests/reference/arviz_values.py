"""Frozen answers of ArviZ for `monte_carlo`; run this file with ArviZ installed to renew them.

Made with ArviZ 0.23.4.
"""

import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
LOG_WEIGHTS = {"light": (1000, 0.3), "heavy": (1000, 1.0), "broken": (200, 3.0), "few": (30, 1.0)}
CHAINS = {"independent": (4, 250, 0.0), "sticky": (2, 301, 0.9), "short": (3, 10, -0.6)}


def log_weights(name: str) -> np.ndarray:
    """Draws of a legacy generator, whose stream NumPy froze."""
    size, spread = LOG_WEIGHTS[name]
    state = np.random.RandomState(0)
    return spread * (state.standard_normal(size) + state.standard_exponential(size))


def chains(name: str) -> np.ndarray:
    """Autoregressive chains (M, N)."""
    num_chains, num_draws, memory = CHAINS[name]
    x = np.random.RandomState(1).standard_normal((num_chains, num_draws))
    for t in range(1, num_draws):
        x[:, t] += memory * x[:, t - 1]
    return x


def main() -> None:
    """Ask ArviZ and write its answers."""
    import arviz

    answers: dict[str, dict[str, dict[str, float | list[float]]]] = {"psis": {}, "chains": {}}
    for name in LOG_WEIGHTS:
        smoothed, k_hat = arviz.psislw(log_weights(name))
        largest = np.sort(smoothed)[-20:].tolist()
        answers["psis"][name] = {"k_hat": float(k_hat), "largest": largest}
    for name in CHAINS:
        x = chains(name)
        answers["chains"][name] = {
            "rhat": float(arviz.rhat(x)),
            "ess_bulk": float(arviz.ess(x)),
            "ess_tail": float(arviz.ess(x, method="tail")),
            "mcse_mean": float(arviz.mcse(x)),
            "mcse_quantile": float(arviz.mcse(x, method="quantile", prob=0.3)),
        }
    PATH.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
