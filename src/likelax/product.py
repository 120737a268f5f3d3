"""Products of independent fields: mixed-type data, and one model repeated over an axis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, take_mask, with_mask, without_unseen
from likelax.model import Density, JointPrior, Model, S, check_part, pytree
from likelax.one_program import one_program

Part: TypeAlias = Density | JointPrior[Any] | None
"""An entry of a `Product`; None and joint priors are for products of priors."""

FieldStats: TypeAlias = dict[str, Any] | tuple[Any, ...]
"""Statistics of a `Product`: those of each field, in a dict or tuple like its fields."""


@pytree
class Product(Model[FieldStats, "Product"]):
    """Independent fields of any types: log p(x) = sum_f log p_f(x[f])

    For the features of a naive Bayes classifier, or data of mixed type. A product of priors is the
    prior of a product; its methods `posterior`, `mode` and `log_evidence` go field by field.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      fields: a dict or tuple of models. x has the same structure, each entry of shape
        (..., *event of that field) and all with the same leading axes.

    Examples:
      >>> from likelax.families import Bernoulli, Normal
      >>> model = Product({"rain": Bernoulli(0.5), "wind": Normal(0.0, 1.0)})
      >>> print(f"{model.log_prob({'rain': 1, 'wind': 0.0}):.4f}")
      -1.6121
    """

    fields: Any

    if TYPE_CHECKING:  # the field is dynamic, so that its own attributes can be read

        def __init__(self, fields: Mapping[str, Part] | Sequence[Part]) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.fields, dict | tuple | list):
            raise TypeError(
                f"Product: fields must be a dict or tuple of models; got {type(self.fields).__name__}"
            )
        for name in _names(self.fields):
            # a product of priors may have None, or the joint prior of a node
            if not isinstance(self.fields[name], JointPrior | None):
                check_part("Product", f"fields[{name!r}]", self.fields[name])

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Sum of the fields' log probabilities, (...), nats; a missing field adds 0."""
        return _total(self._each(lambda model, value: model.log_prob(value), self._split(x)))

    @one_program
    def log_kernel(self, x: DataLike) -> Array:
        """Sum of the fields' log kernels, (...), nats."""
        return _total(self._each(lambda model, value: model.log_kernel(value), self._split(x)))

    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """A draw of every field, of its shape (*shape, *event)."""
        names = _names(self.fields)
        keys = _like(self.fields, list(jax.random.split(key, len(names))))
        return self._each(lambda model, k: model.sample(k, shape), keys)

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """A draw of every field. inputs: as `fields`, with None for a field that takes none."""
        names = _names(self.fields)
        keys = _like(self.fields, list(jax.random.split(key, len(names))))

        def draw(model: Density, key: Array, given: Any) -> DataLike:
            if given is None:
                return model.sample(key, shape)
            return model.sample_given(key, given, shape)

        return self._each(draw, keys, self._aligned(inputs, "inputs"))

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[FieldStats, Array]:
        """(statistics field by field, weighted log probability)."""
        results = self._each(lambda model, value: model.e_step(value, weights), self._split(x))
        stats = _like(self.fields, [results[name][0] for name in _names(self.fields)])
        return stats, _total(_like(self.fields, [results[n][1] for n in _names(self.fields)]))

    def m_step(self, stats: FieldStats, prior: "Product | None" = None) -> Self:
        """Every field's own M step. prior: a `Product` of priors, with None for a field without."""
        if prior is None:
            return type(self)(self._each(lambda model, s: model.m_step(s), stats))
        return type(self)(self._each(lambda model, s, p: model.m_step(s, p), stats, prior.fields))

    @one_program
    def stacked_log_prob(self, x: DataLike) -> Array:
        """Sum of the fields' log probabilities under each of K products: (..., K), nats."""
        return _total(self._each(lambda model, v: model.stacked_log_prob(v), self._split(x)))

    @one_program
    def stacked_log_kernel(self, x: DataLike) -> Array:
        """Sum of the fields' log kernels under each of K products: (..., K), nats."""
        return _total(self._each(lambda model, v: model.stacked_log_kernel(v), self._split(x)))

    @one_program
    def stacked_e_step(self, x: DataLike, shares: Array) -> FieldStats:
        """Statistics of K products field by field, with a leading axis K."""
        return self._each(lambda model, v: model.stacked_e_step(v, shares), self._split(x))

    def stacked_m_step(
        self, stats: FieldStats, prior: "Product | None" = None, used: Array | None = None
    ) -> Self:
        """M step of K products, field by field."""
        priors = dict.fromkeys(_names(self.fields)) if prior is None else prior.fields
        return type(self)(self._each(lambda m, s, p: m.stacked_m_step(s, p, used), stats, priors))

    def stacked_log_prior(self, prior: "Product | None", used: Array | None = None) -> Array:
        """Sum of the log priors of K products, field by field, nats."""
        priors = dict.fromkeys(_names(self.fields)) if prior is None else prior.fields
        return _total(self._each(lambda m, p: m.stacked_log_prior(p, used), priors))

    def pool(self, stats: FieldStats) -> FieldStats:
        """Statistics of K products, each field pooled over them."""
        return self._each(lambda model, s: model.pool(s), stats)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where every field is possible."""
        each = self._each(lambda model, value: model.possible(value), self._split(x))
        found: Any = np.True_
        for name in _names(self.fields):
            found = found & each[name]
        return found

    def pool_with_prior(
        self, stats: FieldStats, prior: "Product | None", used: Array | None = None
    ) -> tuple[FieldStats, "Product | None"]:
        """Statistics and priors of K products, each field pooled over them."""
        priors = dict.fromkeys(_names(self.fields)) if prior is None else prior.fields
        pairs = self._each(lambda model, s, p: model.pool_with_prior(s, p, used), stats, priors)
        stats, priors = (
            _like(self.fields, [pairs[n][i] for n in _names(self.fields)]) for i in (0, 1)
        )
        return stats, Product(priors)

    def check_shapes(self, name: str) -> None:
        """Raise for a field whose shapes do not match.

        Raises:
          ValueError: starting with `name`.
        """
        self._each(lambda model: model.check_shapes(name))

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels of a field do not match that field.

        Args:
          name: the function that was called, for the message.
          x: data, as `log_prob` takes them.
        Raises:
          ValueError: starting with `name`.
        """
        super().check_labels(name, x)
        values = self._aligned(take_mask(x)[0], "x")
        self._each(lambda model, v: model.check_labels(name, v), values)

    def expected_log_prob(self, stats: FieldStats) -> Array:
        """Sum of the fields' expected log probabilities, nats."""
        return _total(self._each(lambda model, s: model.expected_log_prob(s), stats))

    def log_prior(self, prior: "Product | None") -> Array:
        """Log density of all parameters under a product of priors, nats; 0 without one."""
        if prior is None:
            return jnp.zeros(())
        terms = self._each(lambda m, p: 0.0 if p is None else m.log_prior(p), prior.fields)
        return _total(terms)

    def predictive(self, prior: "Product") -> "Product":
        """The product of the fields' predictive distributions; a field without prior stays."""
        return Product(
            self._each(lambda model, p: model if p is None else model.predictive(p), prior.fields)
        )

    def parameter(self) -> Any:
        """The fields' parameters, as a product of priors describes them."""
        return self._each(lambda model: model.parameter())

    def posterior(self, stats: FieldStats) -> Self:
        """For a product of priors: every field updated by its statistics."""
        update = self._each(lambda p, s: None if p is None else p.posterior(s), stats)
        return type(self)(update)

    def mean(self) -> DataLike:
        """The fields' means; None where a product of priors has no prior."""
        return self._each(lambda model: None if model is None else model.mean())

    def variance(self) -> DataLike:
        """The fields' variances; None where a product of priors has no prior."""
        return self._each(lambda model: None if model is None else model.variance())

    def entropy(self) -> Array:
        """Sum of the fields' entropies, nats."""
        return _total(self._each(lambda model: model.entropy()))

    def kl_divergence(self, other: Self) -> Array:
        """Sum of the fields' divergences from those of other, nats.

        Raises:
          ValueError: for other fields.
        """
        self._same_type(other)
        fields = self._aligned(other.fields, "other.fields")
        return _total(self._each(lambda model, q: model.kl_divergence(q), fields))

    def mode(self) -> DataLike:
        """For a product of priors: the fields' modes."""
        return self._each(lambda prior: prior.mode())

    def nearest_to(self, others: "Product") -> "Product":
        """For a product of priors: every field nearest to those of others with a leading axis."""
        return Product(self._each(lambda prior, q: prior.nearest_to(q), others.fields))

    def log_evidence(self, stats: FieldStats) -> Array:
        """For a product of priors: the sum of the fields' log evidences, nats.

        Raises:
          ValueError: where a field has no prior.
        """
        without = [name for name in _names(self.fields) if self.fields[name] is None]
        if without:
            raise ValueError(f"Product.log_evidence: the fields {without} have no prior")
        return _total(self._each(lambda prior, s: prior.log_evidence(s), stats))

    def _split(self, x: DataLike) -> Any:
        values, observed = take_mask(x)
        if observed is None:
            return self._aligned(x, "x")
        values, observed = self._aligned(values, "x.values"), self._aligned(observed, "x.observed")
        names = _names(self.fields)
        return _like(self.fields, [with_mask(values[n], observed[n]) for n in names])

    def _each(self, function: Any, *trees: Any) -> Any:
        names = _names(self.fields)
        return _like(self.fields, [function(self.fields[n], *(t[n] for t in trees)) for n in names])

    def _aligned(self, x: DataLike, name: str) -> Any:
        wanted = _names(self.fields)
        got = _names(x) if isinstance(x, dict | tuple | list) else type(x).__name__
        if isinstance(self.fields, dict) != isinstance(x, dict) or got != wanted:
            raise ValueError(f"Product: {name} must have the fields {wanted}; got {got}")
        return x


