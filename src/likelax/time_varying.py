"""Emissions whose parameters are known, or free, for every step of a series by itself."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, without_unseen
from likelax.model import Model, S, pytree
from likelax.numerics.checks import match_inputs
from likelax.one_program import one_program
from likelax.product import Repeated


@pytree
class TimeVarying(Repeated[S]):
    """A model whose parameters differ from step to step: p_t(x[..., t]) at step t of a series.

    For the emissions of an `HMM`, whose arrays then lead with (K, T): the noise of each measurement,
    an exposure or a trend. It is the outermost part of the emissions, except for `Fixed` around it,
    and every series has the same T steps; shorter ones are padded (`Sequences` with lengths, not
    with starts). Broadcast what all steps share, inside the function that a gradient fit
    differentiates. EM estimates every step by itself, from all series; `Fixed` keeps the parameters.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      component: a model with a leading axis T on every leaf. x has shape (..., T, *event).

    Source: Zucchini & MacDonald (2009), Hidden Markov Models for Time Series, 8.5, for covariates that
      change the emissions with time.

    Examples:
      >>> from likelax import HMM, Normal
      >>> noise = jnp.array([0.1, 10.0, 0.1])  # the second measurement says little
      >>> loc = jnp.array([[-1.0], [1.0]])
      >>> emissions = TimeVarying(Normal(loc + 0 * noise[None], jnp.stack([noise, noise])))
      >>> keep = jnp.array([[0.9, 0.1], [0.1, 0.9]])
      >>> model = HMM(jnp.array([0.5, 0.5]), keep, emissions)
      >>> print(model.viterbi(jnp.array([-1.0, 1.0, -1.0]))[0])
      [0 0 0]
    """

    component: Any

    if TYPE_CHECKING:  # the field is dynamic, so that its own attributes can be read

        def __init__(self, component: Model[S, Any]) -> None: ...

    @property
    def event_ndim(self) -> int:
        """Number of axes of the observation of one step."""
        return self.component.event_ndim

    @property
    def time_varying(self) -> bool:
        """True."""
        return True

    @property
    def num_steps(self) -> int:
        """T, the length of the leading axis."""
        return jax.tree.leaves(self.component)[0].shape[0]

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """log p_t(x[..., t]) of every step, (..., T), nats; 0 where a step is missing."""
        return self._each(lambda model, value: model.log_prob(value), x)

    @one_program
    def log_kernel(self, x: DataLike) -> Array:
        """The log kernel of every step, (..., T), nats."""
        return self._each(lambda model, value: model.log_kernel(value), x)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """(statistics with a leading axis T, weighted log probability)."""
        x = without_unseen(x)
        axis = self._axis(x)
        weights_axis = None if weights is None else axis
        step = jax.vmap(lambda model, v, w: model.e_step(v, w), (0, axis, weights_axis))
        stats, log_prob = step(self.component, x, weights)
        return stats, jnp.sum(log_prob)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Draws of shape (*shape, *event).

        Args:
          key: random key.
          shape: (..., T).
        Raises:
          ValueError: for a shape that does not end in T.
        """
        self._check_steps("sample", tuple(shape)[-1:], self.num_steps)
        keys = jax.random.split(key, self.num_steps)
        draws = jax.vmap(lambda model, k: model.sample(k, shape[:-1]))(self.component, keys)
        return jax.tree.map(lambda d: jnp.moveaxis(d, 0, len(shape) - 1), draws)

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """`sample` with inputs (*shape, ...) of the component.

        Raises:
          ValueError: for a shape that does not end in T, or inputs of other leading axes.
        """
        self._check_steps("sample", tuple(shape)[-1:], self.num_steps)
        match_inputs("sample", inputs, shape)
        axis = len(shape) - 1
        keys = jax.random.split(key, self.num_steps)
        draw = jax.vmap(
            lambda model, k, given: model.sample_given(k, given, shape[:-1]), (0, 0, axis), axis
        )
        return draw(self.component, keys, inputs)

    def stacked_sample(
        self,
        key: Array,
        index: Array,
        lengths: Sequence[int] = (),
        inputs: DataLike | None = None,
    ) -> DataLike:
        """One draw of step t of the model index[..., t] of K stacked ones, for every (..., t).

        Raises:
          ValueError: for an index that does not end in T, or inputs of other leading axes.
        """
        num_steps = jax.tree.leaves(self.component)[0].shape[1]
        self._check_steps("sample", index.shape[-1:], num_steps)
        axis = index.ndim - 1
        keys = jax.random.split(key, num_steps)
        inputs_axis = None
        if inputs is not None:
            match_inputs("sample", inputs, (*index.shape, *lengths))
            inputs_axis = axis
        draw = jax.vmap(
            lambda models, k, i, given: models.stacked_sample(k, i, lengths, given),
            (1, 0, axis, inputs_axis),
            axis,
        )
        return draw(self.component, keys, index, inputs)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where an observation is possible at its step, (..., T)."""
        leaves, structure = jax.tree.flatten(self.component)
        steps = [
            jax.tree.unflatten(structure, [a[t] for a in leaves]) for t in range(self.num_steps)
        ]
        rows = np.ndim(steps[0].possible(x))
        if rows == 0:
            return np.True_
        each = [
            step.possible(jax.tree.map(lambda a, t=t: a.take(t, rows - 1), x))
            for t, step in enumerate(steps)
        ]
        return np.stack(each, axis=-1)

    def check_labels(self, name: str, x: DataLike) -> None:
        """As the component.

        Raises:
          ValueError: starting with `name`.
        """
        self.component.check_labels(name, x)

    def _each(self, function: Callable[..., Array], x: DataLike) -> Array:
        x = without_unseen(x)
        axis = self._axis(x)
        return jax.vmap(function, (0, axis), axis)(self.component, x)

    def _axis(self, x: DataLike) -> int:
        """The axis of time in x."""
        self.check_shapes("TimeVarying")
        one = jax.tree.map(lambda leaf: leaf[0], self.component)
        rows = jax.eval_shape(lambda model, value: model.log_prob(value), one, x).shape
        self._check_steps("log_prob", rows[-1:], self.num_steps)
        return len(rows) - 1

    def _check_steps(self, verb: str, got: tuple[int, ...], wanted: int) -> None:
        if got != (wanted,):
            steps = f"{got[0]} steps" if got else "a single observation"
            raise ValueError(
                f"TimeVarying.{verb}: x must have T = {wanted} steps, (..., {wanted}, *event), as "
                f"the parameters; got {steps}"
            )
