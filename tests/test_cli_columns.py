"""Columns of different types, classes and targets on the command line, beside the library and references."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api
from typer.testing import CliRunner

import likelax as lx
from likelax import Labelled, Masked, cli, columns, files, fit, kept, naive_bayes
from likelax.columns import Column

runner = CliRunner()


def run(*arguments, code=0):
    result = runner.invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def tables(made):
    """The JSON tables of standard output."""
    decoder, found, rest = json.JSONDecoder(), [], made.stdout.strip()
    while rest:
        table, end = decoder.raw_decode(rest)
        found.append(table)
        rest = rest[end:].strip()
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Visits, height, sex and diet of two kinds of animal; a few cells are missing."""
    folder = tmp_path_factory.mktemp("columns")
    rng = np.random.default_rng(4)
    lines = ["kind,visits,height,sex,diet,alive,weight"]
    for i in range(60):
        cat = i % 2 == 0
        visits, height = rng.poisson(2 if cat else 9), rng.normal(30 if cat else 60, 4)
        sex, diet = rng.choice(["f", "m"]), rng.choice(["fish", "meat", "rice"])
        lines.append(
            f"{'cat' if cat else 'dog'},{visits},{'' if i == 7 else f'{height:.2f}'},"
            f"{'NA' if i == 9 else sex},{diet},{int(rng.random() < 0.8)},{1 + i % 3}"
        )
    (folder / "pets.csv").write_text("\n".join(lines) + "\n")
    return folder


def table(home):
    return files.read_raw(home / "pets.csv")


def test_families_are_inferred_printed_and_overridden(home):
    made = run(
        *("fit", home / "pets.csv", "--model", "mixture:mixed", "--states", "2"),
        *("--columns", "visits,height,sex,alive", "--column", "visits:geometric"),
        *("--restarts", "2", "--max-steps", "200", "--output", home / "mixed.npz", "--seed", "1"),
        *("--format", "json"),
    )
    said = [line.split() for line in made.stderr.splitlines()]
    assert said[1][:2] == ["visits", "geometric"] and said[2][:2] == ["height", "normal"]
    assert said[3] == ["sex", "categorical", "f,", "m", "1"] and said[4][1] == "bernoulli"
    found = kept.load(home / "mixed.npz")
    assert found.fields[2] == Column("sex", "categorical", ("f", "m"))
    raw = table(home)
    sex = np.array([{"f": 0, "m": 1, "NA": -1}[text] for text in raw["sex"]])
    height = files.numbers("", "height", raw["height"]).astype(np.float32)
    x = {
        "visits": files.numbers("", "visits", raw["visits"]).astype(np.float32),
        "height": height,
        "sex": np.maximum(sex, 0),
        "alive": files.numbers("", "alive", raw["alive"]).astype(np.float32),
    }
    seen = {name: np.ones(60, bool) for name in x} | {"sex": sex >= 0, "height": ~np.isnan(height)}
    x = jax.tree.map(jnp.asarray, Masked({**x, "height": np.nan_to_num(height)}, seen))
    want = fit.em(found.model, x, tol=0.0, max_steps=50)
    (row,) = tables(made)[0]
    assert row["log_likelihood"] == pytest.approx(float(jnp.sum(found.model.log_prob(x))), rel=1e-5)
    assert float(want.objective) == pytest.approx(row["log_likelihood"], rel=1e-4)
    drawn = run("sample", home / "mixed.npz", "--count", 4).stdout.splitlines()
    assert drawn[0] == "visits,height,sex,alive" and {line.split(",")[2] for line in drawn[1:]} <= {"f", "m"}  # fmt: skip


