"""Fits: they run on the device, and return a `Fit` whose `status` reports failure.

An algorithm is a value (`EM`, `SQUAREM`, `Ascent`, `LBFGS`), and `run` runs any of them. `em`,
`squarem`, `gradient` and the `maximize` functions are calls of it.
"""

from likelax.fit._batch import Batch, batch
from likelax.fit._bootstrap import BootstrapTest, bootstrap_test
from likelax.fit._distal import Distal, three_step_distal_bch, three_step_distal_ml
from likelax.fit._em import EM, SQUAREM, em, mle, squarem
from likelax.fit._gradient import gradient, maximize, maximize_noisy, minibatch_log_prob
from likelax.fit._implicit import implicit
from likelax.fit._restarts import (
    at_points,
    from_labels,
    from_responsibilities,
    kmeans,
    restarts,
    sweep,
)
from likelax.fit._stream import stepwise, stream
from likelax.fit._three_step import (
    Assignment,
    ThreeStep,
    assignments,
    three_step_bch,
    three_step_ml,
)
from likelax.fit.algorithm import Algorithm, Data, run
from likelax.fit.ascent import Ascent
from likelax.fit.batch_run import Done
from likelax.fit.checkpoint import load, load_notes, save
from likelax.fit.criteria import aic, bic, icl
from likelax.fit.lbfgs import LBFGS, maximize_lbfgs
from likelax.fit.result import Fit, FitError, Status, best
from likelax.parameters import num_parameters

__all__ = [
    "Distal",
    "EM",
    "LBFGS",
    "SQUAREM",
    "Algorithm",
    "Assignment",
    "Ascent",
    "Batch",
    "BootstrapTest",
    "Data",
    "Done",
    "Fit",
    "FitError",
    "Status",
    "ThreeStep",
    "aic",
    "assignments",
    "at_points",
    "batch",
    "best",
    "bic",
    "bootstrap_test",
    "em",
    "from_labels",
    "from_responsibilities",
    "gradient",
    "icl",
    "implicit",
    "kmeans",
    "load",
    "load_notes",
    "maximize",
    "maximize_lbfgs",
    "maximize_noisy",
    "minibatch_log_prob",
    "mle",
    "num_parameters",
    "restarts",
    "run",
    "save",
    "squarem",
    "stepwise",
    "stream",
    "sweep",
    "three_step_bch",
    "three_step_distal_bch",
    "three_step_distal_ml",
    "three_step_ml",
]
