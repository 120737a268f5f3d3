"""The forms of the engine: chains as small as the tests' are given the smallest program."""

import jax
import pytest

from likelax._chains import dispatch, products


@pytest.fixture(scope="module", params=["small program", "large program", "products"])
def every_program(request):
    """The test runs with the one exact recursion, with the certified one, and with an accelerator's."""
    if request.param == "small program":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "_SMALL", 0)
        patch.setattr(dispatch, "_MEDIUM", 0)
        if request.param == "products":
            patch.setattr(jax.lax, "platform_dependent", lambda *a, cpu, default: default(*a))
            patch.setattr(products, "_STEPS", 2)
            patch.setattr(products, "_LEAST_BLOCKS", 2)
        jax.clear_caches()  # what was compiled by the other choice
        yield
        jax.clear_caches()


@pytest.fixture
def large_program(monkeypatch):
    """The certified program whatever the size; what the test patches is not compiled before."""
    monkeypatch.setattr(dispatch, "_SMALL", 0)
    monkeypatch.setattr(dispatch, "_MEDIUM", 0)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture
def small_blocks(monkeypatch):
    """Products of two steps, in chains of four steps or more."""
    monkeypatch.setattr(products, "_STEPS", 2)
    monkeypatch.setattr(products, "_STEPS_MANY_STATES", 2)
    monkeypatch.setattr(products, "_LEAST_BLOCKS", 2)
    jax.clear_caches()
    yield
    jax.clear_caches()
