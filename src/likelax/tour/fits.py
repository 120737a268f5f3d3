"""The real fits that several chapters look at, each made once."""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import datasets, fit
from likelax.data import Labelled, Masked
from likelax.families import Bernoulli, Categorical, Dirichlet, MvNormal, Normal, Poisson
from likelax.hmm.model import HMM
from likelax.mixture import Mixture, MixturePrior
from likelax.product import Product

MEASURES = ("bill_length", "bill_depth", "flipper_length", "body_mass")
FOLDS = 5


F = TypeVar("F", bound=Callable[..., Any])


def once(function: F) -> F:
    """Remember results, and let a second thread wait for the first rather than repeat its work."""
    cached, lock = functools.cache(function), threading.RLock()

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with lock:
            return cached(*args)

    return cast("F", call)


class Birds(NamedTuple):
    """Penguins as a classifier takes them.

    Attributes:
      features: six fields of length N, missing entries declared.
      species: (N,) integers.
    """

    features: Masked
    species: Array


@once
def birds() -> Birds:
    """All 344 penguins, those with missing entries too."""
    table = datasets.penguins()
    values: dict[str, np.ndarray] = {
        name: getattr(table, name).astype(np.float32) for name in MEASURES
    }
    values |= {"island": table.island, "sex": table.sex}
    observed = {name: ~np.isnan(values[name]) for name in MEASURES}
    observed |= {"island": table.island >= 0, "sex": table.sex >= 0}
    return Birds(Masked(values, observed), jnp.asarray(table.species))


def only(features: Masked, names: tuple[str, ...]) -> Masked:
    """Some of the fields."""
    values, observed = features.values, features.observed
    return Masked({n: values[n] for n in names}, {n: observed[n] for n in names})


def naive_bayes(names: tuple[str, ...]) -> tuple[Mixture, MixturePrior]:
    """A classifier of three species before it has seen any bird, and its prior.

    One bird of each kind on each island and of each sex is added to the counts, so that no
    island is called impossible because of the birds that happened to be caught.
    """
    normal = Normal(jnp.zeros(3), jnp.ones(3))
    leaves: dict[str, Any] = dict.fromkeys(MEASURES, normal)
    leaves |= {"island": Categorical(jnp.full((3, 3), 1 / 3)), "sex": Bernoulli(jnp.full(3, 0.5))}
    priors: dict[str, Any] = dict.fromkeys(MEASURES)
    priors |= {"island": Dirichlet(jnp.full((3, 3), 2.0)), "sex": None}
    model = Mixture(jnp.full(3, 1 / 3), Product({name: leaves[name] for name in names}))
    return model, MixturePrior(components=Product({name: priors[name] for name in names}))


ALL = (*MEASURES, "island", "sex")


@once
def penguin_classifier() -> Mixture:
    """Naive Bayes over all six fields, fitted to every bird in one M step."""
    model, prior = naive_bayes(ALL)
    return fit.mle(model, Labelled(birds().features, birds().species), prior=prior)


@once
def penguin_heldout(names: tuple[str, ...] = ALL) -> np.ndarray:
    """(N, 3) log p(species | features) of each bird, by a classifier that has not seen it.

    The folds are weights of one and zero over the same array, so all fits are one vmap.
    """
    features, species = only(birds().features, names), birds().species
    fold = np.random.default_rng(0).permutation(len(species)) % FOLDS
    weights = np.float32(fold[None, :] != np.arange(FOLDS)[:, None])

    @jax.jit
    def run(features: Masked, species: Array, weights: Array) -> Array:
        model, prior = naive_bayes(names)
        data = Labelled(features, species)
        fitted = jax.vmap(lambda w: model.m_step(model.e_step(data, w)[0], prior))(weights)
        return jax.vmap(lambda m: m.log_responsibilities(features))(fitted)

    posteriors = np.asarray(run(features, species, weights))
    return posteriors[fold, np.arange(len(fold))]


def geyser_data() -> np.ndarray:
    """(272, 2) eruption length and waiting time, minutes."""
    data = datasets.faithful()
    return np.stack([data.eruption, data.waiting], axis=1).astype(np.float32)


@once
def geyser() -> fit.Fit:
    """Two Gaussians with full covariances, by EM."""
    tril = jnp.diag(jnp.array([1.0, 12.0]))
    start = Mixture(
        jnp.array([0.5, 0.5]),
        MvNormal(jnp.array([[3.0, 68.0], [3.5, 74.0]]), jnp.stack([tril, tril])),
    )
    return fit.em(start, geyser_data(), tol=1e-8).raise_unless_converged()


def earthquake_data() -> np.ndarray:
    """(107,) counts by year."""
    return datasets.earthquakes().counts


@once
def earthquakes(num_states: int) -> fit.Fit:
    """A Poisson hidden Markov model, the best of 16 random starts."""
    counts = earthquake_data()

    def start(key: Array) -> HMM:
        rates = jax.random.choice(key, np.unique(counts).astype(np.float32), (num_states,), False)
        stay = 0.7 * jnp.eye(num_states) + 0.3 / num_states
        return HMM(jnp.full(num_states, 1 / num_states), stay, Poisson(rates))

    key = jax.random.key(num_states)
    return fit.restarts(key, start, counts, num_restarts=16, tol=1e-8, max_steps=400)


def in_order(model: HMM) -> HMM:
    """The same model with its states sorted by rate; names of states carry no meaning."""
    order = jnp.argsort(model.emissions.rate)
    return HMM(
        model.initial[order],
        model.transition[order][:, order],
        Poisson(model.emissions.rate[order]),
    )
