"""Calibration: do predicted probabilities match frequencies, and how to mend them."""

from likelax.calibration.binning import (
    Bins,
    bias,
    bin_statistics,
    classwise,
    clopper_pearson,
    debiased_ece,
    debiased_squared_error,
    ece,
    max_error,
    quantile_edges,
    rms_error,
    top_label,
)

__all__ = [
    "Bins",
    "bias",
    "bin_statistics",
    "classwise",
    "clopper_pearson",
    "debiased_ece",
    "debiased_squared_error",
    "ece",
    "max_error",
    "quantile_edges",
    "rms_error",
    "top_label",
]
