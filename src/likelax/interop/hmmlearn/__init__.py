"""hmmlearn's classes, computed by likelax's models: changing the import is enough.

Needs the extra `sklearn`, as hmmlearn itself does; hmmlearn is not needed.
"""

from likelax.interop.hmmlearn.base import BaseHMM
from likelax.interop.hmmlearn.convert import from_likelax, to_likelax
from likelax.interop.hmmlearn.counts import CategoricalHMM, MultinomialHMM, PoissonHMM
from likelax.interop.hmmlearn.gaussian import GaussianHMM
from likelax.interop.hmmlearn.gmm import GMMHMM
from likelax.interop.hmmlearn.monitor import ConvergenceMonitor
from likelax.interop.hmmlearn.variational import VariationalCategoricalHMM
from likelax.interop.hmmlearn.variational_gaussian import VariationalGaussianHMM

__all__ = [
    "BaseHMM",
    "CategoricalHMM",
    "ConvergenceMonitor",
    "GMMHMM",
    "GaussianHMM",
    "MultinomialHMM",
    "PoissonHMM",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
    "from_likelax",
    "to_likelax",
]
