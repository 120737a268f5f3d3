"""Many fits in a fixed number of lanes on the device, with checkpoints and progress."""

import hashlib
import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, Sequences, convert
from likelax.fit import lanes as lanes_
from likelax.fit.algorithm import Algorithm, Data
from likelax.fit.checkpoint import load, save
from likelax.fit.result import Fit, M, Status, T, best
from likelax.fit.validation import check_models
from likelax.model import PriorLike, pytree
from likelax.numerics import as_array, chunks

# Rounds between two returns to the host, for progress and checkpoints: about a second on a CPU.
_ROUNDS = 200


@pytree
class Batch(Generic[T]):
    """Fits of many data sets, each from R starts.

    Attributes:
      fits: `Fit` with leading axes (B, R): B data sets, R restarts. Of `objectives` only the last is
        kept: (B, R, 1).
      executed: integer scalar, steps of all lanes, including those of idle lanes and of fits that had
        ended; `needed` is the number without them.

    Examples:
      >>> from likelax import Poisson, fit
      >>> x = jnp.array([[1, 2], [5, 5], [0, 1]])
      >>> done = fit.batch(fit.EM(), lambda key, x: Poisson(1.0), x, key=jax.random.key(0))
      >>> print(len(done), done.best.model.rate, done[1].model.rate)
      3 [1.5 5.  0.5] [5.]
    """

    fits: Fit[T]
    executed: Array

    @property
    def needed(self) -> Array:
        """Integer scalar: the steps that the fits needed, with one for each start."""
        return jnp.sum(self.fits.num_steps + 1)

    @property
    def best(self) -> Fit[T]:
        """The best restart of each data set, as `fit.best` chooses it: leading axis B."""
        return jax.vmap(best)(self.fits)

    @property
    def failed(self) -> Array:
        """(B,) True for a data set of which no fit is usable."""
        return ~jnp.any(self.fits.usable, axis=1)

    def __len__(self) -> int:
        return self.fits.status.shape[0]

    def __getitem__(self, index: int) -> Fit[T]:
        """The fits of one data set, with a leading axis R."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"Batch: there are {len(self)} data sets; got index {index}")
        return jax.tree.map(lambda leaf: leaf[index], self.fits)

    def __iter__(self) -> Iterator[Fit[T]]:
        return (self[i] for i in range(len(self)))

    def to_pandas(self) -> Any:
        """One row for each fit: dataset, restart, status, objective (nats), num_steps.

        Raises:
          ImportError: if pandas is not installed.

        Examples:
          >>> done.to_pandas()  # doctest: +SKIP
             dataset  restart     status  objective  num_steps
          0        0        0  CONVERGED  -2.881...          2
        """
        pandas = importlib.import_module("pandas")

        num_sets, num_restarts = self.fits.status.shape
        names = [Status(int(s)).name for s in np.ravel(self.fits.status)]
        return pandas.DataFrame(
            {
                "dataset": np.repeat(np.arange(num_sets), num_restarts),
                "restart": np.tile(np.arange(num_restarts), num_sets),
                "status": names,
                "objective": np.ravel(self.fits.objective),
                "num_steps": np.ravel(self.fits.num_steps),
            }
        )


@dataclass(frozen=True)
class Done:
    """The progress of a batch.

    Attributes:
      fits: fits that have ended.
      total: all fits.
      seconds: since the call, or since it continued from a checkpoint.
      statuses: number of fits that ended with each `Status`, by name.
      left: estimated seconds until the end; NaN before the first fit has ended.

    Examples:
      >>> done = Done(fits=3, total=9, seconds=2.0, statuses={"CONVERGED": 3}, left=4.0)
      >>> print(f"{done.fits} of {done.total}, {done.left:.0f} s left")
      3 of 9, 4 s left
    """

    fits: int
    total: int
    seconds: float
    statuses: dict[str, int]
    left: float


def batch(
    algorithm: Algorithm,
    start: Callable[[Array, DataLike], M],
    datasets: DataLike,
    *,
    key: Array,
    num_restarts: int = 1,
    weights: ArrayLike | Sequence[ArrayLike] | None = None,
    prior: PriorLike | None = None,
    num_lanes: int | None = None,
    previous: "Batch[M] | None" = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[Done], None] | None = None,
) -> "Batch[M]":
    """Fit a model to each of many data sets, from several starts each.

    The fits run in a fixed number of lanes on the device. A lane whose fit has ended takes the next
    one from the queue, so no fit waits for the slowest one, as it would under `jax.vmap`. A failed fit
    has a status and does not stop the others.

    Args:
      algorithm: `fit.EM(...)`, `fit.SQUAREM(...)`, `fit.Ascent(...)` or `fit.LBFGS(...)`.
      start: from (key, x) to the model to start from; it is vmapped over keys and data sets.
      datasets: data with a leading axis B on every array, plain or wrapped. Or a list of B data sets
        whose arrays differ in their first axis: rows, or the steps of one series for a hidden Markov
        model. They are padded to a few lengths; `start` sees a padded data set filled up by
        repetition of its own rows.
      key: random key, of which each start gets its own.
      num_restarts: R, starts for each data set.
      weights: as datasets: (B, ...), or a list of arrays; None for ones.
      prior: the model's conjugate prior, the same for all, or None.
      num_lanes: fits at a time. None: as many as fill a processor's cache, at most 256, or on an
        accelerator 256 times as many.
      previous: the result of an earlier call for the same data sets. Only those of which no fit is
        usable are fitted again; give another key, or other starts.
      checkpoint: a file that holds the state of the run, written about every second. If it exists,
        the run continues from it, and its result is bit-equal to that of an uninterrupted run. None
        saves nothing.
      progress: called about every second with a `Done`.
    Returns:
      `Batch`. NaN in a data set gives NON_FINITE, and no rows NO_DATA.
    Raises:
      ValueError: for data sets, weights or options that do not fit, or a checkpoint of another run.

    Examples:
      >>> from likelax import Mixture, Normal, fit
      >>> rng = np.random.default_rng(0)
      >>> sets = [np.append(rng.normal(-m, 1, 20), rng.normal(m, 1, 20)) for m in (2.0, 3.0)]
      >>> def start(key, x):
      ...     loc = jax.random.choice(key, x, (2,), replace=False)
      ...     return Mixture(jnp.array([0.5, 0.5]), Normal(loc, jnp.ones(2)))
      >>> done = fit.batch(fit.EM(), start, sets, key=jax.random.key(0), num_restarts=3)
      >>> print(done.fits.status.shape, jnp.max(done.best.model.components.loc, axis=1).round())
      (2, 3) [2. 3.]
    """
    algorithm.check("fit.batch")
    for name, value in (("num_restarts", num_restarts), ("num_lanes", num_lanes or 1)):
        if value < 1:
            raise ValueError(f"fit.batch: {name} must be at least 1; got {value}")
    groups = list(_groups(datasets, weights, start, key))
    total = sum(len(group.at) for group in groups)
    keys = jax.random.split(key, total * num_restarts).reshape(total, num_restarts)
    if previous is not None:
        groups = _failed(groups, previous, total, num_restarts)
    run = _Run(algorithm, prior, num_lanes, checkpoint, progress, num_restarts)
    parts = [run.group(i, group, start, keys[group.at]) for i, group in enumerate(groups)]
    return _assemble(groups, parts, previous)


@dataclass(frozen=True)
class _Group:
    """Data sets of one shape: their positions (G,), data and weights with a leading axis G."""

    at: np.ndarray
    x: Any
    weights: Array | None


def _groups(
    datasets: Any, weights: Any, start: Callable[[Array, Any], M], key: Array
) -> Iterator[_Group]:
    if not isinstance(datasets, list):
        x = convert("fit.batch: datasets", datasets)
        size = chunks.num_rows(x)
        if size == 0:
            raise ValueError(
                "fit.batch: all arrays of datasets must share a leading axis of at least one data "
                f"set; got shapes {[leaf.shape for leaf in jax.tree.leaves(x)]}"
            )
        shares = None if weights is None else as_array("fit.batch: weights", weights)
        if shares is not None and shares.shape[:1] != (size,):
            raise ValueError(
                f"fit.batch: weights must have the leading axis {size}; got shape {shares.shape}"
            )
        yield _Group(np.arange(size), x, shares)
        return
    if not datasets:
        raise ValueError("fit.batch: datasets is empty")
    sets = [convert(f"fit.batch: datasets[{i}]", x) for i, x in enumerate(datasets)]
    if weights is not None and len(weights) != len(sets):
        raise ValueError(
            f"fit.batch: weights must have one entry for each of the {len(sets)} data sets; "
            f"got {len(weights)}"
        )
    lengths = np.array([_length(i, x) for i, x in enumerate(sets)])
    model = jax.eval_shape(start, key, sets[int(np.argmax(lengths))])
    series = model.free_ndim == 1 and jax.tree.leaves(sets[0])[0].ndim == model.event_ndim
    for size, at in _classes(lengths):
        parts = [_pad(sets[i], size) for i in at]
        x = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
        if series:
            x = Sequences(x, jnp.asarray(lengths[at]))
            seen = (lengths[at] > 0).astype(float)
            shares = None if weights is None else jnp.asarray([weights[i] for i in at])
            yield _Group(at, x, jnp.asarray(seen) if shares is None else shares * seen)
        else:
            given = [np.ones(lengths[i]) if weights is None else weights[i] for i in at]
            padded = [np.pad(np.asarray(w, float), (0, size - len(w))) for w in given]
            yield _Group(at, x, jnp.asarray(np.stack(padded)))


def _length(index: int, x: DataLike) -> int:
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(x)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"fit.batch: all arrays of datasets[{index}] must share their first axis; got lengths "
            f"{sorted(lengths)}"
        )
    return int(lengths.pop()[0])


def _classes(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(padded length, positions): the longest, then half of it, and so on."""
    left = np.arange(len(lengths))
    while left.size:
        size = int(lengths[left].max())
        here = (lengths[left] > size // 2) | (size == 0)
        yield max(size, 1), left[here]
        left = left[~here]


def _pad(x: Any, size: int) -> Any:
    """Data filled up to `size` rows by repetition of their own; zeros where there are none."""

    def fill(leaf: Array) -> np.ndarray:
        array = np.asarray(leaf)
        if len(array) == 0:
            return np.zeros((size, *array.shape[1:]), array.dtype)
        return array[np.arange(size) % len(array)]

    return jax.tree.map(fill, x)


def _failed(groups: list[_Group], previous: Batch, total: int, restarts: int) -> list[_Group]:
    """The groups with only the data sets of which no earlier fit is usable."""
    if previous.fits.status.shape != (total, restarts):
        raise ValueError(
            f"fit.batch: previous must be of {total} data sets with {restarts} restarts; got "
            f"{previous.fits.status.shape}"
        )
    failed = np.asarray(previous.failed)
    kept = []
    for group in groups:
        here = failed[group.at]
        if here.any():
            x, weights = jax.tree.map(lambda leaf, h=here: leaf[h], (group.x, group.weights))
            kept.append(_Group(group.at[here], x, weights))
    return kept


def _assemble(groups: list[_Group], parts: list[Batch], previous: Batch | None) -> Batch:
    """The fits in the order of the data sets."""
    if previous is None:
        order = np.argsort(np.concatenate([group.at for group in groups]))
        fits = jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves)[order], *(part.fits for part in parts)
        )
        return Batch(fits, jnp.sum(jnp.stack([part.executed for part in parts])))
    fits, executed = previous.fits, previous.executed
    for group, part in zip(groups, parts, strict=True):
        fits = jax.tree.map(lambda a, b, at=group.at: a.at[at].set(b), fits, part.fits)
        executed = executed + part.executed
    return Batch(fits, executed)


