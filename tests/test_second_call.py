"""A second call of a function that loops, with other values, compiles nothing (chains: tests/hmm)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fuzz
from likelax import Mixture, Product, calibration, fit, naive_bayes
from likelax.families import Binomial, Categorical, Gamma, MvNormal, Poisson, StudentT
from public import public_names


def binary(seed):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(0.05, 0.95, 40), jnp.float32), jnp.asarray(
        rng.integers(0, 2, 40)
    )


def classes(seed):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(40, 3)), jnp.float32), jnp.asarray(rng.integers(0, 3, 40))


def points(seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(30, 2)), jnp.float32)


def rows(seed):
    """More than are processed at a time: an E step and a density loop over them."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(9000, 8)), jnp.float32)


def normals(seed):
    return MvNormal(rows(seed)[:4], jnp.stack([jnp.eye(8)] * 4))


def mixture(seed):
    return Mixture(jnp.full(4, 0.25), normals(seed))


def codes(seed):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 400, 9000))


def start(key, x, size):
    loc = jax.random.choice(key, x, (2,), replace=False)
    weights = jnp.where(jnp.arange(2) < size, 1 / size.astype(loc.dtype), 0)
    return Mixture(weights, MvNormal(loc, jnp.stack([jnp.eye(2)] * 2)))


def three_steps(step, seed):
    x = points(seed)
    return step(Mixture(jnp.array([0.5, 0.5]), MvNormal(x[:2], jnp.stack([jnp.eye(2)] * 2))), x, x)


CALLS = {
    "fit.three_step_bch": lambda s: three_steps(fit.three_step_bch, s),
    "fit.three_step_ml": lambda s: three_steps(fit.three_step_ml, s),
    "fit.bootstrap_test": lambda s: fit.bootstrap_test(
        jax.random.key(s), start, points(s), sizes=(1, 2), num_restarts=2, num_replicates=2
    ),
    "Gamma.quantile": lambda s: Gamma(2.0 + s, 1.0).quantile(jnp.array([0.1, 0.9])),
    "Poisson.quantile": lambda s: Poisson(2.0 + s).quantile(jnp.array([0.1, 0.9]), upper=True),
    "StudentT.log_cdf": lambda s: StudentT(2.0 + s, 0.0, 1.0).log_cdf(jnp.array([0.1, 0.9])),
    "Mixture.log_prob": lambda s: mixture(s).log_prob(rows(s)),
    "Mixture.predict": lambda s: mixture(s).predict(rows(s)),
    "Mixture.e_step": lambda s: mixture(s).e_step(rows(s)),
    "MvNormal.stacked_log_prob": lambda s: normals(s).stacked_log_prob(rows(s)),
    "MvNormal.stacked_e_step": lambda s: normals(s).stacked_e_step(rows(s), rows(s)[:, :4] ** 2),
    "Categorical.log_prob": lambda s: Categorical(jnp.full(400, 1 / 400)).log_prob(codes(s)),
    "Product.log_prob": lambda s: Product(
        {"a": Categorical(jnp.full(400, 1 / 400)), "b": Poisson(200.0)}
    ).log_prob({"a": codes(s), "b": codes(s)}),
    "naive_bayes.multinomial": lambda s: naive_bayes.multinomial(3, 8).statistics(
        jnp.round(rows(s) ** 2), codes(s) % 3
    ),
    "fit.kmeans": lambda s: fit.kmeans(jax.random.key(s), points(s), 3),
    "Poisson.sample": lambda s: Poisson(20.0 + s).sample(jax.random.key(s), (4,)),
    "Binomial.sample": lambda s: Binomial(50.0, 0.2 + s / 9).sample(jax.random.key(s), (4,)),
    "smooth_ece": lambda s: calibration.smooth_ece(*binary(s)),
    "fit_platt": lambda s: calibration.fit_platt(*binary(s)),
    "fit_beta": lambda s: calibration.fit_beta(*binary(s)),
    "fit_isotonic": lambda s: calibration.fit_isotonic(*binary(s)),
    "fit_histogram": lambda s: calibration.fit_histogram(*binary(s)),
    "fit_venn_abers": lambda s: calibration.fit_venn_abers(*binary(s)),
    "fit_temperature": lambda s: calibration.fit_temperature(*classes(s)),
    "fit_vector": lambda s: calibration.fit_vector(*classes(s)),
    "fit_dirichlet": lambda s: calibration.fit_dirichlet(
        jax.nn.softmax(classes(s)[0]), classes(s)[1], penalty=0.1 + s
    ),
    "corp": lambda s: calibration.corp(*binary(s)),
    "bin_statistics": lambda s: calibration.bin_statistics(*binary(s)),
    "kuiper": lambda s: calibration.kuiper(*binary(s)),
    "mmce": lambda s: calibration.mmce(*binary(s)),
    "soft_binned_ece": lambda s: calibration.soft_binned_ece(*binary(s)),
    "spiegelhalter": lambda s: calibration.spiegelhalter(*binary(s)),
}

_compiled = []


@pytest.fixture(autouse=True, scope="module")
def count_compilations():
    def note(event, *_, **__):
        if "backend_compile" in event:
            _compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing(name):
    jax.block_until_ready(jax.tree.leaves(CALLS[name](0)))
    before = len(_compiled)
    jax.block_until_ready(jax.tree.leaves(CALLS[name](1)))
    assert len(_compiled) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "calibration",
        "constraints",
        "data",
        "hierarchical",
        "mixture",
        "monte_carlo",
        "naive_bayes",
        "numerics",
        "one_of",
        "parameters",
        "predictive",
        "product",
        "scoring",
        "statistics",
        "time_varying",
        "wrappers",
    ],
)
def test_calls_of_the_examples_compile_nothing_when_they_are_made_again(place):
    """But those with a function of the user, each of which is another program."""
    entries = [entry for entry in public_names() if entry.name.partition(".")[0] == place]
    again = []
    with jax.debug_key_reuse(False):  # a second call takes the key of the first
        for call in fuzz.record(entries).values():
            if any(callable(value) for value in call.arguments.values()):
                continue
            jax.block_until_ready(fuzz.answers(call))
            before = len(_compiled)
            jax.block_until_ready(fuzz.answers(call))
            again += [call.name] if len(_compiled) > before else []
    assert again == []
