"""Naive Bayes: a `Mixture` whose components are classes and whose labels were seen.

Each builder returns a `NaiveBayes`: the model before any data, and its conjugate prior. From
there everything is statistics, which add: over batches, over devices, over days.
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
from likelax.data import (
    Labelled,
    Masked,
    check_labels,
    convert,
    is_concrete,
    take_mask,
    with_mask,
)
from likelax.families.base import Prior, match_weights
from likelax.families.beta import Beta
from likelax.families.categorical import Categorical
from likelax.families.dirichlet import Dirichlet
from likelax.families.multinomial import Multinomial
from likelax.families.mv_bernoulli import MvBernoulli
from likelax.families.normal import Normal
from likelax.mixture import Mixture, MixturePrior, MixtureStats
from likelax.model import Density, check_possible, pytree
from likelax.numerics import chunks
from likelax.product import Independent, Product

T = TypeVar("T")


class NaiveBayes(NamedTuple):
    """A classifier before it has seen data.

    For labels known in part, `fit.em(nb.model, Labelled(x, labels), prior=nb.prior)` is the
    semi-supervised fit; here a label of -1 only drops its row.

    Attributes:
      model: a `Mixture` of K classes; its parameters are kept only where no data tell.
      prior: the conjugate prior of its parameters.
      class_prior: (K,) the classes' probabilities where they are given, or None to fit them.

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
        self, x: Any, labels: ArrayLike, weights: ArrayLike | None = None
    ) -> MixtureStats:
        """What labelled data contribute; those of batches add with `statistics.add`.

        Args:
          x: data with leading axes (...), plain or `Masked`.
          labels: (...) integers 0..K-1; -1 (unknown) drops the row.
          weights: (...) non-negative, or None for ones.
        Returns:
          Class counts (K,), and the components' statistics with a leading axis K.
        Raises:
          ValueError: if labels are not integers or name no class, if data, labels and weights
            have different leading axes, or for a row that is impossible in every class, such as
            tf-idf values for a multinomial.
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

        def contribute(rows: Any, weights: Array) -> tuple[MixtureStats, Array]:
            shares = jax.nn.one_hot(rows.labels, model.num_components, dtype=dtype)
            stats = model.complete_statistics(rows.values, shares * weights[..., None])
            return stats, jnp.zeros((), dtype)

        rows = Labelled(x, labels)
        return chunks.sum_rows(contribute, rows, weights, model.rows_in_cache(rows))[0]

    def fit(self, stats: MixtureStats) -> Mixture:
        """The plug-in classifier: every parameter at its posterior mode.

        Its `posterior(x)` is log p(class | x), its `log_prob(Labelled(x, labels))` the joint and
        its `log_prob(x)` the evidence.
        """
        model, prior = self._for(stats)
        return self._with_classes(model.m_step(stats, prior))

    def predictive(self, stats: MixtureStats) -> Mixture:
        """The Bayesian classifier: parameters integrated out under their posterior.

        Exact for the class of one new observation. The classes' own weights are integrated out
        where the prior has a Dirichlet over them, and the fitted ones otherwise.
        """
        fitted = self.fit(stats)
        return self._with_classes(fitted.predictive(self._for(stats)[1].posterior(stats)))

    def log_evidence(self, stats: MixtureStats) -> Array:
        """log p(x | labels) with the components' parameters integrated out, nats; where the prior
        has a Dirichlet over the classes, log p(x, labels).

        Raises:
          ValueError: where the components have no prior.
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


