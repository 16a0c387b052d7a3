"""The teacher service as a process: how it starts, refuses to, and ends. Nothing may be left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from adaswitch.runs.config_files import read_yaml
from tests.teacher_models import make_model
from tests.teacher_process import ROOT, TeacherProcess, session_members, wait_until_gone
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

SCORE = {"sequences": [{"token_ids": [1, 2], "start": 1}], "top_k": 2}
LIGHT = ("--engine", "transformers")
Start = Callable[..., TeacherProcess]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), 60)


@pytest.fixture
def start(tmp_path: Path, model: Path) -> Iterator[Start]:
    """Starts services, and ends whatever is left of them."""
    started: list[TeacherProcess] = []

    def begin(*options: str, folder: Path | str = model, **environment: str) -> TeacherProcess:
        process = TeacherProcess(tmp_path / f"{len(started)}.log", folder, *options, **environment)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.end()


def last_line(process: TeacherProcess) -> str:
    return process.log.read_text().splitlines()[-1]


def ready_line(process: TeacherProcess) -> str:
    """The log's last line that is no request."""
    return [line for line in process.log.read_text().splitlines() if not line.startswith("{")][-1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.teacher", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


NONSENSE = (
    b"\x00\xff" * 50,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/score HTTP/1.1\r\nContent-Length: x\r\n\r\n",
)


def answer_at_its_end(process: TeacherProcess) -> httpx.Response:
    """What a request gets that is under way at SIGTERM; the service ends well."""
    prompts = [{"token_ids": [1], "max_tokens": 200, "seed": i} for i in range(80)]
    body = {"prompts": prompts, "top_k": 0}
    with ThreadPoolExecutor(1) as pool:
        headers = {"Authorization": process.http.headers["Authorization"]}
        url = f"{process.url}/v1/generate"
        waiting = pool.submit(httpx.post, url, json=body, headers=headers, timeout=60.0)
        while process.metric("adaswitch_teacher_requests_in_flight") == 0:
            assert not waiting.done()
        assert process.signal_and_wait(signal.SIGTERM) == 0
        assert session_members(process.process.pid) == []
        return waiting.result()


def test_a_service_with_a_key_from_its_ready_line_to_sigterm(start, model):
    process = start(*LIGHT, "--drain-timeout-s", "60", ADASWITCH_API_KEY="open-sesame").wait_until_ready()
    assert ready_line(process).startswith(f"teacher ready at {process.url}: {model} on transformers after ")
    assert process.http.post("/v1/score", json=SCORE).status_code == 401
    process.http.headers["Authorization"] = "Bearer open-sesame"
    (answer,) = process.ask("/v1/score", SCORE)
    assert answer.top_ids.shape == (2, 2)
    for nonsense in NONSENSE:
        with socket.create_connection(("127.0.0.1", process.port), timeout=5) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            assert not connection.recv(1000).startswith(b"HTTP/1.1 5")
    assert process.ask("/v1/score", SCORE)
    last = answer_at_its_end(process)
    assert last.status_code == 200
    assert len(last.json()["sequences"]) == 80
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "open-sesame" not in log


def logged_codes(process: TeacherProcess, number: int) -> list[int]:
    """Of the requests in the access log, once there are so many: a line is written after its answer is on its way."""

    def lines() -> list[str]:
        return [line for line in process.log.read_text().splitlines() if line.startswith("{")]

    wait_until(lambda: len(lines()) >= number, f"{number} requests in the log", timeout_s=10.0)
    return [json.loads(line)["code"] for line in lines()]


def test_a_file_of_keys_is_read_again_on_sighup_and_draining_takes_no_longer_than_it_may(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    process = start(*LIGHT, "--drain-timeout-s", "0.01", "--api-keys-file", str(keys)).wait_until_ready()

    def status(key: str) -> int:
        return process.http.get("/v1/model", headers={"Authorization": f"Bearer {key}"}).status_code

    assert (status("old"), status("new")) == (200, 401)
    for content, line in (("new\n", "keys read again: 1"), ("", "keys are left as they were: ")):
        keys.write_text(content)
        process.process.send_signal(signal.SIGHUP)
        wait_until(lambda line=line: line in process.log.read_text(), line, timeout_s=10.0)
        assert (status("old"), status("new")) == (401, 200)
    assert logged_codes(process, 6) == [200, 401, 401, 200, 401, 200]
    process.http.headers["Authorization"] = "Bearer new"
    cut_off = answer_at_its_end(process)
    assert (cut_off.status_code, cut_off.json()["error"]["code"]) == (503, "draining")


def test_a_config_says_the_same_as_the_options_and_ctrl_c_ends_it(start, model, tmp_path):
    document = read_yaml(ROOT / "configs/demo.yaml")
    document["teacher"]["serve"] = {"model": "elsewhere", "engine": "transformers", "port": 1}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    # The model and the port that the process gets as options stand above the config's.
    process = start("--config", str(config), "teacher.serve.max_top_k=7").wait_until_ready()
    info = process.http.get("/v1/model").json()
    assert (info["backend"], info["max_top_k"], info["model"]) == ("transformers", 7, str(model))
    assert process.signal_and_wait(signal.SIGINT) == 0
    assert session_members(process.process.pid) == []


def test_a_missing_model_is_one_line():
    assert_one_line(run("--model", "/nowhere/at/all"), "/nowhere/at/all", "model folder")


def test_an_occupied_port_is_one_line(model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        begun_s = time.monotonic()
        assert_one_line(run("--model", str(model), "--port", port), f"127.0.0.1:{port}", "--port")
        # Before anything heavy is imported, let alone the model loaded.
        assert time.monotonic() - begun_s < 5.0


def test_an_address_that_others_reach_needs_a_key(model):
    done = run("--model", str(model), "--host", "0.0.0.0", ADASWITCH_API_KEY="")
    assert_one_line(done, "0.0.0.0", "ADASWITCH_API_KEY", "--insecure")


def test_vllm_that_is_not_installed_is_one_line(model, tmp_path):
    # As in a light install: the finder of modules knows of no vllm.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'vllm' else find(name, package)\n"
    )
    done = run("--model", str(model), PYTHONPATH=str(tmp_path))
    assert_one_line(done, "vllm is not installed", "--engine transformers")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model DIR"]),
        (["a.b=1"], ["a.b=1", "--config"]),
        (["--config", "/nowhere.yaml"], ["/nowhere.yaml"]),
        (["--model", "MODEL", "--port", "70000"], ["port"]),
    ],
)
def test_wrong_options_are_one_line(model, arguments, words):
    assert_one_line(run(*[str(model) if a == "MODEL" else a for a in arguments]), *words)


