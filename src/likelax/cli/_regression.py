"""What the commands need of a regression: its checklist, and its predictions."""

from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import checklist, fit, kept
from likelax.columns import Column, decode
from likelax.data import take_mask
from likelax.model import pytree


@pytree
class Conditional:
    """A regression as the checklist takes it: its inputs have no distribution to simulate.

    Attributes:
      model: the regression.
    """

    model: Any

    def log_prob(self, x: Any) -> Array:
        """Log probability of the targets given the inputs, (...), nats."""
        return self.model.log_prob(x)

    @classmethod
    def of_constant(cls, model: Any, x: Any) -> Self:
        """The regression of the targets on a constant alone, in the shape of another.

        Args:
          model: whose first input is the constant.
          x: (inputs, targets).
        """
        first = jnp.asarray(model.coefficients)[:1]
        other = model.__class__(**{**vars(model), "coefficients": jnp.zeros_like(first)})
        found = fit.em(other, (jnp.ones((len(x[1]), 1)), x[1])).model
        rest = jnp.zeros_like(jnp.asarray(model.coefficients)[1:])
        coefficients = jnp.concatenate([found.coefficients, rest])
        return cls(model.__class__(**{**vars(found), "coefficients": coefficients}))


def check(key: Array, found: kept.Kept, x: Any, heldout: Any) -> checklist.Checklist:
    """The checklist of the targets given the inputs, beside the regression on a constant."""
    decision: Any = None
    if found.named.decides:
        probs = probabilities(found, heldout)
        decision = (probs.max(axis=1), probs.argmax(axis=1) == np.asarray(heldout[1]))
    return checklist.run(
        *(key, Conditional(found.model), x, heldout, decision),
        baseline=Conditional.of_constant(found.model, x),
    )


def probabilities(found: kept.Kept, x: Any) -> np.ndarray:
    """(N, C) probability of each class; NaN for a row with a missing input."""
    mean = np.asarray(found.model.mean(_inputs(x)))
    return np.stack([1 - mean, mean], axis=1) if mean.ndim == 1 else mean


def predictions(found: kept.Kept, label: Column, x: Any) -> dict[str, np.ndarray]:
    """The most probable class and the probability of each, or the mean of the target."""
    if not found.named.decides:
        return {label.name: np.asarray(found.model.mean(_inputs(x))).reshape(len(_inputs(x)))}
    return of_classes(label, probabilities(found, x))


def of_classes(label: Column, probs: np.ndarray) -> dict[str, np.ndarray]:
    """The most probable class of each row, and the probability of each class.

    Args:
      label: whose values are the classes; without values they are numbers.
      probs: (N, C); a row of NaN has no class.
    """
    best = np.where(np.isnan(probs).any(axis=1), -1, probs.argmax(axis=1))
    names = label.values or tuple(map(str, range(probs.shape[1])))
    shares = {f"probability[{name}]": probs[:, k] for k, name in enumerate(names)}
    return {label.name: decode(label, best), **shares}


def _inputs(x: Any) -> Array:
    """(N, D) inputs, NaN where missing."""
    values, observed = take_mask(x[0])
    return values if observed is None else jnp.where(observed, values, jnp.nan)