def test_naive_bayes_is_that_of_the_library_and_names_its_classes(home):
    fitted = (
        *("fit", home / "pets.csv", "--model", "naive-bayes:mixed", "--label", "kind"),
        *(
            "--weight",
            "weight",
            "--output",
            home / "nb.npz",
            "--format",
            "json",
            "--holdout",
            "0.3",
        ),
    )
    made = run(*fitted)
    found = kept.load(home / "nb.npz")
    assert found.columns == ("visits", "height", "sex", "diet", "alive")
    assert found.label == Column("kind", "categorical", ("cat", "dog"))
    rows = found.rows(home / "pets.csv", table(home))
    seen, _ = kept.divided(rows, 0.3, series=False, seed=0)
    x, weights = found.data(seen), found.weights(seen)
    assert isinstance(x, Labelled) and set(np.asarray(weights)) == {1.0, 2.0, 3.0}
    diet = np.asarray(x.values.values["diet"])
    share = np.array(
        [[np.sum(weights[(x.labels == k) & (diet == c)]) for c in range(3)] for k in range(2)]
    )
    want = (share + 1) / (share + 1).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.model.components.fields["diet"].probs, want, rtol=1e-5)
    (row,) = tables(made)[0]
    total = float(jnp.sum(weights * found.model.log_prob(x)))
    assert row["status"] == "CONVERGED" and row["log_likelihood"] == pytest.approx(total, rel=1e-5)
    assert row["bic"] == pytest.approx(float(fit.bic(found.model, x, weights=weights)), rel=1e-5)

    value = {row["parameter"]: row["value"] for row in tables(made)[1]}
    name = "components.fields['diet'].probs[dog,rice]"
    assert value[name] == pytest.approx(want[1, 2], rel=1e-5) and "weights[cat]" in value

    made = run("predict", home / "nb.npz", home / "pets.csv", "--format", "json")
    probs = found.model.responsibilities(found.data(rows._replace(labels=None)))
    (predicted,) = tables(made)
    assert list(predicted[0]) == ["kind", "probability[cat]", "probability[dog]"]
    assert [p["kind"] for p in predicted] == [("cat", "dog")[k] for k in np.argmax(probs, axis=1)]
    assert predicted[3]["probability[dog]"] == pytest.approx(float(probs[3, 1]), rel=1e-4)
    (scored,) = tables(run("score", home / "nb.npz", home / "pets.csv", "--format", "json"))[0]
    assert scored["right"] > 0.9 and scored["rows"] == 120
    drawn = run("sample", home / "nb.npz", "--count", 3).stdout.splitlines()
    assert drawn[0] == "visits,height,sex,diet,alive,kind" and drawn[1].split(",")[5] in ("cat", "dog")  # fmt: skip
    assert "use predict" in run("decode", home / "nb.npz", home / "pets.csv", code=2).stderr


@pytest.mark.slow
def test_the_checklist_of_a_classifier_judges_its_decisions(home):
    run(
        *("fit", home / "pets.csv", "--model", "naive-bayes:mixed", "--label", "kind"),
        *("--output", home / "checked.npz", "--holdout", "0.3"),
    )
    made = run("check", home / "checked.npz", home / "pets.csv", "--format", "csv")
    assert "above class frequencies" in made.stdout and "decisions" in made.stdout


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("family", ["gaussian", "bernoulli", "multinomial", "categorical"])
def test_each_naive_bayes_is_its_builder(home, family):
    used = {"gaussian": "height,visits", "bernoulli": "sex,alive", "multinomial": "visits,alive"}
    names = used.get(family, "diet,sex").split(",")
    run(
        *("fit", home / "pets.csv", "--model", f"naive-bayes:{family}", "--label", "kind"),
        *("--columns", ",".join(names), "--output", home / "one.npz"),
    )
    found = kept.load(home / "one.npz").model
    raw, codes = table(home), {"f": 0.0, "m": 1.0, "fish": 0.0, "meat": 1.0, "rice": 2.0}
    x = np.array([[codes.get(t, t) for t in raw[name]] for name in names])
    x = Masked.from_nan(np.where(np.isin(x, ["", "NA"]), "nan", x).astype(np.float32).T)
    labels = jnp.asarray(raw["kind"] == "dog", int)
    if family == "categorical":
        parts = naive_bayes.columns(x)
        x = Masked(tuple(jnp.asarray(v, int) for v in parts.values), parts.observed)
        nb = naive_bayes.categorical(2, [3, 2])
    else:
        nb = getattr(naive_bayes, family)(2, 2)
    want = nb.fit(nb.statistics(x, labels))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


