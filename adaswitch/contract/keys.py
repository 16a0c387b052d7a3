"""Bearer keys as service and client take them from the environment, and where a service may do without them."""

import ipaddress

from adaswitch.errors import EnvironmentProblem


def split_keys(text: str) -> list[str]:
    """The bearer keys in an environment variable: one key, or several keys separated by commas or blanks."""
    return text.replace(",", " ").split()


def require_key(host: str, has_keys: bool, insecure: bool, setting: str = "host") -> None:
    """Raises ``EnvironmentProblem`` if a service at ``host`` could be reached from elsewhere without a key.

    ``insecure`` says that this is wanted. ``setting`` names the host's setting in the message.
    """
    if not has_keys and not insecure and not _is_loopback(host):
        raise EnvironmentProblem(
            f"{setting}: {host} can be reached from other machines; set ADASWITCH_API_KEY or "
            "--api-keys-file, bind 127.0.0.1, or pass --insecure"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
