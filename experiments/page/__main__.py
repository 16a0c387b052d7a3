"""``python -m experiments.page``, or ``adaswitch page`` on the folder of a comparison: writes its page."""

from pathlib import Path
from typing import Annotated

import typer

from adaswitch.processes.entry import one_line_errors


def main(
    folder: Annotated[Path, typer.Argument(help="The folder of a comparison, as in runs/demo-warm.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default page.html in the folder.")
    ] = None,
) -> None:
    """Write a comparison as one HTML file: tables, curves, costs, rollouts by method. Needs no network."""
    with one_line_errors():
        from rich.console import Console

        from experiments.needs import require_packages

        require_packages()
        from adaswitch.commands.page import say_written
        from experiments.page.writing import write_comparison_page

        console = Console()
        with console.status("reading the comparison") as status:
            written = write_comparison_page(folder, out, status.update)
        say_written(written.file, written.num_bytes, written.problems, console)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog="Example: adaswitch page runs/demo-warm")(main)
    app(prog_name="adaswitch page")
