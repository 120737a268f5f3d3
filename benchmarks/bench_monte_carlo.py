"""Expectations against the bare jitted mean, PSIS and chain diagnostics against ArviZ and BlackJAX.

Run: python benchmarks/bench_monte_carlo.py, with --quick for fewer rounds.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from timing import asked_quick, compare, print_setting

from likelax import monte_carlo

try:
    import arviz
except ModuleNotFoundError:
    arviz = None


def main() -> None:
    """All rows."""
    rounds = 5 if asked_quick(__doc__) else 51
    print_setting("blackjax", "arviz")
    key = jax.random.key(0)

    def square(x: Array) -> Array:
        return x**2

    draw = jax.random.normal
    ours = jax.jit(lambda k: monte_carlo.expectation(k, draw, square, 100_000).value)
    chunked = jax.jit(
        lambda k: monte_carlo.expectation(k, draw, square, 100_000, chunk_size=10_000).value
    )
    bare = jax.jit(lambda k: jnp.mean(draw(k, (100_000,)) ** 2))
    compare(
        "expectation, 100000 draws",
        lambda: ours(key),
        {"bare jitted mean": lambda: bare(key)},
        check=lambda value: value,
        repeats=rounds,
    )
    compare(
        "expectation, 100000 draws, ten chunks",
        lambda: chunked(key),
        {"bare jitted mean": lambda: bare(key)},
        check=lambda value: value,
        rtol=0.02,
        repeats=rounds,
    )

    log_weights = np.random.default_rng(0).standard_t(5, size=100_000)
    on_device = jnp.asarray(log_weights)
    smooth = jax.jit(lambda x: monte_carlo.psis(x).k_hat)
    peers = {}
    if arviz is not None:
        peers["arviz"] = lambda: np.asarray(arviz.psislw(log_weights)[1])
    compare(
        "PSIS, 100000 weights",
        lambda: smooth(on_device),
        peers,
        check=lambda k_hat: k_hat,
        rtol=1e-3,
        repeats=min(rounds, 11),
    )

    chains = np.random.default_rng(1).normal(size=(4, 10_000))
    chains_on_device = jnp.asarray(chains)
    diagnose = jax.jit(lambda x: jnp.stack([monte_carlo.rhat(x), monte_carlo.ess_bulk(x)]))
    peers = {}
    if arviz is not None:
        peers["arviz"] = lambda: np.array(
            [float(arviz.rhat(chains)), float(arviz.ess(chains, method="bulk"))]
        )
    compare(
        "R-hat and bulk ESS, 4 chains of 10000",
        lambda: diagnose(chains_on_device),
        peers,
        check=lambda values: values,
        rtol=1e-2,
        repeats=min(rounds, 11),
    )


if __name__ == "__main__":
    main()
