"""The options of every command. What a command does is imported when it runs, and JAX with it."""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from likelax.cli.common import Form, settled

Data = Annotated[
    Path,
    typer.Argument(
        help="A .csv, .tsv, .parquet, .npy or .npz file, or - for a CSV from standard input.",
        metavar="DATA",
    ),
]
Model = Annotated[Path, typer.Argument(help="A model that `likelax fit` wrote.", metavar="MODEL")]
Name = Annotated[
    str,
    typer.Option(
        help="The model, such as hmm:poisson, mixture:mixed, mle:gamma, naive-bayes:gaussian, "
        "regression:logistic.",
        metavar="KIND:FAMILY",
    ),
]
Columns = Annotated[
    str,
    typer.Option(
        help="Columns to use, separated by commas; by default all that no other option names."
    ),
]
Tolerance = Annotated[
    float | None, typer.Option(help="Relative rise of the objective at which to stop.", min=0)
]
MaxSteps = Annotated[int, typer.Option(help="Most EM steps of a fit.", min=0, max=10**9)]
Seed = Annotated[int, typer.Option(help="Seed of all that is random.", min=0, max=2**32 - 1)]
Format = Annotated[Form, typer.Option("--format", help="How the table is written.")]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Csv = Annotated[bool, typer.Option("--csv", help="The same as --format csv.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only what is wrong on standard error.")]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, gpu, or the number of a device as `likelax info` counts them."),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Write the table to this .csv or .parquet file, not to standard output."),
]


def _from(module: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that calls the function of its own name in a module of this package.

    That function takes the same parameters, but for those that `settled` takes care of.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**options: Any) -> None:
            with settled(options) as own:
                work = importlib.import_module(f"likelax.cli.{module}")
                getattr(work, command.__name__)(**own)

        return run

    return decorate


@_from("_fit")
def fit(
    data: Data,
    model: Name,
    output: Annotated[Path, typer.Option(help="File of the model.")] = Path("model.npz"),
    states: Annotated[
        str | None,
        typer.Option(
            help="Numbers of components or states to try: 2 (the default), 2,4 or 2:5; lowest BIC "
            "wins."
        ),
    ] = None,
    columns: Columns = "",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="The family of one column, such as age:normal or sex:categorical; may be given "
            "more than once.",
            metavar="NAME:FAMILY",
        ),
    ] = None,
    infer: Annotated[
        bool, typer.Option(help="Infer the families that --model and --column leave open.")
    ] = True,
    label: Annotated[
        str | None, typer.Option(help="Column of the classes of naive-bayes, or of the target.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column that says which series a row belongs to.")
    ] = None,
    weight: Annotated[str | None, typer.Option(help="Column of the weights of rows.")] = None,
    holdout: Annotated[
        float, typer.Option(help="Share of the data to leave out, for `likelax check`.")
    ] = 0.0,
    restarts: Annotated[int, typer.Option(help="Starts for each size.", min=1, max=10**5)] = 20,
    seed: Seed = 0,
    tol: Tolerance = None,
    max_steps: MaxSteps = 1000,
    form: Format = Form.TABLE,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Fit a model to a table of numbers, by EM from many starts, and write it to a file.

    Prints a row for each number of states, and the parameters of the best. Rows are independent for
    a mixture, and the steps of a series for a hidden Markov model (hmm). Empty cells are missing.

    For example: likelax fit counts.csv --model hmm:poisson --states 2:5 --holdout 0.2

    A classifier: likelax fit birds.csv --model naive-bayes:mixed --label species

    The families of mle, mixture and hmm: normal, diagonal, bernoulli, poisson, exponential, gamma,
    beta, geometric, inverse-gamma, laplace, log-normal, student-t, von-mises, weibull, categorical,
    mixed. Of naive-bayes: gaussian, bernoulli, multinomial, categorical, mixed. Of regression:
    normal, logistic, softmax, poisson, negative-binomial.

    Exits with 2 for bad usage, 3 for bad data, and 4 if no fit is usable or the best did not converge.
    """


@_from("_use")
def check(
    model: Model,
    data: Data,
    train: Annotated[
        Path | None,
        typer.Option(help="What the model was fitted to; DATA is then all held out."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with the checklist and figures: .html.")
    ] = None,
    seed: Seed = 0,
    form: Format = Form.TABLE,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Test six claims about a fitted model: the checklist.

    DATA is the file that the model was fitted to with --holdout, and is divided as it was then; or it
    is data that the fit did not see, with --train.

    For example: likelax check model.npz counts.csv --report report.html

    Exits with 1 if a line fails, 2 for bad usage, 3 for bad data.
    """


