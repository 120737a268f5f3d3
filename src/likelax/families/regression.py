"""The base class of linear and generalised linear regressions: targets given inputs."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import numerics
from likelax.data import DataLike, split_host, split_mask, take_mask, with_mask
from likelax.families.base import finite
from likelax.model import Model, P, S
from likelax.numerics.checks import match_inputs


def split_pair(name: str, x: DataLike, parts: tuple[str, str]) -> list[tuple[Array, Array | None]]:
    """(values, observed) of both entries of a pair; observed is None where all were seen.

    Args:
      name: the model, for the message.
      x: (first, second), each an array or `Masked`; or `Masked` of the pair.
      parts: what the entries are called, for the message.
    Raises:
      ValueError: for anything else.
    """
    pair, observed = take_mask(x)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"{name}: x must be a pair ({', '.join(parts)}); got {type(pair).__name__}"
        )
    if observed is not None:
        pair = [with_mask(*entry) for entry in zip(pair, observed, strict=True)]
    return [split_mask(entry) for entry in pair]


def split_pair_host(x: DataLike) -> list[np.ndarray]:
    """Both entries of a pair as NumPy arrays, with 1 where they were not seen."""
    pair, observed = take_mask(x)
    if observed is not None:
        pair = [with_mask(*entry) for entry in zip(pair, observed, strict=True)]
    return [split_host(entry)[0] for entry in pair]


class Regression(Model[S, P]):
    """Targets given inputs. Data are pairs (inputs (..., D), targets (...) or (..., E)).

    The log probability is that of the targets given the inputs; the inputs themselves have no
    distribution. A missing target, as in `(inputs, Masked(targets, observed))`, adds nothing, nor
    does a row with a missing input.
    """

    _target_ndim: ClassVar[int] = 0

    coefficients: Array

    @property
    def event_ndim(self) -> int:
        """Number of axes of one target."""
        return self._target_ndim

    @property
    def num_inputs(self) -> int:
        """D."""
        return jnp.shape(self.coefficients)[0]

    def sample(
        self, key: Array, shape: Sequence[int] = (), inputs: DataLike | None = None
    ) -> DataLike:
        """Pairs (inputs, drawn targets), as `log_prob` takes them.

        Args:
          key: random key.
          shape: of the draws.
          inputs: (*shape, D).
        Raises:
          ValueError: without inputs, or for inputs of another shape.
        """
        name = type(self).__name__
        if inputs is None:
            raise ValueError(
                f"{name}.sample: pass inputs=..., of shape (*shape, {self.num_inputs})"
            )
        (inputs,) = numerics.as_float(inputs)
        match_inputs(f"{name}.sample", inputs, shape, (self.num_inputs,))
        return inputs, self._draw(key, inputs)

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """`sample`: pairs (inputs, drawn targets)."""
        return self.sample(key, shape, inputs)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where inputs are finite and targets possible; what was not seen may be anything."""
        inputs, targets = split_pair_host(x)
        if inputs.ndim == 0:
            return np.True_
        fine = self._possible_targets(targets)
        fine = fine.all(-1) if fine.ndim == inputs.ndim else fine
        return finite(inputs).all(-1) & fine

    def _possible_targets(self, targets: np.ndarray) -> Any:
        return finite(targets)

    @abc.abstractmethod
    def mean(self, inputs: DataLike | None = None) -> DataLike:
        """E[targets | inputs]: inputs (..., D) give the shape of targets.

        Raises:
          TypeError: without inputs.
        """

    @abc.abstractmethod
    def variance(self, inputs: DataLike | None = None) -> DataLike:
        """Variance of each target given inputs (..., D).

        Raises:
          TypeError: without inputs.
        """

    @abc.abstractmethod
    def _draw(self, key: Array, inputs: Array) -> Array:
        """Targets for inputs (..., D)."""

    def _given(self, verb: str, inputs: DataLike) -> Array:
        if inputs is None:
            raise TypeError(
                f"{type(self).__name__}.{verb}: it needs inputs (..., {self.num_inputs})"
            )
        inputs, _ = numerics.as_float(inputs, self.coefficients)
        self._check_inputs(inputs)
        return inputs

    def _check_inputs(self, inputs: Array) -> None:
        if inputs.shape[-1:] != (self.num_inputs,):
            raise ValueError(
                f"{type(self).__name__}: the inputs of x must have shape (..., {self.num_inputs}); "
                f"got {inputs.shape}"
            )

    def _pair(self, x: DataLike) -> tuple[Array, Array, Array | None]:
        """(inputs, targets, seen): seen has the shape of targets, or is None without missing ones.

        Inputs of missing rows are 0 and missing targets are 1, so that no NaN reaches a gradient.
        """
        (inputs, inputs_seen), (targets, seen) = split_pair(
            type(self).__name__, x, ("inputs", "targets")
        )
        inputs, _ = numerics.as_float(inputs, self.coefficients)
        self._check_inputs(inputs)
        targets = self._match_targets(inputs, targets)
        if seen is not None:
            seen = seen.reshape(targets.shape)
        if inputs_seen is not None:
            rows = jnp.all(inputs_seen, axis=-1)
            rows = jnp.broadcast_to(
                rows.reshape(rows.shape + (1,) * self._target_ndim), targets.shape
            )
            seen = rows if seen is None else seen & rows
        if seen is not None:
            some = jnp.any(seen, axis=-1) if self._target_ndim else seen
            inputs = jnp.where(some[..., None], inputs, 0)
        return inputs, targets, seen

    def _match_targets(self, inputs: Array, targets: Array) -> Array:
        if targets.shape != inputs.shape[:-1]:
            raise ValueError(
                f"{type(self).__name__}: x must be (inputs (..., {self.num_inputs}), targets (...)) "
                f"with equal leading axes; got {inputs.shape} and {targets.shape}"
            )
        return targets
