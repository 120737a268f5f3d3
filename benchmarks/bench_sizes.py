"""Time against size, beside peers and the machine's limits: a chain's log likelihood, an EM step.

python benchmarks/bench_sizes.py           some minutes
python benchmarks/bench_sizes.py --quick   small sizes
"""

import functools

import bench_gmm
import jax
import numpy as np
import timing
from bench_hmm import arrays, data
from dynamax.hidden_markov_model import inference as dynamax
from hmmlearn import _hmmc

from likelax.hmm import inference

NUM_STATES = 4
NUM_DIMS, NUM_COMPONENTS = 8, 8


def chain(num_steps: int) -> None:
    """Log likelihood of one chain, from the log likelihoods of its steps."""
    initial, transition, log_lik = data(num_steps, NUM_STATES)
    args = arrays(np.log(initial), np.log(transition), log_lik)
    theirs = arrays(initial, transition, log_lik)
    dyn = jax.jit(lambda *a: dynamax.hmm_filter(*a).marginal_loglik)
    ours = jax.jit(inference.log_partition)
    timing.compare(
        f"by size: log likelihood K{NUM_STATES}, T{num_steps}",
        lambda: ours(*args),
        {
            "hmmlearn": lambda: _hmmc.forward_scaling(initial, transition, np.exp(log_lik))[0],
            "dynamax": lambda: dyn(*theirs),
        },
        check=np.asarray,
    )


def mixture(num_rows: int) -> None:
    """Ten steps of EM with full covariances."""
    p = bench_gmm.problem(num_rows, NUM_DIMS, NUM_COMPONENTS)
    timing.compare(
        f"by size: 10 steps of EM D{NUM_DIMS} K{NUM_COMPONENTS}, N{num_rows}",
        bench_gmm.likelax(p),
        {"scikit-learn": bench_gmm.scikit_learn(p), "gmmx": bench_gmm.gmmx(p)},
        check=functools.partial(bench_gmm.mean_log_likelihood, p),
        repeats=5,
    )


def main() -> None:
    """Both curves."""
    top = 4 if timing.asked_quick(__doc__) else 6
    timing.print_setting("hmmlearn", "dynamax", "scikit-learn", "gmmx")
    for power in range(2, top + 1):
        chain(10**power)
    for power in range(3, top + 1):
        mixture(10**power)


if __name__ == "__main__":
    main()
