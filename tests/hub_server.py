"""A stand-in for the Hugging Face hub on loopback: it makes repositories and takes commits, as far as a push asks."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of-the-test"


class Hub:
    """What the stand-in was told."""

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, bool] = {}
        """The repositories that were made, and whether each is private."""
        self.files: dict[str, bytes] = {}
        """The files that were committed, by their paths."""
        self.messages: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.status: int | None = None
        """The status of every answer, if it is not to be the right one."""


@contextmanager
def hub() -> Iterator[Hub]:
    """A running stand-in."""
    state = Hub()
    handler = type("Handler", (_Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/")
        there = name in self.hub.repositories and self.hub.status is None
        found = {"id": name, "siblings": [], "sha": "0" * 40}
        self._answer(200 if there else 404, found if there else {"error": "no such repository"})

    def do_POST(self) -> None:
        body = self._body()
        if self.hub.status is not None:
            self._answer(self.hub.status, {"error": "no"})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "who are you?"})
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            self._answer(200, {"files": [_mode(file) for file in json.loads(body)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer(
                200, {"transfer": "basic", "objects": [self._place(o) for o in json.loads(body)["objects"]]}
            )
        elif "/commit/" in self.path:
            self._commit(body)
        else:
            self._answer(404, {"error": self.path})

    def do_PUT(self) -> None:
        body = self._body()
        self.hub.blobs[hashlib.sha256(body).hexdigest()] = body
        self._answer(200, {})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        self.hub.repositories.setdefault(
            name, asked.get("private") is True or asked.get("visibility") == "private"
        )
        self._answer(200, {"url": f"{self.hub.url}/{name}"})

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.hub.url}/blobs/{asked['oid']}", "header": {}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": {"upload": upload}}

    def _commit(self, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.blobs[value["oid"]]
        name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        answer = {
            "commitUrl": f"{self.hub.url}/{name}/commit/{'1' * 40}",
            "commitOid": "1" * 40,
            "success": True,
        }
        self._answer(200, {**answer, "pullRequestUrl": None})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = list[bytes]()
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
