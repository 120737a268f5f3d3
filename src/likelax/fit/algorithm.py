"""The protocol of fitting algorithms, and the loop that runs them."""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.fit import validation
from likelax.fit.result import D, Fit, T
from likelax.model import Model, PriorLike
from likelax.numerics import any_in_batch
from likelax.numerics.checks import checked, is_concrete

Progress = Callable[[Any, Any], None]

RUNNING = -1
"""Status of a fit that has not ended; every `Status` is 0 or more."""

# The length of `objectives` is part of a compiled program. Few lengths are used, so that fits with
# different `max_steps` share programs; the other entries are cut off afterwards.
_LENGTH = 1000

QUICK: dict[str, bool | int | str] = {"xla_backend_optimization_level": 0}
"""Options of a compilation that takes longer than the program runs."""
LIGHT: dict[str, bool | int | str] = {"xla_backend_optimization_level": 1}
"""Options that halve the time of a compilation, and make programs of small arrays no slower."""
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    # the older emitters, which jaxlib 0.11 dropped, take half the time of the others
    QUICK["xla_cpu_use_fusion_emitters"] = LIGHT["xla_cpu_use_fusion_emitters"] = False


class Data(NamedTuple):
    """The data of a fit.

    Attributes:
      x: data, as `model.log_prob` takes them.
      weights: one non-negative weight for each observation, or None for ones.
      prior: the model's conjugate prior, or None.
    """

    x: DataLike
    weights: ArrayLike | None = None
    prior: PriorLike | None = None


class State(Protocol):
    """The fields of every state, which is a NamedTuple of arrays."""

    @property
    def step(self) -> Array:
        """Integer scalar: steps taken. Below zero before the start was evaluated."""

    @property
    def objective(self) -> Array:
        """Scalar: the objective of the best model so far, nats."""


@runtime_checkable
class Algorithm(Protocol):
    """A fitting algorithm: a frozen value, and a pytree whose leaves are `tol` and `max_steps`.

    `init`, `step` and `done` are pure functions of arrays; `jax.vmap` gives many fits at once. A
    step of a fit that is done changes nothing that `result` reads. So a batch can go on stepping
    until its last fit is done, without selecting between old and new states.
    """

    @property
    def window(self) -> int:
        """W, the number of objectives that one call of `step` returns."""

    @property
    def by_m_step(self) -> bool:
        """Whether it calls `e_step` and `m_step` of the model, rather than `log_prob`."""

    @property
    def needs_key(self) -> bool:
        """Whether `init` and `step` need a random key."""

    def check(self, name: str) -> None:
        """Raise for options out of range, as far as their values are known.

        Args:
          name: the function that was called, for the message.
        """

    def init(self, model: Model, data: Any, key: Array | None = None) -> Any:
        """The state before the first step.

        Args:
          model: the start.
          data: what the algorithm fits to, such as `Data`.
          key: a random key like those of the steps, of which only the type is used, or None.
        """

    def step(self, state: Any, data: Any, key: Array | None = None) -> tuple[Any, Array]:
        """One step, or one window of W steps.

        Args:
          state: of `init`, or of the step before.
          data: the same as for `init`.
          key: a random key for this step; None for algorithms without randomness.
        Returns:
          (state, objectives (W,): entry i is the objective before the i-th of these steps).
        """

    def done(self, state: Any) -> Array:
        """Boolean scalar: whether the fit has ended."""

    def result(self, state: Any, objectives: Array) -> Fit:
        """The `Fit`.

        Args:
          state: a state that is done.
          objectives: (M,) those of all steps in a row; entries past the last step are arbitrary.
        """


@checked()
def run(
    algorithm: Algorithm,
    model: D,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    progress: Progress | None = None,
) -> Fit[D]:
    """Fit a model to data by any algorithm that needs no random key.

    Args:
      algorithm: `fit.EM(...)`, `fit.SQUAREM(...)`, `fit.Ascent(...)` or `fit.LBFGS(...)`.
      model: where to start.
      x: data with leading axes, plain or wrapped in `Masked`, `Labelled` or `Sequences`.
      weights: one non-negative weight for each observation, or None for ones.
      prior: the model's conjugate prior, for maximum a posteriori, or None.
      progress: called on the host after every step, or window of steps, with the number of steps
        and the objective in nats.
    Returns:
      `Fit`.
    Raises:
      ValueError, TypeError: as for `fit.em`.

    Examples:
      >>> from likelax import Normal, fit
      >>> found = run(fit.LBFGS(max_steps=50), Normal(0.0, 1.0), jnp.array([1.0, 2.0, 3.0]))
      >>> print(found.model.loc.round(2))
      2.0
    """
    check_algorithm("fit.run", algorithm)
    x, weights = validation.check("fit.run", model, x, weights, by_m_step=algorithm.by_m_step)
    algorithm.check("fit.run")
    return drive(algorithm, model, Data(x, weights, prior), progress=progress)


