"""The fits of one group of data sets, in rounds on the devices, with a checkpoint after each call."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from likelax.fit import lanes as lanes_
from likelax.fit.algorithm import Algorithm, Data
from likelax.fit.checkpoint import fingerprint, load, load_notes, save
from likelax.fit.groups import Group
from likelax.fit.hyperparameters import entry
from likelax.fit.result import Fit, Status
from likelax.fit.validation import check_models, check_prior
from likelax.model import PriorLike, check_registration
from likelax.numerics import devices

# Rounds between two returns to the host, for progress and checkpoints: about a second on a CPU.
ROUNDS = 200


@dataclass(frozen=True)
class Done:
    """The progress of a batch.

    Attributes:
      fits: fits that have ended.
      total: all fits of the call.
      seconds: since the call, or since it continued from a checkpoint.
      statuses: number of fits that ended with each `Status`, by name.
      left: estimated seconds until the end; NaN before the first fit has ended.
      objective: highest objective of the usable fits that have ended and of those at work, nats; of
        several data sets that of the one with the highest. -inf where none is finite.

    Examples:
      >>> done = Done(3, 9, seconds=2.0, statuses={"CONVERGED": 3}, left=4.0, objective=-12.5)
      >>> print(f"{done.fits} of {done.total}, {done.left:.0f} s left, {done.objective} nats")
      3 of 9, 4 s left, -12.5 nats
    """

    fits: int
    total: int
    seconds: float
    statuses: dict[str, int]
    left: float
    objective: float

    @property
    def per_second(self) -> float:
        """Fits that end in a second, estimated from those of this call; NaN before the first."""
        return (self.total - self.fits) / self.left if self.left > 0 else float("nan")


class Tally:
    """What a call of `fit.batch` has done so far: of its groups that have ended, and in all.

    Attributes:
      total: all fits of the call.
      began: `time.monotonic()` of the call.
      ended: of the groups that have ended, the fits with each `Status`.
      objective: the best objective of those groups, nats.
      resumed: fits that had ended in the checkpoint.
    """

    def __init__(self, total: int) -> None:
        self.total, self.began, self.resumed = total, time.monotonic(), 0
        self.ended, self.objective = np.zeros(len(Status), int), -np.inf

    def done(self, ended: np.ndarray, objective: float) -> Done:
        """The progress, from that of the group that is at work."""
        each, seconds = self.ended + ended, time.monotonic() - self.began
        done = int(each.sum())
        fresh = done - self.resumed
        left = seconds / fresh * (self.total - done) if fresh else float("nan")
        statuses = {Status(i).name: int(n) for i, n in enumerate(each) if n}
        best = max(self.objective, objective)
        return Done(done, self.total, seconds, statuses, left, best)

    def close(self, ended: np.ndarray, objective: float) -> None:
        """A group has ended."""
        self.ended, self.objective = self.ended + ended, max(self.objective, objective)


@dataclass(frozen=True)
class Deal:
    """Which device makes which fits. Every device has as many as the others.

    Attributes:
      sets: (n E,) the data set of each of the E entries of n devices, one device after the other.
      fits: (n E Q,) the fit of each slot, Q for an entry. Fit b R + r is restart r of data set b.
      first: (n E Q,) False for a copy of an earlier slot, which only fills a device up.
    """

    sets: np.ndarray
    fits: np.ndarray
    first: np.ndarray


def deal(num_sets: int, num_restarts: int, num_devices: int) -> Deal:
    """Deal the data sets to the devices in turn; where they are fewer, also their restarts.

    Args:
      num_sets: B.
      num_restarts: R.
      num_devices: n.

    Examples:
      >>> deal(3, 1, 2).sets, deal(1, 4, 2).fits  # the last slot of three sets is a copy
      (array([0, 2, 1, 0]), array([0, 1, 2, 3]))
    """
    parts = min(num_restarts, -(-num_devices // num_sets))
    each = -(-num_restarts // parts)
    count = -(-num_sets * parts // num_devices)
    entry = np.arange(count)[None, :] * num_devices + np.arange(num_devices)[:, None]
    entry = entry.reshape(-1) % (num_sets * parts)
    restart = (entry % parts)[:, None] * each + np.arange(each)[None, :]
    restart = np.minimum(restart, num_restarts - 1)
    fits = ((entry // parts)[:, None] * num_restarts + restart).reshape(-1)
    first = np.zeros(len(fits), bool)
    first[np.unique(fits, return_index=True)[1]] = True
    return Deal(entry // parts, fits, first)


@dataclass(frozen=True)
class Run:
    """The options of a call of `fit.batch`.

    Attributes:
      algorithm, prior: as for `fit.batch`; where `axes` has one, with a leading axis H.
      num_lanes, progress: as for `fit.batch`.
      checkpoint: how the names of the files begin, one for each group; or None.
      mesh: with automatic axes, or None.
      tally: of the call.
      axes: whether the algorithm and the prior vary with the hyperparameters.
    """

    algorithm: Algorithm
    prior: PriorLike | None
    num_lanes: int | None
    checkpoint: str | None
    progress: Callable[[Done], None] | None
    mesh: Mesh | None
    tally: Tally
    axes: lanes_.Axes

    def group(
        self, index: int, group: Group, models: Any, draws: Array | None
    ) -> tuple[Fit, Array, int]:
        """Fit the data sets of one group.

        Args:
          index: of the group.
          group: G data sets.
          models: starts with leading axes (G, S, H, R).
          draws: (G, S, H, R) a random key for the steps of each fit, or None.
        Returns:
          (fits with leading axes (G, S, H, R), seconds (G, S, H, R) until each had ended, steps
          executed).
        """
        shape = jax.tree.leaves(models)[0].shape[:4]
        models, draws = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[4:]), (models, draws)
        )
        check_registration("fit.batch", models)
        if not self.algorithm.needs_key:  # a random algorithm may fit guides, which are no models
            check_models("fit.batch", models, self.algorithm.by_m_step)
            prior = self.prior if self.axes.prior is None else entry(self.prior, 0)
            check_prior("fit.batch", entry(models, 0), prior)
        count = 1 if self.mesh is None else self.mesh.size
        dealt = deal(shape[0], math.prod(shape[1:]), count)
        data = Data(group.x, group.weights, self.prior)
        file = None if self.checkpoint is None else f"{self.checkpoint}.{index}"
        arrays = None
        if file is not None:
            noise = None if draws is None else jax.random.key_data(draws)
            arrays = self.algorithm, models, data, noise, np.asarray(count)
        with devices.using(self.mesh):
            value = np.indices(shape)[2].ravel()  # of the hyperparameters, for each fit
            whole = self._placed(dealt, models, data, draws, value)
            state, seconds, executed = self._finish(whole, dealt, file, arrays)
            fits = devices.gathered(_collect(state, self.mesh), self.mesh)
        where = np.zeros(math.prod(shape), int)
        where[dealt.fits[dealt.first]] = np.flatnonzero(dealt.first)

        def in_order(leaf: np.ndarray) -> Array:
            flat = leaf.reshape(-1, *leaf.shape[2:])[where]
            return jnp.asarray(flat.reshape(*shape, *flat.shape[1:]))

        return jax.tree.map(in_order, fits), in_order(seconds), executed

    def _placed(
        self, dealt: Deal, models: Any, data: Data, keys: Array | None, value: np.ndarray
    ) -> "Whole":
        """The starts, data and keys on their devices."""
        mesh, axes = self.mesh, self.axes

        def of_each_fit(tree: Any, axis: int | None) -> Any:
            return tree if axis is None else jax.tree.map(lambda leaf: leaf[value], tree)

        algorithm = of_each_fit(self.algorithm, axes.algorithm)
        prior = of_each_fit(data.prior, axes.prior)
        if mesh is None:
            return Whole(algorithm, models, Data(data.x, data.weights, prior), keys)

        def spread(tree: Any, at: np.ndarray, axis: int | None = 0) -> Any:
            if axis is None:
                return devices.put(tree, mesh, rows=False)
            host = jax.tree.map(lambda leaf: np.asarray(leaf)[at], tree)
            return devices.put(host, mesh, rows=True)

        if keys is not None:
            keys = devices.put(keys[dealt.fits], mesh, rows=True)
        algorithm = spread(algorithm, dealt.fits, axes.algorithm)
        prior = spread(prior, dealt.fits, axes.prior)
        x, weights = spread((data.x, data.weights), dealt.sets)
        return Whole(algorithm, spread(models, dealt.fits), Data(x, weights, prior), keys)

    def _finish(
        self, whole: "Whole", dealt: Deal, file: str | None, arrays: Any
    ) -> tuple[lanes_.Lanes, np.ndarray, int]:
        """(the state when all fits have ended, seconds (n, F) until each had, steps executed).

        Args:
          whole, dealt: what is fitted, and where.
          file: the checkpoint, or None.
          arrays: everything by which the checkpoint is recognised, besides the program.
        """
        num_devices = 1 if self.mesh is None else self.mesh.size
        num_fits = len(dealt.fits) // num_devices
        width = self.num_lanes or lanes_.count(whole.data, self.axes, num_fits)
        state, executed = _begin(whole, width, self.axes, self.mesh), 0
        first = dealt.first.reshape(num_devices, num_fits)
        seconds = np.full(first.shape, np.nan, np.float32)
        mark = None
        if file is not None:
            program = _advance.lower(state, whole, ROUNDS, self.axes, self.mesh)
            mark = fingerprint(arrays, program.as_text())
        if file is not None and os.path.exists(file):
            state, seconds, executed = _resume(file, state, mark, self.mesh)
            self.tally.resumed += int(np.isfinite(seconds[first]).sum())
        earlier = float(np.nanmax(seconds, initial=0.0)) - time.monotonic()
        width = state.fit.shape[1]
        steps = width * lanes_.steps_in_a_round(self.algorithm) * self.algorithm.window
        before, working = int(_look(state, first)["rounds"]), num_fits
        while working:
            state = _advance(state, whole, ROUNDS, self.axes, self.mesh)
            seen = devices.gathered(_look(state, first), self.mesh)
            executed += (int(seen["rounds"]) - before) * steps
            before, working = int(seen["rounds"]), int(seen["working"])
            over = seen["over"] & np.isnan(seconds)
            seconds = np.where(over, np.float32(earlier + time.monotonic()), seconds)
            if file is not None:
                _keep(file, state, seconds, executed, mark, self.mesh)
            if self.progress is not None:
                self.progress(self.tally.done(seen["ended"], float(seen["objective"])))
        self.tally.close(seen["ended"], float(seen["objective"]))
        return state, seconds, executed


class Whole(NamedTuple):
    """What does not change from round to round.

    Attributes:
      algorithm: an `Algorithm`, with the axis of `models` if it varies.
      models: starts with a leading axis: those of the first device, then of the next, and so on.
      data: with the leading axis of the entries of the devices, or None for a part that is common.
      keys: random keys with the axis of `models`, or None.
    """

    algorithm: Any
    models: Any
    data: Data
    keys: Array | None


def _on_each(function: Callable[..., Any], mesh: Mesh | None, specs: tuple[Any, ...]) -> Any:
    """A function whose result gets a leading axis of devices, each of which calls it on its part."""

    def with_axis(*args: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], function(*args))

    if mesh is None:
        return with_axis
    return devices.on_each(with_axis, mesh, specs, PartitionSpec(mesh.axis_names))


def _specs(mesh: Mesh | None, axes: lanes_.Axes) -> tuple[Any, Any, Any]:
    """How a `Whole`, a state and a common value are split."""
    each: Any = PartitionSpec(mesh.axis_names if mesh else ())
    common: Any = PartitionSpec()
    x, weights, prior, algorithm = (common if axis is None else each for axis in axes)
    return Whole(algorithm, each, Data(x, weights, prior), each), each, common


@partial(jax.jit, static_argnames=("width", "axes", "mesh"))
def _begin(whole: Whole, width: int, axes: lanes_.Axes, mesh: Mesh | None) -> lanes_.Lanes:
    def begin(own: Whole) -> lanes_.Lanes:
        return lanes_.begin(
            own.algorithm, own.models, own.data, axes, lanes=width, length=1, keys=own.keys
        )

    return _on_each(begin, mesh, _specs(mesh, axes)[:1])(whole)


@partial(jax.jit, static_argnames=("axes", "mesh"))
def _advance(
    state: lanes_.Lanes, whole: Whole, rounds: ArrayLike, axes: lanes_.Axes, mesh: Mesh | None
) -> lanes_.Lanes:
    def advance(state: lanes_.Lanes, own: Whole, rounds: Array) -> lanes_.Lanes:
        mine = jax.tree.map(lambda leaf: leaf[0], state)
        return lanes_.advance(
            own.algorithm, mine, own.models, own.data, axes, rounds=rounds, keys=own.keys
        )

    parts, each, common = _specs(mesh, axes)
    return _on_each(advance, mesh, (each, parts, common))(state, whole, jnp.asarray(rounds))


@partial(jax.jit, static_argnames="mesh")
def _collect(state: lanes_.Lanes, mesh: Mesh | None) -> Fit:
    def collect(state: lanes_.Lanes) -> Fit:
        return lanes_.collect(jax.tree.map(lambda leaf: leaf[0], state))

    return _on_each(collect, mesh, (_specs(mesh, lanes_.OWN)[1],))(state)


def _objectives(states: Any) -> Array:
    """The best objective so far of each lane of each device."""
    return jax.vmap(jax.vmap(lambda state: state.objective))(states)


@jax.jit
def _look(state: lanes_.Lanes, first: ArrayLike) -> dict[str, Array]:
    """Over all devices: rounds, lanes at work, fits that ended with each status, the best objective; and
    which fits of each device have ended."""
    num_fits = state.results.status.shape[1]

    def ended(fit: Array, queue: Array) -> Array:
        return (jnp.arange(num_fits) < queue).at[fit].set(False, mode="drop")

    over = jax.vmap(ended)(state.fit, state.queue)
    own = over & jnp.asarray(first)
    codes = jnp.arange(len(Status), dtype=state.results.status.dtype)
    each = own[..., None] & (state.results.status[..., None] == codes[None, None])
    working = state.fit < num_fits
    fine = own & state.results.usable
    objectives = jnp.concatenate(
        [
            jnp.where(fine, state.results.objectives[..., -1], -jnp.inf),
            # before the first step of a fit its objective is not known
            jnp.where(working & (state.turn > 0), _objectives(state.states), -jnp.inf),
        ],
        axis=1,
    )
    return {
        "rounds": jnp.sum(state.rounds),
        "working": jnp.sum(working),
        "objective": jnp.max(jnp.where(objectives < jnp.inf, objectives, -jnp.inf)),
        "ended": jnp.sum(each, axis=(0, 1)),
        "over": over,
    }


def _keep(
    file: str,
    state: lanes_.Lanes,
    seconds: np.ndarray,
    executed: int,
    mark: str | None,
    mesh: Mesh | None,
) -> None:
    """Write the checkpoint; of several processes the first writes it."""
    whole = devices.gathered(state, mesh)
    if jax.process_index() == 0:
        try:
            save(file, (whole, seconds, np.asarray(executed)), notes={"run": mark})
        except OSError as error:
            raise OSError(
                error.errno,
                f"fit.batch: the checkpoint can't be written: {error.strerror}. What was written before is "
                "intact: mend it and call again to go on from there",
                file,
            ) from None


def _resume(
    file: str, state: lanes_.Lanes, mark: str | None, mesh: Mesh | None
) -> tuple[lanes_.Lanes, np.ndarray, int]:
    """The saved (state, seconds until each fit had ended, steps executed so far). Every process reads it.

    Raises:
      ValueError: for a file that is damaged or of another run.
    """
    if load_notes(file).get("run") != mark:
        raise ValueError(
            f"fit.batch: {file} is the checkpoint of another run: other data, starts, algorithm, options, "
            "number of devices, or version of jax or likelax. Give another file, or delete it"
        )
    saved, seconds, executed = load(file, jax.tree.map(lambda _: ..., (state, 0, 0)))
    if mesh is not None:
        saved = devices.put(saved, mesh, rows=True)
    return saved, np.asarray(seconds), int(executed)
