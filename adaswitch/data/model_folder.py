"""Checks that the name of a model is plausible, before the model is loaded or looked for on the hub.

Without this check, a misspelt folder name is looked for on the hub, which takes a minute if the hub is unreachable.
"""

import os

from adaswitch.errors import ModelError


def check_model_folder(model: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` for a path that is no model folder.

    ``owner/name`` may be a model of the hub, unless the owner is ``models``, which is our own folder of models.
    """
    if os.path.isdir(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise ModelError(f"{setting}: {model!r} has no config.json; give a Hugging Face model folder")
    elif model.startswith((".", "/", "~", "models/")) or model.count("/") != 1:
        raise ModelError(
            f"{setting}: there is no folder {model!r}; give a Hugging Face model folder, or a model of the hub as "
            "owner/name"
        )
