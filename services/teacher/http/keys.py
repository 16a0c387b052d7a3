"""The bearer keys that the service takes, from the environment and from a file that may change while it runs."""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from adaswitch.errors import ConfigError


class KeyRing:
    """The keys that clients may use: some fixed keys, and the keys of a file. If there are none, no key is needed."""

    def __init__(self, keys: Sequence[str] = (), file: str | None = None) -> None:
        """Raises ``ConfigError`` for a file that cannot be read or holds no key."""
        self._fixed = list(keys)
        self._file = file
        self._digests: list[bytes] = []
        self.reload()

    def __bool__(self) -> bool:
        """Whether clients need a key."""
        return bool(self._digests)

    def reload(self) -> int:
        """Read the file again, and return the number of keys. If it raises ``ConfigError``, the old keys stay."""
        keys = [*self._fixed, *(_read(self._file) if self._file is not None else [])]
        self._digests = [_digest(key.encode()) for key in keys]
        return len(self._digests)

    def accepts(self, given: bytes) -> bool:
        """Whether ``given`` is one of the keys. The time that this takes reveals nothing about the keys."""
        digest = _digest(given)
        # All keys are compared, by their digests, so that the time shows neither a key's length nor its place.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _read(file: str) -> list[str]:
    """The keys in ``file``, one a line. Blank lines, and lines that begin with #, are skipped."""
    try:
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"api_keys_file: cannot read {file}: {reason}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"api_keys_file: {file} holds no key: write one a line, or leave the setting out")
    return keys


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
