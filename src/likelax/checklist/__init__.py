"""The checklist: tests of six claims about a fitted model."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax.checklist import decision as _decision
from likelax.checklist import density, latent, simulation
from likelax.checklist import heldout as _heldout
from likelax.checklist.decision import top_label
from likelax.checklist.verdict import TITLES, Checklist, Line, Verdict
from likelax.data import DataLike, check_data, convert
from likelax.model import PriorLike, SupportsLogProb
from likelax.numerics.checks import check_key, check_methods

__all__ = ["TITLES", "Checklist", "Line", "Verdict", "run", "top_label"]


def run(
    key: Array,
    model: SupportsLogProb,
    train: DataLike,
    heldout: DataLike,
    decision: Any = None,
    *,
    prior: PriorLike | None = None,
    baseline: SupportsLogProb | None = None,
    num_draws: int = 1000,
    level: float = 0.01,
    tolerance: float = 0.05,
) -> Checklist:
    """Test six claims about a fitted model.

    1. Probabilities normalise and log probabilities are finite: total mass by enumeration,
       quadrature or importance sampling, held-out values and gradients.
    2. Likelihood and posterior are not confused: swap the prior, and the likelihood must stay
       while the posterior odds move by the prior ratio; with `prior`, joint minus evidence
       must equal the posterior and sequential updates one batch.
    3. Latent responsibilities sum to one, equal Bayes' rule computed afresh, agree with
       transition counts, and an EM step does not descend.
    4. Held-out log likelihood, paired with a simpler model and compared with training.
    5. Posterior predictive simulations resemble the training data: moments, extremes, zeros,
       correlations, runs, with Holm's correction. It fails only what is significant and large.
    6. Calibration of the decisions: an equivalence test, which a small sample can't pass.

    Each test has significance `level`, so a right model fails a line with about that probability.

    Args:
      key: a typed key.
      model: a fitted model: any node, or any object with `log_prob(x)`, and for line 5
        `sample(key, shape)`.
      train: the data (N, ...) that it was fitted to, as the model takes them.
      heldout: data (M, ...) that it was not fitted to.
      decision: (model, heldout) -> (confidence (N,), outcome (N,)), such as
        `checklist.top_label`, or such a pair; None: no decision depends on the probabilities.
      prior: the conjugate prior that the model was fitted with, or None.
      baseline: a fitted simpler model for line 4. None: one component for a mixture, the same
        states without order for a hidden Markov model, class frequencies for labels.
      num_draws: simulated data sets for line 5.
      level: significance of a FAIL.
      tolerance: calibration error that is small enough for line 6.
    Returns:
      A `Checklist`; print it.
    Raises:
      TypeError: for a model without `log_prob`, or data that are not numbers.
      ValueError: if num_draws < 100, level or tolerance is not in (0, 1), or train or heldout has no
        row or holds NaN that was not declared missing.

    Examples:
      >>> from likelax.families import Normal
      >>> train, heldout = jax.random.normal(jax.random.key(0), (2, 200))
      >>> stats, _ = Normal(0.0, 1.0).e_step(train)
      >>> result = run(jax.random.key(1), Normal(0.0, 1.0).m_step(stats), train, heldout)
      >>> result.ok, str(result.verdicts[0]), str(result.verdicts[4])
      (True, 'PASS', 'PASS')
    """
    check_key(key)
    check_methods("model", model, "log_prob")
    train, heldout = convert("train", train), convert("heldout", heldout)
    for name, data in (("train", train), ("heldout", heldout)):
        check_data(f"checklist.run: {name}", data)
        if any(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(data)):
            raise ValueError(f"{name} must have a leading axis of rows or steps, got a number")
    if num_draws < 100:
        raise ValueError(f"num_draws must be at least 100, got {num_draws}")
    for name, value in (("level", level), ("tolerance", tolerance)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    mass_key, draw_key = jax.random.split(key)
    return Checklist(
        (
            density.check(mass_key, model, heldout, num_draws=16384, tolerance=0.01),
            latent.check_confusion(model, train, prior),
            latent.check_responsibilities(model, train),
            _heldout.check(model, train, heldout, baseline, level=level),
            simulation.check(draw_key, model, train, num_draws=num_draws, level=level),
            _decision.check(model, heldout, decision, tolerance=tolerance, level=level),
        )
    )