def check_algorithm(name: str, algorithm: object) -> None:
    """Raise unless an argument is an algorithm.

    Args:
      name: the function that was called, for the message.
      algorithm: the argument.
    Raises:
      TypeError: starting with `name`.
    """
    if not isinstance(algorithm, Algorithm) or inspect.isclass(algorithm):
        raise TypeError(f"{name}: algorithm must be one such as fit.EM(), got {algorithm!r}")


def drive(
    algorithm: Any,
    model: T,
    data: Any,
    *,
    key: Array | None = None,
    progress: Progress | None = None,
    light: bool = False,
) -> Fit[T]:
    """`run` without validation: all steps in one compiled loop.

    Args:
      algorithm: an `Algorithm` with an attribute `max_steps`.
      model: the start.
      data: passed to every step.
      key: a random key, of which every step gets its own; None for algorithms without randomness.
      progress: as for `run`.
      light: compile with the options `LIGHT`. Not within `jax.jit`.
    Raises:
      TypeError: for text or Python objects in place of an array.
    """
    for leaf in jax.tree.leaves(model):
        kind = getattr(getattr(leaf, "dtype", None), "kind", "")
        if isinstance(leaf, str) or kind in ("U", "S", "O"):
            raise TypeError(f"start must hold arrays of numbers, got {type(leaf).__name__} {kind}")
    _, wanted = trace_lengths(algorithm)
    loop = _light_loop if light else _loop
    return shorten(loop(algorithm, model, data, key, trace_lengths(algorithm)[0], progress), wanted)


def run_steps(
    algorithm: Any,
    model: T,
    data: Any,
    *,
    key: Array | None = None,
    progress: Progress | None = None,
    quick: bool = False,
) -> Fit[T]:
    """`drive` without a look at the start, and with objectives past those of `max_steps`.

    Args:
      algorithm, model, data, key, progress: as for `drive`.
      quick: compile without most optimizations, in a third of the time; for few data, where a fit takes
        less time than its compilation. Not within `jax.jit`.
    """
    loop = _quick_loop if quick else _loop
    return loop(algorithm, model, data, key, trace_lengths(algorithm)[0], progress)


def trace_lengths(algorithm: Any) -> tuple[int, int]:
    """(steps of which a program keeps the objectives, steps of which the user wants them).

    Args:
      algorithm: an `Algorithm` with an attribute `max_steps`.
    """
    steps = algorithm.max_steps
    return (_length(int(steps)), int(steps)) if is_concrete(steps) else (_LENGTH, _LENGTH)


def shorten(found: Fit[T], wanted: int) -> Fit[T]:
    """The `Fit` with the objectives of the steps that the user wants: (..., wanted + 1)."""
    if found.objectives.shape[-1] == wanted + 1:
        return found
    short = jax.lax.slice_in_dim(found.objectives, 0, wanted + 1, axis=-1)
    return Fit(found.model, short, found.num_steps, found.status)


def _length(max_steps: int) -> int:
    """At least max_steps, and less than twice as much: 1000 times a power of two."""
    length = _LENGTH
    while length < max_steps:
        length *= 2
    while (length + 1) // 2 >= max(max_steps, 1) and length > 1:
        length = (length + 1) // 2
    return length


class _Carry(NamedTuple):
    """What the loop carries.

    `turn` and `key` are common to all members of a vmapped batch, and so is the condition of the
    loop. Noise that they share is then drawn once, and objectives are written at one place.
    """

    turn: Array
    key: Array | None
    state: Any
    objectives: Array


def _all_steps(
    algorithm: Algorithm,
    model: Any,
    data: Any,
    key: Array | None,
    length: int,
    progress: Progress | None,
) -> Fit:
    window = algorithm.window

    def turn(now: _Carry) -> _Carry:
        later, key = (None, None) if now.key is None else tuple(jax.random.split(now.key))
        state, values = algorithm.step(now.state, data, key)
        if progress is not None:
            jax.debug.callback(progress, state.step, state.objective)
        at = (now.turn * window,)
        objectives = jax.lax.dynamic_update_slice(now.objectives, values, at)
        return _Carry(now.turn + 1, later, state, objectives)

    state = algorithm.init(model, data, key)
    entries = -(-(length + 1) // window) * window
    empty = jnp.full(entries, jnp.nan, state.objective.dtype)
    end = jax.lax.while_loop(
        lambda now: any_in_batch(~algorithm.done(now.state)),
        turn,
        _Carry(jnp.zeros((), int), key, state, empty),
    )
    return algorithm.result(end.state, end.objectives[: length + 1])


_loop = jax.jit(_all_steps, static_argnames=("length", "progress"))
_quick_loop = jax.jit(
    _all_steps,
    static_argnames=("length", "progress"),
    compiler_options=QUICK,
)
_light_loop = jax.jit(
    _all_steps,
    static_argnames=("length", "progress"),
    compiler_options=LIGHT,
)


def finish(objectives: Array, num_steps: Array, objective: Array) -> Array:
    """The objectives of the steps that were taken, and after them the final one."""
    last = objectives.shape[0] - 1
    steps = jnp.minimum(num_steps, last)
    return jnp.where(jnp.arange(last + 1) < steps, objectives, objective)
