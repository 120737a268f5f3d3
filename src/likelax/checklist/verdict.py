"""The result of the checklist: a verdict for each line, with its numbers."""

import enum
import math
import textwrap
from typing import NamedTuple


class Verdict(enum.StrEnum):
    """The outcome of one line."""

    PASS = "PASS"
    """The line was tested and holds."""
    WARN = "WARN"
    """There is a fault, but it is small or not certain."""
    FAIL = "FAIL"
    """The line does not hold: statistically significant and large enough to matter."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Tested, but the data are too few, or the method too weak, to decide."""
    NOT_RUN = "NOT_RUN"
    """Nothing to test: the model has no such part, or an argument is missing."""


class Line(NamedTuple):
    """One line of the checklist.

    Attributes:
      number: 1 to 6.
      title: the claim.
      verdict: a `Verdict`.
      statistic: the number that was compared, or NaN.
      threshold: the number that it was compared with, or NaN.
      p_value: of the test; NaN if the check is deterministic.
      n: number of rows, steps or decisions.
      reason: one or two sentences.
      remedy: what to do; empty for PASS.
    """

    number: int
    title: str
    verdict: Verdict
    statistic: float
    threshold: float
    p_value: float
    n: int
    reason: str
    remedy: str


TITLES = {
    1: "probabilities normalise and log probabilities are finite",
    2: "likelihood and posterior are not confused",
    3: "latent responsibilities sum to one",
    4: "held-out log likelihood is tracked",
    5: "posterior predictive simulations resemble real data",
    6: "calibration is evaluated when probabilities drive decisions",
}


class Numbers(NamedTuple):
    """The numbers of a `Line`."""

    statistic: float = math.nan
    threshold: float = math.nan
    p_value: float = math.nan
    n: int = 0


_NONE = Numbers()


def line(
    number: int, verdict: Verdict, reason: str, remedy: str = "", numbers: Numbers = _NONE
) -> Line:
    """A `Line` with its title filled in."""
    statistic, threshold, p_value, n = numbers
    return Line(
        number, TITLES[number], verdict, float(statistic), float(threshold), float(p_value), int(n),
        reason, "" if verdict is Verdict.PASS else remedy,
    )  # fmt: skip


class Checklist(NamedTuple):
    """The six lines.

    Attributes:
      lines: six `Line`s, in order.
    """

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """True if no line failed."""
        return all(one.verdict is not Verdict.FAIL for one in self.lines)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The six verdicts."""
        return tuple(one.verdict for one in self.lines)

    def __str__(self) -> str:
        out = []
        for one in self.lines:
            out.append(f"{one.number}. {one.verdict:<12} {one.title}")
            numbers = [
                f"{name} {value:.4g}"
                for name, value in (
                    ("statistic", one.statistic),
                    ("threshold", one.threshold),
                    ("p", one.p_value),
                )
                if not math.isnan(value)
            ]
            texts = [one.reason, ", ".join([*numbers, f"n {one.n}"]) if one.n else "", one.remedy]
            for text in texts:
                out += textwrap.wrap(text, 88, initial_indent=" " * 16, subsequent_indent=" " * 16)
        return "\n".join(out)
