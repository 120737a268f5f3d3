"""Run the code of README and docs, and write the pages as HTML to site/.

A block marked `python` runs with the ones before it on its page; one marked `python arviz` only where
ArviZ is installed. Where a line prints and ends in a comment, the comment is what must be printed:
`print(1 + 1)  # 2`.
"""

import contextlib
import io
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt

from likelax import report

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(text: str) -> list[tuple[int, str]]:
    """(line, source) of each block of Python on a page whose libraries are installed."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [(t.map[0] + 2, t.content) for t in tokens if t.type == "fence" and _runs(t.info)]


def _runs(info: str) -> bool:
    language, *libraries = info.split() or [""]
    return language == "python" and all(find_spec(library) for library in libraries)


def run(page: Path) -> int:
    """Run the code of a page.

    Returns:
      How many printed lines were compared with what the page says.
    Raises:
      AssertionError: where something else was printed.
    """
    scope: dict[str, object] = {}
    compared = 0
    for line, source in blocks(page.read_text(encoding="utf-8")):
        wanted = re.findall(r"^ *(?:print\(.*)?\)  # (.*)$", source, flags=re.MULTILINE)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + source, str(page), "exec"), scope)
        if wanted:
            got = printed.getvalue().splitlines()
            if got != wanted:
                raise AssertionError(f"{page.name}, block at line {line}: said {wanted}, got {got}")
            compared += len(wanted)
    return compared


def html(page: Path) -> str:
    """A page as HTML, links between pages included."""
    text = page.read_text(encoding="utf-8")
    title = next(line[2:] for line in text.splitlines() if line.startswith("# "))
    body = MarkdownIt("commonmark").enable("table").render(text)
    body = re.sub(r'href="(?:docs/)?(?:\.\./)?([A-Za-z_-]+)\.md', r'href="\1.html', body)
    body = body.replace('href="README.html', 'href="index.html').replace('src="docs/', 'src="')
    links = "".join(f'<a href="{name(other)}">{other.stem}</a> ' for other in PAGES)
    return report.document(
        title, f'<nav aria-label="Pages">{links}</nav><main id="main">{body}</main>'
    )


def name(page: Path) -> str:
    """File name of a page on the site."""
    return "index.html" if page.stem == "README" else f"{page.stem}.html"


def main() -> None:
    """Run everything, then write the site."""
    site = ROOT / "site"
    site.mkdir(exist_ok=True)
    for page in PAGES:
        compared = run(page)
        (site / name(page)).write_text(html(page), encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {compared} printed lines as the page says")
    shutil.copytree(ROOT / "docs" / "images", site / "images", dirs_exist_ok=True)
    print(f"Written: {site / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
