"""The tables of a comparison on the screen, as it ends."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.page.marks import tables_of

ANY_WIDTH = 1000
"""Where there is no terminal, a table is as wide as it needs."""


def print_tables(document: Mapping[str, Any], console: Console) -> None:
    """Print the marks of ``document``, which ``as_json`` made: a table for each time at which they are compared."""
    content = tables_of(document)
    if not console.is_terminal:
        console = Console(file=console.file, width=ANY_WIDTH)
    for table in content["tables"]:
        console.print(Text(f"\n{table['head']}:", style="bold"))
        console.print(_marks(table, document["reference"]))
        if table["note"]:
            console.print(Text(table["note"]), soft_wrap=True)
    console.print(Text(content["meaning"]), soft_wrap=True)


def _marks(table: Mapping[str, Any], reference: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold cyan")
    shown.add_column("method")
    for column in table["columns"]:
        shown.add_column(Text(column), no_wrap=True)
        shown.add_column(Text(f"minus {reference}"), no_wrap=True)
    for row in table["rows"]:
        cells = [Text(row["method"])]
        for cell in row["cells"]:
            difference = cell["difference"] if cell else None
            cells.append(Text(cell["mean"] if cell else ""))
            cells.append(
                Text("")
                if difference is None
                else Text(difference["text"], style="bold" if difference["clear"] else "")
            )
        shown.add_row(*cells)
    return shown
