"""What a run computes with beside its settings: the contents of its data and of its models' folders.

A setting names a file or a folder, whose contents may be others when the run goes on. ``inputs.json`` keeps a
fingerprint of each from the first attempt on.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig
from adaswitch.data.weights import weights_sha256
from adaswitch.errors import ConfigError
from adaswitch.runs.directory import RunDirectory
from adaswitch.storage import write_atomically

if TYPE_CHECKING:
    from adaswitch.data.preflight import RunData

SHOWN = 12
"""The number of hexadecimal digits of a checksum that are kept."""


def inputs_of(config: RunConfig, data: "RunData") -> dict[str, str]:
    """The inputs of a run by what they are, each with its fingerprint. What is not on this machine is left out."""
    found = {"the training data": _prompts([*data.train_prompts, *data.train_references])}
    if data.eval_prompts:
        references = [tuple(example.reference.encode()) for example in data.eval_examples]
        found["the held-out data"] = _prompts([*data.eval_prompts, *references])
    models = {"the weights of student.model": config.student.model}
    if config.teacher.serve is not None:
        models["the weights of teacher.serve.model"] = config.teacher.serve.model
    checksums = {name: weights_sha256(model) for name, model in models.items()}
    return found | {name: _shown(checksum) for name, checksum in checksums.items() if checksum is not None}


def _prompts(sequences: Iterable[Sequence[int]]) -> str:
    digest, number = hashlib.sha256(), 0
    for token_ids in sequences:
        digest.update(len(token_ids).to_bytes(8, "little"))
        digest.update(array("q", token_ids).tobytes())
        number += 1
    return f"{number} texts, {_shown(digest.hexdigest())}"


def _shown(checksum: str) -> str:
    return f"sha256 {checksum[:SHOWN]}"


def require_same_inputs(run: RunDirectory, inputs: Mapping[str, str]) -> None:
    """Raises ``ConfigError`` for inputs that are not those that ``run`` was begun with, if it has done anything."""
    if not run.has_records():
        return
    kept = _kept(run)
    changed = [
        f"{name} (was {kept[name]}, now {now})" for name, now in inputs.items() if kept.get(name, now) != now
    ]
    if changed:
        raise ConfigError(
            f"{run.path} was begun with other contents of what its settings name: {', '.join(changed)}: put back what "
            "was there, or begin another run, with --new-name or another name"
        )


def keep_inputs(run: RunDirectory, inputs: Mapping[str, str]) -> None:
    """Keep ``inputs`` in the run directory, beside those that only an earlier attempt knew. Raises ``StorageError``."""
    kept = _kept(run) if run.has_records() else {}
    if kept | dict(inputs) != kept:
        write_atomically(run.inputs, (json.dumps(kept | dict(inputs), indent=2) + "\n").encode())


def _kept(run: RunDirectory) -> dict[str, str]:
    """The inputs on record; none in a run of an older version, and of a file that is damaged."""
    try:
        document = json.loads(run.inputs.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
