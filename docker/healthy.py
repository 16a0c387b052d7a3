"""A health check: the exit code is 0 if a GET of the address is answered with 200, else 1.

``python3 docker/healthy.py URL [VARIABLE]``: the value of the environment variable VARIABLE is sent as the bearer key.
Only Python's own libraries are used, since the check runs every few seconds.
"""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def is_healthy(url: str, key: str | None) -> bool:
    """Whether ``url`` answers with 200 in time."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        ) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    variable = sys.argv[2] if len(sys.argv) > 2 else ""
    sys.exit(not is_healthy(sys.argv[1], os.environ.get(variable)))
