import sys

import pytest
from typer.testing import CliRunner

from likelax import __main__, cli, tour
from likelax.tour.chapter import Check

runner = CliRunner()


def test_tour_writes_figures_and_a_page(tmp_path):
    result = runner.invoke(cli.app, ["tour", "--chapter", "normalise", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "0.5714" in result.output
    assert "4 of 4 numbers are right" in result.output
    assert (tmp_path / "01-normalise.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "all of them are right" in page and "http" not in page


def test_a_wrong_number_ends_with_1(tmp_path, monkeypatch):
    chapter = tour.CHAPTERS[0]
    findings = chapter.run()
    wrong = findings._replace(checks=(Check("off by one", 1.0, 2.0, "a test", 0.5),))
    broken = chapter._replace(run=lambda: wrong)
    monkeypatch.setattr(tour, "CHAPTERS", (broken, *tour.CHAPTERS[1:]))
    result = runner.invoke(cli.app, ["tour", "--chapter", "normalise", "--output", str(tmp_path)])
    assert result.exit_code == 1
    assert "WRONG" in result.output
    assert "0 of 1 numbers are right" in result.output
    assert "1 of them are WRONG" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_an_unknown_chapter_is_one_sentence_and_2(tmp_path):
    result = runner.invoke(cli.app, ["tour", "--chapter", "alchemy", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "no chapter is called 'alchemy'" in result.stderr and "viterbi" in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "likelax.cli", None)
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "likelax.cli")
    with pytest.raises(SystemExit, match=r"needs typer: pip install 'likelax\[cli,plots\]'"):
        __main__.main()
