"""Many fits in a fixed number of lanes on the device, with checkpoints and progress."""

import importlib
import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.fit.algorithm import Algorithm, check_algorithm
from likelax.fit.batch_run import Done, Run, Tally
from likelax.fit.groups import Group, groups
from likelax.fit.hyperparameters import entry, length, named_values
from likelax.fit.lanes import OWN, Axes
from likelax.fit.result import Fit, M, Status, T, best
from likelax.model import PriorLike, pytree
from likelax.numerics import devices
from likelax.numerics.checks import checked


@pytree
class Batch(Generic[T]):
    """Fits of many data sets, each from R starts.

    Attributes:
      fits: `Fit` with leading axes (B, R): B data sets, R restarts. With S sizes they are (B, S, R), with
        H hyperparameters (B, H, R), and with both (B, S, H, R). Of `objectives` only the last is kept:
        (B, R, 1).
      seconds: as `status` of the fits: from the call to when the fit had ended, which is noticed about
        every second. Of a run that continued from a checkpoint, the time of all its calls.
      executed: integer scalar, steps of all lanes, including those of idle lanes and of fits that had
        ended; `needed` is the number without them.
      sizes: (S,) integers, or None.
      hyperparameters: by name, arrays with a leading axis H; or None.

    Examples:
      >>> from likelax import Poisson, fit
      >>> x = jnp.array([[1, 2], [5, 5], [0, 1]])
      >>> done = fit.batch(fit.EM(), lambda key, x: Poisson(1.0), x, key=jax.random.key(0))
      >>> print(len(done), done.best.model.rate, done[1].model.rate)
      3 [1.5 5.  0.5] [5.]
    """

    fits: Fit[T]
    seconds: Array
    executed: Array
    sizes: Array | None = None
    hyperparameters: dict[str, Array] | None = None

    @property
    def needed(self) -> Array:
        """Integer scalar: the steps that the fits needed, with one for each start."""
        return jnp.sum(self.fits.num_steps + 1)

    @property
    def best(self) -> Fit[T]:
        """The best restart, as `fit.best` chooses it, of each data set, size and hyperparameter.

        The axes are those of `fits` without the last: (B,), (B, S), (B, H) or (B, S, H).
        """
        choose: Callable[[Fit[T]], Fit[T]] = best
        for _ in range(self.fits.status.ndim - 1):
            choose = jax.vmap(choose)
        return choose(self.fits)

    @property
    def failed(self) -> Array:
        """True where no restart is usable: the axes are those of `best`."""
        return ~jnp.any(self.fits.usable, axis=-1)

    def __len__(self) -> int:
        return self.fits.status.shape[0]

    def __getitem__(self, index: int | tuple[int, ...]) -> Fit[T]:
        """The fits of one data set, or of one entry of several axes: `done[data set, restart]`.

        Args:
          index: an integer for the first axis, or a tuple of integers, one for each of the first axes.
        """
        places, shape = index if isinstance(index, tuple) else (index,), self.fits.status.shape
        if len(places) > len(shape):
            raise IndexError(f"Batch: the fits have {len(shape)} axes; got index {index}")
        for place, size, axis in zip(places, shape, self._axes, strict=False):
            if not -size <= place < size:
                raise IndexError(f"Batch: there are {size} {axis}s; got index {place}")
        return jax.tree.map(lambda leaf: leaf[places], self.fits)

    @property
    def _axes(self) -> tuple[str, ...]:
        """What the axes of the fits are."""
        sized, varied = self.sizes is not None, self.hyperparameters is not None
        return ("data set", *["size"] * sized, *["hyperparameter"] * varied, "restart")

    def __iter__(self) -> Iterator[Fit[T]]:
        return (self[i] for i in range(len(self)))

    def to_pandas(self) -> Any:
        """One row for each fit.

        The columns are dataset, size if there are sizes, each hyperparameter by its name, restart, status,
        objective, num_steps and seconds. The objective is in nats.

        Raises:
          ImportError: if pandas is not installed.

        Examples:
          >>> done.to_pandas()  # doctest: +SKIP
             dataset  restart     status  objective  num_steps  seconds
          0        0        0  CONVERGED  -2.881...          2     0.21
        """
        pandas = importlib.import_module("pandas")

        shape = self.fits.status.shape
        at = dict(zip(self._axes, np.indices(shape).reshape(len(shape), -1), strict=True))
        columns: dict[str, Any] = {"dataset": at["data set"]}
        if self.sizes is not None:
            columns["size"] = np.asarray(self.sizes)[at["size"]]
        for name, values in (self.hyperparameters or {}).items():
            one = np.asarray(values)[at["hyperparameter"]]
            columns[name] = one if one.ndim == 1 else list(one)
        columns["restart"] = at["restart"]
        columns["status"] = [Status(int(s)).name for s in np.ravel(self.fits.status)]
        columns["objective"] = np.ravel(self.fits.objective)
        columns["num_steps"] = np.ravel(self.fits.num_steps)
        columns["seconds"] = np.ravel(self.seconds)
        return pandas.DataFrame(columns)


