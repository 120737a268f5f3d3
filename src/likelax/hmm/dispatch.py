"""Which recursion answers: sequential on a CPU, associative where many steps can run at once."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array, lax

from likelax.hmm import associative, certified
from likelax.hmm.chain import Chain, Filter, Posterior, total

# shorter chains are done before the rounds of a prefix product pay, and more states make each
# round cost more than the steps it saves
_LONG, _FEW = 2048, 16


def _choose(
    c: Chain,
    parallel: bool | None,
    sequential: Callable[[Chain], Any],
    prefix: Callable[[Chain], Any],
) -> Any:
    if parallel is not None:
        return prefix(c) if parallel else sequential(c)
    num_steps, num_states = c.log_lik.shape
    if num_steps < _LONG or num_states > _FEW or jax.default_backend() == "cpu":
        return sequential(c)
    # there is an accelerator, but this call may still be compiled for the CPU beside it
    return lax.platform_dependent(c, cpu=sequential, default=prefix)


def log_prob(c: Chain, parallel: bool | None) -> Any:
    """Scalar, nats."""
    return _choose(c, parallel, certified.log_prob, associative.log_prob)


def filtered(c: Chain, parallel: bool | None) -> Filter:
    """Forward posteriors."""
    return _choose(c, parallel, certified.filtered, associative.forward)


def pairwise(c: Chain, parallel: bool | None) -> Any:
    """(T-1, K, K) nats."""
    return _choose(c, parallel, certified.pairwise, associative.pairwise)


def posterior(c: Chain, parallel: bool | None, in_logs: bool) -> Posterior:
    """Marginals, counts and log partition."""
    sequential = certified.log_posterior if in_logs else certified.posterior
    return _choose(c, parallel, sequential, lambda c: associative.posterior(c, in_logs))


def best_path(c: Chain, parallel: bool | None) -> tuple[Array, Array]:
    """(path (T,), its score)."""

    def prefix(c: Chain) -> tuple[Array, Array]:
        scores, gain = associative.best_scores(c)
        return associative.backtrack(c, scores), total(c, gain)

    return _choose(c, parallel, certified.best_path, prefix)
