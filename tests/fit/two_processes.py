"""One of two processes that fit together: `python two_processes.py PORT INDEX FOLDER`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import likelax as lx
from likelax import fit


def start(key, x):
    rates = jax.random.uniform(key, (2,)) * 8 + 0.5
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Poisson(rates))


def rows_of_all():
    rng = np.random.default_rng(0)
    return rng.normal(rng.choice([-3.0, 3.0], 400), 1).astype(np.float32)


def normals():
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))


def many():
    rng = np.random.default_rng(1)
    return rng.poisson(np.where(rng.random((7, 20)) < 0.5, 1.0, 7.0)).astype(np.float32)


def main(port, index, folder):
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(index))
    mesh = jax.make_mesh((4,), ("rows",))
    x = rows_of_all()
    place = NamedSharding(mesh, PartitionSpec("rows"))
    half = np.split(x, 2)[int(index)]  # no process holds all rows
    there = jax.make_array_from_process_local_data(place, half)
    own = fit.em(normals(), there, max_steps=2)
    given = fit.em(normals(), x[:399], max_steps=2, mesh=mesh)
    told = []
    options = {"num_restarts": 2, "mesh": mesh, "checkpoint": f"{folder}/run"}
    key = jax.random.key(0)
    done = fit.batch(fit.EM(), start, many(), key=key, progress=told.append, **options)
    again = fit.batch(fit.EM(), start, many(), key=jax.random.clone(key), **options)
    assert told[-1].fits == told[-1].total == 14
    fit.save(f"{folder}/found{index}.npz", (own, given, done.fits, again.fits))


if __name__ == "__main__":
    main(*sys.argv[1:])
