"""Looks whether the Hugging Face hub can give a model or a data set, with a single quick try, before it is loaded.

The loaders themselves repeat a request that fails for more than a minute, also for a name that is misspelt.
"""

import importlib.util
import os
from pathlib import Path

from adaswitch.errors import DataError, EnvironmentProblem, ModelError

TRY_TIMEOUT_S = 2.0
"""The number of seconds that the hub has to answer."""


def cached_folder(model: str) -> str | None:
    """The folder in the hub's local cache that has ``owner/name``; None if it is not in the cache."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "config.json")
    except errors.HFValidationError:
        return None
    return os.path.dirname(found) if isinstance(found, str) else None


def check_hub_model(model: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` if ``owner/name`` is neither in the local cache nor to be had now."""
    if cached_folder(model) is None and (problem := _problem(model, "config.json", "model")) is not None:
        raise ModelError(
            f"{setting}: cannot load {model!r}: there is no such folder, and the hub's model of that name "
            f"{problem}; give a Hugging Face model folder, or correct the name"
        )


def check_rest_of_model(model: str, lacks: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` if what a half-downloaded ``model`` ``lacks`` cannot be had now."""
    if (problem := _problem(model, "config.json", "model")) is not None:
        raise ModelError(
            f"{setting}: the local cache has only a part of the hub's model {model!r}: {lacks}; and the hub's model "
            f"{problem}: download the rest where the hub can be reached, or give a model folder"
        )


def check_hub_data(name: str, setting: str) -> None:
    """Raises ``UserError`` with ``setting`` if the data set ``name`` is neither in the cache nor to be had now."""
    if importlib.util.find_spec("datasets") is None:
        raise EnvironmentProblem(
            f"hub:{name}: data sets of the hub need a package that is not installed: "
            "uv pip install 'adaswitch[hub]'"
        )
    if not _is_cached_data(name) and (problem := _problem(name, "README.md", "dataset")) is not None:
        raise DataError(
            f"the hub's data set {problem}: check the name, or download it and set {setting}.path to the file",
            source=f"hub:{name}",
        )


def _is_cached_data(name: str) -> bool:
    """Whether anything of the data set is in the cache of the hub or of ``datasets``. If so, the loader judges."""
    from huggingface_hub import constants

    home = os.environ.get("HF_DATASETS_CACHE") or os.path.join(constants.HF_HOME, "datasets")
    folders = (
        Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}",
        Path(home) / name.replace("/", "___"),
    )
    return any(folder.is_dir() for folder in folders)


def _problem(name: str, file: str, kind: str) -> str | None:
    """Why ``file`` of ``name``, which is a ``kind`` of the hub, cannot be had; None if it can.

    A data set may have no README.md, so a missing file is a problem for a model alone.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(name, file, repo_type=kind), timeout=TRY_TIMEOUT_S)
    except errors.OfflineModeIsEnabled:
        return (
            f"is not in the local cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids to ask the hub"
        )
    except errors.GatedRepoError:
        return "is gated: ask for access on its page, and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        return "does not exist, or is private and needs HF_TOKEN"
    except errors.EntryNotFoundError:
        return None if kind == "dataset" else f"has no {file}"
    except errors.HFValidationError as error:
        return f"cannot exist: {str(error).splitlines()[0]}"
    except errors.HfHubHTTPError as error:
        return f"cannot be had: {str(error).splitlines()[0]}"
    except Exception as error:  # The library passes on whatever its HTTP client raises.
        reason = str(error).strip() or type(error).__name__
        return f"is not in the local cache, and {constants.ENDPOINT} does not answer ({reason})"
    return None
