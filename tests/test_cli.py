import csv
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.stats
import typer
from typer.testing import CliRunner

import likelax
from likelax import __main__, cli, files, fit, named, tour
from likelax.cli import common, tables
from likelax.columns import Column
from likelax.fit import batch_run
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
    monkeypatch.setattr(__main__, "end_when_interrupted", lambda: None)  # the tests go on
    with pytest.raises(SystemExit, match=r"needs typer: pip install 'likelax\[cli,plots\]'"):
        __main__.main()


INTERRUPTED = """
import ctypes, os, signal, sys, threading
from likelax.__main__ import end_when_interrupted
{before}
end_when_interrupted()
threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
ends = threading.Timer(20, os._exit, [3])
ends.daemon = True
ends.start()
{program}
"""
ENDLESS = "while True: ctypes.CDLL(None).usleep(500_000)"  # without the interpreter, as a compiled program


@pytest.mark.skipif(sys.platform == "win32", reason="no usleep")
def test_an_interrupt_ends_a_compiled_program_with_one_line():
    # whatever the shell does in which the tests run
    before = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = INTERRUPTED.format(before=before, program=ENDLESS)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "likelax: interrupted\n")
    # in the background of a shell the signal is ignored, and stays so
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    program = INTERRUPTED.format(before=before, program="import time; time.sleep(0.5)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_every_family_and_every_command_has_an_example():
    said = " ".join(
        runner.invoke(cli.app, ["fit", "--help"], env={"COLUMNS": "200"}).output.split()
    )
    assert f"mle, mixture and hmm: {', '.join(named.OF_ROWS)}." in said
    for kind in ("naive-bayes", "regression"):
        assert f"Of {kind}: {', '.join(named.KINDS[kind])}." in said
    listed = [command.callback.__name__ for command in cli.app.registered_commands]
    assert listed[:3] == ["fit", "check", "decode"]  # in order of use
    for command in listed:
        shown = runner.invoke(cli.app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert f"For example: likelax {command} " in shown
    assert "likelax decode model.npz counts.csv" in runner.invoke(cli.app, ["--help"]).output
    version = runner.invoke(cli.app, ["--version"])
    assert (version.exit_code, version.output) == (0, f"likelax {likelax.__version__}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_full_device_is_one_sentence(form, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(typer.Exit) as end, common.settled({}):
            tables.show({"n": np.arange(5)}, common.Form(form))
        assert end.value.exit_code == 2


def counts(folder):
    """Three data sets in one table, and the same as files of a folder."""
    rng = np.random.default_rng(0)
    sets = {name: rng.poisson(np.where(rng.random(30) < 0.5, 1, 9)) for name in ("b", "a", "c d")}
    sets["none"] = np.zeros(0, int)
    lines = [f"{name},{n},x" for name, values in sets.items() for n in values]
    (folder / "table.csv").write_text("\n".join(["neuron,spikes,note", *lines]) + "\n")
    (folder / "sets").mkdir()
    for name, values in sets.items():
        np.save(folder / "sets" / f"{name}.npy", values)
    return sets


def read(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


def test_batch_fits_a_table_and_a_folder_and_goes_on_from_its_state(tmp_path, monkeypatch):
    sets, out = counts(tmp_path), tmp_path / "out.csv"
    table = ["batch", str(tmp_path / "table.csv"), "--group", "neuron", "--columns", "spikes"]
    options = ["--model", "mixture:poisson", "--states", "1,2", "--restarts", "2"]
    result = runner.invoke(cli.app, [*table, *options, "--output", str(out)])
    assert result.exit_code == 0, result.output
    rows = read(out)
    assert [(row["dataset"], row["size"]) for row in rows[:3]] == [
        ("b", "1"),
        ("b", "2"),
        ("a", "1"),
    ]
    for row in rows:
        x = sets[row["dataset"]]
        assert (row["rows"], row["status"]) == ("30", "CONVERGED")
        assert row["chosen"] == str(row["size"] == "2")
        if row["size"] == "1":
            assert float(row["components.rate[0]"]) == pytest.approx(x.mean(), rel=1e-5)
            want = scipy.stats.poisson.logpmf(x, x.mean()).sum()
            assert float(row["log_likelihood"]) == pytest.approx(want, rel=1e-5)
            assert float(row["bic"]) == pytest.approx(np.log(30) - 2 * want, rel=1e-5)

    kept = []
    save = batch_run.save

    def keep(file, *args, **options):
        save(file, *args, **options)
        kept.append(file)

    monkeypatch.setattr(batch_run, "save", keep)
    folder = ["batch", str(tmp_path / "sets"), "--output", str(out), "--resume"]
    result = runner.invoke(cli.app, [*folder, "--model", "mle:poisson"])
    assert result.exit_code == 4  # the empty data set has no fit
    assert "no usable fit of none; see" in result.stderr
    again = {row["dataset"]: row["status"] for row in read(out)}
    assert again == dict.fromkeys(["a", "b", "c d"], "CONVERGED") | {"none": "NO_DATA"}
    assert kept and not list(tmp_path.glob("*.state*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sets", "--model", "hmm:poison"], 2, "there is no family 'poison'; choose from normal"),
        (["sets", "--model", "poisson"], 2, "wanted KIND:FAMILY"),
        (["sets", "--model", "hmm:poisson", "--states", "3:2"], 2, "wanted a number, a list"),
        (["sets", "--model", "mle:gamma", "--states", "2"], 2, "mle:gamma has none"),
        (["sets", "--model", "hmm:poisson", "--group", "a"], 2, "are for a table"),
        (["table.csv", "--model", "hmm:poisson"], 2, "data sets apart by --group"),
        (["absent", "--model", "hmm:poisson"], 2, "absent does not exist"),
        (["sets", "--model", "mle:gamma", "--output", "out.txt"], 2, "ends in .csv or .parquet"),
        (["table.csv", "--model", "mle:gamma", "--group", "unit"], 3, "no column 'unit'; it has"),
        (
            ["table.csv", "--model", "mle:gamma", "--group", "neuron"],
            3,
            "'note' holds 'x' in row 1",
        ),
        (["broken", "--model", "mle:gamma"], 3, "x.npy is damaged, or no array of numbers"),
        (["pickled", "--model", "mle:gamma"], 3, "x.npy is damaged, or no array of numbers"),
        (["uneven", "--model", "mle:gamma"], 3, "must have the same columns"),
        (["bare", "--model", "mle:gamma"], 3, "holds no .npy or .csv file"),
    ],
)
def test_bad_batches_are_one_sentence_and_a_code(arguments, code, message, tmp_path, monkeypatch):
    counts(tmp_path)
    for name in ("broken", "pickled", "uneven", "bare"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.npy").write_bytes(b"\x93NUMPY\x01")
    np.save(tmp_path / "pickled" / "x.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "uneven" / "x.npy", np.ones((3, 2)))
    (tmp_path / "uneven" / "y.csv").write_text("1\n2\n")
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(cli.app, ["batch", *arguments])
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("batch.csv"))


def test_tables_read_back_what_they_wrote(tmp_path):
    columns = {"who": ["a", "b"], "n": [1.5, float("nan")], "status": ["x", "y,z"]}
    for ending in ("csv", "parquet"):
        file = tmp_path / f"table.{ending}"
        if ending == "parquet":
            pytest.importorskip("pyarrow")
        files.write_table(file, columns)
        back = files.read_table(file, text=["who", "status"])
        np.testing.assert_array_equal(back["n"], columns["n"])
        assert back["status"].tolist() == columns["status"]
        assert files.read_rows(file, ["n"], "who").parts()["a"].tolist() == [1.5]


@pytest.mark.slow
@pytest.mark.parametrize("family", named.LEAVES)
@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("kind", ["mle", "mixture", "hmm"])
def test_every_named_model_fits_its_own_kind_of_data(kind, family, columns):
    shape = (40,) if columns is None else (40, columns)
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape)
    if family in ("bernoulli", "poisson", "geometric"):
        x = (x > 0.5).astype(float) + (family == "geometric")
    found = named.parse(f"{kind}:{family}")
    done = fit.batch(
        fit.EM(max_steps=5, tol=-1.0),
        found.starter([Column(str(i), found.column_family) for i in range(columns or 1)], 2),
        [x.astype(np.float32), x[:30].astype(np.float32)],
        key=jax.random.key(0),
        sizes=[1, 2] if found.has_sizes else None,
    )
    assert done.fits.usable.all()
