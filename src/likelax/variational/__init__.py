"""Evidence lower bounds with their standard errors, guides and fits. Higher is better."""

from likelax.variational._elbo import ExactElbo, elbo, exact_elbo
from likelax.variational._pathfinder import PathfinderFit, pathfinder
from likelax.variational.checking import GuideFit
from likelax.variational.deterministic import (
    FixedDrawFit,
    LaplaceFit,
    fit_fixed_draws,
    laplace,
)
from likelax.variational.estimators import (
    Estimator,
    Guide,
    analytic_entropy,
    dreg,
    iwae,
    pathwise,
    renyi,
    rloo,
    score,
    sticking_the_landing,
    vimco,
)
from likelax.variational.fitting import fit_guide, fit_guides
from likelax.variational.given_data import GuideAscent, fit_rows
from likelax.variational.guides import (
    BlockRank,
    FullRank,
    FullRankT,
    LowRank,
    MeanField,
    Transported,
    block_rank,
    full_rank,
    low_rank,
    mean_field,
    scattered,
    with_tails,
)
from likelax.variational.local import Encoded, PerRow, RowGuide, amortized, per_row
from likelax.variational.minibatch import Minibatch
from likelax.variational.space import Space, space_of
from likelax.variational.weights import Weighted, importance, match_moments

__all__ = [
    "BlockRank",
    "Encoded",
    "Estimator",
    "ExactElbo",
    "FixedDrawFit",
    "FullRank",
    "FullRankT",
    "Guide",
    "GuideAscent",
    "GuideFit",
    "LaplaceFit",
    "LowRank",
    "MeanField",
    "Minibatch",
    "PathfinderFit",
    "PerRow",
    "RowGuide",
    "Space",
    "Transported",
    "Weighted",
    "amortized",
    "analytic_entropy",
    "block_rank",
    "dreg",
    "elbo",
    "exact_elbo",
    "fit_fixed_draws",
    "fit_guide",
    "fit_guides",
    "fit_rows",
    "full_rank",
    "importance",
    "iwae",
    "laplace",
    "low_rank",
    "match_moments",
    "mean_field",
    "pathfinder",
    "pathwise",
    "per_row",
    "renyi",
    "rloo",
    "scattered",
    "score",
    "space_of",
    "sticking_the_landing",
    "vimco",
    "with_tails",
]
