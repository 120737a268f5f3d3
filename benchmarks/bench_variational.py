"""Variational fits and gradient ascent against BlackJAX, NumPyro and bare scans.

Run: python benchmarks/bench_variational.py, with --quick for the first two rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import Array
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDiagonalNormal
from timing import asked_quick, compare, print_setting

from likelax import fit, variational

DIM, NUM_DATA, NUM_STEPS, NUM_DRAWS = 31, 200, 2000, 16
ADAM = optax.adam(0.01)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(NUM_DATA, DIM)), jnp.float32)
X_T = jnp.asarray(X.T)
Y = jnp.asarray(RNG.random(NUM_DATA) < 1 / (1 + np.exp(-np.asarray(X)[:, 0])), jnp.float32)


def log_joint(beta: Array) -> Array:
    """Logistic regression with standard normal coefficients."""
    logits = beta @ X_T  # X @ beta would transpose under vmap
    return jnp.sum(Y * logits - jax.nn.softplus(logits)) - jnp.sum(beta**2) / 2


def model() -> None:
    """The same in NumPyro."""
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(DIM), 1.0).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=X @ beta), obs=Y)


def fit_ours(key: Array) -> Array:
    """Posterior means by `fit_guide`, all steps taken, its final ELBO and k-hat included."""
    found = variational.fit_guide(
        key,
        log_joint,
        variational.mean_field(jnp.zeros(DIM)),
        num_samples=NUM_DRAWS,
        optimizer=ADAM,
        max_steps=NUM_STEPS,
        tol=-1.0,
    )
    return found.guide.base.loc


@jax.jit
def fit_blackjax(key: Array) -> Array:
    """A hand-written scan over BlackJAX's mean-field step."""
    vi = blackjax.meanfield_vi(log_joint, ADAM, num_samples=NUM_DRAWS)

    def step(state: Any, key: Array) -> tuple[Any, None]:
        return vi.step(key, state)[0], None

    state, _ = jax.lax.scan(step, vi.init(jnp.zeros(DIM)), jax.random.split(key, NUM_STEPS))
    return state.mu


def fit_numpyro(key: Array) -> Array:
    """NumPyro's own loop."""
    guide = AutoDiagonalNormal(model, init_scale=0.1)
    svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO(num_particles=NUM_DRAWS))
    return svi.run(key, NUM_STEPS, progress_bar=False).params["auto_loc"]


def bowl(p: Array) -> Array:
    """A cheap objective, so that the loop's own cost shows."""
    return -jnp.sum((p - 1) ** 2)


@partial(jax.jit, static_argnums=1)
def bare_ascent(start: Array, num_steps: int) -> Array:
    """The least a user would write: gradient and update, the values thrown away."""

    def step(carry: Any, _: None) -> tuple[Any, Array]:
        p, state = carry
        value, grad = jax.value_and_grad(lambda q: -bowl(q))(p)
        updates, state = ADAM.update(grad, state, p)
        return (optax.apply_updates(p, updates), state), -value

    (p, _), _ = jax.lax.scan(step, (start, ADAM.init(start)), None, length=num_steps)
    return p


def restart_options() -> dict[str, Any]:
    """2000 steps, none left out."""
    return {"num_samples": NUM_DRAWS, "optimizer": ADAM, "max_steps": NUM_STEPS, "tol": -1.0}


def schools(z: Array) -> Array:
    """Eight schools over the reals: eta, mu, log tau."""
    eta, mu, log_tau = z[:8], z[8], z[9]
    tau = jnp.exp(log_tau)
    prior = -jnp.sum(eta**2) / 2 - mu**2 / 50 - tau**2 / 50 + log_tau
    return prior - jnp.sum(((mu + tau * eta - EFFECTS) / ERRORS) ** 2) / 2


