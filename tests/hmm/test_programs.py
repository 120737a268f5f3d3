"""Bounds on what the programs of chains would cost on an accelerator, held on a CPU."""

import jax
import jax.numpy as jnp
import pytest

import programs
from likelax import hmm, predictive
from likelax._chains import chain, products


def shapes(num_steps, num_states, batch=None, varying=False):
    square = (num_states, num_states)
    steps = (num_steps, num_states) if batch is None else (batch, num_steps, num_states)
    sizes = (num_states,), (num_steps - 1, *square) if varying else square, steps
    return tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in sizes)


KERNELS = {
    "log_partition": hmm.log_partition,
    "filter": hmm.filter,
    "smoother": hmm.smoother,
    "viterbi": hmm.viterbi,
    "gradient": jax.grad(hmm.log_partition, (0, 1, 2)),
}


def check(name, args, num_steps, platform="cuda"):
    """Steps within bounds, a buffer of at most max(4, K) times input and output, and no surprises."""
    kernel = KERNELS[name]
    if args[2].ndim == 3:
        kernel = jax.vmap(kernel, (None, None, 0))
    got, given = programs.cost(kernel, *args, platform=platform)
    assert got.steps <= num_steps + 64
    assert got.stored <= max(4, args[0].shape[0]) * given
    assert not (got.float64 or got.callbacks or got.unknown)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("num_states", [4, 16, 64])
def test_one_long_chain_takes_few_steps(name, num_states):
    check(name, shapes(65536, num_states), 0)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("num_steps", "num_states", "batch"), [(1000, 8, 10_000), (4096, 16, 100), (100, 2, 2500)]
)
def test_a_batch_takes_no_more_steps_than_its_chains(name, num_steps, num_states, batch):
    both_ways = name not in ("log_partition", "filter")
    check(name, shapes(num_steps, num_states, batch), (1 + both_ways) * num_steps)


@pytest.mark.parametrize("name", ["smoother", "viterbi"])
def test_other_chips_and_transitions_that_vary_get_the_same_form(name):
    check(name, shapes(65536, 4), 0, platform="tpu")
    check(name, shapes(65536, 4, varying=True), 0)


def test_leave_one_out_takes_few_steps_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    got, given = programs.cost(predictive.loo, jax.ShapeDtypeStruct((4000, 10_000), jnp.float32))
    assert got.steps <= 8 and got.stored <= given
    jax.clear_caches()


def test_the_bounds_notice_steps_one_after_the_other(monkeypatch):
    monkeypatch.setattr(products, "_LEAST_BLOCKS", 10**9)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        check("filter", shapes(65536, 4), 0)
    jax.clear_caches()


@pytest.mark.parametrize(("num_chains", "blocks"), [(10_000, 1), (100, 125)])
def test_chains_are_cut_only_where_the_batch_leaves_room(num_chains, blocks):
    def number(log_lik):
        c = products.cut(chain.Chain(jnp.zeros(8), jnp.zeros((8, 8)), log_lik, None, None))
        return jnp.zeros(c.num_blocks)

    steps = jax.ShapeDtypeStruct((1000, 8, num_chains), jnp.float32)
    assert jax.eval_shape(number, steps).shape == (blocks,)
