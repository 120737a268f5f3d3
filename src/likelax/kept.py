"""A model that the command line fitted, in a file that says what it is and what it was fitted to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from likelax import __version__, files, fit, named
from likelax import columns as columns_
from likelax.columns import Column
from likelax.data import DataLike, Labelled, Masked, Sequences
from likelax.fit import checkpoint
from likelax.hmm import HMM
from likelax.mixture import Mixture


@dataclass(frozen=True)
class Kept:
    """A fitted model and where it comes from; with `model` None, what will be fitted to what.

    Attributes:
      name: KIND:FAMILY, as for `named.parse`.
      fields: the columns that it describes, or the inputs of a regression.
      label: the column of the classes or targets, if any.
      group: name of the column that tells the series apart, if any.
      weight: name of the column of weights, if any.
      holdout: share of the data that the fit did not see.
      seed: that chose the starts, and shuffled rows in no order before some were held out.
      size: number of components or states; None for a model without a choice of it.
      model: the model.
    """

    name: str
    fields: tuple[Column, ...]
    label: Column | None = None
    group: str | None = None
    weight: str | None = None
    holdout: float = 0.0
    seed: int = 0
    size: int | None = None
    model: Any = None

    @property
    def named(self) -> named.Named:
        """The model by name."""
        return named.parse(self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it describes."""
        return tuple(column.name for column in self.fields)

    @property
    def scalar(self) -> bool:
        """Whether a row is a number, not a vector."""
        return self.named.scalar(self.fields)

    def save(self, file: Path) -> None:
        """Write it to a file, in place of an older one."""
        notes = asdict(replace(self, model=None)) | {"version": __version__}
        fit.save(file, self.model, notes=notes)

    def rows(
        self,
        file: Path,
        table: Mapping[str, np.ndarray],
        *,
        label: bool = True,
        weight: bool = True,
    ) -> files.Rows:
        """The rows of a table as numbers, the texts of categories as codes.

        Args:
          file: for messages.
          table: as `files.read_raw` returns it.
          label, weight: whether to read the columns of the label and the weights.
        Raises:
          files.DataError: for a column that is not there, an unknown category, or a weight that is
            missing, negative or infinite.

        Examples:
          >>> plan = Kept("mle:poisson", (Column("n", "poisson"),))
          >>> plan.rows(Path("t.csv"), {"n": np.array(["1", "NA"])}).values
          array([ 1., nan])
        """
        target = self.label if label else None
        weight_name = self.weight if weight else None
        label_name = None if target is None else target.name
        names = (self.group, *self.columns, label_name, weight_name)
        files.check_columns(file, table, names)
        values = files.stacked([columns_.encode(file, c, table[c.name]) for c in self.fields])
        groups = None if self.group is None else table[self.group].astype(str)
        labels = weights = None
        if target is not None:
            labels = columns_.encode(file, target, table[target.name]).astype(float)
        if weight_name is not None:
            weights = files.numbers(file, weight_name, table[weight_name]).astype(float)
            if not np.all((weights >= 0) & (weights < np.inf)):
                raise files.DataError(
                    f"{file}: the weights in column {weight_name!r} must be finite and not negative"
                )
        return files.Rows(values, self.columns, groups, labels, weights)

    def complete(self, rows: files.Rows) -> files.Rows:
        """The rows with a label, and for a regression with all inputs; all without a label.

        Raises:
          files.DataError: if there is none.

        Examples:
          >>> plan = Kept("regression:normal", (Column("x", "number"),), Column("y", "normal"))
          >>> plan.complete(files.Rows(np.array([1.0, 2.0]), ("x",), None, np.array([3.0, np.nan]))).labels
          array([3.])
        """
        if rows.labels is None:
            return rows
        known = ~np.isnan(rows.labels)
        if self.named.kind == "regression":
            known &= ~np.isnan(rows.values.reshape(len(known), -1)).any(axis=1)
        if not known.any():
            raise files.DataError("no row has a label and all inputs")
        return _of(rows, known)

    def data(self, rows: files.Rows) -> DataLike:
        """Rows as the model takes them: missing numbers as `Masked`, series one after the other.

        Examples:
          >>> plan = Kept("hmm:poisson", (Column("n", "poisson"),), group="who")
          >>> x = plan.data(files.Rows(np.array([1.0, 2.0, 3.0]), ("n",), np.array(["a", "b", "a"])))
          >>> print(x.values, x.starts)
          [1. 3. 2.] [ True False  True]
        """
        if self.named.kind == "regression":
            return self._pairs(rows)
        series = self.named.takes_series
        parts = list(rows.parts().values()) if series else [rows.values]
        x = self._values(single(np.concatenate(parts)))
        if series and rows.groups is not None:
            starts = np.zeros(len(rows.values), bool)
            starts[np.cumsum([0, *map(len, parts)])[:-1]] = True
            return Sequences(x, starts=jnp.asarray(starts))
        if self.label is None or rows.labels is None:
            return x
        return Labelled(x, jnp.asarray(_codes(rows.labels, -1)))

    def weights(self, rows: files.Rows) -> jax.Array | None:
        """(N,) the weights of rows; None where they have none."""
        return None if rows.weights is None else jnp.asarray(single(rows.weights))

    def criteria(self, model: Any, x: DataLike, weights: jax.Array | None) -> tuple[int, float]:
        """(number of parameters that were fitted, BIC) of a model of this kind.

        EM holds the total count of a negative binomial regression, but the command line fits it.
        """
        free, bic = int(fit.num_parameters(model)), float(fit.bic(model, x, weights=weights))
        if self.named.family != "negative-binomial":
            return free, bic
        number = len(model.log_prob(x)) if weights is None else float(weights.sum())
        return free + 1, bic + float(np.log(number))

    def _values(self, values: np.ndarray) -> DataLike:
        if not self.named.fields(self.fields):
            if self.scalar and self.fields[0].family == "categorical":
                return _masked(values, _codes(values, 0))
            if not self.scalar and values.ndim == 1:
                values = values[:, None]
            return Masked.from_nan(values) if np.isnan(values).any() else jnp.asarray(values)
        wide = values[:, None] if values.ndim == 1 else values
        x = {}
        for column, value in zip(self.fields, wide.T, strict=True):
            x[column.name] = _codes(value, 0) if column.family == "categorical" else value
        if not np.isnan(wide).any():
            return jax.tree.map(jnp.asarray, x)
        observed = {c.name: ~np.isnan(v) for c, v in zip(self.fields, wide.T, strict=True)}
        return jax.tree.map(jnp.asarray, Masked(_filled(x), observed))

    def _pairs(self, rows: files.Rows) -> DataLike:
        """(inputs, targets) of a regression; targets of 0 where the rows have none."""
        values = single(rows.values[:, None] if rows.values.ndim == 1 else rows.values)
        inputs = [np.ones(len(values), values.dtype)]
        for column, value in zip(self.fields, values.T, strict=True):
            missing = np.where(np.isnan(value), value, 0)
            levels = range(1, len(column.values))
            inputs += [(value == k) + missing for k in levels] or [value]
        design = np.stack(inputs, axis=1)
        labels = np.zeros(len(values)) if rows.labels is None else rows.labels
        whole = self.named.label_family == "categorical"
        targets = _codes(labels, 0) if whole else single(labels)
        return Masked.from_nan(jnp.asarray(design)), _masked(labels, jnp.asarray(targets))

    def table(self) -> dict[str, list[Any]]:
        """The parameters of the model as a table: the name of each number, and the number.

        Classes, categories and columns are named, such as "components.fields['diet'].probs[cat,fish]".

        Examples:
          >>> from likelax.families import Categorical
          >>> plan = Kept("mle:categorical", (Column("diet", "categorical", ("fish", "meat")),))
          >>> replace(plan, model=Categorical(jnp.array([0.25, 0.75]))).table()["parameter"]
          ['probs[fish]', 'probs[meat]']
        """
        return parameters(self.model, self._places)

    def _places(self, path: str, shape: tuple[int, ...]) -> list[Sequence[str]]:
        """The names of the places along each axis of a parameter."""
        names: list[Sequence[str]] = [[str(i) for i in range(size)] for size in shape]
        if self.named.kind == "regression" and self.label is not None:
            if path == "coefficients":
                names[0] = named.inputs_of(self.fields)
                if len(shape) > 1:
                    names[1] = self.label.values or (self.label.name,)
            return names
        # the axis of components or classes comes before those of one of them
        own = 0 if self.size is None and self.label is None else 1
        if self.label is not None:
            names[0] = self.label.values
        if path in ("weights", "initial", "transition"):
            return names
        if self.scalar or self.named.fields(self.fields):
            for column in self.fields:
                inside = self.scalar or f"[{column.name!r}]" in path
                if inside and column.family == "categorical":
                    names[own:] = [column.values for _ in names[own:]]
            return names
        names[own:] = [self.columns for _ in names[own:]]
        return names


