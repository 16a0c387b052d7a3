"""The bearer keys that the service takes, from the environment and from a file that may change while it runs."""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from adaswitch.errors import ConfigError


class KeyRing:
    """Some keys that are fixed, and those of a file. Without either, everybody may come in."""

    def __init__(self, keys: Sequence[str] = (), file: str | None = None) -> None:
        """Raises ``ConfigError`` for a file that cannot be read or holds no key."""
        self._fixed = list(keys)
        self._file = file
        self._digests: list[bytes] = []
        self.reload()

    def __bool__(self) -> bool:
        """Whether a key is wanted at all."""
        return bool(self._digests)

    def reload(self) -> int:
        """Read the file again. Returns how many keys there are; after a ``ConfigError`` those from before stay."""
        keys = [*self._fixed, *(_read(self._file) if self._file is not None else [])]
        self._digests = [_digest(key.encode()) for key in keys]
        return len(self._digests)

    def accepts(self, given: bytes) -> bool:
        """Whether ``given`` is one of the keys, in a time that tells nothing of them."""
        digest = _digest(given)
        # Every key is compared, and by its digest: neither a key's length nor its place shows.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _read(file: str) -> list[str]:
    """One key a line; blank lines and those that begin with # are passed over."""
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
