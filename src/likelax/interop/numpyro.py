"""NumPyro models as log joints, its distributions as models, and models as its distributions.

A NumPyro distribution needs no adapter as a guide: it has `sample` and `log_prob`. As a component or an
emission it does, `density(dist.Gamma, concentration=..., rate=...)`: an instance keeps its batch shape when
its arrays are sliced.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import constraints
from likelax.data import DataLike
from likelax.families import Dirichlet
from likelax.families.on_line import OnLine
from likelax.interop.external import (
    External,
    double_where,
    example,
    lenient,
    split_options,
)
from likelax.model import Density
from likelax.numerics.checks import check_shape, check_type
from likelax.variational.minibatch import Minibatch

try:
    import numpyro
    from numpyro.distributions import Distribution, biject_to
    from numpyro.distributions import constraints as their_constraints
    from numpyro.infer import init_to_uniform
    from numpyro.infer.util import initialize_model, log_density

    from likelax.interop.plates import Rows, latent_sites
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError(
        "likelax.interop.numpyro wants NumPyro: pip install numpyro"
    ) from missing


class Joint(NamedTuple):
    """A NumPyro model over the reals.

    Attributes:
      log_joint: a point of the reals, as `template` -> scalar log p(x, z) with the Jacobian of
        the transforms, nats.
      template: a dict with an array of reals for each latent site: where a guide may start.
      constrain: a point of the reals -> a dict with the value of each latent and deterministic
        site.
    """

    log_joint: Callable[[Any], Array]
    template: dict[str, Array]
    constrain: Callable[[Any], dict[str, Array]]


def unconstrained(
    key: Array,
    model: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    init_strategy: Callable[..., Any] | None = None,
) -> Joint:
    """A NumPyro model with continuous latents as a log joint over the reals.

    Args:
      key: a typed key, for the point to start from.
      model: a NumPyro model.
      args, kwargs: what the model is called with, observations included.
      init_strategy: one of `numpyro.infer.init_to_value(...)` and its kind, which decides the
        template; None: `init_to_uniform`, between -2 and 2 over the reals.
    Returns:
      A `Joint`. Its functions are made anew by each call, and a fit compiles for each: call
      once and keep the result.

    Examples:
      >>> import numpyro
      >>> import numpyro.distributions as dist
      >>> def model(x):
      ...     loc = numpyro.sample("loc", dist.Normal(0, 1))
      ...     numpyro.sample("x", dist.Normal(loc, 1), obs=x)
      >>> joint = unconstrained(jax.random.key(0), model, (jnp.array(1.0),))
      >>> print(f"{joint.log_joint({'loc': jnp.array(0.0)}):.4f}")  # two normals
      -2.3379
    """
    kwargs = dict(kwargs or {})
    strategy = init_to_uniform if init_strategy is None else init_strategy
    with lenient():
        found = initialize_model(
            key, model, init_strategy=strategy, model_args=tuple(args), model_kwargs=kwargs
        )

    def log_joint(reals: Any) -> Array:
        with lenient():
            return -found.potential_fn(reals)

    def constrain(reals: Any) -> dict[str, Array]:
        with lenient():
            return found.postprocess_fn(reals)

    return Joint(log_joint, dict(found.param_info.z), constrain)


class RowJoint(NamedTuple):
    """A NumPyro model whose plate takes a part of its rows, over the reals.

    Attributes:
      log_joint: a `Minibatch` of the plate's rows for `fit_guide`. Its draws are points of the reals
        as `template`; where rows have latents of their own, pairs of such a point and of one as
        `row_template` with an axis N on every leaf.
      template: a dict with an array of reals for each latent site outside of the plate.
      row_template: the same for each latent site inside of it, for one row; {} if there is none.
      constrain: a draw -> a dict with the value of each latent and deterministic site, of all rows.
    """

    log_joint: Minibatch
    template: dict[str, Array]
    row_template: dict[str, Array]
    constrain: Callable[[Any], dict[str, Array]]


def minibatch(
    key: Array,
    model: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    init_strategy: Callable[..., Any] | None = None,
) -> RowJoint:
    """A NumPyro model with `plate(name, N, subsample_size=B)` as a minibatched log joint over the reals.

    Latents outside of the plate are shared by all rows; those inside belong to a row, and a guide of
    `variational.per_row` or `amortized` draws those of a batch only.

    Args:
      key: a typed key, for the point to start from.
      model: a NumPyro model with continuous latents whose supports depend on no other site, and one plate
        that takes a part of its rows.
      args, kwargs, init_strategy: as for `unconstrained`.
    Returns:
      A `RowJoint`. Its functions are made anew by each call: call once and keep the result.
    Raises:
      ValueError: for a model with no such plate, or with several.

    Examples:
      >>> import numpyro
      >>> import numpyro.distributions as dist
      >>> from likelax import variational
      >>> def model(x):
      ...     loc = numpyro.sample("loc", dist.Normal(0, 1))
      ...     with numpyro.plate("rows", len(x), subsample_size=2) as rows:
      ...         own = numpyro.sample("own", dist.Normal(loc, 1))
      ...         numpyro.sample("x", dist.Normal(own, 1), obs=x[rows])
      >>> joint = minibatch(jax.random.key(0), model, (jnp.zeros(5),))
      >>> print(f"{joint.log_joint(({'loc': jnp.array(0.0)}, {'own': jnp.zeros(5)})):.4f}")  # 11 normals
      -10.1083
      >>> shared = variational.mean_field(joint.template)
      >>> guide = variational.per_row(shared, joint.row_template, joint.log_joint.num_data)
    """
    kwargs = dict(kwargs or {})
    strategy = init_to_uniform if init_strategy is None else init_strategy
    with lenient():
        found = initialize_model(
            key, model, init_strategy=strategy, model_args=tuple(args), model_kwargs=kwargs
        )
    sites = found.model_trace
    plates = [
        (name, site["args"])
        for name, site in sites.items()
        if site["type"] == "plate" and site["args"][0] != site["args"][1]
    ]
    if len(plates) != 1:
        raise ValueError(
            "minibatch wants a model with one plate whose subsample_size is less than its size, got "
            f"{[name for name, _ in plates]}"
        )
    ((plate, (size, batch_size)),) = plates
    point = found.param_info.z
    latents = latent_sites(sites, point, plate)
    row_template = {
        name: jnp.take(point[name], 0, axis=site.free_axis)
        for name, site in latents.items()
        if site.free_axis is not None
    }
    rows = Rows(model, tuple(args), kwargs, plate, size, latents, row_template)
    template = {name: value for name, value in point.items() if name not in row_template}
    local = bool(row_template)
    joint = Minibatch(
        rows.log_prior,
        rows.log_lik if local else lambda z, at: rows.log_lik(z, {}, at),
        jnp.arange(size),
        batch_size,
        local,
    )
    return RowJoint(joint, template, row_template, rows.constrain)


def constrained(
    model: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Callable[[Mapping[str, Any]], Array]:
    """A NumPyro model as a log joint over its own sites, discrete latents included.

    For guides over the sites' values: `variational.mean_field(template, sets)`, or one's own
    with `rloo` where latents are discrete.

    Args:
      model, args, kwargs: as for `unconstrained`.
    Returns:
      A function: a dict with a value for each latent site -> scalar log p(x, z), nats.

    Examples:
      >>> import numpyro
      >>> import numpyro.distributions as dist
      >>> def model(x):
      ...     coin = numpyro.sample("coin", dist.Bernoulli(0.25))
      ...     numpyro.sample("x", dist.Normal(2.0 * coin, 1), obs=x)
      >>> log_joint = constrained(model, (jnp.array(2.0),))
      >>> print(f"{log_joint({'coin': jnp.array(1)}):.4f}")
      -2.3052
    """
    kwargs = dict(kwargs or {})

    def log_joint(sites: Mapping[str, Any]) -> Array:
        with lenient():
            return jnp.asarray(log_density(model, tuple(args), kwargs, dict(sites))[0])

    return log_joint


def density(kind: Callable[..., Any], **parameters: Any) -> External:
    """A NumPyro distribution as a model: K of them with a leading axis K on every parameter.

    Args:
      kind: a class of `numpyro.distributions`, or a function such as `numpyro.distributions.Binomial` or
        your own that builds a distribution from arrays.
      parameters: what it is called with, as keywords: a number or an array is a parameter of the
        model. Anything else is an option that all K distributions share, and so is a Python integer
        where the class wants an integer, as in `total_count=10`.
    Returns:
      `External`. Its log density is -inf off the support; a gradient fit keeps the parameters within
      the constraints that the class declares.
    Raises:
      TypeError: for a parameter that the class does not have.

    Examples:
      >>> import numpyro.distributions as dist
      >>> from likelax import Mixture
      >>> gumbels = density(dist.Gumbel, loc=jnp.array([0.0, 4.0]), scale=jnp.ones(2))
      >>> model = Mixture(jnp.array([0.5, 0.5]), gumbels)
      >>> model.sample(jax.random.key(0), (5,)).shape
      (5,)
      >>> print(f"{density(dist.Binomial, total_count=2, probs=0.5).log_prob(1):.4f}")
      -0.6931
    """
    if inspect.isclass(kind):
        known = [name for name in inspect.signature(kind).parameters if name != "validate_args"]
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise TypeError(f"density: {kind.__name__} has the parameters {known}; got {unknown}")
    built = example(kind, parameters)
    theirs = _arg_constraints(built)
    arrays, build = split_options(kind, parameters, lambda name: _is_discrete(theirs.get(name)))
    declared = tuple(
        (name, ours)
        for name in sorted(arrays)
        if (ours := _constraint(theirs.get(name, their_constraints.real))) is not None
    )
    return External(arrays, build, declared, _log_density, _draw, len(built.event_shape))


class LikelaxDistribution(Distribution):
    """A likelax model as a NumPyro distribution; `distribution` makes one."""

    pytree_data_fields = ("model",)
    pytree_aux_fields = ("lengths", "_support")

    def __init__(
        self, model: Density, lengths: tuple[int, ...], support: Any, event_shape: tuple[int, ...]
    ) -> None:
        self.model, self.lengths, self._support = model, lengths, support
        super().__init__(batch_shape=(), event_shape=event_shape)

    @property
    def support(self) -> Any:
        """The constraint of one observation."""
        return _support_of(self.model) if self._support is None else self._support

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of shape (*sample_shape, *event_shape). NumPyro makes keys without a type."""
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)
        return self.model.sample(key, (*sample_shape, *self.lengths))

    def log_prob(self, value: Array) -> Array:
        """log p(value), (...), nats."""
        return self.model.log_prob(value)