@checked(num_restarts=None, num_lanes=None)
def batch(
    algorithm: Algorithm | Callable[[dict[str, Array]], Algorithm],
    start: Callable[..., M],
    datasets: DataLike,
    *,
    key: Array,
    num_restarts: int = 1,
    sizes: ArrayLike | Sequence[int] | None = None,
    hyperparameters: Mapping[str, ArrayLike] | None = None,
    weights: ArrayLike | Sequence[ArrayLike] | None = None,
    prior: PriorLike | Callable[[dict[str, Array]], PriorLike] | None = None,
    num_lanes: int | None = None,
    mesh: Mesh | None = None,
    previous: "Batch[M] | None" = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[Done], None] | None = None,
) -> "Batch[M]":
    """Fit a model to each of many data sets, from several starts each.

    The fits run in a fixed number of lanes on the device. A lane whose fit has ended takes the next
    one from the queue, so no fit waits for the slowest one, as it would under `jax.vmap`. A failed fit
    has a status and does not stop the others.

    Args:
      algorithm: `fit.EM(...)`, `fit.SQUAREM(...)`, `fit.Ascent(...)`, `fit.LBFGS(...)`, or
        `variational.GuideAscent(...)` for the ELBO of a guide. With hyperparameters it may be a function
        from one value of them to such an algorithm.
      start: from (key, x) to the model to start from; it is vmapped over keys and data sets. With sizes it is
        called with (key, x, size), and with hyperparameters one value of them comes last.
      datasets: data with a leading axis B on every array, plain or wrapped. Or a list of B data sets
        whose arrays differ in their first axis: rows, or the steps of one series for a hidden Markov
        model. They are padded to a few lengths; `start` sees a padded data set filled up by
        repetition of its own rows. A tuple or dict is no list: it is the fields of a product.
      key: random key, of which each start gets its own.
      num_restarts: R, starts for each data set.
      sizes: (S,) integers, such as numbers of components, each of which is fitted to each data set.
        All share one shape, as in `fit.sweep`. None: one model, whose size `start` knows.
      hyperparameters: by name, arrays with a leading axis H, such as {"concentration": [1.0, 2.0]}. Every
        data set is fitted with each of the H values, from the same starts. `start`, and `algorithm` and
        `prior` if they are functions, get a dict of the arrays without that axis. The model may differ
        in its numbers, the algorithm in those that may be traced (`tol`, `max_steps`, `scale_floor`,
        `step_scale`), the prior in all of its own; one compiled program serves all values.
      weights: as datasets: (B, ...), or a list of arrays; None for ones.
      prior: the model's conjugate prior, the same for all data sets, or None; with hyperparameters it
        may be a function from one value of them to such a prior.
      num_lanes: fits at a time on a device. None: as many as fill a processor's cache, at most 256, or on an
        accelerator 256 times as many.
      mesh: devices to which the data sets are dealt, those of all its axes, such as
        `jax.make_mesh((8,), ("fits",))`. Nothing is sent between them before the end. With several
        processes each gives the same arguments and gets all results, and the folder of the checkpoint
        must be common. None: the default device.
      previous: the result of an earlier call for the same data sets. Only those that have `failed` are
        fitted again; give another key, or other starts.
      checkpoint: how the names of the files begin that hold the state of the run, one for each length to
        which data sets are padded, or an existing folder for them; written about every second. If they
        exist, the run continues from them, and its fits are bit-equal to those of an uninterrupted run on
        as many devices. None saves nothing.
      progress: called about every second with a `Done`.
    Returns:
      `Batch`. NaN in a data set gives NON_FINITE, and no rows NO_DATA.
    Raises:
      ValueError: for data sets, weights or options that do not fit, or a checkpoint of another run.
      OSError: for a checkpoint that can't be written, as on a full disk; what was written stays.

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
    values = None if hyperparameters is None else named_values(hyperparameters)
    algorithm, given_prior, axes = _by_value(algorithm, prior, values)
    lanes = 1 if num_lanes is None else num_lanes
    for name, value in (("num_restarts", num_restarts), ("num_lanes", lanes)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"fit.batch: {name} must be an integer; got {value!r}")
        if value < 1:
            raise ValueError(f"fit.batch: {name} must be at least 1; got {value}")
    if previous is not None and not isinstance(previous, Batch):
        raise TypeError(
            f"fit.batch: previous must be what an earlier call returned; got {type(previous).__name__}"
        )
    files = _files(checkpoint)
    sizes = _sizes(sizes)
    extra = () if sizes is None else (sizes[0],)
    extra = extra if values is None else (*extra, entry(values, 0))
    first = start if not extra else lambda key, x: start(key, x, *extra)
    found = list(groups(datasets, weights, first, key))
    shape = (
        sum(len(group.at) for group in found),
        1 if sizes is None else len(sizes),
        num_restarts,
    )
    draws = None
    if algorithm.needs_key:
        key, key_draws = jax.random.split(key)
        draws = jax.random.split(key_draws, math.prod(shape)).reshape(shape)
    keys = jax.random.split(key, math.prod(shape)).reshape(shape)
    if previous is not None:
        wanted = (shape[0], *_lengths(sizes, values), num_restarts)
        found = _failed(found, previous, wanted)
    place = None if mesh is None else devices.automatic(mesh)
    number = 1 if values is None else length(values)
    tally = Tally(sum(len(group.at) for group in found) * shape[1] * number * num_restarts)
    run = Run(algorithm, given_prior, num_lanes, files, progress, place, tally, axes)
    parts = []
    for i, group in enumerate(found):
        models = _starts(start, keys[group.at], group.x, sizes, values)
        own = None
        if draws is not None:  # all hyperparameters get the same noise
            own = jnp.repeat(draws[group.at][:, :, None], number, axis=2)
        fits, seconds, executed = run.group(i, group, models, own)
        lead = (len(group.at), *_lengths(sizes, values), num_restarts)
        fits, seconds = jax.tree.map(
            lambda leaf, lead=lead: leaf.reshape(*lead, *leaf.shape[4:]), (fits, seconds)
        )
        parts.append(Batch(fits, seconds, jnp.asarray(executed), sizes, values))
    return _assemble(found, parts, previous)


def _by_value(
    algorithm: Any, prior: Any, values: dict[str, Array] | None
) -> tuple[Algorithm, Any, Axes]:
    """The algorithm and the prior; where they vary, with a leading axis H.

    Raises:
      TypeError, ValueError: for no algorithm, or options out of range.
    """
    algorithms, axes = [algorithm], OWN
    if values is not None and callable(algorithm) and not isinstance(algorithm, Algorithm):
        algorithm, axes = jax.vmap(algorithm)(values), axes._replace(algorithm=0)
        algorithms = [entry(algorithm, h) for h in range(length(values))]
    if values is None and inspect.isfunction(algorithm):
        raise TypeError(
            "fit.batch: algorithm must be one such as fit.EM(); a function is called with a value of the "
            "hyperparameters, and there are none"
        )
    for one in algorithms:
        check_algorithm("fit.batch", one)
        one.check("fit.batch")
    if values is not None and callable(prior):
        prior, axes = jax.vmap(prior)(values), axes._replace(prior=0)
    return algorithm, prior, axes


def _lengths(sizes: Array | None, values: dict[str, Array] | None) -> tuple[int, ...]:
    """(S, H), without those that are not given."""
    lengths = (len(sizes),) if sizes is not None else ()
    return (*lengths, length(values)) if values is not None else lengths


def _files(checkpoint: str | os.PathLike[str] | None) -> str | None:
    """How the names of the files begin.

    Raises:
      TypeError: for something else than a path.
      FileNotFoundError: if there is no such folder.
      PermissionError: if nothing can be written there.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"fit.batch: checkpoint must be a path; got {checkpoint!r}")
    name = os.fspath(checkpoint)
    name = os.path.join(name, "batch") if os.path.isdir(name) else name
    folder = os.path.dirname(os.path.abspath(name))
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"fit.batch: checkpoint: there is no folder {folder}; make it first"
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"fit.batch: checkpoint: nothing can be written to {folder}")
    return name


