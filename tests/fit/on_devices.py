"""Fits on eight virtual devices beside the same fits on one; run by test_mesh.py, which reads what it prints.

Run as a program: `python on_devices.py OUT few|all`, with
XLA_FLAGS=--xla_force_host_platform_device_count=8.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import likelax as lx
from likelax import fit
from likelax.fit.algorithm import Data, _loop
from likelax.fit.ascent import Likelihood
from likelax.fit.placement import place

RNG = np.random.default_rng(0)
MESH = jax.make_mesh((4, 2), ("a", "b"))
LINE = jax.make_mesh((8,), ("rows",))
SIZES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1}
COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)"
    r"(?:-start)?\("
)


def nbytes(tree):
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


def moved(text):
    """{collective: bytes of its results, as often as it is written in the program}."""
    found = {}
    for shapes, kind in COLLECTIVE.findall(text):
        size = 0
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            size += SIZES[dtype] * int(np.prod([int(d) for d in dims.split(",") if d]))
        found[kind] = found.get(kind, 0) + size
    return found


def apart(one, many):
    """The largest relative difference of two trees."""

    def gap(a, b):
        a, b = np.asarray(a, float), np.asarray(b, float)
        if a.size == 0:
            return 0.0
        return float(np.max(np.abs(a - b) / (1e-3 + np.abs(a))))

    return max(jax.tree.leaves(jax.tree.map(gap, one, many)), default=0.0)


def rows(number, dims=()):
    return RNG.normal(RNG.choice([-3.0, 3.0], (number,) + (1,) * len(dims)), 1, (number, *dims))


def of_normals(dim=None):
    if dim is None:
        return lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    locs = jnp.stack([-jnp.ones(dim), jnp.ones(dim)])
    return lx.Mixture(
        jnp.array([0.5, 0.5]), lx.MvNormal(locs, jnp.broadcast_to(jnp.eye(dim), (2, dim, dim)))
    )


def chain(emissions, transition=None):
    moves = jnp.array([[0.9, 0.1], [0.2, 0.8]]) if transition is None else transition
    return lx.HMM(jnp.array([0.6, 0.4]), moves, emissions)


def counts(*shape):
    return RNG.poisson(np.where(RNG.random(shape) < 0.5, 1.0, 7.0)).astype(np.float32)


def cases():
    """name: (model, data, options)."""
    x = rows(1001).astype(np.float32)
    yield "mixture", of_normals(), x, {}
    yield "far from zero", of_normals(), x + 1e4, {}
    yield (
        "weights and chunks",
        of_normals(),
        x,
        {
            "weights": RNG.uniform(0, 2, 1001).astype(np.float32),
            "chunk_size": 40,
        },
    )
    wide = rows(805, (3,)).astype(np.float32)
    prior = lx.MixturePrior(weights=lx.Dirichlet(jnp.array([2.0, 2.0])))
    yield "rows with a prior", of_normals(3), wide, {"prior": prior}
    holes = lx.Masked.from_nan(np.where(RNG.random(wide.shape) < 0.2, np.nan, wide))
    yield "missing entries", of_normals(3), holes, {}
    poisson = lx.Poisson(jnp.array([2.0, 5.0]))
    ragged = lx.Sequences(jnp.asarray(counts(21, 12)), jnp.asarray(RNG.integers(1, 13, 21)))
    yield "series", chain(poisson), ragged, {}
    seen = lx.Masked(counts(19, 12), RNG.random((19, 12)) < 0.8)
    yield "masked series", chain(poisson), seen, {}
    moves = lx.hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.ones((2, 2, 1)))
    driven = lx.Driven(counts(16, 10), RNG.normal(size=(16, 10, 1)).astype(np.float32))
    yield "series with inputs", chain(poisson, moves), driven, {}
    positive = np.exp(x[:400])
    gammas = lx.Gamma(jnp.array([1.0, 4.0]), jnp.array([1.0, 1.0]))
    yield "positive rows", lx.Mixture(jnp.array([0.5, 0.5]), gammas), positive, {}
    fields = {"n": counts(300), "y": x[:300]}
    product = lx.Product(
        {
            "n": lx.Poisson(jnp.array([1.0, 6.0])),
            "y": lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)),
        }
    )
    yield "product", lx.Mixture(jnp.array([0.5, 0.5]), product), fields, {}


def compare(name, model, x, options):
    one = fit.em(model, x, max_steps=4, tol=-1.0, **options)
    data = Data(x, options.get("weights"), options.get("prior"))
    model, data, mesh = place("test", model, data, MESH)
    algorithm = fit.EM(-1.0, 4, options.get("chunk_size"), mesh=mesh)
    program = _loop.lower(algorithm, model, data, None, 4, None).compile()
    many, text = program(algorithm, model, data, None), program.as_text()
    stats = jax.eval_shape(lambda m, d: m.e_step(d.x, d.weights)[0], model, data)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(stats))
    return {
        "apart": apart((one.model, one.objectives), (many.model, many.objectives)),
        "status": [int(one.status), int(many.status)],
        "moved": moved(text),
        "statistics": size,
        "parameters": nbytes(model),
        "data": nbytes(x),
    }


def ascend(name, model, x, options):
    """As `compare`, by gradients: one all-reduce of the objective and one of its gradient a step."""
    options = {k: v for k, v in options.items() if k != "chunk_size"}
    run = {"max_steps": 10, "window": 5, "tol": -1.0, **options}
    one, many = (fit.gradient(model, x, mesh=mesh, **run) for mesh in (None, MESH))
    start = jax.tree.map(jnp.asarray, model)
    model, data, mesh = place("test", model, Data(x, options.get("weights"), None), MESH)
    objective = Likelihood(mesh)
    gradient = jax.jit(jax.grad(lambda model, data: objective(None, model, data), allow_int=True))
    return {
        "apart": apart((one.model, one.objectives), (many.model, many.objectives)),
        "gradient": apart(
            jax.grad(lambda m: Likelihood()(None, m, Data(x, options.get("weights"), None)))(start),
            gradient(model, data),
        ),
        "moved": moved(gradient.lower(model, data).compile().as_text()),
        "parameters": nbytes(model),
    }


def pair(key, x):
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Poisson(jax.random.uniform(key, (2,)) * 8 + 0.5))


def states(key, x):
    return chain(pair(key, x).components)


def driven_states(key, x):
    moves = lx.hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.ones((2, 2, 1)))
    return chain(pair(key, x).components, moves)


def own_prior(value):
    return lx.MixturePrior(
        lx.Dirichlet(jnp.repeat(value["c"], 2)), lx.Gamma(jnp.full(2, 2.0), jnp.ones(2))
    )


def own_steps(value):
    return fit.EM(max_steps=value["steps"], tol=1e-3)


RAGGED = "ragged series, one NaN and one empty"


def batches():
    """name: (algorithm, start, data sets, options)."""
    em = fit.EM(max_steps=6, tol=1e-3)
    sets = [counts(n) for n in RNG.integers(11, 21, 19)]
    sets[3], sets[7] = np.full(15, np.nan, np.float32), np.zeros(0, np.float32)
    yield RAGGED, em, states, sets, {"num_restarts": 2}
    yield "fewer data sets than devices", em, pair, counts(3, 20), {"num_restarts": 5}
    holes = [np.where(RNG.random(12) < 0.2, np.nan, counts(12)) for _ in range(9)]
    yield "masked", em, states, [lx.Masked.from_nan(h.astype(np.float32)) for h in holes], {}
    inputs = [
        lx.Driven(counts(n), RNG.normal(size=(n, 1)).astype(np.float32)) for n in (8, 12, 9, 15)
    ]
    yield "series with inputs", em, driven_states, inputs, {}
    descent = fit.LBFGS(max_steps=8)
    shares = RNG.uniform(0.5, 2, (10, 15)).astype(np.float32)
    values = {"c": np.array([1.0, 5.0, 9.0], np.float32), "steps": np.array([2, 6, 9])}
    varied = {"hyperparameters": values, "prior": own_prior, "num_restarts": 2}
    yield "hyperparameters", own_steps, lambda key, x, _: pair(key, x), counts(5, 15), varied
    yield "gradients and weights", descent, pair, counts(10, 15), {"weights": shares}


def compare_batch(name, algorithm, start, sets, options):
    key = jax.random.key(1)
    told = []
    run = {"key": key, "num_lanes": 3, **options}
    one = fit.batch(algorithm, start, sets, **(run | {"key": jax.random.clone(key)}))
    many = fit.batch(algorithm, start, sets, mesh=MESH, progress=told.append, **run)
    keep = np.asarray(one.fits.usable)
    pick = [jax.tree.map(lambda leaf: leaf[keep], done.fits.model) for done in (one, many)]
    return {
        "apart": apart(*pick),
        "status": [np.asarray(done.fits.status).ravel().tolist() for done in (one, many)],
        "told": [told[-1].fits, told[-1].total],
        "count": int(np.size(keep)),
        "executed": [int(one.executed), int(many.executed)],
    }


def placed_already(some):
    """Fits to rows that are on a mesh already, which are not told of it."""
    # a third step gains less than rounding, which then decides whether it is kept
    x = rows(64).astype(np.float32)
    want = fit.em(of_normals(), x, max_steps=2)
    found = {}
    meshes = {"explicit": LINE, "automatic": Mesh(LINE.devices, LINE.axis_names)}
    for name in meshes if some == "all" else ["explicit"]:
        there = jax.device_put(x, NamedSharding(meshes[name], PartitionSpec("rows")))
        with jax.set_mesh(meshes[name]):
            got = fit.em(of_normals(), there, max_steps=2)
        found[name] = apart((want.model, want.objectives), (got.model, got.objectives))
    part = jax.device_put(np.ones(8), NamedSharding(MESH, PartitionSpec("a")))
    found["part of the axes"] = message(lambda: fit.em(of_normals(), part))
    return found


def accelerated():
    x = rows(64).astype(np.float32)
    both = [fit.squarem(of_normals(), x, max_steps=5, mesh=mesh) for mesh in (None, MESH)]
    return apart(both[0].objectives, both[1].objectives)


def long_series():
    """name: (model, one series whose steps are split)."""
    gaussian = chain(lx.MvNormal(jnp.array([[-1.0, 0.0], [1.0, 0.0]]), jnp.stack([jnp.eye(2)] * 2)))
    wide = rows(403, (2,)).astype(np.float32)
    holes = lx.Masked.from_nan(np.where(RNG.random(wide.shape) < 0.2, np.nan, wide))
    yield "Gaussian, masked, padded", gaussian, lx.Sequences(holes, jnp.asarray(371))
    yield "Poisson", chain(lx.Poisson(jnp.array([2.0, 5.0]))), counts(1600)
    starts = np.zeros(800, bool)
    starts[[0, 30, 100, 430, 431]] = True  # the second device has one at its first step
    known = np.where(RNG.random(800) < 0.9, -1, 1)
    ways = jnp.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 0.9]])
    cycle = lx.HMM(jnp.array([0.5, 0.5, 0.0]), ways, lx.Poisson(jnp.array([2.0, 5.0, 9.0])))
    several = lx.Sequences(lx.Labelled(counts(800), known), jnp.asarray(650), jnp.asarray(starts))
    yield "several, with labels and zeros", cycle, several
    many = lx.HMM(
        jnp.full(20, 0.05), 0.8 * jnp.eye(20) + 0.01, lx.Poisson(jnp.linspace(0.5, 12.0, 20))
    )
    yield "20 states", many, counts(1600)


def compare_long(name, model, x):
    """The E step, the smoother and the derivative of one series on all devices, and what is sent."""
    data = Data(x)
    one = fit.em(model, x, max_steps=4, tol=-1.0)
    many = fit.em(model, x, max_steps=4, tol=-1.0, mesh=MESH)
    placed_model, data, mesh = place("test", model, Data(x), MESH)
    algorithm = fit.EM(-1.0, 4, mesh=mesh)
    text = _loop.lower(algorithm, placed_model, data, None, 4, None).compile().as_text()
    stats = jax.eval_shape(lambda m, d: m.e_step(d.x)[0], model, data)
    smooth = [jax.tree.map(np.asarray, model.smoother(x, mesh)) for mesh in (None, MESH)]
    smooth = [s._replace(log_marginals=np.exp(s.log_marginals)) for s in smooth]
    slopes = [jax.grad(lambda m, mesh=mesh: m.log_prob(x, mesh))(model) for mesh in (None, MESH)]
    return {
        "apart": apart((one.model, one.objectives), (many.model, many.objectives)),
        "smoother": apart(*smooth),
        "gradient": apart(*slopes),
        "moved": moved(text),
        "matrices": 8 * 4 * model.num_states**2,
        "others": nbytes(placed_model)
        + sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(stats)),
        "data": nbytes(x),
    }


def cut_anywhere(seed):
    """The smoother of short series with starts, lengths and zeros at random: the largest difference."""
    rng = np.random.default_rng(seed)
    num_steps = int(rng.integers(8, 60))
    moves = rng.dirichlet(np.ones(3), 3) * (rng.random((3, 3)) < 0.8) + 1e-9 * np.eye(3)
    moves = (moves / moves.sum(1, keepdims=True)).astype(np.float32)
    emissions = lx.Poisson(jnp.array([1.0, 4.0, 9.0]))
    model = lx.HMM(rng.dirichlet(np.ones(3)).astype(np.float32), moves, emissions)
    length = rng.integers(0, num_steps + 1) if rng.random() < 0.6 else None
    starts = rng.random(num_steps) < rng.choice([0.05, 0.3]) if rng.random() < 0.8 else None
    x = lx.Sequences(rng.poisson(4, num_steps).astype(np.float32), length, starts)
    both = [jax.tree.map(np.asarray, model.smoother(x, mesh)) for mesh in (None, MESH)]
    return apart(*(s._replace(log_marginals=np.exp(s.log_marginals)) for s in both))


def message(call):
    try:
        call()
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def labelled():
    """Naive Bayes, and a closed form."""
    x, labels = RNG.integers(0, 2, (203, 4)), RNG.integers(0, 3, 203)
    nb = lx.naive_bayes.bernoulli(num_classes=3, num_features=4)
    want = nb.fit(nb.statistics(x, labels))
    got = fit.mle(nb.model, lx.Labelled(x, labels), prior=nb.prior, mesh=MESH)
    return apart(want, got)


def streamed():
    parts = np.split(rows(200).astype(np.float32), [60, 130])
    want = fit.stream(of_normals(), lambda: parts, max_passes=3)
    got = fit.stream(of_normals(), lambda: parts, max_passes=3, mesh=MESH)
    return apart((want.model, want.objectives), (got.model, got.objectives))


def guided():
    """A guide given rows, and the ELBO fits of many data sets."""
    x = RNG.normal(1.0, 1.0, 203).astype(np.float32)

    def log_prior(z):
        return -jnp.sum(z**2) / 20

    def log_lik(z, x):
        return -((x - z[0]) ** 2) / 2 * jnp.exp(-2 * z[1]) - z[1]

    guide = lx.variational.full_rank(jnp.zeros(2))
    one, many = (
        lx.variational.fit_rows(jax.random.key(0), log_prior, log_lik, x, guide, mesh=mesh)
        for mesh in (None, MESH)
    )
    mean = float(jnp.sum(x) / 203)
    off = [abs(float(fit.model.base.loc[0]) - mean) for fit in (one, many)]
    return {"apart": apart(one.objective, many.objective), "off": off}


def refused():
    poisson = lx.Poisson(jnp.array([2.0, 5.0]))
    model = chain(poisson, lx.hmm.SoftmaxTransition(jnp.zeros((2, 2)), jnp.ones((2, 2, 1))))
    driven = lx.Driven(counts(40), np.ones((40, 1), np.float32))
    return {
        "one observation": message(lambda: fit.em(of_normals(), np.float32(1.0), mesh=MESH)),
        "driven": message(lambda: fit.em(model, driven, mesh=MESH)),
        "many": message(lambda: chain(poisson).smoother(counts(2, 40), MESH)),
        "no mesh": message(lambda: fit.em(of_normals(), rows(9), mesh=8)),
        "traced": message(lambda: jax.jit(lambda x: fit.em(of_normals(), x, mesh=MESH))(rows(16))),
        "NaN": message(lambda: fit.em(of_normals(), np.array([1.0, np.nan]), mesh=MESH)),
    }


# What `make test` looks at; all the rest is slow.
FEW = {"weights and chunks", "series", RAGGED, "Gaussian, masked, padded"}


def main(out, some):
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_debug_key_reuse", True)
    found = {
        "cases": {c[0]: compare(*c) for c in cases() if some == "all" or c[0] in FEW},
        "batches": {b[0]: compare_batch(*b) for b in batches() if some == "all" or b[0] in FEW},
        "ascents": {c[0]: ascend(*c) for c in cases() if some == "all" or c[0] == "series"},
        "long": {c[0]: compare_long(*c) for c in long_series() if some == "all" or c[0] in FEW},
        "placed": placed_already(some),
        "refused": refused(),
    }
    if some == "all":
        found |= {"labelled": labelled(), "streamed": streamed(), "accelerated": accelerated()}
        found["guided"] = guided()
        found["cut anywhere"] = max(cut_anywhere(seed) for seed in range(12))
    with open(out, "w") as file:
        json.dump(found, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
