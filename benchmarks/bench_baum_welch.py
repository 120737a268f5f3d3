"""Twenty steps of Baum-Welch beside hmmlearn (both C modes) and dynamax: same data, same start.

Run `python benchmarks/bench_baum_welch.py`, or with `--quick` for small sizes. All contenders fit
a categorical hidden Markov model by maximum likelihood, without priors, and must end at the same
log likelihood. hmmlearn knows only float64; the others run in float32. One row is one long sequence with
normal emissions of full covariance; dynamax has weak priors there, which change the seventh digit. The
last rows fit ragged sequences: packed, padded, and as one batch without a gap, whose likelihood is another.
"""

import argparse

import jax.numpy as jnp
import numpy as np
from dynamax.hidden_markov_model import CategoricalHMM, GaussianHMM
from hmmlearn.hmm import CategoricalHMM as HmmlearnHMM
from hmmlearn.hmm import GaussianHMM as HmmlearnGaussianHMM
from timing import compare, print_setting

import likelax as lx

STEPS = 20


def data(batch, num_steps, num_states, num_values, seed=0):
    """Codes (batch, num_steps) of a sticky chain, and a start (initial, transition, emission)."""
    rng = np.random.default_rng(seed)
    transition = 0.8 * np.eye(num_states) + 0.2 * rng.dirichlet(np.ones(num_states), num_states)
    emission = rng.dirichlet(np.full(num_values, 0.3), num_states)
    state = rng.integers(num_states, size=batch)
    codes = np.empty((batch, num_steps), np.int32)
    for t in range(num_steps):
        codes[:, t] = (emission[state].cumsum(1) > rng.random((batch, 1))).argmax(1)
        state = (transition[state].cumsum(1) > rng.random((batch, 1))).argmax(1)
    start = (
        np.full(num_states, 1 / num_states),
        rng.dirichlet(np.full(num_states, 5.0), num_states),
        rng.dirichlet(np.full(num_values, 5.0), num_states),
    )
    return codes, start


def rows(batch, num_steps, num_states, num_values):
    codes, (initial, transition, emission) = data(batch, num_steps, num_states, num_values)
    model = lx.HMM(
        jnp.asarray(initial, jnp.float32),
        jnp.asarray(transition, jnp.float32),
        lx.Categorical(jnp.asarray(emission, jnp.float32)),
    )
    x = jnp.asarray(codes)

    def ours():
        # tol = 0 stops only where the likelihood stands still: all contenders take the same number of steps
        return lx.fit.em(model, x, max_steps=STEPS, tol=0.0).objectives[STEPS - 1]

    def hmmlearn(implementation):
        def run():
            peer = HmmlearnHMM(
                num_states, n_iter=STEPS, tol=-np.inf, init_params="", implementation=implementation
            )
            peer.startprob_, peer.transmat_, peer.emissionprob_ = initial, transition, emission
            peer.n_features = num_values
            peer.fit(codes.reshape(-1, 1), [num_steps] * batch)
            return peer.monitor_.history[-1]

        return run

    peer = CategoricalHMM(
        num_states,
        1,
        num_values,
        initial_probs_concentration=1.0,
        transition_matrix_concentration=1.0,
        emission_prior_concentration=1.0,
    )
    params, props = peer.initialize(
        initial_probs=jnp.asarray(initial, jnp.float32),
        transition_matrix=jnp.asarray(transition, jnp.float32),
        emission_probs=jnp.asarray(emission[:, None, :], jnp.float32),
    )
    emissions = x[..., None]

    def dynamax():
        fitted = peer.fit_em(params, props, emissions, num_iters=STEPS, verbose=False)
        return fitted[1][-1]

    compare(
        f"Baum-Welch {STEPS} steps N{batch} T{num_steps} K{num_states} V{num_values}",
        ours,
        {
            "hmmlearn scaling": hmmlearn("scaling"),
            "hmmlearn log": hmmlearn("log"),
            "dynamax": dynamax,
        },
        check=lambda log_prob: np.asarray(log_prob, float),
        rtol=1e-3,
        repeats=5,
        budget_s=60.0,
    )


