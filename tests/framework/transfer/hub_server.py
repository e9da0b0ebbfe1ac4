"""A Hub on this machine, as far as a push and a pull need one: model repositories in memory, commits whole or not.

Large files of the real Hub go through other services (LFS, Xet), which this one does not have: it asks for all
files within the commit.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What lies there, and what was asked."""

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: list[tuple[str, set[str], set[str]]] = field(default_factory=list)
    """Repository, added and removed files of each commit."""
    tokens: set[str] = field(default_factory=set)
    cut: bool = False
    """Whether commits fail."""

    def revision(self, name: str) -> str:
        listed = sorted(
            (path, hashlib.sha1(data).hexdigest()) for path, data in self.repositories[name].items()
        )
        return hashlib.sha1(repr(listed).encode()).hexdigest()

    def entries(self, name: str, folder: str = "") -> list[dict[str, Any]]:
        """Return files and folders below a folder, as the Hub lists them."""
        under = [path for path in self.repositories[name] if not folder or path.startswith(f"{folder}/")]
        folders = {path.rsplit("/", depth)[0] for path in under for depth in range(1, path.count("/") + 1)}
        found: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": one}
            for one in sorted(folders)
            if one != folder
        ]
        for path in sorted(under):
            data = self.repositories[name][path]
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            found.append({"type": "file", "oid": oid, "size": len(data), "path": path})
        return found


class Handler(BaseHTTPRequestHandler):
    """Answers for one hub."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: object) -> None:
        """Print nothing."""

    def reply(self, content: Any, code: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, what: str) -> None:
        self.reply({"error": f"{what} not found"}, 404, X_Error_Code=f"{what}NotFound")

    def words(self) -> list[str]:
        if "Authorization" in self.headers:
            self.hub.tokens.add(self.headers["Authorization"])
        return [unquote(word) for word in urlsplit(self.path).path.strip("/").split("/")]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        words = self.words()
        if words[:2] == ["api", "models"]:
            name = "/".join(words[2:4])
            if name not in self.hub.repositories:
                return self.missing("Repo")
            if words[4:5] == ["tree"]:
                return self.reply(self.hub.entries(name, "/".join(words[6:])))
            facts = {"id": name, "modelId": name, "sha": self.hub.revision(name), "private": True, "tags": []}
            return self.reply(
                {**facts, "siblings": [{"rfilename": one} for one in self.hub.repositories[name]]}
            )
        if words[2:3] == ["resolve"]:
            name, path = "/".join(words[:2]), "/".join(words[4:])
            if path not in self.hub.repositories.get(name, {}):
                return self.missing("Entry")
            data, code, more = self.hub.repositories[name][path], 200, {}
            if "Range" in self.headers:
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                end = min(int(last) + 1 if last else len(data), len(data))
                more = {"Content_Range": f"bytes {first}-{end - 1}/{len(data)}"}
                data, code = data[int(first) : end], 206
            etag = hashlib.sha1(data).hexdigest()
            return self.reply(data, code, ETag=f'"{etag}"', X_Repo_Commit=self.hub.revision(name), **more)
        return self.missing("Entry")

    def do_POST(self) -> None:
        words = self.words()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if words == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = (
                f"{asked['organization']}/{asked['name']}"
                if asked.get("organization")
                else f"me/{asked['name']}"
            )
            is_new = name not in self.hub.repositories
            if is_new:
                self.hub.repositories[name] = {".gitattributes": b"*.pt filter=lfs\n"}
                self.hub.private[name] = bool(asked.get("private", asked.get("visibility") == "private"))
            return self.reply({"url": f"{self.hub.address}/{name}", "id": name}, 200 if is_new else 409)
        if words == ["api", "validate-yaml"]:
            return self.reply({"warnings": [], "errors": []})
        name = "/".join(words[2:4])
        if name not in self.hub.repositories:
            return self.missing("Repo")
        if words[4] == "paths-info":
            asked_paths = set(json.loads(body)["paths"]) if body.startswith(b"{") else set()
            return self.reply([one for one in self.hub.entries(name) if one["path"] in asked_paths])
        if words[4] == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
            return self.reply({"files": modes})
        return self.commit(name, body) if words[4] == "commit" else self.missing("Entry")

    def commit(self, name: str, body: bytes) -> None:
        if self.hub.cut:
            return self.reply({"error": "the line is cut"}, 500)
        lines = [json.loads(line) for line in body.splitlines()]
        added = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"])
            for one in lines
            if one["key"] == "file"
        }
        removed = {one["value"]["path"] for one in lines if one["key"] == "deletedFile"}
        kept = {path: data for path, data in self.hub.repositories[name].items() if path not in removed}
        self.hub.repositories[name] = {**kept, **added}
        self.hub.commits.append((name, set(added), removed))
        oid = self.hub.revision(name)
        return self.reply(
            {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.address}/{name}/commit/{oid}"}
        )


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
