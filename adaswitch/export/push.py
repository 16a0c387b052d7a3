"""Puts a model folder on the Hugging Face hub, or on a server that speaks like it (HF_ENDPOINT)."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from adaswitch.errors import ConfigError, EnvironmentProblem
from adaswitch.last_words import first_line, one_line

SIGN_IN = "sign in with `hf auth login`, or set HF_TOKEN to a token that may write"
Answer = TypeVar("Answer")


def check_repository(name: str) -> None:
    """Raises ``ConfigError`` unless ``name`` can be that of a repository, ``ORG/NAME``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push {name}: {str(error).splitlines()[0]}: write it as ORG/NAME") from None
    if name.count("/") != 1:
        raise ConfigError(
            f"--push {name}: write it as ORG/NAME, with your own name or that of your organisation"
        )


def make_repository(name: str, private: bool) -> None:
    """Make the repository ``ORG/NAME``, unless it is there. This tells early whether one may write there.

    Unless it is to be ``private``, it is what its organisation makes by default.

    Raises ``EnvironmentProblem`` if the hub does not answer, or refuses.
    """
    from huggingface_hub import HfApi

    _asked(name, lambda: HfApi().create_repo(name, private=private or None, exist_ok=True))


def push_folder(folder: Path, name: str, message: str) -> str:
    """Upload all files of ``folder`` to the repository ``ORG/NAME``, as one commit. Returns the commit's address.

    Raises ``EnvironmentProblem`` if the hub does not answer, or refuses.
    """
    from huggingface_hub import HfApi

    done = _asked(
        name, lambda: HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    )
    return str(done.commit_url)


def _asked(name: str, ask: Callable[[], Answer]) -> Answer:
    """The hub's answer to ``ask``, of which every failure becomes one line."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return ask()
    except OfflineModeIsEnabled:
        reason = "HF_HUB_OFFLINE forbids to ask the hub: unset it"
    except LocalTokenNotFoundError:
        reason = f"nobody is signed in: {SIGN_IN}"
    except Exception as error:  # The library passes on whatever its HTTP client raises.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            reason = _refused(cause.response.status_code, str(cause))
        else:
            said = one_line(cause)
            reason = f"{constants.ENDPOINT} does not answer ({said}): try again where the hub can be reached"
    raise EnvironmentProblem(f"--push {name}: {reason}")


def _refused(status: int, words: str) -> str:
    if status == 401:
        return f"the hub does not know who asks: {SIGN_IN}"
    if status == 403:
        return f"this account may not write there: take another ORG/NAME, or {SIGN_IN}"
    return f"the hub refuses ({status}: {first_line(words)})"
