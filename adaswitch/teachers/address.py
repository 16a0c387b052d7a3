"""A teacher's addresses and the key that its clients send, from a run's settings. Imports nothing slow."""

import os

import httpx

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.keys import split_keys
from adaswitch.errors import ConfigError


def all_urls(config: TeacherConfig) -> list[str]:
    """All addresses of the teacher: ``url``, then ``replicas``. Raises ``ConfigError`` for one that is not valid."""
    urls = [config.url, *config.replicas]
    for url in urls:
        _check_url(url)
    return urls


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ConfigError(f"teacher.url: {url!r} is no address; write it as in http://127.0.0.1:8000")


def key_header(config: TeacherConfig) -> dict[str, str]:
    """The header with the key from the environment variable that ``config`` names; empty if it is unset.

    Raises ``ConfigError`` for a key that no HTTP header can hold.
    """
    keys = split_keys(os.environ.get(config.api_key_env, ""))
    if not keys:
        return {}
    key = keys[0]
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"teacher.api_key_env: the key in the environment variable {config.api_key_env} has characters that no "
            "HTTP header can hold; set it to plain ASCII, as the teacher has it"
        )
    return {"Authorization": f"Bearer {key}"}