EFFECTS = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def compare_restarts(name: str, joint: Callable[[Array], Array], dim: int) -> None:
    """64 starts to the end, and 64 of which two go past a trial of 200 steps, against one."""
    start = variational.mean_field(jnp.zeros(dim))
    starts = variational.scattered(jax.random.key(1), start, 64)
    key, options = jax.random.key(2), restart_options()
    one = jax.jit(lambda k, g: variational.fit_guide(k, joint, g, **options).elbo.value)
    every = jax.jit(lambda k, g: variational.fit_guides(k, joint, g, **options).elbo.value)
    race = jax.jit(
        lambda k, g: variational.fit_guides(k, joint, g, num_kept=2, **options).elbo.value
    )
    rows = compare(
        f"{name}: 64 restarts of a mean-field fit, {NUM_STEPS} steps, {NUM_DRAWS} draws",
        lambda: one(key, start),
        {"64, all to the end": lambda: every(key, starts), "64, a race": lambda: race(key, starts)},
        repeats=5,
        budget_s=60.0,
    )
    for row in rows[1:]:
        print(f"  {row.who} take {row.best_ms / rows[0].best_ms:.1f} times as long as one")


def gradient_noise(estimator: Callable[..., Array], point: Any, num_samples: int) -> float:
    """Root mean square deviation of the gradient by the location, over 200 keys."""

    def bound(guide: Any, key: Array) -> Array:
        return jnp.mean(estimator(key, log_joint, guide, num_samples))

    keys = jax.random.split(jax.random.key(3), 200)
    grads = jax.jit(jax.vmap(jax.grad(bound), (None, 0)))(point, keys).base.loc
    return float(jnp.sqrt(jnp.mean(jnp.var(grads, axis=0))))


def main() -> None:
    """All rows."""
    quick = asked_quick(__doc__)
    print_setting("optax", "blackjax", "numpyro")
    key = jax.random.key(0)
    compare(
        f"mean-field VI, {DIM} parameters, {NUM_STEPS} Adam steps, {NUM_DRAWS} draws",
        lambda: fit_ours(key),
        {"blackjax scan": lambda: fit_blackjax(key), "numpyro SVI": lambda: fit_numpyro(key)},
        check=lambda loc: loc,
        rtol=0.05,
        repeats=3 if quick else 11,
        budget_s=60.0,
    )

    steps, start = 10_000, jnp.zeros(DIM)
    options = {"optimizer": ADAM, "max_steps": steps, "tol": -1.0}
    rows = compare(
        f"gradient ascent, {DIM} parameters, {steps} steps",
        lambda: fit.maximize(bowl, start, **options).model,
        {"bare scan": lambda: bare_ascent(start, steps)},
        check=lambda p: p,
        repeats=11,
    )
    extra = 1e3 * (rows[0].best_ms - rows[1].best_ms) / steps
    print(f"  fit.maximize adds {extra:.2f} microseconds a step")
    if quick:
        return

    compare_restarts("eight schools, 10 parameters", schools, 10)
    compare_restarts(f"logistic regression, {DIM} parameters", log_joint, DIM)

    print("\ngradient noise by the location at the fitted guide, 16 draws of the guide in all")
    guide = variational.mean_field(jnp.zeros(DIM), scale=0.2)
    for name, estimator, num_samples in [
        ("pathwise", variational.pathwise, 16),
        ("sticking the landing", variational.sticking_the_landing, 16),
        ("analytic entropy", variational.analytic_entropy, 16),
        ("score", variational.score, 16),
        ("rloo", variational.rloo, 16),
        ("iwae, 4 particles", variational.iwae(4), 4),
        ("dreg, 4 particles", variational.dreg(4), 4),
        ("vimco, 4 particles", variational.vimco(4), 4),
        ("renyi 0.5, 4 particles", variational.renyi(0.5, 4), 4),
    ]:
        print(f"  {name:<24} {gradient_noise(estimator, guide, num_samples):10.3f}")


if __name__ == "__main__":
    main()
