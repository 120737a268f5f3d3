"""Lines 2 and 3: likelihood and prior are kept apart, and responsibilities are Bayes' rule."""

import dataclasses
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.checklist import view
from likelax.checklist.verdict import Line, Numbers, Verdict, line
from likelax.data import DataLike, take_labels, unlabelled
from likelax.families.base import Prior
from likelax.hmm.model import HMM
from likelax.hmm.transitions import SoftmaxTransition
from likelax.mixture import Mixture
from likelax.model import Model, PriorLike, SupportsLogProb
from likelax.numerics import log_normalize, logsumexp, safe_log
from likelax.product import Independent, Product

_TOLERANCE = 1e-3  # nats, or probability: far above float32 rounding, far below any real fault


class Parts(NamedTuple):
    """The parts of a model with finitely many latent values.

    Attributes:
      log_prior: (K,) over the latent of a row, or of a first step.
      log_lik: (N, K) log p(row | latent) by the model's own method.
      log_posterior: (N, K) log p(latent | row) by the model's own method.
      direct: (N, K) log p(row | latent) by the components' own `log_prob`.
    """

    log_prior: Array
    log_lik: Array
    log_posterior: Array
    direct: Array


def has_latent(model: object) -> TypeGuard[Mixture | HMM]:
    """True for a mixture or a hidden Markov model: a prior over K values, and a posterior."""
    return isinstance(model, Mixture | HMM)


def _rows(model: SupportsLogProb, x: DataLike) -> Any:
    """Plain rows for a mixture; for a chain, series of one step."""
    values, _ = view.unwrap(x)
    if not view.is_serial(model):
        return values
    lead = len(view.shape_of(model, x))
    return jax.tree.map(lambda v: jnp.reshape(v, (-1, 1, *jnp.shape(v)[lead:])), values)


def _take_apart(model: Mixture | HMM, rows: DataLike) -> Parts:
    if isinstance(model, HMM):
        direct = jax.vmap(lambda e: e.log_prob(rows), out_axes=-1)(model.emissions)[:, 0]
        return Parts(
            safe_log(model.initial_probs()), model.emission_log_prob(rows)[:, 0],
            model.smoother(rows).log_marginals[:, 0], direct,
        )  # fmt: skip
    direct = jax.vmap(lambda c: c.log_prob(rows), out_axes=-1)(model.components)
    return Parts(
        safe_log(model.weights),
        model.component_log_prob(rows),
        model.log_responsibilities(rows),
        direct,
    )


def check_confusion(model: SupportsLogProb, train: DataLike, prior: PriorLike | None) -> Line:
    """Line 2: swap the prior; the likelihood stays and the posterior odds follow exactly."""
    conjugate = _conjugate_gap(model, train, prior) if prior is not None else None
    if conjugate is not None and conjugate[0] > conjugate[1]:
        return line(
            2, Verdict.FAIL,
            "log prior + log likelihood - log evidence differs from the log posterior by "
            f"{conjugate[0]:.4g} nats, or updating in two parts differs from updating at once.",
            "Check that posterior(stats) adds the statistics, and log_evidence its normaliser.",
            numbers=Numbers(statistic=conjugate[0], threshold=conjugate[1], n=conjugate[2]),
        )  # fmt: skip
    if not has_latent(model):
        if conjugate is not None:
            return line(
                2, Verdict.PASS,
                f"Joint minus evidence equals the posterior within {conjugate[0]:.2g} nats, and "
                "sequential updates equal one batch.",
                numbers=Numbers(statistic=conjugate[0], threshold=conjugate[1], n=conjugate[2]),
            )  # fmt: skip
        return line(
            2, Verdict.NOT_RUN, "The model has no latent variable and no prior was given.",
            "Pass prior= to test the conjugate update.",
        )  # fmt: skip
    rows = _rows(model, train)
    found = view.call(_swap_prior, model, rows)
    moved, wrong, largest, n = (float(value) for value in found)
    scale = _TOLERANCE * (1 + 1e-3 * largest)
    numbers = Numbers(statistic=max(moved, wrong), threshold=scale, n=int(n))
    if moved > scale:
        return line(
            2, Verdict.FAIL,
            f"The likelihood moved by {moved:.4g} nats when only the prior changed: it contains "
            "the prior, or is a posterior.",
            "log p(x | latent) must not depend on the weights; posteriors belong in `posterior`.",
            numbers=numbers,
        )  # fmt: skip
    if wrong > scale:
        return line(
            2, Verdict.FAIL,
            f"Posterior odds moved by other than the prior ratio, off by {wrong:.4g} nats.",
            "posterior must be prior times likelihood: the prior is missing or doubled.",
            numbers=numbers,
        )  # fmt: skip
    return line(
        2, Verdict.PASS,
        "With another prior the likelihood stays as it was and the posterior odds move by "
        f"exactly the prior ratio (within {max(moved, wrong):.2g} nats).", numbers=numbers,
    )  # fmt: skip


