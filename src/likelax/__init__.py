"""Classical probabilistic models in JAX: exact, compiled, differentiable."""

from likelax import (
    calibration,
    checklist,
    constraints,
    data,
    datasets,
    families,
    fit,
    hmm,
    mixture,
    monte_carlo,
    naive_bayes,
    numerics,
    parameters,
    predictive,
    scoring,
    statistics,
    variational,
)
from likelax.data import Driven, Labelled, Masked, Sequences
from likelax.families import *  # noqa: F403
from likelax.families.registry import FAMILIES as _FAMILIES
from likelax.hierarchical import Hierarchical
from likelax.hmm.model import HMM, HMMPrior
from likelax.hmm.variational import VariationalHMM
from likelax.mixture import Mixture, MixturePrior
from likelax.model import Density, Model, pytree
from likelax.one_of import OneOf
from likelax.product import Independent, Product
from likelax.time_varying import TimeVarying
from likelax.variational_node import StickBreaking, Variational, VariationalMixture
from likelax.wrappers import Fixed, Tied

__all__ = [
    *(entry.name for entry in _FAMILIES),
    "HMM",
    "HMMPrior",
    "Density",
    "Driven",
    "Hierarchical",
    "Independent",
    "Labelled",
    "Masked",
    "Mixture",
    "Model",
    "MixturePrior",
    "Product",
    "Sequences",
    "StickBreaking",
    "TimeVarying",
    "Variational",
    "VariationalHMM",
    "VariationalMixture",
    "pytree",
    "Fixed",
    "OneOf",
    "Tied",
    "calibration",
    "checklist",
    "constraints",
    "data",
    "datasets",
    "families",
    "fit",
    "hmm",
    "mixture",
    "monte_carlo",
    "naive_bayes",
    "numerics",
    "parameters",
    "predictive",
    "scoring",
    "statistics",
    "variational",
]
