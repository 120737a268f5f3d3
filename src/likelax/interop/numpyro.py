"""NumPyro models as log joints, for guides of this library, and NumPyro distributions as models.

A NumPyro distribution needs no adapter as a guide: it answers `sample` and `log_prob`. As a
component or an emission it does: `density(dist.Gamma, concentration=..., rate=...)`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import constraints
from likelax.interop.external import External

try:
    from numpyro.distributions import constraints as their_constraints
    from numpyro.infer import init_to_uniform
    from numpyro.infer.util import initialize_model, log_density
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
    with _lenient():
        found = initialize_model(
            key, model, init_strategy=strategy, model_args=tuple(args), model_kwargs=kwargs
        )

    def log_joint(reals: Any) -> Array:
        with _lenient():
            return -found.potential_fn(reals)

    def constrain(reals: Any) -> dict[str, Array]:
        with _lenient():
            return found.postprocess_fn(reals)

    return Joint(log_joint, dict(found.param_info.z), constrain)


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
        with _lenient():
            return jnp.asarray(log_density(model, tuple(args), kwargs, dict(sites))[0])

    return log_joint


def density(kind: Any, **parameters: Any) -> External:
    """A NumPyro distribution as a model: K of them with a leading axis K on every parameter.

    Args:
      kind: a class of `numpyro.distributions`.
      parameters: its parameters, as keywords.
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
    """
    unknown = set(parameters) - set(kind.arg_constraints)
    if unknown:
        raise TypeError(
            f"density: {kind.__name__} has the parameters {sorted(kind.arg_constraints)}; "
            f"got {sorted(unknown)}"
        )
    declared = tuple(
        (name, ours)
        for name in sorted(parameters)
        if (ours := _constraint(kind.arg_constraints[name])) is not None
    )
    arrays = {name: jnp.asarray(value) for name, value in parameters.items()}
    with _lenient():
        num_event_axes = int(jax.eval_shape(lambda: jnp.zeros(kind(**arrays).event_shape)).ndim)
    return External(arrays, kind, declared, _log_density, _draw, num_event_axes)


def _constraint(theirs: Any) -> constraints.Constraint | None:
    """Our constraint of a NumPyro one; None for the reals and for those without an equal here."""
    known = {
        "positive": constraints.positive,
        "nonnegative": constraints.positive,
        "unit_interval": constraints.unit_interval,
        "simplex": constraints.simplex,
        "lower_cholesky": constraints.scale_tril,
        "corr_cholesky": constraints.correlation_tril,
        "corr_matrix": constraints.correlation,
        "positive_definite": constraints.positive_definite,
    }
    found = [ours for name, ours in known.items() if theirs is getattr(their_constraints, name)]
    return found[0] if found else None


def _log_density(distribution: Any, x: Array) -> Array:
    with _lenient():
        log_prob = distribution.log_prob(x)
        return jnp.where(distribution.support(x), log_prob, -jnp.inf)


def _draw(distribution: Any, key: Array, shape: tuple[int, ...]) -> Array:
    with _lenient():
        return distribution.sample(key, shape)


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """NumPyro relies on implicit promotion and uses a key twice, which the caller may forbid."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield
