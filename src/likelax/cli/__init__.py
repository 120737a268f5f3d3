"""The command line: `likelax fit`, `check`, `decode` and others; `likelax --help` lists them.

Results go to standard output or to the file of `--output`, messages to standard error. The exit codes
are 0; 1 where a number of the tour is wrong or a line of the checklist fails; 2 for bad usage; 3 for
bad data; 4 where no fit is usable, the best one did not converge, or in `batch` some data sets have no
usable fit.
"""

import typer

from likelax.cli.commands import (
    batch,
    check,
    compare,
    decode,
    fit,
    info,
    predict,
    sample,
    score,
    tour,
)

__all__ = ["app"]

app = typer.Typer(
    help="Classical probabilistic models in JAX.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Classical probabilistic models in JAX."""


for _command in (fit, check, compare, decode, predict, score, sample, batch, tour, info):
    app.command()(_command)
