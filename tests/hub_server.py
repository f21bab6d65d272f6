"""A Hugging Face hub on loopback: what `huggingface_hub` asks of it, with repositories in memory.

`on_request` is called for each request with its number, from 1, and what it is; what it returns is
done in place of the usual answer: "silence" and "lost" never answer, the latter after the request
took effect; a number is the status of a refusal.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from winnow.publish.hub_repository import git_hash

TOKEN = "hf_a-token-that-nobody-may-see"

Answer = tuple[int, Any, dict[str, str]]


def lfs_pointer(sha256: str, n_bytes: int) -> bytes:
    return f"version https://git-lfs\noid sha256:{sha256}\nsize {n_bytes}\n".encode()


@dataclass
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, bytes]
    large: set[str]
    """Which of the files are of LFS."""


@dataclass
class Repo:
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, title: str, files: dict[str, bytes], large: set[str]) -> str:
        parent = self.branches.get(branch)
        told = [parent, title, sorted((n, hashlib.sha1(d).hexdigest()) for n, d in files.items())]
        oid = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, files, large)
        self.branches[branch] = oid
        return oid

    def at(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def history(self, revision: str) -> list[Commit]:
        """Commits up to a revision, the newest first."""
        found, commit = [], self.at(revision)
        while commit is not None:
            found.append(commit)
            commit = self.at(commit.parent) if commit.parent else None
        return found


class Hub:
    """What the hub holds, and how it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.on_request: Callable[[int, str], Any] | None = None
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.asked: list[str] = []
        self._count = itertools.count(1)

    def make(self, name: str, private: bool = True, **files: bytes) -> Repo:
        repo = self.repos[name] = Repo(private)
        repo.add(
            "main", "initial commit", {".gitattributes": b"*.parquet filter=lfs\n", **files}, set()
        )
        return repo

    def answer(self, method: str, url: str, body: bytes, token: str) -> Answer:
        with self._lock:
            parts = urlsplit(url)
            path = [unquote(part) for part in parts.path.strip("/").split("/")]
            if path[0] == "lfs":
                return self._lfs(method, path, body)
            if token != f"Bearer {TOKEN}":
                return _refusal(401, "", "Invalid credentials in Authorization header")
            match method, path:
                case "GET", ["api", "whoami-v2"]:
                    return 200, {"name": "ann", "type": "user", "orgs": []}, {}
                case "POST", ["api", "validate-yaml"]:
                    return 200, {"errors": [], "warnings": []}, {}
                case "POST", ["api", "repos", "create"]:
                    return self._create(json.loads(body))
                case "POST", ["datasets", _, _, "info", "lfs", "objects", "batch"]:
                    return self._batch(json.loads(body))
                case _, ["datasets", org, name, "resolve", revision, *rest]:
                    return self._resolve(f"{org}/{name}", revision, "/".join(rest))
                case _, ["api", "datasets", org, name, *rest]:
                    repo = self.repos.get(f"{org}/{name}")
                    if repo is None:
                        return _refusal(404, "RepoNotFound", "Repository not found")
                    return self._of_repo(method, f"{org}/{name}", repo, rest, body)
            return _refusal(404, "", f"no such call: {method} {parts.path}")

    def _create(self, asked: dict[str, Any]) -> Answer:
        assert asked["type"] == "dataset"
        name = f"{asked['organization']}/{asked['name']}"
        about = {"url": f"{self.url}/datasets/{name}", "name": name, "id": name}
        if name in self.repos:
            return 409, {**about, "error": "You already created this dataset repo"}, {}
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.make(name, private)
        return 200, about, {}

    def _of_repo(self, method: str, name: str, repo: Repo, rest: list[str], body: bytes) -> Answer:
        match method, rest:
            case "GET", [] | ["revision", _]:
                commit = repo.at(rest[1] if rest else "main")
                if commit is None:
                    return _refusal(404, "RevisionNotFound", "Invalid rev id")
                about = {"id": name, "sha": commit.oid, "private": repo.private, "tags": []}
                return 200, {**about, "downloads": 0, "likes": 0, "disabled": False}, {}
            case "GET", ["refs"]:
                kinds = (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
                refs = {
                    kind: [
                        {"name": n, "ref": f"refs/{ref}/{n}", "targetCommit": oid}
                        for n, oid in held.items()
                    ]
                    for kind, ref, held in kinds
                }
                return 200, {**refs, "converts": []}, {}
            case "GET", ["tree", revision]:
                commit = repo.at(revision)
                if commit is None:
                    return _refusal(404, "RevisionNotFound", "Invalid rev id")
                return 200, [_entry(commit, path) for path in sorted(commit.files)], {}
            case "POST", ["preupload", revision]:
                return (
                    200,
                    {"files": [_mode(repo, revision, f) for f in json.loads(body)["files"]]},
                    {},
                )
            case "POST", ["commit", revision]:
                return self._commit(name, repo, revision, body)
            case "POST", ["tag", revision]:
                commit, tag = repo.at(revision), json.loads(body)["tag"]
                if commit is None:
                    return _refusal(404, "RevisionNotFound", "Invalid rev id")
                if tag in repo.tags:
                    return _refusal(409, "", "Tag reference exists already")
                repo.tags[tag] = commit.oid
                return 200, {}, {}
            case "POST", ["branch", branch]:
                if branch in repo.branches:
                    return _refusal(409, "", "Reference already exists")
                repo.branches[branch] = json.loads(body)["startingPoint"]
                return 200, {}, {}
            case "DELETE", ["branch", branch]:
                if branch not in repo.branches:
                    return _refusal(404, "RevisionNotFound", "Invalid rev id")
                del repo.branches[branch]
                return 200, {}, {}
        return _refusal(404, "", f"no such call: {method} {rest}")

    def _batch(self, asked: dict[str, Any]) -> Answer:
        objects = []
        for each in asked["objects"]:
            oid = each["oid"]
            actions = {
                "upload": {"href": f"{self.url}/lfs/{oid}", "header": {}},
                "verify": {"href": f"{self.url}/lfs/verify", "header": {}},
            }
            objects.append({**each, **({} if oid in self.stored else {"actions": actions})})
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _lfs(self, method: str, path: list[str], body: bytes) -> Answer:
        if method == "PUT":
            assert hashlib.sha256(body).hexdigest() == path[1]
            self.stored[path[1]] = body
            self.puts.append(path[1])
        return 200, {}, {}

    def _commit(self, name: str, repo: Repo, branch: str, body: bytes) -> Answer:
        lines = [json.loads(line) for line in body.decode().splitlines()]
        header = lines[0]["value"]
        assert lines[0]["key"] == "header"
        head = repo.at(branch)
        if header.get("parentCommit") and (head is None or header["parentCommit"] != head.oid):
            return _refusal(412, "", "A commit has happened since. Please refresh and try again.")
        files, large = (dict(head.files), set(head.large)) if head else ({}, set())
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            match line["key"]:
                case "file":
                    files[path] = base64.b64decode(value["content"])
                    large.discard(path)
                case "lfsFile":
                    files[path] = self.stored[value["oid"]]
                    large.add(path)
                case "deletedFile":
                    del files[path]
                    large.discard(path)
                case other:
                    raise AssertionError(other)
        oid = repo.add(branch, header["summary"], files, large)
        url = f"{self.url}/datasets/{name}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}, {}

    def _resolve(self, name: str, revision: str, path: str) -> Answer:
        repo = self.repos.get(name)
        if repo is None:
            return _refusal(404, "RepoNotFound", "Repository not found")
        commit = repo.at(revision)
        if commit is None:
            return _refusal(404, "RevisionNotFound", "Invalid rev id")
        if path not in commit.files:
            return _refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit.oid})
        data = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_hash(data)}"'}
        if path in commit.large:
            sha256 = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
        return 200, data, headers


