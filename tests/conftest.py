"""What every test shares: nothing calls home, nothing depends on the caller's environment or on the clock."""

import os
from importlib.util import find_spec

import pytest
from hypothesis import settings

from tests.sharing import is_late, make_scheduler

pytest_plugins = ["tests.service_fixtures"]

# Set before anything imports the libraries that read them; child processes inherit them.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    VLLM_NO_USAGE_STATS="1",
    RAY_USAGE_STATS_ENABLED="0",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("ADASWITCH_API_KEY", "RAY_ADDRESS"):
    os.environ.pop(name, None)

# The same examples every time, and no deadline on a machine that others load.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Tests that share what they start run in one process."""
    return make_scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first. A light install has no vLLM: what needs it is skipped there, and says so."""
    items.sort(key=lambda item: is_late(item.nodeid))
    if find_spec("vllm") is not None:
        return
    for item in items:
        if item.get_closest_marker("needs_vllm"):
            item.add_marker(pytest.mark.skip(reason="vLLM is not installed: make setup"))
