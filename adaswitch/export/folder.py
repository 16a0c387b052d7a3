"""The trained model as a folder of its own: a checkpoint without what only resuming needs, and with a model card."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.data.model_folder import read_json
from adaswitch.export.card import model_card
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.seal import SEAL
from adaswitch.storage import whole_folder

TRAINER_STATE = "trainer_state"
"""How the names of the files begin that hold the optimizer's state."""
GENERATION_CONFIG = "generation_config.json"
CARD = "README.md"


def write_model(run: RunDirectory, config: RunConfig, step: int, target: Path) -> None:
    """Write the model of ``run`` after ``step`` updates into the folder ``target``, whole or not at all.

    ``target`` holds copies: a link would let a change of it damage the checkpoint. An earlier ``target`` is replaced.
    Raises ``StorageError`` if it cannot be written, and ``UserError`` for files of the run that cannot be read.
    """
    source = run.checkpoint(step)
    num_bytes = sum(path.stat().st_size for path in _model_files(source))
    with whole_folder(target, num_bytes) as folder:
        for path in _model_files(source):
            copy = folder / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        _name_stop_tokens(folder, config.student.stop_token_ids)
        (folder / CARD).write_text(model_card(run, config, step, folder), encoding="utf-8")


def _model_files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that are not for resuming alone."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    return [path for path in files if path.name != SEAL and not path.name.startswith(TRAINER_STATE)]


def _name_stop_tokens(folder: Path, stop_token_ids: Sequence[int] | None) -> None:
    """Let generation_config.json name all tokens that ended a completion in the run, so that others stop there too.

    A file that names them already stays as it is, byte for byte.
    """
    path = folder / GENERATION_CONFIG
    model = read_json(str(folder), "config.json", "the checkpoint")
    document = read_json(str(folder), GENERATION_CONFIG, "the checkpoint")
    named = document.get("eos_token_id")
    known = set(named) if isinstance(named, list) else {named}
    wanted = list(stop_token_ids or [])
    if path.is_file() and (not wanted or known == set(wanted)):
        return
    if not path.is_file():
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        document = {name: model[name] for name in names if model.get(name) is not None}
    if wanted:
        document["eos_token_id"] = wanted if len(wanted) > 1 else wanted[0]
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