def _entry(commit: Commit, path: str) -> dict[str, Any]:
    data = commit.files[path]
    entry = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
    if path in commit.large:
        sha256 = hashlib.sha256(data).hexdigest()
        pointer = lfs_pointer(sha256, len(data))
        entry["oid"] = git_hash(pointer)
        entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}
    return entry


def _mode(repo: Repo, revision: str, file: dict[str, Any]) -> dict[str, Any]:
    commit = repo.at(revision)
    there = commit is not None and file["path"] in commit.files
    oid = _entry(commit, file["path"])["oid"] if commit is not None and there else None
    is_large = file["path"].endswith(".parquet") and file["size"] > 0
    mode = "lfs" if is_large else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}


def _refusal(status: int, code: str, told: str, more: dict[str, str] | None = None) -> Answer:
    headers = {"X-Error-Message": told, **({"X-Error-Code": code} if code else {}), **(more or {})}
    return status, {"error": told}, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _handle(self) -> None:
        hub = self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = f"{self.command} {urlsplit(self.path).path}"
        hub.asked.append(what)
        done = hub.on_request(next(hub._count), what) if hub.on_request else None
        if done == "silence":
            self._never()
            return
        if isinstance(done, int):
            answer = _refusal(done, "", "not now")
        else:
            token = self.headers.get("Authorization", "")
            answer = hub.answer(self.command, self.path, body, token)
        if callable(done):
            done()
        if done == "lost":
            self._never()
            return
        self._send(*answer)

    def _never(self) -> None:
        self.hub.closing.wait()
        self.close_connection = True

    def _send(self, status: int, content: Any, headers: dict[str, str]) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Whoever was killed hears nothing any more."""


@contextmanager
def served() -> Iterator[Hub]:
    hub = Hub()
    handler = type(
        "Handler", (_Handler,), {"hub": hub, "wbufsize": -1, "disable_nagle_algorithm": True}
    )
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