@dataclass(frozen=True)
class _Run:
    """The options of a call of `batch`."""

    algorithm: Algorithm
    prior: PriorLike | None
    num_lanes: int | None
    checkpoint: str | os.PathLike[str] | None
    progress: Callable[[Done], None] | None
    num_restarts: int

    def group(self, index: int, group: _Group, start: Callable[..., M], keys: Array) -> Batch:
        """Fit the data sets of one group."""
        each = jax.vmap(jax.vmap(start, in_axes=(0, None)))
        models = jax.tree.map(_flat, jax.jit(each)(keys, group.x))
        check_models("fit.batch", models, self.algorithm.by_m_step)
        num_fits = group.at.size * self.num_restarts
        data = Data(group.x, group.weights, self.prior)
        width = self.num_lanes or lanes_.count(data, lanes_.OWN, num_fits)
        state, executed = _begin(self.algorithm, models, data, width), 0
        file = None if self.checkpoint is None else f"{os.fspath(self.checkpoint)}.{index}"
        mark = _fingerprint(self.algorithm, models, data) if file else None
        if file is not None and os.path.exists(file):
            state, executed = _resume(file, state, mark)
        began = time.monotonic()
        width = state.fit.shape[0]
        steps = width * lanes_.steps_in_a_round(self.algorithm) * self.algorithm.window
        working = width
        while working:
            before = int(state.rounds)
            state = _advance(self.algorithm, state, models, data, _ROUNDS)
            executed += (int(state.rounds) - before) * steps
            working = int(jnp.sum(state.fit < num_fits))
            if file is not None:
                save(file, (state, np.asarray(executed), mark))
            self._tell(state, num_fits, working, began)
        shape = (group.at.size, self.num_restarts)
        fits = lanes_.collect(state)
        fits = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), fits)
        return Batch(fits, jnp.asarray(executed))

    def _tell(self, state: lanes_.Lanes, num_fits: int, working: int, began: float) -> None:
        if self.progress is None:
            return
        done = int(state.queue) - working
        seconds = time.monotonic() - began
        ended = np.ones(num_fits, bool)
        ended[int(state.queue) :] = False
        at_work = np.asarray(state.fit)
        ended[at_work[at_work < num_fits]] = False
        codes, counts = np.unique(np.asarray(state.results.status)[ended], return_counts=True)
        statuses = {Status(int(c)).name: int(n) for c, n in zip(codes, counts, strict=True)}
        left = seconds / done * (num_fits - done) if done else float("nan")
        self.progress(Done(done, num_fits, seconds, statuses, left))