def _swap_prior(model: Mixture | HMM, rows: DataLike) -> tuple[Array, Array, Array, int]:
    """(move of the likelihood, error of the odds, largest log likelihood, rows), with new weights."""
    field = "initial" if isinstance(model, HMM) else "weights"
    old = jnp.asarray(model.initial_probs() if isinstance(model, HMM) else model.weights)
    tilt = jnp.linspace(0.5, 2.0, old.shape[-1], dtype=old.dtype)
    both = jnp.stack([old, old * tilt / jnp.sum(old * tilt)])
    # a loop of two, so that the model is compiled once
    parts = jax.lax.map(lambda w: _take_apart(dataclasses.replace(model, **{field: w}), rows), both)
    before, after = (jax.tree.map(lambda leaf, i=i: leaf[i], parts) for i in (0, 1))
    moved = _largest(after.log_lik - before.log_lik)
    shift = after.log_prior - before.log_prior
    odds = _against_leader(after.log_posterior, before) - _against_leader(
        before.log_posterior, before
    )
    wanted = _against_leader(jnp.broadcast_to(shift, odds.shape), before)
    possible = before.log_posterior > -30.0  # below it float32 has no third decimal
    wrong = _largest(jnp.where(possible, odds - wanted, 0))
    return moved, wrong, _largest(before.log_lik), odds[..., 0].size


def _against_leader(values: Array, parts: Parts) -> Array:
    """Differences to the component that leads each row: odds need no normaliser."""
    leader = jnp.argmax(parts.log_posterior, axis=-1, keepdims=True)
    return values - jnp.take_along_axis(values, leader, axis=-1)


def _largest(values: Array) -> Array:
    """Largest finite absolute value; -inf minus -inf is no difference."""
    return jnp.max(jnp.where(jnp.isfinite(values), jnp.abs(values), 0), initial=0)


