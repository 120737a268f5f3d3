"""NumPyro models as log joints: fit guides of this library to them, and correct the fits.

NumPyro's distributions need no adapter: they answer `sample` and `log_prob`, and stand as guides
and components as they are.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

try:
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
) -> Joint:
    """A NumPyro model with continuous latents as a log joint over the reals.

    Args:
      key: a typed key, for the point to start from.
      model: a NumPyro model.
      args, kwargs: what the model is called with, observations included.
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
    with _lenient():
        found = initialize_model(key, model, model_args=tuple(args), model_kwargs=kwargs)

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


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """NumPyro relies on implicit promotion and uses a key twice, which the caller may forbid."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield
