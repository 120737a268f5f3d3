"""log p(x), and the expected uses of the potentials, which are its derivative (Fisher's identity)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax._chains import dispatch
from likelax._chains.chain import Chain, Posterior, blank, first
from likelax.numerics import weighted_sum


class Expected(NamedTuple):
    """How often each potential is used, on average over the paths; what an E step sums up.

    Attributes:
      marginals: (T, K) of the states, 0 at padding; or their logs, -inf at padding.
      transition_counts: (K, K) moves from row to column.
      initial_counts: (K,) states in which a sequence begins.
      log_prob: scalar, log p(x), nats.
    """

    marginals: Array
    transition_counts: Array
    initial_counts: Array
    log_prob: Array


def expected(c: Chain, post: Posterior, in_logs: bool = False) -> Expected:
    """`Expected` from the posterior of a chain, whose marginals are in logs or not."""
    (marginals,) = blank(c, post.marginals, value=-jnp.inf if in_logs else 0)
    probs = jnp.exp(marginals) if in_logs else marginals
    if c.starts is None:
        begun = probs[0]
    else:
        begun = jnp.sum(jnp.where(first(c)[:, None], probs, 0), axis=0)
    return Expected(marginals, post.counts, begun, post.log_prob)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def log_partition(parallel: bool | None, c: Chain) -> Array:
    """Scalar, nats: log p(x) of a chain whose padding is hidden."""
    return dispatch.log_prob(c, parallel)


@log_partition.defjvp
def _log_partition_jvp(
    parallel: bool | None, primals: tuple[Chain], tangents: tuple[Chain]
) -> tuple[Array, Array]:
    (c,), (dot,) = primals, tangents
    found = expected(c, dispatch.gradient(c, parallel))
    if c.log_transition.ndim == 3:
        found = found._replace(transition_counts=jnp.exp(dispatch.pairwise(c, parallel)))
    return found.log_prob, slope(found, dot)


def slope(found: Expected, dot: Chain) -> Array:
    """What log p(x) changes by as the potentials do: the expected uses of each, times its change."""
    return (
        weighted_sum(found.initial_counts, dot.log_initial)
        + weighted_sum(found.transition_counts, dot.log_transition)
        + weighted_sum(found.marginals, dot.log_lik)
    )
