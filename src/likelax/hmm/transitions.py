"""Transitions of a given form: banded and left-right, sticky by prior, driven by inputs."""

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.families.dirichlet import Dirichlet
from likelax.model import pytree
from likelax.numerics.checks import check_number, check_values, checked
from likelax.numerics.lapack import pseudo_inverse
from likelax.statistics import Axes, Merging


@checked(up=0, down=0)
def banded(num_states: int, stay: float, *, up: int = 1, down: int = 1) -> Array:
    """A transition matrix that only reaches nearby states; what is out of reach stays zero in EM.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      num_states: K.
      stay: the probability of staying, in [0, 1]; the rest is shared by the states in reach. A
        state with no other in reach stays for sure.
      up: how many states upwards can be reached in one move.
      down: how many downwards; 0 makes a left-right chain.
    Returns:
      (K, K) probabilities.
    Raises:
      ValueError: if stay is no probability, or a reach is negative.
    Source: Rabiner (1989), Proc. IEEE 77(2), section IV.A, for left-right chains.

    Examples:
      >>> print(banded(3, 0.8, down=0))
      [[0.8 0.2 0. ]
       [0.  0.8 0.2]
       [0.  0.  1. ]]
    """
    check_number("stay", stay, lambda v: 0 <= v <= 1, "in [0, 1]")
    states = jnp.arange(num_states)
    gap = states[None, :] - states[:, None]
    reach = jnp.where((gap != 0) & (gap <= up) & (gap >= -down), 1.0, 0.0)
    others = jnp.sum(reach, axis=1, keepdims=True)
    move = numerics.divide((1 - stay) * reach, others, 0.0)
    return move + jnp.diag(jnp.where(others[:, 0] > 0, stay, 1.0))


@checked()
def sticky(num_states: int, extra: ArrayLike, concentration: ArrayLike = 1.0) -> Dirichlet:
    """A prior of transitions for states that tend to stay, for `HMMPrior.transition`.

    Row k is Dirichlet(concentration + extra e_k): as if `extra` stays had been seen already.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      num_states: K.
      extra: positive scalar or (K,): what is added on the diagonal.
      concentration: scalar or (K, K), of all entries. One leaves structural zeros zero.
    Returns:
      `Dirichlet` with concentration (K, K).
    Raises:
      ValueError: for another shape, a negative extra, or a concentration that is not positive.
    Source: Fox et al. (2011), Annals of Applied Statistics 5, 1020-1056, in its finite form.

    Examples:
      >>> print(sticky(2, 10.0).concentration)
      [[11.  1.]
       [ 1. 11.]]
    """
    extra, concentration = numerics.named_floats(extra=extra, concentration=concentration)
    square = (num_states, num_states)
    for name, value, shape in (
        ("extra", extra, (num_states,)),
        ("concentration", concentration, square),
    ):
        if value.shape not in ((), shape):
            raise ValueError(f"{name} must be a scalar or of shape {shape}, got {value.shape}")
    check_values("extra", extra, lambda v: (v >= 0) & np.isfinite(v), "finite and not negative")
    check_values("concentration", concentration, lambda v: (v > 0) & np.isfinite(v), "positive")
    return Dirichlet(
        jnp.broadcast_to(concentration, square) + jnp.diag(jnp.broadcast_to(extra, num_states))
    )


@pytree
class DrivenCounts(Merging):
    """What an M step of `SoftmaxTransition` needs.

    Features are the inputs less their mean, and a one, so nothing cancels however far the inputs lie
    from zero.

    Attributes:
      slope: (K, K, D + 1) gradient of the expected log probability by the weights, and last by the
        bias at `center`.
      gram: (K, D + 1, D + 1) sum over moves of p(state left) features features^T.
      center: (D,) mean of the inputs over the moves; arbitrary if there were none.
    """

    slope: Array
    gram: Array
    center: Array

    def __add__(self, other: "DrivenCounts") -> "DrivenCounts":
        share = numerics.divide(other._moves, self._moves + other._moves, 0.0)
        center = self.center + share * (other.center - self.center)
        (slope, gram), (more_slope, more_gram) = self._about(center), other._about(center)
        return DrivenCounts(slope + more_slope, gram + more_gram, center)

    def scaled(self, factor: ArrayLike) -> "DrivenCounts":
        """The statistics of the same moves with every weight multiplied by `factor`.

        See the example of `statistics.scale`.
        """
        return DrivenCounts(self.slope * factor, self.gram * factor, self.center)

    def merged(self, axes: Axes) -> "DrivenCounts":
        """The statistics of all moves, where each entry of mapped axes has those of a part.

        See the example of `statistics.merge`.
        """
        share = numerics.divide(self._moves, jax.lax.psum(self._moves, axes), 0.0)
        center = jax.lax.psum(share * self.center, axes)
        slope, gram = jax.lax.psum(self._about(center), axes)
        return DrivenCounts(slope, gram, center)

    @property
    def _moves(self) -> Array:
        """(..., 1) number of moves."""
        return jnp.sum(self.gram[..., -1, -1], axis=-1, keepdims=True)

    def _about(self, center: Array) -> tuple[Array, Array]:
        """Slope and gram of features about another center (..., D)."""
        gap = jnp.append(self.center - center, jnp.zeros_like(center[..., :1]), axis=-1)
        slope = self.slope + self.slope[..., -1:] * gap[..., None, None, :]
        gap = gap[..., None, :]
        gram = self.gram + self.gram[..., -1:] * gap[..., None, :]
        return slope, gram + gap[..., :, None] * gram[..., -1:, :]


