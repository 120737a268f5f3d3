"""Models by name, such as "hmm:poisson": what the command line fits, and where each fit starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax import families, fit, naive_bayes
from likelax.columns import Column
from likelax.data import DataLike, take_mask, take_series, unlabelled
from likelax.hmm import HMM
from likelax.mixture import Mixture
from likelax.model import Density, Model
from likelax.product import Independent, Product

# Share of a row that a start gives to its nearest component; the rest is spread evenly, so that no
# component starts with a single row.
NEAREST = 0.8
STAY = 0.9

MOST_STATES = 1000

Leaf = Callable[[int | None], Model]
"""From the number of columns D, or None for scalars, to one component."""


def _each(scalar: Callable[[Any], Model]) -> Leaf:
    """A family of scalars, for each column by itself."""

    def leaf(columns: int | None) -> Model:
        one = jnp.ones(()) if columns is None else jnp.ones(columns)
        return scalar(one) if columns is None else Independent(scalar(one))

    return leaf


def _normal(columns: int | None) -> Model:
    if columns is None:
        return families.Normal(jnp.zeros(()), jnp.ones(()))
    return families.MvNormal(jnp.zeros(columns), jnp.eye(columns))


def _bernoulli(columns: int | None) -> Model:
    if columns is None:
        return families.Bernoulli(jnp.full((), 0.5))
    return families.MvBernoulli(jnp.full(columns, 0.5))


def _student(columns: int | None) -> Model:
    dof = jnp.full((), 4.0)
    if columns is None:
        return families.StudentT(dof, jnp.zeros(()), jnp.ones(()), fixed_dof=False)
    return families.MvStudentT(dof, jnp.zeros(columns), jnp.eye(columns), fixed_dof=False)


LEAVES: dict[str, Leaf] = {
    "normal": _normal,
    "diagonal": _each(lambda one: families.Normal(0 * one, one)),
    "bernoulli": _bernoulli,
    "poisson": _each(families.Poisson),
    "exponential": _each(families.Exponential),
    "gamma": _each(lambda one: families.Gamma(one, one)),
    "beta": _each(lambda one: families.Beta(one, one)),
    "geometric": _each(lambda one: families.Geometric(one / 2)),
    "inverse-gamma": _each(lambda one: families.InverseGamma(one, one)),
    "laplace": _each(lambda one: families.Laplace(0 * one, one)),
    "log-normal": _each(lambda one: families.LogNormal(0 * one, one)),
    "student-t": _student,
    "von-mises": _each(lambda one: families.VonMises(0 * one, one)),
    "weibull": _each(lambda one: families.Weibull(shape=one, scale=one)),
}

MIXED = "mixed"
OF_ROWS = (*LEAVES, "categorical", MIXED)

# The families of each kind of model.
KINDS: dict[str, tuple[str, ...]] = {
    "mle": OF_ROWS,
    "mixture": OF_ROWS,
    "hmm": OF_ROWS,
    "naive-bayes": ("gaussian", "bernoulli", "multinomial", "categorical", MIXED),
    "regression": ("normal", "logistic", "softmax", "poisson", "negative-binomial"),
}

# What a column of each family of `KINDS` is, where its name says something else.
COLUMN_FAMILY = {"diagonal": "normal", "gaussian": "normal", "multinomial": "poisson"}
TARGET_FAMILY = {
    "logistic": "bernoulli",
    "softmax": "categorical",
    "negative-binomial": "poisson",
}
OF_COLUMN = (*(name for name in LEAVES if name != "diagonal"), "categorical")

INTERCEPT = "intercept"


@dataclass(frozen=True)
class Named:
    """A model by name.

    Attributes:
      kind: a key of `KINDS`: "mle" is one distribution.
      family: of the components, classes or targets; one of `KINDS[kind]`.

    Examples:
      >>> parse("hmm:poisson")
      Named(kind='hmm', family='poisson')
    """

    kind: str
    family: str

    @property
    def has_sizes(self) -> bool:
        """Whether it has a number of components or states to try."""
        return self.kind in ("mixture", "hmm")

    def sizes(self, text: str | None) -> list[int]:
        """The numbers of components or states to try, 2 if none are given; see `parse_sizes`.

        Raises:
          ValueError: for text that says no sizes, or for a model that has none.
        """
        if text is not None and not self.has_sizes:
            raise ValueError(
                f"--states is for models with components or states, mixture:FAMILY and hmm:FAMILY; "
                f"{self.kind}:{self.family} has none"
            )
        return parse_sizes("2" if text is None else text)

    @property
    def takes_series(self) -> bool:
        """Whether the rows of a data set are the steps of one series."""
        return self.kind == "hmm"

    @property
    def takes_label(self) -> bool:
        """Whether one column is told apart, as the class or the target."""
        return self.kind in ("naive-bayes", "regression")

    @property
    def decides(self) -> bool:
        """Whether its label is a class, so that its probabilities are of a decision."""
        return self.takes_label and self.label_family in ("bernoulli", "categorical")

    @property
    def column_family(self) -> str | None:
        """The family of every column; None if it is inferred for each."""
        if self.kind == "regression" or self.family == MIXED:
            return None
        return COLUMN_FAMILY.get(self.family, self.family)

    @property
    def label_family(self) -> str:
        """The family of the column of the label."""
        if self.kind == "naive-bayes":
            return "categorical"
        return TARGET_FAMILY.get(self.family, self.family)

    def fields(self, columns: Sequence[Column]) -> bool:
        """Whether rows of these columns are fields of a `Product`, not a number or a vector."""
        if self.kind == "naive-bayes":
            return self.family in ("categorical", MIXED)
        if self.kind == "regression" or len(columns) == 1:
            return False
        return self.family in ("categorical", MIXED) or any(
            column.family != self.column_family for column in columns
        )

    def scalar(self, columns: Sequence[Column]) -> bool:
        """Whether rows of these columns are numbers."""
        return not self.takes_label and len(columns) == 1

    def leaf(self, columns: Sequence[Column]) -> Model:
        """One component, whatever its values.

        Args:
          columns: of a row.

        Examples:
          >>> parse("mle:mixed").leaf([Column("n", "poisson"), Column("x", "normal")])
          Product(fields={'n': Poisson(rate=...), 'x': Normal(loc=..., scale=...)})
        """
        if self.fields(columns):
            return Product({column.name: _field(column) for column in columns})
        if self.scalar(columns):
            return _field(columns[0])
        return LEAVES[self.family](len(columns))

    def starter(self, columns: Sequence[Column], most: int) -> "Starter":
        """The function that makes starts, as `fit.batch` takes it.

        Args:
          columns: of a row.
          most: the largest number of components or states.

        Examples:
          >>> start = parse("mixture:poisson").starter([Column("n", "poisson")], 3)
          >>> model = start(jax.random.key(0), jnp.array([4, 5, 0, 1]), 2)  # of at most 3 components
          >>> print(model.num_components, model.weights)
          3 [0.5 0.5 0. ]
        """
        return Starter(self, tuple(columns), most)

    def blank(
        self, columns: Sequence[Column], size: int | None, label: Column | None = None
    ) -> Model:
        """A model of the right structure and shapes, whatever its values: what `fit.load` wants.

        Args:
          columns: of a row.
          size: number of components or states; None for a model without a choice of it.
          label: the column of classes or targets, for a model that has one.

        Examples:
          >>> parse("hmm:poisson").blank([Column("n", "poisson")], 2).transition.shape
          (2, 2)
        """
        if label is not None:
            if self.kind == "regression":
                return self.regression(columns, label)
            return self.classifier(columns, label).model
        leaf = self.leaf(columns)
        if not self.has_sizes:
            return leaf
        count = 1 if size is None else size
        weights, components = jnp.full(count, 1 / count), _stacked(leaf, count)
        if self.kind == "mixture":
            return Mixture(weights, components)
        return HMM(weights, jnp.full((count, count), 1 / count), components)

    def classifier(self, columns: Sequence[Column], label: Column) -> naive_bayes.NaiveBayes:
        """Naive Bayes before any data. One is added to each count of a category or of a one.

        Args:
          columns: of a row.
          label: whose values are the classes.

        Examples:
          >>> nb = parse("naive-bayes:gaussian").classifier(
          ...     [Column("n", "normal")], Column("who", "categorical", ("ann", "bob"))
          ... )
          >>> nb.model.num_components
          2
        """
        classes, number = len(label.values), len(columns)
        if self.fields(columns):
            priors = {column.name: _prior(column) for column in columns}
            given = {name: prior for name, prior in priors.items() if prior is not None}
            models = {column.name: _field(column) for column in columns}
            return naive_bayes.mixed(classes, models, given)
        build: Any = getattr(naive_bayes, self.family)
        return build(classes, number)

    def regression(self, columns: Sequence[Column], label: Column) -> Model:
        """The regression that a fit starts from: coefficients of 0.

        Args:
          columns: the inputs.
          label: the target.

        Examples:
          >>> target = Column("y", "normal")
          >>> parse("regression:normal").regression([Column("x", "number")], target).coefficients.shape
          (2, 1)
        """
        width = len(inputs_of(columns))
        if self.family == "normal":
            return families.LinearRegression(jnp.zeros((width, 1)), jnp.eye(1))
        if self.family == "logistic":
            return families.LogisticRegression(jnp.zeros(width))
        if self.family == "poisson":
            return families.PoissonRegression(jnp.zeros(width))
        if self.family == "negative-binomial":
            return families.NegativeBinomialRegression(jnp.ones(()), jnp.zeros(width))
        return families.SoftmaxRegression(jnp.zeros((width, len(label.values))))


def _field(column: Column) -> Model:
    """The model of one column."""
    if column.family == "categorical":
        count = len(column.values)
        return families.Categorical(jnp.full(count, 1 / count))
    return LEAVES[column.family](None)


def _prior(column: Column) -> Density | None:
    """The prior of one column of a classifier: one more of each value; none for other numbers."""
    if column.family == "categorical":
        return families.Dirichlet(jnp.full(len(column.values), 2.0))
    two = jnp.full((), 2.0)
    return families.Beta(two, two) if column.family == "bernoulli" else None


def inputs_of(columns: Sequence[Column]) -> list[str]:
    """The names of the inputs of a regression: a constant, numbers, and an indicator a category.

    The first category of a column is the one that the others are compared with.

    Examples:
      >>> inputs_of([Column("age", "number"), Column("sex", "categorical", ("f", "m"))])
      ['intercept', 'age', 'sex=m']
    """
    names = [INTERCEPT]
    for column in columns:
        names += [f"{column.name}={value}" for value in column.values[1:]] or [column.name]
    return names


def _stacked(leaf: Model, count: int) -> Model:
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *jnp.shape(a))), leaf)


def parse(text: str) -> Named:
    """A model from its name KIND:FAMILY.

    Args:
      text: such as "mixture:normal": a mixture or a hidden Markov model of the family, "mle" for the
        family alone, "naive-bayes" or "regression".
    Raises:
      ValueError: for an unknown kind or family, with those that there are.

    Examples:
      >>> parse("mixture:student")
      Traceback (most recent call last):
        ...
      ValueError: model 'mixture:student': there is no family 'student'; choose from normal,
      diagonal, bernoulli, poisson, exponential, gamma, beta, geometric, inverse-gamma, laplace,
      log-normal, student-t, von-mises, weibull, categorical, mixed
    """
    kind, _, family = text.partition(":")
    if kind not in KINDS or not family:
        raise ValueError(
            f"model {text!r}: wanted KIND:FAMILY with KIND one of {', '.join(KINDS)}, "
            "such as hmm:poisson"
        )
    if family not in KINDS[kind]:
        raise ValueError(
            f"model {text!r}: there is no family {family!r}; choose from {', '.join(KINDS[kind])}"
        )
    return Named(kind, family)


def parse_sizes(text: str) -> list[int]:
    """Numbers of components from "3", "2,4" or "2:5", whose end is included.

    Raises:
      ValueError: for anything else, or a number below 1 or above 1000.

    Examples:
      >>> parse_sizes("2:5"), parse_sizes("2,4")
      ([2, 3, 4, 5], [2, 4])
    """
    first, colon, last = text.partition(":")
    try:
        sizes = [int(part) for part in ([first, last] if colon else text.split(","))]
    except ValueError:
        sizes = []
    if colon and sizes and max(sizes) <= MOST_STATES:
        sizes = list(range(sizes[0], sizes[1] + 1))
    if not sizes or min(sizes) < 1 or max(sizes) > MOST_STATES:
        raise ValueError(
            f"states {text!r}: wanted a number, a list 2,4 or a range 2:5, from 1 to {MOST_STATES}"
        )
    return sizes


@dataclass(frozen=True)
class Starter:
    """A start from a key, a data set and a size. Equal ones compile once.

    Attributes:
      named: the model.
      columns: of a row.
      most: K, the length of the arrays.
    """

    named: Named
    columns: tuple[Column, ...]
    most: int

    def __call__(self, key: Array, x: DataLike, size: Any = None) -> Model:
        """The start: components fitted to soft clusters about rows far from each other.

        Args:
          key: random key.
          x: one data set.
          size: how many of the K components have weight; None: all.
        """
        leaf = self.named.leaf(self.columns)
        rest, _ = take_series(unlabelled(x))
        if not self.named.has_sizes:
            return leaf.m_step(leaf.e_step(rest)[0])
        used = jnp.arange(self.most) < (self.most if size is None else size)
        weights = jnp.where(used, 1.0, 0.0)
        weights = weights / jnp.sum(weights)
        shares = self._shares(key, rest, used, weights)
        stack = _stacked(leaf, self.most)
        components = stack.stacked_m_step(stack.stacked_e_step(rest, shares))
        if self.named.kind == "mixture":
            return Mixture(weights, components)
        away = jnp.broadcast_to((1 - STAY) * weights[None, :], (self.most, self.most))
        return HMM(weights, away + STAY * jnp.eye(self.most), components)

    def _shares(self, key: Array, x: DataLike, used: Array, weights: Array) -> Array:
        """(N, K) how much of each row each component takes."""
        rows, seen = self._numbers(x)
        mean = jnp.mean(rows, axis=0, where=seen, keepdims=True)
        rows = jnp.where(seen, rows - mean, 0)
        width = jnp.std(rows, axis=0, keepdims=True)
        rows = rows / jnp.where(width > 0, width, 1)
        _, centers = fit.kmeans(key, rows, self.most, num_steps=0)
        gaps = jnp.sum((rows[:, None, :] - centers[None, :, :]) ** 2, axis=-1)
        nearest = jnp.argmin(jnp.where(used[None, :], gaps, jnp.inf), axis=1)
        own = jax.nn.one_hot(nearest, self.most, dtype=rows.dtype)
        return NEAREST * own + (1 - NEAREST) * weights.astype(own.dtype)[None, :]

    def _numbers(self, x: DataLike) -> tuple[Array, Array]:
        """(N, D) numbers that rows are compared by, an indicator a category, and which were seen."""
        values, observed = take_mask(x)
        fields = self.named.fields(self.columns)
        rows, seen = [], []
        for i, column in enumerate(self.columns):

            def of(tree: Any, i: int = i, column: Column = column) -> Array:
                if fields:
                    return jnp.asarray(tree[column.name])
                return jnp.asarray(tree if jnp.ndim(tree) == 1 else tree[:, i])

            value = of(values)
            if column.family == "categorical":
                wide = jax.nn.one_hot(value, len(column.values), dtype=float)
            else:
                wide = jnp.asarray(value, float)[:, None]
            known = jnp.ones(value.shape, bool) if observed is None else of(observed)
            rows.append(wide)
            seen.append(jnp.broadcast_to(known[:, None], wide.shape))
        return jnp.concatenate(rows, axis=1), jnp.concatenate(seen, axis=1)
