"""The hidden Markov model as a node: emissions of any kind over the kernels of this package."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, simplex
from likelax.data import Labelled, Sequences
from likelax.families.base import Prior, match_weights
from likelax.families.statistics import CategoryCounts
from likelax.hmm import decoding, inference
from likelax.mixture import allowed_by_labels
from likelax.model import pytree


class HMMStats(NamedTuple):
    """Expected complete-data statistics.

    Attributes:
      initial: counts (K,): expected sequences that begin in each state.
      transition: counts (K, K): expected moves from row to column.
      emissions: the emissions' statistics, with a leading axis K.
    """

    initial: CategoryCounts
    transition: CategoryCounts
    emissions: Any


@pytree
class HMMPrior:
    """The conjugate prior of a hidden Markov model's parameters; None is no prior.

    Attributes:
      initial: a `Dirichlet` with concentration (K,).
      transition: a `Dirichlet` with concentration (K, K), a row for each state left. Adding to
        the diagonal makes states sticky. A concentration of exactly one leaves a structural
        zero a zero; above one it is filled.
      emissions: the emission's prior with a leading axis K on every leaf.
    """

    initial: Prior | None = None
    transition: Prior | None = None
    emissions: Any = None


class _Observed(NamedTuple):
    """One or many sequences, unwrapped."""

    values: Any
    log_lik: Array
    lengths: Array | None
    starts: Array | None


@pytree
class HMM:
    """p(x, z) = initial[z_0] prod_t transition[z_t, z_t+1] prod_t p(x_t | z_t)

    An observation is a whole sequence (T, *event): `log_prob` of (..., T, *event) is (...).
    Wrap it in `Sequences` for lengths and starts, in `Masked` for missing entries, in
    `Labelled` for states that were seen.

    Attributes:
      initial: (K,) non-negative, sums to one; zeros are exact.
      transition: (K, K), rows sum to one, zeros are exact and stay zero under `m_step`; or
        (T-1, K, K), whose entry t carries step t to t+1.
      emissions: one model with a leading axis K on every leaf.

    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286.

    Examples:
      >>> from likelax.families import Categorical
      >>> model = HMM(
      ...     jnp.array([0.6, 0.4]),
      ...     jnp.array([[0.7, 0.3], [0.4, 0.6]]),
      ...     Categorical(jnp.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])),
      ... )
      >>> print(f"{model.log_prob(jnp.array([0, 1, 2])):.3f}")
      -3.393
      >>> path, log_joint = model.viterbi(jnp.array([0, 1, 2]))
      >>> print(path, f"{jnp.exp(log_joint):.5f}")
      [1 0 0] 0.01344
    """

    initial: Array = constrained(simplex)
    transition: Array = constrained(simplex)
    emissions: Any

    @property
    def num_states(self) -> int:
        """K."""
        return jnp.shape(self.initial)[-1]

    def emission_log_prob(self, values: Any) -> Array:
        """log p(x_t | z_t = k) for every state: (..., T, K), nats."""
        return jax.vmap(lambda e: e.log_prob(values), out_axes=-1)(self.emissions)

    def log_prob(self, x: Any) -> Array:
        """log p(x), all paths summed out, or log p(x, labels) for `Labelled` x: (...), nats."""
        return self._map(inference.log_partition, self._observe(x))

    def posterior(self, x: Any) -> inference.Smoothed:
        """States given all data, and expected counts; fields have the leading axes of x."""
        return self._map(inference.smoother, self._observe(x))

    def filter(self, x: Any) -> inference.Filtered:
        """States given the data so far; fields have the leading axes of x."""
        return self._map(inference.filter, self._observe(x))

    def viterbi(self, x: Any) -> tuple[Array, Array]:
        """(most probable path (..., T), its log joint probability with the data (...), nats)."""
        return self._map(decoding.viterbi, self._observe(x))

    def forecast(self, x: Any, num_steps: int) -> Array:
        """log p(z_T+h = k | x) for h = 1..num_steps: (..., num_steps, K), nats.

        `Mixture(jnp.exp(row), model.emissions)` is the distribution of the observation there.

        Raises:
          ValueError: for a time-varying transition, which says nothing about steps to come.
        """
        self._need_fixed_transition("forecast")
        log_filtered = self.filter(x).log_filtered
        lengths = x.lengths if isinstance(x, Sequences) else None
        if lengths is None:
            final = log_filtered[..., -1, :]
        else:
            at = jnp.maximum(jnp.asarray(lengths) - 1, 0)[..., None, None]
            final = jnp.take_along_axis(log_filtered, at, axis=-2)[..., 0, :]
        log_transition = numerics.safe_log(self.transition)
        return _over_batch(
            lambda state: inference.forecast(state, log_transition, num_steps), 1, final
        )

    def sample(self, key: Array, shape: Sequence[int]) -> Any:
        """Sequences of shape (*shape, *event), whose last axis of `shape` is time."""
        return self.sample_labelled(key, shape).values

    def sample_labelled(self, key: Array, shape: Sequence[int]) -> Labelled:
        """Sequences with the states that they came from.

        Args:
          key: random key.
          shape: (..., T): how many sequences, and their length.
        Raises:
          ValueError: if shape names no length.
        """
        if len(shape) == 0:
            raise ValueError("HMM.sample: shape must end in the number of steps, (..., T); got ()")
        *batch, num_steps = shape
        key_first, key_moves, key_values = jax.random.split(key, 3)
        log_transition = numerics.safe_log(self.transition)
        state = jax.random.categorical(
            key_first, numerics.safe_log(self.initial), shape=tuple(batch)
        )

        def step(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            key, move = inputs
            new = jax.random.categorical(key, move[state], axis=-1)
            return new, new

        moves = jnp.broadcast_to(log_transition, (num_steps - 1, *log_transition.shape[-2:]))
        _, rest = jax.lax.scan(step, state, (jax.random.split(key_moves, num_steps - 1), moves))
        states = jnp.moveaxis(jnp.concatenate([state[None], rest]), 0, -1)
        keys = jax.random.split(key_values, states.size)
        draw = jax.vmap(
            lambda k, z: jax.tree.map(lambda e: jnp.asarray(e)[z], self.emissions).sample(k)
        )
        values = draw(keys, states.reshape(-1))
        return Labelled(jax.tree.map(lambda v: v.reshape(*shape, *v.shape[1:]), values), states)

    def e_step(self, x: Any, weights: ArrayLike | None = None) -> tuple[HMMStats, Array]:
        """Expected complete-data statistics and the log probability, summed with the weights.

        Args:
          x: (..., T, *event), plain or wrapped.
          weights: (...), one per sequence; a zero weight removes it.
        Returns:
          (statistics, scalar log probability). A sequence that no path can produce counts
          for no state.
        """
        seen = self._observe(x)
        post = self._map(inference.smoother, seen)
        weights = match_weights(weights, post.log_prob.shape, post.log_prob.dtype)
        shares = jnp.exp(post.log_marginals) * weights[..., None, None]
        each = jax.vmap(lambda e, share: e.e_step(seen.values, share)[0], in_axes=(0, -1))
        none = jnp.zeros((), weights.dtype)

        def total(counts: Array) -> CategoryCounts:
            return CategoryCounts(
                jnp.tensordot(weights, counts, weights.ndim, precision="highest"), none
            )

        stats = HMMStats(
            total(post.initial_counts),
            CategoryCounts(
                total(post.transition_counts).counts, jnp.zeros(self.num_states, weights.dtype)
            ),
            each(self.emissions, shares),
        )
        return stats, numerics.weighted_sum(weights, post.log_prob)

    def m_step(self, stats: HMMStats, prior: HMMPrior | None = None) -> Self:
        """Parameters that maximise the expected log joint: one step of Baum-Welch.

        A state that was never visited, or never left, keeps its parameters.

        Raises:
          ValueError: for a time-varying transition, which one summed count can't determine.
        """
        self._need_fixed_transition("m_step")
        prior = HMMPrior() if prior is None else prior
        step = jax.vmap(lambda e, s, p: e.m_step(s, p))
        return type(self)(
            _rows(stats.initial, prior.initial, self.initial),
            _rows(stats.transition, prior.transition, self.transition),
            step(self.emissions, stats.emissions, prior.emissions),
        )

    def expected_log_prob(self, stats: HMMStats) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats."""
        each = jax.vmap(lambda e, s: e.expected_log_prob(s))
        return (
            jnp.sum(numerics.xlogy(stats.initial.counts, self.initial))
            + jnp.sum(numerics.xlogy(stats.transition.counts, self.transition))
            + jnp.sum(each(self.emissions, stats.emissions))
        )

    def log_prior(self, prior: HMMPrior) -> Array:
        """Log density of all parameters under the prior, nats."""
        total: Any = 0.0
        if prior.initial is not None:
            total = total + prior.initial.log_prob(self.initial)
        if prior.transition is not None:
            rows = jax.vmap(lambda p, row: p.log_prob(row))
            total = total + jnp.sum(rows(prior.transition, jnp.asarray(self.transition)))
        if prior.emissions is not None:
            each = jax.vmap(lambda e, p: e.log_prior(p))
            total = total + jnp.sum(each(self.emissions, prior.emissions))
        return total

    def _observe(self, x: Any) -> _Observed:
        labels = lengths = starts = None
        while isinstance(x, Labelled | Sequences):
            if isinstance(x, Labelled):
                x, labels = x.values, x.labels
            else:
                x, lengths, starts = x.values, x.lengths, x.starts
        if lengths is not None:
            x = _blank_padding(x, jnp.asarray(lengths).astype(int))
        log_lik = self.emission_log_prob(x)
        if log_lik.ndim < 2:
            raise ValueError("HMM: x must be a sequence (..., T, *event); got a single observation")
        if labels is not None:
            labels = jnp.asarray(labels)
            if labels.shape != log_lik.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
                raise ValueError(
                    f"Labelled: labels must be integers of shape {log_lik.shape[:-1]}; "
                    f"got {labels.dtype} of shape {labels.shape}"
                )
            log_lik = jnp.where(allowed_by_labels(labels, self.num_states), log_lik, -jnp.inf)
        return _Observed(x, log_lik, lengths, starts)

    def _map(self, kernel: Callable[..., Any], seen: _Observed) -> Any:
        """A kernel over every sequence."""
        log_initial, log_transition, log_lik = numerics.as_float(
            numerics.safe_log(self.initial), numerics.safe_log(self.transition), seen.log_lik
        )
        batch = log_lik.shape[:-2]
        for name, given, wanted in (
            ("lengths", seen.lengths, batch),
            ("starts", seen.starts, log_lik.shape[:-1]),
        ):
            if given is not None and jnp.shape(given) != wanted:
                raise ValueError(
                    f"Sequences: {name} must have shape {wanted}; got {jnp.shape(given)}"
                )

        def one(lik: Any, length: Any, starts: Any) -> Any:
            return kernel(log_initial, log_transition, lik, length=length, starts=starts)

        flat = [
            None if a is None else jnp.reshape(a, (-1, *jnp.shape(a)[len(batch) :]))
            for a in (log_lik, seen.lengths, seen.starts)
        ]
        if not batch:
            return one(log_lik, seen.lengths, seen.starts)
        return jax.tree.map(lambda a: a.reshape(*batch, *a.shape[1:]), jax.vmap(one)(*flat))

    def _need_fixed_transition(self, verb: str) -> None:
        if jnp.ndim(self.transition) != 2:
            raise ValueError(
                f"HMM.{verb}: needs a transition of shape (K, K); got {jnp.shape(self.transition)}"
            )


