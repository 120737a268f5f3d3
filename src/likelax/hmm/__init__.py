"""Hidden Markov models: array kernels on log potentials, and the node that calls them."""

from likelax.hmm.decoding import viterbi
from likelax.hmm.inference import (
    Filtered,
    Smoothed,
    filter,
    forecast,
    log_partition,
    pairwise,
    smoother,
)
from likelax.hmm.model import HMM, HMMPrior, HMMStats

__all__ = [
    "HMM",
    "Filtered",
    "HMMPrior",
    "HMMStats",
    "Smoothed",
    "filter",
    "forecast",
    "log_partition",
    "pairwise",
    "smoother",
    "viterbi",
]
