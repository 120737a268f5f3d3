"""The arguments of a fit on the devices of a mesh."""

import jax
from jax.sharding import Mesh

from likelax.fit import validation
from likelax.fit.algorithm import Data
from likelax.fit.result import M
from likelax.numerics import devices


def place(name: str, model: M, data: Data, mesh: Mesh | None) -> tuple[M, Data, Mesh | None]:
    """The arguments of a fit, validated, and on the devices of a mesh if there is one.

    Args:
      name: the function that was called, for messages.
      model: the start.
      data: as the user gave them.
      mesh: any mesh, or None for that over which the rows are split already.
    Returns:
      (model, data, the mesh with automatic axes or None).
    Raises:
      ValueError: as `validation.check`, or for data whose rows can't be split.
    """
    mesh = devices.mesh_of(data.x) if mesh is None else devices.automatic(mesh)
    if mesh is None:
        x, weights = validation.check(name, model, data.x, data.weights)
        return model, Data(x, weights, data.prior), None
    given = data.x, data.weights
    local = devices.local_rows(given)
    checked = validation.check(name, model, *local)
    # rows of other processes can't be converted here, and are arrays already
    x, weights = checked if local is given else given
    with devices.using(mesh):
        model, prior = devices.put((model, data.prior), mesh, rows=False)
        shape = jax.eval_shape(model.log_prob, devices.shapes(x)).shape
        x, weights = devices.split_rows(name, x, weights, shape, mesh)
    return model, Data(x, weights, prior), mesh
