"""Tables with columns of different types, as products of families."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from likelax.data import DataLike, Masked
from likelax.families import Beta, Categorical, Dirichlet, Gamma, Normal, Poisson
from likelax.families.mv_bernoulli import MvBernoulli
from likelax.interop.arguments import check_choice
from likelax.interop.sklearn.precision import FLOATS
from likelax.product import Independent, Product

KINDS = ("normal", "bernoulli", "poisson", "categorical")
UNKNOWN = ("error", "missing")


class Column(NamedTuple):
    """A column as it was read.

    Attributes:
      values: (N,) floats, NaN where missing; booleans; or objects.
      kind: its type, where none is given.
      categories: those that a data frame declares, in their order, or None.
    """

    values: np.ndarray
    kind: str
    categories: Any = None


class ColumnsMixin:
    """Reads rows whose columns have types, for a subclass of scikit-learn's `BaseEstimator`.

    Attributes:
      columns: the types, as a subclass documents them.
      handle_unknown: what a category is that the fit did not see: an "error", or "missing".
      columns_: (D,) the type of each column.
      categories_: a list of D: the values of a categorical column, or None.
    """

    columns: Any
    handle_unknown: str
    columns_: np.ndarray
    categories_: list[Any]

    def read_columns(self, X: Any, *, reset: bool) -> np.ndarray:
        """X as numbers (N, D): categories are codes from 0, and NaN is missing.

        Args:
          X: (N, D), an array of numbers or a DataFrame of pandas or polars.
          reset: learn the types and the categories, as in a fit.
        Raises:
          ValueError: for a value that its column cannot hold.
        """
        least = 2 if reset else 1
        framed = hasattr(X, "get_columns") or (hasattr(X, "iloc") and X.ndim == 2)
        if framed:
            validate_data(self, X, skip_check_array=True, reset=reset)
            parts = _columns_of(X)
        else:
            X = validate_data(
                self,
                X,
                dtype=FLOATS,
                ensure_all_finite="allow-nan",
                reset=reset,
                ensure_min_samples=least,
            )
            parts = [Column(column, "normal") for column in X.T]
        if reset:
            check_choice(self, "handle_unknown", UNKNOWN)
            self._learn([str(name) for name in X.columns] if framed else None, parts)
        codes = [self._codes(at, part.values) for at, part in enumerate(parts)]
        if not framed:
            return np.stack(codes, axis=1).astype(X.dtype)
        matrix = np.stack(codes, axis=1) if codes else np.zeros((len(X), 0))
        return check_array(
            matrix, dtype=FLOATS, ensure_all_finite="allow-nan", ensure_min_samples=least
        )

    def _learn(self, names: list[str] | None, parts: list[Column]) -> None:
        names = [str(at) for at in range(len(parts))] if names is None else names
        kinds = [part.kind for part in parts]
        for at, kind in self._named_columns(names):
            kinds[at] = parts[at].kind if kind == "auto" else kind
        self.columns_ = np.array(kinds)
        self.categories_ = [None] * len(parts)
        for at, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
            if kind != "categorical":
                continue
            found = part.values[~_missing(part.values)]
            try:
                self.categories_[at] = (
                    np.unique(found) if part.categories is None else np.asarray(part.categories)
                )
            except TypeError:
                raise ValueError(
                    f"column {names[at]!r} holds values of types without an order"
                ) from None

    def _named_columns(self, names: list[str]) -> list[tuple[int, str]]:
        """(position, type) of the columns whose type is given."""
        given = self.columns
        if isinstance(given, str):
            given = [given] * len(names)
        if isinstance(given, Mapping):
            found = []
            for name, kind in given.items():
                at = names.index(name) if name in names else name
                if not isinstance(at, int | np.integer) or not 0 <= at < len(names):
                    raise ValueError(f"columns: X has no column {name!r}")
                found.append((int(at), kind))
        else:
            found = list(enumerate(given))
            if len(found) != len(names):
                raise ValueError(
                    f"columns must have one type for each of the {len(names)} columns, got {len(found)}"
                )
        for at, kind in found:
            if not isinstance(kind, str) or kind not in (*KINDS, "auto"):
                raise ValueError(
                    f"columns: the type of column {names[at]!r} must be one of {(*KINDS, 'auto')}, "
                    f"got {kind!r}"
                )
        return found

    def _codes(self, at: int, part: np.ndarray) -> np.ndarray:
        """A column as floats."""
        kind, missing = self.columns_[at], _missing(part)
        if kind == "categorical":
            values = self.categories_[at]
            order = np.argsort(values)
            found = np.full(len(part), np.nan)
            known = np.isin(part[~missing], values)
            if self.handle_unknown == "error" and not known.all():
                unknown = part[~missing][~known][0]
                raise ValueError(f"X holds {unknown!r} in column {at}, which the fit did not see")
            rows = np.flatnonzero(~missing)[known]
            found[rows] = order[np.searchsorted(values, part[rows], sorter=order)]
            return found
        try:
            found = np.where(missing, np.nan, part).astype(
                part.dtype if part.dtype in FLOATS else np.float64
            )
        except (TypeError, ValueError):
            raise ValueError(
                f"column {at} of X must hold numbers, as its type is {kind!r}"
            ) from None
        seen = found[~missing]
        if kind == "bernoulli" and not np.isin(seen, [0, 1]).all():
            raise ValueError(f"column {at} of X must hold 0 and 1, as its type is {kind!r}")
        if kind == "poisson" and np.any((seen < 0) | (seen != np.round(seen))):
            raise ValueError(f"column {at} of X must hold counts, as its type is {kind!r}")
        return found

    def _kinds(self) -> list[str]:
        """The types that occur."""
        return [kind for kind in KINDS if kind in self.columns_]

    def fields_of(self, x: np.ndarray) -> DataLike:
        """Rows of `read_columns` as a product takes them: a dict with one entry for each type.

        Args:
          x: (N, D), NaN is missing.
        """
        missing = np.isnan(x)
        filled = np.where(missing, 0, x)
        values: dict[str, Any] = {}
        seen: dict[str, Any] = {}
        for kind in self._kinds():
            own = self.columns_ == kind
            if kind == "categorical":
                values[kind] = tuple(filled[:, own].astype(np.int32).T)
                seen[kind] = tuple(~missing[:, own].T)
            else:
                values[kind], seen[kind] = filled[:, own], ~missing[:, own]
        return Masked(values, seen) if missing.any() else values

    def product_of(self, means: np.ndarray, spreads: np.ndarray) -> Product:
        """K products with the given expectations, stacked.

        Args:
          means: (K, D); for a categorical column the first of its probabilities is not used, and all
            categories are equally probable.
          spreads: (K, D) standard deviations of the normal columns.
        """
        fields: dict[str, Any] = {}
        for kind in self._kinds():
            own = self.columns_ == kind
            mean: Any = means[:, own]
            if kind == "normal":
                scale: Any = spreads[:, own]
                fields[kind] = Independent(Normal(mean, scale))
            elif kind == "bernoulli":
                fields[kind] = MvBernoulli(mean)
            elif kind == "poisson":
                fields[kind] = Independent(Poisson(mean))
            else:
                sizes = [len(values) for values in self.categories_ if values is not None]
                tables: Any = [np.full((len(means), c), 1 / c, means.dtype) for c in sizes]
                fields[kind] = Product(tuple(Categorical(table) for table in tables))
        return Product(fields)

    def prior_of(self, means: np.ndarray, smoothing: float) -> Product | None:
        """Priors of K products, stacked: `smoothing` rows are added to each.

        Args:
          means: (K, D) expectations of the counts among the added rows.
          smoothing: added to the count of every category, and of ones and zeros.
        """
        if smoothing == 0:
            return None
        dtype = means.dtype.type
        fields: dict[str, Any] = {}
        for kind in self._kinds():
            own = self.columns_ == kind
            mean: Any = means[:, own]
            added: Any = np.full_like(mean, smoothing)
            if kind == "normal":
                fields[kind] = None
            elif kind == "bernoulli":
                fields[kind] = Independent(Beta(1 + added, 1 + added))
            elif kind == "poisson":
                fields[kind] = Independent(Gamma(1 + added * mean, added))
            else:
                sizes = [len(values) for values in self.categories_ if values is not None]
                counts: Any = [np.full((len(means), c), 1 + dtype(smoothing)) for c in sizes]
                fields[kind] = Product(tuple(Dirichlet(count) for count in counts))
        return Product(fields)


def column_moments(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the observed entries of each column, (D,).

    Args:
      x: (N, D), NaN is missing.
      weights: (N,) non-negative.

    Examples:
      >>> column_moments(np.array([[1.0], [3.0], [np.nan]]), np.ones(3))
      (array([2.]), array([1.]))
    """
    seen = np.where(np.isnan(x), 0, weights[:, None]).astype(x.dtype)
    total = np.maximum(seen.sum(axis=0), np.finfo(x.dtype).tiny)
    mean = (seen * np.where(seen > 0, x, 0)).sum(axis=0) / total
    gap = np.where(seen > 0, x - mean, 0)
    return mean, np.sqrt((seen * gap**2).sum(axis=0) / total)


