"""EM over data in batches: exact, or online with older statistics discounted."""

import os
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from likelax.data import DataLike
from likelax.fit import validation
from likelax.fit._em import default_tolerance, e_step, holds_nan, total_weight
from likelax.fit.algorithm import Data, Progress
from likelax.fit.checkpoint import fingerprint, load, load_notes, save
from likelax.fit.placement import place
from likelax.fit.result import Fit, M, Status
from likelax.model import Density, Model, PriorLike, S
from likelax.numerics import Compensated, add_compensated, devices
from likelax.numerics.checks import checked
from likelax.parameters import hold
from likelax.statistics import add, scale

Batches = Callable[[], Iterable[DataLike]]


@checked(tol=None, max_passes=None, model=None)
def stream(
    model: M,
    batches: Batches,
    *,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_passes: int = 100,
    read_ahead: int = 2,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fit[M]:
    """`fit.em` for data larger than memory: exact EM, one pass over the batches a step.

    The statistics of the batches are added on the device. Memory does not depend on how many batches
    there are: at most two are at work on the device, and `read_ahead` are read by a thread meanwhile.
    The result is that of `fit.em` on all rows together.

    Args:
      model: where to start.
      batches: called for each pass; returns an iterable of batches, each as `fit.em` takes x.
        Batches of one shape compile once.
      prior: the model's conjugate prior, or None.
      tol: relative rise of the objective at which to stop, as for `fit.em`.
      max_passes: maximum number of M steps; one pass more evaluates the start.
      read_ahead: batches that a thread reads while the device works; 0 reads each when it is needed,
        in the thread of the caller.
      mesh: devices over which to split the rows of every batch, as for `fit.em`, or None.
      progress: called after every pass with its number, from 0, and the objective in nats.
      checkpoint: a file for the state of the fit after every pass. If it exists, the fit continues
        from it, so a killed run loses only its last pass. tol and max_passes may be others then. None
        saves nothing.
    Returns:
      `Fit`, with steps counted in passes.
    Raises:
      ValueError: for batches that `fit.em` would refuse, no batch at all, a negative read_ahead, or a
        checkpoint of another start or prior.
    Source: Neal & Hinton (1998), A view of the EM algorithm.

    Examples:
      >>> from likelax.families import Normal
      >>> from likelax.mixture import Mixture
      >>> start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
      >>> parts = [jnp.array([-2.1, -2.0, 2.0]), jnp.array([-1.9, 1.9, 2.1])]
      >>> print(stream(start, lambda: parts).model.components.loc)
      [-2.  2.]
    """
    validation.check_options("fit.stream", tol, max_passes, fewest=0, steps="max_passes")
    if read_ahead < 0:
        raise ValueError(f"fit.stream: read_ahead must be 0 or more; got {read_ahead}")
    run = None if checkpoint is None else fingerprint((model, prior), _structure((model, prior)))
    best, model, trace = _resume(model, checkpoint, run)
    while True:
        with _Ahead(batches(), read_ahead) as parts:
            stats, objective, size = _one_pass(model, parts, mesh)
        if prior is not None:
            objective = objective + model.log_prior(prior)
        value = float(objective)
        if trace:
            enough = default_tolerance(objective.dtype) if tol is None else tol
            status = _judge(trace[-1], value, size, enough)
        else:
            status = _judge_start(model, prior, value, size)
        better = not trace or value >= trace[-1]
        if better and status is not Status.COLLAPSED:
            best = model
        trace.append(value if better else trace[-1])
        if progress is not None:
            progress(len(trace) - 1, value)
        if status is not None or len(trace) > max_passes:
            return _result(best, trace, status, max_passes)
        model = _m_step(model, stats, prior)
        if checkpoint is not None:
            save(checkpoint, (best, model, np.array(trace)), notes={"run": run})


def _structure(tree: Any) -> str:
    """Its classes and static fields, without addresses, which differ in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure(tree)))


def _resume(
    model: M, checkpoint: str | os.PathLike[str] | None, run: str | None
) -> tuple[M, M, list[float]]:
    """(best model, the model to evaluate next, objectives so far), from the checkpoint if it exists."""
    if checkpoint is None or not os.path.exists(checkpoint):
        return model, model, []
    if load_notes(checkpoint).get("run") != run:
        raise ValueError(
            f"fit.stream: {checkpoint} is the checkpoint of another start or prior, or of an older version of "
            "likelax. Give another file, or delete it"
        )
    best, pending, nats = load(checkpoint, (model, model, ...))
    return best, pending, np.asarray(nats).tolist()


def _result(best: M, trace: list[float], status: Status | None, max_passes: int) -> Fit[M]:
    steps = len(trace) - 1
    objectives = jnp.asarray(trace + [trace[-1]] * (max_passes - steps))
    code = Status.MAX_STEPS if status is None else status
    return Fit(best, objectives, jnp.asarray(steps), jnp.asarray(int(code)))


@checked(warm_up=0, model=None)
def stepwise(
    model: M,
    batches: Iterable[DataLike],
    *,
    num_rows: int | None = None,
    prior: PriorLike | None = None,
    power: float = 0.7,
    delay: float = 2.0,
    warm_up: int = 1,
) -> Iterator[tuple[M, Array]]:
    """Stepwise (online) EM: an M step after every batch, with older statistics discounted.

    After batch t the statistics are (1 - g) old + g new with g = (t + delay)^-power, each scaled
    to one row, so that one pass has many M steps.

    Args:
      model: where to start.
      batches: an iterable of batches, each as `fit.em` takes x; it may be endless.
      num_rows: number of rows that the statistics represent relative to the prior. Required with a
        prior.
      prior: the model's conjugate prior, or None.
      power: in (0.5, 1]; a smaller one discounts faster.
      delay: at least 0; larger makes the first steps smaller.
      warm_up: batches whose statistics are gathered before the first M step.
    Returns:
      An iterator of (model after the batch, mean log probability of the batch before it), one pair a batch.
    Raises:
      TypeError: for a model or batches of another kind.
      ValueError: for power outside (0.5, 1], or a prior without num_rows.
    Source: Cappé & Moulines (2009), JRSS B 71, 593-613; Liang & Klein (2009), NAACL, 611-619.

    Examples:
      >>> from likelax.families import Poisson
      >>> parts = [jnp.array([2, 4]), jnp.array([3, 3])]
      >>> for model, _ in stepwise(Poisson(1.0), parts):
      ...     print(model.rate)
      3.0
      3.0
    """
    if not 0.5 < power <= 1:
        raise ValueError(f"fit.stepwise: power must lie in (0.5, 1]; got {power}")
    if prior is not None and num_rows is None:
        raise ValueError(
            "fit.stepwise: a prior needs num_rows, the number of rows it weighs against"
        )
    validation.check_models("fit.stepwise", model, True)
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise TypeError(f"fit.stepwise: batches must be an iterable of data, got {batches!r}")
    return _stepwise(model, batches, num_rows, prior, power, delay, warm_up)


def _stepwise(
    model: M,
    batches: Iterable[DataLike],
    num_rows: int | None,
    prior: PriorLike | None,
    power: float,
    delay: float,
    warm_up: int,
) -> Iterator[tuple[M, Array]]:
    total = None
    for count, batch in enumerate(batches):
        batch, _ = validation.check("fit.stepwise", model, batch)
        stats, log_prob, size, _ = _e_step(model, Data(batch))
        stats = scale(stats, 1 / size)
        rate = 1.0 if total is None else (count + delay) ** -power
        total = stats if total is None else add(scale(total, 1 - rate), scale(stats, rate))
        if count + 1 >= warm_up:
            whole = total if num_rows is None else scale(total, float(num_rows))
            model = _m_step(model, whole, prior)
        yield model, log_prob / size


@partial(jax.jit, static_argnames="mesh")
def _e_step(
    model: Model[S, Any], data: Data, mesh: Mesh | None = None
) -> tuple[S, Array, Array, Array]:
    """(statistics, log probability, number of rows, their weight or 0 if all values are masked)."""
    stats, log_prob = e_step(model, data.x, data.weights, mesh=mesh)
    rows = jax.eval_shape(model.log_prob, data.x).size
    seen = total_weight(model, data).astype(log_prob.dtype)
    return stats, log_prob, jnp.asarray(rows, log_prob.dtype), seen


@jax.jit
def _m_step(model: M, stats: object, prior: PriorLike | None) -> M:
    return hold(model.m_step(stats, prior), model)


@jax.jit
def _add(total: Any, part: Any) -> Any:
    """(statistics, compensated nats, weight) of all batches so far and one more."""
    (stats, nats, seen), (more, log_prob, weight) = total, part
    return add(stats, more), add_compensated(nats, log_prob), seen + weight


def _one_pass(
    model: Model[S, Any], batches: Iterable[DataLike], mesh: Mesh | None
) -> tuple[S, Array, float]:
    total: Any = None
    for batch in batches:
        here, data, used = place("fit.stream", model, Data(batch), mesh)
        with devices.using(used):
            stats, log_prob, _, seen = devices.fetched(_e_step(here, data, used), used)
        before = total
        if total is None:
            total = stats, Compensated(log_prob, jnp.zeros_like(log_prob)), seen
        else:
            total = _add(total, (stats, log_prob, seen))
        # calls return before the device has done the work: without this wait batches would pile up
        jax.block_until_ready(before)
    if total is None:
        raise ValueError("fit.stream: batches() gave no batch")
    stats, nats, seen = total
    return stats, nats.total + nats.error, float(seen)


class _Ahead:
    """The items of an iterable, a few of them read ahead by a thread that ends with the context."""

    def __init__(self, items: Iterable[Any], number: int):
        self._items, self._number = items, number
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(max(number, 1))
        self._stopped = threading.Event()

    def __enter__(self) -> Iterable[Any]:
        if self._number == 0:
            return self._items
        threading.Thread(target=self._read, daemon=True).start()
        return self._received()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _read(self) -> None:
        try:
            for item in self._items:
                self._give("item", item)
                if self._stopped.is_set():
                    return
            self._give("end", None)
        except BaseException as error:  # it is raised again in the thread that waits
            self._give("error", error)

    def _give(self, kind: str, value: Any) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def _received(self) -> Iterator[Any]:
        while True:
            kind, value = self._queue.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value


def _judge_start(
    model: Density, prior: PriorLike | None, value: float, size: float
) -> Status | None:
    """How the fit ends at its start; None: it goes on."""
    if bool(holds_nan(model)):
        return Status.NON_FINITE
    if prior is None and size == 0:
        return Status.NO_DATA
    return None if np.isfinite(value) else Status.NON_FINITE


def _judge(before: float, value: float, size: float, tol: float) -> Status | None:
    """How the fit ends at this objective, after another; None: it goes on."""
    if not np.isfinite(value):
        return Status.COLLAPSED
    rise, reach = value - before, max(abs(before), size)
    if rise < -max(tol, 1e-5) * reach:
        return Status.DECREASED
    return Status.CONVERGED if tol >= 0 and rise <= tol * reach else None
