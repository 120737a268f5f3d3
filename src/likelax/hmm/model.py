"""The hidden Markov model as a node, with emissions of any kind."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from likelax import numerics
from likelax._chains import over_devices
from likelax._chains.chain import Chain, chain
from likelax._chains.expectations import Expected
from likelax.constraints import constrained, simplex
from likelax.data import (
    DataLike,
    Labelled,
    Sequences,
    check_labels,
    convert,
    take_labels,
    take_series,
)
from likelax.families.base import Prior, finite, match_weights, probs_of_counts
from likelax.hmm import decoding, inference, paths, stationarity
from likelax.hmm.observed import Observed, check_lengths, observe, over_batch
from likelax.hmm.prior import HMMPrior, HMMStats, moves_of
from likelax.hmm.transitions import DrivenCounts, SoftmaxTransition
from likelax.mixture import C, Mixture
from likelax.model import Model, check_part, check_stack, pytree
from likelax.numerics import devices
from likelax.numerics.checks import checked, is_concrete
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, category_counts
from likelax.wrappers import Fixed


@pytree
class HMM(Model[HMMStats, HMMPrior], Generic[C]):
    """p(x, z) = initial[z_0] prod_t transition[z_t, z_t+1] prod_t p(x_t | z_t)

    An observation is a whole sequence (T, *event): `log_prob` of (..., T, *event) is (...).
    Wrap it in `Sequences` for lengths and starts, in `Masked` for missing entries, in `Labelled` for
    known states, and in `Driven` for inputs of the transition.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      initial: (K,) non-negative, sums to one; zeros are exact. None: the chain starts in the
        stationary distribution of its transition.
      transition: (K, K), rows sum to one, zeros are exact and stay zero under `m_step`; or
        (T-1, K, K), whose entry t carries step t to t+1; or a `SoftmaxTransition`.
      emissions: one model with a leading axis K on every leaf.
        Fits do not change what is wrapped in `Fixed`; initial and transition can be wrapped too.

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

    stacks: ClassVar[tuple[str, ...]] = ("emissions",)

    initial: Any = constrained(simplex)
    transition: Any = constrained(simplex)
    emissions: C

    if TYPE_CHECKING:  # two of the fields are dynamic, so that they can be indexed as arrays

        def __init__(
            self,
            initial: ArrayLike | Fixed | None,
            transition: ArrayLike | SoftmaxTransition | Fixed,
            emissions: C,
        ) -> None: ...

    def __post_init__(self) -> None:
        check_part("HMM", "emissions", self.emissions)

    @property
    def event_ndim(self) -> int:
        """Axes of one observation: those of a step, and the one of time."""
        return 1 + self.emissions.event_ndim

    @property
    def free_ndim(self) -> int:
        """1: the number of steps."""
        return 1

    @property
    def num_states(self) -> int:
        """K."""
        if self.initial is not None:
            return np.shape(_value(self.initial))[-1]
        return jnp.shape(_value(self.transition))[-1]

    @one_program
    def initial_probs(self) -> Array:
        """(K,) the distribution of the first state: given, or stationary.

        Raises:
          ValueError: for a stationary start of a transition that varies over time.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.3, 0.7]])
          >>> print(HMM(None, moves, Bernoulli(jnp.array([0.1, 0.9]))).initial_probs().round(4))
          [0.75 0.25]
        """
        if self.initial is None:
            self._need_fixed_transition("initial_probs")
            return stationarity.stationary(_value(self.transition))
        return _value(self.initial)

    def transition_probs(self) -> Array:
        """(K, K), or (T-1, K, K), the probabilities of the moves.

        Raises:
          ValueError: for a `SoftmaxTransition`, which depends on inputs.

        Examples:
          >>> from likelax import HMM, Bernoulli, hmm
          >>> moves = hmm.banded(2, 0.8)
          >>> print(HMM(None, moves, Bernoulli(jnp.array([0.1, 0.9]))).transition_probs())
          [[0.8 0.2]
           [0.2 0.8]]
        """
        if isinstance(self.transition, SoftmaxTransition):
            raise ValueError("HMM.transition_probs: the transition depends on inputs")
        return numerics.as_array("transition", _value(self.transition))

    def check_shapes(self, name: str) -> None:
        """Raise if initial, transition and emissions have different numbers of states.

        Raises:
          ValueError: starting with `name`.
        """
        super().check_shapes(name)
        if not isinstance(self.transition, SoftmaxTransition):
            moves = self.transition_probs().shape
            if len(moves) < 2 or moves[-2:] != (self.num_states, self.num_states):
                wanted = f"(K, K) or (T-1, K, K) with K = {self.num_states} as initial"
                raise ValueError(f"{name}: transition must have shape {wanted}; got {moves}")
        if self.initial is not None:
            check_stack(
                name, "emissions", self.emissions, "initial", np.shape(_value(self.initial))
            )

    @one_program
    def emission_log_prob(self, values: DataLike) -> Array:
        """log p(x_t | z_t = k) for every state: (..., T, K), nats.

        Args:
          values: (..., T, *event), plain or `Masked`.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> print(jnp.exp(model.emission_log_prob(jnp.array([1]))).round(2))
          [[0.1 0.9]]
        """
        return self.emissions.stacked_log_prob(values)

    @one_program
    def log_prob(self, x: DataLike, mesh: Mesh | None = None) -> Array:
        """log p(x), summed over all paths, or log p(x, labels) for `Labelled` x: (...), nats.

        Args:
          x: (..., T, *event), plain or wrapped.
          mesh: devices over which to split the steps of one sequence, as for `smoother`.
        """
        if mesh is not None:
            return self._over_devices("HMM.log_prob", x, mesh, in_full=False)
        return self._map(inference.log_partition, self._observe(x))

    @one_program
    def smoother(self, x: DataLike, mesh: Mesh | None = None) -> inference.Smoothed:
        """The states given all data, and expected counts.

        Args:
          x: (..., T, *event), plain or wrapped.
          mesh: devices over which to split the steps of one sequence, those of all its axes, such as
            `jax.make_mesh((8,), ("steps",))`; its transition must be fixed. The devices send each other
            one matrix (K, K) each, and the marginals stay where their steps are. None: one device.
        Returns:
          `hmm.Smoothed`; its fields have the leading axes of x.
        Raises:
          ValueError: with mesh, for more than one sequence, parameters that vary over time, or under
            `jax.jit`.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> found = model.smoother(jnp.array([0, 0, 1]))
          >>> print(np.asarray(jnp.exp(found.log_marginals)).round(3))
          [[0.939 0.061]
           [0.9   0.1  ]
           [0.451 0.549]]
        """
        if mesh is not None:
            found: inference.Smoothed = self._over_devices("HMM.smoother", x, mesh, in_full=True)
            return found
        return self._map(inference.smoother, self._observe(x))

    @one_program
    def filter(self, x: DataLike) -> inference.Filtered:
        """The states given the data up to each step.

        Args:
          x: (..., T, *event), plain or wrapped.
        Returns:
          `hmm.Filtered`; its fields have the leading axes of x.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> found = model.filter(jnp.array([0, 0, 1]))
          >>> print(np.asarray(jnp.exp(found.log_filtered)).round(3))
          [[0.9   0.1  ]
           [0.976 0.024]
           [0.451 0.549]]
        """
        return self._map(inference.filter, self._observe(x))

    @one_program
    def viterbi(self, x: DataLike) -> tuple[Array, Array]:
        """The most probable path of states. See the example of the class.

        Args:
          x: (..., T, *event), plain or wrapped.
        Returns:
          (path (..., T) integers, its log joint probability with the data (...), nats).
        """
        return self._map(decoding.viterbi, self._observe(x))

    @checked()
    def forecast(self, x: DataLike, num_steps: int) -> Array:
        """log p(z_T+h = k | x) for h = 1..num_steps: (..., num_steps, K), nats.

        Args:
          x: (..., T, *event), plain or wrapped.
          num_steps: the horizon.
        Raises:
          ValueError: for a time-varying transition, since those of later steps are unknown.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> print(np.asarray(jnp.exp(model.forecast(jnp.array([0, 0, 1]), 2))).round(3))
          [[0.461 0.539]
           [0.469 0.531]]
        """
        self._need_fixed_transition("forecast")
        self.check_labels("HMM.forecast", x)
        seen = self._observe(convert("x", x))
        log_filtered = self._map(inference.filter, seen).log_filtered
        at = jnp.maximum(seen.num_steps - 1, 0)[..., None, None]
        final = jnp.take_along_axis(log_filtered, at, axis=-2)[..., 0, :]
        log_transition = self._log_transition(None)
        return over_batch(
            lambda state: inference.forecast(state, log_transition, num_steps),
            final.shape[:-1],
            final,
        )

    @checked()
    def forecast_observations(self, x: DataLike, num_steps: int) -> Mixture:
        """The distribution of each of the next num_steps observations of one sequence.

        Args:
          x: (T, *event), plain or wrapped.
          num_steps: the horizon.
        Returns:
          `Mixture` of the emissions with a leading axis num_steps on every leaf: map over it
          with `jax.vmap`.
        Raises:
          ValueError: for more than one sequence, for `TimeVarying` emissions, or as `forecast`.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> ahead = model.forecast_observations(jnp.array([0, 0, 1]), 2)
          >>> print(jax.vmap(lambda mixture: mixture.mean())(ahead).round(3))
          [0.531 0.525]
        """
        if self.emissions.time_varying:
            raise ValueError(
                "HMM.forecast_observations: the TimeVarying emissions of later steps are unknown"
            )
        weights = jnp.exp(self.forecast(x, num_steps))
        if weights.ndim != 2:
            raise ValueError(
                "HMM.forecast_observations: x must be one sequence (T, *event); use jax.vmap for a batch"
            )
        repeat = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (num_steps, *jnp.shape(leaf))), self.emissions
        )
        return Mixture(weights, repeat)

    def sample(
        self,
        key: Array,
        shape: Sequence[int] = (),
        inputs: ArrayLike | None = None,
        *,
        emission_inputs: DataLike | None = None,
    ) -> DataLike:
        """Sequences of shape (*shape, *event). The last axis of `shape` is time.

        Args:
          key, shape, inputs, emission_inputs: as for `sample_labelled`.
        Raises:
          ValueError: if shape has no axis of time, or inputs are of another shape.
        """
        return self.sample_labelled(key, shape, inputs, emission_inputs=emission_inputs).values

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """`sample` with inputs (*shape, ...) of the emissions."""
        return self.sample(key, shape, emission_inputs=inputs)

    @checked()
    def sample_labelled(
        self,
        key: Array,
        shape: Sequence[int],
        inputs: ArrayLike | None = None,
        *,
        emission_inputs: DataLike | None = None,
    ) -> Labelled:
        """Sequences, labelled with their states.

        Args:
          key: random key.
          shape: (..., T): how many sequences, and their length.
          inputs: for a `SoftmaxTransition`: (T, D) for all sequences, or (*shape, D).
          emission_inputs: (*shape, ...), for emissions that take inputs, such as regressions.
        Raises:
          ValueError: if shape has no axis of time, or inputs are of another shape.

        Examples:
          >>> from likelax import HMM, Bernoulli
          >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
          >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
          >>> draws = model.sample_labelled(jax.random.key(0), (3, 5))
          >>> draws.values.shape, draws.labels.shape
          ((3, 5), (3, 5))
        """
        self.check_shapes("HMM.sample")
        if len(shape) == 0:
            raise ValueError("HMM.sample: shape must end in the number of steps, (..., T); got ()")
        *batch, num_steps = shape
        key_moves, key_values = jax.random.split(key)
        if inputs is not None:
            inputs = numerics.as_array("inputs", inputs)
            if inputs.shape[:-1] not in ((num_steps,), tuple(shape)):
                raise ValueError(
                    f"HMM.sample: inputs must have shape (T, D) or (*shape, D) with T = {num_steps} "
                    f"and shape = {tuple(shape)}; got {inputs.shape}"
                )
            inputs = jnp.moveaxis(inputs, -2, 0)
        log_initial, moves = numerics.as_float(self._log_initial(), self._log_transition(inputs))
        states = paths.sample_states(key_moves, log_initial, moves, (*batch, num_steps))
        values = self.emissions.stacked_sample(key_values, states, inputs=emission_inputs)
        return Labelled(values, states)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[HMMStats, Array]:
        """Expected complete-data statistics and the log probability, summed with the weights.

        Args:
          x: (..., T, *event), plain or wrapped.
          weights: (...), one per sequence; a zero weight removes it.
        Returns:
          (statistics, scalar log probability). A sequence that is impossible on every path adds
          nothing.
        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        seen = self._observe(x)
        return self._statistics(seen, self._map(inference.expected_states, seen), weights)

    def _statistics(
        self, seen: Observed, post: Expected, weights: ArrayLike | None
    ) -> tuple[HMMStats, Array]:
        weights = match_weights(weights, post.log_prob.shape, post.log_prob.dtype)
        shares = numerics.weighted(weights[..., None, None], post.marginals)

        def total(counts: Array) -> CategoryCounts:
            unused = jnp.expand_dims(weights == 0, tuple(range(weights.ndim, counts.ndim)))
            counts = jnp.where(unused, 0, counts)  # a sequence of no weight may hold anything
            return category_counts(
                jnp.tensordot(weights, counts, weights.ndim, precision="highest")
            )

        if isinstance(self.transition, SoftmaxTransition):
            moves: Any = self._driven_counts(self.transition, seen, weights)
        else:
            moves = total(post.transition_counts)
        emissions = self.emissions.stacked_e_step(seen.values, shares)
        stats = HMMStats(total(post.initial_counts), moves, emissions)
        return stats, numerics.weighted_sum(weights, post.log_prob)

    def check_split(self, name: str, x: DataLike) -> None:
        """Raise unless one sequence can be split over devices.

        Raises:
          ValueError: for more than one sequence, or parameters that vary over time.
        """
        driven = take_series(x)[1].inputs is not None
        if driven or self._num_moves != () or self.emissions.time_varying:
            raise ValueError(
                f"{name}: mesh splits the steps of one sequence, for which transition must be of shape "
                "(K, K), and emissions the same at all steps; these vary over time. A batch of sequences "
                "can be split"
            )
        shape = jax.eval_shape(self.log_prob, x).shape
        if shape != ():
            raise ValueError(
                f"{name}: mesh splits the steps of one sequence (T, *event); got log probabilities of "
                f"shape {shape}"
            )

    def split_log_prob(self, x: DataLike, axes: tuple[str, ...]) -> Array:
        """The share of this device in the log probability of one sequence: see `Density`."""
        return over_devices.log_prob(self._observe_part(x, axes)[1], axes)

    def split_e_step(
        self, x: DataLike, weights: ArrayLike | None, axes: tuple[str, ...]
    ) -> tuple[HMMStats, Array]:
        """The statistics and nats of the steps of this device, of one sequence: see `Model`."""
        seen, part = self._observe_part(x, axes)
        return self._statistics(seen, over_devices.expected(part, axes), weights)

    def _observe_part(self, x: DataLike, axes: tuple[str, ...]) -> tuple[Observed, Chain]:
        """The steps of this device as `observe` gives them, and their chain."""
        values, (length, starts, _) = take_series(x)
        size = jax.tree.leaves(values)[0].shape[0]
        own = None if length is None else over_devices.own_length(length, size, axes)
        seen = self._observe(values if own is None else Sequences(values, own))
        moves = self._log_transition(None)
        return seen, chain(self._log_initial(), moves, seen.log_lik, length, starts)

    def _over_devices(self, name: str, x: DataLike, mesh: Mesh, in_full: bool) -> Any:
        mesh = devices.automatic(mesh)
        if not all(is_concrete(leaf) for leaf in jax.tree.leaves(x)):
            raise ValueError(f"{name}: mesh places data on devices, so call it outside of jax.jit")
        # a mesh can't be set while a derivative is taken
        known = all(is_concrete(leaf) for leaf in jax.tree.leaves(self))
        with devices.using(mesh if known else None):
            self.check_split(name, x)
            num_steps = jax.tree.leaves(take_series(x)[0])[0].shape[0]
            found = _over_devices(self, devices.split_steps(name, x, mesh), mesh, in_full)
        if in_full and len(found.log_marginals) > num_steps:
            found = found._replace(log_marginals=found.log_marginals[:num_steps])
        return found

    @one_program
    def m_step(self, stats: HMMStats, prior: HMMPrior | None = None) -> Self:
        """Parameters that maximise the expected log joint: one step of Baum-Welch.

        A state that was never visited, or never left, keeps its parameters.

        Raises:
          ValueError: for a time-varying transition, which summed counts do not determine, or for a
            prior of a stationary start.
        """
        prior = HMMPrior() if prior is None else prior
        if self.initial is None and prior.initial is not None:
            raise ValueError("HMM.m_step: a stationary start is no parameter and takes no prior")
        emissions = self.emissions.stacked_m_step(stats.emissions, prior.emissions)
        initial = self.initial
        if initial is not None:
            initial = _updated(initial, stats.initial, prior.initial)
        if isinstance(stats.transition, DrivenCounts):
            if not isinstance(self.transition, SoftmaxTransition):
                raise ValueError("HMM: statistics of driven moves need a SoftmaxTransition")
            driven = self.transition.m_step(stats.transition, prior.transition)
            return type(self)(initial, driven, emissions)
        self._need_fixed_transition("m_step")
        seen = moves_of(stats)
        moves = _updated(self.transition, seen, prior.transition)
        if initial is None and not isinstance(moves, Fixed):
            counts = seen.counts
            if prior.transition is not None:
                after: Any = prior.transition.posterior(seen)
                counts = jnp.maximum(after.concentration - 1, 0)
            moves = stationarity.m_step(counts, stats.initial.counts, self.transition)
        return type(self)(initial, moves, emissions)

    @one_program
    def expected_log_prob(self, stats: HMMStats) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats.

        Raises:
          ValueError: for a `SoftmaxTransition`, whose statistics do not determine it.
        """
        self._need_fixed_transition("expected_log_prob")
        each = jax.vmap(lambda e, s: e.expected_log_prob(s))
        return (
            numerics.weighted_sum(stats.initial.counts, self._log_initial())
            + numerics.weighted_sum(moves_of(stats).counts, self._log_transition(None))
            + jnp.sum(each(self.emissions, stats.emissions))
        )

    @one_program
    def log_prior(self, prior: HMMPrior | None) -> Array:
        """Log density of all parameters under the prior, nats; 0 without one."""
        total: Any = jnp.zeros(())
        prior = HMMPrior() if prior is None else prior
        if prior.initial is not None:
            total = total + prior.initial.log_prob(self.initial_probs())
        if prior.transition is not None:
            rows = jax.vmap(lambda p, row: p.log_prob(row))
            total = total + jnp.sum(rows(prior.transition, self.transition_probs()))
        if prior.emissions is not None:
            total = total + self.emissions.stacked_log_prior(prior.emissions)
        return total

    @one_program
    def num_observations(self, x: DataLike) -> Array:
        """The number of steps without padding, (...)."""
        seen = self._observe(x)
        return seen.num_steps.astype(seen.log_lik.dtype)

    def used(self, field: str, index: Any = None) -> Array | None:
        """Which states can be reached: (K,) for the emissions, one for each row of the transition."""
        if field not in ("emissions", "transition") or isinstance(
            self.transition, SoftmaxTransition
        ):
            return None
        moves = self.transition_probs()
        if self.initial is None:
            reached = jnp.ones(moves.shape[:-1], bool)
        else:
            steps = moves > 0 if moves.ndim == 2 else jnp.any(moves > 0, axis=-3)
            begins = jnp.asarray(_value(self.initial)) > 0
            reach = jnp.broadcast_to(
                stationarity.reachable(steps), (*begins.shape, self.num_states)
            )
            reached = jnp.any(begins[..., None] & reach, axis=-2)
        if field == "emissions":
            return reached
        return jnp.broadcast_to(reached, moves.shape[:-1])

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where every step of a sequence is possible in one of the states: booleans (...)."""
        values, (lengths, _, inputs) = take_series(take_labels(x)[0])
        found = np.asarray(self.emissions.stacked_possible(values))
        if found.ndim == 0:
            return found
        if inputs is not None:
            found = found & finite(inputs).all(-1)
        if lengths is not None:
            found = found | (np.arange(found.shape[-1]) >= lengths[..., None])
        return found.all(-1)

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels of the states are out of range, or labels of the emissions, or lengths.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: starting with `name`.
        """
        values, labels = take_labels(x)
        if labels is not None:
            check_labels(name, labels, self.num_states)
        values, series = take_series(values)
        if series.lengths is not None:
            check_lengths(numerics.as_array("lengths", series.lengths), values)
        self.emissions.check_labels(name, values)

    def _driven_counts(
        self, transition: SoftmaxTransition, seen: Observed, weights: Array
    ) -> DrivenCounts:
        pairs = self._map(inference.pairwise, seen)
        inputs: Any = seen.series.inputs
        inputs = inputs[..., 1:, :]
        each = jnp.broadcast_to(weights[..., None], pairs.shape[:-2]).reshape(-1)
        return transition.statistics(
            pairs.reshape(-1, *pairs.shape[-2:]), inputs.reshape(-1, inputs.shape[-1]), each
        )

    def _observe(self, x: DataLike) -> Observed:
        seen = observe(x, self.emission_log_prob)
        if seen.series.starts is not None and self.emissions.time_varying:
            raise ValueError(
                "HMM: starts can't be given to TimeVarying emissions, whose parameters belong to "
                "steps of one series; pad the series: Sequences(values, lengths)"
            )
        num_steps, moves = seen.log_lik.shape[-2], self._num_moves
        if moves not in (None, (), (num_steps - 1,)):
            raise ValueError(
                f"HMM: x has T = {num_steps} steps, so transition must have shape (K, K), or "
                f"(T-1, K, K) = {(num_steps - 1, *[self.num_states] * 2)}; got {moves[0]} for T-1"
            )
        return seen

    def _map(self, kernel: Callable[..., Any], seen: Observed) -> Any:
        """A kernel over every sequence."""
        log_initial = self._log_initial()

        def one(lik: Any, length: Any, starts: Any, inputs: Any) -> Any:
            moves = self._log_transition(inputs)
            return kernel(log_initial, moves, lik, length=length, starts=starts)

        return over_batch(one, seen.log_lik.shape[:-2], seen.log_lik, *seen.series)

    def _log_initial(self) -> Array:
        """(K,) nats."""
        return numerics.safe_log(self.initial_probs())

    def _log_transition(self, inputs: Array | None) -> Array:
        """(K, K), or (T-1, K, K) where inputs (T, D) drive it; nats."""
        if isinstance(self.transition, SoftmaxTransition):
            if inputs is None:
                raise ValueError(
                    "HMM: its transition is driven by inputs; give the data as "
                    "Driven(values, inputs)"
                )
            return self.transition.log_probs(inputs[1:])
        if inputs is not None:
            raise ValueError("HMM: Driven data need a SoftmaxTransition; this transition has none")
        return numerics.safe_log(self.transition_probs())

    @property
    def _num_moves(self) -> tuple[int, ...] | None:
        """() where one transition serves all steps, (T-1,) where each has its own, None for inputs."""
        if isinstance(self.transition, SoftmaxTransition):
            return None
        return self.transition_probs().shape[:-2]

    def _need_fixed_transition(self, verb: str) -> None:
        if self._num_moves is None:
            raise ValueError(f"HMM.{verb}: the inputs of the steps to come are not known")
        if self._num_moves != ():
            raise ValueError(
                f"HMM.{verb}: needs a transition of shape (K, K); "
                f"got {self.transition_probs().shape}"
            )


