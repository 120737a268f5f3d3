"""One chain whose steps are split over devices: each has a part of them, and calls these functions.

  1. each device multiplies the transitions of its part into a (K, K) matrix;
  2. all matrices go to all devices, and each follows the messages from part to part: what the data
     before its part say of its first state, and what the data after it say of its last one;
  3. each runs its part as a chain of its own. It begins from the first of these messages. One step is
     added at its end, whose likelihood is the second, so that the move into the next part is counted.

So n devices send n K K numbers, whatever the number of steps. The matrices are sums in logs, of which
nothing underflows. The answers come from step 3, by the kernels that answer for a chain on one device.
Step 1 takes K times the arithmetic of one pass over the part.

Where sequences begin within a part (`starts`), it is two chains: the steps before the first of them,
which belong to the sequence of the part before, and the others.

All chains here have a fixed transition. Their `log_lik` and `starts` are those of this device, S steps;
`length` is that of the whole.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax._chains import dispatch, expectations, products
from likelax._chains.chain import Chain, Posterior, finite, hide_padding
from likelax._chains.expectations import Expected, slope
from likelax.numerics import log_normalize, logsumexp

Axes = tuple[str, ...]
"""Names of the axes of a mesh over which the steps are split."""


def own_length(length: Array, num_steps: int, axes: Axes) -> Array:
    """Integer scalar: how many of the S steps of this device count, where `length` of the whole do."""
    return jnp.clip(length - lax.axis_index(axes) * num_steps, 0, num_steps).astype(jnp.int32)


def log_prob(c: Chain, axes: Axes) -> Array:
    """Scalar, nats: log p(the steps of this device | those before). Their sum is log p(x)."""
    return _log_prob(axes, c)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_prob(axes: Axes, c: Chain) -> Array:
    return jnp.sum(_run(_part(c, axes), dispatch.log_prob))


@_log_prob.defjvp
def _log_prob_jvp(axes: Axes, primals: tuple[Chain], tangents: tuple[Chain]) -> tuple[Array, Array]:
    # the counts of this device are its share of the gradient of the whole
    found = expected(*primals, axes)
    return found.log_prob, slope(found, *tangents)


def expected(c: Chain, axes: Axes, in_logs: bool = False) -> Expected:
    """As `expectations.expected`, of the steps of this device; counts and nats are its share."""
    part = _part(c, axes)
    each = _run(part, functools.partial(dispatch.posterior, in_logs=in_logs))
    post = Posterior(
        part.join(each.marginals), jnp.sum(each.counts, axis=0), jnp.sum(each.log_prob)
    )
    return expectations.expected(part.own, post, in_logs)


class _Part(NamedTuple):
    """The steps of one device as R chains of their own, with a leading axis R where they differ.

    Attributes:
      chains: S + 1 steps: one chain; or two, the steps before the first start, and the others moved
        ahead to step 0.
      first: integer scalar, by how many steps the second chain is moved.
      own: the S steps; `starts` is True where a sequence begins, at step 0 only if it is the first of
        the whole.
    """

    chains: Chain
    first: Array
    own: Chain

    def join(self, x: Array) -> Array:
        """(S, ...) of each step, from (R, S + 1, ...) of the chains."""
        num_steps = self.own.log_lik.shape[0]
        if len(x) == 1:
            return x[0, :num_steps]
        head = jnp.arange(num_steps) < self.first
        rest = jnp.roll(x[1], self.first, axis=0)[:num_steps]
        return jnp.where(head.reshape(-1, *(1,) * (x.ndim - 2)), x[0, :num_steps], rest)


def _run(part: _Part, kernel: Any) -> Any:
    """A kernel over the chains, with a leading axis R."""
    c = part.chains
    axes = Chain(0, None, 0, None if c.starts is None else 0, 0)  # type: ignore[arg-type]
    return jax.vmap(lambda c: kernel(hide_padding(c)), (axes,))(c)


def _part(c: Chain, axes: Axes) -> _Part:
    """The chains of this device, from the messages of all."""
    num_steps, here, num_parts = c.log_lik.shape[0], lax.axis_index(axes), lax.psum(1, axes)
    steps = jnp.arange(num_steps)
    length = jnp.asarray(num_parts * num_steps if c.length is None else c.length)
    count = own_length(length, num_steps, axes)
    counted = steps < count
    begins = (steps == 0) & (here == 0)
    begins = counted & (begins if c.starts is None else c.starts | begins)
    first = jnp.where(jnp.any(begins), jnp.argmax(begins), num_steps)
    lik = jnp.where(counted[:, None], c.log_lik, 0)
    own = Chain(c.log_initial, c.log_transition, lik, begins, count)
    c = Chain(c.log_initial, c.log_transition, lik, None if c.starts is None else begins, None)
    edges = _edges(c, first, count, length, axes)

    ahead = jnp.where(edges.goes_on, edges.ahead, 0)[None]
    lik, size = jnp.concatenate([lik, ahead]), count + edges.goes_on.astype(count.dtype)
    if c.starts is None:
        chain = Chain(edges.before[None], c.log_transition, lik[None], None, size[None])
        return _Part(chain, first, own)
    starts = jnp.concatenate([begins, jnp.zeros(1, bool)])
    head = jnp.where(first < num_steps, first.astype(size.dtype), size)
    chain = Chain(
        jnp.stack([edges.before, c.log_initial]),
        c.log_transition,
        jnp.stack([lik, jnp.roll(lik, -first, axis=0)]),
        jnp.stack([jnp.zeros_like(starts), jnp.roll(starts, -first)]),
        jnp.stack([head, size - head]),
    )
    return _Part(chain, first, own)


class _Edges(NamedTuple):
    """What a part knows of the others.

    Attributes:
      before: (K,) log p(first state | the data before), nats; as the chain begins, in the first part.
      ahead: (K,) log p(the data after | first state of the next part), with a constant such that the
        probability of these data, given those before, is 1.
      goes_on: whether the sequence of the last step goes on in the next part.
    """

    before: Array
    ahead: Array
    goes_on: Array


def _edges(c: Chain, first: Array, count: Array, length: Array, axes: Axes) -> _Edges:
    """What this part knows of the others.

    Args:
      c: padding has likelihoods of 1 and no starts.
      first: integer scalar, the first step at which a sequence begins; S if there is none.
      count, length: integer scalars, the steps of this part and of the whole that are no padding.
      axes: over which the steps are split.
    """
    num_steps, here, num_parts = c.log_lik.shape[0], lax.axis_index(axes), lax.psum(1, axes)
    steps = jnp.arange(num_steps)
    inside = jnp.ones_like(steps, bool) if c.starts is None else steps < first
    lik = jnp.where(inside[:, None], c.log_lik, 0)
    moved = inside & (steps > 0) & (steps < count)
    alone = Chain(c.log_initial, c.log_transition, lik, None, None)
    each = lax.all_gather(products.product(alone, moved), axes)
    if c.starts is None:
        firsts = jnp.where(jnp.arange(num_parts) == 0, 0, num_steps)
        closed, tails = jnp.zeros(num_parts, bool), jnp.zeros_like(each[:, 0])
    else:
        firsts = lax.all_gather(first, axes)
        closed, tails = firsts < num_steps, lax.all_gather(_tail(c, c.starts, first, count), axes)
    open_ = (firsts > 0) & (jnp.arange(num_parts) * num_steps < length)

    def forward(before: Array, part: tuple[Array, ...]) -> tuple[Array, Array]:
        matrix, closed, tail = part
        filtered = log_normalize(logsumexp(before[:, None] + matrix, axis=0))[0]
        filtered = jnp.where(closed, tail, filtered)
        return logsumexp(filtered[:, None] + c.log_transition, axis=0), before

    def backward(ahead: Any, part: tuple[Array, ...]) -> Any:
        matrix, closed, open_ = part
        behind, goes_on = ahead
        left = logsumexp(c.log_transition + behind[None], axis=1)
        left = jnp.where(goes_on & ~closed, left, 0)
        message = log_normalize(logsumexp(matrix + left[None], axis=1))[0]
        return (message, open_), ahead

    behind, before = lax.scan(forward, c.log_initial, (each, closed, tails))
    end = jnp.zeros_like(c.log_initial), jnp.zeros((), bool)
    _, (ahead, goes_on) = lax.scan(backward, end, (each, closed, open_), reverse=True)
    following = jnp.concatenate([before[1:], behind[None]])[here]
    nats = logsumexp(following + ahead[here])
    return _Edges(before[here], ahead[here] - finite(nats), goes_on[here])


def _tail(c: Chain, starts: Array, first: Array, count: Array) -> Array:
    """(K,) log p(last state of this part | its sequence so far), where one begins within it."""
    size = jnp.maximum(count - first, 0).astype(jnp.int32)
    lik, starts = jnp.roll(c.log_lik, -first, axis=0), jnp.roll(starts, -first)
    rest = Chain(c.log_initial, c.log_transition, lik, starts, size)
    return dispatch.filtered(hide_padding(rest)).filtered[jnp.maximum(size - 1, 0)]
