"""The command line: `likelax fit`, `check`, `decode` and others; `likelax --help` lists them.

Results go to standard output or to the file of `--output`, messages to standard error. The exit codes
are 0; 1 where a number of the tour is wrong or a line of the checklist fails; 2 for bad usage; 3 for
bad data; 4 where no fit is usable, the best one did not converge, or in `batch` some data sets have no
usable fit.
"""

from typing import Annotated

import typer

import likelax
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
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"likelax {likelax.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Fit classical probabilistic models to tables, check them, and use them.

    From a table of counts to a decoded, checked hidden Markov model in three commands:

    likelax fit counts.csv --model hmm:poisson --states 1:4 --holdout 0.2

    likelax check model.npz counts.csv --report report.html

    likelax decode model.npz counts.csv --output states.csv
    """


for _command in (fit, check, decode, predict, score, compare, sample, batch, tour, info):
    app.command()(_command)
