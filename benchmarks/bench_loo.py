"""Leave-one-out against ArviZ, on the same log likelihoods to the same answer.

python benchmarks/bench_loo.py           two minutes
python benchmarks/bench_loo.py --quick   small sizes, seconds
"""

import warnings

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import timing

from likelax import predictive


def bench_loo(num_draws: int, size: int) -> None:
    """PSIS-LOO of an array of log likelihoods."""
    rng = np.random.default_rng(0)
    log_lik = -((rng.normal(size=(num_draws, size)) * 0.3 + rng.normal(size=(1, size))) ** 2) / 2
    array = jnp.asarray(log_lik, jnp.float32)
    ours = jax.jit(lambda a: predictive.loo(a).value)
    data = arviz.from_dict(
        posterior={"m": np.zeros((1, num_draws))}, log_likelihood={"x": log_lik[None]}
    )
    peers = {"arviz": lambda: float(arviz.loo(data, reff=1.0).elpd_loo)}
    name = f"PSIS-LOO, {num_draws} draws x {size} rows"
    timing.compare(name, lambda: ours(array), peers, check=float, rtol=1e-4, repeats=3)


def main() -> None:
    """Run all rows."""
    quick = timing.asked_quick(__doc__)
    warnings.simplefilter("ignore")
    timing.print_setting("arviz")
    for size in (100,) if quick else (2_000, 10_000):
        bench_loo(400 if quick else 4000, size)


if __name__ == "__main__":
    main()
