"""The site as a browser shows it: accessibility by axe-core, the search, light and dark, a phone's width.

Needs the extras `docs` and `browser` and a Chromium; skipped without them.
"""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytest.importorskip("sphinx", reason="pip install 'likelax[docs]'")
pytest.importorskip("pydata_sphinx_theme", reason="pip install 'likelax[docs]'")
api = pytest.importorskip("playwright.sync_api", reason="pip install 'likelax[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="likelax[browser]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; on Debian: apt-get install chromium"),
]
# axe would ask for the imports of style sheets at wrong addresses
OPTIONS = {"resultTypes": ["violations"], "preload": False}
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of the site, built now."""
    command = [sys.executable, ROOT / "docs" / "build.py", "--only-pages"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    handler = functools.partial(Quiet, directory=ROOT / "site")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Write nothing."""


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def pages():
    return sorted(
        path.relative_to(ROOT / "site").as_posix()
        for path in (ROOT / "site").glob("**/*.html")
        if "_static" not in path.parts
    )


@pytest.mark.parametrize("scheme, size", [("light", DESK), ("dark", PHONE)], ids=["light", "dark"])
def test_every_page_is_accessible_fits_and_asks_nothing_of_other_addresses(
    site, browser, scheme, size
):
    context = browser.new_context(color_scheme=scheme, viewport=size)
    page, faults = context.new_page(), []
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request", lambda r: None if r.url.startswith((site, "data:")) else faults.append(r.url)
    )
    for name in pages():
        page.goto(f"{site}/{name}")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            faults.append(f"{name}: wider than the window")
        found = axe.Axe().run(page, options=OPTIONS).response["violations"]
        faults += [f"{name}: {rule['id']} {rule['nodes'][0]['html'][:120]}" for rule in found]
    context.close()
    assert len(pages()) > 50 and faults == []


def test_the_search_finds_a_name_and_a_word(site, browser):
    page = browser.new_page()
    for word, wanted in (("viterbi", "likelax.hmm.viterbi"), ("earthquakes", "likelax")):
        page.goto(f"{site}/search.html?q={word}")
        page.wait_for_selector("#search-results li a")
        assert wanted in page.inner_text("#search-results")
    page.close()