REGRESSIONS = {
    "normal": ("height", lambda y, x: statsmodels.api.OLS(y, x)),
    "poisson": ("visits", lambda y, x: statsmodels.api.Poisson(y, x)),
    "negative-binomial": ("visits", lambda y, x: statsmodels.api.NegativeBinomial(y, x)),
    "logistic": ("kind", lambda y, x: statsmodels.api.Logit(y, x)),
    "softmax": ("diet", lambda y, x: statsmodels.api.MNLogit(y, x)),
}


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("family", REGRESSIONS)
def test_regressions_agree_with_statsmodels(home, family):
    target, reference = REGRESSIONS[family]
    names = {"logistic": "diet,alive"}.get(family, "sex,alive")
    made = run(
        *("fit", home / "pets.csv", "--model", f"regression:{family}", "--label", target),
        *("--columns", names, "--output", home / "r.npz", "--format", "json", "--tol", "1e-7"),
    )
    raw = table(home)
    known = np.array([not {"", "NA"} & {raw[n][i] for n in (*names.split(","), target)} for i in range(60)])  # fmt: skip
    alive = raw["alive"].astype(float)
    first = raw["sex"] == "m" if "sex" in names else raw["diet"] == "meat"
    parts = [np.ones(60), first] + ([] if "sex" in names else [raw["diet"] == "rice"]) + [alive]
    design = np.stack(parts, axis=1).astype(float)[known]
    y = raw[target][known]
    y = np.unique(y, return_inverse=True)[1] if family in ("logistic", "softmax") else y.astype(float)  # fmt: skip
    # BFGS, which ends at three digits by default
    options = {"negative-binomial": {"disp": 0, "gtol": 1e-7}, "normal": {}}
    want = reference(y, design).fit(**options.get(family, {"disp": 0}))
    fits, numbers = tables(made)
    assert fits[0]["log_likelihood"] == pytest.approx(want.llf, rel=1e-5)
    value = {row["parameter"]: row["value"] for row in numbers}
    level = "sex=m" if "sex" in names else "diet=rice"
    at = 1 if "sex" in names else 2
    params = np.asarray(want.params)
    if family == "softmax":
        fish, *others = (value[f"coefficients[{level},{c}]"] for c in ("fish", "meat", "rice"))
        got = [other - fish for other in others]
        np.testing.assert_allclose(got, params[at], rtol=1e-3, atol=1e-4)
    else:
        axis = ",height" * (family == "normal")
        assert value[f"coefficients[{level}{axis}]"] == pytest.approx(
            params[at], rel=1e-3, abs=1e-4
        )
        assert value[f"coefficients[intercept{axis}]"] == pytest.approx(params[0], rel=1e-3)

    (predicted,) = tables(run("predict", home / "r.npz", home / "pets.csv", "--format", "json"))
    means = want.predict(design)
    row = predicted[int(np.flatnonzero(known)[4])]
    if family == "negative-binomial":
        assert value["total_count"] == pytest.approx(1 / params[-1], rel=1e-3)
        assert fits[0]["parameters"] == 4 and fits[0]["bic"] == pytest.approx(want.bic, rel=1e-5)
    if family in ("normal", "poisson", "negative-binomial"):
        assert row[target] == pytest.approx(means[4], rel=1e-3)
    else:
        share = {"logistic": "probability[dog]", "softmax": "probability[rice]"}[family]
        assert row[share] == pytest.approx(means[4, 2] if family == "softmax" else means[4], rel=1e-3)  # fmt: skip
        if "sex" in names:
            assert predicted[9][target] == "" and predicted[9][share] is None
    (scored,) = tables(run("score", home / "r.npz", home / "pets.csv", "--format", "json"))[0]
    assert scored["rows"] == known.sum() and scored["log_probability"] == pytest.approx(want.llf, rel=1e-5)  # fmt: skip
    assert "draws nothing without inputs" in run("sample", home / "r.npz", code=2).stderr


def test_counts_that_do_not_vary_enough_end_at_a_poisson_regression(tmp_path):
    x = np.tile(np.arange(8), 8) / 8
    y = np.round(np.exp(1 + x)) + np.repeat([0, 1, 0, -1], 16)
    rows = "\n".join(f"{a},{b:.0f},{2 - i % 2}" for i, (a, b) in enumerate(zip(x, y, strict=True)))
    (tmp_path / "x.csv").write_text("x,y,w\n" + rows)
    made = run(
        *("fit", tmp_path / "x.csv", "--model", "regression:negative-binomial", "--label", "y"),
        *("--weight", "w", "--columns", "x", "--output", tmp_path / "m.npz"),
    )
    assert "'y' varies no more than Poisson counts do: total_count rises without" in made.stderr
    model, design = kept.load(tmp_path / "m.npz").model, statsmodels.api.add_constant(x)
    weights = 2.0 - np.arange(64) % 2
    poisson = statsmodels.api.families.Poisson()
    want = statsmodels.api.GLM(y, design, family=poisson, freq_weights=weights).fit()
    np.testing.assert_allclose(model.coefficients, want.params, rtol=1e-4)
    got = model.log_prob((jnp.asarray(design, "f4"), jnp.asarray(y, "f4")))
    assert weights @ np.asarray(got) == pytest.approx(want.llf, rel=1e-5)


