"""Hidden Markov models: array kernels on log potentials, and the node that calls them."""

from likelax.hmm.autoregression import lagged, switching_mean
from likelax.hmm.decoding import path_log_prob, viterbi
from likelax.hmm.expansion import Expanded, explicit_duration, factorial, state_history
from likelax.hmm.inference import (
    Filtered,
    Smoothed,
    backward,
    filter,
    fixed_lag_smoother,
    forecast,
    log_partition,
    pairwise,
    smoother,
)
from likelax.hmm.matching import match_states, relabel
from likelax.hmm.model import HMM
from likelax.hmm.online import (
    FilterStep,
    SmootherState,
    SmootherStep,
    ViterbiState,
    ViterbiStep,
    filter_step,
    smoother_start,
    smoother_step,
    viterbi_start,
    viterbi_step,
)
from likelax.hmm.packing import Packed, pack
from likelax.hmm.paths import path_entropy, sample_paths, top_k_paths
from likelax.hmm.prior import HMMPrior, HMMStats
from likelax.hmm.stationarity import stationary
from likelax.hmm.transitions import SoftmaxTransition, banded, sticky
from likelax.hmm.variational import VariationalHMM

__all__ = [
    "HMM",
    "Expanded",
    "FilterStep",
    "Filtered",
    "HMMPrior",
    "HMMStats",
    "Packed",
    "Smoothed",
    "SmootherState",
    "SmootherStep",
    "SoftmaxTransition",
    "VariationalHMM",
    "ViterbiState",
    "ViterbiStep",
    "backward",
    "banded",
    "explicit_duration",
    "factorial",
    "filter",
    "filter_step",
    "fixed_lag_smoother",
    "forecast",
    "lagged",
    "log_partition",
    "match_states",
    "pack",
    "pairwise",
    "path_entropy",
    "path_log_prob",
    "relabel",
    "sample_paths",
    "smoother",
    "smoother_start",
    "smoother_step",
    "state_history",
    "stationary",
    "sticky",
    "switching_mean",
    "top_k_paths",
    "viterbi",
    "viterbi_start",
    "viterbi_step",
]
