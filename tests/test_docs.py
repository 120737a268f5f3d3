import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from public import public_names

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

by_name = pytest.mark.parametrize("page", build.PAGES, ids=lambda page: page.stem)
# what a newcomer meets first; `make test-all` and `make docs` run the others too
FIRST = (
    "README", "quickstart", "grammar", "data", "families", "architecture", "numerics", "neural_hmm",
)  # fmt: skip


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=() if page.stem in FIRST else pytest.mark.slow)
        for page in build.PAGES
    ],
)
def test_code_of_a_page_runs_and_prints_what_the_page_says(page):
    has_code = any(not needs for _, _, needs in build.blocks(page.read_text(encoding="utf-8")))
    assert build.run(page) > 0 or not has_code


@by_name
def test_links_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_api_pages_have_every_public_name_and_its_docstring():
    api = build.load("api")
    shown = {id(name.value): name for name in api.names()}
    pages = api.pages()
    missing = [entry.name for entry in public_names() if id(entry.value) not in shown]
    assert missing == []
    for entry in public_names():
        name = shown[id(entry.value)]
        assert f"}} {name.path}" in pages[name.page]
        assert api.markdown(entry.doc) in pages[name.page]


def test_a_docstring_becomes_markdown():
    api = build.load("api")
    doc = """log p(x) = -x^2 / 2

    Text of *any kind with `code*`.

    Args:
      x: (..., D), a
        number.
    Returns:
      Nats.
    Source: Gauss (1809).

    Examples:
      >>> 1 + 1
      2
    """
    assert api.markdown(inspect.cleandoc(doc)) == (
        "```text\nlog p(x) = -x^2 / 2\n```\n\nText of \\*any kind with `code*`.\n\n**Args**\n\n"
        "`x`\n: (..., D), a number.\n\n**Returns**: Nats.\n\n**Source**: Gauss (1809).\n\n"
        "```pycon\n>>> 1 + 1\n2\n```"
    )


def test_links_on_the_site_start_at_its_root():
    text = "[a](docs/hmm.md#emissions) [b](examples) [c](CHANGELOG.md) [d](https://x.org) [e](#f)"
    assert build.staged(text, "") == (
        "[a](/hmm.md#emissions) [b](/examples.md) [c](/changes.md) [d](https://x.org) [e](#f)"
    )
    assert build.staged("[a](../hmm.md) ![b](../images/b.png)", "docs/tutorials") == (
        "[a](/hmm.md) ![b](/images/b.png)"
    )


def test_every_page_has_a_title_and_a_place_in_the_navigation(tmp_path):
    build.write_stage(tmp_path / "pages")
    listed = re.findall(
        r"^/(.+)$",
        "\n".join((tmp_path / "pages" / f"{g}.md").read_text("utf-8") for g in build.GROUPS),
        flags=re.MULTILINE,
    )
    assert len(set(listed)) == len(listed)
    found = {
        p.relative_to(tmp_path / "pages").as_posix()[:-3] for p in tmp_path.glob("pages/**/*.md")
    }
    assert found - {"index", *build.GROUPS} == set(listed)


@pytest.mark.parametrize(
    "page",
    [
        "families",
        "naive_bayes",
        "mixtures",
        "hmm",
        "batch",
        "scale",
        "monte_carlo",
        "variational",
        "calibration",
        "checklist",
    ],
)
def test_a_page_of_a_capability_has_its_formula_and_its_picture(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert "\n$$\n" in text and "](images/" in text


def test_what_shows_a_claim_exists():
    text = (ROOT / "docs" / "how_we_know.md").read_text(encoding="utf-8")
    shown = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)(?:::(\w+))?`", text)
    shown.remove(("tests/file.py", "test_name"))  # how to run one
    assert len(shown) > 50
    for path, test in shown:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), (path, test)


def test_a_block_that_needs_a_library_that_is_not_there_is_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python no_such_library\nprint(1 / 0)  # 1\n```\n", encoding="utf-8")
    assert build.run(page) == 0
    page.write_text("```python json\nprint(1 + 1)  # 2\n```\n", encoding="utf-8")
    assert build.run(page) == 1


def test_a_page_that_says_something_else_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# T\n\n```python\nprint(1 + 1)  # 3\n```\n", encoding="utf-8")
    with pytest.raises(
        AssertionError, match=r"page.md, block at line 4: said \['3'\], got \['2'\]"
    ):
        build.run(page)
