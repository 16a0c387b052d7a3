"""The packages that comparisons need beside those of a run. Imports nothing slow, as it is asked first."""

from importlib.util import find_spec

from adaswitch.errors import EnvironmentProblem

PACKAGES = ("matplotlib", "scipy")


def require_packages() -> None:
    """Raises ``EnvironmentProblem`` with the command that installs what is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"comparisons need {' and '.join(missing)}: uv pip install 'adaswitch[experiments]'"
        )
