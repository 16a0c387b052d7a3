"""Asks whether a teacher service is ready, for a program that has just started one. Imports nothing slow."""

import httpx

READY_TIMEOUT_S = 1.0


def is_ready(url: str) -> bool:
    """Whether the service at ``url`` answers ``GET /readyz`` with 200 within a second."""
    try:
        return httpx.get(f"{url}/readyz", timeout=READY_TIMEOUT_S).status_code == 200
    except httpx.HTTPError:
        return False
