"""Files that last, and what is said if they cannot be written.

Whatever a run must find again is flushed to the disk before it counts: first the file, then the folder that names it.
So after a power failure a file is there as a whole, or is not there.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaswitch.errors import StorageError

PARTIAL = ".partial"
"""The ending of the hidden name that a file or folder has until all of it is on the disk."""

_KNOWN = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota on its disk is used up",
    errno.EFBIG: "it would be larger than files may be (see ulimit -f)",
    errno.EACCES: "it may not be written by this user (permission denied)",
    errno.EPERM: "it may not be written by this user (operation not permitted)",
    errno.EROFS: "its file system is read-only",
    errno.EIO: "its disk is broken (input/output error)",
}
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK)
"""The errors of a network file system that cannot flush a folder, or knows no locks. It does what it can."""
FULL = (errno.ENOSPC, errno.EDQUOT)
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")  # as libraries in Rust write it
_TORCH = re.compile(r"PytorchStreamWriter failed writing|iostream error")  # torch does not keep the number
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to the file ``path``, either whole or not at all. Raises ``StorageError``."""
    partial = partial_of(path)
    with writing(path, len(content)):
        try:
            with partial.open("wb", buffering=0) as file, held(partial):
                _write_all(file.fileno(), content)
                os.fsync(file.fileno())
                os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def partial_of(path: Path) -> Path:
    """The hidden name that ``path`` has while this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the file or folder ``path`` as this process's, which ends with the process at the latest."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, operation: int) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def remove_partials(folder: Path) -> None:
    """Remove what a process left half written in ``folder`` when it ended. What is being written now stays."""
    for path in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            if _is_held(path):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def whole_folder(folder: Path, num_bytes: int | None = None) -> Iterator[Path]:
    """A folder to write into, which becomes ``folder`` at the end of the block, in place of an earlier one.

    If the block raises, nothing is left of it, and an earlier ``folder`` stays as it was. Raises ``StorageError`` if it
    cannot be written. ``num_bytes`` are needed, as far as that is known.
    """
    partial = partial_of(folder)
    with writing(folder, num_bytes):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with held(partial):
                yield partial
                sync_tree(partial)
                _take_place(partial, folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _take_place(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``. An earlier folder of that name is gone only once the new one is there."""
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.earlier{PARTIAL}")
    if folder.is_dir():
        os.replace(folder, earlier)
    try:
        os.replace(new, folder)
    except BaseException:
        if earlier.is_dir():
            os.replace(earlier, folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def append(path: Path, content: bytes) -> None:
    """Add ``content`` at the end of the file ``path``, either whole or not at all. Raises ``StorageError``."""
    with writing(path, len(content)):
        is_new = not path.exists()
        with path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                _write_all(file.fileno(), content)
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):  # the first error is the one to be told
                    file.truncate(end)
                raise
        if is_new:
            sync_folder(path.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_tree(folder: Path) -> None:
    """Flush all files below ``folder``, and the folders that name them."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush the names in ``folder``: what was created, renamed or removed there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn a failure to write ``path`` into a ``StorageError``. ``num_bytes`` are needed, as far as that is known.

    The errors of libraries count too, if a failure to write is behind them. All others pass.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        number = error_number(error, path)
        if number is None:
            raise
        raise StorageError(complaint(path, number, num_bytes)) from error


def error_number(error: BaseException, path: Path | None = None) -> int | None:
    """The number of the operating system's error behind ``error``; None if there is none.

    torch keeps no number if it fails to write a file. Then a disk without room near ``path`` is taken for the cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        # An error far behind may be one that was expected, such as a file that was looked for in vain.
        if isinstance(seen, OSError) and seen.errno is not None and (seen is error or seen.errno in _KNOWN):
            return seen.errno
        if (match := _NUMBER_IN_TEXT.search(str(seen))) is not None:
            return int(match[1])
        if _TORCH.search(str(seen)):
            return errno.ENOSPC if path is None or is_full(path) else errno.EIO
        seen = seen.__cause__ or seen.__context__
    return None


def complaint(path: Path, number: int, num_bytes: int | None = None) -> str:
    """One line about the file ``path`` that cannot be written because of the error ``number``, with the fix."""
    needs = "" if num_bytes is None else f"{_size(num_bytes)} are needed"
    if number in FULL:
        room = ", ".join(part for part in (needs, _room(path)) if part)
        cause = _KNOWN[number] + (f" ({room})" if room else "")
        fix = (
            "free some space there, or take a folder on another disk (runs_dir); trainer.keep_checkpoints and "
            "trainer.save_rollouts say how much a run keeps"
        )
    else:
        cause = _KNOWN.get(number, os.strerror(number).lower())
        fix = "see to that, or take another folder (runs_dir)"
    return f"{path} cannot be written, because {cause}: {fix}"


def is_full(path: Path) -> bool:
    """Whether the disk that holds ``path`` has next to no room, for bytes or for files."""
    room = _statistics(path)
    return room is not None and (room.f_bavail * room.f_frsize < 2**16 or 0 == room.f_favail < room.f_files)


def _room(path: Path) -> str:
    room = _statistics(path)
    if room is None:
        return ""
    if 0 == room.f_favail < room.f_files:
        return "it can hold no more files, however small"
    return f"{_size(room.f_bavail * room.f_frsize)} are free"


def _statistics(path: Path) -> os.statvfs_result | None:
    """The figures of the file system that holds ``path``, which need not exist yet."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return os.statvfs(place)
    return None


def _size(num_bytes: int) -> str:
    """A number of bytes for people."""
    size, unit = float(num_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{num_bytes} bytes"
