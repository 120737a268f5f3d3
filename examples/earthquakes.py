"""How many kinds of decade are there? Poisson hidden Markov models of one to four states, by BIC.

python examples/earthquakes.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import likelax as lx


def fit_states(counts: np.ndarray, num_states: int) -> lx.fit.Fit:
    """The best of sixteen random starts."""

    def start(key: Array) -> lx.HMM:
        rates = jax.random.uniform(key, (num_states,), minval=8.0, maxval=32.0)
        stay = 0.8 * jnp.eye(num_states) + 0.2 / num_states
        return lx.HMM(jnp.full(num_states, 1 / num_states), stay, lx.Poisson(rates))

    key = jax.random.key(num_states)
    return lx.fit.restarts(key, start, counts, num_restarts=16, tol=1e-8)


def main() -> None:
    counts = lx.datasets.earthquakes().counts
    print("states  log likelihood      BIC  rates a year")
    for num_states in (1, 2, 3, 4):
        fitted = fit_states(counts, num_states)
        # rates, rows of the transition, and the initial distribution
        free = num_states + num_states * (num_states - 1) + num_states - 1
        bic = free * np.log(len(counts)) - 2 * float(fitted.log_prob)
        rates = "  ".join(f"{rate:.1f}" for rate in jnp.sort(fitted.model.emissions.rate))
        print(f"{num_states:6d}  {fitted.log_prob:14.2f}  {bic:7.1f}  {rates}")


if __name__ == "__main__":
    main()
