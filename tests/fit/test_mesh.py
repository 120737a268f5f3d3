"""Fits on eight virtual devices are those on one, and only statistics cross between devices."""

import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import fit, statistics
from likelax.families.registry import FAMILIES
from likelax.fit.batch_run import deal

HERE = pathlib.Path(__file__).parent
# Largest relative difference between the fit on eight devices and that on one, in float32.
TOLERANCE = 2e-4


def look(tmp_path_factory, some):
    """What `on_devices.py` found, in a process with eight devices."""
    out = tmp_path_factory.mktemp("devices") / "found.json"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    command = [sys.executable, HERE / "on_devices.py", out, some]
    subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, check=True)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return look(tmp_path_factory, "few")


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return look(tmp_path_factory, "all")


def check(found):
    for name, case in found["cases"].items():
        assert case["apart"] < TOLERANCE, name
        assert case["status"][0] == case["status"][1], name
        allowed = case["statistics"] + case["parameters"]
        assert set(case["moved"]) == {"all-reduce"}, name
        assert sum(case["moved"].values()) <= allowed < case["data"], name
    for name, case in found["ascents"].items():
        assert max(case["apart"], case["gradient"]) < TOLERANCE, name
        assert set(case["moved"]) == {"all-reduce"}, name
        assert sum(case["moved"].values()) <= case["parameters"] + 16, name
    for name, case in found["batches"].items():
        assert case["apart"] < TOLERANCE, name
        assert case["status"][0] == case["status"][1], name
        assert case["told"] == [case["count"]] * 2, name
        if "empty" in name:
            assert case["status"][1][6:8] == [3, 3], name  # NON_FINITE
            assert case["status"][1][14:16] == [5, 5], name  # NO_DATA
    for name, case in found["long"].items():
        assert max(case["apart"], case["smoother"], case["gradient"]) < TOLERANCE, name
        sent = case["moved"]
        assert set(sent) == {"all-reduce", "all-gather"}, name
        # with starts also one row of the matrix, and where the first of them is
        extra = 8 * 4 * 4 if "several" in name else 0
        assert sent["all-gather"] <= case["matrices"] + extra, name
        assert sent["all-reduce"] <= case["others"] < case["data"], name
    placed = found["placed"]
    assert "split them over all axes" in placed.pop("part of the axes")
    assert max(placed.values()) < TOLERANCE


def test_fits_over_devices_are_those_on_one_and_move_statistics_only(few):
    assert len(few["cases"]) == 2
    check(few)


@pytest.mark.slow
def test_every_kind_of_fit_over_devices_is_that_on_one(everything):
    assert (len(everything["cases"]), len(everything["batches"])) == (10, 6)
    check(everything)
    same = "labelled", "streamed", "accelerated", "cut anywhere"
    assert max(everything[name] for name in same) < TOLERANCE
    assert len(everything["long"]) == 4
    assert everything["guided"]["apart"] < 1e-3  # the draws of one step
    assert max(everything["guided"]["off"]) < 0.05


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one observation", "got a single observation of Mixture"),
        ("driven", "these vary over time. A batch of sequences can be split"),
        ("many", "mesh splits the steps of one sequence (T, *event)"),
        ("no mesh", "mesh must be a jax.sharding.Mesh"),
        ("traced", "call it outside of jax.jit"),
        ("NaN", "x holds NaN, first at index (1,)"),
    ],
)
def test_what_a_mesh_cannot_do_is_one_clear_sentence(few, name, words):
    assert words in few["refused"][name]


@pytest.mark.slow
def test_two_processes_fit_together(tmp_path):
    file = HERE / "two_processes.py"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    command, env = [sys.executable, file, str(port)], os.environ | {"XLA_FLAGS": flags}
    both = [subprocess.Popen([*command, str(i), tmp_path], env=env) for i in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    given = runpy.run_path(file)
    x, model = given["rows_of_all"](), given["normals"]()
    options = {"key": jax.random.key(0), "num_restarts": 2}
    fits = fit.batch(fit.EM(), given["start"], given["many"](), **options).fits
    one, part = (fit.em(model, rows, max_steps=2) for rows in (x, x[:399]))
    want = (one, part, fits, fits)
    for i in range(2):
        got = fit.load(tmp_path / f"found{i}.npz", want)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, TOLERANCE), got, want)


@pytest.mark.parametrize(
    ("sets", "restarts", "count"), [(7, 2, 3), (3, 5, 8), (1, 4, 8), (9, 1, 3)]
)
def test_every_fit_is_dealt_once_and_no_device_has_more(sets, restarts, count):
    dealt = deal(sets, restarts, count)
    assert sorted(dealt.fits[dealt.first]) == list(range(sets * restarts))
    per_entry = len(dealt.fits) // len(dealt.sets)
    np.testing.assert_array_equal(np.repeat(dealt.sets, per_entry), dealt.fits // restarts)
    assert len(dealt.fits) % count == 0
    assert len(dealt.fits) // count <= -(-sets * restarts // count) + per_entry * restarts


# One family for each kind of statistics.
KINDS = ("Bernoulli", "Categorical", "Gamma", "Normal", "Pareto", "Poisson", "Uniform", "VonMises")


@pytest.mark.parametrize("name", KINDS)
def test_merged_statistics_are_those_of_all_data(name, x64):
    model = next(entry.example() for entry in FAMILIES if entry.name == name)
    x = model.sample(jax.random.key(0), (20,))
    shares = jnp.ones(20).at[4:8].set(0.0)  # the second part has no weight

    @jax.jit
    def of_parts(x, shares):
        def one(x, shares):
            return statistics.merge(model.e_step(x, shares)[0], "parts")

        return jax.vmap(one, axis_name="parts")(x.reshape(5, 4), shares.reshape(5, 4))

    merged, whole = of_parts(x, shares), jax.jit(model.e_step)(x, shares)[0]
    jax.tree.map(
        lambda many, one: (
            np.testing.assert_allclose(many, np.full(5, one), 1e-9, 1e-12)
            if np.ndim(one) == 0
            else np.testing.assert_allclose(many[3], one, 1e-9, 1e-12)
        ),
        merged,
        whole,
    )
