"""Files: what was saved comes back, and whatever else is in a file is one clear sentence."""

import os
import pickle
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import Bernoulli, Fixed, Mixture, Normal, fit

MODEL = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.0, 1.0]), jnp.ones(2)))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert jnp.asarray(x).dtype == jnp.asarray(y).dtype
        np.testing.assert_array_equal(np.asarray(x, float), np.asarray(y, float))


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "int32", "int8", "uint32", "bool", "float8_e4m3fn"]
)
def test_every_type_comes_back_as_it_was(dtype, tmp_path):
    tree = {"a": jnp.arange(4).astype(dtype), "b": (jnp.ones((2, 0), dtype), MODEL)}
    fit.save(tmp_path / "tree.npz", tree)
    same(fit.load(tmp_path / "tree.npz", tree), tree)


def test_random_keys_come_back(tmp_path):
    for impl in ("threefry2x32", "rbg"):
        keys = jax.random.split(jax.random.key(3, impl=impl), 2)
        fit.save(tmp_path / "keys.npz", {"keys": jax.random.clone(keys)})
        found = fit.load(tmp_path / "keys.npz", {"keys": ...})["keys"]
        assert found.dtype == keys.dtype
        np.testing.assert_array_equal(jax.random.key_data(found), jax.random.key_data(keys))


def test_numbers_of_64_bits_are_never_cut_in_silence(tmp_path):
    file = tmp_path / "wide.npz"
    with jax.enable_x64(True):
        fit.save(file, {"a": jnp.array(2**40), "b": jnp.array(0.1, float)})
        found = fit.load(file, {"a": jnp.array(0), "b": jnp.array(0.0)})
        assert int(found["a"]) == 2**40 and float(found["b"]) == 0.1
    with pytest.raises(ValueError, match="holds int64, which JAX would cut to 32 bits"):
        fit.load(file, {"a": jnp.array(0), "b": jnp.array(0.0)})
    found = fit.load(file, {"a": ..., "b": ...})
    assert int(found["a"]) == 2**40 and float(found["b"]) == 0.1


def test_another_tree_is_refused(tmp_path):
    file = tmp_path / "model.npz"
    fit.save(file, MODEL)
    for like, message in [
        (Bernoulli(0.5), "wanted"),
        (Fixed(MODEL), "wanted"),
        (jax.tree.map(lambda a: a[:1], MODEL), r"got \(2,\) for \(1,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit.load(file, like)
    fit.save(file, Normal(jnp.array(1), jnp.array(2)))
    with pytest.raises(ValueError, match=r"holds int32 for float32"):
        fit.load(file, Normal(0.0, 1.0))
    fit.save(file, Normal(1.5, 2.0))
    assert float(fit.load(file, Normal(0, 1)).loc) == 1.5  # a start may be written in integers
    with pytest.raises(FileNotFoundError):
        fit.load(tmp_path / "none.npz", MODEL)
    with pytest.raises(FileNotFoundError):
        fit.save(tmp_path / "nowhere" / "model.npz", MODEL)
    with pytest.raises(TypeError, match="must be an array of numbers or a random key; got 'text'"):
        fit.save(file, {"a": "text"})
    assert float(fit.load(file, Normal(0, 1)).loc) == 1.5  # a save that fails changes nothing


def test_whatever_else_is_in_a_file_is_one_sentence(tmp_path):
    whole = tmp_path / "model.npz"
    fit.save(whole, MODEL)
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    cases = [b"", b"text", data[:100], data[:-1], data[len(data) // 2 :], pickle.dumps([1])]
    cases += [data[: rng.integers(len(data))] for _ in range(40)]
    bad = tmp_path / "bad.npz"
    for case in cases:
        bad.write_bytes(case)
        with pytest.raises(ValueError, match=r"is damaged, or was not written by likelax$"):
            fit.load(bad, MODEL)
    np.save(bad.with_suffix(".npy"), np.ones(3))
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    np.savez(tmp_path / "pickled.npz", head=np.array({"a": 1}, object), arr_0=np.ones(1))
    for name in ("bad.npy", "foreign.npz", "pickled.npz"):
        with pytest.raises(ValueError, match=r"is damaged, or was not written by likelax$"):
            fit.load(tmp_path / name, MODEL)
    # a single byte that changed is found by the checksums of the format, or changes nothing
    for at in rng.integers(len(data), size=60):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        try:
            same(fit.load(bad, MODEL), MODEL)
        except ValueError as error:
            assert "load: " in str(error)


def test_a_newer_format_is_named(tmp_path):
    file = tmp_path / "model.npz"
    fit.save(file, MODEL)
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with np.load(file) as arrays:
        head = str(arrays["head"]).replace('"likelax": 1', '"likelax": 9')
        kept = {name: arrays[name] for name in arrays.files if name != "head"}
    np.savez(file, **kept, head=np.array(head))
    assert parts
    with pytest.raises(ValueError, match="has the format 9; this version of likelax reads 1"):
        fit.load(file, MODEL)


def test_mode_and_links_stay_and_nothing_is_left_behind(tmp_path):
    file, link = tmp_path / "model.npz", tmp_path / "link.npz"
    fit.save(file, MODEL)
    assert (file.stat().st_mode & 0o777) == 0o666 & ~_umask()
    file.chmod(0o600)
    link.symlink_to(file)
    fit.save(link, Bernoulli(jnp.array(0.25)))
    assert link.is_symlink()
    assert (file.stat().st_mode & 0o777) == 0o600
    assert float(fit.load(file, Bernoulli(0.5)).probs) == 0.25
    # what a process left that was killed while it wrote goes with the next save
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    (tmp_path / f".model.npz.{int(gone.stdout)}.part").write_bytes(b"half")
    busy = f".model.npz.{os.getppid()}.part"  # of a process that still writes
    (tmp_path / busy).write_bytes(b"half")
    fit.save(file, MODEL)
    assert sorted(p.name for p in tmp_path.iterdir()) == [busy, "link.npz", "model.npz"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_notes_come_back_and_must_be_what_json_holds(tmp_path):
    file = tmp_path / "state.npz"
    fit.save(file, {"a": 1.0}, notes={"columns": ("x", "y"), "share": 0.5, "none": None})
    assert fit.load_notes(file) == {"columns": ["x", "y"], "share": 0.5, "none": None}
    assert fit.load(file, {"a": 0.0})["a"] == 1.0
    fit.save(file, {"a": 1.0})
    assert fit.load_notes(file) == {}
    for wrong in ({"a": {1, 2}}, {"a": float("nan")}, [1], "text"):
        with pytest.raises(TypeError, match="notes must be a dict of what JSON can hold"):
            fit.save(file, {"a": 1.0}, notes=wrong)
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged, or was not written by likelax"):
        fit.load_notes(file)
