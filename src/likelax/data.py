"""What is known about data beyond its values travels with it: `Masked`, `Labelled`, `Sequences`.

Wrappers nest, so one `e_step` serves all cases.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax.model import pytree


@pytree
class Masked:
    """Values of which some were not seen.

    An entry that was not seen adds 0 to `log_prob` and nothing to the statistics; its value
    is never read, so it may be NaN.

    Attributes:
      values: an array (..., *event), or a dict or tuple of arrays for a product.
      observed: booleans of the same shape and structure; True where the entry was seen.
    """

    values: Any
    observed: Any

    @classmethod
    def from_nan(cls, values: Any) -> Self:
        """Declare every NaN in an array, or in a dict or tuple of arrays, as missing.

        Integer and boolean arrays have no NaN and count as seen.

        Examples:
          >>> print(Masked.from_nan(jnp.array([1.0, jnp.nan])).observed)
          [ True False]
        """
        values = jax.tree.map(jnp.asarray, values)
        return cls(values, jax.tree.map(lambda v: ~jnp.isnan(v), values))


@pytree
class Labelled:
    """Values whose latent variables were seen, all or some of them.

    Attributes:
      values: what the model would take without labels.
      labels: integers, one per latent variable: (...,) for a mixture, (..., T) for a hidden
        Markov model. -1 is unknown. The model's `log_prob` is then log p(values, labels), the
        unknown ones summed out.
    """

    values: Any
    labels: Array


@pytree
class Sequences:
    """Series of different lengths, padded to one length or concatenated.

    Attributes:
      values: (..., T, *event).
      lengths: (...,) integers; steps at or after the length are padding and never count.
        None: all T steps count.
      starts: (..., T) booleans; True at a step where a new sequence begins, which cuts the
        chain. None: only step 0 begins one.
    """

    values: Any
    lengths: Array | None = None
    starts: Array | None = None


@pytree
class Driven:
    """Series with the inputs that drive their transitions; the model explains the values only.

    Attributes:
      values: (..., T, *event), plain or wrapped.
      inputs: (..., T, D); the move into step t uses inputs[t].
    """

    values: Any
    inputs: Array
