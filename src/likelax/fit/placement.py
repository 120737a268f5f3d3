"""The arguments of a fit on the devices of a mesh."""

import jax
from jax.sharding import Mesh

from likelax.fit import validation
from likelax.fit.algorithm import Data
from likelax.fit.result import D
from likelax.numerics import devices
from likelax.numerics.checks import is_concrete


def place(
    name: str, model: D, data: Data, mesh: Mesh | None, *, by_m_step: bool = True
) -> tuple[D, Data, Mesh | None]:
    """The arguments of a fit, validated, and on the devices of a mesh if there is one.

    Args:
      name: the function that was called, for messages.
      model: the start.
      data: as the user gave them.
      mesh: any mesh, or None for that over which the rows are split already.
      by_m_step: as for `validation.check`.
    Returns:
      (model, data, the mesh with automatic axes or None).
    Raises:
      ValueError: as `validation.check`, for data whose rows can't be split, or a mesh under `jax.jit`.
    """
    traced = not all(is_concrete(leaf) for leaf in jax.tree.leaves((model, data)))
    if mesh is not None:
        mesh = devices.automatic(mesh)
        if traced:
            raise ValueError(f"{name}: mesh places data on devices, so call it outside of jax.jit")
    elif not traced:
        mesh = devices.mesh_of(data.x)
    x, weights = data.x, data.weights
    if mesh is None:
        checked = validation.check(name, model, x, weights, by_m_step=by_m_step)
        validation.check_prior(name, model, data.prior)
        return model, Data(*checked, data.prior), None
    given = x, weights
    local = devices.local_rows(given)
    checked = validation.check(name, model, *local, by_m_step=by_m_step)
    validation.check_prior(name, model, data.prior)
    # arrays with rows in other processes can't be converted here, and need not be
    x, weights = checked if local is given else given
    with devices.using(mesh):
        model, prior = devices.put((model, data.prior), mesh, rows=False)
        shape = jax.eval_shape(model.log_prob, devices.shapes(x)).shape
        if shape == ():
            model.check_split(name, x)
            x = devices.split_steps(name, x, mesh)
            weights = devices.put(weights, mesh, rows=False)
        else:
            x, weights = devices.split_rows(name, x, weights, shape, mesh)
    return model, Data(x, weights, prior), mesh
