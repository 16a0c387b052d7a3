"""Checks that the trackers which a run is to be followed with are installed where the trainer is to run."""

import importlib.util

from adaswitch.config.run import RunConfig
from adaswitch.config.trackers import TrackerName
from adaswitch.errors import EnvironmentProblem

EXTRAS: dict[TrackerName, str] = {
    "tensorboard": "trainer",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}
"""The extra that brings each tracker's package, which has the tracker's name."""


def check_trackers(config: RunConfig) -> None:
    """Raises ``EnvironmentProblem`` with the install command for the first tracker whose package is missing."""
    for name in config.trackers:
        if not _is_installed(name):
            others = ",".join(other for other in config.trackers if other != name)
            raise EnvironmentProblem(
                f"trackers: {name} is not installed; get it with `uv pip install 'adaswitch[{EXTRAS[name]}]'`, or "
                f"leave it out: trackers=[{others}]"
            )


def _is_installed(package: str) -> bool:
    # A folder of that name, such as the one that wandb writes into, is no package.
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None
