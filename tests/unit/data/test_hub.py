"""Whether the hub can give a model or a data set is found out with one try, and said in one line."""

from collections.abc import Callable
from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from adaswitch.data import hub
from adaswitch.data.hub import check_hub_data, check_hub_model
from adaswitch.data.model_folder import check_model_folder
from adaswitch.errors import DataError, EnvironmentProblem, ModelError

REQUEST = httpx.Request("HEAD", "https://hub")


def refused(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    return kind("no", response=httpx.Response(status, request=REQUEST))


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Exception | None], list[str]]:
    """Makes the hub answer with an error, or well. Returns the addresses that were asked for."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: object())

    def with_error(error: Exception | None) -> list[str]:
        asked: list[str] = []

        def head(url: str, timeout: float) -> None:
            assert timeout <= 2.0
            asked.append(url)
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", head)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
        return asked

    return with_error


PROBLEMS = [
    (errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE forbids to ask the hub"),
    (refused(errors.GatedRepoError, 403), "is gated: ask for access on its page, and set HF_TOKEN"),
    (refused(errors.RepositoryNotFoundError, 404), "does not exist, or is private and needs HF_TOKEN"),
    (refused(errors.HfHubHTTPError, 500), "cannot be had: no"),
    (
        httpx.ConnectError("[Errno -2] Name or service not known"),
        "does not answer ([Errno -2] Name or service",
    ),
    (httpx.ReadTimeout(""), "does not answer (ReadTimeout)"),
]


@pytest.mark.parametrize(("error", "words"), PROBLEMS)
def test_a_model_that_cannot_be_had_is_named_after_one_try(answer, error, words) -> None:
    asked = answer(error)
    with pytest.raises(ModelError) as caught:
        check_model_folder("nobody/nowhere", "student.model")
    assert str(caught.value).startswith(
        "student.model: cannot load 'nobody/nowhere': there is no such folder"
    )
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(asked) == 1


def test_a_model_of_the_hub_passes(answer) -> None:
    asked = answer(None)
    check_hub_model("Qwen/Qwen2.5-0.5B", "model")
    assert asked == ["https://huggingface.co/Qwen/Qwen2.5-0.5B/resolve/main/config.json"]


def test_a_model_in_the_cache_passes_without_the_hub(answer, monkeypatch) -> None:
    asked = answer(httpx.ConnectError("no"))
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda name, file: "/cache/snapshot/config.json"
    )
    check_hub_model("Qwen/Qwen2.5-0.5B", "model")
    assert asked == []
    assert hub.cached_folder("Qwen/Qwen2.5-0.5B") == "/cache/snapshot"


def test_a_repository_without_a_model_is_refused(answer) -> None:
    answer(refused(errors.RemoteEntryNotFoundError, 404))
    with pytest.raises(ModelError, match=r"has no config\.json"):
        check_hub_model("owner/data", "student.model")
    check_hub_data("owner/data", "task.train")


def test_a_name_that_the_hub_cannot_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"cannot exist: .*Bad--Name"):
        check_hub_model("owner/Bad--Name", "student.model")


@pytest.mark.parametrize(("error", "words"), PROBLEMS)
def test_a_data_set_that_cannot_be_had_is_named(answer, error, words) -> None:
    answer(error)
    with pytest.raises(DataError) as caught:
        check_hub_data("owner/data", "task.train")
    assert str(caught.value).startswith("hub:owner/data: the hub's data set ")
    assert words in str(caught.value)
    assert "set task.train.path to the file" in str(caught.value)


@pytest.mark.parametrize("folder", ["hub/datasets--owner--data", "datasets/owner___data"])
def test_a_data_set_in_a_cache_is_left_to_its_loader(answer, tmp_path, folder) -> None:
    asked = answer(httpx.ConnectError("no"))
    (tmp_path / folder).mkdir(parents=True)
    check_hub_data("owner/data", "task.train")
    assert asked == []


def test_data_of_the_hub_needs_its_package(monkeypatch) -> None:
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"uv pip install 'adaswitch\[hub\]'"):
        check_hub_data("owner/data", "task.train")
