"""The style of all plots: colours, fonts and lines, for light and for dark pages."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

# Hues that colour-blind readers can distinguish; the dark set has the same hues, lighter.
_LIGHT = ("#2461c2", "#d2601a", "#1f8a66", "#8b4fc0", "#a87c00")
_DARK = ("#82b1ff", "#ff9f68", "#62d0a4", "#cba4ff", "#e6c34f")


def _style(dark: bool) -> Any:
    ink, soft, line, page = (
        ("#e6eaf1", "#a5b0c0", "#313b49", "#12161d")
        if dark
        else ("#1b2330", "#556070", "#e1e6ee", "#ffffff")
    )
    return {
        "figure.facecolor": page,
        "savefig.facecolor": page,
        "axes.facecolor": page,
        "axes.edgecolor": soft,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.labelsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=_DARK if dark else _LIGHT),
        "grid.color": line,
        "grid.linewidth": 0.8,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "text.color": ink,
        "font.size": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
    }


def figure(
    draw: Callable[[Figure], object],
    *,
    size: tuple[float, float] = (7.2, 3.6),
    dark: bool = False,
) -> Figure:
    """Make a figure in the style of this package, filled by `draw`.

    Args:
      draw: takes the empty figure; makes its axes with `figure.subplots`.
      size: width and height, inches.
      dark: for a dark page.
    Returns:
      The figure, laid out so that no label is cut.

    Examples:
      >>> fig = figure(lambda f: f.subplots().plot([1, 2]))
      >>> png(fig)[:4]
      b'\\x89PNG'
    """
    with matplotlib.rc_context(_style(dark)):
        made = Figure(figsize=size, layout="constrained")
        draw(made)
        made.draw_without_rendering()
    return made


def png(made: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file.

    Args:
      made: of `figure`.
      dpi: dots per inch.

    Examples:
      >>> png(figure(lambda f: f.subplots()), dpi=50)[1:4]
      b'PNG'
    """
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def colors() -> list[str]:
    """The colours of the current style, in the order in which series use them.

    Examples:
      >>> len(colors()) >= 5
      True
    """
    return matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]


def ink() -> str:
    """The colour of text in the current style.

    Examples:
      >>> figure(lambda f: print(ink()))
      #1b2330
      <Figure size 720x360 with 0 Axes>
    """
    return matplotlib.rcParams["text.color"]


def soft() -> str:
    """The colour of axes and of secondary elements in the current style.

    Examples:
      >>> figure(lambda f: print(soft()))
      #556070
      <Figure size 720x360 with 0 Axes>
    """
    return matplotlib.rcParams["axes.edgecolor"]


def halo() -> withStroke:
    """A path effect that keeps a label readable in front of a line.

    Examples:
      >>> type(halo()).__name__
      'withStroke'
    """
    return withStroke(linewidth=3, foreground=matplotlib.rcParams["axes.facecolor"])
