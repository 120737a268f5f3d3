"""A log joint estimated from a part of the data at each step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.numerics import as_array, as_float
from likelax.numerics.checks import checked

# Rows of which the log likelihood of many draws is held in memory at once.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Minibatch:
    """log p(z) + (N / B) sum over a batch of B rows of log p(x_n | z), unbiased for all N.

    Called with a draw alone it is the log joint of all data, so it can be used as any log joint.
    `fit_guide` draws a batch at every stochastic step.

    With `local=True` each row has latents of its own, and a draw is a pair (z, local), whose second part has
    leaves with an axis N of rows. Guides are `per_row(...)` and `amortized(...)`, of which a step draws
    the latents of its batch only, or any guide of such pairs.

    Attributes:
      log_prior: one draw of the latents, without the local ones -> scalar, nats.
      log_lik: (one draw, rows of x) -> (B,) log likelihood of each row, nats. With `local`: (one draw, the
        local latents of these rows, the rows of x) -> (B,) log p(local_n | z) + log p(x_n | z, local_n).
      x: an array (N, ...) or a pytree of such arrays.
      batch_size: B, drawn with replacement.
      local: whether rows have latents of their own.

    Examples:
      >>> joint = Minibatch(lambda z: -z**2 / 2, lambda z, x: -(x - z) ** 2 / 2, jnp.ones(10), 2)
      >>> print(joint(jnp.array(0.0)), joint.on_rows(jnp.array([3, 4]), jnp.array(0.0)))
      -5.0 -5.0
      >>> own = lambda z, local, x: -(local - z) ** 2 / 2 - (x - local) ** 2 / 2
      >>> joint = Minibatch(lambda z: -z**2 / 2, own, jnp.ones(10), 2, local=True)
      >>> print(joint((jnp.array(0.0), jnp.zeros(10))))
      -5.0
    """

    log_prior: Callable[[Any], Array]
    log_lik: Callable[..., Array]
    x: DataLike
    batch_size: int
    local: bool = False

    @property
    def num_data(self) -> int:
        """N."""
        return jax.tree.leaves(self.x)[0].shape[0]

    @checked()
    def draw(self, key: Array) -> Array:
        """Indices of a random batch of rows, (B,).

        Args:
          key: a typed key.
        """
        return jax.random.randint(key, (self.batch_size,), 0, self.num_data)

    def on_rows(self, rows: ArrayLike, z: Any) -> Array:
        """The log joint of a draw, estimated from these rows, a scalar in nats.

        See the example of the class.

        Args:
          rows: (B,) integers.
          z: one draw of the latents; with `local`, a pair whose second part is that of these rows.
        Raises:
          ValueError: for rows that are no integers (B,), or no pair where one is wanted.
        """
        rows = as_array("rows", rows)
        if rows.ndim != 1 or not jnp.issubdtype(rows.dtype, jnp.integer):
            raise ValueError(f"rows must be integers (B,), got {rows.dtype} {rows.shape}")
        z, local = self.parts(z)
        x = jax.tree.map(lambda v: jnp.asarray(v)[rows], self.x)
        log_lik = self._log_lik(z, (local, x))
        prior, total = as_float(self.log_prior(z), jnp.sum(log_lik))
        return prior + total * (self.num_data / log_lik.shape[0])

    def parts(self, z: Any) -> tuple[Any, Any]:
        """(what all rows share, what each has of its own): z, or its two parts with `local`.

        See the example of the class.

        Raises:
          ValueError: for no pair where one is wanted.
        """
        if not self.local:
            return z, ()
        if not isinstance(z, tuple) or len(z) != 2:
            raise ValueError(
                f"z must be a pair (shared latents, latents of each row), got {type(z).__name__}"
            )
        return z

    def __call__(self, z: Any) -> Array:
        """The log joint of a draw and all data, nats, in pieces of many rows."""
        size = max(self.batch_size, ROWS_AT_ONCE)
        num_whole = self.num_data // size
        z, local = self.parts(z)
        x = jax.tree.map(jnp.asarray, (local, self.x))
        if num_whole == 0:
            prior, total = as_float(self.log_prior(z), jnp.sum(self._log_lik(z, x)))
            return prior + total
        whole = jax.tree.map(
            lambda v: v[: num_whole * size].reshape(num_whole, size, *v.shape[1:]), x
        )

        # without the checkpoint a gradient would hold what it needs of all rows
        @jax.checkpoint
        def of_piece(z: Any, rows: Any) -> Array:
            return as_float(jnp.sum(self._log_lik(z, rows)))[0]

        total = jnp.sum(jax.lax.map(lambda rows: of_piece(z, rows), whole))
        if num_whole * size < self.num_data:
            total = total + of_piece(z, jax.tree.map(lambda v: v[num_whole * size :], x))
        prior, total = as_float(self.log_prior(z), total)
        return prior + total

    def _log_lik(self, z: Any, of_rows: tuple[Any, Any]) -> Array:
        local, x = of_rows
        log_lik = self.log_lik(z, local, x) if self.local else self.log_lik(z, x)
        count = jax.tree.leaves(x)[0].shape[0]
        if jnp.shape(log_lik) != (count,):
            raise ValueError(
                f"log_lik must return one value a row, shape ({count},), got "
                f"{jnp.shape(log_lik)}; don't sum over the rows."
            )
        return log_lik
