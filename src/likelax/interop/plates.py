"""NumPyro models with a plate that takes a part of its rows: the log joint row by row."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import biject_to
from numpyro.handlers import substitute
from numpyro.infer.util import compute_log_probs

from likelax.interop.external import lenient


class Latent(NamedTuple):
    """A latent site: its transform from the reals, and their axis of rows, or None outside of the plate."""

    transform: Any
    free_axis: int | None


def latent_sites(sites: Any, point: Mapping[str, Any], plate: str) -> dict[str, Latent]:
    """The latent sites of a trace, by name: those of a point of the reals."""
    found = {}
    for name in point:
        site = sites[name]
        transform = biject_to(site["fn"].support)
        dims = [frame.dim for frame in site["cond_indep_stack"] if frame.name == plate]
        free_axis = dims[0] - transform.domain.event_dim if dims else None
        found[name] = Latent(transform, free_axis)
    return found


class Rows:
    """The parts of the log joint of a model with a plate, for given rows of it.

    Attributes:
      model, args, kwargs: the NumPyro model and what it is called with.
      plate, size: the name and the N rows of the plate.
      latents: by name.
      row: reals of the latents of one row, for terms that do not depend on them.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        plate: str,
        size: int,
        latents: dict[str, Latent],
        row: dict[str, Array],
    ) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        self.plate, self.size, self.latents, self.row = plate, size, latents, row

    def log_prior(self, z: Mapping[str, Array]) -> Array:
        """log p of the sites outside of the plate, and of their Jacobian, a scalar."""
        one = jax.tree.map(lambda leaf: leaf[None], self.row)
        terms, sites, log_dets = self._terms(z, one, jnp.zeros(1, int))
        outside = [
            jnp.sum(jnp.asarray(term))
            for name, term in (*terms.items(), *log_dets.items())
            if self._dim(sites[name]) is None
        ]
        return sum(outside, jnp.zeros(()))

    def log_lik(self, z: Mapping[str, Array], local: Mapping[str, Array], rows: Array) -> Array:
        """log p of the sites of each of these rows, and of their Jacobian, (B,)."""
        terms, sites, log_dets = self._terms(z, local, rows)
        count = rows.shape[0]
        total = jnp.zeros(count)
        scaled = [(name, term * (count / self.size)) for name, term in terms.items()]
        for name, term in (*scaled, *log_dets.items()):
            dim = self._dim(sites[name])
            if dim is not None:
                last = jnp.moveaxis(term, dim, -1)
                total = total + jnp.sum(last.reshape(-1, count), axis=0)
        return total

    def constrain(self, draw: Any) -> dict[str, Array]:
        """The value of each latent and deterministic site."""
        z, local = draw if self.row else (draw, {})
        _, sites, _ = self._terms(z, local, jnp.arange(self.size))
        return {
            name: site["value"]
            for name, site in sites.items()
            if name in self.latents or site["type"] == "deterministic"
        }

    def _terms(
        self, z: Mapping[str, Array], local: Mapping[str, Array], rows: Array
    ) -> tuple[dict[str, Array], Any, dict[str, Array]]:
        """(log p of each site, as NumPyro scales it; the trace; log |det| of each transform)."""
        values, log_dets = {}, {}
        with lenient(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "subsample_size does not match")
            for name, (transform, free_axis) in self.latents.items():
                reals = z[name] if free_axis is None else jnp.moveaxis(local[name], 0, free_axis)
                values[name] = transform(reals)
                log_dets[name] = transform.log_abs_det_jacobian(reals, values[name])
            model = substitute(self.model, data={self.plate: rows})
            terms, sites = compute_log_probs(
                model, self.args, self.kwargs, values, sum_log_prob=False
            )
        return terms, sites, log_dets

    def _dim(self, site: Any) -> int | None:
        """The axis of the rows in the log probability of a site, or None outside of the plate."""
        dims = [frame.dim for frame in site["cond_indep_stack"] if frame.name == self.plate]
        return dims[0] if dims else None