def _flat(leaf: Array) -> Array:
    return leaf.reshape(-1, *leaf.shape[2:])


def _fingerprint(*trees: Any) -> np.ndarray:
    """32 bytes that tell one run from another: a hash of every array and its place."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _resume(file: str, state: lanes_.Lanes, mark: Any) -> tuple[lanes_.Lanes, int]:
    """The saved (state, steps executed so far).

    Raises:
      ValueError: for a file that is damaged or of another run.
    """
    like = jax.tree.map(lambda _: ..., (state, 0, mark))
    saved, executed, found = load(file, like)
    if not np.array_equal(found, mark):
        raise ValueError(
            f"fit.batch: {file} is the checkpoint of another run: other data, starts or options. "
            "Give another file, or delete it"
        )
    return saved, int(executed)


@partial(jax.jit, static_argnames="width")
def _begin(algorithm: Algorithm, models: Any, data: Data, width: int) -> lanes_.Lanes:
    return lanes_.begin(algorithm, models, data, lanes_.OWN, lanes=width, length=1)


@jax.jit
def _advance(
    algorithm: Algorithm, state: lanes_.Lanes, models: Any, data: Data, rounds: ArrayLike
) -> lanes_.Lanes:
    limit = jnp.asarray(rounds)
    return lanes_.advance(algorithm, state, models, data, lanes_.OWN, rounds=limit)
