"""One self-contained HTML page from text, tables and pictures, for light and dark screens.

The parts are plain tuples, and `page` turns them into HTML. This module knows no models; it can show
the result of a checklist.
"""

import base64
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from likelax.checklist.verdict import Checklist, Line
from likelax.numerics.checks import check_type

__all__ = [
    "Code", "Judgement", "Paragraph", "Part", "Picture", "Section", "Table", "document", "html",
    "page",
]  # fmt: skip


class Paragraph(NamedTuple):
    """Plain text; it is escaped.

    Attributes:
      text: one paragraph.
    """

    text: str


class Code(NamedTuple):
    """Python source, shown as it is.

    Attributes:
      source: lines of code.
    """

    source: str


class Table(NamedTuple):
    """A table with a caption.

    Attributes:
      caption: what the table shows, one sentence.
      columns: heading of each column.
      rows: cells as text; every row has one cell per column.
      numeric: positions of the columns to align right.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()


class Picture(NamedTuple):
    """A picture in the page itself.

    Attributes:
      light: a PNG for a light page.
      dark: a PNG for a dark page, or None to show `light` there too.
      alt: a description, for readers who cannot see it.
      caption: one or two sentences.
    """

    light: bytes
    dark: bytes | None
    alt: str
    caption: str


class Judgement(NamedTuple):
    """The result of the checklist for one model.

    Attributes:
      model: the name of the model.
      lines: of a `Checklist`.
    """

    model: str
    lines: Sequence[Line]


Part = Paragraph | Code | Table | Picture | Judgement


class Section(NamedTuple):
    """A heading and the parts below it.

    Attributes:
      anchor: its address within the page.
      title: the heading.
      parts: in reading order.
    """

    anchor: str
    title: str
    parts: Sequence[Part]


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole HTML document.

    Args:
      title: heading of the page.
      lead: one or two sentences beneath it.
      sections: in reading order; two or more get a table of contents.
    Returns:
      HTML text without references to other files. It follows the reader's light or dark setting.
    Raises:
      TypeError: for arguments of another type.
      ValueError: if two sections share an anchor, or a row does not fit its table.

    Examples:
      >>> text = page("Coins", "Seven tosses.", [Section("best", "Best", [Paragraph("5 < 7")])])
      >>> "5 &lt; 7" in text, "http" in text
      (True, False)
    """
    for name, value in (("title", title), ("lead", lead)):
        check_type(name, value, str)
    if not isinstance(sections, Sequence) or not all(isinstance(s, Section) for s in sections):
        raise TypeError(f"sections must be a sequence of Section, got {sections!r:.50}")
    anchors = [section.anchor for section in sections]
    if len(set(anchors)) != len(anchors):
        raise ValueError(f"page: every section needs an anchor of its own, got {anchors}.")
    contents = "".join(
        f'<li><a href="#{escape(s.anchor)}">{escape(s.title)}</a></li>' for s in sections
    )
    nav = f'<nav aria-label="Contents"><ul>{contents}</ul></nav>' if len(sections) > 1 else ""
    body = "\n".join(_section(section) for section in sections)
    head = f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p>{nav}</header>"
    return document(title, f'{head}\n<main id="main">\n{body}\n</main>')


