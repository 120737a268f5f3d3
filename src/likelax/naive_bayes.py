"""Naive Bayes: a `Mixture` whose components are classes, fitted to labelled data.

Each builder returns a `NaiveBayes`: a model before any data, and its conjugate prior. The model is
fitted from statistics, which add over batches and devices.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import is_floating
from likelax.data import DataLike, Labelled, Masked, check_labels, convert, take_mask, with_mask
from likelax.families.base import Prior, match_weights
from likelax.families.beta import Beta
from likelax.families.categorical import Categorical
from likelax.families.dirichlet import Dirichlet
from likelax.families.multinomial import Multinomial
from likelax.families.mv_bernoulli import MvBernoulli
from likelax.families.normal import Normal
from likelax.mixture import Mixture, MixturePrior, MixtureStats
from likelax.model import Density, Model, PriorLike, check_possible, pytree
from likelax.numerics import chunks, matmul
from likelax.numerics.checks import as_numpy, check_size, checked, is_concrete
from likelax.one_program import one_program
from likelax.product import Independent, Product

__all__ = [
    "ComplementScore", "NaiveBayes", "add_variance", "bernoulli", "build", "categorical",
    "columns", "complement", "forget_unseen", "gaussian", "mixed", "multinomial",
]  # fmt: skip

T = TypeVar("T")


class NaiveBayes(NamedTuple):
    """A classifier before any data.

    For labels known in part, `fit.em(nb.model, Labelled(x, labels), prior=nb.prior)` is the
    semi-supervised fit. The methods here leave out rows with a label of -1.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      model: a `Mixture` of K classes; its parameters are used only where there are no data.
      prior: the conjugate prior of its parameters.
      class_prior: (K,) given probabilities of the classes, or None to fit them.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> nb = bernoulli(num_classes=2, num_features=1)
      >>> x, labels = jnp.array([[1], [1], [0]]), jnp.array([0, 0, 1])
      >>> model = nb.fit(nb.statistics(x, labels))
      >>> print(model.responsibilities(jnp.array([[1]])).round(4))
      [[0.8182 0.1818]]
    """

    model: Mixture
    prior: MixturePrior
    class_prior: Array | None = None

    def statistics(
        self, x: DataLike, labels: ArrayLike, weights: ArrayLike | None = None
    ) -> MixtureStats:
        """Statistics of labelled data; those of batches add by `statistics.add`.

        Args:
          x: data with leading axes (...), plain or `Masked`.
          labels: (...) integers 0..K-1; rows labelled -1 (unknown) are left out.
          weights: (...) non-negative, or None for ones.
        Returns:
          Class counts (K,), and the components' statistics with a leading axis K.
        Raises:
          ValueError: if labels are not integers or out of range, if data, labels and weights have
            different leading axes, or for a row that is impossible in every class, such as tf-idf
            values for a multinomial.

        Examples:
          >>> nb = bernoulli(num_classes=2, num_features=1)
          >>> stats = nb.statistics(jnp.array([[1], [1], [0]]), jnp.array([0, 0, 1]))
          >>> print(stats.weights.counts)
          [2. 1.]
        """
        x, labels = convert("naive_bayes: x", x), numerics.as_array("naive_bayes: labels", labels)
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                f"labels must be integers 0..{self.model.num_components - 1}, or -1 for unknown; "
                f"got dtype {labels.dtype}"
            )
        check_labels("naive_bayes", labels, self.model.num_components)
        dtype = _float_type(x)
        model = _in_type(self.model, dtype)
        weights = match_weights(weights, labels.shape, dtype)
        if is_concrete(labels) and is_concrete(weights):
            counted = np.where(np.asarray(labels) < 0, 0, weights)
            check_possible("naive_bayes", self.model, x, counted)
        return _labelled_statistics(model, Labelled(x, labels), weights)

    def check_shapes(self, name: str) -> None:
        """Raise if the parts of the model do not match.

        Args:
          name: the function that was called, for the message.
        Raises:
          ValueError: starting with `name`.
        """
        self.model.check_shapes(name)

    @one_program
    def fit(self, stats: MixtureStats) -> Mixture:
        """The plug-in classifier: every parameter at its posterior mode.

        Its `responsibilities(x)` are p(class | x), its `log_prob(Labelled(x, labels))` is the log
        joint, and its `log_prob(x)` the log evidence. See the example of the class.

        Args:
          stats: as `statistics` returns them.
        """
        model, prior = self._for(stats)
        return self._with_classes(model.m_step(stats, prior))

    @one_program
    def predictive(self, stats: MixtureStats) -> Mixture:
        """The Bayesian classifier: parameters integrated out under their posterior.

        Exact for the class of one new observation. The probabilities of the classes are integrated
        out if the prior has a Dirichlet over them; otherwise the fitted ones are used.

        Args:
          stats: as `statistics` returns them.

        Examples:
          >>> nb = bernoulli(num_classes=2, num_features=1)
          >>> stats = nb.statistics(jnp.array([[1], [1], [0]]), jnp.array([0, 0, 1]))
          >>> print(nb.predictive(stats).responsibilities(jnp.array([[1]])).round(4))
          [[0.7692 0.2308]]
        """
        fitted = self.fit(stats)
        return self._with_classes(fitted.predictive(self._for(stats)[1].posterior(stats)))

    @one_program
    def log_evidence(self, stats: MixtureStats) -> Array:
        """log p(x | labels) with the parameters of the components integrated out, nats.

        With a Dirichlet over the classes in the prior it is log p(x, labels).

        Args:
          stats: as `statistics` returns them.
        Raises:
          ValueError: if the components have no prior.

        Examples:
          >>> nb = bernoulli(num_classes=2, num_features=1, smoothing=0.0)
          >>> stats = nb.statistics(jnp.array([[1], [1], [0]]), jnp.array([0, 0, 1]))
          >>> print(f"{jnp.exp(nb.log_evidence(stats)):.4f}")  # 1/3 for two ones, 1/2 for a zero
          0.1667
        """
        _, prior = self._for(stats)
        if prior.components is None:
            raise ValueError("log_evidence: the components have no prior; give one to the builder")
        each = jax.vmap(lambda prior, s: prior.log_evidence(s))
        total = jnp.sum(each(prior.components, stats.components))
        if prior.weights is None:
            return total
        return total + prior.weights.log_evidence(stats.weights)

    def _for(self, stats: MixtureStats) -> tuple[Mixture, MixturePrior]:
        """The model and its prior in the floating type of the statistics."""
        dtype = stats.weights.counts.dtype
        return _in_type(self.model, dtype), _in_type(self.prior, dtype)

    def _with_classes(self, model: Mixture) -> Mixture:
        if self.class_prior is None:
            return model
        weights = numerics.normalize(_in_type(self.class_prior, model.weights.dtype))
        return Mixture(weights, model.components)


@jax.jit
def _labelled_statistics(model: Mixture, x: Labelled, weights: Array) -> MixtureStats:
    rows = jax.eval_shape(model.component_log_prob, x.values).shape[:-1]
    if x.labels.shape != rows:
        raise ValueError(f"labels: wanted one for each row of x, {rows}; got {x.labels.shape}")

    def contribute(rows: Labelled, weights: Array) -> tuple[MixtureStats, Array]:
        shares = jax.nn.one_hot(rows.labels, model.num_components, dtype=weights.dtype)
        stats = model.complete_statistics(rows.values, shares * weights[..., None])
        return stats, jnp.zeros((), weights.dtype)

    return chunks.sum_rows(contribute, x, weights, model.rows_in_cache(x))[0]


def _float_type(x: Any) -> Any:
    """The floating type of the data; that of JAX's current mode where they hold none."""
    types = [jnp.result_type(leaf) for leaf in jax.tree.leaves(x) if is_floating(leaf)]
    return jnp.result_type(*types) if types else jnp.result_type(float)