def build(
    num_classes: int,
    component: Any,
    prior: Any = None,
    *,
    class_prior: ArrayLike | None = None,
    class_smoothing: float | None = None,
) -> NaiveBayes:
    """Naive Bayes from any model of one class: mixed columns, a `Product`, or anything else.

    Args:
      num_classes: K.
      component: the model of one class's data.
      prior: its conjugate prior, or None for maximum likelihood.
      class_prior: (K,) the classes' probabilities, up to a factor; None fits them. `fit` and
        `predictive` keep them; EM over unknown labels only starts from them.
      class_smoothing: counts added to every class, as a Dirichlet prior over the classes'
        weights; None adds none.

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
      smoothing: s counts added to either side, as a prior Beta(1 + s, 1 + s) whose mode is
        taken; 0 is maximum likelihood, with exact zeros. A number, one for each feature (D,), or
        for each class and feature (K, D).
      class_prior: as for `build`.
    """
    side = 1 + _added_counts("bernoulli", smoothing, (num_classes, num_features))
    nb = build(num_classes, MvBernoulli(jnp.full(num_features, 0.5)), class_prior=class_prior)
    return nb._replace(prior=MixturePrior(None, Independent(Beta(side, side))))


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
        taken; 0 is maximum likelihood, with exact zeros. A number, (D,) or (K, D).
      class_prior: as for `build`.
    """
    component = Multinomial(jnp.full(num_features, 1 / num_features))
    counts = _added_counts("multinomial", smoothing, (num_classes, num_features))
    nb = build(num_classes, component, class_prior=class_prior)
    return nb._replace(prior=MixturePrior(None, Dirichlet(1 + counts)))


def categorical(
    num_classes: int,
    num_values: Sequence[int],
    *,
    smoothing: ArrayLike | Sequence[ArrayLike] = 1.0,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Integer codes, one column a feature: x is a tuple of D arrays (...), see `columns`.

    A code outside 0..C-1 was impossible under every class: its row's posterior is all -inf.
    `forget_unseen` marks such codes as missing instead.

    Args:
      num_classes: K.
      num_values: C of each of the D features.
      smoothing: as for `multinomial`: a number for all values of all features, or a sequence with
        one entry for each feature, each a number, (C,) or (K, C).
      class_prior: as for `build`.
    """
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
      class_prior: as for `build`.
    """
    component = Independent(Normal(jnp.zeros(num_features), jnp.ones(num_features)))
    over = None
    if prior is not None:
        over = Independent(jax.tree.map(lambda leaf: _spread(leaf, num_features), prior))
    return build(num_classes, component, over, class_prior=class_prior)


def _spread(leaf: Any, num_features: int) -> Array:
    (leaf,) = numerics.as_float(leaf)
    return jnp.broadcast_to(leaf, (num_features,))


def mixed(
    num_classes: int,
    fields: Mapping[str, Any],
    priors: Mapping[str, Any] | None = None,
    *,
    class_prior: ArrayLike | None = None,
) -> NaiveBayes:
    """Columns of different types: x is a dict of arrays (..., *event of the field).

    Args:
      num_classes: K.
      fields: a model for each column.
      priors: a conjugate prior for each column; a column left out has none.
      class_prior: as for `build`.
    """
    names = sorted(fields)
    given = dict(priors or {})
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"mixed: priors for {unknown}, which are not among the fields {names}")
    prior = Product({name: given.get(name) for name in names}) if given else None
    return build(num_classes, Product(dict(fields)), prior, class_prior=class_prior)


def add_variance(model: Mixture, amount: ArrayLike) -> Mixture:
    """The Gaussian classifier with `amount` added to every variance: data seen through noise.

    scikit-learn's `var_smoothing` adds that share of the largest feature variance. It is not a
    prior, and the variances are then no longer those of maximum likelihood.
    """
    normals = model.components.component
    loc, scale, amount = numerics.as_float(normals.loc, normals.scale, amount)
    wider = jnp.sqrt(scale**2 + jnp.broadcast_to(amount, scale.shape))
    return Mixture(model.weights, Independent(Normal(loc, wider)))


@pytree
class ComplementScore(Density):
    """Evidence against all other classes: log_prob(x) = sum_d x[d] weights[d], not a density.

    Attributes:
      weights: (D,).
    """

    _event_ndim: ClassVar[int] = 1

    weights: Array

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Not possible, since the score is no density.

        Raises:
          TypeError: always.
        """
        raise TypeError("ComplementScore.sample: the score of complement naive Bayes is no density")

    def log_prob(self, x: Any) -> Array:
        """Score of counts x (..., D): (...)."""
        counts, weights = numerics.as_float(x, self.weights)
        return jnp.matmul(counts, weights, precision="highest")


def complement(stats: MixtureStats, *, smoothing: ArrayLike = 1.0, norm: bool = False) -> Mixture:
    """Complement naive Bayes from the statistics of `multinomial`: each class is judged by how
    badly all the others together explain the counts, which helps with unequal classes.

    A heuristic without a likelihood: use only the responsibilities of the result.

    Args:
      stats: `multinomial(...).statistics(x, labels, weights)`.
      smoothing: counts added to every feature: a number or (D,).
      norm: divide each class's weights by their sum.
    Source: Rennie et al. (2003), Tackling the poor assumptions of naive Bayes text classifiers.
    """
    counts = stats.components.counts
    added = _added_counts("complement", smoothing, counts.shape).astype(counts.dtype)
    others = jnp.sum(counts, axis=0, keepdims=True) + added - counts
    log_probs = numerics.safe_log(others / jnp.sum(others, axis=-1, keepdims=True))
    weights = log_probs / jnp.sum(log_probs, axis=-1, keepdims=True) if norm else -log_probs
    num_classes = counts.shape[0]
    return Mixture(jnp.full(num_classes, 1 / num_classes, counts.dtype), ComplementScore(weights))


def columns(x: Any) -> Any:
    """A table (..., D), plain or `Masked`, as a tuple of D columns (...).

    Examples:
      >>> print(columns(jnp.array([[1, 2], [3, 4]]))[1])
      [2 4]
    """
    values, observed = take_mask(x)
    if observed is not None:
        return with_mask(columns(values), columns(observed))
    x = jnp.asarray(x)
    return tuple(x[..., d] for d in range(x.shape[-1]))


def forget_unseen(x: Sequence[ArrayLike], num_values: Sequence[int]) -> Masked:
    """Declare codes outside 0..C-1 as missing, so that the other features decide.

    Args:
      x: D columns of integer codes.
      num_values: C of each.

    Examples:
      >>> print(forget_unseen([jnp.array([0, 9])], [2]).observed[0])
      [ True False]
    """
    codes = tuple(jnp.asarray(c) for c in x)
    known = tuple((c >= 0) & (c < n) for c, n in zip(codes, num_values, strict=True))
    return Masked(tuple(jnp.where(k, c, 0) for k, c in zip(known, codes, strict=True)), known)
