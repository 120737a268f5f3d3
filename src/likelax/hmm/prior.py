"""The statistics of a hidden Markov model, and the prior that they update."""

from typing import Any, NamedTuple, Self

import jax

from likelax.families.base import Prior
from likelax.hmm.transitions import DrivenCounts
from likelax.model import JointPrior, PriorLike, pytree
from likelax.statistics import CategoryCounts


class HMMStats(NamedTuple):
    """Expected complete-data statistics.

    Attributes:
      initial: counts (K,): expected number of sequences that begin in each state.
      transition: counts (K, K): expected number of moves from row to column; `DrivenCounts` for a
        `SoftmaxTransition`.
      emissions: the emissions' statistics, with a leading axis K.
    """

    initial: CategoryCounts
    transition: CategoryCounts | DrivenCounts
    emissions: Any


@pytree
class HMMPrior(JointPrior[HMMStats]):
    """The conjugate prior of a hidden Markov model's parameters; None is no prior.

    Attributes:
      initial: a `Dirichlet` with concentration (K,).
      transition: a `Dirichlet` with concentration (K, K), one row for each state, such as
        `hmm.sticky` makes. A concentration of exactly one keeps structural zeros; a larger one
        does not.
      emissions: the emission's prior with a leading axis K on every leaf.

    Source: Rabiner (1989), Proc. IEEE 77(2), 257-286, for the model; MacKay (1997), Ensemble learning
      for hidden Markov models, for Dirichlet priors.

    Examples:
      >>> from likelax import HMM, HMMPrior, Bernoulli, Dirichlet
      >>> prior = HMMPrior(transition=Dirichlet(jnp.full((2, 2), 2.0)))
      >>> moves = jnp.array([[0.9, 0.1], [0.1, 0.9]])
      >>> model = HMM(jnp.array([0.5, 0.5]), moves, Bernoulli(jnp.array([0.1, 0.9])))
      >>> print(f"{model.log_prior(prior):.4f}")  # twice log(6 0.9 0.1)
      -1.2324
    """

    initial: Prior[CategoryCounts] | None = None
    transition: Prior[CategoryCounts] | None = None
    emissions: PriorLike | None = None

    def posterior(self, stats: HMMStats) -> Self:
        """Each part updated by its statistics; the exact posterior if the states were observed.

        Raises:
          ValueError: for a prior of the transition and statistics of a `SoftmaxTransition`.
        """
        update = jax.vmap(lambda prior, s: prior.posterior(s))
        return type(self)(
            None if self.initial is None else self.initial.posterior(stats.initial),
            None if self.transition is None else self.transition.posterior(moves_of(stats)),
            None if self.emissions is None else update(self.emissions, stats.emissions),
        )

    def nearest_to(self, others: Any) -> Self:
        """Each part, and each row, nearest to those of others with a leading axis; None stays None."""
        each = jax.vmap(lambda prior, q: prior.nearest_to(q), (0, 1))
        return type(self)(
            None if self.initial is None else self.initial.nearest_to(others.initial),
            None if self.transition is None else each(self.transition, others.transition),
            None if self.emissions is None else each(self.emissions, others.emissions),
        )


def moves_of(stats: HMMStats) -> CategoryCounts:
    """The counts of moves.

    Raises:
      ValueError: for the statistics of a `SoftmaxTransition`.
    """
    if isinstance(stats.transition, DrivenCounts):
        raise ValueError("HMM: wanted counts of moves; got the statistics of driven moves")
    return stats.transition
