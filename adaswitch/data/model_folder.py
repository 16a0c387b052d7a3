"""Whether a model's name can be one, before anything is loaded or looked for on the hub.

Without it, a folder's name with a typing error is looked for on the hub, for a minute where that cannot be reached.
"""

import os

from adaswitch.errors import ModelError


def check_model_folder(model: str, setting: str) -> None:
    """Raises ``ModelError``, which names ``setting``, for a path that is no model folder.

    ``owner/name`` may be a model of the hub, unless the owner is ``models``, our own folder for them.
    """
    if os.path.isdir(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise ModelError(f"{setting}: {model!r} has no config.json; give a Hugging Face model folder")
    elif model.startswith((".", "/", "~", "models/")) or model.count("/") != 1:
        raise ModelError(
            f"{setting}: there is no folder {model!r}; give a Hugging Face model folder, or a model of the hub as "
            "owner/name"
        )
