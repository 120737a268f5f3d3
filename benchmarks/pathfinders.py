"""`variational.pathfinder` beside BlackJAX's Pathfinder, with one path and with four, on the targets of ELBO fits.

Run: python benchmarks/pathfinders.py [words of names]; it prints the table of docs/variational.md.

Both take at most 30 steps of L-BFGS from the same kind of starts, a history of 10 pairs, 250 draws for the ELBO of each
normal on a path, and 1000 draws for k-hat. The gap is that of the best normal below the best bound of a full-rank
one, judged on the same draws; k-hat that of the draws, with four paths of those of all paths.
"""

import argparse
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
from blackjax.vi import multipathfinder
from jax import Array
from timing import print_setting

from likelax import monte_carlo, variational

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
elbo_problems = importlib.import_module("reference.elbo_problems")
formula = importlib.import_module("blackjax.optimizers.lbfgs").lbfgs_inverse_hessian_formula_2

STEPS, MEMORY, ELBO_DRAWS, DRAWS, PATHS = 30, 10, 250, 1000, 4
LARGEST = 300  # parameters
Found = tuple[Array, Array, Array]  # loc, Cholesky factor, k-hat


def ours(log_joint: Any, dim: int, num_paths: int) -> Found:
    """The best normal, and k-hat."""
    found = variational.pathfinder(
        jax.random.key(0),
        log_joint,
        jnp.zeros(dim),
        num_paths=num_paths,
        max_steps=STEPS,
        memory=MEMORY,
        num_elbo=ELBO_DRAWS,
        num_draws=DRAWS,
    )
    base: Any = found.guide.base
    return base.loc, base.root(), found.k_hat


def theirs(log_joint: Any, dim: int, num_paths: int) -> Found:
    """The normal of the path with the highest ELBO, and k-hat."""

    @jax.jit
    def run(key: Array) -> Found:
        key_starts, key_paths, key_draws = jax.random.split(key, 3)
        starts = jax.random.normal(key_starts, (num_paths, dim)).at[0].set(0)
        found, info = multipathfinder.multi_approximate(
            key_paths, log_joint, starts, ELBO_DRAWS, maxiter=STEPS, maxcor=MEMORY
        )
        log_weights = (found.logp - found.logq).reshape(-1)
        at = jnp.argmax(jnp.nan_to_num(info.path.elbo, nan=-jnp.inf))
        q = jax.tree.map(lambda leaf: leaf[at], info.path)
        if num_paths == 1:
            draws, log_q = blackjax.vi.pathfinder.sample(key_draws, q, DRAWS)
            log_weights = jax.vmap(log_joint)(draws) - log_q
        inner = q.beta @ (q.gamma @ (q.beta.T @ q.grad_position))
        loc = q.position + q.alpha * q.grad_position + inner
        tril = jnp.linalg.cholesky(formula(q.alpha, q.beta, q.gamma))
        return loc, tril, monte_carlo.psis(log_weights).k_hat

    return run(jax.random.key(0))


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only targets with one of these in their names")
    words = parser.parse_args().words
    print_setting("blackjax")
    ways = [(who, paths) for paths in (1, PATHS) for who in (ours, theirs)]
    print("\n| target | one path: gap, k-hat | BlackJAX | four paths: gap, k-hat | BlackJAX |")
    print("| --- | --- | --- | --- | --- |")
    for name, make in elbo_problems.problems().items():
        problem = make()
        best = elbo_problems.kept().get(name, {}).get("full rank", -math.inf)
        if (words and not any(word in name for word in words)) or problem.dim > LARGEST:
            continue
        judge, cells = elbo_problems.judge(problem), [name]
        for who, paths in ways:
            loc, tril, k_hat = who(problem.log_joint, problem.dim, paths)
            gap = best - judge(loc, tril)
            cells.append(f"{gap:.3g}, {float(k_hat):.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
