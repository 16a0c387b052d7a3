"""The seal of a checkpoint: a file with the checksum of every other file, in the format of ``sha256sum``.

It is written last. So a folder with a seal that fits is whole, to the last byte, and ``sha256sum -c SHA256SUMS`` in the
folder says the same. Folders of older versions have no seal; of those only the layout is checked.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from adaswitch.last_words import one_line
from adaswitch.storage import sync_tree, write_atomically

SEAL = "SHA256SUMS"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_NEEDED = ("config.json", "trainer_state.pt")


def seal(folder: Path) -> None:
    """Flush all files of ``folder`` to the disk, and then write their checksums."""
    sync_tree(folder)
    lines = [f"{_checksum(path)}  {path.relative_to(folder)}\n" for path in _files(folder)]
    write_atomically(folder / SEAL, "".join(lines).encode())


def is_sealed(folder: Path) -> bool:
    """Whether ``folder`` has a seal, fitting or not."""
    return (folder / SEAL).is_file()


def damage(folder: Path) -> str | None:
    """What is damaged in the checkpoint ``folder``; None if nothing is, as far as its files tell."""
    if not any(_files(folder)):
        return "it is empty"
    try:
        found = _broken_seal(folder) if is_sealed(folder) else _broken_layout(folder)
    except (OSError, ValueError, SafetensorError) as error:
        return one_line(error)
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SEAL)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken_seal(folder: Path) -> str | None:
    lines = (folder / SEAL).read_text(encoding="utf-8").splitlines()
    if not lines:
        return f"{SEAL} is empty"
    for line in lines:
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not name:
            return f"{SEAL} holds a line that is no checksum: {line!r:.60}"
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} is not what was written (its checksum differs)"
    return None


def _broken_layout(folder: Path) -> str | None:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    names = {_WEIGHTS}
    if (folder / _INDEX).is_file():
        names = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    missing += sorted(name for name in names if not (folder / name).is_file())
    if missing:
        return f"{missing[0]} is missing"
    for name in sorted(names):
        try:
            with safe_open(folder / name, framework="numpy"):
                continue
        except (SafetensorError, OSError) as error:
            return f"{name} is damaged ({one_line(error)})"
    return None