def _names(fields: Any) -> list[Any]:
    return sorted(fields) if isinstance(fields, dict) else list(range(len(fields)))


def _like(fields: Any, values: list[Any]) -> Any:
    return (
        dict(zip(_names(fields), values, strict=True))
        if isinstance(fields, dict)
        else tuple(values)
    )


def _total(terms: Any) -> Any:
    each = list(terms.values() if isinstance(terms, dict) else terms)
    _check_rows([jnp.shape(term) for term in each])
    # a Python zero has the dtype of the other summand
    return sum(each, start=0.0)


def _check_rows(shapes: list[tuple[int, ...]]) -> None:
    """Raise if fields have different leading axes, which would broadcast."""
    if len(set(shapes)) > 1:
        raise ValueError(
            f"Product: the fields of x must have the same leading axes; got {shapes} in the order "
            "of the fields"
        )


class Repeated(Model[S, "Independent[Any]"], Generic[S]):
    """A model with one set of parameters for each entry of an axis: what features and steps share.

    Attributes:
      component: a model with a leading axis on every leaf.
    """

    repeats: ClassVar[tuple[str, ...]] = ("component",)

    component: Any

    if TYPE_CHECKING:  # the field is dynamic, so that its own attributes can be read

        def __init__(self, component: Model[S, Any]) -> None: ...

    def __post_init__(self) -> None:
        check_part(type(self).__name__, "component", self.component)

    def check_shapes(self, name: str) -> None:
        """Raise for a component without an array, or with an array without the leading axis.

        Raises:
          ValueError: starting with `name`.
        """
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(self.component)]
        if not shapes or min(map(len, shapes)) == 0:
            raise ValueError(
                f"{name}: every array of {type(self).__name__}.component must have a leading axis; "
                f"got {shapes}"
            )
        self.component.check_shapes(name)

    def m_step(self, stats: S, prior: "Independent[Any] | None" = None) -> Self:
        """The M step of every entry. prior: an `Independent` of a prior with a leading axis."""
        if prior is None:
            return type(self)(jax.vmap(lambda model, s: model.m_step(s))(self.component, stats))
        step = jax.vmap(lambda model, s, p: model.m_step(s, p))
        return type(self)(step(self.component, stats, prior.component))

    def stacked_m_step(
        self, stats: S, prior: "Independent[Any] | None" = None, used: Array | None = None
    ) -> Self:
        """M step of K models, entry by entry."""
        step = jax.vmap(lambda m, s, p: m.stacked_m_step(s, p, used), in_axes=1, out_axes=1)
        return type(self)(step(self.component, stats, None if prior is None else prior.component))

    def pool(self, stats: S) -> S:
        """Statistics of K models, each entry pooled over the K."""
        return jax.vmap(lambda m, s: m.pool(s), in_axes=1, out_axes=1)(self.component, stats)

    def pool_with_prior(
        self, stats: S, prior: "Independent | None", used: Array | None = None
    ) -> tuple[S, "Independent | None"]:
        """Statistics and priors of K models, each entry pooled over the K."""
        if prior is None:
            return self.pool(stats), None
        step = jax.vmap(lambda m, s, p: m.pool_with_prior(s, p, used), in_axes=1, out_axes=1)
        stats, component = step(self.component, stats, prior.component)
        return stats, Independent(component)

    def expected_log_prob(self, stats: S) -> Array:
        """Sum of the entries' expected log probabilities, nats."""
        return jnp.sum(jax.vmap(lambda model, s: model.expected_log_prob(s))(self.component, stats))

    def log_prior(self, prior: "Independent[Any] | None") -> Array:
        """Log density of all parameters under an `Independent` of a prior, nats; 0 without one."""
        if prior is None:
            return jnp.zeros(())
        each = jax.vmap(lambda model, p: model.log_prior(p))
        return jnp.sum(each(self.component, prior.component))

    def stacked_log_prior(
        self, prior: "Independent[Any] | None", used: Array | None = None
    ) -> Array:
        """Sum of the log priors of K models, nats."""
        each = jax.vmap(lambda m, p: m.stacked_log_prior(p, used), in_axes=1)
        return jnp.sum(each(self.component, None if prior is None else prior.component))

    def tied_log_prior(self, prior: "Independent[Any] | None", used: Array | None = None) -> Array:
        """`stacked_log_prior` of K models that share the spread of each entry, nats."""
        each = jax.vmap(lambda m, p: m.tied_log_prior(p, used), in_axes=1)
        return jnp.sum(each(self.component, None if prior is None else prior.component))

    def mean(self) -> DataLike:
        """The entries' means, with a leading axis."""
        return jax.vmap(lambda model: model.mean())(self.component)

    def variance(self) -> DataLike:
        """The entries' variances, with a leading axis."""
        return jax.vmap(lambda model: model.variance())(self.component)

    def entropy(self) -> Array:
        """Sum of the entries' entropies, nats."""
        return jnp.sum(jax.vmap(lambda model: model.entropy())(self.component))

    def kl_divergence(self, other: Self) -> Array:
        """Sum of the entries' divergences from those of other, nats."""
        self._same_type(other)
        each = jax.vmap(lambda model, q: model.kl_divergence(q))
        return jnp.sum(each(self.component, other.component))


