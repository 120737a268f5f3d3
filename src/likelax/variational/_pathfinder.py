"""Pathfinder: normals along the path of L-BFGS to a mode, the one with the highest ELBO, and its draws."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import monte_carlo
from likelax.fit._gradient import Exact
from likelax.fit.lbfgs import LBFGS, LBFGSState
from likelax.fit.result import Fit, Status
from likelax.numerics import as_float, cholesky, logsumexp, matmul
from likelax.numerics.checks import checked
from likelax.numerics.draws import standard_normal
from likelax.variational._elbo import elbo
from likelax.variational.estimators import LogJoint
from likelax.variational.guides import FullRank, Transported
from likelax.variational.space import Space, space_of
from likelax.variational.weights import beyond_rounding

# A pair of steps is used if its curvature exceeds this fraction of its squared gradient change.
LEAST_CURVATURE = 1e-7


class PathfinderFit(NamedTuple):
    """The best normal along the paths, and draws from all of them.

    Attributes:
      guide: full-rank normal of the best path, carried to the parameters; a guide like any other,
        and a start for `fit_guide`.
      draws: a pytree with a leading axis S: draws of all paths' normals, resampled by their Pareto
        smoothed importance weights.
      fit: the `Fit` of the best path: its mode, the log joint (with the log volume of the map from
        the reals) along the path, steps and status. NON_FINITE: no normal with a finite ELBO was
        found, and guide and draws mean nothing.
      elbo: a fresh `Estimate` of the guide's ELBO, nats.
      k_hat: Pareto k-hat of the weights of `draws`; above 0.7 they are not trustworthy.
      num_evaluations: evaluations of the log joint in ELBOs, checks and weights; those of the
        search are its steps, times the few of each line search.
    """

    guide: Transported
    draws: Any
    fit: Fit
    elbo: monte_carlo.Estimate
    k_hat: Array
    num_evaluations: int


class _Path(NamedTuple):
    """L-BFGS between two steps, with what its path has shown.

    Attributes:
      search: the state of L-BFGS.
      score: (D,) gradient of the log joint at its iterate.
      diagonal: (D,) the inverse Hessian before the pairs.
      moves: (J, D) changes of the iterate, the newest last; zero where there are fewer.
      bends: (J, D) decreases of the gradient.
      loc: (D,) mean of the best normal.
      tril: (D, D) its scale.
      bound: scalar, its ELBO, nats; -inf before there is one.
    """

    search: LBFGSState
    score: Array
    diagonal: Array
    moves: Array
    bends: Array
    loc: Array
    tril: Array
    bound: Array


@checked()
def pathfinder(
    key: Array,
    log_joint: LogJoint,
    template: Any,
    sets: Any = None,
    *,
    num_paths: int = 4,
    spread: float = 1.0,
    max_steps: int = 100,
    memory: int = 10,
    num_elbo: int = 100,
    num_draws: int = 1000,
) -> PathfinderFit:
    """Pathfinder: the normal with the highest ELBO along L-BFGS paths to the mode.

    Each step l of L-BFGS gives a normal with covariance H_l, its approximate inverse Hessian, and
    mean x_l + H_l grad log p(x_l). A few draws estimate the ELBO of each. With several paths, draws
    of all best normals are resampled by their importance weights with respect to the mixture of
    these normals. A quick start where the posterior is far away; the best ELBO is usually reached by
    `fit_guide` from here.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      template: where to start, a pytree of parameters inside their sets.
      sets: a `Constraint` for each leaf; None: what the template's fields declare.
      num_paths: I; the first starts at the template, the others around it.
      spread: standard deviation of these starts, in unconstrained space.
      max_steps: of L-BFGS on each path.
      memory: J, pairs of steps that make the inverse Hessian.
      num_elbo: draws for the ELBO of each normal on the path.
      num_draws: S, fresh draws for the final ELBO, and draws returned.
    Returns:
      A `PathfinderFit`; it never raises for numeric trouble, see `fit.status`. Memory grows as D^2.
    Raises:
      ValueError: num_paths, max_steps, memory, num_elbo below 1, num_draws below 2, or a template
        outside its sets.
    Source: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: parallel quasi-Newton variational
      inference, JMLR 23; Gilbert and Lemarechal (1989) for the diagonal.

    Examples:
      >>> found = pathfinder(jax.random.key(0), lambda z: -jnp.sum((z - 3.0) ** 2) / 2, jnp.zeros(2))
      >>> print(f"{found.elbo.value:.2f} {jnp.log(2 * jnp.pi):.2f}", found.guide.base.loc.round(2))
      1.84 1.84 [3. 3.]
    """
    space, point = space_of(template, sets)
    monte_carlo.check_num_samples(num_elbo)
    monte_carlo.check_num_samples(num_draws, least=2)
    sizes = (num_paths, max_steps, memory, num_elbo, num_draws)
    guide, draws, fit, bound, k_hat = _pathfinder(key, log_joint, space, point, spread, sizes)
    count = num_paths * (max_steps * num_elbo + num_draws) + num_draws
    return PathfinderFit(guide, draws, fit, bound, k_hat, count)


@partial(jax.jit, static_argnames=("log_joint", "space", "sizes"))
def _pathfinder(
    key: Array,
    log_joint: LogJoint,
    space: Space,
    point: Array,
    spread: float,
    sizes: tuple[int, ...],
) -> tuple[Any, ...]:
    num_paths, max_steps, memory, num_elbo, num_draws = sizes

    def target(reals: Array) -> Array:
        value = as_float(log_joint(space.constrain(reals)))[0]
        return value.astype(reals.dtype) + space.log_det(reals)

    key_starts, key_paths, key_draws, key_pick, key_elbo = jax.random.split(key, 5)
    noise = standard_normal(key_starts, (num_paths, space.dim), point.dtype)
    starts = point[None] + spread * noise.at[0].set(0)
    keys = jax.random.split(key_paths, num_paths)
    walk = partial(_walk, target, max_steps, memory, num_elbo)
    paths, fits = jax.vmap(walk)(keys, starts)
    # draws of every path's normal, weighted with respect to their mixture
    guides = FullRank(paths.loc, paths.tril)
    usable = paths.bound > -jnp.inf
    draw = jax.vmap(lambda k, q: q.sample(k, (num_draws,)))
    reals = draw(jax.random.split(key_draws, num_paths), guides).reshape(-1, space.dim)
    log_q = jax.vmap(lambda q: q.log_prob(reals))(guides)
    log_q = logsumexp(jnp.where(usable[:, None], log_q, -jnp.inf), axis=0)
    log_p = jax.vmap(target)(reals)
    log_weights = log_p - log_q
    log_weights = jnp.where(jnp.repeat(usable, num_draws), log_weights, -jnp.inf)
    smoothed = monte_carlo.psis(log_weights)
    picked = jax.random.categorical(key_pick, smoothed.log_weights, shape=(num_draws,))
    draws = jax.vmap(space.constrain)(reals[picked])
    best = jnp.argmax(paths.bound)
    path, fit = jax.tree.map(lambda leaf: leaf[best], (paths, fits))
    guide = Transported(FullRank(path.loc, path.tril), space)
    bound = elbo(key_elbo, log_joint, guide, num_draws)
    lost = jnp.isneginf(path.bound)
    status = jnp.where(lost, int(Status.NON_FINITE), fit.status)
    fit = Fit(space.constrain(fit.model), fit.objectives, fit.num_steps, status)
    return guide, draws, fit, bound, beyond_rounding(smoothed.k_hat, log_p, log_q)


def _walk(
    target: LogJoint, max_steps: int, memory: int, num_elbo: int, key: Array, start: Array
) -> tuple[_Path, Fit]:
    """One path."""
    algorithm = LBFGS(None, max_steps, memory, Exact(target))
    score = jax.grad(target)
    dim, dtype = start.shape[0], start.dtype
    pairs = jnp.zeros((memory, dim), dtype)
    lowest = jnp.full((), -jnp.inf, dtype)
    first = _Path(
        search=algorithm.init(start, None),
        score=score(start),
        diagonal=jnp.ones_like(start),
        moves=pairs,
        bends=pairs,
        loc=start,
        tril=jnp.eye(dim, dtype=dtype),
        bound=lowest,
    )

    # one set of draws for the whole path, so that its normals are compared fairly
    noise = standard_normal(key, (num_elbo, dim), dtype)

    def step(path: _Path, _: None) -> tuple[_Path, Array]:
        search, values = algorithm.step(path.search, None)
        here = score(search.vector)
        move, bend = search.vector - path.search.vector, path.score - here
        product = jnp.sum(move * bend)
        kept = product > LEAST_CURVATURE * jnp.sum(bend**2)
        moves = jnp.where(kept, jnp.concatenate([path.moves[1:], move[None]]), path.moves)
        bends = jnp.where(kept, jnp.concatenate([path.bends[1:], bend[None]]), path.bends)
        diagonal = jnp.where(kept, _diagonal(path.diagonal, move, bend), path.diagonal)
        tril = cholesky(_inverse_hessian(diagonal, moves, bends))
        pull = matmul(tril.T, here)
        loc = search.vector + matmul(tril, pull)
        guide = FullRank(loc, tril)
        terms = jax.vmap(target)(guide.from_noise(noise)) - guide.log_prob_of_noise(noise)
        bound = jnp.mean(terms)
        better = kept & jnp.isfinite(bound) & (bound > path.bound)
        return _Path(
            search=search,
            score=here,
            diagonal=diagonal,
            moves=moves,
            bends=bends,
            loc=jnp.where(better, loc, path.loc),
            tril=jnp.where(better, tril, path.tril),
            bound=jnp.where(better, bound, path.bound),
        ), values[0]

    path, values = jax.lax.scan(step, first, None, length=max_steps)
    return path, algorithm.result(path.search, values)


def _diagonal(diagonal: Array, move: Array, bend: Array) -> Array:
    """The diagonal of the inverse Hessian after one more pair, positive."""
    bent, product = jnp.sum(bend**2 * diagonal), jnp.sum(move * bend)
    moved = jnp.sum(move**2 / diagonal)
    inverse = bent / (product * diagonal) + bend**2 / product
    return 1 / (inverse - bent * move**2 / (product * moved * diagonal**2))


def _inverse_hessian(diagonal: Array, moves: Array, bends: Array) -> Array:
    """(D, D): BFGS updates of the diagonal, oldest pair first; pairs of zeros change nothing."""

    def update(inverse: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        move, bend = pair
        product = jnp.sum(move * bend)
        rate = jnp.where(product > 0, 1 / jnp.where(product > 0, product, 1), 0)
        along = matmul(inverse, bend)
        cross = move[:, None] * along[None]
        twice = (1 + rate * jnp.sum(bend * along)) * move[:, None] * move[None]
        return inverse + rate * (twice - cross - cross.T), None

    return jax.lax.scan(update, jnp.diag(diagonal), (moves, bends))[0]