def weighted(log_probs: jax.Array, weights: jax.Array) -> jax.Array:
    """Log probabilities times weights, 0 where a weight is 0.

    Examples:
      >>> print(weighted(jnp.array([-1.0, -jnp.inf]), jnp.array([2.0, 0.0])))
      [-2.  0.]
    """
    return jnp.where(weights > 0, weights * log_probs, 0)


def _codes(values: np.ndarray, missing: int) -> np.ndarray:
    """(N,) integers, with one for what is missing."""
    return np.where(np.isnan(values), missing, values).astype(np.int32)


def _filled(x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns with 1 for what is missing, so that no NaN reaches the device."""
    return {name: np.where(np.isnan(v), np.ones((), v.dtype), v) for name, v in x.items()}


def _masked(values: np.ndarray, x: Any) -> DataLike:
    """Numbers as `Masked` where some of the values that they come from are missing."""
    missing = np.isnan(values)
    if not missing.any():
        return jnp.asarray(x)
    return Masked(jnp.where(missing, jnp.ones((), x.dtype), x), jnp.asarray(~missing))


def plan(
    file: Path,
    table: Mapping[str, np.ndarray],
    model: str,
    *,
    columns: Sequence[str] = (),
    families: Mapping[str, str] | None = None,
    infer: bool = True,
    label: str | None = None,
    group: str | None = None,
    weight: str | None = None,
) -> Kept:
    """What to fit to a table: the family of each column, and the classes.

    Args:
      file: for messages.
      table: as `files.read_raw` returns it.
      model: KIND:FAMILY.
      columns: names of those to use; empty: all that have a name and no other part.
      families: the family of each column whose family is neither that of the model nor inferred.
      infer: whether families of columns are inferred where the model leaves them open.
      label, group, weight: names of columns.
    Returns:
      A `Kept` without a model.
    Raises:
      files.DataError: for columns that are not there or that the model can't take.

    Examples:
      >>> table = {"n": np.array(["1", "0", "3"]), "x": np.array(["1.5", "0.5", "2.5"])}
      >>> print([c.family for c in plan(Path("t.csv"), table, "mixture:mixed").fields])
      ['poisson', 'normal']
    """
    found, families = named.parse(model), dict(families or {})
    roles = [name for name in (label, group, weight) if name is not None]
    files.check_columns(file, table, (*roles, *columns, *families))
    # programs that number the rows write the numbers without a name
    used = list(columns) or [name for name in table if name and name not in roles]
    twice = [name for name in (*used, *roles) if [*used, *roles].count(name) > 1]
    if twice:
        raise files.DataError(f"{file}: column {twice[0]!r} is used twice; name it once")
    unused = sorted(set(families) - set(used))
    if unused or not used:
        raise files.DataError(
            f"{file} has no column {unused[0]!r} to use"
            if unused
            else f"{file} has no column with a name"
            + (f" beside {', '.join(map(repr, roles))}" if roles else "")
        )
    fields = tuple(
        _column(file, name, table[name], found, families.get(name), infer) for name in used
    )
    target = None
    if label is not None:
        target = columns_.describe(file, label, table[label], found.label_family)
    return Kept(model, fields, target, group, weight)


def _column(
    file: Path, name: str, raw: np.ndarray, model: named.Named, family: str | None, infer: bool
) -> Column:
    family = family or model.column_family
    if family is not None:
        return columns_.describe(file, name, raw, family)
    if model.kind != "regression":
        if infer:
            return columns_.infer(file, name, raw)
        raise files.DataError(
            f"{file}: say the family of column {name!r} by --column {name}:FAMILY"
        )
    guess = (
        columns_.infer(file, name, raw) if infer else columns_.describe(file, name, raw, "number")
    )
    return guess if guess.family == "categorical" else Column(name, "number")


def load(file: Path) -> Kept:
    """Read what `Kept.save` wrote. No code in the file is run.

    Raises:
      files.DataError: for a file that can't be read, or that `likelax fit` did not write.
    """
    version = None
    try:
        notes = fit.load_notes(file)
        version = notes.pop("version", None)
        notes["fields"] = tuple(map(_noted, notes["fields"]))
        notes["label"] = None if notes["label"] is None else _noted(notes["label"])
        kept = Kept(**notes)
        if kept.size is not None and not 1 <= kept.size <= named.MOST_STATES:
            raise ValueError("no such size")
        model = fit.load(file, kept.named.blank(kept.fields, kept.size, kept.label))
    except FileNotFoundError:
        raise files.DataError(f"{file} does not exist") from None
    except checkpoint.OtherFormatError:
        raise files.DataError(
            f"{file} is of another version of likelax; fit the model again"
        ) from None
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
        MemoryError,
        AttributeError,
    ):
        if version not in (None, __version__):
            raise files.DataError(
                f"{file} was written by likelax {version}, and this is {__version__}; fit the model again"
            ) from None
        raise files.DataError(f"{file} is damaged, or was not written by `likelax fit`") from None
    return replace(kept, model=model)


def _noted(notes: Mapping[str, Any]) -> Column:
    """A column from the notes of a file."""
    return Column(str(notes["name"]), str(notes["family"]), tuple(map(str, notes["values"])))


def trimmed(model: Any, size: int) -> Any:
    """A mixture or hidden Markov model without the components beyond the first `size`."""
    if isinstance(model, Mixture):
        components = jax.tree.map(lambda a: a[:size], model.components)
        return Mixture(model.weights[:size], components)
    if isinstance(model, HMM):
        emissions = jax.tree.map(lambda a: a[:size], model.emissions)
        return HMM(model.initial[:size], model.transition[:size, :size], emissions)
    return model


def single(values: np.ndarray) -> np.ndarray:
    """Numbers of a file in 32 bits.

    Raises:
      files.DataError: for a number that 32 bits can't hold.
    """
    large = np.isfinite(values) & (np.abs(values) > np.finfo(np.float32).max)
    if large.any():
        raise files.DataError(
            f"{values[large].flat[0]:g} is too large for 32 bits; change its unit"
        )
    return values.astype(np.float32)


def divided(
    rows: files.Rows, holdout: float, *, series: bool, seed: int
) -> tuple[files.Rows, files.Rows]:
    """The rows to fit, and those held out.

    Of one series the last steps are held out, of several the last series. Rows in no order are shuffled.

    Args:
      rows: of a file.
      holdout: share, in [0, 1).
      series: whether the rows are the steps of series.
      seed: of the shuffle.
    Raises:
      files.DataError: if nothing would be left to fit, or nothing held out though `holdout` > 0.
    """
    number = len(rows.values)
    if series and rows.groups is not None:
        labels = list(rows.parts())
        last = labels[_first_held(len(labels), holdout, "series") :]
        held = np.isin(rows.groups, last)
        return _of(rows, ~held), _of(rows, held)
    order = np.arange(number) if series else np.random.default_rng(seed).permutation(number)
    first = _first_held(number, holdout, "rows")
    return _of(rows, order[:first]), _of(rows, order[first:])


def _first_held(number: int, holdout: float, what: str) -> int:
    first = number - round(holdout * number)
    if first < 1 or (holdout > 0 and first == number):
        raise files.DataError(
            f"--holdout {holdout} leaves {first} of {number} {what} to fit; wanted at least one of each"
        )
    return first


def _of(rows: files.Rows, chosen: np.ndarray) -> files.Rows:
    groups = None if rows.groups is None else rows.groups[chosen]
    labels, weights = (
        None if part is None else part[chosen] for part in (rows.labels, rows.weights)
    )
    return files.Rows(rows.values[chosen], rows.columns, groups, labels, weights)


def parameters(
    model: Any, places: Callable[[str, tuple[int, ...]], list[Sequence[str]]] | None = None
) -> dict[str, list[Any]]:
    """The parameters of a model as a table: the name of each number, and the number.

    Args:
      model: any tree of arrays.
      places: from the path and the shape of a parameter to the names along each of its axes; None
        counts them from 0.

    Examples:
      >>> from likelax.families import Normal
      >>> parameters(Normal(1.0, 2.0))
      {'parameter': ['loc', 'scale'], 'value': [1.0, 2.0]}
    """
    names, values = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        array = np.asarray(leaf)
        axes = None if places is None else places(leaf_name(path, ()), array.shape)
        for at in np.ndindex(array.shape):
            if axes is None or not at:
                names.append(leaf_name(path, at))
            else:
                named_at = [axis[i] for axis, i in zip(axes, at, strict=True)]
                names.append(f"{leaf_name(path, ())}[{','.join(named_at)}]")
            values.append(array[at].item())
    return {"parameter": names, "value": values}


def leaf_name(path: Sequence[Any], at: tuple[int, ...]) -> str:
    """The name of one number of a model, such as "components.rate[0]"."""
    index = str(list(at)).replace(" ", "") if at else ""
    return jax.tree_util.keystr(tuple(path)).lstrip(".") + index
