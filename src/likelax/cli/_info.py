"""`likelax info`: what a report of a fault should say."""

import platform
from importlib import metadata

import jax
from rich.console import Console
from rich.table import Table


def info() -> None:
    """Print the versions and devices in use, as a report of a fault should say them."""
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name in ("likelax", "jax", "jaxlib", "optax", "numpy"):
        try:
            table.add_row(name, metadata.version(name))
        except metadata.PackageNotFoundError:  # imported from a folder
            table.add_row(name, "not installed")
    table.add_row("python", f"{platform.python_version()}, {platform.platform()}")
    devices = jax.devices()
    kinds = sorted({device.device_kind for device in devices})
    table.add_row("devices", f"{len(devices)}, {', '.join(kinds)} ({devices[0].platform})")
    table.add_row("numbers", "64 bits" if jax.config.read("jax_enable_x64") else "32 bits")
    Console().print(table)
