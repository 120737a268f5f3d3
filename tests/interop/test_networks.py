"""Networks of equinox and flax, and flows of FlowJAX, as guides or inside of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from likelax import variational
from likelax.interop.external import lenient
from likelax.model import pytree
from likelax.variational import MeanField, Minibatch
from reference import elbo_problems

ROWS = jnp.linspace(-2.0, 2.0, 24)
LOG_2PI = np.log(2 * np.pi)
# z_n ~ N(0, 1), x_n ~ N(z_n, 1): the posterior of z_n is N(x_n / 2, 1/2), and x_n ~ N(0, 2)
EVIDENCE = stats.norm(0, np.sqrt(2)).logpdf(np.asarray(ROWS)).sum()


def log_joint(z):
    return -jnp.sum(z**2) / 2 - jnp.sum((ROWS - z) ** 2) / 2 - ROWS.size * LOG_2PI


@pytree
class Amortised:
    """A guide of the latents of all rows, computed by a network from each."""

    network: object

    def base(self):
        loc, log_scale = jnp.split(jax.vmap(self.network)(ROWS[:, None]), 2, axis=1)
        return MeanField(loc[:, 0], jnp.exp(log_scale[:, 0]))

    def sample(self, key, shape=()):
        return self.base().sample(key, shape)

    def log_prob(self, z):
        return self.base().log_prob(z)


def check(network, same):
    """As a guide of one's own, and as an encoder whose steps see a batch of rows."""
    options = {"optimizer": optax.adam(0.02), "max_steps": 1500, "num_check": 300}
    with lenient():
        found = variational.fit_guide(jax.random.key(0), log_joint, Amortised(network), **options)
    assert same(found.guide.network)
    assert found.fit.usable
    assert EVIDENCE - 0.4 < found.elbo.value < EVIDENCE + 4 * found.elbo.standard_error

    shared = variational.mean_field({"mu": 0.0})  # a latent that the rows do not see
    rows = Minibatch(
        lambda z: -(z["mu"] ** 2) / 2 - LOG_2PI / 2,
        lambda z, local, x: -(local**2) / 2 - (x[:, 0] - local) ** 2 / 2 - LOG_2PI,
        ROWS[:, None],
        8,
        local=True,
    )
    start = variational.amortized(shared, 0.0, network, ROWS[:, None])
    with lenient():
        found = variational.fit_guide(jax.random.key(1), rows, start, **options)
    assert same(found.guide.each.encoder)
    assert EVIDENCE - 0.6 < found.elbo.value < EVIDENCE + 4 * found.elbo.standard_error


@pytest.mark.slow
def test_an_equinox_module_is_an_encoder():
    equinox = pytest.importorskip("equinox")
    network = equinox.nn.MLP(1, 2, 8, 1, activation=jax.nn.tanh, key=jax.random.key(2))
    check(network, lambda found: found.activation is network.activation and found.depth == 1)


@pytest.mark.slow
def test_a_flax_dataclass_with_static_fields_is_an_encoder():
    struct = pytest.importorskip("flax.struct")

    @struct.dataclass
    class Encoder:
        first: jax.Array
        second: jax.Array
        activation: object = struct.field(pytree_node=False)
        name: str = struct.field(pytree_node=False, default="encoder")

        def __call__(self, x):
            return self.activation(jnp.append(x, 1.0) @ self.first) @ self.second

    first = jax.random.normal(jax.random.key(2), (2, 8))
    network = Encoder(first, jnp.zeros((8, 2)), jax.nn.tanh)
    check(network, lambda found: found.activation is jax.nn.tanh and found.name == "encoder")


@pytest.mark.slow
def test_a_flow_of_flowjax_is_a_guide():
    flows = pytest.importorskip("flowjax.flows")
    distributions = pytest.importorskip("flowjax.distributions")
    normal = distributions.Normal(jnp.zeros(2))
    start = flows.coupling_flow(jax.random.key(0), base_dist=normal, flow_layers=4, nn_width=16)
    # a bent normal, half as wide as that of the benchmark, so that a short fit gets there

    def banana(z):
        return elbo_problems.banana(z * jnp.array([5.0, 1.0])) + jnp.log(5.0)

    with lenient():
        found = variational.fit_guide(
            jax.random.key(1),
            banana,
            start,
            estimator=variational.pathwise,
            optimizer=optax.adam(5e-3),
            num_samples=64,
            max_steps=3000,
        )
        draws = found.guide.sample(jax.random.key(2), (2000,))
    assert type(found.guide) is type(start) and found.fit.usable
    # the log evidence is 0, and the best normal is .73 short of it
    assert -0.3 < found.elbo.value < 3 * found.elbo.standard_error
    bent = np.corrcoef(np.asarray(draws[:, 0]) ** 2, np.asarray(draws[:, 1]))[0, 1]
    assert bent < -0.5
