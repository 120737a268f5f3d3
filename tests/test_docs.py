import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

by_name = pytest.mark.parametrize("page", build.PAGES, ids=lambda page: page.stem)
# what a newcomer meets first; `make test-all` and `make docs` run the others too
FIRST = ("README", "quickstart", "grammar", "data", "families", "architecture")


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=() if page.stem in FIRST else pytest.mark.slow)
        for page in build.PAGES
    ],
)
def test_code_of_a_page_runs_and_prints_what_the_page_says(page):
    has_code = bool(build.blocks(page.read_text(encoding="utf-8")))
    assert (build.run(page) > 0) == has_code


@by_name
def test_links_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert [t for t in targets if not (page.parent / t).exists()] == []


@by_name
def test_a_page_becomes_html(page):
    text = build.html(page)
    assert text.startswith("<!doctype html>") and "<h1>" in text


def test_a_page_that_says_something_else_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# T\n\n```python\nprint(1 + 1)  # 3\n```\n", encoding="utf-8")
    with pytest.raises(
        AssertionError, match=r"page.md, block at line 4: said \['3'\], got \['2'\]"
    ):
        build.run(page)


def test_a_block_runs_only_where_its_libraries_are_installed():
    text = "```python\na\n```\n\n```python no_such_library\nb\n```\n\n```python jax\nc\n```\n"
    assert [source for _, source in build.blocks(text)] == ["a\n", "c\n"]
