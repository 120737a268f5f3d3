"""The device that a command works on."""

from typing import Any

import jax


def on(name: str) -> Any:
    """A context in which arrays are made, and programs run, on a device.

    Args:
      name: "cpu", "gpu" or "tpu" for the first of that platform, or the place of a device among all
        that JAX finds.
    Raises:
      ValueError: for another name, or a device that there is not.
    """
    devices = jax.devices()
    try:
        device = devices[int(name)] if name.isdecimal() else jax.devices(name)[0]
    except (IndexError, RuntimeError):
        found = ", ".join(f"{i} {device.platform}" for i, device in enumerate(devices))
        raise ValueError(
            f"--device {name!r}: wanted cpu, gpu or a number; JAX finds {found}"
        ) from None
    return jax.default_device(device)
