"""Pages as a browser shows them: verdicts read from the DOM, and accessibility by computed style."""

import json
import math
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from likelax import plots, report, tour
from likelax.checklist import TITLES, Checklist, Line, Verdict

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
AUDIT = (Path(__file__).parent / "audit.js").read_text(encoding="utf-8")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed; on Debian: apt-get install chromium"
)


class Dom(HTMLParser):
    """Elements of a page in order, as (tag, attributes, text directly inside)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in {"meta", "img", "source", "br", "link"}:
            self.open.append(element)

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def all(self, tag):
        return [(attrs, text) for name, attrs, text in self.elements if name == tag]


def render(page, folder, *, dark=False, size=(1000, 800)):
    """The DOM after the browser has laid the page out, and what the audit found in it."""
    if dark:  # what a reader's dark setting switches on
        page = page.replace("(prefers-color-scheme: dark)", "all")
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"<script>{AUDIT}</script></body>"), encoding="utf-8")
    profile = folder / f"profile-{dark}-{size[0]}"
    command = [
        CHROMIUM, *SWITCHES, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    dom = Dom(done.stdout)
    audit = next(text for attrs, text in dom.all("pre") if attrs.get("id") == "audit")
    return dom, json.loads(audit)


def judged():
    words = (Verdict.PASS, Verdict.NOT_RUN, Verdict.WARN, Verdict.FAIL, Verdict.INCONCLUSIVE)
    lines = [
        Line(n, TITLES[n], word, 0.5, math.nan, 0.01, 40, f"Reason <{n}>.", "" if n == 1 else "Do.")
        for n, word in zip(TITLES, (*words, Verdict.PASS), strict=True)
    ]
    png = plots.png(plots.figure(lambda f: f.subplots().plot([0, 1]), size=(3, 2)), dpi=60)
    return report.html(
        "A model",
        Checklist(tuple(lines)),
        pictures=[report.Picture(png, png, "A rising line.", "It rises.")],
    )


def test_the_report_says_each_verdict_in_an_attribute():
    lines = [attrs for attrs, _ in Dom(judged()).all("li") if "data-verdict" in attrs]
    assert [attrs["data-line"] for attrs in lines] == ["1", "2", "3", "4", "5", "6"]
    assert "2 of 6 lines pass, 1 fail." in judged()
    assert "Reason &lt;4&gt;." in judged()


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_verdicts_of_a_report_and_it_is_accessible(tmp_path, dark):
    # the dark page is laid out as on a phone
    dom, audit = render(judged(), tmp_path, dark=dark, size=(500, 900) if dark else (1000, 800))
    shown = [attrs["data-verdict"] for attrs, _ in dom.all("li") if "data-verdict" in attrs]
    assert shown == ["PASS", "NOT_RUN", "WARN", "FAIL", "INCONCLUSIVE", "PASS"]
    assert [text for attrs, text in dom.all("strong")] == [v.replace("_", " ") for v in shown]
    assert audit["found"] == []
    assert audit["texts"] > 40


@needs_browser
def test_a_browser_shows_that_the_numbers_of_the_tour_are_right(tmp_path):
    chapters = tour.find(["normalise", "bernoulli"])
    stops = [tour.Stop(i + 1, c, c.run()) for i, c in enumerate(chapters)]
    page = tour.write_page(stops, tmp_path / "tour").read_text(encoding="utf-8")
    dom, audit = render(page, tmp_path)
    checks = sum(len(stop.findings.checks) for stop in stops)
    assert [text for _, text in dom.all("td")].count("right") == checks
    assert f"{checks} numbers were compared" in "".join(text for _, text in dom.all("p"))
    assert audit["found"] == []


@needs_browser
@pytest.mark.slow
def test_the_whole_tour_in_a_browser(tmp_path):
    stops = sorted(tour.walk(tour.CHAPTERS))
    page = tour.write_page(stops, tmp_path / "tour").read_text(encoding="utf-8")
    for dark in (False, True):
        dom, audit = render(page, tmp_path, dark=dark, size=(500, 900) if dark else (1000, 800))
        verdicts = [attrs["data-verdict"] for attrs, _ in dom.all("li") if "data-verdict" in attrs]
        assert len(verdicts) >= 12 and "FAIL" in verdicts
        assert "WRONG" not in [text for _, text in dom.all("td")]
        assert audit["found"] == []


BAD = """<!doctype html><html><head><title></title></head><body><div>loose</div>
<main id="m"><h1>A</h1><h3>B</h3><p style="color:#999">faint</p><img src="data:,"><a href="#no"></a>
<table><tr><td>1</td></tr></table><ul><p>x</p></ul><i id="m"></i><b tabindex="3">t</b>
<div style="overflow:auto;width:50px"><p style="width:400px">wide</p></div>
<figure></figure></main></body></html>"""


@needs_browser
def test_the_audit_can_fail(tmp_path):
    _, audit = render(BAD, tmp_path)
    rules = {text.split(":")[0] for text in audit["found"]}
    assert rules >= {
        "document-title", "html-has-lang", "meta-viewport", "duplicate-id", "heading-order",
        "region", "image-alt", "figure-caption", "link-name", "link-target", "list",
        "table-caption", "td-headers", "tabindex", "bypass", "scrollable-region-focusable",
        "color-contrast",
    }  # fmt: skip