def distribution(
    model: Density, *, lengths: Sequence[int] = (), support: Any = None
) -> LikelaxDistribution:
    """A likelax model as a NumPyro distribution: to observe, to sample, or as a latent variable.

    Its parameters may be traced, so that a NumPyro model can give them priors.

    Args:
      model: one distribution, whose observations are arrays. In a plate of rows, `.expand([N])`.
      lengths: of the axes that no parameter says, such as (T,) for a hidden Markov model.
      support: a constraint of NumPyro, which decides how NUTS moves a latent of this distribution. None:
        that of the family for families of one number and for the Dirichlet, the reals for all other
        continuous models, and what has a positive probability for discrete ones.
    Returns:
      A distribution of batch shape (), with the gradients of the model.
    Raises:
      TypeError: for a model whose observations are no arrays, such as a `Product`; use `factor`.
      ValueError: if lengths are not one for each such axis.

    Examples:
      >>> from likelax import Poisson
      >>> counts = distribution(Poisson(2.0))
      >>> counts.event_shape, counts.sample(jax.random.key(0), (3,)).shape
      ((), (3,))
    """
    check_type("model", model, Density)
    check_shape(lengths, "lengths")
    if len(lengths) != model.free_ndim:
        raise ValueError(
            f"lengths: {type(model).__name__} has {model.free_ndim} axes whose length no parameter "
            f"says; got {tuple(lengths)}"
        )
    one = jax.eval_shape(lambda: model.sample(jax.random.key(0), tuple(lengths)))
    if not isinstance(one, jax.ShapeDtypeStruct):
        raise TypeError(
            f"distribution: an observation of {type(model).__name__} is no array; use factor"
        )
    return LikelaxDistribution(model, tuple(lengths), support, one.shape)