def _over_batch(function: Callable[[Array], Array], ndim: int, a: Array) -> Array:
    """function over the axes of `a` before its last `ndim`."""
    batch = a.shape[: a.ndim - ndim]
    out = jax.vmap(function)(a.reshape(-1, *a.shape[a.ndim - ndim :]))
    return out.reshape(*batch, *out.shape[1:])


def _rows(stats: CategoryCounts, prior: Prior | None, kept: ArrayLike) -> Array:
    """Probabilities from counts along the last axis; rows without counts stay as they were."""
    if prior is not None:
        return prior.posterior(stats).mode()
    return numerics.divide(stats.counts, jnp.sum(stats.counts, axis=-1, keepdims=True), kept)


def _blank_padding(values: Any, lengths: Array) -> Any:
    """Put 1 at every padded step, so that what stands there is never read."""

    def blank(leaf: ArrayLike) -> Array:
        leaf = jnp.asarray(leaf)
        num_steps = leaf.shape[lengths.ndim]
        steps = jnp.broadcast_to(jnp.arange(num_steps), (*lengths.shape, num_steps))
        real = steps < lengths[..., None]
        real = real.reshape(real.shape + (1,) * (leaf.ndim - real.ndim))
        return jnp.where(real, leaf, jnp.ones((), leaf.dtype))

    return jax.tree.map(blank, values)