def html(
    title: str,
    result: Checklist,
    *,
    lead: str = "",
    pictures: Sequence[Picture] = (),
    tables: Sequence[Table] = (),
) -> str:
    """A page about one fitted model: the six verdicts, figures, and the numbers behind them.

    Args:
      title: heading of the page; the model's name, say.
      result: of `checklist.run`.
      lead: one or two sentences; if empty, it is the number of lines that passed.
      pictures: PNGs, such as `plots.png` makes.
      tables: numbers.
    Returns:
      HTML text, as `page`. Each verdict is also an attribute `data-verdict` of its line.
    Raises:
      TypeError: for a title that is no text.

    Examples:
      >>> from likelax.checklist import Checklist, Verdict
      >>> line = Line(1, "sums to one", Verdict.PASS, 1.0, 0.01, math.nan, 9, "It does.", "")
      >>> 'data-verdict="PASS"' in html("Coin", Checklist((line,)))
      True
    """
    words = [str(one.verdict) for one in result.lines]
    if not lead:
        lead = f"{words.count('PASS')} of {len(words)} lines pass, {words.count('FAIL')} fail."
    sections = [Section("checklist", "The checklist", [Judgement(title, result.lines)])]
    if pictures:
        sections.append(Section("figures", "Figures", list(pictures)))
    numbers = Table(
        "Statistic, threshold and p-value of each line",
        ("Line", "Statistic", "Threshold", "p", "n"),
        [
            (f"{one.number}. {one.title}", *map(_number, one[3:6]), str(one.n) if one.n else "–")
            for one in result.lines
        ],
        numeric=(1, 2, 3, 4),
    )
    sections.append(Section("numbers", "The numbers", [numbers, *tables]))
    return page(title, lead, sections)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def document(title: str, body: str) -> str:
    """A whole HTML document around a body that is HTML already, in the same style.

    Args:
      title: text, for the browser's tab.
      body: HTML with a `<main id="main">`.
    Raises:
      TypeError: for anything but text.

    Examples:
      >>> document("T", '<main id="main"></main>').startswith("<!doctype html>")
      True
    """
    check_type("title", title, str)
    check_type("body", body, str)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
{body}
</body>
</html>
"""


def _section(section: Section) -> str:
    anchor = escape(section.anchor)
    parts = "\n".join(_part(part, section.title) for part in section.parts)
    heading = f'<h2 id="{anchor}-title">{escape(section.title)}</h2>'
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n{heading}\n{parts}\n</section>'
    )


def _part(part: Part, place: str) -> str:
    match part:
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Code(source):
            return f'<pre tabindex="0"><code>{escape(source.strip())}</code></pre>'
        case Table():
            return _table(part, place)
        case Picture():
            return _picture(part)
        case Judgement(model, lines):
            return _judgement(model, lines)


def _judgement(model: str, lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li data-line="{one.number}" data-verdict="{one.verdict}"><p><strong class='
        f'"verdict {str(one.verdict).lower()}">{str(one.verdict).replace("_", " ")}</strong> '
        f"{escape(one.title)}</p><p>{escape(one.reason)}"
        + (f" <em>{escape(one.remedy)}</em>" if one.remedy else "")
        + "</p></li>"
        for one in lines
    )
    return f'<ol class="lines" aria-label="Verdicts: {escape(model)}">{items}</ol>'


def _table(table: Table, place: str) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f"table {table.caption!r}: every row needs {len(table.columns)} cells, got {row}."
            )
    numeric = set(table.numeric)

    def cell(i: int, text: str) -> str:
        mark = ' class="num"' if i in numeric else ""
        if i == 0:
            return f'<th scope="row"{mark}>{escape(text)}</th>'
        return f"<td{mark}>{escape(text)}</td>"

    head = "".join(
        f'<th scope="col"{" class=num" if i in numeric else ""}>{escape(text)}</th>'
        for i, text in enumerate(table.columns)
    )
    rows = "".join(
        "<tr>" + "".join(cell(i, text) for i, text in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(place)}: {escape(table.caption)}">'
        f"<table><caption>{escape(table.caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _picture(picture: Picture) -> str:
    def data(png: bytes) -> str:
        return "data:image/png;base64," + base64.b64encode(png).decode("ascii")

    dark = ""
    if picture.dark is not None:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{data(picture.dark)}">'
    return (
        f'<figure><picture>{dark}<img src="{data(picture.light)}" alt="{escape(picture.alt)}" '
        f"></picture><figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


_STYLE = """
:root { --page:#ffffff; --ink:#1b2330; --soft:#556070; --line:#dbe1ea; --shade:#f4f6fa;
  --link:#1a56b0; --good:#116a4c; --bad:#a83a00; --odd:#745600; }
@media (prefers-color-scheme: dark) {
  :root { --page:#12161d; --ink:#e6eaf1; --soft:#a5b0c0; --line:#2c3542; --shade:#1a202a;
    --link:#8ab8ff; --good:#62d0a4; --bad:#ff9f68; --odd:#e6c34f; }
}
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; scroll-behavior:smooth; }
body { margin:0 auto; max-width:50rem; padding:1.5rem 1.1rem 5rem;
  background:var(--page); color:var(--ink);
  font:1.05rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif; }
h1 { font-size:2rem; line-height:1.2; margin:1rem 0 .4rem; letter-spacing:-.015em; }
h2 { font-size:1.4rem; line-height:1.3; margin:0 0 .6rem; letter-spacing:-.01em; }
header > p { color:var(--soft); font-size:1.12rem; margin:.2rem 0 1.2rem; max-width:42rem; }
a { color:var(--link); text-underline-offset:.15em; }
a:focus-visible, [tabindex]:focus-visible { outline:3px solid var(--link); outline-offset:2px; }
.skip { position:absolute; left:-100vw; }
.skip:focus { position:static; display:inline-block; padding:.5rem; }
nav ul { columns:15rem; column-gap:2rem; margin:0; padding:1rem 1.2rem; list-style:none;
  background:var(--shade); border-radius:.6rem; }
nav li { padding:.15rem 0; break-inside:avoid; }
section { padding-top:2.4rem; margin-top:2.4rem; border-top:1px solid var(--line); }
p { max-width:42rem; }
pre { background:var(--shade); border-radius:.6rem; padding:1rem; overflow-x:auto; font-size:.86rem;
  line-height:1.5; }
code { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; }
.wide { overflow-x:auto; margin:1.2rem 0; }
table { border-collapse:collapse; width:100%; font-size:.94rem; font-variant-numeric:tabular-nums; }
caption { text-align:left; color:var(--soft); padding-bottom:.5rem; }
th, td { text-align:left; padding:.45rem .7rem; border-bottom:1px solid var(--line);
  vertical-align:top; }
thead th { font-weight:600; color:var(--soft); border-bottom-width:2px; white-space:nowrap; }
tbody th { font-weight:400; }
th:first-child, td:first-child { padding-left:0; }
.lines { padding-left:1.4rem; }
.lines p { margin:.15rem 0; }
.lines p + p { color:var(--soft); font-size:.95rem; }
.lines li { margin:.8rem 0; }
.verdict { font-size:.82rem; letter-spacing:.03em; padding:.1rem .45rem; border-radius:.3rem;
  border:1px solid currentColor; }
.pass { color:var(--good); } .fail { color:var(--bad); } .warn { color:var(--odd); }
.num { text-align:right; white-space:nowrap; }
figure { margin:1.4rem 0; }
img { display:block; width:100%; height:auto; border-radius:.4rem; }
figcaption { color:var(--soft); font-size:.95rem; margin-top:.5rem; max-width:42rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior:auto; } }
@media print { nav, .skip { display:none; } section { break-inside:avoid-page; } }
"""