def factor(name: str, model: Density, x: DataLike) -> None:
    """Add log p(x) of a likelax model to the log joint of the NumPyro model that calls it.

    Unlike `distribution` it takes all data of likelax: `Masked`, `Labelled`, `Sequences`, and the dicts of a
    `Product`.

    Args:
      name: of the site.
      model: its parameters may be latent variables of the NumPyro model.
      x: data as `model.log_prob` takes them; the log probabilities (...) are added up.
    Raises:
      TypeError: for something that is no model.

    Examples:
      >>> from likelax import Masked, Normal
      >>> import numpyro.distributions as dist
      >>> def joint(x):
      ...     loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
      ...     factor("x", Normal(loc, 1.0), x)
      >>> x = Masked.from_nan(jnp.array([0.0, jnp.nan]))
      >>> print(f"{constrained(joint, (x,))({'loc': jnp.array(0.0)}):.4f}")  # two normals
      -1.8379
    """
    check_type("model", model, Density)
    numpyro.factor(name, jnp.sum(model.log_prob(x)))


class _Possible(their_constraints.Constraint):
    """What has a positive probability."""

    is_discrete = True

    def __init__(self, model: Density, event_dim: int) -> None:
        self.model, self.event_dim = model, event_dim

    def __call__(self, x: Any) -> Array:
        return self.model.log_prob(x) > -jnp.inf

    def feasible_like(self, prototype: Any) -> Array:
        return jnp.zeros_like(prototype)

    def tree_flatten(self) -> Any:
        return (self.model, self.event_dim), (("model", "event_dim"), {})


