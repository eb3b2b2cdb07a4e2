"""A small Hugging Face Hub on loopback: what `huggingface_hub` calls to make repositories, push to them and download.

It checks what the Hub checks: the token, the front matter of the card, and that large files are what their sha256 says.
Faults can be set: a download cut after some bytes, or altered on the way.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_stub"


@dataclass
class Repo:
    """One repository: its commits in order, each a mapping of paths to contents."""

    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    messages: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    """The Hub's state, its faults, and what it was asked (method and path)."""

    url: str = ""
    store_url: str = ""  # of large files; another host, as on the Hub
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # each large download is cut after so many bytes, until none are left
    alter: bool = False  # large downloads arrive with one bit changed
    requests: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        self.hub.requests.append(f"{self.command} {urlsplit(self.path).path}")

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/large/") and "Authorization" in self.headers:
            self._json({"error": "the token is not for this host"}, 400)
        elif path.startswith("/large/"):
            self._download(self.hub.large[path.removeprefix("/large/")])
        elif path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/").partition("/revision/")[0])
        else:
            self._file()

    def do_PUT(self) -> None:
        oid, data = self.path.rpartition("/")[2], self._body()
        if hashlib.sha256(data).hexdigest() != oid:
            return self._json({"error": "sha256 does not match"}, 400)
        self.hub.large[oid] = data
        self._json({})

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif "/preupload/" in path:
            self._preupload(path.removeprefix("/api/models/").partition("/preupload/")[0], json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
        else:
            self._json({"error": f"no {path}"}, 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        taken = name in self.hub.repos
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repos.setdefault(name, Repo(private))
        self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if taken else 200)

    def _validate(self, content: str) -> None:
        _, front, _ = content.split("---\n", 2)
        data = yaml.safe_load(front)
        ok = isinstance(data, dict) and "library_name" in data
        self._json({"errors": [] if ok else [{"message": "no metadata"}], "warnings": []}, 200 if ok else 400)

    def _preupload(self, name: str, wanted: dict[str, Any]) -> None:
        files = self.hub.repos[name].files
        answer = []
        for entry in wanted["files"]:
            path, mode = entry["path"], "lfs" if _is_large(entry["path"]) else "regular"
            oid = _oid(path, files[path]) if path in files else None
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answer})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects: list[dict[str, Any]] = []
        for entry in wanted["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/upload/{entry['oid']}"}}
            new = entry["oid"] not in self.hub.large
            objects.append({"oid": entry["oid"], "size": entry["size"], **({"actions": upload} if new else {})})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        repo, message = self.hub.repos[name], ""
        files = dict(repo.files)
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.large[value["oid"]]
        repo.commits.append(files)
        repo.messages.append(message)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha})

    def _info(self, name: str) -> None:
        if name not in self.hub.repos:
            return self._missing("RepoNotFound")
        self._json({"id": name, "sha": self.hub.repos[name].sha, "siblings": []})

    def _file(self) -> None:
        """A file of a repository; large ones live elsewhere, as on the Hub."""
        name, _, rest = unquote(urlsplit(self.path).path).strip("/").partition("/resolve/")
        if name not in self.hub.repos:
            return self._missing("RepoNotFound")
        repo, path = self.hub.repos[name], rest.partition("/")[2]
        if path not in repo.files:
            return self._missing("EntryNotFound", repo.sha)
        data = repo.files[path]
        oid = _oid(path, data)
        headers = {"X-Repo-Commit": repo.sha, "ETag": f'"{oid}"'}
        if _is_large(path):
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data)), "Content-Length": "0"}
            self._send(302, {**headers, **linked, "Location": f"{self.hub.store_url}/large/{oid}"})
        else:
            self._send(200, {**headers, "Content-Length": str(len(data))}, data)

    def _download(self, data: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.hub.alter:
            data = data[:-1] + bytes([data[-1] ^ 1])
        part, headers = data[start:], {"Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.hub.cuts:
            part = part[: self.hub.cuts.pop(0)]
            self.close_connection = True
        self._send(206 if start else 200, headers, part)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self._send(status, {"Content-Type": "application/json", "Content-Length": str(len(data))}, data)

    def _missing(self, code: str, commit: str = "") -> None:
        headers = {"X-Error-Code": code, "Content-Length": "0"}
        self._send(404, {**headers, "X-Repo-Commit": commit} if commit else headers)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _oid(path: str, data: bytes) -> str:
    """What names a content: its sha256 if large, else git's hash."""
    if _is_large(path):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """A Hub that answers until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.store_url = hub.url.replace("127.0.0.1", "localhost")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
