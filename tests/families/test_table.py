"""The page of families is what the code says today."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "make_families.py"


@pytest.mark.slow
def test_the_page_is_not_stale():
    spec = importlib.util.spec_from_file_location("make_families", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.missing_pairs() == []
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        "run python docs/make_families.py"
    )