@pytree
class SoftmaxTransition:
    """p(z_t+1 = j | z_t = i, u) proportional to exp(bias[i, j] + weights[i, j] . u)

    The transition of an `HMM` whose moves depend on inputs: wrap the data as `Driven(values,
    inputs)`. The move into step t uses the input of step t.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      bias: (K, K) nats; -inf is a move that can never be made.
      weights: (K, K, D).

    Source: Bengio & Frasconi (1995), An input output HMM architecture, NIPS 7.

    Examples:
      >>> flip = SoftmaxTransition(jnp.zeros((2, 2)), jnp.array([[[0.0], [9.0]], [[0.0], [0.0]]]))
      >>> print(jnp.exp(flip.log_probs(jnp.array([[1.0]]))[0]).round(2))
      [[0.  1. ]
       [0.5 0.5]]
    """

    bias: Array
    weights: Array

    def log_probs(self, inputs: ArrayLike) -> Array:
        """log p(z_t+1 = j | z_t = i, inputs): inputs (..., D) give (..., K, K), nats.

        See the example of the class.

        Raises:
          ValueError: if the inputs have another D.
        """
        bias, weights, inputs = numerics.named_floats(
            bias=self.bias, weights=self.weights, inputs=inputs
        )
        if inputs.shape[-1:] != weights.shape[-1:]:
            raise ValueError(
                f"SoftmaxTransition: inputs must have shape (..., {weights.shape[-1]}); "
                f"got {inputs.shape}"
            )
        scores = jnp.einsum("...d,ijd->...ij", inputs, weights, precision="highest")
        return numerics.log_normalize(scores + jnp.broadcast_to(bias, scores.shape))[0]

    def statistics(
        self, log_pairs: ArrayLike, inputs: ArrayLike, weights: ArrayLike
    ) -> DrivenCounts:
        """Expected statistics of N moves, for `m_step`.

        Args:
          log_pairs: (N, K, K) log posterior of each move, nats; -inf where there was none.
          inputs: (N, D).
          weights: (N,).
        Raises:
          ValueError: for arrays of other shapes.

        Examples:
          >>> even = SoftmaxTransition(jnp.zeros((2, 2)), jnp.zeros((2, 2, 1)))
          >>> stays = jnp.log(jnp.eye(2))[None] - jnp.log(2.0)  # one move, a stay in either state
          >>> print(even.statistics(stays, jnp.zeros((1, 1)), jnp.ones(1)).slope[..., 1])
          [[ 0.25 -0.25]
           [-0.25  0.25]]
        """
        log_pairs, inputs, weights = numerics.named_floats(
            log_pairs=log_pairs, inputs=inputs, weights=weights
        )
        num_states, _, num_inputs = jnp.shape(self.weights)
        size = log_pairs.shape[0] if log_pairs.ndim else 0
        wanted = (size, num_states, num_states), (size, num_inputs), (size,)
        got = log_pairs.shape, inputs.shape, weights.shape
        if got != wanted:
            raise ValueError(
                "SoftmaxTransition.statistics: log_pairs, inputs and weights must have shapes "
                f"(N, {num_states}, {num_states}), (N, {num_inputs}) and (N,); got {got}"
            )
        pairs = numerics.weighted(weights[:, None, None], jnp.exp(log_pairs))
        left = jnp.sum(pairs, axis=2)
        each = jnp.sum(left, axis=1)
        inputs = jnp.where(each[:, None] != 0, inputs, 0)  # that of no move may be anything
        center = jnp.zeros(num_inputs, inputs.dtype)
        for _ in range(2):  # the second time adds what rounding has left of the first
            gap = jnp.sum(each[:, None] * (inputs - center[None]), axis=0)
            center = center + numerics.divide(gap, jnp.sum(each), 0.0)
        features = jnp.append(inputs - center[None], jnp.ones_like(inputs[:, :1]), axis=1)
        gap = pairs - left[:, :, None] * jnp.exp(self.log_probs(inputs))
        return DrivenCounts(
            jnp.einsum("nij,nd->ijd", gap, features, precision="highest"),
            jnp.einsum("ni,nd,ne->ide", left, features, features, precision="highest"),
            center,
        )

    def m_step(self, stats: DrivenCounts, prior: object = None) -> Self:
        """One step up a quadratic bound of the expected log probability, which never falls.

        The Hessian of a softmax is bounded by that at even odds, so the step needs no search.
        Features that depend on each other linearly share their step.

        Raises:
          ValueError: if a prior is given.
        Source: Böhning (1992), Annals of the Institute of Statistical Mathematics 44, 197-200.
        """
        if prior is not None:
            raise ValueError("SoftmaxTransition.m_step: it has no conjugate prior; leave it out")
        bias, weights = numerics.as_float(self.bias, self.weights)
        # in units of the features, so that the cut of small eigenvalues knows no unit
        unit = numerics.divide(1.0, jnp.sqrt(jnp.diagonal(stats.gram, axis1=1, axis2=2)), 0.0)
        gram = stats.gram * unit[:, :, None] * unit[:, None, :]
        inverse = pseudo_inverse(gram) * unit[:, :, None] * unit[:, None, :]
        step = 2 * jnp.einsum("ijd,ide->ije", stats.slope, inverse, precision="highest")
        steeper = step[..., :-1]
        at_zero = step[..., -1] - jnp.einsum("ijd,d->ij", steeper, stats.center)
        return type(self)(bias + at_zero, weights + steeper)