def _sizes(sizes: ArrayLike | Sequence[int] | None) -> Array | None:
    """The sizes as an array (S,).

    Raises:
      ValueError: for anything but at least one integer.
    """
    if sizes is None:
        return None
    found = jnp.asarray(sizes)
    if found.ndim != 1 or found.size == 0 or not jnp.issubdtype(found.dtype, jnp.integer):
        raise ValueError(
            f"fit.batch: sizes must be integers of shape (S,); got {found.dtype} of {found.shape}"
        )
    return found


@partial(jax.jit, static_argnames="start")
def _starts(
    start: Callable[..., M],
    keys: Array,
    x: Any,
    sizes: Array | None,
    values: dict[str, Array] | None,
) -> M:
    """Starts with leading axes (G, S, H, R) from keys (G, S, R); S or H is 1 without them."""

    def one(key: Array, x: Any, size: Any, value: Any) -> M:
        return start(key, x, *(part for part in (size, value) if part is not None))

    over_restarts = jax.vmap(one, in_axes=(0, None, None, None))
    number = 1 if values is None else length(values)
    over_values = jax.vmap(over_restarts, in_axes=(None, None, None, 0), axis_size=number)
    over_sizes = jax.vmap(over_values, in_axes=(0, None, 0, None))
    return jax.vmap(over_sizes, in_axes=(0, 0, None, None))(keys, x, sizes, values)


