"""The tour: thirteen chapters, each with a textbook example and then real data."""

import concurrent.futures
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from likelax import report
from likelax.report import Paragraph, Section
from likelax.tour import basics, inference, markov, mixtures, prediction
from likelax.tour.chapter import Chapter, Check, Findings, section

__all__ = ["CHAPTERS", "Chapter", "Check", "Findings", "Stop", "find", "walk", "write_page"]

CHAPTERS: tuple[Chapter, ...] = (
    *basics.CHAPTERS,
    *mixtures.CHAPTERS,
    *markov.CHAPTERS,
    *inference.CHAPTERS,
    *prediction.CHAPTERS,
)

# These take longest, so they start first.
_LONGEST = ("checklist", "forward", "posterior-predictive")


class Stop(NamedTuple):
    """A chapter and its results.

    Attributes:
      number: its position in the tour, from 1.
      chapter: the chapter.
      findings: its results.
    """

    number: int
    chapter: Chapter
    findings: Findings


def find(names: Sequence[str]) -> list[Chapter]:
    """Chapters by name, in the order of the tour; all of them for no names.

    Args:
      names: of chapters.
    Raises:
      ValueError: for an unknown name.

    Examples:
      >>> [chapter.name for chapter in find(["viterbi", "em"])]
      ['em', 'viterbi']
    """
    known = [chapter.name for chapter in CHAPTERS]
    for name in names:
        if name not in known:
            raise ValueError(f"no chapter is called {name!r}; the chapters are {', '.join(known)}.")
    return [chapter for chapter in CHAPTERS if not names or chapter.name in names]


def walk(chapters: Sequence[Chapter]) -> Iterator[Stop]:
    """Run chapters on all cores, and yield each when it is done.

    Compilation takes most of the time, and other threads run during it.

    Args:
      chapters: of `find`.

    Examples:
      >>> for stop in walk(find(["normalise"])):
      ...     print(stop.number, stop.findings.ok)
      1 True
    """
    order = sorted(chapters, key=lambda c: c.name not in _LONGEST)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        waiting = {pool.submit(chapter.run): chapter for chapter in order}
        for done in concurrent.futures.as_completed(waiting):
            chapter = waiting[done]
            yield Stop(CHAPTERS.index(chapter) + 1, chapter, done.result())


def write_page(stops: Sequence[Stop], folder: Path) -> Path:
    """Write each chapter's figure, and one page with everything in it.

    Args:
      stops: in the order of the page.
      folder: is created if it does not exist.
    Returns:
      The path of the page.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_page([], Path(folder)).name
      'index.html'
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    for number, chapter, findings in stops:
        light = findings.drawing.png()
        (folder / f"{number:02d}-{chapter.name}.png").write_bytes(light)
        sections.append(section(number, chapter, findings, light))
    checks = [check for stop in stops for check in stop.findings.checks]
    wrong = sum(not check.ok for check in checks)
    verdict = "all of them are right" if wrong == 0 else f"{wrong} of them are WRONG"
    sections.append(
        Section(
            "verdict",
            "The verdict",
            [Paragraph(f"{len(checks)} numbers were compared with what they must be; {verdict}.")],
        )
    )
    page = folder / "index.html"
    text = report.page("A tour of likelax", _LEAD, sections)
    page.write_text(text, encoding="utf-8")
    return page


_LEAD = (
    "Classical probabilistic models in JAX, from a coin to a hidden Markov model. Each chapter "
    "starts with a small example whose answer is known, and then does the same thing for real."
)
