"""Wrong values of a hidden Markov model's parameters, in one sentence each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from likelax.families.tied import Fixed


def check_rows(name: str, model: Any) -> None:
    """Refuse an HMM whose initial or transition is no distribution, or whose K do not agree.

    Models with leading axes, as for restarts, are checked row by row; tracers are let through.

    Raises:
      ValueError: naming the parameter and what was wrong.
    """
    for field in ("initial", "transition"):
        value = getattr(model, field)
        value = value.model if isinstance(value, Fixed) else value
        if value is None or hasattr(value, "log_probs") or isinstance(value, jax.core.Tracer):
            continue
        probs = np.asarray(value)
        sums = probs.sum(-1)
        # a sum of K float32 probabilities, written down with four digits
        wrong = ~(np.abs(sums - 1) <= 1e-3) | np.any(probs < 0, axis=-1)
        if wrong.any():
            at = np.argwhere(wrong)[0]
            row = "it" if wrong.ndim == 0 else "row " + ", ".join(str(int(i)) for i in at)
            raise ValueError(
                f"{name}: {field} must be probabilities that sum to one; "
                f"{row} sums to {float(sums[tuple(at)]):.4g} with least entry {probs.min():.4g}"
            )
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(model.emissions)}
    one = model.initial is not None and jnp.ndim(jax.tree.leaves(model.initial)[0]) == 1
    if one and sizes - {(model.num_states,)}:
        got = sorted(sizes - {(model.num_states,)})[0]
        raise ValueError(
            f"{name}: wanted emissions of K = {model.num_states} states; "
            f"got a leading axis {got[0] if got else 'of none'}"
        )