def gaussian_rows(num_steps, num_states, num_dims, steps=10):
    """One long sequence with normal emissions of full covariance."""
    rng = np.random.default_rng(0)
    transition = 0.9 * np.eye(num_states) + 0.1 / num_states
    mean = rng.normal(size=(num_states, num_dims)) * 2
    state = np.empty(num_steps, int)
    state[0] = 0
    jumps = rng.random(num_steps)
    for t in range(1, num_steps):
        state[t] = (transition[state[t - 1]].cumsum() > jumps[t]).argmax()
    x = mean[state] + rng.normal(size=(num_steps, num_dims))
    begin = np.full(num_states, 1 / num_states)
    moves = 0.5 * np.eye(num_states) + 0.5 / num_states
    loc, cov = (
        mean + 0.5 * rng.normal(size=mean.shape),
        np.stack([2 * np.eye(num_dims)] * num_states),
    )

    initial, move, locs, covs, data = (
        jnp.asarray(a, jnp.float32) for a in (begin, moves, loc, cov, x)
    )
    model = lx.HMM(initial, move, lx.MvNormal(locs, jnp.linalg.cholesky(covs)))

    def ours():
        return lx.fit.em(model, data, max_steps=steps, tol=0.0).objectives[steps - 1]

    def hmmlearn():
        peer = HmmlearnGaussianHMM(
            num_states,
            "full",
            n_iter=steps,
            tol=-np.inf,
            init_params="",
            covars_prior=0.0,
            implementation="scaling",
        )
        peer.startprob_, peer.transmat_, peer.means_, peer.covars_ = begin, moves, loc, cov
        peer.fit(x)
        return peer.monitor_.history[-1]

    peer = GaussianHMM(
        num_states,
        num_dims,
        initial_probs_concentration=1.1,  # 1.0 is NaN there where a state cannot begin
        transition_matrix_concentration=1.0,
    )
    params, props = peer.initialize(
        initial_probs=initial,
        transition_matrix=move,
        emission_means=locs,
        emission_covariances=covs,
    )

    def dynamax():
        fitted, log_probs = peer.fit_em(params, props, data, num_iters=steps, verbose=False)
        return log_probs[-1] - peer.log_prior(fitted)  # which it adds

    compare(
        f"Baum-Welch {steps} steps, normal emissions T{num_steps} K{num_states} D{num_dims}",
        ours,
        {"hmmlearn scaling": hmmlearn, "dynamax": dynamax},
        check=lambda log_prob: np.asarray(log_prob, float),
        rtol=1e-3,
        repeats=5,
        budget_s=60.0,
    )


def ragged_rows(num_sequences, shortest, longest):
    """Ragged sequences packed, beside one batch of rows of the same total length without padding."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(shortest, longest + 1, num_sequences)
    codes, (initial, transition, emission) = data(num_sequences, longest, 4, 8)
    sequences = [row[:length] for row, length in zip(codes, lengths, strict=True)]
    initial, transition, emission = (
        jnp.asarray(a, jnp.float32) for a in (initial, transition, emission)
    )
    model = lx.HMM(initial, transition, lx.Categorical(emission))
    packed = lx.hmm.pack(sequences).data
    padded = lx.Sequences(jnp.asarray(codes), lengths=jnp.asarray(lengths))
    total = int(lengths.sum())
    num_rows = packed.starts.shape[0]
    even = jnp.asarray(np.concatenate(sequences)[: total // num_rows * num_rows])
    even = even.reshape(num_rows, -1)
    print(
        f"\nsteps laid out over steps of data: packed {packed.starts.size / total:.3f}, "
        f"padded {codes.size / total:.3f}"
    )

    def fit(x):
        return lambda: lx.fit.em(model, x, max_steps=STEPS, tol=0.0).objectives[STEPS - 1]

    compare(
        f"Baum-Welch {STEPS} steps, {num_sequences} ragged sequences of {shortest} to {longest}",
        fit(packed),
        {
            "padded to the longest": fit(padded),
            "as one even batch": fit(even),
        },
        check=lambda log_prob: np.asarray(log_prob, float),
        rtol=1e-2,
        repeats=3,
        budget_s=60.0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    parser.add_argument("--ragged", action="store_true", help="only the ragged sequences")
    options = parser.parse_args()
    print_setting("dynamax", "hmmlearn")
    if options.quick:
        rows(10, 100, 4, 8)
        gaussian_rows(2000, 4, 3)
        ragged_rows(50, 5, 50)
    elif options.ragged:
        ragged_rows(1000, 10, 1000)
    else:
        rows(100, 1000, 4, 8)
        rows(20, 1000, 32, 50)
        gaussian_rows(100_000, 8, 10)
        ragged_rows(1000, 10, 1000)


if __name__ == "__main__":
    main()
