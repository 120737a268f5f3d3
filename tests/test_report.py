from html.parser import HTMLParser

import pytest

from likelax import report

VOID = {"meta", "img", "source", "br", "link"}
PNG = b"\x89PNG not really"


class Reader(HTMLParser):
    """Checks that tags close in order, and gathers attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def example():
    return report.page(
        "Coins & <dice>",
        "A lead.",
        [
            report.Section("one", "First", [report.Paragraph("a < b"), report.Code("x = '<b>'")]),
            report.Section(
                "two",
                "Second",
                [
                    report.Table("Sizes", ("what", "size"), [("a", "1"), ("b", "2")], numeric=(1,)),
                    report.Picture(PNG, PNG, "a bar", "Look at the bar."),
                ],
            ),
        ],
    )


def test_page_is_well_formed_and_escapes():
    reader = Reader(example())
    assert "Coins & <dice>" in reader.words
    assert "a < b" in reader.words
    assert "x = '<b>'" in reader.words


def test_page_needs_no_network():
    reader = Reader(example())
    sources = [a.get("src") or a.get("srcset") for a in reader.all("img") + reader.all("source")]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in example()
    assert not reader.all("script") and not reader.all("link")


def test_page_is_accessible():
    text = example()
    reader = Reader(text)
    assert reader.all("html")[0]["lang"] == "en"
    assert reader.all("meta")[1]["name"] == "viewport"
    assert all(image["alt"] for image in reader.all("img"))
    assert {th["scope"] for th in reader.all("th")} == {"col", "row"}
    assert len(reader.all("h1")) == 1
    assert len(reader.all("main")) == 1
    anchors = {a["id"] for _, a in reader.tags if "id" in a}
    targets = {a["href"][1:] for a in reader.all("a")}
    assert targets <= anchors
    assert "prefers-color-scheme: dark" in text


def test_one_section_needs_no_contents():
    text = report.page("T", "L", [report.Section("one", "First", [report.Paragraph("p")])])
    assert not Reader(text).all("nav")


def test_ragged_table_and_twin_anchors_are_refused():
    ragged = report.Section("a", "A", [report.Table("Sizes", ("x", "y"), [("1",)])])
    with pytest.raises(ValueError, match=r"'Sizes': every row needs 2 cells"):
        report.page("T", "L", [ragged])
    twin = report.Section("a", "A", [])
    with pytest.raises(ValueError, match="anchor of its own"):
        report.page("T", "L", [twin, twin])