def test_a_regression_is_checked_and_compared_given_its_inputs(home):
    for name, used in (("a", "kind"), ("b", "alive")):
        run(
            *("fit", home / "pets.csv", "--model", "regression:logistic", "--label", "sex"),
            *("--columns", used, "--holdout", "0.5", "--output", home / f"{name}.npz"),
        )
    made = run("check", home / "a.npz", home / "pets.csv", "--format", "csv")
    assert "the baseline" in made.stdout and "INCONCLUSIVE" in made.stdout
    assert "Give the model" not in made.stdout and "Pass prior=" not in made.stdout
    made = run("compare", home / "a.npz", home / "b.npz", home / "pets.csv", "--format", "json")
    (rows,) = tables(made)
    for row in rows:
        found = kept.load(row["model"])
        x = found.data(found.complete(found.rows(home / "pets.csv", table(home))))
        want = float(jnp.sum(found.model.log_prob(x)))
        assert row["log_probability"] == pytest.approx(want, rel=1e-5)


def test_series_of_different_types(home):
    lines = ["who,n,mood"] + [
        f"{who},{n},{'calm' if n < 5 else 'wild'}" for who in "ab" for n in [1, 0, 2, 9, 8, 7, 1, 0]
    ]
    (home / "days.csv").write_text("\n".join(lines))
    run(
        *("fit", home / "days.csv", "--model", "hmm:mixed", "--group", "who", "--states", "2"),
        *("--restarts", "2", "--output", home / "h.npz"),
    )
    found = kept.load(home / "h.npz")
    assert isinstance(found.model, lx.HMM)
    path = [line.split(",")[1] for line in run("decode", home / "h.npz", home / "days.csv").stdout.split()[1:]]  # fmt: skip
    calm = path[0]
    assert [state == calm for state in path] == [n < 5 for n in [1, 0, 2, 9, 8, 7, 1, 0]] * 2