def _failed(found: list[Group], previous: Batch, shape: tuple[int, ...]) -> list[Group]:
    """The groups with only the data sets of which some earlier fits have failed."""
    if previous.fits.status.shape != shape:
        raise ValueError(
            f"fit.batch: previous must be of {shape[0]} data sets with {shape[-1]} restarts, and of "
            f"the same sizes and hyperparameters: {shape}; got {previous.fits.status.shape}"
        )
    failed = np.asarray(jnp.any(previous.failed.reshape(shape[0], -1), axis=1))
    kept = []
    for group in found:
        here = failed[group.at]
        if here.any():
            x, weights = jax.tree.map(lambda leaf, h=here: leaf[h], (group.x, group.weights))
            kept.append(Group(group.at[here], x, weights))
    return kept


def _assemble(found: list[Group], parts: list[Batch], previous: Batch | None) -> Batch:
    """The fits in the order of the data sets."""
    if previous is None:
        order = np.argsort(np.concatenate([group.at for group in found]))
        fits, seconds = jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves)[order],
            *((part.fits, part.seconds) for part in parts),
        )
        executed = jnp.sum(jnp.stack([part.executed for part in parts]))
        return Batch(fits, seconds, executed, parts[0].sizes, parts[0].hyperparameters)
    failed = previous.failed[..., None]
    both, executed = (previous.fits, previous.seconds), previous.executed
    for group, part in zip(found, parts, strict=True):
        new = part.fits, part.seconds
        both = jax.tree.map(partial(_replaced, at=group.at, failed=failed[group.at]), both, new)
        executed = executed + part.executed
    return Batch(*both, executed, previous.sizes, previous.hyperparameters)


def _replaced(old: Array, new: Array, at: np.ndarray, failed: Array) -> Array:
    """`old` with the entries of `new`, for the data sets `at`, where no earlier fit was usable."""
    failed = failed.reshape(*failed.shape, *(1,) * (new.ndim - failed.ndim))
    return old.at[at].set(jnp.where(failed, new, old[at]))
