"""Classical probabilistic models in JAX: exact, compiled, differentiable.

Every public name is imported when it is first used, so that the command line starts without JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers read here what `__getattr__` finds
    from likelax import calibration as calibration
    from likelax import checklist as checklist
    from likelax import constraints as constraints
    from likelax import data as data
    from likelax import datasets as datasets
    from likelax import families as families
    from likelax import fit as fit
    from likelax import hmm as hmm
    from likelax import mixture as mixture
    from likelax import monte_carlo as monte_carlo
    from likelax import naive_bayes as naive_bayes
    from likelax import numerics as numerics
    from likelax import parameters as parameters
    from likelax import predictive as predictive
    from likelax import scoring as scoring
    from likelax import statistics as statistics
    from likelax import variational as variational
    from likelax.data import Driven as Driven
    from likelax.data import Labelled as Labelled
    from likelax.data import Masked as Masked
    from likelax.data import Sequences as Sequences
    from likelax.families import *  # noqa: F403
    from likelax.hierarchical import Hierarchical as Hierarchical
    from likelax.hmm.model import HMM as HMM
    from likelax.hmm.prior import HMMPrior as HMMPrior
    from likelax.hmm.variational import VariationalHMM as VariationalHMM
    from likelax.mixture import Mixture as Mixture
    from likelax.mixture import MixturePrior as MixturePrior
    from likelax.model import Density as Density
    from likelax.model import Model as Model
    from likelax.model import pytree as pytree
    from likelax.one_of import OneOf as OneOf
    from likelax.product import Independent as Independent
    from likelax.product import Product as Product
    from likelax.time_varying import TimeVarying as TimeVarying
    from likelax.variational_node import StickBreaking as StickBreaking
    from likelax.variational_node import Variational as Variational
    from likelax.variational_node import VariationalMixture as VariationalMixture
    from likelax.wrappers import Fixed as Fixed
    from likelax.wrappers import Tied as Tied

__version__: str  # found by `__getattr__`

# The public modules, and the home of each public class and function that is not a family.
_MODULES = (
    "calibration", "checklist", "constraints", "data", "datasets", "families", "fit", "hmm", "mixture",
    "monte_carlo", "naive_bayes", "numerics", "parameters", "predictive", "scoring", "statistics",
    "variational",
)  # fmt: skip
_HOMES = {
    "Density": "model",
    "Driven": "data",
    "Fixed": "wrappers",
    "HMM": "hmm.model",
    "HMMPrior": "hmm.prior",
    "Hierarchical": "hierarchical",
    "Independent": "product",
    "Labelled": "data",
    "Masked": "data",
    "Mixture": "mixture",
    "MixturePrior": "mixture",
    "Model": "model",
    "OneOf": "one_of",
    "Product": "product",
    "Sequences": "data",
    "StickBreaking": "variational_node",
    "Tied": "wrappers",
    "TimeVarying": "time_varying",
    "Variational": "variational_node",
    "VariationalHMM": "hmm.variational",
    "VariationalMixture": "variational_node",
    "pytree": "model",
}


def __getattr__(name: str) -> Any:
    """A public name that is used for the first time (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"likelax.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"likelax.{_HOMES[name]}"), name)
    elif name == "__version__":
        value = _version()
    elif name == "__all__":
        value = [*importlib.import_module("likelax.families").__all__, *_HOMES, *_MODULES]
    elif name[:1].isupper() and name in importlib.import_module("likelax.families").__all__:
        value = getattr(importlib.import_module("likelax.families"), name)
    else:
        raise AttributeError(f"module 'likelax' has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    """The installed version; "unknown" where likelax is imported from a folder."""
    metadata = importlib.import_module("importlib.metadata")
    try:
        return metadata.version("likelax")
    except metadata.PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    """The public names, and those of modules that have been imported."""
    return sorted({*globals(), *__getattr__("__all__")})
