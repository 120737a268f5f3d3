"""A NumPyro model with two correlation matrices: of the outcomes' errors, and of groups' effects."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

_RNG = np.random.default_rng(0)
_NUM, _GROUPS = 120, 12


def _data():
    group = _RNG.integers(0, _GROUPS, _NUM)
    x = _RNG.normal(size=_NUM)
    slopes = _RNG.multivariate_normal([0, 0], [[0.5, 0.3], [0.3, 0.4]], _GROUPS)[group]
    errors = _RNG.multivariate_normal(np.zeros(3), 0.5 * np.eye(3) + 0.3, _NUM)
    y = (slopes[:, 0] + slopes[:, 1] * x)[:, None] + errors
    return jnp.asarray(group), jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


DATA = _data()


def two_correlations(group, x, y):
    """Three outcomes with correlated errors; intercepts and slopes of groups are correlated too."""
    of_groups = numpyro.sample("of_groups", dist.LKJCholesky(2, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0).expand([2]).to_event(1))
    white = numpyro.sample("white", dist.Normal(0, 1).expand([_GROUPS, 2]).to_event(2))
    effects = white @ (tau[:, None] * of_groups).T
    of_errors = numpyro.sample("of_errors", dist.LKJ(3, 1.0))  # a matrix, not its factor
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0).expand([3]).to_event(1))
    covariance = sigma[:, None] * of_errors * sigma[None]
    mean = effects[group, 0] + effects[group, 1] * x
    numpyro.sample("y", dist.MultivariateNormal(mean[:, None] * jnp.ones(3), covariance), obs=y)
