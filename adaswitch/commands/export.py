"""``adaswitch export``: a run's trained model into a folder, onto the hub, or as a GGUF file."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, EnvironmentProblem
from adaswitch.export.folder import write_model
from adaswitch.export.gguf import convert, find_converter
from adaswitch.export.push import check_repository, make_repository, push_folder
from adaswitch.runs.chosen import Chosen, choose_checkpoint
from adaswitch.runs.directory import RunDirectory
from adaswitch.storage import held, partial_of, writing

Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for. At least one of ``to`` and ``push`` is given."""

    run: Path
    to: Path | None = None
    """The folder that the model goes into, which must not exist, or be empty."""
    push: str | None = None
    """The repository on the hub, ``ORG/NAME``."""
    private: bool = False
    """Whether a repository that is made is private."""
    step: int | None = None
    gguf: bool = False
    """Whether a GGUF file is written beside the weights."""

    def __post_init__(self) -> None:
        if self.to is None and self.push is None:
            raise ConfigError("export: say where to: --to DIR, --push ORG/NAME, or both")
        if self.private and self.push is None:
            raise ConfigError("--private is for --push: leave it out")


def export_model(request: ExportRequest, say: Say) -> None:
    """Carry out ``request``. ``say`` gets lines for people.

    All that can be checked is checked first. Raises ``UserError`` for a run without a whole checkpoint, a folder that
    is taken, a converter that is not installed, and a hub that does not answer or refuses.
    """
    run = RunDirectory.open(request.run)
    config, chosen = run.settings(), choose_checkpoint(run, request.step)
    if request.to is not None:
        _require_free(request.to)
    converter = find_converter() if request.gguf else None
    if request.push is not None:
        check_repository(request.push)
        make_repository(request.push, request.private)
    for note in chosen.notes:
        say(f"note: {note}")
    with _model_folder(run, config, chosen, request.to) as folder:
        if request.to is not None:
            say(f"the model after {chosen.step} steps is in {request.to}")
        if converter is not None:
            say("converting to GGUF (seconds for a small model, minutes for a large one)")
            file = folder / f"{config.name}.gguf"
            convert(converter, folder, file)
            say(f"the GGUF file is {file.name}, {file.stat().st_size / 2**20:,.1f} MiB")
        if request.push is not None:
            say(f"uploading to {request.push}")
            message = f"{config.name} after {chosen.step} steps, by AdaSwitch"
            say(f"the model is at {push_folder(folder, request.push, message)}")


@contextmanager
def _model_folder(run: RunDirectory, config: RunConfig, chosen: Chosen, to: Path | None) -> Iterator[Path]:
    """The folder with the model: ``to``, or one in the run directory that is gone after the block."""
    if to is not None:
        write_model(run, config, chosen.step, to)
        yield to
        return
    place = partial_of(run.path / "export")
    with writing(place):
        place.mkdir(exist_ok=True)
    try:
        with held(place):
            write_model(run, config, chosen.step, place / config.name)
            yield place / config.name
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _require_free(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise EnvironmentProblem(
            f"--to {folder}: it is there already: name a folder that is not, or remove it"
        )