@pytree
class Independent(Repeated[S]):
    """One model repeated over the last axes: log p(x) = sum_d log p_d(x[..., d])

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      component: a model with a leading axis D on every leaf: one set of parameters per
        feature. x has shape (..., D, *event of the component).

    Examples:
      >>> from likelax.families import Bernoulli
      >>> print(f"{Independent(Bernoulli(jnp.array([0.5, 0.5]))).log_prob(jnp.ones(2)):.4f}")
      -1.3863
    """

    component: Any

    if TYPE_CHECKING:  # the field is dynamic, so that its own attributes can be read

        def __init__(self, component: Model[S, Any]) -> None: ...

    @property
    def event_ndim(self) -> int:
        """Axes of one observation: the features', and those of each feature."""
        return 1 + self.component.event_ndim

    @property
    def num_features(self) -> int:
        """D, the length of the leading axis."""
        return jax.tree.leaves(self.component)[0].shape[0]

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Sum over the D features, (...), nats; a missing feature adds 0."""
        features = self._features(x)
        log_prob = jax.vmap(lambda model, value: model.log_prob(value))(self.component, features)
        return jnp.sum(log_prob, axis=0)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Draws of shape (*shape, D, *event)."""
        keys = jax.random.split(key, self.num_features)
        draws = jax.vmap(lambda model, k: model.sample(k, shape))(self.component, keys)
        return jax.tree.map(lambda d: jnp.moveaxis(d, 0, len(shape)), draws)

    @one_program
    def stacked_log_kernel(self, x: DataLike) -> Array:
        """Sum of the features' log kernels under each of K models: (..., K), nats.

        Features whose whole mass lies on one point are compared as `Normal` says.
        """
        kernel, atom = super().stacked_log_kernel(x), self.component.atom()
        if atom is None:
            return kernel

        def with_atoms(kernel: Array) -> Array:
            each = jax.vmap(lambda model, value: model.stacked_log_kernel(value), in_axes=(1, 0))
            features = self._features(x, jax.tree.leaves(self.component)[0].shape[1])
            return jnp.sum(each(self.component, features), axis=0).astype(kernel.dtype)

        some = numerics.any_in_batch(jnp.any(atom[0]))
        return jax.lax.cond(some, with_atoms, lambda kernel: kernel, kernel)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """(statistics with a leading axis D, weighted log probability)."""
        step = jax.vmap(lambda model, value: model.e_step(value, weights))
        stats, log_prob = step(self.component, self._features(x))
        return stats, jnp.sum(log_prob)

    @one_program
    def stacked_e_step(self, x: DataLike, shares: Array) -> S:
        """Statistics of K models with D features each, with leading axes (K, D)."""
        num_features = jax.tree.leaves(self.component)[0].shape[1]
        step = jax.vmap(lambda model, v: model.stacked_e_step(v, shares), (1, 0), out_axes=1)
        return step(self.component, self._features(x, num_features))

    def predictive(self, prior: "Independent[Any] | None") -> "Independent":
        """The features' predictive distributions."""
        each = jax.vmap(lambda model, p: model.predictive(p))
        return Independent(each(self.component, None if prior is None else prior.component))

    def parameter(self) -> Any:
        """The features' parameters, with a leading axis D."""
        return jax.vmap(lambda model: model.parameter())(self.component)

    def posterior(self, stats: object) -> Self:
        """For a prior: every feature updated by its statistics."""
        return type(self)(jax.vmap(lambda prior, s: prior.posterior(s))(self.component, stats))

    def nearest_to(self, others: Self) -> Self:
        """For a prior: every feature nearest to those of others with a leading axis."""
        each = jax.vmap(lambda prior, q: prior.nearest_to(q), (0, 1))
        return type(self)(each(self.component, others.component))

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where every feature is possible."""
        axis = -1 - self.component.event_ndim
        leaves, structure = jax.tree.flatten(self.component)
        found: Any = np.True_
        for d in range(leaves[0].shape[0]):
            feature = jax.tree.unflatten(structure, [leaf[d] for leaf in leaves])
            found = found & feature.possible(jax.tree.map(lambda a, d=d: a.take(d, axis), x))
        return found

    def mode(self) -> DataLike:
        """For a prior: the features' modes."""
        return jax.vmap(lambda prior: prior.mode())(self.component)

    def log_evidence(self, stats: object) -> Array:
        """For a prior: the sum of the features' log evidences, nats."""
        return jnp.sum(jax.vmap(lambda prior, s: prior.log_evidence(s))(self.component, stats))

    def _features(self, x: DataLike, num_features: int | None = None) -> Any:
        """x with the feature axis first. num_features: that of one model, for K stacked ones."""
        ndim = self.component.event_ndim
        wanted_size = self.num_features if num_features is None else num_features

        def first(value: Any) -> Array:
            value = jnp.asarray(value)
            axis = value.ndim - 1 - ndim
            if axis < 0 or value.shape[axis] != wanted_size:
                wanted = f"(..., {wanted_size}{', *event' * bool(ndim)})"
                raise ValueError(f"Independent: x must have shape {wanted}; got {value.shape}")
            return jnp.moveaxis(value, axis, 0)

        return jax.tree.map(first, without_unseen(x))
