"""`jax.export` with sizes that are not known: one program for every length, batch and N."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from likelax import families, hmm, mixture

K = 3


def potentials(seed, num_steps, batch=None):
    rng = np.random.default_rng(seed)
    steps = (num_steps, K) if batch is None else (batch, num_steps, K)
    parts = rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), K), rng.normal(size=steps)
    return [np.asarray(p, np.float32) for p in (np.log(parts[0]), np.log(parts[1]), parts[2])]


KERNELS = {
    "log_partition": hmm.log_partition,
    "filter": hmm.filter,
    "smoother": hmm.smoother,
    "pairwise": hmm.pairwise,
    "viterbi": hmm.viterbi,
    "gradient": jax.grad(hmm.log_partition, (0, 1, 2)),
}


def assert_same(got, want):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-4)


def exported(function, *args, platforms=("cpu", "cuda")):
    return export.export(jax.jit(function), platforms=platforms)(*args)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_exported_for_every_length_and_batch(name):
    kernel = KERNELS[name]
    many = jax.vmap(kernel, (None, None, 0))
    b, t = export.symbolic_shape("b, t")
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((K,), (K, K), (b, t, K))]
    program = exported(lambda *a: jax.tree.leaves(many(*a)), *shapes)
    for num_steps, batch in ((1, 2), (40, 3)):
        args = potentials(0, num_steps, batch)
        assert_same(program.call(*args), many(*args))


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize(
    "emissions",
    [
        families.Poisson(jnp.array([1.0, 6.0])),
        families.Categorical(jnp.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])),
        families.MvNormal(jnp.array([[0.0, 1.0], [2.0, 3.0]]), jnp.stack([jnp.eye(2)] * 2)),
    ],
    ids=lambda emissions: type(emissions).__name__,
)
def test_a_fitted_chain_is_exported_for_every_length(emissions):
    model = hmm.HMM(jnp.full(2, 0.5), jnp.array([[0.9, 0.1], [0.2, 0.8]]), emissions)
    event = (2,) * emissions.event_ndim

    def answers(x):
        post = model.smoother(x)
        stats = jax.tree.leaves(model.e_step(x)[0])
        return model.log_prob(x), jnp.exp(post.log_marginals), model.viterbi(x)[0], stats

    (t,) = export.symbolic_shape("t")
    program = exported(answers, jax.ShapeDtypeStruct((t, *event), jnp.int32))
    for num_steps in (1, 50, 300):
        x = np.random.default_rng(0).integers(0, 4, (num_steps, *event)).astype(np.int32)
        assert_same(program.call(x), answers(x))


@pytest.mark.parametrize(
    "components",
    [
        families.Normal(jnp.array([0.0, 3.0]), jnp.ones(2)),
        families.MvNormal(jnp.zeros((2, 3)), jnp.stack([jnp.eye(3), 2 * jnp.eye(3)])),
    ],
)
def test_a_mixture_is_exported_for_every_number_of_rows(components):
    model = mixture.Mixture(jnp.array([0.3, 0.7]), components)
    event = (3,) * components.event_ndim
    (n,) = export.symbolic_shape("n")

    def answers(x):
        return model.log_prob(x), model.responsibilities(x)

    program = exported(answers, jax.ShapeDtypeStruct((n, *event), jnp.float32))
    for rows in (1, 20):
        x = np.random.default_rng(0).normal(size=(rows, *event)).astype(np.float32)
        assert_same(program.call(x), answers(x))
