"""What can be known to be wrong with a comparison before its first cell starts: models and data of all of them."""

from collections.abc import Sequence

from adaswitch.config import RunConfig, needs_reference
from adaswitch.io.preflight import load_run_data
from experiments.plan import Cell
from experiments.runner import is_complete
from experiments.work import Training


def require_data(cells: Sequence[Cell]) -> None:
    """Raises ``UserError`` for the first model, file, record or length that does not fit.

    Cells that are complete are left out, and those that differ in their method alone are looked at once.
    """
    seen: set[str] = set()
    for cell in cells:
        key = _what_is_read(cell.config)
        if key not in seen and not is_complete(Training(cell)):
            load_run_data(cell.config)
        seen.add(key)


def _what_is_read(config: RunConfig) -> str:
    serve = "" if config.teacher.serve is None else config.teacher.serve.model_dump_json()
    parts = (config.task.model_dump_json(), config.student.model_dump_json(), serve)
    return " ".join([*parts, str(needs_reference(config.policy))])
