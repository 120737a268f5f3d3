"""The parts of a chapter of the tour: checked numbers, a few sentences, a figure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from likelax import plots
from likelax.report import Code, Paragraph, Part, Picture, Section, Table


class Check(NamedTuple):
    """One number, or a few, and their expected values.

    Attributes:
      what: the quantity, in words.
      ours: scalar or (n,).
      wanted: same shape as `ours`.
      source: where `wanted` comes from: "notebook", a publication, or an independent formula.
      tolerance: largest difference allowed.
      relation: "=", or ">" and "<" for ours at least and at most `wanted`, up to the tolerance.
      digits: decimals to print.
    """

    what: str
    ours: ArrayLike
    wanted: ArrayLike
    source: str
    tolerance: float
    relation: str = "="
    digits: int = 4

    @property
    def ok(self) -> bool:
        """True if every number is right; a NaN is not."""
        ours, wanted = np.asarray(self.ours, float), np.asarray(self.wanted, float)
        if ours.shape != wanted.shape:
            return False
        # equal infinities are equal, though their difference is NaN
        gap = np.subtract(ours, wanted, out=np.zeros_like(ours), where=ours != wanted)
        short = {"=": np.abs(gap), ">": -gap, "<": gap}[self.relation]
        return bool(np.all(short <= self.tolerance))

    def shown(self) -> tuple[str, str]:
        """(wanted, ours) as text.

        Examples:
          >>> Check("pi", 3.1416, 3.1415926, "a table", 1e-4).shown()
          ('3.1416', '3.1416')
        """
        mark = {"=": "", ">": "at least ", "<": "at most "}[self.relation]
        return mark + _text(self.wanted, self.digits), _text(self.ours, self.digits)


def _text(values: ArrayLike, digits: int) -> str:
    return "  ".join(f"{v:.{digits}f}" for v in np.atleast_1d(np.asarray(values, float)))


class Drawing(NamedTuple):
    """A figure that can be drawn for a light page and a dark one.

    Attributes:
      draw: fills an empty figure.
      alt: a description, for readers who cannot see it.
      caption: one sentence.
      size: width and height, inches.
    """

    draw: Callable[[Figure], object]
    alt: str
    caption: str
    size: tuple[float, float] = (7.2, 3.6)

    def png(self, *, dark: bool = False) -> bytes:
        """The figure as a PNG file."""
        return plots.png(plots.figure(self.draw, size=self.size, dark=dark))


class Findings(NamedTuple):
    """The results of a chapter.

    Attributes:
      story: paragraphs, in order: the textbook example, then the real one.
      checks: all its numbers.
      drawing: its figure.
      tables: further tables, or verdicts, for the page.
    """

    story: Sequence[str]
    checks: Sequence[Check]
    drawing: Drawing
    tables: Sequence[Part] = ()

    @property
    def ok(self) -> bool:
        """True if every number is right."""
        return all(check.ok for check in self.checks)


class Chapter(NamedTuple):
    """One chapter of the tour.

    Attributes:
      name: as `--chapter` takes it.
      title: a sentence.
      code: a short program that does the same as the chapter; it runs as it is.
      run: computes the results.
    """

    name: str
    title: str
    code: str
    run: Callable[[], Findings]


def section(number: int, chapter: Chapter, findings: Findings, light: bytes) -> Section:
    """The chapter as a section of the page.

    Args:
      number: counted from 1.
      light: its figure as a PNG for a light page; the dark one is drawn here.
    """
    rows = [
        (check.what, *check.shown(), check.source, "right" if check.ok else "WRONG")
        for check in findings.checks
    ]
    numbers = Table(
        "Expected beside ours",
        ("Quantity", "Expected", "Ours", "Expected by", "Result"),
        rows,
        numeric=(1, 2),
    )
    drawing = findings.drawing
    picture = Picture(light, drawing.png(dark=True), drawing.alt, drawing.caption)
    story: list[Part] = [Paragraph(text) for text in findings.story]
    parts = [*story[:1], Code(chapter.code), *story[1:], picture, *findings.tables, numbers]
    return Section(chapter.name, f"{number}. {chapter.title}", parts)
