"""The way to the hub, against a stand-in on loopback."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from adaswitch.errors import ConfigError, EnvironmentProblem
from adaswitch.export.push import check_repository, make_repository, push_folder
from tests.hub_server import TOKEN, Hub, hub
from tests.service_fixtures import unused_port

# How huggingface_hub hands a file to httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage is more than a stand-in can be
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        yield found


def folder_with(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: unknown\n---\n# a model\n")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    return folder


def test_all_files_arrive_as_one_commit(server: Hub, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model")
    make_repository("org/student", private=True)
    make_repository("org/student", private=False)  # it is there already
    where = push_folder(folder, "org/student", "run after 8 steps")
    assert where == f"{server.url}/org/student/commit/{'1' * 40}"
    assert server.repositories == {"org/student": True}
    assert server.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert server.messages == ["run after 8 steps"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "does not know who asks: sign in"), (403, "may not write there"), (400, "the hub refuses (400")],
)
def test_a_refusal_is_one_line_with_the_fix(server: Hub, status: int, words: str) -> None:
    server.status = status
    with pytest.raises(EnvironmentProblem) as caught:
        make_repository("org/student", private=False)
    assert str(caught.value).startswith("--push org/student: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_is_signed_in(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(EnvironmentProblem, match="sign in with `hf auth login`, or set HF_TOKEN"):
        make_repository("org/student", private=False)


def test_a_hub_that_does_not_answer_is_one_line(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(EnvironmentProblem, match=r"does not answer \(.*\): try again where the hub"):
        make_repository("org/student", private=False)


@pytest.mark.parametrize("name", ["student", "a/b/c", "org/", "org/a b", "org/--x", ""])
def test_a_name_that_none_can_have_is_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^--push {name}: .*ORG/NAME"):
        check_repository(name)
