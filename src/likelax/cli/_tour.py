"""`likelax tour`: thirteen chapters on real data, with every number checked."""

import time
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from likelax import tour as guide
from likelax.cli import common, tables


def tour(chapter: list[str] | None, output: Path) -> None:
    """Run the chapters, print their numbers, and write the page."""
    with common.sentences(common.BAD_USAGE):
        chapters = guide.find(chapter or [])
        if output.exists() and not output.is_dir():
            raise ValueError(f"{output} is no folder")
    began = time.perf_counter()
    console = Console()
    bar = tables.bar(console)
    stops = []
    with bar:
        task = bar.add_task("Walking", total=len(chapters))
        for stop in guide.walk(chapters):
            stops.append(stop)
            bar.update(task, advance=1, description=f"Done: {stop.chapter.name}")
        stops.sort()
        bar.update(task, description="Drawing")
        with common.sentences(common.BAD_USAGE):
            page = guide.write_page(stops, output)
    for stop in stops:
        console.print(_table(stop))
    checks = [check for stop in stops for check in stop.findings.checks]
    wrong = [check for check in checks if not check.ok]
    console.print(
        f"{len(checks) - len(wrong)} of {len(checks)} numbers are right, "
        f"in {time.perf_counter() - began:.0f} s. Figures and a page: {page}"
    )
    if wrong:
        raise typer.Exit(1)


def _table(stop: guide.Stop) -> Table:
    table = Table(
        title=f"{stop.number}. {stop.chapter.title}  [dim]({stop.chapter.name})[/dim]",
        title_justify="left",
        title_style="bold",
        expand=True,
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    table.add_column("Quantity", ratio=5)
    table.add_column("Expected", ratio=4)
    table.add_column("Ours", ratio=4)
    table.add_column("Expected by", ratio=4, style="dim")
    table.add_column("", width=5)
    for check in stop.findings.checks:
        mark = "[green]right[/green]" if check.ok else "[bold red]WRONG[/bold red]"
        table.add_row(check.what, *check.shown(), check.source, mark)
    table.add_section()
    return table