@_from("_use")
def compare(
    models: Annotated[
        list[Path],
        typer.Argument(help="Two or more models that `likelax fit` wrote.", metavar="MODEL"),
    ],
    data: Annotated[
        Path, typer.Argument(help="A file of data that no fit has seen.", metavar="DATA")
    ],
    form: Format = Form.TABLE,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Compare models by the log probability of held-out data, best first, with standard errors.

    For example: likelax compare two.npz three.npz later.csv

    Exits with 2 for bad usage, 3 for bad data.
    """


@_from("_use")
def decode(
    model: Model,
    data: Data,
    output: Output = None,
    form: Format = Form.CSV,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Write the most probable path of states of a series, and the probability of each state.

    The table has a row for each row of DATA, in the same order.

    For example: likelax decode model.npz counts.csv --output states.csv

    Exits with 2 for bad usage, 3 for bad data.
    """


@_from("_use")
def predict(
    model: Model,
    data: Data,
    output: Output = None,
    form: Format = Form.CSV,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Write the most probable class, component or state of each row, and the probability of each.

    For a regression of numbers it is the mean of the target. The table has a row for each row of DATA,
    in the same order.

    For example: likelax predict model.npz new.csv --output classes.csv

    Exits with 2 for bad usage, 3 for bad data.
    """


@_from("_use")
def score(
    model: Model,
    data: Data,
    form: Format = Form.TABLE,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Print the log probability of data, in total and a row, and the BIC.

    The BIC is that of these data, as if the model had been fitted to them. Where the data have the
    classes of a classifier, the share that is predicted right is printed too.

    For example: likelax score model.npz later.csv

    Exits with 2 for bad usage, 3 for bad data.
    """


@_from("_use")
def sample(
    model: Model,
    count: Annotated[int, typer.Option(help="Rows, or steps of a series.", min=1, max=10**7)] = 100,
    seed: Seed = 0,
    output: Output = None,
    form: Format = Form.CSV,
    as_json: Json = False,
    as_csv: Csv = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Draw rows, or one series, from a model.

    For example: likelax sample model.npz --count 1000 --seed 1 --output drawn.csv

    Exits with 2 for bad usage, 3 for bad data.
    """


@_from("_batch")
def batch(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder of .npy and .csv files, or a .csv or .parquet table.", metavar="DATA"
        ),
    ],
    model: Name,
    output: Annotated[
        Path, typer.Option(help="Table of results: .csv, or .parquet with pyarrow.")
    ] = Path("batch.csv"),
    group: Annotated[
        str | None,
        typer.Option(help="Column of the table that says which data set a row belongs to."),
    ] = None,
    columns: Columns = "",
    states: Annotated[
        str | None,
        typer.Option(help="Numbers of components or states to try: 2 (the default), 2,4 or 2:5."),
    ] = None,
    restarts: Annotated[
        int, typer.Option(help="Starts for each data set and size.", min=1, max=10**5)
    ] = 5,
    seed: Seed = 0,
    tol: Tolerance = None,
    max_steps: MaxSteps = 1000,
    resume: Annotated[
        bool,
        typer.Option(
            help="Keep the state of the run beside OUTPUT, and go on from it if it exists."
        ),
    ] = False,
    all_devices: Annotated[
        bool, typer.Option(help="Deal the data sets to all devices that JAX finds.")
    ] = False,
    device: Device = None,
    is_quiet: Quiet = False,
) -> None:
    """Fit one model to each of many data sets.

    Writes a table with a row for each data set and size: the status and log likelihood of its best
    start, its BIC, and the parameters. `chosen` marks the size of lowest BIC.

    For example: likelax batch spikes.csv --group neuron --model hmm:poisson --states 2:4

    Exits with 2 for bad usage, 3 for bad data, and 4 if some data sets have no usable fit.
    """


@_from("_tour")
def tour(
    chapter: Annotated[
        list[str] | None,
        typer.Option(help="Only this chapter; may be given more than once.", metavar="NAME"),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for the figures and the page.", metavar="FOLDER")
    ] = Path("tour"),
) -> None:
    """Walk through thirteen chapters on real data and check every number.

    For example: likelax tour --chapter viterbi --output tour

    Exits with 1 if a number is wrong, and with 2 for a chapter that does not exist.
    """


@_from("_info")
def info() -> None:
    """Print the versions and devices in use, as a report of a fault should say them.

    For example: likelax info > versions.txt
    """