def _support_of(model: Density) -> Any:
    one = jax.eval_shape(lambda: model.sample(jax.random.key(0), (1,) * model.free_ndim))
    if not jnp.issubdtype(one.dtype, jnp.floating):
        return _Possible(model, one.ndim)
    if isinstance(model, Dirichlet):
        return their_constraints.simplex
    if not isinstance(model, OnLine):
        real = their_constraints.real
        return their_constraints.independent(real, one.ndim) if one.ndim else real
    low, high = model._ends()
    bounded = [not isinstance(end, float) or math.isfinite(end) for end in (low, high)]
    if bounded == [True, True]:
        return their_constraints.interval(low, high)
    if bounded == [True, False]:
        return their_constraints.greater_than(low)
    return their_constraints.real


def _arg_constraints(distribution: Any) -> dict[str, Any]:
    """The constraints of the parameters of a distribution, and of those that it is built from."""
    found: dict[str, Any] = {}
    while distribution is not None:
        found = {**distribution.arg_constraints, **found}
        distribution = getattr(distribution, "base_dist", None)
    return found


def _is_discrete(theirs: Any) -> bool:
    return theirs is None or theirs.is_discrete


_OURS = {
    "Simplex": constraints.simplex,
    "OrderedVector": constraints.ordered,
    "LowerCholesky": constraints.scale_tril,
    "CorrCholesky": constraints.correlation_tril,
    "CorrMatrix": constraints.correlation,
    "PositiveDefinite": constraints.positive_definite,
}


def _constraint(theirs: Any) -> constraints.Constraint | None:
    """Our constraint of a NumPyro one; None for the reals, integers, and bounds that are parameters."""
    name = type(theirs).__name__.strip("_")
    if name in _OURS:
        return _OURS[name]
    if theirs.is_discrete or name in ("Dependent", "Real"):
        return None
    if hasattr(theirs, "base_constraint"):
        return _constraint(theirs.base_constraint)
    low, high = getattr(theirs, "lower_bound", None), getattr(theirs, "upper_bound", None)
    if (low, high) == (0, None):
        return constraints.positive
    if (low, high) == (0, 1):
        return constraints.unit_interval
    return _by_bijection(name, low, high)


@functools.cache
def _by_bijection(
    name: str, low: float | None, high: float | None
) -> constraints.Constraint | None:
    """A constraint made of NumPyro's own bijection; cached, so that equal ones compile once."""
    bounds = [bound for bound in (low, high) if bound is not None]
    if name not in _NAMES:
        return None
    found: Any = getattr(their_constraints, _NAMES[name])
    theirs = found(*bounds) if bounds else found
    transform = biject_to(theirs)

    def log_det(y: Array) -> Array:
        return transform.log_abs_det_jacobian(y, transform(y))

    return constraints.Constraint(
        f"{name}{tuple(bounds)}" if bounds else name,
        transform,
        transform.inv,
        log_det,
        lambda x: np.asarray(theirs(x)),
        theirs.event_dim,
    )


_NAMES = {
    "GreaterThan": "greater_than", "GreaterThanEq": "greater_than_eq", "LessThan": "less_than",
    "LessThanEq": "less_than_eq", "Interval": "interval", "OpenInterval": "open_interval",
    "L1Ball": "l1_ball",
}  # fmt: skip


def _log_density(distribution: Any, x: Array) -> Array:
    support = distribution.support
    shape = jnp.broadcast_shapes(x.shape, distribution.event_shape)
    x = jnp.broadcast_to(x, shape)
    return double_where(support(x), x, support.feasible_like(x), distribution.log_prob)


def _draw(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    return distribution.sample(key, shape)