def test_arrays_of_an_archive_are_columns(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", n=rng.poisson(3, 30), who=np.array(["a", "b"] * 15), z=rng.normal(size=(30, 2)))  # fmt: skip
    raw = files.read_raw(tmp_path / "x.npz")
    assert list(raw) == ["n", "who", "z[0]", "z[1]"]
    run("fit", tmp_path / "x.npz", "--model", "naive-bayes:mixed", "--label", "who", "--output", tmp_path / "m.npz")  # fmt: skip
    assert [c.family for c in kept.load(tmp_path / "m.npz").fields] == ["poisson", "normal", "normal"]  # fmt: skip
    np.savez(tmp_path / "bad.npz", a=np.zeros(3), b=np.zeros(2))
    with pytest.raises(files.DataError, match="same number of rows; got a 3, b 2"):
        files.read_raw(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (["1.5", "2", "NA"], ("normal", ())),
        (["0", "1", "1"], ("bernoulli", ())),
        (["1", "2", "2"], ("bernoulli", ("1", "2"))),
        (["1.5", "2", "2"], ("normal", ())),
        (["0", "3", "99"], ("poisson", ())),
        (["0", "3", "100"], ("normal", ())),
        (["-1", "3", "9"], ("normal", ())),
        (["b", "a", "a"], ("categorical", ("a", "b"))),
        (["a", "b", "c"], "3 different texts in 3 rows"),
        (["a", "1", "1"], "holds texts such as 'a' among numbers such as '1'"),
        (["7", "7.0", ""], "is 7 in every row"),
        (["x", "x", "x"], "is 'x' in every row"),
        (["", "NA", "nan"], "has no value"),
    ],
)
def test_inference(values, want):
    if isinstance(want, str):
        with pytest.raises(files.DataError, match=want):
            columns.infer("t.csv", "c", np.array(values))
    else:
        assert columns.infer("t.csv", "c", np.array(values)) == Column("c", *want)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("mixture:mixed --column visits", 2, "wanted NAME:FAMILY with FAMILY one of normal"),
        (
            "mixture:mixed --column visits:student",
            2,
            "wanted NAME:FAMILY with FAMILY one of normal",
        ),
        ("mixture:mixed --column sex:normal", 3, "'sex' holds 'f' in row 1"),
        ("mixture:mixed --column diet:bernoulli", 3, "has 3 different values; bernoulli wants two"),
        ("mixture:mixed --column size:normal", 3, "no column 'size'; it has kind, visits"),
        ("mixture:mixed --columns visits --column height:normal", 3, "no column 'height' to use"),
        ("mixture:mixed --columns visits,visits", 3, "'visits' is used twice"),
        ("mixture:mixed --no-infer", 3, "say the family of column 'kind' by --column kind:FAMILY"),
        ("naive-bayes:mixed", 2, "needs --label, the column of the classes"),
        ("naive-bayes:gaussian --label kind --column sex:bernoulli", 2, "use naive-bayes:mixed"),
        ("naive-bayes:poisson --label kind", 2, "choose from gaussian, bernoulli"),
        ("naive-bayes:gaussian --label visits --columns alive", 4, "'alive' never varies where"),
        ("regression:normal", 2, "needs --label, the column of the target"),
        ("regression:normal --label sex", 3, "'sex' holds"),
        ("regression:logistic --label diet", 3, "3 different values; bernoulli wants two"),
        ("regression:normal --label height --column visits:poisson", 2, "have no family"),
        ("mixture:normal --label kind", 2, "--label names classes or targets"),
        ("hmm:poisson --weight weight", 2, "--weight is of a row"),
        ("mle:poisson --columns visits --weight height", 3, "must be finite and not negative"),
        ("mle:poisson --columns visits --label visits", 2, "--label names classes"),
    ],
)
def test_what_is_wrong_is_one_sentence(home, monkeypatch, arguments, code, message):
    monkeypatch.chdir(home)
    made = run("fit", "pets.csv", "--output", "no.npz", "--model", *arguments.split(), code=code)
    assert message in made.stderr.splitlines()[-1]
    assert made.stderr.splitlines()[-1].startswith("likelax: ")
    assert not (home / "no.npz").exists()


def test_texts_that_the_model_does_not_know_are_one_sentence(home, monkeypatch):
    monkeypatch.chdir(home)
    run("fit", "pets.csv", "--model", "naive-bayes:categorical", "--label", "kind", "--columns", "diet", "--output", "d.npz")  # fmt: skip
    (home / "new.csv").write_text("diet,kind\nmeat,cow\nhay,cat\n")
    made = run("predict", "d.npz", "new.csv", code=3)
    assert "'diet' holds 'hay' in row 2, which the model does not know; it knows fish, meat, rice" in made.stderr  # fmt: skip
    (home / "new.csv").write_text("diet,kind\nrice,cow\n,cat\n")
    assert len(run("predict", "d.npz", "new.csv").stdout.splitlines()) == 3
    assert "'kind' holds 'cow' in row 1" in run("score", "d.npz", "new.csv", code=3).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "names", "count"),
    [("hmm:mixed", "sex,height,visits", 2), ("hmm:mixed", "sex,diet", 1), ("mixture:mixed", "sex,height,visits", 1), ("mixture:mixed", "diet", 0)],
)  # fmt: skip
def test_a_page_draws_numbers_not_codes(home, model, names, count):
    run(
        *("fit", home / "pets.csv", "--model", model, "--columns", names, "--holdout", "0.3"),
        *("--restarts", "2", "--output", home / "p.npz", "--states", "2", "--seed", "3"),
    )
    options = ("--report", home / "p.html", "--json")
    made = runner.invoke(cli.app, ["check", str(home / "p.npz"), str(home / "pets.csv"), *map(str, options)])  # fmt: skip
    assert made.exit_code in (0, 1), made.output
    page = (home / "p.html").read_text(encoding="utf-8")
    assert page.count("<picture>") == count
    assert "sex over" not in page and "diet over" not in page