def _in_type(tree: T, dtype: Any) -> T:
    """The same tree with its floating-point leaves in a type."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype) if is_floating(a) else a, tree)


def _added_counts(name: str, smoothing: Any, shape: tuple[int, ...]) -> Array:
    """The smoothing of each class and feature, of `shape` (K, D).

    Raises:
      ValueError: for another shape, or a value that is negative or NaN.
    """
    (added,) = numerics.as_float(numerics.as_array(f"{name}: smoothing", smoothing))
    if added.shape not in ((), shape[1:], shape):
        raise ValueError(
            f"{name}: smoothing must be a number, or of shape {shape[1:]} or {shape}; "
            f"got {added.shape}"
        )
    if is_concrete(added) and not np.all(np.asarray(added) >= 0):
        raise ValueError(f"{name}: smoothing must not be negative; got {smoothing}")
    return jnp.broadcast_to(added, shape)


def _stack(tree: T, num_classes: int) -> T:
    """K copies along a new leading axis."""

    def repeat(leaf: Any) -> Array:
        (leaf,) = numerics.as_float(leaf)
        return jnp.broadcast_to(leaf[None], (num_classes, *leaf.shape))

    return jax.tree.map(repeat, tree)


@checked()
def build(
    num_classes: int,
    component: Model,
    prior: PriorLike | None = None,
    *,
    class_prior: ArrayLike | None = None,
    class_smoothing: float | None = None,
) -> NaiveBayes:
    """Naive Bayes from any model of one class, such as a `Product`.

    Args:
      num_classes: K.
      component: the model of one class's data.
      prior: its conjugate prior, or None for maximum likelihood.
      class_prior: (K,) the classes' probabilities, up to a factor; None fits them. `fit` and
        `predictive` keep them; EM over unknown labels only starts from them.
      class_smoothing: counts added to every class, as a Dirichlet prior over their probabilities;
        None adds none.
    Raises:
      ValueError: for a class_prior of another shape.

    Examples:
      >>> from likelax.families import Poisson
      >>> nb = build(2, Product({"calls": Poisson(1.0), "size": Normal(0.0, 1.0)}))
      >>> x = {"calls": jnp.array([0, 4]), "size": jnp.array([1.0, 2.0])}
      >>> print(nb.statistics(x, jnp.array([0, 1])).components["calls"].events)
      [0. 4.]
    """
    over_classes = None
    if class_smoothing is not None:
        over_classes = Dirichlet(jnp.full(num_classes, 1.0 + class_smoothing))
    stacked = None if prior is None else _stack(prior, num_classes)
    given = None if class_prior is None else numerics.as_float(jnp.asarray(class_prior))[0]
    if given is not None and given.shape != (num_classes,):
        raise ValueError(f"class_prior: wanted shape ({num_classes},); got {given.shape}")
    weights = jnp.full(num_classes, 1 / num_classes) if given is None else given / jnp.sum(given)
    model = Mixture(weights, _stack(component, num_classes))
    return NaiveBayes(model, MixturePrior(over_classes, stacked), given)


@checked()
def bernoulli(
    num_classes: int,
    num_features: int,
    *,
    smoothing: ArrayLike = 1.0,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Binary features (..., D).

    Args:
      num_classes: K.
      num_features: D.
      smoothing: s counts added to ones and zeros, as a prior Beta(1 + s, 1 + s) whose mode is
        used; 0 is maximum likelihood, with exact zeros. A number, one for each feature (D,), or
        for each class and feature (K, D).
      class_prior: (K,), as for `build`.
    Raises:
      ValueError: for a smoothing that is negative or of another shape.
    Source: McCallum & Nigam (1998), A comparison of event models for naive Bayes text
      classification, AAAI workshop.

    Examples:
      >>> nb = bernoulli(num_classes=2, num_features=1)
      >>> x, labels = jnp.array([[1], [1], [0]]), jnp.array([0, 0, 1])
      >>> print(nb.fit(nb.statistics(x, labels)).predict(jnp.array([[1], [0]])))
      [0 1]
    """
    side = 1 + _added_counts("bernoulli", smoothing, (num_classes, num_features))
    nb = build(num_classes, MvBernoulli(jnp.full(num_features, 0.5)), class_prior=class_prior)
    return nb._replace(prior=MixturePrior(None, Independent(Beta(side, side))))


