"""Fakes the Hugging Face Hub: as a client in memory, and as a server for the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

COMMIT = "c" * 40
FIRST_FILES = {".gitattributes": b"*.png filter=lfs", "README.md": b"new"}
"""The files that the Hub puts into each new repository."""


class FakeHub:
    """A fake of the `HfApi` methods that the tools use.

    `repos` holds the files of each repository. `calls` lists the calls in their order.
    """

    def __init__(self, **repos: dict[str, bytes]) -> None:
        self.repos = dict(repos)
        self.sdk: str | None = "gradio"
        self.private = False
        self.calls: list[tuple[Any, ...]] = []

    def _find(self, repo_id: str) -> SimpleNamespace:
        if repo_id not in self.repos:
            raise RepositoryNotFoundError("no such repository", response=answer(404))
        siblings = [SimpleNamespace(rfilename=name) for name in self.repos[repo_id]]
        return SimpleNamespace(sdk=self.sdk, private=self.private, siblings=siblings, sha=COMMIT)

    def space_info(self, repo_id: str) -> SimpleNamespace:
        self.calls.append(("space_info", repo_id))
        return self._find(repo_id)

    def model_info(self, repo_id: str, *, revision: str | None = None) -> SimpleNamespace:
        self.calls.append(("model_info", repo_id, revision))
        return self._find(repo_id)

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", repo_id, {k: v for k, v in options.items() if v is not None}))
        self.repos.setdefault(repo_id, dict(FIRST_FILES))

    def update_repo_settings(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("update_repo_settings", repo_id, options))

    def add_space_variable(self, repo_id: str, key: str, value: str) -> None:
        self.calls.append(("add_space_variable", repo_id, key, value))

    def set_space_volumes(self, repo_id: str, volumes: list[Any]) -> None:
        self.calls.append(("set_space_volumes", repo_id, [volume.to_dict() for volume in volumes]))

    def request_space_hardware(self, repo_id: str, hardware: str) -> None:
        self.calls.append(("request_space_hardware", repo_id, hardware))

    def list_repo_files(self, repo_id: str, *, repo_type: str | None = None) -> list[str]:
        return list(self.repos[repo_id])

    def create_commit(
        self, repo_id: str, operations: Any, *, commit_message: str, repo_type: str | None = None
    ) -> None:
        self.calls.append(("create_commit", repo_id, repo_type, commit_message))
        for operation in operations:
            if isinstance(operation, CommitOperationDelete):
                del self.repos[repo_id][operation.path_in_repo]
            else:
                assert isinstance(operation, CommitOperationAdd)
                with operation.as_file() as file:
                    self.repos[repo_id][operation.path_in_repo] = file.read()

    def asked(self) -> list[str]:
        return [call[0] for call in self.calls]

    def download(self, cache: Path) -> Any:
        """Returns a fake `hf_hub_download` that reads from this Hub.

        Its cache links each file name to a blob. The blob's name is its SHA-256.
        """

        def hf_hub_download(
            repo_id: str, filename: str, *, revision: str | None = None, local_files_only: bool = False
        ) -> str:
            link = cache / "snapshots" / (revision or "main") / filename
            if local_files_only and not link.exists():
                raise LocalEntryNotFoundError("not in the cache")
            if not link.exists():
                content = self.repos[repo_id][filename]
                blob = cache / "blobs" / hashlib.sha256(content).hexdigest()
                for folder in (link.parent, blob.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                blob.write_bytes(content)
                link.symlink_to(blob)
            return str(link)

        return hf_hub_download


def answer(status: int, message: str = "", path: str = "/api/spaces/me/objects") -> Any:
    """Returns an answer as the Hub's client sees it, made with the HTTP library that its release uses."""
    from huggingface_hub import errors

    http = __import__(errors.Response.__module__.partition(".")[0])
    headers = {"X-Error-Message": message} if message else {}
    request = http.Request("POST", f"http://127.0.0.1{path}")
    return http.Response(status, headers=headers, request=request, content=b"{}")


class _Server(ThreadingHTTPServer):
    """A fake Hub at an address of this machine.

    `asked` lists the requests. `fails` maps patterns to a status and a message. A request that matches a
    pattern gets them as its answer.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.fails: dict[str, tuple[int, str]] = {}
        self.exists = False
        self.commit: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_PUT = do_POST

    def _answer(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        for pattern, (status, message) in self.server.fails.items():
            if re.search(pattern, self.server.asked[-1]):
                return self._send({"error": message}, status)
        if path.endswith("/preupload/main"):
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            names = [file["path"] for file in json.loads(body)["files"]]
            return self._send({"files": [{"path": name, **modes} for name in names]})
        if "/commit/" in path:
            self.server.commit = [json.loads(line) for line in body.splitlines()]
            return self._send(
                {"commitUrl": f"{self.server.url}/me/objects/commit/{COMMIT}", "commitOid": COMMIT}
            )
        if "/tree/" in path:
            files = [
                {"type": "file", "path": name, "size": 1, "oid": "0" * 40}
                for name in ("old.py", ".gitattributes")
            ]
            return self._send(files)
        if path.endswith("/variables"):
            return self._send({})
        if path.endswith("/hardware"):
            return self._send(
                {"stage": "BUILDING", "hardware": {"current": "cpu-basic", "requested": "t4-small"}}
            )
        if self.command == "GET" and not self.server.exists:
            return self._send({"error": "Repository not found"}, 404, "RepoNotFound")
        return self._send(
            {"id": "me/objects", "sdk": "gradio", "url": f"{self.server.url}/spaces/me/objects"}
        )

    def _send(self, content: Any, status: int = 200, code: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub_server() -> Iterator[_Server]:
    """Runs a fake Hub at an address of this machine. It accepts every file, and none goes to LFS."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def committed(server: _Server) -> dict[str, bytes | None]:
    """Returns the content of each file in the last commit, by its path; None for a deleted file."""
    files: dict[str, bytes | None] = {}
    for line in server.commit:
        if line["key"] == "file":
            files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        elif line["key"] == "deletedFile":
            files[line["value"]["path"]] = None
    return files
