"""Line 4: held-out log likelihood against a simpler model, against training, and free of leaks."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from likelax.checklist import view
from likelax.checklist.verdict import Line, Numbers, Verdict, line
from likelax.data import DataLike, take_labels, take_mask
from likelax.fit._em import em
from likelax.hmm.model import HMM
from likelax.mixture import Mixture
from likelax.model import Model, SupportsLogProb
from likelax.predictive import Elpd, elpd_of

_SMALL = 0.01  # nats a row: a smaller loss is no reason to change the model
_WIDE = 1.0  # nats a row between training and held-out data


class Scores(NamedTuple):
    """Log scores of the model and of the simpler model, per row or step.

    Attributes:
      train: (N,) of the model on training data.
      heldout: (M,) of the model on held-out data.
      baseline: (M,) of the simpler model, or None.
      name: what the simpler model is.
    """

    train: np.ndarray
    heldout: np.ndarray
    baseline: np.ndarray | None
    name: str


def check(
    model: SupportsLogProb,
    train: DataLike,
    heldout: DataLike,
    baseline: SupportsLogProb | None,
    *,
    level: float,
) -> Line:
    """Line 4. See `checklist.run`."""
    scores = _scores(model, train, heldout, baseline)
    n = scores.heldout.size
    if n == 0 or scores.train.size == 0:
        return line(
            4, Verdict.FAIL, "The log score of every row is NaN.",
            "Look for NaN, or values out of range, among the parameters.", Numbers(n=n),
        )  # fmt: skip
    # steps of a series are dependent, so blocks have about the cube root of its length
    block = max(1, round(n ** (1 / 3))) if view.is_serial(model) else 1
    held, seen = _elpd(scores.heldout, block), _elpd(scores.train, block)
    mean = float(held.value) / n
    said = f"Held-out log score {mean:.4g} nats a row"
    if not math.isfinite(mean):
        return line(
            4, Verdict.FAIL, f"{said}: a held-out row is impossible.",
            "Fit with a prior (pseudo-counts), or widen the support of the model.",
            numbers=Numbers(statistic=mean, n=n),
        )  # fmt: skip
    gap = float(seen.value) / scores.train.size - mean
    gap_error = math.hypot(
        float(seen.standard_error) / scores.train.size, float(held.standard_error) / n
    )
    said += f", {abs(gap):.3g} {'below' if gap > 0 else 'above'} training"
    gap_p = _upper_tail(gap / gap_error) if gap_error > 0 else math.nan
    numbers = Numbers(statistic=mean, p_value=gap_p, n=n)
    if scores.baseline is not None:
        difference = _elpd(scores.heldout - scores.baseline, block)
        gain, error = float(difference.value) / n, float(difference.standard_error) / n
        said += f", {abs(gain):.3g} +- {error:.2g} {'above' if gain > 0 else 'below'} {scores.name}"
        worse = _upper_tail(-gain / error) if error > 0 else math.nan
        numbers = Numbers(statistic=gain, threshold=0.0, p_value=worse, n=n)
        if worse < level and gain < -_SMALL:
            return line(
                4, Verdict.FAIL, f"{said}: the simpler model predicts better.",
                "The model is overfitted or misspecified: fewer components, a prior, or more data.",
                numbers=numbers,
            )  # fmt: skip
    if gap > _WIDE and gap_p < level:
        return line(
            4, Verdict.FAIL, f"{said}: the model knows its training data by heart.",
            "Use a prior, fewer parameters or more data; stop EM earlier.", numbers=numbers,
        )  # fmt: skip
    leaked = _leak(train, heldout)
    if leaked:
        return line(
            4, Verdict.WARN, f"{said}. {leaked}",
            "Split the data so that no row stands on both sides.", numbers=numbers,
        )  # fmt: skip
    if n < 20 or not math.isfinite(float(held.standard_error)):
        return line(
            4, Verdict.INCONCLUSIVE, f"{said}; {n} held-out rows are too few to judge.",
            "Hold out at least 20 rows.", numbers=numbers,
        )  # fmt: skip
    if scores.baseline is not None and not numbers.p_value > 1 - 0.05:
        return line(
            4, Verdict.WARN, f"{said}: not clearly better than the simpler model.",
            "Prefer the simpler model, or hold out more data.", numbers=numbers,
        )  # fmt: skip
    if gap_p < level and gap > 10 * _SMALL:
        return line(
            4, Verdict.WARN, f"{said}: training is significantly better.",
            "Use a prior, fewer parameters or more data; check that both sets are alike.",
            numbers=numbers,
        )  # fmt: skip
    return line(4, Verdict.PASS, f"{said}.", numbers=numbers)


def _elpd(pointwise: np.ndarray, block_size: int) -> Elpd:
    return view.call(_elpd_of_blocks, pointwise, static=block_size)


def _elpd_of_blocks(pointwise: Array, block_size: int) -> Elpd:
    return elpd_of(pointwise, block_size=block_size)


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _scores(
    model: SupportsLogProb, train: DataLike, heldout: DataLike, baseline: SupportsLogProb | None
) -> Scores:
    labels, held_labels = view.labels_of(train), view.labels_of(heldout)
    if labels is not None and held_labels is not None and not view.is_serial(model):
        return _label_scores(model, train, heldout, np.asarray(labels), np.asarray(held_labels))
    name = "the baseline"
    if baseline is None:
        baseline, name = _simpler(model, train)
    ours = [_kept(view.call(view.scores, model, x)) for x in (train, heldout)]
    theirs = None
    if baseline is not None:
        rows = np.asarray(view.call(view.scores, baseline, _rows_for(baseline, model, heldout)))
        inside = ~np.isnan(np.asarray(view.call(view.scores, model, heldout)))
        theirs = rows.reshape(-1)[inside]
    return Scores(ours[0], ours[1], theirs, name)


def _label_scores(
    model: Any, train: DataLike, heldout: DataLike, labels: np.ndarray, held: np.ndarray
) -> Scores:
    """With labels a mixture is a classifier: the score is log p(label | values)."""

    def of_labels(x: DataLike, y: np.ndarray) -> np.ndarray:
        log_post = np.asarray(view.call(view.log_responsibilities, model, x.values))
        known = y >= 0
        return np.take_along_axis(log_post, np.maximum(y, 0)[:, None], axis=1)[known, 0]

    counts = np.bincount(labels[labels >= 0], minlength=model.num_components) + 0.5
    baseline = np.log(counts / counts.sum())[held[held >= 0]]
    return Scores(of_labels(train, labels), of_labels(heldout, held), baseline, "class frequencies")


def _kept(scores: Any) -> np.ndarray:
    scores = np.asarray(scores).reshape(-1)
    return scores[~np.isnan(scores)]


def _simpler(model: SupportsLogProb, train: DataLike) -> tuple[Any, str]:
    """The model without its latent structure, or None for a leaf."""
    if isinstance(model, HMM):
        values, _ = view.unwrap(train)
        occupied = np.exp(np.asarray(view.call(view.smoother, model, train).log_marginals))
        share = occupied.reshape(-1, occupied.shape[-1]).mean(axis=0)
        return Mixture(share / share.sum(), model.emissions), "the same states without order"
    if isinstance(model, Mixture):
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], model.components)
        if not isinstance(first, Model):
            return None, ""
        values, _ = view.unwrap(train)
        # the first component alone may call a row impossible, and EM does not move from there
        return em(view.call(_stepped, first, values), values, max_steps=20).model, "one component"
    return None, ""


def _stepped(model: Model, x: DataLike) -> Model:
    """A model after one step of EM."""
    return model.m_step(model.e_step(x)[0])


def _rows_for(baseline: SupportsLogProb | None, model: SupportsLogProb, heldout: DataLike) -> Any:
    """Held-out data as the baseline takes them: steps of a series are rows to an iid model."""
    if view.is_serial(model) and not view.is_serial(baseline):
        return view.unwrap(heldout)[0]
    return heldout


def _leak(train: DataLike, heldout: DataLike) -> str:
    """A sentence if held-out rows stand in the training data more often than chance allows."""
    seen, held = _table(train), _table(heldout)
    if seen is None or held is None or len(held) == 0:
        return ""
    known = {row.tobytes() for row in seen}
    shared = np.array([row.tobytes() in known for row in held])
    repeats = 1 - len(known) / len(seen)  # rounded data repeat themselves
    if shared.mean() <= 0.05 + 3 * repeats:
        return ""
    return (
        f"{shared.sum()} held-out rows ({view.row_names(shared)}) also stand in the training data."
    )


def _table(x: DataLike) -> np.ndarray | None:
    """Rows of all real-valued fields, or None where there are none: whole numbers repeat."""
    leaves = jax.tree.leaves(take_mask(take_labels(x)[0])[0])
    real = [np.asarray(leaf) for leaf in leaves if not view.is_whole(leaf)]
    if not real or any(leaf.ndim < 1 for leaf in real):
        return None
    return np.ascontiguousarray(np.concatenate([r.reshape(len(r), -1) for r in real], axis=1))
