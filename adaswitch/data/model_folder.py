"""Checks that a model is there, in a folder, in the hub's cache or on the hub, and reads the files of its folder.

Without these checks, a misspelt name is looked for on the hub, which takes a minute if the hub is unreachable.
"""

import json
import os
from pathlib import Path
from typing import Any

from adaswitch.data.hub import check_hub_model
from adaswitch.errors import ModelError

STUDENT, TEACHER = "student.model", "teacher.serve.model"
"""The settings that name a run's models."""
ADAPTER = "adapter_config.json"
LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)
"""The names under which a config may say how long a sequence may be, the most common first."""


def check_model_folder(model: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` for a path that is no model folder, and for a name that the hub lacks.

    ``owner/name`` may be a model of the hub, unless the owner is ``models``, which is our own folder of models. A
    folder with an adapter is refused: the adapter's weights would count in one library and not in another.
    """
    if os.path.isdir(model):
        if os.path.isfile(os.path.join(model, ADAPTER)):
            raise ModelError(
                f"{setting}: {model!r} holds an adapter ({ADAPTER}) and not a whole model: merge it into the model "
                "that it was trained on, as with merge_and_unload() of peft, and give the folder with the result"
            )
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise ModelError(f"{setting}: {model!r} has no config.json; give a Hugging Face model folder")
    elif model.startswith((".", "/", "~", "models/")) or model.count("/") != 1:
        raise ModelError(
            f"{setting}: there is no folder {model!r}; give a Hugging Face model folder, or a model of the hub as "
            "owner/name"
        )
    else:
        check_hub_model(model, setting)


def read_json(model: str, name: str, setting: str) -> dict[str, Any]:
    """The object in the file ``name`` of the model folder or hub model; empty if there is no such file.

    Raises ``ModelError`` with ``setting`` and the file if it cannot be read, or holds anything but an object.
    """
    path = find_file(model, name)
    if path is None:
        return {}
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{setting}: {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{setting}: {path}: not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise ModelError(f"{setting}: {path}: must hold a JSON object, and holds a {type(document).__name__}")
    return document


def find_file(model: str, name: str) -> Path | None:
    """The file ``name`` of a model folder, or of a hub model on this machine; None if there is none."""
    if os.path.isdir(model):
        path = Path(model) / name
        return path if path.is_file() else None
    # Imported here, because it takes seconds, and most models are folders.
    from transformers.utils.hub import cached_file

    found = cached_file(
        model,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
