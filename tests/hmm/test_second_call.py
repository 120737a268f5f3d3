"""A second call of a public function, with other values, compiles nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import data, hmm
from likelax.families import Poisson

T, K = 12, 3


def potentials(seed, num_steps=T, varying=False):
    rng = np.random.default_rng(seed)
    moves = (num_steps - 1, K) if varying else K
    return (
        np.log(rng.dirichlet(np.ones(K))),
        np.log(rng.dirichlet(np.ones(K), moves)),
        rng.normal(size=(num_steps, K)),
    )


def float32(args):
    return [jnp.asarray(a, jnp.float32) for a in args]


def model(seed, stationary=False):
    rng = np.random.default_rng(seed)
    initial, moves, rate = float32(
        (rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), K), rng.gamma(3.0, size=K))
    )
    return hmm.HMM(None if stationary else initial, moves, Poisson(rate))


def counts(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).poisson(3.0, size=shape or (T,)))


def batch(kernel, seed, num_steps=T):
    initial, moves, log_lik = float32(potentials(seed, num_steps))
    return jax.vmap(kernel, (None, None, 0))(initial, moves, jnp.stack([log_lik, log_lik + seed]))


LONG = 4000  # the certified program
CALLS = {
    "log_partition": lambda s: hmm.log_partition(*potentials(s)),
    "log_partition, length": lambda s: hmm.log_partition(*potentials(s), length=s + 2),
    "log_partition, starts": lambda s: hmm.log_partition(
        *potentials(s), starts=np.arange(T) == s + 2
    ),
    "log_partition, many steps": lambda s: hmm.log_partition(*potentials(s, LONG)),
    "log_partition, batch": lambda s: batch(hmm.log_partition, s),
    "log_partition, large batch": lambda s: batch(hmm.log_partition, s, LONG),
    "log_partition, gradient": lambda s: jax.grad(hmm.log_partition, 2)(*float32(potentials(s))),
    "filter": lambda s: hmm.filter(*potentials(s)),
    "filter_step": lambda s: hmm.filter_step(*potentials(s)[:2], potentials(s)[2][0]),
    "smoother_start": lambda s: hmm.smoother_start(potentials(s)[0], 2),
    "smoother_step": lambda s: hmm.smoother_step(
        hmm.smoother_start(potentials(s)[0], 2), potentials(s)[1], potentials(s)[2][0]
    ),
    "viterbi_start": lambda s: hmm.viterbi_start(potentials(s)[0], 2),
    "viterbi_step": lambda s: hmm.viterbi_step(
        hmm.viterbi_start(potentials(s)[0], 2), potentials(s)[1], potentials(s)[2][0]
    ),
    "backward": lambda s: hmm.backward(*potentials(s)),
    "smoother": lambda s: hmm.smoother(*potentials(s)),
    "smoother, many transitions": lambda s: hmm.smoother(*potentials(s, varying=True)),
    "smoother, many steps": lambda s: hmm.smoother(*potentials(s, LONG)),
    "smoother, prefix products": lambda s: hmm.smoother(*potentials(s), parallel=True),
    "smoother, batch": lambda s: batch(hmm.smoother, s),
    "pairwise": lambda s: hmm.pairwise(*potentials(s)),
    "viterbi": lambda s: hmm.viterbi(*potentials(s)),
    "viterbi, batch": lambda s: batch(hmm.viterbi, s),
    "path_log_prob": lambda s: hmm.path_log_prob(np.full(T, s), *potentials(s)),
    "forecast": lambda s: hmm.forecast(*potentials(s)[:2], 4),
    "fixed_lag_smoother": lambda s: hmm.fixed_lag_smoother(*potentials(s), lag=2),
    "sample_paths": lambda s: hmm.sample_paths(jax.random.key(s), *potentials(s), 4),
    "path_entropy": lambda s: hmm.path_entropy(*potentials(s)),
    "top_k_paths": lambda s: hmm.top_k_paths(*potentials(s), 3),
    "stationary": lambda s: hmm.stationary(np.exp(potentials(s)[1])),
    "match_states": lambda s: hmm.match_states(np.exp(potentials(s)[1])),
    "relabel": lambda s: hmm.relabel(model(s), np.array([2, 0, 1])),
    "explicit_duration": lambda s: hmm.explicit_duration(
        *potentials(s)[:2], np.log(np.full((K, 4), 0.25)), potentials(s)[2]
    ),
    "factorial": lambda s: hmm.factorial(
        [potentials(s)[0]] * 2, [potentials(s)[1]] * 2, np.zeros((5, K, K)) + s
    ),
    "state_history": lambda s: hmm.state_history(*potentials(s)[:2], np.zeros((5, K, K)) + s),
    "switching_mean": lambda s: hmm.switching_mean(
        np.arange(5.0) + s, np.arange(3.0) + s, np.ones(2) + s, 1.0 + s
    ),
    "lagged": lambda s: hmm.lagged(np.zeros((9, 2)) + s, 2),
    "sticky": lambda s: hmm.sticky(K, 1.0 + s, 10.0),
    "banded": lambda s: hmm.banded(K, 1),
    "pack": lambda s: hmm.pack([np.arange(3) + s, np.arange(2)], num_rows=1),
    "HMM.log_prob": lambda s: model(s).log_prob(counts(s)),
    "HMM.log_prob, batch": lambda s: model(s).log_prob(counts(s, 4, T)),
    "HMM.log_prob, lengths": lambda s: model(s).log_prob(
        data.Sequences(counts(s, 4, T), jnp.array([3, 5, 9, 2]) + s)
    ),
    "HMM.log_prob, stationary": lambda s: model(s, stationary=True).log_prob(counts(s)),
    "HMM.smoother": lambda s: model(s).smoother(counts(s)),
    "HMM.filter": lambda s: model(s).filter(counts(s)),
    "HMM.viterbi": lambda s: model(s).viterbi(counts(s)),
    "HMM.forecast": lambda s: model(s).forecast(counts(s), 3),
    "HMM.forecast_observations": lambda s: model(s).forecast_observations(counts(s), 3),
    "HMM.sample": lambda s: model(s).sample(jax.random.key(s), (5, T)),
    "HMM.m_step": lambda s: model(s).m_step(model(s).e_step(counts(s))[0]),
    "HMM.m_step, stationary": lambda s: model(s, stationary=True).m_step(
        model(s, stationary=True).e_step(counts(s))[0]
    ),
    "HMM.expected_log_prob": lambda s: model(s).expected_log_prob(model(s).e_step(counts(s))[0]),
}
# classes and tuples, which compute nothing by themselves
NO_FUNCTION = {"HMM", "HMMPrior", "HMMStats", "Expanded", "Filtered", "Packed", "Smoothed"}
NO_FUNCTION |= {"SoftmaxTransition", "FilterStep", "VariationalHMM"}
NO_FUNCTION |= {"SmootherState", "SmootherStep", "ViterbiState", "ViterbiStep"}

_compiled = []


@pytest.fixture(scope="module", autouse=True)
def _listen():
    def note(event, duration, **kwargs):
        if "backend_compile" in event:
            _compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing(name):
    first = jax.block_until_ready(jax.tree.leaves(CALLS[name](0)))
    before = len(_compiled)
    again = jax.block_until_ready(jax.tree.leaves(CALLS[name](1)))
    assert len(_compiled) == before
    assert [np.shape(a) for a in first] == [np.shape(a) for a in again]


def test_compilations_are_counted():
    before = len(_compiled)
    jax.jit(lambda x: x + 1.5)(jnp.zeros(17))
    assert len(_compiled) > before


def test_every_public_function_is_called():
    called = {name.split(",")[0].split(".")[0] for name in CALLS}
    assert set(hmm.__all__) - called <= NO_FUNCTION