def _columns_of(frame: Any) -> list[Column]:
    """The columns of a DataFrame of pandas or polars."""
    if hasattr(frame, "iloc"):
        return [_from_pandas(frame.iloc[:, at]) for at in range(frame.shape[1])]
    return [_from_polars(series) for series in frame.get_columns()]


def _from_pandas(column: Any) -> Column:
    kind = getattr(column.dtype, "kind", "O")
    categories = getattr(column.dtype, "categories", None)
    if categories is not None or kind == "O":
        return Column(column.to_numpy(dtype=object), "categorical", categories)
    if kind in "mM":
        raise _not_numbers(column)
    if kind == "b" and not column.isna().any():
        return Column(column.to_numpy(dtype=bool), "bernoulli")
    dtype = np.float32 if column.dtype == np.float32 else np.float64
    numbers = column.to_numpy(dtype=dtype, na_value=np.nan)
    return Column(numbers, "bernoulli" if kind == "b" else "normal")


def _from_polars(column: Any) -> Column:
    name = str(column.dtype)
    if column.dtype.is_temporal():
        raise _not_numbers(column)
    if name == "Boolean" or column.dtype.is_numeric():
        numbers = column.to_numpy()
        if numbers.dtype not in (bool, np.float32):
            numbers = numbers.astype(np.float64)  # None becomes NaN
        return Column(numbers, "bernoulli" if name == "Boolean" else "normal")
    values = np.array([*column.to_list(), None], object)[:-1]
    declared = column.dtype.categories.to_list() if name.startswith("Enum") else None
    return Column(values, "categorical", declared)


def _not_numbers(column: Any) -> ValueError:
    return ValueError(f"column {column.name!r} of X holds {column.dtype}: convert it to numbers")


def _missing(part: np.ndarray) -> np.ndarray:
    """Where a column holds NaN, or None, or pandas' NA."""
    if part.dtype != object:
        return np.isnan(part) if part.dtype.kind == "f" else np.zeros(len(part), bool)
    return np.array(
        [v is None or type(v).__name__ in ("NAType", "NaTType") or v != v for v in part]
    )