def _conjugate_gap(
    model: SupportsLogProb, train: DataLike, prior: PriorLike | None
) -> tuple[float, float, int] | None:
    """(largest difference, tolerance, rows) of the conjugate identities, where they apply."""
    if not isinstance(prior, Prior | Product | Independent) or not isinstance(model, Model):
        return None
    n = len(jax.tree.leaves(train)[0])
    stats, log_lik = model.e_step(train)
    posterior = prior.posterior(stats)
    joint = model.log_prior(prior) + log_lik - prior.log_evidence(stats)
    gap = abs(float(joint - model.log_prior(posterior)))
    half = [
        jax.tree.map(lambda v, s=s: v[s], train) for s in (slice(None, n // 2), slice(n // 2, None))
    ]
    twice = prior
    for part in half:
        twice = twice.posterior(model.e_step(part)[0])
    for one, other in zip(jax.tree.leaves(twice), jax.tree.leaves(posterior), strict=True):
        size = 1 + float(jnp.max(jnp.abs(jnp.asarray(other))))
        gap = max(gap, float(_largest(jnp.asarray(one) - jnp.asarray(other))) / size)
    return gap, _TOLERANCE * (1 + 1e-2 * abs(float(log_lik))), n


def check_responsibilities(model: SupportsLogProb, train: DataLike) -> Line:
    """Line 3: rows sum to one, equal Bayes' rule computed afresh, and EM does not descend."""
    if not has_latent(model):
        return line(3, Verdict.NOT_RUN, "The model has no latent variable.")
    resp, want, inside, counts_gap = view.call(_responsibilities, model, unlabelled(train))
    resp, want, inside = (np.asarray(a) for a in (resp, want, inside))
    n = int(inside.sum())
    sums = np.abs(resp.sum(-1) - 1)[inside]
    afresh = np.abs(resp - want).max(-1)[inside]
    faults = {
        f"Responsibilities sum to one only within {sums.max():.3g}": sums.max(),
        f"Responsibilities differ from prior times likelihood by {afresh.max():.3g}": afresh.max(),
        "State posteriors differ from summed transition counts by "
        f"{float(counts_gap):.3g} a step": float(counts_gap),
    }
    worst = max(faults.values())
    numbers = Numbers(statistic=worst, threshold=_TOLERANCE, n=n)
    if not worst <= _TOLERANCE:
        said = next(text for text, value in faults.items() if not value <= _TOLERANCE)
        return line(
            3, Verdict.FAIL, said + ".",
            "Normalise in logs with numerics.log_normalize, over the latent axis.", numbers=numbers,
        )  # fmt: skip
    fall = _em_fall(model, train)
    if fall is not None and fall[0] > fall[1]:
        return line(
            3, Verdict.FAIL, f"An EM step lowered the log likelihood by {fall[0]:.4g} nats.",
            "m_step must maximise what e_step expects: check its statistics and its weights.",
            numbers=Numbers(statistic=fall[0], threshold=fall[1], n=n),
        )  # fmt: skip
    counts = resp[inside].sum(0)
    said = f"All {n} rows sum to one within {sums.max():.1g} and equal Bayes' rule."
    if counts.min() < 1:
        return line(
            3, Verdict.WARN,
            f"{said} Component {int(counts.argmin())} holds only {counts.min():.2g} of {n} rows.",
            "Use fewer components, or a prior that keeps them apart.", numbers=numbers,
        )  # fmt: skip
    return line(3, Verdict.PASS, f"{said} An EM step does not descend.", numbers=numbers)


def _responsibilities(model: Mixture | HMM, x: DataLike) -> tuple[Array, Array, Array, Array]:
    """(model's, recomputed, which rows count, difference of gamma and summed xi)."""
    if not isinstance(model, HMM):
        direct = jax.vmap(lambda c: c.log_prob(x), out_axes=-1)(model.components)
        log_prior = jnp.broadcast_to(safe_log(model.weights), direct.shape)
        want, total = log_normalize(direct + log_prior)
        resp = model.responsibilities(x)
        rows = (-1, resp.shape[-1])
        return (
            resp.reshape(rows),
            jnp.exp(want).reshape(rows),
            total.reshape(-1) > -jnp.inf,
            jnp.zeros(()),
        )
    values, lengths = view.unwrap(x)
    starts = view.starts_of(x)
    direct = jax.vmap(lambda e: e.log_prob(values), out_axes=-1)(model.emissions)
    steps, states = direct.shape[-2:]
    direct = direct.reshape(-1, steps, states)
    batch = direct.shape[0]
    size = jnp.full(batch, steps) if lengths is None else jnp.asarray(lengths, int).reshape(-1)
    cut = jnp.zeros((batch, steps), bool) if starts is None else jnp.reshape(starts, (-1, steps))
    inside = jnp.arange(steps)[None, :] < size[:, None]
    smooth = jax.vmap(_smooth, in_axes=(None, None, 0, 0, 0))
    want, total = smooth(
        safe_log(model.initial_probs()), safe_log(model.transition_probs()), direct, inside, cut
    )
    smoothed = model.smoother(x)
    gamma = jnp.where(inside[..., None], jnp.exp(smoothed.log_marginals.reshape(want.shape)), 0)
    ends = jnp.arange(steps)[None, :] == (size - 1)[:, None]
    ends = ends.at[:, :-1].set(ends[:, :-1] | cut[:, 1:])
    left = jnp.sum(jnp.where(ends[..., None], 0, gamma), axis=(0, 1))
    moves = jnp.sum(smoothed.transition_counts.reshape(-1, states, states), axis=(0, 2))
    gap = jnp.max(jnp.abs(left - moves)) / inside.size
    possible = inside & (total > -jnp.inf)
    rows = (-1, states)
    return gamma.reshape(rows), jnp.exp(want).reshape(rows), possible.reshape(-1), gap


def _smooth(
    log_initial: Array, log_transition: Array, log_lik: Array, inside: Array, cut: Array
) -> tuple[Array, Array]:
    """Log state posteriors by the plain recursion in logs, independent of the kernels."""
    steps, states = log_lik.shape
    log_lik = jnp.where(inside[:, None], log_lik, 0)
    fresh = jnp.broadcast_to(log_initial, (steps - 1, states, states))
    moves = jnp.broadcast_to(log_transition, fresh.shape)
    log_transition = jnp.where(cut[1:, None, None], fresh, moves)

    def forward(alpha: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        move, lik = inputs
        alpha = logsumexp(alpha[:, None] + move, axis=0) + lik
        return alpha, alpha

    def backward(beta: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        move, lik = inputs
        beta = logsumexp(move + (lik + beta)[None, :], axis=1)
        return beta, beta

    start = log_initial + log_lik[0]
    _, alphas = jax.lax.scan(forward, start, (log_transition, log_lik[1:]))
    _, betas = jax.lax.scan(
        backward, jnp.zeros_like(start), (log_transition, log_lik[1:]), reverse=True
    )
    alphas = jnp.concatenate([start[None], alphas])
    betas = jnp.concatenate([betas, jnp.zeros_like(start)[None]])
    return log_normalize(alphas + betas)


def _em_step(model: Model, x: DataLike) -> tuple[Array, Array]:
    stats, before = model.e_step(x)
    return before, jnp.sum(model.m_step(stats).log_prob(x))


def _em_fall(model: SupportsLogProb, train: DataLike) -> tuple[float, float] | None:
    """(nats lost by one EM step, bound on the rounding error), or None if there is no such step."""
    if not isinstance(model, Model):
        return None
    if isinstance(model, HMM):
        driven = isinstance(model.transition, SoftmaxTransition)
        if driven or model.transition_probs().ndim != 2:
            return None
    before, after = view.call(_em_step, model, take_labels(train)[0])
    return float(before - after), 1e-5 * (1 + abs(float(before)))
