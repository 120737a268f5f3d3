"""Hidden Markov kernels beside hmmlearn's C++ loops (both modes) and dynamax, on the same data.

Run `python benchmarks/bench_hmm.py`, or with `--quick` for small sizes. Each contender starts from
the log likelihoods of the steps, so no emission model is timed; hmmlearn's scaling mode takes
their exponentials and dynamax logs, as each library does itself. Timed on the CPU in float32;
hmmlearn knows only float64.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.hidden_markov_model import inference as dynamax
from hmmlearn import _hmmc
from timing import compare, print_setting

from likelax.hmm import decoding, inference

SIZES = [(100_000, 2), (100_000, 5), (20_000, 16), (5_000, 64)]
QUICK = [(5_000, 2), (2_000, 16)]


def data(num_steps, num_states, batch=None, seed=0):
    """(initial, transition, log_lik) of a random ergodic chain, probabilities and nats."""
    rng = np.random.default_rng(seed)
    initial = rng.dirichlet(np.ones(num_states))
    transition = rng.dirichlet(np.ones(num_states), num_states)
    shape = (num_steps, num_states) if batch is None else (batch, num_steps, num_states)
    log_lik = rng.normal(size=shape)
    return initial, transition, log_lik


def arrays(*args):
    return tuple(jnp.asarray(a, jnp.float32) for a in args)


def log_prob_rows(num_steps, num_states):
    initial, transition, log_lik = data(num_steps, num_states)
    args = arrays(np.log(initial), np.log(transition), log_lik)
    theirs = arrays(initial, transition, log_lik)
    ours = jax.jit(inference.log_partition)
    dyn = jax.jit(lambda *a: dynamax.hmm_filter(*a).marginal_loglik)
    compare(
        f"log likelihood T{num_steps} K{num_states}",
        lambda: ours(*args),
        {
            "hmmlearn scaling": lambda: _hmmc.forward_scaling(initial, transition, np.exp(log_lik))[
                0
            ],
            "hmmlearn log": lambda: _hmmc.forward_log(initial, transition, log_lik)[0],
            "dynamax": lambda: dyn(*theirs),
        },
        check=np.asarray,
    )


def _hmmlearn_smoother(initial, transition, log_lik):
    lik = np.exp(log_lik)
    _, fwd, scaling = _hmmc.forward_scaling(initial, transition, lik)
    bwd = _hmmc.backward_scaling(initial, transition, lik, scaling)
    post = fwd * bwd
    post /= post.sum(1, keepdims=True)
    return post, _hmmc.compute_scaling_xi_sum(fwd, transition, bwd, lik)


def _hmmlearn_smoother_log(initial, transition, log_lik):
    _, fwd = _hmmc.forward_log(initial, transition, log_lik)
    bwd = _hmmc.backward_log(initial, transition, log_lik)
    post = fwd + bwd
    post = np.exp(post - np.logaddexp.reduce(post, axis=1, keepdims=True))
    return post, np.exp(_hmmc.compute_log_xi_sum(fwd, transition, bwd, log_lik))


def smoother_rows(num_steps, num_states):
    initial, transition, log_lik = data(num_steps, num_states)
    args = arrays(np.log(initial), np.log(transition), log_lik)
    theirs = arrays(initial, transition, log_lik)

    @jax.jit
    def ours(*a):
        post = inference.smoother(*a)
        return jnp.exp(post.log_marginals), post.transition_counts

    @jax.jit
    def dyn(*a):
        post = dynamax.hmm_two_filter_smoother(*a)
        return post.smoothed_probs, post.trans_probs

    compare(
        f"smoother and summed pairs T{num_steps} K{num_states}",
        lambda: ours(*args),
        {
            "hmmlearn scaling": lambda: _hmmlearn_smoother(initial, transition, log_lik),
            "hmmlearn log": lambda: _hmmlearn_smoother_log(initial, transition, log_lik),
            "dynamax two-filter": lambda: dyn(*theirs),
        },
        check=lambda out: np.asarray(out[0]),
        rtol=1e-3,
    )


def viterbi_rows(num_steps, num_states):
    initial, transition, log_lik = data(num_steps, num_states)
    args = arrays(np.log(initial), np.log(transition), log_lik)
    theirs = arrays(initial, transition, log_lik)
    ours = jax.jit(lambda *a: decoding.viterbi(*a)[0])
    dyn = jax.jit(dynamax.hmm_posterior_mode)
    joint = jax.jit(lambda path: decoding.path_log_prob(path, *args)[0])
    compare(
        f"Viterbi T{num_steps} K{num_states}",
        lambda: ours(*args),
        {
            "hmmlearn": lambda: _hmmc.viterbi(initial, transition, log_lik)[1],
            "dynamax": lambda: dyn(*theirs),
        },
        check=lambda path: np.asarray(joint(jnp.asarray(path, jnp.int32))),
    )


def gradient_rows(batch, num_steps, num_states):
    initial, transition, log_lik = data(num_steps, num_states, batch)
    log_args, args = (
        arrays(np.log(initial), np.log(transition), log_lik),
        arrays(initial, transition, log_lik),
    )

    def total(initial, transition, log_lik):
        run = jax.vmap(inference.log_partition, (None, None, 0))
        return run(initial, transition, log_lik).sum()

    def total_dynamax(initial, transition, log_lik):
        run = jax.vmap(lambda x: dynamax.hmm_filter(jnp.exp(initial), jnp.exp(transition), x))
        return run(log_lik).marginal_loglik.sum()

    ours = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    dyn = jax.jit(jax.value_and_grad(total_dynamax, (0, 1, 2)))
    compare(
        f"gradient by all potentials N{batch} T{num_steps} K{num_states}",
        lambda: ours(*log_args),
        {"dynamax": lambda: dyn(*log_args)},
        check=lambda out: np.asarray(out[1][1]),
        rtol=1e-3,
    )
    batched = jax.jit(total)
    theirs = jax.jit(
        lambda *a: jax.vmap(dynamax.hmm_filter, (None, None, 0))(*a).marginal_loglik.sum()
    )
    lengths = range(batch)
    compare(
        f"log likelihood N{batch} T{num_steps} K{num_states}",
        lambda: batched(*log_args),
        {
            "hmmlearn scaling": lambda: sum(
                _hmmc.forward_scaling(initial, transition, np.exp(log_lik[n]))[0] for n in lengths
            ),
            "dynamax": lambda: theirs(*args),
        },
        check=np.asarray,
    )


def uncertified_rows(batch, num_steps, num_states):
    """A batch with structural zeros, in which one chain or ten cannot be certified."""
    initial = np.full(num_states, 1 / num_states)
    transition = np.eye(num_states) + np.roll(np.eye(num_states), 1, axis=1)
    log_lik = data(num_steps, num_states, batch)[2]
    with np.errstate(divide="ignore"):
        initial, transition = arrays(np.log(initial), np.log(transition / 2))
    run = jax.jit(jax.vmap(inference.smoother, (None, None, 0)))

    def flagged(number):
        bad = log_lik.copy()
        # all weight on the last state, then on the second, which takes two moves
        bad[:number, num_steps // 2] = np.where(np.arange(num_states) == num_states - 1, 0, -200)
        bad[:number, num_steps // 2 + 1] = np.where(np.arange(num_states) == 1, 0, -400)
        (narrow,) = arrays(bad)
        return lambda: run(initial, transition, narrow)

    compare(
        f"smoother N{batch} T{num_steps} K{num_states}, uncertified: none",
        flagged(0),
        {"one": flagged(1), "ten": flagged(10)},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    parser.add_argument("--only", default="", help="run the groups whose name contains this")
    options = parser.parse_args()
    print_setting("dynamax", "hmmlearn")
    sizes = QUICK if options.quick else SIZES
    for rows in (log_prob_rows, smoother_rows, viterbi_rows):
        if options.only in rows.__name__:
            for size in sizes:
                rows(*size)
    if options.only in uncertified_rows.__name__:
        uncertified_rows(*((500, 50, 4) if options.quick else (10_000, 100, 4)))
    if options.only in gradient_rows.__name__:
        gradient_rows(*((10, 200, 4) if options.quick else (100, 1000, 4)))
        gradient_rows(*((5, 100, 16) if options.quick else (20, 1000, 32)))


if __name__ == "__main__":
    main()
