"""A hub on this machine: as much of the Hugging Face hub's protocol as one model needs."""

import hashlib
import json
import re
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_that_may_write"
READER = "hf_that_may_only_read"


class Hub(ThreadingHTTPServer):
    """Models by name, each a dictionary of files; ``history`` holds the messages of commits."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.history: list[str] = []
        self.blobs: dict[str, bytes] = {}


class Visit(BaseHTTPRequestHandler):
    """One request: of whatever the real hub is asked besides it knows nothing."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes | dict[str, object] = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def may(self, *tokens: str) -> bool:
        return self.headers["Authorization"] in [f"Bearer {token}" for token in tokens]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path)
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/main/(.+)", self.path)
        name, file = found.groups() if found else (about[1] if about else "", "")
        model = self.server.models.get(name)
        if model is None or (name in self.server.private and not self.may(TOKEN, READER)):
            self.answer(401, {"error": "?"}, X_Error_Code="RepoNotFound")
        elif about:
            self.answer(200, {"id": name})
        elif file not in model:
            self.answer(404, {"error": "?"}, X_Error_Code="EntryNotFound")
        else:
            etag = hashlib.sha256(model[file]).hexdigest()
            state = hashlib.sha1(b"".join(model.values())).hexdigest()
            self.answer(200, model[file], ETag=f'"{etag}"', X_Repo_Commit=state)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == f"/blob/{hashlib.sha256(data).hexdigest()}"
        self.server.blobs[self.path.removeprefix("/blob/")] = data
        self.answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = "/".join(self.path.removeprefix("/api/models").split("/")[1:3])
        if self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif not self.may(TOKEN):
            self.answer(403 if self.may(READER) else 401, {"error": "no"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            exists = name in self.server.models
            self.server.models.setdefault(name, {})
            if asked.get("visibility") == "private":
                self.server.private.add(name)
            self.answer(409 if exists else 200, {"url": f"{self.server.address}/{name}"})
        elif self.path == f"/api/models/{name}/preupload/main":
            paths = [one["path"] for one in json.loads(body)["files"]]
            large = {path: path.endswith(".safetensors") for path in paths}
            files = [
                {
                    "path": path,
                    "uploadMode": "lfs" if is_large else "regular",
                    "shouldIgnore": False,
                }
                for path, is_large in large.items()
            ]
            self.answer(200, {"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [self.place(one["oid"]) for one in json.loads(body)["objects"]]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif self.path == f"/api/models/{name}/commit/main":
            for line in map(json.loads, body.splitlines()):
                self.commit(self.server.models[name], line["key"], line["value"])
            about = {"commitOid": "0" * 40, "commitUrl": f"{self.server.address}/{name}/commit/0"}
            self.answer(200, {**about, "pullRequestUrl": None, "hookOutput": ""})
        else:
            self.answer(404, {"error": "?"})

    def place(self, oid: str) -> dict[str, object]:
        href = f"{self.server.address}/blob/{oid}"
        return {"oid": oid, "size": 1, "actions": {"upload": {"href": href}}}

    def commit(self, model: dict[str, bytes], key: str, value: dict[str, str]) -> None:
        if key == "header":
            self.server.history.append(value["summary"])
        elif key == "file":
            model[value["path"]] = b64decode(value["content"])
        else:
            model[value["path"]] = self.server.blobs[value["oid"]]