@partial(jax.jit, static_argnames=("mesh", "in_full"))
def _over_devices(model: HMM[Any], x: DataLike, mesh: Mesh, in_full: bool) -> Any:
    """log p(x), or `Smoothed`, of one sequence from `devices.split_steps`."""
    axes = mesh.axis_names
    whole, steps = PartitionSpec(), PartitionSpec(axes)

    def local(model: HMM[Any], x: DataLike) -> Any:
        if not in_full:
            return jax.lax.psum(model.split_log_prob(x, axes), axes)
        found = over_devices.expected(model._observe_part(x, axes)[1], axes, in_logs=True)
        shared = jax.lax.psum(found[1:], axes)
        return inference.Smoothed(found.marginals, *shared)

    specs = whole, devices.row_specs(x, axes)
    each: Any = steps, whole, whole, whole
    out = inference.Smoothed(*each) if in_full else whole
    return devices.on_each(local, mesh, specs, out)(model, x)


def _value(parameter: Any) -> Array:
    """The probabilities, without a gradient if they are `Fixed`."""
    if isinstance(parameter, Fixed):
        return jax.lax.stop_gradient(jnp.asarray(parameter.model))
    return parameter


def _updated(parameter: Any, stats: CategoryCounts, prior: Prior | None) -> Any:
    """The probabilities after an M step, in which what is `Fixed` stays as it is."""
    if isinstance(parameter, Fixed):
        return parameter
    return probs_of_counts(stats, parameter, prior)
