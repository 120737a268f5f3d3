"""`likelax fit` and what can be done with the model that it writes, beside the library itself."""

import io
import json

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from likelax import HMM, cli, files, fit, kept
from likelax.data import Masked, Sequences

runner = CliRunner()


def run(*arguments, code=0, **options):
    result = runner.invoke(cli.app, [str(a) for a in arguments], **options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Counts of two series of two levels, and a model of them that has not seen the last."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(3)
    lines = ["day,who,count"]
    for who, length in (("a", 40), ("b", 25), ("c", 15)):
        level = np.repeat(rng.permuted([2.0, 12.0, 2.0, 12.0]), 10)[:length]
        lines += [f"{i},{who},{n}" for i, n in enumerate(rng.poisson(level))]
    lines[5] = "4,a,"  # a count that is missing
    (folder / "counts.csv").write_text("\n".join(lines) + "\n")
    made = run(
        *("fit", folder / "counts.csv", "--model", "hmm:poisson", "--columns", "count"),
        *("--group", "who", "--states", "1:3", "--restarts", "2", "--holdout", "0.34"),
        *("--output", folder / "model.npz", "--format", "json", "--seed", "2"),
    )
    (folder / "fit.json").write_text(made.stdout)
    return folder


@pytest.fixture(scope="module")
def model(home):
    return kept.load(home / "model.npz")


def series(home, groups):
    rows = files.read_rows(home / "counts.csv", ["count"], "who")
    parts = [rows.parts()[name].astype(np.float32) for name in groups]
    starts = np.concatenate([np.arange(len(part)) == 0 for part in parts])
    return Sequences(Masked.from_nan(np.concatenate(parts)), starts=starts)


def test_fit_keeps_the_size_of_lowest_bic(home, model):
    table, _, parameters = (home / "fit.json").read_text().partition("]\n")
    sizes = json.loads(table + "]")
    assert [row["size"] for row in sizes] == [1, 2, 3]
    assert [row["chosen"] for row in sizes] == [False, True, False]
    assert {row["status"] for row in sizes} == {"CONVERGED"}
    x = series(home, "ab")
    assert isinstance(model.model, HMM) and model.size == 2 and model.columns == ("count",)
    best = sizes[1]
    assert best["log_likelihood"] == pytest.approx(float(model.model.log_prob(x)), rel=1e-5)
    assert best["bic"] == pytest.approx(float(fit.bic(model.model, x)), rel=1e-5)
    assert best["parameters"] == int(fit.num_parameters(model.model))
    assert min(row["bic"] for row in sizes) == best["bic"]
    shown = {row["parameter"]: row["value"] for row in json.loads(parameters)}
    assert shown["emissions.rate[1]"] == pytest.approx(float(model.model.emissions.rate[1]))
    assert sorted(np.asarray(model.model.emissions.rate)) == pytest.approx([2, 12], rel=0.3)


def test_decode_and_predict_are_viterbi_and_smoother(home, model):
    x = series(home, "abc")
    for command, want in (
        ("decode", model.model.viterbi(x)[0]),
        ("predict", np.argmax(model.model.smoother(x).log_marginals, axis=1)),
    ):
        out = home / f"{command}.csv"
        run(command, home / "model.npz", home / "counts.csv", "--output", out)
        found = files.read_table(out, text=["who"])
        assert list(found) == ["who", "state", "probability[0]", "probability[1]"]
        assert "".join(found["who"]) == "a" * 40 + "b" * 25 + "c" * 15
        np.testing.assert_array_equal(found["state"], want)
        probs = np.exp(np.asarray(model.model.smoother(x).log_marginals))
        np.testing.assert_allclose(found["probability[1]"], probs[:, 1], rtol=1e-5, atol=1e-6)


def test_score_and_sample(home, model):
    x = series(home, "abc")
    made = run("score", home / "model.npz", home / "counts.csv", "--format", "json")
    (row,) = json.loads(made.stdout)
    assert row["rows"] == 80
    assert row["log_probability"] == pytest.approx(float(model.model.log_prob(x)), rel=1e-5)
    assert row["a_row"] == pytest.approx(row["log_probability"] / 80)
    assert row["bic"] == pytest.approx(float(fit.bic(model.model, x)), rel=1e-5)
    made = run("sample", home / "model.npz", "--count", "7", "--seed", "5")
    want = np.asarray(model.model.sample(jax.random.key(5), (7,)))
    assert made.stdout.split() == ["count", *map(str, want)]


def test_forms_quiet_and_device(home):
    scored = ("score", home / "model.npz", home / "counts.csv", "--quiet", "--device", "0")
    (row,) = json.loads(run(*scored, "--json").stdout)
    head, values = run(*scored, "--csv").stdout.split()
    assert head == ",".join(row) and values == ",".join(map(str, row.values()))
    out = ("--output", home / "out.csv")
    sampled = run("sample", home / "model.npz", "--count", 3, *out, "--device", "cpu")
    assert sampled.stderr == f"likelax: wrote {home / 'out.csv'}\n"
    assert run("sample", home / "model.npz", "--count", 3, *out, "--quiet").stderr == ""


def test_a_fit_that_does_not_converge_is_written_and_ends_with_4(home, tmp_path):
    made = run(
        *("fit", home / "counts.csv", "--model", "hmm:poisson", "--columns", "count"),
        *("--group", "who", "--max-steps", "0", "--output", tmp_path / "m.npz", "--quiet"),
        code=4,
    )
    assert made.stderr == "likelax: the fit did not converge in 0 steps; raise --max-steps\n"
    assert kept.load(tmp_path / "m.npz").size == 2


def test_check_divides_the_data_as_the_fit_did_and_writes_a_page(home):
    page = home / "report.html"
    made = run(
        "check", home / "model.npz", home / "counts.csv", "--report", page, "--format", "csv"
    )
    assert "no decision depends on its probabilities" in made.stdout
    assert made.stdout.startswith("line,verdict,reason\n1. ") and made.stdout.count("PASS") >= 4
    text = page.read_text(encoding="utf-8")
    assert text.count('data-verdict="PASS"') == made.stdout.count("PASS")
    assert text.count("<picture>") == 2 and "emissions.rate[1]" in text and "http" not in text


def test_compare_names_the_model_that_predicts_better(home):
    run(
        *("fit", home / "counts.csv", "--model", "hmm:poisson", "--columns", "count"),
        *("--group", "who", "--states", "1", "--restarts", "1", "--holdout", "0.34"),
        *("--output", home / "one.npz"),
    )
    models = home / "one.npz", home / "model.npz"
    made = run("compare", *models, home / "counts.csv", "--format", "json")
    best, other = json.loads(made.stdout)
    x = series(home, "abc")
    for row, file in ((best, models[1]), (other, models[0])):
        assert row["model"] == str(file)
        want = float(kept.load(file).model.log_prob(x))
        assert row["log_probability"] == pytest.approx(want, rel=1e-5)
    gap = best["log_probability"] - other["log_probability"]
    assert best["below_best"] == 0 and other["below_best"] == pytest.approx(gap, rel=1e-4)
    assert 0 < other["standard_error"] < gap


@pytest.mark.parametrize(
    "name",
    [pytest.param("mixture:normal", marks=pytest.mark.slow), "mixture:poisson", "mle:gamma"],
)
def test_rows_in_no_order(tmp_path, name):
    rng = np.random.default_rng(1)
    wide = name == "mixture:normal"
    x = np.concatenate([rng.poisson(3, (30, 2)), rng.poisson(30, (30, 2))]) + 1.0
    np.save(tmp_path / "x.npy", x if wide else x[:, 0])
    size = [] if name == "mle:gamma" else ["--states", "2"]
    options = [*size, "--restarts", "3", "--holdout", "0.3", "--output", tmp_path / "m.npz"]
    run("fit", tmp_path / "x.npy", "--model", name, *options)
    found = kept.load(tmp_path / "m.npz")
    assert found.columns == (("column 1", "column 2") if wide else ("column 1",))
    made = run("check", tmp_path / "m.npz", tmp_path / "x.npy", "--report", tmp_path / "r.html")
    assert "PASS" in made.stdout
    pictures = (tmp_path / "r.html").read_text(encoding="utf-8").count("<picture>")
    if name == "mle:gamma":
        assert pictures == 0
        made = run("predict", tmp_path / "m.npz", tmp_path / "x.npy", code=2)
        assert "has no components" in made.stderr
        return
    assert pictures == 1
    made = run("predict", tmp_path / "m.npz", tmp_path / "x.npy")
    want = found.model.predict((x if wide else x[:, 0]).astype(np.float32))
    rows = [line.split(",") for line in made.stdout.split()[1:]]
    assert [int(row[0]) for row in rows] == list(map(int, want))
    made = run("decode", tmp_path / "m.npz", tmp_path / "x.npy", code=2)
    assert "which has no path of states; use predict" in made.stderr


def test_a_table_from_standard_input_and_as_markdown(home):
    text = (home / "counts.csv").read_text()
    made = run("score", home / "model.npz", "-", "--format", "markdown", input=text)
    head, line, row = made.stdout.splitlines()
    assert head == "| rows | log_probability | a_row | bic |" and line.startswith("| ---")
    assert row.startswith("| 80 | -")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("fit counts.csv --model hmm:poison", 2, "no family 'poison'"),
        ("fit counts.csv --model hmm:poisson --states 0", 2, "wanted a number, a list"),
        ("fit counts.csv --model hmm:poisson --holdout 1", 2, "--holdout must lie in [0, 1)"),
        ("fit counts.csv --model hmm:poisson --output m.pkl", 2, "a name that ends in .npz"),
        ("fit counts.csv --model hmm:poisson --output absent/m.npz", 2, "folder does not exist"),
        ("fit counts.csv --model hmm:poisson --output folder.npz", 2, "folder.npz is a folder"),
        ("fit counts.csv --model mixture:poisson --group who", 2, "tells series apart"),
        ("fit absent.csv --model hmm:poisson", 3, "does not exist"),
        ("fit . --model hmm:poisson", 3, "is no file"),
        ("fit model.npz --model hmm:poisson", 3, "model.npz is a model of likelax; wanted a table"),
        ("fit fit.json --model hmm:poisson", 3, "wanted a .csv, .tsv, .parquet, .npy or .npz file"),
        ("fit counts.csv --model hmm:poisson", 3, "which is no number; name the columns"),
        ("fit counts.csv --model hmm:poisson --columns n", 3, "no column 'n'; it has day, who"),
        ("fit counts.csv --model hmm:poisson --columns counts", 3, "; did you mean 'count'?"),
        (
            "fit counts.csv --model hmm:poisson --group who --columns count --holdout 0.1",
            3,
            "leaves 3 of 3 series to fit",
        ),
        ("fit ragged.csv --model mle:normal", 3, "row 2 of data has 1 entries; wanted 2"),
        ("fit empty.csv --model mle:poisson", 3, "is empty"),
        ("fit header.csv --model mle:poisson", 3, "header.csv has no rows"),
        ("fit twice.csv --model mle:poisson --columns b", 3, "two columns of the name 'a'; rename"),
        (
            "fit decimal.csv --model mle:normal",
            3,
            "'1,5' in row 1, which is no number; write decimals",
        ),
        ("fit latin.csv --model mle:normal", 3, "is no text in UTF-8; save it as a CSV in UTF-8"),
        ("check model.npz counts.csv --report r.txt", 2, "a name that ends in .html"),
        ("decode model.npz counts.csv --output absent/x.csv", 2, "folder does not exist"),
        ("check counts.csv counts.csv", 3, "was not written by `likelax fit`"),
        ("check broken.npz counts.csv", 3, "was not written by `likelax fit`"),
        ("check absent.npz counts.csv", 3, "absent.npz does not exist"),
        ("score model.npz negative.csv", 3, "no column 'who'"),
        ("score model.npz short.csv", 3, "has no rows"),
        (
            "score model.npz counts.csv --device 99",
            2,
            "'99': wanted cpu, gpu or a number; JAX finds",
        ),
        ("score model.npz counts.csv --device disk", 2, "'disk': wanted cpu, gpu or a number"),
        ("score model.npz counts.csv --json --csv", 2, "two forms of a table; give one of them"),
        ("compare model.npz counts.csv", 2, "two different models or more"),
        ("decode model.npz counts.csv --output x.txt", 2, "ends in .csv or .parquet"),
    ],
)
def test_what_is_wrong_is_one_sentence(home, monkeypatch, arguments, code, message):
    monkeypatch.chdir(home)
    (home / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (home / "negative.csv").write_text("a\n-1\n2\n")
    (home / "empty.csv").write_text("")
    (home / "header.csv").write_text("a\n")
    (home / "short.csv").write_text("who,count\n")
    (home / "twice.csv").write_text("a,b,a\n1,2,3\n")
    (home / "decimal.csv").write_text("a;b\n1,5;2,0\n")
    (home / "latin.csv").write_bytes("größe\n1\n".encode("latin-1"))
    (home / "folder.npz").mkdir(exist_ok=True)
    (home / "broken.npz").write_bytes((home / "model.npz").read_bytes()[:200])
    made = run(*arguments.split(), code=code)
    assert message in made.stderr and made.stderr.count("\n") == 1 and made.stdout == ""


def test_data_that_no_model_fits_end_with_4(tmp_path):
    (tmp_path / "x.csv").write_text("a\n-1\n2\n")
    file = tmp_path / "m.npz"
    arguments = ("fit", tmp_path / "x.csv", "--model", "mle:poisson", "--output", file)
    made = run(*arguments, "--format", "json", code=4)
    (row,) = json.loads(made.stdout)
    assert row["status"] == "NON_FINITE" and row["bic"] is None and not row["chosen"]
    reason = "column 'a' holds -1 in row 1, which has probability zero under the family poisson"
    assert made.stderr.endswith(f"x.csv: {reason}\n") and not file.exists()


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(
    ("table", "options", "reason"),
    [
        ("a\n3\n3\n", "mle:normal", "column 'a' never varies"),
        ("a,b\n3,1\n4,5\n", "mle:normal", "2 rows are too few for a covariance of 2 columns"),
        ("a,b\n0,1\n2,5\n3,1\n", "mle:mixed --column a:gamma --column b:normal", "'a' holds 0 in row 1, which leaves no finite fit of the family gamma"),
        ("y,b\n1.5,1\n2,5\n3,1\n", "regression:poisson --label y", "'y' holds 1.5 in row 1"),
        ("y,b\na,1\na,5\nb,4\nb,4\n", "naive-bayes:gaussian --label y", "never varies where 'y' is 'b'"),
    ],
)  # fmt: skip
def test_data_without_a_usable_fit_have_a_reason(tmp_path, monkeypatch, table, options, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text(table)
    made = run("fit", "x.csv", "--quiet", "--model", *options.split(), code=4)
    assert "no usable fit to x.csv: " in made.stderr and reason in made.stderr
    assert made.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    ["n;who\n1;a\n;b\n", "n\twho\n1\ta\n\tb\n", '\ufeffn,who\r\n1,a\r\n,"b"\r\n', 'n,who\n1,"a"\nNA,b\n'],
)  # fmt: skip
def test_other_programs_tables_are_read(tmp_path, monkeypatch, text):
    (tmp_path / "t.csv").write_bytes(text.encode())
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    for file in (tmp_path / "t.csv", files.STDIN):
        table = files.read_raw(file)
        assert list(table) == ["n", "who"] and list(table["who"]) == ["a", "b"]
        np.testing.assert_array_equal(files.numbers(file, "n", table["n"]), [1, np.nan])
    (tmp_path / "q.CSV").write_text('"a;b"\n1\n')
    assert list(files.read_raw(tmp_path / "q.CSV")) == ["a;b"]
    (tmp_path / "index.tsv").write_text(',n, "who"\n0,1, "a, b"\n1,3,c\n')  # numbered rows
    assert list(files.read_raw(tmp_path / "index.tsv")["who"]) == ["a, b", "c"]
    assert files.read_rows(tmp_path / "index.tsv", group="who").columns == ("n",)
    table = {"": np.array(["0", "1"]), "n": np.array(["1", "3"])}
    assert kept.plan(files.STDIN, table, "mle:poisson").columns == ("n",)


def test_a_model_of_another_version_says_so(home, tmp_path, monkeypatch):
    found = kept.load(home / "model.npz")
    with monkeypatch.context() as other:
        other.setattr(kept, "__version__", "9.1")
        other.setattr(kept, "asdict", lambda it: {"fresh": 1, "fields": []})
        found.save(tmp_path / "m.npz")
    wanted = (
        f"m.npz was written by likelax 9.1, and this is {kept.__version__}; fit the model again"
    )
    assert wanted in run("score", tmp_path / "m.npz", home / "counts.csv", code=3).stderr
    with monkeypatch.context() as other:
        other.setattr(fit.checkpoint, "FORMAT", 2)
        found.save(tmp_path / "m.npz")
    made = run("score", tmp_path / "m.npz", home / "counts.csv", code=3)
    assert made.stderr.endswith("m.npz is of another version of likelax; fit the model again\n")


def test_results_are_in_the_order_of_the_file(home, model, tmp_path):
    lines = (home / "counts.csv").read_text().splitlines()
    mixed = [lines[0], *(line for i in range(3) for line in lines[1 + i :: 3])]
    (tmp_path / "mixed.csv").write_text("\n".join(mixed))
    whos = [line.split(",")[1] for line in mixed[1:]]
    for command in ("decode", "predict"):
        rows = run(command, home / "model.npz", tmp_path / "mixed.csv").stdout.split()[1:]
        assert [row.split(",")[0] for row in rows] == whos
        table = files.read_rows(tmp_path / "mixed.csv", ["count"], "who")
        a = run(command, home / "model.npz", "-", input="who,count\n" + "\n".join(f"a,{n:g}" for n in table.parts()["a"])).stdout  # fmt: skip
        assert [row for row in rows if row[0] == "a"] == a.split()[1:]


def test_a_model_fitted_to_everything_is_checked_on_new_data_alone(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("old", "new"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=60))
    run("fit", tmp_path / "old.npy", "--model", "mle:normal", "--output", tmp_path / "m.npz")
    made = run("check", tmp_path / "m.npz", tmp_path / "new.npy", code=2)
    assert "was fitted to all of its data" in made.stderr
    checked = ("check", tmp_path / "m.npz", tmp_path / "new.npy", "--train", tmp_path / "old.npy")
    assert "PASS" in run(*checked).stdout
    (tmp_path / "wide.csv").write_text("5\n" + "\n".join(map(str, 40 + rng.normal(size=60))))
    assert "FAIL" in run(*checked[:2], tmp_path / "wide.csv", *checked[3:], code=1).stdout


def test_info_says_versions_and_devices():
    made = run("info")
    assert jax.__version__ in made.stdout and "cpu" in made.stdout


def test_one_reading_of_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a,b\n1,x\n,y\n"))
    rows = files.read_rows(files.STDIN, group="b")
    assert rows.columns == ("a",) and list(rows.groups) == ["x", "y"]
    np.testing.assert_array_equal(rows.values, [1, np.nan])