def test_weights_that_are_missing_are_one_line(start, tmp_path):
    folder = make_model(tmp_path / "model", 60)
    (folder / "model.safetensors").unlink()
    process = start(*LIGHT, folder=folder)
    assert process.process.wait(60) == 2
    assert last_line(process).startswith("error: model: cannot load ")
    assert "Traceback" not in process.log.read_text()


@pytest.mark.needs_vllm
@pytest.mark.timeout(240)
def test_a_model_that_vllm_cannot_run_is_one_line_and_leaves_no_process(start, tmp_path):
    folder = make_model(tmp_path / "model", 60, head_dim=20)
    process = start(folder=folder)
    assert process.process.wait(200) == 2
    loading, error = process.log.read_text().splitlines()
    assert loading.startswith(f"loading {folder} on vllm with ")
    assert error.startswith(f"error: model: vLLM cannot serve '{folder}': ")
    assert "head_dim=20" in error
    assert wait_until_gone(process.process.pid) == []


@pytest.mark.needs_vllm
def test_sigterm_while_the_engine_starts_leaves_no_process(start):
    process = start()
    # The engine's process is there, and far from ready.
    wait_until(lambda: len(session_members(process.process.pid)) >= 2, "an engine's process")
    assert process.signal_and_wait(signal.SIGTERM) == 0
    assert wait_until_gone(process.process.pid) == []
    assert "Traceback" not in process.log.read_text()
