"""Variational Bayes of a hidden Markov model: the node whose parameters are distributions."""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.data import DataLike
from likelax.families.dirichlet import Dirichlet
from likelax.hmm import inference
from likelax.hmm.model import HMM
from likelax.hmm.prior import HMMPrior, HMMStats, moves_of
from likelax.model import check_stack, pytree
from likelax.one_program import one_program
from likelax.variational_node import (
    StickBreaking,
    Variational,
    VariationalNode,
    parts_of_prior,
    size_of,
)


@pytree
class VariationalHMM(VariationalNode[HMMStats, HMMPrior]):
    """A hidden Markov model with distributions over its probabilities and its emissions.

    q(z) ~ exp(E_q[log initial[z_0]] + sum_t E_q[log transition[z_t, z_t+1]] + sum_t E_q[log p(x_t | z_t)])

    The kernels of `likelax.hmm` sum over all paths of that chain, whose weights need not sum to one.
    EM, `fit.em(node, x, prior=HMMPrior(initial, transition, emissions))`, is coordinate ascent, and
    its objective is the ELBO exactly: a lower bound of log p(x) with all parameters integrated out.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      initial: q(initial), a `Dirichlet` with concentration (K,), or `StickBreaking`.
      transition: q(transition), the same with arrays (K, K): one distribution for each row.
      emissions: `Variational` with a leading axis K on every leaf, or an `Independent` or `Product` of
        such.

    Source: MacKay (1997), Ensemble learning for hidden Markov models; Beal (2003), Variational
      Algorithms for Approximate Bayesian Inference, chapter 3.

    Examples:
      >>> from likelax import Bernoulli, Beta, Dirichlet, HMMPrior, Variational
      >>> posterior = Beta(jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0]))
      >>> coins = Variational(posterior, Bernoulli(jnp.full(2, 0.5)))
      >>> prior = HMMPrior(Dirichlet(jnp.ones(2)), Dirichlet(jnp.ones((2, 2))), coins.posterior)
      >>> node = VariationalHMM(prior.initial, prior.transition, coins)
      >>> x = jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
      >>> stats, _ = node.e_step(x)  # `fit.em` repeats such steps
      >>> node = node.m_step(stats, prior)
      >>> print(f"ELBO {node.log_prob(x) + node.log_prior(prior):.3f}", node.viterbi(x)[0])
      ELBO -7.073 [0 0 0 0 1 1 1 1]
    """

    stacks: ClassVar[tuple[str, ...]] = ("emissions",)

    initial: Dirichlet | StickBreaking
    transition: Dirichlet | StickBreaking
    emissions: Variational[Any]

    def check_shapes(self, name: str) -> None:
        """Raise if initial, transition and emissions have different numbers of states.

        Raises:
          ValueError: starting with `name`.
        """
        size = size_of(name, "initial", self.initial)
        moves = size_of(name, "transition", self.transition)
        if moves[-2:] != 2 * size[-1:]:
            raise ValueError(
                f"{name}: transition must have arrays of shape (K, K) with K = {size[-1]} as "
                f"initial; got {moves}"
            )
        check_stack(name, "emissions", self.emissions, "initial", size)

    @property
    def num_states(self) -> int:
        """K."""
        return self.initial.mean().shape[-1]

    @one_program
    def smoother(self, x: DataLike) -> inference.Smoothed:
        """The states under q(z), and expected counts; `HMM.smoother` has an example of it.

        Args:
          x: (..., T, *event), plain or wrapped.
        Returns:
          `hmm.Smoothed`; its fields have the leading axes of x.
        """
        return self._at_expectations().smoother(x)

    @one_program
    def viterbi(self, x: DataLike) -> tuple[Array, Array]:
        """The most probable path under q(z). See the example of the class.

        Args:
          x: (..., T, *event), plain or wrapped.
        Returns:
          (path (..., T) integers, E_q of its log joint probability with the data (...), nats).
        """
        return self._at_expectations().viterbi(x)

    @one_program
    def m_step(self, stats: HMMStats, prior: HMMPrior | None = None) -> Self:
        """q(initial), q(transition) and q(emissions), each its prior updated by the statistics.

        Args:
          prior: `HMMPrior` with all three parts.
        Raises:
          ValueError: where a part is missing.
        """
        initial, transition, emissions = parts_of_prior("VariationalHMM: m_step", HMMPrior, prior)
        return type(self)(
            initial.posterior(stats.initial),
            transition.posterior(moves_of(stats)),
            self.emissions.stacked_m_step(stats.emissions, emissions),
        )

    def log_prior(self, prior: HMMPrior | None) -> Array:
        """-KL(q || prior) of all three parts, nats.

        Raises:
          ValueError: where a part of the prior is missing.
        """
        initial, transition, emissions = parts_of_prior(
            "VariationalHMM: log_prior", HMMPrior, prior
        )
        rows = jax.vmap(lambda q, p: q.kl_divergence(p))(self.transition, transition)
        divergence = self.initial.kl_divergence(initial) + jnp.sum(rows)
        return self.emissions.stacked_log_prior(emissions) - divergence

    @one_program
    def predictive(self, prior: HMMPrior | None = None) -> HMM:
        """The chain at the expected probabilities and predictive emissions; prior is not used.

        It is exact for the first state and observation. Over several steps it integrates the
        parameters out at each step anew, so it lacks that all steps share them.
        """
        return HMM(
            numerics.normalize(self.initial.mean()),
            numerics.normalize(self.transition.mean()),
            jax.vmap(lambda e: e.predictive(None))(self.emissions),
        )

    def _at_expectations(self) -> "_LogHMM":
        self.check_shapes("VariationalHMM")
        log_moves = self.transition.expected_log()
        return _LogHMM(self.initial.expected_log(), log_moves, self.emissions)


@pytree
class _LogHMM(HMM[Any]):
    """A chain whose `initial` and `transition` are logs of weights, which need not sum to one."""

    def _log_initial(self) -> Array:
        return self.initial

    def _log_transition(self, inputs: Array | None) -> Array:
        if inputs is not None:
            raise ValueError("VariationalHMM: its transition takes no inputs; leave Driven out")
        return self.transition