@checked()
def multinomial(
    num_classes: int,
    num_features: int,
    *,
    smoothing: ArrayLike = 1.0,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Counts (..., D), such as of words, given how many there are in each row.

    Args:
      num_classes: K.
      num_features: D.
      smoothing: s counts added to every feature, as a prior Dirichlet(1 + s) whose mode is
        used; 0 is maximum likelihood, with exact zeros. A number, (D,) or (K, D).
      class_prior: (K,), as for `build`.
    Raises:
      ValueError: for a smoothing that is negative or of another shape.
    Source: McCallum & Nigam (1998), A comparison of event models for naive Bayes text
      classification, AAAI workshop.

    Examples:
      >>> nb = multinomial(num_classes=2, num_features=2)
      >>> stats = nb.statistics(jnp.array([[3, 0], [1, 2]]), jnp.array([0, 1]))
      >>> print(nb.fit(stats).components.probs)
      [[0.8 0.2]
       [0.4 0.6]]
    """
    component = Multinomial(jnp.full(num_features, 1 / num_features))
    counts = _added_counts("multinomial", smoothing, (num_classes, num_features))
    nb = build(num_classes, component, class_prior=class_prior)
    return nb._replace(prior=MixturePrior(None, Dirichlet(1 + counts)))


@checked()
def categorical(
    num_classes: int,
    num_values: Sequence[int],
    *,
    smoothing: ArrayLike | Sequence[ArrayLike] = 1.0,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Features that are integer codes: x is a tuple of D arrays (...), see `columns`.

    A code outside 0..C-1 is impossible under every class, and the posterior of its row is all -inf.
    `forget_unseen` marks such codes as missing instead.

    Args:
      num_classes: K.
      num_values: C of each of the D features.
      smoothing: as for `multinomial`: a number for all values of all features, or a sequence with
        one entry for each feature, each a number, (C,) or (K, C).
      class_prior: (K,), as for `build`.
    Raises:
      ValueError: for a smoothing that is negative or of another shape.
    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> nb = categorical(num_classes=2, num_values=[3], smoothing=0.0)
      >>> stats = nb.statistics((jnp.array([2, 0, 1]),), jnp.array([0, 1, 1]))
      >>> print(nb.fit(stats).components.fields[0].probs)
      [[0.  0.  1. ]
       [0.5 0.5 0. ]]
    """
    num_values = _as_sizes("num_values", num_values)
    component = Product(tuple(Categorical(jnp.full(c, 1 / c)) for c in num_values))
    each = smoothing if isinstance(smoothing, list | tuple) else [smoothing] * len(num_values)
    if len(each) != len(num_values):
        raise ValueError(
            f"categorical: smoothing must have one entry for each of the {len(num_values)} "
            f"features; got {len(each)}"
        )
    prior = Product(
        tuple(
            Dirichlet(1 + _added_counts("categorical", s, (num_classes, c)))
            for s, c in zip(each, num_values, strict=True)
        )
    )
    nb = build(num_classes, component, class_prior=class_prior)
    return nb._replace(prior=MixturePrior(None, prior))


def _as_sizes(name: str, values: Any) -> tuple[int, ...]:
    """The integers of a sequence, each at least 1."""
    array = as_numpy(name, values)
    if array.ndim != 1:
        raise TypeError(f"{name} must be a sequence of integers, got shape {array.shape}")
    for place, size in enumerate(array):
        check_size(f"{name}[{place}]", size)
    return tuple(int(size) for size in array)


@checked()
def gaussian(
    num_classes: int,
    num_features: int,
    *,
    prior: Prior | None = None,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Real features (..., D), each with its own mean and variance in every class.

    Args:
      num_classes: K.
      num_features: D.
      prior: a `NormalInverseGamma` with scalar leaves, for every feature alike, or with leaves
        (D,); None is maximum likelihood, which gives a feature that never varies in a class the
        variance 0. See `add_variance`.
      class_prior: (K,), as for `build`.
    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.3.

    Examples:
      >>> nb = gaussian(num_classes=2, num_features=1)
      >>> x, labels = jnp.array([[0.0], [2.0], [7.0], [9.0]]), jnp.array([0, 0, 1, 1])
      >>> print(nb.fit(nb.statistics(x, labels)).components.component.loc)
      [[1.]
       [8.]]
    """
    component = Independent(Normal(jnp.zeros(num_features), jnp.ones(num_features)))
    over = None
    if prior is not None:
        over = Independent(jax.tree.map(lambda leaf: _spread(leaf, num_features), prior))
    return build(num_classes, component, over, class_prior=class_prior)


def _spread(leaf: Any, num_features: int) -> Array:
    (leaf,) = numerics.as_float(leaf)
    return jnp.broadcast_to(leaf, (num_features,))


@checked()
def mixed(
    num_classes: int,
    fields: Mapping[str, Model],
    priors: Mapping[str, Density] | None = None,
    *,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Columns of different types: x is a dict of arrays (..., *event of the field).

    Args:
      num_classes: K.
      fields: a model for each column.
      priors: a conjugate prior for each column; a column left out has none.
      class_prior: (K,), as for `build`.
    Raises:
      ValueError: for priors of columns that are not in `fields`.

    Examples:
      >>> from likelax.families import Poisson
      >>> nb = mixed(2, {"calls": Poisson(1.0), "size": Normal(0.0, 1.0)})
      >>> x = {"calls": jnp.array([0, 2, 5]), "size": jnp.array([1.0, 1.5, 3.0])}
      >>> model = nb.fit(nb.statistics(x, jnp.array([0, 0, 1])))
      >>> print(model.components.fields["calls"].rate)
      [1. 5.]
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must be a dict of models, got {fields!r}")
    names = sorted(fields)
    given = dict(priors or {})
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"mixed: priors for {unknown}, which are not among the fields {names}")
    prior = Product({name: given.get(name) for name in names}) if given else None
    return build(num_classes, Product(dict(fields)), prior, class_prior=class_prior)


@checked()
def add_variance(model: Mixture, amount: ArrayLike) -> Mixture:
    """The Gaussian classifier with `amount` added to every variance.

    scikit-learn's `var_smoothing` adds a fraction of the largest variance of a feature. It is not a
    prior, and the variances are then not those of maximum likelihood.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a classifier of `gaussian`, with K classes and D features.
      amount: non-negative; a scalar, or (D,) or (K, D).
    Raises:
      ValueError: for an amount of another shape.

    Examples:
      >>> nb = gaussian(num_classes=2, num_features=1)
      >>> print(add_variance(nb.model, 3.0).components.component.scale)
      [[2.]
       [2.]]
    """
    normals = model.components.component
    loc, scale, amount = numerics.named_floats(loc=normals.loc, scale=normals.scale, amount=amount)
    if amount.shape not in ((), scale.shape[1:], scale.shape):
        raise ValueError(
            f"amount must be a number, or of shape {scale.shape[1:]} or {scale.shape}; "
            f"got {amount.shape}"
        )
    wider = jnp.sqrt(scale**2 + jnp.broadcast_to(amount, scale.shape))
    return Mixture(model.weights, Independent(Normal(loc, wider)))


@pytree
class ComplementScore(Density):
    """The score of complement naive Bayes, sum_d x[d] weights[d]. It is not a density.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      weights: (D,).

    Examples:
      >>> print(ComplementScore(jnp.array([1.0, 0.5])).log_prob(jnp.array([2, 2])))
      3.0
    """

    _event_ndim: ClassVar[int] = 1

    weights: Array

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Not possible, since the score is no density.

        Raises:
          TypeError: always.
        """
        raise TypeError("ComplementScore.sample: the score of complement naive Bayes is no density")

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Score of counts x (..., D): (...).

        Raises:
          ValueError: for x with another number of features than weights.
        """
        counts, weights = numerics.named_floats(x=x, weights=self.weights)
        if weights.ndim != 1 or counts.shape[-1:] != weights.shape:
            raise ValueError(
                "ComplementScore: weights must have shape (D,) and x (..., D); "
                f"got {weights.shape} and {counts.shape}"
            )
        return matmul(counts, weights)


def complement(stats: MixtureStats, *, smoothing: ArrayLike = 1.0, norm: bool = False) -> Mixture:
    """Complement naive Bayes from the statistics of `multinomial`.

    The score of a class comes from the counts of all other classes together, which helps if the
    classes differ in size. It is a heuristic without a likelihood: use only the responsibilities of
    the result.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      stats: `multinomial(...).statistics(x, labels, weights)`.
      smoothing: counts added to every feature: a number or (D,).
      norm: divide each class's weights by their sum.
    Raises:
      ValueError: for a smoothing that is negative or of another shape.
    Source: Rennie et al. (2003), Tackling the poor assumptions of naive Bayes text classifiers.

    Examples:
      >>> nb = multinomial(num_classes=2, num_features=2)
      >>> stats = nb.statistics(jnp.array([[3, 0], [1, 2]]), jnp.array([0, 1]))
      >>> print(complement(stats).predict(jnp.array([[4, 0], [0, 4]])))
      [0 1]
    """
    counts = stats.components.counts
    added = _added_counts("complement", smoothing, counts.shape).astype(counts.dtype)
    others = jnp.sum(counts, axis=0, keepdims=True) + added - counts
    log_probs = numerics.safe_log(others / jnp.sum(others, axis=-1, keepdims=True))
    weights = log_probs / jnp.sum(log_probs, axis=-1, keepdims=True) if norm else -log_probs
    num_classes = counts.shape[0]
    return Mixture(jnp.full(num_classes, 1 / num_classes, counts.dtype), ComplementScore(weights))


def columns(x: DataLike) -> DataLike:
    """The columns of a table.

    Args:
      x: (..., D), plain or `Masked`.
    Returns:
      A tuple of D arrays (...), or `Masked` of such tuples.
    Raises:
      ValueError: for a number.

    Examples:
      >>> print(columns(jnp.array([[1, 2], [3, 4]]))[1])
      [2 4]
    """
    values, observed = take_mask(x)
    if observed is not None:
        return with_mask(columns(values), columns(observed))
    x = numerics.as_array("x", x)
    if x.ndim == 0:
        raise ValueError("columns: x must have shape (..., D), got a number")
    return tuple(x[..., d] for d in range(x.shape[-1]))


def forget_unseen(x: Sequence[ArrayLike], num_values: Sequence[int]) -> Masked:
    """Declare codes outside 0..C-1 as missing, so that the posterior uses the other features.

    Args:
      x: D columns (...) of integer codes.
      num_values: C of each.
    Raises:
      TypeError, ValueError: for x or num_values of another form, or of different lengths.

    Examples:
      >>> print(forget_unseen([jnp.array([0, 9])], [2]).observed[0])
      [ True False]
    """
    num_values = _as_sizes("num_values", num_values)
    if not isinstance(x, Sequence | np.ndarray | Array) or len(x) != len(num_values):
        raise ValueError(f"x must be {len(num_values)} columns, one for each of num_values")
    codes = tuple(numerics.as_array(f"x[{d}]", c) for d, c in enumerate(x))
    known = tuple((c >= 0) & (c < n) for c, n in zip(codes, num_values, strict=True))
    return Masked(tuple(jnp.where(k, c, 0) for k, c in zip(known, codes, strict=True)), known)
