"""Posterior moments by NUTS, and best bounds by long fits in float64, of the targets of the ELBO benchmark.

Run: python tests/reference/make_elbo_problems.py [words of names]; with NumPyro, 0.22.0 when these were made.
NUTS runs 4 chains of 1000 draws from draws of a mean-field guide, after 1000 of warm-up, target acceptance .9; "r_hat" is the largest of
the split R-hats. A bound is that of a natural gradient fit with a tolerance of .002 nats and at most 400 sets of
draws (60 where there are more than 300 parameters), or that of the quadrature of `elbo_targets`.
Where the moments are known in closed form there is no run, nor where the file has one already.
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import split_gelman_rubin
from numpyro.infer import MCMC, NUTS

from likelax import variational
from likelax.variational import fitting
from reference import elbo_problems
from reference.elbo_problems import Problem


def nuts(problem: Problem) -> dict[str, Any]:
    """Means, standard deviations and R-hat."""
    log_joint, finish = problem.other or (problem.log_joint, lambda draws: draws)
    guide = variational.fit_guide(
        jax.random.key(2), log_joint, variational.mean_field(jnp.zeros(problem.dim))
    ).guide
    run = MCMC(
        NUTS(potential_fn=lambda z: -log_joint(z), target_accept_prob=0.9),
        num_warmup=1000,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    run.run(jax.random.key(0), init_params=guide.base.sample(jax.random.key(1), (4,)))
    chains = np.asarray(finish(run.get_samples(group_by_chain=True)))
    draws = chains.reshape(-1, problem.dim)
    return {
        "mean": digits(draws.mean(0)),
        "sd": digits(draws.std(0)),
        "r_hat": round(float(split_gelman_rubin(chains).max()), 4),
    }


def digits(values: np.ndarray) -> list[float]:
    """Four of each."""
    return [float(f"{value:.4g}") for value in values]


def best(problem: Problem, make: Any) -> float:
    """The bound of a long fit."""
    found = variational.fit_guide(
        jax.random.key(0),
        problem.log_joint,
        make(jnp.zeros(problem.dim)),
        tol=0.002,
        max_steps=400 if problem.dim < 300 else 60,
        num_check=64,
    )
    base = found.guide.base
    return round(elbo_problems.judge(problem)(base.loc, base.root()), 4)


def main() -> None:
    """Add what is asked for to the file."""
    jax.config.update("jax_enable_x64", True)
    fitting.MOST_NATURAL = 10_000  # natural steps for every mean-field guide
    path = elbo_problems.PATH
    problems = elbo_problems.problems()
    words = sys.argv[1:] or [""]
    for name in dict.fromkeys(name for word in words for name in problems if word in name):
        problem = problems[name]()
        kept = json.loads(path.read_text()) if path.exists() else {}
        found = kept.setdefault(name, {})
        found["mean field"] = best(problem, variational.mean_field)
        exact = problem.target is not None
        found["full rank"] = (
            round(float(problem.target.best()), 4)
            if exact
            else best(problem, variational.full_rank)
        )
        if problem.moments is None and "nuts" not in found:
            found["nuts"] = nuts(problem)
        path.write_text(json.dumps(kept) + "\n")
        jax.clear_caches()


if __name__ == "__main__":
    main()
