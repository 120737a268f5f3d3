"""Calibration: do predicted probabilities match frequencies, and how to mend them."""

from likelax.calibration.binning import (
    Bins,
    bias,
    bin_statistics,
    classwise,
    debiased_ece,
    debiased_squared_error,
    ece,
    max_error,
    quantile_edges,
    rms_error,
    top_label,
)
from likelax.calibration.isotonic import Corp, Isotonic, corp, fit_isotonic
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
from likelax.calibration.resample import (
    Significance,
    bootstrap_bins,
    clopper_pearson,
    consistency_bins,
    spiegelhalter,
)
from likelax.calibration.smooth import smooth_ece

__all__ = [
    "BetaMap",
    "Bins",
    "Corp",
    "Histogram",
    "Isotonic",
    "Platt",
    "Significance",
    "Temperature",
    "bias",
    "bin_statistics",
    "bootstrap_bins",
    "classwise",
    "clopper_pearson",
    "consistency_bins",
    "corp",
    "debiased_ece",
    "debiased_squared_error",
    "ece",
    "fit_beta",
    "fit_histogram",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "max_error",
    "quantile_edges",
    "rms_error",
    "smooth_ece",
    "spiegelhalter",
    "top_label",
]
