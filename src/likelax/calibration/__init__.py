"""Calibration: do predicted probabilities match frequencies, and how to mend them."""

from likelax.calibration.binning import (
    Bins,
    bias,
    bin_statistics,
    classwise,
    debiased_ece,
    debiased_squared_error,
    ece,
    lp_error,
    max_error,
    quantile_edges,
    rms_error,
    top_label,
)
from likelax.calibration.class_weights import balanced_class_weights, row_weights
from likelax.calibration.conformal import (
    Conformal,
    VennAbers,
    fit_conformal_interval,
    fit_conformal_sets,
    fit_venn_abers,
)
from likelax.calibration.isotonic import Corp, Isotonic, corp, fit_isotonic
from likelax.calibration.losses import mmce, soft_binned_ece
from likelax.calibration.multiclass import DirichletMap, Vector, fit_dirichlet, fit_vector
from likelax.calibration.recalibration import (
    BetaMap,
    Histogram,
    Platt,
    Temperature,
    fit_beta,
    fit_histogram,
    fit_platt,
    fit_temperature,
)
from likelax.calibration.resample import bootstrap_bins, consistency_band, consistency_bins
from likelax.calibration.significance import (
    Significance,
    clopper_pearson,
    ks_error,
    kuiper,
    spiegelhalter,
)
from likelax.calibration.smooth import smooth_ece

__all__ = [
    "BetaMap",
    "Bins",
    "Conformal",
    "Corp",
    "DirichletMap",
    "Histogram",
    "Isotonic",
    "Platt",
    "Significance",
    "Temperature",
    "Vector",
    "VennAbers",
    "balanced_class_weights",
    "bias",
    "bin_statistics",
    "bootstrap_bins",
    "classwise",
    "clopper_pearson",
    "consistency_band",
    "consistency_bins",
    "corp",
    "debiased_ece",
    "debiased_squared_error",
    "ece",
    "fit_beta",
    "fit_conformal_interval",
    "fit_conformal_sets",
    "fit_dirichlet",
    "fit_histogram",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "fit_vector",
    "fit_venn_abers",
    "ks_error",
    "kuiper",
    "lp_error",
    "max_error",
    "mmce",
    "quantile_edges",
    "rms_error",
    "row_weights",
    "smooth_ece",
    "soft_binned_ece",
    "spiegelhalter",
    "top_label",
]
